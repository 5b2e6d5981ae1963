"""The refusal: a message that is not read on, and the status that answers it."""

from __future__ import annotations

from burrow.errors import ProtocolError


class HttpRefused(ProtocolError):
    """A message breaks a rule of HTTP/1.1, or two readers could read it differently.

    Attributes:
        status: The status that answers it: 400, 414, 417, 431, 501 or 505 for a request, 502 for
            a response.
        reason: Which rule was broken, for people; text of the peer is shown with ``!r``.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Refuse with ``status``, because of ``reason``."""
        super().__init__(reason)
        self.status = status
        self.reason = reason


def excerpt(text: bytes) -> str:
    """Return peer text as a message shows it: one short escaped line."""
    shown = repr(text[:60])[1:]
    return shown if len(text) <= 60 else shown + "..."
