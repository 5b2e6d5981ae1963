"""The client's configuration."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from burrow.client.config import ClientConfig, default_config_path, load_client_config
from burrow.client.upstream import Address
from burrow.errors import ConfigError
from burrow.protocols.http import protocol as http
from burrow.protocols.tcp import protocol as tcp
from burrow.tokens import JoinToken

PROTOCOLS = {"http": http, "tcp": tcp}
FINGERPRINT = "sha256:" + "0a" * 32
PEM = "-----BEGIN CERTIFICATE-----\n"


class ClientConfigCase(SynchronousTestCase):
    """What the cases below share."""

    def setUp(self) -> None:
        """Make a folder for files."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, text: str, name: str = "burrow.yml") -> Path:
        """Write a file and return its path."""
        path = self.folder / name
        path.write_text(text)
        return path

    def loaded(self, text: str = "", environ: dict[str, str] | None = None, **flags: Any) -> ClientConfig:
        """Return the configuration when one file holds ``text``."""
        return load_client_config([self.file(text)], PROTOCOLS, environ or {}, flags)

    def refused(self, text: str = "", environ: dict[str, str] | None = None, **flags: Any) -> str:
        """Return the message with which it is refused, the files' folder left out."""
        error = self.assertRaises(ConfigError, self.loaded, text, environ, **flags)
        self.assertNotIn("\n", str(error))
        return str(error).replace(f"{self.folder}/", "")


class GlobalKeyTests(ClientConfigCase):
    """Keys beside the tunnels (contract 2.2)."""

    def test_nothing_set(self) -> None:
        """An empty file means the embedded relay, no token, region us."""
        config = self.loaded("")
        self.assertEqual((config.server_addr, config.authtoken, config.fingerprint), (None, "", None))
        self.assertEqual((config.root_cas, config.region, config.metadata), ("trusted", "us", ""))
        self.assertEqual((str(config.embedded_relay), config.tunnels), ("127.0.0.1:4443", {}))

    def test_everything_set(self) -> None:
        """Every key is read into a typed value."""
        config = self.loaded(
            "server_addr: Relay.Example.com\nauthtoken: 4nq9771\nroot_cas: host\nregion: eu\n"
            "metadata: '{}'\nembedded_relay: '[::1]:5000'\n"
        )
        self.assertEqual(
            (config.server_addr, config.authtoken), (Address("", "relay.example.com", 443), "4nq9771")
        )
        self.assertEqual((config.root_cas, config.region, config.metadata), ("host", "eu", "{}"))
        self.assertEqual(config.embedded_relay, Address("", "::1", 5000))

    def test_relay_addresses(self) -> None:
        """A port may follow; without one it is 443."""
        for text, address in (
            ("relay.test:7000", ("relay.test", 7000)),
            ("'[2001:db8::1]'", ("2001:db8::1", 443)),
            ("'[2001:db8::1]:444'", ("2001:db8::1", 444)),
            ("192.0.2.1", ("192.0.2.1", 443)),
        ):
            self.assertEqual(self.loaded(f"server_addr: {text}").server_addr, Address("", *address))
        for text in ("relay.test:x", "https://relay.test", "'a b'", "relay.test:0", "'::1'", "a/b"):
            self.assertIn(
                "burrow.yml:1: server_addr: wanted HOST[:PORT] of a relay, got ",
                self.refused(f"server_addr: {text}"),
            )
        self.assertIn(
            "embedded_relay: wanted HOST:PORT of a relay, got", self.refused("embedded_relay: localhost")
        )

    def test_values_that_do_not_fit(self) -> None:
        """The message names file, line, key and the allowed values (row F5)."""
        self.assertEqual(
            self.refused("\nregion: mars"),
            "burrow.yml:2: region: wanted one of us, eu, ap, au, sa, jp, in, got 'mars'",
        )
        self.assertIn(
            "burrow.yml:1: metadata: wanted at most 4096 characters, got 4097",
            self.refused("metadata: " + "x" * 4097),
        )
        self.assertIn(
            "burrow.yml:1: authtokn: unknown key, did you mean authtoken?", self.refused("authtokn: x")
        )
        self.assertIn(
            "burrow.yml:1: tunnels: wanted a mapping from names to definitions, got 7",
            self.refused("tunnels: 7"),
        )

    def test_tokens_are_not_shown(self) -> None:
        """Neither in a message nor where a configuration is shown."""
        self.assertNotIn("s3cret", self.refused("authtoken: [s3cret]"))
        self.assertNotIn("s3cret", self.refused("authtoken: s3cret with blanks"))
        self.assertNotIn("s3cret", repr(self.loaded("authtoken: s3cret")))

    def test_root_cas_file(self) -> None:
        """A PEM file counts from the folder of the file that names it; it has to be one."""
        self.file(PEM, "ca.pem")
        self.assertEqual(self.loaded("root_cas: ca.pem").root_cas, self.folder / "ca.pem")
        self.assertEqual(
            self.loaded("", root_cas=str(self.folder / "ca.pem")).root_cas, self.folder / "ca.pem"
        )
        message = self.refused("root_cas: missing.pem")
        self.assertEqual(
            message,
            "burrow.yml:1: root_cas: wanted trusted, host or a PEM file, got 'missing.pem': "
            "No such file or directory",
        )
        self.assertIn(
            "root_cas: wanted certificates in PEM, got 'burrow.yml' without any",
            self.refused("root_cas: burrow.yml"),
        )
        self.assertIn(
            "-root-cas: wanted trusted, host or a PEM file", self.refused("", root_cas="/missing.pem")
        )


