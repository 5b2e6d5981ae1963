"""The fingerprint of a relay's key, which a join token carries."""

from __future__ import annotations

from pathlib import Path

from burrow.discovery import discover
from burrow.errors import ConfigError
from burrow.net.trust import fingerprint, read_certificates
from burrow.relay.authority import CERTIFICATE, LocalAuthority
from burrow.relay.certificates import Certificates
from burrow.relay.config import RelayConfig, load_relay_config

CONFIGURATIONS = (".yml", ".yaml")


def relay_fingerprint(path: Path) -> str:
    """Return ``sha256:`` and the hex hash of the key that a relay shows its clients.

    Args:
        path: The relay's configuration file, or a certificate in PEM form, whose first one counts.

    Raises:
        ConfigError: The file cannot be used, or the relay has no certificate for its name yet.
    """
    if path.suffix not in CONFIGURATIONS:
        return fingerprint(read_certificates(path)[0])
    config = load_relay_config(path, tuple(discover().protocols))
    return _certificates(path, config).fingerprint_for(config.domain)


def _certificates(path: Path, config: RelayConfig) -> Certificates:
    """Return what the relay has; makes nothing, since another user may be asking."""
    if config.certificates is not None:
        return Certificates(config.certificates)
    if not (config.state / CERTIFICATE).exists():
        raise ConfigError(
            f"{path}: there is no key yet in {config.state}: the relay makes one when it starts, and logs it"
        )
    return Certificates(None, LocalAuthority.load_or_create(config.state), (config.domain,))
