"""Much data, both ways, in bounded memory (row B13)."""

from __future__ import annotations

import hashlib
import socket
import time

import pytest

from tests.end_to_end.deployment import DeploymentCase, body_of, host_of, port_of, settled
from tests.end_to_end.services import MIB, WebServer, pattern, pattern_sum

GROWTH = 64 * MIB  #: resident memory that a transfer may cost a program
STALLED_GROWTH = 32 * MIB  #: that 100 visitors who stop reading may cost a program
STALLED = 100


class BulkCase(DeploymentCase):
    """A web server behind an http tunnel, and the memory of both programs."""

    def setUp(self) -> None:
        """Publish the web server and note how much memory the programs have warmed up."""
        super().setUp()
        self.web = WebServer()
        self.addCleanup(self.web.close)
        self.https, self.relay, self.client = self.publish("http", self.web.port)
        self.http = self.url(self.client, "one", "http")
        self.assertEqual(self.download(self.https, MIB), pattern_sum(MIB))
        self.before = {program: program.forget_peak() for program in (self.relay, self.client)}

    def download(self, url: str, size: int) -> str:
        """Return the SHA-256 of a download."""
        digest, connection = hashlib.sha256(), self.ask(url, f"/bytes/{size}")
        for piece in body_of(connection):
            digest.update(piece)
        return digest.hexdigest()

    def upload(self, url: str, size: int) -> str:
        """Return the SHA-256 that the web server made of an upload."""
        connection = self.visit(url)
        head = f"POST /sum HTTP/1.1\r\nHost: {host_of(url)}:{port_of(url)}\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        for piece in pattern(size):
            connection.sendall(piece)
        return b"".join(body_of(connection)).decode()

    def assert_small(self, most: int) -> None:
        """Neither program ever had more than ``most`` bytes over what it had before."""
        for program, before in self.before.items():
            growth = program.peak() - before
            print(f"{program.name}: {before / MIB:.1f} MiB + {growth / MIB:.1f} MiB")
            self.assertLess(growth, most, f"{growth / MIB:.1f} MiB more: {program.name}")

    def check(self, size: int) -> None:
        """Download and upload ``size`` bytes by both schemes and look at the memory."""
        expected = pattern_sum(size)
        for url in (self.https, self.http):
            self.assertEqual(self.download(url, size), expected, url)
            self.assertEqual(self.upload(url, size), expected, url)
        self.assert_small(GROWTH)


class TransferTests(BulkCase):
    """Large transfers."""

    def test_64_mib(self) -> None:
        """64 MiB down and up, by https and http, arrive whole and cost little memory."""
        self.check(64 * MIB)

    @pytest.mark.long
    def test_5_gib(self) -> None:
        """5 GiB down and up, by https and http, arrive whole and cost little memory."""
        self.check(5 * 1024 * MIB)


class StalledVisitorTests(BulkCase):
    """Visitors that ask for much and then stop reading."""

    def stall(self, url: str) -> None:
        """Ask for 1 GiB and read nothing."""
        connection = socket.socket()
        self.addCleanup(connection.close)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port_of(url)))
        host = f"{host_of(url)}:{port_of(url)}"
        connection.sendall(f"GET /bytes/{1024 * MIB} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    def timed(self) -> float:
        """Return how long a download of 16 MiB takes, in seconds."""
        started = time.monotonic()
        self.assertEqual(self.download(self.http, 16 * MIB), pattern_sum(16 * MIB))
        return time.monotonic() - started

    def test_they_cost_little_and_slow_nobody(self) -> None:
        """100 of them cost either program 32 MiB at most, and another download goes on as before."""
        alone = min(self.timed() for _ in range(3))
        self.before = {program: program.forget_peak() for program in self.before}
        for _ in range(STALLED):
            self.stall(self.http)
        settled(lambda: self.web.sent)
        self.assert_small(STALLED_GROWTH)
        beside = min(self.timed() for _ in range(3))
        print(f"16 MiB alone {alone:.3f} s, beside {STALLED} stalled visitors {beside:.3f} s")
        # 10 % is the goal; a shared machine measures no better than this
        self.assertLess(beside, 2 * alone + 0.2)
