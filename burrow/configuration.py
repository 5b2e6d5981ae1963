"""A YAML document whose every value knows its file and line.

Scalars follow the core schema of YAML 1.2.2 (section 10.3): only ``true`` and ``false`` are
booleans, ``on``, ``no`` and ``80:22`` stay text, and a number remembers how it was written, so
that a name such as ``00012e34`` is not lost on its way to a text setting. All bounds count what
is left after aliases are expanded. Syntax errors read as contract 1.6 says, others
``relay.yml:3: listen: wanted …, got …``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from yaml import events

from burrow.errors import ConfigError, SettingError
from burrow.settings import Path as Steps
from burrow.settings import Schema

MAX_BYTES = 1_048_576  #: of a file
MAX_NODES = 10_000  #: keys, scalars, lists and mappings of a document, aliases counted as what they stand for
MAX_KEY = 255  #: characters of a key
MAX_DEPTH = 32  #: mappings and lists inside each other

TABS = "config contains tab characters, YAML must use spaces for indentation"  #: contract 1.6
STANDARD_TAG = "tag:yaml.org,2002:"

INTEGER = re.compile(r"[-+]?[0-9]{1,300}\Z|0o[0-7]{1,300}\Z|0x[0-9a-fA-F]{1,300}\Z")
FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)
WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class WrittenInt(int):
    """A whole number that remembers how it was written; ``str`` gives that back."""

    written: str

    def __str__(self) -> str:
        """Return the number as it stands in the file."""
        return self.written

    __repr__ = __str__


class WrittenFloat(float):
    """A decimal number that remembers how it was written; ``str`` gives that back."""

    written: str

    def __str__(self) -> str:
        """Return the number as it stands in the file."""
        return self.written

    __repr__ = __str__


@dataclass(frozen=True)
class Place:
    """Where something stands.

    Attributes:
        source: The file, as it was named when it was read.
        line: Counted from 1.
    """

    source: str
    line: int

    def __str__(self) -> str:
        """Return ``file:line``."""
        return f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Node:
    """A value at its place; ``value`` holds nodes where it is a mapping or a list.

    Attributes:
        place: Where the key or the list item begins that leads to it.
        value: A scalar, a mapping from keys to nodes, or a list of nodes.
        cost: How many nodes it stands for, itself included.
        height: How many levels there are below it.
    """

    place: Place
    value: Any
    cost: int = 1
    height: int = 0

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def children(self) -> dict[Any, Node]:
        """Return the nodes below it by key or position."""
        if isinstance(self.value, list):
            return dict(enumerate(self.value))
        return self.value if isinstance(self.value, dict) else {}


@dataclass(frozen=True)
class Document:
    """A mapping read from one file, or from several merged in order."""

    root: Node

    @property
    def values(self) -> dict[str, Any]:
        """Plain values by key."""
        return {key: node.plain() for key, node in self.root.value.items()}

    def place(self, path: Steps = ()) -> Place:
        """Return where the value at ``path`` stands, or the nearest thing that leads to it."""
        node = self.root
        for step in path:
            children = node.children()
            if step not in children:
                break
            node = children[step]
        return node.place

    def error(self, path: Steps, problem: str) -> ConfigError:
        """Make the error that says what is wrong with the value at ``path``."""
        return ConfigError(f"{self.place(path)}: {SettingError(path, problem)}")

    def read(self, schema: Schema) -> dict[str, Any]:
        """Return every setting's typed value.

        Raises:
            ConfigError: An unknown key, a missing one, or a value that does not fit.
        """
        try:
            return schema.read(self.values)
        except SettingError as error:
            raise self.error(error.path, error.problem) from None

    def merged(self, over: Document) -> Document:
        """Return this document with ``over`` laid over it (contract 2.1).

        Scalars and lists are replaced; mappings are merged key by key, one level deep, so that a
        later definition of a tunnel replaces the earlier one. A key without a value changes nothing.
        """
        both = dict(self.root.value)
        for key, node in over.root.value.items():
            if key in both and node.value is None:
                continue
            both[key] = _laid_over(both[key], node) if key in both else node
        return Document(replace(over.root, value=both))


def _laid_over(under: Node, over: Node) -> Node:
    if isinstance(under.value, dict) and isinstance(over.value, dict):
        return replace(over, value={**under.value, **over.value})
    return over


def _kind_of(node: Node) -> str:
    return "a list" if isinstance(node.value, list) else "a single value"


def load(path: Path) -> Document:
    """Read the YAML file at ``path``; an empty one, or ``/dev/null``, sets nothing.

    Raises:
        ConfigError: It cannot be read, is too large, or is not YAML as described above.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        if len(raw) <= MAX_BYTES:
            raise ConfigError(
                f"{path}:{line}: wanted text in UTF-8, got byte {raw[error.start]:#04x}"
            ) from None
        text = ""
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: wanted a file of at most {MAX_BYTES} bytes, got a larger one")
    return parse(text, str(path))


def parse(text: str, name: str) -> Document:
    """Read YAML ``text``; ``name`` stands for the file in messages.

    Raises:
        ConfigError: See `load`.
    """
    try:
        return Document(_Builder(text, name).document())
    except yaml.YAMLError as error:
        raise ConfigError(f"Error reading configuration file {name!r}: {_explained(error, text)}") from None


