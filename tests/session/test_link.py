"""The link: one transport, read and written in link boxes, and watched."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, INegotiated, IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.errors import ProtocolError
from burrow.session.link import (
    ACK_PATIENCE,
    ALPN,
    CLOSE_TIMEOUT,
    HEARTBEAT,
    HELLO_BYTES,
    HELLO_TIMEOUT,
    MOST_PONGS,
    SILENCE,
    Link,
)
from burrow.wire import frames
from burrow.wire.boxes import END, encode
from tests.session.peer import FakeTransport, Peer, Silent, logged

PING = frames.ping(b"12345678")


@implementer(INegotiated)
class FakeTls(FakeTransport):
    """A transport that has a TLS handshake to make."""

    negotiatedProtocol: bytes | None = None

    def getPeerCertificate(self) -> None:
        return None


class GreetingTests(SynchronousTestCase):
    """A link before it carries a session."""

    def setUp(self) -> None:
        self.clock, self.greeter, self.transport = Clock(), Silent(), FakeTransport()
        self.link = Link(self.clock, self.greeter)

    def _connect(self, transport: FakeTransport | None = None) -> None:
        self.transport = transport or self.transport
        self.link.makeConnection(self.transport)

    def _lost(self) -> None:
        self.link.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interfaces(self) -> None:
        """It is its transport's producer and hears of TLS."""
        verifyObject(IPushProducer, self.link)
        verifyObject(IHandshakeListener, self.link)
        self._connect()
        self.assertIs(self.transport.producer, self.link)
        self.link.stopProducing()

    def test_without_tls(self) -> None:
        """Without TLS the greeting begins at once."""
        self._connect()
        self.assertEqual(self.greeter.told, ["ready"])

    def test_with_tls(self) -> None:
        """With TLS it begins when the handshake is done, if both speak this protocol."""
        self._connect(FakeTls())
        self.assertEqual(self.greeter.told, [])
        self.transport.negotiatedProtocol = ALPN  # type: ignore[attr-defined]
        self.link.handshakeCompleted()
        self.assertEqual(self.greeter.told, ["ready"])

    def test_other_protocol(self) -> None:
        """A peer that speaks something else, or does not say, is dropped and named."""
        for protocol in (None, b"h2"):
            self.setUp()
            self._connect(FakeTls())
            self.transport.negotiatedProtocol = protocol  # type: ignore[attr-defined]
            with logged() as lines:
                self.link.handshakeCompleted()
            self.assertTrue(self.transport.closing)
            self.assertEqual(len(lines), 1)
            self.assertIn(f"it speaks {protocol!r}, not b'burrow/1'", lines[0])
            self.assertIsInstance(self.greeter.told[0], ProtocolError)

    def test_silent(self) -> None:
        """A transport that is not authenticated in time is dropped at the deadline, not before."""
        self._connect()
        self.clock.advance(HELLO_TIMEOUT - 0.01)
        self.assertFalse(self.transport.closing)
        with logged() as lines:
            self.clock.advance(0.01)
        self.assertTrue(self.transport.aborted)
        self.assertIn("no session in 10 s", lines[0])
        self._lost()
        self.assertIsInstance(self.greeter.told[-1], ConnectionDone)

    def test_dripping(self) -> None:
        """The deadline is for all of the Hello: bytes that drip in do not put it off."""
        self._connect()
        for byte in b"\x00\x04_ask\x10\x00aaaaaaaaaaa":
            self.link.dataReceived(bytes([byte]))
            self.clock.advance(HELLO_TIMEOUT / 18)
        self.assertTrue(self.transport.aborted)

    def test_too_much(self) -> None:
        """More than 16 KiB before the answer are too much, however they are cut into boxes."""
        self._connect()
        box = encode([(b"_ask", bytes(1_000))])
        for _ in range(HELLO_BYTES // len(box)):
            self.link.dataReceived(box)
        self.assertFalse(self.transport.closing)
        with logged() as lines:
            self.link.dataReceived(box)
        self.assertTrue(self.transport.closing)
        self.assertEqual(len(lines), 1)
        self.assertIn(f"more than {HELLO_BYTES} bytes", lines[0])

    def test_large_hello(self) -> None:
        """A Hello over its limit is refused as soon as its length shows."""
        self._connect()
        self.link.dataReceived(b"\x00\x04_ask\x20\x00")
        self.assertTrue(self.transport.closing)

    def test_garbage(self) -> None:
        """What is no box is dropped with one line, whatever follows."""
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"SSH-2.0-x\r\n",
            b"\x16\x03\x01\x02\x00" + bytes(99),
            bytes(9),
        ):
            self.setUp()
            self._connect()
            with logged() as lines:
                for _ in range(3):
                    self.link.dataReceived(garbage)
            self.assertTrue(self.transport.closing, garbage)
            self.assertEqual(len(lines), 1)

    def test_segment_too_early(self) -> None:
        """A Segment before the session began is refused."""
        self._connect()
        self.link.dataReceived(frames.SEGMENT.head(0, 0, 0) + END)
        self.assertIn("before the session began", str(self.greeter.told[-1]))

    def test_given_up_before_it_was_there(self) -> None:
        """A link that is given up before its transport is there aborts it then."""
        self.link.abort()
        self._connect()
        self.assertTrue(self.transport.aborted)
        self.assertEqual(self.greeter.told, [])
        self._lost()

    def test_lost(self) -> None:
        """Whoever greets is told once that the transport went."""
        self._connect()
        self._lost()
        self.assertEqual([type(told) for told in self.greeter.told], [str, ConnectionDone])


