"""The bytes of a stream that wait: for their turn to be sent, or for a protocol that has paused."""

from __future__ import annotations

from collections import deque

from burrow.errors import ProtocolError

PIECE = 122_880  #: bytes that a protocol gets at once at most
SMALL = 1_024  #: bytes up to which pieces that wait are put together
CHUNKS = 1_024  #: pieces queued for sending from which on small ones are put together


class Outgoing:
    """What is to be sent, in order, and the credit for it.

    Attributes:
        size: Bytes that wait.
        credit: Bytes that may be sent before the peer gives more.
    """

    __slots__ = ("_chunks", "_limit", "_taken", "credit", "size")

    def __init__(self, credit: int) -> None:
        """Start empty; ``credit`` bytes may be sent in all until the peer says more."""
        self._chunks: deque[bytes] = deque()
        self._taken = 0  # bytes of the first chunk that have left
        self._limit = self.credit = credit
        self.size = 0

    def push(self, data: bytes) -> None:
        """Add bytes behind the others; thousands of tiny pieces would weigh far more than their bytes."""
        self._chunks.append(data)
        self.size += len(data)
        if len(self._chunks) > CHUNKS and self.size < CHUNKS * SMALL:
            self._chunks = deque((b"".join(self._chunks)[self._taken :],))
            self._taken = 0

    def raise_limit(self, limit: int) -> None:
        """Take more credit: the peer will now receive ``limit`` bytes in all.

        Raises:
            ProtocolError: Less than it said before.
        """
        if limit < self._limit:
            raise ProtocolError(f"a limit falls from {self._limit} to {limit}")
        self.credit += limit - self._limit
        self._limit = limit

    def take(self, most: int, parts: list[bytes | memoryview]) -> int:
        """Append up to ``most`` bytes, within the credit, to ``parts``; return how many."""
        amount = left = min(most, self.credit, self.size)
        while left:
            chunk = self._chunks[0]
            available = len(chunk) - self._taken
            if available <= left:
                parts.append(memoryview(chunk)[self._taken :] if self._taken else chunk)
                self._chunks.popleft()
                self._taken = 0
                left -= available
            else:
                parts.append(memoryview(chunk)[self._taken : self._taken + left])
                self._taken += left
                left = 0
        self.size -= amount
        self.credit -= amount
        return amount

    def drop(self) -> None:
        """Forget what waits."""
        self._chunks.clear()
        self._taken = self.size = 0

    def __len__(self) -> int:
        """Return how many pieces wait."""
        return len(self._chunks)


class Incoming:
    """What has arrived and is not delivered yet, in order."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        """Start empty."""
        self._pieces: deque[bytes] = deque()

    def push(self, data: bytes) -> None:
        """Add bytes behind the others."""
        if self._pieces and len(data) + len(self._pieces[-1]) <= SMALL:
            self._pieces[-1] += data
        else:
            self._pieces.append(data)

    def take(self) -> bytes:
        """Take the next bytes: as much as there is, up to `PIECE`."""
        piece = self._pieces.popleft()
        if not self._pieces:
            return piece
        pieces, size = [piece], len(piece)
        while self._pieces and size + len(self._pieces[0]) <= PIECE:
            pieces.append(self._pieces.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)

    def drop(self) -> None:
        """Forget what has arrived."""
        self._pieces.clear()

    def __len__(self) -> int:
        """Return how many pieces wait."""
        return len(self._pieces)
