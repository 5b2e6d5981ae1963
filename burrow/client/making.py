"""A client out of its configuration: whom it trusts, where it connects, what it publishes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.logger import Logger, LogLevel

from burrow import __version__
from burrow.client.config import ClientConfig
from burrow.client.connecting import RelayEndpoint
from burrow.client.definitions import TunnelDefinition
from burrow.client.network import NetworkWatch
from burrow.client.service import Client, Network, Watcher
from burrow.client.tunnels import Tunnel
from burrow.client.upstream import TcpUpstream
from burrow.errors import ConfigError
from burrow.names import is_localhost
from burrow.net.tls import SESSION_ALPN, SESSION_TLS
from burrow.net.trust import Fingerprint, Trust, client_options
from burrow.session.handshake import Offer

log = Logger()

INSTANCE = secrets.token_bytes(16)  #: this process, for as long as it lives


def make_client(
    reactor: Any,
    config: ClientConfig,
    definitions: Sequence[TunnelDefinition],
    watcher: Watcher,
    local_authority: Path,
    address: str = "",
    network: Network | None = None,
) -> Client:
    """Make the client; nothing is connected before it starts.

    Args:
        reactor: Connects, resolves names and tells the time.
        config: With a ``server_addr``.
        definitions: The tunnels to publish.
        watcher: Told what happens.
        local_authority: The certificate of the embedded relay's authority; it may not exist.
        address: Where the relay is, if that is known: a numeric address.
        network: Tells that the network is back; by default what the system says.

    Raises:
        ConfigError: A certificate or a tunnel's settings cannot be used.
    """
    relay = config.server_addr
    if relay is None:
        raise ConfigError("server_addr is missing: wanted HOST[:PORT] of a relay")
    offer = Offer(
        f"burrow/{__version__}",
        INSTANCE,
        "token" if config.authtoken else "anonymous",
        config.authtoken,
        config.region,
    )
    tls = verification(config, relay.host, local_authority)
    endpoint = RelayEndpoint(reactor, relay.host, relay.port, tls, offer, address)
    tunnels = [tunnel_of(reactor, number, definition) for number, definition in enumerate(definitions, 1)]
    return Client(reactor, endpoint, tunnels, watcher, network or NetworkWatch(reactor))


def tunnel_of(reactor: Any, number: int, definition: TunnelDefinition) -> Tunnel:
    """Make a tunnel; whatever its plugin raises is the operator's to read, in one line.

    Raises:
        ConfigError: The plugin made no forwarder of the definition; the tunnel is named.
    """
    name = definition.name
    try:
        return Tunnel(number, definition, upstream_of(reactor, definition), reactor)
    except ConfigError as error:
        raise ConfigError(f"Tunnel {name!r} cannot be made: {error}") from None
    except Exception as error:
        log.failure("the forwarder of tunnel {name!r} cannot be made", name=name, level=LogLevel.debug)
        plugin = definition.protocol.name
        problem = f"the plugin {plugin!r} failed with {type(error).__name__}: {error}"
        raise ConfigError(f"Tunnel {name!r} cannot be made: {' '.join(problem.split())}") from error


def upstream_of(reactor: Any, definition: TunnelDefinition) -> TcpUpstream:
    """Return where a tunnel's visitors are joined to."""
    addr = definition.addr
    return TcpUpstream(reactor, addr.host, addr.port, str(addr))


def verification(config: ClientConfig, host: str, local_authority: Path) -> IOpenSSLClientConnectionCreator:
    """Return how the relay is verified (row F8, ``root_cas``).

    ``trusted`` means the join token's fingerprint if there is one, else the embedded relay's
    authority for names of this machine, else the host's roots.
    """
    trust: Trust = config.root_cas if isinstance(config.root_cas, Path) else None
    if config.root_cas == "trusted" and config.fingerprint is not None:
        trust = Fingerprint(config.fingerprint)
    elif config.root_cas == "trusted" and is_localhost(host) and local_authority.exists():
        trust = local_authority
    return client_options(host, trust, [SESSION_ALPN], SESSION_TLS)
