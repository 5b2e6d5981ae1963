"""A test case that joins two protocols by TLS over real sockets."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory
from zope.interface import implementer

from burrow.net.tls import ServerContext, TLSClientEndpoint, TLSFactory
from tests.net.reactors import ReactorCase, Recorder


@implementer(IHandshakeListener)
class Secured(Recorder):
    """Also notes the end of the handshake, and what ALPN chose."""

    secured = False
    negotiated: bytes | None = None

    def handshakeCompleted(self) -> None:
        """Note it."""
        self.secured = True
        self.negotiated = self.transport.negotiatedProtocol  # type: ignore[union-attr]


class TLSCase(ReactorCase):
    """Both ends of a TLS connection on one reactor."""

    def start(self, context: ServerContext, options: Any, buffering: bool = True) -> tuple[Secured, Secured]:
        """Connect, and return the client's and the server's protocol once TCP is there."""
        accepted: list[Secured] = []

        def build() -> Secured:
            accepted.append(Secured())
            return accepted[-1]

        factory = TLSFactory(context, False, Factory.forProtocol(build), self.reactor, buffering)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        tcp = TCP4ClientEndpoint(self.reactor, "127.0.0.1", port.getHost().port)
        connecting = TLSClientEndpoint(tcp, options, self.reactor, buffering).connect(
            Factory.forProtocol(Secured)
        )
        clients: list[Any] = []
        connecting.addCallback(clients.append)
        self.until(lambda: clients and accepted, "no connection")
        return clients[0], accepted[0]

    def secure(self, context: ServerContext, options: Any, buffering: bool = True) -> tuple[Secured, Secured]:
        """Connect, and return both protocols once the handshake is done."""
        client, server = self.start(context, options, buffering)
        self.until(lambda: client.secured and server.secured, "no handshake")
        return client, server

    def refused(self, context: ServerContext, options: Any) -> str:
        """Connect, and return why the client refused, as text."""
        client, server = self.start(context, options)
        client.transport.write(b"the client's secret")  # type: ignore[union-attr]
        self.until(lambda: client.lost and server.lost, "not refused")
        self.assertFalse(client.secured)
        self.assertEqual(server.received, b"", "something was sent to a server that is not trusted")
        assert client.lost is not None
        return str(client.lost.value)
