"""Commands inside a session."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import SessionLost, TunnelRefused
from burrow.session.commands import LONGEST_REFUSAL, Bind, Refusal, Unbind
from burrow.session.control import MOST_QUESTIONS
from burrow.wire.boxes import encode
from burrow.wire.frames import ByeCode
from tests.session.peer import Peer, ask, logged

BIND: dict[str, Any] = {
    "metadata": "",
    "name": "demo",
    "protocol": "http",
    "settings": b"{}",
    "ticket": b"",
    "tunnel": 1,
}
ON_THE_WIRE = {key: value if isinstance(value, bytes) else str(value).encode() for key, value in BIND.items()}


class Responders(amp.CommandLocator):
    """A relay's answers, as the test wants them."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Any = {"ticket": b"t", "urls": ["https://demo.test"]}

    @Bind.responder
    def bind(self, **arguments: Any) -> Any:
        self.asked.append(arguments)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @Unbind.responder
    def unbind(self, tunnel: int) -> dict[str, Any]:
        self.asked.append({"tunnel": tunnel})
        return {}


class AskedTests(SynchronousTestCase):
    """Questions of the peer."""

    def setUp(self) -> None:
        self.responders = Responders()
        self.peer = Peer(dialler=False, locator=self.responders)

    def _over(self, *boxes: bytes) -> tuple[int, str]:
        """Send boxes that end the session with one line; return code and reason."""
        self.setUp()
        with logged() as lines:
            self.peer.send(*boxes)
        self.assertEqual(len(lines), 1)
        ((code, text),) = self.peer.byes
        return code, text

    def test_answer(self) -> None:
        """A question is answered under its number."""
        self.peer.send(ask(b"17", b"Bind", **ON_THE_WIRE))
        self.assertEqual(self.responders.asked, [BIND])
        (answer,) = self.peer.heard()[0]
        self.assertEqual(answer[b"_answer"], b"17")
        self.assertEqual(answer[b"ticket"], b"t")

    def test_refusal(self) -> None:
        """A refusal that the command declares is an answer: code and message."""
        self.responders.answer = Refusal.of(TunnelRefused("the name is taken", 334))
        with logged() as lines:
            self.peer.send(ask(b"1", b"Bind", **ON_THE_WIRE))
        (answer,) = self.peer.heard()[0]
        self.assertEqual(answer[b"_error_code"], b"REFUSED")
        self.assertEqual(answer[b"_error_description"], b"334 the name is taken")
        self.assertEqual(lines, [])

    def test_undeclared_error(self) -> None:
        """Any other error of a responder is a bug of ours: it is logged and ends the session (7)."""
        self.responders.answer = ZeroDivisionError("secret")
        self.peer.send(ask(b"1", b"Bind", **ON_THE_WIRE))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([code for code, _ in self.peer.byes], [ByeCode.FAILED])
        self.assertNotIn("secret", self.peer.byes[0][1])

    def test_answer_that_does_not_fit(self) -> None:
        """So is an answer that cannot be written."""
        self.responders.answer = {"ticket": b"t"}
        self.peer.send(ask(b"1", b"Bind", **ON_THE_WIRE))
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual([code for code, _ in self.peer.byes], [ByeCode.FAILED])

    def test_unknown_command(self) -> None:
        """An unknown command ends the session and is named, shortened."""
        self.assertEqual(self._over(ask(b"1", b"Nonsense")), (2, "unknown command b'Nonsense'"))
        self.assertLess(len(self._over(ask(b"1", b"N" * 60_000))[1]), 100)
        self.assertEqual(self._over(encode([(b"_ask", b"1")]))[0], 2)

    def test_unreadable_values(self) -> None:
        """A missing value, or one that cannot be read, ends the session; it is the peer's mistake."""
        without = dict(ON_THE_WIRE)
        del without["name"]
        self.assertEqual(self._over(ask(b"1", b"Bind", **without)), (2, "command b'Bind' without b'name'"))
        for values in ({"tunnel": b"secret"}, {"tunnel": b"9" * 60_000}, {"name": b"secret\xff"}):
            code, text = self._over(ask(b"1", b"Bind", **(ON_THE_WIRE | values)))
            self.assertEqual(code, 2)
            self.assertIn("cannot be read", text)
            self.assertNotIn("secret", text)
            self.assertEqual(self.responders.asked, [])

    def test_without_a_number(self) -> None:
        """A command that has an answer cannot be sent without a number for it."""
        box = encode([(b"_command", b"Unbind"), (b"tunnel", b"1")])
        self.assertEqual(self._over(box), (2, "command b'Unbind' without a number for its answer"))
        self.assertEqual(self.responders.asked, [])

    def test_question_and_answer_in_one(self) -> None:
        """A box is a question or an answer, not both."""
        both = {b"_ask": b"1", b"_command": b"Unbind", b"tunnel": b"1"}
        for key in (b"_answer", b"_error"):
            self.assertEqual(self._over(encode(sorted((both | {key: b"1"}).items())))[0], 2)

    def test_too_many(self) -> None:
        """A thousand questions may wait for their answers, not one more."""
        self.responders.answer = Deferred()
        for number in range(MOST_QUESTIONS):
            self.peer.send(ask(b"%d" % number, b"Bind", **ON_THE_WIRE))
        self.assertIsNone(self.peer.reason)
        self.peer.send(ask(b"x", b"Bind", **ON_THE_WIRE))
        self.assertEqual([code for code, _ in self.peer.byes], [ByeCode.LIMIT])

    def test_answered_questions_do_not_count(self) -> None:
        """Questions that have been answered leave room for others."""
        for number in range(MOST_QUESTIONS + 5):
            self.peer.send(ask(b"%d" % number, b"Unbind", tunnel=b"1"))
        self.assertIsNone(self.peer.reason)

    def test_answer_comes_too_late(self) -> None:
        """An answer that is ready when the session is over goes nowhere."""
        self.responders.answer = answer = Deferred()
        self.peer.send(ask(b"1", b"Bind", **ON_THE_WIRE))
        self.peer.hang_up()
        answer.callback({"ticket": b"", "urls": []})
        self.peer.turn()
        self.assertFalse(self.peer.session.mux.waiting)

    def test_nothing_but_link_and_streams_for_a_client(self) -> None:
        """A client takes no command at all."""
        self.peer = Peer(dialler=True)
        self.peer.send(ask(b"1", b"Bind", **ON_THE_WIRE))
        self.assertEqual([code for code, _ in self.peer.byes], [2])


