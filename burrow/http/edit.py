"""The few changes that safety asks of a head; every other byte of it stays as it is."""

from __future__ import annotations

from burrow.http.grammar import tokens_of

#: What asks for HTTP/2 on a connection that speaks HTTP/1.1 (RFC 7540 section 3.2).
H2C_FIELDS = frozenset((b"upgrade", b"http2-settings"))


def without_fields(raw: bytes, names: frozenset[bytes]) -> bytes:
    """Return a validated head without the fields called ``names`` (lower case).

    Members of Connection fields that nominate them go as well (RFC 9110 section 7.6.1).
    """
    first, *lines = raw.split(b"\r\n")
    kept = [edited for line in lines if (edited := _edited(line, names)) is not None]
    return b"\r\n".join([first, *kept])


def _edited(line: bytes, names: frozenset[bytes]) -> bytes | None:
    name, _, value = line.partition(b":")
    if name.lower() in names:
        return None
    if name.lower() != b"connection" or names.isdisjoint(tokens_of(value)):
        return line
    members = [part.strip(b" \t") for part in value.split(b",")]
    kept = [member for member in members if member and member.lower() not in names]
    return name + b": " + b", ".join(kept) if kept else None
