"""YAML documents that know their lines."""

from __future__ import annotations

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from burrow.configuration import MAX_BYTES, MAX_DEPTH, MAX_NODES, Document, load, parse
from burrow.errors import ConfigError
from burrow.settings import TEXT, Schema, Setting, integer, list_of, map_of, section

SCHEMA = Schema(
    (
        Setting("port", integer(1, 65535), "A port"),
        Setting("name", TEXT, "A name"),
        Setting(
            "hosts", list_of(section(Schema((Setting("address", TEXT, "Where", required=True),)))), "Hosts"
        ),
        Setting("sizes", map_of(integer(0, 9)), "Sizes"),
    )
)


class DocumentCase(SynchronousTestCase):
    """What the cases below share."""

    def refused(self, text: str) -> str:
        """Return the message with which ``text`` is refused by the parser or the schema."""
        error = self.assertRaises(ConfigError, lambda: parse(text, "relay.yml").read(SCHEMA))
        self.assertNotIn("\n", str(error))
        return str(error)


class ScalarTests(SynchronousTestCase):
    """Unquoted words and numbers."""

    def values(self, text: str) -> dict[str, object]:
        """Return the plain values of ``text``."""
        return parse(text, "x.yml").values

    def test_only_true_and_false_are_booleans(self) -> None:
        """``on``, ``no`` and the like stay words."""
        self.assertEqual(
            self.values("a: true\nb: False\nc: on\nd: no\ne: y"),
            {"a": True, "b": False, "c": "on", "d": "no", "e": "y"},
        )

    def test_colons_make_no_number(self) -> None:
        """``80:22`` is text, not a number to the base of sixty; dates are text too."""
        self.assertEqual(
            self.values("a: 80:22\nb: 2024-01-01\nc: 010\nd: 0x1f\ne: 0o17\nf: 1_000"),
            {"a": "80:22", "b": "2024-01-01", "c": 10, "d": 31, "e": 15, "f": "1_000"},
        )

    def test_numbers_remember_how_they_were_written(self) -> None:
        """A name made of digits keeps its zeros and its exponent where text is wanted."""
        for text in ("00123", "12345e67", "1e400", "0.10", "-.inf", ".NaN", "0x1F"):
            self.assertEqual(parse(f"name: {text}", "x.yml").read(SCHEMA)["name"], text)

    def test_nothing_and_quotes(self) -> None:
        """``~`` and an empty value set nothing; what is quoted is text."""
        self.assertEqual(
            self.values("a: ~\nb:\nc: null\nd: 'true'\ne: \"1\""),
            {"a": None, "b": None, "c": None, "d": "true", "e": "1"},
        )

    def test_tags_of_the_core_schema(self) -> None:
        """``!!str 5`` is text; a number tag on a word is refused."""
        self.assertEqual(self.values("a: !!str 5\nb: !!int '5'"), {"a": "5", "b": 5})
        self.assertRaises(ConfigError, parse, "a: !!int five", "x.yml")


class SchemaTests(DocumentCase):
    """Mistakes are named by file, line and key."""

    def test_a_wrong_value_names_its_line(self) -> None:
        """The message has file, line, key, what was found and what was wanted."""
        self.assertEqual(
            self.refused("name: x\n\nport: 0\n"),
            "relay.yml:3: port: wanted a whole number from 1 to 65535, got 0",
        )

    def test_an_unknown_key_names_its_line_and_the_near_one(self) -> None:
        """A mistyped key is told with the right one."""
        self.assertIn("relay.yml:2: prot: unknown key, did you mean port?", self.refused("name: x\nprot: 1"))

    def test_a_value_in_a_list_names_its_item(self) -> None:
        """The line is that of the list item."""
        self.assertEqual(
            self.refused("hosts:\n- address: a\n- address: [1]\n"),
            "relay.yml:3: hosts.1.address: wanted text, got [1]",
        )

    def test_a_missing_key_names_where_it_is_missing(self) -> None:
        """The line is that of the mapping that lacks it."""
        self.assertIn(
            "relay.yml:3: hosts.1: address is missing", self.refused("hosts:\n- address: a\n- {}\n")
        )

    def test_a_value_in_a_mapping_names_its_key(self) -> None:
        """The line is that of the key."""
        self.assertIn("relay.yml:3: sizes.b: wanted", self.refused("sizes:\n  a: 1\n  b: 10\n"))


