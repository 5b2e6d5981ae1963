"""Which names and ports a tunnel gets, and that it gives them back."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from burrow.errors import TunnelRefused
from burrow.interfaces.account import Account
from burrow.interfaces.protocol import IPublication
from burrow.names import covers
from burrow.relay import publishing
from burrow.relay.policy import WhitelistPolicy
from burrow.relay.publishing import NO_CLAIM, TAKEN, Names, Place, Ports, Publication
from burrow.relay.routing import Route, Routes, TunnelRecord
from burrow.relay.tickets import Claim

TEAM = Account("team", domains=("dev.example.com", "*.team.example", "api.relay.test"), addresses=(25_000,))
OTHER = Account("other", domains=("other.example", "*.other.test", "mine.relay.test"), addresses=(25_001,))


class Register:
    """The reservations of two accounts."""

    def owner_of(self, hostname: str) -> str | None:
        """See `IAccounts.owner_of`."""
        for account in (TEAM, OTHER):
            if any(covers(pattern, hostname) for pattern in account.domains):
                return account.name
        return None

    def owner_of_port(self, port: int) -> str | None:
        """See `IAccounts.owner_of_port`."""
        return next((a.name for a in (TEAM, OTHER) if port in a.addresses), None)


class BusyReactor(MemoryReactor):
    """A reactor on which some ports are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.busy: set[int] = set()

    def listenTCP(self, port: int, *rest: Any, **more: Any) -> Any:
        """Listen, or say that somebody else does."""
        if port in self.busy:
            raise CannotListenError("", port, OSError("in use"))
        self.busy.add(port)
        listening: Any = super().listenTCP(port, *rest, **more)
        listening.getHost().port = port
        return listening


class Base(SynchronousTestCase):
    """A relay at relay.test."""

    place = Place("relay.test", {"http": 80, "https": 443, "tls": 443}, range(20_000, 20_004))

    def setUp(self) -> None:
        """Start without tunnels."""
        self.routes, self.reactor = Routes(), BusyReactor()

    def publication(
        self, account: Account = TEAM, place: Place | None = None, claim: Claim = NO_CLAIM, **settings: Any
    ) -> Publication:
        """Begin to publish a tunnel, perhaps with a ticket's claim."""
        place = place or self.place
        accounts: Any = Register()
        tunnel = TunnelRecord(account, "http", "demo", settings, WhitelistPolicy())
        names = Names(place, self.routes, accounts)
        ports = Ports(place, accounts, self.reactor)  # type: ignore[arg-type]
        return Publication(tunnel, place, self.routes, names, ports, claim)

    def refusal(self, account: Account = TEAM, **settings: Any) -> tuple[int, str]:
        """Return code and message for a name that is refused."""
        publication = self.publication(account, **settings)
        refused = self.assertRaises(TunnelRefused, publication.hostname)
        return refused.code, str(refused)


