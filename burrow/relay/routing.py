"""Tunnel records, and the routes that lead names to them.

A record is a tunnel with one owner, whoever serves it at the moment: the sessions that do are its
bindings. Edges see records as `ITunnel` and find them by `Routes`; they never hold a session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import SessionLost, TunnelOffline, TunnelRefused, VisitorRefused
from burrow.interfaces.account import Account, IPolicy
from burrow.interfaces.stream import Visitor
from burrow.interfaces.tunnel import ITunnel
from burrow.names import wildcards_over

SIDES = ("plain", "tls")  #: of a hostname: what is served without TLS, and what with it


class Binding(Protocol):
    """Somebody who serves a tunnel at the moment: a session, later a worker or an SSH connection."""

    def endpoint(self, visitor: Visitor) -> IStreamClientEndpoint:
        """Return where a visitor is connected to.

        Its ``connect`` fails with `SessionLost` when this binding is going and serves nobody any
        more, and with `TunnelRefused` when it takes no more visitors.
        """


class State(Enum):
    """Whether anybody serves a tunnel."""

    ONLINE = "online"
    OFFLINE = "offline"


@implementer(ITunnel)
class TunnelRecord:
    """See `ITunnel`.

    Attributes:
        owner: The account that owns it; may be replaced when the account changes.
        bindings: Who serves it, the newest attached first.
    """

    def __init__(
        self, owner: Account, protocol: str, name: str, settings: Mapping[str, object], policy: IPolicy
    ) -> None:
        """Make a tunnel that nobody serves yet.

        Args:
            owner: The account that owns it.
            protocol: The name of its `ITunnelProtocol`.
            name: What the client calls it.
            settings: Values of the protocol's edge settings, typed.
            policy: Asked about every visitor before anything reaches a binding.
        """
        self.owner, self.protocol, self.name = owner, protocol, name
        self.settings = dict(settings)
        self.bindings: list[Binding] = []
        self._policy = policy

    @property
    def account(self) -> str:
        """The name of the account that owns it."""
        return self.owner.name

    @property
    def state(self) -> State:
        """Whether anybody serves it."""
        return State.ONLINE if self.bindings else State.OFFLINE

    def attach(self, binding: Binding) -> None:
        """Let ``binding`` serve it from now on, before those attached earlier."""
        self.bindings.insert(0, binding)

    def detach(self, binding: Binding) -> None:
        """Forget a binding; one that is not attached changes nothing."""
        self.bindings = [attached for attached in self.bindings if attached is not binding]

    def connect(self, factory: IProtocolFactory, visitor: Visitor, deadline: float) -> Deferred[IProtocol]:
        """See `ITunnel.connect`; a tunnel that nobody serves fails at once, whatever the deadline."""
        try:
            self._policy.admit(self.owner, visitor)
        except VisitorRefused as refused:
            return fail(refused)
        return self._connect(iter(tuple(self.bindings)), factory, visitor)

    def _connect(
        self, bindings: Iterator[Binding], factory: IProtocolFactory, visitor: Visitor
    ) -> Deferred[IProtocol]:
        binding = next(bindings, None)
        if binding is None:
            return fail(TunnelOffline(f"nobody serves tunnel {self.name!r} of account {self.account!r}"))
        connecting: Deferred[IProtocol] = binding.endpoint(visitor).connect(factory)
        return connecting.addErrback(self._elsewhere, bindings, factory, visitor)

    def _elsewhere(
        self, failure: Failure, bindings: Iterator[Binding], factory: IProtocolFactory, visitor: Visitor
    ) -> Deferred[IProtocol]:
        """Try the binding that was attached before the one that failed."""
        if failure.check(SessionLost):
            return self._connect(bindings, factory, visitor)
        if failure.check(TunnelRefused):  # its streams are all in use
            return fail(TunnelOffline(failure.getErrorMessage()))
        return fail(failure)


@dataclass(frozen=True)
class Route:
    """What one side of a name leads to.

    Attributes:
        scheme: What is served there: ``http``, ``https``, ``tls`` or a plugin's own word.
        tunnel: Where visitors are connected to.
    """

    scheme: str
    tunnel: TunnelRecord


class Routes:
    """Which tunnel serves which side of which name; names and wildcards are canonical."""

    def __init__(self) -> None:
        """Start without routes."""
        self._routes: dict[tuple[str, str], Route] = {}
        self._wildcards = 0

    def __len__(self) -> int:
        """Return the number of routes."""
        return len(self._routes)

    def exactly(self, side: str, hostname: str) -> Route | None:
        """Return what is bound at that very name or wildcard."""
        return self._routes.get((side, hostname))

    def add(self, side: str, hostname: str, route: Route) -> None:
        """Bind one side of a name or wildcard.

        Raises:
            ValueError: The side is none of `SIDES`, or bound already: look with `exactly` first.
        """
        if side not in SIDES:
            raise ValueError(f"side {side!r}: wanted {' or '.join(SIDES)}")
        if (side, hostname) in self._routes:
            raise ValueError(f"the {side} side of {hostname!r} is bound already")
        self._routes[side, hostname] = route
        self._wildcards += hostname.startswith("*.")

    def remove(self, side: str, hostname: str, route: Route) -> None:
        """Unbind; a name that ``route`` does not hold any more is left alone."""
        if self._routes.get((side, hostname)) is route:
            del self._routes[side, hostname]
            self._wildcards -= hostname.startswith("*.")

    def find(self, side: str, hostname: str) -> Route | None:
        """Return the most specific route that somebody serves, else the most specific one (row E4)."""
        route = self._routes.get((side, hostname))
        if not self._wildcards or (route is not None and route.tunnel.bindings):
            return route
        found = list(self._all_over(side, hostname))
        served = (route for route in found if route.tunnel.bindings)
        return next(served, found[0] if found else None)

    def _all_over(self, side: str, hostname: str) -> Iterator[Route]:
        for name in (hostname, *wildcards_over(hostname)):
            route = self._routes.get((side, name))
            if route is not None:
                yield route

    def tunnel(self, side: str, hostname: str) -> TunnelRecord | None:
        """Return the tunnel for a visitor of one side of ``hostname``; see `IEdgeHost.route`."""
        route = self.find(side, hostname)
        return None if route is None else route.tunnel

    def scheme(self, side: str, hostname: str) -> str:
        """Return what is served at one side of ``hostname``; see `IEdgeHost.scheme`."""
        route = self.find(side, hostname)
        return "" if route is None else route.scheme
