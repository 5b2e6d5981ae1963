"""The mux: whose bytes leave next, and whose frames may come."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import SessionLost, TunnelRefused
from burrow.session.credit import BUDGET, FIRST_WINDOW, LEAST_WINDOW
from burrow.session.mux import Promises
from burrow.testing.recorders import HalfCloseableRecorder, Recorder
from burrow.wire import frames
from burrow.wire.boxes import encode
from tests.session.peer import FACTS, TUNNEL, VISITOR, Peer, data

MANY = 1_000_000  #: bytes of credit


class Declining(Factory):
    """A factory that wants no visitor."""

    def buildProtocol(self, addr: IAddress | None) -> None:
        return None


class TurnsTests(SynchronousTestCase):
    """The order in which things leave."""

    def setUp(self) -> None:
        self.peer = Peer(peers=Promises(window=MANY))
        for _ in range(3):
            self.peer.open(limit=MANY)
        self.streams = self.peer.streams
        self.peer.heard()

    def _order(self) -> list[int]:
        self.peer.turn()
        return [box[1] for box in self.peer.heard("data")]

    def test_quiet_beside_busy(self) -> None:
        """A quiet stream waits for one box of a busy one, not for all that this one has queued."""
        busy, quiet, other = self.streams
        busy.write(bytes(400_000))
        other.write(bytes(100_000))
        quiet.write(b"hello")
        order = self._order()
        self.assertLess(order.index(quiet.number), 3)

    def test_in_turns(self) -> None:
        """Busy streams take turns of one box."""
        for stream in self.streams:
            stream.write(bytes(300_000))
        order = self._order()
        runs = [one == next_one for one, next_one in itertools.pairwise(order)]
        self.assertGreater(len(order), 25)
        self.assertFalse(any(runs), order)

    def test_joining_later(self) -> None:
        """A stream that starts while others are busy has its turn at once."""
        busy, quiet, _ = self.streams
        self.peer.transport.room = 100_000
        busy.write(bytes(900_000))
        self.peer.turns.end()
        quiet.write(b"hello")
        self.peer.read()
        self.peer.heard()
        self.peer.link.resumeProducing()
        self.assertLess(self._order().index(quiet.number), 2)

    def test_commands_signals_data(self) -> None:
        """Commands overtake signals, signals overtake data, as long as nothing is numbered."""
        self.streams[0].write(bytes(10))
        self.streams[1].abortConnection()
        self.peer.session.mux.queue_command(encode([(b"_command", b"x")]))
        self.peer.turn()
        self.assertEqual([box[0] for box in self.peer.heard()], [{b"_command": b"x"}, "reset", "data"])

    def test_end_behind_data(self) -> None:
        """An end never overtakes its stream's own data."""
        self.streams[0].write(bytes(100_000))
        self.streams[0].loseWriteConnection()
        self.peer.turn()
        kinds = [box[0] for box in self.peer.heard()]
        self.assertEqual(kinds, ["data"] * 4 + ["end"])

    def test_large_commands(self) -> None:
        """A command larger than a Segment is cut over several, and arrives whole."""
        box = encode([(b"_command", b"x"), (b"a", bytes(60_000)), (b"b", bytes(65_000))])
        self.peer = Peer()
        segments = len(self.peer.says.segments)
        self.peer.session.mux.queue_command(
            encode([(b"_command", b"x"), (b"a", bytes(60_000)), (b"b", bytes(65_000))])
        )
        self.peer.turn()
        self.assertEqual(len(self.peer.says.segments) - segments, 3)
        self.assertEqual(encode(self.peer.heard()[0][0].items()), box)

    def test_data_size(self) -> None:
        """A Data box has at most 32 KiB, and a Segment at most 60."""
        self.streams[0].write(bytes(200_000))
        self.peer.turn()
        self.assertEqual(max(len(box[2]) for box in self.peer.heard("data")), frames.DATA_PAYLOAD)
        self.assertLessEqual(max(segment[2] for segment in self.peer.says.segments), frames.SEGMENT_PAYLOAD)

    def test_stalled_streams_cost_no_turns(self) -> None:
        """A stream without credit is not asked for data, and holds nobody up."""
        stalled = self.peer.open(limit=5)
        self.peer.streams[3].write(bytes(100))
        self.streams[0].write(b"hello")
        self.assertEqual(self._order(), [stalled, self.streams[0].number])
        self.streams[0].write(b"again")
        self.assertEqual(self._order(), [self.streams[0].number])
        self.assertFalse(self.peer.session.mux.waiting)

    def test_nothing_to_say(self) -> None:
        """Without room nothing is taken, not even a part of a box."""
        self.peer.session.mux.queue_command(encode([(b"_command", b"x")]))
        self.assertEqual(self.peer.session.mux.take(0), [])
        taken = b"".join(self.peer.session.mux.take(5))
        self.assertEqual(len(taken), 5)
        self.assertEqual(self.peer.session.mux.take(0), [])
        self.assertTrue(self.peer.session.mux.waiting)


