"""A stream, as the protocol on it and the peer's mux see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.interfaces.stream import IStream
from burrow.session.mux import Promises
from burrow.session.stream import CHUNKS, HIGH_WATER, LOW_WATER, PIECE, TRANSITIONS, Event, State, Stream
from burrow.testing.recorders import HalfCloseableRecorder, Recorder, RecordingProducer
from burrow.wire import frames
from tests.session.peer import VISITOR, Peer, data

FIRST = 1_000  #: bytes of credit that the stream has at the beginning, in most tests


class StreamCase(SynchronousTestCase):
    """A stream that the peer has opened."""

    build: Callable[[], Any] = HalfCloseableRecorder

    def setUp(self) -> None:
        self.peer = Peer(ours=Promises(window=8_192), build=self.build)
        self.number = self.peer.open(limit=FIRST)
        self.protocol = self.peer.protocols[0]
        self.stream: Stream = self.protocol.transport
        self.protocol.events.clear()
        self.peer.heard()

    def end(self) -> None:
        self.peer.send(frames.end(self.number))

    def our_end(self) -> None:
        self.stream.loseWriteConnection()

    def abort(self) -> None:
        self.stream.abortConnection()

    def stop(self) -> None:
        self.peer.send(frames.stop(self.number))

    def reset(self) -> None:
        self.peer.send(frames.reset(self.number, 1, "gone"))

    def data(self, payload: bytes) -> None:
        self.peer.send(data(self.number, payload))

    def limit(self, most: int) -> None:
        self.peer.send(frames.limit(self.number, most))

    def said(self, *kinds: str) -> list[Any]:
        """Take what the session has said on the stream, without the stream's number."""
        self.peer.turn()
        return [(box[0], *box[2:]) if len(box) > 2 else box[0] for box in self.peer.heard(*kinds)]

    @property
    def forgotten(self) -> bool:
        return len(self.peer.session.mux) == 0


class TransportTests(StreamCase):
    """A stream is a full Twisted transport."""

    def test_interfaces(self) -> None:
        """It provides what a TCP transport does, and is producer and consumer."""
        for interface in (IStream, ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.stream)

    def test_addresses(self) -> None:
        """Its peer is the visitor; its own address and its text name the stream."""
        self.assertEqual(self.stream.getPeer(), VISITOR)
        self.assertTrue(IAddress.providedBy(self.stream.getHost()))
        self.assertIn(str(self.number), repr(self.stream))

    def test_options(self) -> None:
        """Options of TCP can be asked for and set, and change nothing."""
        self.stream.setTcpNoDelay(False)
        self.stream.setTcpKeepAlive(False)
        self.assertTrue(self.stream.getTcpNoDelay() and self.stream.getTcpKeepAlive())

    def test_every_transition(self) -> None:
        """The table has a pair for whatever may happen, and none for what may not."""
        missing = {(s, e) for s in State for e in Event} - set(TRANSITIONS)
        self.assertEqual(
            missing,
            {
                (State.WE_ENDED, Event.END_SENT),
                (State.PEER_ENDED, Event.END_RECEIVED),
                (State.CLOSED, Event.END_SENT),
                (State.CLOSED, Event.END_RECEIVED),
            },
        )
        self.assertEqual({TRANSITIONS[state, Event.RESET] for state in State}, {State.CLOSED})


