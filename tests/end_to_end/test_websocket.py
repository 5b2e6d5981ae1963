"""WebSockets pass unchanged (row B10)."""

from __future__ import annotations

import threading

from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.end_to_end.deployment import DeploymentCase, host_of, port_of


def echo(connection: ServerConnection) -> None:
    """Send back every message until the visitor closes."""
    for message in connection:
        connection.send(message)


class WebSocketTests(DeploymentCase):
    """An echo server behind an http tunnel."""

    def setUp(self) -> None:
        """Start and publish the server."""
        super().setUp()
        server = serve(echo, "127.0.0.1", 0, max_size=None)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.https, _, self.client = self.publish("http", server.socket.getsockname()[1])

    def echoed(self, url: str) -> None:
        """Messages of several sizes come back, and the close with its code and reason."""
        scheme = "wss" if url.startswith("https") else "ws"
        address = f"{scheme}://{host_of(url)}:{port_of(url)}/"
        plain = self.visit(url.replace("https:", "http:"))  # websockets starts TLS itself
        context = self.authority.trust() if scheme == "wss" else None
        with connect(address, sock=plain, ssl=context, max_size=None, close_timeout=10) as socket:
            for message in ("", "grüße", b"\x00\xff" * 10, b"x" * 3_000_000):
                socket.send(message)
                self.assertEqual(socket.recv(timeout=20), message)
            socket.close(4321, "enough")
            self.assertEqual((socket.close_code, socket.close_reason), (4321, "enough"))

    def test_over_http(self) -> None:
        """A WebSocket works through the http URL."""
        self.echoed(self.url(self.client, "one", "http"))

    def test_over_https(self) -> None:
        """A WebSocket works through the https URL."""
        self.echoed(self.https)
