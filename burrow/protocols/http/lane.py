"""The lane: one visitor connection's stream to one tunnel, for one exchange after another.

It reads the answers to know where they end, and hands their very bytes on. What the upstream says
is not believed: bytes that answer nothing, two lengths, a cut body and any nonsense reset the
stream, and the visitor gets a 502, or an answer that is visibly cut.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import BurrowError, TunnelOffline, VisitorRefused
from burrow.http.reader import END, ResponseReader
from burrow.http.refusal import HttpRefused
from burrow.http.response import SWITCHING, ResponseHead
from burrow.interfaces.stream import IStream, Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.protocols.http.exchange import Exchange
from burrow.protocols.http.handover import hand_over
from burrow.protocols.http.pages import Page

RETRY_AFTER = 5  #: seconds that a visitor is told to wait for a tunnel that is offline

OFFLINE = Page(
    503,
    "The tunnel is there, but its client is not connected at the moment.",
    ("It may be reconnecting; try again in a few seconds.",),
    (("Retry-After", str(RETRY_AFTER)),),
)


def bad_gateway(why: str) -> Page:
    """Return the page of a local service whose answer is none."""
    return Page(502, "The local service gave no answer that can be passed on.", (why,))


@implementer(IHalfCloseableProtocol, IPushProducer)
class Lane(Protocol):
    """One stream, from the edge's end."""

    log = Logger()
    transport: IStream

    def __init__(self, tunnel: ITunnel) -> None:
        """Be a lane to ``tunnel``, not connected yet."""
        self.tunnel = tunnel
        self.full = True  #: takes no more of a request's body at the moment
        self.usable = True  #: can take another exchange when the present one has ended
        self._reader = ResponseReader()
        self._exchange: Exchange | None = None
        self._early: list[bytes] = []
        self._dialling: Deferred[IProtocol] | None = None
        self._used = False  # an exchange was completed on it
        self._held = False
        self._deaf = False  # the upstream reads no more

    # --- for the asker

    def dial(self, visitor: Visitor, deadline: float) -> None:
        """Connect; ``deadline`` in seconds."""
        self._dialling = self.tunnel.connect(_LaneFactory(self), visitor, deadline)
        self._dialling.addCallbacks(self._dialled, self._not_dialled)

    def begin(self, exchange: Exchange) -> None:
        """Take the next exchange, the one before being complete."""
        self._exchange = exchange
        self._reader.expect(exchange.head)

    def send(self, data: bytes) -> None:
        """Send bytes of the present exchange's request."""
        if not self.connected:
            self._early.append(data)
        elif not self._deaf:
            self.transport.write(data)

    def hold(self, held: bool) -> None:
        """Deliver nothing of the answer until it is held no longer.

        An exchange begins only while its visitor takes bytes, so no lane begins held.
        """
        if held is self._held:
            return
        self._held = held
        if self.connected and self.usable:
            if held:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def close(self, cleanly: bool = True) -> None:
        """Give up, whatever is going on: end the stream cleanly, or reset it."""
        self._exchange = None
        if not self.usable:
            return
        self.usable = self.full = False
        if self._dialling is not None:
            self._dialling.cancel()
        elif self.connected:
            self.transport.unregisterProducer()
            if cleanly:
                self.transport.loseConnection()
            else:
                self.transport.abortConnection()

    # --- the stream's calls

    def connectionMade(self) -> None:
        """Send what has waited for the stream."""
        self.full = False
        self.transport.registerProducer(self, True)
        if self._early:
            early, self._early = self._early, []
            self.transport.write(b"".join(early))
        if self._exchange is not None:
            self._exchange.asker.lane_moves()

    def dataReceived(self, data: bytes) -> None:
        """Read the answer on, and hand its bytes on if all of them are right."""
        if not self.usable:
            return
        self._reader.feed(data)
        try:
            parts, ended = self._read()
        except HttpRefused as refusal:
            self._misbehaved(refusal)
            return
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.answer is not None and exchange.answer.status == SWITCHING:
            self._switch(exchange, parts)
            return
        if parts:
            exchange.begun = True
            exchange.asker.deliver(parts[0] if len(parts) == 1 else b"".join(parts))
        if ended:
            self._completed(exchange)

    def pauseProducing(self) -> None:
        """The stream is full: no more of the request's body."""
        self._fill(True)

    def resumeProducing(self) -> None:
        """The stream has drained."""
        self._fill(False)

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    def readConnectionLost(self) -> None:
        """The upstream has sent its last byte, which may be how an answer ends."""
        if self.usable:
            self._ended(cleanly=True)

    def writeConnectionLost(self) -> None:
        """The upstream reads no more; it may still answer."""
        self._deaf = True
        self._fill(False)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The stream is gone; that ends an answer only if it was not reset."""
        self.connected = 0
        if self.usable:
            self._ended(cleanly=bool(reason.check(ConnectionDone)))

    # --- reading

    def _read(self) -> tuple[list[bytes], bool]:
        """Return the bytes to hand on, and whether they end the answer."""
        parts: list[bytes] = []
        ended = False
        while (event := self._reader.next_event()) is not None:
            if event is END:
                ended = True  # any byte behind it raises in the next round
            elif isinstance(event, bytes):
                parts.append(event)
            elif isinstance(event, ResponseHead):
                self._take_head(event, parts)
        return parts, ended

    def _take_head(self, head: ResponseHead, parts: list[bytes]) -> None:
        exchange = self._exchange
        assert exchange is not None  # noqa: S101 - the reader refuses answers to nothing
        if not head.interim:
            exchange.answer = head
        elif exchange.head.minor == 0:
            return  # HTTP/1.0 knows no interim answers (RFC 9110 section 15.2)
        parts.append(head.raw)

    def _completed(self, exchange: Exchange) -> None:
        self._exchange = None
        self._used = True
        if not exchange.keeps_alive or self._deaf:
            self.close(cleanly=exchange.asked)
        exchange.asker.complete(exchange)

    def _switch(self, exchange: Exchange, parts: list[bytes]) -> None:
        if not exchange.asked:
            self._misbehaved(HttpRefused(502, "a switch of protocols before the request's end"))
            return
        self._exchange = None
        self.hold(False)
        self.transport.unregisterProducer()
        exchange.begun = True
        data = b"".join([*parts, self._reader.take_rest()])
        hand_over(self, exchange.asker.switch(exchange, self.transport, data))

    # --- ends

    def _ended(self, cleanly: bool) -> None:
        exchange, untouched = self._exchange, self._used and not self._reader.unread
        problem: str | None = None
        try:
            ended = self._reader.finish() is END and cleanly
        except HttpRefused as refusal:
            ended, problem = False, refusal.reason
        self.close(cleanly and (exchange is None or exchange.asked))
        if exchange is None:
            return
        if ended:
            exchange.asker.complete(exchange)
        else:
            self._broken(exchange, problem or "the connection was reset", untouched and cleanly)

    def _misbehaved(self, refusal: HttpRefused) -> None:
        self.log.info(
            "tunnel {tunnel}: the local service's answer is refused: {why}",
            tunnel=self.tunnel.name,
            why=refusal.reason,
        )
        exchange = self._exchange
        self.close(cleanly=False)
        if exchange is not None:
            self._broken(exchange, refusal.reason, False)

    def _broken(self, exchange: Exchange, why: str, repeat: bool) -> None:
        if exchange.begun:
            exchange.asker.cut(exchange)
        else:
            exchange.asker.fail(exchange, bad_gateway(why), repeat)

    def _fill(self, full: bool) -> None:
        if full is not self.full:
            self.full = full and not self._deaf
            if self._exchange is not None:
                self._exchange.asker.lane_moves()

    # --- dialling

    def _dialled(self, protocol: IProtocol) -> None:
        self._dialling = None

    def _not_dialled(self, failure: Failure) -> None:
        self._dialling = None
        exchange = self._exchange
        self.close()
        if exchange is None or failure.check(CancelledError):
            return
        page: Page | None = OFFLINE
        if failure.check(VisitorRefused):
            page = None
        elif not failure.check(BurrowError):
            self.log.failure("tunnel {tunnel}: no stream", failure, tunnel=self.tunnel.name)
            page = Page(502, "The tunnel cannot be reached.")
        elif not failure.check(TunnelOffline):
            self.log.info("tunnel {tunnel}: {why}", tunnel=self.tunnel.name, why=failure.getErrorMessage())
        exchange.asker.fail(exchange, page, False)


class _LaneFactory(Factory):
    """Gives a lane its stream."""

    noisy = False

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def buildProtocol(self, addr: IAddress | None) -> Lane:
        """Return the lane."""
        return self._lane