class TunnelTests(ClientConfigCase):
    """Definitions (contract 2.3)."""

    def test_a_definition(self) -> None:
        """Protocol, address and the protocol's own settings are typed; what is not set has its default."""
        tunnel = self.loaded(
            "tunnels: {web: {proto: http, addr: 8080, bind_tls: true, metadata: x}}"
        ).tunnels["web"]
        self.assertEqual(
            (tunnel.name, tunnel.protocol, str(tunnel.addr)), ("web", http, "http://localhost:8080")
        )
        self.assertEqual(
            (tunnel.metadata, tunnel.settings["bind_tls"], tunnel.settings["subdomain"]), ("x", "true", None)
        )
        self.assertEqual(set(tunnel.settings), {setting.name for setting in http.settings})

    def test_names_made_of_digits_stay_as_written(self) -> None:
        """A subdomain such as 00012e34 is not taken for a number."""
        self.assertEqual(
            self.loaded("tunnels: {w: {proto: http, addr: 80, subdomain: 00012e34}}")
            .tunnels["w"]
            .settings["subdomain"],
            "00012e34",
        )

    def test_keys_of_other_protocols_are_ignored(self) -> None:
        """``subdomain`` on tcp does nothing (row F5)."""
        tunnel = self.loaded("tunnels: {ssh: {proto: tcp, addr: 22, subdomain: x}}").tunnels["ssh"]
        self.assertEqual(dict(tunnel.settings), {"remote_addr": None})

    def test_unknown_keys_are_not(self) -> None:
        """A key that no protocol has is told with file, line and the near one."""
        message = self.refused("tunnels:\n  web:\n    proto: http\n    adr: 80\n")
        self.assertIn("burrow.yml:4: tunnels.web.adr: unknown key, did you mean addr?", message)

    def test_what_has_to_be_there(self) -> None:
        """A definition without proto or addr names what it lacks."""
        self.assertEqual(
            self.refused("tunnels:\n  web:\n    addr: 80"),
            "burrow.yml:2: tunnels.web: proto is missing: wanted one of http, tcp",
        )
        self.assertIn(
            "burrow.yml:2: tunnels.web: addr is missing", self.refused("tunnels:\n  web:\n    proto: http")
        )
        self.assertIn(
            "tunnels.web: wanted a definition with proto and addr, got 80", self.refused("tunnels: {web: 80}")
        )
        self.assertIn(
            "tunnels.web: wanted a definition with proto and addr, got nothing",
            self.refused("tunnels: {web: }"),
        )

    def test_an_unknown_protocol_names_the_known_ones(self) -> None:
        """Plugins among them."""
        message = self.refused("tunnels:\n  web:\n    proto: htp\n    addr: 80")
        self.assertEqual(message, "burrow.yml:3: tunnels.web.proto: wanted one of http, tcp, got 'htp'")
        self.assertIn(
            "proto: wanted one of http, tcp, got ['http']",
            self.refused("tunnels: {w: {proto: [http], addr: 1}}"),
        )

    def test_bad_addresses(self) -> None:
        """The text is that of contract 1.6, with file and line."""
        message = self.refused("tunnels:\n  web:\n    proto: http\n    addr: zzz")
        self.assertEqual(
            message,
            "burrow.yml:4: tunnels.web.addr: "
            "Tunnel 'web' specifies invalid address 'zzz': missing port in address zzz",
        )

    def test_a_tunnel_has_a_name(self) -> None:
        """The empty name is refused."""
        message = self.refused("tunnels: {'': {proto: tcp, addr: 1}}")
        self.assertIn("wanted a name of 1 to 255 printable characters", message)

    def test_passwords_are_not_shown(self) -> None:
        """Neither in a message nor where a definition is shown."""
        self.assertNotIn("s3cret", self.refused("tunnels: {w: {proto: http, addr: 80, auth: s3cret}}"))
        self.assertNotIn(
            "s3cret", repr(self.loaded("tunnels: {w: {proto: http, addr: 80, auth: 'u:s3cret'}}"))
        )

    def test_tunnels_are_chosen_by_name(self) -> None:
        """``burrow start`` takes names; an unknown one is told with those there are (contract 1.6)."""
        config = self.loaded("tunnels: {a: {proto: tcp, addr: 1}, b: {proto: tcp, addr: 2}}")
        self.assertEqual([tunnel.name for tunnel in config.chosen(["b", "a", "b"])], ["b", "a"])
        error = self.assertRaises(ConfigError, config.chosen, ["x"])
        path = self.folder / "burrow.yml"
        self.assertEqual(
            str(error),
            "Tunnel 'x' is not defined in the config files.\n"
            f"Tunnels available: a b\nConfig files read: [{path}]",
        )


