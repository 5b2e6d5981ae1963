"""A hostile peer: every frame in every state, and floods. Its own session ends, nobody else notices."""

from __future__ import annotations

import gc
import itertools
import random
import tracemalloc
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.session import session
from burrow.session.commands import Unbind
from burrow.session.mux import Promises
from burrow.session.retained import LEAST_RETAINED
from burrow.wire import frames
from burrow.wire.boxes import END
from tests.session.peer import FACTS, TUNNEL, Peer, ask, data, logged
from tests.session.test_control import ON_THE_WIRE, Responders

WINDOW = 1_024
MIB = 1_048_576
FLOOD = 262_144  #: bytes that wait for room, here; 4 MiB would take long

PROTOCOL = frames.ByeCode.PROTOCOL
PASSED, TAKEN = "passed over", "taken"


def _untouched(peer: Peer) -> None:
    """Have used no number but 4; 2 was passed over, 6 follows."""


def _open(peer: Peer) -> None:
    """Have a stream that is open both ways."""


def _peer_ended(peer: Peer) -> None:
    peer.send(frames.end(4))


def _we_ended(peer: Peer) -> None:
    peer.streams[0].loseWriteConnection()
    peer.turn()


def _stopped(peer: Peer) -> None:
    peer.send(frames.stop(4))


def _closing(peer: Peer) -> None:
    peer.streams[0].loseConnection()
    peer.turn()


def _closed(peer: Peer) -> None:
    _peer_ended(peer)
    _we_ended(peer)


def _reset_by_us(peer: Peer) -> None:
    peer.streams[0].abortConnection()
    peer.turn()


def _reset_by_peer(peer: Peer) -> None:
    peer.send(frames.reset(4, 1))


#: What a stream may be in, by how it comes there.
STATES: dict[str, Callable[[Peer], None]] = {
    "open": _open,
    "peer ended": _peer_ended,
    "we ended": _we_ended,
    "stopped": _stopped,
    "closing": _closing,
    "closed": _closed,
    "reset by us": _reset_by_us,
    "reset by the peer": _reset_by_peer,
}
OVER = ("closed", "reset by us", "reset by the peer")

#: Every frame about a stream, by name; the last two break rules of credit while it is open.
FRAMES: dict[str, bytes] = {
    "open": frames.open_stream(4, TUNNEL, FACTS, 5),
    "data": data(4, b"x"),
    "empty data": data(4, b""),
    "limit": frames.limit(4, 999_999),
    "end": frames.end(4),
    "stop": frames.stop(4),
    "reset": frames.reset(4, 1),
    "data over the limit": data(4, bytes(WINDOW + 1)),
    "falling limit": frames.limit(4, 4),
}
BREAKS_WHILE_OPEN = ("data over the limit", "falling limit")


def expected(state: str, frame: str) -> str | int:
    """Return what docs/protocol.md says about a frame for a stream in a state."""
    if frame == "open":
        return PROTOCOL  # a used number
    if state in OVER:
        return PASSED
    if state == "peer ended" and frame in ("data", "empty data", "end", "data over the limit"):
        return PROTOCOL
    return PROTOCOL if frame in BREAKS_WHILE_OPEN else TAKEN


class StateTableTests(SynchronousTestCase):
    """All pairs of a stream's state and a frame."""

    def _peer(self) -> Peer:
        peer = Peer(ours=Promises(window=WINDOW))
        peer.open(number=4, limit=5)
        return peer

    def test_every_pair(self) -> None:
        """Each frame does in each state what the specification says, and no more than that."""
        for state, reach in STATES.items():
            for frame, box in FRAMES.items():
                with self.subTest(state=state, frame=frame), logged() as lines:
                    peer = self._peer()
                    reach(peer)
                    peer.send(box)
                    wanted = expected(state, frame)
                    codes = [code for code, _ in peer.byes]
                    self.assertEqual(codes, [wanted] if wanted is PROTOCOL else [], (state, frame))
                    self.assertEqual(len(lines), len(codes), lines)
                    self.assertEqual(len(peer.protocols), 1)

    def test_every_pair_of_frames(self) -> None:
        """Any two frames one after the other end at most the session, never the program."""
        for one in FRAMES.values():
            for two in FRAMES.values():
                peer = self._peer()
                with logged() as lines:
                    peer.send(one, two, one)
                self.assertEqual(len(lines), len(peer.byes))

    def test_link_boxes_in_every_state(self) -> None:
        """Link boxes in the wrong state end the session with one line: before it, within it, after it."""
        boxes = {
            "segment": frames.SEGMENT.head(0, 0, 0) + END,
            "ping": frames.ping(bytes(8)),
            "pong": frames.pong(bytes(8)),
            "bye": frames.bye(1, ""),
            "hello": amp.AmpBox(_ask=b"1", _command=b"Hello").serialize(),
            "answer": amp.AmpBox(_answer=b"1").serialize(),
        }
        for name, box in boxes.items():
            peer = Peer()
            with logged() as lines:
                peer.raw(box)
                peer.turn()
            harmless = name in ("segment", "ping", "bye")
            self.assertEqual(len(peer.byes), 0 if harmless else 1, name)
            self.assertEqual(len(lines), len(peer.byes), name)
            with logged() as lines:
                peer.session.close()
                peer.raw(box)
                peer.turn()
            self.assertEqual(lines, [], name)