def _explained(error: yaml.YAMLError, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # the reader's own: a character that no YAML may hold
        offset = getattr(error, "position", 0)
        line = text.count("\n", 0, offset) + 1
        return f"YAML parsing error: line {line}: character {text[offset : offset + 1]!r} is not allowed"
    if r"'\t'" in str(getattr(error, "problem", "")):
        return f"YAML parsing error: line {mark.line + 1}: {TABS}"
    problem = f"{getattr(error, 'context', None) or ''} {getattr(error, 'problem', None) or error}".strip()
    return f"YAML parsing error: line {mark.line + 1}: {problem}"


class _Builder:
    """Makes nodes out of parser events, within the bounds."""

    def __init__(self, text: str, name: str) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._name = name
        self._anchors: dict[str, Node | None] = {}  # None while what it names is being read
        self._cost = 0

    def document(self) -> Node:
        root = Node(Place(self._name, 1), None)
        next(self._events)  # StreamStart
        if isinstance(next(self._events), events.DocumentStartEvent):
            root = self._node(next(self._events), 0)
            next(self._events)  # DocumentEnd
            if isinstance(event := next(self._events), events.DocumentStartEvent):
                raise self._error(event, "wanted one document, got another one")
        if root.value is None:
            return Node(root.place, {})
        if not isinstance(root.value, dict):
            raise ConfigError(f"{root.place}: wanted keys with values, got {_kind_of(root)}")
        return root

    def _error(self, event: Any, problem: str) -> ConfigError:
        return ConfigError(f"{self._place(event)}: {problem}")

    def _place(self, event: Any) -> Place:
        return Place(self._name, event.start_mark.line + 1)

    def _spend(self, event: Any, cost: int) -> None:
        self._cost += cost
        if self._cost > MAX_NODES:
            raise self._error(event, f"wanted at most {MAX_NODES} values, aliases expanded, got more")

    def _node(self, event: Any, depth: int) -> Node:
        if isinstance(event, events.AliasEvent):
            return self._alias(event, depth)
        self._bound(event, depth)
        self._spend(event, 1)
        if event.anchor:
            self._anchors[event.anchor] = None
        node = self._built(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self._error(event, f"alias *{event.anchor} stands for nothing that was read before it")
        self._spend(event, node.cost)
        self._bound(event, depth + node.height)
        return node

    def _bound(self, event: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(event, f"wanted at most {MAX_DEPTH} levels, got more")

    def _built(self, event: Any, depth: int) -> Node:
        before = self._cost
        value: Any
        if isinstance(event, events.ScalarEvent):
            value = self._scalar(event)
        else:
            is_map = isinstance(event, events.MappingStartEvent)
            if event.tag not in (None, "!", STANDARD_TAG + ("map" if is_map else "seq")):
                raise self._error(event, f"tag {event.tag!r} is not allowed")
            value = self._mapping(depth) if is_map else self._list(depth)
        below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        height = max((node.height + 1 for node in below), default=0)
        return Node(self._place(event), value, 1 + self._cost - before, height)

    def _list(self, depth: int) -> list[Node]:
        items = []
        while not isinstance(event := next(self._events), events.SequenceEndEvent):
            node = self._node(event, depth + 1)
            items.append(replace(node, place=self._place(event)))
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(event := next(self._events), events.MappingEndEvent):
            key, place = self._key(event), self._place(event)
            if key in found:
                first = found[key].place.line
                raise self._error(event, f"{key}: wanted it once, got it twice, first on line {first}")
            node = self._node(next(self._events), depth + 1)
            found[key] = replace(node, place=place)
        return self._with_merge(found)

    def _key(self, event: Any) -> str:
        self._spend(event, 1)
        if not isinstance(event, events.ScalarEvent) or event.anchor:
            raise self._error(event, "wanted a plain word as key, got something else")
        key = str(event.value)
        if len(key) > MAX_KEY or not key.isprintable():
            wanted = f"a key of at most {MAX_KEY} printable characters"
            raise self._error(event, f"wanted {wanted}, got {key[:50]!r}")
        return key

    def _with_merge(self, found: dict[str, Node]) -> dict[str, Node]:
        """Take the merge key in: ``<<: *name`` adds the keys that are not there already."""
        if "<<" not in found:
            return found
        merge = found.pop("<<")
        for node in merge.value if isinstance(merge.value, list) else [merge]:
            if not isinstance(node.value, dict):
                raise ConfigError(f"{merge.place}: <<: wanted a mapping, got {_kind_of(node)}")
            found = {**node.value, **found}
        return found

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if event.tag in (None, "!"):
            return _resolved(text) if event.implicit[0] and not event.style else text
        kind = event.tag.removeprefix(STANDARD_TAG)
        types = {"str": str, "int": int, "float": float | int, "bool": bool, "null": type(None)}
        if kind not in types or kind == event.tag:
            raise self._error(event, f"tag {event.tag!r} is not allowed")
        value = text if kind == "str" else _resolved(text)
        if not isinstance(value, types[kind]):
            raise self._error(event, f"wanted a value of type {kind}, got {text!r:.60}")
        return value


def _resolved(text: str) -> Any:
    """Return what an unquoted scalar stands for in the core schema."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.match(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        whole = WrittenInt(text[2:] if base != 10 else text, base)
        whole.written = text
        return whole
    if FLOAT.match(text):
        decimal = WrittenFloat(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        decimal.written = text
        return decimal
    return text
