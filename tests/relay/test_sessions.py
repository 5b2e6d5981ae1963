"""The relay's side of sessions: what is published in them, and who may have one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor
from twisted.protocols.amp import CommandLocator
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.discovery import discover
from burrow.errors import ConfigError, SessionLost, SessionRefused
from burrow.interfaces.account import Account
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IPublication
from burrow.net.tls import ServerContext
from burrow.relay.client_session import METADATA_LIMIT, NAME_LIMIT, ClientSession, Publishing
from burrow.relay.policy import WhitelistPolicy
from burrow.relay.publishing import Names, Place, Ports, Publication
from burrow.relay.routing import Routes, TunnelRecord
from burrow.relay.sessions import BYE_TIMEOUT, House, SessionClaim, Sessions
from burrow.relay.tickets import Claim, Tickets
from burrow.session.commands import Refusal
from burrow.session.handshake import Offer
from burrow.wire.frames import ByeCode

TEAM = Account("team")
ONE = b"1" * 16
PROTOCOLS = discover().protocols
TICKETS = Tickets(b"k" * 32, lambda: 1_700_000_000.0)


class FakeSession:
    """A session that ends when it is told, and whose transport goes when it is told."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Exception]] = []
        self.code: int | None = None
        self.gone: Deferred[None] = Deferred()

    def __str__(self) -> str:
        return "a session"

    def ended(self) -> Deferred[Exception]:
        """See `Session.ended`."""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def closed(self) -> Deferred[None]:
        """See `Session.closed`."""
        return self.gone

    def close(self, code: int = 0, text: str = "") -> None:
        """See `Session.close`."""
        self.code = code
        self.end(text)

    def end(self, why: str = "lost") -> None:
        """Be over."""
        waiting, self.waiting = self.waiting, []
        for deferred in waiting:
            deferred.callback(SessionLost(why))


class NobodyOwns:
    """Accounts without reservations."""

    def __init__(self, accounts: Mapping[str, Account]) -> None:
        self.accounts = accounts

    def authenticate(self, token: str) -> Deferred[Account]:
        """See `IAccounts.authenticate`."""
        if token in self.accounts:
            return succeed(self.accounts[token])
        return fail(SessionRefused("The authtoken is not valid.", 107))

    def owner_of(self, hostname: str) -> str | None:
        """See `IAccounts.owner_of`."""

    def owner_of_port(self, port: int) -> str | None:
        """See `IAccounts.owner_of_port`."""


class NameEdge:
    """An edge that takes both sides of a name, and then does what the test wants."""

    def __init__(self) -> None:
        self.outcome: Any = None

    def bind(self, publication: IPublication) -> Any:
        """See `IEdge.bind`."""
        publication.publish("plain", "http")
        publication.publish("tls", "https")
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Base(SynchronousTestCase):
    """One session of one account."""

    account = TEAM
    tunnels = 3

    def setUp(self) -> None:
        """Begin the session."""
        self.routes, self.reactor = Routes(), MemoryReactor()
        self.edge = NameEdge()
        self.client = ClientSession(self.account, ONE, self.publishing())
        self.client.session = self.session = FakeSession()  # type: ignore[assignment]

    def publishing(self) -> Publishing:
        """Return what publishing takes; the protocol ``http`` has the test's edge."""
        place = Place("relay.test", {"http": 80, "https": 443}, range(20_000, 20_004))
        accounts: Any = NobodyOwns({})
        names = Names(place, self.routes, accounts)
        ports = Ports(place, accounts, self.reactor)  # type: ignore[arg-type]

        def publication(tunnel: TunnelRecord, claim: Claim) -> Publication:
            return Publication(tunnel, place, self.routes, names, ports, claim)

        edges: Any = {"http": self.edge}
        return Publishing(PROTOCOLS, edges, WhitelistPolicy(), publication, TICKETS, self.tunnels)

    def bind(self, number: int = 1, settings: object = None, **changes: Any) -> Deferred[dict[str, Any]]:
        """Ask for a tunnel."""
        settings = {"subdomain": f"name{number}"} if settings is None else settings
        arguments: dict[str, Any] = {
            "tunnel": number,
            "protocol": "http",
            "name": "web",
            "settings": settings if isinstance(settings, bytes) else json.dumps(settings).encode(),
            "metadata": "",
            "ticket": b"",
        }
        return self.client.bind(**{**arguments, **changes})

    def refusal(self, binding: Deferred[dict[str, Any]]) -> tuple[str, int]:
        """Return message and code of a tunnel that is refused."""
        refused: Refusal = self.failureResultOf(binding, Refusal).value
        return refused.parts()


