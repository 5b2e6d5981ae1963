"""A peer that speaks the wire protocol by hand, box for box, to one real session.

It keeps rules only where a test does not ask for the opposite: `Peer.send` numbers and
acknowledges, `Peer.link_box` and `Peer.segment` send what they are told.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol, IPushProducer, ITransport
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.interfaces.stream import Visitor
from burrow.session.link import Link
from burrow.session.mux import Promises
from burrow.session.retained import RETAINED
from burrow.session.session import Identity, Session
from burrow.testing.recorders import HalfCloseableRecorder, Recorder
from burrow.wire import frames
from burrow.wire.boxes import END, Box, BoxReader, Buffer, encode

VISITOR = Visitor("203.0.113.9", 4711, "tcp", "x")
FACTS = frames.visitor_facts("203.0.113.9", 4711, "tcp", "x")
TUNNEL = 7

Inner = tuple[Any, ...]


@implementer(ITransport)
class FakeTransport:
    """A transport whose far end is a test.

    Attributes:
        written: Bytes that the test has not taken yet.
        closing: ``loseConnection`` was called.
        aborted: ``abortConnection`` was called.
        producer: What is registered.
        room: Bytes that may be written before the producer is paused, or ``None``.
    """

    def __init__(self) -> None:
        self.written = bytearray()
        self.closing = self.aborted = False
        self.producer: IPushProducer | None = None
        self.room: int | None = None

    def write(self, data: bytes) -> None:
        assert not self.aborted, "written to what was aborted"
        self.written += data
        if self.room is not None and len(self.written) > self.room and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.closing = self.aborted = True

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 4711)

    getHost = getPeer


class Silent:
    """A greeter that says nothing and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def ready(self, link: Link) -> None:
        self.told.append("ready")

    def box(self, link: Link, pairs: Box) -> None:
        self.told.append(pairs)

    def lost(self, reason: Exception) -> None:
        self.told.append(reason)


