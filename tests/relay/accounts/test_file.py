"""Accounts of the configuration file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import SessionRefused
from burrow.interfaces.account import Account, IAccounts
from burrow.relay.accounts.file import FileAccounts
from burrow.relay.config import AccountEntry
from burrow.tokens import JoinToken, hash_token

TEAM = Account("team", domains=("shop.example.com", "*.team.example.com"), addresses=(22022,))
OTHER = Account("other")
ENTRIES = {
    "team": AccountEntry(TEAM, (hash_token("one"), hash_token("two"))),
    "other": AccountEntry(OTHER, (hash_token("three"),)),
    "closed": AccountEntry(Account("closed")),
}


class AuthenticateTests(SynchronousTestCase):
    """Who a token belongs to."""

    def refused(self, accounts: FileAccounts, token: str) -> tuple[int, str]:
        """Return code and text with which a token is refused."""
        error = self.failureResultOf(accounts.authenticate(token), SessionRefused).value
        assert isinstance(error, SessionRefused)
        return error.code, str(error)

    def test_it_provides_the_interface(self) -> None:
        """A database can take its place."""
        self.assertTrue(verifyObject(IAccounts, FileAccounts(ENTRIES)))

    def test_each_token_leads_to_its_account(self) -> None:
        """An account may have several tokens."""
        accounts = FileAccounts(ENTRIES)
        for token, account in (("one", TEAM), ("two", TEAM), ("three", OTHER)):
            self.assertIs(self.successResultOf(accounts.authenticate(token)), account)

    def test_unknown_tokens_are_refused(self) -> None:
        """A token that no account has is code 107, and is not shown."""
        code, text = self.refused(FileAccounts(ENTRIES), "s3cret")
        self.assertEqual(code, 107)
        self.assertNotIn("s3cret", text)

    def test_malformed_tokens_are_refused(self) -> None:
        """Text that cannot be a token, or a damaged join token, is code 105."""
        join = JoinToken("relay:443", "sha256:" + "00" * 32, "one").encode()
        for token in ("a b", "x" * 5000, "\x00", join[:-1]):
            self.assertEqual(self.refused(FileAccounts(ENTRIES), token)[0], 105)

    def test_a_hash_is_no_token(self) -> None:
        """What stands in the file does not let anybody in."""
        self.assertEqual(self.refused(FileAccounts(ENTRIES), hash_token("one"))[0], 107)

    def test_no_token_needs_anonymous(self) -> None:
        """Without a token there is an account only where the operator allows it."""
        self.assertEqual(self.refused(FileAccounts(ENTRIES), "")[0], 105)
        accounts = FileAccounts(ENTRIES, anonymous=True)
        self.assertEqual(
            self.successResultOf(accounts.authenticate("")), Account("anonymous", random_only=True)
        )
        self.assertEqual(self.refused(accounts, "unknown")[0], 107)


class ReservationTests(SynchronousTestCase):
    """Who a name or a port belongs to."""

    def test_names_and_what_wildcards_cover(self) -> None:
        """A reservation holds for the name, a wildcard for all names below (row E3)."""
        accounts = FileAccounts(ENTRIES)
        for name in (
            "shop.example.com",
            "*.team.example.com",
            "a.team.example.com",
            "b.a.team.example.com",
            "*.a.team.example.com",
        ):
            self.assertEqual(accounts.owner_of(name), "team")
        for name in ("example.com", "team.example.com", "x.shop.example.com", "*.example.com"):
            self.assertIsNone(accounts.owner_of(name))

    def test_ports(self) -> None:
        """A reserved port has an owner, others have none."""
        accounts = FileAccounts(ENTRIES)
        self.assertEqual((accounts.owner_of_port(22022), accounts.owner_of_port(22023)), ("team", None))
