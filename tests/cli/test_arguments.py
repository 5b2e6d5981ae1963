"""The command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import burrow
from burrow.cli.arguments import Command, Invocation, Positional, UsageError, error_text, parse
from burrow.errors import ConfigError
from burrow.settings import BOOLEAN, TEXT, Schema, Setting, choice, integer, list_of

FLAGS = Schema(
    (
        Setting("config", list_of(TEXT), "Files"),
        Setting("log", TEXT, "Log", default="false"),
        Setting("host_header", TEXT, "Host"),
        Setting("bind_tls", choice("true", "false", "both"), "Sides", default="both"),
        Setting("inspect", BOOLEAN, "Record", default=True),
        Setting("size", integer(1, 9), "Size"),
    )
)


def together(values: Mapping[str, Any]) -> None:
    """Refuse names beside ``-all``."""
    if values["all"] and values["names"]:
        raise ConfigError("names or -all, not both")


HTTP = Command("http", "An HTTP tunnel", FLAGS, (Positional("addr", "an address such as 8080"),))
START = Command(
    "start",
    "Tunnels of the file",
    Schema((Setting("all", BOOLEAN, "All"),)),
    (Positional("names", "names", required=False, repeated=True),),
    check=together,
)
TOKEN = Command("relay token new", "A token", Schema((Setting("relay", TEXT, "Where", required=True),)))
HELP = Command(
    "help", "Help", positionals=(Positional("command", "a command", required=False, repeated=True),)
)
COMMANDS = (HTTP, START, TOKEN, HELP, Command("version", "Version"))


class ArgumentsCase(SynchronousTestCase):
    """What the cases below share."""

    def parsed(self, line: str) -> Invocation:
        """Return what a line of words without blanks inside means."""
        return parse(line.split(), COMMANDS)

    def refused(self, line: str) -> str:
        """Return the message with which a line is refused."""
        return str(self.assertRaises(UsageError, self.parsed, line))


class FlagTests(ArgumentsCase):
    """Flags (contract 1.1)."""

    def test_one_or_two_dashes_with_blank_or_equals(self) -> None:
        """All four spellings of a flag with a value mean the same."""
        for spelling in ("-log=stdout", "--log=stdout", "-log stdout", "--log stdout"):
            for line in (f"http 80 {spelling}", f"http {spelling} 80"):
                command, values, given_flags = self.parsed(line)
                self.assertEqual((command, values["addr"], values["log"]), (HTTP, "80", "stdout"))
                self.assertEqual(given_flags, {"log"})

    def test_hyphens_become_underscores(self) -> None:
        """A flag is the setting's name with hyphens, and only that."""
        self.assertEqual(self.parsed("http 80 -host-header=x").values["host_header"], "x")
        self.assertIn("flag provided but not defined: -host_header", self.refused("http 80 -host_header=x"))

    def test_a_boolean_takes_its_value_after_equals_only(self) -> None:
        """A word behind a boolean flag is an argument."""
        self.assertEqual(self.parsed("http -inspect 80").values["addr"], "80")
        self.assertIs(self.parsed("http -inspect=false 80").values["inspect"], False)
        self.assertIs(self.parsed("http --inspect 80").values["inspect"], True)
        self.assertIn("got 'false' as well", self.refused("http 80 -inspect false"))
        self.assertEqual(
            self.refused("http 80 -inspect=maybe"), "-inspect: wanted true or false, got 'maybe'"
        )

    def test_words_that_look_like_booleans_are_words(self) -> None:
        """``-bind-tls`` is a choice: its value may be the next word."""
        self.assertEqual(self.parsed("http 80 -bind-tls true").values["bind_tls"], "true")
        self.assertIn("wanted one of true, false, both, got 'no'", self.refused("http 80 -bind-tls=no"))

    def test_the_last_one_counts(self) -> None:
        """A flag given twice has its last value."""
        self.assertEqual(self.parsed("http 80 -log=a -log=b").values["log"], "b")

    def test_repeatable_flags_add_up(self) -> None:
        """``-config`` may be given more than once."""
        self.assertEqual(self.parsed("http -config a --config=b 80").values["config"], ("a", "b"))

    def test_defaults_stand_in_for_what_is_not_given(self) -> None:
        """Values not on the command line are the schema's defaults, and are told apart."""
        _command, values, given_flags = self.parsed("http 80")
        self.assertEqual((values["log"], values["bind_tls"], values["config"]), ("false", "both", None))
        self.assertEqual(given_flags, frozenset())

    def test_values_keep_what_they_hold(self) -> None:
        """A value may be empty, hold ``=`` or begin with a dash."""
        self.assertEqual(self.parsed("http 80 -log=").values["log"], "")
        self.assertEqual(self.parsed("http 80 -log=a=b").values["log"], "a=b")
        self.assertEqual(self.parsed("http 80 -log -x").values["log"], "-x")

    def test_two_dashes_end_the_flags(self) -> None:
        """Behind ``--`` every word is an argument."""
        self.assertEqual(self.parsed("start -- -all --").values, {"all": None, "names": ("-all", "--")})

    def test_unknown_flags_are_named(self) -> None:
        """An unknown flag, or a part of a known one's name, is refused (contract 1.6)."""
        for line in ("http 80 -frob", "http 80 --frob=1", "-frob http 80"):
            self.assertEqual(self.refused(line), "Incorrect Usage\nflag provided but not defined: -frob")
        self.assertIn("not defined: -conf", self.refused("http 80 -conf=x"))
        self.assertIn("bad flag syntax: ---log", self.refused("http 80 ---log=x"))
        self.assertIn("bad flag syntax: -=x", self.refused("http 80 -=x"))

    def test_a_flag_without_its_value_is_refused(self) -> None:
        """A flag at the end that needs a value is named."""
        self.assertEqual(self.refused("http 80 -log"), "Incorrect Usage\nflag needs an argument: -log")

    def test_values_that_do_not_fit_name_the_flag(self) -> None:
        """The message names the flag, what was found and what was wanted."""
        self.assertEqual(self.refused("http 80 -size=x"), "-size: wanted a whole number from 1 to 9, got 'x'")
        self.assertEqual(self.refused("relay token new"), "relay token new: relay is missing: wanted text")


