"""A client out of its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from burrow.client import making
from burrow.client.config import ClientConfig, load_client_config
from burrow.client.definitions import TunnelDefinition, define
from burrow.client.making import INSTANCE, make_client, verification
from burrow.client.network import NetworkWatch
from burrow.discovery import discover
from burrow.errors import ConfigError
from burrow.net.trust import fingerprint
from burrow.relay.authority import LocalAuthority
from tests.one_process import DOMAIN, Log, OneProcessCase

PROTOCOLS = discover().protocols


class Broken:
    """A protocol whose forwarder cannot be made."""

    name, schemes = "broken", ()
    settings = PROTOCOLS["tcp"].settings

    def __init__(self, error: Exception) -> None:
        self.error = error

    def forwarder(self, *arguments: object) -> Any:
        """See `ITunnelProtocol.forwarder`."""
        raise self.error


class MakingTests(SynchronousTestCase):
    """What is made, and what cannot be."""

    def config(self, text: str = "server_addr: 192.0.2.7\n") -> ClientConfig:
        """Read a configuration."""
        path = Path(self.mktemp())
        path.write_text(text)
        return load_client_config([path], PROTOCOLS, {})

    def make(self, *definitions: TunnelDefinition, config: ClientConfig | None = None) -> Any:
        """Make a client."""
        reactor = MemoryReactorClock()
        return make_client(reactor, config or self.config(), definitions, Log(), Path("/nonexistent"))

    def test_tunnels_are_numbered_from_one(self) -> None:
        """Each has a number of its own, in the order in which they were asked for."""
        tunnels = [define(name, PROTOCOLS["http"], "80", {}) for name in ("a", "b")]
        client = self.make(*tunnels)
        self.assertEqual([tunnel._number for tunnel in client.tunnels], [1, 2])
        self.assertEqual([tunnel.address for tunnel in client.tunnels], ["http://localhost:80"] * 2)

    def test_the_network_is_watched(self) -> None:
        """What the system says is used if nothing else is given."""
        self.assertIsInstance(self.make()._network, NetworkWatch)

    def test_no_relay(self) -> None:
        """Without the relay's address there is no client."""
        error = self.assertRaises(ConfigError, self.make, config=self.config(""))
        self.assertIn("server_addr", str(error))

    def test_a_plugin_that_fails(self) -> None:
        """A forwarder that cannot be made is one line that names the tunnel, whatever it raised."""
        for error, expected in (
            (ConfigError("crt: wanted a PEM file"), "Tunnel 'shop' cannot be made: crt: wanted a PEM file"),
            (
                RuntimeError("two\nlines"),
                "Tunnel 'shop' cannot be made: the plugin 'broken' failed with RuntimeError: two lines",
            ),
        ):
            broken: Any = Broken(error)
            raised = self.assertRaises(ConfigError, self.make, define("shop", broken, "80", {}))
            self.assertEqual(str(raised), expected)
        self.flushLoggedErrors(RuntimeError)

    def test_instance(self) -> None:
        """A process has one number of 16 bytes, whatever it connects to."""
        self.assertEqual(len(INSTANCE), 16)
        self.assertEqual(self.make()._endpoint._offer.instance, INSTANCE)

    def test_method(self) -> None:
        """A client without an authtoken says that it is anonymous."""
        self.assertEqual(self.make()._endpoint._offer.method, "anonymous")
        config = self.config("server_addr: 192.0.2.7\nauthtoken: some-token-0123456789012345\n")
        self.assertEqual(self.make(config=config)._endpoint._offer.method, "token")


class TrustTests(OneProcessCase):
    """Whom the client trusts (row F8)."""

    def reached(self, **changes: Any) -> bool:
        """Tell whether a client gets a session."""
        relay = self.start_relay()
        client, _ = self.start_client(self.port_of(relay), **changes)
        failures: list[str] = []
        tell = client._endpoint._tell
        client._endpoint._tell = lambda why: (failures.append(why), tell(why))[1]  # type: ignore[func-returns-value,method-assign]
        self.until(lambda: client.session is not None or failures)
        self.failures = failures
        return client.session is not None

    def test_a_file(self) -> None:
        """A PEM file vouches for the relay."""
        self.assertTrue(self.reached())

    def test_another_authority(self) -> None:
        """A relay of another authority is not reached."""
        other = LocalAuthority.load_or_create(Path(self.mktemp()))
        self.assertFalse(self.reached(root_cas=other.certificate_path))

    def test_the_host(self) -> None:
        """The host's roots do not vouch for an authority of our own."""
        self.assertFalse(self.reached(root_cas="host"))

    def test_a_fingerprint(self) -> None:
        """What a join token brought is enough, and any other key is not."""
        right = fingerprint(self.authority.leaf(DOMAIN).chain[0])
        self.assertTrue(self.reached(root_cas="trusted", fingerprint=right))
        self.stop_all()
        self.assertFalse(self.reached(root_cas="trusted", fingerprint="sha256:" + "0" * 64))

    def test_the_embedded_authority(self) -> None:
        """For names of this machine, and for no others, the embedded relay's authority is trusted."""
        config, local = self.config(1, root_cas="trusted"), self.authority.certificate_path
        given: list[Any] = []
        self.patch(making, "client_options", lambda host, trust, *rest: given.append(trust))
        for host in ("localhost", "a.localhost", DOMAIN):
            verification(config, host, local)
        verification(config, "localhost", Path("/nonexistent"))
        self.assertEqual(given, [local, local, None, None])
