"""Running tunnels until the user stops them: what ``burrow http`` and its like do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.logger import globalLogBeginner as log_beginner
from twisted.python.failure import Failure
from zope.interface import provider

from burrow.cli.arguments import error_text
from burrow.cli.embedded import EmbeddedRelay, start_embedded_relay, state_directory
from burrow.client.config import ClientConfig
from burrow.client.definitions import COMMAND_LINE, TunnelDefinition
from burrow.client.making import make_client
from burrow.client.service import Client
from burrow.client.tunnels import Tunnel
from burrow.discovery import Discovered
from burrow.errors import BurrowError, SessionRefused, TunnelRefused

log = Logger()

LABEL = 12  #: columns of the word in front of what is shown


class Run:
    """One run of the program: a client, and the embedded relay if no other is configured.

    Attributes:
        status: The exit status.
    """

    def __init__(self, reactor: Any, config: ClientConfig, discovered: Discovered) -> None:
        """Prepare; nothing starts before `run`."""
        self._reactor, self._config, self._protocols = reactor, config, discovered.protocols
        self._relay: EmbeddedRelay | None = None
        self._client: Client | None = None
        self._were_up: set[Tunnel] = set()
        self.status = 0

    def run(self, definitions: Callable[[], Deferred[Sequence[TunnelDefinition]]]) -> int:
        """Publish what ``definitions`` gives once the reactor runs; return the exit status."""
        log_beginner.beginLoggingTo([warnings_to_stderr(lambda: self.status != 0)], redirectStandardIO=False)
        self._reactor.callWhenRunning(self._begin, definitions)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run()
        return self.status

    def _begin(self, definitions: Callable[[], Deferred[Sequence[TunnelDefinition]]]) -> None:
        started = maybeDeferred(definitions).addCallback(self._start)
        started.addErrback(self._failed)

    def _start(self, definitions: Sequence[TunnelDefinition]) -> None:
        directory = state_directory(os.environ)
        config, address = self._config, ""
        if config.server_addr is None:
            relay = start_embedded_relay(self._reactor, config.embedded_relay, directory, self._protocols)
            self._relay, address = relay, relay.host
            if config.authtoken:
                show("Note", "the embedded relay needs no authtoken: yours is not used (see -server-addr)")
            config = replace(
                config,
                server_addr=relay.address,
                authtoken=relay.token,
                root_cas=relay.authority,
                fingerprint=None,
            )
            show("Relay", f"embedded, at {relay.address}")
            show("Authority", f"{relay.authority} (for https: trust it, or pass it to curl --cacert)")
        else:
            show("Relay", str(config.server_addr))
        self._client = make_client(self._reactor, config, definitions, self, directory / "ca.pem", address)
        self._client.startService()

    def _stop(self) -> Deferred[Any]:
        """Stop the client, then the relay that it talks to."""
        stopping: Deferred[Any] = succeed(None) if self._client is None else self._client.stopService()
        return stopping.addBoth(lambda _: self._relay and self._relay.relay.stopService())

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, BurrowError):
            log.failure("burrow cannot start", failure)
            error = BurrowError(f"an error of burrow's own: {error!r}")
        self._fail(error)

    def _fail(self, error: BurrowError) -> None:
        """End the program: nothing the user can wait for will come."""
        if self.status:
            return
        self.status = 1
        sys.stderr.write(error_text(error))
        with suppress(ReactorNotRunning):  # it stops already
            self._reactor.stop()

    # What the client tells; see `burrow.client.service.Watcher`.

    def tunnel_up(self, tunnel: Tunnel) -> None:
        """Show where a tunnel is public, after every loss of the session again."""
        self._were_up.add(tunnel)
        for url in tunnel.urls:
            show("Forwarding", f"{url} -> {tunnel.address}")

    def tunnel_refused(self, tunnel: Tunnel, error: TunnelRefused) -> None:
        """End the program if the tunnel was never up; else the client goes on asking."""
        if tunnel not in self._were_up:
            name = tunnel.definition.name
            self._fail(refusal(error, "" if name == COMMAND_LINE else f"Tunnel {name!r}: "))

    def session_refused(self, error: SessionRefused) -> None:
        """End the program."""
        self._fail(refusal(error))


def refusal(error: TunnelRefused, prefix: str = "") -> BurrowError:
    """Return an error with the refusal's code on a line of its own (contract 1.6)."""
    code = f"\n\nERR_NGROK_{error.code}" if error.code else ""
    return BurrowError(f"{prefix}{error}{code}")


def show(label: str, text: str) -> None:
    """Print one line for the user, at once; that nobody reads it any more harms no tunnel."""
    with suppress(OSError):
        sys.stdout.write(f"{label:<{LABEL}}{text}\n")
        sys.stdout.flush()


def warnings_to_stderr(over: Callable[[], bool] = lambda: False) -> Any:
    """Return a log observer that prints warnings and errors, one line each.

    Args:
        over: Whether the user has been told already why the program ends; then only bugs are told.
    """

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is None and over():
            return
        text = " ".join(formatEvent(event).split())
        trace = f"\n{failure.getTraceback()}" if failure is not None else ""
        sys.stderr.write(f"{event['log_level'].name}: {text}{trace}\n")

    return FilteringLogObserver(observe, [LogLevelFilterPredicate(LogLevel.warn)])
