"""Publications: the public names, ports and URLs of one tunnel, each given back when it ends."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP
from zope.interface import implementer

from burrow.errors import TunnelRefused
from burrow.interfaces.account import IAccounts
from burrow.interfaces.protocol import IPublication
from burrow.names import canonical, covers
from burrow.relay.routing import SIDES, Route, Routes, TunnelRecord
from burrow.relay.tickets import Claim
from burrow.settings import shown

RANDOM_NAME = 6  #: bytes of a random name: twelve hexadecimal digits (row A3)
NAME_TRIES = 20  #: random names tried before giving up; one is taken once in 2**48 / tunnels
PORT_TRIES = 100  #: random ports tried before the range counts as full
BACKLOG = 1024  #: connections that wait to be accepted at a public port
NO_CLAIM = Claim()
DEFAULT_PORTS = {"http": 80, "https": 443, "tls": 443}  #: left out of URLs

# Codes of refusals (contract 1.6).
PORT_NOT_RESERVED = 307
WILDCARD_NOT_RESERVED = 318
NAME_NOT_RESERVED = 319
NAME_NOT_ALLOWED = 313
RESERVED_BY_ANOTHER = 320
WILDCARD_NOT_VALID = 321
HOSTNAME_NOT_VALID = 326
SUBDOMAIN_NOT_VALID = 327
TAKEN = 334


@dataclass(frozen=True)
class Place:
    """Where a relay is on the internet.

    Attributes:
        domain: Canonical; random names and subdomains are below it, public ports belong to it.
        public_ports: The public port by scheme; a scheme that is missing has that of ``http`` on
            the plain side and that of ``https`` on the other.
        tcp_ports: The ports for tunnels without a reserved one.
        interface: The address that public ports listen at; empty for all of IPv4, ``::`` for all.
        own_names: Canonical names beside the domain that no tunnel gets.
    """

    domain: str
    public_ports: Mapping[str, int] = field(default_factory=dict)
    tcp_ports: Sequence[int] = range(20_000, 30_000)
    interface: str = ""
    own_names: frozenset[str] = frozenset()

    def url(self, side: str, scheme: str, hostname: str) -> str:
        """Return the public URL of one side of a name, without a default port."""
        general = self.public_ports.get("https" if side == "tls" else "http")
        port = self.public_ports.get(scheme, general)
        if port is None or port == DEFAULT_PORTS.get(scheme):
            return f"{scheme}://{hostname}"
        return f"{scheme}://{hostname}:{port}"


class Names:
    """Which hostname a tunnel gets; takes nothing, `Routes` does."""

    def __init__(self, place: Place, routes: Routes, accounts: IAccounts) -> None:
        """Give names below ``place.domain`` that are free in ``routes``, and those of accounts."""
        self._place, self._routes, self._accounts = place, routes, accounts

    def choose(self, tunnel: TunnelRecord, claim: Claim = NO_CLAIM) -> str:
        """Return the name that the tunnel's settings ask for, else the one claimed, else a random one.

        Raises:
            TunnelRefused: Not valid, reserved by another account, or not allowed.
        """
        hostname, subdomain = tunnel.settings.get("hostname"), tunnel.settings.get("subdomain")
        if tunnel.owner.random_only and (hostname or subdomain):
            raise TunnelRefused("A client without an authtoken gets a random name only.", NAME_NOT_ALLOWED)
        if hostname:
            return self._custom(tunnel, valid_name(str(hostname), str(hostname), HOSTNAME_NOT_VALID))
        if subdomain:
            wanted = f"{subdomain}.{self._place.domain}"
            return self._below_domain(tunnel, valid_name(wanted, str(subdomain), SUBDOMAIN_NOT_VALID))
        if claim.hostname.endswith(f".{self._place.domain}"):
            return self._below_domain(tunnel, claim.hostname)
        if claim.hostname:  # it was reserved when the ticket was written, and has to be still
            return self._custom(tunnel, claim.hostname)
        return self._random()

    def _custom(self, tunnel: TunnelRecord, name: str) -> str:
        if not self._is_own_reservation(tunnel, name):
            raise not_reserved(name)
        return name

    def _below_domain(self, tunnel: TunnelRecord, name: str) -> str:
        reserved = self._is_own_reservation(tunnel, name)
        if name.startswith("*.") and not reserved:
            raise not_reserved(name)
        return name

    def _is_own_reservation(self, tunnel: TunnelRecord, name: str) -> bool:
        """Tell whether the tunnel's account may have ``name`` as its own; refuse what others own."""
        if name == self._place.domain or name in self._place.own_names:
            raise TunnelRefused(f"The name '{name}' is the relay's own.", RESERVED_BY_ANOTHER)
        account, owner = tunnel.owner, self._accounts.owner_of(name)
        if owner is not None and owner != account.name:
            raise TunnelRefused(f"The name '{name}' is reserved for another account.", RESERVED_BY_ANOTHER)
        reserved = owner is not None or any(covers(pattern, name) for pattern in account.domains)
        return reserved or account.any_name

    def _random(self) -> str:
        for _ in range(NAME_TRIES):
            name = f"{secrets.token_hex(RANDOM_NAME)}.{self._place.domain}"
            taken = any(self._routes.exactly(side, name) for side in SIDES)
            if not taken and self._accounts.owner_of(name) is None:
                return name
        raise TunnelRefused(f"No random name below '{self._place.domain}' is free.")


