"""Each way of a connection ends on its own, and a reset stays a reset (row D3)."""

from __future__ import annotations

import errno
import hashlib
import queue
import socket
import struct

from tests.end_to_end.deployment import DeploymentCase, port_of
from tests.end_to_end.processes import tool
from tests.end_to_end.services import MIB, Service, pattern, pattern_sum, read_all

QUESTION = b"".join(pattern(3 * MIB))


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class HalfCloseTests(DeploymentCase):
    """A tcp tunnel to a service that answers once it has read everything."""

    def setUp(self) -> None:
        """Publish a service that answers the SHA-256 of all it read."""
        super().setUp()
        service = Service(self.answer)
        self.addCleanup(service.close)
        self.public, self.relay, self.client = self.publish("tcp", service.port)

    def answer(self, connection: socket.socket) -> None:
        """Read to the end, answer, end."""
        digest = hashlib.sha256(read_all(connection)).hexdigest()
        connection.sendall(digest.encode())
        connection.close()

    def test_nc(self) -> None:
        """`nc -N` ends its way after the last byte and still gets the answer."""
        answer = self.succeed(
            tool("nc", "netcat-openbsd"), "-N", "127.0.0.1", str(port_of(self.public)), stdin=QUESTION
        )
        self.assertEqual(answer.decode(), pattern_sum(len(QUESTION)))

    def test_socat(self) -> None:
        """`socat` does too."""
        answer = self.succeed(
            tool("socat", "socat"),
            "-t",
            "30",
            "STDIO",
            f"TCP:127.0.0.1:{port_of(self.public)}",
            stdin=QUESTION,
        )
        self.assertEqual(answer.decode(), pattern_sum(len(QUESTION)))


class ServiceEndsFirstTests(DeploymentCase):
    """A tcp tunnel to a service that says all it has to say and then listens."""

    def setUp(self) -> None:
        """Publish it."""
        super().setUp()
        self.heard: queue.Queue[bytes | OSError] = queue.Queue()
        service = Service(self.talk)
        self.addCleanup(service.close)
        self.public, self.relay, self.client = self.publish("tcp", service.port)

    def talk(self, connection: socket.socket) -> None:
        """Say something, end that way, then read to the end."""
        connection.sendall(b"that is all")
        connection.shutdown(socket.SHUT_WR)
        try:
            self.heard.put(read_all(connection))
        except OSError as error:
            self.heard.put(error)

    def test_visitor_goes_on(self) -> None:
        """A visitor that has read the end can still send, and all of it arrives."""
        visitor = self.visit(self.public)
        self.assertEqual(read_all(visitor), b"that is all")
        visitor.sendall(QUESTION)
        visitor.shutdown(socket.SHUT_WR)
        self.assertEqual(self.heard.get(timeout=20), QUESTION)

    def test_socat(self) -> None:
        """`socat` sees the end while its own way is still open."""
        said = self.succeed(
            tool("socat", "socat"),
            "-t",
            "30",
            "STDIO",
            f"TCP:127.0.0.1:{port_of(self.public)}",
            stdin=QUESTION,
        )
        self.assertEqual(said, b"that is all")
        self.assertEqual(self.heard.get(timeout=20), QUESTION)


class ResetTests(DeploymentCase):
    """A tcp tunnel whose ends reset."""

    def setUp(self) -> None:
        """Publish a service that does what its visitor asks."""
        super().setUp()
        self.heard: queue.Queue[int] = queue.Queue()
        service = Service(self.obey)
        self.addCleanup(service.close)
        self.public, self.relay, self.client = self.publish("tcp", service.port)

    def obey(self, connection: socket.socket) -> None:
        """Reset when told, else tell how the visitor ended: 0 or the error's number."""
        connection.sendall(b"?")
        try:
            if connection.recv(1) == b"r":
                reset(connection)
                return
            read_all(connection)
            self.heard.put(0)
        except OSError as error:  # a reset may overtake what the visitor said before it
            self.heard.put(error.errno or -1)

    def test_service_resets(self) -> None:
        """A reset by the service is a reset for the visitor."""
        visitor = self.visit(self.public)
        visitor.recv(1)
        visitor.sendall(b"r")
        with self.assertRaises(ConnectionResetError):
            read_all(visitor)

    def test_visitor_resets(self) -> None:
        """A reset by the visitor is a reset for the service."""
        visitor = self.visit(self.public)
        visitor.recv(1)
        visitor.sendall(b"w")
        reset(visitor)
        self.assertEqual(self.heard.get(timeout=20), errno.ECONNRESET)

    def test_visitor_ends(self) -> None:
        """An end by the visitor is an end for the service, not a reset."""
        visitor = self.visit(self.public)
        visitor.recv(1)
        visitor.sendall(b"w")
        visitor.shutdown(socket.SHUT_WR)
        self.assertEqual(self.heard.get(timeout=20), 0)
