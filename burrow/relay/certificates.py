"""Where the relay finds a certificate for a name: a folder of PEM files, a local authority."""

from __future__ import annotations

import datetime
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from burrow.errors import ConfigError
from burrow.names import canonical, wildcards_over
from burrow.net.tls import (
    LEAST_TLS,
    SESSION_ALPN,
    SESSION_TLS,
    Credentials,
    ServerContext,
    ServerKey,
    server_context,
)
from burrow.net.trust import fingerprint, read_certificates
from burrow.relay.authority import LocalAuthority

CONTEXT_LIMIT = 1024  #: contexts kept; the one not used for longest is made anew when asked for

KEY_KINDS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


class Certificates:
    """The relay's certificates, and a TLS context for each name that is asked for."""

    def __init__(
        self,
        directory: Path | None,
        authority: LocalAuthority | None = None,
        suffixes: tuple[str, ...] = (),
    ) -> None:
        """Read the folder once.

        Args:
            directory: Holds ``NAME.pem`` or ``NAME.crt``, each with its key in the same file, in
                ``NAME.key`` or in ``NAME-key.pem``. What counts are the names in the certificates.
            authority: Signs for names that the folder has none for.
            suffixes: What the authority signs for: these names and all below; the empty text
                stands for every name.

        Raises:
            ConfigError: A file of the folder cannot be used; it is named.
        """
        self._found = read_folder(directory) if directory is not None else {}
        self._authority, self._suffixes = authority, suffixes
        self._contexts: OrderedDict[tuple[str, tuple[bytes, ...], int], tuple[Credentials, ServerContext]] = (
            OrderedDict()
        )

    def credentials_for(self, hostname: str) -> Credentials:
        """Return certificate and key for a canonical name or numeric address.

        The folder's certificate for exactly that name goes before a wildcard, which covers one
        label (RFC 9525 section 6.3), and that before the authority's.

        Raises:
            ConfigError: There is none.
        """
        if hostname in self._found:
            return self._found[hostname]
        wildcard = next(wildcards_over(hostname), "")
        if wildcard in self._found:
            return self._found[wildcard]
        if self._authority is not None and self._signs(hostname):
            return self._authority.leaf(hostname)
        raise ConfigError(f"there is no certificate for {hostname!r}")

    def context_for(
        self, hostname: str, alpn: tuple[bytes, ...] = (), least: int = LEAST_TLS
    ) -> ServerContext:
        """Return the TLS context of a name; the same one while its certificate is.

        Args:
            hostname: A canonical name or a numeric address.
            alpn: Application protocols to choose from, the preferred first.
            least: The least version of TLS, see `server_context`.

        Raises:
            ConfigError: There is no certificate for that name.
        """
        credentials, key = self.credentials_for(hostname), (hostname, alpn, least)
        kept = self._contexts.pop(key, None)
        if kept is None or kept[0] is not credentials:
            kept = (credentials, server_context(credentials, alpn, least))
        self._contexts[key] = kept
        if len(self._contexts) > CONTEXT_LIMIT:
            self._contexts.popitem(last=False)
        return kept[1]

    def session_context(self, hostname: str) -> ServerContext:
        """Return the TLS context for sessions' links that ask for a name; see `context_for`."""
        return self.context_for(hostname, (SESSION_ALPN,), SESSION_TLS)

    def fingerprint_for(self, hostname: str) -> str:
        """Return the fingerprint that a join token carries for a relay of that name.

        Raises:
            ConfigError: There is no certificate for that name.
        """
        return fingerprint(self.credentials_for(hostname).chain[0])

    def _signs(self, hostname: str) -> bool:
        return any(suffix in ("", hostname) or hostname.endswith("." + suffix) for suffix in self._suffixes)


def read_folder(directory: Path) -> dict[str, Credentials]:
    """Return the certificates of a folder by the names they are for.

    Of two for the same name the one that is good for longer counts.

    Raises:
        ConfigError: The folder, or a file in it, cannot be used.
    """
    try:
        paths = sorted(path for path in directory.iterdir() if _holds_certificate(path))
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror or error}") from None
    if not paths:
        raise ConfigError(f"{directory}: no certificates: wanted NAME.pem or NAME.crt, with NAME.key")
    found: dict[str, Credentials] = {}
    for path in paths:
        credentials = _read_pair(path)
        for name in _names(path, credentials.chain[0]):
            if name not in found or _end(found[name]) < _end(credentials):
                found[name] = credentials
    return found


def _holds_certificate(path: Path) -> bool:
    hidden = path.name.startswith(".") or path.name.endswith("-key.pem")
    return path.suffix in (".pem", ".crt") and not hidden


def _end(credentials: Credentials) -> datetime.datetime:
    return credentials.chain[0].not_valid_after_utc


def _read_pair(path: Path) -> Credentials:
    """Return the certificates of one file with their key, checked."""
    chain, (key_path, key) = read_certificates(path), _read_key(path)
    if chain[0].public_key() != key.public_key():
        raise ConfigError(f"{path}: its first certificate is not for the key in {key_path}")
    now = datetime.datetime.now(datetime.UTC)
    if chain[0].not_valid_after_utc < now:
        raise ConfigError(f"{path}: expired on {chain[0].not_valid_after_utc:%Y-%m-%d}")
    if chain[0].not_valid_before_utc > now:
        raise ConfigError(f"{path}: not valid before {chain[0].not_valid_before_utc:%Y-%m-%d}")
    credentials = Credentials(tuple(chain), key)
    try:
        server_context(credentials)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return credentials


def _read_key(path: Path) -> tuple[Path, ServerKey]:
    """Return the private key for the certificate in ``path``, and where it is."""
    for candidate in (path, path.with_suffix(".key"), path.with_name(f"{path.stem}-key.pem")):
        try:
            content = candidate.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"{candidate}: {error.strerror or error}") from None
        if candidate != path or b"PRIVATE KEY-----" in content:
            return candidate, _parsed_key(candidate, content)
    raise ConfigError(f"{path}: no key: wanted it in the same file or in {path.stem}.key")


def _parsed_key(path: Path, content: bytes) -> ServerKey:
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise ConfigError(f"{path}: the key is encrypted: wanted it without a password") from None
    except ValueError:
        raise ConfigError(f"{path}: wanted a private key in PEM form") from None
    if not isinstance(key, KEY_KINDS):
        raise ConfigError(f"{path}: wanted an RSA, EC or Ed25519 key, got {type(key).__name__}")
    return key


def _names(path: Path, certificate: x509.Certificate) -> Iterator[str]:
    """Yield the names and addresses that a certificate is for; names nobody can ask for are left out."""
    try:
        entries = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise ConfigError(f"{path}: the certificate has no names (subjectAltName)") from None
    for address in entries.get_values_for_type(x509.IPAddress):
        yield str(address)
    for name in entries.get_values_for_type(x509.DNSName):
        try:
            yield canonical(name)
        except ValueError:
            continue
