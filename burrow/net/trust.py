"""Whom a client of TLS trusts, and how a server's certificate is verified.

The certificate is judged inside the handshake, so nothing is sent to a server that is not trusted.
Names are matched by service-identity (RFC 9525), chains by OpenSSL (RFC 5280).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from service_identity.cryptography import extract_patterns, verify_certificate_ip_address
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from burrow.errors import BurrowError, ConfigError
from burrow.net.tls import LEAST_TLS, new_context

#: What OpenSSL's verdicts mean to a reader (X509_V_ERR_* in ``openssl/x509_vfy.h``).
VERDICTS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself, and not trusted here",
    19: "is not trusted here",
    20: "is signed by an authority that is not trusted here",
    21: "is signed by an authority that is not trusted here",
}


class CertificateRefused(SSL.Error, BurrowError):
    """The server's certificate was refused; the text is one line that says why.

    It arrives as the reason of ``connectionLost``. It is an error of OpenSSL too, as everything is
    that Twisted expects in a handshake.
    """

    def __init__(self, message: str) -> None:
        """Say why in ``message``."""
        super().__init__([("burrow", "verify", message)])
        self.message = message

    def __str__(self) -> str:
        """Return the one line."""
        return self.message


@dataclass(frozen=True)
class Fingerprint:
    """Trust in one public key, whatever certificate holds it; its name and dates do not matter.

    Attributes:
        text: ``sha256:`` and 64 lower-case hex digits, as `fingerprint` returns it.
    """

    text: str


#: The host's roots (``None``), a PEM file, certificates, or one public key.
Trust = Path | Sequence[x509.Certificate] | Fingerprint | None


def fingerprint(certificate: x509.Certificate) -> str:
    """Return ``sha256:`` and the hex hash of a certificate's public key (SubjectPublicKeyInfo, DER)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "sha256:" + hashlib.sha256(key).hexdigest()


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file.

    Raises:
        ConfigError: It cannot be read or holds none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise ConfigError(f"{path}: wanted certificates in PEM form") from None


@implementer(IOpenSSLClientConnectionCreator)
class ClientOptions:
    """How connections to one server are opened and verified; made by `client_options`."""

    def __init__(self, hostname: str, context: SSL.Context) -> None:
        """Open connections with ``context``, which verifies."""
        self._hostname, self._context = hostname, context

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """See `IOpenSSLClientConnectionCreator`."""
        connection = SSL.Connection(self._context, None)
        if not _is_address(self._hostname):  # RFC 6066 section 3 has no addresses in server names
            connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        return connection


def client_options(
    hostname: str, trust: Trust, alpn: Sequence[bytes] = (), least: int = LEAST_TLS
) -> ClientOptions:
    """Make what a client's side of TLS needs.

    Args:
        hostname: The server's canonical name or its numeric address. The certificate has to be for
            it, except with a `Fingerprint`.
        trust: Who may have signed the certificate.
        alpn: Application protocols to offer, the preferred first.
        least: The least version of TLS, ``LEAST_TLS`` or ``SESSION_TLS`` of `burrow.net.tls`.

    Raises:
        ConfigError: The file of ``trust`` cannot be used.
    """
    context = new_context(least)
    if alpn:
        context.set_alpn_protos(list(alpn))
    if isinstance(trust, Fingerprint):
        context.set_verify(SSL.VERIFY_PEER, _KeyJudge(hostname, trust))
    else:
        _trust(context, trust)
        context.set_verify(SSL.VERIFY_PEER, _NameJudge(hostname))
    return ClientOptions(hostname, context)


def describe(error: BaseException) -> str:
    """Return why a TLS connection failed, in one line."""
    if isinstance(error, SSL.Error) and not isinstance(error, CertificateRefused):
        queue = error.args[0] if error.args else None
        if isinstance(queue, list) and queue:
            return f"TLS: {queue[-1][-1]}"
    return " ".join(str(error).split()) or type(error).__name__


def _trust(context: SSL.Context, trust: Path | Sequence[x509.Certificate] | None) -> None:
    """Let ``context`` accept chains that end at what is trusted."""
    if trust is None:
        context.set_default_verify_paths()
        return
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - every context has one; the check is for the type
    for certificate in read_certificates(trust) if isinstance(trust, Path) else trust:
        store.add_cert(crypto.X509.from_cryptography(certificate))


def _is_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True


def _verify_hostname(certificate: x509.Certificate, hostname: str) -> None:
    """Do what service-identity's ``verify_certificate_hostname`` does, wildcards over one label left out.

    No wildcard covers a name of one label, and up to 24.2 service-identity dies of comparing the two.
    """
    patterns = [
        pattern
        for pattern in extract_patterns(certificate)
        if "." in hostname or not (isinstance(pattern, DNSPattern) and b"*" in pattern.pattern)
    ]
    verify_service_identity(patterns, [DNS_ID(hostname)], [])


class _NameJudge:
    """Accepts a chain that OpenSSL accepts and whose certificate is for one name or address."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname

    def __call__(
        self, connection: SSL.Connection, certificate: crypto.X509, verdict: int, depth: int, fine: int
    ) -> bool:
        """Judge one certificate of the chain; OpenSSL asks from the root down to depth 0."""
        found = certificate.to_cryptography()
        if not fine:
            said = VERDICTS.get(verdict, f"is refused by OpenSSL (error {verdict})")
            which = "the certificate" if depth == 0 else f"the authority {_subject(found)}"
            raise CertificateRefused(f"{self._hostname}: {which} {said}")
        if depth == 0:
            self._check_name(found)
        return True

    def _check_name(self, certificate: x509.Certificate) -> None:
        verify = verify_certificate_ip_address if _is_address(self._hostname) else _verify_hostname
        try:
            verify(certificate, self._hostname)
        except (VerificationError, CertificateError):
            raise CertificateRefused(
                f"{self._hostname}: the certificate is for {_names(certificate)}"
            ) from None


class _KeyJudge:
    """Accepts any chain whose first certificate has one public key."""

    def __init__(self, hostname: str, trust: Fingerprint) -> None:
        self._hostname, self._wanted = hostname, trust.text

    def __call__(
        self, connection: SSL.Connection, certificate: crypto.X509, verdict: int, depth: int, fine: int
    ) -> bool:
        """Judge one certificate; who signed it and when does not matter."""
        if depth == 0:
            found = fingerprint(certificate.to_cryptography())
            if not hmac.compare_digest(found.encode(), self._wanted.encode()):
                raise CertificateRefused(f"{self._hostname}: wanted the key {self._wanted}, got {found}")
        return True


def _names(certificate: x509.Certificate) -> str:
    """Return the names that a certificate is for, as a message shows them."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return f"no name at all ({_subject(certificate)})"
    names = [repr(str(name.value)) for name in extension.value]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _subject(certificate: x509.Certificate) -> str:
    return repr(certificate.subject.rfc4514_string()[:80])
