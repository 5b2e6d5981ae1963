"""The edge: claims, names, exchanges."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelOffline, VisitorRefused
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdge, ITunnelProtocol
from burrow.interfaces.stream import Visitor
from burrow.protocols.http import protocol
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
