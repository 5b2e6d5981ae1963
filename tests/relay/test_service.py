"""The relay as a service: what it listens at, and what it cannot have."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.logger import LogLevel, capturedLogs

from burrow.errors import ConfigError
from burrow.relay.service import Admission, Entrance
from tests.one_process import KINDS, PROTOCOLS, OneProcessCase


class Silent:
    """An endpoint that never says whether it listens."""

    def listen(self, factory: object) -> Deferred[Any]:
        """See `IStreamServerEndpoint.listen`."""
        return Deferred()


class BrokenPlugin:
    """A protocol whose edge cannot be made."""

    name, summary, schemes = "broken", "cannot be made", ()
    settings = PROTOCOLS["tcp"].settings

    def edge(self, host: object) -> object:
        """See `ITunnelProtocol.edge`."""
        raise RuntimeError("no such table")


class ListeningTests(OneProcessCase):
    """The entrances."""

    def test_two_relays_cannot_take_one_port(self) -> None:
        """The second says in one line which port it cannot have, and why."""
        port = self.port_of(self.start_relay())
        second = self.make_relay(port)
        error = self.assertRaises(ConfigError, second.privilegedStartService)
        self.assertIn(f"cannot listen on tcp:{port}: ", str(error))
        self.assertIn("in use", str(error))
        self.assertNotIn("\n", str(error))

    def test_none_is_left_open(self) -> None:
        """A relay that cannot have its second port does not keep its first."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        relay = self.make_relay()
        busy = TCP4ServerEndpoint(self.reactor, taken.getsockname()[1], interface="127.0.0.1")
        relay._entrances = [*relay._entrances, Entrance("second", busy, KINDS)]
        readers = len(self.reactor.getReaders())
        self.assertRaises(ConfigError, relay.privilegedStartService)
        self.until(lambda: len(self.reactor.getReaders()) == readers, "still listening")
        self.assertEqual(relay.ports, [])

    def test_an_endpoint_that_does_not_say(self) -> None:
        """An endpoint that listens some time later cannot be used."""
        relay = self.make_relay()
        silent: Any = Silent()
        relay._entrances = [Entrance("silent", silent, KINDS)]
        error = self.assertRaises(ConfigError, relay.privilegedStartService)
        self.assertIn("silent", str(error))

    def test_stop_before_start(self) -> None:
        """A relay that never listened stops at once."""
        self.successResultOf(self.make_relay().stopService())

    def test_again_after_a_stop(self) -> None:
        """A relay that was stopped can be started, and takes sessions again."""
        relay = self.start_relay()
        self.stop(relay)
        relay.privilegedStartService()
        relay.startService()
        self.services.append(relay)
        _, log = self.start_client(self.port_of(relay), self.tunnel("http", 1))
        self.until(lambda: log.up)

    def test_newcomers_are_reset_by_a_stop(self) -> None:
        """Who has connected and said nothing is let go."""
        relay = self.start_relay()
        newcomer = socket.create_connection(("127.0.0.1", self.port_of(relay)))
        self.addCleanup(newcomer.close)
        newcomer.setblocking(False)
        (listener,) = [port.factory for port in relay.ports]  # type: ignore[attr-defined]
        self.until(listener.waiting)
        self.stop(relay)
        self.assertEqual(listener.waiting(), 0)


class PluginTests(OneProcessCase):
    """A relay with a plugin that cannot be used."""

    def test_the_others_work(self) -> None:
        """It is named once; its tunnels are unknown here (code 332), the others come up."""
        broken: Any = BrokenPlugin()
        with capturedLogs() as events:
            relay = self.start_relay(protocols={**PROTOCOLS, "broken": broken})
        self.assertEqual(
            [event["name"] for event in events if event["log_level"] >= LogLevel.warn], ["broken"]
        )
        odd = replace(self.tunnel("tcp", 1, "odd"), protocol=_Renamed("broken"))
        _, log = self.start_client(self.port_of(relay), odd, self.tunnel("http", 1, "web"))
        self.until(lambda: log.up and log.refused)
        self.assertEqual((log.up, log.refused[0][0], log.refused[0][1].code), (["web"], "odd", 332))
        self.assertNotIn("broken.", str(log.refused[0][1]))


class _Renamed:
    """The protocol ``tcp`` under another name, as a client may have it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.settings, self.schemes = PROTOCOLS["tcp"].settings, ()

    def forwarder(self, *arguments: Any) -> Any:
        """See `ITunnelProtocol.forwarder`."""
        return PROTOCOLS["tcp"].forwarder(*arguments)


class AdmissionTests(OneProcessCase):
    """How much a relay admits."""

    def test_sessions_of_an_account(self) -> None:
        """A second client of an account that may have one session waits for its turn."""
        relay = self.start_relay(admission=Admission(sessions=1))
        port = self.port_of(relay)
        first, log = self.start_client(port, self.tunnel("http", 1))
        self.until(lambda: log.up)
        self.patch_instance(b"2" * 16)
        second, _ = self.start_client(port, self.tunnel("http", 1))
        told: list[Any] = []
        second._endpoint.refused = told.append
        self.until(lambda: told)
        self.assertEqual((told[0].code, len(relay._sessions)), (108, 1))
        self.stop(first)
        self.until(lambda: second.session is not None)

    def patch_instance(self, instance: bytes) -> None:
        """Let the next client be of another process."""
        from burrow.client import making

        self.patch(making, "INSTANCE", instance)