class NeighboursTests(SynchronousTestCase):
    """Other sessions."""

    def test_untouched(self) -> None:
        """What ends one session is not noticed in another."""
        bad, good = Peer(), Peer()
        bad.open()
        number = good.open()
        with logged() as lines:
            bad.send(frames.end(99))
            good.send(data(number, b"hello"))
        self.assertEqual(len(lines), 1)
        self.assertIsNotNone(bad.reason)
        self.assertIsNone(good.reason)
        self.assertEqual(good.protocols[0].received, b"hello")


class MemoryTests(SynchronousTestCase):
    """What a peer can make a session keep."""

    def setUp(self) -> None:
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)

    def _grown(self) -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def test_never_acknowledges(self) -> None:
        """Without acknowledgements a session keeps what may be retained and what streams may queue."""
        peer = Peer(retained=LEAST_RETAINED, ours=Promises(streams=8))
        for _ in range(8):
            peer.open(limit=2**62)
        before = self._grown()
        for _ in range(50):
            for stream in peer.streams:
                if stream.queued() < 131_072:
                    stream.write(bytes(32_768))
            peer.turns.end()
            peer.transport.written.clear()
        self.assertLess(self._grown() - before, LEAST_RETAINED + 8 * 200_000)

    def test_never_reads(self) -> None:
        """A peer whose transport is full is written no more than what stood in front of it."""
        peer = Peer()
        peer.open(limit=2**62)
        peer.transport.room = 65_536
        for _ in range(100):
            peer.streams[0].write(bytes(32_768))
            peer.turns.end()
        self.assertLess(len(peer.transport.written), 65_536 + 2 * frames.SEGMENT_PAYLOAD)

    def test_never_gives_credit(self) -> None:
        """Without credit nothing leaves; the producer is paused, and others go on."""
        peer = Peer()
        stalled, other = peer.open(limit=0), peer.open(limit=MIB)
        peer.streams[0].write(bytes(100_000))
        peer.streams[1].write(b"hello")
        peer.turn()
        self.assertEqual((peer.data(stalled), peer.data(other)), (b"", b"hello"))

    def test_flood_of_opens(self) -> None:
        """Opens that are refused, from a peer that reads no refusal, end the session within the limit."""
        self.patch(session, "MOST_UNSENT", FLOOD)
        peer = Peer()
        peer.link.pauseProducing()
        before = self._grown()
        opens = 0
        with logged() as lines:
            while peer.reason is None and opens < 30_000:
                peer.send(*(frames.open_stream(next(peer.numbers), 99, FACTS, 0) for _ in range(500)))
                opens += 500
        self.assertEqual([code for code, _ in peer.byes], [frames.ByeCode.LIMIT])
        self.assertEqual(len(lines), 1)
        self.assertLess(self._grown() - before, MIB)
        self.assertGreater(opens, FLOOD // 100)

    def test_flood_of_opens_and_resets(self) -> None:
        """Streams that are opened and reset on and on leave nothing behind."""
        peer = Peer(ours=Promises(streams=5))
        peer.send(*self._visits(peer, 50))
        peer.protocols.clear()
        before = self._grown()
        for _ in range(20):
            peer.send(*self._visits(peer, 50))
            peer.protocols.clear()
        self.assertLess(self._grown() - before, MIB // 4)
        self.assertIsNone(peer.reason)
        self.assertEqual(len(peer.session.mux), 0)

    def _visits(self, peer: Peer, count: int) -> list[bytes]:
        visits = []
        for _ in range(count):
            number = next(peer.numbers)
            visits += [
                frames.open_stream(number, TUNNEL, FACTS, 9),
                data(number, b"x"),
                frames.reset(number, 1),
            ]
        return visits

    def test_flood_of_resets(self) -> None:
        """Frames for streams that are over cost nothing but time."""
        peer = Peer()
        number = peer.open()
        peer.send(frames.reset(number, 1))
        before = self._grown()
        for _ in range(20):
            peer.send(*[frames.reset(number, 1), frames.stop(number), frames.end(number)] * 500)
        self.assertIsNone(peer.reason)
        self.assertLess(self._grown() - before, MIB // 8)

    def test_flood_of_stops(self) -> None:
        """A Stop that is repeated is answered once."""
        peer = Peer()
        number = peer.open()
        peer.send(*[frames.stop(number)] * 5_000)
        self.assertEqual(peer.heard("end"), [("end", number)])

    def test_flood_of_commands(self) -> None:
        """Questions whose answers are not read end the session within the limit."""
        self.patch(session, "MOST_UNSENT", FLOOD)
        peer = Peer(dialler=False, locator=Responders())
        peer.link.pauseProducing()
        sent = 0
        while peer.reason is None and sent < 30_000:
            peer.send(*(ask(b"x" * 99, b"Bind", **ON_THE_WIRE) for _ in range(300)))
            sent += 300
        self.assertEqual([code for code, _ in peer.byes], [frames.ByeCode.LIMIT])

    def test_tiny_pieces(self) -> None:
        """Many streams full of one-byte boxes weigh about what their bytes do."""
        peer = Peer(ours=Promises(window=16_384))
        numbers = [peer.open() for _ in range(10)]
        for stream in peer.streams:
            stream.pauseProducing()
        before = self._grown()
        for number in numbers:
            peer.send(*[data(number, b"x")] * 16_384)
        self.assertIsNone(peer.reason)
        self.assertLess(self._grown() - before, 3 * 10 * 16_384)

    def test_large_box_that_never_ends(self) -> None:
        """The beginning of a box is kept, at most as much as the largest box has."""
        peer = Peer()
        before = self._grown()
        peer.segment(b"\x00\x04_ask\x00\x011\x00\x08_command\xff\xff" + bytes(50_000))
        for _ in range(5):
            peer.segment(bytes(14_000))
        self.assertLess(self._grown() - before, 2 * frames.INNER_LIMIT + 100_000)


class NoiseTests(SynchronousTestCase):
    """Whatever comes."""

    @settings(max_examples=60)
    @given(st.integers(0, 2**32), st.integers(1, 60))
    def test_frames_at_random(self, seed: int, count: int) -> None:
        """Frames of all kinds in any order end at most their own session, in at most one line."""
        source = random.Random(seed)
        peer = Peer(dialler=False, ours=Promises(window=WINDOW, streams=5), locator=Responders())
        waiting = peer.session.call(Unbind, tunnel=1)
        waiting.addErrback(lambda failure: None)
        with logged() as lines:
            for _ in range(count):
                peer.send(self._frame(source))
                self._act(source, peer)
            peer.hang_up()
            peer.clock.advance(100)
        self.assertLessEqual(len(lines), 1, lines)
        self.assertEqual(peer.clock.getDelayedCalls(), [])
        for protocol in peer.protocols:
            losses = [event for event in protocol.happened if isinstance(event, type)]
            self.assertEqual(len(losses), 1)
        self.assertTrue(waiting.called)
        self.assertEqual(self.flushLoggedErrors(), [])

    def _frame(self, source: random.Random) -> bytes:
        number = source.choice((1, 1, 3, 3, 5, 7, 9, 2))
        return source.choice(
            (
                lambda: frames.open_stream(source.choice((1, 3, 5, 7, 9)), TUNNEL, FACTS, 10),
                lambda: data(number, bytes(source.choice((0, 1, 500)))),
                lambda: frames.limit(number, source.choice((10, 100, 10_000))),
                lambda: frames.end(number),
                lambda: frames.stop(number),
                lambda: frames.reset(number, source.randrange(9)),
                lambda: ask(b"1", source.choice((b"Bind", b"Unbind")), **ON_THE_WIRE),
            )
        )()

    def _act(self, source: random.Random, peer: Peer) -> None:
        if peer.streams and source.random() < 0.3:
            stream = source.choice(peer.streams)
            source.choice(
                (
                    lambda: stream.write(bytes(300)),
                    stream.pauseProducing,
                    stream.resumeProducing,
                    stream.loseWriteConnection,
                    stream.loseConnection,
                    stream.abortConnection,
                )
            )()
            peer.turn()

    @settings(max_examples=60)
    @given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=10), st.booleans())
    def test_bytes_at_random(self, noise: bytes, cuts: list[int], inside: bool) -> None:
        """Any bytes, on the link or inside a Segment, end at most the session, in at most one line."""
        peer = Peer()
        box = peer.segment_box(noise) if inside else noise
        places = [0, *sorted(min(cut, len(box)) for cut in cuts), len(box)]
        with logged() as lines:
            for start, end in itertools.pairwise(places):
                peer.raw(box[start:end])
                peer.turns.end()
        self.assertLessEqual(len(lines), 1)
        self.assertEqual(len(lines), 0 if peer.reason is None or self._polite(peer) else 1)
        peer.hang_up()
        self.assertEqual(self.flushLoggedErrors(), [])

    def _polite(self, peer: Peer) -> bool:
        return "other side ended it" in str(peer.reason) or isinstance(peer.reason, ConnectionDone)
