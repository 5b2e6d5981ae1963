"""A client's tunnels."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.client.definitions import define
from burrow.client.tunnels import LARGEST_SETTINGS, ForwarderHost, Tunnel
from burrow.discovery import discover
from burrow.errors import SessionLost, TunnelRefused
from burrow.interfaces.protocol import IForwarderHost
from burrow.session.commands import Bind, Unbind
from burrow.testing.fakes import FakeUpstream

PROTOCOLS = discover().protocols


class FakeSession:
    """A session whose answers the test gives."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.answers: list[Deferred[Any]] = []
        self.listening: dict[int, Any] = {}
        self.mux = self

    def listen(self, tunnel: int, factory: Any) -> None:
        """See `Mux.listen`."""
        self.listening[tunnel] = factory

    def unlisten(self, tunnel: int) -> None:
        """See `Mux.unlisten`."""
        self.listening.pop(tunnel, None)

    def call(self, command: Any, **arguments: Any) -> Deferred[Any]:
        """See `Session.call`."""
        self.asked.append((command, arguments))
        self.answers.append(Deferred())
        return self.answers[-1]


class Base(SynchronousTestCase):
    """One tunnel."""

    def setUp(self) -> None:
        """Make it."""
        settings = {"subdomain": "shop", "auth": "user:secret", "bind_tls": "both"}
        self.definition = define("web", PROTOCOLS["http"], "8080", settings, "sold here")
        self.tunnel = self.make(self.definition)
        self.session: Any = FakeSession()

    def make(self, definition: Any) -> Tunnel:
        """Make tunnel number 7."""
        return Tunnel(7, definition, FakeUpstream(Protocol, address="http://localhost:8080"), Clock())

    def bind(self) -> Deferred[None]:
        """Bind it."""
        return Deferred.fromCoroutine(self.tunnel.bind(self.session))

    def answer(self, urls: list[str], ticket: bytes = b"ticket") -> None:
        """Answer the last question."""
        self.session.answers[-1].callback({"urls": urls, "ticket": ticket})


class BindTests(Base):
    """Publishing it."""

    def test_what_is_said(self) -> None:
        """The relay is told name, protocol, metadata and those settings that are for the edge."""
        self.bind()
        ((command, said),) = self.session.asked
        self.assertIs(command, Bind)
        self.assertEqual((said["tunnel"], said["name"], said["protocol"]), (7, "web", "http"))
        self.assertEqual((said["metadata"], said["ticket"]), ("sold here", b""))
        edge = {setting.name for setting in PROTOCOLS["http"].settings if setting.edge}
        self.assertLessEqual(json.loads(said["settings"]).keys(), edge)
        self.assertEqual(json.loads(said["settings"])["subdomain"], "shop")
        self.assertNotIn("hostname", json.loads(said["settings"]))

    def test_bound(self) -> None:
        """It listens before it is public, and knows where it is."""
        binding = self.bind()
        self.assertIn(7, self.session.listening)
        self.assertEqual(self.tunnel.urls, [])
        self.answer(["https://shop.relay.test"])
        self.successResultOf(binding)
        self.assertEqual(self.tunnel.urls, ["https://shop.relay.test"])

    def test_its_ticket_comes_along_next_time(self) -> None:
        """In the next session it claims what it had in the last."""
        self.bind()
        self.answer(["tcp://relay.test:20001"], b"first")
        self.tunnel.lost()
        self.assertEqual(self.tunnel.urls, [])
        self.bind()
        self.assertEqual(self.session.asked[-1][1]["ticket"], b"first")

    def test_a_refused_one_does_not_listen(self) -> None:
        """Nothing is left of a tunnel that is refused, but its ticket."""
        self.bind()
        self.answer([], b"first")
        self.tunnel.lost()
        for error in (TunnelRefused("Taken.", 334), SessionLost("gone")):
            binding = self.bind()
            self.session.answers[-1].errback(error)
            self.failureResultOf(binding, type(error))
            self.assertEqual(self.session.listening, {})
        self.bind()
        self.assertEqual(self.session.asked[-1][1]["ticket"], b"first")

    def test_settings_that_fit_no_message(self) -> None:
        """They are refused here, with their size, and the relay is not asked."""
        self.tunnel = self.make(replace(self.definition, settings={"auth": "u:" + "x" * LARGEST_SETTINGS}))
        refused = self.failureResultOf(self.bind(), TunnelRefused).value
        self.assertIn(str(LARGEST_SETTINGS), str(refused))
        self.assertEqual((self.session.asked, self.session.listening), ([], {}))

    def test_unbound(self) -> None:
        """It is taken off the public at once at this end."""
        self.bind()
        self.answer(["https://shop.relay.test"])
        self.tunnel.urls = ["https://shop.relay.test"]
        Deferred.fromCoroutine(self.tunnel.unbind(self.session))
        self.assertEqual((self.tunnel.urls, self.session.listening), ([], {}))
        self.assertEqual(self.session.asked[-1], (Unbind, {"tunnel": 7}))


class HostTests(SynchronousTestCase):
    """What a forwarder is given."""

    def test_interface(self) -> None:
        """A clock, and the tunnel's name."""
        host = ForwarderHost(Clock(), "web")
        self.assertTrue(verifyObject(IForwarderHost, host))
        self.assertEqual(host.name, "web")

    def test_the_forwarder_is_made_once(self) -> None:
        """Every session listens with the same factory, which may keep connections."""
        made: list[Any] = []

        class Counting:
            name, settings, schemes = "counting", PROTOCOLS["tcp"].settings, ()

            def forwarder(self, *arguments: Any) -> Any:
                made.append(arguments)
                return Factory()

        protocol: Any = Counting()
        tunnel = Tunnel(1, define("x", protocol, "80", {}), FakeUpstream(Protocol), Clock())
        for _ in range(2):
            session: Any = FakeSession()
            Deferred.fromCoroutine(tunnel.bind(session))
        self.assertEqual(len(made), 1)
