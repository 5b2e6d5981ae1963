"""The local certificate authority."""

from __future__ import annotations

import datetime
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.net.tls import server_context
from burrow.net.trust import client_options, fingerprint
from burrow.relay import authority as module
from burrow.relay.authority import LEAF_LIMIT, LocalAuthority
from tests.net.tls_case import TLSCase

MAKE = """
import sys
from pathlib import Path
from burrow.relay.authority import LocalAuthority
print("ready", flush=True)
sys.stdin.readline()
print(LocalAuthority.load_or_create(Path(sys.argv[1])).certificate.serial_number)
"""


def extension(certificate: x509.Certificate, kind: Any) -> Any:
    """Return the value of one extension."""
    return certificate.extensions.get_extension_for_class(kind).value


class AuthorityCase(SynchronousTestCase):
    """An authority in a directory of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.directory = Path(self.mktemp()).absolute() / "state" / "burrow"
        self.authority = LocalAuthority.load_or_create(self.directory)

    def mode(self, name: str) -> int:
        """Return the permissions of a file."""
        return stat.S_IMODE((self.directory / name).stat().st_mode)


class FileTests(AuthorityCase):
    """What is kept on disk."""

    def test_made_once(self) -> None:
        """The second time the same authority and the same key come from disk."""
        again = LocalAuthority.load_or_create(self.directory)
        self.assertEqual(again.certificate, self.authority.certificate)
        self.assertEqual(
            fingerprint(again.leaf("a.localhost").chain[0]),
            fingerprint(self.authority.leaf("b.localhost").chain[0]),
        )

    def test_modes(self) -> None:
        """Directory and keys are for their owner alone; the certificate can be read by all."""
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)
        self.assertEqual([self.mode("ca-key.pem"), self.mode("server-key.pem")], [0o600, 0o600])
        self.assertEqual(self.mode("ca.pem"), 0o644 & ~_umask())
        self.assertEqual(self.authority.certificate_path, self.directory / "ca.pem")
        self.assertEqual(len(list(self.directory.iterdir())), 4, "something else is left there")

    def test_keys_are_private_from_the_first_byte(self) -> None:
        """A key file is opened with its mode, whatever the umask."""
        modes: list[int] = []
        opened = os.open

        def open_(path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
            modes.append(mode)
            return opened(path, flags, mode, **rest)

        self.patch(module.os, "open", open_)
        LocalAuthority.load_or_create(Path(self.mktemp()))
        self.assertEqual(sorted(modes), [0o600, 0o600, 0o600, 0o644])

    def test_loose_key_is_told(self) -> None:
        """A key that others can read is used, with a warning that names it."""
        events: list[Any] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        (self.directory / "ca-key.pem").chmod(0o644)
        LocalAuthority.load_or_create(self.directory)
        self.assertEqual(
            [event["path"] for event in events if "path" in event], [self.directory / "ca-key.pem"]
        )

    def test_processes_at_once(self) -> None:
        """Processes that make it at the same time end up with one authority."""
        directory = Path(self.mktemp()).absolute()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        running: list[Any] = [
            subprocess.Popen([sys.executable, "-c", MAKE, directory], cwd=ROOT, **pipes) for _ in range(3)
        ]
        for process in running:
            self.assertEqual(process.stdout.readline(), b"ready\n")
        for process in running:
            process.stdin.write(b"go\n")
            process.stdin.flush()
        printed = {process.communicate(timeout=60)[0] for process in running}
        own = LocalAuthority.load_or_create(directory).certificate.serial_number
        self.assertEqual(printed, {f"{own}\n".encode()})

    def test_interrupted_making_is_finished(self) -> None:
        """A key without a certificate, left by a process that died, gets its certificate."""
        (self.directory / "ca.pem").unlink()
        again = LocalAuthority.load_or_create(self.directory)
        self.assertEqual(again.certificate.public_key(), self.authority.certificate.public_key())

    def broken(self, name: str) -> str:
        """Check that loading fails with an error that names a file and a way to mend it."""
        said = str(self.assertRaises(ConfigError, LocalAuthority.load_or_create, self.directory))
        self.assertTrue(said.startswith(f"{self.directory / name}: "), said)
        self.assertNotIn("\n", said)
        return said

    def test_damaged_files(self) -> None:
        """A damaged file is named, with what to do about it."""
        for name in ("ca.pem", "ca-key.pem", "server-key.pem"):
            path = self.directory / name
            kept = path.read_bytes()
            for content in (b"", b"damaged", kept[: len(kept) // 2]):
                path.write_bytes(content)
                self.assertIn("remove ", self.broken(name))
            path.write_bytes(kept)
        LocalAuthority.load_or_create(self.directory)

    def test_other_keys(self) -> None:
        """A key of another kind, a missing key and a key of another authority are told apart."""
        path = self.directory / "ca-key.pem"
        other = rsa.generate_private_key(65537, 2048)
        path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.assertIn("EC private key", self.broken("ca-key.pem"))
        path.write_bytes((self.directory / "server-key.pem").read_bytes())
        self.assertIn("not for the key", self.broken("ca.pem"))
        path.unlink()
        self.assertIn("is missing", self.broken("ca-key.pem"))

    def test_end_of_life(self) -> None:
        """An authority near its end is refused with the date."""
        now = module._now() + module.AUTHORITY_LIFE - datetime.timedelta(days=10)
        self.patch(module, "_now", lambda: now)
        self.assertIn(
            f"ends on {self.authority.certificate.not_valid_after_utc:%Y-%m-%d}", self.broken("ca.pem")
        )

    def test_directory_that_cannot_be_made(self) -> None:
        """A directory that cannot be made is one error that names it."""
        path = Path(self.mktemp()).absolute()
        path.write_bytes(b"")
        said = str(self.assertRaises(ConfigError, LocalAuthority.load_or_create, path / "state"))
        self.assertIn(str(path), said)


class CertificateTests(AuthorityCase):
    """What is signed."""

    def test_authority(self) -> None:
        """The authority says whose it is, and may sign servers only."""
        certificate = self.authority.certificate
        [name] = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.assertTrue(str(name.value).startswith("burrow on "))
        self.assertLessEqual(len(name.value), 64)
        self.assertEqual(extension(certificate, x509.BasicConstraints), x509.BasicConstraints(True, 0))
        self.assertTrue(extension(certificate, x509.KeyUsage).key_cert_sign)
        years = (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days / 365
        self.assertAlmostEqual(years, 10, places=1)

    def test_leaf(self) -> None:
        """A name has a certificate for itself alone, good for less than 398 days."""
        [certificate] = self.authority.leaf("app.localhost").chain
        names = extension(certificate, x509.SubjectAlternativeName)
        self.assertEqual(list(names), [x509.DNSName("app.localhost")])
        self.assertEqual(extension(certificate, x509.BasicConstraints).ca, False)
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        self.assertLess(life, datetime.timedelta(days=397))
        self.assertLess(certificate.not_valid_before_utc, module._now() - datetime.timedelta(minutes=59))
        certificate.verify_directly_issued_by(self.authority.certificate)

    def test_long_name(self) -> None:
        """A name longer than a common name can be has a certificate too."""
        name = ".".join(["a" * 60] * 3 + ["localhost"])
        [certificate] = self.authority.leaf(name).chain
        self.assertEqual(list(extension(certificate, x509.SubjectAlternativeName)), [x509.DNSName(name)])

    def test_kept_and_renewed(self) -> None:
        """The same certificate is returned until it nears its end."""
        first = self.authority.leaf("a.localhost")
        self.assertIs(self.authority.leaf("a.localhost"), first)
        later = module._now() + module.LEAF_LIFE - datetime.timedelta(days=29)
        self.patch(module, "_now", lambda: later)
        self.assertIsNot(self.authority.leaf("a.localhost"), first)

    def test_bounded(self) -> None:
        """Names without end do not take memory without end."""
        first = self.authority.leaf("used.localhost")
        self.patch(module, "LEAF_LIMIT", 10)
        for number in range(30):
            self.authority.leaf(f"{number}.localhost")
            self.assertIs(self.authority.leaf("used.localhost"), first)
        self.assertEqual(len(self.authority._leaves), 10)
        self.assertGreater(LEAF_LIMIT, 100)


class HandshakeTests(TLSCase):
    """Clients that trust the authority."""

    def test_names_and_addresses(self) -> None:
        """A client that has ``ca.pem`` accepts names and addresses, each with its own certificate."""
        authority = LocalAuthority.load_or_create(Path(self.mktemp()))
        for name in ("localhost", "a.b.localhost", "127.0.0.1", "::1"):
            context = server_context(authority.leaf(name))
            self.secure(context, client_options(name, authority.certificate_path))
            said = self.refused(context, client_options("other.localhost", authority.certificate_path))
            self.assertIn(repr(name), said)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


ROOT = Path(__file__).parents[2]
