"""The tunnel protocol ``tcp``: any TCP service under a public port (rows D1 to D4)."""

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

REMOTE_ADDR = Setting(
    "remote_addr",
    TEXT,
    "public address to listen at, HOST:PORT or PORT, reserved beforehand",
    edge=True,
    example="relay.example.com:20022",
)


@implementer(ITunnelProtocol, IPlugin)
class TcpProtocol:
    """See `ITunnelProtocol`."""

    name = "tcp"
    summary = "share a TCP service under a public port"
    settings = Schema((REMOTE_ADDR,))
    schemes: tuple[str, ...] = ()

    def edge(self, host: IEdgeHost) -> IEdge:
        """See `ITunnelProtocol.edge`."""
        from burrow.protocols.tcp.edge import TcpEdge

        return TcpEdge()

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """See `ITunnelProtocol.forwarder`."""
        from burrow.protocols.tcp.forwarder import ForwarderFactory

        return ForwarderFactory(upstream, host.name)


protocol = TcpProtocol()
