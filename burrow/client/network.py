"""The network's return: what tells a client that connecting may work again.

The kernel tells by rtnetlink when a link, an address or a route changes (``rtnetlink(7)``). That a
machine has slept shows in two clocks, one of which goes on meanwhile (``clock_gettime(2)``). Where
the system has neither, nothing is told, and the client is left to its retries.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorFDSet, IReactorTime, IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

QUIET = 1.0  #: seconds between two calls at least
LOOK = 3.0  #: seconds between two looks at the clocks
SLEPT = 2.0  #: seconds by which the clocks part at least when the machine has slept
READ_SIZE = 65_536  #: bytes of one read; what a longer message has more is of no interest
READS = 16  #: reads in a turn at most

# Groups of linux/rtnetlink.h, as bits of an address.
RTMGRP_LINK = 0x1
RTMGRP_IPV4_IFADDR = 0x10
RTMGRP_IPV4_ROUTE = 0x40
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE

#: The socket could not keep up, or was interrupted: something has changed all the same.
PASSING = (errno.EINTR, errno.ENOBUFS)


class NetworkReactor(IReactorFDSet, IReactorTime):
    """What watching the network takes of a reactor."""


def netlink_socket() -> socket.socket:
    """Return a socket that can be read when a link, an address or a route has changed.

    Raises:
        OSError: The system has none, or does not allow it.
    """
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "no rtnetlink here")
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    made = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    try:
        made.bind((0, GROUPS))
    except OSError:
        made.close()
        raise
    return made


def asleep() -> float:
    """Return how many seconds this machine has slept since it started; 0 where nobody can tell."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


@implementer(IReadDescriptor)
class Netlink:
    """The socket of rtnetlink as the reactor reads it; what it says is not looked at."""

    log = Logger()

    def __init__(self, opened: socket.socket, changed: Callable[[], None], lost: Callable[[], None]) -> None:
        """Read ``opened``.

        Args:
            opened: Never blocks; closed by `close`.
            changed: Called when something has changed.
            lost: Called when the socket cannot be read any more.
        """
        self._socket, self._changed, self._lost = opened, changed, lost

    def fileno(self) -> int:
        """Return the socket's number; -1 once it is closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Return a name for the reactor's log."""
        return "rtnetlink"

    def doRead(self) -> None:
        """Read what waits, a bounded part of it in one turn."""
        for _ in range(READS):
            try:
                self._socket.recv(READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in PASSING:
                    self.log.debug("rtnetlink cannot be read: {error}", error=error)
                    self._lost()
                    return
        self._changed()

    def connectionLost(self, reason: Failure) -> None:
        """Close: the reactor reads it no more."""
        self.close()

    def close(self) -> None:
        """Close the socket; may be called again."""
        self._socket.close()


class NetworkWatch:
    """Tells when the network may be there again."""

    log = Logger()

    def __init__(
        self,
        reactor: NetworkReactor,
        open_socket: Callable[[], socket.socket] = netlink_socket,
        slept: Callable[[], float] = asleep,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            reactor: Reads the socket and tells the time.
            open_socket: Makes the socket; `OSError` means that there is none.
            slept: Returns the seconds that the machine has slept; only grows.
        """
        self._reactor, self._open_socket, self._slept = reactor, open_socket, slept
        self._netlink: Netlink | None = None
        self._clocks: Any = LoopingCall(self._look)
        self._clocks.clock = reactor
        self._before = 0.0
        self._told: Callable[[], None] | None = None
        self._last = float("-inf")
        self._due: IDelayedCall | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` when something has changed, at most once in `QUIET` seconds."""
        self._told = changed
        self._before = self._slept()
        self._clocks.start(LOOK, now=False)
        try:
            self._netlink = Netlink(self._open_socket(), self._changed, self._unread)
        except OSError as error:
            self.log.debug("changes of the network are not seen: {error}", error=error)
        else:
            self._reactor.addReader(self._netlink)

    def stop(self) -> None:
        """Close everything; ``changed`` is called no more."""
        self._told = None
        if self._clocks.running:
            self._clocks.stop()
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._unread()

    def _unread(self) -> None:
        netlink, self._netlink = self._netlink, None
        if netlink is not None:
            with suppress(KeyError, ValueError):  # not read any more
                self._reactor.removeReader(netlink)
            netlink.close()

    def _look(self) -> None:
        """See whether the machine has slept since the last look."""
        before, self._before = self._before, self._slept()
        if self._before - before >= SLEPT:
            self.log.info("this machine has slept for {slept:.0f} s", slept=self._before - before)
            self._changed()

    def _changed(self) -> None:
        """Tell now, or when enough time has passed since the last call."""
        if self._due is not None or self._told is None:
            return
        wait = self._last + QUIET - self._reactor.seconds()
        if wait > 0:
            self._due = self._reactor.callLater(wait, self._tell)
        else:
            self._tell()

    def _tell(self) -> None:
        self._due = None
        self._last = self._reactor.seconds()
        if self._told is not None:
            self._told()
