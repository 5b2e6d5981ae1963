"""What was sent and is not acknowledged: the bytes that a resumed session would send again.

docs/protocol.md, "Numbering". Offsets count the bytes of the inner stream from the session's
beginning; a byte gets its offset when it enters a Segment.
"""

from __future__ import annotations

from collections import deque

from burrow.errors import ProtocolError

RETAINED = 16_777_216  #: bytes
ACK_INTERVAL = 262_144  #: bytes received after which an acknowledgement is due
LEAST_RETAINED = 4 * ACK_INTERVAL  #: bytes; less would stall on acknowledgements
SEGMENT_COST = 1_024  #: bytes that a Segment counts for at least, so that tiny ones are bounded too


class Retained:
    """A bounded buffer of numbered bytes, oldest first.

    Attributes:
        sent: The offset behind the last byte that was numbered.
        acked: The offset up to which the peer has received.
    """

    def __init__(self, capacity: int = RETAINED) -> None:
        """Start empty at offset 0."""
        self._capacity = capacity
        self._most = capacity // SEGMENT_COST
        self._segments: deque[tuple[int, float, bytes]] = deque()  # end offset, time, box
        self.sent = self.acked = 0

    @property
    def room(self) -> int:
        """Bytes that may still be numbered before an acknowledgement."""
        if len(self._segments) >= self._most:
            return 0
        return self._capacity - (self.sent - self.acked)

    def owed_since(self) -> float | None:
        """When the oldest byte without acknowledgement was sent; ``None`` if there is none."""
        return self._segments[0][1] if self._segments else None

    def append(self, segment: bytes, payload: int, now: float) -> None:
        """Number the ``payload`` bytes that a whole Segment box carries, and keep the box."""
        self.sent += payload
        self._segments.append((self.sent, now, segment))

    def acknowledge(self, offset: int) -> None:
        """Forget what the peer has received.

        Raises:
            ProtocolError: An offset that was never sent, or one that falls.
        """
        if not self.acked <= offset <= self.sent:
            raise ProtocolError(f"acknowledged {offset}, not between {self.acked} and {self.sent}")
        self.acked = offset
        while self._segments and self._segments[0][0] <= offset:
            self._segments.popleft()

    def clear(self) -> None:
        """Let go of everything: the session is over."""
        self._segments.clear()