class NameTests(Base):
    """Hostnames."""

    def test_interface(self) -> None:
        """It is a publication."""
        self.assertTrue(verifyObject(IPublication, self.publication()))

    def test_random(self) -> None:
        """A tunnel that asks for nothing gets twelve hexadecimal digits, new each time."""
        publication = self.publication()
        name = publication.hostname()
        self.assertRegex(name, r"\A[0-9a-f]{12}\.relay\.test\Z")
        self.assertEqual(publication.hostname(), name)
        self.assertNotEqual(self.publication().hostname(), name)

    def test_claimed(self) -> None:
        """A tunnel that had a random name gets that one back (row M8)."""
        publication = self.publication(claim=Claim("4be01d77.relay.test"))
        self.assertEqual(publication.publish("plain", "http"), "http://4be01d77.relay.test")
        self.assertEqual(publication.claim(), Claim("4be01d77.relay.test"))

    def test_claimed_and_taken(self) -> None:
        """A name that somebody else has meanwhile is refused, not replaced by a random one (row M8)."""
        self.publication(OTHER, subdomain="4be01d77").publish("plain", "http")
        claiming = self.publication(claim=Claim("4be01d77.relay.test"))
        self.assertEqual(self.assertRaises(TunnelRefused, claiming.publish, "plain", "http").code, TAKEN)

    def test_claimed_and_not_reserved_any_more(self) -> None:
        """A ticket does not outlive the reservation of the custom name in it."""
        claiming = self.publication(claim=Claim("old.example"))
        self.assertEqual(self.assertRaises(TunnelRefused, claiming.hostname).code, 319)
        claiming = self.publication(OTHER, claim=Claim("relay.test"))
        self.assertEqual(self.assertRaises(TunnelRefused, claiming.hostname).code, 320)

    def test_variants_of_a_name_are_one_name(self) -> None:
        """Case, a final dot and the international form lead to the same name, and to its owner."""
        owned = self.publication(subdomain="b\u00fccher")
        self.assertEqual(owned.hostname(), "xn--bcher-kva.relay.test")
        owned.publish("plain", "http")
        for variant in ("B\u00dcCHER", "xn--bcher-kva", "XN--BCHER-KVA", "bu\u0308cher"):
            other = self.publication(OTHER, subdomain=variant)
            refused = self.assertRaises(TunnelRefused, other.publish, "plain", "http")
            self.assertEqual(refused.code, TAKEN, variant)
        for variant in ("b%c3%bccher", "shop.", "shop..x", "a b", "shop\0", "*", "-", "\u3002"):
            other = self.publication(OTHER, subdomain=variant)
            refused = self.assertRaises(TunnelRefused, other.hostname)
            self.assertIn(refused.code, (321, 327, 318), variant)

    def test_a_wish_beats_a_claim(self) -> None:
        """A name that the settings ask for counts, whatever the tunnel had before."""
        publication = self.publication(claim=Claim("4be01d77.relay.test"), subdomain="shop")
        self.assertEqual(publication.hostname(), "shop.relay.test")

    def test_random_only(self) -> None:
        """A client without a token gets a random name and no other (row I1)."""
        anonymous = Account("anonymous", random_only=True)
        self.assertEqual(self.refusal(anonymous, subdomain="shop")[0], 313)
        self.assertEqual(self.refusal(anonymous, hostname="shop.example")[0], 313)
        self.assertRegex(self.publication(anonymous).hostname(), r"\A[0-9a-f]{12}\.relay\.test\Z")

    def test_random_is_free(self) -> None:
        """A random name that is taken is not given again."""
        self.routes.add("plain", "aa.relay.test", Route("http", self.publication().tunnel))
        answers = iter(["aa", "mine", "bb"])
        with patch.object(publishing.secrets, "token_hex", lambda size: next(answers)):
            self.assertEqual(self.publication().hostname(), "bb.relay.test")

    def test_random_gives_up(self) -> None:
        """Looking for a free random name comes to an end."""
        self.routes.add("tls", "aa.relay.test", Route("http", self.publication().tunnel))
        with patch.object(publishing.secrets, "token_hex", lambda size: "aa"):
            self.assertEqual(self.refusal()[0], 0)

    def test_subdomain(self) -> None:
        """A subdomain is a name below the relay's domain, in one canonical form."""
        for wanted, name in {"Shop": "shop", "a.b": "a.b", "api": "api", "bücher": "xn--bcher-kva"}.items():
            self.assertEqual(self.publication(subdomain=wanted).hostname(), f"{name}.relay.test")

    def test_subdomain_not_valid(self) -> None:
        """What cannot be a name is refused."""
        for wanted in ("a b", "-a", "a..b", ".", "a.", "a%2eb", "x" * 64, "a\nb", "a/b"):
            code, message = self.refusal(subdomain=wanted)
            self.assertEqual(code, 327, wanted)
            self.assertNotIn("\n", message)
        self.assertEqual(self.refusal(subdomain="*x")[0], 321)

    def test_subdomain_of_another(self) -> None:
        """A subdomain that another account has reserved is refused; the message says so."""
        code, message = self.refusal(subdomain="MINE")
        self.assertEqual(code, 320)
        self.assertIn("'mine.relay.test' is reserved for another account", message)

    def test_hostname(self) -> None:
        """A custom name that the account has reserved, or has a wildcard over, is given."""
        for wanted in ("dev.example.com", "Dev.Example.Com.", "a.team.example", "a.b.team.example"):
            name = wanted.lower().rstrip(".")
            self.assertEqual(self.publication(hostname=wanted).hostname(), name)

    def test_hostname_wins(self) -> None:
        """With both set, the hostname counts."""
        publication = self.publication(hostname="dev.example.com", subdomain="shop")
        self.assertEqual(publication.hostname(), "dev.example.com")

    def test_hostname_not_reserved(self) -> None:
        """A custom name has to be reserved first."""
        self.assertEqual(self.refusal(hostname="free.example.com")[0], 319)
        self.assertEqual(self.refusal(hostname="team.example")[0], 319)
        self.assertEqual(self.refusal(hostname="a b")[0], 326)

    def test_hostname_of_another(self) -> None:
        """A name that another account has reserved, or covers by a wildcard, is refused."""
        for wanted in ("other.example", "OTHER.example.", "x.y.other.test", "*.y.other.test"):
            self.assertEqual(self.refusal(hostname=wanted)[0], 320, wanted)
        any_name = Account("local", any_name=True)
        self.assertEqual(self.refusal(any_name, hostname="other.example")[0], 320)

    def test_wildcard(self) -> None:
        """A wildcard has to be reserved, or covered by one that is."""
        self.assertEqual(self.publication(hostname="*.team.example").hostname(), "*.team.example")
        self.assertEqual(self.publication(hostname="*.x.team.example").hostname(), "*.x.team.example")
        self.assertEqual(self.refusal(hostname="*.dev.example.com")[0], 318)
        self.assertEqual(self.refusal(subdomain="*.shop")[0], 318)
        self.assertEqual(self.refusal(subdomain="*")[0], 318)
        self.assertEqual(self.refusal(hostname="a.*.team.example")[0], 326)

    def test_own_names(self) -> None:
        """The relay's own names are nobody's."""
        local = Account("local", any_name=True)
        place = Place("relay.test", own_names=frozenset({"api.relay.test"}))
        self.assertEqual(self.refusal(local, hostname="relay.test")[0], 320)
        publication = self.publication(local, place, subdomain="api")
        self.assertEqual(self.assertRaises(TunnelRefused, publication.hostname).code, 320)

    def test_any_name(self) -> None:
        """An account that may have any name needs no reservation."""
        local = Account("local", any_name=True)
        for wanted in ("anything.example", "*.anything.example"):
            self.assertEqual(self.publication(local, hostname=wanted).hostname(), wanted)


