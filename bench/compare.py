"""Measures direct access, nginx, portforward, ``ssh -R`` and burrow in one run.

    python -m bench.compare [--quick] [--rounds N] [--only WAY ...]

Ways are measured one after another within each round, and the median of the rounds counts, so that a
disturbance from outside meets all of them. Traffic stays on loopback. The table goes to standard
output; JSON and a picture to bench/results.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import measure, report
from bench.ways import Bench, Way, find
from tests.end_to_end.processes import PROGRAMS

MIB = 1024 * 1024
RESULTS = Path(__file__).with_name("results")
#: Held against the targets of the design: what, which row, whose, against whose.
TARGETS = [
    ("requests/s, 64 connections, http against nginx", "requests/s, 64 conn", "burrow http", "nginx"),
    ("CPU per request, http against nginx", "CPU s per 10,000 requests", "burrow http", "nginx"),
    ("CPU per request, http against portforward", "CPU s per 10,000 requests", "burrow http", "portforward"),
    ("p50, one connection, http against nginx", "p50 us, 1 conn", "burrow http", "nginx"),
    ("bulk down MB/s, tcp against portforward", "down MB/s, 1 stream", "burrow tcp", "portforward"),
    ("bulk down CPU, tcp against portforward", "down CPU s/GiB, 1 stream", "burrow tcp", "portforward"),
    ("bulk up CPU, tcp against portforward", "up CPU s/GiB, 1 stream", "burrow tcp", "portforward"),
    ("bulk down CPU, tcp against ssh -R", "down CPU s/GiB, 1 stream", "burrow tcp", "ssh -R"),
    ("requests/s, 64 connections, tcp against ssh -R", "requests/s, 64 conn", "burrow tcp", "ssh -R"),
]
PICTURED = ["requests/s, 64 conn", "p50 us, 1 conn", "down MB/s, 1 stream", "down CPU s/GiB, 1 stream"]


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        seconds: Of each run of small requests.
        size: Bytes of each bulk transfer.
        rounds: How often everything is measured.
        idle: Idle connections.
    """

    seconds: float
    size: int
    rounds: int
    idle: int


QUICK = Effort(seconds=1, size=128 * MIB, rounds=1, idle=200)
FULL = Effort(seconds=4, size=1024 * MIB, rounds=3, idle=1000)


def small(way: Way, effort: Effort, wrk: str) -> dict[str, float]:
    """Measure small requests and new connections."""
    values: dict[str, float] = {}
    for connections in (1, 16, 64):
        seen = measure.requests(wrk, way.web, connections, effort.seconds, way.pids)
        values[f"requests/s, {connections} conn"] = seen.rate
        values[f"p50 us, {connections} conn"] = seen.p50 * 1e6
        values[f"p99 us, {connections} conn"] = seen.p99 * 1e6
        note(way, seen)
    if way.pids:
        values["CPU s per 10,000 requests"] = seen.cpu / seen.count * 10_000
    seen = measure.requests(wrk, way.web, 16, effort.seconds, way.pids, close=True)
    note(way, seen)
    values["new connections/s"] = seen.rate
    if way.pids:
        values["CPU us per new connection"] = seen.cpu / seen.count * 1e6
    return values


def note(way: Way, seen: measure.Requests) -> None:
    """Complain about requests that failed: their speed says nothing."""
    if seen.errors or not seen.count:
        print(f"{way.name}: {seen.errors} errors, {seen.count} answers", file=sys.stderr)
    if not seen.count:
        raise RuntimeError("no answers")


def bulk(way: Way, effort: Effort, wrk: str) -> dict[str, float]:
    """Measure bulk transfers, and small requests beside one."""
    values: dict[str, float] = {}
    for direction in ("down", "up"):
        for streams in (1, 8):
            rate, cpu = measure.bulk(direction, way.bulk, streams, effort.size, way.pids)
            name = f"{streams} stream{'s' if streams > 1 else ''}"
            values[f"{direction} MB/s, {name}"] = rate / 1e6
            if way.pids:
                values[f"{direction} CPU s/GiB, {name}"] = cpu
    with measure.bulk_beside(way.bulk):
        seen = measure.requests(wrk, way.web, 4, effort.seconds, way.pids)
    values["p99 us beside a download, 4 conn"] = seen.p99 * 1e6
    return values


