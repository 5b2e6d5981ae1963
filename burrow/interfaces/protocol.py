"""The contract of a tunnel protocol: one plugin with an edge half and a forwarder half.

The relay makes one edge of each protocol when it starts; the client makes one forwarder for each
tunnel. Both halves are ordinary Twisted protocols and know nothing of sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface

from burrow.interfaces.listener import IListenerClaim
from burrow.interfaces.tunnel import ITunnel
from burrow.interfaces.upstream import IUpstream
from burrow.settings import Schema


class ITunnelProtocol(IPlugin):
    """What a plugin declares. Importing it must be cheap: `edge` and `forwarder` import the rest."""

    name: str = Attribute("The word on the command line and in ``proto:``; lower-case.")
    summary: str = Attribute("One line for help, without a full stop.")
    settings: Schema = Attribute(
        "Its own settings, beyond `addr` and `metadata` that every tunnel has."
        " Those with ``edge=True`` travel to the relay."
    )
    schemes: tuple[str, ...] = Attribute("Schemes that an address may have, such as ``http``.")

    def edge(host: IEdgeHost) -> IEdge:
        """Make the relay's half, once for a relay."""

    def forwarder(upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost) -> IProtocolFactory:
        """Make the client's half of one tunnel.

        Returns:
            A factory whose ``buildProtocol`` is called with a `Visitor` for every stream; the
            protocol it builds gets an `IStream` as its transport.

        Raises:
            ConfigError: The settings cannot be used, e.g. an unreadable certificate.
        """


class IEdge(Interface):
    """The relay's half of a protocol: finds the tunnel a visitor wants, joins visitor to stream."""

    def bind(publication: IPublication) -> Deferred[None] | None:
        """Publish one tunnel by calls on ``publication``.

        Whatever the publication gave is undone by the host when this fails, and when the tunnel
        is unbound or its session ends; an edge cannot leak a name or a port.

        Raises:
            TunnelRefused: The tunnel cannot be had; the client's user reads the message.
        """


class IPublication(Interface):
    """One tunnel on its way to the public, given by the host to an edge."""

    tunnel: ITunnel = Attribute("The tunnel: settings to read, and where visitors are connected to.")

    def hostname() -> str:
        """Settle the public hostname, from settings ``subdomain`` and ``hostname`` or at random.

        The same name at every call.

        Raises:
            TunnelRefused: Not valid, reserved by another account, or not allowed (rows B1, B3).
        """

    def publish(side: str, scheme: str) -> str:
        """Take one side of the hostname and return the public URL, without a default port.

        Args:
            side: ``plain`` or ``tls``: the two are bound separately.
            scheme: What is served there: ``http`` on the plain side, ``https`` or ``tls`` on the
                other, or a plugin's own word. It is the URL's scheme.

        Raises:
            TunnelRefused: Somebody serves that side of the name already (code 334).
        """

    def listen(factory: IProtocolFactory, scheme: str) -> Deferred[str]:
        """Take a public TCP port, from setting ``remote_addr`` or at random, and listen there.

        Returns:
            The public URL, ``scheme://host:port``.

        Raises:
            TunnelRefused: The port is taken, out of range or reserved by somebody else.
        """


class IEdgeHost(Interface):
    """What the relay gives to an edge."""

    clock: IReactorTime = Attribute("For timeouts.")

    def claim(claim: IListenerClaim) -> None:
        """Take part in the relay's shared listeners from now on."""

    def route(side: str, hostname: str) -> ITunnel | None:
        """Return the tunnel that serves one side of a canonical hostname, the most specific first.

        ``None`` when there is none; see `scheme` for what is served there.
        """

    def scheme(side: str, hostname: str) -> str:
        """Return the scheme published at one side of a hostname, or the empty text."""

    def end_tls(hostname: str, protocols: list[bytes], factory: IProtocolFactory) -> IProtocolFactory:
        """Wrap ``factory`` in TLS with the relay's certificate for ``hostname``.

        Args:
            hostname: Canonical; one that is routed here, or the relay's own.
            protocols: What ALPN may choose, the preferred first; may be empty.
            factory: Speaks the plain text. Its transport has no half-close: the end of either
                side ends both.

        Raises:
            ConfigError: There is no certificate for that name.
        """


class IForwarderHost(Interface):
    """What the client gives to a forwarder."""

    clock: IReactorTime = Attribute("For timeouts.")
    name: str = Attribute("The tunnel's name, for messages.")
