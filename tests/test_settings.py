"""Kinds of values and schemas."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import SettingError
from burrow.settings import (
    BOOLEAN,
    TEXT,
    Kind,
    Schema,
    Setting,
    choice,
    integer,
    list_of,
    map_of,
    seconds,
    section,
)


class KindTests(SynchronousTestCase):
    """Types of values as people write them."""

    def refused(self, kind: Kind, value: Any) -> str:
        """Return the message with which a kind refuses a value."""
        return str(self.assertRaises(SettingError, kind.read, value, ("key",)))

    def test_whole_numbers(self) -> None:
        """Numbers and their text count; others are told what was wanted."""
        kind = integer(1, 9, "bytes")
        self.assertEqual([kind.read(value, ()) for value in (1, "9", "03")], [1, 9, 3])
        for value in (0, 10, "x", "", True, 1.0, [], "1" * 5000):
            self.assertIn("key: wanted a whole number from 1 to 9 bytes, got ", self.refused(kind, value))

    def test_seconds(self) -> None:
        """Times may have a fraction; what is no number, or none that ends, is refused."""
        kind = seconds(0.5, 60)
        self.assertEqual([kind.read(value, ()) for value in (1, "0.5", 60.0)], [1.0, 0.5, 60.0])
        for value in (0, 61, "x", "nan", "inf", True, {}, 10**400):
            self.assertIn("key: wanted seconds from 0.5 to 60, got ", self.refused(kind, value))

    def test_words(self) -> None:
        """A choice takes its words, and YAML's booleans where these are among them."""
        kind = choice("true", "false", "both")
        self.assertEqual(
            [kind.read(value, ()) for value in (True, "false", "both")], ["true", "false", "both"]
        )
        self.assertEqual(self.refused(kind, "no"), "key: wanted one of true, false, both, got 'no'")

    def test_text_and_booleans(self) -> None:
        """Numbers count as their text; booleans may come as text."""
        self.assertEqual([TEXT.read(value, ()) for value in ("a", 80)], ["a", "80"])
        self.assertEqual([BOOLEAN.read(value, ()) for value in (True, "False")], [True, False])
        self.assertIn("wanted text, got True", self.refused(TEXT, True))
        self.assertIn("wanted true or false, got 1", self.refused(BOOLEAN, 1))

    def test_lists_and_mappings(self) -> None:
        """A single value is a list of one; a wrong item is named by its place."""
        kind = map_of(list_of(integer(1, 9)))
        self.assertEqual(kind.read({"a": 1, "b": [2, 3]}, ()), {"a": (1,), "b": (2, 3)})
        self.assertIn("key.b.1: wanted a whole number", self.refused(kind, {"b": [1, 0]}))
        self.assertIn("key: wanted a mapping of names", self.refused(kind, 1))


class SchemaTests(SynchronousTestCase):
    """Settings of one place."""

    schema = Schema(
        (
            Setting("port", integer(1, 9), "A port", required=True),
            Setting("host_header", TEXT, "A header", default="preserve"),
            Setting("inner", section(Schema((Setting("a", TEXT, "A"),))), "Inner"),
        )
    )

    def refused(self, values: dict[Any, Any]) -> str:
        """Return the message with which the schema refuses values."""
        return str(self.assertRaises(SettingError, self.schema.read, values))

    def test_values_and_defaults(self) -> None:
        """What is not set, or set to nothing, has its default."""
        read = self.schema.read({"port": 1, "host_header": None})
        self.assertEqual(read, {"port": 1, "host_header": "preserve", "inner": None})

    def test_unknown_and_missing_keys(self) -> None:
        """An unknown key is told with the near one, a missing one with what was wanted."""
        self.assertIn(
            "host_heder: unknown key, did you mean host_header? (known: port,",
            self.refused({"host_heder": 1}),
        )
        self.assertEqual(self.refused({}), "port is missing: wanted a whole number from 1 to 9")
        self.assertIn("inner.b: unknown key", self.refused({"port": 1, "inner": {"b": 1}}))

    def test_ignored_keys(self) -> None:
        """A key that is known elsewhere is passed over."""
        self.assertNotIn("subdomain", self.schema.read({"port": 1, "subdomain": "x"}, ignored=["subdomain"]))

    def test_flags(self) -> None:
        """A flag has hyphens where the key has underscores."""
        self.assertEqual([setting.flag for setting in self.schema], ["port", "host-header", "inner"])

    def test_secrets_are_not_shown(self) -> None:
        """A secret that does not fit stays out of the message, which says what was wanted."""
        schema = Schema((Setting("auth", choice("a:b"), "Password", secret=True),))
        error = self.assertRaises(SettingError, schema.read, {"auth": "s3cret"})
        self.assertEqual(
            str(error), "auth: wanted one of a:b, got something else (not shown, it is a secret)"
        )
