"""The lanes of one visitor's connection: a stream for each tunnel that it asked for."""

from __future__ import annotations

from burrow.interfaces.tunnel import ITunnel
from burrow.protocols.http.lane import Lane

MOST_LANES = 8  #: tunnels that one connection has streams to at once


class Lanes:
    """Keeps the lanes, shared with nobody.

    Attributes:
        present: The lane of the present exchange, or of the last one.
    """

    __slots__ = ("_all", "present")

    def __init__(self) -> None:
        """Start without any."""
        self._all: dict[ITunnel, Lane] = {}
        self.present: Lane | None = None

    def find(self, tunnel: ITunnel) -> Lane | None:
        """Make the usable lane to a tunnel the present one and return it, if there is one."""
        lane = self.present
        if lane is None or lane.tunnel is not tunnel or not lane.usable:
            lane = self._all.get(tunnel)
            if lane is None or not lane.usable:
                return None
            self.present = lane
        return lane

    def add(self, tunnel: ITunnel) -> Lane:
        """Make a new lane to a tunnel the present one; the oldest goes if there are too many."""
        self._all.pop(tunnel, None)
        if len(self._all) >= MOST_LANES:
            self._all.pop(next(iter(self._all))).close()
        lane = self.present = self._all[tunnel] = Lane(tunnel)
        return lane

    def leave(self) -> None:
        """Forget the present lane without closing it: its stream is somebody else's now."""
        if self.present is not None:
            self._all.pop(self.present.tunnel, None)
            self.present = None

    def close(self, cleanly: bool) -> None:
        """Close all, the present one cleanly or by a reset."""
        lanes, self._all = self._all, {}
        present, self.present = self.present, None
        for lane in lanes.values():
            lane.close(cleanly or lane is not present)
