"""The in-memory sockets behave as sockets do."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.interfaces.stream import IStream
from burrow.testing.memory import Wire, connect
from burrow.testing.recorders import HalfCloseableRecorder, Recorder, RecordingProducer


class Base(SynchronousTestCase):
    """Two protocols on a wire."""

    def join(self, a: Recorder, b: Recorder, **options: Any) -> Wire:
        """Join two protocols and forget their first event."""
        self.a, self.b = a, b
        wire = connect(a, b, **options)
        a.events.clear()
        b.events.clear()
        return wire


class MemorySocketTests(Base):
    """Bytes between two ends."""

    def test_interfaces(self) -> None:
        """An end can stand for a socket and for a stream."""
        wire = self.join(HalfCloseableRecorder(), HalfCloseableRecorder())
        self.assertTrue(verifyObject(IStream, wire.a))
        self.assertTrue(ITransport.providedBy(wire.b))

    def test_connection_made(self) -> None:
        """Both protocols are connected at once, to each other's address."""
        a, b = Recorder(), Recorder()
        wire = connect(a, b)
        self.assertEqual((a.events, b.events), (["made"], ["made"]))
        self.assertEqual(wire.a.getPeer(), wire.b.getHost())

    def test_nothing_moves_by_itself(self) -> None:
        """Bytes arrive in a turn, not in the write."""
        wire = self.join(Recorder(), Recorder())
        self.a.transport.write(b"hello")
        self.assertEqual(self.b.events, [])
        self.assertTrue(wire.turn())
        self.assertEqual(self.b.events, [b"hello"])
        self.assertFalse(wire.turn())

    def test_pieces(self) -> None:
        """A test says how large the pieces are."""
        wire = self.join(Recorder(), Recorder())
        self.a.transport.writeSequence([b"hel", b"lo"])
        wire.flush(piece=2)
        self.assertEqual(self.b.events, [b"he", b"ll", b"o"])

    def test_only_bytes(self) -> None:
        """Text is refused, as a socket does."""
        self.join(Recorder(), Recorder())
        self.assertRaises(TypeError, self.a.transport.write, "text")

    def test_pushes_back(self) -> None:
        """A write beyond the capacity pauses the producer until the rest has left."""
        wire = self.join(Recorder(), Recorder(), capacity=10)
        producer = RecordingProducer()
        self.a.transport.registerProducer(producer, True)
        self.a.transport.write(b"x" * 10)
        self.assertEqual(producer.events, [])
        self.a.transport.write(b"x" * 15)
        self.assertEqual(producer.events, ["pause"])
        self.assertEqual((wire.a.queued(), wire.a.in_flight()), (15, 10))
        wire.turn()
        self.assertEqual(producer.events, ["pause"])
        wire.turn()
        self.assertEqual(producer.events, ["pause", "resume"])
        wire.flush()
        self.assertEqual(self.b.received, b"x" * 25)

    def test_paused_reader(self) -> None:
        """A reader that is paused gets nothing, neither bytes nor the end."""
        wire = self.join(Recorder(), HalfCloseableRecorder(), capacity=10)
        self.b.transport.pauseProducing()
        self.a.transport.write(b"x" * 30)
        self.a.transport.loseWriteConnection()
        wire.flush()
        self.assertEqual((self.b.events, wire.a.queued()), ([], 20))
        self.b.transport.resumeProducing()
        wire.flush()
        self.assertEqual((self.b.received, self.b.events[-1]), (b"x" * 30, "read lost"))

    def test_pull_producer(self) -> None:
        """A producer that is not streaming is asked for more when there is room."""
        wire = self.join(Recorder(), Recorder(), capacity=1)
        producer = RecordingProducer()
        self.a.transport.registerProducer(producer, False)
        wire.turn()
        self.assertEqual(producer.events, ["resume"])

    def test_second_producer(self) -> None:
        """There is one producer at a time."""
        self.join(Recorder(), Recorder())
        self.a.transport.registerProducer(RecordingProducer(), True)
        self.assertRaises(RuntimeError, self.a.transport.registerProducer, RecordingProducer(), True)

    def test_turn_inside_a_turn(self) -> None:
        """A protocol cannot turn the wire that is calling it."""
        wire = self.join(Recorder(), Recorder())
        self.b.dataReceived = lambda data: wire.turn() and None  # type: ignore[method-assign]
        self.a.transport.write(b"x")
        self.assertRaises(RuntimeError, wire.turn)


