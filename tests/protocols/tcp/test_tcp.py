"""TCP tunnels from visitor to service."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.logger import globalLogPublisher
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelOffline, TunnelRefused, VisitorRefused
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.protocols.tcp import protocol
from burrow.testing.fakes import FakeEdgeHost, FakeForwarderHost, FakePublication, FakeTunnel, FakeUpstream
from burrow.testing.memory import Wire, connect, flush
from burrow.testing.recorders import HalfCloseableRecorder

PUBLIC = IPv4Address("TCP", "192.0.2.1", 20_000)
PEER = IPv4Address("TCP", "198.51.100.7", 4321)


class DescriptorTests(SynchronousTestCase):
    """What the plugin declares."""

    def test_interface(self) -> None:
        """It is a tunnel protocol and a plugin."""
        self.assertTrue(verifyObject(ITunnelProtocol, protocol))
        self.assertTrue(verifyObject(IEdge, protocol.edge(FakeEdgeHost())))
        self.assertTrue(IPlugin.providedBy(protocol))

    def test_settings(self) -> None:
        """The relay gets to know the reserved address."""
        self.assertEqual(protocol.settings.read({"remote_addr": 20022}), {"remote_addr": "20022"})
        self.assertTrue(protocol.settings["remote_addr"].edge)


class Logged(SynchronousTestCase):
    """A test that reads the log."""

    def watch_log(self) -> list[Any]:
        """Collect log events from now on."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        return events


class EdgeTests(Logged):
    """A visitor at a public port."""

    def setUp(self) -> None:
        """Bind a tunnel."""
        self.client = HalfCloseableRecorder()
        self.tunnel = FakeTunnel(lambda: self.client)
        self.publication = FakePublication(self.tunnel)
        edge = protocol.edge(FakeEdgeHost())
        self.assertIsNone(self.successResultOf(edge.bind(self.publication)))

    def visit(self, peer: Any = PEER) -> Wire:
        """Connect to the public port."""
        factory, _ = self.publication.listening[0]
        leg: Any = factory.buildProtocol(peer)
        self.visitor = HalfCloseableRecorder()
        return connect(leg, self.visitor, a_address=PUBLIC, b_address=peer)

    def test_bind(self) -> None:
        """A tunnel listens at one public port."""
        self.assertEqual([scheme for _, scheme in self.publication.listening], ["tcp"])

    def test_bind_refused(self) -> None:
        """A port that cannot be had is told to the client."""
        self.publication.error = TunnelRefused("taken")
        binding = protocol.edge(FakeEdgeHost()).bind(self.publication)
        self.failureResultOf(binding, TunnelRefused)

    def test_visitor(self) -> None:
        """Bytes pass both ways; the client learns who is there."""
        near = self.visit()
        self.visitor.transport.write(b"SSH-2.0")
        flush([near, *self.tunnel.wires])
        self.client.transport.write(b"SSH-2.0 too")
        flush([near, *self.tunnel.wires])
        self.assertEqual((self.client.received, self.visitor.received), (b"SSH-2.0", b"SSH-2.0 too"))
        self.assertEqual(self.tunnel.visitors, [(Visitor("198.51.100.7", 4321, "tcp", "20000"), 5.0)])

    def test_dual_stack(self) -> None:
        """An IPv4 visitor of a dual-stack port has its IPv4 address."""
        self.visit(IPv6Address("TCP", "::ffff:198.51.100.7", 4321))
        self.visit(IPv6Address("TCP", "2001:db8::7", 4321))
        self.assertEqual([v.host for v, _ in self.tunnel.visitors], ["198.51.100.7", "2001:db8::7"])

    def test_offline(self) -> None:
        """A visitor of a tunnel that nobody serves is reset, without a traceback."""
        for error in (TunnelOffline("nobody"), VisitorRefused("not on the list")):
            self.tunnel.error = error
            events = self.watch_log()
            self.visit().flush()
            self.assertEqual(self.visitor.happened, [ConnectionLost])
            self.assertEqual([event["log_level"].name for event in events], ["debug"])

    def test_bug(self) -> None:
        """Any other failure is a bug and gets a traceback; the visitor is reset all the same."""
        self.tunnel.error = ZeroDivisionError("bug")
        self.visit().flush()
        self.assertEqual(self.visitor.happened, [ConnectionLost])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ForwarderTests(Logged):
    """A stream at the client."""

    def setUp(self) -> None:
        """Have a service to forward to."""
        self.service = HalfCloseableRecorder()
        self.upstream = FakeUpstream(lambda: self.service)
        self.edge = HalfCloseableRecorder()

    def open(self) -> Wire:
        """Open a stream."""
        factory = protocol.forwarder(self.upstream, {}, FakeForwarderHost("ssh"))
        leg: Any = factory.buildProtocol(Visitor("198.51.100.7", 4321, "tcp", "20000"))
        return connect(leg, self.edge, stops=True)

    def test_joined(self) -> None:
        """Either side may speak first, and end first."""
        near = self.open()
        self.service.transport.write(b"220 ready")
        self.edge.transport.write(b"EHLO")
        self.edge.transport.loseWriteConnection()
        flush([near, *self.upstream.wires])
        self.assertEqual((self.edge.received, self.service.received), (b"220 ready", b"EHLO"))
        self.service.transport.write(b"250 ok")
        self.service.transport.loseConnection()
        flush([near, *self.upstream.wires])
        self.assertEqual(self.edge.received, b"220 ready250 ok")
        self.assertFalse(near.a.connected)

    def test_nothing_listens(self) -> None:
        """When nothing listens the stream is reset; one line names the address and the reason."""
        self.upstream.error = ConnectionRefusedError("refused")
        events = self.watch_log()
        self.open().flush()
        self.assertEqual(self.edge.happened, [ConnectionLost])
        (event,) = events
        self.assertEqual((event["log_level"].name, event["tunnel"]), ("info", "ssh"))
        self.assertEqual(event["address"], "localhost:22")
        self.assertIn("refused", event["why"])

    def test_paused_while_connecting(self) -> None:
        """Nothing is read from the stream until the service is there."""
        self.upstream.held = True
        near = self.open()
        self.edge.transport.write(b"early")
        near.flush()
        self.assertEqual(near.b.in_flight(), 5)
        self.upstream.release()
        flush([near, *self.upstream.wires])
        self.assertEqual(self.service.received, b"early")
