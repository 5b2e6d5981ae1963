"""Who may visit an account's tunnels."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import VisitorRefused
from burrow.interfaces.account import Account, IPolicy
from burrow.interfaces.stream import Visitor
from burrow.relay.policy import WhitelistPolicy


class WhitelistTests(SynchronousTestCase):
    """The whitelist of an account (row I2)."""

    def admitted(self, host: str, *networks: str) -> bool:
        """Tell whether a visitor gets in."""
        account = Account("team", whitelist=tuple(ip_network(network) for network in networks))
        try:
            WhitelistPolicy().admit(account, Visitor(host, 4000, "tcp", "20000"))
        except VisitorRefused:
            return False
        return True

    def test_interface(self) -> None:
        """It is a policy."""
        self.assertTrue(verifyObject(IPolicy, WhitelistPolicy()))

    def test_empty(self) -> None:
        """An empty list allows all."""
        self.assertTrue(self.admitted("198.51.100.7"))
        self.assertTrue(self.admitted("not an address"))

    def test_ranges(self) -> None:
        """Addresses and ranges of both families count; everybody else is refused."""
        networks = ("198.51.100.7/32", "203.0.113.0/24", "2001:db8::/32")
        for host in ("198.51.100.7", "203.0.113.255", "2001:db8::1", "2001:db8::1%eth0"):
            self.assertTrue(self.admitted(host, *networks), host)
        for host in ("198.51.100.8", "203.0.114.0", "2001:db9::1", "not an address", ""):
            self.assertFalse(self.admitted(host, *networks), host)

    def test_mapped(self) -> None:
        """An IPv4 visitor of a dual-stack port counts as IPv4, and only so."""
        self.assertTrue(self.admitted("::ffff:203.0.113.9", "203.0.113.0/24"))
        self.assertFalse(self.admitted("::ffff:203.0.113.9", "::/0"))
        self.assertFalse(self.admitted("203.0.113.9", "::/0"))

    def test_mapped_range(self) -> None:
        """A range that is written as mapped means its IPv4 addresses."""
        self.assertTrue(self.admitted("203.0.113.9", "::ffff:203.0.113.0/120"))
        self.assertFalse(self.admitted("203.0.114.9", "::ffff:203.0.113.0/120"))

    def test_message(self) -> None:
        """The reason names visitor and account, for the relay's log."""
        account = Account("team", whitelist=(ip_network("203.0.113.0/24"),))
        visitor = Visitor("198.51.100.7", 4000, "tcp")
        refused = self.assertRaises(VisitorRefused, WhitelistPolicy().admit, account, visitor)
        self.assertIn("198.51.100.7:4000 is not on the whitelist of account 'team'", str(refused))
