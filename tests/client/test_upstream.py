"""Addresses of local services, and connections there."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.error import ConnectError, ConnectionRefusedError, TimeoutError, UnknownHostError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from burrow.client.upstream import TcpUpstream, parse_address
from burrow.errors import ConfigError
from burrow.interfaces.upstream import IUpstream
from burrow.testing.recorders import Recorder


class AddressTests(SynchronousTestCase):
    """The forms of an address (contract 1.4)."""

    def read(self, text: str | int, *schemes: str) -> str:
        """Read an address and write it as the client API does."""
        return str(parse_address(text, schemes))

    def refusal(self, text: str | int, *schemes: str) -> str:
        """Return the message for an address that is refused."""
        return str(self.assertRaises(ConfigError, parse_address, text, schemes))

    def test_port(self) -> None:
        """A port is one of this machine, as a text or as a number."""
        self.assertEqual(self.read("8080"), "localhost:8080")
        self.assertEqual(self.read(22), "localhost:22")
        self.assertEqual(self.read("8080", "http"), "http://localhost:8080")

    def test_host_and_port(self) -> None:
        """Any reachable host will do."""
        self.assertEqual(self.read("Printer.Lan:631", "http"), "http://printer.lan:631")
        self.assertEqual(self.read("192.0.2.1:22"), "192.0.2.1:22")
        self.assertEqual(self.read("[2001:DB8::1]:22"), "[2001:db8::1]:22")
        self.assertEqual(parse_address("[::1]:22").host, "::1")

    def test_scheme(self) -> None:
        """An http address may be a URL; its port is 80 if it has none."""
        self.assertEqual(self.read("http://host", "http"), "http://host:80")
        self.assertEqual(self.read("HTTP://host:8000/", "http"), "http://host:8000")

    def test_missing_port(self) -> None:
        """A bare word is refused with the text that people search for."""
        self.assertEqual(self.refusal("zzz"), "invalid address 'zzz': missing port in address zzz")
        self.assertEqual(self.refusal("zzz", "http"), "invalid address 'zzz': missing port in address zzz")

    def test_foreign_scheme(self) -> None:
        """A scheme that the protocol does not take is named, with what it takes."""
        self.assertIn("scheme 'http' does not fit, wanted HOST:PORT", self.refusal("http://host:1"))
        self.assertIn("wanted http://HOST:PORT or HOST:PORT", self.refusal("gopher://host", "http"))

    def test_refused(self) -> None:
        """What is no address is refused, and the message says why."""
        for text, why in {
            "0": "invalid port '0'",
            "host:65536": "invalid port '65536'",
            "host:": "invalid port ''",
            "host:\uff18\uff10": "invalid port",
            ":80": "missing host",
            "": "missing host",
            "::1": "too many colons in address ::1",
            "[::g]:1": "'::g' is not an IPv6 address",
            "host:80/path": "without a path",
            "-x:80": "label '-x' is not valid",
            "*.x:80": "is a wildcard",
            "user@host:80": "not valid",
        }.items():
            self.assertIn(why, self.refusal(text), text)

    @given(st.one_of(st.text(), st.integers(), st.from_regex(r"[a-z:/.\[\]0-9@]*\Z")))
    def test_any_text(self, text: str | int) -> None:
        """Any text is an address that reads back as itself, or a clear error."""
        try:
            address = parse_address(text, ("http",))
        except ConfigError as error:
            self.assertTrue(str(error).startswith("invalid address '"))
        else:
            self.assertEqual(parse_address(str(address), ("http",)), address)


class UpstreamTests(SynchronousTestCase):
    """Connecting on a reactor that only records."""

    def setUp(self) -> None:
        """Have a reactor and a factory."""
        self.reactor: Any = MemoryReactorClock()
        self.factory = Factory.forProtocol(Recorder)

    def connect(self, host: str, timeout: float = 30) -> Deferred[Any]:
        """Connect to port 80 of ``host``."""
        upstream = TcpUpstream(self.reactor, host, 80, f"http://{host}:80", timeout)
        return upstream.connect(self.factory)

    def fail_last(self, error: Exception) -> None:
        """Let the latest connection fail."""
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(error))

    @property
    def tried(self) -> list[str]:
        """The hosts that were connected to."""
        return [client[0] for client in self.reactor.tcpClients]

    def resolves(self, *addresses: Any) -> Any:
        """Let every name resolve to ``addresses``, when the result is fired."""
        receivers: list[Any] = []

        class Resolver:
            """Answers when told."""

            def resolveHostName(self, receiver: Any, *rest: Any, **more: Any) -> None:
                """Remember who asks."""
                receivers.append(receiver)

        def answer() -> None:
            for address in addresses:
                receivers[0].addressResolved(address)
            receivers[0].resolutionComplete()

        self.reactor.nameResolver = Resolver()
        return answer

    def test_interface(self) -> None:
        """It is an upstream."""
        self.assertTrue(verifyObject(IUpstream, TcpUpstream(self.reactor, "h", 1, "h:1")))

    def test_localhost(self) -> None:
        """Names at and below localhost are this machine, whatever a resolver thinks."""
        self.connect("localhost")
        self.connect("shop.localhost")
        self.assertEqual(self.tried, ["127.0.0.1", "127.0.0.1"])

    def test_localhost_on_ipv6_only(self) -> None:
        """A service that listens on ::1 only is found; the first refusal is the one told."""
        connecting = self.connect("localhost")
        self.fail_last(ConnectionRefusedError("first"))
        self.assertEqual(self.tried, ["127.0.0.1", "::1"])
        self.fail_last(ConnectionRefusedError("second"))
        failure = self.failureResultOf(connecting, ConnectError)
        self.assertIn("first", failure.getErrorMessage())

    def test_numeric(self) -> None:
        """Numeric addresses are taken as they are."""
        self.connect("2001:db8::1")
        self.connect("192.0.2.1")
        self.assertEqual(self.tried, ["2001:db8::1", "192.0.2.1"])

    def test_name(self) -> None:
        """A name is resolved; its addresses are tried in turn, IPv4 first."""
        answer = self.resolves(IPv6Address("TCP", "2001:db8::1", 80), IPv4Address("TCP", "192.0.2.1", 80))
        self.connect("printer.lan")
        self.assertEqual(self.tried, [])
        answer()
        self.fail_last(ConnectionRefusedError())
        self.assertEqual(self.tried, ["192.0.2.1", "2001:db8::1"])

    def test_unknown_name(self) -> None:
        """A name without an address is an error that shows it."""
        answer = self.resolves()
        connecting = self.connect("nowhere.test")
        answer()
        self.assertIn("'nowhere.test'", self.failureResultOf(connecting, UnknownHostError).getErrorMessage())

    def test_slow_resolver(self) -> None:
        """A resolver that never answers runs into the time limit; a late answer is ignored."""
        answer = self.resolves(IPv4Address("TCP", "192.0.2.1", 80))
        connecting = self.connect("slow.test", timeout=5)
        self.reactor.advance(4.9)
        self.assertNoResult(connecting)
        self.reactor.advance(0.1)
        self.failureResultOf(connecting, TimeoutError)
        answer()
        self.assertEqual(self.tried, [])

    def test_one_time_limit(self) -> None:
        """All addresses together have one time limit."""
        connecting = self.connect("localhost", timeout=5)
        self.assertEqual(self.reactor.tcpClients[-1][3], 5)
        self.reactor.advance(2)
        self.fail_last(ConnectionRefusedError())
        self.assertEqual(self.reactor.tcpClients[-1][3], 3)
        self.assertNoResult(connecting)

    def test_no_time_left(self) -> None:
        """When the time is up the remaining addresses are not tried."""
        connecting = self.connect("localhost", timeout=5)
        self.reactor.advance(5)
        self.fail_last(TimeoutError())
        self.failureResultOf(connecting, TimeoutError)
        self.assertEqual(self.tried, ["127.0.0.1"])

    def test_cancel_while_resolving(self) -> None:
        """Cancelling while the name is resolved connects to nothing and leaves no timer."""
        answer = self.resolves(IPv4Address("TCP", "192.0.2.1", 80))
        connecting = self.connect("slow.test")
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        answer()
        self.assertEqual((self.tried, self.reactor.getDelayedCalls()), ([], []))


class SocketTests(TestCase):
    """Connecting on real sockets."""

    timeout = 20

    def setUp(self) -> None:
        """Listen on a port of the loopback."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.number: int = self.listener.getsockname()[1]
        self.reactor: Any = reactor

    @inlineCallbacks
    def test_connected(self) -> Generator[Deferred[Any], Any, None]:
        """The protocol has had its connectionMade, and nothing stands between it and its transport."""
        upstream = TcpUpstream(self.reactor, "localhost", self.number, "localhost")
        protocol = yield upstream.connect(Factory.forProtocol(Recorder))
        self.assertEqual(protocol.events, ["made"])
        self.assertIs(protocol.transport.protocol, protocol)
        lost: Deferred[None] = Deferred()
        protocol.connectionLost = lambda reason: lost.callback(None)
        protocol.transport.abortConnection()
        yield lost

    @inlineCallbacks
    def test_refused(self) -> Generator[Deferred[Any], Any, None]:
        """A port where nothing listens is an error that says so."""
        self.listener.close()
        upstream = TcpUpstream(self.reactor, "127.0.0.1", self.number, "localhost")
        failure = yield self.assertFailure(upstream.connect(Factory.forProtocol(Protocol)), ConnectError)
        self.assertIn("refused", str(failure))

    @inlineCallbacks
    def test_cancel(self) -> Generator[Deferred[Any], Any, None]:
        """Cancelling ends the attempt."""
        upstream = TcpUpstream(self.reactor, "127.0.0.1", self.number, "localhost")
        built: list[Protocol] = []

        class Watched(Factory):
            """Remembers what it built."""

            noisy = False

            def buildProtocol(self, addr: Any) -> Any:
                """Build and remember."""
                built.append(Protocol())
                return built[-1]

        connecting = upstream.connect(Watched())
        connecting.cancel()
        yield self.assertFailure(connecting, CancelledError)
        turn: Deferred[None] = Deferred()
        self.reactor.callLater(0.01, turn.callback, None)
        yield turn
        self.assertEqual(built, [])
