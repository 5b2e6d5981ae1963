"""The entry point of ``burrow``: what goes to which stream, and the exit status."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from burrow import __version__
from burrow.cli import main
from burrow.client.config import load_client_config
from burrow.discovery import Broken, discover
from burrow.errors import ConfigError
from burrow.tokens import JoinToken, hash_token, parse_token

KEY = "sha256:" + "0123456789abcdef" * 4


class MainCase(SynchronousTestCase):
    """A home of its own, and both streams caught."""

    def setUp(self) -> None:
        """Catch them."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.state = Path(self.mktemp()).absolute()
        self.patch(os, "environ", {"XDG_STATE_HOME": str(self.state)})

    def run_main(self, *words: str) -> int:
        """Run the program; return its exit status."""
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        code = self.assertRaises(SystemExit, main.main, words).code
        assert isinstance(code, int)
        return code

    def refused(self, *words: str) -> list[str]:
        """Run it, expect status 1 and nothing on standard output; return the messages."""
        self.assertEqual((self.run_main(*words), self.out.getvalue()), (1, ""))
        lines = self.err.getvalue().splitlines()
        for line in lines:
            self.assertRegex(line, r"\AERROR:(  \S.*)?\Z")  # contract 1.5
        self.assertEqual((lines[0], lines[-1]), ("ERROR:", "ERROR:"))
        return [line.removeprefix("ERROR:  ") for line in lines[1:-1]]

    def printed(self, *words: str) -> str:
        """Run it, expect status 0 and nothing on standard error; return its output."""
        self.assertEqual((self.run_main(*words), self.err.getvalue()), (0, ""))
        return self.out.getvalue()


class SimpleTests(MainCase):
    """Commands that print something and end."""

    def test_version(self) -> None:
        """All ways to ask for the version print the same line (contract 1.2)."""
        for words in (["version"], ["-v"], ["--version"], ["-version"]):
            self.assertEqual(self.printed(*words), f"burrow version {__version__}\n")

    def test_help(self) -> None:
        """No words at all, help and its flags print the overview."""
        overview = self.printed()
        for block in ("NAME:", "DESCRIPTION:", "EXAMPLES:", "VERSION:", "COMMANDS:"):
            self.assertIn(block, overview)
        for words in (["help"], ["-h"], ["--help"]):
            self.assertEqual(self.printed(*words), overview)

    def test_help_of_a_command(self) -> None:
        """Both ways to ask for it print the same."""
        text = self.printed("help", "http")
        self.assertEqual(self.printed("http", "--help"), text)
        self.assertIn("burrow http [options] ADDR", text)

    def test_plugins(self) -> None:
        """Each protocol is listed with its summary and where it comes from."""
        lines = self.printed("plugins").splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["http", "tls", "tcp"])
        self.assertRegex(lines[0], r"share a web server .* burrow\.protocols\.http:protocol\Z")

    def test_broken_plugins(self) -> None:
        """A plugin that cannot be used is listed with its error."""
        found = discover()
        found.broken.append(Broken("burrow.plugins.odd", "ImportError: no module named x"))
        main.plugins(found)
        self.assertIn("cannot be used: burrow.plugins.odd: ImportError: no module", self.out.getvalue())

    def test_authority(self) -> None:
        """`burrow ca` prints a path that is there, the same each time, in the user's state directory."""
        path = self.printed("ca")
        self.assertEqual(self.printed("ca"), path)
        self.assertEqual(Path(path.strip()), self.state / "burrow" / "ca.pem")
        self.assertIn("BEGIN CERTIFICATE", Path(path.strip()).read_text())

    def test_authority_that_cannot_be_made(self) -> None:
        """A state directory that cannot be used is named."""
        self.state.write_text("a file")
        self.assertIn(str(self.state), self.refused("ca")[0])


class TokenTests(MainCase):
    """``burrow relay token new``."""

    def fields(self, *words: str) -> dict[str, str]:
        """Return the labelled lines that it prints."""
        pairs = (line.partition(":") for line in self.printed("relay", "token", "new", *words).splitlines())
        return {label: text.strip() for label, _, text in pairs}

    def test_a_token_and_its_hash(self) -> None:
        """The hash is that of the token, which is new each time."""
        first, second = self.fields(), self.fields()
        self.assertEqual(hash_token(first["token"]), first["hash"])
        self.assertNotEqual(first["token"], second["token"])

    def test_a_join_token(self) -> None:
        """With the relay's address and key it is all that a client needs."""
        fields = self.fields("-relay", "relay.test:443", "-fingerprint", KEY)
        token = parse_token(fields["token"])
        assert isinstance(token, JoinToken)
        self.assertEqual((token.address, token.fingerprint), ("relay.test:443", KEY))
        self.assertEqual(hash_token(token.secret), fields["hash"])

    def test_half_of_a_join_token(self) -> None:
        """One of the two alone is refused, with what is missing."""
        for words in (["-relay", "relay.test"], ["-fingerprint", KEY]):
            message = self.refused("relay", "token", "new", *words)[0]
            self.assertIn("-relay", message)
            self.assertIn("-fingerprint", message)

    def test_a_wrong_fingerprint(self) -> None:
        """It is refused with what was wanted."""
        self.assertIn(
            "sha256", self.refused("relay", "token", "new", "-relay", "r.test:1", "-fingerprint", "x")[0]
        )


