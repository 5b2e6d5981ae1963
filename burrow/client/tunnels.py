"""A client's tunnels: each is bound again in every session, and listens there for streams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTime
from zope.interface import implementer

from burrow.client.definitions import TunnelDefinition
from burrow.errors import TunnelRefused
from burrow.interfaces.protocol import IForwarderHost
from burrow.interfaces.upstream import IUpstream
from burrow.session.commands import Bind, Unbind, printable
from burrow.session.endpoints import ListeningEnd
from burrow.session.session import Session

LARGEST_SETTINGS = 65_535  #: bytes of JSON, all that an AMP value holds


@implementer(IForwarderHost)
class ForwarderHost:
    """See `IForwarderHost`."""

    def __init__(self, clock: IReactorTime, name: str) -> None:
        """Give a forwarder the clock and its tunnel's name."""
        self.clock, self.name = clock, name


class Tunnel:
    """One tunnel of a client.

    Attributes:
        definition: What the user asked for.
        address: The upstream as people read it.
        urls: Where it is public now; empty while it is not.
    """

    def __init__(
        self, number: int, definition: TunnelDefinition, upstream: IUpstream, clock: IReactorTime
    ) -> None:
        """Make the forwarder.

        Args:
            number: The tunnel's own in every session of this client.
            definition: What the user asked for.
            upstream: Where its visitors are joined to.
            clock: Given to the forwarder.

        Raises:
            ConfigError: The definition's settings cannot be used.
        """
        self.definition, self.address = definition, upstream.address
        self._number, self._protocol = number, definition.protocol
        host = ForwarderHost(clock, definition.name)
        self._factory: IProtocolFactory = self._protocol.forwarder(upstream, definition.settings, host)
        self._ticket = b""
        self._port: IListeningPort | None = None
        self.urls: list[str] = []

    async def bind(self, session: Session) -> None:
        """Publish the tunnel, under the names that it had before where that can be.

        Raises:
            TunnelRefused: The relay declined.
            SessionLost: The session ended meanwhile.
        """
        port = await ListeningEnd(session, self._number).listen(self._factory)
        try:
            settings = json.dumps(self._edge_settings()).encode()
            if len(settings) > LARGEST_SETTINGS:
                problem = f"Its settings have {len(settings)} bytes, wanted at most {LARGEST_SETTINGS}."
                raise TunnelRefused(problem)
            answer = await session.call(
                Bind,
                tunnel=self._number,
                name=self.definition.name,
                protocol=self._protocol.name,
                settings=settings,
                metadata=self.definition.metadata,
                ticket=self._ticket,
            )
        except Exception:
            await maybeDeferred(port.stopListening)
            raise
        self._port = port
        self.urls, self._ticket = [printable(url) for url in answer["urls"]], answer["ticket"]

    async def unbind(self, session: Session) -> None:
        """Take the tunnel off the public; streams that are open go on."""
        self.urls = []
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await session.call(Unbind, tunnel=self._number)

    def lost(self) -> None:
        """Forget the URLs: the session is gone."""
        self.urls = []

    def _edge_settings(self) -> Mapping[str, Any]:
        values = self.definition.settings
        wanted = (setting.name for setting in self._protocol.settings if setting.edge)
        return {name: values[name] for name in wanted if values.get(name) is not None}
