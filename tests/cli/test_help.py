"""Help texts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from burrow.cli.arguments import Command, Positional, UsageError
from burrow.cli.help import WIDTH, command_help, help_for, overview
from burrow.settings import BOOLEAN, TEXT, Schema, Setting, list_of

HTTP = Command(
    "http",
    "start an HTTP tunnel",
    Schema(
        (
            Setting("authtoken", TEXT, "Token for this run only", default="s3cret", secret=True),
            Setting("region", TEXT, "Region of the relay", default="us"),
            Setting("inspect", BOOLEAN, "Record requests", default=True),
            Setting("config", list_of(TEXT), "Configuration file"),
            Setting(
                "a_flag_with_a_very_long_name_indeed", TEXT, "A meaning that is long, too: " + "word " * 30
            ),
        )
    ),
    (Positional("addr", "an address"),),
    "Starts a tunnel.",
    (("http 80", "a web server on port 80"), ("http -region=eu 8080", "by a relay in Europe")),
)
COMMANDS = (HTTP, Command("version", "print the version"))


class OverviewTests(SynchronousTestCase):
    """``burrow help``."""

    def test_it_has_the_blocks_in_order(self) -> None:
        """NAME, DESCRIPTION, EXAMPLES, VERSION and COMMANDS, in this order (contract 1.2)."""
        text = overview(COMMANDS, "1.2.3")
        titles = [line[:-1] for line in text.splitlines() if line and not line.startswith(" ")]
        self.assertEqual(titles, ["NAME", "DESCRIPTION", "EXAMPLES", "VERSION", "COMMANDS"])
        self.assertIn("\n   1.2.3\n", text)

    def test_one_command_a_line(self) -> None:
        """Each command is on a line of its own, indented, its name first."""
        self.assertIn(
            "\n   http     start an HTTP tunnel\n   version  print the version\n", overview(COMMANDS, "1")
        )


class CommandHelpTests(SynchronousTestCase):
    """``burrow help http``."""

    def test_it_has_the_blocks_in_order(self) -> None:
        """NAME, USAGE, DESCRIPTION, EXAMPLES and OPTIONS, in this order; an empty one is left out."""
        text = command_help(HTTP)
        titles = [line[:-1] for line in text.splitlines() if line and not line.startswith(" ")]
        self.assertEqual(titles, ["NAME", "USAGE", "DESCRIPTION", "EXAMPLES", "OPTIONS"])
        self.assertNotIn("OPTIONS", command_help(COMMANDS[1]))

    def test_usage_and_options(self) -> None:
        """The usage line, flags with their value's kind, defaults and what may be repeated are told."""
        text = command_help(HTTP)
        self.assertIn("   burrow http [options] ADDR\n", text)
        self.assertIn("-region VALUE                   Region of the relay (default us)", text)
        self.assertIn("-inspect                        Record requests (default true)", text)
        self.assertIn("Configuration file, may be given more than once", text)
        self.assertIn("   burrow http 80               # a web server on port 80\n", text)

    def test_secrets_are_not_shown(self) -> None:
        """A secret's default stays out of help."""
        self.assertNotIn("s3cret", command_help(HTTP))

    def test_lines_fit_the_width(self) -> None:
        """Long meanings are wrapped."""
        self.assertLessEqual(max(map(len, command_help(HTTP).splitlines())), WIDTH)


class HelpForTests(SynchronousTestCase):
    """The help that words name."""

    def test_words_name_a_command(self) -> None:
        """No words give the overview, a command's words its help, others an error."""
        self.assertEqual(help_for((), COMMANDS, "1"), overview(COMMANDS, "1"))
        self.assertEqual(help_for(("http",), COMMANDS, "1"), command_help(HTTP))
        self.assertRaises(UsageError, help_for, ("frob",), COMMANDS, "1")
