"""Accounts of one relay: none gets what is another's, and a whitelist holds on every path."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from typing import Any

from tests.end_to_end.deployment import DeploymentCase, port_of
from tests.end_to_end.processes import Program
from tests.end_to_end.services import Service, WebServer, read_all

OTHER = "another-token-that-only-the-tests-know-98765"


def hashed(token: str) -> str:
    """Return what stands in relay.yml for a token."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


class TenantCase(DeploymentCase):
    """Two accounts: ``team``, and ``other`` whose client is ``intruder``."""

    reservations: dict[str, Any] = {"domains": ["shop.example", "*.team.example"]}
    other: dict[str, Any] = {}

    def setUp(self) -> None:
        """Start the relay, and a web server to publish."""
        super().setUp()
        self.relay_settings["accounts"]["team"].update(self.reservations)
        self.relay_settings["accounts"]["other"] = {"tokens": [hashed(OTHER)], **self.other}
        self.web = WebServer()
        self.addCleanup(self.web.close)
        self.relay = self.start_relay()

    def intruder(self, tunnels: dict[str, Any]) -> Program:
        """Start the other account's client."""
        return self.start_client(tunnels, "other.yml", authtoken=OTHER)

    def answer(self, host: str, server_name: str = "") -> bytes:
        """Return the status line that a request for ``host`` gets, over TLS if a server name is given."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        with contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if server_name:
                context = self.authority.trust()
                context.check_hostname = False
                connection = stack.enter_context(context.wrap_socket(connection, server_hostname=server_name))
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return read_all(connection).partition(b"\r\n")[0]


class NameTests(TenantCase):
    """Names that belong to somebody else."""

    def test_taken_and_reserved(self) -> None:
        """No spelling of a name gives another account what is taken or reserved; its owner goes on."""
        addr = self.web.port
        self.start_client({"shop": {"proto": "http", "addr": addr, "subdomain": "shop"}})
        wanted = {
            "taken": {"subdomain": "SHOP"},
            "tls-side": {"subdomain": "shop", "bind_tls": "true"},
            "custom": {"hostname": "Shop.Example."},
            "below": {"hostname": "a.b.team.example"},
            "wildcard": {"hostname": "*.team.example"},
            "whole": {"subdomain": "*"},
            "relays-own": {"hostname": "Relay.Test."},
        }
        definitions = {name: {"proto": "http", "addr": addr, **one} for name, one in wanted.items()}
        definitions["pass-through"] = {"proto": "tls", "addr": addr, "subdomain": "shop"}
        intruder = self.intruder(definitions)
        for name in definitions:
            intruder.wait_for(rf"tunnel {name} is refused: .*(bound to another|reserved|relay's own)")
        self.assertNotIn("Traceback", self.relay.output)
        for server_name in ("", "shop.relay.test"):
            self.assertEqual(self.answer("shop.relay.test", server_name), b"HTTP/1.1 200 OK")

    def test_reserved_while_offline(self) -> None:
        """A reserved name is nobody else's while its owner's client is away; a name that was not is free."""
        definition = {"proto": "http", "addr": self.web.port}
        one = {**definition, "hostname": "shop.example", "bind_tls": "false"}
        owner = self.start_client({"one": one, "two": {**definition, "subdomain": "free"}})
        for name in ("one", "two"):
            self.url(owner, name, "http")
        owner.stop()
        self.relay.wait_for("session .* of team ended")
        intruder = self.intruder({"one": one, "two": {**definition, "subdomain": "free"}})
        intruder.wait_for("tunnel one is refused: .*reserved for another account")
        self.url(intruder, "two", "http")
        self.assertEqual(self.answer("shop.example"), b"HTTP/1.1 404 Not Found")


class RoutingTests(TenantCase):
    """Requests that name two tenants at once."""

    def setUp(self) -> None:
        """Publish one web server for each account."""
        super().setUp()
        definition = {"proto": "http", "addr": self.web.port}
        self.url(self.start_client({"a": {**definition, "subdomain": "a"}}), "a", "https")
        self.url(self.intruder({"b": {**definition, "subdomain": "b"}}), "b", "https")

    def test_spellings_of_a_host(self) -> None:
        """Case, a final dot and a port change nothing; an escaped or odd name is refused, not guessed."""
        for host in ("A.RELAY.TEST", "a.relay.test.", f"a.relay.test:{self.port}"):
            self.assertEqual(self.answer(host), b"HTTP/1.1 200 OK", host)
        for host in (
            "%61.relay.test",
            "a.relay.test/",
            "b@a.relay.test",
            "a.relay.test b.relay.test",
            "a..test",
        ):
            self.assertEqual(self.answer(host), b"HTTP/1.1 400 Bad Request", host)

    def test_server_name_of_one_and_host_of_the_other(self) -> None:
        """A TLS connection serves only the name that it was opened for; one certificate covers both."""
        self.assertEqual(self.answer("b.relay.test", "a.relay.test"), b"HTTP/1.1 421 Misdirected Request")
        self.assertEqual(self.answer("A.relay.test.", "a.relay.test"), b"HTTP/1.1 200 OK")


class WhitelistTests(TenantCase):
    """An account whose visitors may come from elsewhere only."""

    other = {"whitelist": ["203.0.113.0/24", "2001:db8::/32"]}

    def test_every_path(self) -> None:
        """Visitors of other addresses reach nothing by http, https, tcp or tls, whatever they claim."""
        reached: list[bytes] = []
        service = Service(lambda connection: reached.append(connection.recv(100)))
        self.addCleanup(service.close)
        client = self.intruder(
            {
                "web": {"proto": "http", "addr": service.port, "subdomain": "web"},
                "raw": {"proto": "tcp", "addr": service.port},
                "through": {"proto": "tls", "addr": service.port, "subdomain": "through"},
            }
        )
        ports = [port_of(self.url(client, "raw", "tcp")), self.port, self.port]
        self.url(client, "through", "tls")
        forged = (
            b"GET / HTTP/1.1\r\nHost: web.relay.test\r\nX-Forwarded-For: 203.0.113.1\r\n"
            b"Forwarded: for=203.0.113.1\r\nTrue-Client-IP: 203.0.113.1\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        proxied = b"PROXY TCP4 203.0.113.1 127.0.0.1 1 2\r\n" + forged
        for port, said in zip(ports, (b"x", forged, proxied), strict=True):
            with (
                socket.create_connection(("127.0.0.1", port), timeout=20) as visitor,
                contextlib.suppress(OSError),
            ):
                visitor.sendall(said)
                self.assertNotIn(b"HTTP/1.1 200", read_all(visitor))
        for name in ("web.relay.test", "through.relay.test"):
            with contextlib.suppress(ssl.SSLError, OSError):
                self.assertEqual(self.answer(name, name), b"")
        self.assertEqual(reached, [])
        self.assertNotIn("Traceback", self.relay.output + client.output)
