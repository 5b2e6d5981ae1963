"""The sessions of a relay: who may have one, and which transports become one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.amp import CommandLocator
from zope.interface import implementer

from burrow import __version__
from burrow.errors import ConfigError, SessionRefused
from burrow.interfaces.account import Account, IAccounts
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.net.listening import SOURCE_LIMIT, source_of
from burrow.net.tls import SESSION_ALPN, TLSFactory
from burrow.relay.certificates import Certificates
from burrow.relay.client_session import ClientSession, Publishing
from burrow.session.handshake import Acceptor, Offer, Welcome
from burrow.session.link import Link
from burrow.session.mux import Promises
from burrow.session.session import Session, TurnEnd
from burrow.settings import shown
from burrow.wire.frames import ByeCode

BYE_TIMEOUT = 1.0  #: seconds that telling a client about the end may take


@dataclass(frozen=True)
class House:
    """What a relay tells its clients, and how much it admits.

    Attributes:
        domain: Under which it gives out names.
        regions: The regions that it serves, its own first; empty for any.
        sessions: Sessions that an account may have at a time.
        streams: Open streams of a session.
        greeting: Connections at a time of clients whose Hello is not answered yet.
    """

    domain: str
    regions: tuple[str, ...]
    sessions: int
    streams: int
    greeting: int = 1_000


class Sessions:
    """All sessions of a relay."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        turn_end: TurnEnd,
        accounts: IAccounts,
        house: House,
        publishing: Publishing,
    ) -> None:
        """Start without sessions."""
        self._clock, self._turn_end = clock, turn_end
        self._accounts, self._house, self._publishing = accounts, house, publishing
        self._sessions: list[ClientSession] = []
        self._greeting: Counter[str] = Counter()  # connections by source
        self._undoing: set[Deferred[Any]] = set()
        self._stopping = False

    def __len__(self) -> int:
        """Return how many sessions are attached."""
        return len(self._sessions)

    def takes(self, source: str) -> bool:
        """Tell whether one more connection of a source (`source_of`) may say Hello now."""
        crowded = bool(source) and self._greeting[source] >= SOURCE_LIMIT
        return not crowded and self._greeting.total() < self._house.greeting

    def link(self, source: str = "") -> Link:
        """Return the protocol for a transport, of a source, that may become a session's link."""
        acceptor = Acceptor(self._clock, self._turn_end, self._admit, self._established)
        self._greeting[source] += 1
        acceptor.over.addCallback(lambda _: self._greeted(source))
        return acceptor.link

    def _greeted(self, source: str) -> None:
        self._greeting[source] -= 1
        if not self._greeting[source]:
            del self._greeting[source]

    async def _admit(self, offer: Offer, link: Link) -> tuple[Welcome, CommandLocator]:
        account = await self._accounts.authenticate(offer.token)
        if self._stopping:
            raise SessionRefused("This relay stops: try again soon.")
        regions = self._house.regions
        if regions and offer.region not in regions:
            wanted = f"Region {shown(offer.region)} is not here: this relay serves {', '.join(regions)}."
            raise SessionRefused(wanted, 322)
        self._make_room(account, offer.instance)
        region = regions[0] if regions else offer.region
        welcome = Welcome(
            account.name,
            f"burrow/{__version__}",
            self._house.domain,
            region,
            0.0,
            Promises(streams=account.limits.get("streams", self._house.streams)),
        )
        return welcome, ClientSession(account, offer.instance, self._publishing)

    def _make_room(self, account: Account, instance: bytes) -> None:
        """End an orphan of the same client, then see whether the account may have one more.

        Raises:
            SessionRefused: It may not.
        """
        own = [one for one in self._sessions if one.account.name == account.name]
        for orphan in [one for one in own if one.instance == instance]:
            orphan.session.close(ByeCode.REPLACED, "the same client has come back")
            own.remove(orphan)
        limit = account.limits.get("sessions", self._house.sessions)
        if len(own) >= limit:
            problem = f"Your account may not have more than {limit} sessions at a time."
            raise SessionRefused(problem, 108)

    def _established(self, session: Session, offer: Offer, locator: CommandLocator) -> None:
        if not isinstance(locator, ClientSession):
            raise TypeError(f"{locator!r} is no session of a client")
        locator.session = session
        self._sessions.append(locator)
        name = locator.account.name
        self.log.info("session {session} of {account} attached", session=session, account=name)
        session.ended().addCallback(self._ended, locator)

    def _ended(self, reason: Exception, client: ClientSession) -> None:
        self._sessions.remove(client)
        self.log.info(
            "session {session} of {account} ended: {reason}",
            session=client.session,
            account=client.account.name,
            reason=reason,
        )
        undoing = client.ended()
        self._undoing.add(undoing)
        undoing.addCallback(lambda _: self._undoing.discard(undoing))

    def start(self) -> None:
        """Admit sessions, after `stop` too."""
        self._stopping = False

    def stop(self) -> Deferred[Any]:
        """End every session cleanly, admit none; fires when all public ports are closed."""
        self._stopping = True
        clients = list(self._sessions)
        for client in clients:
            client.session.close(ByeCode.STOPPING, "the relay stops")
        closing = [client.session.closed().addTimeout(BYE_TIMEOUT, self._clock) for client in clients]
        return DeferredList([*closing, *self._undoing], consumeErrors=True)


@implementer(IListenerClaim)
class SessionClaim:
    """Takes TLS newcomers that speak burrow's own protocol to the relay itself."""

    kind = "session"
    tls = True

    def __init__(
        self, sessions: Sessions, certificates: Certificates, domain: str, clock: IReactorTime
    ) -> None:
        """Take newcomers for ``domain``, for no name, and for names that there is a certificate for."""
        self._sessions, self._certificates = sessions, certificates
        self._domain, self._clock = domain, clock

    def claim(self, arrival: Arrival) -> IProtocolFactory | None:
        """See `IListenerClaim.claim`."""
        source = source_of(arrival.peer)
        if SESSION_ALPN not in arrival.alpn or not self._sessions.takes(source):
            return None
        try:
            context = self._certificates.session_context(arrival.server_name or self._domain)
        except ConfigError:
            return None
        factory = Factory.forProtocol(lambda: self._sessions.link(source))
        factory.noisy = False
        secure: IProtocolFactory = TLSFactory(context, False, factory, self._clock, buffering=False)
        return secure
