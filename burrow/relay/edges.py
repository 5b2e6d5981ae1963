"""What the relay gives to its edges: routes, certificates, and a part in the shared listeners."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from zope.interface import implementer

from burrow.interfaces.listener import IListenerClaim
from burrow.interfaces.protocol import IEdge, IEdgeHost, ITunnelProtocol
from burrow.net.listening import Claims
from burrow.net.tls import TLSFactory
from burrow.relay.certificates import Certificates
from burrow.relay.routing import Routes, TunnelRecord


@implementer(IEdgeHost)
class EdgeHost:
    """See `IEdgeHost`."""

    def __init__(
        self, clock: IReactorTime, claims: Claims, routes: Routes, certificates: Certificates
    ) -> None:
        """Give edges what the relay has."""
        self.clock = clock
        self._claims, self._routes, self._certificates = claims, routes, certificates

    def claim(self, claim: IListenerClaim) -> None:
        """See `IEdgeHost.claim`."""
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


def make_edges(protocols: Mapping[str, ITunnelProtocol], host: EdgeHost) -> dict[str, IEdge]:
    """Make the edge of every protocol, by the protocol's name."""
    return {name: protocol.edge(host) for name, protocol in protocols.items()}
