"""The demonstration site: what `burrow demo` shares when there is nothing else to share."""

from __future__ import annotations

import html
import string
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IPushProducer, IReactorTCP, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import File
from zope.interface import implementer

SITE = Path(__file__).with_name("site")
ECHO_LIMIT = 1024 * 1024  #: bytes of a request body that are kept; a longer one is answered 413
TICK = 1.0  #: seconds between two events
#: Nothing from elsewhere, nothing inline: the page must work on a machine without a network.
POLICY = b"default-src 'self'; base-uri 'none'; frame-ancestors 'none'"


def demo_site(reactor: IReactorTCP) -> Deferred[IListeningPort]:
    """Serve the demonstration site on a free port of 127.0.0.1.

    Args:
        reactor: Listens, and provides `IReactorTime` for the ticks of ``/events``.

    Returns:
        Fires with the port; ``getHost().port`` is its number. The caller stops listening.

    Raises:
        CannotListenError: Loopback has no free port.
    """
    clock = IReactorTime(reactor)
    root = File(str(SITE))
    for path in (b"", b"index.html"):
        root.putChild(path, Page(SITE / "index.html"))
    root.putChild(b"hello", Hello())
    root.putChild(b"echo", Echo())
    root.putChild(b"events", Events(clock))
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    listening: Deferred[IListeningPort] = endpoint.listen(DemoSite(root, reactor=reactor))
    return listening


class DemoRequest(Request):
    """A request that keeps no more of its body than `ECHO_LIMIT`."""

    body_size = 0

    def handleContentChunk(self, data: bytes) -> None:
        """Keep the next piece of the body while it is within the limit, count it in any case."""
        self.body_size += len(data)
        if self.body_size <= ECHO_LIMIT:
            super().handleContentChunk(data)


class DemoSite(Site):
    """A site without an access log: the screen belongs to the tunnel."""

    noisy = False
    requestFactory = DemoRequest

    def log(self, request: object) -> None:
        """Log nothing."""


class Page(Resource):
    """A page that says which host it was asked for."""

    isLeaf = True

    def __init__(self, path: Path) -> None:
        """Read the template at ``path`` once; ``${host}`` in it is the request's Host."""
        super().__init__()
        self._template = string.Template(path.read_text("utf-8"))

    def render_GET(self, request: Request) -> bytes:
        """Answer the page."""
        host = (request.getHeader(b"host") or b"").decode("latin-1")
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        request.setHeader(b"content-security-policy", POLICY)
        request.setHeader(b"cache-control", b"no-store")
        return self._template.safe_substitute(host=html.escape(host)).encode("utf-8")


class Hello(Resource):
    """The shortest answer there is."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Answer one line of plain text."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"hello from the other end of the tunnel\n"


class Echo(Resource):
    """Sends back what it is sent."""

    isLeaf = True

    def render_POST(self, request: DemoRequest) -> bytes:
        """Answer the request's own body, never as a page."""
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"x-content-type-options", b"nosniff")
        if request.body_size > ECHO_LIMIT:
            request.setResponseCode(413)
            return b"a body of %d bytes; at most %d are echoed\n" % (request.body_size, ECHO_LIMIT)
        return b"" if request.content is None else bytes(request.content.read())


class Events(Resource):
    """Server-sent events that never end: one tick a second."""

    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        """Tick by ``clock``."""
        super().__init__()
        self._clock = clock

    def render_GET(self, request: Request) -> int:
        """Start an answer that goes on until the visitor leaves."""
        request.setHeader(b"content-type", b"text/event-stream; charset=utf-8")
        request.setHeader(b"cache-control", b"no-store")
        Ticker(self._clock, request.write).follow(request)
        return NOT_DONE_YET


@implementer(IPushProducer)
class Ticker:
    """Writes one event a second; drops those that a slow visitor has no room for."""

    def __init__(self, clock: IReactorTime, write: Callable[[bytes], None]) -> None:
        """Write events by ``write``, timed by ``clock``; `follow` starts it."""
        self._write = write
        self._count = 0
        self._paused = False
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def follow(self, request: Request) -> None:
        """Tick until ``request`` ends."""
        request.registerProducer(self, True)
        request.notifyFinish().addBoth(self._ended)
        self._loop.start(TICK)

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        self._paused = False

    def stopProducing(self) -> None:
        """See `IPushProducer`; the end of the request stops the ticks."""

    def _tick(self) -> None:
        if not self._paused:
            self._write(b"event: tick\ndata: %d\n\n" % self._count)
        self._count += 1

    def _ended(self, reason: Failure | None) -> None:
        if self._loop.running:
            self._loop.stop()
