"""The client as a service: sessions come and go, tunnels are bound in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from burrow.client.connecting import LONGEST_DELAY
from burrow.client.service import BIND_AGAIN, BYE_TIMEOUT, FATAL, STALE, Client
from burrow.errors import SessionLost, SessionRefused, TunnelRefused
from burrow.interfaces.stream import Visitor
from tests.session.peer import logged

RELAY = Visitor("192.0.2.1", 443, "memory")


class FakeSession:
    """A session that notes what is asked of it, and ends when it is told."""

    attached = True

    def __init__(self) -> None:
        self.over: list[Deferred[Exception]] = []
        self.gone: Deferred[None] = Deferred()
        self.said_goodbye = False

    def __str__(self) -> str:
        return "a session"

    def ended(self) -> Deferred[Exception]:
        """See `Session.ended`."""
        self.over.append(Deferred())
        return self.over[-1]

    def close(self) -> None:
        """See `Session.close`."""
        self.said_goodbye = True
        self.end("closed")

    def closed(self) -> Deferred[None]:
        """See `Session.closed`."""
        return self.gone

    def end(self, why: str = "the connection was lost") -> None:
        """Be over."""
        over, self.over = self.over, []
        for deferred in over:
            deferred.callback(SessionLost(why))


class FakeTransport:
    """What a session's protocol has as its transport."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session

    def getPeer(self) -> Visitor:
        """Return where the relay is."""
        return RELAY

    def loseConnection(self) -> None:
        """Close the session."""
        self.session.close()


class FakeEndpoint:
    """An endpoint whose attempts the test decides."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.attempts: list[tuple[Deferred[IProtocol], IProtocolFactory]] = []
        self.dialling_since: float | None = None
        self.cancelled = 0
        self.refused: Callable[[SessionRefused], None] = lambda error: None

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Begin an attempt."""
        attempt: Deferred[IProtocol] = Deferred(self._cancel)
        self.attempts.append((attempt, factory))
        self.dialling_since = self.clock.seconds()
        return attempt.addErrback(self._failed)

    def _failed(self, failure: Failure) -> Failure:
        if isinstance(failure.value, SessionRefused):
            self.refused(failure.value)
        return failure

    def _cancel(self, attempt: object) -> None:
        self.cancelled += 1
        self.dialling_since = None

    def succeed(self) -> FakeSession:
        """Let the last attempt lead to a session."""
        attempt, factory = self.attempts[-1]
        self.dialling_since = None
        session = FakeSession()
        protocol: Any = factory.buildProtocol(RELAY)
        protocol.makeConnection(FakeTransport(session))
        session.ended().addCallback(lambda reason: protocol.connectionLost(Failure(reason)))
        attempt.callback(protocol)
        return session

    def fail(self, error: Exception) -> None:
        """Let the last attempt fail, as `RelayEndpoint` does."""
        attempt, _ = self.attempts[-1]
        self.dialling_since = None
        attempt.errback(error)


class Named:
    """As much of a definition as the service looks at."""

    def __init__(self, name: str) -> None:
        self.name = name


class FakeTunnel:
    """A tunnel whose binds the test decides."""

    address = "localhost:80"

    def __init__(self, name: str) -> None:
        self.definition = Named(name)
        self.urls: list[str] = []
        self.binds: list[Deferred[None]] = []
        self.sessions: list[FakeSession] = []

    async def bind(self, session: FakeSession) -> None:
        """See `Tunnel.bind`."""
        self.sessions.append(session)
        self.binds.append(Deferred())
        await self.binds[-1]
        self.urls = [f"https://{self.definition.name}.relay.test"]

    def lost(self) -> None:
        """See `Tunnel.lost`."""
        self.urls = []


class RecordingWatcher:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def tunnel_up(self, tunnel: Any) -> None:
        """See `Watcher`."""
        self.events.append(("up", tunnel.definition.name))

    def tunnel_refused(self, tunnel: Any, error: TunnelRefused) -> None:
        """See `Watcher`."""
        self.events.append(("refused", f"{tunnel.definition.name}: {error}"))

    def session_refused(self, error: SessionRefused) -> None:
        """See `Watcher`."""
        self.events.append(("session refused", str(error)))


