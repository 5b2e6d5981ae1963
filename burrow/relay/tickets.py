"""Tickets: with one a client claims a random name or port back after a loss (row M8).

Every Bind answers with a ticket: a MAC over the account, the name, the port and the time up to
which it is good. The relay stores none of them, only its key.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from burrow.errors import ConfigError, ProtocolError
from burrow.wire.boxes import decode, encode

LIFE = 86_400.0  #: seconds that a ticket is good for
KEY_BYTES = 32
MAC_BYTES = 32


@dataclass(frozen=True)
class Claim:
    """What a ticket claims.

    Attributes:
        hostname: A canonical name, or the empty text.
        port: A public port, or 0.
    """

    hostname: str = ""
    port: int = 0


class Tickets:
    """Writes tickets and reads them back."""

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        """Sign with ``key``; ``now`` tells seconds since the epoch."""
        self._key, self._now = key, now

    def write(self, account: str, claim: Claim) -> bytes:
        """Return a ticket with which ``account`` claims what it has now."""
        expires = str(int(self._now() + LIFE))
        texts = ((b"a", account), (b"e", expires), (b"h", claim.hostname), (b"p", str(claim.port)))
        body = encode((key, text.encode()) for key, text in texts)
        return self._mac(body) + body

    def read(self, account: str, ticket: bytes) -> Claim | None:
        """Return what a ticket claims; ``None`` for one that is forged, too old or somebody else's."""
        mac, body = ticket[:MAC_BYTES], ticket[MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        try:
            box = decode(body)
        except ProtocolError:
            return None
        texts = {key: value.decode() for key, value in box.items()}
        if texts[b"a"] != account or float(texts[b"e"]) < self._now():
            return None
        return Claim(texts[b"h"], int(texts[b"p"]))

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"burrow ticket 1\0" + body, "sha256")


def load_key(path: Path) -> bytes:
    """Return the key in a file that only its owner can read; make it if it is not there.

    Raises:
        ConfigError: The file cannot be read or written, or holds something else.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
        else:
            key = secrets.token_bytes(KEY_BYTES)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path}: wanted a key of {KEY_BYTES} bytes, got {len(key)}; remove the file")
    return key
