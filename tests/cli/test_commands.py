"""The commands of ``burrow``."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from burrow.cli.arguments import parse
from burrow.cli.commands import commands, sentence
from burrow.cli.help import command_help, overview
from burrow.client.config import FLAGS
from burrow.discovery import discover
from burrow.errors import ConfigError

PROTOCOLS = discover().protocols
COMMANDS = commands(PROTOCOLS, FLAGS)
NAMES = [command.name for command in COMMANDS]


class CommandsTests(SynchronousTestCase):
    """What there is."""

    def test_names(self) -> None:
        """Each protocol is a command, beside those that are always there."""
        for name in (*PROTOCOLS, "start", "demo", "ca", "plugins", "relay token new", "version", "help"):
            self.assertIn(name, NAMES)

    def test_flags(self) -> None:
        """A protocol's command has its own flags and those of all (contract 1.3)."""
        (http,) = [command for command in COMMANDS if command.name == "http"]
        flags = [setting.flag for setting in http.flags]
        for flag in ("subdomain", "hostname", "bind-tls", "auth", "region", "config", "authtoken"):
            self.assertIn(flag, flags)

    def test_examples_can_be_typed(self) -> None:
        """Every example in the help is a command line that is understood."""
        for command in COMMANDS:
            for line, _ in command.examples:
                self.assertEqual(parse(line.split(), COMMANDS).command.name, command.name)

    def test_texts_read_alike(self) -> None:
        """Help of flags and commands begins in lower case and has no full stop; descriptions have."""
        for command in COMMANDS:
            texts = [command.summary, *(setting.help for setting in command.flags)]
            texts += [what for _, what in command.examples]
            for text in texts:
                self.assertRegex(text, r"\A[a-z].*[^.]\Z")
            if command.description:
                self.assertRegex(command.description, r"\A[A-Z].*\.\Z")

    def test_help_fits_the_screen(self) -> None:
        """No line of any help but an example is wider than 100 columns, and none ends in blanks."""
        for text in [overview(COMMANDS, "burrow version 0"), *map(command_help, COMMANDS)]:
            for line in text.splitlines():
                self.assertTrue(len(line) <= 100 or "  # " in line, line)
                self.assertFalse(re.search(r"\s$", line), line)

    def test_sentence(self) -> None:
        """A summary becomes a sentence."""
        self.assertEqual(sentence("share a port"), "Share a port.")


class StartTests(SynchronousTestCase):
    """``burrow start``."""

    def test_one_of_three(self) -> None:
        """It takes names, or --all, or --none, and exactly one of these."""
        for line in ("start web", "start web db", "start --all", "start -none", "start -all=false web"):
            parse(line.split(), COMMANDS)
        for line in ("start", "start --all --none", "start --all web", "start web --none"):
            error = self.assertRaises(ConfigError, parse, line.split(), COMMANDS)
            self.assertIn("--all", str(error))
