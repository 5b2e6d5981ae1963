"""Upstreams: the addresses of local services as people write them, and connections there.

`parse_address` reads what stands in ``addr:`` or on the command line, `TcpUpstream` connects to it.
Names at and below ``localhost`` never reach a resolver (RFC 6761 section 6.3): stock systems do
not know ``*.localhost``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError, UnknownHostError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import ConfigError
from burrow.interfaces.upstream import IUpstream
from burrow.names import canonical, is_localhost

CONNECT_TIMEOUT = 30.0  #: seconds for all addresses of a name together
DEFAULT_PORTS = {"http": 80, "https": 443}  #: of addresses with a scheme (contract 1.4)
LOOPBACK = ("127.0.0.1", "::1")  #: in the order in which they are tried

ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?:\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[^:\[\]/]*))"
    r"(?P<colon>:(?P<port>[^:/]*))?(?P<path>/.*)?\Z",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Address:
    """Where a local service listens.

    Attributes:
        scheme: What it speaks if the protocol lets an address say so, else the empty text.
        host: A canonical hostname or a numeric address, without brackets.
        port: 1 to 65535.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return the form of contract 4.2: ``http://localhost:3000``, without a scheme ``localhost:22``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme and self.scheme + '://'}{host}:{self.port}"


def parse_address(text: str | int, schemes: Sequence[str] = ()) -> Address:
    """Read an address of contract 1.4: ``8080``, ``host:8080`` or ``http://host[:port]``.

    Args:
        text: What the user wrote; YAML and JSON bring numbers too.
        schemes: Those that the protocol takes; the first is that of an address without one.

    Raises:
        ConfigError: It cannot be read; the text is that of contract 1.6.
    """
    try:
        return _parse(str(text).strip(), schemes)
    except ValueError as error:
        raise ConfigError(f"invalid address '{text}': {error}") from None


def _parse(text: str, schemes: Sequence[str]) -> Address:
    default = schemes[0] if schemes else ""
    if text.isascii() and text.isdigit():
        return Address(default, "localhost", _port(text))
    parts = ADDRESS.match(text)
    if parts is None:
        raise ValueError(f"too many colons in address {text}")
    scheme = (parts["scheme"] or "").lower()
    if scheme and scheme not in schemes:
        wanted = " or ".join([f"{known}://HOST:PORT" for known in schemes] + ["HOST:PORT"])
        raise ValueError(f"scheme {scheme!r} does not fit, wanted {wanted}")
    if parts["path"] not in (None, "/") or (parts["path"] and not scheme):
        raise ValueError("wanted a host and a port without a path")
    return Address(scheme or default, _host(parts), _port_of(parts, text, scheme))


def _host(parts: re.Match[str]) -> str:
    if parts["ipv6"] is not None:
        if not isIPv6Address(parts["ipv6"]):
            raise ValueError(f"{parts['ipv6']!r} is not an IPv6 address")
        return parts["ipv6"].lower()
    if not parts["host"]:
        raise ValueError("missing host")
    name = canonical(parts["host"])
    if name.startswith("*."):
        raise ValueError(f"{name!r} is a wildcard, wanted a hostname")
    return name


def _port_of(parts: re.Match[str], text: str, scheme: str) -> int:
    if parts["colon"] is not None:
        return _port(parts["port"])
    if scheme in DEFAULT_PORTS:
        return DEFAULT_PORTS[scheme]
    raise ValueError(f"missing port in address {text}")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ValueError(f"invalid port {text!r}, wanted 1 to 65535")
    return int(text)


class UpstreamReactor(IReactorTCP, IReactorTime, IReactorPluggableNameResolver):
    """What connecting to a local service takes of a reactor."""