class SendingTests(StreamCase):
    """What is written."""

    def test_within_the_credit(self) -> None:
        """Bytes leave up to the limit, in order, and the rest when it rises."""
        self.stream.writeSequence([b"a" * 600, b"b" * 600])
        self.assertEqual(self.stream.queued(), 1_200)
        self.assertEqual(self.said(), [("data", b"a" * 600 + b"b" * 400)])
        self.assertEqual(self.stream.queued(), 200)
        self.limit(1_100)
        self.assertEqual(self.said(), [("data", b"b" * 100)])
        self.limit(9_999)
        self.assertEqual(self.said(), [("data", b"b" * 100)])
        self.assertEqual(self.stream.queued(), 0)

    def test_nothing(self) -> None:
        """Writing nothing sends nothing."""
        self.stream.write(b"")
        self.assertEqual(self.said(), [])

    def test_the_same_limit(self) -> None:
        """A Limit that repeats the last one changes nothing; one that falls ends the session."""
        self.limit(FIRST)
        self.assertIsNone(self.peer.reason)
        self.limit(FIRST - 1)
        self.assertIn("falls from 1000 to 999", str(self.peer.reason))
        self.assertEqual(self.peer.byes[0][0], frames.ByeCode.PROTOCOL)

    def test_tiny_writes(self) -> None:
        """Thousands of tiny pieces that wait are kept as few, and arrive as they were."""
        written = bytes(range(256)) * 40
        self.stream.write(written[:3])
        self.peer.turn()
        for byte in written[3:]:
            self.stream.write(bytes([byte]))
        self.assertLessEqual(len(self.stream._out), CHUNKS + 1)
        self.limit(100_000)
        self.assertEqual(b"".join(box[1] for box in self.said()), written)

    def test_tiny_writes_behind_a_part(self) -> None:
        """The same when a part of the first piece has left already."""
        written = bytes(range(256)) * 20
        self.stream.write(written[: FIRST + 200])
        self.peer.turn()
        for byte in written[FIRST + 200 :]:
            self.stream.write(bytes([byte]))
        self.limit(100_000)
        self.assertEqual(b"".join(box[1] for box in self.said()), written)


class EndTests(StreamCase):
    """Each way of a stream ends on its own."""

    def test_peer_first(self) -> None:
        """After the peer's end we can still answer; when we have ended too, all is over."""
        self.data(b"question")
        self.end()
        self.assertEqual(self.protocol.events, [b"question", "read lost"])
        self.stream.write(b"answer")
        self.stream.loseWriteConnection()
        self.assertEqual(self.said(), [("data", b"answer"), "end"])
        self.assertEqual(self.protocol.happened, ["read lost", ConnectionDone])
        self.assertTrue(self.forgotten)

    def test_us_first(self) -> None:
        """After our end we still read; the peer's end is told like any other, then all is over."""
        self.stream.write(b"question")
        self.stream.loseWriteConnection()
        self.assertEqual(self.said(), [("data", b"question"), "end"])
        self.stream.write(b"late")
        self.data(b"answer")
        self.end()
        self.assertEqual(self.protocol.events, ["write lost", b"answer", "read lost", ConnectionDone])
        self.assertEqual(self.said(), [])
        self.assertTrue(self.forgotten)

    def test_end_behind_data(self) -> None:
        """Our end waits for the credit that its data needs."""
        self.stream.write(bytes(FIRST + 1))
        self.stream.loseWriteConnection()
        self.assertEqual(self.said(), [("data", bytes(FIRST))])
        self.limit(FIRST + 1)
        self.assertEqual(self.said(), [("data", b"\0"), "end"])

    def test_end_twice(self) -> None:
        """Ending our way again changes nothing."""
        for _ in range(2):
            self.stream.loseWriteConnection()
            self.assertIn(self.said(), (["end"], []))
        self.assertEqual(self.protocol.events, ["write lost"])

    def test_data_after_the_end(self) -> None:
        """Data behind the peer's end, even an empty piece, ends the session."""
        for payload in (b"x", b""):
            self.setUp()
            self.peer.send(frames.end(self.number), data(self.number, payload))
            self.assertIn(f"data for stream {self.number} after its end", str(self.peer.reason))

    def test_second_end(self) -> None:
        """A second end of the peer ends the session."""
        self.end()
        self.end()
        self.assertIn("a second end", str(self.peer.reason))

    def test_not_half_closeable(self) -> None:
        """Whoever knows no half-close is closed by the peer's end, behind what it has written."""
        self.build = Recorder
        self.setUp()
        self.stream.write(bytes(FIRST) + b"rest")
        self.end()
        self.assertEqual(self.protocol.events, [ConnectionDone])
        self.assertEqual(self.said(), [("data", bytes(FIRST))])
        self.limit(9_999)
        self.assertEqual(self.said(), [("data", b"rest"), "end"])
        self.assertTrue(self.forgotten)


