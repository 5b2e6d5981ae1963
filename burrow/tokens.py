"""Authtokens: plain ones, and join tokens that carry their relay's address and key fingerprint.

A plain token is any word that the relay knows the hash of; those made here begin with ``burrow_``.
A join token (row M7) begins with ``burrowjoin_`` and holds, in base 62, a version byte, the
SHA-256 fingerprint of the relay's public key, the relay's address and the plain token, and four
bytes of checksum. Only the plain token inside it, its secret, ever goes to a relay.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass, field

PLAIN_PREFIX = "burrow_"
JOIN_PREFIX = "burrowjoin_"
SECRET_BYTES = 24  #: random bytes of a new token: 192 bits
LONGEST_TOKEN = 1024  #: characters of a token, plain or join
LONGEST_ADDRESS = 255  #: characters of ``HOST:PORT`` inside a join token

VERSION = 1  #: of the join token's layout; never 0, so that no leading byte is lost in base 62
CHECKSUM_BYTES = 4
FINGERPRINT_BYTES = 32
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
WORD = re.compile(r"[!-~]+\Z")  # printable ASCII without blanks
HASH = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class PlainToken:
    """A token that says nothing about its relay.

    Attributes:
        secret: What the relay is told.
    """

    secret: str = field(repr=False)


@dataclass(frozen=True)
class JoinToken:
    """A token that is the whole set-up of a client.

    Attributes:
        address: The relay, ``HOST:PORT``.
        fingerprint: ``sha256:`` and the hash of the relay's public key (SubjectPublicKeyInfo, DER).
        secret: What the relay is told: a plain token.
    """

    address: str
    fingerprint: str
    secret: str = field(repr=False)

    def encode(self) -> str:
        """Return the token as one word of letters, digits and an underscore.

        Raises:
            ValueError: A part of it does not fit; the text says which.
        """
        digest = bytes.fromhex(read_fingerprint(self.fingerprint).removeprefix("sha256:"))
        if not WORD.match(self.address) or len(self.address) > LONGEST_ADDRESS:
            raise ValueError(f"wanted HOST:PORT of at most {LONGEST_ADDRESS} characters")
        _checked(self.secret)
        address = self.address.encode()
        body = bytes([VERSION]) + digest + bytes([len(address)]) + address + self.secret.encode()
        return _checked(JOIN_PREFIX + _to_base62(body + _checksum(body)))


def new_token() -> str:
    """Return a new plain token of 192 random bits, one word."""
    return PLAIN_PREFIX + _to_base62(b"\1" + secrets.token_bytes(SECRET_BYTES))


def parse_token(text: str) -> PlainToken | JoinToken:
    """Tell what kind of token ``text`` is, blanks around it left out.

    Raises:
        ValueError: Not a token, or a join token that was mistyped or cut.
    """
    word = _checked(text.strip())
    if not word.startswith(JOIN_PREFIX):
        return PlainToken(word)
    body = _from_base62(word.removeprefix(JOIN_PREFIX))
    body, checksum = body[:-CHECKSUM_BYTES], body[-CHECKSUM_BYTES:]
    if not hmac.compare_digest(_checksum(body), checksum):
        raise ValueError("the join token is damaged: its checksum is wrong, copy it again as a whole")
    return _join_token(body)


def _join_token(body: bytes) -> JoinToken:
    if body[:1] != bytes([VERSION]):
        raise ValueError(
            f"the join token is of version {body[:1].hex() or 0}, wanted {VERSION}: a newer burrow made it"
        )
    rest = body[1 + FINGERPRINT_BYTES :]
    size = 1 + int.from_bytes(rest[:1], "big")
    address, secret = rest[1:size], rest[size:]
    try:
        token = JoinToken(
            address.decode("ascii"), f"sha256:{body[1 : 1 + FINGERPRINT_BYTES].hex()}", secret.decode("ascii")
        )
        token.encode()
    except ValueError:
        raise ValueError("the join token is damaged: its parts do not fit") from None
    return token


def hash_token(secret: str) -> str:
    """Return what a relay stores of a token's secret: ``sha256:`` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def matches(secret: str, hashes: Iterable[str]) -> bool:
    """Tell whether a secret belongs to one of ``hashes``, in a time that does not tell which."""
    found, mine = False, hash_token(secret).encode()
    for other in hashes:
        found |= hmac.compare_digest(mine, other.encode())
    return found


def read_hash(text: str) -> str:
    """Return a token hash in its one form, hex digits in lower case.

    Raises:
        ValueError: Not a hash; the text does not show it, since it may be a token.
    """
    lower = text.strip().lower()
    if not HASH.match(lower):
        raise ValueError("wanted sha256: and 64 hex digits, as `burrow relay token new` prints it")
    return lower


def read_fingerprint(text: str) -> str:
    """Return a key fingerprint in its one form: ``sha256:`` and 64 hex digits in lower case.

    Colons between the bytes and the prefix are optional, as other programs print them so.

    Raises:
        ValueError: Not a SHA-256 fingerprint.
    """
    digits = text.strip().lower().removeprefix("sha256:").replace(":", "")
    fingerprint = f"sha256:{digits}"
    if not HASH.match(fingerprint):
        raise ValueError("wanted a SHA-256 fingerprint: sha256: and 64 hex digits")
    return fingerprint


def _checked(word: str) -> str:
    if not WORD.match(word) or len(word) > LONGEST_TOKEN:
        raise ValueError(f"wanted a token: one word of 1 to {LONGEST_TOKEN} printable characters")
    return word


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(b"burrow join token" + body).digest()[:CHECKSUM_BYTES]


def _to_base62(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


def _from_base62(digits: str) -> bytes:
    number = 0
    for digit in digits:
        value = ALPHABET.find(digit)
        if value < 0:
            raise ValueError(f"the join token is damaged: {digit!r} cannot be part of it")
        number = number * 62 + value
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
