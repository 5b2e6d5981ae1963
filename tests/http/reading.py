"""Helpers: everything a reader tells about some bytes, however they are cut."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import strategies as st

from burrow.http.reader import END, Event, RequestReader, ResponseReader
from burrow.http.refusal import HttpRefused
from burrow.http.request import RequestHead

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut bytes at the given places."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


def read(
    reader: RequestReader | ResponseReader, fed: Iterable[bytes], asked: list[RequestHead] | None = None
) -> tuple[list[Event], HttpRefused | None]:
    """Return the events, bodies joined, and the refusal that ended them if there was one."""
    events: list[Event] = []
    waiting = list(asked or [])
    try:
        if waiting and isinstance(reader, ResponseReader):
            reader.expect(waiting.pop(0))
        for piece in fed:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                add(events, event)
                if event is END and waiting and isinstance(reader, ResponseReader):
                    reader.expect(waiting.pop(0))
    except HttpRefused as refusal:
        return events, refusal
    return events, None


def add(events: list[Event], event: Event) -> None:
    """Append an event, a piece of a body to the piece before it."""
    if isinstance(event, bytes) and events and isinstance(events[-1], bytes):
        events[-1] += event
    else:
        events.append(event)


def raw(events: list[Event]) -> bytes:
    """Return all bytes that came out."""
    return b"".join(e if isinstance(e, bytes) else b"" if e is END else e.raw for e in events)


def request(data: bytes = GET) -> RequestHead:
    """Read one request head."""
    reader = RequestReader()
    reader.feed(data)
    head = reader.next_event()
    assert isinstance(head, RequestHead)
    return head


def refusal(data: bytes) -> HttpRefused | None:
    """Return why a reader of requests refuses some bytes, or ``None``."""
    return read(RequestReader(), [data])[1]


cuts = st.lists(st.integers(0, 600), max_size=12)

_scraps = [
    b"GET", b"POST", b"HEAD", b"OPTIONS", b"PRI", b" ", b"  ", b"/", b"*", b"/a?b=c", b"http://a.example/",
    b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/2.0\r\n", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\t",
    b"\x00", b"Host: a.example\r\n", b"Host: b.example:80\r\n", b"Host", b":", b": ",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length:3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"hello", b"Transfer-Encoding", b"chunked", b"gzip, ",
    b"5\r\nhello\r\n", b"0\r\n", b"0\r\n\r\n", b"5;a=b\r\nhello\r\n", b"X: y\r\n", b" folded\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"\xff", b"\x0b", b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n", GET, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 204 \r\n",
    b"HTTP/1.1 100\r\n\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 304 x\r\n",
]  # fmt: skip
#: Bytes that are nearly HTTP: scraps of it in any order, with any bytes in between.
nearly_http = st.lists(st.sampled_from(_scraps) | st.binary(max_size=3), max_size=20).map(b"".join)

_fields = st.lists(
    st.sampled_from([b"X-A: 1\r\n", b"Accept:*/*\r\n", b"cookie: a=b; c=d\r\n", b"X-Y: \xff\r\n"]),
    max_size=3,
).map(b"".join)
_chunks = st.lists(st.binary(min_size=1, max_size=30), max_size=4).map(
    lambda parts: b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
)
_bodies = (
    st.just(b"\r\n")
    | st.binary(max_size=40).map(lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    | _chunks.map(lambda body: b"Transfer-Encoding: chunked\r\n\r\n" + body)
)
_request_lines = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /x?y HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET http://a.example/z HTTP/1.1\r\n",
    ]
)
#: One right request.
requests = st.tuples(_request_lines, st.just(b"Host: a.example\r\n"), _fields, _bodies).map(b"".join)
#: One right answer to a GET, which has an end of its own.
answers = st.tuples(
    st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n"]),
    st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404\r\n", b"HTTP/1.1 500 a b\r\n"]),
    _fields,
    _bodies.filter(lambda body: body != b"\r\n"),
).map(b"".join)
