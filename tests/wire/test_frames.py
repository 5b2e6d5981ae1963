"""The boxes of the protocol by name: fields, widths and limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ProtocolError
from burrow.wire import frames
from burrow.wire.boxes import decode, encode

NUMBERS = st.integers(0, frames.LARGEST)


class NumberTests(SynchronousTestCase):
    """Offsets, limits and stream numbers."""

    @given(NUMBERS)
    def test_there_and_back(self, value: int) -> None:
        """A number is read as it was written."""
        self.assertEqual(frames.number(decode(frames.end(value))[b"f"]), value)

    def test_width(self) -> None:
        """A number of another width, or from 2^63 on, is refused; not all of a long one is quoted."""
        for value in (b"", bytes(7), bytes(9), (2**63).to_bytes(8, "big"), b"\xff" * 8):
            self.assertRaises(ProtocolError, frames.number, value)
        with self.assertRaises(ProtocolError) as caught:
            frames.number(bytes(60_000))
        self.assertLess(len(str(caught.exception)), 200)


class EndingTests(SynchronousTestCase):
    """Codes and texts of Bye and Reset."""

    @given(st.integers(0, 65_535), st.text(max_size=600))
    def test_text_is_cut(self, code: int, text: str) -> None:
        """A long text is cut between two characters, so that the other side can read it."""
        read_code, read = frames.code_and_text(decode(frames.reset(5, code, text)))
        self.assertEqual(read_code, code)
        self.assertTrue(text.startswith(read))
        self.assertLessEqual(len(read.encode()), frames.TEXT_LIMIT)
        if len(text.encode()) <= frames.TEXT_LIMIT:
            self.assertEqual(read, text)

    def test_bye(self) -> None:
        """A Bye brings code and text."""
        box = decode(frames.bye(frames.ByeCode.STOPPING, "good night"))
        self.assertEqual(frames.code_and_text(box), (5, "good night"))

    def test_bad(self) -> None:
        """A code of another width or a text over the limit is refused; bad UTF-8 is shown somehow."""
        self.assertRaises(ProtocolError, frames.code_and_text, {b"y": b""})
        self.assertRaises(ProtocolError, frames.code_and_text, {b"x": b"\x01", b"y": b""})
        self.assertRaises(ProtocolError, frames.code_and_text, {b"x": b"\x00\x01", b"y": bytes(513)})
        self.assertEqual(frames.code_and_text({b"x": b"\x00\x01", b"y": b"\xff"}), (1, "�"))


class VisitorFactsTests(SynchronousTestCase):
    """Who is connecting, inside an Open."""

    @given(st.text(max_size=50), st.integers(0, 65_535), st.text(max_size=9), st.text(max_size=50))
    def test_there_and_back(self, host: str, port: int, scheme: str, name: str) -> None:
        """All facts arrive as they were."""
        facts = frames.visitor_facts(host, port, scheme, name)
        self.assertEqual(frames.read_visitor_facts(facts), (host, port, scheme, name))

    @given(st.binary(max_size=80))
    def test_any_bytes(self, value: bytes) -> None:
        """Any bytes are facts or a ProtocolError."""
        try:
            host, port, scheme, name = frames.read_visitor_facts(value)
        except ProtocolError:
            return
        self.assertTrue(0 <= port <= 65_535 and host + scheme + name is not None)

    def _refused(self, **texts: bytes) -> str:
        facts = {"h": b"192.0.2.1", "n": b"x", "p": b"1", "s": b"tcp"} | texts
        with self.assertRaises(ProtocolError) as caught:
            frames.read_visitor_facts(
                encode((key.encode(), facts[key]) for key in sorted(facts) if facts[key])
            )
        return str(caught.exception)

    def test_port(self) -> None:
        """A port is up to five of the digits 0 to 9, and at most 65535; a bad one is quoted safely."""
        for port in (b"65536", b"-1", b"1 ", b"0x1", "٣".encode(), "²".encode(), b"9" * 60_000, b"\x1b[31m"):
            message = self._refused(p=port)
            self.assertIn("wanted 0 to 65535", message)
            self.assertTrue(message.isprintable() and len(message) < 200, message)

    def test_missing(self) -> None:
        """A missing fact is named, and so is one that is not UTF-8."""
        self.assertIn("'n'", self._refused(n=b""))
        self.assertLess(len(self._refused(n=b"\xff" * 999)), 200)


class SizeTests(SynchronousTestCase):
    """What fits into what."""

    def test_data_in_a_segment(self) -> None:
        """A Segment holds a whole Data box of the largest size, and its head is no part of its payload."""
        self.assertLess(frames.DATA_PAYLOAD + frames.DATA_OVERHEAD, frames.SEGMENT_PAYLOAD)
        self.assertEqual(frames.DATA_OVERHEAD, len(frames.DATA.head(1, 0)) + 2)

    def test_small_boxes(self) -> None:
        """Every link box of ours is within the limit for link boxes, whatever its text."""
        self.assertLess(len(frames.bye(7, "é" * 600)), frames.LINK_LIMIT)
        self.assertLess(len(frames.ping(bytes(8))), frames.LINK_LIMIT)

    def test_unreadable_box(self) -> None:
        """Facts that are no box at all are refused."""
        self.assertRaises(ProtocolError, frames.read_visitor_facts, b"nonsense")
        self.assertRaises(ProtocolError, frames.read_visitor_facts, b"")
