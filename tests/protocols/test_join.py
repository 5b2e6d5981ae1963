"""Two joined transports behave as one."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ISSLTransport,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides, providedBy
from zope.interface.verify import verifyObject

from burrow.errors import TunnelOffline
from burrow.interfaces.stream import IStream
from burrow.protocols.join import Leg, NearLeg, join
from burrow.testing.fakes import FakeUpstream
from burrow.testing.memory import Wire, connect, flush
from burrow.testing.recorders import HalfCloseableRecorder, Recorder


class Joined(SynchronousTestCase):
    """A visitor, two joined legs, and a service."""

    capacity = 1000
    stops = False  # the visitor's side of the join is a socket

    def setUp(self) -> None:
        """Have a service to dial."""
        self.service: Recorder = HalfCloseableRecorder()
        self.upstream = FakeUpstream(lambda: self.service, self.capacity)
        self.failures: list[Failure] = []
        self.visitor: Recorder = HalfCloseableRecorder()

    def dial(self, transport: IStream, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to the service."""
        return self.upstream.connect(factory)

    def open(self) -> None:
        """Let the visitor connect."""
        self.leg = NearLeg(self.dial, lambda transport, failure: self.failures.append(failure), 3000)
        self.near = connect(self.leg, self.visitor, self.capacity, stops=self.stops)

    @property
    def far(self) -> Wire:
        """The wire to the service."""
        return self.upstream.wires[0]

    def flush(self) -> None:
        """Let everything arrive."""
        flush([self.near, *self.upstream.wires])


class BytesTests(Joined):
    """Bytes pass both ways."""

    def test_interfaces(self) -> None:
        """A leg is told of either way's end, and is the other's producer."""
        self.assertTrue(verifyObject(IHalfCloseableProtocol, Leg()))
        self.assertTrue(verifyObject(IPushProducer, Leg()))

    def test_both_ways(self) -> None:
        """Both may speak first."""
        self.open()
        self.service.transport.write(b"220 ready")
        self.visitor.transport.write(b"EHLO")
        self.flush()
        self.assertEqual((self.service.received, self.visitor.received), (b"EHLO", b"220 ready"))

    def test_hot_path(self) -> None:
        """Once joined, nothing stands between the two transports."""
        self.open()
        self.assertEqual(self.leg.dataReceived, self.far.a.write)

    def test_slow_service_slows_the_visitor(self) -> None:
        """What the service does not read stays with the visitor, but for what two sockets hold."""
        self.open()
        self.service.transport.pauseProducing()
        self.visitor.transport.write(b"x" * 100_000)
        self.flush()
        held = self.far.a.queued() + self.far.a.in_flight()
        self.assertLessEqual(held, 2 * self.capacity)
        self.assertGreaterEqual(self.near.b.queued(), 100_000 - 4 * self.capacity)
        self.service.transport.resumeProducing()
        self.flush()
        self.assertEqual(len(self.service.received), 100_000)

    def test_slow_visitor_slows_the_service(self) -> None:
        """What the visitor does not read stays with the service."""
        self.open()
        self.visitor.transport.pauseProducing()
        self.service.transport.write(b"x" * 100_000)
        self.flush()
        self.assertLessEqual(self.near.a.queued() + self.near.a.in_flight(), 2 * self.capacity)
        self.visitor.transport.resumeProducing()
        self.flush()
        self.assertEqual(len(self.visitor.received), 100_000)


