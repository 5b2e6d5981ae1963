"""A stream whose protocol makes mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.session.stream import HIGH_WATER
from burrow.testing.recorders import RecordingProducer
from tests.session.peer import Peer, data
from tests.session.stream_case import StreamCase


@implementer(IHalfCloseableProtocol)
class Clumsy(Protocol):
    """A protocol that fails in one of its callbacks, or whenever it is called while it calls."""

    fails = ""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._busy = False

    @contextmanager
    def busy(self) -> Iterator[Any]:
        """Be inside a call of its own."""
        self._busy = True
        yield self.transport
        self._busy = False

    def _called(self, name: str, *what: object) -> None:
        assert not self._busy, f"{name} from inside a call of its own"
        self.events.extend(what or (name,))
        if name == self.fails:
            raise ZeroDivisionError(name)

    def connectionMade(self) -> None:
        self._called("connectionMade")

    def dataReceived(self, data: bytes) -> None:
        self._called("dataReceived")

    def readConnectionLost(self) -> None:
        self._called("readConnectionLost")

    def writeConnectionLost(self) -> None:
        self._called("writeConnectionLost")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._called("connectionLost")


class ClumsyProtocolTests(StreamCase):
    """Protocols with mistakes."""

    build = Clumsy

    def _failing(self, name: str) -> None:
        self.patch(Clumsy, "fails", name)
        self.peer = Peer(build=Clumsy)
        self.number, other = self.peer.open(), self.peer.open()
        self.peer.turn()
        self.peer.protocols[1].fails = ""
        self.protocol, self.stream = self.peer.protocols[0], self.peer.streams[0]
        if name != "connectionMade":
            self.data(b"x")
        if name in ("writeConnectionLost", "connectionLost"):
            self.stream.loseWriteConnection()
            self.peer.turn()
        if name in ("readConnectionLost", "connectionLost"):
            self.end()
        errors = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(
            [str(error.value) for error in errors], [name] * (2 if name == "connectionMade" else 1)
        )
        self.assertEqual(self.protocol.events[-1], "connectionLost")
        self.assertIsNone(self.peer.reason)
        if name not in ("connectionMade",):
            self.assertNotIn("connectionLost", self.peer.protocols[1].events)
            self.assertEqual(
                [box[1] for box in self.peer.heard("reset")], [self.number] * (name != "connectionLost")
            )
            self.peer.send(data(other, b"fine"))
            self.assertIn("dataReceived", self.peer.protocols[1].events)

    def test_in_connection_made(self) -> None:
        """A protocol that fails when it is connected resets its own stream."""
        self._failing("connectionMade")

    def test_in_data_received(self) -> None:
        """One that fails over data resets its own stream and no other."""
        self._failing("dataReceived")

    def test_in_read_connection_lost(self) -> None:
        """One that fails over the peer's end resets its own stream and no other."""
        self._failing("readConnectionLost")

    def test_in_write_connection_lost(self) -> None:
        """One that fails over its own end resets its own stream and no other."""
        self._failing("writeConnectionLost")

    def test_in_connection_lost(self) -> None:
        """One that fails over its loss disturbs nobody."""
        self._failing("connectionLost")

    def test_failing_producer(self) -> None:
        """A producer that fails resets the stream, not the session."""
        for name in ("pauseProducing", "resumeProducing"):
            self.setUp()
            producer = RecordingProducer()
            setattr(producer, name, lambda: 1 // 0)
            self.stream.registerProducer(producer, True)
            self.stream.write(bytes(HIGH_WATER + 1))
            self.limit(1_000_000)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.assertEqual(self.protocol.events, ["connectionLost"])
            self.assertIsNone(self.peer.reason)

    def test_never_called_while_it_calls(self) -> None:
        """No method of a stream calls the protocol back before it returns."""
        calls: list[Callable[[Any], object]] = [
            lambda stream: stream.write(bytes(200_000)),
            lambda stream: stream.pauseProducing(),
            lambda stream: stream.resumeProducing(),
            lambda stream: stream.loseWriteConnection(),
            lambda stream: stream.loseConnection(),
            lambda stream: stream.stopProducing(),
            lambda stream: stream.abortConnection(),
        ]
        for call in calls:
            for before in (None, self.end, self.stop):
                self.setUp()
                self.stream.pauseProducing()
                self.data(b"waiting")
                if before is not None:
                    before()
                with self.protocol.busy() as stream:
                    call(stream)
                self.peer.turn()
                self.assertIsNone(self.peer.reason)
                self.assertEqual(self.flushLoggedErrors(), [])
