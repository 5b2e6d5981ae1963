"""TLS connections."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone

from burrow.net.tls import (
    INTERNALS,
    SESSION_ALPN,
    SESSION_TLS,
    BurrowTLSTransport,
    DirectTLSTransport,
    exporter,
    server_context,
)
from burrow.net.trust import client_options
from tests.net.certificates import authority, server
from tests.net.test_sockets import Source
from tests.net.tls_case import Secured, TLSCase

NAME = "relay.example"


def ours(*alpn: bytes, least: Any = SESSION_TLS) -> Any:
    """Return a server's context."""
    return server_context(server(NAME), alpn, least)


def theirs(*alpn: bytes) -> Any:
    """Return a client's options."""
    return client_options(NAME, authority().chain, alpn)


class HandshakeTests(TLSCase):
    """What a handshake settles."""

    def test_application_protocol(self) -> None:
        """Both ends know what ALPN chose: the server's first choice among the client's."""
        for context, options, buffering in (
            (ours(SESSION_ALPN, b"h2"), theirs(b"h2", SESSION_ALPN), True),
            (ours(SESSION_ALPN), theirs(SESSION_ALPN), False),
        ):
            left, right = self.secure(context, options, buffering)
            self.assertEqual((left.negotiated, right.negotiated), (SESSION_ALPN, SESSION_ALPN))

    def test_no_application_protocol(self) -> None:
        """Without a common protocol the connection is there and says that none was chosen."""
        for offered in ([], [b"h2"]):
            client, _ = self.secure(ours(SESSION_ALPN), theirs(*offered))
            self.assertIsNone(client.negotiated)

    def test_version(self) -> None:
        """A session's side speaks TLS 1.3 or nothing."""
        client, _ = self.secure(ours(), theirs())
        self.assertEqual(client.transport.getHandle().get_protocol_version_name(), "TLSv1.3")
        old = theirs()
        old._context.set_max_proto_version(0x0303)
        client, _ = self.start(ours(), old)
        self.until(lambda: client.lost, "TLS 1.2 was taken")
        self.assertFalse(client.secured)
        client, _ = self.secure(server_context(server(NAME)), old)

    def test_keying_material(self) -> None:
        """Both ends export the same secret bytes, other ones for another label or connection."""
        left, right = self.secure(ours(), theirs())
        one = exporter(left.transport, b"EXPORTER-burrow", 32)
        self.assertEqual((one, len(one)), (exporter(right.transport, b"EXPORTER-burrow", 32), 32))
        self.assertNotEqual(one, exporter(left.transport, b"EXPORTER-other", 32))
        other, _ = self.secure(ours(), theirs())
        self.assertNotEqual(one, exporter(other.transport, b"EXPORTER-burrow", 32))


class BytesTests(TLSCase):
    """Bytes over TLS."""

    def test_bytes_arrive_in_order_at_a_slow_reader(self) -> None:
        """Random sizes to a reader that pauses all the time arrive whole and in order."""
        for buffering in (True, False):
            data = random.Random(1).randbytes(8 * 1024 * 1024)
            reader, writer = self.secure(ours(), theirs(), buffering)

            def rest(piece: bytes, reader: Secured = reader) -> None:
                reader.transport.pauseProducing()
                self.reactor.callLater(0.0005, reader.transport.resumeProducing)

            reader.on_data = rest
            source = Source(writer.transport, data, seed=2)
            writer.transport.registerProducer(source, True)
            source.go()
            self.until(lambda reader=reader: reader.lost, "the end did not come")
            self.assertTrue(bytes(reader.received) == data, "other bytes arrived")
            self.assertGreater(source.pauses, 3)

    def test_one_write_is_one_send(self) -> None:
        """A large write leaves in one piece, not in one for each record."""
        client, peer = self.secure(ours(), theirs(), buffering=False)
        sent: list[int] = []
        lower = client.transport.transport
        send = lower.write
        lower.write = lambda data: (sent.append(len(data)), send(data))
        client.transport.write(bytes(100_000))
        self.assertEqual(len(sent), 1)
        client.transport.write(bytes(1_000_000))
        self.assertTrue(all(size < 131_072 for size in sent))
        self.until(lambda: len(peer.received) == 1_100_000, "not all arrived")

    def test_sequence_is_one_send(self) -> None:
        """Pieces written together leave together and in order, in the handshake and after it."""
        client, peer = self.start(ours(), theirs(), buffering=False)
        client.transport.writeSequence([b"ear", b"ly "])
        self.until(lambda: client.secured and peer.secured, "no handshake")
        sent: list[int] = []
        lower = client.transport.transport
        send = lower.write
        lower.write = lambda data: (sent.append(len(data)), send(data))
        client.transport.writeSequence([b"a" * 20_000, b"", b"b" * 30_000, b"c"])
        self.assertEqual(len(sent), 1)
        self.until(lambda: len(peer.received) == 50_007, "not all arrived")
        self.assertEqual(bytes(peer.received), b"early " + b"a" * 20_000 + b"b" * 30_000 + b"c")

    def test_one_read_is_one_delivery(self) -> None:
        """What one read of the socket brings is delivered in one piece, and before the end."""
        client, peer = self.secure(ours(), theirs(), buffering=False)
        pieces: list[int] = []
        peer.on_data = lambda data: pieces.append(len(data))
        client.transport.write(bytes(60_000))
        client.transport.loseConnection()
        self.until(lambda: peer.lost, "no end")
        self.assertEqual(sum(pieces), 60_000)
        self.assertLess(len(pieces), 4)
        self.assertTrue(peer.lost.check(ConnectionDone))

    def test_small_writes_are_gathered(self) -> None:
        """The buffering transport sends small writes of one turn together, the other one at once."""
        for buffering, kind in ((True, BurrowTLSTransport), (False, DirectTLSTransport)):
            client, _ = self.secure(ours(), theirs(), buffering)
            self.assertIsInstance(client.transport, kind)
            sent: list[bytes] = []
            client.transport.transport.write = sent.append
            client.transport.write(b"a")
            client.transport.write(b"b")
            self.assertEqual(len(sent), 0 if buffering else 2)

    def test_start_tls_on_a_plain_connection(self) -> None:
        """A connection that starts TLS by itself, as Twisted has it, works on eager sockets."""
        left, right = self.pair()
        left.transport.write(b"plain")
        self.until(lambda: right.received, "nothing came")
        right.transport.startTLS(ours())
        left.transport.startTLS(theirs())
        left.transport.write(b"secret" * 100_000)
        self.until(lambda: len(right.received) == 600_005, "not all arrived")
        left.transport.loseConnection()
        self.until(lambda: left.lost and right.lost, "not closed")


