"""What was sent and is not acknowledged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ProtocolError
from burrow.session.retained import SEGMENT_COST, Retained


class RetainedTests(SynchronousTestCase):
    """A bounded buffer of numbered bytes."""

    def setUp(self) -> None:
        self.retained = Retained(10 * SEGMENT_COST)

    def test_room(self) -> None:
        """What is sent takes room until it is acknowledged, also in part."""
        self.retained.append(b"box", 3_000, 1.0)
        self.assertEqual(self.retained.room, 10 * SEGMENT_COST - 3_000)
        self.retained.acknowledge(1_000)
        self.assertEqual(self.retained.room, 10 * SEGMENT_COST - 2_000)
        self.retained.acknowledge(3_000)
        self.assertEqual(self.retained.room, 10 * SEGMENT_COST)

    def test_tiny_segments(self) -> None:
        """Tiny Segments are bounded too: as many as if each had a kilobyte."""
        for _ in range(10):
            self.assertGreater(self.retained.room, 0)
            self.retained.append(b"box", 1, 0.0)
        self.assertEqual(self.retained.room, 0)
        self.retained.acknowledge(1)
        self.assertGreater(self.retained.room, 0)

    def test_oldest(self) -> None:
        """The age of what is owed is that of the oldest Segment that is not acknowledged whole."""
        self.assertIsNone(self.retained.owed_since())
        for second in (1.0, 2.0):
            self.retained.append(b"box", 100, second)
        self.retained.acknowledge(99)
        self.assertEqual(self.retained.owed_since(), 1.0)
        self.retained.acknowledge(100)
        self.assertEqual(self.retained.owed_since(), 2.0)
        self.retained.acknowledge(200)
        self.assertIsNone(self.retained.owed_since())

    def test_false_claims(self) -> None:
        """More than was sent, or less than before, is refused and changes nothing."""
        self.retained.append(b"box", 100, 0.0)
        self.retained.acknowledge(50)
        for claim in (49, 0, 101, 2**63, 2**64 - 1):
            with self.assertRaises(ProtocolError) as caught:
                self.retained.acknowledge(claim)
            self.assertIn(f"{claim}, not between 50 and 100", str(caught.exception))
        self.assertEqual(self.retained.acked, 50)

    def test_clear(self) -> None:
        """A session that is over keeps nothing."""
        self.retained.append(b"box", 100, 0.0)
        self.retained.clear()
        self.assertIsNone(self.retained.owed_since())

    @given(st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 5_000)), max_size=50))
    def test_any_order(self, steps: list[tuple[int, int]]) -> None:
        """Whoever keeps to `room` never holds more than the capacity."""
        retained = Retained(8 * SEGMENT_COST)
        for payload, acknowledged in steps:
            if amount := min(payload, retained.room):
                retained.append(b"", amount, 0.0)
            retained.acknowledge(min(retained.sent, retained.acked + acknowledged))
            self.assertLessEqual(retained.sent - retained.acked, 8 * SEGMENT_COST)
            self.assertLessEqual(len(retained._segments), 8)
            self.assertGreaterEqual(retained.room, 0)