class CommandTests(ArgumentsCase):
    """Commands and their arguments."""

    def test_a_missing_argument_is_told(self) -> None:
        """``burrow http`` without an address says what it wants."""
        self.assertEqual(self.refused("http"), "http: ADDR is missing: wanted an address such as 8080")

    def test_too_many_arguments_are_told(self) -> None:
        """A second address is refused."""
        self.assertEqual(self.refused("http 80 81"), "http: wanted ADDR, got '81' as well")
        self.assertIn("wanted no arguments, got 'x'", self.refused("version x"))

    def test_repeated_arguments_add_up(self) -> None:
        """``start`` takes any number of names, around its flags."""
        self.assertEqual(self.parsed("start a b").values["names"], ("a", "b"))
        self.assertEqual(self.parsed("start").values["names"], ())
        self.assertEqual(
            str(self.assertRaises(ConfigError, self.parsed, "start a -all")), "names or -all, not both"
        )

    def test_commands_of_several_words(self) -> None:
        """``relay token new`` is one command; a part of it tells the rest."""
        self.assertIs(self.parsed("relay token new -relay=x").command, TOKEN)
        self.assertEqual(self.refused("relay token"), "relay: wanted one of: relay token new")

    def test_an_unknown_command_is_told_after_the_overview(self) -> None:
        """The message is the one of contract 1.6."""
        error = self.assertRaises(UsageError, self.parsed, "frob -x")
        self.assertEqual((str(error), error.overview), ("Unrecognized command: frob", True))

    def test_help_and_version_flags(self) -> None:
        """No words, ``--help``, ``-h`` and ``--version`` lead to the commands of those names."""
        for line in ("", "--help", "-h", "-help", "help"):
            self.assertEqual(self.parsed(line)[:2], (HELP, {"command": ()}))
        for line in ("http --help", "http 80 -h -frob", "http -log x -help"):
            self.assertEqual(self.parsed(line)[:2], (HELP, {"command": ("http",)}))
        self.assertEqual(self.parsed("help relay token new").values, {"command": ("relay", "token", "new")})
        for line in ("--version", "-v", "version"):
            self.assertEqual(self.parsed(line).command.name, "version")

    @given(
        st.lists(
            st.sampled_from(
                ["http", "start", "-log", "--", "-", "-inspect=", "80", "--size=3", "-h", "é", ""]
            )
        )
    )
    def test_arbitrary_words_give_a_command_or_a_clear_error(self, words: list[str]) -> None:
        """Nothing but `ConfigError` comes out."""
        try:
            self.assertIn(parse(words, COMMANDS).command, COMMANDS)
        except ConfigError as error:
            self.assertTrue(str(error))


class ErrorTextTests(SynchronousTestCase):
    """What goes to stderr (contract 1.5)."""

    def test_every_line_begins_with_error_and_two_blanks(self) -> None:
        """Each line of the message is marked, with an empty one before and after."""
        self.assertEqual(error_text(UsageError("one\ntwo")), "ERROR:\nERROR:  one\nERROR:  two\nERROR:\n")


class ImportTests(SynchronousTestCase):
    """The module is quick to import."""

    def test_neither_twisted_nor_openssl_is_imported(self) -> None:
        """Reading a command line needs neither reactor nor cryptography."""
        heavy = ("twisted", "OpenSSL", "yaml")
        code = f"import sys, burrow.cli.help; print([m for m in sys.modules if m.startswith({heavy})])"
        root = Path(burrow.__file__).parent.parent
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")
