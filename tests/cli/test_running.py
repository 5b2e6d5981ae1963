"""Running tunnels: what the user sees, and how the program ends."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from burrow.cli import running
from burrow.cli.running import Run, refusal, warnings_to_stderr
from burrow.client.config import load_client_config
from burrow.client.definitions import define
from burrow.discovery import discover
from burrow.errors import ConfigError, SessionRefused, TunnelRefused

DISCOVERED = discover()


class Named:
    """As much of a tunnel as is shown."""

    address = "http://localhost:80"

    def __init__(self, name: str, *urls: str) -> None:
        self.definition, self.urls = self, list(urls)
        self.name = name


class StoppableReactor(MemoryReactorClock):
    """A reactor that runs what is to be called at its start, and can be stopped once."""

    def run(self) -> None:
        """Begin."""
        self.running = True
        for call, args, kwargs in self.whenRunningHooks:
            call(*args, **kwargs)

    def shut_down(self) -> list[Any]:
        """Do what is to be done before the end; return what it waits for."""
        return [call(*args, **kwargs) for call, args, kwargs in self.triggers["before"]["shutdown"]]


class RunCase(SynchronousTestCase):
    """A run whose streams are caught."""

    def setUp(self) -> None:
        """Catch them, and leave the log as it is."""
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        publisher = LogPublisher()
        self.patch(running, "log_beginner", LogBeginner(publisher, io.StringIO(), sys, _NoWarnings()))
        self.log = Logger(observer=publisher)
        self.patch(os, "environ", {"XDG_STATE_HOME": str(Path(self.mktemp()).absolute())})
        self.reactor: Any = StoppableReactor()
        self.stops = 0

        def stop() -> None:
            self.stops += 1

        self.patch(self.reactor, "stop", stop)

    def start(self, text: str = "server_addr: 192.0.2.7\n", tunnels: Any = None) -> Run:
        """Start a run with a configuration."""
        path = Path(self.mktemp())
        path.write_text(text)
        config = load_client_config([path], DISCOVERED.protocols, {})
        run = Run(self.reactor, config, DISCOVERED)
        definitions = [define("web", DISCOVERED.protocols["http"], "80", {})]
        run.run(tunnels or (lambda: succeed(definitions)))
        if run._client is not None:
            self.addCleanup(run._client.stopService)
        return run

    def tunnel(self, name: str, *urls: str) -> Any:
        """Return a tunnel."""
        return Named(name, *urls)

    def ends(self, run: Run, message: str) -> None:
        """Check that the run ends once, with status 1 and one message."""
        self.assertEqual((run.status, self.stops), (1, 1))
        self.assertEqual(self.err.getvalue(), message)


class _NoWarnings:
    """A module of warnings that has nothing to do with the process's own."""

    showwarning = None


class ShownTests(RunCase):
    """What the user sees."""

    def test_another_relay(self) -> None:
        """The relay's address is shown."""
        self.start()
        self.assertEqual(self.out.getvalue(), "Relay       192.0.2.7:443\n")

    def test_the_embedded_relay(self) -> None:
        """Where it is, whom to trust, and that an authtoken is of no use."""
        run = self.start("embedded_relay: 127.0.0.1:4555\nauthtoken: some-token-0123456789012345\n")
        text = self.out.getvalue()
        self.assertIn("needs no authtoken", text)
        self.assertNotIn("some-token", text)
        self.assertIn("ca.pem", text)
        assert run._relay is not None
        self.assertIs(run._relay.relay.running, 1)

    def test_urls(self) -> None:
        """Each URL is shown with the local service, and again when the session is back."""
        run = self.start()
        tunnel = self.tunnel("web", "http://a.relay.test", "https://a.relay.test")
        run.tunnel_up(tunnel)
        run.tunnel_up(tunnel)
        shown = [line for line in self.out.getvalue().splitlines() if line.startswith("Forwarding")]
        self.assertEqual(shown[0], "Forwarding  http://a.relay.test -> http://localhost:80")
        self.assertEqual(shown[:2], shown[2:])

    def test_warnings(self) -> None:
        """Warnings and errors go to standard error, a line each; the rest is not shown."""
        self.start()
        self.log.info("nothing of interest")
        self.log.warn("session lost: {why}", why="two\nlines")
        self.assertEqual(self.err.getvalue(), "warn: session lost: two lines\n")


