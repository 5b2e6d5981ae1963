"""Protocols and producers that write down what happens to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class Recorder(Protocol):
    """A protocol that is not half-closeable.

    Attributes:
        events: ``"made"``, received pieces, and the class of the reason of ``connectionLost``.
    """

    transport: Any

    def __init__(self) -> None:
        """Start with nothing."""
        self.events: list[Any] = []

    def connectionMade(self) -> None:
        """Write it down."""
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        """Write it down."""
        self.events.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Write down why."""
        self.events.append(reason.type)

    @property
    def received(self) -> bytes:
        """All bytes so far."""
        return b"".join(event for event in self.events if isinstance(event, bytes))

    @property
    def happened(self) -> list[Any]:
        """All events but the connection's beginning and the bytes."""
        return [event for event in self.events if not isinstance(event, bytes) and event != "made"]


@implementer(IHalfCloseableProtocol)
class HalfCloseableRecorder(Recorder):
    """A protocol that hears of either way's end: events ``"read lost"`` and ``"write lost"``."""

    def readConnectionLost(self) -> None:
        """Write it down."""
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        """Write it down."""
        self.events.append("write lost")


@implementer(IPushProducer)
class RecordingProducer:
    """A producer that produces nothing.

    Attributes:
        events: ``"pause"``, ``"resume"`` and ``"stop"`` in order.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.events: list[str] = []

    def pauseProducing(self) -> None:
        """Write it down."""
        self.events.append("pause")

    def resumeProducing(self) -> None:
        """Write it down."""
        self.events.append("resume")

    def stopProducing(self) -> None:
        """Write it down."""
        self.events.append("stop")
