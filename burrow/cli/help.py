"""Help texts: the overview of all commands, and the help of one (contract 1.2)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from burrow.cli.arguments import Command, find_command
from burrow.settings import Setting

WIDTH = 100  #: columns of a help text
WIDEST_TERM = 30  #: columns that names of flags and commands take at most beside their text

SUMMARY = "a service on a private machine, reachable from the internet"
DESCRIPTION = (
    "burrow opens a tunnel from a public name or port to a service on this machine, or on one that this"
    " machine can reach. With no relay configured it runs one of its own, under names that end in .localhost."
)


def help_for(words: Sequence[str], commands: Iterable[Command], version: str, program: str = "burrow") -> str:
    """Return the help of the command that ``words`` name, or the overview for none.

    Raises:
        UsageError: There is no such command.
    """
    known = tuple(commands)
    if not words:
        return overview(known, version, program)
    return command_help(find_command(words, {command.name: command for command in known}), program)


def overview(commands: Iterable[Command], version: str, program: str = "burrow") -> str:
    """Return the help of the whole program."""
    known = tuple(commands)
    firsts = [(command.examples[0], command) for command in known if command.examples]
    return _blocks(
        ("NAME", f"{program} - {SUMMARY}"),
        ("DESCRIPTION", _wrapped(DESCRIPTION)),
        ("EXAMPLES", _examples([example for example, _command in firsts], program)),
        ("VERSION", version),
        ("COMMANDS", _columns([(command.name, command.summary) for command in known])),
    )


def command_help(command: Command, program: str = "burrow") -> str:
    """Return the help of one command."""
    return _blocks(
        ("NAME", f"{command.name} - {command.summary}"),
        ("USAGE", usage(command, program)),
        ("DESCRIPTION", _wrapped(command.description)),
        ("EXAMPLES", _examples(command.examples, program)),
        ("OPTIONS", _columns([(_flag(setting), _meaning(setting)) for setting in command.flags])),
    )


def usage(command: Command, program: str = "burrow") -> str:
    """Return how a command is called, on one line."""
    options = ["[options]"] if tuple(command.flags) else []
    return " ".join([program, command.name, *options, *(each.usage for each in command.positionals)])


def _flag(setting: Setting) -> str:
    return f"-{setting.flag}" + ("" if setting.kind.boolean else f" {setting.kind.metavar}")


def _meaning(setting: Setting) -> str:
    default = setting.default
    if setting.secret or default in (None, "", ()) or default is False:
        shown = ""
    else:
        shown = f" (default {str(default).lower() if isinstance(default, bool) else default})"
    return setting.help + shown + (", may be given more than once" if setting.kind.repeatable else "")


def _blocks(*blocks: tuple[str, str]) -> str:
    filled = [(title, text) for title, text in blocks if text]
    return "\n".join(f"{title}:\n{textwrap.indent(text, '   ')}\n" for title, text in filled)


def _wrapped(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH - 3, break_on_hyphens=False))


def _examples(examples: Sequence[tuple[str, str]], program: str) -> str:
    wide = max((len(line) for line, _what in examples), default=0)
    return "\n".join(f"{program} {line:<{wide}}  # {what}" for line, what in examples)


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    """Lay terms and their texts out in two columns; a long term has a line of its own."""
    wide = min(WIDEST_TERM, max((len(term) for term, _text in rows), default=0))
    lines = []
    for term, text in rows:
        first, *rest = textwrap.wrap(text, WIDTH - 5 - wide, break_on_hyphens=False) or [""]
        head = (
            [f"{term:<{wide}}  {first}".rstrip()] if len(term) <= wide else [term, " " * (wide + 2) + first]
        )
        lines += [*head, *(" " * (wide + 2) + line for line in rest)]
    return "\n".join(lines)