class SyntaxTests(DocumentCase):
    """Text that is not the YAML we read."""

    def test_a_syntax_error_names_file_and_line(self) -> None:
        """The message is the one that people search for (contract 1.6)."""
        message = self.refused("name: x\nport: 1: 2\n")
        self.assertIn(
            "Error reading configuration file 'relay.yml': YAML parsing error: line 2: mapping values",
            message,
        )

    def test_tabs_are_told(self) -> None:
        """A tab in the indentation is named as what it is (contract 1.6)."""
        self.assertIn(
            "line 2: config contains tab characters, YAML must use spaces", self.refused("hosts:\n\t- a\n")
        )

    def test_tabs_elsewhere_do_not_matter(self) -> None:
        """A tab inside a block of text or in quotes is fine."""
        self.assertEqual(
            parse("name: |\n  a\n  \tb\nport: 1 # \tx\n", "x").values, {"name": "a\n\tb\n", "port": 1}
        )

    def test_a_key_set_twice_names_both_lines(self) -> None:
        """The second of two equal keys is refused, the first one's line told."""
        self.assertEqual(
            self.refused("port: 1\nname: x\nport: 2"),
            "relay.yml:3: port: wanted it once, got it twice, first on line 1",
        )

    def test_keys_are_printable(self) -> None:
        """A key with a control character, or an endless one, is refused with its line."""
        for key in ('"a\\nb"', '"\\e[31m"', "x" * 256):
            message = self.refused(f"port: 1\n? {key}\n: 2")
            self.assertIn("relay.yml:2: wanted a key of at most 255 printable characters, got '", message)

    def test_the_top_is_a_mapping(self) -> None:
        """A list or a lone word at the top is refused without being shown: it may be a token."""
        self.assertEqual(self.refused("- a"), "relay.yml:1: wanted keys with values, got a list")
        self.assertNotIn("s3cret", self.refused("s3cret"))

    def test_one_document_only(self) -> None:
        """A second document is refused by its line."""
        self.assertIn("relay.yml:2: wanted one document", self.refused("port: 1\n---\nport: 2"))

    def test_python_objects_are_not_made(self) -> None:
        """Tags outside the core schema are refused."""
        for text in ("name: !!python/object/apply:os.getcwd []", "name: !mine 1", "hosts: !!set {a}"):
            self.assertIn("is not allowed", self.refused(text))

    def test_control_characters_are_refused(self) -> None:
        """A character that YAML may not hold is named with its line."""
        self.assertIn("line 2: character '\\x01' is not allowed", self.refused("port: 1\nname: \x01"))


class BoundsTests(DocumentCase):
    """Hostile documents end early."""

    def test_an_alias_bomb_is_refused(self) -> None:
        """Ten aliases to ten aliases, and so on, count as what they stand for."""
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        self.assertIn(f"wanted at most {MAX_NODES} values", self.refused("\n".join(lines)))

    def test_many_values_are_refused(self) -> None:
        """More values than the bound are refused."""
        self.assertIn(f"wanted at most {MAX_NODES} values", self.refused("a: [" + "1," * MAX_NODES + "]"))

    def test_deep_documents_are_refused(self) -> None:
        """So is nesting, written out or reached through aliases."""
        half = MAX_DEPTH // 2 + 1
        deep = f"a: &a {'[' * half}{']' * half}\nb: {'[' * half}*a{']' * half}"
        self.assertIn(f"wanted at most {MAX_DEPTH} levels", self.refused(deep))
        self.assertIn(f"wanted at most {MAX_DEPTH} levels", self.refused("a: " + "[" * 500))

    def test_an_alias_to_itself_is_refused(self) -> None:
        """An alias stands only for what is complete."""
        self.assertIn("alias *a stands for nothing", self.refused("name: &a [*a]"))
        self.assertIn("alias *b stands for nothing", self.refused("name: *b"))
        self.assertIn("alias *a stands for nothing", self.refused("port: &a 1\nname: &a [*a]"))

    def test_aliases_and_merge_keys_work(self) -> None:
        """A definition may be shared; keys beside a merge key win."""
        values = parse("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n", "x").values
        self.assertEqual(values, {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}})
        self.assertIn("<<: wanted a mapping", self.refused("a:\n  <<: 1"))


