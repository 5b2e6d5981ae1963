"""An example of a tunnel protocol: sends every line back with a greeting before it.

docs/plugins.md goes through it step by step. Put it into a directory ``burrow/plugins/`` on
``PYTHONPATH``, for the relay and for the client; ``burrow plugins`` then lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IPushProducer
from twisted.internet.protocol import Factory
from twisted.plugin import IPlugin
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from burrow.interfaces.protocol import IEdge, IEdgeHost, IForwarderHost, IPublication, ITunnelProtocol
from burrow.interfaces.stream import IStream
from burrow.interfaces.upstream import IUpstream
from burrow.protocols.raw import VisitorFactory
from burrow.settings import TEXT, Schema, Setting


@implementer(IEdge)
class LineEchoEdge:
    """The relay's half: a public port for each tunnel, whose visitors are joined to streams."""

    def bind(self, publication: IPublication) -> Deferred[None]:
        """Take a port; the host gives it back when the tunnel ends."""
        listening = publication.listen(VisitorFactory(publication.tunnel, "line-echo"), "line-echo")
        return listening.addCallback(lambda url: None)


@implementer(IPushProducer)
class Greeter(LineReceiver):
    """One visitor at the client: a stream is its transport."""

    transport: IStream
    delimiter = b"\n"

    def __init__(self, greeting: bytes) -> None:
        """Answer with ``greeting`` before each line."""
        self._greeting = greeting

    def connectionMade(self) -> None:
        """Stop reading whenever the visitor is slow to read: nothing may pile up."""
        self.transport.registerProducer(self, True)

    def lineReceived(self, line: bytes) -> None:
        """Send a line back."""
        self.sendLine(self._greeting + b" " + line)


class GreeterFactory(Factory):
    """The client's half of one tunnel: builds a protocol for every visitor."""

    noisy = False

    def __init__(self, greeting: str) -> None:
        """Greet with ``greeting``."""
        self._greeting = greeting.encode()

    def buildProtocol(self, addr: IAddress | None) -> Greeter:
        """Build the protocol of one visitor; ``addr`` is a `burrow.interfaces.stream.Visitor`."""
        return Greeter(self._greeting)


@implementer(ITunnelProtocol, IPlugin)
class LineEcho:
    """The plugin: what it is called, what can be set, and its two halves."""

    name = "line-echo"
    summary = "sends every line back with a greeting before it"
    settings = Schema((Setting("greeting", TEXT, "what to put before each line", default="echo:"),))
    schemes: tuple[str, ...] = ()

    def edge(self, host: IEdgeHost) -> IEdge:
        """Make the relay's half; called once when a relay starts."""
        return LineEchoEdge()

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """Make the client's half of one tunnel; it answers by itself and leaves ``upstream`` alone."""
        return GreeterFactory(settings["greeting"])


protocol = LineEcho()
