"""Finding tunnel protocols."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import burrow
from burrow.discovery import BUILT_IN, Broken, Discovered, discover
from burrow.interfaces.protocol import IEdge, IEdgeHost, IForwarderHost, ITunnelProtocol
from burrow.interfaces.upstream import IUpstream
from burrow.settings import TEXT, Schema, Setting


@implementer(ITunnelProtocol, IPlugin)
class EchoProtocol:
    """A plugin whose attributes a test may spoil."""

    def __init__(self, **spoilt: Any) -> None:
        self.name = "line-echo"
        self.summary = "echo lines"
        self.settings = Schema((Setting("greeting", TEXT, "What is said first"),))
        self.schemes: tuple[str, ...] = ()
        vars(self).update(spoilt)

    def edge(self, host: IEdgeHost) -> IEdge:
        """Never called here."""
        raise AssertionError

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """Never called here."""
        raise AssertionError


echo = EchoProtocol()
echo_again = EchoProtocol()

SOURCE = f"from {__name__} import EchoProtocol\n"


def installed(*points: str) -> Any:
    """Return a stand-in for the environment's entry points, each ``name = module:attribute``."""

    def select(group: str) -> list[EntryPoint]:
        pairs = (point.split(" = ") for point in points)
        return [EntryPoint(name, value, group) for name, value in pairs]

    return select


class BuiltInTests(SynchronousTestCase):
    """The protocols that come with burrow."""

    def test_they_are_found_without_metadata(self) -> None:
        """From a source tree that was never installed, http, tls and tcp are there."""
        found = discover(installed=installed())
        self.assertEqual((list(found.protocols)[:3], found.broken), (["http", "tls", "tcp"], []))

    def test_their_entry_points_are_no_clash(self) -> None:
        """Installed, they are found once."""
        found = discover(installed=installed(*(f"built-in = {value}" for value in BUILT_IN)))
        self.assertEqual(found.broken, [])
        self.assertEqual(found.origins["http"], "burrow.protocols.http:protocol")

    def test_a_broken_one_is_named_once(self) -> None:
        """Even if metadata name it, too."""
        found = discover(["no.such:protocol"], installed("such = no.such:protocol"))
        self.assertEqual([broken.where for broken in found.broken], ["no.such:protocol"])

    def test_finding_them_loads_neither_edge_nor_forwarder(self) -> None:
        """Listing the protocols imports no reactor and no half of any of them."""
        code = (
            "import sys; from burrow.discovery import discover; discover(); "
            "heavy = ('.edge', '.forwarder', 'internet.reactor', 'OpenSSL'); "
            "print([name for name in sys.modules if name.endswith(heavy)])"
        )
        root = Path(burrow.__file__).parent.parent
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")


class EntryPointTests(SynchronousTestCase):
    """Protocols from somebody's own distribution (row M5)."""

    def found(self, *points: str) -> Discovered:
        """Return what is found with those entry points."""
        return discover(installed=installed(*points))

    def test_one_is_found_beside_the_built_in_ones(self) -> None:
        """It is there under its own name, with where it comes from."""
        found = self.found(f"echo = {__name__}:echo")
        self.assertIs(found.protocols["line-echo"], echo)
        self.assertEqual(found.origins["line-echo"], f"{__name__}:echo (entry point echo)")

    def test_a_broken_one_is_named_and_the_others_stay(self) -> None:
        """A module that is missing, or an object that is no protocol, is told with its error."""
        found = self.found("a = no.such.module:protocol", f"b = {__name__}:SOURCE", f"c = {__name__}:echo")
        self.assertEqual(list(found.protocols), ["http", "tls", "tcp", "line-echo"])
        self.assertEqual(
            found.broken[0],
            Broken("no.such.module:protocol (entry point a)", "ModuleNotFoundError: No module named 'no'"),
        )
        self.assertIn("wanted an object that provides ITunnelProtocol, got 'from ", found.broken[1].error)

    def test_a_name_that_is_taken_is_refused(self) -> None:
        """The first one keeps the name; the other is told who has it."""
        found = self.found(f"a = {__name__}:echo", f"b = {__name__}:echo_again")
        self.assertIs(found.protocols["line-echo"], echo)
        self.assertEqual(
            found.broken[0].error, f"the name 'line-echo' belongs to {__name__}:echo (entry point a)"
        )


