"""Accounts that stand in the relay's configuration file."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from burrow.errors import SessionRefused
from burrow.interfaces.account import Account, IAccounts
from burrow.names import wildcards_over
from burrow.relay.config import ANONYMOUS, AccountEntry
from burrow.tokens import matches, parse_token

MALFORMED, NOT_VALID = 105, 107  #: codes of contract 1.6


@implementer(IAccounts)
class FileAccounts:
    """Accounts as they stood in the file when it was read."""

    def __init__(self, entries: Mapping[str, AccountEntry], anonymous: bool = False) -> None:
        """Keep accounts by name; ``anonymous`` admits clients that have no token."""
        self._entries = tuple(entries.values())
        self._anonymous = Account(ANONYMOUS, random_only=True) if anonymous else None
        accounts = [entry.account for entry in self._entries]
        self._names = {name: account.name for account in accounts for name in account.domains}
        self._ports = {port: account.name for account in accounts for port in account.addresses}

    def authenticate(self, token: str) -> Deferred[Account]:
        """See `IAccounts.authenticate`; the empty token is that of a client without one."""
        if not token:
            if self._anonymous is not None:
                return succeed(self._anonymous)
            return fail(SessionRefused("This relay wants an authtoken, got none.", MALFORMED))
        found: Account | None = None
        for entry in self._entries:  # all of them, so that the time does not tell which
            if matches(token, entry.tokens):
                found = entry.account
        return fail(_refusal(token)) if found is None else succeed(found)

    def owner_of(self, hostname: str) -> str | None:
        """See `IAccounts.owner_of`."""
        for pattern in (hostname, *wildcards_over(hostname)):
            if pattern in self._names:
                return self._names[pattern]
        return None

    def owner_of_port(self, port: int) -> str | None:
        """See `IAccounts.owner_of_port`."""
        return self._ports.get(port)


def _refusal(token: str) -> SessionRefused:
    try:
        parse_token(token)
    except ValueError as error:
        return SessionRefused(f"The authtoken is malformed: {error}.", MALFORMED)
    return SessionRefused("The authtoken is not valid: no account of this relay has it.", NOT_VALID)
