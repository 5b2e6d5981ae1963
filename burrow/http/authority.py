"""The authority: the host and port that a request is for, in canonical form (RFC 3986 section 3.2)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import NamedTuple

from burrow.http.refusal import HttpRefused, excerpt
from burrow.names import canonical

LONGEST = 300  #: bytes; a name of 253 with a final dot and a port fits
CACHED = 4_096  #: authorities whose canonical form is remembered

_PARTS = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9A-Za-z._-]{1,254}))(?::([0-9]{1,5}))?")


class Authority(NamedTuple):
    """Where a request goes.

    Attributes:
        host: Canonical name, IPv4 address, or IPv6 address without brackets.
        port: 1 to 65535, or ``None`` if none is given.
    """

    host: str
    port: int | None


@lru_cache(CACHED)
def read_authority(text: bytes) -> Authority:
    """Read the value of a Host field or the authority of an absolute target.

    Raises:
        HttpRefused: Not ``host`` or ``host:port`` (400).
    """
    matched = _PARTS.fullmatch(text) if len(text) <= LONGEST else None
    if matched is None:
        raise HttpRefused(400, f"Host: wanted a name or an address, and maybe a port, got {excerpt(text)}")
    address, name, digits = matched.groups()
    port = int(digits) if digits is not None else None
    if port is not None and not 1 <= port <= 65_535:
        raise HttpRefused(400, f"Host: wanted a port from 1 to 65535, got {excerpt(digits)}")
    try:
        host = canonical(name.decode()) if name is not None else str(IPv6Address(address.decode()))
    except ValueError as error:
        raise HttpRefused(400, f"Host: {error}") from None
    return Authority(host, port)
