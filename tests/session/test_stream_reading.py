"""A stream whose protocol reads at its own pace."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone

from burrow.session.mux import Promises
from burrow.session.waiting import PIECE
from burrow.wire import frames
from tests.session.peer import Peer, data
from tests.session.stream_case import StreamCase


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
