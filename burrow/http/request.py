"""The head of a request: its bytes, and what is to be known of it (RFC 9112 sections 3 and 6)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from burrow.http.authority import Authority, read_authority
from burrow.http.grammar import (
    FIELDS,
    FRAMES,
    STRAY,
    TOKEN,
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

#: Bytes of a request line beside its target that are looked at before it is refused as too long.
LINE_ROOM = 64

_LINE = rb"(" + TOKEN + rb"++) ([\x21\x22\x24-\x7e]++) HTTP/1\.([01])\r\n"
REQUEST_HEAD = re.compile(_LINE + rb"(" + FIELDS + rb")\r\n")
_LINE_ONLY = re.compile(_LINE)
_OTHER_VERSION = re.compile(TOKEN + rb"+ [\x21-\x7e]+ HTTP/[0-9]\.[0-9]\r\n")
_ABSOLUTE = re.compile(rb"(https?)://([^/?]*)(?:[/?]|\Z)", re.IGNORECASE)
_DEFAULT_PORTS = {b"http": 80, b"https": 443}


@dataclass(slots=True)
class RequestHead:
    """One request, up to its blank line.

    Attributes:
        raw: The very bytes, blank line included.
        method: As written; methods are case-sensitive.
        target: As written: a path, an absolute URL or ``*``.
        minor: 1 for HTTP/1.1, 0 for HTTP/1.0.
        host: Canonical, without port; empty if an HTTP/1.0 request names none.
        port: The port beside it, if there is one.
        framing: How its body ends; never `Framing.CLOSE`.
        length: Bytes of the body under `Framing.LENGTH`.
        keep_alive: The visitor may send another request on the connection.
        upgrade: Protocols it offers to switch to, lower case; empty if it does not ask.
        expects_continue: It waits for a 100 before it sends its body.
    """

    raw: bytes
    method: str
    target: str
    minor: int
    host: str
    port: int | None
    framing: Framing
    length: int
    keep_alive: bool
    upgrade: tuple[bytes, ...]
    expects_continue: bool

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Name and value of every field, as written, in order."""
        return fields_of(self.raw)

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of the fields of that lower-case name, in order."""
        return values_of(self.raw, name)


def read_request_head(raw: bytes, limits: Limits) -> RequestHead:
    """Read a whole head, which ends with its first blank line.

    Raises:
        HttpRefused: It breaks a rule, or could be read in two ways.
    """
    matched = REQUEST_HEAD.fullmatch(raw)
    if matched is None:
        raise explain_request(raw, limits)
    return understand_request(matched, limits)


def understand_request(matched: re.Match[bytes], limits: Limits) -> RequestHead:
    """Read a head that is of the grammar `REQUEST_HEAD`; see `read_request_head`."""
    raw = matched[0]
    method, target, digit, block = matched.groups()
    if matched.start(4) > limits.target or method == b"CONNECT":
        check_request_line(raw, limits)
    if block.count(b"\n") > limits.fields:
        raise HttpRefused(431, f"more than {limits.fields} fields")
    minor = 1 if digit == b"1" else 0
    picked = pick(raw, 400)
    authority = _authority(method, target, minor, picked)
    framing, length = framing_of(picked, minor, Framing.NONE, 400)
    keep_alive, upgrade = _connection(picked, minor)
    expects = picked.get(b"expect")
    if expects is not None and expects.lower() != b"100-continue":
        raise HttpRefused(417, f"Expect: wanted 100-continue, got {excerpt(expects)}")
    return RequestHead(
        raw, method.decode(), target.decode(), minor, authority.host, authority.port,
        framing, length, keep_alive, upgrade, expects is not None and minor == 1,
    )  # fmt: skip


def _authority(method: bytes, target: bytes, minor: int, picked: dict[bytes, bytes]) -> Authority:
    value = picked.get(b"host")
    if value is not None:
        host = read_authority(value)
    elif minor == 1:
        raise HttpRefused(400, "a request of HTTP/1.1 needs one Host field, this has none")
    else:
        host = Authority("", None)
    if target.startswith(b"/"):
        return host
    return _other_authority(method, target, host if value is not None else None)


def _other_authority(method: bytes, target: bytes, host: Authority | None) -> Authority:
    if method == b"OPTIONS" and target == b"*":
        return host or Authority("", None)
    matched = _ABSOLUTE.match(target)
    if matched is None:
        raise HttpRefused(400, f"target: wanted a path or an http URL, got {excerpt(target)}")
    named = read_authority(matched[2])
    default = _DEFAULT_PORTS[matched[1].lower()]
    if host is not None and (host.host, host.port or default) != (named.host, named.port or default):
        raise HttpRefused(400, f"target {excerpt(target)} and the Host field name two places")
    return named


def _connection(picked: dict[bytes, bytes], minor: int) -> tuple[bool, tuple[bytes, ...]]:
    if b"connection" not in picked:
        return minor == 1, ()
    tokens = tokens_of(picked[b"connection"])
    if not FRAMES.isdisjoint(tokens):
        raise HttpRefused(400, f"Connection: names a field that frames the message: {excerpt(tokens[0])}")
    keep_alive = b"close" not in tokens and (minor == 1 or b"keep-alive" in tokens)
    upgrade = tokens_of(picked[b"upgrade"]) if b"upgrade" in tokens and b"upgrade" in picked else ()
    return keep_alive, upgrade if minor == 1 else ()


def check_request_line(raw: bytes, limits: Limits) -> None:
    """Hold the first line of ``raw``, as far as it has come, to the rules.

    Raises:
        HttpRefused: It breaks one; the same whatever follows behind the line.
    """
    longest = limits.target + LINE_ROOM
    end = raw.find(b"\r\n", 0, longest + 2)
    if (stray := STRAY.search(raw, 0, end if end >= 0 else longest)) is not None:
        raise HttpRefused(400, f"stray byte {stray.group()!r} in the request line")
    if end < 0 and len(raw) > longest + 1:
        raise HttpRefused(414, f"a request line of more than {longest} bytes")
    if end >= 0:
        _check_whole_line(raw[: end + 2], limits)


def _check_whole_line(line: bytes, limits: Limits) -> None:
    matched = _LINE_ONLY.fullmatch(line)
    if matched is None and _OTHER_VERSION.fullmatch(line) and b"#" not in line:
        raise HttpRefused(505, f"{excerpt(line[-10:-2])} is not spoken here, HTTP/1.1 is")
    if matched is None:
        raise HttpRefused(400, f"not a request line: {excerpt(line[:-2])}")
    if len(matched[2]) > limits.target:
        raise HttpRefused(414, f"a target of more than {limits.target} bytes")
    if matched[1] == b"CONNECT":
        raise HttpRefused(501, "CONNECT is not offered here")


def explain_request(raw: bytes, limits: Limits) -> HttpRefused:
    """Say why ``raw``, which is not of the grammar, is refused."""
    try:
        check_request_line(raw, limits)
    except HttpRefused as refusal:
        return refusal
    return explain_fields(raw[raw.index(b"\r\n") + 2 :], 400)
