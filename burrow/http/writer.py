"""The writer: the bytes of an answer that burrow makes itself."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus


def reason_of(status: int) -> str:
    """Return the reason phrase of a status, or the empty text if it has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def write_response(
    status: int, fields: Iterable[tuple[str, str]], body: bytes = b"", head_only: bool = False
) -> bytes:
    """Return a whole answer of HTTP/1.1, framed by a length.

    Args:
        status: 200 to 999, but 204 and 304, which have no body.
        fields: Names and values beside ``Content-Length``, in order; Latin-1.
        body: The body.
        head_only: It answers HEAD: the length is told, the body left out.

    Raises:
        ValueError: A field holds a control character.
    """
    lines = [f"HTTP/1.1 {status} {reason_of(status)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    lines += [f"Content-Length: {len(body)}"]
    if any(not line.isprintable() for line in lines):
        raise ValueError(f"a control character in an answer's head: {lines!r}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + body
