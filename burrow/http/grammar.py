"""The grammar of fields: one match tells that a block of them is right, another picks what frames.

A whole head is held to one regular expression, which costs a microsecond. Only a head that fails
it is gone through line by line, to say what is wrong with it. RFC 9110 section 5, RFC 9112
sections 2.2, 5 and 6.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

from burrow.http.refusal import HttpRefused, excerpt

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]"
FIELDS = rb"(?:" + TOKEN + rb"++:" + VALUE + rb"*+\r\n)*+"

#: What no head may hold: control characters, line feed without return, return without line feed.
STRAY = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)")

#: The fields that say how a message is framed, where it goes and what becomes of the connection.
#: An underscore in place of the hyphen counts: CGI and its heirs read both as one name.
PICKED = re.compile(
    rb"\n(host|content[-_]length|transfer[-_]encoding|connection|upgrade|expect):([^\r]*)", re.IGNORECASE
)
LISTS = frozenset((b"connection", b"upgrade"))
FRAMES = frozenset((b"host", b"content-length", b"transfer-encoding"))

LENGTH = re.compile(rb"0|[1-9][0-9]{0,18}")
LONGEST_USUAL = 64  #: bytes of a list field that is remembered with its members
LONGEST_BODY = 2**63 - 1  #: bytes; readers with signed 64-bit lengths agree up to here

_NAME = re.compile(TOKEN + rb"+")
_FIELD = re.compile(rb"(" + TOKEN + rb"++):[ \t]*+(" + VALUE + rb"*+)\r\n")


class Framing(Enum):
    """How the end of a message is known (RFC 9112 section 6.3)."""

    NONE = "no body"
    LENGTH = "a length"
    CHUNKED = "chunks"
    CLOSE = "the end of the connection"


def fields_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return name and value of every field of a validated head, as written, in order."""
    return [(name, value.rstrip(b" \t")) for name, value in _FIELD.findall(raw, raw.index(b"\n") + 1)]


def values_of(raw: bytes, name: bytes) -> list[bytes]:
    """Return the values of the fields of a validated head called ``name`` (lower case)."""
    return [value for found, value in fields_of(raw) if found.lower() == name]


def pick(raw: bytes, status: int) -> dict[bytes, bytes]:
    """Return the values of the fields in `PICKED` by lower-case name, without blanks around.

    Args:
        raw: A validated head.
        status: What to refuse with.

    Raises:
        HttpRefused: A field that may stand there once is repeated, or is spelled with an underscore.
    """
    picked: dict[bytes, bytes] = {}
    for name, value in PICKED.findall(raw):
        key = name.lower()
        if key in LISTS:
            picked[key] = picked[key] + b"," + value if key in picked else value
        elif key in picked or b"_" in key:
            wrong = "repeated" if key in picked else "spelled so that some read another field"
            raise HttpRefused(status, f"field {excerpt(name)} is {wrong}")
        else:
            picked[key] = value.strip(b" ")
    return picked


def tokens_of(value: bytes) -> tuple[bytes, ...]:
    """Return the members of a list field in lower case (RFC 9110 section 5.6.1)."""
    return _usual_tokens(value) if len(value) <= LONGEST_USUAL else _tokens(value)


def _tokens(value: bytes) -> tuple[bytes, ...]:
    return tuple(member for part in value.lower().split(b",") if (member := part.strip(b" \t")))


_usual_tokens = lru_cache(256)(_tokens)


def framing_of(picked: dict[bytes, bytes], minor: int, absent: Framing, status: int) -> tuple[Framing, int]:
    """Tell how a message's body is framed, and its length if it has one.

    Args:
        picked: What `pick` found.
        minor: The minor version of the message.
        absent: What counts if neither length nor coding is there.
        status: What to refuse with.

    Raises:
        HttpRefused: Both are there, or one of them could be read in two ways.
    """
    coding, length = picked.get(b"transfer-encoding"), picked.get(b"content-length")
    if coding is not None:
        _check_coding(coding, length, minor, status)
        return Framing.CHUNKED, 0
    if length is None:
        return absent, 0
    if not LENGTH.fullmatch(length) or (number := int(length)) > LONGEST_BODY:
        raise HttpRefused(status, f"Content-Length: wanted one decimal number, got {excerpt(length)}")
    return (Framing.LENGTH, number) if number else (Framing.NONE, 0)


def _check_coding(coding: bytes, length: bytes | None, minor: int, status: int) -> None:
    if length is not None:
        raise HttpRefused(status, "Content-Length and Transfer-Encoding stand side by side")
    if minor == 0:
        raise HttpRefused(status, "Transfer-Encoding does not exist in HTTP/1.0")
    if coding.lower() != b"chunked":
        # A coding we do not know, with chunked as the last, is honest (501); anything else is not.
        known = re.fullmatch(rb"(?:[a-z0-9.-]+ ?, ?)+chunked", coding.lower())
        honest = known and coding.lower().count(b"chunked") == 1 and status == 400
        raise HttpRefused(
            501 if honest else status, f"Transfer-Encoding: wanted chunked, got {excerpt(coding)}"
        )


def explain_fields(block: bytes, status: int) -> HttpRefused:
    """Find what is wrong with a block of fields that is not of the grammar `FIELDS`."""
    if (stray := STRAY.search(block)) is not None:
        return HttpRefused(status, f"stray byte {stray.group()!r} in the head")
    for line in block.split(b"\r\n"):
        if (wrong := _wrong_with(line)) is not None:
            return HttpRefused(status, f"field line {excerpt(line)}: {wrong}")
    return HttpRefused(status, "a head that is no head")


def _wrong_with(line: bytes) -> str | None:
    name, colon, _ = line.partition(b":")
    if not line or (colon and _NAME.fullmatch(name)):
        return None
    if line[:1] in b" \t":
        return "folded lines are not read"
    if not colon:
        return "no colon"
    if name.rstrip(b" \t") != name:
        return "blanks before the colon"
    return "not a field name"
