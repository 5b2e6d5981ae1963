"""The reactor class that burrow runs on: epoll with a monotonic clock and eager sockets.

``twistd --reactor burrow`` and the ``burrow`` command install it. Against Twisted's own it has

- a clock that never jumps: a stepped wall clock neither fires nor delays a timer;
- connections that send inside ``write`` (`burrow.net.sockets`);
- a short way from event to selectable, without a logging context for each event;
- `BurrowReactor.at_turn_end`, for work that is done once in a turn.

Both programs also run on another reactor; `reactor_lacks` says what they do without.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.main import installReactor
from twisted.logger import Logger

from burrow.net.sockets import EagerConnector, EagerPort, EagerServer
from burrow.net.turn import Calls

INET = (socket.AF_INET, socket.AF_INET6)

#: What this class uses of Twisted's reactor beyond its public interfaces.
INTERNALS = ("_poller", "_selectables", "_doReadOrWrite", "doPoll", "doIteration", "timeout", "seconds")


class BurrowReactor(EPollReactor):
    """Twisted's epoll reactor with a monotonic clock, eager sockets and turn ends."""

    _log = Logger()

    #: Seconds on a clock that nobody can set; not those of the wall.
    seconds = staticmethod(time.monotonic)

    def __init__(self) -> None:
        """Make a reactor; nothing is installed by it."""
        self._ends = Calls()
        super().__init__()

    def at_turn_end(self, call: Callable[[], None]) -> None:
        """Make ``call`` once, after this turn's events and timed calls, before waiting for more.

        For the reactor's own thread. See `burrow.net.turn.turn_end`, which works everywhere.
        """
        self._ends.add(call)

    def doPoll(self, timeout: float | None) -> None:
        """End the turn, wait up to ``timeout`` seconds (``None``: for ever), then serve events."""
        if self._ends:
            self._ends.make()
            timeout = self._wait_at_most(timeout)
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        self._dispatch(events)

    doIteration = doPoll

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        find, serve = self._selectables.get, self._doReadOrWrite
        for fd, event in events:
            selectable = find(fd)
            if selectable is None:
                continue
            try:
                serve(selectable, fd, event)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # What doRead and doWrite raise is logged further in; this is a connectionLost.
                self._log.failure("{selectable} failed while it was disconnected", selectable=selectable)

    def _wait_at_most(self, timeout: float | None) -> float | None:
        """Return ``timeout``, shortened for what the calls at the turn's end asked for."""
        if self._ends:
            return 0
        timed = self.timeout()
        return timed if timeout is None or (timed is not None and timed < timeout) else timeout

    def listenTCP(
        self, port: Any, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listen; see `IReactorTCP.listenTCP`."""
        listening = EagerPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30.0, bindAddress: Any = None
    ) -> Any:
        """Connect; see `IReactorTCP.connectTCP`."""
        connector = EagerConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Listen on a socket made elsewhere; see `IReactorSocket.adoptStreamPort`."""
        if addressFamily not in INET:
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        port: tcp.Port = EagerPort._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        port.startListening()
        return port

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Take over a connection made elsewhere; see `IReactorSocket.adoptStreamConnection`."""
        if addressFamily not in INET:
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return EagerServer._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)


def install() -> None:
    """Make this reactor the one of the process; called by ``twistd --reactor burrow``.

    Raises:
        ReactorAlreadyInstalledError: Another one is installed already.
    """
    installReactor(BurrowReactor())


def reactor_lacks(reactor: object) -> str | None:
    """Return what ``reactor`` lacks against `BurrowReactor` as one sentence; ``None`` if nothing."""
    if isinstance(reactor, BurrowReactor):
        return None
    return (
        f"{type(reactor).__name__} is not burrow's reactor: timers follow changes of the wall clock, "
        "and small writes cost about half as much again; start twistd with --reactor burrow."
    )
