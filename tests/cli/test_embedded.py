"""The embedded relay."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.cli.embedded import (
    PORTS_TRIED,
    EmbeddedRelay,
    OwnProcess,
    start_embedded_relay,
    state_directory,
)
from burrow.client.upstream import Address
from burrow.errors import ConfigError, SessionRefused
from burrow.interfaces.account import IAccounts
from burrow.names import is_localhost
from tests.one_process import PROTOCOLS, Log, NoNetwork, OneProcessCase


class StateDirectoryTests(SynchronousTestCase):
    """Where the user's burrow keeps what it makes."""

    def test_places(self) -> None:
        """``XDG_STATE_HOME`` counts if it is absolute, else the default is below the home."""
        self.assertEqual(state_directory({"XDG_STATE_HOME": "/var/me"}), Path("/var/me/burrow"))
        default = Path.home() / ".local" / "state" / "burrow"
        for environ in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
            self.assertEqual(state_directory(environ), default)


class AccountsTests(SynchronousTestCase):
    """Who may have a session."""

    def test_its_own_process_only(self) -> None:
        """The token that it made itself is right, any other is refused for good."""
        accounts = OwnProcess("its-own-token-0123456789")
        self.assertTrue(verifyObject(IAccounts, accounts))
        account = self.successResultOf(accounts.authenticate("its-own-token-0123456789"))
        self.assertTrue(account.any_name)
        for wrong in ("", "its-own-token-012345678", "another-token-0123456789"):
            refused = self.failureResultOf(accounts.authenticate(wrong), SessionRefused).value
            self.assertEqual(refused.code, 107)

    def test_nothing_is_reserved(self) -> None:
        """Any name and any port may be had."""
        accounts = OwnProcess("its-own-token-0123456789")
        self.assertIsNone(accounts.owner_of("shop.localhost"))
        self.assertIsNone(accounts.owner_of_port(20_000))


class EmbeddedCase(OneProcessCase):
    """Embedded relays."""

    def start_embedded(self, host: str = "127.0.0.1", port: int | None = None) -> EmbeddedRelay:
        """Start one."""
        wanted = Address("", host, self.ports[0] if port is None else port)
        relay = start_embedded_relay(self.reactor, wanted, Path(self.mktemp()), PROTOCOLS)
        self.services.append(relay.relay)
        return relay

    def publish(self, relay: EmbeddedRelay, *definitions: Any) -> Log:
        """Start the client of a relay's own process, and wait for its tunnels."""
        from burrow.client.making import make_client

        config = self.config(
            1, server_addr=relay.address, authtoken=relay.token, root_cas=relay.authority, region="jp"
        )
        log, nowhere = Log(), Path(self.mktemp())
        client = make_client(self.reactor, config, definitions, log, nowhere, relay.host, NoNetwork())
        client.startService()
        self.services.append(client)
        self.until(lambda: len(log.up) + len(log.refused) == len(definitions))
        self.client = client
        return log


class PortTests(EmbeddedCase):
    """Where it listens."""

    def test_the_next_free_port(self) -> None:
        """When the port is taken, the next free one is used."""
        first, second = self.start_embedded(), self.start_embedded()
        self.assertEqual(first.address.port, self.ports[0])
        self.assertGreater(second.address.port, first.address.port)

    def test_no_free_port(self) -> None:
        """When none of those that may be used is free, one line says so."""
        self.patch_tried(2)
        for _ in range(2):
            self.start_embedded()
        error = self.assertRaises(ConfigError, self.start_embedded)
        first, last = self.ports[0], self.ports[1]
        self.assertEqual(str(error), f"embedded_relay: no port from {first} to {last} is free on 127.0.0.1")
        self.assertGreater(PORTS_TRIED, 2)

    def patch_tried(self, count: int) -> None:
        """Let so many ports be tried."""
        from burrow.cli import embedded

        self.patch(embedded, "PORTS_TRIED", count)

    def test_an_address_of_another_machine(self) -> None:
        """An address that cannot be listened at is told as it is, not as ports in use."""
        error = self.assertRaises(ConfigError, self.start_embedded, "192.0.2.1")
        self.assertIn("embedded_relay: cannot listen on 192.0.2.1:", str(error))
        self.assertNotIn("free", str(error))

    def test_found_wherever_it_listens(self) -> None:
        """Its own client reaches it at any address of this machine."""
        for host in ("127.0.0.1", "127.0.0.3", "0.0.0.0", "::1"):
            if host == "::1" and not _has_ipv6():
                continue
            relay = self.start_embedded(host)
            self.assertEqual(self.publish(relay, self.tunnel("http", 1)).refused, [])


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class NamesTests(EmbeddedCase):
    """What can be had there."""

    def test_any_name_and_any_region(self) -> None:
        """Subdomains, whole names and reserved ports need no reservation, and the region does not matter."""
        relay = self.start_embedded()
        log = self.publish(
            relay,
            self.tunnel("http", 1, "a", subdomain="shop"),
            self.tunnel("http", 1, "b", hostname="dev.example.com"),
            self.tunnel("tcp", 1, "c", remote_addr=str(self.ports[-1])),
        )
        self.assertEqual(log.refused, [])
        port = relay.address.port
        self.assertIn(f"https://shop.localhost:{port}", self.client.tunnels[0].urls)
        self.assertIn(f"https://dev.example.com:{port}", self.client.tunnels[1].urls)
        self.assertEqual(self.client.tunnels[2].urls, [f"tcp://localhost:{self.ports[-1]}"])
        self.assertTrue(is_localhost(relay.address.host))
