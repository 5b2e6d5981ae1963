"""The relay's half of HTTP tunnels: claims visitors of shared listeners, publishes names."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from burrow.errors import ConfigError
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, IEdgeHost, IPublication
from burrow.protocols.http.gate import Gate
from burrow.protocols.http.visitor import VisitorConnection

#: What ALPN may choose where TLS is ended.
PROTOCOLS = [b"http/1.1"]


class VisitorFactory(Factory):
    """Builds the connections of visitors that come in by one side, under one server name."""

    noisy = False

    def __init__(self, gate: Gate, clock: IReactorTime) -> None:
        """Route by ``gate``, keep time by ``clock``."""
        self._gate, self._clock = gate, clock

    def buildProtocol(self, addr: IAddress | None) -> VisitorConnection:
        """Build one visitor's connection."""
        return VisitorConnection(self._gate, self._clock)


@implementer(IListenerClaim)
class PlainClaim:
    """Takes whoever does not open with TLS; what is no HTTP is answered 400."""

    kind = "http"
    tls = False

    def __init__(self, host: IEdgeHost) -> None:
        """Route by ``host``."""
        self._factory = VisitorFactory(Gate(host, "plain"), host.clock)

    def claim(self, arrival: Arrival) -> IProtocolFactory:
        """See `IListenerClaim.claim`."""
        return self._factory


@implementer(IListenerClaim)
class TlsClaim:
    """Takes whoever opens TLS for a name that is published as https; ends that TLS."""

    log = Logger()
    kind = "https"
    tls = True

    def __init__(self, host: IEdgeHost) -> None:
        """Route by ``host``."""
        self._host = host

    def claim(self, arrival: Arrival) -> IProtocolFactory | None:
        """See `IListenerClaim.claim`."""
        name = arrival.server_name
        if not name or self._host.scheme("tls", name) != "https":
            return None
        factory = VisitorFactory(Gate(self._host, "tls", name), self._host.clock)
        try:
            return self._host.end_tls(name, PROTOCOLS, factory)
        except ConfigError as error:
            self.log.warn("no TLS for {name}: {why}", name=name, why=str(error))
            return None


@implementer(IEdge)
class HttpEdge:
    """See `IEdge`."""

    def __init__(self, host: IEdgeHost) -> None:
        """Take part in the shared listeners of ``host``."""
        host.claim(PlainClaim(host))
        host.claim(TlsClaim(host))

    def bind(self, publication: IPublication) -> None:
        """Publish the sides that setting ``bind_tls`` asks for, the http one first."""
        wanted = publication.tunnel.settings.get("bind_tls") or "both"
        if wanted != "true":
            publication.publish("plain", "http")
        if wanted != "false":
            publication.publish("tls", "https")
