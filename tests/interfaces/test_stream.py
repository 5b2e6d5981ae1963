"""Addresses as logs show them."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from burrow.interfaces.stream import Visitor, address_text


class AddressTests(SynchronousTestCase):
    """What stands in a line of log for a peer."""

    def test_host_and_port(self) -> None:
        """Host and port, an IPv6 address in brackets."""
        self.assertEqual(address_text(IPv4Address("TCP", "192.0.2.1", 80)), "192.0.2.1:80")
        self.assertEqual(address_text(IPv6Address("TCP", "2001:db8::1", 80)), "[2001:db8::1]:80")
        self.assertEqual(str(Visitor("2001:db8::1", 80, "tcp")), "[2001:db8::1]:80")

    def test_other_addresses(self) -> None:
        """What has neither is shown as it shows itself."""
        self.assertIn("/run/x", address_text(UNIXAddress(b"/run/x")))
        self.assertEqual(address_text(None), "None")
