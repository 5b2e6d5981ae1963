"""The gate: which tunnel a request goes to, and whether it may (rows B2, B11, B12).

One reading of the head serves both questions, so that no request is routed by one field and
admitted by another.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error
from hashlib import sha256

from burrow.http.request import RequestHead
from burrow.interfaces.protocol import IEdgeHost
from burrow.interfaces.tunnel import ITunnel
from burrow.protocols.http.pages import Page

CHALLENGE = (("WWW-Authenticate", 'Basic realm="burrow"'),)
LONGEST_CREDENTIALS = 4_096  #: bytes of an Authorization field that is looked at

UNAUTHORIZED = Page(401, "This address asks for a user name and a password.", fields=CHALLENGE)
MISDIRECTED = Page(
    421,
    "This connection was opened for another name.",
    ("Each connection over TLS serves the name that it was opened for; open a new one.",),
)


class Declined(Exception):
    """A request that goes to no tunnel; the page says why."""

    def __init__(self, page: Page) -> None:
        """Answer with ``page``."""
        super().__init__(page.message)
        self.page = page


def not_found(hostname: str) -> Page:
    """Return the page of a name that nobody serves (contract 5.2)."""
    return Page(
        404,
        f"Tunnel {hostname or '(no name)'} not found",
        ("Nobody shares anything under this name at the moment.",),
    )


class Gate:
    """Finds the tunnel of each request that comes in by one side, under one server name."""

    def __init__(self, host: IEdgeHost, side: str, server_name: str = "") -> None:
        """Route by ``host``.

        Args:
            host: Knows the routes.
            side: ``plain`` or ``tls``.
            server_name: The name that the connection's TLS was opened for, on the side ``tls``.
        """
        self._host, self._side, self._server_name = host, side, server_name
        self.scheme = "https" if side == "tls" else "http"  #: what is published there for http tunnels
        self.half_closes = side == "plain"  #: TLS that is ended here ends both ways at once

    def tunnel_for(self, head: RequestHead) -> ITunnel:
        """Return the tunnel of a request that may go there.

        Raises:
            Declined: There is none, it is another connection's, or the request shows no credentials.
        """
        name = head.host or self._server_name
        tunnel = self.find(name)
        if tunnel is None:
            raise Declined(not_found(name))
        if name != self._server_name and self._side == "tls" and tunnel is not self.find(self._server_name):
            raise Declined(MISDIRECTED)
        wanted = tunnel.settings.get("auth")
        if wanted is not None and not shows(head, str(wanted)):
            raise Declined(UNAUTHORIZED)
        return tunnel

    def find(self, hostname: str) -> ITunnel | None:
        """Return the tunnel that serves HTTP under a canonical name on this side.

        Raises:
            Declined: Something else than HTTP is served there, on the side ``tls``.
        """
        tunnel = self._host.route(self._side, hostname) if hostname else None
        if tunnel is None or self._host.scheme(self._side, hostname) == self.scheme:
            return tunnel
        if self._side == "tls":  # a name whose TLS is not ended here
            raise Declined(MISDIRECTED)
        return None


def shows(head: RequestHead, credentials: str) -> bool:
    """Tell whether a request carries ``user:password``, in a time that tells nothing about it."""
    values = head.values(b"authorization")
    if len(values) != 1 or len(values[0]) > LONGEST_CREDENTIALS:
        return False
    scheme, _, encoded = values[0].partition(b" ")
    try:
        shown = b64decode(encoded.strip(b" "), validate=True)
    except (Error, ValueError):
        return False
    same = hmac.compare_digest(sha256(shown).digest(), sha256(credentials.encode()).digest())
    return same and scheme.lower() == b"basic"
