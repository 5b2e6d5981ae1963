"""Kinds of values in the relay's configuration: ports, networks, names and endpoints."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from burrow.names import canonical
from burrow.settings import Kind
from burrow.tokens import read_hash

LOWEST_PORT, HIGHEST_PORT = 1024, 65535  #: of public ports; never a privileged one

#: Arguments of Twisted's server endpoints in their order, by the word that they begin with.
ENDPOINT_ARGUMENTS = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
ARGUMENT_END = re.compile(r"(?<!\\):")


@dataclass(frozen=True)
class PortRange:
    """Public TCP ports, both ends included."""

    first: int
    last: int

    def __contains__(self, port: int) -> bool:
        """Tell whether a port is in the range."""
        return self.first <= port <= self.last

    def __len__(self) -> int:
        """Return how many ports there are."""
        return self.last - self.first + 1

    def __str__(self) -> str:
        """Return the range as it is written."""
        return f"{self.first}-{self.last}"


def _hostname(value: Any) -> str:
    name = canonical(str(value))
    if name.startswith("*."):
        raise ValueError
    return name


def _port_range(value: Any) -> PortRange:
    first, dash, last = (part.strip() for part in str(value).partition("-"))
    if not all(part.isascii() and part.isdecimal() for part in (first, last if dash else first)):
        raise ValueError
    ports = PortRange(int(first), int(last or first))
    if not LOWEST_PORT <= ports.first <= ports.last <= HIGHEST_PORT:
        raise ValueError
    return ports


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(value, str):
        raise ValueError
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        behind = "host bits" in str(error)
        raise ValueError("wanted a network without bits behind its prefix" if behind else "") from None


def _endpoint(value: Any) -> str:
    """Check the form of a server endpoint without making it: that could bind or adopt a socket."""
    if not isinstance(value, str):
        raise ValueError
    word, *parts = ARGUMENT_END.split(value)
    names = ENDPOINT_ARGUMENTS.get(word)
    if names is None:
        raise ValueError(f"wanted an endpoint that begins with one of {', '.join(ENDPOINT_ARGUMENTS)}")
    _check_arguments(word, _endpoint_arguments(parts, names))
    return value


def _endpoint_arguments(parts: list[str], names: tuple[str, ...]) -> dict[str, str]:
    arguments: dict[str, str] = {}
    for position, part in enumerate(parts):
        name, equals, text = part.partition("=")
        if not equals:
            name, text = (names[position : position + 1] or ("nothing",))[0], part
        if name not in names or name in arguments:
            raise ValueError(f"wanted each of {', '.join(names)} at most once and nothing else")
        arguments[name] = text
    return arguments


def _check_arguments(word: str, arguments: dict[str, str]) -> None:
    port = arguments.get("port", "" if word.startswith("tcp") else "0")
    if not (port.isascii() and port.isdecimal()) or int(port) > HIGHEST_PORT:
        raise ValueError(f"wanted a port from 0 to {HIGHEST_PORT}, as in {word}:443")
    if word == "unix" and not arguments.get("address"):
        raise ValueError("wanted a path, as in unix:/run/burrow.sock")
    if word == "systemd" and (
        arguments.get("domain") not in ("INET", "INET6", "UNIX") or not arguments.keys() & {"name", "index"}
    ):
        raise ValueError("wanted INET, INET6 or UNIX and a name, as in systemd:domain=INET6:name=https")


def _token_hash(value: Any) -> str:
    return read_hash(str(value))


HOSTNAME = Kind("a hostname such as relay.example.com", _hostname, metavar="HOST")
DOMAIN = Kind(
    "a hostname or a wildcard such as *.example.com", lambda value: canonical(str(value)), metavar="HOST"
)
PORT_RANGE = Kind(
    f"ports FIRST-LAST between {LOWEST_PORT} and {HIGHEST_PORT}", _port_range, metavar="FIRST-LAST"
)
NETWORK = Kind("an address or a network such as 192.0.2.0/24", _network, metavar="CIDR")
ENDPOINT = Kind(
    "an endpoint such as tcp:443 or systemd:domain=INET6:name=https", _endpoint, metavar="ENDPOINT"
)
TOKEN_HASH = Kind(
    "sha256: and 64 hex digits, as burrow relay token new prints it", _token_hash, metavar="HASH"
)
