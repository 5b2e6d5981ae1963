"""The edge: claims, names, exchanges."""

from __future__ import annotations

from base64 import b64encode

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelOffline, VisitorRefused
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.protocols.http import protocol
from burrow.protocols.http.visitor import HEAD_TIMEOUT, IDLE_TIMEOUT, LINGER_TIMEOUT
from burrow.settings import SettingError
from burrow.testing.fakes import FakeEdgeHost, FakePublication, FakeTunnel
from burrow.testing.recorders import Recorder
from tests.protocols.http.edge_case import OK, PEER, EdgeCase, get

POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n"


class DescriptorTests(SynchronousTestCase):
    """The plugin."""

    def test_interfaces(self) -> None:
        """The plugin and its edge keep their contracts."""
        verifyObject(ITunnelProtocol, protocol)
        host = FakeEdgeHost()
        verifyObject(IEdge, protocol.edge(host))
        for claim in host.claims:
            verifyObject(IListenerClaim, claim)

    def test_settings(self) -> None:
        """YAML's booleans count for bind_tls; a password without a user is refused, and not shown."""
        read = protocol.settings.read({"bind_tls": True, "auth": "u:p:w"})
        self.assertEqual((read["bind_tls"], read["auth"]), ("true", "u:p:w"))
        error = self.assertRaises(SettingError, protocol.settings.read, {"auth": "hidden"})
        self.assertIn("user:password", str(error))
        self.assertNotIn("hidden", str(error))


class PublishingTests(SynchronousTestCase):
    """Setting ``bind_tls``."""

    def test_sides(self) -> None:
        """It publishes both addresses, the http one first, or one of them."""
        for setting, published in (
            (None, [("plain", "http"), ("tls", "https")]),
            ("both", [("plain", "http"), ("tls", "https")]),
            ("true", [("tls", "https")]),
            ("false", [("plain", "http")]),
        ):
            publication = FakePublication(tunnel := FakeTunnel(Recorder))
            tunnel.settings["bind_tls"] = setting
            protocol.edge(FakeEdgeHost()).bind(publication)
            self.assertEqual(publication.published, published)


class ClaimTests(EdgeCase):
    """Who is taken at a shared listener."""

    def claimed(self, server_name: str) -> bool:
        """Tell whether a TLS newcomer is taken."""
        (claim,) = (claim for claim in self.host.claims if claim.tls)
        return claim.claim(Arrival(PEER, PEER, b"", True, server_name)) is not None

    def test_names(self) -> None:
        """TLS is ended for names that are published as https, and only HTTP/1.1 is offered there."""
        self.host.routes["tls", "raw.example"] = ("tls", self.tunnels["a.example"])
        self.assertTrue(self.claimed("a.example"))
        self.assertFalse(self.claimed("c.example"))
        self.assertFalse(self.claimed("raw.example"))
        self.assertFalse(self.claimed(""))
        self.assertEqual(self.host.ended, [("a.example", [b"http/1.1"])])

    def test_anything_plain(self) -> None:
        """Whatever is not TLS is taken, and answered if it is no HTTP."""
        self.assertIn(b"HTTP/1.1 400 Bad Request\r\n", self.ask(self.visit(), b"SSH-2.0-x\r\n"))


