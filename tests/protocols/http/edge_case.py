"""Helpers: a visitor at the edge, and the far end of the streams that it causes."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.interfaces.listener import Arrival
from burrow.protocols.http.edge import HttpEdge
from burrow.testing.fakes import FakeEdgeHost, FakeTunnel
from burrow.testing.memory import CAPACITY, MemorySocket, Wire, connect, flush
from burrow.testing.recorders import HalfCloseableRecorder

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PEER = IPv4Address("TCP", "192.0.2.7", 40_001)


def get(host: str = "a.example", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request without a body."""
    return "\r\n".join([f"{method} / HTTP/{version}", f"Host: {host}", *fields, "", ""]).encode()


class EdgeCase(SynchronousTestCase):
    """An edge with two http tunnels, ``a.example`` and ``b.example``, on both sides."""

    def setUp(self) -> None:
        """Publish both tunnels; nobody has come yet."""
        self.host = FakeEdgeHost()
        self.clock = self.host.clock
        assert isinstance(self.clock, Clock)
        self.edge = HttpEdge(self.host)
        self.far: dict[str, list[HalfCloseableRecorder]] = {}
        self.tunnels = {name: self.publish(name) for name in ("a.example", "b.example")}
        self.wires: list[Wire] = []

    def publish(self, name: str) -> FakeTunnel:
        """Serve a name on both sides; its streams end at recorders in ``far``."""
        ends = self.far[name] = []

        def far_side() -> HalfCloseableRecorder:
            ends.append(HalfCloseableRecorder())
            return ends[-1]

        tunnel = FakeTunnel(far_side, protocol="http")
        self.host.routes["plain", name] = ("http", tunnel)
        self.host.routes["tls", name] = ("https", tunnel)
        return tunnel

    def visit(self, server_name: str = "", capacity: int = CAPACITY) -> HalfCloseableRecorder:
        """Connect a visitor, over TLS for ``server_name`` if it is not empty."""
        arrival = Arrival(PEER, PEER, b"", bool(server_name), server_name)
        claim = next(claim for claim in self.host.claims if claim.tls is bool(server_name))
        factory = claim.claim(arrival)
        assert factory is not None
        visitor = HalfCloseableRecorder()
        edge = factory.buildProtocol(PEER)
        assert edge is not None
        self.wires.append(connect(edge, visitor, capacity))
        self.edge_end: Any = edge
        return visitor

    def flush(self) -> None:
        """Let everything move that can."""
        for _ in range(3):
            flush([*self.wires, *(wire for tunnel in self.tunnels.values() for wire in tunnel.wires)])

    def say(self, end: HalfCloseableRecorder, data: bytes) -> None:
        """Send bytes from a visitor or from the far end of a stream, and let everything move."""
        end.transport.write(data)
        self.flush()

    def ask(self, visitor: HalfCloseableRecorder, *requests: bytes) -> bytes:
        """Send requests in one go; return what the visitor gets then."""
        visitor.events.clear()
        self.say(visitor, b"".join(requests))
        return visitor.received

    def stream(self, name: str = "a.example", number: int = -1) -> HalfCloseableRecorder:
        """Return the far end of a tunnel's stream."""
        return self.far[name][number]

    def edge_socket(self, wire: int = -1) -> MemorySocket:
        """Return the edge's end of a visitor's connection."""
        return self.wires[wire].a
