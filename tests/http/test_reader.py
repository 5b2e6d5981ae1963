"""The readers at any cut, on any bytes, and beside two independent judges."""

from __future__ import annotations

import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.http.reader import END, Event, RequestReader, ResponseReader
from burrow.http.request import RequestHead
from burrow.http.response import ResponseHead
from tests.http.reading import GET, answers, cuts, nearly_http, pieces, raw, read, request, requests

LIMIT = settings(max_examples=300, deadline=None)
KNOWN_TO_LLHTTP = {"GET", "POST", "HEAD", "OPTIONS"}  # it refuses all methods that are not registered
Message = tuple[bytes, bytes]  # its target or status, and its body without framing


def bodies(events: list[Event]) -> list[Message]:
    """Return what our reader made out of some bytes, whole messages only."""
    found, head, body = [], b"", b""
    for event in events:
        if isinstance(event, RequestHead):
            head, body = event.target.encode(), b""
        elif isinstance(event, ResponseHead):
            head, body = b"%d" % event.status, b""
            if event.interim:
                found.append((head, b""))
        elif event is END:
            found.append((head, body))
        elif isinstance(event, bytes):
            body = event
    return found


def llhttp(data: bytes, answering: bool = False) -> list[Message]:
    """Return what llhttp makes out of some bytes; bodies still joined without framing."""
    found: list[Message] = []
    state = {"url": b"", "body": b""}

    class Judge:
        def on_message_begin(self) -> None:
            state["url"], state["body"] = b"", b""

        def on_url(self, url: bytes) -> None:
            state["url"] += url

        def on_body(self, body: bytes) -> None:
            state["body"] += body

        def on_message_complete(self) -> None:
            first = b"%d" % parser.get_status_code() if answering else state["url"]  # type: ignore[attr-defined]
            found.append((first, state["body"]))

    parser = httptools.HttpResponseParser(Judge()) if answering else httptools.HttpRequestParser(Judge())
    parser.feed_data(data)
    return found


def h11_reads(data: bytes) -> list[Message]:
    """Return what h11 makes out of the bytes of requests."""
    judge, found, target, body = h11.Connection(h11.SERVER), [], b"", b""
    judge.receive_data(data)
    while True:
        event = judge.next_event()
        if isinstance(event, h11.Request):
            target, body = event.target, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found.append((target, body))
            if judge.our_state is h11.SEND_RESPONSE:
                judge.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                judge.send(h11.EndOfMessage())
            if judge.our_state is h11.MUST_CLOSE:
                return found
            judge.start_next_cycle()
        else:
            return found


def unframed(message: Message, chunked: bool) -> Message:
    """Take chunk framing off, the simplest way there is."""
    target, body = message
    if not chunked:
        return message
    plain = b""
    while (size := int(body[: body.index(b"\r\n")].partition(b";")[0], 16)) > 0:
        begin = body.index(b"\r\n") + 2
        plain, body = plain + body[begin : begin + size], body[begin + size + 2 :]
    return target, plain


def accepted(events: list[Event]) -> list[Message]:
    """Return our reading of whole messages, chunk framing taken off."""
    heads = [e for e in events if isinstance(e, RequestHead | ResponseHead)]
    return [unframed(m, h.framing.name == "CHUNKED") for m, h in zip(bodies(events), heads, strict=False)]


