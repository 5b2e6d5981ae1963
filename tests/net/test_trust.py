"""Whom a client of TLS trusts."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import BurrowError, ConfigError
from burrow.net.tls import server_context
from burrow.net.trust import (
    CertificateRefused,
    Fingerprint,
    client_options,
    describe,
    fingerprint,
    read_certificates,
)
from tests.net.certificates import authority, issue, server
from tests.net.tls_case import TLSCase

NAME = "relay.example"


class NameTests(TLSCase):
    """A server verified by name and authority."""

    def test_right_name_and_authority(self) -> None:
        """A certificate for the name, signed by who is trusted, is accepted."""
        self.secure(server_context(server(NAME)), client_options(NAME, authority().chain))

    def test_wildcard_and_intermediate(self) -> None:
        """A wildcard one label deep and a chain over an intermediate authority are accepted."""
        middle = issue("Middle", by=authority(), authority=True)
        middle = type(middle)((middle.chain[0], authority().chain[0]), middle.key)
        leaf = issue("*.relay.example", by=middle)
        self.assertEqual(len(leaf.chain), 2)
        self.secure(server_context(leaf), client_options("eu.relay.example", authority().chain))
        said = self.refused(server_context(leaf), client_options("a.eu.relay.example", authority().chain))
        self.assertIn("'*.relay.example'", said)

    def test_wildcard_beside_a_name_of_one_label(self) -> None:
        """A name of one label is found behind a wildcard, and no wildcard covers it."""
        trusted = authority().chain
        self.secure(server_context(server("*.relay.example", "box")), client_options("box", trusted))
        said = self.refused(
            server_context(server("*.box", "*.relay.example")), client_options("box", trusted)
        )
        self.assertEqual(said, "box: the certificate is for '*.box', '*.relay.example'")

    def test_address(self) -> None:
        """A server reached by its address is verified by that address."""
        context = server_context(server("192.0.2.1", "2001:db8::1"))
        for address in ("192.0.2.1", "2001:db8::1"):
            self.secure(context, client_options(address, authority().chain))
        said = self.refused(context, client_options("192.0.2.2", authority().chain))
        self.assertEqual(said, "192.0.2.2: the certificate is for '192.0.2.1', '2001:db8::1'")

    def test_wrong_name(self) -> None:
        """A certificate for another name is refused in one line that tells its names."""
        said = self.refused(
            server_context(server("other.example", "b.example", "c.example", "d.example")),
            client_options(NAME, authority().chain),
        )
        self.assertEqual(
            said,
            "relay.example: the certificate is for 'other.example', 'b.example', 'c.example' and 1 more",
        )

    def test_no_name(self) -> None:
        """A certificate with a common name only is refused."""
        bare = issue(by=authority())
        said = self.refused(server_context(bare), client_options("nobody", authority().chain))
        self.assertEqual(said, "nobody: the certificate is for no name at all ('CN=nobody')")

    def test_wrong_authority(self) -> None:
        """A certificate signed by somebody else is refused in one line."""
        said = self.refused(
            server_context(server(NAME)), client_options(NAME, authority("Somebody else").chain)
        )
        self.assertEqual(
            said, "relay.example: the certificate is signed by an authority that is not trusted here"
        )

    def test_the_hosts_roots(self) -> None:
        """With the host's roots a private authority is refused, unless the host has it."""
        self.assertIn("not trusted", self.refused(server_context(server(NAME)), client_options(NAME, None)))
        path = Path(self.mktemp()).absolute()
        path.write_bytes(authority().chain[0].public_bytes(Encoding.PEM))
        os.environ["SSL_CERT_FILE"] = str(path)
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        self.secure(server_context(server(NAME)), client_options(NAME, None))

    def test_signed_by_itself(self) -> None:
        """A certificate that signed itself is refused, and accepted if it is what is trusted."""
        own = issue(NAME)
        self.assertIn("signed by itself", self.refused(server_context(own), client_options(NAME, None)))
        self.secure(server_context(own), client_options(NAME, own.chain))

    def test_expired(self) -> None:
        """A certificate out of its time is refused, and which way is said."""
        for days, said in ((-20.0, -10.0), "has expired"), ((10.0, 20.0), "is not valid yet"):
            context = server_context(issue(NAME, by=authority(), days=days))
            self.assertEqual(
                self.refused(context, client_options(NAME, authority().chain)),
                f"relay.example: the certificate {said}",
            )

    def test_pem_file(self) -> None:
        """The authorities of a PEM file are trusted, all of them."""
        path = Path(self.mktemp())
        path.write_bytes(
            b"".join(one.chain[0].public_bytes(Encoding.PEM) for one in (authority("Other"), authority()))
        )
        self.secure(server_context(server(NAME)), client_options(NAME, path))


class FingerprintTests(TLSCase):
    """A server verified by its public key."""

    def test_right_key(self) -> None:
        """The right key is enough, whatever name, authority and date."""
        key = ec.generate_private_key(ec.SECP256R1())
        old = issue("other.example", by=authority("Unknown"), days=(-20, -10), key=key)
        trust = Fingerprint(fingerprint(old.chain[0]))
        self.secure(server_context(old), client_options(NAME, trust))
        self.secure(server_context(issue("again.example", key=key)), client_options("192.0.2.1", trust))

    def test_wrong_key(self) -> None:
        """Another key is refused although a known authority vouches for it, and both are told."""
        wanted = fingerprint(issue(NAME).chain[0])
        said = self.refused(server_context(server(NAME)), client_options(NAME, Fingerprint(wanted)))
        got = fingerprint(server(NAME).chain[0])
        self.assertEqual(said, f"relay.example: wanted the key {wanted}, got {got}")

    def test_key_of_another_certificate_in_the_chain(self) -> None:
        """It is the server's own key that counts, not one above it."""
        middle = issue("Middle", by=authority(), authority=True)
        middle = type(middle)((middle.chain[0], authority().chain[0]), middle.key)
        trust = Fingerprint(fingerprint(middle.chain[0]))
        self.refused(server_context(issue(NAME, by=middle)), client_options(NAME, trust))

    def test_form(self) -> None:
        """A fingerprint is ``sha256:`` and 64 hex digits."""
        self.assertRegex(fingerprint(authority().chain[0]), r"\Asha256:[0-9a-f]{64}\Z")


class FileTests(SynchronousTestCase):
    """PEM files of authorities."""

    def test_bad_files(self) -> None:
        """A file that is missing, or holds no certificate, is named with what is wrong."""
        path = Path(self.mktemp())
        missing = self.assertRaises(ConfigError, read_certificates, path)
        self.assertEqual(str(missing), f"{path}: No such file or directory")
        for content in (b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
            path.write_bytes(content)
            bad = self.assertRaises(ConfigError, client_options, NAME, path)
            self.assertEqual(str(bad), f"{path}: wanted certificates in PEM form")


class DescribeTests(SynchronousTestCase):
    """Why a connection failed, in one line."""

    def test_one_line(self) -> None:
        """Errors of OpenSSL, ours and others become one line of text."""
        refused = CertificateRefused("why")
        self.assertIsInstance(refused, BurrowError)
        for error, said in (
            (refused, "why"),
            (SSL.Error([("SSL routines", "", "tlsv1 unrecognized name")]), "TLS: tlsv1 unrecognized name"),
            (SSL.Error(), "Error"),
            (ValueError("two\nlines"), "two lines"),
            (ValueError(), "ValueError"),
        ):
            self.assertEqual(describe(error), said)