class EndTests(RunCase):
    """How the program ends."""

    def test_a_tunnel_that_was_never_up(self) -> None:
        """Its refusal ends the program: once, with its code, and in no second form."""
        run = self.start()
        error = TunnelRefused("The tunnel 'https://a' is bound.", 334)
        run.tunnel_refused(self.tunnel("command_line"), error)
        self.log.error("tunnel command_line is refused: {error}", error=error)
        run.tunnel_refused(self.tunnel("other"), error)
        self.ends(
            run,
            "ERROR:\nERROR:  The tunnel 'https://a' is bound.\nERROR:\nERROR:  ERR_NGROK_334\nERROR:\n",
        )

    def test_its_name(self) -> None:
        """A tunnel of a file is named."""
        run = self.start()
        run.tunnel_refused(self.tunnel("web"), TunnelRefused("No port is free."))
        self.ends(run, "ERROR:\nERROR:  Tunnel 'web': No port is free.\nERROR:\n")

    def test_a_tunnel_that_was_up(self) -> None:
        """A tunnel that cannot be had again after a loss does not end the program."""
        run = self.start()
        tunnel = self.tunnel("web", "http://a.relay.test")
        run.tunnel_up(tunnel)
        run.tunnel_refused(tunnel, TunnelRefused("Taken.", 334))
        self.assertEqual((run.status, self.stops), (0, 0))

    def test_a_session_that_is_refused(self) -> None:
        """A wrong authtoken ends the program."""
        run = self.start()
        run.session_refused(SessionRefused("The authtoken is not valid.", 107))
        self.ends(run, "ERROR:\nERROR:  The authtoken is not valid.\nERROR:\nERROR:  ERR_NGROK_107\nERROR:\n")

    def test_mistakes_at_the_start(self) -> None:
        """What the user can mend is one message."""
        run = self.start(tunnels=lambda: fail(ConfigError("loopback has no free port")))
        self.ends(run, "ERROR:\nERROR:  loopback has no free port\nERROR:\n")

    def test_our_own_mistakes(self) -> None:
        """A bug is named as one, with its traceback, and ends the program as well."""
        run = self.start(tunnels=lambda: fail(ZeroDivisionError("x")))
        self.assertEqual((run.status, self.stops), (1, 1))
        self.assertIn("an error of burrow's own: ZeroDivisionError('x')", self.err.getvalue())
        self.flushLoggedErrors(ZeroDivisionError)

    def test_stop_before_anything(self) -> None:
        """A user who stops at once waits for nothing."""
        never: Deferred[Any] = Deferred()
        self.start(tunnels=lambda: never)
        for waiting in self.reactor.shut_down():
            self.successResultOf(waiting)

    def test_stop(self) -> None:
        """The client stops first, then the relay that it talks to."""
        run = self.start("embedded_relay: 127.0.0.1:4555\n")
        order: list[str] = []
        client, relay = run._client, run._relay
        assert client is not None
        assert relay is not None
        closing: Deferred[None] = Deferred()
        self.patch(client, "stopService", lambda: (order.append("client"), closing)[1])
        self.patch(relay.relay, "stopService", lambda: order.append("relay"))
        (waiting,) = self.reactor.shut_down()
        self.assertEqual(order, ["client"])
        closing.callback(None)
        self.successResultOf(waiting)
        self.assertEqual(order, ["client", "relay"])
        self.assertEqual(run.status, 0)


class TextTests(RunCase):
    """Texts."""

    def test_refusals(self) -> None:
        """The code stands on a line of its own; an error without one has none (contract 1.6)."""
        self.assertEqual(str(refusal(TunnelRefused("Taken.", 334))), "Taken.\n\nERR_NGROK_334")
        self.assertEqual(str(refusal(TunnelRefused("Taken."), "Tunnel 'a': ")), "Tunnel 'a': Taken.")

    def test_bugs_are_told_in_any_case(self) -> None:
        """When the user knows why the program ends, a traceback of a bug is still shown."""
        log = Logger(observer=warnings_to_stderr(lambda: True))
        log.error("said already")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            log.failure("a bug")
        self.assertNotIn("said already", self.err.getvalue())
        self.assertIn("ZeroDivisionError", self.err.getvalue())
