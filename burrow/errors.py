"""What can go wrong, sorted by who can act on it."""

from __future__ import annotations


class BurrowError(Exception):
    """The root of every failure that burrow expects and can name."""


class ConfigError(BurrowError):
    """The operator can mend it: a file, an option or a certificate is wrong."""


class SettingError(ConfigError):
    """One value does not fit the settings schema.

    Attributes:
        path: Where the value stands: the keys and list positions that lead to it.
        problem: What was found and what was wanted.
    """

    def __init__(self, path: tuple[str | int, ...], problem: str) -> None:
        """Name the value at ``path`` and what is wrong with it."""
        where = ".".join(str(step) for step in path)
        super().__init__(f"{where}: {problem}" if where else problem)
        self.path = path
        self.problem = problem


class TunnelRefused(BurrowError):
    """The client's user can act: the relay declined a tunnel, or a client a stream.

    Attributes:
        code: The number people search for (contract 1.6), or 0.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        """Say why in ``message``; ``code`` is a number of contract 1.6."""
        super().__init__(message)
        self.code = code


class SessionRefused(TunnelRefused):
    """The relay declined the session itself: token, region or limits."""


class VisitorRefused(BurrowError):
    """The access policy does not admit this visitor to this tunnel (row I2)."""


class TunnelOffline(BurrowError):
    """Nobody served the tunnel by the deadline."""


class SessionLost(BurrowError):
    """The session ended while something was still waiting for it."""


class ProtocolError(BurrowError):
    """Nobody can act: a peer broke the rules; drop the connection.

    Attributes:
        code: The code that a Bye box carries for it (docs/protocol.md), or 0.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        """Say which rule was broken; peer text in ``message`` is shown with ``!r``."""
        super().__init__(message)
        self.code = code
