"""The limits of a message: what a reader holds at the most before it refuses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much of a message a reader takes; all but ``fields`` are bytes.

    Attributes:
        head: A whole head with its blank line; more is 431.
        fields: Fields of a head or of trailers; more is 431.
        target: A request's target; more is 414.
        chunk_line: A line with a chunk's size and extensions, with its line end.
        trailers: The last chunk's line and all trailers, with the blank line.
    """

    head: int = 65_536
    fields: int = 256
    target: int = 16_384
    chunk_line: int = 1_024
    trailers: int = 16_384


DEFAULT_LIMITS = Limits()
