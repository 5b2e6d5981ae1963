"""The visitor: one connection at the edge, its requests one after the other.

A request is read only when the answer before it is complete, so answers are in order by
construction. What a visitor sends ahead waits unread, up to `PIPELINE_LIMIT`; then its connection
is not read from. Each tunnel that it asks for gets a lane of its own, kept for later requests.
"""

from __future__ import annotations

from enum import Enum, auto

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from burrow.http.edit import H2C_FIELDS, without_fields
from burrow.http.grammar import Framing
from burrow.http.limits import DEFAULT_LIMITS
from burrow.http.reader import END, Event, RequestReader
from burrow.http.refusal import HttpRefused
from burrow.http.request import RequestHead, read_request_head
from burrow.interfaces.stream import IStream, Visitor
from burrow.protocols.http.deadline import Deadline
from burrow.protocols.http.exchange import Exchange
from burrow.protocols.http.gate import Declined, Gate
from burrow.protocols.http.handover import hand_over
from burrow.protocols.http.lane import Lane
from burrow.protocols.http.lanes import Lanes
from burrow.protocols.http.pages import Page, render
from burrow.protocols.join import Leg, join
from burrow.protocols.raw import numeric_address

HEAD_TIMEOUT = 30.0  #: seconds from the first byte of a head to its last
IDLE_TIMEOUT = 120.0  #: seconds that a kept connection may be silent
LINGER_TIMEOUT = 10.0  #: seconds in which a visitor that still sends can read what was answered
FLUSH_TIMEOUT = 120.0  #: seconds that a closing connection has to take its last bytes
SERVE_DEADLINE = 5.0  #: seconds that a request waits for somebody to serve its tunnel (contract 5.2)
PIPELINE_LIMIT = 65_536  #: bytes sent ahead that wait unread


class Phase(Enum):
    """What a visitor's connection is doing."""

    WAITING = auto()  #: for a request
    EXCHANGING = auto()
    SWITCHED = auto()  #: it does not speak HTTP any more
    LINGERING = auto()  #: all is answered; it may still be sending
    GONE = auto()

    followers: tuple[Phase, ...]


# A tuple at each member: looked up for every exchange, and an Enum's hash is slow.
for _phase, _followers in {
    Phase.WAITING: (Phase.EXCHANGING, Phase.LINGERING, Phase.GONE),
    Phase.EXCHANGING: (Phase.WAITING, Phase.SWITCHED, Phase.LINGERING, Phase.GONE),
    Phase.SWITCHED: (Phase.GONE,),
    Phase.LINGERING: (Phase.GONE,),
    Phase.GONE: (Phase.GONE,),
}.items():
    _phase.followers = _followers