class ClosingTests(StreamCase):
    """``loseConnection``."""

    def test_queued_data_first(self) -> None:
        """It stops the peer at once, sends what is queued, then ends; what comes is dropped."""
        self.stream.write(bytes(FIRST + 5))
        self.stream.loseConnection()
        self.assertTrue(self.stream.disconnecting)
        self.assertEqual(self.said(), ["stop", ("data", bytes(FIRST))])
        self.data(b"dropped")
        self.assertEqual(self.protocol.events, [])
        self.limit(9_999)
        self.assertEqual(self.said(), [("data", bytes(5)), "end"])
        self.assertEqual(self.protocol.events, [ConnectionDone])
        self.end()
        self.assertTrue(self.forgotten)

    def test_after_both_ends(self) -> None:
        """It is nothing new after the peer's end."""
        self.end()
        self.stream.loseConnection()
        self.assertEqual(self.said(), ["end"])
        self.assertEqual(self.protocol.happened, ["read lost", ConnectionDone])

    def test_after_our_end(self) -> None:
        """After our own end it only stops the peer."""
        self.stream.loseWriteConnection()
        self.assertEqual(self.said(), ["end"])
        self.stream.loseConnection()
        self.stream.loseConnection()
        self.assertEqual(self.said(), ["stop"])
        self.assertEqual(self.protocol.happened, ["write lost", ConnectionDone])

    def test_stop_producing(self) -> None:
        """A consumer that stops its producer closes the stream."""
        self.stream.stopProducing()
        self.assertEqual(self.said(), ["stop", "end"])

    def test_while_paused(self) -> None:
        """What waits for a paused protocol is dropped."""
        self.stream.pauseProducing()
        self.data(b"unread")
        self.stream.loseConnection()
        self.stream.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.events, [ConnectionDone])

    def test_afterwards(self) -> None:
        """A stream that is gone takes calls and does nothing."""
        self.stream.loseConnection()
        self.said()
        self.stream.write(b"late")
        self.stream.loseConnection()
        self.stream.abortConnection()
        self.stream.loseWriteConnection()
        self.stream.pauseProducing()
        self.stream.resumeProducing()
        self.assertEqual(self.said(), [])
        self.assertEqual(self.stream.queued(), 0)


class StopTests(StreamCase):
    """The peer will read no more."""

    def test_answered_by_an_end(self) -> None:
        """What is queued is dropped, our end answers, and the protocol is told."""
        self.stream.write(bytes(FIRST + 50))
        self.said()
        self.stop()
        self.assertEqual(self.said(), ["end"])
        self.assertEqual(self.stream.queued(), 0)
        self.assertEqual(self.protocol.events, ["write lost"])
        self.limit(9_999)
        self.stream.write(b"late")
        self.data(b"still read")
        self.end()
        self.assertEqual(self.said(), [])
        self.assertEqual(self.protocol.events, ["write lost", b"still read", "read lost", ConnectionDone])

    def test_twice(self) -> None:
        """A second one, or one behind our end, is not answered."""
        self.stop()
        self.stop()
        self.assertEqual(self.said(), ["end"])

    def test_closing(self) -> None:
        """A stream that is closing, and had more to send, is closed by it."""
        self.stream.write(bytes(FIRST + 50))
        self.stream.loseConnection()
        self.said()
        self.stop()
        self.assertEqual(self.said(), ["end"])
        self.assertEqual(self.protocol.events, [ConnectionDone])

    def test_paused_producer(self) -> None:
        """A producer that waits for room goes on, so that it finds its end."""
        producer = RecordingProducer()
        self.stream.registerProducer(producer, True)
        self.stream.write(bytes(HIGH_WATER + 1))
        self.stop()
        self.assertEqual(producer.events, ["pause", "resume"])

    def test_stop_and_end_as_loseconnection_sends_them(self) -> None:
        """A peer that closes closes us."""
        self.peer.send(frames.stop(self.number), frames.end(self.number))
        self.assertEqual(self.said(), ["end"])
        self.assertIs(self.protocol.happened[-1], ConnectionDone)
        self.assertTrue(self.forgotten)


