"""Chunks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from burrow.http.chunks import ChunkScanner
from burrow.http.limits import DEFAULT_LIMITS
from burrow.http.refusal import HttpRefused


def scan(data: bytes) -> tuple[int, bool]:
    """Return how much of a body is understood, and whether it ended."""
    scanner = ChunkScanner(DEFAULT_LIMITS, 400)
    return scanner.scan(data), scanner.done


class ChunkScannerTests(SynchronousTestCase):
    """A chunked body and its end."""

    def test_whole_bodies(self) -> None:
        """Sizes in hex, extensions and trailers are understood, up to the end and not beyond."""
        for body in (
            b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"A\r\n0123456789\r\n00\r\n\r\n",
            b"000a\r\n0123456789\r\n0\r\n\r\n", b'1;a;b=c;d="e f"\r\nx\r\n0;z\r\n\r\n',
            b"1\r\nx\r\n0\r\nX-Sum: 1\r\ngrpc-status:0\r\n\r\n",
        ):  # fmt: skip
            self.assertEqual(scan(body + b"GET"), (len(body), True), body)

    def test_data_passes_as_it_comes(self) -> None:
        """Data need not wait for the end of its chunk."""
        self.assertEqual(scan(b"ff\r\nabc"), (7, False))

    def test_unsure_bytes_are_withheld(self) -> None:
        """Unfinished lines and the end of the body do not pass before they are proven."""
        for body, sure in (
            (b"1", 0),
            (b"1\r", 0),
            (b"1;a=", 0),
            (b"1\r\nx\r", 4),
            (b"1\r\nx\r\n0\r\n", 6),
            (b"1\r\nx\r\n0\r\nX: y\r\n", 6),
            (b"0\r\n\r", 0),
        ):
            self.assertEqual(scan(body), (sure, False), body)

    def test_refused(self) -> None:
        """Whatever is no size, line end, extension or trailer is refused."""
        for body in (
            b"x", b"\r\n", b" 5", b"5 \r\n", b"+5", b"-5", b"0x5\r\n", b"5\n", b"5\r5", b"5\rhello",
            b"5 ;a\r\n", b"5; a\r\n", b"5;\r\n", b"5;a=\r\n", b"5;a b\r\n", b'5;a="b\r\n', b"5;a\x00",
            b"5;a\nb", b"5;a=b\xff\r\n", b"5,5\r\n", b"\t5", b"8000000000000000\r\n",
            b"ffffffffffffffff\r\n", b"10000000000000005\r\n", b"00000000000000005\r\n",
            b"5;" + b"a" * 1022, b"1\r\nxy", b"1\r\nx\n", b"1\r\nx\rz", b"1\r\nx0\r\n\r\n", b"0\r\n\n",
            b"0\r\nX\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\n y\r\n\r\n", b"0\r\nX: y\n\r\n",
            b"0\r\nX: " + b"y" * 16_384, b"0\r\n" + b"X: y\r\n" * 257 + b"\r\n", b"0\r\nHost: x\r\n\r\n",
            b"0\r\nA: b\r\ncontent-length: 5\r\n\r\n", b"0\r\nContent_Length: 5\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n:authority: x\r\n\r\n",
            b"0\r\nAuthorization: x\r\n\r\n",
        ):  # fmt: skip
            self.assertRaises(HttpRefused, scan, body)
