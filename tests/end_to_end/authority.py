"""A certificate authority for tests: one root, leaves for any names."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey


class Authority:
    """A root certificate in a directory, and what it signs."""

    def __init__(self, directory: Path, name: str = "Burrow test authority") -> None:
        """Make a root; its certificate is written to ``directory``."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.BasicConstraints(ca=True, path_length=0)
        root = self._builder(self._name, self._key).add_extension(usage, critical=True)
        self.path = directory / "authority.pem"
        self.path.write_bytes(pem(root.sign(self._key, hashes.SHA256())))

    def issue(self, name: str, *names: str, directory: Path | None = None) -> tuple[Path, Path]:
        """Write ``NAME.crt`` and ``NAME.key`` for ``name`` and more ``names``; return both paths."""
        directory = directory or self._directory
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in (name, *names)])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        leaf = self._builder(subject, key).add_extension(alternatives, critical=False)
        certificate, private = directory / f"{name}.crt", directory / f"{name}.key"
        certificate.write_bytes(pem(leaf.sign(self._key, hashes.SHA256())))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, private

    def trust(self) -> ssl.SSLContext:
        """Return a visitor's context that trusts this authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.path))

    def _builder(self, subject: x509.Name, key: Key) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
        )


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