class FakeNetwork:
    """A network that comes back when it is told."""

    def __init__(self) -> None:
        self.back: Callable[[], None] | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """See `Network`."""
        self.back = changed

    def stop(self) -> None:
        """See `Network`."""
        self.back = None


class Base(SynchronousTestCase):
    """A client with two tunnels."""

    def setUp(self) -> None:
        """Start it."""
        self.clock: Any = Clock()
        self.endpoint, self.watcher = FakeEndpoint(self.clock), RecordingWatcher()
        self.web, self.db = FakeTunnel("web"), FakeTunnel("db")
        self.network = FakeNetwork()
        tunnels: Any = [self.web, self.db]
        self.client = Client(self.clock, self.endpoint, tunnels, self.watcher, self.network)  # type: ignore[arg-type]
        self.client.startService()

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return len(self.endpoint.attempts)


class ReconnectTests(Base):
    """Sessions that end, and attempts that fail."""

    def test_a_lost_session_is_replaced(self) -> None:
        """After a loss the client connects again soon, and binds every tunnel in the new session."""
        self.endpoint.succeed().end()
        self.clock.advance(1.0)
        self.assertEqual(self.attempts, 2)
        second = self.endpoint.succeed()
        self.assertEqual([self.web.sessions[-1], self.db.sessions[-1]], [second, second])

    def test_failures_are_retried_for_ever(self) -> None:
        """However often it fails, the next attempt comes within the longest delay."""
        for number in range(1, 2_001):
            self.assertEqual(self.attempts, number)
            self.endpoint.fail(ConnectionRefusedError())
            self.clock.advance(LONGEST_DELAY)

    def test_no_urls_between_sessions(self) -> None:
        """A tunnel without a session is nowhere public."""
        session = self.endpoint.succeed()
        self.web.binds[0].callback(None)
        self.assertEqual(self.web.urls, ["https://web.relay.test"])
        session.end()
        self.assertEqual((self.web.urls, self.client.session), ([], None))

    def test_refusals_that_may_pass_are_retried(self) -> None:
        """A session that is refused for now, as for its limit, is asked for again."""
        self.endpoint.fail(SessionRefused("Too many sessions.", 108))
        self.clock.advance(LONGEST_DELAY)
        self.assertEqual((self.attempts, self.watcher.events), (2, []))

    def test_refusals_for_good_end_it(self) -> None:
        """A wrong authtoken is never tried again, and the watcher is told once."""
        for code in sorted(FATAL):
            self.setUp()
            self.endpoint.fail(SessionRefused("The authtoken is not valid.", code))
            self.clock.advance(3600)
            self.assertEqual(self.attempts, 1)
            self.assertEqual(self.watcher.events, [("session refused", "The authtoken is not valid.")])

    def test_the_network_does_not_undo_a_refusal(self) -> None:
        """After a refusal for good nothing connects, whatever the network does."""
        self.endpoint.fail(SessionRefused("The authtoken is not valid.", 107))
        self.clock.advance(STALE)
        self.client.network_is_back()
        self.assertEqual(self.attempts, 1)


class NetworkTests(Base):
    """The network returns (the client's `network_is_back`)."""

    def test_at_once(self) -> None:
        """An attempt that is only scheduled is made at once."""
        for _ in range(10):
            self.endpoint.fail(ConnectionRefusedError())
            self.clock.advance(LONGEST_DELAY)
        self.endpoint.fail(ConnectionRefusedError())
        before = self.attempts
        assert self.network.back is not None
        self.network.back()
        self.assertEqual(self.attempts, before + 1)

    def test_one_attempt_at_a_time(self) -> None:
        """An attempt that has only just begun goes on."""
        self.clock.advance(STALE / 2)
        self.client.network_is_back()
        self.assertEqual((self.attempts, self.endpoint.cancelled), (1, 0))

    def test_a_stale_attempt_is_given_up(self) -> None:
        """An attempt whose first bytes may be lost is replaced."""
        self.clock.advance(STALE)
        self.client.network_is_back()
        self.assertEqual((self.attempts, self.endpoint.cancelled), (2, 1))
        self.endpoint.succeed()
        self.assertIsNotNone(self.client.session)

    def test_a_session_is_kept(self) -> None:
        """A session that is there stays."""
        session = self.endpoint.succeed()
        self.clock.advance(60)
        self.client.network_is_back()
        self.assertEqual((self.attempts, session.said_goodbye), (1, False))

    def test_watched_while_it_runs(self) -> None:
        """The network is watched from the start of the service to its stop."""
        self.client.stopService()
        self.assertIsNone(self.network.back)
        self.clock.advance(STALE)
        self.client.network_is_back()
        self.assertEqual(self.attempts, 1)


