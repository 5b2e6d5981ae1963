"""TLS tunnels: found by server name, bytes untouched."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelRefused
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.protocols.tls import protocol
from burrow.testing.fakes import FakeEdgeHost, FakeForwarderHost, FakePublication, FakeTunnel, FakeUpstream
from burrow.testing.memory import connect, flush
from burrow.testing.recorders import HalfCloseableRecorder

PUBLIC = IPv4Address("TCP", "192.0.2.1", 443)
PEER = IPv4Address("TCP", "198.51.100.7", 4321)
HELLO = b"\x16\x03\x01\x00\x05hello"


class TlsTests(SynchronousTestCase):
    """A TLS tunnel named demo.relay.test."""

    def setUp(self) -> None:
        """Bind the tunnel."""
        self.client = HalfCloseableRecorder()
        self.tunnel = FakeTunnel(lambda: self.client, protocol="tls")
        self.host = FakeEdgeHost()
        self.edge = protocol.edge(self.host)
        self.host.routes["tls", "demo.relay.test"] = ("tls", self.tunnel)
        self.host.routes["tls", "web.relay.test"] = ("https", self.tunnel)

    def claim(self, name: str) -> Any:
        """Offer a newcomer that asks for ``name``."""
        return self.host.claims[0].claim(Arrival(PEER, PUBLIC, HELLO, True, name, (b"burrow/1",)))

    def test_interfaces(self) -> None:
        """It is a tunnel protocol, its edge takes part in shared listeners."""
        self.assertTrue(verifyObject(ITunnelProtocol, protocol))
        self.assertTrue(IPlugin.providedBy(protocol))
        self.assertTrue(verifyObject(IEdge, self.edge))
        self.assertTrue(verifyObject(IListenerClaim, self.host.claims[0]))
        self.assertEqual((self.host.claims[0].kind, self.host.claims[0].tls), ("tls", True))

    def test_bind(self) -> None:
        """A tunnel takes the TLS side of its name."""
        publication = FakePublication(self.tunnel)
        self.assertIsNone(self.edge.bind(publication))
        self.assertEqual(publication.published, [("tls", "tls")])
        publication.error = TunnelRefused("taken", 334)
        self.assertRaises(TunnelRefused, self.edge.bind, publication)

    def test_not_ours(self) -> None:
        """Other names, https names and visitors without a name are left to others."""
        for name in ("other.relay.test", "web.relay.test", ""):
            self.assertIsNone(self.claim(name))

    def test_passed_through(self) -> None:
        """The ClientHello and all that follows reach the client as they came, whatever the ALPN."""
        visitor = HalfCloseableRecorder()
        leg = self.claim("demo.relay.test").buildProtocol(PEER)
        wire = connect(leg, visitor, a_address=PUBLIC, b_address=PEER)
        leg.dataReceived(HELLO)
        wire.a.resumeProducing()
        visitor.transport.write(b"more")
        self.client.transport.write(b"server hello")
        flush([wire, *self.tunnel.wires])
        self.assertEqual(self.client.received, HELLO + b"more")
        self.assertEqual(visitor.received, b"server hello")
        visitors = [visitor for visitor, _ in self.tunnel.visitors]
        self.assertEqual(visitors, [Visitor("198.51.100.7", 4321, "tls", "demo.relay.test")])

    def test_forwarder(self) -> None:
        """The client joins a stream to the service, bytes as they are."""
        service, edge = HalfCloseableRecorder(), HalfCloseableRecorder()
        upstream = FakeUpstream(lambda: service)
        leg: Any = protocol.forwarder(upstream, {}, FakeForwarderHost()).buildProtocol(PEER)
        wire = connect(leg, edge, stops=True)
        edge.transport.write(HELLO)
        flush([wire, *upstream.wires])
        self.assertEqual(service.received, HELLO)
