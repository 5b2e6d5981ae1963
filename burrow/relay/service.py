"""The relay as a Twisted service: its listeners, and everything behind them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import ConfigError
from burrow.interfaces.account import IAccounts
from burrow.interfaces.protocol import ITunnelProtocol
from burrow.net.listening import Claims, SharedListener
from burrow.net.turn import turn_end
from burrow.net.wheel import Wheel
from burrow.relay.certificates import Certificates
from burrow.relay.client_session import Publishing
from burrow.relay.edges import EdgeHost, make_edges
from burrow.relay.policy import WhitelistPolicy
from burrow.relay.publishing import Names, Place, Ports, Publication
from burrow.relay.routing import Routes, TunnelRecord
from burrow.relay.sessions import House, SessionClaim, Sessions
from burrow.relay.tickets import Claim, Tickets

WITH_URLS = frozenset(["http", "https", "tls"])  #: kinds whose port stands in URLs


class RelayReactor(IReactorTCP, IReactorTime):
    """What the relay takes of a reactor."""


@dataclass(frozen=True)
class Entrance:
    """One shared port of a relay.

    Attributes:
        name: What messages call it.
        endpoint: Where it listens.
        kinds: What is served there.
    """

    name: str
    endpoint: IStreamServerEndpoint
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Admission:
    """How much a relay admits; see the settings of the same names.

    Attributes:
        hello_timeout: Seconds.
        sessions: Of an account at a time.
        tunnels: Of a session.
        streams: Of a session, open.
        unauthenticated: Connections at a time that nobody has taken yet, and as many whose Hello
            is not answered yet.
    """

    hello_timeout: float = 10.0
    sessions: int = 100
    tunnels: int = 100
    streams: int = 10_000
    unauthenticated: int = 4_096


class Relay(Service):
    """See the module's first line.

    Attributes:
        ports: The listening ports, in the order of the entrances.
    """

    log = Logger()

    def __init__(
        self,
        reactor: RelayReactor,
        place: Place,
        regions: tuple[str, ...],
        entrances: Sequence[Entrance],
        accounts: IAccounts,
        certificates: Certificates,
        protocols: Mapping[str, ITunnelProtocol],
        admission: Admission,
        ticket_key: bytes,
    ) -> None:
        """Prepare; nothing listens before the service starts.

        Args:
            reactor: Listens and tells the time.
            place: The relay's name and its tunnels' ports.
            regions: Served here, its own first; empty for any.
            entrances: The shared ports.
            accounts: Who may have sessions, names and ports.
            certificates: For the relay's own name and the names that it ends TLS for.
            protocols: The tunnel protocols by name.
            admission: The limits.
            ticket_key: Signs tickets; see `burrow.relay.tickets`.
        """
        self.ports: list[IListeningPort] = []
        self._entrances, self._admission = entrances, admission
        self._public_ports: dict[str, int] = {}  # by scheme, known when listening
        place = replace(place, public_ports=self._public_ports)
        self._wheel = Wheel(reactor)
        self._claims = Claims()
        routes = Routes()
        names, ports = Names(place, routes, accounts), Ports(place, accounts, reactor)

        def publication(tunnel: TunnelRecord, claim: Claim) -> Publication:
            return Publication(tunnel, place, routes, names, ports, claim)

        edges = make_edges(protocols, EdgeHost(reactor, self._claims, routes, certificates))
        policy = WhitelistPolicy()
        tickets = Tickets(ticket_key, time.time)
        served = {name: protocols[name] for name in edges}
        publishing = Publishing(served, edges, policy, publication, tickets, admission.tunnels)
        house = House(place.domain, regions, admission.sessions, admission.streams, admission.unauthenticated)
        self._sessions = Sessions(reactor, turn_end(reactor), accounts, house, publishing)
        self._claims.add(SessionClaim(self._sessions, certificates, place.domain, reactor))

    def privilegedStartService(self) -> None:
        """Listen.

        Raises:
            ConfigError: A port cannot be had; the message names it.
        """
        super().privilegedStartService()
        self._sessions.start()
        try:
            for entrance in self._entrances:
                self.ports.append(self._listen(entrance))
        except ConfigError:
            self._close_ports()
            raise
        for entrance, port in zip(self._entrances, self.ports, strict=True):
            where: Any = port.getHost()
            if isinstance(where, IPv4Address | IPv6Address):
                for kind in WITH_URLS.intersection(entrance.kinds):
                    self._public_ports.setdefault(kind, where.port)
                where = f"{where.host}:{where.port}"
            self.log.info("listening on {where} for {kinds}", where=where, kinds=", ".join(entrance.kinds))

    def _listen(self, entrance: Entrance) -> IListeningPort:
        listener = SharedListener(
            self._claims,
            entrance.kinds,
            self._wheel,
            hello_timeout=self._admission.hello_timeout,
            waiting_limit=self._admission.unauthenticated,
        )
        outcome: list[Any] = []
        entrance.endpoint.listen(listener).addBoth(outcome.append)
        if not outcome or isinstance(outcome[0], Failure):
            reason = outcome[0].value if outcome else None
            problem = getattr(reason, "socketError", reason) or "it did not say at once"
            raise ConfigError(f"cannot listen on {entrance.name}: {problem}") from reason
        port: IListeningPort = outcome[0]
        return port

    def stopService(self) -> Deferred[None]:
        """Stop listening, end all sessions; fires when every port is closed."""
        super().stopService()
        closing = [*self._close_ports(), self._sessions.stop()]
        return gatherResults(closing, consumeErrors=True).addCallback(lambda _: None)

    def _close_ports(self) -> list[Deferred[Any]]:
        ports, self.ports = self.ports, []
        return [maybeDeferred(port.stopListening) for port in ports]
