"""The stand-ins provide what they stand for."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelOffline, TunnelRefused
from burrow.interfaces.protocol import IEdgeHost, IForwarderHost, IPublication
from burrow.interfaces.stream import Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.interfaces.upstream import IUpstream
from burrow.testing.fakes import FakeEdgeHost, FakeForwarderHost, FakePublication, FakeTunnel, FakeUpstream

VISITOR = Visitor("198.51.100.1", 5000, "tcp", "20000")


class FakeTests(SynchronousTestCase):
    """Tunnels, upstreams and hosts for tests."""

    def test_interfaces(self) -> None:
        """Each provides its interface."""
        tunnel = FakeTunnel(Protocol)
        verifyObject(ITunnel, tunnel)
        verifyObject(IUpstream, FakeUpstream(Protocol))
        verifyObject(IEdgeHost, FakeEdgeHost())
        verifyObject(IPublication, FakePublication(tunnel))
        verifyObject(IForwarderHost, FakeForwarderHost())

    def test_connect(self) -> None:
        """A tunnel joins the visitor's protocol to one of the test's."""
        tunnel = FakeTunnel(Protocol)
        protocol = self.successResultOf(tunnel.connect(Factory.forProtocol(Protocol), VISITOR, 5.0))
        self.assertIs(protocol.transport, tunnel.wires[0].a)
        self.assertEqual(tunnel.visitors, [(VISITOR, 5.0)])

    def test_error(self) -> None:
        """A tunnel fails as the test says."""
        tunnel = FakeTunnel(Protocol)
        tunnel.error = TunnelOffline("nobody")
        deferred = tunnel.connect(Factory.forProtocol(Protocol), VISITOR, 5.0)
        self.failureResultOf(deferred, TunnelOffline)

    def test_hold(self) -> None:
        """A tunnel that is held answers when it is released; a cancelled call never does."""
        tunnel = FakeTunnel(Protocol)
        tunnel.held = True
        first = tunnel.connect(Factory.forProtocol(Protocol), VISITOR, 5.0)
        second = tunnel.connect(Factory.forProtocol(Protocol), VISITOR, 5.0)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        tunnel.release()
        self.successResultOf(first)
        self.assertEqual((len(tunnel.wires), tunnel.cancelled), (1, 1))

    def test_routes(self) -> None:
        """An edge host knows the routes that were set."""
        host, tunnel = FakeEdgeHost(), FakeTunnel(Protocol)
        host.routes["tls", "a.test"] = ("https", tunnel)
        self.assertIs(host.route("tls", "a.test"), tunnel)
        self.assertEqual(host.scheme("tls", "a.test"), "https")
        self.assertEqual((host.route("plain", "a.test"), host.scheme("plain", "a.test")), (None, ""))

    def test_publication(self) -> None:
        """A publication records what was asked for, and refuses when told."""
        publication = FakePublication(FakeTunnel(Protocol))
        self.assertEqual(publication.publish("tls", "tls"), "tls://demo.relay.test")
        factory = Factory.forProtocol(Protocol)
        self.assertEqual(self.successResultOf(publication.listen(factory, "tcp")), "tcp://relay.test:20000")
        publication.error = TunnelRefused("no", 334)
        self.assertRaises(TunnelRefused, publication.publish, "tls", "tls")
        self.failureResultOf(publication.listen(factory, "tcp"), TunnelRefused)
