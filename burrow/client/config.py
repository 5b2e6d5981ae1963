"""The client's configuration: files merged in order, flags over them, the environment below."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burrow.client.definitions import METADATA, TunnelDefinition, definitions
from burrow.client.upstream import Address, parse_address
from burrow.configuration import Document, load, parse
from burrow.errors import ConfigError, SettingError
from burrow.interfaces.protocol import ITunnelProtocol
from burrow.settings import TEXT, Kind, Schema, Setting, choice, list_of
from burrow.tokens import JoinToken, parse_token

__all__ = [
    "FLAGS",
    "ClientConfig",
    "TunnelDefinition",
    "default_config_path",
    "load_client_config",
    "schema",
]

REGIONS = ("us", "eu", "ap", "au", "sa", "jp", "in")  #: contract 1.3
RELAY_PORT = 443  #: of ``server_addr`` without one
LARGEST_PEM = 1_048_576  #: bytes of a ``root_cas`` file
SERVER_ADDR = "BURROW_SERVER_ADDR"  #: the environment variable that counts least
CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def _relay_address(default_port: int | None) -> Kind:
    """Make the kind of a relay's address; without a default its port has to be there."""

    def convert(value: Any) -> Address:
        text = str(value).strip()
        has_port = ":" in text.rpartition("]")[2]
        try:
            return parse_address(text if has_port or default_port is None else f"{text}:{default_port}")
        except ConfigError:
            raise ValueError from None

    wanted = "HOST:PORT" if default_port is None else "HOST[:PORT]"
    return Kind(f"{wanted} of a relay", convert, metavar=wanted)


SERVER_ADDRESS = _relay_address(RELAY_PORT)

#: Settings of the file that are flags of every command with a tunnel, too (contract 1.3).
COMMON = Schema(
    (
        Setting("authtoken", TEXT, "token of your account, or a join token", secret=True),
        Setting("server_addr", SERVER_ADDRESS, f"the relay; port {RELAY_PORT} if none is given"),
        Setting("region", choice(*REGIONS), "region of the relay", default="us"),
        Setting(
            "root_cas",
            Kind("trusted, host or the path of a PEM file", TEXT.convert, metavar="trusted|host|PATH"),
            "who may vouch for the relay",
            default="trusted",
        ),
    )
)
#: Flags of every command that publishes tunnels.
FLAGS = (
    Schema((Setting("config", list_of(Kind("a path", TEXT.convert, metavar="PATH")), "configuration file"),))
    + COMMON
)


@dataclass(frozen=True)
class ClientConfig:
    """Everything that the client is told.

    Attributes:
        server_addr: The relay, or ``None`` for the embedded one.
        authtoken: The secret that the relay is told; empty if there is none.
        fingerprint: Of the relay's key, ``sha256:…``, if the token brought one (row M7).
        root_cas: ``trusted``, ``host`` or an existing PEM file (row F8).
        region: The relay's region.
        metadata: Shown by the relay's service API.
        embedded_relay: Where the embedded relay listens.
        tunnels: Definitions by name, in the files' order.
        files: Those that were read.
    """

    server_addr: Address | None
    authtoken: str = field(repr=False)
    fingerprint: str | None
    root_cas: str | Path
    region: str
    metadata: str
    embedded_relay: Address
    tunnels: Mapping[str, TunnelDefinition]
    files: tuple[Path, ...]

    def chosen(self, names: Sequence[str]) -> tuple[TunnelDefinition, ...]:
        """Return the definitions of those names, each once.

        Raises:
            ConfigError: One is not defined (contract 1.6).
        """
        for name in names:
            if name not in self.tunnels:
                raise ConfigError(
                    f"Tunnel {name!r} is not defined in the config files.\n"
                    f"Tunnels available: {' '.join(self.tunnels) or 'none'}\n"
                    f"Config files read: [{' '.join(map(str, self.files))}]"
                )
        return tuple(self.tunnels[name] for name in dict.fromkeys(names))


def default_config_path() -> Path | None:
    """Return the file that is read if no other is named (row F1); it may not exist.

    The home is that of the effective user in the user database, whatever ``HOME`` says: under
    sudo, the user assumed. ``None`` if the database does not know the user.
    """
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".burrow" / "burrow.yml"
    except KeyError:
        return None


