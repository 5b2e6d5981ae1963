"""``twistd burrow-client``: options and service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python import usage

from burrow.client.config import ClientConfig, load_client_config
from burrow.client.making import make_client
from burrow.client.tunnels import Tunnel
from burrow.discovery import Discovered, discover
from burrow.errors import ConfigError, SessionRefused, TunnelRefused
from burrow.net.reactor import reactor_lacks

log = Logger()


class Options(usage.Options):
    """Command line of ``twistd burrow-client``."""

    optParameters = [["config", "c", "/etc/burrow/client.yml", "YAML file to read."]]
    longdesc = "The private half of burrow: publishes local services under names of a relay."
    client: ClientConfig
    discovered: Discovered

    def postOptions(self) -> None:
        """Read the file; what is wrong with it is one line on stderr, and exit status 1."""
        self.discovered = discover()
        try:
            self.client = load_client_config([Path(self["config"])], self.discovered.protocols, os.environ)
            if self.client.server_addr is None:
                raise ConfigError(f"{self['config']}: server_addr is missing: wanted HOST[:PORT] of a relay")
        except ConfigError as error:
            raise SystemExit(str(error)) from None


class Guard:
    """Ends the program when the relay will not have it; see `burrow.client.service.Watcher`."""

    def __init__(self, reactor: Any) -> None:
        """Stop ``reactor`` then."""
        self._reactor = reactor

    def tunnel_up(self, tunnel: Tunnel) -> None:
        """Do nothing: the client has logged it."""

    def tunnel_refused(self, tunnel: Tunnel, error: TunnelRefused) -> None:
        """Do nothing: the client has logged it, and asks again."""

    def session_refused(self, error: SessionRefused) -> None:
        """Stop with exit status 1: twistd has no way to say so but to leave."""
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()


def makeService(options: Options) -> IService:
    """Make the client out of its configuration."""
    from twisted.internet import reactor

    lack = reactor_lacks(reactor)
    if lack is not None:
        log.warn("{lack}", lack=lack)
    for broken in options.discovered.broken:
        log.error("plugin {where} is skipped: {error}", where=broken.where, error=broken.error)
    definitions = list(options.client.tunnels.values())
    try:
        return make_client(reactor, options.client, definitions, Guard(reactor), Path("/nonexistent"))
    except ConfigError as error:
        raise SystemExit(str(error)) from None