class AskingTests(SynchronousTestCase):
    """Questions of ours."""

    def setUp(self) -> None:
        self.peer = Peer()
        self.answer = self.peer.session.call(Bind, **BIND)
        self.peer.turn()
        (self.question,) = self.peer.heard()[0]
        self.number = self.question[b"_ask"]

    def _answer(self, kind: bytes = b"_answer", **values: bytes) -> None:
        pairs = {kind: self.number, **{key.encode(): value for key, value in values.items()}}
        self.peer.send(encode(sorted(pairs.items())))

    def _unreadable(self) -> None:
        self.failureResultOf(self.answer, SessionLost)
        self.assertEqual([code for code, _ in self.peer.byes], [2])

    def test_answer(self) -> None:
        """The answer arrives with its types."""
        urls = amp.ListOf(amp.Unicode()).toString(["http://a.test", "https://a.test"])
        self._answer(ticket=b"t", urls=urls)
        answer = self.successResultOf(self.answer)
        self.assertEqual(answer, {"ticket": b"t", "urls": ["http://a.test", "https://a.test"]})
        self.assertEqual(self.question[b"_command"], b"Bind")

    def test_refused(self) -> None:
        """A refusal arrives with its code."""
        self._answer(b"_error", _error_code=b"REFUSED", _error_description=b"334 taken: sorry")
        error = self.failureResultOf(self.answer, TunnelRefused).value
        self.assertEqual((str(error), error.code), ("taken: sorry", 334))

    def test_refused_without_a_code(self) -> None:
        """A refusal whose code cannot be read is its whole text."""
        for text in ("sorry", "", "- sorry", "٣x sorry", "²  sorry"):
            self.setUp()
            self._answer(b"_error", _error_code=b"REFUSED", _error_description=text.encode())
            error = self.failureResultOf(self.answer, TunnelRefused).value
            self.assertEqual((str(error), error.code), (text, 0))

    def test_another_error(self) -> None:
        """An error that the command does not declare ends the session, with one line and no traceback."""
        with logged() as lines:
            self._answer(b"_error", _error_code=b"UNKNOWN", _error_description=b"Unknown Error")
        self._unreadable()
        self.assertEqual(len(lines), 1)

    def test_half_an_error(self) -> None:
        """An error without its code ends the session, and the question fails."""
        self._answer(b"_error", _error_description=b"x")
        self._unreadable()

    def test_unreadable(self) -> None:
        """An answer without a value, or with one that cannot be read, ends the session."""
        for values in ({"ticket": b"t"}, {"ticket": b"t", "urls": b"\x00\x01\xff"}, {}):
            self.setUp()
            with logged() as lines:
                self._answer(**values)
            self._unreadable()
            self.assertEqual(len(lines), 1)

    def test_never_asked(self) -> None:
        """An answer to what was not asked, or was answered, ends the session."""
        self._answer(b"_error", _error_code=b"REFUSED", _error_description=b"0 no")
        self.failureResultOf(self.answer, TunnelRefused)
        self._answer(ticket=b"t", urls=b"")
        self.assertIn("never asked", str(self.peer.reason))
        for tag in (b"", b"77", b"x" * 60_000):
            self.setUp()
            self.number = tag
            self._answer(ticket=b"t", urls=b"")
            self.assertIn("never asked", str(self.peer.reason))
            self.assertLess(len(str(self.peer.reason)), 200)
            self.failureResultOf(self.answer, SessionLost)

    def test_cancelled(self) -> None:
        """The answer to a question that was given up is taken and forgotten."""
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
        self._answer(ticket=b"t", urls=b"")
        self.assertIsNone(self.peer.reason)

    def test_lost(self) -> None:
        """The end of the session fails the question; one that is asked from there fails too."""
        later: list[Deferred[Any]] = []
        self.answer.addErrback(lambda failure: later.append(self.peer.session.call(Unbind, tunnel=1)))
        self.peer.session.close()
        self.failureResultOf(later[0], SessionLost)


class RefusalTests(SynchronousTestCase):
    """Refusals on the wire."""

    def test_there_and_back(self) -> None:
        """Message and code arrive."""
        refused = Refusal.of(TunnelRefused("The name is taken.", 334)).tunnel_refused()
        self.assertEqual((str(refused), refused.code), ("The name is taken.", 334))

    def test_any_text(self) -> None:
        """What a hostile relay says is one line without anything that a terminal obeys."""
        for text in ("334 a\x1b[2Jb\r\nc", "a\u202eb", "9" * 5000 + " x", "-1 x", ""):
            message, code = Refusal(text).parts()
            self.assertTrue(message.isprintable(), message)
            self.assertLess(code, 2**31)

    def test_long_text(self) -> None:
        """A refusal fits into a box, however long what it quotes is."""
        self.assertEqual(len(str(Refusal.of(TunnelRefused("x" * 100_000)))), LONGEST_REFUSAL)