@implementer(IUpstream)
class TcpUpstream:
    """A TCP port; see `IUpstream`."""

    def __init__(
        self, reactor: UpstreamReactor, host: str, port: int, address: str, timeout: float = CONNECT_TIMEOUT
    ) -> None:
        """Connect to ``host`` and ``port``.

        Args:
            reactor: Connects, resolves names and keeps the time.
            host: A hostname or a numeric address, without brackets.
            port: 1 to 65535.
            address: What messages call it.
            timeout: Seconds for one connection, all addresses of the name together.
        """
        self._reactor, self._host, self._port, self._timeout = reactor, host, port, timeout
        self._addresses = known_addresses(host)
        self.address = address

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IUpstream.connect`; the addresses of a name are tried in turn, IPv4 first."""
        attempt = Attempt(self._reactor, factory, self._port, self._timeout)
        if self._addresses:
            attempt.try_next(self._addresses)
        else:
            attempt.resolve(self._host)
        return attempt.connected


def known_addresses(host: str) -> tuple[str, ...]:
    """Return the addresses that need no resolver: numeric ones and the loopback; may be empty."""
    if isIPAddress(host) or isIPv6Address(host):
        return (host,)
    return LOOPBACK if is_localhost(host) else ()


class Attempt(ClientFactory):
    """One connection on its way: tries one address after the other until one answers.

    Attributes:
        connected: Fires with the factory's protocol; cancelling ends the attempt.
    """

    noisy = False

    def __init__(
        self, reactor: UpstreamReactor, factory: IProtocolFactory, port: int, timeout: float
    ) -> None:
        """Prepare; `try_next` or `resolve` sets it going, once."""
        self.connected: Deferred[IProtocol] = Deferred(lambda connected: self._end())
        self._reactor, self._factory, self._port, self._timeout = reactor, factory, port, timeout
        self._deadline = reactor.seconds() + timeout
        self._connector: IConnector | None = None
        self._resolution: Resolution | None = None
        self._left: tuple[str, ...] = ()
        self._failure: Failure | None = None
        self._over = False

    def resolve(self, host: str) -> None:
        """Ask the reactor's resolver for the addresses of ``host``, then try them."""
        self._resolution = Resolution(self._reactor, self._timeout)
        self._resolution.found.addCallbacks(self._found, self._fail, callbackArgs=(host,))
        self._reactor.nameResolver.resolveHostName(self._resolution, host, self._port)

    def _found(self, addresses: tuple[str, ...], host: str) -> None:
        if addresses:
            self.try_next(addresses)
        else:
            self._fail(Failure(UnknownHostError(f"no address for {host!r}")))

    def try_next(self, addresses: tuple[str, ...]) -> None:
        """Connect to the first of ``addresses``; the others are for when that fails."""
        self._left = addresses[1:]
        timeout = self._deadline - self._reactor.seconds()
        if timeout <= 0:
            self._fail(Failure(TimeoutError()))
        else:
            self._connector = self._reactor.connectTCP(addresses[0], self._port, self, timeout)

    def doStart(self) -> None:
        """Tell the real factory that it is used."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Tell the real factory that one use of it is over."""
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build the real protocol; stand in for it until the transport is there."""
        protocol = self._factory.buildProtocol(addr)  # type: ignore[arg-type]
        return None if protocol is None else Opening(protocol, self._succeed)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Try the next address; the first failure is the one that is told."""
        self._failure = self._failure or reason
        if self._left and not self._over:
            self.try_next(self._left)
        else:
            self._fail(self._failure)

    def _succeed(self, protocol: IProtocol) -> None:
        if not self._over:
            self._over = True
            self.connected.callback(protocol)

    def _fail(self, failure: Failure) -> None:
        if not self._over:
            self._over = True
            self.connected.errback(failure)

    def _end(self) -> None:
        self._over = True
        if self._resolution is not None:
            self._resolution.found.cancel()
        if self._connector is not None:
            self._connector.disconnect()


class Opening:
    """Stands in for a protocol until its transport is there, then steps out of the way.

    Nothing is left between transport and protocol; a wrapping protocol would cost a call a read.
    """

    def __init__(self, protocol: IProtocol, opened: Callable[[IProtocol], None]) -> None:
        """Stand in for ``protocol``."""
        self._protocol, self._opened = protocol, opened

    def logPrefix(self) -> str:
        """Return a name for the reactor's log."""
        return self._protocol.__class__.__name__

    def makeConnection(self, transport: object) -> None:
        """Give the transport to the real protocol, then tell that it is open."""
        transport.protocol = self._protocol  # type: ignore[attr-defined]
        self._protocol.makeConnection(transport)  # type: ignore[arg-type]
        self._opened(self._protocol)


@implementer(IResolutionReceiver)
class Resolution:
    """Collects the addresses that a resolver finds, until it is done or time is up.

    Attributes:
        found: Fires with the addresses in order, IPv4 first; may be cancelled.
    """

    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        """Wait ``timeout`` seconds at most; a resolver itself cannot be hurried."""
        self.found: Deferred[tuple[str, ...]] = Deferred(lambda found: None)
        self.found.addTimeout(timeout, clock, lambda result, seconds: Failure(TimeoutError()))
        self._addresses: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Do nothing: see `IResolutionReceiver`."""

    def addressResolved(self, address: IAddress) -> None:
        """Add an address."""
        self._addresses.append(address.host)  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        """Fire, unless nobody waits any more."""
        if not self.found.called:
            self.found.callback(tuple(sorted(dict.fromkeys(self._addresses), key=isIPv6Address)))