class BindTests(Base):
    """Tunnels that can be had, and those that cannot."""

    def test_bound(self) -> None:
        """The client gets the URLs, and a ticket that claims the name back."""
        answer = self.successResultOf(self.bind())
        self.assertEqual(answer["urls"], ["http://name1.relay.test", "https://name1.relay.test"])
        self.assertEqual(TICKETS.read("team", answer["ticket"]), Claim("name1.relay.test", 0))
        self.assertIsNotNone(self.routes.exactly("plain", "name1.relay.test"))

    def test_claimed(self) -> None:
        """With its ticket a tunnel gets the random name that it had (row M8)."""
        ticket = TICKETS.write("team", Claim("4be01d77.relay.test"))
        answer = self.successResultOf(self.bind(settings={"bind_tls": "both"}, ticket=ticket))
        self.assertEqual(answer["urls"][0], "http://4be01d77.relay.test")

    def test_a_forged_ticket_claims_nothing(self) -> None:
        """It is passed over: the tunnel gets a new random name."""
        answer = self.successResultOf(self.bind(settings={"bind_tls": "both"}, ticket=b"x" * 80))
        self.assertRegex(answer["urls"][0], r"^http://[0-9a-f]{12}\.relay\.test$")

    def test_unbound(self) -> None:
        """A name is free again when its tunnel is unbound; once more changes nothing."""
        self.successResultOf(self.bind())
        for _ in range(2):
            self.assertEqual(self.successResultOf(self.client.unbind(1)), {})
        self.assertEqual(len(self.routes), 0)
        self.successResultOf(self.bind())

    def test_unknown_protocol(self) -> None:
        """The refusal names what was asked for and what there is (code 332)."""
        message, code = self.refusal(self.bind(protocol="gopher"))
        self.assertEqual(code, 332)
        self.assertIn("'gopher'", message)
        self.assertIn("http, tls, tcp", message)

    def test_settings_that_are_no_json(self) -> None:
        """They are refused, whatever they are."""
        for bad in (b"", b"{", b"[]", b"7", b"\xff", b"[" * 60_000, b'{"subdomain": [NaN], "x": 1}'):
            message, _ = self.refusal(self.bind(settings=bad))
            self.assertIn("settings", message)
            self.assertLess(len(message), 300)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_settings_that_do_not_fit(self) -> None:
        """The refusal names the setting."""
        for bad in ({"bind_tls": "perhaps"}, {"frob": 1}):
            message, _ = self.refusal(self.bind(settings=bad))
            self.assertIn(next(iter(bad)), message)

    def test_long_texts(self) -> None:
        """Metadata and name have limits (row F9)."""
        self.successResultOf(self.bind(1, metadata="x" * METADATA_LIMIT, name="n" * NAME_LIMIT))
        message, code = self.refusal(self.bind(2, metadata="x" * (METADATA_LIMIT + 1)))
        self.assertEqual((code, str(METADATA_LIMIT) in message), (100, True))
        self.assertEqual(self.refusal(self.bind(2, name="n" * (NAME_LIMIT + 1)))[1], 100)

    def test_numbers(self) -> None:
        """A number in use, or out of range, is refused."""
        self.successResultOf(self.bind(1))
        for number in (1, 0, -1, 2**63):
            self.assertIn(str(number), self.refusal(self.bind(number, settings={"subdomain": "x"}))[0])

    def test_too_many(self) -> None:
        """A session has so many tunnels and no more (code 324); one that ends makes room."""
        for number in range(1, self.tunnels + 1):
            self.successResultOf(self.bind(number))
        self.assertEqual(self.refusal(self.bind(9))[1], 324)
        self.successResultOf(self.client.unbind(1))
        self.successResultOf(self.bind(9))

    def test_refused_ones_leave_nothing(self) -> None:
        """A refused tunnel keeps no name and no number."""
        self.successResultOf(self.bind(1, {"subdomain": "taken"}))
        self.assertEqual(self.refusal(self.bind(2, {"subdomain": "taken"}))[1], 334)
        self.assertEqual(len(self.routes), 2)
        self.successResultOf(self.bind(2))


