"""Local services to publish: small threaded servers that the tests look inside."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MIB = 1024 * 1024
_BLOCK = random.Random(20260101).randbytes(MIB)


def pattern(size: int) -> Iterator[bytes]:
    """Yield ``size`` bytes in pieces of at most 1 MiB, no two of them alike."""
    for number in range(-(-size // MIB)):
        piece = number.to_bytes(8, "big") + _BLOCK[8:]
        yield piece[: size - number * MIB]


def pattern_sum(size: int) -> str:
    """Return the SHA-256 of `pattern` as text."""
    digest = hashlib.sha256()
    for piece in pattern(size):
        digest.update(piece)
    return digest.hexdigest()


class Service:
    """Listens on a free port of loopback and runs ``serve`` in a thread for each connection."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        """Listen at once."""
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        # shutdown, because close alone does not wake a thread that accepts
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(60)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side ends."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        """Answer ``/bytes/N`` with N bytes, anything else with what was asked."""
        if self.path.startswith("/bytes/"):
            self._stream(int(self.path.removeprefix("/bytes/")))
        else:
            self._answer(f"{self.server.greeting} {self.headers['Host']} {self.path}\n".encode())

    def do_POST(self) -> None:
        """Answer the SHA-256 of the body."""
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left and (piece := self.rfile.read1(min(left, 65536))):
            digest.update(piece)
            left -= len(piece)
        self._answer(digest.hexdigest().encode() if not left else b"cut short")

    def _stream(self, size: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        try:
            for piece in pattern(size):
                for start in range(0, len(piece), 65536):
                    self.wfile.write(piece[start : start + 65536])
                    self.server.sent += 65536
        except OSError:
            self.close_connection = True  # the visitor left

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class WebServer(ThreadingHTTPServer):
    """A web server on a free port of loopback.

    Attributes:
        greeting: First word of its answers.
        sent: About how many bytes of ``/bytes/N`` it has written so far.
        port: Where it listens.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, greeting: str = "hello", tls: ssl.SSLContext | None = None) -> None:
        """Serve at once, over TLS with the context if there is one."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.greeting, self.sent = greeting, 0
        self.port = self.server_address[1]
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Accept no more."""
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over visitors that leave early."""
