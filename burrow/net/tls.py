"""TLS as burrow uses it: transports, factories, an endpoint and the server's contexts.

Against Twisted's own, an abort resets the connection before anything else can be sent (with its
close alert in front, an aborted answer would look whole), one write leaves in one piece, every
factory is handed its clock, and the end of either side ends both: TLS has no half-close here.

Who is trusted is the subject of `burrow.net.trust`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.errors import ConfigError

SESSION_ALPN = b"burrow/1"  #: what a session's link negotiates
SESSION_TLS = SSL.TLS1_3_VERSION  #: the least that a session's link speaks
LEAST_TLS = SSL.TLS1_2_VERSION  #: the least that anything else speaks

#: Keys that a server can sign with.
ServerKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

#: Bytes taken from TLS to the socket at once: a session's batch, encrypted, and still under 128 KiB
#: (see `burrow.net.sockets`).
CHUNK = 126_976
RECORD = 16_384  #: bytes of plain text that one record carries at most
SMALL = 4_096  #: bytes taken first when little is expected: a handshake message, an alert

#: What the transports use of Twisted beyond its public interfaces.
INTERNALS = (
    "_write",
    "_bufferedWrite",
    "_flushReceiveBIO",
    "_flushSendBIO",
    "_shutdownTLS",
    "_tlsShutdownFinished",
    "_tlsConnection",
    "_aborted",
    "_lostTLSConnection",
)


class _Burrow(TLSMemoryBIOProtocol):
    """What both transports change in Twisted's."""

    transport: Any  # a TCP transport, or one that aborts like it

    def abortConnection(self) -> None:
        """Reset the connection; nothing more is sent, not even an alert."""
        self._aborted = self._lostTLSConnection = True
        self.disconnecting = True
        self.transport.abortConnection()

    def loseWriteConnection(self) -> None:
        """Send what is written, then end both ways: TLS has no half-close in Twisted."""
        self.loseConnection()

    def _write(self, data: bytes) -> None:
        """Encrypt all of one write, then send it: one call of the socket instead of one a record."""
        self._encrypt(data)
        self._drain(min(CHUNK, len(data) + len(data) // 256 + SMALL))

    def _encrypt(self, data: bytes) -> None:
        if self._lostTLSConnection:
            return
        encrypt, sent = self._tlsConnection.send, 0
        view = memoryview(data)
        try:
            while sent < len(view):
                sent += encrypt(view[sent : sent + RECORD])
        except SSL.WantReadError:
            self._bufferedWrite(data[sent:])
        except SSL.Error:
            self._tlsShutdownFinished(Failure())

    def _flushSendBIO(self) -> None:
        self._drain(SMALL)

    def _drain(self, size: int) -> None:
        """Send what is encrypted, ``size`` bytes at once: a little more than is thought to be there."""
        if (encrypted := self._tlsConnection) is None:
            return  # the connection is lost
        try:
            while True:
                taken = encrypted.bio_read(size)
                self.transport.write(taken)
                if len(taken) < size:
                    return
        except SSL.WantReadError:
            return  # there was nothing

    def _flushReceiveBIO(self) -> None:
        """Decrypt all that one read of the socket brought, then deliver it in one piece."""
        received, ended = [], None
        decrypt = self._tlsConnection.recv
        try:
            while not self._lostTLSConnection:
                received.append(decrypt(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.Error:  # an end in good order is one of them
            ended = Failure()
        if received and not self._aborted:
            self.wrappedProtocol.dataReceived(received[0] if len(received) == 1 else b"".join(received))
        if ended is not None and not self._lostTLSConnection:
            if ended.check(SSL.ZeroReturnError):
                self._shutdownTLS()
                ended = None
            self._tlsShutdownFinished(ended)
        self._flushSendBIO()


class BurrowTLSTransport(_Burrow, BufferingTLSTransport):
    """TLS that gathers small writes until the reactor's next turn."""


class DirectTLSTransport(_Burrow):
    """TLS that sends every write at once, for who gathers writes by himself (a session's link)."""

    def writeSequence(self, sequence: Iterable[bytes]) -> None:
        """Encrypt the pieces one by one, without joining them, and send them together."""
        size = 0
        for piece in sequence:
            if self._appSendBuffer or self.disconnecting or not self._handshakeDone:
                self.write(piece)
            else:
                self._encrypt(piece)
                size += len(piece)
        if size:
            self._drain(min(CHUNK, size + size // 256 + SMALL))


class TLSFactory(TLSMemoryBIOFactory):
    """Puts TLS around the protocols of a factory."""

    def __init__(
        self,
        context: IOpenSSLServerConnectionCreator | IOpenSSLClientConnectionCreator,
        is_client: bool,
        factory: IProtocolFactory,
        clock: IReactorTime,
        buffering: bool = True,
    ) -> None:
        """Wrap ``factory``.

        Args:
            context: Of `server_context` or `burrow.net.trust.client_options`.
            is_client: Whether we open the handshake.
            factory: Speaks the plain text. A protocol of it that provides
                `twisted.internet.interfaces.IHandshakeListener` hears of the handshake's end,
                after the peer was verified; `negotiatedProtocol` of its transport then tells what
                ALPN chose.
            clock: Ends the gathering of small writes.
            buffering: Whether small writes are gathered.
        """
        super().__init__(context, is_client, factory, clock)
        self.protocol = BurrowTLSTransport if buffering else DirectTLSTransport


@implementer(IStreamClientEndpoint)
class TLSClientEndpoint:
    """Another endpoint with TLS inside."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        options: IOpenSSLClientConnectionCreator,
        clock: IReactorTime,
        buffering: bool = True,
    ) -> None:
        """Connect by ``endpoint`` and verify as ``options`` say; see `TLSFactory`."""
        self._endpoint, self._options, self._clock, self._buffering = endpoint, options, clock, buffering

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fires with the protocol before the handshake is done."""
        factory = TLSFactory(self._options, True, protocolFactory, self._clock, self._buffering)
        connected: Deferred[Any] = self._endpoint.connect(factory)
        return connected.addCallback(lambda tls: tls.wrappedProtocol)


@dataclass(frozen=True, eq=False)
class Credentials:
    """What a server shows and signs with.

    Attributes:
        chain: The server's own certificate, then the authorities between it and a root.
        key: The private key of the first certificate.
    """

    chain: tuple[x509.Certificate, ...]
    key: ServerKey


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """One OpenSSL context, for any number of connections that we accept."""

    def __init__(self, context: SSL.Context) -> None:
        """Use ``context``, on which nothing is changed any more."""
        self._context = context

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._context, None)


def new_context(least: int) -> SSL.Context:
    """Return a context with what both sides of TLS have in common here.

    TLS 1.2 only has ciphers with forward secrecy and authenticated encryption (RFC 9325 section
    4.2); those of TLS 1.3 are all of that kind.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(least)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def server_context(
    credentials: Credentials, alpn: Sequence[bytes] = (), least: int = LEAST_TLS
) -> ServerContext:
    """Make what a server's side of TLS needs.

    Args:
        credentials: Whom we claim to be.
        alpn: Application protocols to choose from, the preferred first. A client that offers none
            of them is served without one.
        least: The least version of TLS, `LEAST_TLS` or `SESSION_TLS`.

    Raises:
        ConfigError: The key is not the certificate's, or OpenSSL takes neither.
    """
    context = new_context(least)
    leaf, *above = credentials.chain
    try:
        context.use_certificate(leaf)
        context.use_privatekey(credentials.key)
        for certificate in above:
            context.add_extra_chain_cert(certificate)
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigError(f"a certificate cannot be used: {error.args[0][-1][-1]}") from None
    context.set_alpn_select_callback(_Chooser(alpn))
    return ServerContext(context)


class _Chooser:
    """Chooses among the application protocols that a client offers (RFC 7301 section 3.2)."""

    def __init__(self, alpn: Sequence[bytes]) -> None:
        self._alpn = tuple(alpn)

    def __call__(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        for protocol in self._alpn:
            if protocol in offered:
                return protocol
        return SSL.NO_OVERLAPPING_PROTOCOLS


def exporter(transport: Any, label: bytes, length: int) -> bytes:
    """Return keying material that only the two ends of this TLS connection have.

    Args:
        transport: A TLS transport whose handshake is done.
        label: Tells uses apart (RFC 8446 section 7.5, RFC 5705 section 4).
        length: Bytes wanted.
    """
    material: bytes = transport.getHandle().export_keying_material(label, length)
    return material
