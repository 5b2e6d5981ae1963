"""Visitors at the edge: bad requests, slow ends, ends and time."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock

from burrow.protocols.http.visitor import HEAD_TIMEOUT, IDLE_TIMEOUT, LINGER_TIMEOUT
from tests.protocols.http.edge_case import OK, EdgeCase, get

POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n"


class RefusedTests(EdgeCase):
    """Requests that nobody should read."""

    def test_no_byte_passes(self) -> None:
        """A refused request is answered and closed, and no byte of it reaches the client."""
        both = b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"
        for request, status in (
            (get()[:-2] + both + b"\r\n", b"400"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
            (b"CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n\r\n", b"501"),
            (b"GET /" + b"a" * 17_000, b"414"),
            (get("a.example", "X: " + "a" * 66_000), b"431"),
        ):
            visitor = self.visit()
            page = self.ask(visitor, request + get())
            self.assertTrue(page.startswith(b"HTTP/1.1 " + status), page[:80])
            self.assertIn(b"Connection: close\r\n", page)
            self.assertEqual(visitor.happened, ["read lost"])
        self.assertEqual(self.tunnels["a.example"].visitors, [])

    def test_bad_body(self) -> None:
        """A body that turns out wrong resets the stream; the visitor is told."""
        visitor = self.visit()
        chunked = b"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.ask(visitor, chunked + b"3\r\nabc\r\n")
        self.say(visitor, b"0\r\nHost: b.example\r\n\r\n")
        self.assertEqual(self.stream().received, chunked + b"3\r\nabc\r\n")
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.assertIn(b" 400 ", visitor.received)

    def test_cut_request(self) -> None:
        """A visitor that ends within a request leaves no whole-looking one behind."""
        visitor = self.visit()
        self.ask(visitor, POST + b"bo")
        visitor.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.assertFalse(self.edge_socket().reading)

    def test_lingering(self) -> None:
        """Who still sends can read why it is closed, for a while."""
        visitor = self.visit()
        self.ask(visitor, b"BAD\r\n")
        self.say(visitor, b"x" * 100_000)
        self.assertTrue(self.edge_socket().connected)
        assert isinstance(self.clock, Clock)
        self.clock.advance(LINGER_TIMEOUT)
        self.flush()
        self.assertFalse(self.edge_socket().connected)


class BackpressureTests(EdgeCase):
    """Slow ends."""

    def test_slow_visitor(self) -> None:
        """A visitor that does not read slows its stream down, and no byte is lost."""
        visitor = self.visit(capacity=1_000)
        self.ask(visitor, get())
        visitor.transport.pauseProducing()
        body = b"x" * 1_000_000
        self.stream().transport.write(b"HTTP/1.1 200 x\r\nContent-Length: 1000000\r\n\r\n" + body)
        self.flush()
        self.assertLess(self.edge_socket().queued(), 200_000)
        visitor.transport.resumeProducing()
        self.flush()
        self.assertTrue(visitor.received.endswith(body))
        self.ask(visitor, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)

    def test_slow_upstream(self) -> None:
        """A local service that does not read slows the visitor down, and no byte is lost."""
        visitor = self.visit()
        self.ask(visitor, b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n")
        self.stream().transport.pauseProducing()
        self.say(visitor, b"x" * 1_000_000)
        self.assertLess(self.tunnels["a.example"].wires[0].a.queued(), 200_000)
        self.assertGreater(visitor.transport.queued(), 700_000)
        self.stream().transport.resumeProducing()
        self.flush()
        self.assertTrue(self.stream().received.endswith(b"x" * 1_000_000))
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)

    def test_next_request_of_a_slow_visitor(self) -> None:
        """The next request starts when the visitor has taken enough of the answer before."""
        visitor = self.visit(capacity=1_000)
        self.ask(visitor, get())
        visitor.transport.pauseProducing()
        self.say(self.stream(), b"HTTP/1.1 200 x\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9_000)
        self.say(visitor, get("b.example"))
        self.assertEqual(self.far["b.example"], [])
        visitor.transport.resumeProducing()
        self.flush()
        self.say(self.stream("b.example"), OK)
        self.assertTrue(visitor.received.endswith(b"xxx" + OK))
        self.ask(visitor, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)

    def test_upstream_that_reads_no_more(self) -> None:
        """A body that the local service stopped reading is read on and dropped; its answer passes."""
        visitor = self.visit()
        self.ask(visitor, b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n")
        self.stream().transport.pauseProducing()
        self.say(visitor, b"x" * 900_000)
        self.assertGreater(visitor.transport.queued(), 0)
        self.edge_end._lanes.present.writeConnectionLost()
        self.flush()
        self.assertEqual(visitor.transport.queued(), 0)
        self.say(visitor, b"x" * 100_000)
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.ask(visitor, get())
        self.assertEqual(self.stream().received, get())

    def test_pipelined_requests(self) -> None:
        """Requests sent ahead wait outside once there are many; all are answered in order."""
        visitor = self.visit()
        self.ask(visitor, get() * 20_000)
        self.assertLess(self.edge_end._reader.unread, 200_000)
        self.assertGreater(visitor.transport.queued(), 300_000)
        self.assertEqual(self.stream().received, get())

    def test_unread_pages(self) -> None:
        """A visitor that asks for pages and reads none gets no more of them."""
        visitor = self.visit(capacity=1_000)
        visitor.transport.pauseProducing()
        self.edge_end.dataReceived(get("x.example") * 1_000)
        self.flush()
        self.assertLess(self.edge_socket().queued(), 5_000)
        self.assertFalse(self.edge_socket().reading)
        visitor.transport.resumeProducing()
        self.flush()
        self.assertEqual(visitor.received.count(b"HTTP/1.1 404"), 1_000)
        self.assertTrue(self.edge_socket().reading)

    def test_while_connecting(self) -> None:
        """A body waits until the tunnel is there."""
        self.tunnels["a.example"].held = True
        visitor = self.visit()
        self.ask(visitor, POST + b"bo")
        self.assertFalse(self.edge_socket().reading)
        self.tunnels["a.example"].release()
        self.flush()
        self.say(visitor, b"dy")
        self.assertEqual(self.stream().received, POST + b"body")


class EndTests(EdgeCase):
    """Visitors that leave, and time that passes."""

    def test_visitor_aborts(self) -> None:
        """A visitor's reset resets its stream."""
        visitor = self.visit()
        self.ask(visitor, get())
        visitor.transport.abortConnection()
        self.flush()
        self.assertEqual(self.stream().happened, [ConnectionLost])

    def test_visitor_leaves_while_connecting(self) -> None:
        """The request for a stream is withdrawn."""
        self.tunnels["a.example"].held = True
        visitor = self.visit()
        self.ask(visitor, get())
        visitor.transport.abortConnection()
        self.flush()
        self.assertEqual(self.tunnels["a.example"].cancelled, 1)

    def test_visitor_leaves_between_requests(self) -> None:
        """Idle streams end cleanly."""
        visitor = self.visit()
        self.ask(visitor, get())
        self.say(self.stream(), OK)
        visitor.transport.loseConnection()
        self.flush()
        self.assertEqual(self.stream().happened[0], "read lost")
        self.stream().transport.loseConnection()
        self.flush()
        self.assertEqual(self.stream().happened[-1], ConnectionDone)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        assert isinstance(self.clock, Clock)
        self.clock.advance(seconds)
        self.flush()

    def test_slow_head(self) -> None:
        """A head that trickles is answered 408 at its deadline, not before."""
        visitor = self.visit()
        for byte in get()[:29]:
            self.say(visitor, bytes([byte]))
            self.advance(1.0)
        self.assertEqual(visitor.received, b"")
        self.advance(HEAD_TIMEOUT - 29.0)
        self.assertIn(b"HTTP/1.1 408 ", visitor.received)

    def test_silent_visitor(self) -> None:
        """A visitor that sends nothing at all is closed without a word."""
        visitor = self.visit("a.example")
        self.advance(HEAD_TIMEOUT)
        self.assertEqual(visitor.received, b"")
        self.assertFalse(self.edge_socket().connected)

    def test_idle_connection(self) -> None:
        """A kept connection is closed when it was idle for long; a second slow head has its own time."""
        visitor = self.visit()
        self.ask(visitor, get())
        self.advance(500.0)  # an answer may take its time
        self.say(self.stream(), OK)
        self.advance(IDLE_TIMEOUT - 1.0)
        self.assertEqual(visitor.happened, [])
        self.say(visitor, b"GET")
        self.advance(HEAD_TIMEOUT - 1.0)
        self.assertEqual(visitor.happened, [])
        self.advance(1.0)
        self.assertIn(b" 408 ", visitor.received)
        other = self.visit()
        self.ask(other, get("x.example"))
        self.advance(IDLE_TIMEOUT)
        self.assertEqual(other.happened, ["read lost"])

    def test_no_timer_is_left(self) -> None:
        """Nothing is scheduled for a connection that is gone."""
        visitor = self.visit()
        self.ask(visitor, get())
        visitor.transport.abortConnection()
        self.flush()
        assert isinstance(self.clock, Clock)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_tunnels(self) -> None:
        """One connection keeps streams to a few tunnels only."""
        visitor = self.visit()
        for number in range(12):
            self.tunnels[f"t{number}.example"] = self.publish(f"t{number}.example")
            self.ask(visitor, get(f"t{number}.example"))
            self.say(self.stream(f"t{number}.example"), OK)
        ended = [number for number in range(12) if self.stream(f"t{number}.example").happened]
        self.assertEqual(ended, [0, 1, 2, 3])
