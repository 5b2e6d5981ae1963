"""Connections of clients that have not said who they are, at the relay."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import SessionRefused
from burrow.interfaces.account import Account
from burrow.interfaces.listener import Arrival
from burrow.net.listening import SOURCE_LIMIT
from burrow.net.tls import SESSION_ALPN, server_context
from burrow.relay.sessions import House, SessionClaim, Sessions
from burrow.session.link import HELLO_TIMEOUT, Link
from tests.net.certificates import server
from tests.session.peer import FakeTransport
from tests.session.test_handshake import hello


class OneAccount:
    """Knows one token."""

    def authenticate(self, token: str) -> Deferred[Account]:
        """See `IAccounts.authenticate`."""
        if token == "sesame":
            return succeed(Account("team"))
        return fail(SessionRefused("The authtoken is not valid.", 107))


class GreetingTests(SynchronousTestCase):
    """How many may greet at a time."""

    def setUp(self) -> None:
        """Admit three at a time."""
        self.clock = Clock()
        house = House("relay.test", (), 100, 100, greeting=3)
        unused: Any = None
        accounts: Any = OneAccount()
        self.sessions = Sessions(self.clock, lambda call: None, accounts, house, unused)

    def arrive(self, source: str = "192.0.2.1") -> Link:
        """Connect one more client."""
        link = self.sessions.link(source)
        link.makeConnection(FakeTransport())
        return link

    def test_no_more_than_the_limit(self) -> None:
        """The relay takes no newcomer as a client while too many have not said who they are."""
        links = [self.arrive(f"192.0.2.{number}") for number in range(3)]
        self.assertFalse(self.sessions.takes("192.0.2.9"))
        links[0].connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.sessions.takes("192.0.2.9"))

    def test_silent_ones_go(self) -> None:
        """One that says nothing is gone after ten seconds, and its place is free."""
        links = [self.arrive() for _ in range(3)]
        self.clock.advance(HELLO_TIMEOUT)
        for link in links:
            self.assertTrue(link.transport.aborted)  # type: ignore[union-attr]
            link.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.sessions.takes("192.0.2.1"))

    def test_sessions_do_not_count(self) -> None:
        """Who has said who he is makes room for others at once."""
        for _ in range(3):
            self.arrive().dataReceived(hello())
        self.assertEqual(len(self.sessions), 1)  # the same client came three times
        self.assertTrue(self.sessions.takes("192.0.2.1"))

    def test_refused_ones_count_until_they_are_gone(self) -> None:
        """A wrong token frees its place when its connection is closed, once."""
        links = [self.arrive() for _ in range(3)]
        links[0].dataReceived(hello(token="wrong"))
        self.assertFalse(self.sessions.takes("192.0.2.1"))
        links[0].connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.sessions.takes("192.0.2.1"))
        self.arrive()
        self.assertFalse(self.sessions.takes("192.0.2.1"))

    def test_one_source(self) -> None:
        """One source does not take the places of all others."""
        house = House("relay.test", (), 100, 100)
        unused: Any = None
        sessions = Sessions(self.clock, lambda call: None, unused, house, unused)
        for _ in range(SOURCE_LIMIT):
            sessions.link("192.0.2.1")
        self.assertFalse(sessions.takes("192.0.2.1"))
        self.assertTrue(sessions.takes("192.0.2.2"))

    def test_claim(self) -> None:
        """A newcomer over the limit is claimed by nobody, so it is closed with an alert."""
        certificates: Any = Trusting()
        claim = SessionClaim(self.sessions, certificates, "relay.test", self.clock)
        peer, host = IPv4Address("TCP", "192.0.2.1", 4711), IPv4Address("TCP", "192.0.2.2", 443)
        arrival = Arrival(peer, host, b"", True, "relay.test", (SESSION_ALPN,))
        self.assertIsNotNone(claim.claim(arrival))
        for _ in range(3):
            self.arrive()
        self.assertIsNone(claim.claim(arrival))


class Trusting:
    """Has a TLS context for every name."""

    def session_context(self, hostname: str) -> Any:
        """See `Certificates.session_context`."""
        return server_context(server(hostname), (SESSION_ALPN,))
