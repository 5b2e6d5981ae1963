"""``twistd burrow-client``: its options, and how it ends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.client.service import Client
from burrow.client.tap import Guard, Options, makeService
from burrow.discovery import Broken
from burrow.errors import SessionRefused, TunnelRefused

WHOLE = """
server_addr: 192.0.2.7
authtoken: some-token-0123456789012345
tunnels:
  web: {proto: http, addr: 8080}
"""


class OptionsCase(SynchronousTestCase):
    """What the cases below share."""

    def options(self, text: str) -> Options:
        """Read options whose file holds ``text``."""
        self.path = Path(self.mktemp())
        self.path.write_text(text)
        options = Options()
        options.parseOptions(["-c", str(self.path)])
        return options


class OptionsTests(OptionsCase):
    """The command line."""

    def test_file(self) -> None:
        """The file that is named is read."""
        config = self.options(WHOLE).client
        self.assertEqual((str(config.server_addr), list(config.tunnels)), ("192.0.2.7:443", ["web"]))

    def test_mistakes_end_it_in_one_line(self) -> None:
        """A wrong file ends the program with one line that names it."""
        for text in ("tunnels: 7\n", "server_adr: x\n", "a: [\n", "tunnels: {}\n"):
            ended = self.assertRaises(SystemExit, self.options, text)
            self.assertIn(str(self.path), str(ended.code))
            self.assertNotIn("\n", str(ended.code))

    def test_no_relay(self) -> None:
        """The daemon has no embedded relay: a file without an address is wrong."""
        ended = self.assertRaises(SystemExit, self.options, "tunnels: {}\n")
        self.assertIn("server_addr is missing", str(ended.code))


class ServiceTests(OptionsCase):
    """The service."""

    def setUp(self) -> None:
        """Be the process's reactor."""
        import twisted.internet.reactor

        self.patch(twisted.internet, "reactor", MemoryReactorClock())

    def test_service(self) -> None:
        """It is a client with the file's tunnels."""
        service = makeService(self.options(WHOLE))
        self.assertTrue(verifyObject(IService, service))
        assert isinstance(service, Client)
        self.assertEqual([tunnel.definition.name for tunnel in service.tunnels], ["web"])

    def test_what_is_told(self) -> None:
        """It says once what the reactor lacks, and which plugins cannot be used."""
        options = self.options(WHOLE)
        options.discovered.broken.append(Broken("burrow.plugins.odd", "ImportError: no module"))
        with capturedLogs() as events:
            makeService(options)
        self.assertEqual([event["where"] for event in events if "where" in event], ["burrow.plugins.odd"])
        self.assertEqual(len([event for event in events if "lack" in event]), 1)

    def test_a_tunnel_that_cannot_be_made(self) -> None:
        """It ends the program in one line that names the tunnel."""
        options = self.options(WHOLE)

        def broken(*arguments: object) -> Any:
            raise RuntimeError("no such table")

        self.patch(type(options.client.tunnels["web"].protocol), "forwarder", broken)
        ended = self.assertRaises(SystemExit, makeService, options)
        self.assertRegex(str(ended.code), "\\ATunnel 'web' .* no such table\\Z")
        self.flushLoggedErrors(RuntimeError)


class GuardTests(SynchronousTestCase):
    """What ends the daemon."""

    def setUp(self) -> None:
        """Guard a reactor."""
        self.reactor: Any = MemoryReactorClock()
        self.stops: list[str] = []
        self.patch(self.reactor, "stop", lambda: self.stops.append("stop"))
        self.guard = Guard(self.reactor)

    def test_refused_for_good(self) -> None:
        """A session that is refused for good ends the program with status 1 when all is stopped."""
        self.guard.session_refused(SessionRefused("The authtoken is not valid.", 107))
        self.assertEqual(self.stops, ["stop"])
        self.assertEqual(self.reactor.triggers["after"]["shutdown"], [(os._exit, (1,), {})])

    def test_tunnels(self) -> None:
        """What happens to tunnels does not."""
        anything: Any = None
        self.guard.tunnel_up(anything)
        self.guard.tunnel_refused(anything, TunnelRefused("Taken.", 334))
        self.assertEqual(self.stops, [])
