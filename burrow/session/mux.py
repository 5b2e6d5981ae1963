"""The mux: all streams of a session in one stream of inner boxes.

What is to be sent waits in three queues, commands before signals (Open, Limit, End, Stop, Reset)
before data, which goes in turns of one Data box a stream. Nothing is numbered here: the order is
free until `take` hands bytes over to a Segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.address import HostnameAddress
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger

from burrow.errors import ProtocolError, SessionLost, TunnelRefused
from burrow.interfaces.stream import Visitor
from burrow.session.credit import FIRST_WINDOW, Budget, ReceiveWindow
from burrow.session.stream import Stream
from burrow.wire import frames
from burrow.wire.boxes import END, Box, BoxReader, Buffer

MOST_STREAMS = 10_000  #: open at once in a session, opened by one side
MOST_UNSENT = 4_194_304  #: bytes of commands and signals waiting; more means a peer that floods
ENOUGH = 1_024  #: bytes of room in a Segment below which no Data box is begun


@dataclass(frozen=True)
class Promises:
    """What one side tells the other in the Hello about streams.

    Attributes:
        window: Bytes that may be sent at once on a stream that the other side opens.
        streams: Streams that the other side may have open at once.
    """

    window: int = FIRST_WINDOW
    streams: int = MOST_STREAMS


DEFAULT_PROMISES = Promises()


class Mux:
    """One side's streams.

    Attributes:
        opened: Streams opened since the session began, by either side.
        bytes_in: Bytes of streams received.
        bytes_out: Bytes of streams sent.
    """

    log = Logger()

    def __init__(
        self,
        dialler: bool,
        clock: IReactorTime,
        wake: Callable[[], None],
        command: Callable[[Box], None],
    ) -> None:
        """Start without streams.

        Args:
            dialler: Whether this side opens odd numbers.
            clock: Tells the time for windows.
            wake: Called when there is something to do at the end of the turn.
            command: Takes the boxes of commands and their answers.
        """
        self._clock, self._wake, self._command = clock, wake, command
        self._next, self._highest = (1, 0) if dialler else (2, -1)  # ours, the peer's last
        self._streams: dict[int, Stream] = {}
        self._listeners: dict[int, IProtocolFactory] = {}
        self._budget = Budget()
        self._ours = self._peers = 0  # streams open, by who opened them
        self._promises = self._peers_promises = DEFAULT_PROMISES
        self._lost: Exception | None = None
        self._later: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._commands: deque[bytes] = deque()
        self._signals: deque[bytes] = deque()
        self.unsent = 0  #: bytes in these two
        self._ready: deque[Stream] = deque()
        self._cut = b""  # what did not fit in the last Segment
        self._receiving: Stream | None = None
        self._fresh: list[Stream] = []  # have received something since the last `deliver`
        self._reader = BoxReader(frames.DATA, self._data, self._piece, self._box, frames.INNER_LIMIT)
        self.feed = self._reader.feed
        self.round_trip = 0.0  #: seconds, measured by the link
        self.opened = self.bytes_in = self.bytes_out = 0
        self._kinds: dict[bytes, Callable[[Box], None]] = {
            b"n": self._opened_by_peer,
            b"l": self._limit_raised,
            b"f": self._ended,
            b"s": self._stopped,
            b"u": self._reset,
            b"_answer": command,
            b"_ask": command,
            b"_command": command,
            b"_error": command,
        }

    def agree(self, ours: Promises, peers: Promises) -> None:
        """Keep what both sides have told each other in the Hello."""
        self._promises, self._peers_promises = ours, peers
        self._budget = Budget(ours.window)

    # What the session calls.

    def open(self, tunnel: int, visitor: Visitor, factory: IProtocolFactory) -> IProtocol:
        """Open a stream to a tunnel that the peer listens for; return its protocol, connected.

        Raises:
            SessionLost: The session is over.
            TunnelRefused: The peer allows no more streams, or the factory built nothing.
        """
        if self._lost is not None:
            raise SessionLost(str(self._lost))
        if self._ours >= self._peers_promises.streams:
            raise TunnelRefused(f"{self._ours} streams are open: the other side allows no more", 324)
        protocol = factory.buildProtocol(visitor)
        if protocol is None:
            raise TunnelRefused("the visitor left before a stream was open")
        number = self._next
        self._next += 2
        self._ours += 1
        window = ReceiveWindow(self._budget, self._budget.first(), self._clock.seconds())
        facts = frames.visitor_facts(visitor.host, visitor.port, visitor.scheme, visitor.name)
        self.signal(frames.open_stream(number, tunnel, facts, window.limit))
        self._start(number, window, self._peers_promises.window, HostnameAddress(b"tunnel", tunnel), protocol)
        return protocol

    def listen(self, tunnel: int, factory: IProtocolFactory) -> None:
        """Take streams to a tunnel from now on: the factory gets each one's `Visitor`."""
        self._listeners[tunnel] = factory

    def unlisten(self, tunnel: int) -> None:
        """Refuse streams to a tunnel from now on; those that are open go on."""
        self._listeners.pop(tunnel, None)

    def queue_command(self, box: bytes) -> None:
        """Send a command or an answer before everything else."""
        self._commands.append(box)
        self._count(box)

    def lost(self, reason: Exception) -> None:
        """Reset every stream: the session is over."""
        self._lost = reason
        self._listeners.clear()
        for stream in list(self._streams.values()):
            stream.lost(reason)
        for stream in self._fresh:  # those whose ways had both ended: what came is theirs
            self.later(stream.catch_up)
        for queue in (self._commands, self._signals, self._ready, self._fresh):
            queue.clear()
        self._cut = b""
        self.unsent = 0

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._streams)

    def deliver(self) -> None:
        """Hand on what streams have received: called behind everything that one read brought."""
        while self._fresh:
            fresh, self._fresh = self._fresh, []
            for stream in fresh:
                stream.catch_up()

    def do_later(self) -> None:
        """Do what was put off to the end of the turn, and what that puts off."""
        while self._later:
            method, args = self._later.popleft()
            method(*args)

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self._cut or self._commands or self._signals or self._ready)

    def take(self, most: int) -> list[bytes | memoryview]:
        """Return up to ``most`` bytes of inner boxes to be numbered and sent now; maybe none."""
        parts: list[bytes | memoryview] = []
        if most <= 0:
            return parts
        room = most
        if self._cut:
            parts.append(self._cut)
            room -= len(self._cut)
            self._cut = b""
        while room > 0 and (box := self._next_small_box()) is not None:
            parts.append(box)
            room -= len(box)
        while room >= ENOUGH and self._ready:
            room -= self._take_turn(room - frames.DATA_OVERHEAD, parts)
        if room < 0:
            last = parts.pop()
            parts.append(memoryview(last)[:room])
            self._cut = bytes(memoryview(last)[room:])
        return parts

    def _next_small_box(self) -> bytes | None:
        queue = self._commands or self._signals
        if not queue:
            return None
        box = queue.popleft()
        self.unsent -= len(box)
        return box

    def _take_turn(self, most: int, parts: list[bytes | memoryview]) -> int:
        """Put one Data box of the next ready stream into ``parts``; return its bytes."""
        stream = self._ready.popleft()
        parts.append(b"")
        place = len(parts) - 1
        amount = stream.take(min(most, frames.DATA_PAYLOAD), parts)
        if stream.turn_over():
            self._ready.append(stream)
        if not amount:
            parts.pop()
            return 0
        parts[place] = frames.DATA.head(stream.number, amount)
        parts.append(END)
        self.bytes_out += amount
        return amount + frames.DATA_OVERHEAD

    # What streams call.

    def ready(self, stream: Stream) -> None:
        """Give the stream a turn."""
        self._ready.append(stream)
        self._wake()

    def signal(self, box: bytes) -> None:
        """Send Open, Limit, End, Stop or Reset before any data that waits."""
        if self._lost is None:
            self._signals.append(box)
            self._count(box)

    def fresh(self, stream: Stream) -> None:
        """Deliver to the stream when this read is read to its end."""
        if stream not in self._fresh[-1:]:
            self._fresh.append(stream)

    def later(self, method: Callable[..., None], *args: object) -> None:
        """Call ``method`` at the end of this turn."""
        self._later.append((method, args))
        self._wake()

    def drained(self, window: ReceiveWindow, count: int) -> bool:
        """Count bytes that a consumer has room behind; return whether the peer's limit rises."""
        return window.consumed(count, self._clock.seconds(), self.round_trip)

    def closed(self, stream: Stream, holds: bool) -> None:
        """Forget the number of a stream whose ways have both ended; it counts while it ``holds`` bytes."""
        self._streams.pop(stream.number, None)
        if not holds:
            self.released(stream)

    def released(self, stream: Stream) -> None:
        """Count a closed stream no more: it holds nothing."""
        if stream.window.size:
            stream.window.close()
            if (stream.number ^ self._next) & 1:
                self._peers -= 1
            else:
                self._ours -= 1

    def _count(self, box: bytes) -> None:
        self.unsent += len(box)
        self._wake()

    # What the peer sends.

    def _data(self, number: int, length: int) -> None:
        self._receiving = stream = self._find(number)
        if stream is not None:
            stream.expect(length)
            self.bytes_in += length

    def _piece(self, data: Buffer, start: int, end: int) -> None:
        if self._receiving is not None and end > start:
            self._receiving.deliver(bytes(data[start:end]))

    def _box(self, box: Box) -> None:
        if self._lost is not None:  # by what stood in front of it
            return
        kind = next(iter(box))
        if kind not in self._kinds:
            raise ProtocolError(f"a box of unknown kind {kind[:32]!r}")
        try:
            self._kinds[kind](box)
        except KeyError as error:
            raise ProtocolError(f"a box of kind {kind!r} without {error}") from None

    def _find(self, number: int) -> Stream | None:
        """Return the stream, or ``None`` for one that is over already.

        Raises:
            ProtocolError: A number that was never used.
        """
        stream = self._streams.get(number)
        if stream is None:
            ours = (number ^ self._next) & 1 == 0
            if number < 1 or number >= (self._next if ours else self._highest + 1):
                raise ProtocolError(f"stream {number} was never opened")
        return stream

    def _opened_by_peer(self, box: Box) -> None:
        number, tunnel, limit = (frames.number(box[key]) for key in (b"n", b"t", b"w"))
        if (number ^ self._next) & 1 == 0 or number <= self._highest:
            raise ProtocolError(f"stream {number} opened, the last was {self._highest}")
        self._highest = number
        visitor = Visitor(*frames.read_visitor_facts(box[b"v"]))
        self._peers += 1
        window = ReceiveWindow(self._budget, self._budget.accepted(), self._clock.seconds())
        if self._peers > self._promises.streams:
            self._refuse(number, window, frames.ResetCode.LIMIT, "too many streams")
        elif (factory := self._listeners.get(tunnel)) is None:
            self._refuse(number, window, frames.ResetCode.UNKNOWN, "no such tunnel")
        elif (protocol := self._build(factory, visitor)) is None:
            self._refuse(number, window, frames.ResetCode.REFUSED, "refused")
        else:
            self._start(number, window, limit, visitor, protocol)

    def _build(self, factory: IProtocolFactory, visitor: Visitor) -> IProtocol | None:
        try:
            return factory.buildProtocol(visitor)
        except Exception:
            self.log.failure("{factory} failed for {visitor}", factory=factory, visitor=visitor)
            return None

    def _refuse(self, number: int, window: ReceiveWindow, code: int, text: str) -> None:
        self._peers -= 1
        window.close()
        self.signal(frames.reset(number, code, text))

    def _start(
        self,
        number: int,
        window: ReceiveWindow,
        credit: int,
        peer: Visitor | HostnameAddress,
        protocol: IProtocol,
    ) -> None:
        self.opened += 1
        stream = Stream(self, number, window, credit, HostnameAddress(b"stream", number), peer)
        self._streams[number] = stream
        stream.start(protocol)

    def _limit_raised(self, box: Box) -> None:
        limit = frames.number(box[b"m"])
        stream = self._find(frames.number(box[b"l"]))
        if stream is not None:
            stream.raise_limit(limit)

    def _ended(self, box: Box) -> None:
        stream = self._find(frames.number(box[b"f"]))
        if stream is not None:
            stream.peer_ended()

    def _stopped(self, box: Box) -> None:
        stream = self._find(frames.number(box[b"s"]))
        if stream is not None:
            stream.peer_stopped()

    def _reset(self, box: Box) -> None:
        stream = self._find(frames.number(box[b"u"]))
        code, text = frames.code_and_text(box)
        if stream is not None:
            stream.peer_reset(f"{text!r} (code {code})")