class CarryingTests(SynchronousTestCase):
    """A link that carries a session."""

    def setUp(self) -> None:
        self.peer = Peer()
        self.peer.says.link.clear()

    def test_first_ping(self) -> None:
        """The round-trip time is measured at once."""
        peer = Peer(lively=False)
        (ping,) = peer.says.link
        peer.clock.advance(0.25)
        peer.raw(frames.pong(ping[b"q"]))
        self.assertEqual(peer.session.round_trip, 0.25)

    def test_pong(self) -> None:
        """A ping is answered with its own bytes, at once."""
        self.peer.raw(PING)
        self.peer.read()
        self.assertEqual(self.peer.says.link, [{b"r": b"12345678"}])

    def test_bad_pings(self) -> None:
        """A ping or pong of another shape, or a pong that answers nothing, ends the session."""
        bad = (
            encode([(b"q", b"1234567")]),
            encode([(b"q", b"12345678"), (b"r", b"12345678")]),
            encode([(b"r", b"12345678")]),
            frames.pong(bytes(7) + b"\x01"),  # answered already
        )
        for box in bad:
            self.setUp()
            self.peer.raw(box)
            self.peer.turn()
            self.assertEqual([code for code, _ in self.peer.byes], [frames.ByeCode.PROTOCOL])

    def test_unknown_kind(self) -> None:
        """The first key tells the kind: an unknown one ends the session, whatever keys follow."""
        for pairs in ([(b"b", b""), (b"x", b"\x00\x01")], [(b"_ask", b"1"), (b"_command", b"Hello")]):
            self.setUp()
            self.peer.raw(encode(pairs))
            self.peer.turn()
            self.assertIn("unknown kind", str(self.peer.reason))

    def test_large_box(self) -> None:
        """A link box over 2 KiB ends the session."""
        self.peer.raw(encode([(b"x", b"\x00\x01"), (b"y", bytes(frames.LINK_LIMIT))]))
        self.assertIn(f"more than {frames.LINK_LIMIT} bytes", str(self.peer.reason))

    def test_bye(self) -> None:
        """A Bye closes the transport and ends the session; it is not answered, and its text is quoted."""
        with logged() as lines:
            self.peer.raw(
                frames.bye(frames.ByeCode.STOPPING, "good\x07night") + frames.SEGMENT.head(5, 5, 0) + END
            )
        self.assertTrue(self.peer.transport.closing)
        self.peer.turn()
        self.assertEqual(self.peer.byes, [])
        self.assertIn(r"'good\x07night' (code 5)", str(self.peer.reason))
        self.assertEqual(lines, [])

    def test_bad_bye(self) -> None:
        """A Bye without a code breaks a rule like any other box."""
        self.peer.raw(encode([(b"x", b"\x01"), (b"y", b"")]))
        self.assertIsNotNone(self.peer.reason)

    def test_closing_by_a_deadline(self) -> None:
        """A peer that reads nothing, so that a Bye never leaves, is aborted."""
        self.peer.session.close()
        self.assertFalse(self.peer.transport.aborted)
        self.assertIsNone(self.peer.transport.producer)
        self.peer.clock.advance(CLOSE_TIMEOUT)
        self.assertTrue(self.peer.transport.aborted)
        self.peer.hang_up()
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])

    def test_dead(self) -> None:
        """What comes behind the end is neither read nor answered."""
        self.peer.session.close()
        self.peer.read()
        self.peer.raw(PING)
        self.assertEqual(bytes(self.peer.transport.written), b"")

    def test_room(self) -> None:
        """While the transport has no room nothing leaves but pongs; then all does."""
        self.peer.link.pauseProducing()
        self.peer.open()
        self.peer.streams[0].write(b"hello")
        self.peer.raw(PING)
        self.peer.advance(0.5, 0.1)
        self.assertEqual(self.peer.heard(), [])
        self.assertEqual(self.peer.says.link, [{b"r": b"12345678"}])
        self.peer.link.resumeProducing()
        self.peer.turn()
        self.assertEqual(self.peer.heard("data"), [("data", 2, b"hello")])

    def test_ping_flood(self) -> None:
        """A peer that asks on and on and reads no answer is dropped; one that reads them is not."""
        for _ in range(3):
            self.peer.raw(PING * MOST_PONGS * 5)
            self.peer.read()
        self.assertIsNone(self.peer.reason)
        self.peer.link.pauseProducing()
        self.peer.raw(PING * MOST_PONGS)
        self.peer.link.resumeProducing()
        self.peer.link.pauseProducing()
        self.peer.raw(PING * MOST_PONGS)
        self.assertIsNone(self.peer.reason)
        self.peer.raw(PING)
        self.peer.turn()
        self.assertEqual([code for code, _ in self.peer.byes], [frames.ByeCode.LIMIT])


