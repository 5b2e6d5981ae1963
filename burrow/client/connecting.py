"""Connecting to the relay: one attempt from an address to an established session.

The endpoint is what `twisted.application.internet.ClientService` retries: to it a session is a
connection whose transport is a `SessionTransport`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.amp import CommandLocator
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import SessionRefused
from burrow.names import is_localhost
from burrow.net.tls import TLSClientEndpoint
from burrow.net.trust import describe
from burrow.net.turn import turn_end
from burrow.session.handshake import Dialler, Offer, Welcome
from burrow.session.session import Session

ATTEMPT = 30.0  #: seconds that one attempt may take, from the name to the session
FIRST_DELAY = 0.5  #: seconds before the second attempt, on average
LONGEST_DELAY = 10.0  #: seconds between two attempts at most


def retry_delay(failures: int) -> float:
    """Return how long to wait after so many failures: full jitter under a growing bound."""
    bound = min(LONGEST_DELAY, 2 * FIRST_DELAY * 1.7 ** (failures - 1))
    return random.uniform(0.1, bound)  # noqa: S311 - spreads load, guards nothing


@implementer(ITransport)
class SessionTransport:
    """A session in the place of a connection's transport."""

    def __init__(self, session: Session, welcome: Welcome, peer: IAddress) -> None:
        """Stand for ``session``, which leads to ``peer``."""
        self.session, self.welcome, self._peer = session, welcome, peer

    def loseConnection(self) -> None:
        """Close the session cleanly."""
        self.session.close()

    def getPeer(self) -> IAddress:
        """Return the relay's address."""
        return self._peer

    def getHost(self) -> IAddress:
        """Return the relay's address: a session has none of its own."""
        return self._peer

    def write(self, data: bytes) -> None:
        """Refuse: a session carries streams, not bytes."""
        raise TypeError("a session carries streams, not bytes")

    def writeSequence(self, data: object) -> None:
        """Refuse: see `write`."""
        raise TypeError("a session carries streams, not bytes")


@implementer(IStreamClientEndpoint)
class RelayEndpoint:
    """Where sessions come from.

    Attributes:
        dialling: Whether an attempt is under way.
        refused: Called with the error when the relay declines a session.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        host: str,
        port: int,
        tls: IOpenSSLClientConnectionCreator,
        offer: Offer,
    ) -> None:
        """Lead to a relay.

        Args:
            reactor: Connects and tells the time.
            host: Name or numeric address; ``*.localhost`` is this machine (RFC 6761).
            port: Where it takes sessions.
            tls: Verifies the relay; see `burrow.net.tls`.
            offer: What is said in every Hello.
        """
        self._reactor, self._offer, self._tls = reactor, offer, tls
        self._name = f"{host}:{port}"
        address = "127.0.0.1" if is_localhost(host) else host
        self._endpoint = HostnameEndpoint(reactor, address, port, timeout=ATTEMPT)
        self._turn_end = turn_end(reactor)
        self.dialling = False
        self.refused: Callable[[SessionRefused], None] = lambda error: None

    def __repr__(self) -> str:
        """Return the address, for logs."""
        return self._name

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Establish a session; the protocol's transport is a `SessionTransport`.

        Raises:
            SessionRefused: The relay declined.
            ConnectError: It cannot be reached or verified; logged here, in one line.
        """
        attempt = Deferred.fromCoroutine(self._connect(factory))
        return attempt.addTimeout(ATTEMPT, self._reactor)

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        self.dialling = True
        try:
            session, welcome, peer = await self._dial()
        except SessionRefused as error:
            self.log.error("{relay} refuses the session: {error}", relay=self._name, error=error)
            self.refused(error)
            raise
        except Exception as error:
            self.log.error("cannot reach {relay}: {error}", relay=self._name, error=describe(error))
            raise
        finally:
            self.dialling = False
        protocol = factory.buildProtocol(peer)
        if protocol is None:
            session.close()
            raise ConnectError(string="nobody wants the session")
        protocol.makeConnection(SessionTransport(session, welcome, peer))
        session.ended().addCallback(lambda reason: protocol.connectionLost(Failure(reason)))
        return protocol

    async def _dial(self) -> tuple[Session, Welcome, IAddress]:
        dialler = Dialler(self._offer, self._reactor, self._turn_end, CommandLocator())
        factory = Factory.forProtocol(lambda: dialler.link)
        factory.noisy = False
        await TLSClientEndpoint(self._endpoint, self._tls, self._reactor, buffering=False).connect(factory)
        session, welcome = await dialler.established
        return session, welcome, dialler.link.peer