class EndTests(TLSCase):
    """How a TLS connection ends."""

    def test_close(self) -> None:
        """Closing sends what was written and is a clean end for both."""
        for buffering in (True, False):
            left, right = self.secure(ours(), theirs(), buffering)
            left.transport.write(b"x" * 3_000_000)
            left.transport.loseConnection()
            self.until(lambda left=left, right=right: left.lost and right.lost, "not closed")
            self.assertEqual(len(right.received), 3_000_000)
            self.assertTrue(right.lost.check(ConnectionDone), right.lost)

    def test_ending_one_way_ends_both(self) -> None:
        """TLS has no half-close: the end of one way sends what was written and closes both."""
        left, right = self.secure(ours(), theirs())
        right.transport.write(b"answer")
        right.transport.loseWriteConnection()
        self.until(lambda: left.lost and right.lost, "not closed")
        self.assertEqual(left.received, b"answer")
        self.assertTrue(left.lost.check(ConnectionDone))

    def test_abort_is_not_clean(self) -> None:
        """An aborted answer does not look whole: the peer sees a reset, not an end."""
        for buffering in (True, False):
            left, right = self.secure(ours(), theirs(), buffering)
            right.transport.write(b"half an ans")
            right.transport.abortConnection()
            self.until(lambda left=left, right=right: left.lost and right.lost, "not lost")
            self.assertFalse(left.lost.check(ConnectionDone), left.lost)
            self.assertTrue(right.lost.check(ConnectionAborted), right.lost)

    def test_abort_sends_nothing(self) -> None:
        """An abort comes without the alert that would make the answer look whole."""
        for buffering in (True, False):
            left, _ = self.secure(ours(), theirs(), buffering)
            sent: list[bytes] = []
            left.transport.transport.write = sent.append
            left.transport.write(b"gathered") if buffering else None
            left.transport.abortConnection()
            left.transport.write(b"late")
            self.until(lambda left=left: left.lost, "not lost")
            self.assertEqual(sent, [])

    def test_write_when_all_is_over(self) -> None:
        """What is written after the connection is lost is dropped, as on any transport."""
        for buffering in (True, False):
            left, right = self.secure(ours(), theirs(), buffering)
            transport = left.transport
            right.transport.loseConnection()
            self.until(lambda left=left: left.lost, "not lost")
            transport.write(b"late")
            transport.writeSequence([b"late", b"r"])
            transport.loseConnection()
            transport.abortConnection()

    def test_abort_in_the_handshake(self) -> None:
        """A connection can be aborted before the handshake is done."""
        client, accepted = self.start(ours(), theirs())
        client.transport.abortConnection()
        self.until(lambda: client.lost and accepted.lost, "not lost")
        self.assertFalse(accepted.secured)

    def test_end_without_alert_is_not_clean(self) -> None:
        """A connection cut below TLS does not look like a clean end."""
        left, right = self.secure(ours(), theirs())
        right.transport.transport.loseConnection()
        self.until(lambda: left.lost, "not lost")
        self.assertFalse(left.lost.check(ConnectionDone), left.lost)

    def test_internals_are_there(self) -> None:
        """Everything the transports rely on beyond public interfaces exists in this Twisted."""
        client, _ = self.secure(ours(), theirs())
        for name in INTERNALS:
            self.assertTrue(hasattr(client.transport, name), f"{name} is gone")
