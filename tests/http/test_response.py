"""Heads of answers: what is understood, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from burrow.http.grammar import Framing
from burrow.http.reader import END, ResponseReader
from burrow.http.refusal import HttpRefused
from burrow.http.response import ResponseHead
from tests.http.reading import GET, raw, read, request

OLD = GET.replace(b"1.1", b"1.0")
HEAD = GET.replace(b"GET", b"HEAD")
ASKING = GET[:-2] + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """Return the head of an answer."""
    return b"\r\n".join([first, *lines, b"", b""])


def head_of(data: bytes, asked: bytes = GET) -> ResponseHead:
    """Read the first head of some bytes that answer ``asked``."""
    events, refusal = read(ResponseReader(), [data], [request(asked)])
    if refusal:
        raise refusal
    assert isinstance(events[0], ResponseHead)
    return events[0]


class UnderstoodTests(SynchronousTestCase):
    """What a right answer tells."""

    def test_framings(self) -> None:
        """An answer ends by length, by chunks or with the connection."""
        self.assertEqual(head_of(answer(b"Content-Length: 3")).framing, Framing.LENGTH)
        self.assertEqual(head_of(answer(b"Transfer-Encoding: chunked")).framing, Framing.CHUNKED)
        self.assertEqual(head_of(answer()).framing, Framing.CLOSE)
        self.assertEqual(head_of(answer(b"Content-Length: 0")).framing, Framing.NONE)

    def test_answers_without_body(self) -> None:
        """An answer to HEAD, 204 and 304 have no body, whatever length they tell."""
        self.assertEqual(head_of(answer(b"Content-Length: 3"), HEAD).framing, Framing.NONE)
        self.assertEqual(head_of(answer(b"Transfer-Encoding: chunked"), HEAD).framing, Framing.NONE)
        self.assertEqual(head_of(answer(b"Content-Length: 3", first=b"HTTP/1.1 304 x")).framing, Framing.NONE)
        self.assertEqual(head_of(answer(first=b"HTTP/1.1 204")).framing, Framing.NONE)

    def test_interim_answers(self) -> None:
        """Any number of interim answers precedes the last; HEAD stays HEAD behind them."""
        interim, last = answer(first=b"HTTP/1.1 100 Continue"), answer(b"Content-Length: 9")
        events, refusal = read(ResponseReader(), [interim * 3 + last], [request(HEAD)])
        self.assertIsNone(refusal)
        self.assertEqual([getattr(event, "status", event) for event in events], [100, 100, 100, 200, END])

    def test_switch(self) -> None:
        """After 101 the bytes belong to another protocol."""
        reader = ResponseReader()
        switch = answer(b"Upgrade: WebSocket", b"Connection: Upgrade", first=b"HTTP/1.1 101 x")
        events, refusal = read(reader, [switch + b"\x81\x00"], [request(ASKING)])
        self.assertIsNone(refusal)
        self.assertEqual(len(events), 1)
        self.assertEqual(reader.take_rest(), b"\x81\x00")

    def test_refused_upgrade(self) -> None:
        """An upgrade that is answered with anything else stays HTTP."""
        events, _ = read(ResponseReader(), [answer(b"Content-Length: 2") + b"no"], [request(ASKING)])
        self.assertEqual(events[1:], [b"no", END])

    def test_until_close(self) -> None:
        """Without framing the end of the connection ends the answer."""
        reader = ResponseReader()
        events, _ = read(reader, [answer() + b"abc"], [request()])
        self.assertEqual(raw(events), answer() + b"abc")
        self.assertIs(reader.finish(), END)
        self.assertIsNone(reader.finish())

    def test_keeping_alive(self) -> None:
        """The connection stays open if both heads and the framing allow it."""
        kept = head_of(answer(b"Content-Length: 0"))
        self.assertTrue(kept.keeps_alive(request()))
        self.assertFalse(kept.keeps_alive(request(GET[:-2] + b"Connection: close\r\n\r\n")))
        self.assertFalse(head_of(answer()).keeps_alive(request()))
        self.assertFalse(head_of(answer(b"Content-Length: 0", b"Connection: close")).keeps_alive(request()))
        old = request(OLD[:-2] + b"Connection: keep-alive\r\n\r\n")
        self.assertFalse(kept.keeps_alive(old))
        self.assertTrue(head_of(answer(b"Content-Length: 0", b"Connection: keep-alive")).keeps_alive(old))

    def test_missing_reason(self) -> None:
        """A status line may lack its reason, as many servers send it."""
        self.assertEqual(head_of(answer(b"Content-Length: 0", first=b"HTTP/1.1 200")).status, 200)


class RefusedTests(SynchronousTestCase):
    """What no visitor gets to see."""

    def refused(self, *answers: bytes, asked: bytes = GET) -> None:
        """Every answer is refused with 502."""
        for data in answers:
            reader = ResponseReader()
            _, refusal = read(reader, [data], [request(asked)])
            self.assertEqual(refusal.status if refusal else None, 502, data)

    def test_framings(self) -> None:
        """Two lengths, a length beside a coding, another coding or a malformed length is refused."""
        self.refused(
            answer(b"Content-Length: 3", b"Content-Length: 4"),
            answer(b"Content-Length: 3", b"Content-Length: 3"),
            answer(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
            answer(b"Transfer-Encoding: gzip, chunked"),
            answer(b"Content-Length: -1"),
            answer(b"Content-Length : 3"),
            answer(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK"),
        )

    def test_bodies_where_none_may_be(self) -> None:
        """1xx and 204 announce no body."""
        for first in (b"HTTP/1.1 204 x", b"HTTP/1.1 100 x"):
            self.refused(
                answer(b"Content-Length: 3", first=first), answer(b"Transfer-Encoding: chunked", first=first)
            )

    def test_chunks_for_an_old_visitor(self) -> None:
        """A visitor that speaks HTTP/1.0 cannot read chunks."""
        self.refused(answer(b"Transfer-Encoding: chunked"), asked=OLD)

    def test_nonsense(self) -> None:
        """What is no answer of HTTP/1 is refused as soon as that is plain."""
        self.refused(
            b"SSH-2.0", b"H2", b"\x00", b"\r\n", b"HTTP/2 200\r\n", b"HTTP/1.1 2000 x\r\n",
            b"HTTP/1.1 099 x\r\n", b"HTTP/1.1  200 x\r\n", b"HTTP/1.1 20 x\r\n", b"HTTP/1.1 200 x\n",
            b"HTTP/1.1 200 \x00\r\n", b"HTTP/1.1 200 x\r\nA: b\n\r\n", b"HTTP/1.1 " + b"2" * 9000,
            answer(b"X : y"), answer(b"X: y", b" z"), answer(*[b"X: y"] * 257),
            answer(b"X: " + b"y" * 66_000), answer(first=b"HTTP/1.1 200 " + b"y" * 9000),
        )  # fmt: skip

    def test_switches(self) -> None:
        """A switch that nobody asked for, or to something else, is refused."""
        first = b"HTTP/1.1 101 x"
        self.refused(answer(b"Upgrade: websocket", first=first))
        self.refused(answer(b"Upgrade: h2c", first=first), answer(first=first), asked=ASKING)

    def test_bytes_nobody_asked_for(self) -> None:
        """Bytes behind an answer answer nothing."""
        whole = answer(b"Content-Length: 2") + b"ok"
        self.refused(whole + b"x", whole + whole)
        self.refused(answer(first=b"HTTP/1.1 204 x") + b"body", answer(first=b"HTTP/1.1 304 x") + b"body")
        self.refused(answer(b"Content-Length: 2") + b"ok", asked=HEAD)
        self.assertEqual(getattr(read(ResponseReader(), [b"x"])[1], "status", 0), 502)

    def test_cut_answers(self) -> None:
        """An answer that stops before its end is told from a whole one."""
        whole = answer(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n"
        for end in range(len(whole)):
            reader = ResponseReader()
            read(reader, [whole[:end]], [request()])
            self.assertRaises(HttpRefused, reader.finish)
        reader = ResponseReader()
        read(reader, [whole], [request()])
        self.assertIsNone(reader.finish())