def valid_name(name: str, wanted: str, code: int) -> str:
    """Return the canonical form of ``name``; a refusal shows what was ``wanted``."""
    try:
        return canonical(name)
    except ValueError as error:
        code = WILDCARD_NOT_VALID if wanted.startswith("*") else code
        raise TunnelRefused(f"The name {shown(wanted)} is not valid: {error}.", code) from None


def not_reserved(name: str) -> TunnelRefused:
    """Return the refusal of a name that its account has to reserve first."""
    if name.startswith("*."):
        return TunnelRefused(f"The wildcard '{name}' must be reserved first.", WILDCARD_NOT_RESERVED)
    return TunnelRefused(f"The hostname '{name}' must be reserved first.", NAME_NOT_RESERVED)


class Ports:
    """Which public TCP port a tunnel gets."""

    def __init__(self, place: Place, accounts: IAccounts, reactor: IReactorTCP) -> None:
        """Listen at ports of ``place`` on ``reactor``."""
        self._place, self._accounts, self._reactor = place, accounts, reactor

    def listen(
        self, tunnel: TunnelRecord, factory: IProtocolFactory, scheme: str, claim: Claim = NO_CLAIM
    ) -> IListeningPort:
        """Listen at the port that the tunnel's settings ask for, else the one claimed, else a random one.

        Raises:
            TunnelRefused: Not valid, not reserved, taken, or none is free.
        """
        wanted = tunnel.settings.get("remote_addr")
        if not wanted and not claim.port:
            return self._listen_anywhere(factory)
        port = self._reserved(tunnel, str(wanted)) if wanted else self._claimed(tunnel, claim.port)
        try:
            return self._open(port, factory)
        except CannotListenError:
            raise taken(f"{scheme}://{self._place.domain}:{port}") from None

    def _reserved(self, tunnel: TunnelRecord, wanted: str) -> int:
        host, _, text = wanted.rpartition(":")
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
            problem = f"The remote address {shown(wanted)} is not valid: wanted HOST:PORT or PORT."
            raise TunnelRefused(problem, PORT_NOT_RESERVED)
        port, account = int(text), tunnel.owner
        here = not host or host.lower().rstrip(".") == self._place.domain
        owner = self._accounts.owner_of_port(port)
        own = owner == account.name or port in account.addresses or (account.any_name and port >= 1024)
        if not here or not own or owner not in (None, account.name):
            problem = f"The remote address '{self._place.domain}:{port}' is not reserved for your account."
            problem = problem if here else f"The remote address {shown(wanted)} is not one of this relay."
            raise TunnelRefused(problem, PORT_NOT_RESERVED)
        return port

    def _claimed(self, tunnel: TunnelRecord, port: int) -> int:
        if port not in self._place.tcp_ports or self._accounts.owner_of_port(port) not in (
            None,
            tunnel.account,
        ):
            raise TunnelRefused(f"Port {port} is not yours any more.", PORT_NOT_RESERVED)
        return port

    def _listen_anywhere(self, factory: IProtocolFactory) -> IListeningPort:
        ports = self._place.tcp_ports
        for port in SystemRandom().sample(ports, min(PORT_TRIES, len(ports))):
            if self._accounts.owner_of_port(port) is None:
                try:
                    return self._open(port, factory)
                except CannotListenError:
                    continue
        raise TunnelRefused("No public TCP port is free at this relay.")

    def _open(self, port: int, factory: IProtocolFactory) -> IListeningPort:
        return self._reactor.listenTCP(port, cast(Any, factory), BACKLOG, self._place.interface)