@implementer(IHalfCloseableProtocol, IPushProducer)
class VisitorConnection(Protocol):
    """One visitor; the asker of its exchanges."""

    log = Logger()
    transport: IStream

    def __init__(self, gate: Gate, clock: IReactorTime) -> None:
        """Route by ``gate``, keep time by ``clock``."""
        self._gate = gate
        self._reader = RequestReader()
        self._deadline = Deadline(clock, self._timed_out)
        self._phase = Phase.WAITING
        self._exchange: Exchange | None = None
        self._lanes = Lanes()
        self._reading = True  # whether the visitor's bytes are wanted
        self._full = False  # whether the visitor takes no more bytes
        self._advancing = False
        self._half_closed = False  # the visitor has sent its last byte
        self._head_begun = True  # the first head's time runs from the connection's beginning

    # --- the transport's calls

    def connectionMade(self) -> None:
        """Wait for a first request."""
        self.transport.registerProducer(self, True)
        self._deadline.set(HEAD_TIMEOUT)

    def dataReceived(self, data: bytes) -> None:
        """Read on; nothing more of a visitor that is being closed."""
        if self._phase is Phase.LINGERING or self._phase is Phase.GONE:
            return
        self._reader.feed(data)
        self._advance()

    def pauseProducing(self) -> None:
        """The visitor is slow: so is the tunnel, for it."""
        self._full = True
        if self._lanes.present is not None:
            self._lanes.present.hold(True)

    def resumeProducing(self) -> None:
        """The visitor has caught up."""
        self._full = False
        if self._lanes.present is not None:
            self._lanes.present.hold(False)
        if self._phase is Phase.WAITING:
            self._advance()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    def readConnectionLost(self) -> None:
        """The visitor has sent its last byte; what it asked for whole is still answered."""
        self._half_closed = True
        if self._phase is Phase.LINGERING:
            self.transport.loseConnection()
        elif self._phase is Phase.WAITING:
            self._advance()
        elif self._phase is Phase.EXCHANGING and self._exchange is not None and not self._exchange.asked:
            self._drop_request()

    def writeConnectionLost(self) -> None:
        """Our end has left."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything: cleanly if the visitor went so, else by resets."""
        self._deadline.stop()
        cleanly = bool(reason.check(ConnectionDone))
        self._let_go(cleanly and (self._exchange is None or self._exchange.asked))
        self._enter(Phase.GONE)

    # --- requests

    def _advance(self) -> None:
        """Read up to the end of a request whose answer is not complete."""
        if self._advancing:
            return
        self._advancing = True
        parts: list[bytes] = []
        try:
            while self._may_read() and (event := self._reader.next_event()) is not None:
                self._take(event, parts)
        except HttpRefused as refusal:
            self._refuse(refusal)
        finally:
            self._advancing = False
        self._pass_on(parts)
        self._settle()

    def _may_read(self) -> bool:
        if self._phase is Phase.EXCHANGING:
            return self._exchange is not None and not self._exchange.asked
        return self._phase is Phase.WAITING and not self._full

    def _take(self, event: Event, parts: list[bytes]) -> None:
        if isinstance(event, RequestHead):
            self._start(event, parts)
        elif isinstance(event, bytes):
            parts.append(event)
        elif event is END and self._exchange is not None:
            self._exchange.asked = True

    def _pass_on(self, parts: list[bytes]) -> None:
        lane = self._lanes.present
        if parts and self._phase is Phase.EXCHANGING and lane is not None:
            lane.send(parts[0] if len(parts) == 1 else b"".join(parts))

    def _settle(self) -> None:
        """Read from the visitor or not, and mind the time, as things stand now."""
        if self._phase is Phase.WAITING:
            waiting = self._reader.unread and self._full
            if self._half_closed and not waiting:
                self._close()
                return
            if self._reader.unread and not self._full:
                self._mind_head()
        self.lane_moves()

    def _mind_head(self) -> None:
        """A head has begun: from its first byte on its time runs, whatever trickles in."""
        if not self._head_begun:
            self._head_begun = True
            self._deadline.set(HEAD_TIMEOUT)

    def _start(self, head: RequestHead, parts: list[bytes]) -> None:
        self._deadline.clear()
        try:
            tunnel = self._gate.tunnel_for(head)
        except Declined as declined:
            self._decline(head, declined.page)
            return
        if b"h2c" in head.upgrade:
            # An upstream that took the offer would be out of reach of every check made here.
            head = read_request_head(without_fields(head.raw, H2C_FIELDS), DEFAULT_LIMITS)
        self._enter(Phase.EXCHANGING)
        self._exchange = exchange = Exchange(head, tunnel, self)
        parts[:] = [head.raw]
        lane = self._lanes.find(tunnel)
        if lane is None:
            self._dial(exchange)
        else:
            lane.begin(exchange)

    def _dial(self, exchange: Exchange) -> Lane:
        lane = self._lanes.add(exchange.tunnel)
        lane.begin(exchange)
        lane.dial(self._visitor(exchange.head.host), SERVE_DEADLINE)
        return lane

    def _visitor(self, name: str) -> Visitor:
        peer = self.transport.getPeer()
        return Visitor(numeric_address(peer.host), peer.port, self._gate.scheme, name)

    # --- answers of our own

    def _decline(self, head: RequestHead, page: Page) -> None:
        whole = head.framing is Framing.NONE and self._reader.next_event() is END
        self._answer(page, head, whole)

    def _refuse(self, refusal: HttpRefused) -> None:
        """Answer a request that cannot be read; if one is being answered already, cut that."""
        self.log.info("{peer} refused: {why}", peer=self._peer(), why=refusal.reason)
        exchange = self._exchange
        if exchange is not None and exchange.begun:
            self._abort()
            return
        self._let_go(False)
        self._answer(Page(refusal.status, "The request was refused.", (refusal.reason,)), None, False)

    def _answer(self, page: Page, head: RequestHead | None, whole: bool) -> None:
        """Send a page; keep the connection if the request was read whole and wants that."""
        keep = whole and head is not None and head.minor == 1 and head.keep_alive
        self.transport.write(render(page, head, close=not keep))
        self._exchange = None
        if keep:
            self._wait()
        else:
            self._close()

    def _peer(self) -> str:
        peer = self.transport.getPeer()
        return f"{peer.host} port {peer.port}"

    # --- what a lane calls: see Asker

    def deliver(self, data: bytes) -> None:
        """See `Asker`."""
        self.transport.write(data)

    def lane_moves(self) -> None:
        """See `Asker`."""
        if self._phase is Phase.EXCHANGING:
            lane, exchange = self._lanes.present, self._exchange
            asking = exchange is not None and not exchange.asked
            blocked = asking and lane is not None and lane.full
            wanted = not blocked and (asking or self._reader.unread < PIPELINE_LIMIT)
        else:
            wanted = self._phase is not Phase.WAITING or not self._full or not self._reader.unread
        if wanted is not self._reading and self._phase is not Phase.GONE:
            self._reading = wanted
            if wanted:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    def complete(self, exchange: Exchange) -> None:
        """See `Asker`."""
        self._exchange = None
        if not exchange.keeps_alive:
            self._let_go(exchange.asked)
            self._close()
            return
        self._wait()
        if self._reader.unread or self._half_closed or not self._reading:
            self._advance()

    def cut(self, exchange: Exchange) -> None:
        """See `Asker`."""
        self._abort()

    def fail(self, exchange: Exchange, page: Page | None, repeat: bool) -> None:
        """See `Asker`."""
        if repeat and exchange.repeatable:
            self._dial(exchange).send(exchange.head.raw)
        elif page is None:
            self._exchange = None
            self._let_go(False)
            self._enter(Phase.LINGERING)
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        else:
            self._answer(page, exchange.head, exchange.asked)
            self._advance()

    def switch(self, exchange: Exchange, transport: IStream, data: bytes) -> Leg:
        """See `Asker`."""
        self._exchange = None
        self._lanes.leave()
        self._let_go(True)
        self._deadline.stop()
        self._enter(Phase.SWITCHED)
        self.lane_moves()
        self.transport.unregisterProducer()
        self.transport.write(data)
        if not self._gate.half_closes:
            # A join asks the transport itself, and Twisted's TLS over a socket does not say so.
            alsoProvides(self.transport, ISSLTransport)
        mine, lanes = join(self.transport, transport)
        hand_over(self, mine)
        if rest := self._reader.take_rest():
            mine.dataReceived(rest)
        if self._half_closed:
            mine.readConnectionLost()
        return lanes

    # --- ends

    def _enter(self, phase: Phase) -> None:
        if phase not in self._phase.followers:
            raise RuntimeError(f"no way from {self._phase} to {phase}")
        self._phase = phase

    def _wait(self) -> None:
        if self._phase is Phase.EXCHANGING:
            self._enter(Phase.WAITING)
        self._head_begun = False
        self._deadline.set(IDLE_TIMEOUT)

    def _close(self) -> None:
        """Close behind what is queued, in a way that lets a visitor that still sends read it."""
        self._let_go(True)
        self._enter(Phase.LINGERING)
        self.transport.unregisterProducer()
        self.lane_moves()
        if self._half_closed or not self._gate.half_closes:
            self._deadline.set(FLUSH_TIMEOUT)
            self.transport.loseConnection()
        else:
            self._deadline.set(LINGER_TIMEOUT)
            self.transport.loseWriteConnection()

    def _abort(self) -> None:
        """Reset: what was answered must not look whole."""
        self._let_go(False)
        self._enter(Phase.LINGERING)
        self.transport.abortConnection()

    def _drop_request(self) -> None:
        """The visitor ended in the middle of a request, which nobody may take for whole."""
        exchange = self._exchange
        self._let_go(False)
        if exchange is not None and exchange.begun:
            self._abort()
        else:
            self._close()

    def _let_go(self, cleanly: bool) -> None:
        """Close all lanes, the present exchange's cleanly or by a reset."""
        self._exchange = None
        self._lanes.close(cleanly)

    def _timed_out(self) -> None:
        if self._phase is Phase.LINGERING:
            self._flush_timed_out()
        elif self._reader.unread:
            self._refuse(HttpRefused(408, f"wanted a whole head within {HEAD_TIMEOUT:g} seconds"))
        else:
            self._close()

    def _flush_timed_out(self) -> None:
        if self._half_closed or not self._gate.half_closes:
            self.transport.abortConnection()
        else:
            self._half_closed = True  # it had its time: whatever else it sends is not waited for
            self._deadline.set(FLUSH_TIMEOUT)
            self.transport.loseConnection()
