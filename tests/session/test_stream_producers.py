"""A stream and its producers."""

from __future__ import annotations

from io import BytesIO

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IPullProducer,
)
from twisted.protocols.basic import FileSender
from zope.interface import implementer

from burrow.session.stream import HIGH_WATER, LOW_WATER, Stream
from burrow.testing.recorders import RecordingProducer
from tests.session.stream_case import StreamCase


class PushProducerTests(StreamCase):
    """A producer that is paused when too much waits."""

    def setUp(self) -> None:
        super().setUp()
        self.producer = RecordingProducer()
        self.stream.registerProducer(self.producer, True)

    def test_high_and_low_water(self) -> None:
        """It is paused once above the high mark, and resumed at the low mark."""
        self.stream.write(bytes(HIGH_WATER))
        self.assertEqual(self.producer.events, [])
        self.stream.write(bytes(2))
        self.stream.write(bytes(2))
        self.assertEqual(self.producer.events, ["pause"])
        self.limit(HIGH_WATER - LOW_WATER + 3)
        self.assertEqual(self.producer.events, ["pause"])
        self.limit(HIGH_WATER - LOW_WATER + 4)
        self.assertEqual(self.producer.events, ["pause", "resume"])

    def test_writes_when_resumed(self) -> None:
        """A producer that writes at once when it is resumed is never resumed inside its own call."""
        depth = []

        def resume() -> None:
            self.assertEqual(depth, [])
            depth.append(1)
            self.stream.write(bytes(HIGH_WATER + 1))
            depth.pop()
            rounds.append(1)

        rounds: list[int] = []
        self.producer.resumeProducing = resume  # type: ignore[method-assign]
        self.stream.write(bytes(HIGH_WATER + 1))
        self.limit(1_000_000)
        self.assertGreater(len(rounds), 5)
        self.assertEqual(self.stream.queued() + len(self.peer.data(self.number)), (len(rounds) + 1) * 131_073)

    def test_second(self) -> None:
        """A second producer is refused; after unregistering there may be another."""
        self.assertRaises(RuntimeError, self.stream.registerProducer, RecordingProducer(), True)
        self.stream.unregisterProducer()
        self.stream.registerProducer(RecordingProducer(), True)

    def test_too_late(self) -> None:
        """A producer that registers when we have ended is stopped."""
        self.stream.unregisterProducer()
        self.stream.loseWriteConnection()
        self.said()
        late = RecordingProducer()
        self.stream.registerProducer(late, True)
        self.assertEqual(late.events, ["stop"])

    def test_stopped_with_the_stream(self) -> None:
        """It is stopped when the stream is lost, once."""
        self.reset()
        self.assertEqual(self.producer.events, ["stop"])

    def test_end_with_a_producer(self) -> None:
        """A stream that is closing while its producer is paused sends all that this one still writes."""
        self.stream.write(bytes(HIGH_WATER + 1))
        self.stream.loseConnection()
        self.limit(HIGH_WATER + 1)
        self.assertEqual(self.producer.events[:2], ["pause", "resume"])
        self.assertEqual(self.said()[-1], "end")

    def test_aborts_when_paused(self) -> None:
        """A producer may abort the stream from inside its pause or its resumption."""
        for name in ("pauseProducing", "resumeProducing"):
            self.setUp()
            setattr(self.producer, name, self.stream.abortConnection)
            self.stream.write(bytes(HIGH_WATER + 1))
            self.limit(1_000_000)
            self.assertEqual(self.protocol.events, [ConnectionAborted])
            self.assertEqual(self.said("reset"), [("reset", 1)])
            self.assertTrue(self.forgotten)


@implementer(IPullProducer)
class Puller:
    """A pull producer with a number of pieces, then the end."""

    def __init__(self, stream: Stream, pieces: int) -> None:
        self.stream, self.pieces, self.stopped = stream, pieces, False

    def resumeProducing(self) -> None:
        self.pieces -= 1
        self.stream.write(bytes(30_000))
        if not self.pieces:
            self.stream.unregisterProducer()
            self.stream.loseConnection()

    def stopProducing(self) -> None:
        self.stopped = True


class PullProducerTests(StreamCase):
    """A producer that is asked for every piece."""

    def test_asked_as_long_as_there_is_room(self) -> None:
        """It is asked again and again as its pieces leave, not before."""
        puller = Puller(self.stream, 20)
        self.stream.registerProducer(puller, False)
        self.assertEqual(puller.pieces, 20, "not from inside the call")
        self.peer.turn()
        self.assertGreater(puller.pieces, 15)
        self.limit(1_000_000)
        self.peer.acknowledge()
        self.assertEqual(puller.pieces, 0)
        said = self.said()
        self.assertEqual(sum(len(box[1]) for box in said if box[0] == "data"), 600_000)
        self.assertEqual(said[-1], "end")

    def test_closing_waits_for_it(self) -> None:
        """A stream that is closed while it has a pull producer ends when that has finished."""
        puller = Puller(self.stream, 3)
        self.stream.registerProducer(puller, False)
        self.stream.loseWriteConnection()
        self.limit(1_000_000)
        said = self.said()
        self.assertEqual(sum(len(box[1]) for box in said if box[0] == "data"), 90_000)
        self.assertEqual(said[-1], "end")

    def test_stopped(self) -> None:
        """It is stopped when the stream is lost."""
        puller = Puller(self.stream, 100)
        self.stream.registerProducer(puller, False)
        self.peer.turn()
        self.reset()
        self.assertTrue(puller.stopped)

    def test_file_sender(self) -> None:
        """Twisted's own FileSender sends a file."""
        sent = bytes(range(256)) * 1_000
        done = FileSender().beginFileTransfer(BytesIO(sent), self.stream)
        done.addCallback(lambda _: self.stream.loseConnection())
        self.limit(1_000_000)
        self.successResultOf(done)
        self.peer.turn()
        self.assertEqual(self.peer.data(self.number), sent)