class LimitedTests(Base):
    """An account with limits of its own."""

    account = Account("small", limits={"tunnels": 1})

    def test_its_limit_counts(self) -> None:
        """The account's limit goes before the relay's."""
        self.successResultOf(self.bind(1))
        message, code = self.refusal(self.bind(2))
        self.assertEqual((message, code), ("A session may not have more than 1 tunnels.", 324))


class FailingEdgeTests(Base):
    """An edge, perhaps somebody else's, that fails."""

    def test_an_unexpected_error_costs_that_tunnel_only(self) -> None:
        """It is logged as a failure and refused; names are given back, and the session stays."""
        self.successResultOf(self.bind(1))
        self.edge.outcome = ZeroDivisionError("in the plugin")
        message, _ = self.refusal(self.bind(2))
        self.assertIn("'http'", message)
        self.assertNotIn("in the plugin", message)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((len(self.routes), self.session.code), (2, None))

    def test_a_late_one_too(self) -> None:
        """The same for a Deferred that fails."""
        self.edge.outcome = Deferred()
        binding = self.bind(1)
        self.edge.outcome.errback(ZeroDivisionError())
        self.refusal(binding)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.routes), 0)

    def test_a_cancelled_one(self) -> None:
        """A Deferred that is cancelled refuses the tunnel."""
        self.edge.outcome = Deferred()
        binding = self.bind(1)
        self.edge.outcome.cancel()
        self.refusal(binding)
        self.assertEqual(len(self.routes), 0)

    def test_what_the_operator_has_to_mend(self) -> None:
        """An error with a text for people is told to the client's user."""
        self.edge.outcome = ConfigError("there is no certificate for 'x'")
        self.assertEqual(self.refusal(self.bind(1)), ("there is no certificate for 'x'", 0))


class EndTests(Base):
    """The session ends."""

    def test_everything_is_given_back(self) -> None:
        """Names are free when the session is over."""
        self.successResultOf(self.bind(1))
        self.successResultOf(self.bind(2))
        self.successResultOf(self.client.ended())
        self.assertEqual(len(self.routes), 0)

    def test_while_binding(self) -> None:
        """A tunnel that comes up behind the end of its session leaves nothing."""
        self.edge.outcome = Deferred()
        binding = self.bind(1)
        self.successResultOf(self.client.ended())
        self.edge.outcome.callback(None)
        self.refusal(binding)
        self.assertEqual(len(self.routes), 0)

    def test_unbound_while_binding(self) -> None:
        """A number that is unbound and used anew meanwhile belongs to the new tunnel."""
        slow: Deferred[None] = Deferred()
        self.edge.outcome = slow
        first = self.bind(1, {"subdomain": "first"})
        self.successResultOf(self.client.unbind(1))
        self.edge.outcome = None
        self.successResultOf(self.bind(1, {"subdomain": "second"}))
        slow.callback(None)
        self.refusal(first)
        self.assertIsNone(self.routes.exactly("plain", "first.relay.test"))
        self.assertIsNotNone(self.routes.exactly("plain", "second.relay.test"))
        self.successResultOf(self.client.ended())
        self.assertEqual(len(self.routes), 0)


class AdmissionCase(Base):
    """A relay's sessions."""

    def setUp(self) -> None:
        """Make a relay's sessions: ``team`` may have two, ``small`` one."""
        super().setUp()
        self.clock: Any = Clock()
        small = Account("small", limits={"sessions": 1, "streams": 7})
        accounts: Any = NobodyOwns({"t": TEAM, "s": small})
        house = House("relay.test", ("us", "eu"), sessions=2, streams=50)
        self.sessions = Sessions(self.clock, lambda call: None, accounts, house, self.publishing())

    def admit(self, token: str = "t", instance: bytes = ONE, region: str = "us") -> Deferred[Any]:
        """Ask for a session; if it is admitted, it begins."""
        offer = Offer("test/1", instance, "token", token, region)
        link: Any = None
        admitting = Deferred.fromCoroutine(self.sessions._admit(offer, link))

        def begin(admitted: tuple[Any, CommandLocator]) -> Any:
            session: Any = FakeSession()
            self.sessions._established(session, offer, admitted[1])
            return admitted[0], session

        return admitting.addCallback(begin)

    def refused(self, **offer: Any) -> int:
        """Return the code of a session that is refused."""
        code: int = self.failureResultOf(self.admit(**offer), SessionRefused).value.code
        return code