class EndTests(Joined):
    """How a join ends."""

    def test_visitor_ends_first(self) -> None:
        """A visitor that has sent its last byte still gets its answer."""
        self.open()
        self.visitor.transport.write(b"question")
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.service.happened, ["read lost"])
        self.service.transport.write(b"answer" * 1000)
        self.service.transport.loseConnection()
        self.flush()
        self.assertEqual(self.visitor.received, b"answer" * 1000)
        self.assertEqual(self.visitor.happened, ["write lost", "read lost"])
        self.assertFalse(self.near.a.connected or self.far.a.connected)

    def test_service_ends_first(self) -> None:
        """A service that has sent its last byte still gets the rest."""
        self.open()
        self.service.transport.write(b"banner")
        self.service.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.visitor.happened, ["read lost"])
        self.visitor.transport.write(b"rest" * 1000)
        self.visitor.transport.loseConnection()
        self.flush()
        self.assertEqual(self.service.received, b"rest" * 1000)
        self.assertEqual(self.service.happened, ["write lost", "read lost"])
        self.assertFalse(self.near.a.connected or self.far.a.connected)

    def test_end_behind_queued_bytes(self) -> None:
        """An end overtakes nothing, however slow the reader is."""
        self.open()
        self.service.transport.pauseProducing()
        self.visitor.transport.write(b"x" * 2500)
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.service.transport.resumeProducing()
        self.flush()
        self.assertEqual((len(self.service.received), self.service.happened), (2500, ["read lost"]))

    def test_visitor_resets(self) -> None:
        """A reset is passed on as a reset."""
        self.open()
        self.visitor.transport.abortConnection()
        self.flush()
        self.assertEqual(self.service.happened, [ConnectionLost])

    def test_service_resets(self) -> None:
        """A reset is passed on as a reset, the other way too."""
        self.open()
        self.service.transport.abortConnection()
        self.flush()
        self.assertEqual(self.visitor.happened, [ConnectionLost])

    def test_reset_after_the_end(self) -> None:
        """A visitor that has ended its way and then resets is a reset for the service."""
        self.open()
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.visitor.transport.abortConnection()
        self.flush()
        self.assertEqual(self.service.happened, ["read lost", ConnectionLost])

    def test_peer_that_cannot_half_close(self) -> None:
        """A clean loss of one leg closes the other behind what is queued."""
        self.service = Recorder()
        self.open()
        self.service.transport.write(b"bye" * 1000)
        self.service.transport.loseConnection()
        self.flush()
        self.assertEqual(len(self.visitor.received), 3000)
        self.assertEqual(self.visitor.happened, ["read lost"])

    def test_tls_has_no_half_close(self) -> None:
        """The end of the other side closes a TLS transport; nothing half-closes it."""
        self.open()
        directlyProvides(self.far.a, providedBy(self.far.a), ISSLTransport)
        self.visitor.transport.write(b"last")
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.assertEqual((self.service.received, self.service.happened), (b"last", ["read lost"]))
        self.assertFalse(self.far.a.connected)
        self.assertFalse(self.near.a.connected)


class StreamEndTests(Joined):
    """How a join ends whose near transport closes as a stream does."""

    stops = True

    def test_closed_stream(self) -> None:
        """A stream that is closed outright closes the service's connection."""
        self.open()
        self.visitor.transport.write(b"bytes")
        self.visitor.transport.loseConnection()
        self.flush()
        self.assertEqual(self.service.received, b"bytes")
        self.assertEqual(self.service.happened, ["read lost"])
        self.assertFalse(self.far.a.connected)

    def test_both_end(self) -> None:
        """A stream that is over by itself after both ends closes the service's connection."""
        self.open()
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.service.transport.write(b"answer")
        self.service.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.visitor.received, b"answer")
        self.assertEqual(self.visitor.happened, ["write lost", "read lost", ConnectionDone])
        self.assertFalse(self.far.a.connected)

    def test_peer_takes_no_more(self) -> None:
        """A peer that reads no more stops the other side from being read; its own bytes still pass."""
        self.open()
        self.leg.writeConnectionLost()
        self.service.transport.write(b"x" * 100_000)
        self.visitor.transport.write(b"still here")
        self.flush()
        self.assertEqual((self.visitor.received, self.service.received), (b"", b"still here"))
        self.assertGreater(self.far.b.queued(), 90_000)
        self.assertIsNone(self.near.a.producer)
        self.visitor.transport.loseWriteConnection()
        self.flush()
        self.assertFalse(self.far.a.connected)


