"""The relay's side of its clients' sessions: who may have one, and what it has published."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.amp import CommandLocator
from zope.interface import implementer

from burrow import __version__
from burrow.errors import BurrowError, ConfigError, SessionRefused, SettingError, TunnelRefused
from burrow.interfaces.account import Account, IAccounts, IPolicy
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.net.listening import SOURCE_LIMIT, source_of
from burrow.net.tls import SESSION_ALPN, TLSFactory
from burrow.relay.certificates import Certificates
from burrow.relay.publishing import Publication
from burrow.relay.routing import TunnelRecord
from burrow.relay.tickets import Claim, Tickets
from burrow.session.commands import Bind, Refusal, Unbind
from burrow.session.endpoints import ConnectingEnd
from burrow.session.handshake import Acceptor, Offer, Welcome
from burrow.session.link import Link
from burrow.session.mux import Promises
from burrow.session.session import Session, TurnEnd
from burrow.settings import Schema, shown
from burrow.wire.frames import ByeCode

BYE_TIMEOUT = 1.0  #: seconds that telling a client about the end may take
METADATA_LIMIT = 4_096  #: characters, row F9
NAME_LIMIT = 255  #: characters of what a client calls a tunnel


@dataclass(frozen=True)
class Publishing:
    """What publishing a tunnel takes, the same for all sessions.

    Attributes:
        protocols: The plugins by name.
        edges: Their edges by the same names.
        policy: Asked about every visitor.
        publication: Makes the publication of a tunnel, which may claim what it had before.
        tickets: For such claims.
        tunnels: Tunnels that one session may have.
    """

    protocols: Mapping[str, ITunnelProtocol]
    edges: Mapping[str, IEdge]
    policy: IPolicy
    publication: Callable[[TunnelRecord, Claim], Publication]
    tickets: Tickets
    tunnels: int


class SessionBinding:
    """A tunnel of a session, as a tunnel record knows it."""

    def __init__(self, session: Session, number: int) -> None:
        """Lead to tunnel ``number`` of the client."""
        self._session, self._number = session, number

    def endpoint(self, visitor: Visitor) -> ConnectingEnd:
        """Return where a visitor is connected to; see `burrow.relay.routing.Binding`."""
        return ConnectingEnd(self._session, self._number, visitor)


class ClientSession(CommandLocator):
    """One client's session at the relay: its commands, and the tunnels that it has published.

    Attributes:
        account: Whose it is.
        instance: The client process's own number.
        session: The session, once it has begun.
    """

    log = Logger()
    session: Session

    def __init__(self, account: Account, instance: bytes, publishing: Publishing) -> None:
        """Publish for ``account`` what the client asks for."""
        super().__init__()
        self.account, self.instance = account, instance
        self._publishing = publishing
        self._published: dict[int, tuple[TunnelRecord, SessionBinding, Publication]] = {}

    @Bind.responder
    def bind(self, **arguments: Any) -> Deferred[dict[str, Any]]:
        """Publish a tunnel; see docs/protocol.md, "Commands"."""
        return Deferred.fromCoroutine(self._bind(**arguments))

    @Unbind.responder
    def unbind(self, tunnel: int) -> Deferred[dict[str, Any]]:
        """Take a tunnel off the public; one that is not bound changes nothing."""
        published = self._published.pop(tunnel, None)
        undone = maybeDeferred(self._undo, published) if published else maybeDeferred(lambda: None)
        return undone.addCallback(lambda _: {})

    async def _bind(
        self, tunnel: int, protocol: str, name: str, settings: bytes, metadata: str, ticket: bytes
    ) -> dict[str, Any]:
        try:
            self._check(tunnel, name, metadata)
            claim = self._publishing.tickets.read(self.account.name, ticket) or Claim()
            publication = await self._publish(tunnel, protocol, name, settings, claim)
        except TunnelRefused as refused:
            self.log.info(
                "tunnel {name!r} of {account} is refused: {why}",
                name=name,
                account=self.account.name,
                why=refused,
            )
            raise Refusal.of(refused) from None
        own = self._publishing.tickets.write(self.account.name, publication.claim())
        return {"urls": list(publication.urls), "ticket": own}

    def _check(self, number: int, name: str, metadata: str) -> None:
        if number in self._published or not 0 < number < 2**63:
            raise TunnelRefused(f"Tunnel number {number} cannot be used.")
        limit = self.account.limits.get("tunnels", self._publishing.tunnels)
        if len(self._published) >= limit:
            raise TunnelRefused(f"A session may not have more than {limit} tunnels.", 324)
        if len(metadata) > METADATA_LIMIT:
            raise TunnelRefused(f"Metadata is longer than {METADATA_LIMIT} characters.", 100)
        if len(name) > NAME_LIMIT:
            raise TunnelRefused(f"A tunnel's name is longer than {NAME_LIMIT} characters.", 100)

    async def _publish(
        self, number: int, protocol: str, name: str, settings: bytes, claim: Claim
    ) -> Publication:
        plugin = self._publishing.protocols.get(protocol)
        if plugin is None:
            known = ", ".join(self._publishing.protocols)
            raise TunnelRefused(f"Unknown protocol {shown(protocol)}: this relay has {known}.", 332)
        values = read_settings(plugin, settings)
        record = TunnelRecord(self.account, protocol, name, values, self._publishing.policy)
        publication = self._publishing.publication(record, claim)
        binding = SessionBinding(self.session, number)
        record.attach(binding)  # the client listens already, and a name is public as soon as it is taken
        published = (record, binding, publication)
        self._published[number] = published  # so that the session's end undoes it
        try:
            await self._bind_at_edge(protocol, publication)
            if self._published.get(number) is not published:
                raise TunnelRefused("The tunnel was unbound, or its session ended.")
        except BaseException:
            if self._published.get(number) is published:
                del self._published[number]
            await self._undo(published)
            raise
        for url in publication.urls:
            self.log.info("tunnel {url} up", url=url)
        return publication

    async def _bind_at_edge(self, protocol: str, publication: Publication) -> None:
        """Let the protocol's edge publish; an error of a plugin costs this tunnel only.

        Raises:
            TunnelRefused: It could not.
        """
        try:
            await maybeDeferred(self._publishing.edges[protocol].bind, publication)
        except TunnelRefused:
            raise
        except BurrowError as error:
            raise TunnelRefused(str(error)) from None
        except CancelledError:
            raise TunnelRefused(f"The relay's edge of {protocol!r} gave up.") from None
        except Exception as error:
            self.log.failure("the edge of {protocol!r} failed to bind a tunnel", protocol=protocol)
            raise TunnelRefused(f"The relay's edge of {protocol!r} has an error of its own.") from error

    def _undo(self, published: tuple[TunnelRecord, SessionBinding, Publication]) -> Deferred[None]:
        record, binding, publication = published
        record.detach(binding)
        for url in publication.urls:
            self.log.info("tunnel {url} down", url=url)
        return publication.undo()

    def ended(self) -> Deferred[Any]:
        """Give back everything that was published; fires when ports are closed."""
        published, self._published = self._published, {}
        return DeferredList([self._undo(one) for one in published.values()], consumeErrors=True)


def read_settings(plugin: ITunnelProtocol, settings: bytes) -> dict[str, Any]:
    """Return the typed edge settings that a client sent.

    Raises:
        TunnelRefused: Not JSON, or not what the protocol's schema allows.
    """
    edge = Schema(tuple(replace(one, required=False) for one in plugin.settings if one.edge))
    try:
        values = json.loads(settings)
        if not isinstance(values, dict):
            raise ValueError("wanted an object")
        return edge.read(values)
    except SettingError as error:
        raise TunnelRefused(f"The tunnel's settings cannot be used: {error}.") from None
    except (ValueError, RecursionError) as error:
        raise TunnelRefused(f"The tunnel's settings are not JSON: {error}.") from None


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