class ResetTests(StreamCase):
    """Resets, both ways."""

    def test_by_us(self) -> None:
        """Aborting drops what is queued and tells the peer; then the protocol is told."""
        self.stream.write(bytes(5_000))
        self.stream.abortConnection()
        self.stream.abortConnection()
        self.assertEqual(self.protocol.events, [], "not from inside the call")
        self.assertEqual(self.said(), [("reset", frames.ResetCode.ABORTED)])
        self.assertEqual(self.protocol.events, [ConnectionAborted])
        self.assertTrue(self.forgotten)

    def test_by_the_peer(self) -> None:
        """The peer's reset is no clean end; its text is quoted, and it is not answered."""
        reasons: list[Failure] = []
        self.protocol.connectionLost = reasons.append
        self.stream.write(bytes(5_000))
        self.peer.send(frames.reset(self.number, 2, "bad\x1b[31m\n"))
        self.assertIs(reasons[0].type, ConnectionLost)
        self.assertTrue(str(reasons[0].value).isprintable())
        self.assertIn("(code 2)", str(reasons[0].value))
        self.assertEqual(self.said("reset", "end"), [])

    def test_drops_what_is_not_delivered(self) -> None:
        """What waits for a paused protocol is gone with a reset."""
        self.stream.pauseProducing()
        self.data(b"unread")
        self.reset()
        self.stream.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.events, [ConnectionLost])

    def test_crossed(self) -> None:
        """Frames that crossed with our reset are passed over."""
        self.stream.abortConnection()
        for box in (data(self.number, b"x"), frames.limit(self.number, 5), frames.stop(self.number)):
            self.peer.send(box)
        self.reset()
        self.end()
        self.assertIsNone(self.peer.reason)

    def test_after_half_an_end(self) -> None:
        """A stream with one way ended can be reset, by either side."""
        for end in (self.end, self.our_end):
            for reset in (self.reset, self.abort):
                self.setUp()
                end()
                self.peer.turn()
                reset()
                self.peer.turn()
                self.assertIn(self.protocol.events[-1], (ConnectionLost, ConnectionAborted))
                self.assertTrue(self.forgotten)

    def test_inside_a_data_box(self) -> None:
        """Resetting in the middle of a Data box drops what is left of it."""
        box = self.peer.segment_box(data(self.number, b"abcdef"))
        self.peer.raw(box[:-8])
        self.stream.abortConnection()
        self.peer.turn()
        self.peer.raw(box[-8:])
        self.peer.turn()
        self.assertEqual(self.protocol.happened, [ConnectionAborted])
        self.assertIsNone(self.peer.reason)

    def test_session_lost(self) -> None:
        """The end of the session is a reset of every stream."""
        self.peer.hang_up()
        self.assertEqual(self.protocol.events, [ConnectionLost])


