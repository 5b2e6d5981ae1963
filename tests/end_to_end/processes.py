"""A program under test as a real process: started, awaited by its output, measured, stopped."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

#: Where the programs under test are; the variable points at those of an installed package.
PROGRAMS = Path(os.environ.get("BURROW_PROGRAMS") or Path(sys.executable).parent)
PATIENCE = 30.0  #: seconds to wait for what should take less than one
TOOLS = os.pathsep.join(
    (os.environ.get("PATH", ""), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
)


def tool(name: str, package: str) -> str:
    """Return the path of a program from a Debian package.

    Raises:
        SkipTest: It is not installed. Under CI that is a failure.
    """
    path = shutil.which(name, path=TOOLS)
    if path is None and os.environ.get("CI"):
        raise AssertionError(f"{name} not found: make test should have installed {package}")
    if path is None:
        raise unittest.SkipTest(f"needs {name}: install the package {package}")
    return path


def eventually(what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return once ``true`` is; for what no line of output and no socket tells.

    Raises:
        AssertionError: It did not become true within ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:g} s: {what}")
        threading.Event().wait(0.02)


class Program:
    """A running process; its standard output and error are read line by line."""

    def __init__(self, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> None:
        """Start ``argv`` with nothing on its standard input."""
        self.name = " ".join(str(part) for part in argv)
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            [str(part) for part in argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has printed so far, under its name."""
        return "\n".join([f"--- {self.name} (status {self._process.poll()})", *self.lines])

    def wait_for(self, pattern: str, start: int = 0, patience: float = PATIENCE) -> re.Match[str]:
        """Return the first match of ``pattern`` in a line, from line number ``start`` on.

        Raises:
            AssertionError: It ended, or ``patience`` seconds passed, without such a line.
        """
        deadline = time.monotonic() + patience
        with self._news:
            while True:
                for line in self.lines[start:]:
                    if found := re.search(pattern, line):
                        return found
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"was silent for {patience:g} s"
                    raise AssertionError(f"{why} without {pattern!r}\n{self.output}")
                self._news.wait(left)

    def wait(self, patience: float = PATIENCE) -> int:
        """Return its exit status once it has ended by itself."""
        status = self._process.wait(patience)
        self._reader.join(patience)
        return status

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, patience: float = 10.0) -> int:
        """End it by SIGTERM, or by SIGKILL if that does nothing; return its status."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self.wait()

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        return self._memory("VmRSS")

    def peak(self) -> int:
        """Return the most resident memory it had since `forget_peak`, in bytes."""
        return self._memory("VmHWM")

    def forget_peak(self) -> int:
        """Start to look for a new peak; return the resident memory now, in bytes."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", "ascii")
        return self.resident()

    def _memory(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None, status
        return int(found.group(1)) * 1024

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
        self._process.stdout.close()


class ProcessCase(SynchronousTestCase):
    """A test that starts processes in a directory and a home of its own.

    What they printed is shown when the test fails; they are gone when it is over.
    """

    def setUp(self) -> None:
        """Make the directory and an environment with as good as nothing in it."""
        self.directory = Path(tempfile.mkdtemp(prefix="burrow-test-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        home = self.directory / "home"
        home.mkdir()
        self.env = {
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / ".local/state"),
            "PATH": os.pathsep.join((str(PROGRAMS), TOOLS)),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self, *argv: str | Path, env: Mapping[str, str] | None = None) -> Program:
        """Start a program that ends with the test at the latest."""
        program = Program(argv, {**self.env, **(env or {})}, self.directory)
        self.addCleanup(self._finish, program)
        return program

    def burrow(self, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        """Start ``burrow`` with arguments."""
        return self.start(PROGRAMS / "burrow", *arguments, env=env)

    def twistd(self, *arguments: str, env: Mapping[str, str] | None = None) -> Program:
        """Start ``twistd`` in the foreground with arguments, on burrow's reactor unless they name one."""
        named = any(argument.startswith("--reactor") for argument in arguments)
        own = () if named else ("--reactor", "burrow")
        return self.start(PROGRAMS / "twistd", "-n", "--pidfile=", *own, *arguments, env=env)

    def run_to_end(
        self,
        *argv: str | Path,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        patience: float = 120.0,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, at most ``patience`` seconds; its output is kept apart."""
        done = subprocess.run(
            [str(part) for part in argv],
            input=stdin,
            capture_output=True,
            env={**self.env, **(env or {})},
            cwd=self.directory,
            timeout=patience,
            check=False,
        )
        print(f"--- {' '.join(map(str, argv))} (status {done.returncode})\n{done.stderr[-4000:]!r}")
        return done

    def succeed(self, *argv: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        """Run a program to its end, expect status 0 and return its standard output."""
        done = self.run_to_end(*argv, stdin=stdin, env=env)
        self.assertEqual(done.returncode, 0, f"{argv[0]}: {done.stdout[-2000:]!r} {done.stderr[-2000:]!r}")
        return done.stdout

    def _finish(self, program: Program) -> None:
        program.stop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)  # what it may have started
        print(program.output)
