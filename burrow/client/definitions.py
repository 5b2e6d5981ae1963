"""Definitions of tunnels, from the file or from the command line (contract 2.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from burrow.client.upstream import Address, parse_address
from burrow.errors import ConfigError, SettingError
from burrow.interfaces.protocol import ITunnelProtocol
from burrow.settings import TEXT, Kind, Schema, Setting, shown

LONGEST_METADATA = 4096  #: characters (row F9)
LONGEST_NAME = 255  #: characters of a tunnel's name
COMMAND_LINE = "command_line"  #: the tunnel of ``burrow http`` and the like (contract 1.2)


def _metadata(value: Any) -> str:
    text = TEXT.convert(value)
    if len(text) > LONGEST_METADATA:
        raise SettingError((), f"wanted at most {LONGEST_METADATA} characters, got {len(text)}")
    return str(text)


METADATA = Kind(f"text of at most {LONGEST_METADATA} characters", _metadata)
DEFINITION = Schema(
    (
        Setting("proto", TEXT, "the tunnel's protocol", required=True),
        Setting("addr", TEXT, "the local service", required=True, example="8080"),
        Setting("metadata", METADATA, "shown by the relay's service API", default=""),
    )
)


@dataclass(frozen=True)
class TunnelDefinition:
    """One tunnel that the client is to open.

    Attributes:
        name: What the user calls it.
        protocol: Its plugin.
        addr: The local service.
        metadata: Shown by the relay's service API.
        settings: Typed values of the protocol's own settings, all of them.
    """

    name: str
    protocol: ITunnelProtocol
    addr: Address
    metadata: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)


def define(
    name: str, protocol: ITunnelProtocol, addr: str, settings: Mapping[str, Any], metadata: str = ""
) -> TunnelDefinition:
    """Make a definition out of typed values.

    Args:
        name: `COMMAND_LINE` for a tunnel that no file defines.
        protocol: Its plugin.
        addr: As the user wrote it (contract 1.4).
        settings: Typed values of the protocol's settings; others are left out.
        metadata: At most `LONGEST_METADATA` characters.

    Raises:
        ConfigError: The address cannot be read; the text is that of contract 1.6.
    """
    try:
        address = parse_address(addr, protocol.schemes)
    except ConfigError as error:
        raise ConfigError(f"Tunnel {name!r} specifies {error}") from None
    own = {setting.name: settings.get(setting.name, setting.default) for setting in protocol.settings}
    return TunnelDefinition(name, protocol, address, metadata, own)


def definitions(protocols: Mapping[str, ITunnelProtocol]) -> Kind:
    """Make the kind of the mapping ``tunnels``, given the protocols that there are."""
    known = [setting.name for protocol in protocols.values() for setting in protocol.settings]

    def convert(value: Any) -> dict[str, TunnelDefinition]:
        if not isinstance(value, Mapping):
            raise ValueError
        return {str(name): _definition(str(name), values, protocols, known) for name, values in value.items()}

    return Kind("a mapping from names to definitions", convert)


def _definition(
    name: str, values: Any, protocols: Mapping[str, ITunnelProtocol], known: Iterable[str]
) -> TunnelDefinition:
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise SettingError((name,), f"wanted a name of 1 to {LONGEST_NAME} printable characters")
    if not isinstance(values, Mapping):
        raise SettingError((name,), f"wanted a definition with proto and addr, got {shown(values)}")
    words = ", ".join(protocols)
    proto = values.get("proto")
    if proto is None:
        raise SettingError((name,), f"proto is missing: wanted one of {words}")
    protocol = protocols.get(str(proto))
    if protocol is None:
        raise SettingError((name, "proto"), f"wanted one of {words}, got {shown(proto)}")
    read = (DEFINITION + protocol.settings).read(values, (name,), ignored=known)
    try:
        return define(name, protocol, read["addr"], read, read["metadata"])
    except ConfigError as error:
        raise SettingError((name, "addr"), str(error)) from None