class AdmissionTests(AdmissionCase):
    """Who may have a session."""

    def test_welcome(self) -> None:
        """A client is told account, domain, region and what it may do."""
        welcome, _ = self.successResultOf(self.admit())
        self.assertEqual((welcome.account, welcome.domain, welcome.region), ("team", "relay.test", "us"))
        self.assertEqual(welcome.promises.streams, 50)

    def test_limits_of_an_account(self) -> None:
        """What an account may have goes before what the relay allows."""
        welcome, _ = self.successResultOf(self.admit("s"))
        self.assertEqual(welcome.promises.streams, 7)
        self.assertEqual(self.refused(token="s", instance=b"2" * 16), 108)

    def test_too_many(self) -> None:
        """One session more than the limit is refused (code 108); other accounts do not notice."""
        for instance in (b"1" * 16, b"2" * 16):
            self.successResultOf(self.admit(instance=instance))
        self.assertEqual(self.refused(instance=b"3" * 16), 108)
        self.successResultOf(self.admit("s"))
        self.assertEqual(len(self.sessions), 3)

    def test_an_orphan_is_replaced(self) -> None:
        """The same client ends its own old session, and needs no room for the new one."""
        _, old = self.successResultOf(self.admit(instance=b"1" * 16))
        self.successResultOf(self.admit(instance=b"2" * 16))
        self.successResultOf(self.admit(instance=b"1" * 16))
        self.assertEqual((old.code, len(self.sessions)), (ByeCode.REPLACED, 2))

    def test_nobody_replaces_a_session_of_others(self) -> None:
        """The same number with another account is another client."""
        _, old = self.successResultOf(self.admit("t"))
        self.successResultOf(self.admit("s"))
        self.assertEqual((old.code, len(self.sessions)), (None, 2))

    def test_region(self) -> None:
        """A region that is not served is refused (code 322)."""
        self.assertEqual(self.refused(region="jp"), 322)

    def test_stop(self) -> None:
        """Every session is told; it is over when their transports are gone."""
        _, session = self.successResultOf(self.admit())
        stopping = self.sessions.stop()
        self.assertEqual((session.code, len(self.sessions)), (ByeCode.STOPPING, 0))
        self.assertNoResult(stopping)
        session.gone.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_hangs_does_not_hold_up_a_stop(self) -> None:
        """A client that takes nothing more delays the stop for a second, not longer."""
        self.successResultOf(self.admit())
        stopping = self.sessions.stop()
        self.clock.advance(BYE_TIMEOUT)
        self.successResultOf(stopping)

    def test_none_behind_a_stop(self) -> None:
        """A session that was about to begin is refused for now; after a start they are admitted again."""
        self.successResultOf(self.sessions.stop())
        self.assertEqual(self.refused(), 0)
        self.sessions.start()
        self.successResultOf(self.admit())


class NoCertificates:
    """Certificates for one name."""

    def session_context(self, hostname: str) -> Any:
        """See `Certificates.session_context`."""
        if hostname != "relay.test":
            raise ConfigError(f"there is no certificate for {hostname!r}")
        return ServerContext(SSL.Context(SSL.TLS_METHOD))


class ClaimTests(AdmissionCase):
    """Which newcomers at a shared port are sessions."""

    def claim(self, name: str, *alpn: bytes) -> bool:
        """Tell whether a newcomer is taken."""
        certificates: Any = NoCertificates()
        claim = SessionClaim(self.sessions, certificates, "relay.test", self.clock)
        self.assertTrue(verifyObject(IListenerClaim, claim))
        here = IPv4Address("TCP", "192.0.2.1", 443)
        return claim.claim(Arrival(here, here, b"", True, name, alpn)) is not None

    def test_by_alpn(self) -> None:
        """Only who speaks the session's protocol is taken, with or without the relay's name."""
        self.assertTrue(self.claim("relay.test", b"burrow/1"))
        self.assertTrue(self.claim("", b"h2", b"burrow/1"))
        self.assertFalse(self.claim("relay.test", b"h2"))
        self.assertFalse(self.claim("relay.test"))

    def test_no_certificate(self) -> None:
        """A name without a certificate is left to others."""
        self.assertFalse(self.claim("elsewhere.test", b"burrow/1"))
