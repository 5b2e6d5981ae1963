"""Both daemons on a reactor that is not burrow's."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import burrow
import twisted
from tests.end_to_end.deployment import ESTABLISHED, LISTENING, DeploymentCase
from tests.end_to_end.processes import PROGRAMS, Program
from tests.end_to_end.services import WebServer

PLUGINS = Path(burrow.__file__).parent.parent / "twisted" / "plugins"
LACKS = "is not burrow's reactor"


class OtherReactorTests(DeploymentCase):
    """`twistd --reactor NAME` with one of Twisted's own."""

    def daemon(self, reactor: str, *arguments: str) -> Program:
        """Start a daemon on a reactor."""
        return self.start(PROGRAMS / "twistd", "-n", "--pidfile=", f"--reactor={reactor}", *arguments)

    def passes(self, reactor: str) -> None:
        """Both daemons run on the reactor, a visitor is served, and each says once what it lacks."""
        web = WebServer()
        self.addCleanup(web.close)
        relay = self.daemon(
            reactor, "burrow-relay", "-c", str(self.write_yaml("relay.yml", self.relay_settings))
        )
        self.port = int(relay.wait_for(LISTENING).group(2))
        settings = self.client_settings({"one": {"proto": "http", "addr": web.port}})
        client = self.daemon(reactor, "burrow-client", "-c", str(self.write_yaml("client.yml", settings)))
        client.wait_for(ESTABLISHED)
        public = self.url(client, "one", "https")
        for _ in range(3):
            self.assertIn(b"hello", self.curl(public + "/"))
        for program in (client, relay):
            program.stop()
            self.assertEqual(sum(LACKS in line for line in program.lines), 1, program.output)
            self.assertNotIn("Traceback", program.output)
        relay.wait_for("ended: .*closed")

    def test_asyncio(self) -> None:
        """On asyncio's."""
        self.passes("asyncio")

    def test_poll(self) -> None:
        """On poll."""
        self.passes("poll")

    def test_its_own_lacks_nothing(self) -> None:
        """On burrow's own nothing is lacking, and nothing is said."""
        relay = self.daemon(
            "burrow", "burrow-relay", "-c", str(self.write_yaml("relay.yml", self.relay_settings))
        )
        relay.wait_for(LISTENING)
        self.assertNotIn(LACKS, relay.output)


class PluginCacheTests(DeploymentCase):
    """Twisted's cache of plugins, which hides what a plugin file imports."""

    def test_the_first_start_without_a_cache(self) -> None:
        """Without a cache, as after an upgrade, the first start on another reactor works already."""
        folder, env = self.without_cache()
        path = self.write_yaml("relay.yml", self.relay_settings)
        for first in (True, False):
            self.assertEqual((folder / "dropin.cache").exists(), not first)
            relay = self.start(
                PROGRAMS / "twistd", "-n", "--pidfile=", "--reactor=asyncio", "burrow-relay", "-c", path,
                env=env,
            )  # fmt: skip
            relay.wait_for(LISTENING)
            self.assertIn("AsyncioSelectorReactor", relay.output)
            relay.stop()

    def without_cache(self) -> tuple[Path, dict[str, str]]:
        """Return a folder of plugins without a cache, and the environment in which it counts."""
        if Path(twisted.__file__).parent / "plugins" == PLUGINS:  # installed beside Twisted's own
            (PLUGINS / "dropin.cache").unlink(missing_ok=True)
            return PLUGINS, {}
        folder = self.directory / "fresh" / "twisted" / "plugins"
        shutil.copytree(PLUGINS, folder, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
        return folder, {"PYTHONPATH": str(self.directory / "fresh")}

    def test_plugin_files_import_nothing_but_the_maker(self) -> None:
        """A plugin file holds names only; no reactor, no TLS and nothing of burrow is imported by it."""
        for file in PLUGINS.glob("burrow_*.py"):
            program = (
                "import runpy, sys; before = set(sys.modules); runpy.run_path(sys.argv[1]);"
                "print(*sorted(name for name in set(sys.modules) - before))"
            )
            imported = self.succeed(sys.executable, "-c", program, file).decode().split()
            self.assertNotIn("twisted.internet.reactor", imported)
            self.assertEqual(
                [name for name in imported if name.partition(".")[0] in ("burrow", "OpenSSL")], []
            )
