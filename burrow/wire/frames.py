"""The boxes of docs/protocol.md by name: their keys, widths, limits and codes."""

from __future__ import annotations

import struct
from enum import IntEnum

from burrow.errors import ProtocolError
from burrow.wire.boxes import END, Box, Template, decode, encode

SEGMENT_PAYLOAD = 61_440  #: bytes of the inner stream in one Segment
DATA_PAYLOAD = 32_768  #: bytes of a stream in one Data
HELLO_LIMIT = 8_192  #: bytes of a Hello or Resume box, and of its answer
LINK_LIMIT = 2_048  #: bytes of any other link box but a Segment
INNER_LIMIT = 131_072  #: bytes of an inner box other than Data
TEXT_LIMIT = 512  #: bytes of the text in Bye and Reset

SEGMENT = Template([b"a", b"o"], b"p", SEGMENT_PAYLOAD)
DATA = Template([b"d"], b"e", DATA_PAYLOAD)
DATA_OVERHEAD = DATA.size + len(END)  #: bytes that a Data box adds to what it carries

LARGEST = 2**63 - 1  #: of every offset, limit and stream number


class ByeCode(IntEnum):
    """Why a session ends at once: ``x`` of a Bye."""

    CLOSED = 1  #: all done
    PROTOCOL = 2  #: the peer broke a rule
    LIMIT = 3  #: the peer went over a limit
    REPLACED = 4  #: the same client has come back with a new session
    STOPPING = 5  #: the program stops
    REVOKED = 6  #: the account or its token is gone
    FAILED = 7  #: an error of the sender's own


class ResetCode(IntEnum):
    """Why a stream ends both ways: ``x`` of a Reset."""

    ABORTED = 1  #: the connection behind it was reset
    REFUSED = 2  #: the forwarder would not take it
    UNKNOWN = 3  #: there is no such tunnel
    LIMIT = 4  #: too many streams


def number(value: bytes) -> int:
    """Return the 8-byte number that ``value`` is.

    Raises:
        ProtocolError: Another width, or above `LARGEST`.
    """
    if len(value) != 8 or (result := int.from_bytes(value, "big")) > LARGEST:
        raise ProtocolError(f"{value[:16]!r} is not a number of 8 bytes below 2^63")
    return result


def code_and_text(box: Box) -> tuple[int, str]:
    """Return ``x`` and ``y`` of a Bye or Reset.

    Raises:
        ProtocolError: A code that is not two bytes, or a text over `TEXT_LIMIT`.
    """
    code, text = box.get(b"x", b""), box.get(b"y", b"")
    if len(code) != 2 or len(text) > TEXT_LIMIT:
        raise ProtocolError(f"a code of {len(code)} bytes and a text of {len(text)}")
    return int.from_bytes(code, "big"), text.decode("utf-8", "replace")


def _ending(code: int, text: str) -> list[tuple[bytes, bytes]]:
    short = text.encode()[:TEXT_LIMIT].decode("utf-8", "ignore").encode()
    return [(b"x", code.to_bytes(2, "big")), (b"y", short)]


def bye(code: int, text: str) -> bytes:
    """Return a Bye box; a longer text is cut to `TEXT_LIMIT` bytes."""
    return encode(_ending(code, text))


_number = struct.Struct(">Q").pack


def ping(token: bytes) -> bytes:
    """Return a Ping box with 8 bytes that the Pong has to bring back."""
    return encode([(b"q", token)])


def pong(token: bytes) -> bytes:
    """Return the Pong box that answers a Ping."""
    return encode([(b"r", token)])


def open_stream(stream: int, tunnel: int, visitor: bytes, limit: int) -> bytes:
    """Return an Open box."""
    return encode([(b"n", _number(stream)), (b"t", _number(tunnel)), (b"v", visitor), (b"w", _number(limit))])


def limit(stream: int, most: int) -> bytes:
    """Return a Limit box: the peer may send ``most`` bytes of the stream in all."""
    return encode([(b"l", _number(stream)), (b"m", _number(most))])


def end(stream: int) -> bytes:
    """Return an End box: no more data this way."""
    return encode([(b"f", _number(stream))])


def stop(stream: int) -> bytes:
    """Return a Stop box: no more data wanted the other way."""
    return encode([(b"s", _number(stream))])


def reset(stream: int, code: int, text: str = "") -> bytes:
    """Return a Reset box; a longer text is cut to `TEXT_LIMIT` bytes."""
    return encode([(b"u", _number(stream)), *_ending(code, text)])


def visitor_facts(host: str, port: int, scheme: str, name: str) -> bytes:
    """Return ``v`` of an Open: who is connecting, as a box of texts."""
    texts = ((b"h", host), (b"n", name), (b"p", str(port)), (b"s", scheme))
    return encode((key, text.encode()) for key, text in texts)


def read_visitor_facts(value: bytes) -> tuple[str, int, str, str]:
    """Return host, port, scheme and name from ``v`` of an Open.

    Raises:
        ProtocolError: Not a box with these texts.
    """
    try:
        box = decode(value)
        host, name, port, scheme = (box[key].decode() for key in (b"h", b"n", b"p", b"s"))
    except (KeyError, UnicodeDecodeError) as error:
        raise ProtocolError(f"visitor facts without a readable {error!r:.64}") from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
        raise ProtocolError(f"visitor facts with the port {port[:16]!r}, wanted 0 to 65535")
    return host, int(port), scheme, name