class PausingTests(StreamCase):
    """A protocol that reads at its own pace."""

    def test_data_and_end_wait(self) -> None:
        """Data and end come after resuming, in order, at the end of the turn."""
        self.stream.pauseProducing()
        self.data(b"one")
        self.data(b"two")
        self.end()
        self.assertEqual(self.protocol.events, [])
        self.stream.resumeProducing()
        self.assertEqual(self.protocol.events, [], "not from inside the call")
        self.peer.turn()
        self.assertEqual(self.protocol.received, b"onetwo")
        self.assertEqual(self.protocol.happened, ["read lost"])

    def test_paused_again_in_between(self) -> None:
        """Pausing from inside a delivery holds the rest back, and the end behind it."""
        received = self.protocol.dataReceived

        def pause(piece: bytes) -> None:
            received(piece)
            self.stream.pauseProducing()

        self.protocol.dataReceived = pause
        self.peer.send(*[data(self.number, bytes(4_096))] * 2, frames.end(self.number))
        self.assertEqual(self.protocol.happened, [])
        self.stream.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.happened, ["read lost"])
        self.assertEqual(len(self.protocol.received), 8_192)

    def test_resumed_and_paused(self) -> None:
        """Resuming for less than a turn brings nothing."""
        self.stream.pauseProducing()
        self.data(b"one")
        self.stream.resumeProducing()
        self.stream.pauseProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.events, [])

    def test_credit_only_when_drained(self) -> None:
        """While a protocol is paused the peer gets no credit; it gets it on resuming."""
        self.stream.pauseProducing()
        self.data(bytes(8_192))
        self.peer.advance(10)
        self.assertEqual(self.said("limit"), [])
        self.stream.resumeProducing()
        self.assertEqual(self.said("limit"), [("limit", 2 * 8_192)])

    def test_credit_for_what_a_slow_consumer_took(self) -> None:
        """A consumer that pauses after every piece gets more before it has taken all that is there."""
        self.peer = Peer(ours=Promises(window=4 * PIECE))
        self.number = self.peer.open()
        stream = self.peer.streams[0]
        self.peer.protocols[0].dataReceived = lambda piece: stream.pauseProducing()
        self.peer.send(*[data(self.number, bytes(frames.DATA_PAYLOAD))] * 15)
        limits = []
        for _ in range(3):
            limits += self.said("limit")
            stream.resumeProducing()
            self.peer.turn()
        self.assertTrue(stream._arrived, "there is still something to be taken")
        self.assertTrue(limits + self.said("limit"))

    def test_no_credit_after_the_end(self) -> None:
        """A peer that has ended its way gets no more credit."""
        self.stream.pauseProducing()
        self.data(bytes(8_000))
        self.end()
        self.stream.resumeProducing()
        self.assertEqual(self.said("limit"), [])

    def test_over_the_limit(self) -> None:
        """Data over the credit ends the session before any of it is delivered."""
        self.stream.pauseProducing()
        self.data(bytes(8_192))
        self.data(b"x")
        self.assertIn("1 bytes over the limit of 8192", str(self.peer.reason))

    def test_tiny_pieces(self) -> None:
        """Thousands of tiny pieces that wait are kept as few, and are delivered as they were."""
        self.stream.pauseProducing()
        sent = bytes(range(256)) * 32
        self.peer.send(*(data(self.number, bytes([byte])) for byte in sent))
        self.assertLess(len(self.stream._arrived), 20)
        self.stream.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.received, sent)

    def test_ended_both_ways_while_paused(self) -> None:
        """What came before both ways had ended is still delivered to a paused protocol, then the end."""
        self.stream.pauseProducing()
        self.data(b"last words")
        self.end()
        self.stream.loseWriteConnection()
        self.assertEqual(self.said(), ["end"])
        self.assertTrue(self.forgotten)
        self.stream.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.protocol.received, b"last words")
        self.assertEqual(self.protocol.happened, ["write lost", "read lost", ConnectionDone])

    def test_holds_its_place_while_it_holds_bytes(self) -> None:
        """A stream that is over but not drained still counts, so that bytes cannot pile up."""
        self.peer = Peer(ours=Promises(window=8_192, streams=1))
        number = self.peer.open()
        self.peer.streams[0].pauseProducing()
        self.peer.send(data(number, b"held"), frames.end(number))
        self.peer.streams[0].loseWriteConnection()
        self.peer.turn()
        self.peer.heard()
        self.peer.open()
        self.assertEqual(self.said(), [("reset", frames.ResetCode.LIMIT)])
        self.peer.streams[0].resumeProducing()
        self.peer.turn()
        self.peer.open()
        self.assertEqual(self.said("reset"), [])

    def test_session_lost_behind_the_ends(self) -> None:
        """A stream whose ends came in the same read as the session's end has all its bytes."""
        self.stream.loseWriteConnection()
        self.said()
        ends = self.peer.segment_box(data(self.number, b"last") + frames.end(self.number))
        self.peer.raw(ends + frames.bye(1, "closed"))
        self.peer.turn()
        self.assertEqual(self.protocol.events, ["write lost", b"last", "read lost", ConnectionDone])


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


