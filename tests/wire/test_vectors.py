"""The test vectors of docs/protocol.md."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from burrow.wire import frames
from burrow.wire.boxes import END

SPECIFICATION = Path(__file__).parents[2] / "docs" / "protocol.md"


def vectors() -> dict[str, bytes]:
    """Return the boxes that the specification gives, by name."""
    block = SPECIFICATION.read_text().split("## 9. Test vectors")[1].split("```")[1]
    lines = (line.split(None, 1) for line in block.strip().splitlines())
    return {name: bytes.fromhex(digits) for name, digits in lines}


class VectorTests(SynchronousTestCase):
    """What the specification gives is what is written on the wire."""

    def test_every_vector(self) -> None:
        """Each box is written byte for byte as its vector says."""
        facts = frames.visitor_facts("203.0.113.9", 4711, "tcp", "x")
        written = {
            "ping": frames.ping(bytes(7) + b"\x01"),
            "pong": frames.pong(bytes(7) + b"\x01"),
            "bye": frames.bye(frames.ByeCode.CLOSED, "done"),
            "ack": frames.SEGMENT.head(1024, 0, 0) + END,
            "segment": frames.SEGMENT.head(0, 16, 3) + b"\x01\x02\x03" + END,
            "open": frames.open_stream(2, 7, facts, 131_072),
            "data": frames.DATA.head(2, 5) + b"hello" + END,
            "limit": frames.limit(2, 262_144),
            "end": frames.end(2),
            "stop": frames.stop(2),
            "reset": frames.reset(2, frames.ResetCode.REFUSED, "refused"),
        }
        self.assertEqual(written, vectors())
