"""What edges are given, and edges that cannot be made."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from burrow.discovery import discover
from burrow.interfaces.account import Account
from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.protocol import IEdgeHost
from burrow.net.listening import Claims
from burrow.relay.edges import EdgeHost, make_edges
from burrow.relay.policy import WhitelistPolicy
from burrow.relay.routing import Route, Routes, TunnelRecord

PROTOCOLS = discover().protocols
HERE = IPv4Address("TCP", "192.0.2.1", 443)


@implementer(IListenerClaim)
class Greedy:
    """Takes every newcomer without TLS."""

    tls = False

    def __init__(self, kind: str = "greedy") -> None:
        self.kind, self.factory = kind, Factory()

    def claim(self, arrival: Arrival) -> Factory:
        """See `IListenerClaim.claim`."""
        return self.factory


class Plugin:
    """A protocol of somebody else's; its edge claims newcomers, and then perhaps fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.mine = error, Greedy()
        self.host: Any = None

    def edge(self, host: Any) -> Any:
        """See `ITunnelProtocol.edge`."""
        self.host = host
        host.claim(self.mine)
        if self.error is not None:
            raise self.error
        return self


class Base(SynchronousTestCase):
    """A relay without listeners."""

    def setUp(self) -> None:
        """Make what edges are given."""
        self.claims, self.routes = Claims(), Routes()
        certificates: Any = None
        self.host = EdgeHost(Clock(), self.claims, self.routes, certificates)

    def taker(self, *kinds: str) -> object:
        """Return who takes a newcomer without TLS."""
        return self.claims.find(Arrival(HERE, HERE, b"hello"), kinds)


class EdgeHostTests(Base):
    """What an edge is given."""

    def test_interface(self) -> None:
        """It is what edges expect."""
        self.assertTrue(verifyObject(IEdgeHost, self.host))

    def test_claims(self) -> None:
        """A claim counts from then on."""
        claim = Greedy()
        self.host.claim(claim)
        self.assertIs(self.taker("greedy"), claim.factory)

    def test_routes(self) -> None:
        """An edge finds the tunnel of a name, and what is served there."""
        tunnel = TunnelRecord(Account("team"), "http", "web", {}, WhitelistPolicy())
        self.routes.add("plain", "web.relay.test", Route("http", tunnel))
        self.assertIs(self.host.route("plain", "web.relay.test"), tunnel)
        self.assertEqual(self.host.scheme("plain", "web.relay.test"), "http")
        self.assertIsNone(self.host.route("tls", "web.relay.test"))
        self.assertEqual(self.host.scheme("tls", "web.relay.test"), "")


class MakingTests(Base):
    """Edges are made when the relay starts."""

    def make(self, **plugins: Any) -> dict[str, Any]:
        """Make edges of the built-in protocols and of plugins."""
        return make_edges({**plugins, **PROTOCOLS}, self.host)

    def test_every_protocol_has_one(self) -> None:
        """One edge for each, by its name."""
        self.assertEqual(list(self.make()), list(PROTOCOLS))

    def test_a_failing_plugin_is_named_and_skipped(self) -> None:
        """One line says which and why; the others are made."""
        with capturedLogs() as events:
            made = self.make(broken=Plugin(RuntimeError("no such\ntable")))
        self.assertEqual(list(made), list(PROTOCOLS))
        (told,) = [event for event in events if event["log_level"] >= LogLevel.warn]
        self.assertEqual((told["name"], told["problem"]), ("broken", "RuntimeError: no such table"))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_nothing_of_a_failed_edge_stays(self) -> None:
        """What it had claimed goes to somebody else."""
        broken = Plugin(RuntimeError())
        self.make(broken=broken)
        self.assertIsNone(self.taker("greedy"))

    def test_claims_of_a_plugin(self) -> None:
        """What an edge claims while it is made counts when it is, and later claims at once."""
        plugin = Plugin()
        self.make(fine=plugin)
        self.assertIs(self.taker("greedy"), plugin.mine.factory)
        late = Greedy("late")
        plugin.host.claim(late)
        self.assertIs(self.taker("late"), late.factory)
