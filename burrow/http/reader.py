"""The readers: bytes in at any cut, heads, pieces of bodies and ends out, with the very bytes.

Feed what arrived, then ask `next_event` until it has nothing more to tell:

    reader.feed(data)
    while (event := reader.next_event()) is not None:
        ...

A head carries its bytes in ``raw``; a piece of a body is bytes with the chunks' framing left in.
All ``raw`` and all pieces, joined, are the bytes that were fed. Whoever does not ask leaves the
next message unread in the buffer; `unread` tells how much that is, so that it can be bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from burrow.http.chunks import ChunkScanner
from burrow.http.grammar import STRAY, Framing
from burrow.http.limits import DEFAULT_LIMITS, Limits
from burrow.http.refusal import HttpRefused
from burrow.http.request import (
    REQUEST_HEAD,
    RequestHead,
    check_request_line,
    explain_request,
    understand_request,
)
from burrow.http.response import (
    RESPONSE_HEAD,
    SWITCHING,
    ResponseHead,
    check_status_line,
    explain_response,
    understand_response,
)


class End(Enum):
    """The end of a message, behind its head and the pieces of its body."""

    END = "end"


END: Final = End.END
Event = RequestHead | ResponseHead | bytes | End


class _Reader:
    """What both readers share: a buffer, a step that looks at it, bodies."""

    STATUS = 400  #: refused messages are answered with it, where no other fits better
    HEAD: re.Pattern[bytes]  #: the grammar of its heads

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Start in front of a message."""
        self._limits = limits
        self._buffer = b""
        self._seen = 0  # bytes of an unfinished head that need no second look
        self._left = 0
        self._chunks: ChunkScanner | None = None
        self._step: Callable[[], Event | None] = self._head

    @property
    def unread(self) -> int:
        """How many bytes were fed and have not come out yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self._buffer = self._buffer + data if self._buffer else data

    def next_event(self) -> Event | None:
        """Return what comes next, or ``None`` if more bytes are wanted.

        Raises:
            HttpRefused: The bytes break a rule. Do not use this reader again.
        """
        return self._step()

    def take_rest(self) -> bytes:
        """Return the bytes that have not come out and forget them; after a switch of protocols."""
        rest, self._buffer = self._buffer, b""
        return rest

    def _head(self) -> Event | None:
        buffer = self._buffer
        if not buffer:
            return None
        if not self._seen and (matched := self.HEAD.match(buffer, 0, self._limits.head)) is not None:
            self._buffer = buffer[matched.end() :]
            return self._begin(matched)
        return self._head_in_pieces(buffer)

    def _head_in_pieces(self, buffer: bytes) -> Event | None:
        """Look for the end of a head that did not come whole, or that breaks the grammar."""
        end = buffer.find(b"\r\n\r\n", self._seen - 3 if self._seen > 3 else 0, self._limits.head)
        if end < 0:
            self._check_unfinished(buffer)
            return None
        matched = self.HEAD.fullmatch(buffer, 0, end + 4)
        if matched is None:
            raise self._explain(buffer[: end + 4])
        self._buffer = buffer[end + 4 :]
        self._seen = 0
        return self._begin(matched)

    def _check_unfinished(self, buffer: bytes) -> None:
        """Refuse what cannot become a head any more; equal bytes are refused alike at any cut."""
        self._check_line(buffer)
        if (line := buffer.find(b"\r\n")) >= 0:
            begin = max(self._seen - 1, line)
            if (stray := STRAY.search(buffer, begin, self._limits.head)) is not None:
                raise HttpRefused(self.STATUS, f"stray byte {stray.group()!r} in the head")
        if len(buffer) >= self._limits.head:
            status = 431 if self.STATUS == 400 else self.STATUS
            raise HttpRefused(status, f"a head of more than {self._limits.head} bytes")
        self._seen = len(buffer)

    def _check_line(self, buffer: bytes) -> None:
        raise NotImplementedError

    def _explain(self, raw: bytes) -> HttpRefused:
        raise NotImplementedError

    def _begin(self, matched: re.Match[bytes]) -> Event | None:
        raise NotImplementedError

    def _ended(self) -> None:
        """Look for the next message from now on."""
        self._step = self._head

    def _frame(self, framing: Framing, length: int) -> None:
        if framing is Framing.NONE:
            self._step = self._end
        elif framing is Framing.LENGTH:
            self._left, self._step = length, self._length
        elif framing is Framing.CHUNKED:
            self._chunks, self._step = ChunkScanner(self._limits, self.STATUS), self._chunked
        else:
            self._step = self._until_close

    def _end(self) -> Event | None:
        self._ended()
        return END

    def _length(self) -> Event | None:
        buffer = self._buffer
        if not buffer:
            return None
        piece = buffer[: self._left]
        self._buffer = buffer[self._left :]
        self._left -= len(piece)
        if not self._left:
            self._step = self._end
        return piece

    def _chunked(self) -> Event | None:
        assert self._chunks is not None  # noqa: S101 - set with this step
        understood = self._chunks.scan(self._buffer)
        if not understood:
            return None
        piece, self._buffer = self._buffer[:understood], self._buffer[understood:]
        if self._chunks.done:
            self._chunks, self._step = None, self._end
        return piece

    def _until_close(self) -> Event | None:
        return self.take_rest() or None

    def _nothing(self) -> Event | None:
        return None


class RequestReader(_Reader):
    """Reads the requests of one visitor, one behind the other."""

    HEAD = REQUEST_HEAD

    @property
    def between(self) -> bool:
        """Whether no byte of an unfinished message has come."""
        return self._step == self._head and not self._buffer

    def _check_line(self, buffer: bytes) -> None:
        if self._seen == 0 or buffer.find(b"\r\n", 0, self._seen) < 0:
            check_request_line(buffer, self._limits)

    def _explain(self, raw: bytes) -> HttpRefused:
        return explain_request(raw, self._limits)

    def _begin(self, matched: re.Match[bytes]) -> Event | None:
        head = understand_request(matched, self._limits)
        self._frame(head.framing, head.length)
        return head


class ResponseReader(_Reader):
    """Reads the answers to one request after another, each announced by `expect`."""

    STATUS = 502
    HEAD = RESPONSE_HEAD

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Start without a request: any byte is refused."""
        super().__init__(limits)
        self._request: RequestHead | None = None
        self._step = self._unasked

    def expect(self, request: RequestHead) -> None:
        """Say which request the next answer belongs to; after the `END` of the one before."""
        self._request = request
        self._step = self._head

    def finish(self) -> Event | None:
        """Say that no byte follows; return `END` if that ends an answer.

        Raises:
            HttpRefused: It cuts an answer.
        """
        if self._step == self._until_close:
            return self._end()
        if self._step not in (self._unasked, self._nothing, self._end):
            raise HttpRefused(502, "the answer was cut short" if self._begun else "there was no answer")
        return None

    @property
    def _begun(self) -> bool:
        return self._step != self._head or bool(self._buffer)

    def _check_line(self, buffer: bytes) -> None:
        if self._seen == 0 or buffer.find(b"\r\n", 0, self._seen) < 0:
            check_status_line(buffer)

    def _explain(self, raw: bytes) -> HttpRefused:
        return explain_response(raw)

    def _begin(self, matched: re.Match[bytes]) -> Event | None:
        assert self._request is not None  # noqa: S101 - `expect` sets both
        head = understand_response(matched, self._request, self._limits)
        if head.status == SWITCHING:
            self._step = self._nothing
        elif not head.interim:
            self._frame(head.framing, head.length)
        return head

    def _ended(self) -> None:
        self._request, self._step = None, self._unasked

    def _unasked(self) -> Event | None:
        if self._buffer:
            raise HttpRefused(502, f"{len(self._buffer)} bytes that answer no request")
        return None
