"""The access policy of accounts: whitelists of the addresses that visitors may come from (row I2)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from zope.interface import implementer

from burrow.errors import VisitorRefused
from burrow.interfaces.account import Account, IPolicy
from burrow.interfaces.stream import Visitor

MAPPED = IPv6Network("::ffff:0:0/96")  #: IPv4 addresses as a dual-stack socket sees them, RFC 4291


@implementer(IPolicy)
class WhitelistPolicy:
    """Admits visitors whose address is in one of the account's networks; all if it has none."""

    def admit(self, account: Account, visitor: Visitor) -> None:
        """See `IPolicy.admit`; an address that cannot be read is not admitted."""
        if not account.whitelist:
            return
        address = visitor_address(visitor)
        if address is not None and any(address in plain(network) for network in account.whitelist):
            return
        raise VisitorRefused(f"{visitor} is not on the whitelist of account {account.name!r}")


def visitor_address(visitor: Visitor) -> IPv4Address | IPv6Address | None:
    """Return where a visitor comes from, an IPv4-mapped address as IPv4; ``None`` if unreadable."""
    try:
        address = ip_address(visitor.host.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """Return an IPv4-mapped network as the IPv4 network that it means, any other as it is."""
    if isinstance(network, IPv4Network) or not network.subnet_of(MAPPED):
        return network
    return ip_network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