class ExchangeTests(EdgeCase):
    """Requests and answers."""

    def test_bytes_as_sent(self) -> None:
        """Requests and answers pass byte for byte, one after another on one stream."""
        visitor = self.visit()
        odd = b"GET /a?b  HTTP/1.1\r\n".replace(b"  ", b" ") + b"hOST:\tx\r\n".replace(
            b"\tx", b"  A.example.:80"
        )
        odd += b"x-Y:   \xff z  \r\nCookie:\r\n\r\n"
        for request in (odd, get(), POST + b"body"):
            self.ask(visitor, request)
            self.assertEqual(self.stream().received, request)
            self.stream().events.clear()
            self.say(self.stream(), OK.replace(b"OK", b"oK"))
            self.assertEqual(visitor.received, OK.replace(b"OK", b"oK"))
        self.assertEqual(len(self.far["a.example"]), 1)

    def test_visitor_facts(self) -> None:
        """The client hears who asks, what they speak and for which name."""
        self.ask(self.visit(), get())
        self.ask(self.visit("a.example"), get())
        plain, tls = (visitor for visitor, _ in self.tunnels["a.example"].visitors)
        self.assertEqual((plain.host, plain.scheme, plain.name), ("192.0.2.7", "http", "a.example"))
        self.assertEqual((tls.scheme, tls.name), ("https", "a.example"))
        self.assertIsInstance(tls, Visitor)

    def test_each_request_is_routed(self) -> None:
        """Requests to two names on one connection go to their own tunnels, and come back in order."""
        visitor = self.visit()
        self.ask(visitor, get("a.example"), get("B.example:80"), get("a.example"))
        self.assertEqual((len(self.far["a.example"]), len(self.far["b.example"])), (1, 0))
        self.say(self.stream("a.example"), OK)
        self.assertEqual(self.stream("b.example").received, get("B.example:80"))
        self.say(self.stream("b.example"), OK.replace(b"ok", b"be"))
        self.say(self.stream("a.example"), OK)
        self.assertEqual(visitor.received, OK + OK.replace(b"ok", b"be") + OK)
        self.assertEqual(self.stream("a.example").received, get() * 2)

    def test_nothing_is_shared(self) -> None:
        """Two visitors have two streams."""
        self.ask(self.visit(), get())
        self.ask(self.visit(), get())
        self.assertEqual(len(self.far["a.example"]), 2)

    def test_bodies_stream(self) -> None:
        """A body passes piece by piece, both ways, before it is whole."""
        visitor = self.visit()
        self.ask(visitor, POST + b"bo")
        self.assertEqual(self.stream().received, POST + b"bo")
        self.say(self.stream(), b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
        self.assertTrue(visitor.received.endswith(b"5\r\nhel"))
        self.say(visitor, b"dy")
        self.assertTrue(self.stream().received.endswith(b"body"))
        self.say(self.stream(), b"lo\r\n0\r\nX: y\r\n\r\n")
        self.assertTrue(visitor.received.endswith(b"hello\r\n0\r\nX: y\r\n\r\n"))
        self.assertIn(b" 404 ", self.ask(visitor, get("c.example")))

    def test_interim_answers(self) -> None:
        """100 passes, and the body follows it; HTTP/1.0 gets no interim answer."""
        visitor = self.visit()
        asking = POST[:-2] + b"Expect: 100-continue\r\n\r\n"
        self.ask(visitor, asking)
        self.say(self.stream(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(visitor.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        self.say(visitor, b"body")
        self.say(self.stream(), OK)
        self.assertTrue(visitor.received.endswith(OK))
        self.ask(visitor, get(version="1.0"))
        self.say(self.stream(), b"HTTP/1.1 103 x\r\n\r\n" + OK)
        self.assertEqual(visitor.received, OK)

    def test_head_and_bodiless_answers(self) -> None:
        """Answers to HEAD, 204 and 304 end with their heads."""
        visitor = self.visit()
        for method, answer in (
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
        ):
            self.ask(visitor, get(method=method))
            self.say(self.stream(), answer)
            self.assertEqual(visitor.received, answer)
        self.assertEqual(len(self.far["a.example"]), 1)

    def test_until_close(self) -> None:
        """An answer without a length ends with the stream, and ends the visitor's connection."""
        visitor = self.visit()
        self.ask(visitor, get())
        self.say(self.stream(), b"HTTP/1.0 200 x\r\n\r\nabc")
        self.stream().transport.loseConnection()
        self.flush()
        self.assertTrue(visitor.received.endswith(b"abc"))
        self.assertEqual(visitor.happened, ["read lost"])

    def test_connection_close(self) -> None:
        """Who asks to close, or is told so, is closed behind the answer."""
        for request, answer in (
            (get("a.example", "Connection: close"), OK),
            (get(version="1.0"), OK),
            (get(), OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
        ):
            visitor = self.visit()
            self.ask(visitor, request)
            self.say(self.stream(), answer)
            self.assertEqual(visitor.received, answer)
            self.assertEqual(visitor.happened, ["read lost"])
            self.assertEqual(self.stream().happened[0], "read lost")

    def test_half_close(self) -> None:
        """A visitor that has sent its last byte still gets its answers."""
        visitor = self.visit()
        visitor.transport.write(get() + get())
        visitor.transport.loseWriteConnection()
        self.flush()
        self.say(self.stream(), OK)
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK + OK)
        self.assertIn("read lost", visitor.happened)
        self.assertFalse(self.edge_socket().connected)

    def test_unknown_name(self) -> None:
        """An unknown name gets a 404 that says so, and keeps the connection."""
        visitor = self.visit()
        page = self.ask(visitor, get("x.example"))
        self.assertIn(b"HTTP/1.1 404 Not Found\r\n", page)
        self.assertIn(b"Tunnel x.example not found", page)
        self.ask(visitor, get())
        self.assertEqual(self.stream().received, get())

    def test_page_for_a_browser(self) -> None:
        """A browser gets HTML."""
        page = self.ask(self.visit(), get("x.example", "Accept: text/html,*/*;q=0.8"))
        self.assertIn(b"Content-Type: text/html", page)
        self.assertIn(b"Tunnel x.example not found", page)

    def test_unknown_name_with_body(self) -> None:
        """A 404 before the body is read closes, and nothing of the body is taken for a request."""
        visitor = self.visit()
        page = self.ask(visitor, POST.replace(b"a.example", b"x.example"))
        self.assertIn(b"Connection: close", page)
        self.say(visitor, get())
        self.assertEqual(self.far["a.example"], [])

    def test_misdirected(self) -> None:
        """Over TLS another tunnel's name gets 421; an unknown one 404; its own in any spelling is served."""
        visitor = self.visit("a.example")
        self.assertIn(b"HTTP/1.1 421 ", self.ask(visitor, get("b.example")))
        self.assertIn(b"HTTP/1.1 404 ", self.ask(visitor, get("x.example")))
        self.host.routes["tls", "raw.example"] = ("tls", self.tunnels["b.example"])
        self.assertIn(b"HTTP/1.1 421 ", self.ask(visitor, get("raw.example")))
        self.ask(visitor, get("A.EXAMPLE.:443"))
        self.assertEqual(self.stream().received, get("A.EXAMPLE.:443"))
        self.assertEqual(self.far["b.example"], [])

    def test_plain_side_of_another_kind(self) -> None:
        """A name without an http side is unknown there."""
        del self.host.routes["plain", "a.example"]
        self.assertIn(b" 404 ", self.ask(self.visit(), get()))

    def test_offline(self) -> None:
        """A tunnel whose client is away gets 503 with Retry-After."""
        self.tunnels["a.example"].error = TunnelOffline("a.example")
        self.tunnels["a.example"].held = True
        visitor = self.visit()
        self.ask(visitor, get())
        self.tunnels["a.example"].release()
        self.flush()
        self.assertIn(b"HTTP/1.1 503 ", visitor.received)
        self.assertIn(b"Retry-After: 5\r\n", visitor.received)
        self.assertEqual(self.tunnels["a.example"].visitors[0][1], 5.0)

    def test_visitor_refused(self) -> None:
        """A visitor that the policy does not admit is closed without an answer."""
        self.tunnels["a.example"].error = VisitorRefused("192.0.2.7")
        visitor = self.visit()
        self.assertEqual(self.ask(visitor, get()), b"")
        self.assertFalse(self.edge_socket().connected)

    def test_h2c(self) -> None:
        """The offer to speak HTTP/2 does not reach the upstream, which therefore cannot take it."""
        offer = get("a.example", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: A")
        visitor = self.visit()
        self.ask(visitor, offer)
        self.assertEqual(self.stream().received, get())
        self.say(self.stream(), b"HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        self.assertIn(b" 502 ", visitor.received)


class AuthTests(EdgeCase):
    """Setting ``auth``."""

    def setUp(self) -> None:
        """Protect a.example."""
        super().setUp()
        self.tunnels["a.example"].settings["auth"] = "user:p:\xe4"
        self.right = "Authorization: Basic " + b64encode("user:p:\xe4".encode()).decode()

    def test_refused(self) -> None:
        """Without the right credentials nothing reaches the client, whatever the method."""
        wrong = b64encode(b"user:other").decode()
        for fields in (
            [],
            ["Authorization: Basic " + wrong],
            ["Authorization: Basic !"],
            ["Authorization: Bearer x"],
            [self.right, self.right],
            [self.right.replace("Basic", "Digest")],
            [self.right + "x"],
            ["Authorization:"],
        ):
            for method in ("GET", "OPTIONS"):
                page = self.ask(self.visit(), get("a.example", *fields, method=method))
                self.assertIn(b"HTTP/1.1 401 Unauthorized\r\n", page)
                self.assertIn(b'WWW-Authenticate: Basic realm="burrow"\r\n', page)
                self.assertIn(b"401 Unauthorized\n", page)
        self.assertEqual(self.tunnels["a.example"].visitors, [])

    def test_admitted(self) -> None:
        """The right credentials pass, and are passed on; each request has to show them."""
        visitor = self.visit()
        self.ask(visitor, get("a.example", self.right.replace("Basic", "basic")))
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.assertIn(b" 401 ", self.ask(visitor, get()))

    def test_pipelined_second_request(self) -> None:
        """A request behind an admitted one is asked, too."""
        visitor = self.visit()
        self.ask(visitor, get("a.example", self.right), get())
        self.say(self.stream(), OK)
        self.assertIn(b" 401 ", visitor.received[len(OK) :])


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


class UpstreamTests(EdgeCase):
    """What a local service may do wrong."""

    def asked(self, request: bytes = get()) -> Recorder:
        """Let a new visitor ask."""
        visitor = self.visit()
        self.ask(visitor, request)
        return visitor

    def test_nonsense(self) -> None:
        """An answer that is none becomes a 502, its stream is reset, the connection stays."""
        for answer in (
            b"SSH-2.0-x\r\n",
            OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
            OK + b"x",
            OK + OK,
            b"HTTP/1.1 204 x\r\n\r\nbody",
            b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n",
            b"HTTP/1.1 200 x\r\nA : b\r\n\r\n",
        ):
            visitor = self.asked()
            self.say(self.stream(), answer)
            self.assertTrue(visitor.received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), answer)
            self.assertEqual(self.stream().happened, [ConnectionLost])
            self.assertEqual(visitor.happened, [])
            self.ask(visitor, get())
            self.say(self.stream(), OK)
            self.assertEqual(visitor.received, OK)

    def test_bytes_behind_the_answer(self) -> None:
        """Bytes that come later reset the stream, and never answer another request."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.say(self.stream(), OK.replace(b"ok", b"no"))
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.ask(visitor, get())
        self.assertEqual(len(self.far["a.example"]), 2)
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)

    def test_cut_answer(self) -> None:
        """An answer that stops before its end is visibly cut."""
        for begin in (OK[:-1], b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"):
            visitor = self.asked()
            self.say(self.stream(), begin)
            self.stream().transport.loseConnection()
            self.flush()
            self.assertEqual(visitor.received, begin)
            self.assertEqual(visitor.happened, [ConnectionLost])

    def test_bad_chunk(self) -> None:
        """An answer that turns bad is visibly cut."""
        visitor = self.asked()
        self.say(self.stream(), b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        self.say(self.stream(), b"zz\r\n")
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_reset_until_close(self) -> None:
        """An answer that ends with the stream is not whole if the stream is reset."""
        visitor = self.asked()
        self.say(self.stream(), b"HTTP/1.1 200 x\r\n\r\nabc")
        self.stream().transport.abortConnection()
        self.flush()
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_no_answer(self) -> None:
        """A stream that ends without an answer is a 502; a POST is not sent twice."""
        visitor = self.asked(POST + b"body")
        self.stream().transport.loseConnection()
        self.flush()
        self.assertIn(b" 502 ", visitor.received)
        self.assertEqual(len(self.far["a.example"]), 1)

    def test_early_answer(self) -> None:
        """An answer before the request's end is passed on; then both connections end."""
        visitor = self.asked(POST + b"bo")
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(visitor.happened, ["read lost"])
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.say(visitor, b"dy" + get())
        self.assertEqual(visitor.received, OK)

    def test_stream_ended_between_requests(self) -> None:
        """A kept stream that the local service ended is replaced."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.stream().transport.loseConnection()
        self.flush()
        self.ask(visitor, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(len(self.far["a.example"]), 2)

    def race(self, request: bytes) -> Recorder:
        """Let the local service end a kept stream just when another request comes."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.stream().transport.loseConnection()
        visitor.events.clear()
        visitor.transport.write(request)
        self.wires[-1].turn()
        self.flush()
        return visitor

    def test_race_with_the_end(self) -> None:
        """A GET that meets the end of a kept stream is sent again; a POST is a 502."""
        visitor = self.race(get())
        self.assertEqual(self.stream().received, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        count = len(self.far["a.example"])
        self.assertIn(b" 502 ", self.race(POST + b"body").received)
        self.assertEqual(len(self.far["a.example"]), count + 1)


class UpgradeTests(EdgeCase):
    """Changes of protocol."""

    ASKING = get("a.example", "Connection: Upgrade", "Upgrade: websocket")
    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

    def test_switch(self) -> None:
        """After 101 bytes pass as they are, both ways, and each way ends on its own."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING, b"early")
        self.assertEqual(self.stream().received, self.ASKING)
        self.say(self.stream(), self.SWITCH + b"\x81")
        self.assertEqual(visitor.received, self.SWITCH + b"\x81")
        self.assertEqual(self.stream().received, self.ASKING + b"early")
        self.say(visitor, get())
        self.assertTrue(self.stream().received.endswith(b"early" + get()))
        visitor.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.stream().happened, ["read lost"])
        self.say(self.stream(), b"last")
        self.assertTrue(visitor.received.endswith(b"last"))
        self.stream().transport.loseConnection()
        self.flush()
        self.assertIn("read lost", visitor.happened)

    def test_reset(self) -> None:
        """After 101 a reset is a reset."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING)
        self.say(self.stream(), self.SWITCH)
        self.stream().transport.abortConnection()
        self.flush()
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_end_over_tls(self) -> None:
        """Over TLS the end of either side ends both, flushed."""
        visitor = self.visit("a.example")
        self.ask(visitor, self.ASKING)
        self.say(self.stream(), self.SWITCH)
        self.stream().transport.write(b"last")
        self.stream().transport.loseWriteConnection()
        self.flush()
        self.assertTrue(visitor.received.endswith(b"last"))
        self.assertFalse(self.edge_socket().connected)

    def test_refused(self) -> None:
        """A refused upgrade stays HTTP: what follows is read as a request."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING, get("x.example"))
        self.say(self.stream(), OK)
        self.assertTrue(visitor.received.startswith(OK + b"HTTP/1.1 404"))
        self.assertEqual(self.stream().received, self.ASKING)

    def test_before_the_body(self) -> None:
        """A switch before the request's end is a 502."""
        visitor = self.visit()
        self.ask(visitor, POST[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nbo")
        self.say(self.stream(), self.SWITCH)
        self.assertIn(b" 502 ", visitor.received)


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
