"""Accounts of a relay, whoever keeps them: a file now, a database later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from twisted.internet.defer import Deferred
from zope.interface import Interface

from burrow.interfaces.stream import Visitor


@dataclass(frozen=True)
class Account:
    """Who owns tokens, names and addresses.

    Attributes:
        name: Unique at the relay.
        domains: Reserved hostnames and wildcards, canonical.
        addresses: Reserved public ports for TCP.
        whitelist: Networks that visitors may come from; empty allows all (row I2).
        limits: Named limits that differ from the relay's.
        any_name: May bind any hostname without a reservation (the embedded relay).
        random_only: Gets random names and ports, and no others (clients without a token, row I1).
    """

    name: str
    domains: tuple[str, ...] = ()
    addresses: tuple[int, ...] = ()
    whitelist: tuple[IPv4Network | IPv6Network, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)
    any_name: bool = False
    random_only: bool = False


class IAccounts(Interface):
    """The relay's accounts."""

    def authenticate(token: str) -> Deferred[Account]:
        """Find the account that a token belongs to, in a time that tells nothing about it.

        Raises:
            SessionRefused: No account has that token (code 105 or 107).
        """

    def owner_of(hostname: str) -> str | None:
        """Return the name of the account that reserved a canonical hostname or a wildcard over it."""

    def owner_of_port(port: int) -> str | None:
        """Return the name of the account that reserved a public port."""


class IPolicy(Interface):
    """Who may visit what. The host of every edge asks it; a plugin cannot skip it."""

    def admit(account: Account, visitor: Visitor) -> None:
        """Return if the visitor may reach tunnels of the account.

        Raises:
            VisitorRefused: Cut it off before anything reaches the client.
        """
