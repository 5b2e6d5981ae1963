"""A tunnel protocol from somebody's own directory is used like a built-in one (row M5)."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from tests.end_to_end.deployment import DeploymentCase, port_of
from tests.end_to_end.processes import PROGRAMS, ProcessCase

EXAMPLE = Path(__file__).parent.parent.parent / "conf" / "line_echo.py"


def install(case: ProcessCase) -> Path:
    """Put the example into a directory of plugins as docs/plugins.md says, beside a broken one."""
    folder = case.directory / "my-plugins" / "burrow" / "plugins"
    folder.mkdir(parents=True)
    shutil.copy(EXAMPLE, folder)
    (folder / "broken_neighbour.py").write_text('raise RuntimeError("broken on purpose")\n', "utf-8")
    case.env["PYTHONPATH"] = str(case.directory / "my-plugins")
    return folder


def greeted(case: ProcessCase, port: int) -> None:
    """Check that lines come back greeted."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as visitor:
        lines = visitor.makefile("rwb")
        for line in (b"one\r\n", b"two\n"):
            lines.write(line)
            lines.flush()
            case.assertEqual(lines.readline(), b"hi " + line)


class LineEchoTests(ProcessCase):
    """The example conf/line_echo.py, with the ``burrow`` command."""

    def setUp(self) -> None:
        """Put the directory on the path."""
        super().setUp()
        self.plugins = install(self)

    def test_listed(self) -> None:
        """`burrow plugins` lists it beside the built-in ones, with what it does."""
        listed = self.succeed(PROGRAMS / "burrow", "plugins").decode()
        for name in ("http", "tls", "tcp", "line-echo"):
            self.assertRegex(listed, rf"(?m)^\s*{name}\b")
        self.assertIn("sends every line back", listed)

    def test_broken_neighbour_is_named_and_skipped(self) -> None:
        """A plugin that cannot be imported is named with its error; the others work."""
        done = self.run_to_end(PROGRAMS / "burrow", "plugins")
        self.assertEqual(done.returncode, 0, done)
        said = (done.stdout + done.stderr).decode()
        self.assertIn("broken_neighbour", said)
        self.assertIn("broken on purpose", said)
        self.assertNotIn("Traceback", said)

    def test_used_end_to_end(self) -> None:
        """`burrow line-echo` with its own flag serves visitors through both halves."""
        program = self.burrow("line-echo", "9999", "-greeting", "hi")
        url = program.wait_for(r"Forwarding\s+(line-echo://\S+) -> ").group(1)
        greeted(self, port_of(url))

    def test_its_setting_is_checked(self) -> None:
        """A flag that it does not declare is refused like any other."""
        done = self.run_to_end(PROGRAMS / "burrow", "line-echo", "9999", "-greting", "hi", patience=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"greting", done.stderr)

    def test_nothing_is_written_beside_it(self) -> None:
        """Finding plugins leaves no cache file in their directory."""
        self.succeed(PROGRAMS / "burrow", "plugins")
        names = {path.name for path in self.plugins.iterdir()}
        self.assertEqual(names - {"__pycache__"}, {"line_echo.py", "broken_neighbour.py"})


class ServiceTests(DeploymentCase):
    """The example with a relay and a client as services."""

    def test_used_end_to_end(self) -> None:
        """Both services use it; the broken neighbour is one line of their logs."""
        install(self)
        relay = self.start_relay()
        client = self.start_client({"one": {"proto": "line-echo", "addr": 9, "greeting": "hi"}})
        greeted(self, port_of(self.url(client, "one", "line-echo")))
        for program in (relay, client):
            named = [line for line in program.lines if "broken_neighbour" in line]
            self.assertEqual(len(named), 1, program.output)
            self.assertIn("is skipped: RuntimeError: broken on purpose", named[0])
            self.assertNotIn("Traceback", program.output)
