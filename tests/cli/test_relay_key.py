"""The fingerprint of a relay's key."""

from __future__ import annotations

import yaml

from burrow.cli.relay_key import relay_fingerprint
from burrow.errors import ConfigError
from burrow.net.trust import fingerprint
from burrow.relay.authority import LocalAuthority
from burrow.relay.config import load_relay_config
from burrow.relay.tap import certificates_of
from tests.relay.test_certificates import FolderCase


class RelayFingerprintTests(FolderCase):
    """``burrow relay fingerprint FILE``."""

    def setUp(self) -> None:
        """Make a configuration file."""
        super().setUp()
        self.state = self.folder.with_name(self.folder.name + "-state")
        self.file = self.folder.with_name(self.folder.name + ".yml")
        self.settings = {"domain": "relay.example", "listen": ["tcp:0"], "state": str(self.state)}
        self.write()

    def write(self, **settings: str) -> None:
        """Write the file."""
        self.file.write_text(yaml.safe_dump({**self.settings, **settings}), "utf-8")

    def test_of_a_certificate(self) -> None:
        """A certificate in PEM tells its key's fingerprint."""
        certificate = self.put("relay", "relay.example")
        self.assertEqual(relay_fingerprint(self.folder / "relay.pem"), fingerprint(certificate))

    def test_of_a_configuration(self) -> None:
        """The relay's configuration leads to the certificate of the relay's own name."""
        self.put("other", "other.example")
        certificate = self.put("relay", "relay.example", "*.relay.example")
        self.write(certificates=str(self.folder))
        self.assertEqual(relay_fingerprint(self.file), fingerprint(certificate))

    def test_of_a_relay_with_its_own_authority(self) -> None:
        """A relay without certificates has a key once it has started; asking makes none."""
        said = str(self.assertRaises(ConfigError, relay_fingerprint, self.file))
        self.assertIn(f"there is no key yet in {self.state}", said)
        self.assertFalse(self.state.exists())
        leaf = LocalAuthority.load_or_create(self.state).leaf("relay.example")
        self.assertEqual(relay_fingerprint(self.file), fingerprint(leaf.chain[0]))

    def test_of_what_is_no_certificate(self) -> None:
        """A file that is neither is named."""
        wrong = self.folder / "wrong.crt"
        wrong.write_text("nothing", "utf-8")
        said = str(self.assertRaises(ConfigError, relay_fingerprint, wrong))
        self.assertEqual(said, f"{wrong}: wanted certificates in PEM form")

    def test_relay_without_a_certificate_for_its_name(self) -> None:
        """A relay that no client could reach does not start."""
        self.put("other", "other.example")
        self.write(certificates=str(self.folder))
        config = load_relay_config(self.file)
        said = str(self.assertRaises(ConfigError, certificates_of, config))
        self.assertEqual(
            said, f"{self.folder}: there is no certificate for 'relay.example', the relay's own name"
        )