class PublishTests(Base):
    """Sides of a name."""

    def test_urls(self) -> None:
        """Both sides of one name are published; default ports are left out."""
        publication = self.publication(subdomain="shop")
        self.assertEqual(publication.publish("plain", "http"), "http://shop.relay.test")
        self.assertEqual(publication.publish("tls", "https"), "https://shop.relay.test")
        self.assertEqual(publication.urls, ["http://shop.relay.test", "https://shop.relay.test"])
        self.assertIs(self.routes.tunnel("tls", "shop.relay.test"), publication.tunnel)

    def test_ports(self) -> None:
        """Ports that are not the default are part of the URL, also for a plugin's own word."""
        place = Place("localhost", {"http": 4443, "https": 4443, "tls": 443})
        publication = self.publication(place=place, subdomain="shop")
        self.assertEqual(publication.publish("plain", "http"), "http://shop.localhost:4443")
        self.assertEqual(place.url("tls", "echo", "a.localhost"), "echo://a.localhost:4443")
        self.assertEqual(place.url("tls", "tls", "a.localhost"), "tls://a.localhost")
        self.assertEqual(Place("x").url("plain", "echo", "a.x"), "echo://a.x")

    def test_taken(self) -> None:
        """A side that is served already is refused with the text and number people search for."""
        self.publication(subdomain="shop").publish("tls", "https")
        second = self.publication(OTHER, subdomain="SHOP")
        for scheme in ("https", "tls"):
            refused = self.assertRaises(TunnelRefused, second.publish, "tls", scheme)
            self.assertEqual(refused.code, 334)
            self.assertEqual(
                str(refused),
                f"The tunnel '{scheme}://shop.relay.test' is already bound to another tunnel session.",
            )
        self.assertEqual(second.publish("plain", "http"), "http://shop.relay.test")

    def test_late_edge(self) -> None:
        """An edge that publishes when the tunnel is over gets nothing: nobody would give it back."""
        publication = self.publication()
        self.successResultOf(publication.undo())
        self.assertRaises(TunnelRefused, publication.publish, "plain", "http")
        self.failureResultOf(publication.listen(Factory(), "tcp"), TunnelRefused)
        self.assertEqual((len(self.routes), self.reactor.tcpServers), (0, []))

    def test_undo(self) -> None:
        """What was published is given back, once; later holders are left alone."""
        first = self.publication(subdomain="shop")
        first.publish("plain", "http")
        first.publish("tls", "https")
        self.successResultOf(first.undo())
        self.assertEqual((len(self.routes), first.urls), (0, []))
        self.publication(OTHER, subdomain="shop").publish("tls", "tls")
        self.successResultOf(first.undo())
        self.assertEqual(self.routes.scheme("tls", "shop.relay.test"), "tls")


