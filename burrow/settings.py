"""One typed schema for YAML keys, flags, messages and the reference page.

A `Setting` says once what a value is called, what it may be and what it means. `Schema.read`
turns what a YAML file, a command line or a peer brought into typed values; whatever does not fit
is a `SettingError` that names the place, what was found and what was wanted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from burrow.errors import SettingError

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Kind:
    """A type of value as people write it.

    Attributes:
        wanted: Completes the sentence "wanted …".
        convert: Makes the typed value out of a plain one (text, number, boolean, list or
            mapping); raises `ValueError` when it does not fit, whose text, if there is any,
            takes the place of ``wanted`` in the message.
        boolean: A flag of this kind needs no value.
        repeatable: A flag of this kind may be given more than once; the values add up.
        metavar: Stands for the value in a usage line.
    """

    wanted: str
    convert: Callable[[Any], Any]
    boolean: bool = False
    repeatable: bool = False
    metavar: str = "VALUE"

    def read(self, value: Any, path: Path) -> Any:
        """Convert ``value``, found at ``path``.

        Raises:
            SettingError: It does not fit; the message says what was wanted.
        """
        try:
            return self.convert(value)
        except SettingError as error:
            raise SettingError(path + error.path, error.problem) from None
        except ValueError as error:
            wanted = str(error) or f"wanted {self.wanted}"
            raise SettingError(path, f"{wanted}, got {shown(value)}") from None


def shown(value: Any) -> str:
    """Return ``value`` as a message shows it: one short line."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    return str(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return {"true": True, "false": False}[str(value).lower()]
    except KeyError:
        raise ValueError from None


TEXT = Kind("text", _text)
BOOLEAN = Kind("true or false", _boolean, boolean=True)


def _number(make: Callable[[Any], Any], value: Any) -> Any:
    """Make a number out of text or a number; the error has no text, so that "wanted …" is shown."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError
    try:
        return make(value)
    except (ValueError, OverflowError):
        raise ValueError from None


def integer(least: int, most: int, unit: str = "") -> Kind:
    """Make the kind of a whole number from ``least`` to ``most``, both included."""

    def convert(value: Any) -> int:
        if isinstance(value, float):
            raise ValueError
        number = int(_number(int, value))
        if not least <= number <= most:
            raise ValueError
        return number

    return Kind(f"a whole number from {least} to {most}{unit and ' ' + unit}", convert, metavar="N")


def seconds(least: float, most: float) -> Kind:
    """Make the kind of a time in seconds from ``least`` to ``most``, both included."""

    def convert(value: Any) -> float:
        number = float(_number(float, value))
        if not least <= number <= most:
            raise ValueError
        return number

    return Kind(f"seconds from {least:g} to {most:g}", convert, metavar="SECONDS")


def choice(*allowed: str) -> Kind:
    """Make the kind of one word out of ``allowed``; YAML's booleans count as their words."""

    def convert(value: Any) -> str:
        word = str(value).lower() if isinstance(value, bool) else value
        if word not in allowed:
            raise ValueError
        return str(word)

    return Kind("one of " + ", ".join(allowed), convert, metavar="|".join(allowed))


def list_of(kind: Kind) -> Kind:
    """Make the kind of a list; a single value counts as a list of one."""

    def convert(value: Any) -> tuple[Any, ...]:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(kind.read(item, (position,)) for position, item in enumerate(items))

    return Kind(f"a list, each {kind.wanted}", convert, repeatable=True, metavar=kind.metavar)


def map_of(kind: Kind) -> Kind:
    """Make the kind of a mapping from names to values."""

    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError
        return {str(name): kind.read(item, (str(name),)) for name, item in value.items()}

    return Kind(f"a mapping of names, each {kind.wanted}", convert)


def section(schema: Schema) -> Kind:
    """Make the kind of a nested mapping with keys of its own."""

    def convert(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError
        return schema.read(value)

    return Kind("a mapping with " + ", ".join(setting.name for setting in schema), convert)


@dataclass(frozen=True)
class Setting:
    """One thing that can be set.

    Attributes:
        name: The YAML key, words joined by underscores; the flag has hyphens instead.
        kind: What it may be.
        help: One line for ``--help`` and the reference page, without a full stop.
        default: What counts when nothing is set; given to nobody's `Kind.convert`.
        required: Nothing set is an error.
        edge: The client sends it to the relay with the Bind command; the edge reads it.
        secret: Never shown or logged.
        example: A value for the reference page and for help texts.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False
    edge: bool = False
    secret: bool = False
    example: str = ""

    @property
    def flag(self) -> str:
        """The setting's name on a command line, without dashes in front."""
        return self.name.replace("_", "-")

    def read(self, value: Any, path: Path = ()) -> Any:
        """Convert the value that stands under this setting's name at ``path``.

        Raises:
            SettingError: It does not fit; a secret is not part of the message.
        """
        try:
            return self.kind.read(value, (*path, self.name))
        except SettingError as error:
            if not self.secret:
                raise
            wanted = f"wanted {self.kind.wanted}, got something else (not shown, it is a secret)"
            raise SettingError(error.path, wanted) from None


@dataclass(frozen=True)
class Schema:
    """The settings of one place, in the order in which help lists them."""

    settings: tuple[Setting, ...] = ()
    _by_name: dict[str, Setting] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the settings by name."""
        object.__setattr__(self, "_by_name", {setting.name: setting for setting in self.settings})

    def __iter__(self) -> Iterator[Setting]:
        """Go through the settings in order."""
        return iter(self.settings)

    def __contains__(self, name: object) -> bool:
        """Tell whether a setting of that name is part of the schema."""
        return name in self._by_name

    def __getitem__(self, name: str) -> Setting:
        """Return the setting of that name."""
        return self._by_name[name]

    def __add__(self, other: Schema) -> Schema:
        """Return a schema with the settings of both."""
        return Schema(self.settings + other.settings)

    def read(self, values: Mapping[Any, Any], path: Path = (), ignored: Iterable[str] = ()) -> dict[str, Any]:
        """Return every setting's typed value; ``None`` in ``values`` means "not set".

        Args:
            values: Plain values by key, as YAML or JSON gives them.
            path: Where ``values`` stand, for messages.
            ignored: Keys that are known elsewhere and passed over here.

        Raises:
            SettingError: An unknown key, a missing one, or a value that does not fit.
        """
        self._refuse_unknown(values, path, set(ignored))
        read = {}
        for setting in self.settings:
            value = values.get(setting.name)
            if value is not None:
                read[setting.name] = setting.read(value, path)
            elif setting.required:
                raise SettingError(path, f"{setting.name} is missing: wanted {setting.kind.wanted}")
            else:
                read[setting.name] = setting.default
        return read

    def _refuse_unknown(self, values: Mapping[Any, Any], path: Path, ignored: set[str]) -> None:
        for key in values:
            if key not in self._by_name and key not in ignored:
                near = difflib.get_close_matches(str(key), self._by_name, 1)
                hint = f", did you mean {near[0]}?" if near else ""
                known = ", ".join(self._by_name)
                raise SettingError((*path, str(key)), f"unknown key{hint} (known: {known})")