class LoadTests(DocumentCase):
    """Files."""

    def file(self, content: bytes) -> Path:
        """Write a file and return its path."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return path

    def test_empty_files_set_nothing(self) -> None:
        """An empty file, comments, a lone ``{}`` and ``/dev/null`` are empty configurations."""
        for content in (b"", b"# nothing\n", b"{}", b"---\n...\n", b"\xef\xbb\xbf"):
            self.assertEqual(load(self.file(content)).values, {})
        self.assertEqual(load(Path("/dev/null")).values, {})

    def test_a_missing_file_is_named(self) -> None:
        """The path and the reason are told."""
        error = self.assertRaises(ConfigError, load, Path("/nowhere/at/all.yml"))
        self.assertEqual(str(error), "/nowhere/at/all.yml: cannot be read: No such file or directory")

    def test_a_folder_is_no_file(self) -> None:
        """A folder in a file's place is told."""
        self.assertIn("Is a directory", str(self.assertRaises(ConfigError, load, Path("/"))))

    def test_bytes_that_are_no_text_name_their_line(self) -> None:
        """Bytes that are not UTF-8 are named with their line."""
        path = self.file(b"a: 1\nb: \xff\n")
        self.assertEqual(
            str(self.assertRaises(ConfigError, load, path)), f"{path}:2: wanted text in UTF-8, got byte 0xff"
        )

    def test_endless_files_are_refused(self) -> None:
        """Reading stops at the bound."""
        error = self.assertRaises(ConfigError, load, Path("/dev/zero"))
        self.assertIn(f"wanted a file of at most {MAX_BYTES} bytes", str(error))


class MergeTests(SynchronousTestCase):
    """Several files in order (contract 2.1)."""

    def merged(self, *texts: str) -> Document:
        """Return the documents of ``texts`` merged in order, named 1.yml, 2.yml and so on."""
        first, *rest = (parse(text, f"{number}.yml") for number, text in enumerate(texts, 1))
        for document in rest:
            first = first.merged(document)
        return first

    def test_scalars_and_lists_are_replaced_and_mappings_merged(self) -> None:
        """The later scalar, list and definition counts; other definitions stay."""
        document = self.merged(
            "a: 1\nl: [1, 2]\nt: {x: {p: 1, q: 1}, y: {p: 1}}", "a: 2\nl: [3]\nt: {x: {p: 2}}"
        )
        self.assertEqual(document.values, {"a": 2, "l": [3], "t": {"x": {"p": 2}, "y": {"p": 1}}})

    def test_a_key_without_a_value_changes_nothing(self) -> None:
        """``tunnels:`` with nothing below it does not wipe earlier ones."""
        self.assertEqual(self.merged("t: {x: 1}", "t:\nu:").values, {"t": {"x": 1}, "u": None})

    def test_mistakes_are_named_in_the_file_they_come_from(self) -> None:
        """Each value keeps its own file and line."""
        document = self.merged("\nsizes: {a: 10}", "port: 1\nsizes: {b: 1}")
        error = self.assertRaises(ConfigError, document.read, SCHEMA)
        self.assertIn("1.yml:2: sizes.a: wanted", str(error))


KEYS = st.text(max_size=9).filter(str.isprintable)


class PropertyTests(SynchronousTestCase):
    """Whatever comes in."""

    @given(st.text(st.sampled_from("a1:-[]{}&*!|>'\"#%,?\n\t \x00é<~."), max_size=60))
    @settings(max_examples=400, deadline=None)
    def test_arbitrary_text_gives_a_document_or_a_clear_error(self, text: str) -> None:
        """Nothing but `ConfigError` comes out, on one line, and values are plain."""
        try:
            values = parse(text, "x.yml").values
        except ConfigError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertIsInstance(values, dict)

    @given(st.binary(max_size=100))
    @settings(max_examples=100, deadline=None)
    def test_arbitrary_bytes_give_a_document_or_a_clear_error(self, content: bytes) -> None:
        """So do bytes in a file."""
        path = Path("arbitrary.yml")
        path.write_bytes(content)
        try:
            load(path)
        except ConfigError as error:
            self.assertNotIn("\n", str(error))
        finally:
            path.unlink()

    @given(
        st.dictionaries(
            KEYS,
            st.recursive(
                st.text() | st.booleans() | st.none() | st.integers(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
                max_leaves=8,
            ),
            max_size=5,
        )
    )
    @settings(max_examples=150, deadline=None)
    def test_what_a_dumper_writes_is_read_back(self, values: dict[str, object]) -> None:
        """Values written by an independent dumper come back equal."""
        text = yaml.safe_dump(values, allow_unicode=True, default_style='"')
        if "<<" not in text:
            self.assertEqual(parse(text, "x.yml").values, values)
