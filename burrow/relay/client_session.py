"""One client's session at the relay: its commands, and the tunnels that it has published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.logger import Logger
from twisted.protocols.amp import CommandLocator

from burrow.errors import BurrowError, SettingError, TunnelRefused
from burrow.interfaces.account import Account, IPolicy
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.relay.publishing import Publication
from burrow.relay.routing import TunnelRecord
from burrow.relay.tickets import Claim, Tickets
from burrow.session.commands import Bind, Refusal, Unbind
from burrow.session.endpoints import ConnectingEnd
from burrow.session.session import Session
from burrow.settings import Schema, shown

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