class DiallingTests(Joined):
    """The time before the far leg is there."""

    def setUp(self) -> None:
        """Let dialling take its time."""
        super().setUp()
        self.upstream.held = True

    def test_paused_meanwhile(self) -> None:
        """Nothing is read while dialling, and nothing is lost."""
        self.open()
        self.visitor.transport.write(b"early")
        self.flush()
        self.assertEqual(self.near.b.in_flight(), 5)
        self.upstream.release()
        self.flush()
        self.assertEqual(self.service.received, b"early")

    def test_bytes_handed_over(self) -> None:
        """Bytes that came before the leg, and some that come in spite of the pause, go first."""
        self.open()
        self.leg.dataReceived(b"hello ")
        self.near.a.resumeProducing()
        self.visitor.transport.write(b"world")
        self.flush()
        self.visitor.transport.write(b"!")
        self.flush()
        self.assertEqual(self.near.b.in_flight(), 1)
        self.upstream.release()
        self.flush()
        self.assertEqual(self.service.received, b"hello world!")

    def test_too_much_too_early(self) -> None:
        """What is kept while dialling has a limit; beyond it is a reset."""
        self.open()
        self.leg.dataReceived(b"x" * 3000)
        self.flush()
        self.assertTrue(self.near.a.connected)
        self.leg.dataReceived(b"x")
        self.flush()
        self.assertEqual(self.visitor.happened, [ConnectionLost])
        self.assertEqual(self.upstream.cancelled, 1)

    def test_early_bytes_push_back(self) -> None:
        """Early bytes that fill the far transport leave the near one paused."""
        self.open()
        self.leg.dataReceived(b"x" * 2500)
        self.service.transport = None
        self.upstream.release()
        self.assertFalse(self.near.a.reading)
        self.flush()
        self.assertEqual(len(self.service.received), 2500)
        self.assertTrue(self.near.a.reading)

    def test_end_while_dialling(self) -> None:
        """An end that came before the far leg is passed on behind the early bytes."""
        self.open()
        self.leg.dataReceived(b"all of it")
        self.leg.readConnectionLost()
        self.upstream.release()
        self.flush()
        self.assertEqual(self.service.events, ["made", b"all of it", "read lost"])

    def test_lost_while_dialling(self) -> None:
        """A visitor that goes away withdraws the dialling; nobody is told of a failure."""
        self.open()
        self.visitor.transport.abortConnection()
        self.flush()
        self.assertEqual((self.upstream.cancelled, self.failures), (1, []))

    def test_far_leg_comes_too_late(self) -> None:
        """A far leg that is there in spite of having been cancelled is reset."""
        dialled: list[IProtocolFactory] = []

        def dial(transport: IStream, factory: IProtocolFactory) -> Deferred[IProtocol]:
            dialled.append(factory)
            return Deferred(lambda deferred: None)

        self.dial = dial  # type: ignore[method-assign]
        self.open()
        self.visitor.transport.abortConnection()
        self.near.flush()
        protocol: Any = dialled[0].buildProtocol(None)  # type: ignore[arg-type]
        wire = connect(protocol, self.service)
        wire.flush()
        self.assertEqual(self.service.happened, [ConnectionLost])

    def test_failure(self) -> None:
        """A dialling that fails resets the visitor and says why."""
        self.upstream.error = TunnelOffline("nobody is there")
        self.open()
        self.upstream.release()
        self.flush()
        self.assertEqual(self.visitor.happened, [ConnectionLost])
        self.assertEqual([failure.type for failure in self.failures], [TunnelOffline])

    def test_cancelled_by_others(self) -> None:
        """A dialling that somebody else cancels is a failure as any other."""
        self.upstream.error = CancelledError()
        self.open()
        self.upstream.release()
        self.flush()
        self.assertEqual([failure.type for failure in self.failures], [CancelledError])


class OwnedTests(SynchronousTestCase):
    """Transports that other protocols own."""

    def test_join(self) -> None:
        """Two connections that spoke something else before are joined; their owners pass events on."""
        owners = HalfCloseableRecorder(), HalfCloseableRecorder()
        peers = HalfCloseableRecorder(), HalfCloseableRecorder()
        wires = [connect(owner, peer) for owner, peer in zip(owners, peers, strict=True)]
        legs = join(wires[0].a, wires[1].a)  # type: ignore[arg-type]
        for owner, leg in zip(owners, legs, strict=True):
            owner.dataReceived = leg.dataReceived  # type: ignore[method-assign]
            owner.readConnectionLost = leg.readConnectionLost  # type: ignore[method-assign]
            owner.writeConnectionLost = leg.writeConnectionLost  # type: ignore[method-assign]
            owner.connectionLost = leg.connectionLost  # type: ignore[method-assign]
        peers[0].transport.write(b"ping")
        peers[0].transport.loseWriteConnection()
        flush(wires)
        peers[1].transport.write(b"pong")
        peers[1].transport.abortConnection()
        flush(wires)
        self.assertEqual((peers[1].received, peers[1].happened), (b"ping", ["read lost", ConnectionAborted]))
        self.assertEqual(peers[0].happened, ["write lost", ConnectionLost])

    def test_answer_survives_a_late_reset(self) -> None:
        """When both have ended, a reset of the one does not cost the other its answer."""
        peers = HalfCloseableRecorder(), HalfCloseableRecorder()
        wires = [connect(Recorder(), peer) for peer in peers]
        visitor, service = join(wires[0].a, wires[1].a)
        service.dataReceived(b"answer")
        visitor.readConnectionLost()
        service.readConnectionLost()
        service.connectionLost(Failure(ConnectionLost()))
        wires[0].flush()
        self.assertEqual(peers[0].events, ["made", b"answer", "read lost"])


class SynchronousDialTests(SynchronousTestCase):
    """A dial that is quicker than the leg."""

    def test_synchronous(self) -> None:
        """A far leg that is there at once is joined at once."""
        service = Recorder()
        wires: list[Wire] = []

        def dial(transport: IStream, factory: IProtocolFactory) -> Deferred[IProtocol]:
            protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
            wires.append(connect(protocol, service))
            return succeed(protocol)

        visitor = Recorder()
        near = connect(NearLeg(dial, lambda transport, failure: None), visitor)
        visitor.transport.write(b"now")
        flush([near, *wires])
        self.assertEqual(service.received, b"now")
