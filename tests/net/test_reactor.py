"""The reactor class: its clock, its turns, what another one lacks."""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from burrow.net import reactor as module
from burrow.net.reactor import INTERNALS, BurrowReactor, reactor_lacks
from burrow.net.turn import turn_end
from tests.net.reactors import ReactorCase, turn


class ClockTests(ReactorCase):
    """Timers."""

    def test_time_is_monotonic(self) -> None:
        """Timers run on a clock that nobody sets."""
        self.assertLess(abs(self.reactor.seconds() - time.monotonic()), 1)

    def test_wall_clock_changes_nothing(self) -> None:
        """A wall clock that jumps by a day neither fires a timer nor delays one."""
        jump = time.time() + 86_400
        self.patch(time, "time", lambda: jump)
        fired: list[int] = []
        late = self.reactor.callLater(3600, fired.append, 1)
        self.reactor.callLater(0.01, fired.append, 2)
        late.reset(7200)
        self.until(lambda: fired, "the timer did not fire")
        self.assertEqual(fired, [2])
        self.assertLess(abs(late.getTime() - self.reactor.seconds() - 7200), 5)

    def test_internals_are_there(self) -> None:
        """Everything the reactor relies on beyond public interfaces exists in this Twisted."""
        for name in INTERNALS:
            self.assertTrue(hasattr(self.reactor, name), f"{name} is gone")
        self.assertIs(self.reactor.callLater(0, int).seconds, time.monotonic)


class TurnEndTests(ReactorCase):
    """Work done once when the turn ends."""

    def test_after_events_before_waiting(self) -> None:
        """A call asked for by a timer is made in the same turn, before the reactor waits."""
        order: list[str] = []

        def timed() -> None:
            self.reactor.at_turn_end(lambda: order.append("end"))
            order.append("timed")

        self.reactor.callLater(0, timed)
        self.reactor.callLater(0, order.append, "other")
        turn(self.reactor)
        self.assertEqual(order, ["timed", "other", "end"])

    def test_calls_asked_for_by_events(self) -> None:
        """Calls asked for while data is served are made before more is waited for."""
        ends: list[int] = []
        ours, peer = self.raw_pair()
        ours.on_data = lambda data: self.reactor.at_turn_end(lambda: ends.append(len(ours.received)))
        peer.send(b"x")
        self.until(lambda: ends, "not made")
        self.assertEqual(ends, [1])

    def test_does_not_wait_while_something_is_pending(self) -> None:
        """A call that asks for another, or for a timer, does not have to wait for an event."""
        made: list[str] = []

        def first() -> None:
            made.append("first")
            self.reactor.at_turn_end(lambda: made.append("second"))

        self.reactor.at_turn_end(first)
        started = time.monotonic()
        self.reactor.doIteration(5)
        self.assertEqual(made, ["first"])
        self.reactor.at_turn_end(lambda: self.reactor.callLater(0, made.append, "timer") and None)
        self.reactor.doIteration(5)
        self.assertEqual(made, ["first", "second"])
        self.assertLess(time.monotonic() - started, 2)
        turn(self.reactor)
        self.assertEqual(made[-1], "timer")

    def test_given_wait_is_kept(self) -> None:
        """A call at the turn's end does not lengthen a wait that was short."""
        self.reactor.callLater(60, int)
        self.reactor.at_turn_end(lambda: None)
        started = time.monotonic()
        self.reactor.doIteration(0.01)
        self.assertLess(time.monotonic() - started, 2)

    def test_failing_call_is_logged(self) -> None:
        """A call that raises is logged; the others are made."""
        made: list[int] = []
        self.reactor.at_turn_end(lambda: {}.popitem() and None)
        self.reactor.at_turn_end(lambda: made.append(1))
        turn(self.reactor)
        self.assertEqual(made, [1])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_own_turn_end_is_taken(self) -> None:
        """On burrow's reactor the helper is the reactor's own."""
        self.assertEqual(turn_end(self.reactor), self.reactor.at_turn_end)


class OtherReactorTests(SynchronousTestCase):
    """Burrow on another reactor."""

    def test_turn_end_on_a_clock(self) -> None:
        """Elsewhere one timed call makes all that wait, in order, each once."""
        clock, made = Clock(), []
        at_end = turn_end(clock)

        def again() -> None:
            made.append("a")
            at_end(lambda: made.append("c"))

        at_end(again)
        at_end(lambda: made.append("b"))
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(0)  # a test's clock makes what is asked for meanwhile too
        self.assertEqual(made, ["a", "b", "c"])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_says_what_is_missing(self) -> None:
        """Another reactor is named in one sentence that says what to do; ours lacks nothing."""
        self.assertIsNone(reactor_lacks(BurrowReactor()))
        said = reactor_lacks(SelectReactor())
        assert said is not None
        self.assertIn("SelectReactor", said)
        self.assertIn("--reactor burrow", said)

    def test_install(self) -> None:
        """Installing makes a new reactor of this class the process's one."""
        installed: list[Any] = []
        self.patch(module, "installReactor", installed.append)
        module.install()
        self.assertIsInstance(installed[0], BurrowReactor)

    def test_named_for_twistd(self) -> None:
        """``twistd --reactor burrow`` finds it without importing it."""
        from twisted.plugins import burrow_reactor

        self.assertEqual(burrow_reactor.burrow_reactor.shortName, "burrow")
        self.assertEqual(burrow_reactor.burrow_reactor.moduleName, "burrow.net.reactor")
