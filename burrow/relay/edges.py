"""What the relay gives to its edges: routes, certificates, and a part in the shared listeners."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from burrow.interfaces.listener import IListenerClaim
from burrow.interfaces.protocol import IEdge, IEdgeHost, ITunnelProtocol
from burrow.net.listening import Claims
from burrow.net.tls import TLSFactory
from burrow.relay.certificates import Certificates
from burrow.relay.routing import Routes, TunnelRecord

log = Logger()


@implementer(IEdgeHost)
class EdgeHost:
    """See `IEdgeHost`."""

    def __init__(
        self, clock: IReactorTime, claims: Claims, routes: Routes, certificates: Certificates
    ) -> None:
        """Give edges what the relay has."""
        self.clock = clock
        self._claims, self._routes, self._certificates = claims, routes, certificates
        self._waiting: list[IListenerClaim] | None = None

    def on_trial(self) -> EdgeHost:
        """Return one for a single edge, whose claims wait until `take_part`."""
        host = EdgeHost(self.clock, self._claims, self._routes, self._certificates)
        host._waiting = []
        return host

    def take_part(self) -> None:
        """Put the claims in force that were made so far; those to come are at once."""
        waiting, self._waiting = self._waiting or [], None
        for claim in waiting:
            self._claims.add(claim)

    def claim(self, claim: IListenerClaim) -> None:
        """See `IEdgeHost.claim`."""
        if self._waiting is not None:
            self._waiting.append(claim)
        else:
            self._claims.add(claim)

    def route(self, side: str, hostname: str) -> TunnelRecord | None:
        """See `IEdgeHost.route`."""
        return self._routes.tunnel(side, hostname)

    def scheme(self, side: str, hostname: str) -> str:
        """See `IEdgeHost.scheme`."""
        return self._routes.scheme(side, hostname)

    def end_tls(self, hostname: str, protocols: list[bytes], factory: IProtocolFactory) -> IProtocolFactory:
        """See `IEdgeHost.end_tls`."""
        context = self._certificates.context_for(hostname, tuple(protocols))
        secure: IProtocolFactory = TLSFactory(context, False, factory, self.clock)
        return secure


def make_edges(protocols: Mapping[str, ITunnelProtocol], relay: EdgeHost) -> dict[str, IEdge]:
    """Make the edge of every protocol, by the protocol's name; one that fails is named and left out.

    What an edge claimed before it failed is not asked.
    """
    edges: dict[str, IEdge] = {}
    for name, protocol in protocols.items():
        host = relay.on_trial()
        try:
            edges[name] = protocol.edge(host)
        except Exception as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            log.error(
                "plugin {name!r} is skipped: its edge cannot be made: {problem}", name=name, problem=problem
            )
            log.debug("{trace}", trace=traceback.format_exc())
        else:
            host.take_part()
    return edges