class ContractTests(SynchronousTestCase):
    """What is held against `ITunnelProtocol`."""

    def refused(self, candidate: object) -> str:
        """Return why a candidate is not taken."""
        found = Discovered()
        found.take("here", lambda: [candidate])
        self.assertEqual(found.protocols, {})
        return found.broken[0].error

    def test_bad_names_are_refused(self) -> None:
        """A name is lower-case words with hyphens, and no word that means something else."""
        for name in ("", "Echo", "a_b", "-a", "a--b", "a b", "x" * 33, 7, None):
            self.assertIn(
                f"name: wanted lower-case words joined by hyphens, at most 32 characters, got {name!r}",
                self.refused(EchoProtocol(name=name)),
            )
        for name in ("start", "https", "session", "help"):
            self.assertEqual(
                self.refused(EchoProtocol(name=name)), f"name: {name!r} means something else already"
            )

    def test_bad_settings_are_refused(self) -> None:
        """Settings are a schema of new names, each once."""
        for settings, message in (
            ({}, "settings: wanted a Schema, got {}"),
            (
                Schema((Setting("addr", TEXT, "x"),)),
                "setting 'addr': every tunnel or command has one of that name",
            ),
            (
                Schema((Setting("a-b", TEXT, "x"),)),
                "setting 'a-b': wanted lower-case words joined by underscores",
            ),
            (
                Schema((Setting("a", TEXT, "x"), Setting("a", TEXT, "y"))),
                "setting 'a': wanted it once, got it twice",
            ),
        ):
            self.assertEqual(self.refused(EchoProtocol(settings=settings)), message)

    def test_other_attributes_are_checked(self) -> None:
        """So are summary and schemes."""
        self.assertEqual(self.refused(EchoProtocol(summary=None)), "summary: wanted text, got None")
        self.assertEqual(
            self.refused(EchoProtocol(schemes="http")), "schemes: wanted a tuple of texts, got 'http'"
        )

    def test_missing_parts_are_named(self) -> None:
        """An object without one of the halves is told which one it lacks."""

        @implementer(ITunnelProtocol)
        class Half:
            name = "half"

        self.assertIn("forwarder", self.refused(Half()))
        self.assertIn("EchoProtocol", self.refused(EchoProtocol))

    def test_an_attribute_that_raises_is_an_error_like_any_other(self) -> None:
        """Even one that ends the process."""

        class Spiteful(EchoProtocol):
            @property
            def name(self) -> str:
                raise SystemExit(3)

            @name.setter
            def name(self, value: str) -> None:
                pass

        self.assertEqual(self.refused(Spiteful()), "SystemExit: 3")


class DropInTests(SynchronousTestCase):
    """Modules in a directory ``burrow/plugins`` somewhere on the path."""

    def found(self, **modules: str) -> list[str]:
        """Return names and errors that a process finds with these modules in a directory of its own."""
        root = Path(self.mktemp())
        plugins = root / "burrow" / "plugins"
        plugins.mkdir(parents=True)
        for name, source in modules.items():
            (plugins / f"{name}.py").write_text(source)
        code = (
            "from burrow.discovery import discover; found = discover()\n"
            "for name, where in found.origins.items(): print(name, where)\n"
            "for broken in found.broken: print('broken', broken.where, broken.error)"
        )
        here = Path(burrow.__file__).parent.parent
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=root,
            env={"PYTHONPATH": f"{root.absolute()}:{here}", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.assertEqual(sorted(path.suffix for path in plugins.iterdir()), [".py"] * len(modules))
        return done.stdout.splitlines()[3:]

    def test_a_module_is_found(self) -> None:
        """Any object that provides the interface is taken, and no cache file is written."""
        self.assertEqual(
            self.found(mine=SOURCE + "anything = EchoProtocol()"), ["line-echo burrow.plugins.mine"]
        )

    def test_broken_ones_are_named_and_the_others_stay(self) -> None:
        """Errors at import, in the syntax, and even an exit, hurt no other plugin."""
        lines = self.found(
            a="def (",
            b="raise SystemExit('bye')",
            c="import no_such_module",
            d="x = 1",
            e="protocol = 'tcp'",
            f=SOURCE + "protocol = EchoProtocol(name='tcp')",
            g="raise ValueError('two\\nlines')",
            h=SOURCE + "from burrow.protocols.tcp import protocol\nmine = EchoProtocol()",
            _z="raise ValueError",
        )
        self.assertEqual(lines[0], "line-echo burrow.plugins.h")
        errors = {line.split()[1][-1]: line.split(" ", 2)[2] for line in lines[1:]}
        self.assertEqual(sorted(errors), list("abcdefg"))
        self.assertIn("SyntaxError: ", errors["a"])
        self.assertIn("(a.py, line 1)", errors["a"])
        self.assertEqual(errors["b"], "SystemExit: bye")
        self.assertEqual(errors["c"], "ModuleNotFoundError: No module named 'no_such_module'")
        self.assertEqual(errors["d"], "holds no object that provides ITunnelProtocol")
        self.assertIn("ITunnelProtocol", errors["e"])
        self.assertEqual(errors["f"], "the name 'tcp' belongs to burrow.protocols.tcp:protocol")
        self.assertEqual(errors["g"], "ValueError: two lines")
