"""Connecting to a relay: one attempt, and how long to wait for the next."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.interfaces import IReactorPluggableNameResolver, IStreamClientEndpoint, ITransport
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.client.connecting import (
    ATTEMPT,
    LEAST_DELAY,
    LONGEST_DELAY,
    RelayEndpoint,
    SessionTransport,
    endpoint_to,
    retry_delay,
)
from burrow.client.making import verification
from burrow.errors import SessionLost, SessionRefused
from burrow.interfaces.stream import Visitor
from burrow.net.tls import SESSION_ALPN, SESSION_TLS
from burrow.net.trust import client_options
from burrow.session.handshake import Offer
from tests.net.reactors import Recorder
from tests.one_process import DOMAIN, TOKEN, OneProcessCase


class DelayTests(SynchronousTestCase):
    """How long to wait after failures."""

    def test_bounds(self) -> None:
        """The wait is never longer than the longest delay, nor next to nothing, however often it failed."""
        for failures in (*range(100), 10**4, 10**9):
            for _ in range(20):
                self.assertTrue(LEAST_DELAY <= retry_delay(failures) <= LONGEST_DELAY)

    def test_grows(self) -> None:
        """The first wait is within a second; after many failures they are spread up to the longest."""
        first = [retry_delay(1) for _ in range(500)]
        late = [retry_delay(20) for _ in range(500)]
        self.assertLessEqual(max(first), 1.0)
        self.assertGreater(max(late), LONGEST_DELAY * 0.9)

    def test_jitter(self) -> None:
        """Many clients of a relay that has gone do not come back at one moment."""
        waits = sorted(retry_delay(20) for _ in range(1_000))
        for tenth in range(10):
            low, high = tenth * LONGEST_DELAY / 10, (tenth + 1) * LONGEST_DELAY / 10
            self.assertTrue(30 < sum(low <= wait < high for wait in waits) < 250, tenth)


@implementer(IReactorPluggableNameResolver)
class ResolvingReactor(MemoryReactorClock):
    """A reactor that could resolve names."""

    nameResolver = None

    def installNameResolver(self, resolver: object) -> None:
        """See `IReactorPluggableNameResolver`."""


class WhereTests(SynchronousTestCase):
    """Which endpoint an address has."""

    def test_numeric_addresses_need_no_resolver(self) -> None:
        """Only names are resolved."""
        reactor = ResolvingReactor()
        for address, kind in (
            ("192.0.2.1", TCP4ClientEndpoint),
            ("2001:db8::1", TCP6ClientEndpoint),
            ("relay.test", HostnameEndpoint),
        ):
            self.assertIs(type(endpoint_to(reactor, address, 443)), kind)

    def test_this_machine(self) -> None:
        """Names at and below localhost are this machine, whatever a resolver says (RFC 6761)."""
        for name in ("localhost", "relay.localhost"):
            reactor: Any = MemoryReactorClock()
            tls = client_options(name, None, [SESSION_ALPN], SESSION_TLS)
            offer = Offer("test/1", b"1" * 16, "token", TOKEN, "us")
            attempt = RelayEndpoint(reactor, name, 4443, tls, offer).connect(Factory())
            self.assertEqual(reactor.tcpClients[0][:2], ("127.0.0.1", 4443))
            attempt.addErrback(lambda failure: None)
            attempt.cancel()


class AttemptCase(OneProcessCase):
    """Attempts to reach a relay."""

    def endpoint(self, port: int, token: str = TOKEN, region: str = "us") -> RelayEndpoint:
        """Return where the relay at a port is."""
        config = self.config(port)
        tls = verification(config, DOMAIN, config.root_cas)  # type: ignore[arg-type]
        offer = Offer("test/1", b"1" * 16, "token", token, region)
        return RelayEndpoint(self.reactor, DOMAIN, port, tls, offer, "127.0.0.1")  # type: ignore[arg-type]

    def attempt(self, endpoint: RelayEndpoint, factory: Any = None) -> Any:
        """Make an attempt, and return what came of it: a protocol, or a failure."""
        outcome: list[Any] = []
        endpoint.connect(factory or Factory.forProtocol(Recorder)).addBoth(outcome.append)
        self.until(lambda: outcome, "neither a session nor a failure")
        return outcome[0]

    def silent(self) -> int:
        """Return the port of somebody who takes connections and says nothing."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port: int = listener.getsockname()[1]
        return port


