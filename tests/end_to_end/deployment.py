"""A relay and a client as an operator runs them, and visitors of their tunnels."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.end_to_end.authority import Authority
from tests.end_to_end.processes import PATIENCE, ProcessCase, Program, tool

DOMAIN = "relay.test"
TOKEN = "a-token-that-only-the-tests-know-0123456789"
KINDS = ["session", "https", "http", "tls"]
PORTS = 20  #: how many public TCP ports a relay under test has

LISTENING = r"listening on (\S+):(\d+) for session, https, http, tls"
ESTABLISHED = r"session (\S+) established with (\S+)"
TUNNEL = r"tunnel (\S+): (\S+://\S+) -> (\S+)"
FORWARDING = r"Forwarding\s+(\S+://\S+) -> (\S+)"


def free_ports(count: int) -> tuple[int, int]:
    """Return the first and the last of ``count`` ports in a row that nobody uses.

    They are below the ephemeral range, so that no outgoing connection takes one meanwhile.
    """
    while True:
        first = random.randrange(20_000, 32_000 - count)
        taken = []
        try:
            for port in range(first, first + count):
                taken.append(socket.create_server(("127.0.0.1", port), reuse_port=False))
        except OSError:
            continue
        finally:
            for listener in taken:
                listener.close()
        return first, first + count - 1


def port_of(url: str) -> int:
    """Return the port of a public URL."""
    parts = urlsplit(url)
    return parts.port or {"http": 80, "https": 443, "tls": 443}[parts.scheme]


def host_of(url: str) -> str:
    """Return the hostname of a public URL."""
    return urlsplit(url).hostname or ""


class DeploymentCase(ProcessCase):
    """A test with a relay, ``relay.test``, and clients with one account, all on loopback."""

    def setUp(self) -> None:
        """Make the authority and the relay's certificate."""
        super().setUp()
        self.authority = Authority(self.directory / "authority")
        certificates = self.directory / "certificates"
        self.authority.issue(DOMAIN, f"*.{DOMAIN}", "localhost", directory=certificates)
        first, last = free_ports(PORTS)
        self.relay_settings: dict[str, Any] = {
            "domain": DOMAIN,
            "region": "us",
            "listen": [{"endpoint": "tcp:0:interface=127.0.0.1", "kinds": KINDS}],
            "tcp_ports": f"{first}-{last}",
            "certificates": str(certificates),
            "state": str(self.directory / "state"),
            "accounts": {"team": {"tokens": ["sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()]}},
        }
        self.port = 0

    def write_yaml(self, name: str, settings: Mapping[str, Any]) -> Path:
        """Write settings to a file of the test's directory."""
        path = self.directory / name
        path.write_text(yaml.safe_dump(dict(settings), sort_keys=False), "utf-8")
        return path

    def start_relay(self) -> Program:
        """Start the relay and wait until it listens; `port` is then its port.

        A later one listens where the first did.
        """
        relay = self.twistd("burrow-relay", "-c", str(self.write_yaml("relay.yml", self.relay_settings)))
        self.port = int(relay.wait_for(LISTENING).group(2))
        self.relay_settings["listen"][0]["endpoint"] = f"tcp:{self.port}:interface=127.0.0.1"
        return relay

    def client_settings(self, tunnels: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Return the configuration of a client of the relay that was started."""
        return {
            "server_addr": f"localhost:{self.port}",
            "authtoken": TOKEN,
            "root_cas": str(self.authority.path),
            "tunnels": dict(tunnels),
            **more,
        }

    def start_client(self, tunnels: Mapping[str, Any], name: str = "client.yml", **more: Any) -> Program:
        """Start a client and wait until its session is established."""
        path = self.write_yaml(name, self.client_settings(tunnels, **more))
        client = self.twistd("burrow-client", "-c", str(path))
        client.wait_for(ESTABLISHED)
        return client

    def url(self, client: Program, name: str, scheme: str, start: int = 0) -> str:
        """Return the public URL that a tunnel of the client has for a scheme."""
        found = client.wait_for(rf"tunnel {name}: ({scheme}://\S+) -> ", start)
        return found.group(1)

    def publish(self, proto: str, port: int, **settings: Any) -> tuple[str, Program, Program]:
        """Start both programs with one tunnel; return its URL (https for http), relay and client."""
        relay = self.start_relay()
        client = self.start_client({"one": {"proto": proto, "addr": f"localhost:{port}", **settings}})
        return self.url(client, "one", "https" if proto == "http" else proto), relay, client

    def curl(self, url: str, *options: str, cacert: Path | None = None) -> bytes:
        """Return what curl gets from a public URL, verified by the authority (or ``cacert``)."""
        return self.succeed(
            tool("curl", "curl"), "-sS", "--fail", "--max-time", "60", "--connect-to", "::127.0.0.1:",
            "--cacert", cacert or self.authority.path, *options, url,
        )  # fmt: skip

    def visit(self, url: str, context: ssl.SSLContext | None = None) -> socket.socket:
        """Connect to a public URL as a visitor; over TLS for ``https``, or with the context."""
        connection = socket.create_connection(("127.0.0.1", port_of(url)), timeout=PATIENCE)
        self.addCleanup(connection.close)
        if context is None and url.startswith("https:"):
            context = self.authority.trust()
        if context is None:
            return connection
        wrapped = context.wrap_socket(connection, server_hostname=host_of(url))
        self.addCleanup(wrapped.close)
        return wrapped

    def ask(self, url: str, path: str) -> socket.socket:
        """Connect to a public URL and send a GET for ``path``; the answer is not read."""
        connection = self.visit(url)
        request = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        return connection


def body_of(connection: socket.socket) -> Iterator[bytes]:
    """Yield the body of an answer that ends with its connection, in pieces."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            raise AssertionError(f"ended within the head: {head!r}")
        head += piece
    head, _, rest = head.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise AssertionError(f"{head!r} {rest!r}")
    yield rest
    yield from iter(lambda: connection.recv(262144), b"")


def settled(value: Any, pause: float = 1.0, patience: float = PATIENCE) -> None:
    """Return once ``value()`` has not changed for ``pause`` seconds."""
    deadline, last, since = time.monotonic() + patience, value(), time.monotonic()
    while time.monotonic() - since < pause:
        time.sleep(0.05)
        if (now := value()) != last:
            last, since = now, time.monotonic()
        if time.monotonic() > deadline:
            raise AssertionError(f"still changing after {patience:g} s")