class RequestReaderTests(SynchronousTestCase):
    """Requests of one visitor."""

    @LIMIT
    @given(st.lists(requests, min_size=1, max_size=3).map(b"".join) | nearly_http, cuts)
    def test_any_cut(self, data: bytes, where: list[int]) -> None:
        """However the bytes are cut, the reader tells the same and refuses with the same words."""
        whole, parts = read(RequestReader(), [data]), read(RequestReader(), pieces(data, where))
        self.assertEqual(whole[0], parts[0])
        self.assertEqual(getattr(whole[1], "status", None), getattr(parts[1], "status", None))
        single = read(RequestReader(), [data[i : i + 1] for i in range(len(data))])
        self.assertEqual(whole[0], single[0])
        self.assertEqual(getattr(whole[1], "status", None), getattr(single[1], "status", None))

    @LIMIT
    @given(st.binary(max_size=200) | nearly_http)
    def test_any_bytes(self, data: bytes) -> None:
        """No bytes crash the reader, and what comes out went in."""
        reader = RequestReader()
        events, refusal = read(reader, [data])
        self.assertTrue(data.startswith(raw(events)))
        if refusal is None:
            self.assertEqual(raw(events) + reader.take_rest(), data)

    @LIMIT
    @given(st.lists(requests, min_size=1, max_size=3))
    def test_right_requests(self, messages: list[bytes]) -> None:
        """Right requests are taken, and come out whole."""
        events, refusal = read(RequestReader(), [b"".join(messages)])
        self.assertIsNone(refusal)
        self.assertEqual(raw(events), b"".join(messages))
        self.assertEqual(sum(event is END for event in events), len(messages))

    @LIMIT
    @given(st.lists(requests, min_size=1, max_size=3).map(b"".join) | nearly_http.map(lambda end: GET + end))
    def test_judges(self, data: bytes) -> None:
        """Whatever is taken, llhttp and h11 split alike."""
        events, refusal = read(RequestReader(), [data])
        heads = [event for event in events if isinstance(event, RequestHead)]
        ours = accepted(events)
        if (
            refusal is not None
            or len(ours) != len(heads)
            or not all(h.keep_alive and not h.upgrade for h in heads)
        ):
            return
        taken = raw(events)
        if KNOWN_TO_LLHTTP.issuperset(head.method for head in heads):
            self.assertEqual(llhttp(taken), ours)
        if not any(head.target.startswith("http") for head in heads):
            self.assertEqual(h11_reads(taken), ours)

    def test_stray_return_at_a_cut(self) -> None:
        """A stray return is refused at once, though the byte that makes it stray comes later."""
        for parts in ([GET[:-2] + b"X: a\r", b"b"], [b"GET / HTTP/1.1\r", b"x"]):
            _, refusal = read(RequestReader(), parts)
            self.assertEqual(getattr(refusal, "status", None), 400)

    def test_next_message_waits(self) -> None:
        """Pipelined requests stay unread until they are asked for."""
        reader = RequestReader()
        reader.feed(GET + GET)
        self.assertIsInstance(reader.next_event(), RequestHead)
        self.assertIs(reader.next_event(), END)
        self.assertEqual(reader.unread, len(GET))
        self.assertFalse(reader.between)
        self.assertIsInstance(reader.next_event(), RequestHead)
        self.assertIs(reader.next_event(), END)
        self.assertTrue(reader.between)


class ResponseReaderTests(SynchronousTestCase):
    """Answers to one visitor's requests."""

    @LIMIT
    @given(st.lists(answers, min_size=1, max_size=3).map(b"".join) | nearly_http, cuts)
    def test_any_cut(self, data: bytes, where: list[int]) -> None:
        """However the bytes are cut, the reader tells the same."""
        asked = [request()] * 3
        whole = read(ResponseReader(), [data], asked)
        for parts in (pieces(data, where), [data[i : i + 1] for i in range(len(data))]):
            again = read(ResponseReader(), parts, asked)
            self.assertEqual(whole[0], again[0])
            self.assertEqual(getattr(whole[1], "status", None), getattr(again[1], "status", None))

    @LIMIT
    @given(st.binary(max_size=200) | nearly_http)
    def test_any_bytes(self, data: bytes) -> None:
        """No bytes crash the reader, and what comes out went in."""
        reader = ResponseReader()
        events, refusal = read(reader, [data], [request()] * 3)
        self.assertTrue(data.startswith(raw(events)))
        if refusal is None:
            self.assertEqual(raw(events) + reader.take_rest(), data)

    @LIMIT
    @given(st.lists(answers, min_size=1, max_size=3))
    def test_judge(self, messages: list[bytes]) -> None:
        """Right answers are taken, and llhttp splits them alike."""
        data = b"".join(messages)
        events, refusal = read(ResponseReader(), [data], [request()] * 3)
        self.assertIsNone(refusal)
        self.assertEqual(raw(events), data)
        self.assertEqual(llhttp(data, answering=True), accepted(events))
