"""The deadline: one timer of a connection, moved as often as wanted for nearly nothing.

A timer that is started and cancelled for each request costs a microsecond each time. Here a
later deadline only moves a number; the one call that is scheduled looks at it when it fires.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Calls back once when it has passed, unless it is moved or cleared before."""

    __slots__ = ("_at", "_call", "_clock", "_passed")

    def __init__(self, clock: IReactorTime, passed: Callable[[], None]) -> None:
        """Start cleared; ``passed`` is called when a deadline has passed."""
        self._clock, self._passed = clock, passed
        self._at: float | None = None
        self._call: IDelayedCall | None = None

    def set(self, seconds: float) -> None:
        """Move the deadline to ``seconds`` from now."""
        self._at = at = self._clock.seconds() + seconds
        if self._call is None:
            self._call = self._clock.callLater(seconds, self._look)
        elif at < self._call.getTime():
            self._call.reset(seconds)

    def clear(self) -> None:
        """Have no deadline; whatever is scheduled will do nothing."""
        self._at = None

    def stop(self) -> None:
        """Have no deadline, and nothing scheduled either."""
        self._at = None
        if self._call is not None:
            call, self._call = self._call, None
            call.cancel()

    def _look(self) -> None:
        self._call = None
        if self._at is None:
            return
        left = self._at - self._clock.seconds()
        if left > 0:
            self._call = self._clock.callLater(left, self._look)
        else:
            self._at = None
            self._passed()
