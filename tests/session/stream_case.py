"""A stream that the peer has opened, for tests of streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from burrow.session.mux import Promises
from burrow.session.stream import Stream
from burrow.testing.recorders import HalfCloseableRecorder
from burrow.wire import frames
from tests.session.peer import Peer, data

FIRST = 1_000  #: bytes of credit that the stream has at the beginning, in most tests


class StreamCase(SynchronousTestCase):
    """A stream that the peer has opened."""

    build: Callable[[], Any] = HalfCloseableRecorder

    def setUp(self) -> None:
        self.peer = Peer(ours=Promises(window=8_192), build=self.build)
        self.number = self.peer.open(limit=FIRST)
        self.protocol = self.peer.protocols[0]
        self.stream: Stream = self.protocol.transport
        self.protocol.events.clear()
        self.peer.heard()

    def end(self) -> None:
        self.peer.send(frames.end(self.number))

    def our_end(self) -> None:
        self.stream.loseWriteConnection()

    def abort(self) -> None:
        self.stream.abortConnection()

    def stop(self) -> None:
        self.peer.send(frames.stop(self.number))

    def reset(self) -> None:
        self.peer.send(frames.reset(self.number, 1, "gone"))

    def data(self, payload: bytes) -> None:
        self.peer.send(data(self.number, payload))

    def limit(self, most: int) -> None:
        self.peer.send(frames.limit(self.number, most))

    def said(self, *kinds: str) -> list[Any]:
        """Take what the session has said on the stream, without the stream's number."""
        self.peer.turn()
        return [(box[0], *box[2:]) if len(box) > 2 else box[0] for box in self.peer.heard(*kinds)]

    @property
    def forgotten(self) -> bool:
        return len(self.peer.session.mux) == 0