class TunnelTests(Base):
    """Tunnels in a session."""

    def test_up(self) -> None:
        """The watcher is told of every tunnel that is public."""
        self.endpoint.succeed()
        self.db.binds[0].callback(None)
        self.assertEqual(self.watcher.events, [("up", "db")])

    def test_a_refused_tunnel_is_asked_for_again(self) -> None:
        """It is told each time, and other tunnels do not notice."""
        self.endpoint.succeed()
        for number in range(1, 4):
            self.web.binds[-1].errback(TunnelRefused("Taken.", 334))
            self.clock.advance(BIND_AGAIN - 0.01)
            self.assertEqual(len(self.web.binds), number)
            self.clock.advance(0.02)
            self.assertEqual(len(self.web.binds), number + 1)
        self.assertEqual(self.watcher.events, [("refused", "web: Taken.")] * 3)
        self.assertEqual(len(self.db.binds), 1)
        self.web.binds[-1].callback(None)
        self.assertEqual(self.watcher.events[-1], ("up", "web"))

    def test_a_refusal_is_logged_once(self) -> None:
        """A tunnel that is refused for the same reason again and again is one line of log."""
        self.endpoint.succeed()
        with logged() as lines:
            for why in ("Taken.", "Taken.", "Reserved.", "Taken."):
                self.web.binds[-1].errback(TunnelRefused(why, 334))
                self.clock.advance(BIND_AGAIN)
            self.web.binds[-1].callback(None)
        said = [line for line in lines if "refused" in line]
        self.assertEqual(said, [f"tunnel web is refused: {why}" for why in ("Taken.", "Reserved.", "Taken.")])

    def test_nothing_is_asked_of_a_session_that_is_gone(self) -> None:
        """A refused tunnel waits for the next session, and is asked for there once."""
        session = self.endpoint.succeed()
        self.web.binds[-1].errback(TunnelRefused("Taken.", 334))
        session.end()
        self.clock.advance(1.0)
        self.endpoint.succeed()
        self.clock.advance(BIND_AGAIN * 2)
        self.assertEqual(len(self.web.binds), 2)

    def test_a_session_that_ends_while_binding(self) -> None:
        """Nothing is told of a tunnel whose answer never came; the next session brings one."""
        session = self.endpoint.succeed()
        session.end()
        for tunnel in (self.web, self.db):
            tunnel.binds[0].errback(SessionLost("the connection was lost"))
        self.assertEqual(self.watcher.events, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_an_error_of_our_own_is_logged(self) -> None:
        """A bind that fails in an unknown way is a bug: it is logged, and the session stays."""
        session = self.endpoint.succeed()
        self.web.binds[0].errback(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIs(self.client.session, session)


class StopTests(Base):
    """The service stops."""

    def test_while_connecting(self) -> None:
        """An attempt under way is given up, and nothing is tried again."""
        self.successResultOf(self.client.stopService())
        self.clock.advance(3600)
        self.assertEqual((self.attempts, self.endpoint.cancelled), (1, 1))

    def test_while_waiting(self) -> None:
        """A scheduled attempt is not made."""
        self.endpoint.fail(ConnectionRefusedError())
        self.successResultOf(self.client.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_relay_is_told_first(self) -> None:
        """A session is closed, and the stop is done only when that has left."""
        session = self.endpoint.succeed()
        stopping = self.client.stopService()
        self.assertTrue(session.said_goodbye)
        self.assertNoResult(stopping)
        session.gone.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_relay_that_is_gone_does_not_hold_it_up(self) -> None:
        """A relay that takes nothing more delays the stop for a second, not longer."""
        self.endpoint.succeed()
        stopping = self.client.stopService()
        self.clock.advance(BYE_TIMEOUT)
        self.successResultOf(stopping)

    def test_again_after_a_stop(self) -> None:
        """A service that is started again connects again."""
        session = self.endpoint.succeed()
        session.gone = succeed(None)
        self.successResultOf(self.client.stopService())
        self.client.startService()
        self.assertEqual(self.attempts, 2)
