"""The session: the authenticated relation between a client and its relay.

It numbers the inner stream, keeps what is not acknowledged, and hands the peer's bytes to the mux.
docs/protocol.md, "Numbering" and "Session states".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp

from burrow.errors import ProtocolError, SessionLost
from burrow.interfaces.stream import Visitor
from burrow.session.commands import Refusal
from burrow.session.control import Control
from burrow.session.link import Link
from burrow.session.mux import MOST_UNSENT, Mux, Promises
from burrow.session.retained import ACK_INTERVAL, RETAINED, Retained
from burrow.wire import frames
from burrow.wire.boxes import END, Buffer
from burrow.wire.frames import ByeCode

BATCH = 2 * frames.SEGMENT_PAYLOAD  #: bytes of Segments that are written together
ACK_DELAY = 0.05  #: seconds that a received byte may wait for its acknowledgement

TurnEnd = Callable[[Callable[[], None]], None]


class State(Enum):
    """Where a session is in its life."""

    NEW = auto()
    ATTACHED = auto()
    CLOSED = auto()


@dataclass(frozen=True)
class Identity:
    """Who a session is.

    Attributes:
        session: 16 bytes that the relay chose.
        account: The account's name at the relay.
        agent: Program and version at the other end.
    """

    session: bytes
    account: str
    agent: str

    def __str__(self) -> str:
        """Return the session's short name in logs."""
        return self.session[:6].hex()


