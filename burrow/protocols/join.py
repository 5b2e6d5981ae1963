"""Two transports joined: what either receives goes to the other, ends and resets included.

A `NearLeg` is there first: it pauses its transport, dials, and is joined to the `Leg` that the
factory it dials with builds. `join` joins two transports that other protocols own already.

The two legs of a join treat what happens to one of them so:

=============================  ================================================================
the peer ends its way          the other's way is ended behind what is queued
a transport takes no more      nothing more is read from the other
both ways have ended           both are closed behind what is queued, each on its own from then on
lost, cleanly                  the other is closed behind what is queued
lost in any other way          the other is reset
=============================  ================================================================

A TLS transport has no half-close in Twisted: where its way would be ended, it is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.interfaces.stream import IStream, address_text

EARLY_LIMIT = 262_144  #: bytes that a near leg keeps while it dials: a whole ClientHello and one read

Dial = Callable[[IStream, IProtocolFactory], Deferred[IProtocol]]
Failed = Callable[[IStream, Failure], None]


class State(Enum):
    """Which ways of a leg's transport have ended."""

    OPEN = auto()
    PEER_ENDED = auto()
    WE_ENDED = auto()
    ENDED = auto()
    LOST = auto()


class Event(Enum):
    """What ends a way, or both."""

    END_RECEIVED = auto()
    END_SENT = auto()
    LOST = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.OPEN, Event.END_RECEIVED): State.PEER_ENDED,
    (State.OPEN, Event.END_SENT): State.WE_ENDED,
    (State.PEER_ENDED, Event.END_SENT): State.ENDED,
    (State.WE_ENDED, Event.END_RECEIVED): State.ENDED,
    # The end of a peer that was not read any more, because the other leg took nothing.
    (State.PEER_ENDED, Event.END_RECEIVED): State.PEER_ENDED,
    (State.ENDED, Event.END_RECEIVED): State.ENDED,
    **{(state, Event.LOST): State.LOST for state in State if state is not State.LOST},
}
TAKES_BYTES = (State.OPEN, State.PEER_ENDED)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Leg(Protocol):
    """One of two joined transports, as its protocol and as the other's producer."""

    transport: IStream

    def __init__(self) -> None:
        """Start open, and joined to nothing."""
        self._state = State.OPEN
        self._other: Leg | None = None

    def readConnectionLost(self) -> None:
        """The peer has sent its last byte: so has the other leg's transport."""
        self._happened(Event.END_RECEIVED)
        if self._other is not None:
            self._other.end()

    def writeConnectionLost(self) -> None:
        """Our end has left, or the peer takes no more: then nothing more is read for it."""
        if self._state in TAKES_BYTES:
            self._happened(Event.END_SENT)
            self.transport.unregisterProducer()
            if self._other is not None:
                self._other.stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the other leg after a clean end, reset it after any other."""
        settled = self._state is State.ENDED
        self._happened(Event.LOST)
        other, self._other = self._other, None
        if other is not None:
            other.let_go(bool(reason.check(ConnectionDone)), settled)

    def end(self) -> None:
        """Send no more than what is queued: the other leg's peer has ended."""
        if self._state not in TAKES_BYTES:
            return
        self._happened(Event.END_SENT)
        self.transport.unregisterProducer()
        if ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
            self._close_if_settled()

    def stop(self) -> None:
        """Read no more: the other leg's peer takes nothing."""
        self.dataReceived = drop  # type: ignore[method-assign]
        if self._state is not State.LOST:
            self.transport.pauseProducing()
            self._happened(Event.END_RECEIVED)
            self._close_if_settled()

    def let_go(self, cleanly: bool, settled: bool) -> None:
        """End for good: the other leg is lost.

        Args:
            cleanly: It was closed; else this leg is reset.
            settled: Both its ways had ended before: then how it was lost changes nothing here.
        """
        self._other = None
        if self._state is State.LOST:
            return
        self.transport.unregisterProducer()
        if cleanly or settled:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def _close_if_settled(self) -> None:
        other = self._other
        if other is not None and self._state is other._state is State.ENDED:
            self.transport.loseConnection()
            if self._other is other:  # else this leg was lost at once, and has let the other one go
                other.transport.loseConnection()

    def _happened(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state, event]

    def feed(self, other: Leg) -> None:
        """Let what this leg receives go to ``other``, which pauses this leg when it is full."""
        self._other = other
        self.pauseProducing = self.transport.pauseProducing  # type: ignore[method-assign]
        self.resumeProducing = self.transport.resumeProducing  # type: ignore[method-assign]
        other.transport.registerProducer(self, True)
        self.dataReceived = other.transport.write  # type: ignore[method-assign]

    def pauseProducing(self) -> None:
        """Read no more until `resumeProducing`; `feed` puts the transport's own method here."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again; `feed` puts the transport's own method here."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` of the consumer's leg says how this one has to end."""


