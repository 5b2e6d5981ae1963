"""Doing something once when the reactor's turn ends, on any reactor.

Whoever may have many small things to write in one turn (a session's link) asks for a call at the
turn's end and writes them together.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

Call = Callable[[], None]


def turn_end(reactor: IReactorTime) -> Callable[[Call], None]:
    """Return the function that takes calls to be made when the turn ends.

    Each call is made once, in the order in which they came, before the reactor waits again; one
    that comes while they are made waits for the next turn. A call that raises is logged and does
    not keep others from being made.

    Args:
        reactor: Its ``at_turn_end`` is taken where it has one, as `BurrowReactor` does; on another
            reactor or a test's clock the calls are made by its next timed calls.
    """
    own: Callable[[Call], None] | None = getattr(reactor, "at_turn_end", None)
    return own if own is not None else _Timed(reactor).at_turn_end


class Calls:
    """Calls to be made together, in order."""

    log = Logger()

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: list[Call] = []

    def __bool__(self) -> bool:
        """Tell whether any call waits."""
        return bool(self._waiting)

    def add(self, call: Call) -> None:
        """Keep ``call`` for the next `make`."""
        self._waiting.append(call)

    def make(self) -> None:
        """Make the calls that wait now; what they add waits for the next time."""
        calls, self._waiting = self._waiting, []
        for call in calls:
            try:
                call()
            except Exception:
                self.log.failure("a call at the turn's end failed: {call!r}", call=call)


class _Timed:
    """Turn ends out of timed calls: one ``callLater(0)`` for all calls that wait."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls = Calls()

    def at_turn_end(self, call: Call) -> None:
        """Make ``call`` once, when the clock is next looked at."""
        if not self._calls:
            self._clock.callLater(0, self._calls.make)
        self._calls.add(call)
