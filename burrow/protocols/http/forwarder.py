"""The client's half of HTTP tunnels: joins streams to the upstream, bytes as they are.

Where the upstream cannot be reached, the client answers the request itself, with a page that
names the address and the reason (row B12).
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TCPTimedOutError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.http.reader import RequestReader
from burrow.http.refusal import HttpRefused
from burrow.http.request import RequestHead
from burrow.interfaces.protocol import IForwarderHost
from burrow.interfaces.stream import IStream
from burrow.interfaces.upstream import IUpstream
from burrow.protocols.http.handover import hand_over
from burrow.protocols.http.pages import CLIENT, Page, render
from burrow.protocols.join import join

CONNECT_TIMEOUT = 30.0  #: seconds in which the upstream has to take a connection


class ForwarderFactory(Factory):
    """Builds the client's end of every stream of one tunnel."""

    noisy = False

    def __init__(
        self, upstream: IUpstream, host: IForwarderHost, connect_timeout: float = CONNECT_TIMEOUT
    ) -> None:
        """Connect streams to ``upstream``, each within ``connect_timeout`` seconds."""
        self.upstream, self.host, self.connect_timeout = upstream, host, connect_timeout

    def buildProtocol(self, addr: IAddress | None) -> StreamProtocol:
        """Build the client's end of one stream."""
        return StreamProtocol(self)


@implementer(IHalfCloseableProtocol)
class StreamProtocol(Protocol):
    """One stream until its upstream is connected; or if it is not, until that is told."""

    log = Logger()
    transport: IStream

    def __init__(self, shared: ForwarderFactory) -> None:
        """Connect to the upstream of ``shared``."""
        self._shared = shared
        self._dialling: Deferred[IProtocol] | None = None
        self._early = b""  # came although the stream is paused
        self._reader: RequestReader | None = None
        self._page: Page | None = None
        self._ended = False

    def connectionMade(self) -> None:
        """Hold what the visitor sends, and dial."""
        self.transport.pauseProducing()
        shared = self._shared
        dialling = shared.upstream.connect(UpstreamFactory(self))
        self._dialling = dialling.addTimeout(shared.connect_timeout, shared.host.clock)
        dialling.addCallbacks(self._dialled, self._not_dialled)

    def dataReceived(self, data: bytes) -> None:
        """Look for the head of the request that a page answers."""
        if self._reader is None:
            self._early += data
        else:
            self._reader.feed(data)
            self._look()

    def readConnectionLost(self) -> None:
        """The visitor has sent its last byte."""
        self._ended = True
        if self._reader is not None:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our end has left."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The visitor is gone: dial no longer."""
        self._page = None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()

    def joined(self, upstream: UpstreamProtocol) -> None:
        """Be joined to the upstream's connection."""
        self.transport.resumeProducing()
        mine, far = join(self.transport, upstream.transport)
        hand_over(self, mine)
        hand_over(upstream, far)
        if self._early:
            mine.dataReceived(self._early)
        if self._ended:
            mine.readConnectionLost()

    # --- when there is no upstream

    def _dialled(self, protocol: IProtocol) -> None:
        self._dialling = None

    def _not_dialled(self, failure: Failure) -> None:
        dialling, self._dialling = self._dialling, None
        if dialling is None and failure.check(CancelledError):
            return  # the visitor went first
        address, why = self._shared.upstream.address, reason_of(failure, self._shared.connect_timeout)
        self.log.info(
            "tunnel {tunnel}: cannot connect to {address}: {why}",
            tunnel=self._shared.host.name,
            address=address,
            why=why,
        )
        self._page = unreachable(address, why, is_timeout(failure))
        self._reader = RequestReader()
        self.transport.resumeProducing()
        early, self._early = self._early, b""
        self.dataReceived(early)
        if self._ended:
            self.readConnectionLost()

    def _look(self) -> None:
        """Answer the first head; what follows it is not read."""
        assert self._reader is not None  # noqa: S101 - set before
        if self._page is None:
            return
        try:
            head = self._reader.next_event()
        except HttpRefused as refusal:
            self.log.info("tunnel {tunnel}: {why}", tunnel=self._shared.host.name, why=refusal.reason)
            self.transport.abortConnection()
            return
        if isinstance(head, RequestHead):
            page, self._page = self._page, None
            self.transport.write(render(page, head, close=True))
            self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class UpstreamProtocol(Protocol):
    """The connection to the upstream; joined to its stream as soon as it is there."""

    transport: IStream

    def __init__(self, stream: StreamProtocol) -> None:
        """Belong to ``stream``."""
        self._stream = stream

    def connectionMade(self) -> None:
        """Join."""
        self._stream.joined(self)

    def readConnectionLost(self) -> None:
        """Never called: a leg has taken over."""

    def writeConnectionLost(self) -> None:
        """Never called: a leg has taken over."""


class UpstreamFactory(Factory):
    """Builds the connection to the upstream of one stream."""

    noisy = False

    def __init__(self, stream: StreamProtocol) -> None:
        """Build for ``stream``."""
        self._stream = stream

    def buildProtocol(self, addr: IAddress | None) -> UpstreamProtocol:
        """Build the connection."""
        return UpstreamProtocol(self._stream)


def is_timeout(failure: Failure) -> bool:
    """Tell whether the upstream did not answer at all, rather than refuse."""
    return bool(failure.check(TimeoutError, ConnectTimeout, TCPTimedOutError))


def reason_of(failure: Failure, seconds: float) -> str:
    """Say in a few words why there is no connection."""
    if failure.check(ConnectionRefusedError):
        return "connection refused"
    if failure.check(DNSLookupError):
        return "the name is not known"
    if failure.check(TimeoutError):
        return f"no connection within {seconds:g} seconds"
    return failure.getErrorMessage().rstrip(".") or type(failure.value).__name__


def unreachable(address: str, why: str, timeout: bool) -> Page:
    """Return the page of an upstream that cannot be reached."""
    return Page(
        504 if timeout else 502,
        f"The tunnel works, but its client could not connect to {address}",
        (f"Reason: {why}.", f"Is anything listening on {address}?"),
        sender=CLIENT,
    )
