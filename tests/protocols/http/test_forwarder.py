"""The forwarder: streams joined to the upstream, and the pages of the client."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.interfaces.stream import Visitor
from burrow.protocols.http import protocol
from burrow.protocols.http.forwarder import CONNECT_TIMEOUT
from burrow.testing.fakes import FakeForwarderHost, FakeUpstream
from burrow.testing.memory import Wire, connect, flush
from burrow.testing.recorders import HalfCloseableRecorder
from tests.protocols.http.edge_case import OK, get


class ForwarderCase(SynchronousTestCase):
    """One tunnel at the client; streams are opened by the test."""

    def setUp(self) -> None:
        """Make the tunnel's forwarder."""
        self.services: list[HalfCloseableRecorder] = []
        self.host = FakeForwarderHost()
        self.upstream = FakeUpstream(self.serve, address="http://localhost:<80>")
        self.factory = protocol.forwarder(self.upstream, {}, self.host)

    def serve(self) -> HalfCloseableRecorder:
        """Make the local service's end of a connection."""
        self.services.append(HalfCloseableRecorder())
        return self.services[-1]

    def open(self) -> HalfCloseableRecorder:
        """Open a stream; return the edge's end."""
        edge = HalfCloseableRecorder()
        forwarder = self.factory.buildProtocol(Visitor("192.0.2.7", 1, "http", "a.example"))
        assert forwarder is not None
        self.wire: Wire = connect(edge, forwarder, stops=True)
        return edge

    def flush(self) -> None:
        """Let everything move that can."""
        for _ in range(3):
            flush([self.wire, *self.upstream.wires])

    def ask(self, edge: HalfCloseableRecorder, data: bytes) -> bytes:
        """Send bytes from the edge; return what it has received then."""
        edge.transport.write(data)
        self.flush()
        return edge.received


class JoinedTests(ForwarderCase):
    """A stream whose upstream is there."""

    def test_bytes_both_ways(self) -> None:
        """Bytes pass as they are, whatever they are."""
        edge = self.open()
        self.ask(edge, get() + b"\x00\xff")
        (service,) = self.services
        self.assertEqual(service.received, get() + b"\x00\xff")
        service.transport.write(OK)
        self.flush()
        self.assertEqual(edge.received, OK)

    def test_half_close(self) -> None:
        """Each way ends on its own."""
        edge = self.open()
        self.ask(edge, get())
        edge.transport.loseWriteConnection()
        self.flush()
        (service,) = self.services
        self.assertEqual(service.happened, ["read lost"])
        service.transport.write(OK)
        service.transport.loseConnection()
        self.flush()
        self.assertEqual(edge.received, OK)
        self.assertIn("read lost", edge.happened)

    def test_resets(self) -> None:
        """A reset of either side resets the other."""
        edge = self.open()
        self.flush()
        edge.transport.abortConnection()
        self.flush()
        self.assertEqual(self.services[-1].happened, [ConnectionLost])
        edge = self.open()
        self.flush()
        self.services[-1].transport.abortConnection()
        self.flush()
        self.assertEqual(edge.happened, [ConnectionLost])

    def test_backpressure(self) -> None:
        """A local service that does not read slows the stream, and no byte is lost."""
        edge = self.open()
        self.flush()
        (service,) = self.services
        service.transport.pauseProducing()
        self.ask(edge, b"x" * 1_000_000)
        self.assertGreater(edge.transport.queued(), 700_000)
        service.transport.resumeProducing()
        self.flush()
        self.assertEqual(len(service.received), 1_000_000)

    def test_stream_waits_for_the_upstream(self) -> None:
        """While it connects nothing is read from the stream; its end is not forgotten."""
        self.upstream.held = True
        edge = self.open()
        self.ask(edge, get())
        edge.transport.loseWriteConnection()
        self.flush()
        self.assertGreater(edge.transport.in_flight(), 0)
        self.upstream.release()
        self.flush()
        self.assertEqual(self.services[-1].received, get())
        self.assertEqual(self.services[-1].happened, ["read lost"])

    def test_stream_that_does_not_wait(self) -> None:
        """What a stream brings although it is paused is not lost, its end included."""
        self.upstream.held = True
        self.open()
        self.wire.b.protocol.dataReceived(get())
        self.wire.b.protocol.readConnectionLost()  # type: ignore[attr-defined]
        self.upstream.release()
        self.flush()
        self.assertEqual(self.services[-1].received, get())
        self.assertEqual(self.services[-1].happened, ["read lost"])

    def test_no_timer_is_left(self) -> None:
        """Nothing is scheduled once the upstream is connected."""
        self.open()
        assert isinstance(self.host.clock, Clock)
        self.assertEqual(self.host.clock.getDelayedCalls(), [])