def drop(data: bytes) -> None:
    """Take bytes that nobody wants."""


def join(a: IStream, b: IStream) -> tuple[Leg, Leg]:
    """Join two transports that are connected, whose protocols pass all further events on.

    Neither may have a producer registered; both have to be reading.

    Returns:
        The legs of ``a`` and ``b``: their ``dataReceived``, ``readConnectionLost``,
        ``writeConnectionLost`` and ``connectionLost`` are to be called for what happens there.
    """
    near, far = Leg(), Leg()
    near.makeConnection(a)
    far.makeConnection(b)
    near.feed(far)
    far.feed(near)
    return near, far


class NearLeg(Leg):
    """The leg that is there first, and dials the other one."""

    log = Logger()

    def __init__(self, dial: Dial, failed: Failed, early_limit: int = EARLY_LIMIT) -> None:
        """Prepare to dial.

        Args:
            dial: Connects the factory that it is given; called once, with this leg's transport.
            failed: Told why dialling failed, after this leg's transport was aborted.
            early_limit: The most bytes to keep until the far leg is there; more are a reset.
        """
        super().__init__()
        self._dial, self._failed, self._early_limit = dial, failed, early_limit
        self._early = bytearray()
        self._dialling: Deferred[IProtocol] | None = None

    def connectionMade(self) -> None:
        """Hold what the peer sends, and dial."""
        self.transport.pauseProducing()
        dialling = self._dial(self.transport, FarFactory(self))
        self._dialling = dialling
        dialling.addCallbacks(self._dialled, self._not_dialled)

    def dataReceived(self, data: bytes) -> None:
        """Keep what came before the far leg; whoever handed the transport over may have resumed it."""
        self._early += data
        self.transport.pauseProducing()
        if len(self._early) > self._early_limit:
            self.log.info(
                "{peer} sent over {limit} bytes too early: reset",
                peer=address_text(self.transport.getPeer()),
                limit=self._early_limit,
            )
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop dialling, or end the far leg in the same manner."""
        super().connectionLost(reason)
        self._early.clear()
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()

    def joined(self, far: Leg) -> None:
        """Be joined to the leg that was dialled; hand on what came early."""
        if self._state is State.LOST:
            far.transport.abortConnection()
            return
        if self._state is State.OPEN:
            self.transport.resumeProducing()  # before the far leg has a chance to pause it
        self.feed(far)
        if self._early:
            far.transport.write(bytes(self._early))
            self._early.clear()
        far.feed(self)
        if self._state is State.PEER_ENDED:
            far.end()

    def _dialled(self, protocol: IProtocol) -> None:
        self._dialling = None

    def _not_dialled(self, failure: Failure) -> None:
        self._dialling = None
        if self._state is not State.LOST:
            self.transport.abortConnection()
            self._failed(self.transport, failure)


class FarLeg(Leg):
    """The leg that is dialled; joins the one that dialled it as soon as it is connected."""

    def __init__(self, near: NearLeg) -> None:
        """Belong to ``near``."""
        super().__init__()
        self._near = near

    def connectionMade(self) -> None:
        """Join."""
        self._near.joined(self)


class FarFactory(Factory):
    """Builds the far leg of one near leg."""

    noisy = False

    def __init__(self, near: NearLeg) -> None:
        """Build for ``near``."""
        self._near = near

    def buildProtocol(self, addr: IAddress | None) -> FarLeg:
        """Build the leg that is dialled."""
        return FarLeg(self._near)
