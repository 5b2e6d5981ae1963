"""The relay's configuration file."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.interfaces.account import Account
from burrow.relay.config import KINDS, Limits, Listener, RelayConfig, load_relay_config
from burrow.relay.values import PortRange
from burrow.tokens import hash_token

LEAST = "domain: relay.example.com\nlisten: tcp:443\n"
HASH, HASH2 = hash_token("one"), hash_token("two")


class RelayConfigCase(SynchronousTestCase):
    """What the cases below share."""

    def setUp(self) -> None:
        """Make a folder for the file."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "relay.yml"

    def loaded(self, text: str, *plugins: str) -> RelayConfig:
        """Return what the file means when it holds ``text``."""
        self.path.write_text(text)
        return load_relay_config(self.path, plugins)

    def refused(self, text: str) -> str:
        """Return the message with which ``text`` is refused, the file's folder left out."""
        error = self.assertRaises(ConfigError, self.loaded, text)
        self.assertNotIn("\n", str(error))
        return str(error).removeprefix(f"{self.folder}/")


class ReadingTests(RelayConfigCase):
    """What a file may say."""

    def test_the_least_file(self) -> None:
        """A domain and an endpoint are enough; everything else has a default."""
        config = self.loaded(LEAST)
        self.assertEqual((config.domain, config.region), ("relay.example.com", "us"))
        self.assertEqual(config.listen, (Listener("tcp:443", KINDS),))
        self.assertEqual((config.tcp_ports, config.certificates), (PortRange(20000, 29999), None))
        self.assertEqual((config.state, config.accounts), (Path("/var/lib/burrow-relay"), {}))
        self.assertEqual((config.anonymous, config.grace, config.hello_timeout), (False, 60.0, 10.0))
        self.assertEqual(
            config.limits, Limits(sessions=100, tunnels=100, streams=10_000, unauthenticated=1000)
        )

    def test_a_whole_file(self) -> None:
        """Every key is read into typed values; relative paths count from the file's folder."""
        (self.folder / "certs").mkdir()
        config = self.loaded(
            f"""
domain: Relay.Example.com.
region: eu
listen:
- endpoint: systemd:domain=INET6:name=https
  kinds: [session, https, tls]
- {{endpoint: 'tcp6:80:interface=\\:\\:', kinds: http}}
- {{endpoint: tcp:7000, kinds: line-echo}}
tcp_ports: 30000-30009
certificates: certs
state: state
anonymous: true
grace: 90.5
hello_timeout: 5
limits: {{sessions: 7, unauthenticated: 50}}
accounts:
  team:
    tokens: [{HASH}, {HASH2.upper()}]
    domains: [Shop.example.com, '*.team.example.com', bücher.example]
    addresses: [22022, '22023']
    whitelist: [192.0.2.0/24, '2001:db8::1']
    limits: {{tunnels: 3}}
""",
            "line-echo",
        )
        self.assertEqual((config.domain, config.region, config.anonymous), ("relay.example.com", "eu", True))
        self.assertEqual(
            config.listen[0], Listener("systemd:domain=INET6:name=https", ("session", "https", "tls"))
        )
        self.assertEqual(
            config.listen[1:],
            (Listener("tcp6:80:interface=\\:\\:", ("http",)), Listener("tcp:7000", ("line-echo",))),
        )
        self.assertEqual(
            (len(config.tcp_ports), 30009 in config.tcp_ports, 30010 in config.tcp_ports), (10, True, False)
        )
        self.assertEqual((config.certificates, config.state), (self.folder / "certs", self.folder / "state"))
        self.assertEqual((config.grace, config.hello_timeout), (90.5, 5.0))
        self.assertEqual(config.limits, Limits(sessions=7, tunnels=100, streams=10_000, unauthenticated=50))
        self.assertEqual(config.accounts["team"].tokens, (HASH, HASH2))
        self.assertEqual(
            config.accounts["team"].account,
            Account(
                "team",
                domains=("shop.example.com", "*.team.example.com", "xn--bcher-kva.example"),
                addresses=(22022, 22023),
                whitelist=(ip_network("192.0.2.0/24"), ip_network("2001:db8::1/128")),
                limits={"tunnels": 3},
            ),
        )

    def test_an_account_may_have_nothing(self) -> None:
        """A name alone is an account that nobody can use yet."""
        self.assertEqual(
            self.loaded(LEAST + "accounts: {team: {}}").accounts["team"].account, Account("team")
        )

    def test_tokens_stay_out_of_logs(self) -> None:
        """A configuration that is shown does not show the hashes."""
        self.assertNotIn(HASH, repr(self.loaded(LEAST + f"accounts: {{team: {{tokens: [{HASH}]}}}}")))