def schema(protocols: Mapping[str, ITunnelProtocol]) -> Schema:
    """Return the keys of the client's file, given the protocols that there are."""
    rest = (
        Setting("metadata", METADATA, "shown by the relay's service API", default=""),
        Setting(
            "embedded_relay",
            _relay_address(None),
            "where the embedded relay listens",
            default=Address("", "127.0.0.1", 4443),
        ),
        Setting("tunnels", definitions(protocols), "tunnels by name", default={}),
    )
    return COMMON + Schema(rest)


def load_client_config(
    paths: Sequence[Path],
    protocols: Mapping[str, ITunnelProtocol],
    environ: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    default: Path | None = None,
) -> ClientConfig:
    """Read the configuration (contract 2.1): a flag beats the files, these beat the environment.

    Args:
        paths: Files that were named, each merged over the one before.
        protocols: Tunnel protocols by name.
        environ: The process's environment.
        flags: Typed values of `FLAGS` by name, of those that stood on the command line; ``config``
            among them is passed over.
        default: The file to read if ``paths`` is empty; it may be missing.

    Raises:
        ConfigError: A mistake, named with file, line and key, with the flag or the variable.
    """
    files = tuple(paths) or tuple(path for path in (default,) if path is not None and os.path.exists(path))
    document = parse("", "no file")
    for path in files:
        document = document.merged(load(path))
    values = document.read(schema(protocols))
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    return _Layers(document, values, given, environ).config(files)


@dataclass(frozen=True)
class _Layers:
    """What the files and the command line say, one above the other."""

    document: Document
    values: Mapping[str, Any]
    flags: Mapping[str, Any]
    environ: Mapping[str, str]

    def config(self, files: tuple[Path, ...]) -> ClientConfig:
        text = self._value("authtoken")
        try:
            token = parse_token(text) if text else None
        except ValueError as error:
            raise self._error("authtoken", str(error)) from None
        join = token if isinstance(token, JoinToken) else None
        return ClientConfig(
            server_addr=self._server_address(join),
            authtoken=token.secret if token else "",
            fingerprint=join.fingerprint if join else None,
            root_cas=self._root_cas(),
            region=self._value("region"),
            metadata=self._value("metadata"),
            embedded_relay=self._value("embedded_relay"),
            tunnels=self._value("tunnels"),
            files=files,
        )

    def _value(self, name: str) -> Any:
        return self.flags.get(name, self.values[name])

    def _error(self, name: str, problem: str) -> ConfigError:
        if name in self.flags:
            return ConfigError(f"-{COMMON[name].flag}: {problem}")
        return self.document.error((name,), problem)

    def _server_address(self, join: JoinToken | None) -> Address | None:
        """Return the relay: a join token's address counts where the token stands, below a plain one."""
        if join is not None and "authtoken" in self.flags and "server_addr" not in self.flags:
            return self._joined(join)
        if (named := self._value("server_addr")) is not None:
            return named  # type: ignore[no-any-return]
        if join is not None:
            return self._joined(join)
        if text := self.environ.get(SERVER_ADDR):
            return SERVER_ADDRESS.read(text, (SERVER_ADDR,))  # type: ignore[no-any-return]
        return None

    def _joined(self, join: JoinToken) -> Address:
        try:
            return SERVER_ADDRESS.read(join.address, ())  # type: ignore[no-any-return]
        except SettingError as error:
            raise self._error("authtoken", f"the join token's address: {error.problem}") from None

    def _root_cas(self) -> str | Path:
        text = str(self._value("root_cas"))
        if text in ("trusted", "host"):
            return text
        base = Path() if "root_cas" in self.flags else Path(self.document.place(("root_cas",)).source).parent
        path = base / text
        try:
            with path.open("rb") as file:
                found = CERTIFICATE in file.read(LARGEST_PEM)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self._error(
                "root_cas", f"wanted trusted, host or a PEM file, got {str(path)!r}: {reason}"
            ) from None
        if not found:
            raise self._error("root_cas", f"wanted certificates in PEM, got {str(path)!r} without any")
        return path
