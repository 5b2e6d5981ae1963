"""The measurements: load from other processes, cost from /proc."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
GIB = 1024**3


@dataclass(frozen=True)
class Target:
    """Where visitors go: a port of 127.0.0.1 and the Host they ask for."""

    port: int
    host: str


@dataclass(frozen=True)
class Requests:
    """What wrk saw.

    Attributes:
        count: Requests answered.
        rate: Requests per second.
        p50: Median latency, seconds.
        p99: Seconds.
        errors: Connections that failed and answers that were not 2xx or 3xx.
        cpu: Seconds of CPU that the processes between used.
    """

    count: int
    rate: float
    p50: float
    p99: float
    errors: int
    cpu: float


def family(pids: Iterable[int]) -> list[int]:
    """Return processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text("ascii", "replace").rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that processes and their descendants have used, all threads."""
    total = 0
    for pid in family(pids):
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text("ascii").split()[0])
    return total / 1e9


def resident(pids: Iterable[int]) -> int:
    """Return the resident memory of processes and their descendants, bytes."""
    total = 0
    for pid in family(pids):
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text("ascii"))
            total += int(found.group(1)) * 1024 if found else 0
    return total


def requests(
    wrk: str, target: Target, connections: int, seconds: float, pids: Iterable[int], close: bool = False
) -> Requests:
    """Ask for a small page again and again.

    Args:
        wrk: The program.
        target: Whom to ask.
        connections: How many visitors at once.
        seconds: How long.
        pids: Whose CPU time counts.
        close: Every request on a new connection.
    """
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-H", f"Host: {target.host}"]
    if close:
        command += ["-H", "Connection: close"]
    before = cpu_seconds(pids)
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{target.port}/"], capture_output=True, check=True, timeout=seconds + 60
    )
    return read_wrk(done.stdout.decode(), cpu_seconds(pids) - before)


def read_wrk(text: str, cpu: float) -> Requests:
    """Return what wrk printed as values."""

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        return float(found.group(1)) if found else 0.0

    def latency(percent: int) -> float:
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)\b", text)
        return float(found.group(1)) * UNITS[found.group(2)] if found else 0.0

    errors = number(r"Non-2xx or 3xx responses: (\d+)")
    if found := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        errors += sum(map(int, found.groups()))
    count = int(number(r"(\d+) requests in"))
    return Requests(count, number(r"Requests/sec:\s+([\d.]+)"), latency(50), latency(99), int(errors), cpu)


def bulk(way: str, target: Target, streams: int, size: int, pids: Iterable[int]) -> tuple[float, float]:
    """Move ``size`` bytes ``down`` or ``up``; return bytes per second and CPU seconds per GiB."""
    before = cpu_seconds(pids)
    done = subprocess.run(
        bulk_command(way, target, streams, size), capture_output=True, check=True, timeout=300
    )
    cpu = cpu_seconds(pids) - before
    return size / float(done.stdout), cpu / (size / GIB)


def bulk_command(way: str, target: Target, streams: int, size: int) -> list[str]:
    """Return the command line of the visitor that moves ``size`` bytes."""
    where = (way, str(target.port), target.host, str(streams), str(size))
    return [sys.executable, "-m", "bench.bulk", *where]


@contextlib.contextmanager
def bulk_beside(target: Target) -> Iterator[None]:
    """Keep one download running."""
    load = subprocess.Popen(
        bulk_command("down", target, 1, 1024 * GIB), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(0.5)  # until it is in full flow
        if load.poll() is not None:
            raise RuntimeError("the download beside it ended at once")
        yield
    finally:
        load.kill()
        load.wait()


@contextlib.contextmanager
def idle(target: Target, count: int) -> Iterator[None]:
    """Hold ``count`` connections that have had one answer each."""
    connections = []
    request = f"GET / HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode()
    try:
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=20)
            connections.append(connection)
            connection.sendall(request)
            if b" 200 " not in connection.recv(65536).partition(b"\r\n")[0]:
                raise RuntimeError("an idle connection got no answer")
        yield
    finally:
        for connection in connections:
            connection.close()


def start_up(command: list[str], until: str, env: dict[str, str], rounds: int) -> float:
    """Return the median of the seconds until a new process prints a line with ``until`` in it."""
    times = []
    for _ in range(rounds):
        started = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if until.encode() in line:
                times.append(time.monotonic() - started)
                break
        else:
            raise RuntimeError(f"{command[:2]} ended without {until!r}: {lines}")
        process.terminate()
        process.wait()
        process.stdout.close()
    return sorted(times)[len(times) // 2]
