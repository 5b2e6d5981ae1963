"""The link: what carries a session at the moment, one transport read and written in link boxes.

A link parses and writes boxes, answers pings, and notices a silent peer. It knows nothing of
streams: whoever it is handed to with `attach` numbers the bytes and reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol as Typing

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHandshakeListener,
    INegotiated,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import ProtocolError
from burrow.interfaces.stream import address_text
from burrow.wire import frames
from burrow.wire.boxes import Box, BoxReader, Buffer

ALPN = b"burrow/1"  #: the protocol's name in TLS
HELLO_TIMEOUT = 10.0  #: seconds that a transport may take to be authenticated
HELLO_BYTES = 16_384  #: bytes that a transport may bring before it is authenticated
HEARTBEAT = 10.0  #: seconds without a byte from the peer after which it is asked for one
SILENCE = 5.0  #: seconds without a byte while something is owed after which the link is dead
ACK_PATIENCE = 30.0  #: seconds that a living peer may take to acknowledge a byte
CHECK = 1.0  #: seconds between two looks at these
CLOSE_TIMEOUT = 5.0  #: seconds that a transport may take to close behind a Bye
MOST_PONGS = 100  #: written while the peer reads nothing; more means a peer that floods


class Greeter(Typing):
    """What a link talks to before it carries a session."""

    def ready(self, link: Link) -> None:
        """Begin: the transport is there, and its TLS is verified."""

    def box(self, link: Link, pairs: Box) -> None:
        """Take a box."""

    def lost(self, reason: Exception) -> None:
        """Give up: the transport went before a session began."""


class Carried(Typing):
    """What a link carries: a session."""

    def segment(self, ack: int, offset: int, length: int) -> None:
        """Take the head of a Segment."""

    def inner(self, data: Buffer, start: int, end: int) -> None:
        """Take the next bytes of the inner stream."""

    def read(self) -> None:
        """Hand on what came: a read of the transport is read to its end."""

    def wake(self) -> None:
        """There is room again, or a turn is wanted: send what waits at the end of the turn."""

    def bye(self, code: int, text: str) -> None:
        """The peer ended the session."""

    def link_lost(self, link: Link, reason: Exception) -> None:
        """The transport is gone."""

    def owed_since(self) -> float | None:
        """Return when the oldest byte without acknowledgement was sent, or ``None``."""

    def measured(self, round_trip: float) -> None:
        """Take a new measurement of the round-trip time in seconds."""


@implementer(IPushProducer, IHandshakeListener)
class Link(Protocol):
    """One transport of a session.

    Attributes:
        writable: Whether the transport has room; nothing but pongs and Bye is written meanwhile.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, greeter: Greeter) -> None:
        """Wait for a transport; ``greeter`` is told what happens until `attach`."""
        self._clock = clock
        self._greeter: Greeter | None = greeter
        self._carried: Carried | None = None
        self._boxes = BoxReader(frames.SEGMENT, self._segment, self._inner, self._box, frames.HELLO_LIMIT)
        self._received = 0  # bytes before attach
        self._heard = 0.0  # when the last byte came
        self._asked: float | None = None  # when the ping without answer was sent
        self._pings = 0
        self._pongs = 0  # written since the transport last had room
        self._timer: IDelayedCall | None = None
        self._closed: list[Deferred[None]] = []
        self.writable = True
        self._gone = False
        self.dead = False  # nothing is read or written any more

    # The transport's calls.

    def connectionMade(self) -> None:
        """Start the deadline and the greeting."""
        if self.dead:  # given up before it was there
            self.abort()
            return
        self._heard = self._clock.seconds()
        self._set_timer(HELLO_TIMEOUT, self._too_late)
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]
        if not INegotiated.providedBy(self.transport):  # no TLS to wait for
            self._ready()

    def handshakeCompleted(self) -> None:
        """Begin the greeting if the peer speaks this protocol; `IHandshakeListener`."""
        protocol = self.transport.negotiatedProtocol  # type: ignore[union-attr]
        if protocol == ALPN:
            self._ready()
        else:
            self.fail(ProtocolError(f"it speaks {protocol!r}, not {ALPN!r}"))

    def _ready(self) -> None:
        if self._greeter is not None:
            self._greeter.ready(self)

    def dataReceived(self, data: bytes) -> None:
        """Read boxes; one that breaks a rule ends the session."""
        if self.dead:
            return
        self._heard = self._clock.seconds()
        if self._carried is None:
            self._received += len(data)
        try:
            self._boxes.feed(data, 0, len(data))
            if self._carried is None and self._received > HELLO_BYTES:
                raise ProtocolError(f"more than {HELLO_BYTES} bytes before the session began")
        except ProtocolError as error:
            self.fail(error)
        if self._carried is not None:
            self._carried.read()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go, and tell whom this link carried."""
        self._set_timer(None)
        self.dead = self._gone = True
        self._let_go(reason.value or ConnectionLost())
        waiting, self._closed = self._closed, []
        for deferred in waiting:
            deferred.callback(None)

    def pauseProducing(self) -> None:
        """Write nothing that can wait."""
        self.writable = False

    def resumeProducing(self) -> None:
        """Go on writing at the end of this turn."""
        self.writable = True
        self._pongs = 0
        if self._carried is not None:
            self._carried.wake()

    def stopProducing(self) -> None:
        """Do nothing: the transport is going, and says so by `connectionLost`."""

    # The session's calls.

    def attach(self, carried: Carried) -> None:
        """Carry a session from now on; the greeting is over."""
        self._carried, self._greeter = carried, None
        self._boxes.limit = frames.LINK_LIMIT
        self._set_timer(CHECK, self._check)
        self._ping()

    def write(self, *boxes: bytes) -> None:
        """Write whole link boxes."""
        if not self.dead:
            self.transport.writeSequence(boxes)  # type: ignore[union-attr]

    def close(self, code: int, text: str) -> None:
        """Say Bye and close behind it."""
        if not self.dead:
            self.write(frames.bye(code, text))
            self._leave()

    def _leave(self) -> None:
        """Close the transport behind what is written; a peer that reads nothing delays it only so long."""
        self.dead = True
        self._set_timer(CLOSE_TIMEOUT, self.abort)
        self.transport.unregisterProducer()  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]

    def abort(self) -> None:
        """Drop the transport without waiting for anything; one that is not there yet as soon as it is."""
        self.dead = True
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def closed(self) -> Deferred[None]:
        """Return what fires when the transport is gone, and with it all that was written."""
        waiting: Deferred[None] = Deferred()
        if self._gone:
            waiting.callback(None)
        else:
            self._closed.append(waiting)
        return waiting

    def fail(self, error: ProtocolError) -> None:
        """End the session, unless it is over: its peer broke a rule."""
        if self.dead:
            return
        self.log.warn("{peer} is dropped: {error}", peer=address_text(self.peer), error=error)
        self.close(error.code or frames.ByeCode.PROTOCOL, str(error))
        self._let_go(error)

    def _let_go(self, reason: BaseException) -> None:
        """Tell, once, whom this link served that it is over."""
        error = reason if isinstance(reason, Exception) else ConnectionLost(str(reason))
        carried, self._carried = self._carried, None
        greeter, self._greeter = self._greeter, None
        if carried is not None:
            carried.link_lost(self, error)
        elif greeter is not None:
            greeter.lost(error)

    # Boxes. What stands behind the one that ended the session is passed over.

    def _segment(self, ack: int, offset: int, length: int) -> None:
        if self.dead:
            return
        if self._carried is None:
            raise ProtocolError("a Segment before the session began")
        self._carried.segment(ack, offset, length)

    def _inner(self, data: Buffer, start: int, end: int) -> None:
        if self._carried is not None and not self.dead:
            self._carried.inner(data, start, end)

    def _box(self, box: Box) -> None:
        if self.dead:
            return
        kind = next(iter(box))
        if self._greeter is not None:
            self._greeter.box(self, box)
        elif kind == b"q":
            self._pinged(self._token(box, kind))
        elif kind == b"r":
            self._ponged(self._token(box, kind))
        elif kind == b"x":
            self._bye(*frames.code_and_text(box))
        else:
            raise ProtocolError(f"a link box of unknown kind {kind[:32]!r}")

    @staticmethod
    def _token(box: Box, key: bytes) -> bytes:
        if len(box) != 1 or len(box[key]) != 8:
            raise ProtocolError(f"a ping or pong of another shape, with {len(box)} pairs")
        return box[key]

    def _bye(self, code: int, text: str) -> None:
        carried, self._carried = self._carried, None
        self._leave()
        if carried is not None:
            carried.bye(code, text)

    # Liveness.

    def _ping(self) -> None:
        self._pings += 1
        self._asked = self._clock.seconds()
        self.write(frames.ping(struct.pack(">Q", self._pings)))

    def _pinged(self, token: bytes) -> None:
        if not self.writable:
            self._pongs += 1
        if self._pongs > MOST_PONGS:
            raise ProtocolError(f"{self._pongs} pings while it reads no pong", frames.ByeCode.LIMIT)
        self.write(frames.pong(token))

    def _ponged(self, token: bytes) -> None:
        if token != struct.pack(">Q", self._pings) or self._asked is None:
            raise ProtocolError(f"a pong {token!r} that answers nothing")
        asked, self._asked = self._asked, None
        if self._carried is not None:
            self._carried.measured(self._clock.seconds() - asked)

    def _too_late(self) -> None:
        self.log.info(
            "{peer} is dropped: no session in {limit:g} s", peer=address_text(self.peer), limit=HELLO_TIMEOUT
        )
        self.abort()

    def _check(self) -> None:
        """Look whether the peer is alive and acknowledges."""
        if self.dead or self._carried is None:
            return
        self._set_timer(CHECK, self._check)
        now = self._clock.seconds()
        sent = self._carried.owed_since()
        owed = min((at for at in (sent, self._asked) if at is not None), default=None)
        if owed is not None and now - max(self._heard, owed) >= SILENCE:
            self.log.info("no byte from {peer} for {limit:g} s", peer=address_text(self.peer), limit=SILENCE)
            self.abort()
        elif sent is not None and now - sent >= ACK_PATIENCE:
            self.fail(ProtocolError(f"nothing acknowledged for {ACK_PATIENCE:g} s"))
        elif self._asked is None and now - self._heard >= HEARTBEAT:
            self._ping()

    def _set_timer(self, delay: float | None, call: Callable[[], None] | None = None) -> None:
        """Make ``call`` after ``delay`` seconds, in place of the call that was due."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None or call is None else self._clock.callLater(delay, call)

    @property
    def peer(self) -> IAddress:
        """Where the transport leads."""
        address: IAddress = self.transport.getPeer()  # type: ignore[union-attr]
        return address
