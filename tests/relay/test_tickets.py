"""Tickets, with which clients claim names and ports back."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ConfigError
from burrow.relay.tickets import LIFE, Claim, Tickets, load_key


class TicketTests(SynchronousTestCase):
    """A ticket says what its account had, and to nobody else."""

    def setUp(self) -> None:
        """Start at some time, with some key."""
        self.now = 1_700_000_000.0
        self.tickets = Tickets(b"k" * 32, lambda: self.now)
        self.claim = Claim("4be01d77.relay.test", 20_001)
        self.ticket = self.tickets.write("team", self.claim)

    def test_owner(self) -> None:
        """The account that it was written for reads back what it had."""
        self.assertEqual(self.tickets.read("team", self.ticket), self.claim)

    def test_stranger(self) -> None:
        """Another account claims nothing with it."""
        self.assertIsNone(self.tickets.read("others", self.ticket))

    def test_every_forged_byte(self) -> None:
        """A ticket with any byte changed, cut or added claims nothing."""
        for place in range(len(self.ticket)):
            forged = bytearray(self.ticket)
            forged[place] ^= 1
            self.assertIsNone(self.tickets.read("team", bytes(forged)))
            self.assertIsNone(self.tickets.read("team", self.ticket[:place]))
        self.assertIsNone(self.tickets.read("team", self.ticket + b"\x00"))

    def test_another_key(self) -> None:
        """A ticket of another relay claims nothing."""
        self.assertIsNone(Tickets(b"o" * 32, lambda: self.now).read("team", self.ticket))

    def test_age(self) -> None:
        """A ticket is good for a day, and not longer."""
        self.now += LIFE - 1
        self.assertEqual(self.tickets.read("team", self.ticket), self.claim)
        self.now += 2
        self.assertIsNone(self.tickets.read("team", self.ticket))


class KeyTests(SynchronousTestCase):
    """The relay's key for tickets."""

    def test_made_once(self) -> None:
        """The key is made for its owner alone, and is the same after a restart."""
        path = Path(self.mktemp()) / "state" / "ticket-key"
        key = load_key(path)
        self.assertEqual(len(key), 32)
        self.assertEqual(load_key(path), key)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_spoiled(self) -> None:
        """A file with something else in it is named, and left as it is."""
        path = Path(self.mktemp())
        path.write_bytes(b"short")
        self.assertIn(str(path), str(self.assertRaises(ConfigError, load_key, path)))
        self.assertEqual(path.read_bytes(), b"short")
