"""Commands inside a session: questions and answers that live as long as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from burrow.errors import ProtocolError, SessionLost
from burrow.wire.boxes import Box
from burrow.wire.frames import ByeCode

MOST_QUESTIONS = 1_000  #: of one side, not answered yet


def read(parse: Callable[..., dict[str, Any]], box: amp.AmpBox, what: str) -> dict[str, Any]:
    """Return what ``parse`` makes of a box that the peer sent.

    Raises:
        ProtocolError: A value is missing or cannot be read; it is not quoted, it may be a secret.
    """
    try:
        return parse(box, None)
    except KeyError as error:
        raise ProtocolError(f"{what} without {error}") from None
    except Exception as error:  # AMP's arguments raise whatever their conversion does
        raise ProtocolError(f"{what} with a value that cannot be read: {type(error).__name__}") from None


class Control:
    """Sends commands, and dispatches the peer's to a locator's responders.

    A responder may fail with the errors that its command declares; anything else is a bug, is
    logged, and ends the session, as does whatever the peer sends that is not a known command or
    the answer to a question.
    """

    log = Logger()

    def __init__(
        self,
        locator: amp.CommandLocator,
        send: Callable[[bytes], None],
        end: Callable[[ByeCode, str], None],
    ) -> None:
        """Start without questions.

        Args:
            locator: Has the responders.
            send: Queues a whole box.
            end: Ends the session.
        """
        self._send, self._end = send, end
        # AMP tells nobody otherwise what a command's arguments are.
        dispatch = locator._commandDispatch  # type: ignore[attr-defined]
        self._commands: dict[bytes, tuple[type[amp.Command], object]] = dispatch
        self._dispatcher = amp.BoxDispatcher(locator)
        self._dispatcher.startReceivingBoxes(self)
        self._asked = 0  # questions of the peer that have no answer yet
        self.transport = self  # where AMP looks for `loseConnection`

    def call(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Ask the peer; fails with what the command declares, or `SessionLost`."""
        answer: Deferred[dict[str, Any]] = self._dispatcher.callRemote(command, **arguments)
        # One of its own: AMP ends the session over a failure that nobody has taken by the time it comes.
        asked: Deferred[dict[str, Any]] = Deferred(lambda _: answer.cancel())
        answer.addErrback(self._not_answered, command)
        answer.addCallbacks(asked.callback, asked.errback)
        return asked

    def received(self, pairs: Box) -> None:
        """Take a box with a command or an answer.

        Raises:
            ProtocolError: An unknown command, values that cannot be read, an answer to nothing, or
                too many questions.
        """
        box = amp.AmpBox(pairs)
        kind = next(iter(pairs))
        if kind in (amp.ANSWER, amp.ERROR):
            self._check_answer(box, kind)
        else:
            self._check_question(box)
        self._dispatcher.ampBoxReceived(box)

    def _check_answer(self, box: amp.AmpBox, kind: bytes) -> None:
        if box[kind] not in self._dispatcher._outstandingRequests:
            raise ProtocolError(f"an answer to {box[kind][:32]!r}, which was never asked")
        if kind == amp.ERROR and not {amp.ERROR_CODE, amp.ERROR_DESCRIPTION} <= box.keys():
            raise ProtocolError("an error without code and description")

    def _check_question(self, box: amp.AmpBox) -> None:
        name = box.get(amp.COMMAND, b"")
        command = self._commands[name][0] if name in self._commands else None
        if command is None or amp.ERROR in box:
            raise ProtocolError(f"unknown command {name[:64]!r}")
        if amp.ASK not in box and command.requiresAnswer:
            raise ProtocolError(f"command {name!r} without a number for its answer")
        read(command.parseArguments, box, f"command {name!r}")
        self._asked += amp.ASK in box
        if self._asked > MOST_QUESTIONS:
            raise ProtocolError(f"{self._asked} questions at once", ByeCode.LIMIT)

    def _not_answered(self, failure: Failure, command: type[amp.Command]) -> Failure:
        """Pass on what may happen to a question; end the session for an answer that breaks the rules."""
        if not failure.check(*command.errors, CancelledError, SessionLost):
            name = command.commandName
            self.log.warn("the answer to {name!r} cannot be read: {error!r}", name=name, error=failure.value)
            self._end(ByeCode.PROTOCOL, f"the answer to {name!r} cannot be read")
            return Failure(SessionLost(f"the answer to {name!r} cannot be read"))
        return failure

    def lost(self, reason: Exception) -> None:
        """Fail every question that waits for its answer."""
        self._dispatcher.stopReceivingBoxes(Failure(reason))

    # What AMP's dispatcher calls.

    def sendBox(self, box: amp.AmpBox) -> None:
        """Queue a box; `twisted.protocols.amp.IBoxSender`."""
        if amp.ANSWER in box or amp.ERROR in box:
            self._asked -= 1
        self._send(box.serialize())

    def unhandledError(self, failure: Failure) -> None:
        """End the session: a command of ours failed in a way that it does not declare."""
        if not failure.check(amp.ProtocolSwitched):
            self.log.failure("a command failed", failure)
        self._end(ByeCode.FAILED, "a command failed")

    def loseConnection(self) -> None:
        """End the session; AMP calls it behind an answer that says so."""
        self._end(ByeCode.FAILED, "a command failed")
