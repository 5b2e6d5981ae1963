"""The session: numbering, acknowledgements, and how it ends."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import SessionLost
from burrow.session.commands import Unbind
from burrow.session.mux import MOST_UNSENT, Promises
from burrow.session.retained import ACK_INTERVAL, LEAST_RETAINED, SEGMENT_COST
from burrow.session.session import ACK_DELAY
from burrow.wire import frames
from burrow.wire.boxes import encode
from tests.session.peer import Peer, data, logged

COMMAND = encode([(b"_command", b"x"), (b"a", bytes(5_000))])


class AcknowledgementTests(SynchronousTestCase):
    """What is said about what has come."""

    def setUp(self) -> None:
        self.peer = Peer(ours=Promises(window=1_048_576))
        self.number = self.peer.open()
        self.peer.advance(1)
        self.peer.says.segments.clear()

    def test_after_a_while(self) -> None:
        """A byte is acknowledged after 50 ms, by a bare Segment if there is nothing to send."""
        self.peer.send(data(self.number, b"x"))
        self.peer.clock.advance(ACK_DELAY * 0.98)
        self.peer.turn()
        self.assertEqual(self.peer.says.segments, [])
        self.peer.clock.advance(ACK_DELAY * 0.04)
        self.peer.turn()
        self.assertEqual(self.peer.says.segments, [(self.peer.sent, self.peer.says.received, 0)])

    def test_once(self) -> None:
        """What has been acknowledged is not acknowledged again."""
        self.peer.send(data(self.number, b"x"))
        self.peer.streams[0].write(b"y")
        self.peer.turn()
        self.peer.advance(1, ACK_DELAY)
        self.assertEqual(len(self.peer.says.segments), 1)
        self.assertEqual(self.peer.says.segments[0][0], self.peer.sent)

    def test_after_many_bytes(self) -> None:
        """Much is acknowledged at the end of the turn."""
        self.peer.streams[0].pauseProducing()
        box = data(self.number, bytes(frames.DATA_PAYLOAD))
        self.peer.send(*[box] * (ACK_INTERVAL // len(box)))
        self.assertEqual(self.peer.says.segments, [])
        self.peer.send(box)
        self.assertEqual(self.peer.says.segments, [(self.peer.sent, self.peer.says.received, 0)])

    def test_without_room(self) -> None:
        """An acknowledgement that finds no room follows when there is some."""
        self.peer.link.pauseProducing()
        self.peer.send(data(self.number, b"x"))
        self.peer.clock.advance(ACK_DELAY)
        self.peer.turn()
        self.assertEqual(self.peer.says.segments, [])
        self.peer.link.resumeProducing()
        self.peer.clock.advance(ACK_DELAY)
        self.peer.turn()
        self.assertEqual(len(self.peer.says.segments), 1)

    def test_false_claims(self) -> None:
        """An acknowledgement beyond what was sent, or one that falls, ends the session."""
        self.peer.streams[0].write(bytes(100))
        self.peer.turn()
        self.peer.acknowledge()
        for ack in (self.peer.says.received + 1, self.peer.says.received - 1, 0, 2**63, 2**64 - 1):
            peer = Peer()
            peer.open()
            peer.streams[0].write(bytes(100))
            peer.turn()
            peer.acknowledge()
            peer.segment(b"", ack=ack)
            self.assertIn(f"acknowledged {ack}", str(peer.reason))
            self.assertEqual([code for code, _ in peer.byes], [frames.ByeCode.PROTOCOL])

    def test_offsets(self) -> None:
        """An offset one too low, one too high or far away ends the session, also in a bare Segment."""
        for offset in (self.peer.sent - 1, self.peer.sent + 1, 0, 2**63, 2**64 - 1):
            for payload in (b"", frames.end(2)):
                peer = Peer()
                peer.open()
                peer.segment(payload, offset=offset)
                self.assertIn(f"offset {offset}", str(peer.reason))


class RetainedTests(SynchronousTestCase):
    """A peer that acknowledges nothing."""

    def setUp(self) -> None:
        self.peer = Peer(peers=Promises(window=8_388_608), retained=LEAST_RETAINED)
        self.peer.open(limit=8_388_608)
        self.peer.acknowledge()
        self.stream = self.peer.streams[0]

    def test_full(self) -> None:
        """No more than what may be retained leaves; acknowledging lets it go on."""
        before = self.peer.says.received
        self.stream.write(bytes(5_000_000))
        self.peer.turn()
        sent = self.peer.says.received - before
        self.assertLessEqual(sent, LEAST_RETAINED)
        self.assertGreater(sent, LEAST_RETAINED - 2_000)
        self.peer.acknowledge()
        self.assertGreater(self.peer.says.received - before, 2 * sent - 4_000)

    def test_full_with_a_box_that_is_cut(self) -> None:
        """A box that did not fit whole waits without a sound, and is finished later."""
        for _ in range(2 * LEAST_RETAINED // len(COMMAND)):
            self.peer.session.mux.queue_command(COMMAND)
        self.peer.turn()
        segments = len(self.peer.says.segments)
        self.assertLess(segments, 30)
        self.assertEqual(self.peer.session._retained.room, 0)
        self.peer.advance(0.5, 0.05)
        self.peer.acknowledge()
        self.peer.acknowledge()
        self.peer.acknowledge()
        self.assertEqual(len(self.peer.heard()), 2 * LEAST_RETAINED // len(COMMAND))

    def test_full_still_answers(self) -> None:
        """While it is full, acknowledgements and pongs still pass."""
        self.stream.write(bytes(5_000_000))
        self.peer.turn()
        ack = self.peer.says.segments[-1][0]
        self.peer.says.link.clear()
        self.peer.lively = False
        self.peer.raw(self.peer.segment_box(data(2, b"x"), ack=0))
        self.peer.raw(frames.ping(bytes(8)))
        self.peer.clock.advance(ACK_DELAY)
        self.peer.turn()
        self.assertEqual(self.peer.says.link, [{b"r": bytes(8)}])
        self.assertGreater(self.peer.says.segments[-1][0], ack)

    def test_tiny_segments(self) -> None:
        """One byte a turn fills it as well: the boxes are bounded, not only their bytes."""
        for _ in range(2 * LEAST_RETAINED // SEGMENT_COST):
            self.stream.write(b"x")
            self.peer.turn()
        self.assertEqual(len(self.peer.session._retained._segments), LEAST_RETAINED // SEGMENT_COST)
        self.assertGreater(self.stream.queued(), 0)

    def test_never_acknowledged(self) -> None:
        """A peer that lives and never acknowledges is dropped, and nothing is kept for it."""
        self.peer.lively = False
        self.stream.write(bytes(5_000_000))
        with logged() as lines:
            for _ in range(40):
                self.peer.raw(frames.ping(bytes(8)))
                self.peer.advance(1)
        self.assertIn("nothing acknowledged", str(self.peer.reason))
        self.assertEqual(len(lines), 1)
        self.assertFalse(self.peer.session._retained._segments)
        self.assertEqual(self.stream.queued(), 0)


class EndTests(SynchronousTestCase):
    """How a session ends."""

    def setUp(self) -> None:
        self.peer = Peer()
        self.peer.open()
        self.peer.heard()

    def _assert_over(self) -> None:
        self.assertFalse(self.peer.session.attached)
        self.assertEqual(self.peer.protocols[0].happened, [ConnectionLost])
        self.assertIsInstance(self.successResultOf(self.peer.session.ended()), SessionLost)
        self.assertEqual(len(self.peer.session.mux), 0)

    def test_close(self) -> None:
        """Closing says Bye with its code and resets every stream; doing it again says nothing more."""
        with logged() as lines:
            self.peer.session.close(frames.ByeCode.STOPPING, "the relay stops")
            self.peer.session.close()
        self.peer.turn()
        self.assertEqual(self.peer.byes, [(5, "the relay stops")])
        self._assert_over()
        self.assertEqual(lines, [])

    def test_bye(self) -> None:
        """The peer's Bye ends it."""
        self.peer.raw(frames.bye(1, "closed"))
        self.peer.turn()
        self._assert_over()

    def test_lost(self) -> None:
        """Without resuming, the loss of the transport ends it."""
        self.peer.hang_up()
        self._assert_over()
        self.assertIn("connection was lost", str(self.peer.reason))

    def test_rule_broken(self) -> None:
        """A broken rule ends it with code 2 and the rule, in one line of log."""
        with logged() as lines:
            self.peer.segment(b"\xff\xff" + bytes(100))
        self._assert_over()
        self.assertEqual([code for code, _ in self.peer.byes], [2])
        self.assertEqual(len(lines), 1)
        self.assertIn("192.0.2.1", lines[0])

    def test_timers(self) -> None:
        """When its transport is gone too, no timer is left, whoever ended it and whatever was due."""
        for end in (self.peer.session.close, lambda: self.peer.raw(frames.bye(1, "")), lambda: None):
            self.peer.send(data(2, b"x"))  # an acknowledgement is due
            end()
            self.peer.hang_up()
            self.assertEqual(self.peer.clock.getDelayedCalls(), [])
            self.setUp()

    def test_closed_while_it_is_read(self) -> None:
        """A session that a protocol closes over its data passes over what follows in the same read."""
        self.peer.protocols[0].dataReceived = lambda piece: self.peer.session.close()
        one = self.peer.segment_box(data(2, b"x"))
        two = self.peer.segment_box(frames.open_stream(4, 7, b"nonsense", 0) + data(8, b"y"))
        with logged() as lines:
            self.peer.raw(one)
            self.peer.raw(two + one)
            self.peer.turn()
        self.assertEqual(lines, [])
        self._assert_over()
        self.peer.hang_up()
        self.peer.clock.advance(60)
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_ended_by_what_stands_in_front(self) -> None:
        """Nothing behind the box that broke a rule is acted on, in this Segment or a later one."""
        bad = self.peer.segment_box(frames.end(99) + frames.open_stream(4, 7, b"", 0))
        with logged() as lines:
            self.peer.raw(bad + self.peer.segment_box(frames.end(2)) + b"\xff" * 50)
            self.peer.turn()
        self.assertEqual(len(lines), 1)
        self.assertEqual(len(self.peer.protocols), 1)

    def test_flood_of_answers(self) -> None:
        """Answers that the peer does not read end it when they are too many."""
        self.peer.link.pauseProducing()
        box = encode([(b"_answer", b"1"), (b"a", bytes(65_000))])
        for _ in range(MOST_UNSENT // len(box)):
            self.peer.session.mux.queue_command(box)
        self.peer.turn()
        self.assertIsNone(self.peer.reason)
        self.peer.session.mux.queue_command(box)
        self.peer.turn()
        self.assertEqual([code for code, _ in self.peer.byes], [frames.ByeCode.LIMIT])

    def test_calls(self) -> None:
        """Questions that wait for answers fail, and so do later ones."""
        waiting = self.peer.session.call(Unbind, tunnel=1)
        self.peer.hang_up()
        self.failureResultOf(waiting, SessionLost)
        self.failureResultOf(self.peer.session.call(Unbind, tunnel=1), SessionLost)

    def test_name(self) -> None:
        """A session's text is a short name without secrets."""
        self.assertEqual(str(self.peer.session), b"012345".hex())

    def test_truncated(self) -> None:
        """A Segment that is cut by the loss of the transport counts up to the cut, and does no harm."""
        box = self.peer.segment_box(data(2, b"abcdef"))
        for cut in range(len(box)):
            self.setUp()
            self.peer.raw(box[:cut])
            self.peer.hang_up()
            self.assertIn(self.peer.protocols[0].happened, ([ConnectionLost],))
