"""Where the relay finds its certificates."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.net.tls import SESSION_ALPN, Credentials
from burrow.net.trust import Fingerprint, client_options
from burrow.relay import certificates as module
from burrow.relay.authority import LocalAuthority
from burrow.relay.certificates import Certificates
from tests.net.certificates import authority, issue
from tests.net.tls_case import TLSCase


def pem(credentials: Credentials) -> tuple[bytes, bytes]:
    """Return chain and key as PEM."""
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in credentials.chain)
    return chain, credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class FolderCase(SynchronousTestCase):
    """A folder of certificates."""

    def setUp(self) -> None:
        """Make an empty folder."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def put(self, name: str, *names: str, days: tuple[float, float] = (-1, 30)) -> x509.Certificate:
        """Put a pair ``NAME.pem`` and ``NAME.key`` there; return the certificate."""
        credentials = issue(*names, by=authority(), days=days)
        chain, key = pem(credentials)
        (self.folder / f"{name}.pem").write_bytes(chain)
        (self.folder / f"{name}.key").write_bytes(key)
        return credentials.chain[0]

    def found(self, hostname: str) -> x509.Certificate:
        """Return the certificate that is found for a name."""
        return Certificates(self.folder).credentials_for(hostname).chain[0]

    def refused(self, name: str) -> str:
        """Check that the folder is refused with an error that names a file; return the rest."""
        said = str(self.assertRaises(ConfigError, Certificates, self.folder))
        self.assertTrue(said.startswith(f"{self.folder / name}: "), said)
        return said.partition(": ")[2]


class FolderTests(FolderCase):
    """Certificates found by name."""

    def test_names_in_the_certificate_count(self) -> None:
        """A certificate is found by the names in it, not by its file's name."""
        one = self.put("anything", "a.example", "B.example", "192.0.2.1")
        for name in ("a.example", "b.example", "192.0.2.1"):
            self.assertEqual(self.found(name), one)
        said = str(self.assertRaises(ConfigError, self.found, "anything"))
        self.assertEqual(said, "there is no certificate for 'anything'")

    def test_most_specific_first(self) -> None:
        """The exact name goes before a wildcard, which covers one label and no more."""
        wild, exact = self.put("1", "*.example", "*.a.example"), self.put("2", "b.example")
        self.assertEqual(self.found("b.example"), exact)
        self.assertEqual(self.found("c.example"), wild)
        self.assertEqual(self.found("x.a.example"), wild)
        self.assertRaises(ConfigError, self.found, "x.b.example")
        self.assertRaises(ConfigError, self.found, "example")

    def test_longer_good_counts(self) -> None:
        """Of two certificates for a name the one that is good for longer is taken."""
        self.put("1", "a.example", days=(-1, 10))
        late = self.put("2", "a.example", days=(-1, 50))
        self.put("3", "a.example", days=(-1, 20))
        self.assertEqual(self.found("a.example"), late)

    def test_forms_of_files(self) -> None:
        """The key may be in the same file or beside it, in either way of naming it."""
        for number, key_name in enumerate((None, "x.key", "x-key.pem")):
            for path in self.folder.iterdir():
                path.unlink()
            chain, key = pem(issue(f"{number}.example", by=authority()))
            (self.folder / "x.crt").write_bytes(chain + (b"" if key_name else key))
            if key_name:
                (self.folder / key_name).write_bytes(key)
            (self.folder / "README").write_bytes(b"not ours")
            self.found(f"{number}.example")

    def test_rsa(self) -> None:
        """RSA keys are taken too."""
        credentials = issue("rsa.example", key=rsa.generate_private_key(65537, 2048))  # type: ignore
        chain, key = pem(credentials)
        (self.folder / "rsa.pem").write_bytes(key + chain)
        Certificates(self.folder).context_for("rsa.example")


