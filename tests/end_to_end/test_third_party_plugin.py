"""A tunnel protocol from somebody's own directory is used like a built-in one (row M5)."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.end_to_end.deployment import port_of
from tests.end_to_end.processes import PROGRAMS, ProcessCase

PLUGINS = Path(__file__).with_name("plugin_dir")


class LineEchoTests(ProcessCase):
    """The protocol ``line-echo`` of plugin_dir/burrow/plugins."""

    def setUp(self) -> None:
        """Put the directory on the path."""
        super().setUp()
        self.env["PYTHONPATH"] = str(PLUGINS)
        self.env["PYTHONDONTWRITEBYTECODE"] = "1"

    def test_listed(self) -> None:
        """`burrow plugins` lists it beside the built-in ones, with what it does."""
        listed = self.succeed(PROGRAMS / "burrow", "plugins").decode()
        for name in ("http", "tls", "tcp", "line-echo"):
            self.assertRegex(listed, rf"(?m)^\s*{name}\b")
        self.assertIn("sends every line back", listed)

    def test_broken_neighbour_is_named_and_skipped(self) -> None:
        """A plugin that cannot be imported is named with its error; the others work."""
        done = self.run_to_end(PROGRAMS / "burrow", "plugins")
        self.assertEqual(done.returncode, 0, done)
        said = (done.stdout + done.stderr).decode()
        self.assertIn("broken_neighbour", said)
        self.assertIn("broken on purpose", said)
        self.assertNotIn("Traceback", said)

    def test_used_end_to_end(self) -> None:
        """`burrow line-echo` with its own flag serves visitors through both halves."""
        program = self.burrow("line-echo", "9999", "-greeting", "hi")
        url = program.wait_for(r"Forwarding\s+(line-echo://\S+) -> ").group(1)
        with socket.create_connection(("127.0.0.1", port_of(url)), timeout=20) as visitor:
            lines = visitor.makefile("rwb")
            for word in (b"one", b"two"):
                lines.write(word + b"\r\n")
                lines.flush()
                self.assertEqual(lines.readline(), b"hi " + word + b"\r\n")

    def test_its_setting_is_checked(self) -> None:
        """A flag that it does not declare is refused like any other."""
        done = self.run_to_end(PROGRAMS / "burrow", "line-echo", "9999", "-greting", "hi", patience=20)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"greting", done.stderr)

    def test_nothing_is_written_beside_it(self) -> None:
        """Finding plugins leaves no cache file in their directory."""
        self.succeed(PROGRAMS / "burrow", "plugins")
        names = {path.name for path in (PLUGINS / "burrow" / "plugins").iterdir()}
        self.assertEqual(names - {"__pycache__"}, {"line_echo.py", "broken_neighbour.py"})