class LayerTests(ClientConfigCase):
    """What counts more than what (contract 2.1)."""

    def test_files_are_merged_in_order(self) -> None:
        """Later scalars and definitions replace earlier ones, others stay."""
        one = self.file(
            "region: eu\nauthtoken: a\n"
            "tunnels: {x: {proto: http, addr: 1, subdomain: s}, y: {proto: tcp, addr: 2}}",
            "1.yml",
        )
        two = self.file("region: ap\ntunnels: {x: {proto: tcp, addr: 3}}", "2.yml")
        config = load_client_config([one, two], PROTOCOLS, {})
        self.assertEqual((config.region, config.authtoken, config.files), ("ap", "a", (one, two)))
        self.assertEqual(
            [(name, str(each.addr)) for name, each in config.tunnels.items()],
            [("x", "localhost:3"), ("y", "localhost:2")],
        )

    def test_mistakes_name_the_file_they_are_in(self) -> None:
        """Of several files, the one with the mistake."""
        one, two = self.file("\nregion: mars", "1.yml"), self.file("authtoken: a", "2.yml")
        error = self.assertRaises(ConfigError, load_client_config, [one, two], PROTOCOLS, {})
        self.assertIn(f"{one}:2: region", str(error))

    def test_flags_beat_files_and_these_the_environment(self) -> None:
        """The relay's address shows all three."""
        environ = {"BURROW_SERVER_ADDR": "env.test:1"}
        address = Address("", "flag.test", 443)
        self.assertEqual(str(self.loaded("", environ).server_addr), "env.test:1")
        self.assertEqual(str(self.loaded("server_addr: file.test", environ).server_addr), "file.test:443")
        self.assertEqual(
            self.loaded("server_addr: file.test", environ, server_addr=address).server_addr, address
        )
        self.assertEqual(self.loaded("region: eu", region="jp", root_cas=None).region, "jp")
        self.assertEqual(
            self.refused("", {"BURROW_SERVER_ADDR": "a b"}),
            "BURROW_SERVER_ADDR: wanted HOST[:PORT] of a relay, got 'a b'",
        )

    def test_a_named_file_has_to_be_there_the_default_has_not(self) -> None:
        """A missing default is nothing set; a missing named file is an error (row F1)."""
        missing = self.folder / "missing.yml"
        self.assertEqual(load_client_config([], PROTOCOLS, {}, default=missing).files, ())
        self.assertIn(
            "cannot be read",
            str(self.assertRaises(ConfigError, load_client_config, [missing], PROTOCOLS, {})),
        )

    def test_the_default_is_read_if_no_other_is_named(self) -> None:
        """A named file replaces the default."""
        default, other = self.file("region: eu", "default.yml"), self.file("authtoken: a", "other.yml")
        self.assertEqual(load_client_config([], PROTOCOLS, {}, default=default).region, "eu")
        self.assertEqual(load_client_config([other], PROTOCOLS, {}, default=default).region, "us")

    def test_dev_null_is_an_empty_file(self) -> None:
        """Programs name it to have no file read (contract 1.8)."""
        self.assertEqual(load_client_config([Path("/dev/null")], PROTOCOLS, {}).tunnels, {})

    def test_the_default_is_in_the_home_of_the_user_database(self) -> None:
        """``HOME`` does not count (row F1)."""
        self.patch(os, "environ", {"HOME": "/elsewhere"})
        home = pwd.getpwuid(os.geteuid()).pw_dir
        self.assertEqual(default_config_path(), Path(home) / ".burrow" / "burrow.yml")

    def test_a_user_without_a_home_has_no_default(self) -> None:
        """A process whose user the database does not know reads no default file."""
        self.patch(os, "geteuid", lambda: 4_000_000_000)
        self.assertIsNone(default_config_path())


