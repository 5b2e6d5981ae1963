"""The embedded relay: a whole relay on loopback, for one process and its user (row A5).

It serves everything on one port, under names below ``localhost``, with certificates of an authority
that is made once in the user's state directory. Only this process has its token.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from zope.interface import implementer

from burrow.client.upstream import Address
from burrow.errors import ConfigError, SessionRefused
from burrow.interfaces.account import Account, IAccounts
from burrow.interfaces.protocol import ITunnelProtocol
from burrow.relay.authority import LocalAuthority
from burrow.relay.certificates import Certificates
from burrow.relay.publishing import Place
from burrow.relay.service import Admission, Entrance, Relay
from burrow.relay.tickets import KEY_BYTES
from burrow.tokens import hash_token, matches, new_token

DOMAIN = "localhost"
PORTS_TRIED = 100  #: ports from the wanted one on, when it is taken
KINDS = ("session", "https", "http", "tls")
TCP_PORTS = range(20_000, 30_000)


def state_directory(environ: Mapping[str, str]) -> Path:
    """Return where the user's burrow keeps what it makes: ``$XDG_STATE_HOME/burrow`` or its default."""
    base = environ.get("XDG_STATE_HOME", "")
    if base.startswith("/"):
        return Path(base) / "burrow"
    return Path(os.path.expanduser("~")) / ".local" / "state" / "burrow"


@implementer(IAccounts)
class OwnProcess:
    """One account for whoever has the token, which never leaves this process."""

    def __init__(self, token: str) -> None:
        """Know one token."""
        self._hashes = [hash_token(token)]
        self._account = Account("embedded", any_name=True)

    def authenticate(self, token: str) -> Deferred[Account]:
        """See `IAccounts.authenticate`."""
        if matches(token, self._hashes):
            return succeed(self._account)
        return fail(SessionRefused("The embedded relay takes sessions of its own process only.", 107))

    def owner_of(self, hostname: str) -> str | None:
        """Return nothing: no name is reserved."""

    def owner_of_port(self, port: int) -> str | None:
        """Return nothing: no port is reserved."""


@dataclass(frozen=True)
class EmbeddedRelay:
    """A running embedded relay.

    Attributes:
        relay: The service, started.
        address: Where it takes sessions and visitors.
        host: The numeric address at which its own client finds it.
        token: What its one client says.
        authority: The path of its authority's certificate.
    """

    relay: Relay
    address: Address
    host: str
    token: str
    authority: Path


def start_embedded_relay(
    reactor: Any, wanted: Address, directory: Path, protocols: Mapping[str, ITunnelProtocol]
) -> EmbeddedRelay:
    """Start a relay on ``wanted``, or on the next free port.

    Args:
        reactor: Listens and tells the time.
        wanted: A loopback address.
        directory: Holds the authority; made if it is not there.
        protocols: The tunnel protocols by name.

    Raises:
        ConfigError: No port is free, the address is not one of this machine, or the authority's
            files cannot be used.
    """
    authority = LocalAuthority.load_or_create(directory)
    token = new_token()
    last = min(wanted.port + PORTS_TRIED, 65_536) - 1
    for port in range(wanted.port, last + 1):
        relay = _relay(reactor, Address("", wanted.host, port), authority, token, protocols)
        try:
            relay.privilegedStartService()
        except ConfigError as error:
            if not _is_taken(error.__cause__):
                raise ConfigError(f"embedded_relay: {error}") from error
            continue
        relay.startService()
        where: Any = relay.ports[0].getHost()
        address = Address("", DOMAIN, where.port)
        return EmbeddedRelay(relay, address, _reached_at(where.host), token, authority.certificate_path)
    raise ConfigError(f"embedded_relay: no port from {wanted.port} to {last} is free on {wanted.host}")


def _relay(
    reactor: Any,
    at: Address,
    authority: LocalAuthority,
    token: str,
    protocols: Mapping[str, ITunnelProtocol],
) -> Relay:
    endpoint = TCP6ServerEndpoint if ":" in at.host else TCP4ServerEndpoint
    return Relay(
        reactor,
        Place(DOMAIN, tcp_ports=TCP_PORTS, interface=at.host),
        (),
        [
            Entrance(
                str(at),
                endpoint(reactor, at.port, interface=at.host),
                tuple(dict.fromkeys((*KINDS, *protocols))),
            )
        ],
        OwnProcess(token),
        Certificates(None, authority, ("",)),
        protocols,
        Admission(),
        secrets.token_bytes(KEY_BYTES),
    )


def _is_taken(error: BaseException | None) -> bool:
    """Tell whether a port could not be had because somebody else has it."""
    problem = error.socketError if isinstance(error, CannotListenError) else None
    return isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE


def _reached_at(host: str) -> str:
    """Return the address at which this machine reaches a port that listens at ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
