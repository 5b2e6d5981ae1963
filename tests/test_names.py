"""Names of hosts in one form, and wildcards over them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.names import canonical, covers, is_localhost, wildcards_over

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)


class CanonicalTests(SynchronousTestCase):
    """The one form of a name."""

    def test_same_name(self) -> None:
        """Case, a trailing dot and the script's spelling make no other name."""
        for name, form in {
            "Example.COM": "example.com",
            "example.com.": "example.com",
            "Bücher.Example": "xn--bcher-kva.example",
            "bücher。example": "xn--bcher-kva.example",
            "XN--BCHER-KVA.example": "xn--bcher-kva.example",
            "*.Bücher.example.": "*.xn--bcher-kva.example",
            "_acme-challenge.example": "_acme-challenge.example",
            "*.localhost": "*.localhost",
            "a": "a",
            "192.0.2.1": "192.0.2.1",
        }.items():
            self.assertEqual(canonical(name), form)

    def test_not_a_name(self) -> None:
        """What is no hostname is refused, with the text that was found."""
        for name in (
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "example.com..",
            "-a.b",
            "a-.b",
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "**.b",
            "a b",
            "a/b",
            "a:80",
            "a%62",
            "[::1]",
            "a\x00b",
            "a\r\nb",
            "a\n",
            "x" * 64,
            ".".join(["a" * 60] * 5),
            "ü" * 64,
            "\uff0562",
            "\ud800.example",
        ):
            with self.assertRaises(ValueError) as caught:
                canonical(name)
            self.assertIn(repr(name)[:40], str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_longest(self) -> None:
        """A name has at most 253 characters, its trailing dot not counted, a label 63."""
        name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
        self.assertEqual(canonical(name + "."), name)
        self.assertRaises(ValueError, canonical, name + "d")

    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is refused or has a form of lower-case ASCII that is its own form."""
        try:
            form = canonical(text)
        except ValueError:
            return
        self.assertEqual(canonical(form), form)
        self.assertTrue(form.isascii() and form == form.lower())

    @given(NAMES, st.randoms(use_true_random=False))
    def test_any_case(self, name: str, random: object) -> None:
        """A hostname in any case, with or without the dot, has the same form."""
        mixed = "".join(random.choice((char, char.upper())) for char in name)  # type: ignore[attr-defined]
        self.assertEqual(canonical(mixed), name)
        self.assertEqual(canonical(mixed + "."), name)


class WildcardTests(SynchronousTestCase):
    """Wildcards, and the names they stand for."""

    def test_most_specific_first(self) -> None:
        """The wildcards over a name go from its parent upwards, never over the name itself."""
        self.assertEqual(list(wildcards_over("a.b.example")), ["*.b.example", "*.example"])
        self.assertEqual(list(wildcards_over("*.b.example")), ["*.example"])
        self.assertEqual(list(wildcards_over("a")), [])

    def test_covers(self) -> None:
        """A wildcard covers what is below it at any depth, not its own parent and no neighbour."""
        for name in ("a.example", "a.b.example", "*.b.example", "*.example"):
            self.assertTrue(covers("*.example", name), name)
        for name in ("example", "badexample", "a.example.test", "a.example2"):
            self.assertFalse(covers("*.example", name), name)
        self.assertTrue(covers("a.example", "a.example"))
        self.assertFalse(covers("a.example", "b.a.example"))

    @given(NAMES, LABELS)
    def test_any_name(self, parent: str, label: str) -> None:
        """A wildcard over any parent covers its children and only stands below the parent."""
        self.assertTrue(covers("*." + parent, f"{label}.{parent}"))
        self.assertFalse(covers("*." + parent, parent))
        self.assertFalse(covers(f"{label}.{parent}", parent))


class LocalhostTests(SynchronousTestCase):
    """Names that mean this machine."""

    def test_localhost(self) -> None:
        """Localhost and what is below it, in any case, with or without the dot."""
        for name in ("localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.Localhost."):
            self.assertTrue(is_localhost(name), name)
        for name in ("", "notlocalhost", "localhost.example", "127.0.0.1"):
            self.assertFalse(is_localhost(name), name)
