"""Connections that send at once."""

from __future__ import annotations

import random
import socket
import struct
from typing import Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from burrow.net.sockets import INTERNALS, NOTSENT_LOWAT, READ_SIZE, EagerConnection
from tests.net.reactors import ReactorCase, Recorder, turn


@implementer(IPushProducer)
class Source:
    """Writes random sizes whenever it may, like a fast upstream."""

    def __init__(self, consumer: Any, data: bytes, seed: int) -> None:
        """Write ``data`` to ``consumer``."""
        self.consumer, self.data, self.random = consumer, memoryview(data), random.Random(seed)
        self.paused = self.inside = self.resumed_inside = False
        self.pauses = self.most_queued = 0

    def go(self) -> None:
        """Write until paused or done."""
        while self.data and not self.paused:
            size = self.random.choice((1, 100, 5_000, 16_384, 100_000, 300_000))
            piece, self.data = bytes(self.data[:size]), self.data[size:]
            self.inside = True
            self.consumer.write(piece)
            self.inside = False
        if not self.data:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def pauseProducing(self) -> None:
        """Stop."""
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        """Go on."""
        self.resumed_inside |= self.inside
        self.paused = False
        self.go()

    def stopProducing(self) -> None:
        """End for good."""
        self.paused = True


@implementer(IPullProducer)
class Pulled:
    """Writes one piece each time it is asked."""

    def __init__(self, consumer: Any, pieces: int) -> None:
        """Write so many pieces to ``consumer``."""
        self.consumer, self.left = consumer, pieces

    def resumeProducing(self) -> None:
        """Write the next piece."""
        if self.left:
            self.left -= 1
            self.consumer.write(b"x" * 1000)
        else:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def stopProducing(self) -> None:
        """Nothing to stop."""


def reset(skt: socket.socket) -> None:
    """Close a plain socket with a reset."""
    skt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    skt.close()


class WriteTests(ReactorCase):
    """Writing to a connection."""

    def test_write_leaves_at_once(self) -> None:
        """What is written is with the peer before the reactor's next turn."""
        ours, peer = self.raw_pair()
        ours.transport.write(b"now")
        peer.settimeout(5)
        self.assertEqual(peer.recv(100), b"now")

    def test_sequence_is_one_write(self) -> None:
        """Pieces written together arrive joined."""
        ours, peer = self.raw_pair()
        ours.transport.writeSequence([b"a", b"", b"b"])
        peer.settimeout(5)
        self.assertEqual(peer.recv(100), b"ab")

    def test_only_bytes_can_be_written(self) -> None:
        """Text is refused by an error that names its type."""
        ours, _ = self.raw_pair()
        error = self.assertRaises(TypeError, ours.transport.write, "text")
        self.assertIn("str", str(error))

    def test_bytes_arrive_in_order_at_a_slow_reader(self) -> None:
        """Random sizes to a reader that pauses all the time arrive whole and in order."""
        data = random.Random(1).randbytes(24 * 1024 * 1024)
        reader, writer = self.pair()

        def rest(piece: bytes) -> None:
            reader.transport.pauseProducing()
            self.reactor.callLater(0.0005, reader.transport.resumeProducing)

        reader.on_data = rest
        source = Source(writer.transport, data, seed=2)
        writer.transport.registerProducer(source, True)
        source.go()
        self.until(lambda: reader.ended, "the end did not come")
        self.assertTrue(bytes(reader.received) == data, "other bytes arrived")
        self.assertGreater(source.pauses, 3)
        self.assertFalse(source.resumed_inside, "resumed from inside write")

    def test_producer_pauses_at_the_first_short_send(self) -> None:
        """A producer is paused by the very write that the kernel does not take whole."""
        ours, _ = self.raw_pair()
        source = Source(ours.transport, bytes(64 * 1024 * 1024), seed=3)
        ours.transport.registerProducer(source, True)
        source.go()
        self.assertEqual(source.pauses, 1)
        self.assertLess(len(ours.transport.dataBuffer) + ours.transport._tempDataLen, 300_001)
        ours.transport.abortConnection()

    def test_pull_producer_is_asked_again(self) -> None:
        """A pull producer goes on being asked although each of its pieces leaves at once."""
        ours, peer = self.raw_pair()
        producer = Pulled(ours.transport, 5)
        ours.transport.registerProducer(producer, False)
        self.until(lambda: ours.lost is not None, "not closed")
        peer.settimeout(5)
        self.assertEqual(len(peer.makefile("rb").read()), 5000)

    def test_write_from_inside_pause(self) -> None:
        """A producer that writes its last bytes when paused keeps their order."""
        ours, peer = self.raw_pair()
        block = b"b" * 8_000_000

        class Last(Source):
            def pauseProducing(self) -> None:
                if not self.paused:
                    self.paused = True
                    self.consumer.write(b"last")

        ours.transport.registerProducer(Last(ours.transport, b"", 0), True)
        ours.transport.write(block)
        ours.transport.unregisterProducer()
        ours.transport.loseConnection()
        self.assertTrue(self._drain(peer, ours) == block + b"last")

    def _drain(self, peer: socket.socket, ours: Recorder) -> bytes:
        """Read a plain socket to its end while the reactor turns."""
        received, ended = bytearray(), []
        peer.setblocking(False)

        def read() -> bool:
            try:
                while piece := peer.recv(1_000_000):
                    received.extend(piece)
            except BlockingIOError:
                return False
            ended.append(True)
            return True

        self.until(read, "no end")
        return bytes(received)

    def test_options(self) -> None:
        """Both ends have no delay, a bound on unsent bytes, and large reads."""
        for end in self.pair():
            skt = end.transport.getHandle()
            self.assertTrue(end.transport.getTcpNoDelay())
            self.assertEqual(skt.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), NOTSENT_LOWAT)
            self.assertEqual(end.transport.bufferSize, READ_SIZE)