class SuccessTests(AttemptCase):
    """A relay that admits the client."""

    def test_a_session_as_a_connection(self) -> None:
        """The protocol has the session as its transport, and hears of its end."""
        relay = self.start_relay()
        endpoint = self.endpoint(self.port_of(relay))
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        protocol = self.attempt(endpoint)
        transport: SessionTransport = protocol.transport
        self.assertTrue(verifyObject(ITransport, transport))
        self.assertEqual((transport.welcome.account, transport.welcome.domain), ("team", DOMAIN))
        self.assertTrue(transport.session.attached)
        self.assertIsNone(endpoint.dialling_since)
        self.assertRaises(TypeError, transport.write, b"x")
        self.assertRaises(TypeError, transport.writeSequence, [b"x"])
        transport.loseConnection()
        self.assertIsInstance(protocol.lost.value, SessionLost)
        self.waited(transport.session.closed())

    def test_nobody_wants_it(self) -> None:
        """A session that its factory declines is closed at once."""
        relay = self.start_relay()
        factory = Factory()
        factory.buildProtocol = lambda address: None  # type: ignore[method-assign,assignment]
        failure = self.attempt(self.endpoint(self.port_of(relay)), factory)
        self.assertIsInstance(failure, Failure)
        self.until(lambda: not len(relay._sessions))


class FailureTests(AttemptCase):
    """A relay that cannot be reached, or declines."""

    def told(self, events: Any, level: Any) -> list[str]:
        """Return why, of what was logged at a level."""
        return [event["why"] for event in events if event["log_level"] is level and "why" in event]

    def test_refused(self) -> None:
        """The refusal arrives with its code, and whoever asked for it is told."""
        relay = self.start_relay()
        endpoint, told = self.endpoint(self.port_of(relay), "wrong-token-0123456789abc"), list[Any]()
        endpoint.refused = told.append
        failure = self.attempt(endpoint)
        self.assertTrue(failure.check(SessionRefused))
        self.assertEqual((failure.value.code, told), (107, [failure.value]))

    def test_nobody_there(self) -> None:
        """It is said once; the same reason again is for those who look for it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        endpoint = self.endpoint(port)
        with capturedLogs() as events:
            for _ in range(3):
                self.assertTrue(self.attempt(endpoint).check(ConnectionRefusedError))
        self.assertEqual(
            (len(self.told(events, LogLevel.error)), len(self.told(events, LogLevel.debug))), (1, 2)
        )
        self.assertIn("trying again", self.told(events, LogLevel.error)[0])

    def test_silence(self) -> None:
        """A relay that says nothing is given up after a while, with one line that says so."""
        endpoint, outcome = self.endpoint(self.silent()), list[Any]()
        endpoint._reactor = clock = MemoryReactorClock()  # type: ignore[assignment]
        with capturedLogs() as events:
            endpoint.connect(Factory.forProtocol(Recorder)).addBoth(outcome.append)
            clock.advance(ATTEMPT)
        self.assertTrue(outcome[0].check(TimeoutError))
        self.assertEqual(self.told(events, LogLevel.error), [f"nothing within {ATTEMPT:g} s; trying again"])
        self.assertIsNone(endpoint.dialling_since)

    def test_cancelled(self) -> None:
        """An attempt that nobody wants any more ends without a word."""
        endpoint, outcome = self.endpoint(self.silent()), list[Any]()
        attempt = endpoint.connect(Factory.forProtocol(Recorder)).addBoth(outcome.append)
        self.assertIsNotNone(endpoint.dialling_since)
        with capturedLogs() as events:
            attempt.cancel()
        self.assertTrue(outcome[0].check(CancelledError, ConnectingCancelledError))
        self.assertEqual(self.told(events, LogLevel.error), [])
        self.assertIsNone(endpoint.dialling_since)

    def test_cancelled_within_the_hello(self) -> None:
        """The same for an attempt that waits for the relay's answer: the connection is dropped."""
        relay = self.start_relay()
        relay._sessions._accounts = Undecided()  # type: ignore[assignment]
        outcome: list[Any] = []
        attempt = self.endpoint(self.port_of(relay)).connect(Factory.forProtocol(Recorder))
        attempt.addBoth(outcome.append)
        self.until(lambda: relay._sessions._accounts.asked)  # type: ignore[attr-defined]
        attempt.cancel()
        self.assertTrue(outcome[0].check(CancelledError))
        self.until(lambda: not relay._sessions._greeting, "the relay holds the connection")

    def test_address(self) -> None:
        """A transport tells where the relay is."""

        class Link:
            peer = Visitor("192.0.2.1", 443, "memory")

        anything: Any = None
        link: Any = Link()
        transport = SessionTransport(anything, anything, link)
        self.assertEqual((transport.getPeer(), transport.getHost()), (Link.peer, Link.peer))


class Undecided:
    """Accounts that never say whose a token is."""

    asked = 0

    def authenticate(self, token: str) -> Deferred[Any]:
        """See `IAccounts.authenticate`."""
        self.asked += 1
        return Deferred()
