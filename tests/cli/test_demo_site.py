"""Tests of the demonstration site, over real sockets."""

from __future__ import annotations

import re

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from burrow.cli.demo_site import ECHO_LIMIT, SITE, Ticker, demo_site


class Visit(Protocol):
    """A visitor that sends one request and keeps what comes back."""

    def __init__(self, enough: bytes = b"") -> None:
        self.received = b""
        self.enough = enough
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes; leave when it is enough."""
        self.received += data
        if self.enough and self.received.count(self.enough):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Hand over what came."""
        self.done.callback(self.received)


class DemoSiteTests(TestCase):
    """The site that `burrow demo` shares."""

    async def setUp(self) -> None:
        """Start the site."""
        self.port = await demo_site(reactor)
        self.addCleanup(self.port.stopListening)

    async def ask(self, request: bytes, enough: bytes = b"") -> bytes:
        """Send a request, HTTP/1.0 unless it says otherwise, and return the whole answer."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        visit = await connectProtocol(endpoint, Visit(enough))
        visit.transport.write(request)
        return await visit.done

    def test_listens_on_loopback_only(self) -> None:
        """Nobody but this machine reaches the site directly."""
        self.assertEqual(self.port.getHost().host, "127.0.0.1")

    async def test_page_shows_the_host_asked_for(self) -> None:
        """The page tells the visitor the public name by which it was reached."""
        answer = await self.ask(b"GET / HTTP/1.0\r\nHost: a1b2.localhost:4443\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.0 200") or answer.startswith(b"HTTP/1.1 200"), answer[:80])
        self.assertIn(b"text/html", answer)
        self.assertIn(b'<strong id="host">a1b2.localhost:4443</strong>', answer)
        self.assertIn(b"through a tunnel", answer)

    async def test_markup_in_the_host_is_shown_as_text(self) -> None:
        """A Host with markup in it is text on the page, not an element."""
        answer = await self.ask(b"GET / HTTP/1.0\r\nHost: <script>x</script>\r\n\r\n")
        self.assertNotIn(b"<script>x", answer)

    async def test_hello(self) -> None:
        """/hello answers one line of plain text."""
        answer = await self.ask(b"GET /hello HTTP/1.0\r\n\r\n")
        self.assertTrue(answer.endswith(b"\r\n\r\nhello from the other end of the tunnel\n"))

    async def test_echo(self) -> None:
        """/echo sends back every byte of a POST."""
        body = bytes(range(256)) * 64
        answer = await self.ask(b"POST /echo HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertEqual(answer.partition(b"\r\n\r\n")[2], body)

    async def test_echo_refuses_what_is_too_long(self) -> None:
        """A body over the limit is answered 413 and not kept."""
        body = bytes(ECHO_LIMIT + 1)
        answer = await self.ask(b"POST /echo HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertIn(b" 413 ", answer.partition(b"\r\n")[0])

    async def test_events_arrive_before_the_answer_ends(self) -> None:
        """/events sends its first event at once and keeps the answer open."""
        answer = await self.ask(b"GET /events HTTP/1.0\r\n\r\n", enough=b"data: 0\n\n")
        self.assertIn(b"text/event-stream", answer)
        self.assertIn(b"event: tick\ndata: 0\n\n", answer)

    async def test_every_file_of_the_page_is_served(self) -> None:
        """What the page refers to is there, with a type browsers accept."""
        page = (SITE / "index.html").read_bytes()
        for path in re.findall(rb'(?:src|href)="(/[^"]+\.\w+)"', page):
            answer = await self.ask(b"GET " + path + b" HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", answer.partition(b"\r\n")[0], path)


class DemoPageTests(SynchronousTestCase):
    """The page as a file."""

    def test_needs_nothing_from_elsewhere(self) -> None:
        """The page names no other host and has no script or style inside."""
        for path in SITE.iterdir():
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(text, r"https?://|<style|style=|<script(?! type=\"module\" src=)", str(path))


class TickerTests(SynchronousTestCase):
    """The events of one visitor."""

    def setUp(self) -> None:
        """Start ticking."""
        self.clock = Clock()
        self.written: list[bytes] = []
        self.ticker = Ticker(self.clock, self.written.append)
        self.request = FakeRequest()
        self.ticker.follow(self.request)

    def test_one_a_second(self) -> None:
        """A visitor gets an event at once and then one a second."""
        self.clock.pump([1.0, 1.0])
        self.assertEqual(self.written, [b"event: tick\ndata: %d\n\n" % n for n in range(3)])

    def test_slow_visitor_costs_no_memory(self) -> None:
        """Events for a visitor that does not read are dropped, not queued."""
        self.ticker.pauseProducing()
        self.clock.pump([1.0] * 5)
        self.ticker.resumeProducing()
        self.clock.advance(1.0)
        self.assertEqual(self.written, [b"event: tick\ndata: 0\n\n", b"event: tick\ndata: 6\n\n"])

    def test_stops_with_the_visitor(self) -> None:
        """No timer stays behind when the visitor leaves."""
        self.request.finished.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FakeRequest:
    """As much of a request as a `Ticker` uses."""

    def __init__(self) -> None:
        self.finished: Deferred[None] = Deferred()

    def registerProducer(self, producer: Ticker, streaming: bool) -> None:
        """Take the producer."""

    def notifyFinish(self) -> Deferred[None]:
        """Return what fires when the visitor is gone."""
        return self.finished
