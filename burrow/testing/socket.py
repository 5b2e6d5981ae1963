"""One end of an in-memory connection: a socket with a bounded kernel buffer, moved by a wire."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProducer, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.interfaces.stream import IStream, Visitor

CAPACITY = 65_536  #: bytes that a direction holds before writes queue up

CLIENT = Visitor("192.0.2.7", 40_001, "memory")
SERVER = Visitor("192.0.2.1", 443, "memory")


class Writing(Enum):
    """How far a socket is with the end of what it sends."""

    OPEN = auto()
    ENDING = auto()  #: loseWriteConnection was called, bytes are queued before the end
    ENDED = auto()  #: the end is on its way, behind the bytes in the kernel
    READ = auto()  #: the peer has seen the end


ENDED = (Writing.ENDED, Writing.READ)


@implementer(IStream)
class MemorySocket:
    """One end of a `Wire`: what a protocol gets as its transport.

    Like a TCP socket, it stays open after both ways have ended until its protocol calls
    ``loseConnection``, and answers bytes that arrive after it is gone with a reset. With
    ``stops`` set it behaves as a stream: closing tells the peer that nothing more is read
    (``writeConnectionLost``), what the peer still sends is dropped, and an end that has sent and
    seen the end is closed by itself.

    Attributes:
        connected: Whether its protocol has not had ``connectionLost`` yet.
        reading: Whether its protocol wants bytes: not paused, not closing.
        producer: What is registered as producer, or ``None``.
        disconnecting: Whether ``loseConnection`` was called.
    """

    def __init__(
        self,
        protocol: IProtocol,
        capacity: int = CAPACITY,
        host: IAddress = SERVER,
        peer: IAddress = CLIENT,
        stops: bool = False,
    ) -> None:
        """Make one end for ``protocol``; `connect` makes and joins both."""
        self.protocol, self.capacity, self.stops = protocol, capacity, stops
        self.host, self.peer = host, peer
        self.connected, self.reading, self.disconnecting = True, True, False
        self.producer: Any = None
        self._streaming = self._producer_paused = False
        self._queue, self._kernel = bytearray(), bytearray()
        self._writing, self._aborted, self._stop_due = Writing.OPEN, False, False
        self._far: MemorySocket = self
        self._no_delay = self._keep_alive = False

    def join(self, far: MemorySocket) -> None:
        """Make ``far`` the other end."""
        self._far = far

    # --- what a protocol calls

    def write(self, data: bytes) -> None:
        """Send, as far as the direction has room; queue the rest and pause the producer."""
        if not isinstance(data, bytes):
            raise TypeError(f"Data must be bytes, got {type(data).__name__}")
        if not self._takes_bytes():
            return
        self._queue += data
        self._fill()
        if self._queue and self.producer is not None and self._streaming and not self._producer_paused:
            self._producer_paused = True
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def queued(self) -> int:
        """Return how many bytes were written and have found no room in the direction yet."""
        return len(self._queue)

    def in_flight(self) -> int:
        """Return how many bytes are on their way and have not been read by the peer."""
        return len(self._kernel)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take a producer; a second one is an error, as Twisted has it."""
        if self.producer is not None:
            raise RuntimeError(f"cannot register {producer}: {self.producer} is registered")
        if not self.connected:
            producer.stopProducing()
            return
        self.producer, self._streaming = producer, streaming
        self._producer_paused = False

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Deliver nothing until `resumeProducing`; the direction fills up."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Deliver again, from the next turn on."""
        self.reading = self.connected and not self.disconnecting

    def stopProducing(self) -> None:
        """Close, as Twisted's sockets do."""
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """End this way after the bytes that are queued."""
        if self._writing is Writing.OPEN:
            self._writing = Writing.ENDING

    def loseConnection(self) -> None:
        """Send what is queued, then close; waits for a registered producer to be unregistered."""
        self.disconnecting, self.reading = True, False

    def abortConnection(self) -> None:
        """Drop everything and reset, in the next turn."""
        if self.connected:
            self._aborted, self.reading = True, False
            self._queue.clear()
            self._kernel.clear()

    def getHost(self) -> IAddress:  # type: ignore[override]
        """Return attribute ``host``."""
        return self.host

    def getPeer(self) -> IAddress:  # type: ignore[override]
        """Return attribute ``peer``."""
        return self.peer

    def getTcpNoDelay(self) -> bool:
        """Return what was set."""
        return self._no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember the option."""
        self._no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        """Return what was set."""
        return self._keep_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Remember the option."""
        self._keep_alive = enabled

    # --- what a wire calls

    def turn(self, piece: int | None) -> bool:
        """Move this end's bytes and events one step; return whether anything happened."""
        if self._aborted:
            return self._reset()
        moved = self._carry(piece)
        moved = self._fill() or moved
        moved = self._resume_producer() or moved
        moved = self._finish_writing() or moved
        moved = self._deliver_end() or moved
        moved = self._deliver_stop() or moved
        return self._close() or moved

    def _takes_bytes(self) -> bool:
        closing = self.disconnecting and self.producer is None
        return self.connected and not self._aborted and self._writing is Writing.OPEN and not closing

    def _fill(self) -> bool:
        room = self.capacity - len(self._kernel)
        piece = self._queue[:room] if room > 0 else b""
        self._kernel += piece
        del self._queue[: len(piece)]
        return bool(piece)

    def _carry(self, piece: int | None) -> bool:
        if not self._kernel:
            return False
        if not self._far.connected:
            return self._undeliverable()
        if not self._far.reading:
            return False
        data = bytes(self._kernel[:piece])
        del self._kernel[: len(data)]
        self._far.protocol.dataReceived(data)
        return True

    def _undeliverable(self) -> bool:
        self._kernel.clear()
        if not self.stops:
            self._lost(ConnectionLost())
        return True

    def _resume_producer(self) -> bool:
        if self._queue or self.producer is None or (self._streaming and not self._producer_paused):
            return False
        before = len(self._kernel)
        self._producer_paused = False
        self.producer.resumeProducing()
        return self._streaming or self.producer is None or len(self._kernel) + len(self._queue) > before

    def _finish_writing(self) -> bool:
        if self._writing is not Writing.ENDING or self._queue:
            return False
        self._writing = Writing.ENDED
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None and self.connected:
            protocol.writeConnectionLost()
        return True

    def _deliver_end(self) -> bool:
        far = self._far
        seen = far.reading or not far.connected
        if self._writing is not Writing.ENDED or self._kernel or not seen:
            return False
        self._writing = Writing.READ
        protocol = IHalfCloseableProtocol(far.protocol, None)
        if protocol is None:
            far._lost(ConnectionDone())
        elif far.connected:
            protocol.readConnectionLost()
        return True

    def _deliver_stop(self) -> bool:
        far = self._far
        if not self._stop_due or self._writing is not Writing.READ or not far.connected:
            return False
        self._stop_due = False
        protocol = IHalfCloseableProtocol(far.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()
        far._lost(ConnectionDone())
        return True

    def _close(self) -> bool:
        both_ended = self.stops and self._writing in ENDED and self._far._writing is Writing.READ
        flushed = self.disconnecting and not self._queue and self.producer is None
        if not self.connected or not (flushed or both_ended):
            return False
        self._stop_due = self.stops
        self._lost(ConnectionDone())
        return True

    def _reset(self) -> bool:
        self._aborted = False
        self._writing = Writing.READ
        self._lost(ConnectionAborted())
        self._far._lost(ConnectionLost())
        return True

    def _lost(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = self.reading = self._aborted = False
        self._queue.clear()
        if self._writing is not Writing.READ:
            self._writing = Writing.ENDED
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))
