"""An in-memory pair of sockets that pushes back and half-closes, moved by hand.

Twisted's in-memory transports take whatever is written and know no half-close. These hold a bounded
number of bytes in each direction, as a kernel does, and everything that a peer does arrives in
`Wire.turn`, never inside a call that a protocol makes:

    wire = connect(server, client, capacity=1000)
    client.transport.write(b"x" * 5000)  # 1000 are on their way, 4000 queued, the producer is paused
    wire.turn()                          # the server got 1000, the next 1000 are on their way
    wire.flush()                         # until nothing moves any more
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IAddress, IProtocol

from burrow.testing.socket import CAPACITY, CLIENT, SERVER, MemorySocket

__all__ = ["CAPACITY", "CLIENT", "SERVER", "MemorySocket", "Wire", "connect", "flush"]

MOST_TURNS = 1_000_000  #: turns after which `Wire.flush` takes a wire for endless


class Wire:
    """Two joined `MemorySocket` ends; nothing moves between them but by `turn` and `flush`.

    Attributes:
        a: The socket of the first protocol.
        b: The socket of the second one.
    """

    def __init__(self, a: MemorySocket, b: MemorySocket) -> None:
        """Join both ends."""
        self.a, self.b = a, b
        self._turning = False
        a.join(b)
        b.join(a)

    def turn(self, piece: int | None = None) -> bool:
        """Let either end send once.

        Args:
            piece: The most bytes that a protocol gets in one ``dataReceived``; ``None`` for all.

        Returns:
            Whether anything moved.
        """
        if self._turning:
            raise RuntimeError("a wire cannot be turned by a protocol that it is calling")
        self._turning = True
        try:
            moved = self.a.turn(piece)
            return self.b.turn(piece) or moved
        finally:
            self._turning = False

    def flush(self, piece: int | None = None) -> None:
        """Turn until nothing moves any more; see `turn`."""
        flush([self], piece)


def flush(wires: Iterable[Wire], piece: int | None = None) -> None:
    """Turn several wires, one after the other, until none moves any more.

    Raises:
        AssertionError: They still moved after `MOST_TURNS` rounds.
    """
    wires = list(wires)
    for _ in range(MOST_TURNS):
        if not sum(wire.turn(piece) for wire in wires):
            return
    raise AssertionError(f"wires still move after {MOST_TURNS} turns")


def connect(
    a: IProtocol,
    b: IProtocol,
    capacity: int = CAPACITY,
    a_address: IAddress = SERVER,
    b_address: IAddress = CLIENT,
    stops: bool = False,
) -> Wire:
    """Join two protocols; both have had ``connectionMade`` when this returns, ``a`` first.

    Args:
        a: Gets a transport whose peer is ``b_address``.
        b: Gets a transport whose peer is ``a_address``.
        capacity: Bytes that either direction holds; more are queued at the writer.
        a_address: Where ``a`` seems to be.
        b_address: Where ``b`` seems to be.
        stops: Close as a stream does, not as a socket; see `MemorySocket`.
    """
    end_a = MemorySocket(a, capacity, a_address, b_address, stops)
    end_b = MemorySocket(b, capacity, b_address, a_address, stops)
    wire = Wire(end_a, end_b)
    a.makeConnection(end_a)
    b.makeConnection(end_b)
    return wire