class LivenessTests(SynchronousTestCase):
    """How a peer that is gone, or cheats, is noticed."""

    def setUp(self) -> None:
        self.peer = Peer(lively=False)
        self.pong()

    def pong(self) -> None:
        for box in self.peer.says.link:
            if b"q" in box:
                self.peer.raw(frames.pong(box[b"q"]))
        self.peer.says.link.clear()

    def pings(self) -> int:
        return sum(b"q" in box for box in self.peer.says.link)

    def test_heartbeat(self) -> None:
        """Nothing is asked as long as the peer is heard; a ping goes after 10 s of silence."""
        for _ in range(4):
            self.peer.advance(HEARTBEAT - 1)
            self.peer.acknowledge()
        self.assertEqual(self.pings(), 0)
        self.peer.advance(HEARTBEAT)
        self.assertEqual(self.pings(), 1)
        self.peer.advance(2)
        self.assertEqual(self.pings(), 1, "one at a time")
        self.pong()
        self.peer.advance(HEARTBEAT)
        self.assertEqual(self.pings(), 1)

    def test_idle(self) -> None:
        """An idle session lives on as long as pings are answered."""
        for _ in range(30):
            self.peer.advance(HEARTBEAT)
            self.pong()
        self.assertIsNone(self.peer.reason)
        self.assertFalse(self.peer.transport.closing)

    def test_silent_after_a_ping(self) -> None:
        """A peer that answers no ping for 5 s is aborted, without a Bye."""
        self.peer.advance(HEARTBEAT + SILENCE - 0.5)
        self.assertFalse(self.peer.transport.aborted)
        with logged() as lines:
            self.peer.advance(1.5)
        self.assertTrue(self.peer.transport.aborted)
        self.assertEqual(self.peer.byes, [])
        self.assertEqual(len(lines), 1)
        self.assertIn("no byte", lines[0])

    def test_silent_while_bytes_are_owed(self) -> None:
        """So is one that goes silent while bytes have no acknowledgement, only sooner."""
        self.peer.session.mux.queue_command(encode([(b"_command", b"x")]))
        self.peer.turn()
        self.peer.advance(SILENCE - 1)
        self.assertFalse(self.peer.transport.aborted)
        self.peer.advance(2)
        self.assertTrue(self.peer.transport.aborted)

    def test_any_byte_is_life(self) -> None:
        """A peer of which any byte comes is alive, whatever it owes."""
        self.peer.session.mux.queue_command(encode([(b"_command", b"x")]))
        self.peer.turn()
        box = self.peer.segment_box(bytes(40), ack=0)
        for byte in box[:14]:
            self.peer.advance(SILENCE - 3)
            self.peer.raw(bytes([byte]))
        self.assertFalse(self.peer.transport.aborted)

    def test_never_acknowledges(self) -> None:
        """A peer that is alive and acknowledges nothing for 30 s breaks a rule."""
        self.peer.session.mux.queue_command(encode([(b"_command", b"x")]))
        self.peer.turn()
        for _ in range(round(ACK_PATIENCE / 2) - 1):
            self.peer.advance(2)
            self.peer.raw(PING)
        self.assertIsNone(self.peer.reason)
        self.peer.advance(2)
        self.assertIn("nothing acknowledged for 30 s", str(self.peer.reason))
        self.assertEqual([code for code, _ in self.peer.byes], [frames.ByeCode.PROTOCOL])

    def test_slow_line(self) -> None:
        """One that acknowledges bit by bit keeps the rule, however old the oldest byte is."""
        self.peer.session.mux.queue_command(encode([(b"_command", b"x"), (b"a", bytes(50_000))]))
        self.peer.turn()
        for count in range(40):
            self.peer.advance(2)
            self.peer.segment(b"", ack=count)
        self.assertIsNone(self.peer.reason)

    def test_nothing_is_left(self) -> None:
        """No timer outlives the transport."""
        self.peer.hang_up()
        self.assertEqual(self.peer.clock.getDelayedCalls(), [])
