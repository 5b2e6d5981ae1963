"""The relay's half of a TLS tunnel: visitors are found by server name, their bytes untouched."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer

from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, IEdgeHost, IPublication
from burrow.protocols.raw import VisitorFactory


@implementer(IListenerClaim)
class TlsClaim:
    """Takes newcomers whose server name is bound by a ``tls`` tunnel, whatever their ALPN."""

    kind = "tls"
    tls = True

    def __init__(self, host: IEdgeHost) -> None:
        """Look names up at ``host``."""
        self._host = host

    def claim(self, arrival: Arrival) -> IProtocolFactory | None:
        """See `IListenerClaim.claim`; the stream starts with the ClientHello as it came."""
        name = arrival.server_name
        if not name or self._host.scheme("tls", name) != "tls":
            return None
        tunnel = self._host.route("tls", name)
        return None if tunnel is None else VisitorFactory(tunnel, "tls", name)


@implementer(IEdge)
class TlsEdge:
    """See `IEdge`."""

    def __init__(self, host: IEdgeHost) -> None:
        """Take part in the relay's shared listeners."""
        host.claim(TlsClaim(host))

    def bind(self, publication: IPublication) -> None:
        """Take the TLS side of the hostname."""
        publication.publish("tls", "tls")
