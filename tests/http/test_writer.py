"""Answers that burrow makes, and edits of heads."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from burrow.http.edit import H2C_FIELDS, without_fields
from burrow.http.writer import write_response


class WriterTests(SynchronousTestCase):
    """Answers that burrow makes itself."""

    def test_whole_answer(self) -> None:
        """An answer has its reason, its fields and its length."""
        self.assertEqual(
            write_response(404, [("X", "y")], b"no"),
            b"HTTP/1.1 404 Not Found\r\nX: y\r\nContent-Length: 2\r\n\r\nno",
        )

    def test_answer_to_head(self) -> None:
        """HEAD is told the length only."""
        self.assertTrue(write_response(404, [], b"no", head_only=True).endswith(b"Length: 2\r\n\r\n"))

    def test_control_characters(self) -> None:
        """Nothing can split an answer."""
        self.assertRaises(ValueError, write_response, 200, [("X", "a\r\nY: b")])


class EditTests(SynchronousTestCase):
    """The changes that safety asks for."""

    def test_h2c(self) -> None:
        """The offer of HTTP/2 goes, with its nominations; all other bytes stay."""
        head = (
            b"GET / HTTP/1.1\r\nhost:  x\r\nConnection: Upgrade, close, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n"
        )
        self.assertEqual(
            without_fields(head, H2C_FIELDS), b"GET / HTTP/1.1\r\nhost:  x\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(
            without_fields(head.replace(b" close,", b""), H2C_FIELDS), b"GET / HTTP/1.1\r\nhost:  x\r\n\r\n"
        )