class OpenedByPeerTests(SynchronousTestCase):
    """Streams that the peer opens."""

    def setUp(self) -> None:
        self.peer = Peer(ours=Promises(window=1_024, streams=3))

    def _over(self, *boxes: bytes) -> str:
        """Send boxes to a session of their own; return why it ended."""
        peer = Peer(ours=Promises(window=1_024, streams=3))
        peer.open(number=4)
        peer.send(*boxes)
        self.assertEqual([code for code, _ in peer.byes], [frames.ByeCode.PROTOCOL] if peer.reason else [])
        return str(peer.reason)

    def test_visitor(self) -> None:
        """The listener's protocol has the visitor as its peer, and may be sent data at once."""
        number = next(self.peer.numbers)
        self.peer.send(frames.open_stream(number, TUNNEL, FACTS, 5), data(number, b"hello"))
        self.assertEqual(self.peer.protocols[0].events, ["made", b"hello"])
        self.assertEqual(self.peer.streams[0].getPeer(), VISITOR)
        self.assertEqual(self.peer.session.mux.opened, 1)
        self.assertEqual(self.peer.session.mux.bytes_in, 5)

    def test_used_numbers(self) -> None:
        """A number that was used, or passed over, or of the wrong parity, ends the session."""
        for number in (4, 2, 5, 1, 0):
            self.assertIn(f"stream {number} opened", self._over(frames.open_stream(number, TUNNEL, FACTS, 0)))
        self.assertEqual(self._over(frames.open_stream(6, TUNNEL, FACTS, 0)), "None")
        self.assertIn("2^63", self._over(frames.open_stream(2**63, TUNNEL, FACTS, 0)))

    def test_frames_for_unused_numbers(self) -> None:
        """Any frame for a number that was never used ends the session."""
        for number in (6, 1, 0, 2**62):
            for box in (
                data(number, b"x"),
                data(number, b""),
                frames.limit(number, 9),
                frames.end(number),
                frames.stop(number),
                frames.reset(number, 1),
            ):
                self.assertIn(f"stream {number} was never opened", self._over(box))

    def test_numbers_passed_over(self) -> None:
        """Frames for a number below one that was opened are passed over: they may have crossed."""
        self.assertEqual(self._over(data(2, b"x"), frames.end(2), frames.reset(2, 1)), "None")

    def test_no_such_tunnel(self) -> None:
        """A stream to a tunnel that nobody listens for is refused; what follows is passed over."""
        number = next(self.peer.numbers)
        self.peer.send(frames.open_stream(number, 99, FACTS, 5), data(number, b"hello"), frames.end(number))
        self.assertEqual(self.peer.heard(), [("reset", number, frames.ResetCode.UNKNOWN)])
        self.assertEqual(len(self.peer.session.mux), 0)

    def test_unlistened(self) -> None:
        """After unlistening new streams are refused, and those that are open go on."""
        number = self.peer.open()
        self.peer.session.mux.unlisten(TUNNEL)
        self.peer.session.mux.unlisten(TUNNEL)
        refused = self.peer.open()
        self.assertEqual(self.peer.heard(), [("reset", refused, frames.ResetCode.UNKNOWN)])
        self.peer.send(data(number, b"on"))
        self.assertEqual(self.peer.protocols[0].received, b"on")

    def test_too_many(self) -> None:
        """Streams above the number allowed are refused, until one is over."""
        numbers = [self.peer.open() for _ in range(5)]
        self.assertEqual(
            self.peer.heard(), [("reset", number, frames.ResetCode.LIMIT) for number in numbers[3:]]
        )
        self.peer.send(frames.reset(numbers[0], 1))
        self.peer.open()
        self.assertEqual(self.peer.heard("reset"), [])
        self.assertEqual(len(self.peer.session.mux), 3)

    def test_refused_by_the_factory(self) -> None:
        """A factory that builds nothing refuses the stream; one that fails does too, and is logged."""
        for factory in (Declining(), Factory.forProtocol(lambda: 1 // 0)):
            self.peer.session.mux.listen(TUNNEL, factory)
            number = self.peer.open()
            self.assertEqual(self.peer.heard(), [("reset", number, frames.ResetCode.REFUSED)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsNone(self.peer.reason)

    def test_bad_visitor(self) -> None:
        """Visitor facts that cannot be read end the session."""
        self.assertIn("port", self._over(frames.open_stream(6, TUNNEL, FACTS.replace(b"4711", b"47x1"), 0)))
        self.assertNotEqual(self._over(frames.open_stream(6, TUNNEL, b"", 0)), "None")

    def test_missing_pairs(self) -> None:
        """A box without one of its pairs, or with one of another width, ends the session."""
        whole = {
            b"n": [b"n", b"t", b"v", b"w"],
            b"l": [b"l", b"m"],
            b"u": [b"u", b"x"],
        }
        for kind, keys in whole.items():
            for missing in keys[1:]:
                pairs = [(key, (6).to_bytes(8, "big")) for key in keys if key != missing]
                self.assertNotEqual(self._over(encode(pairs)), "None", (kind, missing))
        for box in (encode([(b"f", b"\x04")]), encode([(b"s", bytes(9))]), encode([(b"z", b"")])):
            self.assertNotEqual(self._over(box), "None")


class OpenedByUsTests(SynchronousTestCase):
    """Streams that we open."""

    def setUp(self) -> None:
        self.peer = Peer(dialler=False, peers=Promises(window=10, streams=2))

    def _open(self, build: Callable[[], Recorder] = HalfCloseableRecorder) -> Recorder:
        protocol = self.peer.session.open(TUNNEL, VISITOR, Factory.forProtocol(build))
        assert isinstance(protocol, Recorder)
        return protocol

    def test_open(self) -> None:
        """The protocol is connected at once, and may send what the peer has promised."""
        protocol = self._open()
        self.assertEqual(protocol.events, ["made"])
        protocol.transport.write(bytes(15))
        self.peer.turn()
        self.assertEqual(self.peer.heard(), [("open", 2, TUNNEL, FIRST_WINDOW), ("data", 2, bytes(10))])

    def test_numbers(self) -> None:
        """A relay opens even numbers, a client odd ones, upwards."""
        self._open()
        self._open()
        self.peer.turn()
        self.assertEqual([box[1] for box in self.peer.heard("open")], [2, 4])
        client = Peer(dialler=True)
        client.session.open(TUNNEL, VISITOR, Factory.forProtocol(Recorder))
        client.turn()
        self.assertEqual([box[1] for box in client.heard("open")], [1])

    def test_too_many(self) -> None:
        """No more are opened than the peer allows, until one is over."""
        self._open()
        self._open()
        with self.assertRaises(TunnelRefused) as caught:
            self._open()
        self.assertEqual(caught.exception.code, 324)
        self.peer.turn()
        self.peer.send(frames.reset(2, 1))
        self._open()

    def test_refused(self) -> None:
        """A refusal is a reset for the protocol."""
        protocol = self._open()
        self.peer.turn()
        self.peer.send(frames.reset(2, frames.ResetCode.REFUSED, "no"))
        self.assertEqual(protocol.happened, [ConnectionLost])

    def test_nobody_wants_it(self) -> None:
        """A factory that builds nothing opens nothing."""
        self.assertRaises(TunnelRefused, self.peer.session.open, TUNNEL, VISITOR, Declining())
        self.peer.turn()
        self.assertEqual(self.peer.heard(), [])

    def test_when_over(self) -> None:
        """Nothing is opened when the session is over, and nothing is kept."""
        protocol = self._open()
        self.peer.hang_up()
        self.assertRaises(SessionLost, self._open)
        protocol.transport.write(b"late")
        self.assertFalse(self.peer.session.mux.waiting)
        self.assertEqual(len(self.peer.session.mux), 0)

    def test_small_windows_when_the_budget_is_spent(self) -> None:
        """Streams that open while much is promised start small."""
        self.peer = Peer(dialler=False)
        count = BUDGET // FIRST_WINDOW
        for _ in range(count + 1):
            self._open(Recorder)
        self.peer.turn()
        sizes = [box[3] for box in self.peer.heard("open")]
        self.assertEqual(sizes, [FIRST_WINDOW] * count + [LEAST_WINDOW])
