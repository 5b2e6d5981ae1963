"""The shared port."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.net.listening import HELLO_TIMEOUT, Claims, SharedListener, source_of
from burrow.net.wheel import Wheel
from burrow.wire.client_hello import INTERNAL_ERROR, UNEXPECTED_MESSAGE, UNRECOGNIZED_NAME, alert
from tests.net.reactors import ReactorCase, Recorder
from tests.session.peer import logged
from tests.wire.test_client_hello import alpn, body, message, names, records


def hello(name: bytes = b"some.example", *protocols: bytes) -> bytes:
    """Return a ClientHello in one record."""
    return records(message(body(names(name), *([alpn(*protocols)] if protocols else []))))


@implementer(IListenerClaim)
class Claim:
    """Takes what ``wants`` says, with a recorder."""

    def __init__(self, kind: str, tls: bool, wants: Any = lambda arrival: True) -> None:
        """Make a claim of ``kind``."""
        self.kind, self.tls, self.wants = kind, tls, wants
        self.asked: list[Arrival] = []
        self.taken: list[Recorder] = []

    def claim(self, arrival: Arrival) -> IProtocolFactory | None:
        """Remember that it was asked."""
        self.asked.append(arrival)
        return Factory.forProtocol(self._build) if self.wants(arrival) else None

    def _build(self) -> Recorder:
        self.taken.append(Recorder())
        return self.taken[-1]


class Transport(StringTransport):
    """A transport that also tells of an abort."""

    def __init__(self, peer: Any = None) -> None:
        """Connect from ``peer``."""
        super().__init__(peerAddress=peer or IPv4Address("TCP", "192.0.2.9", 4000))
        self.aborted = False

    def abortConnection(self) -> None:
        """Note it."""
        self.aborted = True


class ListenerCase(SynchronousTestCase):
    """A listener for all kinds on a clock."""

    def setUp(self) -> None:
        """Make a listener without claims."""
        self.clock, self.claims = Clock(), Claims()
        self.wheel = Wheel(self.clock)
        self.listener = self.make()

    def make(self, **limits: Any) -> SharedListener:
        """Return a listener."""
        return SharedListener(self.claims, ("session", "https", "http", "tls", "echo"), self.wheel, **limits)

    def add(self, kind: str, tls: bool = True, wants: Any = lambda arrival: True) -> Claim:
        """Add a claim."""
        claim = Claim(kind, tls, wants)
        self.claims.add(claim)
        return claim

    def come(self, data: bytes = b"", peer: Any = None) -> Transport:
        """Connect, send ``data`` and return the transport."""
        transport = Transport(peer)
        newcomer = self.listener.buildProtocol(transport.getPeer())
        assert newcomer is not None
        transport.protocol = newcomer
        newcomer.makeConnection(transport)
        if data:
            newcomer.dataReceived(data)
        return transport


class ClaimTests(ListenerCase):
    """Who is asked, about what, in which order."""

    def test_tls_newcomer(self) -> None:
        """A claim on TLS hears name and protocols, and its protocol gets the very bytes."""
        claim = self.add("https")
        verifyObject(IListenerClaim, claim)
        data = hello(b"Some.Example", b"h2", b"http/1.1")
        transport = self.come(data)
        [arrival] = claim.asked
        self.assertEqual((arrival.server_name, arrival.alpn), ("some.example", (b"h2", b"http/1.1")))
        self.assertEqual((arrival.tls, arrival.received), (True, data))
        self.assertEqual((arrival.peer, arrival.host), (transport.getPeer(), transport.getHost()))
        self.assertIs(transport.protocol, claim.taken[0])
        self.assertIs(claim.taken[0].transport, transport)
        self.assertEqual(claim.taken[0].received, data)
        self.assertEqual((self.listener.waiting(), len(self.wheel)), (0, 0))

    def test_plain_newcomer(self) -> None:
        """Anything that is not TLS is offered with its first bytes, and to plain claims only."""
        tls, plain = self.add("https"), self.add("http", tls=False)
        for data in (b"G", b"PRI * HTTP/2.0\r\n", b"\x80\x2e\1\3\1"):
            self.come(data)
        self.assertEqual(
            [arrival.received for arrival in plain.asked], [b"G", b"PRI * HTTP/2.0\r\n", b"\x80\x2e\1\3\1"]
        )
        self.assertEqual(tls.asked, [])

    def test_order(self) -> None:
        """TLS goes to tls, session, https, then to plugins; the rest to plugins, then to http."""
        asked: list[str] = []

        def add(kind: str, tls: bool, name: str) -> None:
            self.add(kind, tls, lambda arrival: asked.append(name))

        for kind, name in (
            ("echo", "e1"),
            ("https", "h"),
            ("session", "s"),
            ("tls", "t1"),
            ("echo", "e2"),
            ("tls", "t2"),
        ):
            add(kind, True, name)
        self.come(hello())
        self.assertEqual(asked, ["t1", "t2", "s", "h", "e1", "e2"])
        asked.clear()
        for kind in ("http", "echo"):
            add(kind, False, kind)
        self.come(b"x")
        self.assertEqual(asked, ["echo", "http"])

    def test_only_the_listeners_kinds(self) -> None:
        """A claim of a kind that the listener does not serve is not asked."""
        claim = self.add("tls")
        self.listener = SharedListener(self.claims, ["https"], self.wheel)
        self.come(hello())
        self.assertEqual(claim.asked, [])

    def test_first_taker_ends_the_asking(self) -> None:
        """Once somebody takes a newcomer nobody else is asked."""
        first, second = self.add("tls"), self.add("https")
        self.come(hello())
        self.assertEqual((len(first.taken), second.asked), (1, []))

    def test_claim_that_fails(self) -> None:
        """A claim that raises is logged; the newcomer is closed and not offered to others."""

        def fail(arrival: Arrival) -> bool:
            raise ValueError("a bug")

        self.add("tls", wants=fail)
        other = self.add("https")
        transport = self.come(hello())
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual((transport.value(), transport.disconnecting), (alert(INTERNAL_ERROR), True))
        self.assertEqual(other.asked, [])

    def test_factory_that_builds_nothing(self) -> None:
        """A factory that declines to build a protocol resets the connection."""

        class Nothing(Factory):
            def buildProtocol(self, addr: Any) -> None:
                return None

        self.claims.add(type("Declining", (Claim,), {"claim": lambda self, arrival: Nothing()})("tls", True))
        self.assertTrue(self.come(hello()).aborted)

    def test_protocol_that_closes_at_once(self) -> None:
        """A protocol that closes when it is connected gets no bytes after that."""

        class Closing(Recorder):
            def connectionMade(self) -> None:
                self.transport.loseConnection()

        claim = self.add("tls")
        claim._build = lambda: claim.taken.append(Closing()) or claim.taken[-1]  # type: ignore
        self.come(hello())
        self.assertEqual(claim.taken[0].received, b"")


class RefusedTests(ListenerCase):
    """Newcomers that nobody takes."""

    def test_unknown_name(self) -> None:
        """TLS that nobody claims gets the alert unrecognized_name, and is closed."""
        transport = self.come(hello())
        self.assertEqual((transport.value(), transport.disconnecting), (alert(UNRECOGNIZED_NAME), True))
        self.assertEqual((self.listener.waiting(), len(self.wheel)), (0, 0))

    def test_malformed_hello(self) -> None:
        """A malformed hello gets the alert that says so; what follows is ignored."""
        transport = self.come(b"\x16\3\1\0\1\2")
        self.assertEqual((transport.value(), transport.disconnecting), (alert(UNEXPECTED_MESSAGE), True))
        transport.protocol.dataReceived(b"more")
        self.assertEqual(transport.value(), alert(UNEXPECTED_MESSAGE))

    def test_plain_bytes_that_nobody_takes(self) -> None:
        """Other bytes that nobody claims are closed without an answer."""
        transport = self.come(b"EHLO x\r\n")
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))

    def test_silent_newcomer(self) -> None:
        """A newcomer that says nothing is reset at the deadline, not before."""
        transport = self.come()
        self.clock.advance(HELLO_TIMEOUT)
        self.assertFalse(transport.aborted)
        self.clock.advance(0.26)
        self.assertTrue(transport.aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slow_hello(self) -> None:
        """A hello that comes byte by byte does not move the deadline."""
        transport = self.come()
        for byte in hello()[:12]:
            transport.protocol.dataReceived(bytes([byte]))
            self.clock.advance(1)
        self.assertTrue(transport.aborted)

    def test_newcomer_that_leaves(self) -> None:
        """A newcomer that goes away is forgotten with its timer."""
        transport = self.come(hello()[:10])
        transport.protocol.connectionLost()
        self.assertEqual((self.listener.waiting(), self.clock.getDelayedCalls()), (0, []))

    def test_stop_resets_who_waits(self) -> None:
        """When the port stops listening, newcomers are reset; who was taken stays."""
        self.add("http", tls=False)
        self.listener.doStart()
        waiting, taken = self.come(), self.come(b"GET")
        self.listener.doStop()
        self.assertEqual((waiting.aborted, taken.aborted), (True, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LimitTests(ListenerCase):
    """Bounds on newcomers."""

    def test_too_many_newcomers(self) -> None:
        """The newest newcomer over the limit is closed; one that is taken makes room."""
        self.add("http", tls=False)
        self.listener = self.make(waiting_limit=2)
        first, _second = self.come(), self.come()
        self.assertIsNone(self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        first.protocol.dataReceived(b"GET")
        self.assertIsNotNone(self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))

    def test_too_many_of_one_source(self) -> None:
        """One source fills its own share; another source and loopback are not bound by it."""
        self.listener = self.make(source_limit=2)
        one = self.come()
        self.come()
        self.assertIsNone(self.listener.buildProtocol(one.getPeer()))
        self.come(peer=IPv4Address("TCP", "192.0.2.10", 1))
        one.protocol.connectionLost()
        self.come()
        for _ in range(5):
            self.come(peer=IPv4Address("TCP", "127.0.0.1", 1))

    def test_a_flood_is_one_line(self) -> None:
        """Of many that are refused one is logged, and of the next flood one again."""
        self.listener = self.make(waiting_limit=10, source_limit=3)
        address = IPv4Address("TCP", "192.0.2.1", 1)
        for _ in range(2):
            with logged() as lines:
                waiting = [self.come(peer=address) for _ in range(3)]
                refused = [self.listener.buildProtocol(address) for _ in range(5)]
                self.assertEqual(refused, [None] * 5)
                waiting += [self.come(peer=IPv4Address("TCP", "127.0.0.1", 1)) for _ in range(7)]
                self.assertIsNone(self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.2", 1)))
                self.assertIsNone(self.listener.buildProtocol(IPv4Address("TCP", "192.0.2.3", 1)))
                for transport in waiting:
                    transport.protocol.connectionLost()
            one, every = lines
            self.assertTrue(one.startswith("192.0.2.1:1 refused: too many newcomers of 192.0.2.1 wait"), one)
            self.assertTrue(every.startswith("192.0.2.2:1 refused: too many newcomers wait"), every)

    def test_sources(self) -> None:
        """An IPv6 source is its first 64 bits, a mapped address is the IPv4 one."""
        self.assertEqual(
            source_of(IPv6Address("TCP", "2001:db8::1", 1)), source_of(IPv6Address("TCP", "2001:db8::2", 1))
        )
        self.assertNotEqual(
            source_of(IPv6Address("TCP", "2001:db8::1", 1)), source_of(IPv6Address("TCP", "2001:db8:1::2", 1))
        )
        self.assertEqual(source_of(IPv6Address("TCP", "::ffff:192.0.2.1", 1)), "192.0.2.1")
        for loopback in (
            IPv6Address("TCP", "::1", 1),
            UNIXAddress(b"/x"),
            IPv4Address("TCP", "127.1.2.3", 1),
            None,
        ):
            self.assertEqual(source_of(loopback), "")

    def test_one_newcomers_bytes(self) -> None:
        """A newcomer that sends more than its share before its hello is whole is reset."""
        self.listener = self.make(received_limit=1000)
        data = records(message(body(names(b"a.b"), b"\0\x15\x07\xd0" + bytes(2000))))
        transport = self.come(data[:1000])
        self.assertFalse(transport.aborted)
        transport.protocol.dataReceived(data[1000:1001])
        self.assertTrue(transport.aborted)

    def test_all_newcomers_bytes(self) -> None:
        """The newcomer that brings all over their common share is reset, the others stay."""
        self.listener = self.make(held_limit=150)
        data = hello(b"a" * 60 + b".b", b"h2")[:100]
        first, second = self.come(data), self.come(data)
        self.assertEqual((first.aborted, second.aborted), (False, True))
        first.protocol.connectionLost()
        self.assertFalse(self.come(data).aborted)

    @given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=60)), max_size=40))
    def test_nothing_is_leaked(self, steps: list[tuple[int, bytes]]) -> None:
        """Whatever newcomers send, when all are gone nothing is held, counted or timed."""
        self.setUp()
        self.add("http", tls=False, wants=lambda arrival: arrival.received[:1] == b"G")
        self.listener = self.make(held_limit=200, received_limit=100)
        transports = [self.come() for _ in range(6)]
        for which, data in steps:
            start = b"\x16\3\1\1\0" if which % 2 else b""
            protocol: Any = transports[which].protocol
            if data:
                protocol.dataReceived(start + data)
        for transport in transports:
            transport.protocol.connectionLost(None)
        listener = self.listener
        self.assertEqual((listener.waiting(), listener._held, dict(listener._sources)), (0, 0, {}))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SocketTests(ReactorCase):
    """Hand-over on real sockets."""

    def listening(self, claim: Claim) -> socket.socket:
        """Return a plain socket connected to a listener with one claim."""
        claims = Claims()
        claims.add(claim)
        listener = SharedListener(claims, ["http", "tls"], Wheel(self.reactor))
        port = self.reactor.listenTCP(0, listener, interface="127.0.0.1")
        peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(peer.close)
        return peer

    def test_taken_connection(self) -> None:
        """The protocol that takes a connection has all of it: bytes both ways and the end."""
        claim = Claim("http", False)
        peer = self.listening(claim)
        peer.sendall(b"GET ")
        self.until(lambda: claim.taken and claim.taken[0].received, "not taken")
        taken = claim.taken[0]
        peer.sendall(b"/ HTTP/1.1")
        peer.shutdown(socket.SHUT_WR)
        self.until(lambda: taken.ended, "no end")
        self.assertEqual(taken.received, b"GET / HTTP/1.1")
        taken.transport.write(b"answer")
        taken.transport.loseConnection()
        self.until(lambda: taken.lost, "not lost")
        peer.settimeout(5)
        self.assertEqual(peer.recv(100), b"answer")

    def test_alert_arrives(self) -> None:
        """A visitor that nobody serves reads the alert and then the end."""
        peer = self.listening(Claim("tls", True, lambda arrival: False))
        peer.sendall(hello())
        peer.setblocking(False)
        got = bytearray()

        def ended() -> bool:
            try:
                piece = peer.recv(100)
            except BlockingIOError:
                return False
            got.extend(piece)
            return not piece

        self.until(ended, "no end")
        self.assertEqual(bytes(got), alert(UNRECOGNIZED_NAME))

    def test_plain_protocols_work_too(self) -> None:
        """A protocol that writes when it is connected is heard (a server that speaks first)."""

        class First(Protocol):
            def connectionMade(self) -> None:
                self.transport.write(b"220 hello\r\n")

        claim = Claim("http", False)
        claim._build = First  # type: ignore
        peer = self.listening(claim)
        peer.sendall(b"x")
        peer.setblocking(False)
        got = bytearray()

        def answered() -> bool:
            try:
                got.extend(peer.recv(100))
            except BlockingIOError:
                return False
            return True

        self.until(answered, "no answer")
        self.assertEqual(bytes(got), b"220 hello\r\n")
