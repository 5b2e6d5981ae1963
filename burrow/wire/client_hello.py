"""The ClientHello that opens a TLS connection: what it asks for, read from any records.

RFC 8446 sections 4.1.2, 4.2 and 5.1 (the hello, its extensions, the records that carry it),
RFC 6066 section 3 (server name), RFC 7301 section 3.1 (application protocols).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from burrow.errors import ProtocolError
from burrow.names import canonical

HELLO_LIMIT = 65_536  #: bytes of one ClientHello, without record headers
RECORD_LIMIT = 16_384  #: bytes in one record, RFC 8446 section 5.1

HANDSHAKE = 22  #: record type
CLIENT_HELLO = 1  #: handshake type
SERVER_NAME, ALPN = 0, 16  #: extension types
HOST_NAME = 0  #: type of a server name

# Alerts, RFC 8446 section 6.2.
UNEXPECTED_MESSAGE = 10
RECORD_OVERFLOW = 22
HANDSHAKE_FAILURE = 40
ILLEGAL_PARAMETER = 47
DECODE_ERROR = 50
INTERNAL_ERROR = 80
UNRECOGNIZED_NAME = 112


class HelloError(ProtocolError):
    """These bytes are no ClientHello that can be served.

    Attributes:
        alert: The alert that tells the peer, for `alert`.
    """

    def __init__(self, message: str, alert: int = DECODE_ERROR) -> None:
        """Say what is wrong in ``message``."""
        super().__init__(message)
        self.alert = alert


@dataclass(frozen=True)
class ClientHello:
    """What a ClientHello asks for.

    Attributes:
        server_name: Canonical, or the empty text when there is none.
        alpn: The application protocols offered, the preferred first.
    """

    server_name: str = ""
    alpn: tuple[bytes, ...] = ()


def alert(code: int) -> bytes:
    """Return the record of a fatal alert, 7 bytes (RFC 8446 section 6)."""
    return bytes((21, 3, 3, 0, 2, 2, code))


class ClientHelloReader:
    """Collects TLS records until the ClientHello they carry is whole."""

    def __init__(self, limit: int = HELLO_LIMIT) -> None:
        """Start empty; refuse a hello of more than ``limit`` bytes."""
        self._limit = limit
        self._unread, self._hello = bytearray(), bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """Add the next bytes; return the ClientHello once it is whole, and do not feed more.

        What follows the hello's last record is not looked at.

        Raises:
            HelloError: Not a ClientHello, or over the limit. Do not feed this reader again.
        """
        self._unread += data
        position = 0
        while len(self._hello) < 4 + self._size():
            end = self._record_end(position)
            if end is None:
                del self._unread[:position]
                return None
            self._hello += memoryview(self._unread)[position + 5 : end]
            self._check_start()
            position = end
        return self._parsed()

    def _record_end(self, start: int) -> int | None:
        """Return where the record at ``start`` ends, ``None`` while it is not all there."""
        head = self._unread[start : start + 5]
        if head and head[0] != HANDSHAKE:
            raise HelloError(f"record of type {head[0]}, wanted {HANDSHAKE}", UNEXPECTED_MESSAGE)
        if len(head) > 1 and head[1] != 3:
            raise HelloError(f"record of version {head[1]}, wanted 3")
        if len(head) < 5:
            return None
        size = int.from_bytes(head[3:], "big")
        if size > RECORD_LIMIT:
            raise HelloError(f"record of {size} bytes, wanted at most {RECORD_LIMIT}", RECORD_OVERFLOW)
        if size == 0:  # forbidden by RFC 8446 section 5.1; they would never end
            raise HelloError("empty record", UNEXPECTED_MESSAGE)
        end = start + 5 + size
        return end if end <= len(self._unread) else None

    def _size(self) -> int:
        """Return how many bytes follow the four of the hello's head, 0 while it is not known."""
        return int.from_bytes(self._hello[1:4], "big") if len(self._hello) >= 4 else 0

    def _check_start(self) -> None:
        """Refuse what cannot become a hello within the limit as early as it shows."""
        if self._hello[0] != CLIENT_HELLO:
            kind = self._hello[0]
            raise HelloError(f"handshake message {kind}, wanted {CLIENT_HELLO}", UNEXPECTED_MESSAGE)
        size = 4 + self._size()
        if size > self._limit:
            raise HelloError(f"ClientHello of {size} bytes, wanted at most {self._limit}", ILLEGAL_PARAMETER)

    def _parsed(self) -> ClientHello:
        rest = len(self._hello) - 4 - self._size()
        if rest:
            raise HelloError(f"{rest} bytes behind the ClientHello", UNEXPECTED_MESSAGE)
        return _parse(bytes(self._hello[4:]))


