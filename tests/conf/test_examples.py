"""The configuration files that are installed."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from burrow.client.config import load_client_config
from burrow.client.config import schema as client_schema
from burrow.discovery import discover
from burrow.relay.config import load_relay_config
from burrow.relay.config import schema as relay_schema
from burrow.settings import Schema

CONF = Path(__file__).parent.parent.parent / "conf"


def uncommented(text: str) -> str:
    """Return a file with its commented-out keys put in force, in place of the empty ones."""
    lines = re.sub(r"(?m)^(accounts|tunnels): \{\}\n", "", text).splitlines()
    return "\n".join(re.sub(r"^#(?! \S)", "", line) for line in lines)


class ExampleCase(SynchronousTestCase):
    """What the cases below share."""

    def variant(self, name: str) -> Path:
        """Return a copy of an installed file whose commented-out keys are in force."""
        path = Path(self.mktemp())
        path.write_text(uncommented((CONF / name).read_text()).replace("/etc/burrow/certificates", "."))
        return path

    def assert_all_named(self, schema: Schema, name: str) -> None:
        """Check that a file names every key of a schema, in force or as a comment."""
        text = (CONF / name).read_text()
        self.assertEqual([key.name for key in schema if not re.search(rf"(?m)^#?{key.name}:", text)], [])


class RelayExampleTests(ExampleCase):
    """``relay.yml``."""

    def test_it_can_be_loaded_as_it_is(self) -> None:
        """Nobody can publish until the operator has made an account."""
        config = load_relay_config(CONF / "relay.yml")
        self.assertEqual((config.domain, config.accounts, config.anonymous), ("relay.example.com", {}, False))

    def test_its_comments_can_be_put_in_force(self) -> None:
        """Every key that is commented out is right."""
        account = load_relay_config(self.variant("relay.yml")).accounts["team"].account
        self.assertEqual((account.addresses, account.limits), ((22022,), {"tunnels": 10}))

    def test_it_names_every_key(self) -> None:
        """An operator sees all there is to set."""
        self.assert_all_named(relay_schema(), "relay.yml")

    def test_values_in_it_are_the_defaults(self) -> None:
        """What the file says is what counts without it."""
        path = Path(self.mktemp())
        path.write_text("domain: relay.example.com\nlisten: tcp:443")
        least, whole = load_relay_config(path), load_relay_config(CONF / "relay.yml")
        for name in ("region", "tcp_ports", "state", "anonymous", "grace", "hello_timeout", "limits"):
            self.assertEqual(getattr(whole, name), getattr(least, name))


class ClientExampleTests(ExampleCase):
    """``client.yml``."""

    def setUp(self) -> None:
        """Find the protocols."""
        self.protocols = discover().protocols

    def test_it_can_be_loaded_as_it_is(self) -> None:
        """It sets what would count without it."""
        config = load_client_config([CONF / "client.yml"], self.protocols, {})
        nothing = load_client_config([Path("/dev/null")], self.protocols, {})
        for name in (
            "server_addr",
            "authtoken",
            "root_cas",
            "region",
            "metadata",
            "embedded_relay",
            "tunnels",
        ):
            self.assertEqual(getattr(config, name), getattr(nothing, name))

    def test_its_comments_can_be_put_in_force(self) -> None:
        """Every key that is commented out is right."""
        config = load_client_config([self.variant("client.yml")], self.protocols, {})
        self.assertEqual(str(config.server_addr), "relay.example.com:443")
        self.assertEqual(sorted(config.tunnels), ["database", "mail", "shop"])

    def test_it_names_every_key(self) -> None:
        """A user sees all there is to set."""
        self.assert_all_named(client_schema(self.protocols), "client.yml")
