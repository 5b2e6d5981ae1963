"""Authtokens, plain and joining."""

from __future__ import annotations

import hashlib
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.tokens import (
    JOIN_PREFIX,
    LONGEST_TOKEN,
    PLAIN_PREFIX,
    JoinToken,
    PlainToken,
    hash_token,
    matches,
    new_token,
    parse_token,
    read_fingerprint,
    read_hash,
)

FINGERPRINT = "sha256:" + "0a" * 32
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


def forged(body: bytes) -> str:
    """Return a join token of any body, its checksum right."""
    number = int.from_bytes(body + hashlib.sha256(b"burrow join token" + body).digest()[:4], "big")
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = (string.digits + string.ascii_uppercase + string.ascii_lowercase)[digit] + digits
    return JOIN_PREFIX + digits


class PlainTokenTests(SynchronousTestCase):
    """Tokens that a relay makes."""

    def test_new_tokens_are_long_and_recognisable(self) -> None:
        """A new token is one word with at least 160 random bits, another one each time."""
        tokens = {new_token() for _ in range(50)}
        self.assertEqual(len(tokens), 50)
        for token in tokens:
            self.assertTrue(token.startswith(PLAIN_PREFIX))
            self.assertTrue(token.replace("_", "").isalnum())
            self.assertGreaterEqual(len(token) - len(PLAIN_PREFIX), 33)  # 62 ** 33 > 2 ** 192

    def test_any_word_is_a_plain_token(self) -> None:
        """A token of the user's own, or one of another service, is taken as it is."""
        self.assertEqual(
            parse_token(" 4nq9771bPxe8ctg7LKr_2ClH7Y15Zqe4bWLWF9p \n").secret,
            "4nq9771bPxe8ctg7LKr_2ClH7Y15Zqe4bWLWF9p",
        )

    def test_what_is_no_word_is_refused(self) -> None:
        """Nothing, blanks inside, control characters and endless text are no tokens."""
        for text in ("", "  ", "a b", "a\x00", "ä", "x" * (LONGEST_TOKEN + 1)):
            self.assertRaises(ValueError, parse_token, text)

    def test_secrets_are_not_shown(self) -> None:
        """A token in a log or a traceback hides its secret."""
        self.assertNotIn("s3cret", repr(PlainToken("s3cret")) + repr(JoinToken("a:1", FINGERPRINT, "s3cret")))


class HashTests(SynchronousTestCase):
    """What a relay keeps of a token."""

    def test_a_hash_has_its_kind_in_front(self) -> None:
        """The hash is that of the secret's bytes."""
        self.assertEqual(
            hash_token("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )

    def test_a_token_matches_its_hash_alone(self) -> None:
        """One of several hashes is enough, and another token's is not."""
        self.assertTrue(matches("abc", [hash_token("x"), hash_token("abc"), hash_token("y")]))
        self.assertFalse(matches("abc", [hash_token("x")]))
        self.assertFalse(matches("abc", []))
        self.assertFalse(matches("\ud800", [hash_token("x")]))

    def test_a_hash_is_read_in_any_case(self) -> None:
        """Upper-case digits mean the same; anything else is refused without being shown."""
        self.assertEqual(read_hash(hash_token("abc").upper()), hash_token("abc"))
        for text in ("", "s3cret", "sha256:12", "md5:" + "0" * 64, hash_token("a") + "0"):
            self.assertNotIn("s3cret", str(self.assertRaises(ValueError, read_hash, text)))

    def test_fingerprints_are_read_as_programs_print_them(self) -> None:
        """With or without prefix, with or without colons, in any case."""
        for text in ("0a" * 32, "0A:" * 31 + "0A", "SHA256:" + "0A" * 32, FINGERPRINT):
            self.assertEqual(read_fingerprint(text), FINGERPRINT)
        self.assertRaises(ValueError, read_fingerprint, "0a" * 31)


class JoinTokenTests(SynchronousTestCase):
    """Pasting one token sets up a client (row M7)."""

    def test_it_carries_address_fingerprint_and_secret(self) -> None:
        """What is parsed is what was encoded; it is one word that a double click selects."""
        token = JoinToken("relay.example.com:443", FINGERPRINT, new_token())
        text = token.encode()
        self.assertEqual(parse_token(text), token)
        self.assertTrue(text.replace("_", "").isalnum())
        self.assertLess(len(text), 180)

    def test_a_mistyped_one_is_told(self) -> None:
        """Every wrong, missing or added character is noticed; it never passes as a plain token."""
        text = JoinToken("r:1", FINGERPRINT, "s").encode()
        for place in range(len(JOIN_PREFIX), len(text)):
            other = "0" if text[place] != "0" else "1"
            for wrong in (
                text[:place] + other + text[place + 1 :],
                text[:place] + text[place + 1 :],
                text[:place] + "-" + text[place:],
            ):
                self.assertIn("damaged", str(self.assertRaises(ValueError, parse_token, wrong)))
        self.assertRaises(ValueError, parse_token, JOIN_PREFIX)

    def test_parts_that_do_not_fit_are_refused(self) -> None:
        """An address with blanks, a wrong fingerprint or an endless secret makes no token."""
        for token in (
            JoinToken("a b", FINGERPRINT, "s"),
            JoinToken("a:1", "sha256:00", "s"),
            JoinToken("a:1", FINGERPRINT, ""),
            JoinToken("a" * 256, FINGERPRINT, "s"),
            JoinToken("a:1", FINGERPRINT, "s" * 900),
        ):
            self.assertRaises(ValueError, token.encode)

    @given(WORDS, st.binary(min_size=32, max_size=32), WORDS)
    def test_round_trip(self, address: str, key: bytes, secret: str) -> None:
        """Whatever fits comes back as it went in."""
        token = JoinToken(address, f"sha256:{key.hex()}", secret)
        self.assertEqual(parse_token(token.encode()), token)

    @given(st.text(st.sampled_from("0aZz_-é "), max_size=200))
    def test_arbitrary_text_gives_a_token_or_a_clear_error(self, text: str) -> None:
        """Nothing but `ValueError` comes out of text that looks like a join token."""
        self.assertRaises(ValueError, parse_token, JOIN_PREFIX + text)

    @given(st.binary(max_size=120) | st.binary(max_size=90).map(lambda body: b"\x01" + body))
    def test_arbitrary_bodies_with_a_right_checksum(self, body: bytes) -> None:
        """A forged token with a right checksum is read or refused, never a crash."""
        text = forged(body)
        try:
            parse_token(text)
        except ValueError as error:
            self.assertIn("join token", str(error))
