"""Credit of a stream, and the budget it comes from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ProtocolError
from burrow.session.credit import (
    BUDGET,
    FIRST_WINDOW,
    GROWTH_TIME,
    LARGEST_WINDOW,
    LEAST_WINDOW,
    TRIAL,
    Budget,
    ReceiveWindow,
)

SLOWLY = 3600.0


class BudgetTests(SynchronousTestCase):
    """What a session may promise over all streams."""

    def test_small_when_spent(self) -> None:
        """Streams that open while the budget is spent start small, and full again when it is not."""
        budget = Budget()
        sizes = [budget.first() for _ in range(BUDGET // FIRST_WINDOW)]
        self.assertEqual(set(sizes), {FIRST_WINDOW})
        self.assertEqual(budget.first(), LEAST_WINDOW)
        budget.give_back(FIRST_WINDOW + LEAST_WINDOW)
        self.assertEqual(budget.first(), FIRST_WINDOW)

    def test_promised_window(self) -> None:
        """A stream that the peer opens gets what was promised in the Hello, whatever is left."""
        budget = Budget(first=1_024, total=1_024)
        self.assertEqual([budget.accepted() for _ in range(3)], [1_024] * 3)
        self.assertEqual(budget.first(), 1_024, "no more than a first window")

    def test_no_stream_takes_all(self) -> None:
        """A window grows to the largest while there is plenty, and by at most half of what is left."""
        budget = Budget()
        size = budget.first()
        while (grown := budget.grow(size)) != size:
            size = grown
        self.assertEqual(size, LARGEST_WINDOW)
        other = budget.first()
        while (grown := budget.grow(other)) != other:
            other = grown
        self.assertLess(other, LARGEST_WINDOW)
        self.assertEqual(budget.first(), FIRST_WINDOW, "something is left for the next one")


class ReceiveWindowTests(SynchronousTestCase):
    """The credit of one stream, at the receiver."""

    def setUp(self) -> None:
        self.window = ReceiveWindow(Budget(), 1_000, 0.0)

    def test_over_the_limit(self) -> None:
        """The last byte of the credit is taken, the next one breaks a rule."""
        self.window.received(1_000)
        with self.assertRaises(ProtocolError) as caught:
            self.window.received(1)
        self.assertIn("1 bytes over the limit of 1000", str(caught.exception))

    def test_half(self) -> None:
        """The limit rises when half a window has drained, not for every byte."""
        self.assertFalse(self.window.consumed(499, SLOWLY, 0))
        self.assertEqual(self.window.limit, 1_000)
        self.assertTrue(self.window.consumed(1, SLOWLY, 0))
        self.assertEqual(self.window.limit, 1_500)

    def test_grows_when_drained_fast(self) -> None:
        """Four windows that drain within eight round trips double it, then each within two."""
        self.window.consumed(3_999, 0.8, 0.1)
        self.assertEqual(self.window.size, 1_000, "a visitor's buffers are no sign that it reads")
        self.window.consumed(1_000, 0.8, 0.1)
        self.assertEqual((self.window.size, self.window.limit), (2_000, 6_999))
        self.window.consumed(2_000, 1.0, 0.1)
        self.assertEqual((self.window.size, self.window.limit), (4_000, 10_999))

    def test_stays_when_drained_slowly(self) -> None:
        """A window that takes longer keeps its size."""
        self.window.consumed(4_000, 0.801, 0.1)
        self.assertEqual((self.window.size, self.window.limit), (1_000, 5_000))

    def test_short_round_trip(self) -> None:
        """On a very near peer a window grows all the same when it drains at once."""
        self.window.consumed(TRIAL * 1_000, TRIAL * GROWTH_TIME, 0.0)
        self.assertEqual(self.window.size, 2_000)

    def test_stalled_streams_leave_room(self) -> None:
        """A hundred visitors that stall behind full buffers do not keep another's window from growing."""
        budget = Budget()
        for _ in range(100):
            stalled = ReceiveWindow(budget, budget.first(), 0.0)
            for _ in range(3):
                stalled.consumed(FIRST_WINDOW, 0.0, 0.1)  # what its sockets take before it stalls
        window = ReceiveWindow(budget, budget.first(), 0.0)
        for _ in range(100):
            window.consumed(window.size, 0.0, 0.1)
        self.assertGreaterEqual(window.size, 1_048_576)

    def test_close(self) -> None:
        """A closed window gives back what it had, once."""
        budget = Budget(100, 100)
        window = ReceiveWindow(budget, budget.first(), 0.0)
        self.assertFalse(window.consumed(10, 0.0, 0.0))
        window.close()
        window.close()
        self.assertEqual([budget.first(), budget.first()], [100, 100], "less than the least is not split")

    @given(st.lists(st.tuples(st.integers(0, 3_000), st.floats(0, 1)), max_size=40))
    def test_any_consumer(self, steps: list[tuple[int, float]]) -> None:
        """Whatever a consumer does, the limit only rises and half a window is always open."""
        window, now = ReceiveWindow(Budget(), 1_000, 0.0), 0.0
        received, before = 0, window.limit
        for count, pause in steps:
            now += pause
            arriving = min(count, window.limit - received)
            window.received(arriving)
            received += arriving
            told = window.consumed(arriving, now, 0.05)
            self.assertEqual(told, window.limit > before)
            self.assertGreaterEqual(window.limit - received, window.size // 2)
            self.assertLessEqual(window.limit - received, window.size)
            before = window.limit
