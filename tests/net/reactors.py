"""A reactor of its own for each test that needs real sockets, turned by hand."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from burrow.net.reactor import BurrowReactor

PATIENCE = 20.0  #: seconds after which a test that waits has failed


def turn(reactor: BurrowReactor, longest: float = 0.02) -> None:
    """Go once through the reactor's loop, as its ``mainLoop`` does."""
    reactor.runUntilCurrent()
    timeout = reactor.timeout()
    reactor.doIteration(longest if timeout is None else min(longest, timeout))


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """Keeps what happens to one end of a connection."""

    def __init__(self) -> None:
        """Start with nothing received."""
        self.received = bytearray()
        self.ended = self.write_ended = False
        self.lost: Failure | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.made = False

    def connectionMade(self) -> None:
        """Note it."""
        self.made = True

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes."""
        self.received += data
        if self.on_data is not None:
            self.on_data(data)

    def readConnectionLost(self) -> None:
        """Note the peer's end."""
        self.ended = True

    def writeConnectionLost(self) -> None:
        """Note our own end."""
        self.write_ended = True

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Keep the reason."""
        self.lost = reason


class ReactorCase(SynchronousTestCase):
    """A test case with a `BurrowReactor` that nobody installs."""

    def setUp(self) -> None:
        """Make the reactor."""
        self.reactor = BurrowReactor()
        self.addCleanup(self._close)

    def _close(self) -> None:
        for selectable in self.reactor.removeAll():
            if hasattr(selectable, "socket"):
                selectable.socket.close()
        self.reactor._poller.close()
        waker: Any = self.reactor.waker
        os.close(waker.i)
        os.close(waker.o)

    def until(self, condition: Callable[[], Any], why: str = "it did not happen") -> None:
        """Turn the reactor until ``condition`` holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                self.fail(f"{why} within {PATIENCE:g} seconds")
            turn(self.reactor)

    def listen(self, build: Callable[[], Any], **options: Any) -> Any:
        """Listen on a free loopback port with protocols that ``build`` makes."""
        factory = Factory.forProtocol(build)
        return self.reactor.listenTCP(0, factory, interface="127.0.0.1", **options)

    def pair(self, ours: Any = Recorder, theirs: Any = Recorder) -> tuple[Any, Any]:
        """Return two connected protocols: the connecting one, the accepted one."""
        accepted: list[Any] = []

        def build() -> Any:
            accepted.append(theirs())
            return accepted[-1]

        port = self.listen(build)
        client = ours()
        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda address: client  # type: ignore[method-assign]
        self.reactor.connectTCP("127.0.0.1", port.getHost().port, factory)
        self.until(lambda: accepted and accepted[0].made and client.made, "no connection")
        return client, accepted[0]

    def raw_pair(self) -> tuple[Recorder, socket.socket]:
        """Return an accepted protocol and the plain blocking socket at its other end."""
        accepted: list[Recorder] = []

        def build() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        port = self.listen(build)
        peer = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.addCleanup(peer.close)
        self.until(lambda: accepted and accepted[0].made, "no connection")
        return accepted[0], peer
