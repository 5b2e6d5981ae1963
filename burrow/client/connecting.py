"""Connecting to the relay: one attempt from an address to an established session.

The endpoint is what `twisted.application.internet.ClientService` retries: to it a session is a
connection whose transport is a `SessionTransport`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
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
from twisted.logger import Logger, LogLevel
from twisted.protocols.amp import CommandLocator
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import SessionLost, SessionRefused
from burrow.names import is_localhost
from burrow.net.tls import TLSClientEndpoint
from burrow.net.trust import describe
from burrow.net.turn import turn_end
from burrow.session.handshake import Dialler, Offer, Welcome
from burrow.session.link import Link
from burrow.session.session import Session

ATTEMPT = 30.0  #: seconds that one attempt may take, from the name to the session
FIRST_DELAY = 0.5  #: seconds before the second attempt, on average
LONGEST_DELAY = 10.0  #: seconds between two attempts at most
LEAST_DELAY = 0.1  #: seconds between two attempts at least
GROWTH = 1.7  #: how much longer the bound is after one more failure
FULL_GROWN = 30  #: failures after which the bound grows no more; powers of large numbers overflow


def retry_delay(failures: int) -> float:
    """Return how long to wait after so many failures: full jitter under a growing bound."""
    steps = min(max(failures, 1), FULL_GROWN) - 1
    bound = min(LONGEST_DELAY, 2 * FIRST_DELAY * GROWTH**steps)
    return random.uniform(LEAST_DELAY, bound)  # noqa: S311 - spreads load, guards nothing


def _timed_out(result: object, seconds: float) -> Failure:
    """Return what an attempt without a result in time fails with, whatever cancelling it brought."""
    return Failure(TimeoutError(seconds, "a session"))


def endpoint_to(reactor: Any, address: str, port: int) -> IStreamClientEndpoint:
    """Return the endpoint of a name or a numeric address; only a name needs a resolver's thread."""
    if isIPAddress(address):
        endpoint: IStreamClientEndpoint = TCP4ClientEndpoint(reactor, address, port, timeout=ATTEMPT)
    elif isIPv6Address(address):
        endpoint = TCP6ClientEndpoint(reactor, address, port, timeout=ATTEMPT)
    else:
        endpoint = HostnameEndpoint(reactor, address, port, timeout=ATTEMPT)
    return endpoint


@implementer(ITransport)
class SessionTransport:
    """A session in the place of a connection's transport.

    Attributes:
        session: The session.
        welcome: What the relay said when it began.
        link: What carries it.
    """

    def __init__(self, session: Session, welcome: Welcome, link: Link) -> None:
        """Stand for ``session``, which ``link`` carries."""
        self.session, self.welcome, self.link = session, welcome, link
        self._peer = link.peer

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
        dialling_since: When the attempt that is under way began, on the reactor's clock, or ``None``.
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
        address: str = "",
    ) -> None:
        """Lead to a relay.

        Args:
            reactor: Connects and tells the time.
            host: Name or numeric address; ``*.localhost`` is this machine (RFC 6761).
            port: Where it takes sessions.
            tls: Verifies the relay; see `burrow.net.tls`.
            offer: What is said in every Hello.
            address: Where ``host`` is, if that is known: a numeric address.
        """
        self._reactor, self._offer, self._tls = reactor, offer, tls
        self._name = f"{host}:{port}"
        address = address or ("127.0.0.1" if is_localhost(host) else host)
        self._endpoint = endpoint_to(reactor, address, port)
        self._turn_end = turn_end(reactor)
        self.dialling_since: float | None = None
        self._told = ""
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
        return attempt.addTimeout(ATTEMPT, self._reactor, _timed_out).addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        """Tell why there is no session, unless it is because nobody wants it any more."""
        error = failure.value or ConnectError()
        if isinstance(error, SessionRefused):
            self.refused(error)
            self._tell(f"it refuses the session: {error}")
        elif isinstance(error, TimeoutError):
            self._tell(f"nothing within {ATTEMPT:g} s; trying again")
        elif not isinstance(error, CancelledError | ConnectingCancelledError):
            self._tell(f"{describe(error)}; trying again")
        return failure

    def _tell(self, why: str) -> None:
        """Log why an attempt failed; loudly only if it is not why the last one did."""
        level = LogLevel.debug if why == self._told else LogLevel.error
        self._told = why
        self.log.emit(level, "no session with {relay}: {why}", relay=self._name, why=why)

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        self.dialling_since = self._reactor.seconds()
        try:
            transport = await self._dial()
        finally:
            self.dialling_since = None
        session, self._told = transport.session, ""
        protocol = factory.buildProtocol(transport.getPeer())
        if protocol is None:
            session.close()
            raise ConnectError(string="nobody wants the session")
        protocol.makeConnection(transport)
        session.ended().addCallback(lambda reason: protocol.connectionLost(Failure(reason)))
        return protocol

    async def _dial(self) -> SessionTransport:
        dialler = Dialler(self._offer, self._reactor, self._turn_end, CommandLocator())
        factory = Factory.forProtocol(lambda: dialler.link)
        factory.noisy = False
        await TLSClientEndpoint(self._endpoint, self._tls, self._reactor, buffering=False).connect(factory)
        session, welcome = await dialler.established
        if not session.attached:
            raise SessionLost("the relay ended the session at once")
        return SessionTransport(session, welcome, dialler.link)