class JoinTokenTests(ClientConfigCase):
    """Pasting one token sets up a client (row M7)."""

    token = JoinToken("join.test:8443", FINGERPRINT, "s3cret").encode()

    def test_it_brings_address_and_fingerprint(self) -> None:
        """Only its secret goes to the relay; it counts more than the environment."""
        config = self.loaded(f"authtoken: {self.token}", {"BURROW_SERVER_ADDR": "env.test"})
        self.assertEqual(
            (str(config.server_addr), config.fingerprint, config.authtoken),
            ("join.test:8443", FINGERPRINT, "s3cret"),
        )

    def test_a_plain_address_beside_it_counts_more(self) -> None:
        """``server_addr`` in the file beats a token in the file, a token's flag beats the file."""
        text = f"server_addr: file.test\nauthtoken: {self.token}"
        self.assertEqual(str(self.loaded(text).server_addr), "file.test:443")
        self.assertEqual(
            str(self.loaded("server_addr: file.test", authtoken=self.token).server_addr), "join.test:8443"
        )
        flag = Address("", "flag.test", 1)
        self.assertEqual(self.loaded(text, authtoken=self.token, server_addr=flag).server_addr, flag)

    def test_a_damaged_one_is_told(self) -> None:
        """With file and line, or with the flag."""
        self.assertIn(
            "burrow.yml:1: authtoken: the join token is damaged",
            self.refused(f"authtoken: {self.token[:-1]}"),
        )
        self.assertIn("-authtoken: the join token is damaged", self.refused("", authtoken=self.token[:-1]))
        bad = JoinToken("join.test:x", FINGERPRINT, "s").encode()
        self.assertIn(
            "authtoken: the join token's address: wanted HOST[:PORT] of a relay, got 'join.test:x'",
            self.refused(f"authtoken: {bad}"),
        )