class _Bytes:
    """Reads vectors with a length in front (RFC 8446 section 3.4) out of bytes that are all there."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._at, self._what = data, 0, what

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int, field: str) -> bytes:
        """Return the next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            left = len(self._data) - self._at
            raise HelloError(f"{self._what}: {field} has {left} bytes left, wanted {size}")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, width: int, field: str) -> int:
        """Return the next number of ``width`` bytes."""
        return int.from_bytes(self.take(width, field), "big")

    def vector(self, width: int, field: str, least: int = 0, most: int = 65_535) -> bytes:
        """Return the next vector, whose length has ``width`` bytes."""
        size = self.number(width, field)
        if not least <= size <= most:
            raise HelloError(f"{self._what}: {field} of {size} bytes, wanted {least} to {most}")
        return self.take(size, field)

    def end(self) -> None:
        """Check that nothing is left."""
        if self:
            raise HelloError(f"{self._what}: {len(self._data) - self._at} bytes too many")


def _parse(body: bytes) -> ClientHello:
    hello = _Bytes(body, "ClientHello")
    if (major := hello.take(2, "version")[0]) != 3:
        raise HelloError(f"ClientHello: version {major}, wanted 3")
    hello.take(32, "random")
    hello.vector(1, "session id", most=32)
    if len(suites := hello.vector(2, "cipher suites", least=2)) % 2:
        raise HelloError(f"ClientHello: cipher suites of {len(suites)} bytes, wanted an even number")
    hello.vector(1, "compression methods", least=1)
    extensions = dict(_extensions(hello))
    return ClientHello(
        _server_name(extensions[SERVER_NAME]) if SERVER_NAME in extensions else "",
        tuple(_protocols(extensions[ALPN])) if ALPN in extensions else (),
    )


def _extensions(hello: _Bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each extension; a hello of old may end before them."""
    if not hello:
        return
    block = _Bytes(hello.vector(2, "extensions"), "extensions")
    hello.end()
    seen = set()
    while block:
        kind = block.number(2, "type")
        if kind in seen:
            raise HelloError(f"two extensions of type {kind}", ILLEGAL_PARAMETER)
        seen.add(kind)
        yield kind, block.vector(2, f"extension {kind}")


def _server_name(content: bytes) -> str:
    """Return the one host name; RFC 6066 forbids two of a type, and no other type was ever defined."""
    extension = _Bytes(content, "server name")
    names = _Bytes(extension.vector(2, "list", least=1), "server name list")
    extension.end()
    kind = names.number(1, "type")
    if kind != HOST_NAME:
        raise HelloError(f"server name of type {kind}, wanted {HOST_NAME}", ILLEGAL_PARAMETER)
    name = names.vector(2, "host name", least=1)
    if names:
        raise HelloError("more than one server name", ILLEGAL_PARAMETER)
    return _hostname(name)


def _hostname(name: bytes) -> str:
    try:
        text = canonical(name.decode("ascii"))
    except (UnicodeDecodeError, ValueError):
        raise HelloError(f"server name {name!r} is not a hostname", UNRECOGNIZED_NAME) from None
    if "*" in text or _is_address(text):
        raise HelloError(f"server name {name!r}, wanted one hostname", UNRECOGNIZED_NAME)
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _protocols(content: bytes) -> Iterator[bytes]:
    extension = _Bytes(content, "application protocols")
    names = _Bytes(extension.vector(2, "list", least=2), "application protocol list")
    extension.end()
    while names:
        yield names.vector(1, "name", least=1)
