"""The Hello: how a fresh transport becomes the link of a new session.

docs/protocol.md, "Hello". The client asks, the relay answers once it knows the account; neither
side may send anything else before the answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp

from burrow.errors import ProtocolError, SessionRefused
from burrow.interfaces.stream import address_text
from burrow.session.commands import Hello, Refusal
from burrow.session.control import read
from burrow.session.credit import LARGEST_WINDOW
from burrow.session.link import Link
from burrow.session.mux import DEFAULT_PROMISES, Promises
from burrow.session.retained import LEAST_RETAINED, RETAINED
from burrow.session.session import Identity, Session, TurnEnd
from burrow.wire.boxes import Box
from burrow.wire.frames import ByeCode

CAPABILITIES: list[str] = []  #: what this version can do beyond docs/protocol.md's base


@dataclass(frozen=True)
class Offer:
    """What a client says in its Hello.

    Attributes:
        agent: Program and version.
        instance: 16 bytes, random for each process.
        method: ``token`` or ``anonymous``.
        token: The secret, or the empty text.
        region: Where the client wants its tunnels.
        promises: What the client lets the other side do.
        retained: Bytes that either side may have unacknowledged, at most.
    """

    agent: str
    instance: bytes
    method: str
    token: str = field(repr=False)
    region: str
    promises: Promises = DEFAULT_PROMISES
    retained: int = RETAINED


@dataclass(frozen=True)
class Welcome:
    """What a relay answers.

    Attributes:
        account: Whose session it is.
        agent: Program and version.
        domain: Under which the relay gives out names.
        region: Where it is.
        grace: Seconds that the session would outlive its link.
        promises: What the relay lets the other side do.
    """

    account: str
    agent: str
    domain: str
    region: str
    grace: float
    promises: Promises = DEFAULT_PROMISES


class Dialler:
    """The client's half; one for each transport.

    Attributes:
        link: The protocol for the transport.
        established: Fires with the session and the relay's welcome; fails with `SessionRefused`,
            or with whatever ended the transport before.
    """

    def __init__(
        self, offer: Offer, clock: IReactorTime, turn_end: TurnEnd, locator: amp.CommandLocator
    ) -> None:
        """Prepare to say ``offer``; ``locator`` has the responders of the session to come."""
        self._offer, self._clock, self._turn_end, self._locator = offer, clock, turn_end, locator
        self.link = Link(clock, self)
        self.established: Deferred[tuple[Session, Welcome]] = Deferred(lambda _: self.link.abort())

    def ready(self, link: Link) -> None:
        """Ask."""
        offer = self._offer
        arguments = {
            "agent": offer.agent,
            "capabilities": CAPABILITIES,
            "instance": offer.instance,
            "method": offer.method,
            "region": offer.region,
            "retained": offer.retained,
            "streams": offer.promises.streams,
            "token": offer.token,
            "window": offer.promises.window,
        }
        box = Hello.makeArguments(arguments, None)
        box[amp.COMMAND], box[amp.ASK] = Hello.commandName, b"1"
        link.write(box.serialize())

    def box(self, link: Link, pairs: Box) -> None:
        """Take the answer."""
        box = amp.AmpBox(pairs)
        if box.get(amp.ERROR) == b"1":
            description = box.get(amp.ERROR_DESCRIPTION, b"").decode("utf-8", "replace")
            self._fail(Refusal(description).session_refused())
            link.abort()
        elif box.get(amp.ANSWER) == b"1":
            self._welcomed(link, read(Hello.parseResponse, box, "an answer to Hello"))
        else:
            raise ProtocolError(f"a box of kind {_kind(pairs)} where the answer to Hello was due")

    def lost(self, reason: Exception) -> None:
        """Tell that there will be no answer."""
        self._fail(reason)

    def _fail(self, reason: Exception) -> None:
        if not self.established.called:
            self.established.errback(reason)

    def _welcomed(self, link: Link, answer: dict[str, Any]) -> None:
        names = ("account", "agent", "domain", "region", "grace")
        welcome = Welcome(**{name: answer[name] for name in names}, promises=_promises(answer))
        retained = _retained(answer)
        if len(answer["session"]) != 16 or len(answer["secret"]) != 32 or not 0 <= welcome.grace < inf:
            raise ProtocolError("an answer to Hello with a session, secret or grace of another shape")
        if retained > self._offer.retained:
            raise ProtocolError(f"{retained} bytes retained in answer to an offer of {self._offer.retained}")
        session = Session(
            True,
            Identity(answer["session"], welcome.account, welcome.agent),
            self._clock,
            self._turn_end,
            self._locator,
            retained,
        )
        session.attach(link, self._offer.promises, welcome.promises)
        self.established.callback((session, welcome))


Admit = Callable[[Offer, Link], Awaitable[tuple[Welcome, amp.CommandLocator]]]


class Acceptor:
    """The relay's half; one for each transport.

    Attributes:
        link: The protocol for the transport.
        over: Fires when the greeting is over, with a session or without.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        turn_end: TurnEnd,
        admit: Admit,
        established: Callable[[Session, Offer, amp.CommandLocator], None],
    ) -> None:
        """Wait for a Hello.

        Args:
            clock: For deadlines.
            turn_end: Calls a function at the end of the reactor's turn.
            admit: Finds the account, and makes the locator of the commands that the client may
                send; raises `SessionRefused`.
            established: Called with every session that begins, its client's offer and its locator.
        """
        self._clock, self._turn_end = clock, turn_end
        self._admit, self._established = admit, established
        self._admitting: Deferred[None] | None = None
        self.link = Link(clock, self)
        self.over: Deferred[None] = Deferred()

    def ready(self, link: Link) -> None:
        """Wait: the client speaks first."""

    def box(self, link: Link, pairs: Box) -> None:
        """Take the Hello, and nothing after it until it is answered."""
        box = amp.AmpBox(pairs)
        if self._admitting is not None or box.get(amp.COMMAND) != Hello.commandName or amp.ASK not in box:
            raise ProtocolError(f"a box of kind {_kind(pairs)} where only one Hello may come")
        arguments = read(Hello.parseArguments, box, "a Hello")
        names = ("agent", "instance", "method", "token", "region")
        promises, retained = _promises(arguments), _retained(arguments)
        offer = Offer(**{name: arguments[name] for name in names}, promises=promises, retained=retained)
        if len(offer.instance) != 16:
            raise ProtocolError(f"an instance number of {len(offer.instance)} bytes, wanted 16")
        answering = self._answer(link, box[amp.ASK], offer)
        self._admitting = Deferred.fromCoroutine(answering)
        self._admitting.addErrback(self._failed, link)

    def lost(self, reason: Exception) -> None:
        """Stop asking who it is: nobody waits for the answer."""
        self.over.callback(None)
        if self._admitting is not None:
            self._admitting.cancel()

    async def _answer(self, link: Link, tag: bytes, offer: Offer) -> None:
        try:
            welcome, locator = await self._admit(offer, link)
        except SessionRefused as error:
            self._refuse(link, tag, error)
            return
        if link.dead:  # it went while somebody was asked who would not be interrupted
            return
        identity = Identity(secrets.token_bytes(16), welcome.account, offer.agent)
        session = Session(False, identity, self._clock, self._turn_end, locator, offer.retained)
        answer = {
            "account": welcome.account,
            "agent": welcome.agent,
            "capabilities": CAPABILITIES,
            "domain": welcome.domain,
            "grace": welcome.grace,
            "region": welcome.region,
            "retained": offer.retained,
            "secret": secrets.token_bytes(32),
            "session": identity.session,
            "streams": welcome.promises.streams,
            "window": welcome.promises.window,
        }
        box = Hello.makeResponse(answer, None)
        box[amp.ANSWER] = tag
        link.write(box.serialize())
        session.attach(link, welcome.promises, offer.promises)
        self.over.callback(None)
        self._established(session, offer, locator)

    def _refuse(self, link: Link, tag: bytes, error: SessionRefused) -> None:
        self.log.info("{peer} is refused: {error}", peer=address_text(link.peer), error=error)
        refusal = str(Refusal.of(error)).encode()
        box = amp.AmpBox({amp.ERROR: tag, amp.ERROR_CODE: b"REFUSED", amp.ERROR_DESCRIPTION: refusal})
        link.write(box.serialize())
        link.close(ByeCode.CLOSED, "refused")

    def _failed(self, failure: Any, link: Link) -> None:
        if not link.dead:
            self.log.failure(
                "the Hello of {peer} could not be answered", failure, peer=address_text(link.peer)
            )
            link.close(ByeCode.FAILED, "the relay has an error of its own")


def _kind(pairs: Box) -> str:
    return repr(next(iter(pairs))[:32])


def _promises(values: dict[str, Any]) -> Promises:
    window, streams = values["window"], values["streams"]
    if not 1_024 <= window <= LARGEST_WINDOW or not 0 < streams <= 2**31:
        raise ProtocolError(f"a Hello with a window of {window} and {streams} streams")
    return Promises(window, streams)


def _retained(values: dict[str, Any]) -> int:
    retained: int = values["retained"]
    if retained < LEAST_RETAINED:
        raise ProtocolError(f"a Hello with {retained} bytes retained, wanted {LEAST_RETAINED} or more")
    return min(retained, RETAINED)
