"""Two joined transports behave as one on real sockets too."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from burrow.client.upstream import TcpUpstream
from burrow.protocols.raw import ForwarderFactory

LIMIT = 20.0  #: seconds that a thread waits for its peer
MUCH = 32 * 1024 * 1024  #: bytes, far more than all sockets on the way hold


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()


def read_all(sock: socket.socket) -> bytes:
    """Read up to the end."""
    pieces = []
    while piece := sock.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


class SocketTests(TestCase):
    """A visitor's socket, joined to a service's by way of two loopback connections.

    The peers are blocking sockets in a thread; the join runs in the reactor.
    """

    timeout = 30

    def setUp(self) -> None:
        """Listen for the visitor and for the join."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT)
        self.addCleanup(self.listener.close)
        net: Any = reactor
        upstream = TcpUpstream(net, "127.0.0.1", self.listener.getsockname()[1], "service", 5.0)
        factory: Factory = ForwarderFactory(upstream, "demo")
        self.port = net.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def talk(self, script: Any) -> Deferred[Any]:
        """Run ``script(visitor, service)`` in a thread."""

        def run() -> Any:
            with socket.create_connection(("127.0.0.1", self.port.getHost().port), LIMIT) as visitor:
                service, _ = self.listener.accept()
                with service:
                    service.settimeout(LIMIT)
                    return script(visitor, service)

        return deferToThread(run)

    @inlineCallbacks
    def test_visitor_ends_first(self) -> Generator[Deferred[Any], Any, None]:
        """A visitor that has sent its last byte still gets its answer."""

        def script(visitor: socket.socket, service: socket.socket) -> tuple[bytes, bytes]:
            visitor.sendall(b"question")
            visitor.shutdown(socket.SHUT_WR)
            asked = read_all(service)
            service.sendall(b"answer" * 100_000)
            service.close()
            return asked, read_all(visitor)

        asked, answered = yield self.talk(script)
        self.assertEqual((asked, answered), (b"question", b"answer" * 100_000))

    @inlineCallbacks
    def test_service_ends_first(self) -> Generator[Deferred[Any], Any, None]:
        """A service that has sent its last byte still gets the rest."""

        def script(visitor: socket.socket, service: socket.socket) -> tuple[bytes, bytes]:
            service.sendall(b"banner")
            service.shutdown(socket.SHUT_WR)
            banner = read_all(visitor)
            visitor.sendall(b"rest" * 100_000)
            visitor.close()
            return banner, read_all(service)

        banner, rest = yield self.talk(script)
        self.assertEqual((banner, rest), (b"banner", b"rest" * 100_000))

    @inlineCallbacks
    def test_visitor_resets(self) -> Generator[Deferred[Any], Any, None]:
        """A visitor's reset reaches the service as a reset."""

        def script(visitor: socket.socket, service: socket.socket) -> bytes:
            service.sendall(b"hello")
            visitor.recv(5)
            reset(visitor)
            return service.recv(1)

        with self.assertRaises(ConnectionResetError):
            yield self.talk(script)

    @inlineCallbacks
    def test_service_resets(self) -> Generator[Deferred[Any], Any, None]:
        """A service's reset reaches the visitor as a reset."""

        def script(visitor: socket.socket, service: socket.socket) -> bytes:
            visitor.sendall(b"hello")
            service.recv(5)
            reset(service)
            return visitor.recv(1)

        with self.assertRaises(ConnectionResetError):
            yield self.talk(script)

    @inlineCallbacks
    def test_reset_after_the_end(self) -> Generator[Deferred[Any], Any, None]:
        """A visitor that ends its way and then resets is a reset for the service."""

        def script(visitor: socket.socket, service: socket.socket) -> bytes:
            visitor.shutdown(socket.SHUT_WR)
            ended = service.recv(1)
            reset(visitor)
            for _ in range(MUCH // 65536):
                service.sendall(b"x" * 65536)  # noticed at the latest when bytes find nobody
            return ended

        with self.assertRaises((ConnectionResetError, BrokenPipeError)):
            yield self.talk(script)

    @inlineCallbacks
    def test_slow_reader(self) -> Generator[Deferred[Any], Any, None]:
        """A service that does not read stops the visitor; then every byte arrives."""

        def script(visitor: socket.socket, service: socket.socket) -> tuple[int, int]:
            block, sent = b"x" * 65536, 0
            visitor.settimeout(0.3)
            try:
                while sent < MUCH:
                    sent += visitor.send(block)
            except TimeoutError:
                stopped = sent
            else:
                stopped = MUCH
            visitor.shutdown(socket.SHUT_WR)
            return stopped, len(read_all(service)) - sent

        stopped, difference = yield self.talk(script)
        self.assertLess(stopped, MUCH)
        self.assertEqual(difference, 0)

    @inlineCallbacks
    def test_nobody_listens(self) -> Generator[Deferred[Any], Any, None]:
        """A service that is not there is a reset for the visitor."""
        self.listener.close()

        def visit() -> bytes:
            with socket.create_connection(("127.0.0.1", self.port.getHost().port), LIMIT) as visitor:
                return visitor.recv(1)

        with self.assertRaises(ConnectionResetError):
            yield deferToThread(visit)
