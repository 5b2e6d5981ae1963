"""Many timeouts on one timed call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.net.wheel import Timeout, Wheel


class WheelTests(SynchronousTestCase):
    """A wheel with ticks of a quarter of a second."""

    def setUp(self) -> None:
        """Start at an odd moment."""
        self.clock = Clock()
        self.clock.advance(1234.567)
        self.wheel = Wheel(self.clock)
        self.made: list[object] = []

    def test_neither_early_nor_more_than_a_tick_late(self) -> None:
        """A call is made at its time or up to one tick later."""
        self.wheel.after(10, self.made.append, "x")
        self.clock.advance(9.9999)
        self.assertEqual(self.made, [])
        self.clock.advance(0.2502)
        self.assertEqual(self.made, ["x"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timed_call_for_all(self) -> None:
        """A thousand timeouts hold one timed call, no timeouts hold none."""
        timeouts = [self.wheel.after(number / 100, self.made.append, number) for number in range(1000)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.wheel), 1000)
        for timeout in timeouts:
            timeout.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.wheel), 0)

    def test_sooner_one_comes_first(self) -> None:
        """A timeout that is set later but due sooner is called in time."""
        self.wheel.after(60, self.made.append, "late")
        self.wheel.after(1, self.made.append, "soon")
        self.clock.advance(1.25)
        self.assertEqual(self.made, ["soon"])
        self.clock.pump([10] * 6)
        self.assertEqual(self.made, ["soon", "late"])

    def test_cancelled_is_not_called(self) -> None:
        """A cancelled timeout is never called, and may be cancelled again."""
        timeout = self.wheel.after(1, self.made.append, "x")
        other = self.wheel.after(1, self.made.append, "y")
        self.assertTrue(timeout.active)
        timeout.cancel()
        timeout.cancel()
        self.clock.advance(2)
        self.assertEqual((self.made, timeout.active, other.active), (["y"], False, False))

    def test_moved_later(self) -> None:
        """A timeout moved again and again is called once, after the last move."""
        timeout = self.wheel.after(1, self.made.append, "x")
        for _ in range(20):
            self.clock.advance(0.9)
            timeout.reset(1)
        self.assertEqual(self.made, [])
        self.clock.advance(0.99)
        self.assertEqual(self.made, [])
        self.clock.advance(0.27)
        self.assertEqual(self.made, ["x"])

    def test_moved_sooner(self) -> None:
        """A timeout moved sooner is called then."""
        timeout = self.wheel.after(100, self.made.append, "x")
        timeout.reset(1)
        self.clock.advance(1.25)
        self.assertEqual(self.made, ["x"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_over_cannot_be_moved(self) -> None:
        """Moving a timeout that was called is an error that says so."""
        timeout = self.wheel.after(0, self.made.append, "x")
        self.clock.advance(1)
        self.assertIn("over", str(self.assertRaises(ValueError, timeout.reset, 1)))

    def test_cancelled_by_a_neighbour(self) -> None:
        """A timeout can cancel another of the same tick."""
        both: list[Timeout] = []

        def cancel_the_other() -> None:
            both[0].cancel()

        first = self.wheel.after(1, cancel_the_other)
        both.append(self.wheel.after(1, self.made.append, "x"))
        self.clock.advance(2)
        self.assertEqual((self.made, first.active), ([], False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_from_a_timeout(self) -> None:
        """A timeout may set the next one, as a heartbeat does."""

        def beat() -> None:
            self.made.append(self.clock.seconds())
            self.wheel.after(1, beat)

        beat()
        self.clock.pump([0.05] * 200)
        self.assertGreaterEqual(len(self.made), 8)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_failing_call_is_logged(self) -> None:
        """A call that raises is logged; the others are made."""
        self.wheel.after(1, {}.popitem)
        self.wheel.after(1, self.made.append, "x")
        self.clock.advance(2)
        self.assertEqual(self.made, ["x"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_tick_has_a_length(self) -> None:
        """A tick of no length is refused."""
        self.assertIn("got 0", str(self.assertRaises(ValueError, Wheel, self.clock, 0)))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["after", "cancel", "reset", "advance"]),
        st.floats(min_value=0, max_value=20),
        st.integers(min_value=0, max_value=9),
    ),
    max_size=40,
)


class ModelTests(SynchronousTestCase):
    """The wheel against a list of deadlines."""

    @given(STEPS)
    def test_like_a_list_of_deadlines(self, steps: list[tuple[str, float, int]]) -> None:
        """Whatever is started, moved and cancelled: never early, at most a tick late, once."""
        clock = Clock()
        wheel = Wheel(clock, tick=0.5)
        due: dict[int, float] = {}
        timeouts = []

        late: list[float] = []

        def made(number: int) -> None:
            late.append(clock.seconds() - due.pop(number))

        for what, seconds, which in steps:
            active = [number for number, timeout in enumerate(timeouts) if timeout.active]
            number = active[which % len(active)] if active else 0
            if what == "after":
                due[len(timeouts)] = clock.seconds() + seconds
                timeouts.append(wheel.after(seconds, made, len(timeouts)))
            elif what == "advance":
                clock.pump([0.05] * int(seconds / 0.05))
            elif active and what == "cancel":
                timeouts[number].cancel()
                del due[number]
            elif active:
                due[number] = clock.seconds() + seconds
                timeouts[number].reset(seconds)
            self.assertEqual(len(clock.getDelayedCalls()), bool(due))
            self.assertEqual(len(wheel), len(due))
        clock.pump([0.05] * 500)
        step = 0.05 + 1e-6  # the clock moves in steps
        self.assertTrue(all(-1e-6 <= seconds <= 0.5 + step for seconds in late), f"late: {late}")
        self.assertEqual(due, {})
        self.assertEqual(clock.getDelayedCalls(), [])
