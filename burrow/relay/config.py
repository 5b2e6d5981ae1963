"""The relay's configuration file, ``relay.yml``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burrow.configuration import Document, load
from burrow.interfaces.account import Account
from burrow.names import wildcards_over
from burrow.relay.values import (
    DOMAIN,
    ENDPOINT,
    HIGHEST_PORT,
    HOSTNAME,
    LOWEST_PORT,
    NETWORK,
    PORT_RANGE,
    TOKEN_HASH,
    PortRange,
)
from burrow.settings import (
    BOOLEAN,
    TEXT,
    Kind,
    Schema,
    Setting,
    choice,
    integer,
    list_of,
    map_of,
    seconds,
    section,
)

REGIONS = ("us", "eu", "ap", "au", "sa", "jp", "in")  #: contract 1.3
KINDS = ("session", "https", "http", "tls")  #: what a listener may serve, plugins' own names apart
ANONYMOUS = "anonymous"  #: the account of clients without a token; no other may be called so
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")


@dataclass(frozen=True)
class Listener:
    """One public port.

    Attributes:
        endpoint: A description for `twisted.internet.endpoints.serverFromString`.
        kinds: What is served there: of `KINDS`, or names of plugins.
    """

    endpoint: str
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True)
class Limits:
    """How much is admitted; see `LIMITS`."""

    sessions: int
    tunnels: int
    streams: int
    unauthenticated: int


@dataclass(frozen=True)
class AccountEntry:
    """An account of the file.

    Attributes:
        account: What the relay works with.
        tokens: Hashes of its authtokens, ``sha256:`` and 64 hex digits.
    """

    account: Account
    tokens: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class RelayConfig:
    """Everything that the relay's file says; see `schema` for what it means.

    Attributes:
        certificates: An existing folder, or ``None``.
        state: A folder that may not exist yet.
        accounts: By name, in the file's order.
        grace: Seconds.
        hello_timeout: Seconds.
    """

    domain: str
    region: str
    listen: tuple[Listener, ...]
    tcp_ports: PortRange
    certificates: Path | None
    state: Path
    accounts: Mapping[str, AccountEntry]
    anonymous: bool
    grace: float
    hello_timeout: float
    limits: Limits


ACCOUNT_LIMITS = Schema(
    (
        Setting("sessions", integer(1, 100_000), "sessions of an account at a time", default=100),
        Setting("tunnels", integer(1, 10_000), "tunnels of a session", default=100),
        Setting("streams", integer(1, 100_000), "open streams of a session", default=10_000),
    )
)
LIMITS = ACCOUNT_LIMITS + Schema(
    (
        Setting(
            "unauthenticated",
            integer(1, 100_000),
            "connections at a time whose client has not been told who it is yet",
            default=1000,
        ),
    )
)
ACCOUNT = Schema(
    (
        Setting("tokens", list_of(TOKEN_HASH), "hashes of its authtokens", default=(), secret=True),
        Setting("domains", list_of(DOMAIN), "reserved hostnames and wildcards", default=()),
        Setting(
            "addresses", list_of(integer(LOWEST_PORT, HIGHEST_PORT)), "reserved public TCP ports", default=()
        ),
        Setting("whitelist", list_of(NETWORK), "where visitors may come from; empty is anywhere", default=()),
        Setting("limits", section(ACCOUNT_LIMITS), "limits that differ from the relay's"),
    )
)


def _listener(kinds: tuple[str, ...]) -> Kind:
    """Make the kind of a listener; an endpoint alone serves everything."""
    fields = Schema(
        (
            Setting("endpoint", ENDPOINT, "where to listen, as Twisted describes it", required=True),
            Setting("kinds", list_of(choice(*kinds)), "what is served there", default=KINDS),
        )
    )

    def convert(value: Any) -> Listener:
        if not isinstance(value, str | Mapping):
            raise ValueError
        return Listener(**fields.read(value if isinstance(value, Mapping) else {"endpoint": value}))

    return Kind(f"{ENDPOINT.wanted}, or a mapping with endpoint and kinds", convert)


def schema(plugins: Iterable[str] = ()) -> Schema:
    """Return the keys of ``relay.yml``.

    Args:
        plugins: Names of tunnel protocols that may stand among a listener's kinds.
    """
    kinds = tuple(dict.fromkeys((*KINDS, *plugins)))
    return Schema(
        (
            Setting("domain", HOSTNAME, "the name that public names end in", required=True),
            Setting("region", choice(*REGIONS), "the relay's region", default="us"),
            Setting("listen", list_of(_listener(kinds)), "public ports and what each serves", required=True),
            Setting("tcp_ports", PORT_RANGE, "public ports for TCP tunnels", default=PortRange(20000, 29999)),
            Setting("certificates", TEXT, "folder of certificates and keys, PEM"),
            Setting("state", TEXT, "folder for what the relay keeps", default="/var/lib/burrow-relay"),
            Setting("accounts", map_of(section(ACCOUNT)), "who may publish, by name", default={}),
            Setting("anonymous", BOOLEAN, "admit clients without a token to random names", default=False),
            Setting(
                "grace", seconds(0, 3600), "time for a lost session to come back; not used yet", default=60.0
            ),
            Setting("hello_timeout", seconds(0.1, 300), "time for a newcomer to say Hello", default=10.0),
            Setting("limits", section(LIMITS), "how much is admitted"),
        )
    )


def load_relay_config(path: Path, plugins: Iterable[str] = ()) -> RelayConfig:
    """Read ``relay.yml``; relative paths in it count from its folder.

    Args:
        path: The file.
        plugins: Names of tunnel protocols that may stand among a listener's kinds.

    Raises:
        ConfigError: A mistake, named with file, line and key.
    """
    document = load(path)
    values = document.read(schema(plugins))
    values["accounts"] = _accounts(document, values["accounts"], values["domain"])
    values["limits"] = Limits(**(values["limits"] or LIMITS.read({})))
    values["state"] = _folder(document, path.parent, values, "state", needed=False)
    values["certificates"] = _folder(document, path.parent, values, "certificates", needed=True)
    _check_listeners(document, values["listen"])
    return RelayConfig(**values)


def _folder(document: Document, base: Path, values: Mapping[str, Any], key: str, needed: bool) -> Path | None:
    if values[key] is None:
        return None
    folder = base / str(values[key])
    try:
        os.listdir(folder)
    except FileNotFoundError as error:
        if needed:
            raise document.error((key,), _unreadable(folder, error)) from None
    except (OSError, ValueError) as error:
        raise document.error((key,), _unreadable(folder, error)) from None
    return folder


def _unreadable(folder: Path, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or error
    return f"wanted a folder that can be read, got {str(folder)!r}: {reason}"


def _check_listeners(document: Document, listeners: Iterable[Listener]) -> None:
    seen = set()
    for position, listener in enumerate(listeners):
        if listener.endpoint in seen:
            raise document.error(("listen", position), f"wanted {listener.endpoint} once, got it twice")
        seen.add(listener.endpoint)
    if not seen:
        raise document.error(("listen",), "wanted at least one endpoint, got none")


def _accounts(document: Document, accounts: Mapping[str, Any], domain: str) -> dict[str, AccountEntry]:
    entries = {}
    for name, values in accounts.items():
        if name == ANONYMOUS or not ACCOUNT_NAME.match(name):
            wanted = f"an account name of letters, digits and ._@- other than {ANONYMOUS}"
            raise document.error(("accounts", name), f"wanted {wanted}")
        tokens, limits = values.pop("tokens"), values.pop("limits") or {}
        given = document.values["accounts"][name].get("limits") or {}
        changed = {limit: number for limit, number in limits.items() if given.get(limit) is not None}
        entries[name] = AccountEntry(Account(name, limits=changed, **values), tokens)
        if domain in entries[name].account.domains:
            raise document.error(("accounts", name, "domains"), f"{domain} is the relay's own name")
    _check_reservations(document, entries)
    return entries


def _check_reservations(document: Document, entries: Mapping[str, AccountEntry]) -> None:
    """Refuse what two accounts claim: a token, a port, a name or what a wildcard covers (row E3)."""
    owners: dict[tuple[str, Any], str] = {}
    for name, key, _position, value in _claims(entries):
        owners.setdefault((key, value), name)
    for name, key, position, value in _claims(entries):
        wider = wildcards_over(value) if key == "domains" else ()
        for claimed in (value, *wider):
            other = owners.get((key, claimed), name)
            if other != name:
                what = "this token" if key == "tokens" else str(value)
                problem = f"wanted {what} in one account, got it in {other} too"
                raise document.error(("accounts", name, key, position), problem)


def _claims(entries: Mapping[str, AccountEntry]) -> Iterator[tuple[str, str, int, Any]]:
    for name, entry in entries.items():
        account = entry.account
        for key, values in (
            ("tokens", entry.tokens),
            ("domains", account.domains),
            ("addresses", account.addresses),
        ):
            yield from ((name, key, position, value) for position, value in enumerate(values))
