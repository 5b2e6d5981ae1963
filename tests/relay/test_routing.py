"""Names lead to tunnels, and tunnels to whoever serves them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import SessionLost, TunnelOffline, TunnelRefused, VisitorRefused
from burrow.interfaces.account import Account
from burrow.interfaces.stream import Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.names import covers
from burrow.relay.routing import Route, Routes, State, TunnelRecord

VISITOR = Visitor("198.51.100.7", 4000, "tcp", "20000")


class Serving:
    """A binding that writes down who came."""

    def __init__(self, lost: Exception | None = None) -> None:
        self.visitors: list[Visitor] = []
        self.lost = lost

    def endpoint(self, visitor: Visitor) -> Any:
        """Return the way to it."""
        return Way(self, visitor)


class Way:
    """How one visitor is connected to a binding."""

    def __init__(self, serving: Serving, visitor: Visitor) -> None:
        self.serving, self.visitor = serving, visitor

    def connect(self, factory: IProtocolFactory) -> Any:
        """Serve, unless lost."""
        if self.serving.lost is not None:
            return fail(self.serving.lost)
        self.serving.visitors.append(self.visitor)
        return succeed(factory.buildProtocol(self.visitor))


class Doorman:
    """A policy that admits or refuses everybody."""

    refuses = False

    def admit(self, account: Account, visitor: Visitor) -> None:
        """Admit or refuse."""
        if self.refuses:
            raise VisitorRefused(f"not {visitor}")


def record(*bindings: Serving) -> TunnelRecord:
    """Return a tunnel served by ``bindings``, the newest first."""
    tunnel = TunnelRecord(Account("team"), "tcp", "ssh", {"remote_addr": None}, Doorman())  # type: ignore[arg-type]
    for binding in reversed(bindings):
        tunnel.attach(binding)
    return tunnel


class TunnelRecordTests(SynchronousTestCase):
    """A tunnel and who serves it."""

    def connect(self, tunnel: TunnelRecord) -> Any:
        """Let a visitor come."""
        return tunnel.connect(Factory.forProtocol(Protocol), VISITOR, 5.0)

    def test_interface(self) -> None:
        """A record is a tunnel of its account."""
        tunnel = record()
        self.assertTrue(verifyObject(ITunnel, tunnel))
        self.assertEqual((tunnel.account, tunnel.protocol, tunnel.name), ("team", "tcp", "ssh"))

    def test_newest_serves(self) -> None:
        """The binding that was attached last serves; when it is gone the one before does."""
        old, new = Serving(), Serving()
        tunnel = record(new, old)
        self.successResultOf(self.connect(tunnel))
        self.assertEqual((new.visitors, old.visitors), ([VISITOR], []))
        tunnel.detach(new)
        tunnel.detach(new)
        self.successResultOf(self.connect(tunnel))
        self.assertEqual(old.visitors, [VISITOR])

    def test_going(self) -> None:
        """A session that is going does not cost the visitor anything while another one serves."""
        old = Serving()
        self.successResultOf(self.connect(record(Serving(SessionLost("going")), old)))
        self.assertEqual(old.visitors, [VISITOR])

    def test_offline(self) -> None:
        """A tunnel that nobody serves fails at once."""
        self.failureResultOf(self.connect(record()), TunnelOffline)
        self.failureResultOf(self.connect(record(Serving(SessionLost("going")))), TunnelOffline)
        self.failureResultOf(self.connect(record(Serving(TunnelRefused("full")))), TunnelOffline)

    def test_policy_first(self) -> None:
        """A visitor who is not admitted reaches nobody, and learns nothing of who is there."""
        serving = Serving()
        tunnel = record(serving)
        tunnel._policy.refuses = True  # type: ignore[attr-defined]
        self.failureResultOf(self.connect(tunnel), VisitorRefused)
        self.assertEqual(serving.visitors, [])

    def test_state(self) -> None:
        """A tunnel is online while somebody serves it."""
        tunnel, serving = record(), Serving()
        self.assertIs(tunnel.state, State.OFFLINE)
        tunnel.attach(serving)
        self.assertIs(tunnel.state, State.ONLINE)


NAMES = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4).map(".".join)


class RoutesTests(SynchronousTestCase):
    """What a name leads to."""

    def setUp(self) -> None:
        """Start without routes."""
        self.routes = Routes()

    def add(self, name: str, scheme: str = "https", side: str = "tls", online: bool = True) -> Route:
        """Bind a name."""
        route = Route(scheme, record(*[Serving()] * online))
        self.routes.add(side, name, route)
        return route

    def test_sides(self) -> None:
        """The two sides of a name are bound separately."""
        route = self.add("shop.relay.test")
        self.assertIs(self.routes.tunnel("tls", "shop.relay.test"), route.tunnel)
        self.assertEqual(self.routes.scheme("tls", "shop.relay.test"), "https")
        self.assertIsNone(self.routes.tunnel("plain", "shop.relay.test"))
        self.assertEqual(self.routes.scheme("plain", "shop.relay.test"), "")

    def test_most_specific(self) -> None:
        """An exact name wins over a wildcard, a longer wildcard over a shorter one, at any depth."""
        wide, narrow, exact = self.add("*.test"), self.add("*.b.test"), self.add("a.b.test")
        for name, route in {
            "a.b.test": exact,
            "x.b.test": narrow,
            "x.y.b.test": narrow,
            "b.test": wide,
            "x.y.z.test": wide,
        }.items():
            self.assertIs(self.routes.find("tls", name), route, name)
        self.assertIsNone(self.routes.find("tls", "test"))

    def test_online_wins(self) -> None:
        """The most specific tunnel that somebody serves wins; if none is, the most specific one."""
        self.add("*.test", online=False)
        exact = self.add("a.b.test", online=False)
        self.assertIs(self.routes.find("tls", "a.b.test"), exact)
        served = self.add("*.b.test")
        self.assertIs(self.routes.find("tls", "a.b.test"), served)

    def test_taken(self) -> None:
        """A name that is bound cannot be bound over; nor is there a third side."""
        self.add("a.test")
        self.assertRaises(ValueError, self.add, "a.test", "tls")
        self.assertRaises(ValueError, self.add, "b.test", "http", "top")

    def test_remove(self) -> None:
        """A name that was given back is free; another holder of it is not disturbed."""
        old = self.add("*.test")
        self.routes.remove("tls", "*.test", old)
        new = self.add("*.test")
        self.routes.remove("tls", "*.test", old)
        self.assertIs(self.routes.find("tls", "a.test"), new)
        self.routes.remove("tls", "*.test", new)
        self.assertEqual((len(self.routes), self.routes.find("tls", "a.test")), (0, None))

    @given(st.sets(st.tuples(st.booleans(), NAMES)), NAMES)
    def test_any_names(self, bound: set[tuple[bool, str]], name: str) -> None:
        """Whatever is bound, a name leads to the longest pattern that covers it, or nowhere."""
        routes = Routes()
        patterns = ["*." * wild + rest for wild, rest in bound]
        for pattern in patterns:
            routes.add("plain", pattern, Route(pattern, record(Serving())))
        covering = [pattern for pattern in patterns if covers(pattern, name)]
        best = name if name in covering else max(covering, key=len, default="")
        self.assertEqual(routes.scheme("plain", name), best)