@implementer(IHalfCloseableProtocol)
class Clumsy(Protocol):
    """A protocol that fails in one of its callbacks, or whenever it is called while it calls."""

    fails = ""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._busy = False

    @contextmanager
    def busy(self) -> Iterator[Any]:
        """Be inside a call of its own."""
        self._busy = True
        yield self.transport
        self._busy = False

    def _called(self, name: str, *what: object) -> None:
        assert not self._busy, f"{name} from inside a call of its own"
        self.events.extend(what or (name,))
        if name == self.fails:
            raise ZeroDivisionError(name)

    def connectionMade(self) -> None:
        self._called("connectionMade")

    def dataReceived(self, data: bytes) -> None:
        self._called("dataReceived")

    def readConnectionLost(self) -> None:
        self._called("readConnectionLost")

    def writeConnectionLost(self) -> None:
        self._called("writeConnectionLost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._called("connectionLost")


class ClumsyProtocolTests(StreamCase):
    """Protocols with mistakes."""

    build = Clumsy

    def _failing(self, name: str) -> None:
        self.patch(Clumsy, "fails", name)
        self.peer = Peer(build=Clumsy)
        self.number, other = self.peer.open(), self.peer.open()
        self.peer.turn()
        self.peer.protocols[1].fails = ""
        self.protocol, self.stream = self.peer.protocols[0], self.peer.streams[0]
        if name != "connectionMade":
            self.data(b"x")
        if name in ("writeConnectionLost", "connectionLost"):
            self.stream.loseWriteConnection()
            self.peer.turn()
        if name in ("readConnectionLost", "connectionLost"):
            self.end()
        errors = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(
            [str(error.value) for error in errors], [name] * (2 if name == "connectionMade" else 1)
        )
        self.assertEqual(self.protocol.events[-1], "connectionLost")
        self.assertIsNone(self.peer.reason)
        if name not in ("connectionMade",):
            self.assertNotIn("connectionLost", self.peer.protocols[1].events)
            self.assertEqual(
                [box[1] for box in self.peer.heard("reset")], [self.number] * (name != "connectionLost")
            )
            self.peer.send(data(other, b"fine"))
            self.assertIn("dataReceived", self.peer.protocols[1].events)

    def test_in_connection_made(self) -> None:
        """A protocol that fails when it is connected resets its own stream."""
        self._failing("connectionMade")

    def test_in_data_received(self) -> None:
        """One that fails over data resets its own stream and no other."""
        self._failing("dataReceived")

    def test_in_read_connection_lost(self) -> None:
        """One that fails over the peer's end resets its own stream and no other."""
        self._failing("readConnectionLost")

    def test_in_write_connection_lost(self) -> None:
        """One that fails over its own end resets its own stream and no other."""
        self._failing("writeConnectionLost")

    def test_in_connection_lost(self) -> None:
        """One that fails over its loss disturbs nobody."""
        self._failing("connectionLost")

    def test_failing_producer(self) -> None:
        """A producer that fails resets the stream, not the session."""
        for name in ("pauseProducing", "resumeProducing"):
            self.setUp()
            producer = RecordingProducer()
            setattr(producer, name, lambda: 1 // 0)
            self.stream.registerProducer(producer, True)
            self.stream.write(bytes(HIGH_WATER + 1))
            self.limit(1_000_000)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.protocol.events, ["connectionLost"])
            self.assertIsNone(self.peer.reason)

    def test_never_called_while_it_calls(self) -> None:
        """No method of a stream calls the protocol back before it returns."""
        calls: list[Callable[[Any], object]] = [
            lambda stream: stream.write(bytes(200_000)),
            lambda stream: stream.pauseProducing(),
            lambda stream: stream.resumeProducing(),
            lambda stream: stream.loseWriteConnection(),
            lambda stream: stream.loseConnection(),
            lambda stream: stream.stopProducing(),
            lambda stream: stream.abortConnection(),
        ]
        for call in calls:
            for before in (None, self.end, self.stop):
                self.setUp()
                self.stream.pauseProducing()
                self.data(b"waiting")
                if before is not None:
                    before()
                with self.protocol.busy() as stream:
                    call(stream)
                self.peer.turn()
                self.assertIsNone(self.peer.reason)
                self.assertEqual(self.flushLoggedErrors(), [])
