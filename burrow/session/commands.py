"""The commands of docs/protocol.md as AMP knows them, and the refusals that answer them."""

from __future__ import annotations

from twisted.protocols import amp

from burrow.errors import SessionRefused, TunnelRefused

LONGEST_REFUSAL = 2_000  #: characters that are sent of a refusal


def printable(text: str) -> str:
    """Return a peer's text in one line, with what a terminal could obey escaped as in Python."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class Refusal(Exception):
    """A refusal on the wire: its text is the code of contract 1.6, a blank, and the message."""

    @classmethod
    def of(cls, error: TunnelRefused) -> Refusal:
        """Make the wire form of a refusal."""
        return cls(f"{error.code} {error}"[:LONGEST_REFUSAL])

    def parts(self) -> tuple[str, int]:
        """Return message, fit to be shown, and code."""
        code, _, message = printable(str(self)).partition(" ")
        return (message, int(code)) if code.isdecimal() and len(code) < 10 else (printable(str(self)), 0)

    def session_refused(self) -> SessionRefused:
        """Return what the client's user reads when a Hello was refused."""
        return SessionRefused(*self.parts())

    def tunnel_refused(self) -> TunnelRefused:
        """Return what the client's user reads when a Bind was refused."""
        return TunnelRefused(*self.parts())


class Hello(amp.Command):
    """Client to relay, first on a transport: who is there, and what it promises."""

    arguments = [
        (b"agent", amp.Unicode()),
        (b"capabilities", amp.ListOf(amp.Unicode())),
        (b"instance", amp.String()),
        (b"method", amp.Unicode()),
        (b"region", amp.Unicode()),
        (b"retained", amp.Integer()),
        (b"streams", amp.Integer()),
        (b"token", amp.Unicode()),
        (b"window", amp.Integer()),
    ]
    response = [
        (b"account", amp.Unicode()),
        (b"agent", amp.Unicode()),
        (b"capabilities", amp.ListOf(amp.Unicode())),
        (b"domain", amp.Unicode()),
        (b"grace", amp.Float()),
        (b"region", amp.Unicode()),
        (b"retained", amp.Integer()),
        (b"secret", amp.String()),
        (b"session", amp.String()),
        (b"streams", amp.Integer()),
        (b"window", amp.Integer()),
    ]
    errors = {Refusal: b"REFUSED"}


class Bind(amp.Command):
    """Client to relay: publish a tunnel; ``settings`` is a JSON object of the edge's settings."""

    arguments = [
        (b"metadata", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"protocol", amp.Unicode()),
        (b"settings", amp.String()),
        (b"ticket", amp.String()),
        (b"tunnel", amp.Integer()),
    ]
    response = [(b"ticket", amp.String()), (b"urls", amp.ListOf(amp.Unicode()))]
    errors = {Refusal: b"REFUSED"}


class Unbind(amp.Command):
    """Client to relay: take a tunnel off the public; streams that are open go on."""

    arguments = [(b"tunnel", amp.Integer())]
