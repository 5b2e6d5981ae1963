"""The client as a Twisted service: keeps a session with the relay, and its tunnels bound in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol as Typing

from twisted.application.internet import ClientService
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.client.connecting import RelayEndpoint, SessionTransport, retry_delay
from burrow.client.tunnels import Tunnel
from burrow.errors import SessionLost, SessionRefused, TunnelRefused
from burrow.interfaces.stream import address_text
from burrow.session.session import Session

BIND_AGAIN = 10.0  #: seconds after which a refused tunnel is asked for again
BYE_TIMEOUT = 1.0  #: seconds that telling the relay about the end may take
STALE = 1.0  #: seconds after which an attempt under way is given up when the network returns
FATAL = {105, 106, 107}  #: codes of a refused session that no retry will change (contract 1.6)


class Network(Typing):
    """What tells that the network may be there again; see `burrow.client.network`."""

    def start(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` whenever it may be."""

    def stop(self) -> None:
        """Call it no more."""


class Watcher(Typing):
    """Whoever shows what happens to the user; every call may be ignored."""

    def tunnel_up(self, tunnel: Tunnel) -> None:
        """A tunnel is public under its ``urls``."""

    def tunnel_refused(self, tunnel: Tunnel, error: TunnelRefused) -> None:
        """The relay declined a tunnel; it is asked again later."""

    def session_refused(self, error: SessionRefused) -> None:
        """The relay declined the session for good: nothing more is tried."""


class Presence(Protocol):
    """A session as `ClientService` sees it: a connection that is there or lost."""

    transport: SessionTransport

    def __init__(self, client: Client) -> None:
        """Report to ``client``."""
        self._client = client

    def connectionMade(self) -> None:
        """Report the session."""
        self._client.session_up(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report its end."""
        self._client.session_down(reason.value)


class Client(Service):
    """See the module's first line.

    Attributes:
        tunnels: What it keeps bound.
        session: The session, or ``None`` between two.
        given_up: Whether the relay declined the session for good.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: RelayEndpoint,
        tunnels: list[Tunnel],
        watcher: Watcher,
        network: Network | None = None,
    ) -> None:
        """Prepare; nothing is connected before `startService`.

        Args:
            clock: Tells the time.
            endpoint: Where sessions come from.
            tunnels: What to keep bound.
            watcher: Told what happens.
            network: Watched while the service runs, if there is one.
        """
        self.tunnels = tunnels
        self.session: Session | None = None
        self.given_up = False
        self._network = network
        self._clock, self._watcher, self._endpoint = clock, watcher, endpoint
        endpoint.refused = self._refused
        self._again: dict[Tunnel, IDelayedCall] = {}
        self._refusals: dict[Tunnel, str] = {}  # what was logged last
        factory = Factory.forProtocol(lambda: Presence(self))
        factory.noisy = False
        self._connection = ClientService(endpoint, factory, retryPolicy=retry_delay, clock=clock)

    def startService(self) -> None:
        """Connect, and keep connecting."""
        super().startService()
        self.given_up = False
        if self._network is not None:
            self._network.start(self.network_is_back)
        self._connection.startService()

    def stopService(self) -> Deferred[None]:
        """Close the session cleanly; fires when the relay has been told, or cannot be."""
        super().stopService()
        session = self.session
        if self._network is not None:
            self._network.stop()
        closing = [self._connection.stopService()]
        if session is not None:
            closing.append(session.closed().addTimeout(BYE_TIMEOUT, self._clock))
        return DeferredList(closing, consumeErrors=True).addCallback(lambda _: None)

    def network_is_back(self) -> None:
        """Try to connect at once, unless a session is there or an attempt has only just begun.

        An older attempt is given up: what it sent may be lost, and is sent again ever more seldom.
        """
        if not self.running or self.given_up or self.session is not None:
            return
        since = self._endpoint.dialling_since
        if since is None or self._clock.seconds() - since >= STALE:
            self._connection.stopService().addCallback(lambda _: self._connect())

    def _connect(self) -> None:
        if self.running and not self.given_up:
            self._connection.startService()

    # What the session tells.

    def session_up(self, transport: SessionTransport) -> None:
        """Bind every tunnel."""
        self.session = transport.session
        peer = address_text(transport.getPeer())
        self.log.info("session {session} established with {relay}", session=self.session, relay=peer)
        for tunnel in self.tunnels:
            self._bind(tunnel)

    def session_down(self, reason: BaseException | None) -> None:
        """Forget the session; `ClientService` makes the next one."""
        self.session = None
        for call in self._again.values():
            call.cancel()
        self._again.clear()
        for tunnel in self.tunnels:
            tunnel.lost()
        if self.running:
            self.log.warn("session lost: {reason}", reason=reason)

    def _bind(self, tunnel: Tunnel) -> None:
        self._again.pop(tunnel, None)
        if self.session is not None:
            binding = Deferred.fromCoroutine(tunnel.bind(self.session))
            binding.addCallbacks(self._bound, self._not_bound, (tunnel,), {}, (tunnel,))
            binding.addErrback(lambda failure: self.log.failure("a tunnel could not be bound", failure))

    def _bound(self, _: None, tunnel: Tunnel) -> None:
        self._refusals.pop(tunnel, None)
        for url in tunnel.urls:
            self.log.info(
                "tunnel {name}: {url} -> {addr}", name=tunnel.definition.name, url=url, addr=tunnel.address
            )
        self._watcher.tunnel_up(tunnel)

    def _not_bound(self, failure: Failure, tunnel: Tunnel) -> None:
        error = failure.value
        if isinstance(error, SessionLost):
            return
        if not isinstance(error, TunnelRefused):
            failure.raiseException()
            return
        name = tunnel.definition.name
        if self.session is not None:
            self._again[tunnel] = self._clock.callLater(BIND_AGAIN, self._bind, tunnel)
        self._watcher.tunnel_refused(tunnel, error)
        if self._refusals.get(tunnel) != str(error):
            self._refusals[tunnel] = str(error)
            self.log.error("tunnel {name} is refused: {error}", name=name, error=error)

    def _refused(self, error: SessionRefused) -> None:
        if error.code in FATAL and not self.given_up:
            self.given_up = True
            self._connection.stopService()
            self._watcher.session_refused(error)