class PortTests(Base):
    """Public TCP ports."""

    def listen(self, account: Account = TEAM, **settings: Any) -> Deferred[str]:
        """Publish a port."""
        return self.publication(account, **settings).listen(Factory.forProtocol(Protocol), "tcp")

    def test_random(self) -> None:
        """A tunnel that asks for nothing gets a port of the range that is free, until none is."""
        self.reactor.busy = {20_001}
        urls = {self.successResultOf(self.listen()) for _ in range(3)}
        self.assertEqual(urls, {f"tcp://relay.test:{port}" for port in (20_000, 20_002, 20_003)})
        self.assertIn("No public TCP port", str(self.failureResultOf(self.listen(), TunnelRefused).value))

    def test_random_is_not_reserved(self) -> None:
        """Nobody gets a port at random that somebody has reserved."""
        self.place = Place("relay.test", tcp_ports=range(25_000, 25_003))
        self.assertEqual(self.successResultOf(self.listen()), "tcp://relay.test:25002")
        self.failureResultOf(self.listen(), TunnelRefused)

    def test_reserved(self) -> None:
        """A reserved address is given, written as HOST:PORT or PORT."""
        for wanted in ("25000", "relay.test:25000", "RELAY.test:25000", ":25000"):
            publication = self.publication(remote_addr=wanted)
            url = self.successResultOf(publication.listen(Factory(), "tcp"))
            self.assertEqual(url, "tcp://relay.test:25000")
            self.successResultOf(publication.undo())
            self.reactor.busy.clear()

    def test_not_reserved(self) -> None:
        """Any other address is refused: not reserved, another account's, another host, no port at all."""
        for wanted in ("20000", "25001", "other.test:25000", "relay.test", "0", "70000", "-1", "[::]:25000"):
            failure = self.failureResultOf(self.listen(remote_addr=wanted), TunnelRefused)
            self.assertEqual(failure.value.code, 307, wanted)
        self.assertEqual(self.reactor.tcpServers, [])

    def test_any_name(self) -> None:
        """The embedded relay's account may have any port that needs no privilege, but no reserved one."""
        local = Account("local", any_name=True)
        self.successResultOf(self.listen(local, remote_addr="9000"))
        for wanted in ("443", "25001"):
            self.failureResultOf(self.listen(local, remote_addr=wanted), TunnelRefused)

    def test_taken(self) -> None:
        """A reserved address that is in use is refused with the text people search for."""
        self.reactor.busy = {25_000}
        failure = self.failureResultOf(self.listen(remote_addr="25000"), TunnelRefused)
        self.assertEqual(failure.value.code, 334)
        self.assertIn("'tcp://relay.test:25000' is already bound", str(failure.value))

    def test_claimed(self) -> None:
        """A tunnel that had a random port gets that one back, or is refused (row M8)."""
        claim = Claim(port=20_002)
        publication = self.publication(claim=claim)
        listening = publication.listen(Factory(), "tcp")
        self.assertEqual(self.successResultOf(listening), "tcp://relay.test:20002")
        self.assertEqual(publication.claim(), claim)
        taken = self.publication(claim=claim).listen(Factory(), "tcp")
        self.assertEqual(self.failureResultOf(taken, TunnelRefused).value.code, TAKEN)

    def test_claim_out_of_range(self) -> None:
        """A port that the relay does not give out any more cannot be claimed."""
        for port in (443, 25_001):
            listening = self.publication(claim=Claim(port=port)).listen(Factory(), "tcp")
            self.assertEqual(self.failureResultOf(listening, TunnelRefused).value.code, 307)

    def test_interface(self) -> None:
        """Ports listen at the interface that the relay was given."""
        self.place = Place("relay.test", interface="::")
        self.successResultOf(self.listen())
        self.assertEqual(self.reactor.tcpServers[0][3], "::")


class SocketTests(TestCase):
    """Ports on real sockets."""

    @inlineCallbacks
    def test_undo(self) -> Generator[Deferred[Any], Any, None]:
        """A port that was given back is closed when the Deferred fires."""
        net: Any = reactor
        accounts: Any = Register()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            number = probe.getsockname()[1]
        place = Place("relay.test", tcp_ports=range(number, number + 1), interface="127.0.0.1")
        tunnel = TunnelRecord(TEAM, "tcp", "ssh", {}, WhitelistPolicy())
        routes = Routes()
        ports = Ports(place, accounts, net)
        publication = Publication(tunnel, place, routes, Names(place, routes, accounts), ports)
        url = yield publication.listen(Factory.forProtocol(Protocol), "tcp")
        self.assertEqual(url, f"tcp://relay.test:{number}")
        yield publication.undo()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", number), 5)
