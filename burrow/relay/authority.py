"""The local certificate authority: made once, it signs a certificate for each name on demand.

For relays whose names no public authority signs: the embedded one below ``localhost``, and test
set-ups. Each name has a certificate of its own, since clients refuse a wildcard ``*.localhost``.
All of them hold one key, so that the fingerprint in a join token stays true.
"""

from __future__ import annotations

import datetime
import fcntl
import getpass
import ipaddress
import os
import socket
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.logger import Logger

from burrow.errors import ConfigError
from burrow.net.tls import Credentials

CERTIFICATE, KEY, SERVER_KEY, LOCK = "ca.pem", "ca-key.pem", "server-key.pem", "lock"

AUTHORITY_LIFE = datetime.timedelta(days=3650)
LEAF_LIFE = datetime.timedelta(days=396)  # clients refuse more than 398 days
RENEW_BEFORE = datetime.timedelta(days=30)  #: what a certificate still has to be good for
BACKDATED = datetime.timedelta(hours=1)  #: for visitors whose clock is slow
LEAF_LIMIT = 1024  #: certificates kept; the one not used for longest is made anew when asked for
LONGEST_COMMON_NAME = 64  #: characters, RFC 5280 appendix A.1 (ub-common-name)

log = Logger()


@dataclass(frozen=True)
class _Paths:
    """The files of an authority."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / CERTIFICATE

    @property
    def key(self) -> Path:
        return self.directory / KEY

    @property
    def server_key(self) -> Path:
        return self.directory / SERVER_KEY

    def broken(self, path: Path, what: str) -> ConfigError:
        """Return the error for a file that cannot be used, with the way to mend it."""
        mend = f"remove {self.certificate} and {self.key} to have a new authority made, and trust that one"
        return ConfigError(f"{path}: {what}; {mend}")


class LocalAuthority:
    """An authority whose files are at hand.

    Attributes:
        certificate: Its own certificate, which visitors and clients have to trust.
        certificate_path: The PEM file of that certificate.
    """

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        server_key: ec.EllipticCurvePrivateKey,
        certificate_path: Path,
    ) -> None:
        """Sign with ``key``; made by `load_or_create`."""
        self.certificate, self.certificate_path = certificate, certificate_path
        self._key, self._server_key = key, server_key
        self._leaves: OrderedDict[str, Credentials] = OrderedDict()

    @classmethod
    def load_or_create(cls, directory: Path) -> LocalAuthority:
        """Load the authority of ``directory``, which is made with it if it is not there.

        Processes that do so at once end up with the same authority.

        Raises:
            ConfigError: A file cannot be read, written or understood; the text says how to mend it.
        """
        paths = _Paths(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(directory / LOCK):
                key = _key(paths, paths.key, may_make=not paths.certificate.exists())
                certificate = _authority_certificate(paths, key)
                server_key = _key(paths, paths.server_key, may_make=True)
        except OSError as error:
            raise ConfigError(f"{error.filename or directory}: {error.strerror or error}") from None
        return cls(certificate, key, server_key, paths.certificate)

    def leaf(self, hostname: str) -> Credentials:
        """Return a certificate for exactly one name, with its key; the same one while it is good.

        Args:
            hostname: A canonical name or a numeric address.
        """
        kept = self._leaves.pop(hostname, None)
        if kept is None or kept.chain[0].not_valid_after_utc < _now() + RENEW_BEFORE:
            kept = Credentials((self._sign(hostname),), self._server_key)
        self._leaves[hostname] = kept
        if len(self._leaves) > LEAF_LIMIT:
            self._leaves.popitem(last=False)
        return kept

    def _sign(self, hostname: str) -> x509.Certificate:
        now, public = _now(), self._server_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(hostname if len(hostname) <= LONGEST_COMMON_NAME else "burrow"))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + LEAF_LIFE, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_general_name(hostname)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())


def _authority_certificate(paths: _Paths, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Load the authority's certificate, or make it for a key that has none yet."""
    if not paths.certificate.exists():
        made = _sign_authority(key)
        _write(paths.certificate, made.public_bytes(Encoding.PEM), 0o644)
        return made
    try:
        certificate = x509.load_pem_x509_certificate(paths.certificate.read_bytes())
    except ValueError:
        raise paths.broken(paths.certificate, "wanted a certificate in PEM form") from None
    if certificate.public_key() != key.public_key():
        raise paths.broken(paths.certificate, f"this certificate is not for the key in {paths.key}")
    if certificate.not_valid_after_utc < _now() + RENEW_BEFORE:
        raise paths.broken(paths.certificate, f"ends on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return certificate


def _sign_authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now, public, name = _now(), key.public_key(), _common_name(f"burrow on {_whose()}")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _key(paths: _Paths, path: Path, may_make: bool) -> ec.EllipticCurvePrivateKey:
    """Load a private key, or make it if it is missing and may be made."""
    if may_make and not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        return key
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            log.warn("{path} can be read by others: wanted mode 0600", path=path)
        loaded = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError:
        raise paths.broken(path, "is missing") from None
    except (ValueError, TypeError):
        loaded = None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise paths.broken(path, "wanted an unencrypted EC private key in PEM form")
    return loaded


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file whole or not at all, with ``mode`` from its first byte."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock among processes; the system releases it should this one die."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(hostname: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(hostname))
    except ValueError:
        return x509.DNSName(hostname)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:LONGEST_COMMON_NAME])])


def _whose() -> str:
    """Return whom the authority belongs to, for people who look at a list of authorities."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in a container
        user = str(os.getuid())
    return f"{socket.gethostname()} ({user})"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
