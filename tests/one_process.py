"""A whole relay and whole clients on one reactor that is turned by hand, joined by real sockets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Protocol

from burrow.client.config import ClientConfig
from burrow.client.definitions import TunnelDefinition, define
from burrow.client.making import make_client
from burrow.client.service import Client
from burrow.client.upstream import Address
from burrow.discovery import discover
from burrow.errors import SessionRefused, TunnelRefused
from burrow.interfaces.account import Account
from burrow.interfaces.protocol import ITunnelProtocol
from burrow.relay.accounts.file import FileAccounts
from burrow.relay.authority import LocalAuthority
from burrow.relay.certificates import Certificates
from burrow.relay.config import AccountEntry
from burrow.relay.publishing import Place
from burrow.relay.service import Admission, Entrance, Relay
from burrow.tokens import hash_token
from tests.end_to_end.deployment import free_ports
from tests.net.reactors import ReactorCase

DOMAIN = "relay.test"
TOKEN = "a-token-that-only-the-tests-know-0123456789"
OTHER_TOKEN = "another-token-that-only-the-tests-know-01234"
KINDS = ("session", "https", "http", "tls")
PROTOCOLS = discover().protocols


class Echo(Protocol):
    """A local service that sends everything back."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)  # type: ignore[union-attr]


class Log:
    """Notes what a client tells: its watcher."""

    def __init__(self) -> None:
        self.up: list[str] = []
        self.refused: list[tuple[str, TunnelRefused]] = []
        self.gone: list[SessionRefused] = []

    def tunnel_up(self, tunnel: Any) -> None:
        """See `burrow.client.service.Watcher`."""
        self.up.append(tunnel.definition.name)

    def tunnel_refused(self, tunnel: Any, error: TunnelRefused) -> None:
        """See `burrow.client.service.Watcher`."""
        self.refused.append((tunnel.definition.name, error))

    def session_refused(self, error: SessionRefused) -> None:
        """See `burrow.client.service.Watcher`."""
        self.gone.append(error)


class NoNetwork:
    """A network that never changes."""

    def start(self, changed: object) -> None:
        """See `burrow.client.service.Network`."""

    def stop(self) -> None:
        """See `burrow.client.service.Network`."""


class OneProcessCase(ReactorCase):
    """A test with relays and clients in this process.

    Attributes:
        authority: Signs for every name.
        ports: The public TCP ports of the relays.
    """

    limits: Mapping[str, int] = {}
    ticket_key = b"k" * 32

    def setUp(self) -> None:
        """Make the authority."""
        super().setUp()
        self.authority = LocalAuthority.load_or_create(Path(self.mktemp()))
        first, last = free_ports(8)
        self.ports = range(first, last + 1)
        self.services: list[Any] = []
        self.addCleanup(self.stop_all)

    def accounts(self) -> FileAccounts:
        """Return two accounts, ``team`` and ``other``."""
        entries = {
            name: AccountEntry(Account(name, limits=self.limits), (hash_token(token),))
            for name, token in (("team", TOKEN), ("other", OTHER_TOKEN))
        }
        return FileAccounts(entries)

    def make_relay(
        self,
        port: int = 0,
        protocols: Mapping[str, ITunnelProtocol] = PROTOCOLS,
        admission: Admission | None = None,
    ) -> Relay:
        """Make a relay that is not started yet."""
        endpoint = TCP4ServerEndpoint(self.reactor, port, interface="127.0.0.1")
        return Relay(
            self.reactor,  # type: ignore[arg-type]
            Place(DOMAIN, tcp_ports=self.ports, interface="127.0.0.1"),
            ("us",),
            [Entrance(f"tcp:{port}", endpoint, (*KINDS, *protocols))],
            self.accounts(),
            Certificates(None, self.authority, ("",)),
            protocols,
            admission or Admission(),
            self.ticket_key,
        )

    def start_relay(self, **options: Any) -> Relay:
        """Start a relay."""
        relay = self.make_relay(**options)
        relay.privilegedStartService()
        relay.startService()
        self.services.append(relay)
        return relay

    def port_of(self, relay: Relay) -> int:
        """Return the port of a relay's one entrance."""
        port: int = relay.ports[0].getHost().port  # type: ignore[attr-defined]
        return port

    def config(self, port: int, **changes: Any) -> ClientConfig:
        """Return the configuration of a client of the relay at a port."""
        values: dict[str, Any] = {
            "server_addr": Address("", DOMAIN, port),
            "authtoken": TOKEN,
            "fingerprint": None,
            "root_cas": self.authority.certificate_path,
            "region": "us",
            "metadata": "",
            "embedded_relay": Address("", "127.0.0.1", 1),
            "tunnels": {},
            "files": (),
        }
        return ClientConfig(**{**values, **changes})

    def make_client(
        self, port: int, definitions: Sequence[TunnelDefinition], log: Log | None = None, **changes: Any
    ) -> Client:
        """Make a client that is not started yet."""
        config = self.config(port, **changes)
        nowhere = Path(self.mktemp())
        return make_client(self.reactor, config, definitions, log or Log(), nowhere, "127.0.0.1", NoNetwork())

    def start_client(self, port: int, *definitions: TunnelDefinition, **changes: Any) -> tuple[Client, Log]:
        """Start a client; return it and what it tells."""
        log = Log()
        client = self.make_client(port, definitions, log, **changes)
        client.startService()
        self.services.append(client)
        return client, log

    def tunnel(self, protocol: str, port: int, name: str = "one", **settings: Any) -> TunnelDefinition:
        """Define a tunnel to a local port."""
        return define(name, PROTOCOLS[protocol], f"127.0.0.1:{port}", settings)

    def echo(self) -> int:
        """Start a local service that sends everything back; return its port."""
        port: int = self.listen(Echo).getHost().port
        return port

    def waited(self, deferred: Deferred[Any]) -> Any:
        """Turn the reactor until a Deferred fires; return its result."""
        outcome: list[Any] = []
        deferred.addCallback(outcome.append)
        deferred.addErrback(self.fail)
        self.until(lambda: outcome, "a Deferred did not fire")
        return outcome[0]

    def stop(self, service: Any) -> None:
        """Stop a service, and wait until it is."""
        self.services.remove(service)
        self.waited(service.stopService())

    def stop_all(self) -> None:
        """Stop the clients, then the relays."""
        for service in reversed(self.services[:]):
            self.stop(service)
