"""The command line: from words to a command and typed values (contract 1.1).

A pure function of the words and of the commands' schemas. Flags are exact names after one or two
dashes, with their value after ``=`` or as the next word; a boolean's value comes only after ``=``.
Flags and arguments may stand in any order after the command; ``--`` ends the flags. A flag given
twice counts as given last, a repeatable one adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from burrow.errors import ConfigError, SettingError
from burrow.settings import Schema, Setting

HELP_FLAGS = ("-h", "--h", "-help", "--help")
NO_FLAGS = Schema()
VERSION_FLAGS = ("-v", "--v", "-version", "--version")


@dataclass(frozen=True)
class Positional:
    """What a command takes besides flags.

    Attributes:
        name: The key among the values; upper case in a usage line.
        help: What it is; completes "wanted …".
        required: None at all is an error.
        repeated: Any number of them; the value is a tuple. Only the last one of a command may be.
    """

    name: str
    help: str
    required: bool = True
    repeated: bool = False

    @property
    def usage(self) -> str:
        """How it stands in a usage line."""
        shown = self.name.upper() + ("..." if self.repeated else "")
        return shown if self.required else f"[{shown}]"


@dataclass(frozen=True)
class Command:
    """One thing that the program does.

    Attributes:
        name: One word or several, such as ``relay token new``.
        summary: One line, without a full stop.
        flags: Its flags, in the order in which help lists them.
        positionals: Its arguments, in order.
        description: Some sentences for its help.
        examples: Command lines without the program's name, each with what it does.
        check: Called with all values; raises `ConfigError` when they do not go together.
    """

    name: str
    summary: str
    flags: Schema = NO_FLAGS
    positionals: tuple[Positional, ...] = ()
    description: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    check: Callable[[Mapping[str, Any]], None] | None = field(default=None, compare=False)


class Invocation(NamedTuple):
    """What the user asked for.

    Attributes:
        command: One of the commands.
        values: Typed values of its flags and arguments, by the names of settings and positionals.
        given: Names of the flags that were on the command line, defaults aside.
    """

    command: Command
    values: dict[str, Any]
    given: frozenset[str] = frozenset()


class UsageError(ConfigError):
    """The command line cannot be understood.

    Attributes:
        overview: Whether the overview of all commands should be shown before the message.
    """

    def __init__(self, message: str, overview: bool = False) -> None:
        """Say in ``message`` what is wrong; it may have several lines."""
        super().__init__(message)
        self.overview = overview


def error_text(error: Exception) -> str:
    """Return what goes to stderr for an error: ``ERROR:  text`` lines between blank ones (contract 1.5)."""
    lines = ["", *str(error).splitlines(), ""]
    return "".join(f"ERROR:  {line}".rstrip() + "\n" for line in lines)


def parse(argv: Sequence[str], commands: Iterable[Command]) -> Invocation:
    """Tell which command ``argv`` asks for, and with what.

    ``--help`` becomes the command ``help`` with the words of the command that it stood behind;
    ``--version`` before a command becomes ``version``; no words at all become ``help``.

    Args:
        argv: The words after the program's name.
        commands: All there are, ``help`` and ``version`` among them.

    Raises:
        UsageError: Unknown command or flag, a value that does not fit, or an argument missing or
            over.
    """
    by_name = {command.name: command for command in commands}
    if not argv or argv[0] in HELP_FLAGS:
        return Invocation(by_name["help"], {"command": ()})
    if argv[0] in VERSION_FLAGS:
        return Invocation(by_name["version"], {})
    if argv[0].startswith("-"):
        raise UsageError(_undefined(_split(argv[0])[0]))
    command = find_command(argv, by_name)
    words = _Words(command.flags, argv[len(command.name.split()) :])
    if words.wants_help:
        return Invocation(by_name["help"], {"command": tuple(command.name.split())})
    values = {**_typed(command, words.flags), **_arranged(command, words.others)}
    if command.check is not None:
        command.check(values)
    return Invocation(command, values, frozenset(words.flags))


def find_command(words: Sequence[str], by_name: Mapping[str, Command]) -> Command:
    """Return the command with the longest name that ``words`` begin with.

    Raises:
        UsageError: There is none.
    """
    for length in range(len(words), 0, -1):
        if command := by_name.get(" ".join(words[:length])):
            return command
    below = [name for name in by_name if name.startswith(words[0] + " ")]
    if below:
        raise UsageError(f"{words[0]}: wanted one of: {', '.join(below)}")
    raise UsageError(f"Unrecognized command: {words[0]}", overview=True)


def _undefined(name: str) -> str:
    return f"Incorrect Usage\nflag provided but not defined: -{name}"


def _split(word: str) -> tuple[str, str | None]:
    """Return a flag's name and the value after its ``=``, if there is one."""
    body = word[2:] if word.startswith("--") else word[1:]
    name, equals, value = body.partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"Incorrect Usage\nbad flag syntax: {word}")
    return name, value if equals else None


class _Words:
    """The words behind a command, sorted into flags and others."""

    def __init__(self, schema: Schema, words: Sequence[str]) -> None:
        self.flags: dict[str, Any] = {}
        self.others: list[str] = []
        self.wants_help = False
        self._by_flag = {setting.flag: setting for setting in schema}
        self._left = list(reversed(words))
        while self._left and not self.wants_help:
            self._take(self._left.pop())

    def _take(self, word: str) -> None:
        if word == "--":
            self.others += reversed(self._left)
            self._left.clear()
        elif not word.startswith("-") or word == "-":
            self.others.append(word)
        else:
            self._take_flag(word)

    def _take_flag(self, word: str) -> None:
        name, value = _split(word)
        setting = self._by_flag.get(name)
        if setting is not None:
            self._set(setting, value)
        elif word in HELP_FLAGS:
            self.wants_help = True
        else:
            raise UsageError(_undefined(name))

    def _set(self, setting: Setting, value: str | None) -> None:
        if value is None:
            if setting.kind.boolean:
                value = "true"
            elif not self._left:
                raise UsageError(f"Incorrect Usage\nflag needs an argument: -{setting.flag}")
            else:
                value = self._left.pop()
        if setting.kind.repeatable:
            self.flags.setdefault(setting.name, []).append(value)
        else:
            self.flags[setting.name] = value


def _typed(command: Command, flags: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return command.flags.read(flags)
    except SettingError as error:
        flag = command.flags[str(error.path[0])].flag if error.path else ""
        raise UsageError(
            f"-{flag}: {error.problem}" if flag else f"{command.name}: {error.problem}"
        ) from None


def _arranged(command: Command, words: Sequence[str]) -> dict[str, Any]:
    """Give the words that are no flags to the command's positionals, in order."""
    left = list(words)
    values: dict[str, Any] = {}
    for positional in command.positionals:
        if positional.required and not left:
            shown = positional.name.upper()
            raise UsageError(f"{command.name}: {shown} is missing: wanted {positional.help}")
        if positional.repeated:
            values[positional.name], left = tuple(left), []
        else:
            values[positional.name] = left.pop(0) if left else None
    if left:
        wanted = " ".join(positional.usage for positional in command.positionals) or "no arguments"
        raise UsageError(f"{command.name}: wanted {wanted}, got {left[0]!r} as well")
    return values