class MistakeTests(MainCase):
    """What a user reads when the command line is wrong."""

    def test_messages(self) -> None:
        """One message, that names what was found or what is missing."""
        for line, expected in (
            ("http", "ADDR is missing"),
            ("http 80 90", "got '90' as well"),
            ("http zzz", "Tunnel 'command_line' specifies invalid address 'zzz'"),
            ("http -region=xx 80", "-region: wanted one of us"),
            ("relay", "wanted one of: relay token new"),
            ("start", "start wants names of tunnels, or --all"),
            ("start --all", "start --all wants at least one tunnel"),
        ):
            self.assertIn(expected, self.refused(*line.split())[0])

    def test_unknown_flag(self) -> None:
        """It is named under `Incorrect Usage` (contract 1.6)."""
        self.assertEqual(
            self.refused("http", "-frob", "80"),
            ["Incorrect Usage", "flag provided but not defined: -frob"],
        )

    def test_unknown_command(self) -> None:
        """The overview goes to standard output, the message to standard error (contract 1.6)."""
        self.assertEqual(self.run_main("frob"), 1)
        self.assertIn("COMMANDS:", self.out.getvalue())
        self.assertIn("ERROR:  Unrecognized command: frob\n", self.err.getvalue())

    def test_unknown_tunnel(self) -> None:
        """Name, names that there are and files are told (contract 1.6)."""
        path = Path(self.mktemp()).absolute()
        path.write_text("tunnels:\n  a: {proto: tcp, addr: 22}\n  b: {proto: tcp, addr: 23}\n")
        self.assertEqual(
            self.refused("start", "-config", str(path), "x"),
            [
                "Tunnel 'x' is not defined in the config files.",
                "Tunnels available: a b",
                f"Config files read: [{path}]",
            ],
        )

    def test_bad_file(self) -> None:
        """A mistake in a file is named with its line."""
        path = Path(self.mktemp()).absolute()
        path.write_text("tunnels:\n  a: {proto: gopher, addr: 22}\n")
        self.assertIn(f"{path}:2", self.refused("start", "--all", "-config", str(path))[0])


class ChoosingTests(MainCase):
    """Which tunnels ``burrow start`` starts."""

    def chosen(self, **values: Any) -> list[str]:
        """Return the names of the tunnels that are started."""
        path = Path(self.mktemp())
        path.write_text("tunnels:\n  a: {proto: tcp, addr: 22}\n  b: {proto: tcp, addr: 23}\n")
        config = load_client_config([path], discover().protocols, {})
        given = {"all": False, "none": False, "name": (), **values}
        return [definition.name for definition in main._started(given, config)]

    def test_choices(self) -> None:
        """Those that are named, all, or none."""
        self.assertEqual(self.chosen(name=("b", "a", "b")), ["b", "a"])
        self.assertEqual(self.chosen(all=True), ["a", "b"])
        self.assertEqual(self.chosen(none=True), [])

    def test_all_of_nothing(self) -> None:
        """--all without any tunnel says so, and names --none."""
        config: Any = SimpleNamespace(tunnels={}, files=())
        values = {"all": True, "none": False, "name": ()}
        self.assertIn("--none", str(self.assertRaises(ConfigError, main._started, values, config)))


class ImportTests(SynchronousTestCase):
    """What is imported before it is needed."""

    def imported(self, *words: str) -> set[str]:
        """Return the modules that a fresh process has imported at the end of a command."""
        program = (
            "import sys, atexit; from burrow.cli.main import main;"
            "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            capture_output=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        return set(done.stderr.decode().split())

    def test_version_is_quick(self) -> None:
        """Printing the version needs neither a reactor nor TLS nor any protocol."""
        modules = self.imported("version")
        for unwanted in ("twisted.internet.reactor", "OpenSSL", "yaml", "burrow.protocols.http.edge"):
            self.assertNotIn(unwanted, modules)

    def test_help_needs_no_reactor(self) -> None:
        """Help and the list of plugins need no reactor and no TLS."""
        for words in (["help"], ["plugins"], ["http", "-h"]):
            modules = self.imported(*words)
            for unwanted in ("twisted.internet.reactor", "OpenSSL"):
                self.assertNotIn(unwanted, modules)
