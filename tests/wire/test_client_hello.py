"""The ClientHello that opens a TLS connection."""

from __future__ import annotations

import ssl
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.wire.client_hello import (
    DECODE_ERROR,
    HANDSHAKE_FAILURE,
    ILLEGAL_PARAMETER,
    RECORD_OVERFLOW,
    UNEXPECTED_MESSAGE,
    UNRECOGNIZED_NAME,
    ClientHello,
    ClientHelloReader,
    HelloError,
    alert,
)


def real_hello(name: str | None, alpn: list[str], newest: ssl.TLSVersion) -> bytes:
    """Return the first bytes that OpenSSL sends as a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    if alpn:
        context.set_alpn_protocols(alpn)
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise AssertionError("a handshake without a server")


def vector(width: int, content: bytes) -> bytes:
    """Return ``content`` with its length in front."""
    return len(content).to_bytes(width, "big") + content


def names(*entries: bytes, kind: int = 0) -> bytes:
    """Return a server name extension."""
    listed = b"".join(bytes([kind]) + vector(2, entry) for entry in entries)
    return b"\0\0" + vector(2, vector(2, listed))


def alpn(*entries: bytes) -> bytes:
    """Return an application protocol extension."""
    return b"\0\x10" + vector(2, vector(2, b"".join(vector(1, entry) for entry in entries)))


def body(*extensions: bytes, session: bytes = b"", suites: bytes = b"\x13\x01") -> bytes:
    """Return the body of a hello."""
    start = b"\3\3" + bytes(32) + vector(1, session) + vector(2, suites) + b"\1\0"
    return start + vector(2, b"".join(extensions))


def message(content: bytes, kind: int = 1) -> bytes:
    """Return a handshake message."""
    return bytes([kind]) + vector(3, content)


def records(data: bytes, *sizes: int) -> bytes:
    """Return ``data`` in records of those sizes, the last size for all that follow."""
    cut, made = list(sizes) or [16_384], b""
    while data:
        size = cut.pop(0) if len(cut) > 1 else cut[0]
        made += b"\x16\3\1" + vector(2, data[:size])
        data = data[size:]
    return made


def read(data: bytes, limit: int = 65_536) -> ClientHello | None:
    """Read all at once."""
    return ClientHelloReader(limit).feed(data)


class HelloTests(SynchronousTestCase):
    """Hellos that can be served."""

    def test_what_openssl_sends(self) -> None:
        """Name and protocols are read from hellos of OpenSSL, for TLS 1.2 and 1.3."""
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            hello = real_hello("App.Example.com", ["h2", "http/1.1"], newest)
            self.assertEqual(read(hello), ClientHello("app.example.com", (b"h2", b"http/1.1")))
            self.assertEqual(read(real_hello(None, [], newest)), ClientHello())

    def test_no_extensions(self) -> None:
        """A hello of old that ends before the extensions asks for nothing."""
        self.assertEqual(read(records(message(body()[:-2]))), ClientHello())

    def test_final_dot_and_case_do_not_matter(self) -> None:
        """Names come in canonical form."""
        hello = read(records(message(body(names(b"A.B.Example.")))))
        assert hello is not None
        self.assertEqual(hello.server_name, "a.b.example")

    def test_what_follows_is_left_alone(self) -> None:
        """Records behind the hello, early data say, are not looked at."""
        self.assertEqual(read(records(message(body(names(b"a.b")))) + b"\x17\3\3\0\0"), ClientHello("a.b"))

    def test_long_hello_in_tiny_records_is_quick(self) -> None:
        """A hello of 64 KiB in records of one byte is read in linear time."""
        padding = b"\0\x15" + vector(2, bytes(65_000))
        data = records(message(body(padding, names(b"a.b"))), 1)
        reader, answer, started = ClientHelloReader(), None, time.process_time()
        for position in range(0, len(data), 1000):
            self.assertIsNone(answer)
            answer = reader.feed(data[position : position + 1000])
        self.assertEqual(answer, ClientHello("a.b"))
        self.assertLess(time.process_time() - started, 3)

    def test_alert(self) -> None:
        """An alert is the seven bytes that OpenSSL understands."""
        self.assertEqual(alert(HANDSHAKE_FAILURE), b"\x15\3\3\0\2\2\x28")
        incoming = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        visitor = context.wrap_bio(incoming, ssl.MemoryBIO(), server_hostname="a.b")
        self.assertRaises(ssl.SSLWantReadError, visitor.do_handshake)
        incoming.write(alert(UNRECOGNIZED_NAME))
        error = self.assertRaises(ssl.SSLError, visitor.do_handshake)
        self.assertIn("UNRECOGNIZED_NAME", str(error).upper())


class RefusedTests(SynchronousTestCase):
    """Bytes that are refused, with the alert that tells the peer."""

    def refused(self, data: bytes, wanted: int = DECODE_ERROR, limit: int = 65_536) -> str:
        """Check that ``data`` is refused with that alert; return the message."""
        error = self.assertRaises(HelloError, read, data, limit)
        self.assertEqual(error.alert, wanted, str(error))
        return str(error)

    def test_not_tls(self) -> None:
        """The first byte of something else is refused, by type."""
        self.assertIn("type 71", self.refused(b"GET / HTTP/1.1\r\n", UNEXPECTED_MESSAGE))
        self.refused(b"\x80\x2e\x01\x03\x01", UNEXPECTED_MESSAGE)
        self.refused(b"\x16\x02")

    def test_records_out_of_bounds(self) -> None:
        """Empty records and records over 16 KiB are refused as soon as their head is read."""
        self.refused(b"\x16\3\1\0\0", UNEXPECTED_MESSAGE)
        self.refused(b"\x16\3\1\x40\x01", RECORD_OVERFLOW)
        self.refused(b"\x16\3\1\0\1\1\x17\3\1\0\1", UNEXPECTED_MESSAGE)

    def test_too_long(self) -> None:
        """A hello over the limit is refused by the length it announces."""
        hello = message(body(names(b"a.b")))
        self.assertIsNotNone(read(records(hello), len(hello)))
        start = records(hello, 4)[:9]
        self.assertIn("wanted at most", self.refused(start, ILLEGAL_PARAMETER, len(hello) - 1))

    def test_other_message(self) -> None:
        """Another handshake message, or more behind the hello in its record, is refused."""
        self.refused(records(message(body(), kind=2)), UNEXPECTED_MESSAGE)
        self.refused(records(message(body()) + b"\x14"), UNEXPECTED_MESSAGE)

    def test_lengths_have_to_agree(self) -> None:
        """Every length is checked against what it is in."""
        good = body(names(b"a.b"), alpn(b"h2"))
        for size in range(len(good)):
            if size != len(body()) - 2:  # that is a hello without extensions
                self.refused(records(message(good[:size])))
        self.refused(records(message(good + b"\0")))
        self.refused(records(message(body(session=bytes(33)))))
        self.refused(records(message(body(suites=b"\x13\x01\x13"))))
        self.refused(records(message(body(suites=b""))))
        self.refused(records(message(body(b"\0\0" + vector(2, vector(2, b"\0\0\0"))))))
        self.refused(records(message(body(b"\0\0\0\0"))))
        self.refused(records(message(body(alpn()))))
        self.refused(records(message(body(alpn(b"h2", b"")))))

    def test_doubled(self) -> None:
        """Two server names, two extensions of one type, a name of another type: refused."""
        for content in (
            body(names(b"a.b", b"c.d")),
            body(names(b"a.b"), names(b"c.d")),
            body(alpn(b"a"), alpn(b"b")),
            body(names(b"a.b", kind=1)),
        ):
            self.refused(records(message(content)), ILLEGAL_PARAMETER)

    def test_not_a_hostname(self) -> None:
        """NUL, addresses, wildcards and other things that are no hostname are not recognised."""
        for name in (
            b"a\0.b",
            b"127.0.0.1",
            b"::1",
            b"*.a.b",
            b"a b",
            b"a..b",
            b"-a.b",
            b"\xff.b",
            b"a" * 64,
        ):
            said = self.refused(records(message(body(names(name)))), UNRECOGNIZED_NAME)
            self.assertNotIn("\0", said)
        self.refused(records(message(body(names(b".".join([b"a" * 60] * 5))))), UNRECOGNIZED_NAME)


HELLOS = st.sampled_from(
    [
        records(message(body(names(b"some.example"), alpn(b"burrow/1", b"h2"))), 1),
        records(message(body(names(b"some.example"), alpn(b"burrow/1", b"h2"))), 7, 1, 3, 100),
        real_hello("some.example", ["burrow/1", "h2"], ssl.TLSVersion.TLSv1_3),
    ]
)


class PropertyTests(SynchronousTestCase):
    """Any bytes, cut anywhere."""

    @given(HELLOS, st.lists(st.integers(min_value=1, max_value=400)))
    def test_any_cut(self, data: bytes, sizes: list[int]) -> None:
        """However a hello is cut, it is read the same, with its last byte and not before."""
        reader = ClientHelloReader()
        while data:
            size = sizes.pop() if sizes else len(data)
            answer = reader.feed(data[:size])
            data = data[size:]
            self.assertEqual(answer is not None, not data)
        self.assertEqual(answer, ClientHello("some.example", (b"burrow/1", b"h2")))

    @given(
        st.integers(min_value=1, max_value=300),
        st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
    )
    def test_real_hellos_in_other_records(self, size: int, newest: ssl.TLSVersion) -> None:
        """A hello of OpenSSL is read from records of any size."""
        sent = real_hello("some.example", ["h2"], newest)
        self.assertEqual(read(records(sent[5:], size)), ClientHello("some.example", (b"h2",)))

    @given(st.binary(max_size=300), st.integers(min_value=0, max_value=300))
    def test_arbitrary_bytes(self, data: bytes, cut: int) -> None:
        """Arbitrary bytes, bare or in a record, end in a hello, a refusal or a wish for more."""
        for bytes_ in (data, records(data), records(message(data)), records(message(body()[:-2] + data))):
            reader = ClientHelloReader()
            try:
                answer = reader.feed(bytes_[:cut])
                if answer is None:
                    answer = reader.feed(bytes_[cut:])
            except HelloError as error:
                self.assertIn(error.alert, range(256))
            else:
                self.assertIsInstance(answer, ClientHello | None)

    @given(HELLOS, st.integers(min_value=0), st.integers(min_value=0, max_value=255))
    def test_one_byte_changed(self, data: bytes, where: int, value: int) -> None:
        """A hello with one byte changed never ends in another error than a refusal."""
        changed = bytearray(data)
        changed[where % len(data)] = value
        try:
            read(bytes(changed))
        except HelloError:
            return
