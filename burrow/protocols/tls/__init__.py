"""The tunnel protocol ``tls``: TLS passed through by its server name (rows C1, C2, C5, C6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from burrow.interfaces.protocol import IEdge, IEdgeHost, IForwarderHost, ITunnelProtocol
from burrow.interfaces.upstream import IUpstream
from burrow.settings import TEXT, Schema, Setting

__all__ = ["protocol"]

SUBDOMAIN = Setting(
    "subdomain", TEXT, "name under the relay's domain; random if not set", edge=True, example="shop"
)
HOSTNAME = Setting(
    "hostname", TEXT, "full hostname, reserved beforehand", edge=True, example="dev.example.com"
)


@implementer(ITunnelProtocol, IPlugin)
class TlsProtocol:
    """See `ITunnelProtocol`."""

    name = "tls"
    summary = "share a TLS service under a public name, its encryption untouched"
    settings = Schema((SUBDOMAIN, HOSTNAME))
    schemes: tuple[str, ...] = ()

    def edge(self, host: IEdgeHost) -> IEdge:
        """See `ITunnelProtocol.edge`."""
        from burrow.protocols.tls.edge import TlsEdge

        return TlsEdge(host)

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """See `ITunnelProtocol.forwarder`."""
        from burrow.protocols.tls.forwarder import ForwarderFactory

        return ForwarderFactory(upstream, host.name)


protocol = TlsProtocol()