class EndTests(ReactorCase):
    """How a connection ends."""

    def test_close_flushes(self) -> None:
        """Closing sends all that was written before, then ends cleanly."""
        reader, writer = self.pair()
        writer.transport.write(b"z" * 20_000_000)
        writer.transport.loseConnection()
        self.until(lambda: reader.ended and writer.lost, "not closed")
        self.assertEqual(len(reader.received), 20_000_000)
        self.assertTrue(writer.lost.check(ConnectionDone))

    def test_half_close_both_ways(self) -> None:
        """Each side ends its way and still receives the other's last bytes."""
        left, right = self.pair()
        left.transport.write(b"question" * 1_000_000)
        left.transport.loseWriteConnection()
        self.until(lambda: right.ended, "no end of the question")
        self.assertTrue(left.write_ended)
        self.assertIsNone(left.lost)
        right.transport.write(b"answer" * 1_000_000)
        right.transport.loseWriteConnection()
        self.until(lambda: left.ended and right.write_ended, "no end of the answer")
        self.assertEqual(len(right.received), 8_000_000)
        self.assertEqual(len(left.received), 6_000_000)

    def test_write_after_half_close_is_dropped(self) -> None:
        """Nothing is sent after our own end."""
        left, right = self.pair()
        left.transport.loseWriteConnection()
        self.until(lambda: right.ended, "no end")
        left.transport.write(b"late")
        right.transport.write(b"fine")
        self.until(lambda: left.received, "no answer")
        self.assertEqual(right.received, b"")

    def test_abort_is_a_reset(self) -> None:
        """Aborting resets the connection; what is queued is dropped and nothing follows."""
        ours, peer = self.raw_pair()
        ours.transport.write(b"q" * 20_000_000)
        ours.transport.abortConnection()
        ours.transport.write(b"after")
        self.until(lambda: ours.lost, "not lost")
        self.assertTrue(ours.lost.check(ConnectionAborted))
        peer.settimeout(5)
        with self.assertRaises(ConnectionResetError):
            while peer.recv(1_000_000):
                pass

    def test_nothing_is_sent_after_abort(self) -> None:
        """What is written after an abort does not leave, even with nothing queued."""
        ours, peer = self.raw_pair()
        ours.transport.abortConnection()
        ours.transport.write(b"after")
        self.until(lambda: ours.lost, "not lost")
        peer.settimeout(5)
        self.assertRaises(ConnectionResetError, peer.recv, 100)

    def test_reset_is_seen_as_one(self) -> None:
        """The peer's reset is not a clean end."""
        ours, peer = self.raw_pair()
        reset(peer)
        self.until(lambda: ours.lost, "not lost")
        self.assertTrue(ours.lost.check(ConnectionLost))
        self.assertFalse(ours.ended)

    def test_reset_met_by_a_write_is_seen_as_one(self) -> None:
        """A write that meets the reset first does not turn it into a clean end.

        The failed send takes the socket's error with it, and a read would then find an end.
        """
        ours, peer = self.raw_pair()
        reset(peer)
        ours.transport.write(b"met")
        self.assertTrue(ours.transport._broken)
        self.assertIsNone(ours.lost, "lost from inside write")
        self.until(lambda: ours.lost, "not lost")
        self.assertTrue(ours.lost.check(ConnectionLost))
        self.assertFalse(ours.ended)

    def test_reset_met_by_a_write_while_paused(self) -> None:
        """A connection that is not being read is lost too once a write meets a reset."""
        ours, peer = self.raw_pair()
        ours.transport.pauseProducing()
        reset(peer)
        ours.transport.write(b"met")
        self.until(lambda: ours.lost, "not lost")
        self.assertTrue(ours.lost.check(ConnectionLost))

    def test_exception_disconnects_and_is_logged(self) -> None:
        """A protocol that raises loses its connection; the error is logged, others go on."""

        class Faulty(Recorder):
            def dataReceived(self, data: bytes) -> None:
                raise ValueError("a bug")

        other, other_peer = self.raw_pair()
        client, faulty = self.pair(theirs=Faulty)
        client.transport.write(b"x")
        self.until(lambda: faulty.lost, "not lost")
        self.assertTrue(faulty.lost.check(ValueError))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        other_peer.send(b"still here")
        self.until(lambda: other.received, "the other connection stopped")

    def test_exception_in_connection_lost_is_logged(self) -> None:
        """A protocol that raises while it is told of the end does not stop the reactor."""

        class Faulty(Recorder):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                raise ValueError("a bug")

        _, faulty = self.pair(theirs=Faulty)
        faulty.transport.write(b"x")
        faulty.transport.loseConnection()
        self.until(lambda: faulty.lost, "not lost")
        turn(self.reactor)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_end_with_a_plain_protocol(self) -> None:
        """A protocol that knows no half-close is closed by the peer's end."""

        class Plain(Protocol):
            made = False
            lost: Any = None

            def connectionMade(self) -> None:
                self.made = True

            def connectionLost(self, reason: Any = None) -> None:
                self.lost = reason

        client, plain = self.pair(theirs=Plain)
        client.transport.loseWriteConnection()
        self.until(lambda: plain.lost, "not lost")
        self.assertTrue(plain.lost.check(ConnectionDone))