class BadFolderTests(FolderCase):
    """Files that cannot be used are named."""

    def test_no_folder(self) -> None:
        """A folder that is missing or empty is named."""
        said = str(self.assertRaises(ConfigError, Certificates, self.folder / "none"))
        self.assertEqual(said, f"{self.folder / 'none'}: No such file or directory")
        said = str(self.assertRaises(ConfigError, Certificates, self.folder))
        self.assertIn("no certificates: wanted NAME.pem", said)

    def test_missing_key(self) -> None:
        """A certificate without a key says where the key was looked for."""
        self.put("a", "a.example")
        (self.folder / "a.key").unlink()
        self.assertEqual(self.refused("a.pem"), "no key: wanted it in the same file or in a.key")

    def test_other_key(self) -> None:
        """A key that is not the certificate's is told with both files."""
        self.put("a", "a.example")
        (self.folder / "a.key").write_bytes(pem(issue("b.example"))[1])
        self.assertEqual(
            self.refused("a.pem"), f"its first certificate is not for the key in {self.folder / 'a.key'}"
        )

    def test_unreadable_contents(self) -> None:
        """Garbage, an encrypted key and a key of another kind are told apart."""
        self.put("a", "a.example")
        path = self.folder / "a.key"
        path.write_bytes(b"garbage")
        self.assertEqual(self.refused("a.key"), "wanted a private key in PEM form")
        key = ec.generate_private_key(ec.SECP256R1())
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        path.write_bytes(locked)
        self.assertIn("encrypted", self.refused("a.key"))
        other = x25519.X25519PrivateKey.generate()
        path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.assertIn("X25519", self.refused("a.key"))
        (self.folder / "a.pem").write_bytes(b"garbage")
        self.assertEqual(self.refused("a.pem"), "wanted certificates in PEM form")

    def test_out_of_time(self) -> None:
        """A certificate that is over, or not valid yet, is refused with the date."""
        old = self.put("a", "a.example", days=(-20, -10))
        self.assertEqual(self.refused("a.pem"), f"expired on {old.not_valid_after_utc:%Y-%m-%d}")
        early = self.put("a", "a.example", days=(10, 20))
        self.assertEqual(self.refused("a.pem"), f"not valid before {early.not_valid_before_utc:%Y-%m-%d}")

    def test_no_names(self) -> None:
        """A certificate without names cannot be found by anybody, and says so."""
        self.put("a")
        self.assertEqual(self.refused("a.pem"), "the certificate has no names (subjectAltName)")


class ContextTests(FolderCase):
    """Contexts, and the authority that signs on demand."""

    def test_authority_signs_below_its_names(self) -> None:
        """The authority signs for its names and those below, and for everything if told so."""
        local = LocalAuthority.load_or_create(self.folder / "state")
        certificates = Certificates(None, local, ("localhost", "b.example"))
        for name in ("localhost", "a.localhost", "x.y.b.example"):
            certificates.context_for(name)
        for name in ("notlocalhost", "example", "c.example"):
            self.assertRaises(ConfigError, certificates.context_for, name)
        Certificates(None, local, ("",)).context_for("anything.example")

    def test_folder_before_authority(self) -> None:
        """A certificate of the folder goes before one that the authority would sign."""
        own = self.put("a", "a.localhost")
        local = LocalAuthority.load_or_create(self.folder / "state")
        certificates = Certificates(self.folder, local, ("localhost",))
        self.assertEqual(certificates.credentials_for("a.localhost").chain[0], own)
        self.assertNotEqual(certificates.credentials_for("b.localhost").chain[0], own)

    def test_contexts_are_kept(self) -> None:
        """A context is made once for a name and its protocols, and their number is bounded."""
        self.put("a", "*.example")
        certificates = Certificates(self.folder)
        first = certificates.context_for("a.example", (b"h2",))
        self.assertIs(certificates.context_for("a.example", (b"h2",)), first)
        self.assertIsNot(certificates.context_for("a.example"), first)
        self.patch(module, "CONTEXT_LIMIT", 3)
        for number in range(10):
            certificates.context_for(f"{number}.example")
        self.assertEqual(len(certificates._contexts), 3)
        self.assertIsNot(certificates.context_for("a.example", (b"h2",)), first)

    def test_renewed_certificate_has_a_new_context(self) -> None:
        """A context goes with the certificate that it was made for."""
        local = LocalAuthority.load_or_create(self.folder / "state")
        certificates = Certificates(None, local, ("",))
        first = certificates.context_for("a.example")
        local._leaves.clear()
        self.assertIsNot(certificates.context_for("a.example"), first)


class HandshakeTests(TLSCase):
    """Contexts at work."""

    def test_session(self) -> None:
        """A session's context negotiates ``burrow/1``, and its key is what a join token names."""
        folder = Path(self.mktemp())
        certificates = Certificates(None, LocalAuthority.load_or_create(folder), ("localhost",))
        trust = Fingerprint(certificates.fingerprint_for("relay.localhost"))
        client, _ = self.secure(
            certificates.session_context("relay.localhost"),
            client_options("relay.localhost", trust, (SESSION_ALPN,)),
        )
        self.assertEqual(client.negotiated, SESSION_ALPN)
        self.assertRaises(ConfigError, certificates.fingerprint_for, "other.example")