class MistakeTests(RelayConfigCase):
    """Mistakes are named by file, line and key."""

    def test_what_has_to_be_there(self) -> None:
        """A file without a domain or without an endpoint is refused."""
        self.assertIn("relay.yml:1: domain is missing", self.refused(""))
        self.assertIn("relay.yml:1: listen is missing", self.refused("domain: a.example"))
        self.assertEqual(
            self.refused("domain: a.example\nlisten: []"),
            "relay.yml:2: listen: wanted at least one endpoint, got none",
        )

    def test_unknown_keys(self) -> None:
        """An unknown key is told with the near one, in accounts and limits too."""
        self.assertIn(
            "relay.yml:3: graze: unknown key, did you mean grace?", self.refused(LEAST + "graze: 1")
        )
        self.assertIn(
            "accounts.team.token: unknown key, did you mean tokens?",
            self.refused(LEAST + "accounts: {team: {token: x}}"),
        )
        self.assertIn(
            "limits.stream: unknown key, did you mean streams?", self.refused(LEAST + "limits: {stream: 1}")
        )
        self.assertIn(
            "accounts.t.limits.unauthenticated: unknown key",
            self.refused(LEAST + "accounts: {t: {limits: {unauthenticated: 1}}}"),
        )

    def test_endpoints(self) -> None:
        """What cannot be an endpoint is refused before anything listens."""
        for text, problem in (
            ("7", "wanted an endpoint such as tcp:443 or systemd:domain=INET6:name=https, or a mapping"),
            ("tcp", "wanted a port from 0 to 65535, as in tcp:443, got 'tcp'"),
            ("tcp:http", "wanted a port from 0 to 65535"),
            ("tcp:65536", "wanted a port from 0 to 65535"),
            ("tcp6:port=", "as in tcp6:443"),
            ("ssl:443", "wanted an endpoint that begins with one of tcp, tcp6, unix, systemd, got 'ssl:443'"),
            ("tcp:443:iface=lo", "wanted each of port, interface, backlog at most once and nothing else"),
            ("tcp:443:port=443", "at most once"),
            ("tcp:1:2:3:4", "at most once"),
            ("unix:", "wanted a path"),
            ("systemd:domain=INET6", "wanted INET, INET6 or UNIX and a name"),
            ("systemd:domain=X:name=a", "wanted INET, INET6 or UNIX and a name"),
        ):
            message = self.refused(
                f"domain: a.example\nlisten:\n- {{endpoint: tcp:1}}\n- '{text}'"
                if text != "7"
                else "domain: a.example\nlisten:\n- 7"
            )
            self.assertIn(problem, message)
            self.assertTrue(
                message.startswith("relay.yml:4: listen.1" if text != "7" else "relay.yml:3: listen.0"),
                message,
            )

    def test_kinds(self) -> None:
        """A listener serves the four kinds, and plugins that are there."""
        text = "domain: a.example\nlisten:\n- endpoint: tcp:1\n  kinds: [https, line-echo]"
        self.assertEqual(
            self.refused(text),
            "relay.yml:4: listen.0.kinds.1: wanted one of session, https, http, tls, got 'line-echo'",
        )
        self.assertEqual(self.loaded(text, "line-echo").listen[0].kinds, ("https", "line-echo"))

    def test_an_endpoint_twice(self) -> None:
        """The same endpoint cannot be listened at twice."""
        self.assertEqual(
            self.refused("domain: a.example\nlisten:\n- tcp:1\n- tcp:1"),
            "relay.yml:4: listen.1: wanted tcp:1 once, got it twice",
        )

    def test_values_out_of_range(self) -> None:
        """Ports, times and names have bounds that the message tells."""
        for text, problem in (
            (
                "tcp_ports: 1000-2000",
                "tcp_ports: wanted ports FIRST-LAST between 1024 and 65535, got '1000-2000'",
            ),
            ("tcp_ports: 3000-2000", "tcp_ports: wanted ports"),
            ("tcp_ports: 2000-", "tcp_ports: wanted ports"),
            ("tcp_ports: [2000]", "tcp_ports: wanted ports"),
            ("region: mars", "region: wanted one of us, eu, ap, au, sa, jp, in, got 'mars'"),
            ("grace: -1", "grace: wanted seconds from 0 to 3600, got -1"),
            (
                "accounts: {t: {addresses: [80]}}",
                "accounts.t.addresses.0: wanted a whole number from 1024 to 65535, got 80",
            ),
            (
                "accounts: {t: {whitelist: 10.0.0.1/8}}",
                "accounts.t.whitelist.0: wanted a network without bits behind its prefix, got '10.0.0.1/8'",
            ),
            (
                "accounts: {t: {whitelist: home}}",
                "accounts.t.whitelist.0: wanted an address or a network such as 192.0.2.0/24, got 'home'",
            ),
            ("accounts: {t: {whitelist: 7}}", "accounts.t.whitelist.0: wanted an address or a network"),
            ("accounts: {t: {domains: a..b}}", "accounts.t.domains.0: 'a..b' is not a hostname"),
            ("accounts: {anonymous: {}}", "accounts.anonymous: wanted an account name"),
            ("accounts: {'a b': {}}", "accounts.a b: wanted an account name"),
            ("accounts: {t: 1}", "accounts.t: wanted a mapping with tokens,"),
            ("limits: {streams: 0}", "limits.streams: wanted a whole number from 1 to 100000, got 0"),
        ):
            self.assertIn(f"relay.yml:3: {problem}", self.refused(LEAST + text))
        self.assertIn(
            "domain: wanted a hostname such as", self.refused("domain: '*.a.example'\nlisten: tcp:1")
        )

    def test_a_token_in_a_hash_place_is_not_shown(self) -> None:
        """A token pasted where its hash belongs stays out of the message."""
        message = self.refused(LEAST + "accounts: {t: {tokens: [burrow_s3cret]}}")
        self.assertIn("accounts.t.tokens.0: wanted", message)
        self.assertIn("sha256: and 64 hex digits", message)
        self.assertNotIn("s3cret", message)


