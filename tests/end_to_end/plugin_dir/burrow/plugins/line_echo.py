"""A tunnel protocol of somebody else's: sends every line back with a greeting before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.interfaces.protocol import IEdge, IEdgeHost, IForwarderHost, IPublication, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.interfaces.upstream import IUpstream
from burrow.settings import TEXT, Schema, Setting

OPENING = 10.0  #: seconds that a client has to take a visitor


class Joined(Protocol):
    """One end of a join: what it receives goes to the other, as fast as the other takes it."""

    other: Joined | None = None

    def join(self, other: Joined) -> None:
        """Join two connected ends."""
        for end, opposite in ((self, other), (other, self)):
            end.other = opposite
            opposite.transport.registerProducer(end.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Pass it on."""
        assert self.other is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the other end too."""
        if self.other is not None:
            self.other.other = None
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()


class Arriving(Joined):
    """A visitor at the public port, until a stream takes it."""

    log = Logger()

    def __init__(self, tunnel: ITunnel) -> None:
        """Serve a visitor of ``tunnel``."""
        self._tunnel = tunnel

    def connectionMade(self) -> None:
        """Ask for a stream; read nothing before there is one."""
        self.transport.pauseProducing()
        peer, host = self.transport.getPeer(), self.transport.getHost()
        visitor = Visitor(peer.host, peer.port, "line-echo", str(host.port))
        self._opening = self._tunnel.connect(Factory.forProtocol(Joined), visitor, OPENING)
        self._opening.addCallback(self._opened)
        self._opening.addErrback(self._refused)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Withdraw the request for a stream, or end the stream."""
        self._opening.cancel()  # nothing if it has fired
        super().connectionLost(reason)

    def _opened(self, stream: Joined) -> None:
        self.join(stream)
        self.transport.resumeProducing()

    def _refused(self, reason: Failure) -> None:
        self.log.info("visitor refused: {why}", why=reason.getErrorMessage())
        self.transport.abortConnection()


@implementer(IEdge)
class LineEchoEdge:
    """The relay's half: one public port for each tunnel."""

    def bind(self, publication: IPublication) -> Deferred[None] | None:
        """See `IEdge.bind`."""
        factory = Factory.forProtocol(lambda: Arriving(publication.tunnel))
        return publication.listen(factory, "line-echo").addCallback(lambda url: None)


class Greeter(LineReceiver):
    """The client's half: answers each line itself."""

    def __init__(self, greeting: str) -> None:
        """Answer with ``greeting`` before each line."""
        self._greeting = greeting.encode()

    def lineReceived(self, line: bytes) -> None:
        """Send the line back."""
        self.sendLine(self._greeting + b" " + line)


@implementer(ITunnelProtocol, IPlugin)
class LineEcho:
    """The plugin."""

    name = "line-echo"
    summary = "sends every line back with a greeting before it"
    settings = Schema((Setting("greeting", TEXT, "what to put before each line", default="echo:"),))
    schemes = ()

    def edge(self, host: IEdgeHost) -> IEdge:
        """See `ITunnelProtocol.edge`."""
        return LineEchoEdge()

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """See `ITunnelProtocol.forwarder`."""
        return Factory.forProtocol(lambda: Greeter(settings["greeting"]))


protocol = LineEcho()
