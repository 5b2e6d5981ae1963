"""Chunks: where a chunked body ends, without taking its framing off (RFC 9112 section 7.1)."""

from __future__ import annotations

import re

from burrow.http.grammar import FIELDS, LONGEST_BODY, STRAY, explain_fields
from burrow.http.limits import Limits
from burrow.http.refusal import HttpRefused, excerpt

# No blanks anywhere: readers differ about them. No text beyond ASCII in quotes, for the same reason.
_EXTENSION = rb";[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|\"[ !#-\[\]-~]*\"))?"
_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")*\r\n")
_TRAILERS = re.compile(rb"(" + FIELDS + rb")\r\n")
_NAMES = re.compile(rb"^[^:\r\n]+", re.MULTILINE)

#: Fields that frame, route, authorise or describe a body come too late in trailers (RFC 9110
#: section 6.5.1); a reader that merges them into the head would see another message.
NEVER_TRAILERS = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type "
    b"cookie expect forwarded host http2-settings keep-alive max-forwards proxy-authenticate "
    b"proxy-authorization proxy-connection set-cookie te trailer transfer-encoding upgrade "
    b"www-authenticate x-forwarded-for x-forwarded-host x-forwarded-proto x-original-host".split()
)


class ChunkScanner:
    """Follows the chunks of one body; the bytes stay with the caller.

    Data of chunks passes as it comes. Lines of sizes, and the last chunk with the trailers, are
    withheld until they are whole and right, so that a body that is refused never looks ended.
    """

    __slots__ = ("_left", "_limits", "_status", "_within", "done")

    def __init__(self, limits: Limits, status: int) -> None:
        """Start in front of the first size; refuse with ``status``."""
        self._limits, self._status = limits, status
        self._left = 0
        self._within = False
        self.done = False  #: the blank line behind the trailers has been passed

    def scan(self, data: bytes) -> int:
        """Return how many bytes at the front of ``data`` are understood.

        The next call begins with the bytes that were not, and more behind them.

        Raises:
            HttpRefused: Not chunks. Do not use this scanner again.
        """
        position, size = 0, len(data)
        while position < size and not self.done:
            before = position
            if self._left:
                take = min(self._left, size - position)
                self._left -= take
                position += take
            elif self._within:
                position = self._end_data(data, position)
            else:
                position = self._next_chunk(data, position)
            if position == before:
                break
        return position

    def _end_data(self, data: bytes, position: int) -> int:
        found = data[position : position + 2]
        if not b"\r\n".startswith(found):
            raise HttpRefused(self._status, f"chunk: wanted a line end behind its data, got {found!r}")
        if len(found) < 2:
            return position
        self._within = False
        return position + 2

    def _next_chunk(self, data: bytes, position: int) -> int:
        line = _LINE.match(data, position, position + self._limits.chunk_line)
        if line is None:
            self._check_partial(data[position : position + self._limits.chunk_line])
            return position
        size = int(line[1], 16)
        if size > LONGEST_BODY:
            raise HttpRefused(self._status, f"chunk size {excerpt(line[1])} is too large")
        if not size:
            return self._end_body(data, position, line.end())
        self._left, self._within = size, True
        return line.end()

    def _check_partial(self, line: bytes) -> None:
        if b"\n" in line or len(line) >= self._limits.chunk_line:
            raise HttpRefused(self._status, f"not a chunk size: {excerpt(line)}")
        if line[:1] and line[:1] not in b"0123456789abcdefABCDEF":
            raise HttpRefused(self._status, f"not a chunk size: {excerpt(line)}")
        if STRAY.search(line):
            raise HttpRefused(self._status, f"stray byte in the line of a chunk: {excerpt(line)}")

    def _end_body(self, data: bytes, position: int, begin: int) -> int:
        """Pass the last chunk's line, which ends at ``begin``, and the trailers in one go."""
        most = position + self._limits.trailers
        end = data.find(b"\r\n\r\n", begin - 2, most)
        if end < 0:
            if (stray := STRAY.search(data, begin, most)) is not None:
                raise HttpRefused(self._status, f"stray byte {stray.group()!r} in trailers")
            if len(data) >= most:
                raise HttpRefused(self._status, f"trailers of more than {self._limits.trailers} bytes")
            return position
        self._check_trailers(data[begin : end + 4])
        self.done = True
        return end + 4

    def _check_trailers(self, block: bytes) -> None:
        if not _TRAILERS.fullmatch(block):
            raise explain_fields(block, self._status)
        if block.count(b"\n") > self._limits.fields + 1:
            raise HttpRefused(self._status, f"more than {self._limits.fields} trailers")
        for name in _NAMES.findall(block):
            if name.lower().replace(b"_", b"-") in NEVER_TRAILERS:
                raise HttpRefused(self._status, f"field {excerpt(name)} has no place in trailers")
