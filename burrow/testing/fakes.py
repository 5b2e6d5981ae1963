"""Stand-ins for what a tunnel protocol is given, joined to a test by in-memory sockets."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer

from burrow.interfaces.listener import IListenerClaim
from burrow.interfaces.protocol import IEdgeHost, IForwarderHost, IPublication
from burrow.interfaces.stream import Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.interfaces.upstream import IUpstream
from burrow.testing.memory import CAPACITY, Wire, connect

FarSide = Callable[[], IProtocol]


class _Dialled:
    """Something that joins a factory's protocol to one of the test's, now or when told.

    Attributes:
        wires: A wire for every connection made, end ``a`` the dialler's.
        error: What `connect` fails with, or ``None``.
        held: Whether connecting waits for `release`.
        cancelled: How many waiting connects were cancelled.
    """

    def __init__(self, far_side: FarSide, capacity: int = CAPACITY) -> None:
        """Join every connection to a protocol that ``far_side`` makes."""
        self._far_side, self._capacity = far_side, capacity
        self.wires: list[Wire] = []
        self.error: Exception | None = None
        self.held = False
        self.cancelled = 0
        self._waiting: list[tuple[Deferred[IProtocol], IProtocolFactory, IAddress]] = []

    def _dial(self, factory: IProtocolFactory, address: IAddress) -> Deferred[IProtocol]:
        if self.held:
            waiting: Deferred[IProtocol] = Deferred(self._withdraw)
            self._waiting.append((waiting, factory, address))
            return waiting
        if self.error is not None:
            return fail(self.error)
        return succeed(self._join(factory, address))

    def release(self) -> None:
        """Make the connections that wait, or fail them if ``error`` is set; hold no more."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for deferred, factory, address in waiting:
            if self.error is not None:
                deferred.errback(self.error)
            else:
                deferred.callback(self._join(factory, address))

    def _join(self, factory: IProtocolFactory, address: IAddress) -> IProtocol:
        protocol = factory.buildProtocol(address)
        assert protocol is not None, f"{factory} declined {address}"  # noqa: S101
        self.wires.append(connect(protocol, self._far_side(), self._capacity, stops=self.stops))
        return protocol

    stops = False

    def _withdraw(self, deferred: Deferred[IProtocol]) -> None:
        self.cancelled += 1
        self._waiting = [entry for entry in self._waiting if entry[0] is not deferred]


@implementer(ITunnel)
class FakeTunnel(_Dialled):
    """A tunnel whose streams end at protocols of the test.

    Attributes:
        visitors: Everybody that was connected or tried to, with the deadline given.
    """

    stops = True

    def __init__(self, far_side: FarSide, capacity: int = CAPACITY, protocol: str = "tcp") -> None:
        """Join every stream to a protocol that ``far_side`` makes."""
        super().__init__(far_side, capacity)
        self.account, self.protocol, self.name = "team", protocol, "demo"
        self.settings: dict[str, object] = {}
        self.visitors: list[tuple[Visitor, float]] = []

    def connect(self, factory: IProtocolFactory, visitor: Visitor, deadline: float) -> Deferred[IProtocol]:
        """See `ITunnel.connect`."""
        self.visitors.append((visitor, deadline))
        return self._dial(factory, visitor)


@implementer(IUpstream)
class FakeUpstream(_Dialled):
    """A local service that is a protocol of the test."""

    def __init__(self, far_side: FarSide, capacity: int = CAPACITY, address: str = "localhost:22") -> None:
        """Join every connection to a protocol that ``far_side`` makes."""
        super().__init__(far_side, capacity)
        self.address = address

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IUpstream.connect`."""
        return self._dial(factory, Visitor("127.0.0.1", 22, "memory"))


@implementer(IEdgeHost)
class FakeEdgeHost:
    """A relay with a clock to advance and routes to set.

    Attributes:
        clock: A `Clock`; nothing happens until the test advances it.
        claims: What the edge claimed, in order.
        routes: ``(side, hostname)`` to scheme and tunnel, exact names only.
        ended: ``(hostname, protocols)`` of every `end_tls`.
    """

    def __init__(self) -> None:
        """Start without claims and routes."""
        self.clock: IReactorTime = Clock()
        self.claims: list[IListenerClaim] = []
        self.routes: dict[tuple[str, str], tuple[str, ITunnel]] = {}
        self.ended: list[tuple[str, list[bytes]]] = []

    def claim(self, claim: IListenerClaim) -> None:
        """See `IEdgeHost.claim`."""
        self.claims.append(claim)

    def route(self, side: str, hostname: str) -> ITunnel | None:
        """See `IEdgeHost.route`."""
        entry = self.routes.get((side, hostname))
        return entry and entry[1]

    def scheme(self, side: str, hostname: str) -> str:
        """See `IEdgeHost.scheme`."""
        entry = self.routes.get((side, hostname))
        return entry[0] if entry else ""

    def end_tls(self, hostname: str, protocols: list[bytes], factory: IProtocolFactory) -> IProtocolFactory:
        """Record the call; answer ``factory`` itself, so that a test speaks plain text to it."""
        self.ended.append((hostname, protocols))
        return factory


@implementer(IPublication)
class FakePublication:
    """A tunnel on its way to the public; records what the edge asks for.

    Attributes:
        published: ``(side, scheme)`` in order.
        listening: ``(factory, scheme)`` in order.
        error: What the next calls fail with, or ``None``.
    """

    def __init__(self, tunnel: ITunnel, hostname: str = "demo.relay.test", port: int = 20_000) -> None:
        """Give ``hostname`` and ports from ``port`` on to whoever asks."""
        self.tunnel = tunnel
        self._hostname, self._port = hostname, port
        self.published: list[tuple[str, str]] = []
        self.listening: list[tuple[IProtocolFactory, str]] = []
        self.error: Exception | None = None

    def hostname(self) -> str:
        """See `IPublication.hostname`."""
        if self.error is not None:
            raise self.error
        return self._hostname

    def publish(self, side: str, scheme: str) -> str:
        """See `IPublication.publish`."""
        if self.error is not None:
            raise self.error
        self.published.append((side, scheme))
        return f"{scheme}://{self._hostname}"

    def listen(self, factory: IProtocolFactory, scheme: str) -> Deferred[str]:
        """See `IPublication.listen`; nothing listens, the test builds protocols from ``factory``."""
        if self.error is not None:
            return fail(self.error)
        self.listening.append((factory, scheme))
        return succeed(f"{scheme}://relay.test:{self._port + len(self.listening) - 1}")


@implementer(IForwarderHost)
class FakeForwarderHost:
    """A client with a clock to advance."""

    def __init__(self, name: str = "demo") -> None:
        """Name the tunnel ``name``."""
        self.clock: IReactorTime = Clock()
        self.name = name
