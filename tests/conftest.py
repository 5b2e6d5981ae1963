"""What all tests share: a working directory of their own, and how hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the machine is shared, and a slow example is no failure. The directory of
# hypothesis is named in full because the tests run elsewhere, see `_own_directory`.
settings.register_profile(
    "burrow", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("burrow"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "burrow")


@pytest.fixture(scope="session", autouse=True)
def _own_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run where trial's ``mktemp``, logs and plugin caches leave nothing in the source tree."""
    before = Path.cwd()
    directory = tmp_path_factory.mktemp("cwd")
    os.chdir(directory)
    yield directory
    os.chdir(before)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that could not run here, and why."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {reason}", yellow=True)
