"""``twistd burrow-relay``: its options and its service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.discovery import Broken
from burrow.errors import ConfigError
from burrow.relay.tap import Options, RelayService, endpoint_of, makeService, or_exit


class TapCase(SynchronousTestCase):
    """What the cases below share."""

    def setUp(self) -> None:
        """Be the process's reactor."""
        import twisted.internet.reactor

        self.reactor: Any = MemoryReactorClock()
        self.patch(twisted.internet, "reactor", self.reactor)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "relay.yml"

    def options(self, text: str = "") -> Options:
        """Read options whose file holds ``text`` behind what every relay has to say."""
        self.path.write_text(f"domain: relay.test\nlisten: tcp:7443\nstate: {self.folder}/state\n{text}")
        options = Options()
        options.parseOptions(["-c", str(self.path)])
        return options


class OptionsTests(TapCase):
    """The command line."""

    def test_file(self) -> None:
        """The file that is named is read."""
        self.assertEqual(self.options().relay.domain, "relay.test")

    def test_mistakes_end_it_in_one_line(self) -> None:
        """A wrong file ends the program with one line that names file and line."""
        ended = self.assertRaises(SystemExit, self.options, "domane: x\n")
        self.assertIn(f"{self.path}:4", str(ended.code))
        self.assertNotIn("\n", str(ended.code))


class ServiceTests(TapCase):
    """The service."""

    def test_listens(self) -> None:
        """It listens where the file says, before privileges are dropped."""
        service = makeService(self.options())
        self.assertTrue(verifyObject(IService, service))
        assert isinstance(service, RelayService)
        service.privilegedStartService()
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [7443])

    def test_its_own_authority(self) -> None:
        """Without certificates it makes an authority, and says whom to trust."""
        with capturedLogs() as events:
            makeService(self.options())
        paths = [event["path"] for event in events if "path" in event]
        self.assertEqual(paths, [self.folder / "state" / "ca.pem"])
        self.assertEqual(len([event for event in events if "lack" in event]), 1)

    def test_the_ticket_key_is_kept(self) -> None:
        """A restarted relay reads the tickets that it wrote before."""
        makeService(self.options())
        before = (self.folder / "state" / "ticket-key").read_bytes()
        makeService(self.options())
        self.assertEqual((self.folder / "state" / "ticket-key").read_bytes(), before)
        self.assertEqual((self.folder / "state" / "ticket-key").stat().st_mode & 0o777, 0o600)

    def test_broken_plugins(self) -> None:
        """A plugin that cannot be imported is named."""
        options = self.options()
        options.discovered.broken.append(Broken("burrow.plugins.odd", "ImportError: no module"))
        with capturedLogs() as events:
            makeService(options)
        self.assertEqual([event["where"] for event in events if "where" in event], ["burrow.plugins.odd"])

    def test_a_bad_certificate(self) -> None:
        """A certificate that cannot be used ends the program in one line that names it."""
        (self.folder / "certs").mkdir()
        (self.folder / "certs" / "odd.pem").write_text("nothing of the kind")
        ended = self.assertRaises(SystemExit, makeService, self.options("certificates: certs\n"))
        self.assertIn("odd.pem", str(ended.code))

    def test_a_port_in_use(self) -> None:
        """A port that cannot be had ends the program in one line that names it."""
        service: Any = makeService(self.options())

        def fails() -> None:
            raise ConfigError("cannot listen on tcp:7443: in use")

        self.assertEqual(
            str(self.assertRaises(SystemExit, or_exit, fails)), "cannot listen on tcp:7443: in use"
        )

        def refuse(*arguments: object, **more: object) -> None:
            raise OSError("in use")

        self.patch(self.reactor, "listenTCP", refuse)
        ended = self.assertRaises(SystemExit, service.privilegedStartService)
        self.assertEqual(str(ended), "cannot listen on tcp:7443: in use")


class EndpointTests(TapCase):
    """Descriptions of endpoints that have the right form."""

    def test_a_socket_that_is_not_there(self) -> None:
        """A socket that the system did not pass is named in one line."""
        description = "systemd:domain=INET6:name=https"
        error = self.assertRaises(ConfigError, endpoint_of, self.reactor, description)
        self.assertIn(description, str(error))
        self.assertNotIn("\n", str(error))
