"""The head of a response: its bytes, and what is to be known of it (RFC 9112 sections 4 and 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from burrow.http.grammar import (
    FIELDS,
    STRAY,
    VALUE,
    Framing,
    explain_fields,
    fields_of,
    framing_of,
    pick,
    tokens_of,
    values_of,
)
from burrow.http.limits import Limits
from burrow.http.refusal import HttpRefused, excerpt
from burrow.http.request import RequestHead

LONGEST_LINE = 8_192  #: bytes of a status line

# RFC 9112 wants a blank behind the status even without a reason; many servers leave it out.
_LINE = rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: " + VALUE + rb"*+)?\r\n"
RESPONSE_HEAD = re.compile(_LINE + rb"(" + FIELDS + rb")\r\n")
_LINE_ONLY = re.compile(_LINE)
_BEGINNING = b"HTTP/1."
_BODILESS = (204, 304)
SWITCHING = 101


@dataclass(slots=True)
class ResponseHead:
    """One answer, up to its blank line; or an interim one, after which another follows.

    Attributes:
        raw: The very bytes, blank line included.
        status: 100 to 999.
        minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        framing: How its body ends.
        length: Bytes of the body under `Framing.LENGTH`.
        connection: Members of its Connection fields, lower case.
        upgrade: Members of its Upgrade fields, lower case.
    """

    raw: bytes
    status: int
    minor: int
    framing: Framing
    length: int
    connection: tuple[bytes, ...]
    upgrade: tuple[bytes, ...]

    @property
    def interim(self) -> bool:
        """Whether another head follows: a status from 100 to 199, but 101."""
        return self.status < 200 and self.status != SWITCHING

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Name and value of every field, as written, in order."""
        return fields_of(self.raw)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the fields of that lower-case name, in order."""
        return values_of(self.raw, name)

    def keeps_alive(self, request: RequestHead) -> bool:
        """Tell whether both heads, and the way the body ends, leave the connection open."""
        if self.framing is Framing.CLOSE or not request.keep_alive or b"close" in self.connection:
            return False
        return (self.minor == 1 and request.minor == 1) or b"keep-alive" in self.connection


def understand_response(matched: re.Match[bytes], request: RequestHead, limits: Limits) -> ResponseHead:
    """Read a head of the grammar `RESPONSE_HEAD` that answers ``request``.

    Raises:
        HttpRefused: It breaks a rule, could be read in two ways, or does not answer that request.
    """
    raw, block = matched[0], matched[3]
    if matched.start(3) > LONGEST_LINE:
        raise explain_response(raw)
    minor, status = 1 if matched[1] == b"1" else 0, int(matched[2])
    if block.count(b"\n") > limits.fields:
        raise HttpRefused(502, f"more than {limits.fields} fields")
    picked = pick(raw, 502)
    framing, length = framing_of(picked, minor, Framing.CLOSE, 502)
    if status < 200 or status in _BODILESS or request.method == "HEAD":
        _check_bodiless(status, framing)
        framing, length = Framing.NONE, 0
    elif framing is Framing.CHUNKED and request.minor == 0:
        raise HttpRefused(502, "Transfer-Encoding in the answer to a request of HTTP/1.0")
    connection = tokens_of(picked.get(b"connection", b""))
    upgrade = tokens_of(picked.get(b"upgrade", b""))
    if status == SWITCHING:
        _check_switch(upgrade, request)
    return ResponseHead(raw, status, minor, framing, length, connection, upgrade)


def _check_bodiless(status: int, framing: Framing) -> None:
    if (status < 200 or status == 204) and framing in (Framing.LENGTH, Framing.CHUNKED):
        raise HttpRefused(502, f"an answer {status} that announces a body")


def _check_switch(upgrade: tuple[bytes, ...], request: RequestHead) -> None:
    if not upgrade or not set(upgrade) <= set(request.upgrade):
        raise HttpRefused(502, f"a switch of protocols to {upgrade!r}, asked for {request.upgrade!r}")


def check_status_line(raw: bytes) -> None:
    """Hold the first line of ``raw``, as far as it has come, to the rules.

    Raises:
        HttpRefused: It breaks one; the same whatever follows behind the line.
    """
    end = raw.find(b"\r\n", 0, LONGEST_LINE)
    if not raw.startswith(_BEGINNING[: len(raw)]):
        raise HttpRefused(502, f"not an answer of HTTP/1: {excerpt(raw[:20])}")
    if (stray := STRAY.search(raw, 0, end if end >= 0 else LONGEST_LINE)) is not None:
        raise HttpRefused(502, f"stray byte {stray.group()!r} in the status line")
    if end < 0 and len(raw) >= LONGEST_LINE:
        raise HttpRefused(502, f"a status line of more than {LONGEST_LINE} bytes")
    if end >= 0 and not _LINE_ONLY.fullmatch(raw, 0, end + 2):
        raise HttpRefused(502, f"not a status line: {excerpt(raw[:end])}")


def explain_response(raw: bytes) -> HttpRefused:
    """Say why ``raw``, which is not of the grammar or has too long a line, is refused."""
    try:
        check_status_line(raw)
    except HttpRefused as refusal:
        return refusal
    return explain_fields(raw[raw.index(b"\r\n") + 2 :], 502)
