"""``twistd burrow-relay``: options and service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python import usage

from burrow.discovery import Discovered, discover
from burrow.errors import ConfigError
from burrow.net.reactor import reactor_lacks
from burrow.relay.accounts.file import FileAccounts
from burrow.relay.authority import LocalAuthority
from burrow.relay.certificates import Certificates
from burrow.relay.config import RelayConfig, load_relay_config
from burrow.relay.publishing import Place
from burrow.relay.service import Admission, Entrance, Relay
from burrow.relay.tickets import load_key

log = Logger()


class Options(usage.Options):
    """Command line of ``twistd burrow-relay``."""

    optParameters = [["config", "c", "/etc/burrow/relay.yml", "YAML file to read."]]
    longdesc = "The public server of burrow: takes clients' sessions, and visitors of their tunnels."

    def postOptions(self) -> None:
        """Read the file; what is wrong with it is one line on stderr, and exit status 1."""
        self.discovered = discover()
        path = Path(self["config"])
        self.relay = or_exit(lambda: load_relay_config(path, tuple(self.discovered.protocols)))


def or_exit(action: Callable[[], Any]) -> Any:
    """Return what ``action`` returns; end the program with one line if the operator has to act."""
    try:
        return action()
    except ConfigError as error:
        raise SystemExit(str(error)) from None


class RelayService(Relay):
    """The relay as twistd starts it: what is wrong at the start ends the program."""

    def privilegedStartService(self) -> None:
        """Listen, or exit with one line."""
        or_exit(super().privilegedStartService)


def makeService(options: Options) -> IService:
    """Make the relay out of its configuration."""
    from twisted.internet import reactor

    service: IService = or_exit(lambda: make_relay(reactor, options.relay, options.discovered))
    return service


def make_relay(reactor: Any, config: RelayConfig, discovered: Discovered) -> RelayService:
    """Make the relay.

    Raises:
        ConfigError: A certificate or an endpoint cannot be used.
    """
    lack = reactor_lacks(reactor)
    if lack is not None:
        log.warn("{lack}", lack=lack)
    for broken in discovered.broken:
        log.error("plugin {where} is skipped: {error}", where=broken.where, error=broken.error)
    entrances = [
        Entrance(listener.endpoint, endpoint_of(reactor, listener.endpoint), listener.kinds)
        for listener in config.listen
    ]
    limits, certificates = config.limits, certificates_of(config)
    place = Place(config.domain, tcp_ports=range(config.tcp_ports.first, config.tcp_ports.last + 1))
    return RelayService(
        reactor,
        place,
        (config.region,),
        entrances,
        FileAccounts(config.accounts, config.anonymous),
        certificates,
        discovered.protocols,
        Admission(
            config.hello_timeout, limits.sessions, limits.tunnels, limits.streams, limits.unauthenticated
        ),
        load_key(config.state / "ticket-key"),
    )


def endpoint_of(reactor: Any, description: str) -> IStreamServerEndpoint:
    """Make an endpoint out of its description, whose form has been checked.

    Raises:
        ConfigError: It cannot be had, such as a socket that systemd did not pass.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:  # KeyError, IndexError, ValueError: Twisted's parsers raise what they like
        problem = f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot listen on {description}: {problem}") from error
    return endpoint


def certificates_of(config: RelayConfig) -> Certificates:
    """Return the relay's certificates: of the folder, else of an authority of its own.

    Raises:
        ConfigError: One cannot be used, or there is none for the relay's own name.
    """
    certificates = _certificates_of(config)
    try:
        key = certificates.fingerprint_for(config.domain)
    except ConfigError as error:
        raise ConfigError(f"{config.certificates}: {error}, the relay's own name") from None
    log.info("{domain} has the key {fingerprint}", domain=config.domain, fingerprint=key)
    _check_wildcard(config, certificates)
    return certificates


def _check_wildcard(config: RelayConfig, certificates: Certificates) -> None:
    """Warn of a relay that could serve no https tunnel."""
    if any("https" in listener.kinds for listener in config.listen):
        try:
            certificates.credentials_for(f"*.{config.domain}")
        except ConfigError as error:
            log.warn("{folder}: {error}, of https tunnels", folder=config.certificates, error=error)


def _certificates_of(config: RelayConfig) -> Certificates:
    if config.certificates is not None:
        return Certificates(config.certificates)
    authority = LocalAuthority.load_or_create(config.state)
    log.warn(
        "no certificates are configured: clients and visitors have to trust {path}",
        path=authority.certificate_path,
    )
    return Certificates(None, authority, (config.domain,))
