"""A stream: one visitor's connection inside a session, as a full Twisted transport.

The mux calls the methods named after what the peer sent (`deliver`, `peer_ended`, …) and takes
what is to be sent with `take`. Everything the protocol asks for leaves at the end of the reactor's
turn, so the protocol is never called from inside a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProducer, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import ProtocolError
from burrow.interfaces.stream import IStream
from burrow.session.credit import ReceiveWindow
from burrow.session.waiting import Incoming, Outgoing
from burrow.wire import frames

if TYPE_CHECKING:
    from burrow.session.mux import Mux

HIGH_WATER = 131_072  #: bytes queued for sending at which a producer is paused
LOW_WATER = 65_536  #: bytes queued for sending at which it is resumed


class State(Enum):
    """Which ways of a stream have ended."""

    OPEN = auto()
    WE_ENDED = auto()
    PEER_ENDED = auto()
    CLOSED = auto()


class Event(Enum):
    """What ends a way, or both."""

    END_SENT = auto()
    END_RECEIVED = auto()
    RESET = auto()


TRANSITIONS = {
    (State.OPEN, Event.END_SENT): State.WE_ENDED,
    (State.OPEN, Event.END_RECEIVED): State.PEER_ENDED,
    (State.WE_ENDED, Event.END_RECEIVED): State.CLOSED,
    (State.PEER_ENDED, Event.END_SENT): State.CLOSED,
    **{(state, Event.RESET): State.CLOSED for state in State},  # resets may cross
}


@implementer(IStream)
class Stream:
    """See `IStream`. Made by a `Mux`; ``number`` is the stream's own on the wire."""

    __slots__ = (
        "_arrived",
        "_ending",
        "_half_closeable",
        "_host",
        "_losing",
        "_mux",
        "_out",
        "_paused",
        "_peer",
        "_peer_ended",
        "_producer",
        "_producer_paused",
        "_protocol",
        "_reading",
        "_ready",
        "_state",
        "_stop_sent",
        "_streaming",
        "_undrained",
        "number",
        "window",
    )

    log = Logger()

    def __init__(
        self, mux: Mux, number: int, window: ReceiveWindow, credit: int, host: IAddress, peer: IAddress
    ) -> None:
        """Start open both ways; the peer may be sent ``credit`` bytes at once."""
        self._mux = mux
        self.number = number
        self.window = window
        self._host, self._peer = host, peer
        self._state = State.OPEN
        self._protocol: IProtocol | None = None
        self._half_closeable = False
        # Sending.
        self._out = Outgoing(credit)
        self._ready = False  # waits for its turn in the mux
        self._ending = False  # End follows what is queued
        self._losing = False  # loseConnection was called
        self._producer: Any = None
        self._streaming = self._producer_paused = False
        # Receiving.
        self._arrived = Incoming()
        self._reading = True  # the protocol still wants data
        self._paused = False
        self._undrained = 0
        self._peer_ended = False  # its End has come, perhaps behind data that is not delivered yet
        self._stop_sent = False

    def __repr__(self) -> str:
        """Return number and state, for logs."""
        return f"<Stream {self.number} {self._state.name}>"

    def start(self, protocol: IProtocol) -> None:
        """Join the protocol that this is the transport of."""
        self._protocol = protocol
        self._half_closeable = IHalfCloseableProtocol.providedBy(protocol)
        self._tell(protocol.makeConnection, self)

    @property
    def disconnecting(self) -> bool:
        """Whether `loseConnection` was called."""
        return self._losing

    def _tell(self, method: Callable[..., object], *args: object) -> None:
        """Call the protocol or its producer; a mistake of theirs ends this stream and no other."""
        try:
            method(*args)
        except Exception:
            self.log.failure("{stream} is reset: its protocol failed", stream=self)
            self.abortConnection()

    # What the protocol calls: sending.

    def write(self, data: bytes) -> None:
        """Queue bytes; `ITransport.write`."""
        if not data or not self._may_write():
            return
        self._out.push(data)
        if not self._ready and self._out.credit:
            self._become_ready()
        if self._out.size > HIGH_WATER and self._streaming and not self._producer_paused:
            self._producer_paused = True
            self._tell(self._producer.pauseProducing)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Queue pieces of bytes; `ITransport.writeSequence`."""
        self.write(b"".join(data))

    def _may_write(self) -> bool:
        if self._protocol is None or self._state in (State.WE_ENDED, State.CLOSED):
            return False
        return not self._ending or self._producer is not None

    def queued(self) -> int:
        """Return the bytes written that have not left yet; see `IStream`."""
        return self._out.size

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See `IConsumer.registerProducer`; a producer that registers too late is stopped."""
        if self._producer is not None:
            raise RuntimeError(f"{self!r} has a producer already: {self._producer!r}")
        if self._protocol is None or self._state in (State.WE_ENDED, State.CLOSED):
            producer.stopProducing()
            return
        self._producer, self._streaming, self._producer_paused = producer, streaming, False
        if not streaming:
            self._producer_paused = True
            self._mux.later(self._ask_producer)

    def unregisterProducer(self) -> None:
        """See `IConsumer.unregisterProducer`."""
        self._producer = None
        self._streaming = self._producer_paused = False
        if self._ending:
            self._become_ready()

    def _ask_producer(self) -> None:
        if self._producer is not None and self._producer_paused and self._out.size <= LOW_WATER:
            self._producer_paused = not self._streaming  # a pull producer is asked every time
            self._tell(self._producer.resumeProducing)

    def loseWriteConnection(self) -> None:
        """End our way behind what is queued; `IHalfCloseableDescriptor`."""
        if self._protocol is not None and not self._ending:
            self._ending = True
            self._become_ready()

    def loseConnection(self) -> None:
        """End both ways, ours behind what is queued; `ITransport.loseConnection`."""
        if self._protocol is None or self._losing:
            return
        self._losing = True
        self._stop_reading()
        self.loseWriteConnection()
        if self._state in (State.WE_ENDED, State.CLOSED):  # our End has left: nothing to wait for
            self._mux.later(self._disconnect, ConnectionDone())

    def abortConnection(self) -> None:
        """Reset the stream; `ITCPTransport.abortConnection`."""
        if self._protocol is None:
            return
        if self._state is not State.CLOSED:
            self._mux.signal(frames.reset(self.number, frames.ResetCode.ABORTED))
        self._happened(Event.RESET)
        self._mux.later(self._disconnect, ConnectionAborted())

    # What the protocol calls: receiving.

    def pauseProducing(self) -> None:
        """Deliver nothing until `resumeProducing`; see `IPushProducer`."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on delivering; what has arrived meanwhile comes at the end of this turn."""
        if self._paused:
            self._paused = False
            self._pay()
            if self._arrived or self._peer_ended:
                self._mux.later(self.catch_up)

    def stopProducing(self) -> None:
        """End the stream; see `IProducer`."""
        self.loseConnection()

    def _stop_reading(self) -> None:
        """Deliver nothing any more and tell the peer so."""
        self._reading = False
        self._undrained = 0
        self._arrived.drop()
        if not self._stop_sent and not self._peer_ended and self._state is not State.CLOSED:
            self._stop_sent = True
            self._mux.signal(frames.stop(self.number))

    # What the mux calls: the peer's doing.

    def expect(self, count: int) -> None:
        """Count the peer's next bytes, which `deliver` will bring, against its credit."""
        if self._peer_ended:
            raise ProtocolError(f"data for stream {self.number} after its end")
        self.window.received(count)

    def deliver(self, data: bytes) -> None:
        """Take the peer's next bytes."""
        if self._reading:
            self._arrived.push(data)
            if not self._paused:
                self._mux.fresh(self)

    def catch_up(self) -> None:
        """Deliver what has arrived, in large pieces, then the peer's end if it came too."""
        while self._arrived and not self._paused and self._protocol is not None:
            piece = self._arrived.take()
            self._undrained += len(piece)
            self._tell(self._protocol.dataReceived, piece)
        if not self._paused and self._reading:
            self._pay()
            if self._peer_ended and not self._arrived:
                self._tell_peer_ended()

    def _pay(self) -> None:
        """Give the peer credit for what has drained."""
        drained, self._undrained = self._undrained, 0
        if drained and self._mux.drained(self.window, drained) and not self._peer_ended:
            self._mux.signal(frames.limit(self.number, self.window.limit))

    def raise_limit(self, limit: int) -> None:
        """Take more credit: the peer will now receive ``limit`` bytes in all."""
        self._out.raise_limit(limit)
        if self._out.size and self._out.credit and not self._ready:
            self._become_ready()

    def peer_ended(self) -> None:
        """The peer's way is over: its End has come."""
        if (self._state, Event.END_RECEIVED) not in TRANSITIONS:
            raise ProtocolError(f"a second end of stream {self.number}")
        self._peer_ended = True
        self._happened(Event.END_RECEIVED)
        if self._reading and not self._arrived and not self._paused:
            self._tell_peer_ended()

    def _tell_peer_ended(self) -> None:
        """Let the protocol know that no more data comes; close it if that was all."""
        self._reading = False
        over = self._state is State.CLOSED
        if self._half_closeable:
            self._tell(self._protocol.readConnectionLost)  # type: ignore[union-attr]
        if over or not self._half_closeable:
            self.loseWriteConnection()
            self._losing = True
            self._disconnect(ConnectionDone())

    def peer_stopped(self) -> None:
        """The peer will read no more: drop what is queued and answer with an End."""
        self._out.drop()
        self._ending = True
        if self._streaming and self._producer_paused:
            self._mux.later(self._ask_producer)  # what it produces is dropped, but it may find its end
        if (self._state, Event.END_SENT) in TRANSITIONS:
            self._send_end()

    def peer_reset(self, text: str) -> None:
        """The peer has reset the stream."""
        self._happened(Event.RESET)
        self._disconnect(ConnectionLost(text or "reset by the peer"))

    def lost(self, reason: Exception) -> None:
        """The session is over: everything ends as a reset."""
        self._happened(Event.RESET)
        self._disconnect(ConnectionLost(str(reason)))

    # What the mux calls: sending.

    def take(self, most: int, parts: list[bytes | memoryview]) -> int:
        """Append up to ``most`` queued bytes, within the credit, to ``parts``; return how many."""
        return self._out.take(most, parts)

    def turn_over(self) -> bool:
        """Finish a turn in the mux; return whether the stream wants another one."""
        if self._producer_paused and self._out.size <= LOW_WATER:
            self._ask_producer()
        if self._out.size:
            self._ready = self._out.credit > 0
            return self._ready
        self._ready = False
        if self._ending and not self._producer_paused and (self._state, Event.END_SENT) in TRANSITIONS:
            self._send_end()
        return False

    def _send_end(self) -> None:
        self._mux.signal(frames.end(self.number))
        self._happened(Event.END_SENT)
        if self._losing or (self._state is State.CLOSED and not self._reading):
            self._mux.later(self._disconnect, ConnectionDone())
        else:
            self._mux.later(self._tell_we_ended)

    def _tell_we_ended(self) -> None:
        if self._protocol is not None and self._half_closeable:
            self._tell(self._protocol.writeConnectionLost)  # type: ignore[attr-defined]

    def _become_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._mux.ready(self)

    def _happened(self, event: Event) -> None:
        """Move on in the table; a closed stream leaves the mux."""
        self._state = TRANSITIONS[self._state, event]
        if self._state is State.CLOSED:
            if event is Event.RESET:
                self._out.drop()
                self._arrived.drop()
                self._undrained, self._reading = 0, False
            self._mux.closed(self, bool(self._arrived))

    def _disconnect(self, reason: Exception) -> None:
        """Tell the protocol, once, that its transport is gone."""
        protocol, self._protocol = self._protocol, None
        if protocol is None:
            return
        if self._state is State.CLOSED:
            self._mux.released(self)
        producer, self._producer = self._producer, None
        self._streaming = self._producer_paused = False
        if producer is not None:
            self._tell(producer.stopProducing)
        self._tell(protocol.connectionLost, Failure(reason))

    # The rest of ITCPTransport.

    def getHost(self) -> IAddress:  # type: ignore[override]
        """Return the tunnel's end of the stream."""
        return self._host

    def getPeer(self) -> IAddress:  # type: ignore[override]
        """Return the other end: at a client, the visitor."""
        return self._peer

    def getTcpNoDelay(self) -> bool:
        """Return true: a stream never waits for more to send."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Change nothing: see `getTcpNoDelay`."""

    def getTcpKeepAlive(self) -> bool:
        """Return true: the session watches its link."""
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Change nothing: see `getTcpKeepAlive`."""
