"""Commands inside a session: questions and answers that live as long as it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from burrow.errors import ProtocolError
from burrow.wire.boxes import Box
from burrow.wire.frames import ByeCode

MOST_QUESTIONS = 1_000  #: of one side, not answered yet


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
        self._locator = locator
        self._dispatcher = amp.BoxDispatcher(locator)
        self._dispatcher.startReceivingBoxes(self)
        self._asked = 0  # questions of the peer that have no answer yet
        self.transport = self  # where AMP looks for `loseConnection`

    def call(self, command: type[amp.Command], **arguments: Any) -> Deferred[dict[str, Any]]:
        """Ask the peer; fails with what the command declares, or `SessionLost`."""
        answer: Deferred[dict[str, Any]] = self._dispatcher.callRemote(command, **arguments)
        return answer

    def received(self, pairs: Box) -> None:
        """Take a box with a command or an answer.

        Raises:
            ProtocolError: An unknown command, an answer to nothing, or too many questions.
        """
        box = amp.AmpBox(pairs)
        if amp.ASK in box or amp.COMMAND in box:
            self._check_question(box)
        elif (tag := box.get(amp.ANSWER, box.get(amp.ERROR))) not in self._dispatcher._outstandingRequests:
            raise ProtocolError(f"an answer to {tag!r}, which was never asked")
        self._dispatcher.ampBoxReceived(box)

    def _check_question(self, box: amp.AmpBox) -> None:
        name = box.get(amp.COMMAND, b"")
        if self._locator.locateResponder(name) is None:
            raise ProtocolError(f"unknown command {name!r}")
        if amp.ASK in box:
            self._asked += 1
        if self._asked > MOST_QUESTIONS:
            raise ProtocolError(f"{self._asked} questions at once", ByeCode.LIMIT)

    def lost(self, reason: Exception) -> None:
        """Fail every question that waits for its answer."""
        self._dispatcher.stopReceivingBoxes(Failure(reason))

    # What AMP's dispatcher calls.

    def sendBox(self, box: amp.AmpBox) -> None:
        """Queue a box; `twisted.protocols.amp.IBoxSender`."""
        if amp.ASK not in box:
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