class PageTests(ForwarderCase):
    """A stream whose upstream is not there."""

    def refused(self, request: bytes, error: Exception | None = None) -> bytes:
        """Ask while nothing listens."""
        self.upstream.error = error or ConnectionRefusedError()
        return self.ask(self.open(), request)

    def test_plain_page(self) -> None:
        """Who is no browser is told address and reason as plain text, and to close."""
        page = self.refused(get())
        self.assertTrue(page.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertIn(b"Connection: close\r\n", page)
        self.assertIn(b"could not connect to http://localhost:<80>\n", page)
        self.assertIn(b"Reason: connection refused.\n", page)
        self.assertIn(b"Is anything listening on http://localhost:<80>?\n", page)

    def test_page_for_a_browser(self) -> None:
        """A browser gets HTML, in which nothing of the address is markup."""
        page = self.refused(get("a.example", "accept: text/html"))
        self.assertIn(b"Content-Type: text/html; charset=utf-8\r\n", page)
        self.assertIn(b"http://localhost:&lt;80&gt;", page)
        self.assertNotIn(b"<80>", page)
        self.assertIn(b"prefers-color-scheme:dark", page)

    def test_length(self) -> None:
        """The page has its length, and HEAD gets no body."""
        head, _, body = self.refused(get()).partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertTrue(self.refused(get(method="HEAD")).endswith(b"\r\n\r\n"))

    def test_unknown_name(self) -> None:
        """The reason says when a name is not known."""
        self.assertIn(b"the name is not known", self.refused(get(), DNSLookupError()))

    def test_end_of_the_stream(self) -> None:
        """The stream ends behind the page, though the request's body was not read."""
        self.upstream.error = ConnectionRefusedError()
        edge = self.open()
        self.ask(edge, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nabc")
        self.assertIn(b" 502 ", edge.received)
        self.assertEqual(edge.happened[0], "read lost")
        edge.transport.loseConnection()
        self.flush()
        self.assertEqual(edge.happened[-1], ConnectionDone)

    def test_timeout(self) -> None:
        """An upstream that does not answer is given up at the deadline, not before, with 504."""
        self.upstream.held = True
        edge = self.open()
        self.ask(edge, get())
        assert isinstance(self.host.clock, Clock)
        self.host.clock.advance(CONNECT_TIMEOUT - 0.01)
        self.flush()
        self.assertEqual(edge.received, b"")
        self.host.clock.advance(0.01)
        self.flush()
        self.assertTrue(edge.received.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n"))
        self.assertIn(b"no connection within 30 seconds", edge.received)
        self.assertEqual(self.upstream.cancelled, 1)

    def test_visitor_leaves_while_connecting(self) -> None:
        """A stream that is reset stops the attempt."""
        self.upstream.held = True
        edge = self.open()
        edge.transport.abortConnection()
        self.flush()
        self.assertEqual(self.upstream.cancelled, 1)

    def test_no_request(self) -> None:
        """What is no request is reset; a stream that ends without one just ends."""
        self.upstream.error = ConnectionRefusedError()
        edge = self.open()
        self.ask(edge, b"\x00\x01")
        self.assertEqual(edge.happened, [ConnectionLost])
        edge = self.open()
        edge.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(edge.received, b"")
        self.assertFalse(edge.transport.connected)
