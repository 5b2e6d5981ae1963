"""The Hello, seen from either side."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ProtocolError, SessionRefused
from burrow.session.commands import Hello
from burrow.session.handshake import Acceptor, Dialler, Offer, Welcome
from burrow.session.link import HELLO_TIMEOUT
from burrow.session.mux import Promises
from burrow.session.retained import LEAST_RETAINED, RETAINED
from burrow.session.session import Session
from burrow.testing.recorders import Recorder
from burrow.wire import frames
from burrow.wire.boxes import END, decode
from tests.session.peer import FACTS, TUNNEL, VISITOR, FakeTransport, Reading, Turns, data, logged

OFFER = Offer("agent/1", b"i" * 16, "token", "sesame", "eu", Promises(2_048, 12))
WELCOME = Welcome("team", "relay/1", "relay.test", "us", 60.0, Promises(4_096, 34))
HELLO: dict[str, Any] = {
    "agent": "agent/1",
    "capabilities": ["fly"],
    "instance": b"i" * 16,
    "method": "token",
    "region": "eu",
    "retained": RETAINED,
    "streams": 12,
    "token": "sesame",
    "window": 2_048,
}
ANSWER: dict[str, Any] = {
    "account": "team",
    "agent": "relay/1",
    "capabilities": [],
    "domain": "relay.test",
    "grace": 60.0,
    "region": "us",
    "retained": RETAINED,
    "secret": b"s" * 32,
    "session": b"n" * 16,
    "streams": 34,
    "window": 4_096,
}


def hello(**changes: Any) -> bytes:
    """Return a Hello, by hand; a value of ``None`` is left out, bytes are taken as they are."""
    return _box(Hello.makeArguments, HELLO, {b"_ask": b"9", b"_command": b"Hello"}, changes)


def answer(tag: bytes = b"1", **changes: Any) -> bytes:
    """Return the answer to a Hello, by hand; see `hello`."""
    return _box(Hello.makeResponse, ANSWER, {b"_answer": tag}, changes)


def _box(make: Any, values: dict[str, Any], keys: dict[bytes, bytes], changes: dict[str, Any]) -> bytes:
    raw = {key: value for key, value in changes.items() if isinstance(value, Broken) or value is None}
    box = make(values | {key: value for key, value in changes.items() if key not in raw}, None)
    box.update(keys)
    for key, value in raw.items():
        del box[key.encode()]
        if value is not None:
            box[key.encode()] = value.text
    written: bytes = box.serialize()
    return written


class Broken:
    """A value as it stands on the wire, whatever its type would be."""

    def __init__(self, text: bytes) -> None:
        self.text = text


class DiallerTests(SynchronousTestCase):
    """A client that says Hello."""

    def setUp(self) -> None:
        self.clock, self.turns, self.transport = Clock(), Turns(), FakeTransport()
        self.dialler = Dialler(OFFER, self.clock, self.turns, amp.CommandLocator())
        self.dialler.link.makeConnection(self.transport)
        self.said = bytes(self.transport.written)
        self.transport.written.clear()

    def _hear(self, *boxes: bytes) -> None:
        self.dialler.link.dataReceived(b"".join(boxes))
        self.turns.end()

    def _established(self) -> tuple[Session, Welcome]:
        both: tuple[Session, Welcome] = self.successResultOf(self.dialler.established)
        return both

    def test_says_hello(self) -> None:
        """It says who is there, and nothing more before the answer."""
        box = amp.AmpBox(decode(self.said))
        self.assertEqual(box[b"_command"], b"Hello")
        self.assertEqual(Hello.parseArguments(box, None), HELLO | {"capabilities": []})
        self.assertLess(len(self.said), frames.HELLO_LIMIT)
        self.clock.advance(HELLO_TIMEOUT / 2)
        self.assertEqual(bytes(self.transport.written), b"")

    def test_welcome(self) -> None:
        """The answer makes a session, with what the relay promises."""
        self._hear(answer())
        session, welcome = self._established()
        self.assertEqual(welcome, WELCOME)
        self.assertTrue(session.attached)
        self.assertEqual(session.identity.session, b"n" * 16)
        protocol = session.open(TUNNEL, VISITOR, Factory.forProtocol(Recorder))
        protocol.transport.write(bytes(5_000))  # type: ignore[union-attr]
        self.turns.end()
        reading = Reading()
        reading.feed(bytes(self.transport.written))
        self.assertEqual(reading.inner[1:], [("data", 1, bytes(4_096))])

    def test_answer_and_much_more_in_one_read(self) -> None:
        """What the relay sends at once behind its answer is read, however much it is."""
        protocol = Recorder()
        self.dialler.established.addCallback(
            lambda both: both[0].mux.listen(TUNNEL, Factory.forProtocol(lambda: protocol))
        )
        inner = frames.open_stream(2, TUNNEL, FACTS, 0) + data(2, bytes(2_000))
        padding = b"".join(frames.SEGMENT.head(0, len(inner), 0) + END for _ in range(1_000))
        segment = frames.SEGMENT.head(0, 0, len(inner)) + inner + END
        self._hear(answer(), segment, padding)
        self.assertEqual(len(protocol.received), 2_000)
        self.assertFalse(self.transport.closing)

    def test_refused(self) -> None:
        """A refusal arrives with its code; the Bye behind it adds nothing."""
        error = amp.AmpBox(_error=b"1", _error_code=b"REFUSED", _error_description=b"105 no such token")
        with logged() as lines:
            self._hear(error.serialize(), frames.bye(1, "refused"))
        refusal = self.failureResultOf(self.dialler.established, SessionRefused).value
        self.assertEqual((str(refusal), refusal.code), ("no such token", 105))
        self.assertTrue(self.transport.aborted)
        self.assertEqual(lines, [])

    def test_cancelled(self) -> None:
        """Giving up aborts the transport, whether it is there or not yet."""
        self.dialler.established.cancel()
        self.failureResultOf(self.dialler.established, CancelledError)
        self.assertTrue(self.transport.aborted)
        early = Dialler(OFFER, self.clock, self.turns, amp.CommandLocator())
        early.established.cancel()
        self.failureResultOf(early.established, CancelledError)
        transport = FakeTransport()
        early.link.makeConnection(transport)
        self.assertTrue(transport.aborted)
        self.assertEqual(bytes(transport.written), b"")

    def test_lost(self) -> None:
        """A transport that goes before the answer fails the attempt, and leaves no timer."""
        self.dialler.link.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.dialler.established, ConnectionDone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_late(self) -> None:
        """A relay that does not answer in time is given up."""
        self.clock.advance(HELLO_TIMEOUT)
        self.assertTrue(self.transport.aborted)

    def test_other_boxes(self) -> None:
        """Anything but the answer ends the attempt: garbage, other boxes, the answer to something else."""
        for box in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            frames.ping(bytes(8)),
            answer(b"2"),
            frames.SEGMENT.head(0, 0, 0) + END,
            frames.bye(1, "closed"),
            hello(),
        ):
            self.setUp()
            with logged() as lines:
                self._hear(box)
            self.failureResultOf(self.dialler.established, ProtocolError)
            self.assertTrue(self.transport.closing)
            self.assertEqual(len(lines), 1)

    def test_bad_answers(self) -> None:
        """An answer with a value missing, unreadable or out of range ends the attempt."""
        changes: list[dict[str, Any]] = [
            *({key: None} for key in ANSWER),
            {"grace": Broken(b"long")},
            {"grace": -1.0},
            {"grace": float("inf")},
            {"grace": float("nan")},
            {"retained": LEAST_RETAINED - 1},
            {"session": b"n" * 15},
            {"secret": b"s" * 33},
            {"streams": 0},
            {"streams": Broken(b"many")},
            {"window": 1_023},
            {"window": 8_388_609},
        ]
        for change in changes:
            self.setUp()
            self._hear(answer(**change))
            self.failureResultOf(self.dialler.established, ProtocolError)

    def test_more_retained_than_offered(self) -> None:
        """A relay cannot make a client keep more than it has offered."""
        offer = Offer("agent/1", b"i" * 16, "token", "", "eu", retained=LEAST_RETAINED)
        self.dialler = Dialler(offer, self.clock, self.turns, amp.CommandLocator())
        self.dialler.link.makeConnection(self.transport)
        self._hear(answer())
        self.failureResultOf(self.dialler.established, ProtocolError)


class AcceptorTests(SynchronousTestCase):
    """A relay that is told Hello."""

    def setUp(self) -> None:
        self.clock, self.turns, self.transport = Clock(), Turns(), FakeTransport()
        self.offers: list[Offer] = []
        self.sessions: list[Session] = []
        self.admission: Deferred[Welcome] = succeed(WELCOME)
        self.acceptor = Acceptor(self.clock, self.turns, self._admit, self._established)
        self.acceptor.link.makeConnection(self.transport)

    async def _admit(self, offer: Offer, link: object) -> tuple[Welcome, amp.CommandLocator]:
        self.offers.append(offer)
        return await self.admission, amp.CommandLocator()

    def _established(self, session: Session, offer: Offer, locator: amp.CommandLocator) -> None:
        self.sessions.append(session)

    def _hear(self, *boxes: bytes) -> None:
        self.acceptor.link.dataReceived(b"".join(boxes))
        self.turns.end()

    def _lost(self) -> None:
        self.acceptor.link.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_admitted(self) -> None:
        """Whoever is admitted is answered, and has a session."""
        self.assertEqual(bytes(self.transport.written), b"")
        self._hear(hello())
        self.assertEqual(self.offers, [OFFER])
        reading = Reading()
        reading.feed(bytes(self.transport.written))
        box = amp.AmpBox(reading.link[0])
        self.assertEqual(box[b"_answer"], b"9")
        values = Hello.parseResponse(box, None)
        self.assertEqual(len(values.pop("secret")), 32)
        self.assertEqual(values.pop("session"), self.sessions[0].identity.session)
        self.assertEqual(values, {key: ANSWER[key] for key in values})
        self.assertTrue(self.sessions[0].attached)

    def test_secrets_differ(self) -> None:
        """No two sessions have the same number."""
        numbers = set()
        for _ in range(5):
            self.setUp()
            self._hear(hello())
            numbers.add(self.sessions[0].identity.session)
        self.assertEqual(len(numbers), 5)

    def test_token_is_not_shown(self) -> None:
        """The text of an offer does not have the token."""
        self.assertNotIn("sesame", repr(OFFER))

    def test_refused(self) -> None:
        """Whoever is refused gets code and message and a Bye, and one line is logged."""
        self.admission = Deferred()
        self._hear(hello())
        with logged() as lines:
            self.admission.errback(SessionRefused("no such token", 105))
        reading = Reading()
        reading.feed(bytes(self.transport.written))
        self.assertEqual(reading.link[0][b"_error_description"], b"105 no such token")
        self.assertEqual(reading.link[0][b"_error"], b"9")
        self.assertIn(b"x", reading.link[1])
        self.assertTrue(self.transport.closing)
        self.assertEqual((len(lines), self.sessions), (1, []))
        self._lost()

    def test_failed(self) -> None:
        """An error of the relay's own is logged, and tells the client nothing."""
        self.admission = Deferred()
        self._hear(hello())
        self.admission.errback(ZeroDivisionError("database password"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertNotIn(b"password", bytes(self.transport.written))
        self.assertTrue(self.transport.closing)

    def test_lost_while_asking(self) -> None:
        """When the client goes before it is admitted, asking is cancelled, silently."""
        self.admission = cancelled = Deferred()
        self._hear(hello())
        with logged() as lines:
            self._lost()
        self.assertTrue(cancelled.called)
        self.assertEqual((lines, self.sessions), ([], []))

    def test_lost_while_asking_somebody_stubborn(self) -> None:
        """Also when whoever is asked answers all the same, no session comes of it."""
        self.admission = Deferred(lambda waiting: waiting.callback(WELCOME))
        self._hear(hello())
        self._lost()
        self.assertEqual(self.sessions, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_admission(self) -> None:
        """The deadline is for being admitted, not only for saying Hello."""
        self.admission = Deferred()
        self._hear(hello())
        self.clock.advance(HELLO_TIMEOUT)
        self.assertTrue(self.transport.aborted)
        self._lost()
        self.assertTrue(self.admission.called)

    def test_second_box(self) -> None:
        """Nothing may come between Hello and its answer."""
        for box in (hello(), frames.ping(bytes(8)), frames.SEGMENT.head(0, 0, 0) + END):
            self.setUp()
            self.admission = Deferred()
            with logged() as lines:
                self._hear(hello(), box, box)
            self.assertEqual(len(self.offers), 1)
            self.assertTrue(self.transport.closing)
            self.assertEqual(len(lines), 1)
            self.assertTrue(self.admission.called, "asking goes on")

    def test_not_a_hello(self) -> None:
        """Any other first box is refused, without asking anybody."""
        for box in (
            frames.ping(bytes(8)),
            frames.bye(1, ""),
            answer(),
            amp.AmpBox(_ask=b"1", _command=b"Bind").serialize(),
            hello().replace(b"\x00\x04_ask\x00\x019", b""),
        ):
            self.setUp()
            self._hear(box)
            self.assertEqual(self.offers, [])
            self.assertTrue(self.transport.closing)

    def test_bad_hellos(self) -> None:
        """A Hello with a value missing, unreadable or out of range is refused; no value is logged."""
        changes: list[dict[str, Any]] = [
            *({key: None} for key in HELLO),
            {"capabilities": Broken(b"\x00\x01\xff")},
            {"instance": b"i" * 15},
            {"retained": LEAST_RETAINED - 1},
            {"retained": Broken(b"9" * 5_000)},
            {"streams": 0},
            {"streams": -5},
            {"streams": 2**40},
            {"token": Broken(b"sesame\xff")},
            {"window": 0},
            {"window": 2**30},
        ]
        for change in changes:
            self.setUp()
            with logged() as lines:
                self._hear(hello(**change))
            self.assertEqual(self.offers, [], change)
            self.assertTrue(self.transport.closing)
            self.assertEqual(len(lines), 1)
            self.assertNotIn("sesame", lines[0])

    def test_retained(self) -> None:
        """What a client would keep above 16 MiB counts as that; less counts as it says."""
        for offered, counted in ((2**40, RETAINED), (LEAST_RETAINED, LEAST_RETAINED)):
            self.setUp()
            self._hear(hello(retained=offered))
            reading = Reading()
            reading.feed(bytes(self.transport.written))
            self.assertEqual(reading.link[0][b"retained"], b"%d" % counted)

    def test_cut_anywhere(self) -> None:
        """A Hello in single bytes is as good as one in one piece."""
        for byte in hello():
            self._hear(bytes([byte]))
        self.assertEqual(len(self.sessions), 1)
