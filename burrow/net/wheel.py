"""A coarse timer wheel: many timeouts on one timed call.

A timeout that is started and cancelled for every request, or moved with every byte, costs the
reactor's heap dearly; here it is an entry in a dictionary. For deadlines, not for exact times.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

TICK = 0.25  #: seconds


class Timeout:
    """One call that a `Wheel` will make, unless it is cancelled."""

    __slots__ = ("_args", "_call", "_due", "_filed", "_wheel")

    def __init__(self, wheel: Wheel, due: int, call: Callable[..., object], args: tuple[object, ...]) -> None:
        """Made by `Wheel.after`; ``due`` is counted in ticks of the wheel's clock."""
        self._wheel = wheel
        self._due = self._filed = due
        self._call: Callable[..., object] | None = call
        self._args = args

    @property
    def active(self) -> bool:
        """Whether the call is still to be made."""
        return self._call is not None

    def cancel(self) -> None:
        """Do not make the call; nothing happens if it was made or cancelled already."""
        if self._call is not None:
            self._release()
            self._wheel._remove(self)

    def reset(self, seconds: float) -> None:
        """Make the call ``seconds`` from now instead.

        Raises:
            ValueError: It was made or cancelled already.
        """
        if self._call is None:
            raise ValueError("this timeout is over: it was made or cancelled")
        self._due = self._wheel._tick_after(seconds)
        if self._due < self._filed:  # a later one is filed anew when its old tick comes
            self._wheel._remove(self)
            self._filed = self._due
            self._wheel._file(self)

    def _release(self) -> tuple[Callable[..., object] | None, tuple[object, ...]]:
        call, args = self._call, self._args
        self._call, self._args = None, ()
        return call, args


class Wheel:
    """Many timeouts on one clock, with at most one of its timed calls, and none when empty."""

    log = Logger()

    def __init__(self, clock: IReactorTime, tick: float = TICK) -> None:
        """Use ``clock``; calls are made up to ``tick`` seconds late and never early."""
        if tick <= 0:
            raise ValueError(f"wanted a tick of more than 0 seconds, got {tick!r}")
        self._clock, self._tick = clock, tick
        self._slots: dict[int, dict[Timeout, None]] = {}
        self._next: IDelayedCall | None = None
        self._next_tick = 0

    def __len__(self) -> int:
        """Return how many timeouts are active."""
        return sum(map(len, self._slots.values()))

    def after(self, seconds: float, call: Callable[..., object], *args: object) -> Timeout:
        """Call ``call(*args)`` once, ``seconds`` (0 or more) from now or up to one tick later.

        An exception from it is logged and keeps no other timeout from its call.
        """
        timeout = Timeout(self, self._tick_after(seconds), call, args)
        self._file(timeout)
        return timeout

    def _tick_after(self, seconds: float) -> int:
        return int((self._clock.seconds() + seconds) // self._tick) + 1

    def _file(self, timeout: Timeout) -> None:
        tick = timeout._filed
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = {}
            if self._next is None or tick < self._next_tick:
                self._wait_for(tick)
        slot[timeout] = None

    def _remove(self, timeout: Timeout) -> None:
        slot = self._slots.get(timeout._filed)
        if slot is None:
            return  # its tick is being served
        slot.pop(timeout, None)
        if not slot:
            del self._slots[timeout._filed]
            if not self._slots and self._next is not None:
                self._next.cancel()
                self._next = None

    def _wait_for(self, tick: int) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next_tick = tick
        delay = max(0.0, tick * self._tick - self._clock.seconds())
        self._next = self._clock.callLater(delay, self._serve)

    def _serve(self) -> None:
        self._next = None
        now = self._clock.seconds()
        for tick in sorted(tick for tick in self._slots if tick * self._tick <= now):
            for timeout in self._slots.pop(tick, ()):
                if timeout._due > tick and timeout._call is not None:
                    timeout._filed = timeout._due
                    self._file(timeout)
                else:
                    self._make(timeout)
        if self._slots:
            first = min(self._slots)
            if self._next is None or first != self._next_tick:
                self._wait_for(first)

    def _make(self, timeout: Timeout) -> None:
        call, args = timeout._release()
        if call is None:
            return
        try:
            call(*args)
        except Exception:
            self.log.failure("a timeout failed: {call!r}", call=call)
