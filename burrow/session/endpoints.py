"""A tunnel inside a session as a pair of Twisted endpoints: one end connects, the other listens.

The relay holds a `ConnectingEnd` for each visitor, the client a `ListeningEnd` for each tunnel.
"""

from __future__ import annotations

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from burrow.interfaces.stream import Visitor
from burrow.session.session import Session


@implementer(IStreamClientEndpoint)
class ConnectingEnd:
    """Where a visitor of one tunnel is connected to."""

    def __init__(self, session: Session, tunnel: int, visitor: Visitor) -> None:
        """Lead ``visitor`` to the tunnel that the peer listens for under that number."""
        self._session, self._tunnel, self._visitor = session, tunnel, visitor

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Open a stream; it needs no answer, so the Deferred has fired already.

        Raises:
            SessionLost: The session is over.
            TunnelRefused: The peer allows no more streams, or the factory built nothing.
        """
        return execute(self._session.open, self._tunnel, self._visitor, protocolFactory)


@implementer(IStreamServerEndpoint)
class ListeningEnd:
    """Where the streams of one tunnel arrive."""

    def __init__(self, session: Session, tunnel: int) -> None:
        """Take streams to the tunnel with that number, which is this side's own choice."""
        self._session, self._tunnel = session, tunnel

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Take streams from now on: the factory gets each one's `Visitor` as its address."""
        port = ListeningTunnel(self._session, self._tunnel, protocolFactory)
        port.startListening()
        return succeed(port)


@implementer(IListeningPort)
class ListeningTunnel:
    """A tunnel that takes streams until it is told to stop."""

    def __init__(self, session: Session, tunnel: int, factory: IProtocolFactory) -> None:
        """Take nothing before `startListening`."""
        self._session, self._tunnel, self._factory = session, tunnel, factory

    def startListening(self) -> None:
        """Take streams."""
        self._session.mux.listen(self._tunnel, self._factory)

    def stopListening(self) -> Deferred[None]:
        """Refuse streams from now on; those that are open go on."""
        self._session.mux.unlisten(self._tunnel)
        return succeed(None)

    def getHost(self) -> HostnameAddress:
        """Return the tunnel's number in its session."""
        return HostnameAddress(b"tunnel", self._tunnel)
