"""Both halves of a tunnel that passes bytes as they are: visitor to stream, stream to upstream."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.errors import BurrowError
from burrow.interfaces.stream import IStream, Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.interfaces.upstream import IUpstream
from burrow.protocols.join import NearLeg

SERVE_DEADLINE = 5.0  #: seconds that a visitor waits for somebody to serve the tunnel (contract 5.2)


def numeric_address(host: str) -> str:
    """Return a numeric address, an IPv4 one that a dual-stack socket saw as IPv6 in its own form."""
    return host[7:] if host.startswith("::ffff:") and "." in host else host


class VisitorFactory(Factory):
    """Joins every visitor of one tunnel to a stream of its own."""

    noisy = False
    log = Logger()

    def __init__(
        self, tunnel: ITunnel, scheme: str, name: str = "", deadline: float = SERVE_DEADLINE
    ) -> None:
        """Connect visitors to ``tunnel``.

        Args:
            tunnel: Where the visitors' streams are opened.
            scheme: What the visitors speak: ``tcp``, ``tls``.
            name: The name they asked for; empty for the port that they connected to.
            deadline: Seconds by which somebody has to serve the tunnel, else they are reset.
        """
        self._tunnel, self._scheme, self._name, self._deadline = tunnel, scheme, name, deadline

    def buildProtocol(self, addr: IAddress | None) -> NearLeg:
        """Build the leg of one visitor."""
        return NearLeg(self._dial, self._failed)

    def _dial(self, transport: IStream, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._tunnel.connect(factory, self._visitor(transport), self._deadline)

    def _visitor(self, transport: IStream) -> Visitor:
        peer = transport.getPeer()
        name = self._name or str(transport.getHost().port)
        return Visitor(numeric_address(peer.host), peer.port, self._scheme, name)

    def _failed(self, transport: IStream, failure: Failure) -> None:
        visitor = self._visitor(transport)
        if failure.check(BurrowError):
            self.log.debug("{visitor} cut off: {why}", visitor=visitor, why=failure.getErrorMessage())
        else:
            self.log.failure("{visitor} cut off", failure, visitor=visitor)


class ForwarderFactory(Factory):
    """Joins every stream of one tunnel to a connection of its own to the upstream."""

    noisy = False
    log = Logger()

    def __init__(self, upstream: IUpstream, name: str) -> None:
        """Connect streams to ``upstream``; ``name`` is the tunnel's, for messages."""
        self._upstream, self._name = upstream, name

    def buildProtocol(self, addr: IAddress | None) -> NearLeg:
        """Build the leg of one stream."""
        return NearLeg(self._dial, self._failed)

    def _dial(self, transport: IStream, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._upstream.connect(factory)

    def _failed(self, transport: IStream, failure: Failure) -> None:
        self.log.info(
            "tunnel {tunnel}: cannot connect to {address}: {why}",
            tunnel=self._name,
            address=self._upstream.address,
            why=failure.getErrorMessage(),
        )