class EndTests(Base):
    """How connections end."""

    def test_half_close(self) -> None:
        """One way ends, the other goes on."""
        wire = self.join(HalfCloseableRecorder(), HalfCloseableRecorder())
        self.a.transport.write(b"question")
        self.a.transport.loseWriteConnection()
        self.a.transport.write(b"dropped")
        wire.flush()
        self.assertEqual(self.b.events, [b"question", "read lost"])
        self.b.transport.write(b"answer")
        wire.flush()
        self.assertEqual(self.a.events, ["write lost", b"answer"])

    def test_half_close_of_the_unprepared(self) -> None:
        """A peer that cannot half-close loses its connection."""
        wire = self.join(HalfCloseableRecorder(), Recorder())
        self.a.transport.loseWriteConnection()
        wire.flush()
        self.assertEqual(self.b.events, [ConnectionDone])
        self.assertEqual(self.a.events, ["write lost", "read lost"])

    def test_both_ended_is_not_closed(self) -> None:
        """A socket stays until its protocol closes it, as Twisted's do."""
        wire = self.join(HalfCloseableRecorder(), HalfCloseableRecorder())
        self.a.transport.loseWriteConnection()
        self.b.transport.loseWriteConnection()
        wire.flush()
        self.assertTrue(wire.a.connected and wire.b.connected)
        self.a.transport.loseConnection()
        wire.flush()
        self.assertEqual(self.a.events[-1], ConnectionDone)

    def test_close_flushes(self) -> None:
        """What was written before closing arrives; the closer hears of nothing before a turn."""
        wire = self.join(Recorder(), HalfCloseableRecorder(), capacity=3)
        self.a.transport.write(b"goodbye")
        self.a.transport.loseConnection()
        self.assertEqual(self.a.events, [])
        wire.flush()
        self.assertEqual(self.a.events, [ConnectionDone])
        self.assertEqual((self.b.received, self.b.events[-1]), (b"goodbye", "read lost"))

    def test_close_waits_for_the_producer(self) -> None:
        """A registered producer keeps a closing socket open."""
        wire = self.join(Recorder(), Recorder())
        self.a.transport.registerProducer(RecordingProducer(), True)
        self.a.transport.loseConnection()
        self.a.transport.write(b"last words")
        wire.flush()
        self.assertTrue(wire.a.connected)
        self.a.transport.unregisterProducer()
        wire.flush()
        self.assertEqual(self.b.events, [b"last words", ConnectionDone])

    def test_abort(self) -> None:
        """A reset drops what is under way and tells both, later."""
        wire = self.join(HalfCloseableRecorder(), HalfCloseableRecorder())
        producer = RecordingProducer()
        self.b.transport.registerProducer(producer, True)
        self.a.transport.write(b"lost")
        self.a.transport.abortConnection()
        self.assertEqual(self.a.events, [])
        wire.flush()
        self.assertEqual(self.a.events, [ConnectionAborted])
        self.assertEqual(self.b.events, [ConnectionLost])
        self.assertEqual(producer.events, ["stop"])

    def test_bytes_for_a_closed_socket(self) -> None:
        """Bytes for a socket that is gone are answered with a reset."""
        wire = self.join(Recorder(), HalfCloseableRecorder())
        self.a.transport.loseConnection()
        wire.flush()
        self.b.transport.write(b"too late")
        wire.flush()
        self.assertEqual(self.b.events, ["read lost", ConnectionLost])

    def test_stream_closes(self) -> None:
        """A stream that is closed tells the peer that nothing more is read, and is over."""
        wire = self.join(Recorder(), HalfCloseableRecorder(), stops=True)
        self.a.transport.loseConnection()
        self.b.transport.write(b"nobody reads this")
        wire.flush()
        self.assertEqual(self.b.events, ["read lost", "write lost", ConnectionDone])

    def test_stream_ends(self) -> None:
        """A stream that has ended both ways is over by itself."""
        wire = self.join(HalfCloseableRecorder(), HalfCloseableRecorder(), stops=True)
        self.a.transport.loseWriteConnection()
        self.b.transport.loseWriteConnection()
        wire.flush()
        self.assertEqual(self.a.events, ["write lost", "read lost", ConnectionDone])
        self.assertEqual(self.b.events, ["read lost", "write lost", ConnectionDone])