class Session:
    """One side of a session.

    Attributes:
        identity: Who it is; its text is the session's name in logs.
        round_trip: The last round-trip time measured, in seconds; 0 before the first.
        mux: Its streams.
    """

    log = Logger()

    def __init__(
        self,
        dialler: bool,
        identity: Identity,
        clock: IReactorTime,
        turn_end: TurnEnd,
        locator: amp.CommandLocator,
        retained: int = RETAINED,
    ) -> None:
        """Start without a link.

        Args:
            dialler: Whether this side is the client.
            identity: Who the session is.
            clock: For acknowledgements and windows.
            turn_end: Calls a function at the end of the reactor's turn.
            locator: Has the responders of the commands that the peer may send.
            retained: Bytes that may be sent and not acknowledged.
        """
        self.identity = identity
        self._clock, self._turn_end = clock, turn_end
        self._state = State.NEW
        self._link: Link | None = None
        self._last_link: Link | None = None
        self._retained = Retained(retained)
        self._received = self._acked = 0
        self._heeded = 0.0  # when the peer last acknowledged something new
        self._ack_interval = min(ACK_INTERVAL, retained // 4)
        self._ack_timer: IDelayedCall | None = None
        self._awake = False
        self._control = Control(locator, self._queue, self.close)
        self.mux = Mux(dialler, clock, self.wake, self._control.received)
        self._waiting: list[Deferred[Exception]] = []
        self._reason: Exception | None = None

    def __str__(self) -> str:
        """Return the session's short name in logs."""
        return str(self.identity)

    @property
    def round_trip(self) -> float:
        """The last round-trip time measured, in seconds."""
        return self.mux.round_trip

    @property
    def attached(self) -> bool:
        """Whether a link carries the session."""
        return self._state is State.ATTACHED

    def attach(self, link: Link, ours: Promises, peers: Promises) -> None:
        """Let ``link`` carry the session; both sides have told their promises in the Hello."""
        self._link = self._last_link = link
        self._state = State.ATTACHED
        self.mux.agree(ours, peers)
        link.attach(self)
        self.wake()

    # What the programs call.

    def open(self, tunnel: int, visitor: Visitor, factory: IProtocolFactory) -> IProtocol:
        """Open a stream; see `Mux.open`."""
        return self.mux.open(tunnel, visitor, factory)

    def call(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Ask the peer.

        Raises:
            TunnelRefused: The peer declined, for commands that may be declined.
            SessionLost: The session ended before the answer came.
        """
        answer = self._control.call(command, **arguments)
        return answer.addErrback(_translate)

    def close(self, code: int = ByeCode.CLOSED, text: str = "closed") -> None:
        """End the session at once, at both sides; streams are reset."""
        link, self._link = self._link, None
        if link is not None:
            link.close(code, text)
        self._end(SessionLost(text))

    def closed(self) -> Deferred[None]:
        """Return what fires when what `close` wrote has left, and the transport is gone."""
        return succeed(None) if self._last_link is None else self._last_link.closed()

    def ended(self) -> Deferred[Exception]:
        """Return what fires, once, with the reason when the session is over."""
        waiting: Deferred[Exception] = Deferred()
        if self._reason is not None:
            waiting.callback(self._reason)
        else:
            self._waiting.append(waiting)
        return waiting

    # What the link calls.

    def segment(self, ack: int, offset: int, length: int) -> None:
        """Take the head of a Segment; see `burrow.session.link.Carried`."""
        if ack != self._retained.acked:
            self._retained.acknowledge(ack)
            self._heeded = self._clock.seconds()
            if self.mux.waiting:  # perhaps for room among what is retained
                self.wake()
        if offset != self._received:
            raise ProtocolError(f"offset {offset} where {self._received} follows")

    def inner(self, data: Buffer, start: int, end: int) -> None:
        """Take the next bytes of the inner stream; they count as received from here on."""
        if start == end:
            return
        self._received += end - start
        if self._received - self._acked >= self._ack_interval:
            self.wake()
        elif self._ack_timer is None:
            self._ack_timer = self._clock.callLater(ACK_DELAY, self._ack_late)
        self.mux.feed(data, start, end)

    def read(self) -> None:
        """Deliver what this read brought."""
        self.mux.deliver()

    def bye(self, code: int, text: str) -> None:
        """End: the peer said so."""
        self._link = None
        self._end(SessionLost(f"the other side ended it: {text!r} (code {code})"))

    def link_lost(self, link: Link, reason: Exception) -> None:
        """End: the transport is gone, and resuming is for a later version of the protocol."""
        if link is self._link:
            self._link = None
            self._end(SessionLost(f"the connection was lost: {reason}"))

    def owed_since(self) -> float | None:
        """Return since when the peer has acknowledged nothing that is owed, or ``None``."""
        sent = self._retained.owed_since()
        return None if sent is None else max(sent, self._heeded)

    def measured(self, round_trip: float) -> None:
        """Take a new measurement of the round-trip time."""
        self.mux.round_trip = round_trip

    # Sending.

    def wake(self) -> None:
        """Send what waits at the end of this turn."""
        if not self._awake:
            self._awake = True
            self._turn_end(self._work)

    def _queue(self, box: bytes) -> None:
        if self._state is not State.CLOSED:
            self.mux.queue_command(box)

    def _work(self) -> None:
        """Do what a turn left to be done: put-off calls, Segments, an acknowledgement."""
        self._awake = False
        self.mux.do_later()
        while self._can_write() and self.mux.waiting and self._send_batch():
            pass
        if self._link is not None and self.mux.unsent > MOST_UNSENT:
            self._link.fail(ProtocolError(f"{self.mux.unsent} bytes wait for it to read", ByeCode.LIMIT))
        if self._received - self._acked >= self._ack_interval and self._can_write():
            self._acknowledge()
        self.mux.do_later()

    def _can_write(self) -> bool:
        return self._link is not None and self._link.writable

    def _send_batch(self) -> bool:
        """Write up to `BATCH` bytes of Segments in one go; return whether there was anything."""
        boxes, size = [], 0
        while size < BATCH and self.mux.waiting:
            parts = self.mux.take(min(self._retained.room, frames.SEGMENT_PAYLOAD))
            if not parts:
                break
            boxes.append(self._segment_of(parts))
            size += len(boxes[-1])
        if boxes and self._link is not None:
            self._link.write(*boxes)
        return bool(boxes)

    def _segment_of(self, parts: list[bytes | memoryview]) -> bytes:
        """Number ``parts`` and return them as a Segment; without any, a bare acknowledgement."""
        length = sum(map(len, parts))
        head = frames.SEGMENT.head(self._received, self._retained.sent, length)
        box = b"".join((head, *parts, END))
        if length:
            self._retained.append(box, length, self._clock.seconds())
        self._acked = self._received
        return box

    def _acknowledge(self) -> None:
        if self._link is not None:
            self._link.write(self._segment_of([]))

    def _ack_late(self) -> None:
        self._ack_timer = None
        if self._received > self._acked:
            if self._can_write():
                self._acknowledge()
            else:
                self._ack_timer = self._clock.callLater(ACK_DELAY, self._ack_late)

    def _end(self, reason: Exception) -> None:
        """Let go of everything, once."""
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._reason = reason
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        self._retained.clear()
        self.mux.lost(reason)
        self._control.lost(reason)
        self.wake()
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(reason)


def _translate(failure: Any) -> Any:
    """Turn what came over the wire into what the client's user reads."""
    if failure.check(Refusal):
        raise failure.value.tunnel_refused()
    return failure