def memory(way: Way, effort: Effort) -> dict[str, float]:
    """Measure resident memory, before any load and with idle connections."""
    if not way.pids:
        return {}
    before = measure.resident(way.pids)
    with measure.idle(way.web, effort.idle):
        with_idle = measure.resident(way.pids)
    return {
        "RSS MiB idle": before / MIB,
        f"RSS MiB, {effort.idle} idle connections": with_idle / MIB,
    }


def start_ups(bench: Bench, rounds: int) -> dict[str, float]:
    """Measure how long the commands take to say something, seconds."""
    burrow = str(PROGRAMS / "burrow")
    times = {}
    for title, command, until in (
        ("burrow version, s", [burrow, "version"], "burrow version "),
        ("burrow http to its URL, s", [burrow, "http", str(bench.web)], "Forwarding"),
        ("the same again, s", [burrow, "http", str(bench.web)], "Forwarding"),
    ):
        try:
            times[title] = measure.start_up(command, until, bench.env, 1 if "URL" in title else rounds)
        except (OSError, RuntimeError) as error:
            print(f"left out: {title}: {str(error)[:200]}", file=sys.stderr)
    return times


def everything(ways: list[Way], effort: Effort, wrk: str) -> dict[str, dict[str, float]]:
    """Measure all ways; return the medians of the rounds."""
    seen: dict[str, dict[str, list[float]]] = {way.name: {} for way in ways}
    # Memory first: what load leaves behind in a process would count as idle.
    for way in ways:
        for name, value in memory(way, effort).items():
            seen[way.name].setdefault(name, []).append(value)
    for number in range(effort.rounds):
        for way in ways:
            print(f"round {number + 1} of {effort.rounds}: {way.name}", file=sys.stderr)
            try:
                values = {**small(way, effort, wrk), **bulk(way, effort, wrk)}
            except Exception as error:
                print(f"{way.name}: given up: {error!r}", file=sys.stderr)
                continue
            for name, value in values.items():
                seen[way.name].setdefault(name, []).append(value)
    return {
        way: {name: statistics.median(each) for name, each in values.items()} for way, values in seen.items()
    }


def machine() -> dict[str, object]:
    """Say what it was measured on."""
    packages = ("twisted", "pyopenssl", "cryptography", "burrow")
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description="Compare burrow with other ways to a local service.")
    options.add_argument("--quick", action="store_true", help="under a minute, one round")
    options.add_argument("--rounds", type=int, help="how often everything is measured")
    options.add_argument("--only", nargs="+", metavar="WAY", help="names as in the table")
    chosen = options.parse_args()
    effort = QUICK if chosen.quick else FULL
    if chosen.rounds:
        effort = Effort(effort.seconds, effort.size, chosen.rounds, effort.idle)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="burrow-bench-")))
        directory.chmod(0o755)  # nginx drops its privileges
        bench = Bench(directory, stack)
        times = start_ups(bench, 3)
        ways = [way for way in bench.ways() if not chosen.only or way.name in chosen.only]
        results = everything(ways, effort, find("wrk"))

    print(report.table(results), end="\n\n")
    print("\n".join(f"{title:<64} {seconds:6.2f}" for title, seconds in times.items()))
    print(report.ratios(results, TARGETS))
    stem = RESULTS / time.strftime("%Y%m%d-%H%M%S")
    report.write_json(stem.with_suffix(".json"), results, start_up=times, machine=machine())
    report.write_picture(stem.with_suffix(".svg"), results, PICTURED)
    print(f"\nwritten: {stem}.json, {stem}.svg")


if __name__ == "__main__":
    main()
