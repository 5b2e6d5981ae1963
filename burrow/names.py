"""Names of hosts in one canonical form, and wildcards that cover them.

Every comparison of names in burrow is made on the form that `canonical` returns: lower case, no
trailing dot, international labels as punycode. RFC 1123 section 2.1 and RFC 5890 give the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)\Z")
LONGEST_NAME = 253  #: characters, RFC 1035 section 2.3.4


def canonical(name: str) -> str:
    """Return the canonical form of a hostname or of a wildcard (``*.example.com``).

    Raises:
        ValueError: Not a hostname; the text says what is wrong with it.
    """
    text = name.removesuffix(".")
    if len(text) > LONGEST_NAME:  # not quoted as a whole, and not looked at: it may be very long
        raise ValueError(f"{text[:60]!r}... is not a hostname: wanted 1 to {LONGEST_NAME} characters")
    try:
        text = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise ValueError(f"{name!r} is not a valid international name") from None
    if not text or len(text) > LONGEST_NAME:
        raise ValueError(f"{name!r} is not a hostname: wanted 1 to {LONGEST_NAME} characters")
    body = text[2:] if text.startswith("*.") else text
    for label in body.split("."):
        if not LABEL.match(label):
            raise ValueError(f"{name!r} is not a hostname: label {label!r} is not valid")
    return text


def wildcards_over(name: str) -> Iterator[str]:
    """Yield the wildcards that cover a canonical ``name``, the most specific first (row E4)."""
    rest = name[2:] if name.startswith("*.") else name
    while "." in rest:
        rest = rest.partition(".")[2]
        yield "*." + rest


def covers(pattern: str, name: str) -> bool:
    """Tell whether a reservation ``pattern`` is, or as a wildcard covers, ``name`` (row E1)."""
    return pattern == name or pattern in wildcards_over(name)


def is_localhost(name: str) -> bool:
    """Tell whether ``name`` is ``localhost`` or below it (RFC 6761 section 6.3)."""
    bare = name.rstrip(".").lower()
    return bare == "localhost" or bare.endswith(".localhost")
