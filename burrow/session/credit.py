"""Credit: how much of a stream the peer may send before its consumer has drained what came.

docs/protocol.md, "Credit". A window starts small, so that stalled streams stay cheap, and doubles
when it drains whole within two round trips; all windows of a session come out of one budget.
"""

from __future__ import annotations

from burrow.errors import ProtocolError

FIRST_WINDOW = 131_072  #: bytes
LEAST_WINDOW = 16_384  #: bytes, for a stream that opens while the budget is spent
LARGEST_WINDOW = 8_388_608  #: bytes
BUDGET = 16_777_216  #: bytes of promised credit in a session and direction
TRIAL = 4  #: windows drained before the first growth: a visitor that stalls has buffers to fill first
GROWTH_TIME = 0.02  #: seconds within which a window may drain to grow, however short the round trip


class Budget:
    """The credit that a session may promise to its peer, over all streams."""

    def __init__(self, first: int = FIRST_WINDOW, total: int = BUDGET) -> None:
        """Start with nothing promised; a stream usually begins with ``first`` bytes."""
        self._first, self._left = first, total

    def first(self) -> int:
        """Take and return the window of a new stream: a small one once the budget is spent."""
        size = self._first if self._left >= self._first else min(self._first, LEAST_WINDOW)
        self._left -= size
        return size

    def accepted(self) -> int:
        """Take and return the window of a stream that the peer opens: it was promised in the Hello."""
        self._left -= self._first
        return self._first

    def grow(self, size: int) -> int:
        """Return what a window of ``size`` may become: twice as much, or the same.

        A window above the first takes at most half of what is left, so that no stream starves the
        others; one below it always grows, for it has just shown that somebody drains it.
        """
        wanted = min(size, LARGEST_WINDOW - size)
        if size >= self._first and wanted * 2 > self._left:
            return size
        self._left -= wanted
        return size + wanted

    def give_back(self, size: int) -> None:
        """Free the window of a stream that is closed."""
        self._left += size


class ReceiveWindow:
    """The credit that one stream's peer has, from the receiver's side.

    Attributes:
        size: Bytes that may be received and not drained.
        limit: Bytes that the peer may send in all; it only rises.
    """

    __slots__ = ("_budget", "_consumed", "_mark", "_marked_at", "_received", "_trial", "limit", "size")

    def __init__(self, budget: Budget, size: int, now: float) -> None:
        """Start with ``size`` bytes of credit, which ``budget`` has given."""
        self._budget = budget
        self.size = self.limit = size
        self._received = self._consumed = self._mark = 0
        self._marked_at = now
        self._trial = TRIAL  # windows to drain until the next growth

    def received(self, count: int) -> None:
        """Count bytes that the peer sent.

        Raises:
            ProtocolError: More than its credit.
        """
        self._received += count
        if self._received > self.limit:
            raise ProtocolError(f"{self._received - self.limit} bytes over the limit of {self.limit}")

    def consumed(self, count: int, now: float, round_trip: float) -> bool:
        """Count bytes that drained; return whether `limit` has risen and the peer has to know.

        Args:
            count: Bytes that the consumer has taken and has room behind.
            now: Seconds on the session's clock.
            round_trip: The session's round-trip time in seconds.
        """
        self._consumed += count
        if (self.limit - self._consumed) * 2 > self.size:
            return False
        if self._consumed - self._mark >= self.size * self._trial:
            if now - self._marked_at <= max(2 * round_trip, GROWTH_TIME) * self._trial:
                self.size = self._budget.grow(self.size)
                self._trial = 1
            self._mark, self._marked_at = self._consumed, now
        self.limit = self._consumed + self.size
        return True

    def close(self) -> None:
        """Give the window back to the budget."""
        self._budget.give_back(self.size)
        self.size = 0