class CompatibilityTests(ReactorCase):
    """The Twisted that is installed."""

    def test_internals_are_there(self) -> None:
        """Everything these classes rely on beyond public interfaces exists in this Twisted."""
        for owner, names in INTERNALS.items():
            for name in names:
                self.assertTrue(hasattr(owner, name), f"{owner.__name__}.{name} is gone")
        ours, _ = self.raw_pair()
        self.assertIsInstance(ours.transport, EagerConnection)
        self.assertEqual(ours.transport._tempDataLen, 0)
        self.assertTrue(issubclass(tcp.Connection, tcp.abstract.FileDescriptor))

    def test_adopted_sockets_are_eager(self) -> None:
        """Sockets handed over by a service manager send at once too."""
        from twisted.internet.protocol import Factory

        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        accepted: list[Recorder] = []

        def build() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        self.reactor.adoptStreamPort(listening.fileno(), socket.AF_INET, Factory.forProtocol(build))
        address = listening.getsockname()
        listening.close()
        peer = socket.create_connection(address)
        self.addCleanup(peer.close)
        self.until(lambda: accepted and accepted[0].made, "no connection")
        self.assertIsInstance(accepted[0].transport, EagerConnection)

    def test_adopted_connection_is_eager(self) -> None:
        """A connected socket handed over sends at once."""
        from twisted.internet.protocol import Factory

        _, peer = self.raw_pair()
        recorder = Recorder()
        peer.setblocking(False)
        transport = self.reactor.adoptStreamConnection(
            peer.fileno(), socket.AF_INET, Factory.forProtocol(lambda: recorder)
        )
        self.assertIsInstance(transport, EagerConnection)
        self.assertIs(recorder.transport, transport)

    def test_burst_of_connections(self) -> None:
        """Three hundred connections at once are all accepted."""
        accepted: list[Recorder] = []

        def build() -> Recorder:
            accepted.append(Recorder())
            return accepted[-1]

        port = self.listen(build, backlog=512)
        address = ("127.0.0.1", port.getHost().port)
        peers = [socket.create_connection(address) for _ in range(300)]
        for peer in peers:
            self.addCleanup(peer.close)
        self.until(lambda: len(accepted) == 300, "not all accepted")