def taken(url: str) -> TunnelRefused:
    """Return the refusal of an address that somebody else serves (contract 4.5)."""
    return TunnelRefused(f"The tunnel '{url}' is already bound to another tunnel session.", TAKEN)


@implementer(IPublication)
class Publication:
    """See `IPublication`.

    Attributes:
        tunnel: The tunnel that is published.
        urls: What was published so far, in order.
    """

    def __init__(
        self,
        tunnel: TunnelRecord,
        place: Place,
        routes: Routes,
        names: Names,
        ports: Ports,
        claim: Claim = NO_CLAIM,
    ) -> None:
        """Publish nothing yet; `undo` gives back whatever was published.

        Args:
            tunnel: What is published.
            place: Where the relay is.
            routes: Where names are taken.
            names: Chooses the name.
            ports: Chooses the port.
            claim: A name or port that the tunnel had before, and gets or stays down (row M8).
        """
        self.tunnel = tunnel
        self._claim = claim
        self._over = False
        self._port = 0
        self.urls: list[str] = []
        self._place, self._routes, self._names, self._ports = place, routes, names, ports
        self._hostname = ""
        self._undoing: list[Callable[[], Any]] = []

    def hostname(self) -> str:
        """See `IPublication.hostname`."""
        if not self._hostname:
            self._hostname = self._names.choose(self.tunnel, self._claim)
        return self._hostname

    def publish(self, side: str, scheme: str) -> str:
        """See `IPublication.publish`."""
        self._check_open()
        hostname = self.hostname()
        url = self._place.url(side, scheme, hostname)
        if self._routes.exactly(side, hostname) is not None:
            raise taken(url)
        route = Route(scheme, self.tunnel)
        self._routes.add(side, hostname, route)
        self._undoing.append(lambda: self._routes.remove(side, hostname, route))
        self.urls.append(url)
        return url

    def listen(self, factory: IProtocolFactory, scheme: str) -> Deferred[str]:
        """See `IPublication.listen`."""
        try:
            self._check_open()
            port = self._ports.listen(self.tunnel, factory, scheme, self._claim)
        except TunnelRefused as refused:
            return fail(refused)
        self._undoing.append(port.stopListening)
        self._port = port.getHost().port  # type: ignore[attr-defined]
        url = f"{scheme}://{self._place.domain}:{self._port}"
        self.urls.append(url)
        return succeed(url)

    def _check_open(self) -> None:
        """Give nothing to an edge that is late: nobody would take it back."""
        if self._over:
            raise TunnelRefused("The tunnel is not wanted any more.")

    def claim(self) -> Claim:
        """Return what the tunnel has now, for the ticket with which it is claimed back."""
        return Claim(self._hostname, self._port)

    def undo(self) -> Deferred[None]:
        """Give back every name and port; may be called again.

        Returns:
            Fires when the ports are closed. Names are free at once.
        """
        self._over = True
        undoing, self._undoing = self._undoing, []
        self.urls.clear()
        closing = gatherResults([maybeDeferred(step) for step in reversed(undoing)], consumeErrors=True)
        return closing.addCallback(lambda results: None)