class FolderTests(RelayConfigCase):
    """Folders that the file names."""

    def test_certificates_have_to_be_readable(self) -> None:
        """A certificates folder that is missing, or is a file, is named with the reason."""
        for name, reason in (("missing", "No such file or directory"), ("relay.yml", "Not a directory")):
            message = self.refused(LEAST + f"certificates: {name}")
            problem = f"wanted a folder that can be read, got '{self.folder}/{name}': {reason}"
            self.assertIn(f"relay.yml:3: certificates: {problem}", message)

    def test_state_may_be_missing_but_no_file(self) -> None:
        """The relay makes its state folder itself; a file in its place is refused."""
        self.assertEqual(self.loaded(LEAST + "state: later").state, self.folder / "later")
        self.assertIn("relay.yml:3: state: wanted a folder", self.refused(LEAST + "state: relay.yml"))


class ReservationTests(RelayConfigCase):
    """What two accounts cannot both have (row E3)."""

    def both(self, one: str, two: str) -> str:
        """Return why two accounts with these keys are refused."""
        return self.refused(LEAST + f"accounts:\n  one: {one}\n  two: {two}")

    def test_the_same_name_or_port_or_token(self) -> None:
        """The second account is named with the first; a token is not shown."""
        self.assertEqual(
            self.both("{domains: a.example}", "{domains: [b.example, A.example.]}"),
            "relay.yml:5: accounts.two.domains.1: wanted a.example in one account, got it in one too",
        )
        self.assertIn(
            "accounts.two.addresses.0: wanted 2000 in one account",
            self.both("{addresses: 2000}", "{addresses: 2000}"),
        )
        message = self.both(f"{{tokens: {HASH}}}", f"{{tokens: {HASH}}}")
        self.assertIn("accounts.two.tokens.0: wanted this token in one account, got it in one too", message)
        self.assertNotIn(HASH, message)

    def test_a_name_under_somebody_elses_wildcard(self) -> None:
        """Whichever account comes first in the file."""
        self.assertIn(
            "accounts.two.domains.0: wanted x.y.a.example in one account, got it in one too",
            self.both("{domains: '*.a.example'}", "{domains: x.y.a.example}"),
        )
        self.assertIn(
            "accounts.one.domains.0: wanted *.b.a.example in one account, got it in two too",
            self.both("{domains: '*.b.a.example'}", "{domains: '*.a.example'}"),
        )

    def test_an_account_may_have_a_name_under_its_own_wildcard(self) -> None:
        """Within one account nothing is in the way of anything; beside a wildcard stands its parent."""
        self.loaded(
            LEAST + "accounts: {one: {domains: ['*.a.example', x.a.example]}, two: {domains: a.example}}"
        )

    def test_the_relays_own_name_is_nobodys(self) -> None:
        """An account cannot reserve the name that the relay itself has."""
        self.assertIn(
            "accounts.one.domains: relay.example.com is the relay's own name",
            self.both("{domains: relay.example.com}", "{}"),
        )
