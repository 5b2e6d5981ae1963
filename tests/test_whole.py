"""A whole relay and a whole client in one process."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from burrow.client.service import BIND_AGAIN
from burrow.relay.service import Admission
from tests.net.reactors import Recorder
from tests.one_process import OTHER_TOKEN, OneProcessCase


def port_of(url: str) -> int:
    """Return the port of a public URL."""
    return int(url.rpartition(":")[2])


class Case(OneProcessCase):
    """A relay, and somebody who visits."""

    def visit(self, port: int, data: bytes = b"hello") -> bytes:
        """Connect to a public port, send, and return as many bytes of the answer as were sent."""
        visitor: Any = self.waited(
            TCP4ClientEndpoint(self.reactor, "127.0.0.1", port).connect(Factory.forProtocol(Recorder))
        )
        visitor.transport.write(data)
        self.until(lambda: len(visitor.received) >= len(data) or visitor.lost, "no answer")
        visitor.transport.abortConnection()
        self.until(lambda: visitor.lost, "not closed")
        return bytes(visitor.received)

    def free(self, port: int) -> bool:
        """Tell whether nobody listens at a port."""
        with socket.socket() as visitor:
            visitor.setblocking(False)
            visitor.connect_ex(("127.0.0.1", port))
            self.until(lambda: visitor.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or _connected(visitor))
            return not _connected(visitor)


def _connected(visitor: socket.socket) -> bool:
    try:
        visitor.getpeername()
    except OSError:
        return False
    return True


class PassingTests(Case):
    """Bytes from a visitor to a local service and back."""

    def test_tcp(self) -> None:
        """A visitor of the public port reaches the local service."""
        relay = self.start_relay()
        client, log = self.start_client(self.port_of(relay), self.tunnel("tcp", self.echo()))
        self.until(lambda: log.up)
        self.assertEqual(self.visit(port_of(client.tunnels[0].urls[0])), b"hello")

    def test_many_pieces(self) -> None:
        """What is longer than any buffer on the way arrives whole."""
        relay = self.start_relay()
        client, log = self.start_client(self.port_of(relay), self.tunnel("tcp", self.echo()))
        self.until(lambda: log.up)
        data = bytes(range(256)) * 8_000
        self.assertEqual(self.visit(port_of(client.tunnels[0].urls[0]), data), data)


class RestartTests(Case):
    """A relay or a client that goes away and comes back."""

    def test_the_same_random_names_and_ports(self) -> None:
        """After a restart of the relay each tunnel has the random name or port that it had (row M8)."""
        relay = self.start_relay()
        port, echo = self.port_of(relay), self.echo()
        client, log = self.start_client(
            port, self.tunnel("tcp", echo, "db"), self.tunnel("http", echo, "web")
        )
        self.until(lambda: len(log.up) == 2)
        before = [tunnel.urls for tunnel in client.tunnels]
        self.stop(relay)
        self.until(lambda: client.session is None)
        self.assertEqual([tunnel.urls for tunnel in client.tunnels], [[], []])
        self.start_relay(port=port)
        self.until(lambda: len(log.up) == 4)
        self.assertEqual([tunnel.urls for tunnel in client.tunnels], before)
        self.assertEqual(self.visit(port_of(before[0][0])), b"hello")

    def test_the_same_client_replaces_its_orphan(self) -> None:
        """A client that comes back before its old session was missed takes its name at once."""
        relay = self.start_relay()
        port = self.port_of(relay)
        first, log = self.start_client(port, self.tunnel("http", 1, subdomain="shop"))
        self.until(lambda: log.up)
        _, again = self.start_client(port, self.tunnel("http", 1, subdomain="shop"))
        first.stopService()  # it is the same process: only one of the two is to go on
        self.services.remove(first)
        self.until(lambda: again.up)
        self.assertEqual(again.refused, [])
        self.assertEqual(len(relay._sessions), 1)

    def test_a_name_of_somebody_else_is_asked_for_again(self) -> None:
        """A tunnel whose name is taken is told about, and comes up once the name is free."""
        relay = self.start_relay()
        port = self.port_of(relay)
        first, log = self.start_client(port, self.tunnel("http", 1, subdomain="shop"))
        self.until(lambda: log.up)
        tunnel = self.tunnel("http", 1, subdomain="shop")
        second, other = self.start_client(port, tunnel, authtoken=OTHER_TOKEN)
        self.until(lambda: other.refused)
        self.assertEqual(other.refused[0][1].code, 334)
        self.stop(first)
        again = next(iter(second._again.values()))
        self.assertLessEqual(again.getTime() - self.reactor.seconds(), BIND_AGAIN)
        again.reset(0)
        self.until(lambda: other.up)


class RefusalTests(Case):
    """What a relay declines."""

    def test_wrong_token(self) -> None:
        """A client with a wrong authtoken is told once, and stays away."""
        relay = self.start_relay()
        wrong = "wrong-token-of-nobody-0123456789"
        client, log = self.start_client(self.port_of(relay), self.tunnel("tcp", 1), authtoken=wrong)
        self.until(lambda: log.gone)
        self.assertEqual(log.gone[0].code, 107)
        self.assertTrue(client.given_up)

    def test_region(self) -> None:
        """A region that is not served here is refused for now: the client goes on asking."""
        relay = self.start_relay()
        client, log = self.start_client(self.port_of(relay), region="eu")
        told: list[Any] = []
        ours = client._endpoint.refused
        client._endpoint.refused = lambda error: (told.append(error), ours(error))[1]  # type: ignore[func-returns-value]
        self.until(lambda: told)
        self.assertEqual(told[0].code, 322)
        self.assertIn("this relay serves us", str(told[0]))
        self.assertEqual((log.gone, client.given_up), ([], False))

    def test_too_many_tunnels(self) -> None:
        """The one tunnel too many is refused; the others stay."""
        relay = self.start_relay(admission=Admission(tunnels=2))
        tunnels = [self.tunnel("http", 1, name) for name in ("a", "b", "c")]
        _, log = self.start_client(self.port_of(relay), *tunnels)
        self.until(lambda: log.refused and len(log.up) == 2)
        self.assertEqual([(name, error.code) for name, error in log.refused], [("c", 324)])


class StopTests(Case):
    """A clean stop."""

    def test_of_the_client(self) -> None:
        """When the client has stopped, the relay knows, and the public port is free."""
        relay = self.start_relay()
        client, log = self.start_client(self.port_of(relay), self.tunnel("tcp", self.echo()))
        self.until(lambda: log.up)
        port = port_of(client.tunnels[0].urls[0])
        self.stop(client)
        self.until(lambda: not len(relay._sessions))
        self.assertTrue(self.free(port))

    def test_of_the_relay(self) -> None:
        """When the relay has stopped, all its ports are free, and its clients have been told."""
        relay = self.start_relay()
        client, log = self.start_client(self.port_of(relay), self.tunnel("tcp", self.echo()))
        self.until(lambda: log.up)
        ports = [port_of(client.tunnels[0].urls[0]), self.port_of(relay)]
        self.stop(relay)
        for port in ports:
            self.assertTrue(self.free(port), port)
        self.until(lambda: client.session is None)
        self.assertEqual(relay.ports, [])