class Turns:
    """Ends of turns, made by hand."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], None]) -> None:
        self.waiting.append(function)

    def end(self) -> None:
        """End turns until nothing waits for one."""
        for _ in range(10_000):
            if not self.waiting:
                return
            waiting, self.waiting = self.waiting, []
            for function in waiting:
                function()
        raise AssertionError("turns without end")


class Reading:
    """What one side of a link writes, as boxes.

    Attributes:
        link: Link boxes other than Segments, in order.
        segments: ``(ack, offset, length)`` of every Segment.
        inner: Inner boxes: ``("data", stream, bytes)``, ``("limit", stream, limit)``, ``("open",
            stream, tunnel, limit)``, ``("end" | "stop" | "reset", stream, …)``, else the pairs.
        received: Bytes of the inner stream.
    """

    def __init__(self) -> None:
        self.link: list[Box] = []
        self.segments: list[tuple[int, int, int]] = []
        self.inner: list[Inner] = []
        self.received = 0
        self._link = BoxReader(frames.SEGMENT, self._segment, self._feed, self.link.append, 9_000)
        self._inner = BoxReader(frames.DATA, self._data, self._piece, self._box, frames.INNER_LIMIT)

    def feed(self, data: bytes) -> None:
        self._link.feed(data, 0, len(data))

    def _segment(self, ack: int, offset: int, length: int) -> None:
        assert offset == self.received, "an offset that does not follow"
        self.segments.append((ack, offset, length))

    def _feed(self, data: Buffer, start: int, end: int) -> None:
        self.received += end - start
        self._inner.feed(data, start, end)

    def _data(self, stream: int, length: int) -> None:
        self.inner.append(("data", stream, b""))

    def _piece(self, data: Buffer, start: int, end: int) -> None:
        kind, stream, before = self.inner[-1]
        self.inner[-1] = (kind, stream, before + bytes(data[start:end]))

    def _box(self, box: Box) -> None:
        number = {key: int.from_bytes(value, "big") for key, value in box.items()}
        match next(iter(box)):
            case b"n":
                self.inner.append(("open", number[b"n"], number[b"t"], number[b"w"]))
            case b"l":
                self.inner.append(("limit", number[b"l"], number[b"m"]))
            case b"f":
                self.inner.append(("end", number[b"f"]))
            case b"s":
                self.inner.append(("stop", number[b"s"]))
            case b"u":
                self.inner.append(("reset", number[b"u"], number[b"x"]))
            case _:
                self.inner.append((box,))


class Peer:
    """The other side of one real session.

    Attributes:
        session: The real one.
        transport: Its link's transport.
        says: What it has written, read.
        protocols: What its listener for `TUNNEL` has built, in order.
        streams: The transports of those.
        reason: Why the session ended, or ``None``.
    """

    def __init__(
        self,
        dialler: bool = True,
        ours: Promises = Promises(),  # noqa: B008 - it is frozen
        peers: Promises = Promises(),  # noqa: B008
        retained: int = RETAINED,
        locator: amp.CommandLocator | None = None,
        build: Callable[[], IProtocol] = HalfCloseableRecorder,
        lively: bool = True,
    ) -> None:
        """Join a session.

        Args:
            dialler: Whether the session is a client's, so that we are its relay.
            ours: What the session promises.
            peers: What we promise.
            retained: What both have agreed on.
            locator: The session's responders.
            build: Makes the protocols of the session's listener.
            lively: Whether we answer pings, and acknowledge while time passes.
        """
        self.clock, self.turns, self.transport = Clock(), Turns(), FakeTransport()
        self.session = Session(
            dialler,
            Identity(b"0123456789abcdef", "team", "agent"),
            self.clock,
            self.turns,
            locator or amp.CommandLocator(),
            retained,
        )
        self.link = Link(self.clock, Silent())
        self.link.makeConnection(self.transport)
        self.session.attach(self.link, ours, peers)
        self.says = Reading()
        self.sent = 0  # bytes of our inner stream
        self.numbers = itertools.count(2 if dialler else 1, 2)
        self.protocols: list[Any] = []
        self.session.mux.listen(TUNNEL, Factory.forProtocol(lambda: self._built(build())))
        self.lively = lively
        self.reason: Exception | None = None
        self.session.ended().addCallback(self._ended)
        self.turn()

    def _built(self, protocol: IProtocol) -> IProtocol:
        self.protocols.append(protocol)
        return protocol

    def _ended(self, reason: Exception) -> None:
        assert self.reason is None
        self.reason = reason

    @property
    def streams(self) -> list[Any]:
        return [protocol.transport for protocol in self.protocols]

    # Sending.

    def raw(self, data: bytes) -> None:
        """Send bytes as they are, in one read of the session's, unless it has hung up."""
        if not self.transport.aborted:
            self.link.dataReceived(data)

    def segment(self, payload: bytes, ack: int | None = None, offset: int | None = None) -> None:
        """Send one Segment; what is not told is as it should be."""
        self.raw(self.segment_box(payload, ack, offset))
        self.turn()

    def segment_box(self, payload: bytes, ack: int | None = None, offset: int | None = None) -> bytes:
        ack = self.says.received if ack is None else ack
        offset = self.sent if offset is None else offset
        self.sent += len(payload)
        return frames.SEGMENT.head(ack, offset, len(payload)) + payload + END

    def send(self, *boxes: bytes) -> None:
        """Send inner boxes, in as many Segments as they need, all in one read."""
        payload = b"".join(boxes)
        size = frames.SEGMENT_PAYLOAD
        cuts = range(0, len(payload), size)
        self.raw(b"".join(self.segment_box(payload[cut : cut + size]) for cut in cuts))
        self.turn()

    def acknowledge(self) -> None:
        """Acknowledge all that has come."""
        self.segment(b"")

    def open(self, tunnel: int = TUNNEL, limit: int = 131_072, number: int | None = None) -> int:
        """Open a stream; return its number."""
        number = next(self.numbers) if number is None else number
        self.send(frames.open_stream(number, tunnel, FACTS, limit))
        return number

    # Receiving.

    def turn(self) -> None:
        """End the session's turns and read what it has written."""
        self.turns.end()
        self.read()

    def read(self) -> None:
        """Read what the session has written; its transport has room again."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        asked = len(self.says.link)
        self.says.feed(data)
        for box in self.says.link[asked:]:
            if self.lively and b"q" in box:
                self.raw(frames.pong(box[b"q"]))

    def advance(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.turn()
            if self.lively:
                self.acknowledge()

    def heard(self, *kinds: str) -> list[Inner]:
        """Take and return what the session said on the inner stream, only the named kinds if any."""
        said = list(self.says.inner)
        self.says.inner.clear()
        return [box for box in said if not kinds or box[0] in kinds]

    def data(self, stream: int) -> bytes:
        """Return the bytes that the session has sent on a stream and `heard` has not taken."""
        return b"".join(box[2] for box in self.says.inner if box[:2] == ("data", stream))

    @property
    def byes(self) -> list[tuple[int, str]]:
        """Codes and texts of the Byes that the session said."""
        return [frames.code_and_text(box) for box in self.says.link if b"x" in box]

    def hang_up(self) -> None:
        """Let the session know that its transport is gone."""
        reason = ConnectionAborted() if self.transport.aborted else ConnectionDone()
        self.link.connectionLost(Failure(reason))
        self.turn()


def data(stream: int, payload: bytes) -> bytes:
    """Return a Data box."""
    return frames.DATA.head(stream, len(payload)) + payload + END


def ask(tag: bytes, command: bytes, **arguments: bytes) -> bytes:
    """Return the box of a question."""
    pairs = {b"_ask": tag, b"_command": command, **{k.encode(): v for k, v in arguments.items()}}
    return encode(sorted(pairs.items()))


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect the lines logged meanwhile, above the level of debugging."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("burrow") and event["log_level"].name != "debug":
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


__all__ = ["FACTS", "TUNNEL", "VISITOR", "FakeTransport", "Peer", "Reading", "Recorder", "Silent", "Turns"]
__all__ += ["ask", "data", "logged"]
