"""A stream, as the protocol on it and the peer see it: sending and ending."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IPushProducer,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from burrow.interfaces.stream import IStream
from burrow.session.stream import HIGH_WATER, TRANSITIONS, Event, State
from burrow.session.waiting import CHUNKS
from burrow.testing.recorders import Recorder, RecordingProducer
from burrow.wire import frames
from tests.session.peer import VISITOR, data
from tests.session.stream_case import FIRST, StreamCase


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
