"""Finding tunnel protocols: built in, by entry point, and dropped into ``burrow.plugins``.

A protocol that cannot be used is named with its error and left out; the others work. Importing a
plugin is all that happens here: neither its edge nor its forwarder is made.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from burrow.interfaces.protocol import ITunnelProtocol
from burrow.settings import Schema

GROUP = "burrow.protocols"  #: the entry-point group
DROP_INS = "burrow.plugins"  #: the package whose modules are plugins
BUILT_IN = tuple(f"burrow.protocols.{kind}:protocol" for kind in ("http", "tls", "tcp"))

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")
LONGEST_NAME = 32  #: characters of a protocol's name
KEY = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")

#: Names that mean something else on the command line, in ``kinds:`` or in a URL.
TAKEN_NAMES = frozenset(
    [
        "api",
        "authtoken",
        "ca",
        "config",
        "credits",
        "demo",
        "help",
        "https",
        "plain",
        "plugins",
        "relay",
        "session",
        "start",
        "status",
        "stop",
        "update",
        "version",
    ]
)
#: Settings that every tunnel or every command has.
TAKEN_KEYS = frozenset(
    [
        "addr",
        "authtoken",
        "config",
        "h",
        "help",
        "log",
        "log_format",
        "log_level",
        "metadata",
        "name",
        "proto",
        "region",
        "root_cas",
        "server_addr",
        "v",
        "version",
    ]
)


@dataclass(frozen=True)
class Broken:
    """A plugin that cannot be used.

    Attributes:
        where: The import name, with the entry point's name if it has one.
        error: Why, on one line.
    """

    where: str
    error: str


@dataclass
class Discovered:
    """What was found.

    Attributes:
        protocols: Usable ones by name; built-in ones first.
        origins: Where each comes from, by name: an import name.
        broken: The others, in the order in which they were tried.
    """

    protocols: dict[str, ITunnelProtocol] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def take(self, where: str, load: Callable[[], Iterable[object]]) -> None:
        """Add what ``load`` returns, or name what is wrong with it."""
        try:
            for candidate in load():
                self._add(where, candidate)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin may even raise SystemExit
            self.broken.append(Broken(where, _one_line(error)))

    def _add(self, where: str, candidate: Any) -> None:
        if any(candidate is known for known in self.protocols.values()):
            return
        check(candidate)
        if candidate.name in self.protocols:
            raise Unusable(f"the name {candidate.name!r} belongs to {self.origins[candidate.name]}")
        self.protocols[candidate.name] = candidate
        self.origins[candidate.name] = where


class Unusable(Exception):
    """A plugin breaks the contract of `ITunnelProtocol`; the text says how."""


def discover(
    built_in: Iterable[str] = BUILT_IN,
    installed: Callable[..., Iterable[EntryPoint]] = entry_points,
    drop_ins: str = DROP_INS,
) -> Discovered:
    """Find all tunnel protocols.

    Args:
        built_in: Import names with attributes of those that need no metadata to be found.
        installed: Returns the entry points of a ``group``.
        drop_ins: Name of the package whose modules hold plugins.
    """
    found = Discovered()
    known = tuple(built_in)
    for value in known:
        found.take(value, partial(_named, value))
    for point in sorted(installed(group=GROUP), key=lambda point: (point.name, point.value)):
        if point.value not in known:
            found.take(f"{point.value} (entry point {point.name})", partial(_loaded, point))
    for module in _drop_in_modules(drop_ins):
        found.take(module, partial(_providers, module))
    return found


def _drop_in_modules(package: str) -> Iterator[str]:
    """Yield the import names of the modules in the package of drop-ins, in a fixed order."""
    paths = importlib.import_module(package).__path__
    names = (module.name for module in pkgutil.iter_modules(paths))
    yield from (f"{package}.{name}" for name in sorted(names) if not name.startswith("_"))


def _named(value: str) -> list[object]:
    """Import what ``module:attribute`` names."""
    return [pkgutil.resolve_name(value)]


def _loaded(point: EntryPoint) -> list[object]:
    """Import what an entry point names."""
    return [point.load()]


def _providers(name: str) -> list[object]:
    """Import a module and return its tunnel protocols; its attribute ``protocol`` has to be one.

    Raises:
        Unusable: There is none.
    """
    members = vars(importlib.import_module(name))
    values: list[object] = [value for value in members.values() if ITunnelProtocol.providedBy(value)]
    named = members.get("protocol")
    if not values and named is not None and not isinstance(named, ModuleType):
        values.append(named)
    if not values:
        raise Unusable("holds no object that provides ITunnelProtocol")
    return values


def check(candidate: Any) -> None:
    """Hold a would-be plugin to the contract.

    Raises:
        Unusable: It breaks it.
    """
    if not ITunnelProtocol.providedBy(candidate):
        raise Unusable(f"wanted an object that provides ITunnelProtocol, got {candidate!r:.80}")
    try:
        verifyObject(ITunnelProtocol, candidate)
    except Invalid as error:
        raise Unusable(str(error)) from None
    name, schemes = candidate.name, candidate.schemes
    if not isinstance(name, str) or not NAME.match(name) or len(name) > LONGEST_NAME:
        wanted = f"lower-case words joined by hyphens, at most {LONGEST_NAME} characters"
        raise Unusable(f"name: wanted {wanted}, got {name!r}")
    if name in TAKEN_NAMES:
        raise Unusable(f"name: {name!r} means something else already")
    if not isinstance(candidate.summary, str):
        raise Unusable(f"summary: wanted text, got {candidate.summary!r}")
    if not isinstance(schemes, tuple) or not all(isinstance(scheme, str) for scheme in schemes):
        raise Unusable(f"schemes: wanted a tuple of texts, got {schemes!r}")
    _check_settings(candidate.settings)


def _check_settings(settings: object) -> None:
    if not isinstance(settings, Schema):
        raise Unusable(f"settings: wanted a Schema, got {settings!r}")
    seen: set[str] = set()
    for setting in settings:
        if not KEY.match(setting.name):
            raise Unusable(f"setting {setting.name!r}: wanted lower-case words joined by underscores")
        if setting.name in TAKEN_KEYS:
            raise Unusable(f"setting {setting.name!r}: every tunnel or command has one of that name")
        if setting.name in seen:
            raise Unusable(f"setting {setting.name!r}: wanted it once, got it twice")
        seen.add(setting.name)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, Unusable):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
