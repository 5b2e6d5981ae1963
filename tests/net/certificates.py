"""Certificates for tests: authorities and servers, made on the spot."""

from __future__ import annotations

import datetime
import ipaddress
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from burrow.net.tls import Credentials

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def subject(name: str) -> x509.Name:
    """Return a name with a common name only."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def general(name: str) -> x509.GeneralName:
    """Return an entry for a certificate's alternative names."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(
    *names: str,
    by: Credentials | None = None,
    authority: bool = False,
    days: tuple[float, float] = (-1, 30),
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Credentials:
    """Make a certificate for ``names``, signed by ``by`` or by itself."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    common = subject(names[0] if names else "nobody")
    builder = (
        x509.CertificateBuilder()
        .subject_name(common)
        .issuer_name(by.chain[0].subject if by else common)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + datetime.timedelta(days=days[0]))
        .not_valid_after(NOW + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if names and not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(general, names)), critical=False)
    signed = builder.sign(by.key if by else key, hashes.SHA256())  # type: ignore[arg-type]
    return Credentials((signed, *(by.chain[:-1] if by else ())), key)


@cache
def authority(name: str = "Test authority") -> Credentials:
    """Return an authority, the same for the same name."""
    return issue(name, authority=True)


@cache
def server(*names: str) -> Credentials:
    """Return the credentials of a server that the test authority signed."""
    return issue(*names, by=authority())
