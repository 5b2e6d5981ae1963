"""Boxes: the format, its reader over any cuts, and its likeness to AMP's."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.protocols import amp
from twisted.trial.unittest import SynchronousTestCase

from burrow.errors import ProtocolError
from burrow.wire import boxes
from burrow.wire.boxes import END, Box, BoxReader, Buffer, Template, decode, encode
from burrow.wire.frames import DATA, INNER_LIMIT

Event = tuple[object, ...]

KEYS = st.binary(min_size=1, max_size=12).filter(lambda key: key != b"d")
PAIRS = st.dictionaries(KEYS, st.binary(max_size=60), min_size=1, max_size=5)
GENERAL = PAIRS.map(lambda pairs: encode(sorted(pairs.items())))
HOT = st.tuples(st.integers(0, 2**63 - 1), st.binary(max_size=80)).map(
    lambda hot: DATA.head(hot[0], len(hot[1])) + hot[1] + END
)
STREAMS = st.lists(st.one_of(GENERAL, HOT), max_size=6).map(b"".join)
NOISE = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"\x00", b"\x01", b"\x00\x01", b"d", b"a", b"\x00\x08", b"12345678"])).map(
        b"".join
    ),
    st.tuples(STREAMS, st.integers(0, 400), st.binary(max_size=3)).map(
        lambda spoilt: spoilt[0][: spoilt[1]] + spoilt[2] + spoilt[0][spoilt[1] + 1 :]
    ),
)
CUTS = st.lists(st.integers(0, 400), max_size=40)


class Reading:
    """A reader and what it says; the pieces of a hot value are put together."""

    def __init__(self, limit: int = 500, template: Template = DATA) -> None:
        self.events: list[Event] = []
        self.error: ProtocolError | None = None
        self._expected = 0
        self._value = bytearray()
        self.reader = BoxReader(template, self._head, self._piece, self._box, limit)

    def _head(self, number: int, length: int) -> None:
        assert len(self._value) == self._expected, "a head in front of the last value's end"
        self._expected, self._value = length, bytearray()
        self.events.append(("hot", number, length, self._value))

    def _piece(self, data: Buffer, start: int, end: int) -> None:
        assert 0 <= start <= end <= len(data)
        self._value += data[start:end]
        assert len(self._value) <= self._expected, "more than the head has said"

    def _box(self, box: Box) -> None:
        assert all(type(part) is bytes for pair in box.items() for part in pair)
        self.events.append(("box", tuple(box.items())))

    def feed(self, data: Buffer, cuts: list[int] | None = None) -> Reading:
        places = [0, *sorted(min(cut, len(data)) for cut in cuts or []), len(data)]
        try:
            for start, end in itertools.pairwise(places):
                self.reader.feed(data, start, end)
        except ProtocolError as error:
            self.error = error
        return self


class EncodingTests(SynchronousTestCase):
    """Writing a box."""

    def test_like_amp(self) -> None:
        """A box is written as AMP writes it."""
        box = {b"a": b"1", b"b": b"", b"key": bytes(70)}
        self.assertEqual(encode(box.items()), amp.AmpBox(box).serialize())

    def test_limits(self) -> None:
        """A pair that does not fit in the format is refused, and named."""
        longest = (b"k" * 255, bytes(65_535))
        self.assertEqual(decode(encode([longest])), dict([longest]))
        for key, value in ((b"", b""), (b"k" * 256, b""), (b"long", bytes(65_536))):
            with self.assertRaises(ValueError) as caught:
                encode([(key, value)])
            self.assertIn(repr(key), str(caught.exception))

    @given(PAIRS)
    def test_amp_reads_ours(self, pairs: Box) -> None:
        """AMP's own parser reads what is written."""
        self.assertEqual(amp.parseString(encode(sorted(pairs.items()))), [pairs])

    @given(PAIRS)
    def test_amps_are_read(self, pairs: Box) -> None:
        """What AMP writes is read."""
        written = amp.AmpBox(pairs).serialize()
        self.assertEqual(decode(written), pairs)
        self.assertEqual(Reading(5_000).feed(written).events, [("box", tuple(sorted(pairs.items())))])


class DecodingTests(SynchronousTestCase):
    """Reading a value that is a box."""

    def _refused(self, data: bytes) -> str:
        with self.assertRaises(ProtocolError) as caught:
            decode(data)
        return str(caught.exception)

    def test_exactly_one(self) -> None:
        """A box that is cut short, or followed by something, is refused."""
        box = encode([(b"a", b"1")])
        for cut in range(len(box)):
            self._refused(box[:cut])
        self._refused(box + b"\x00")
        self._refused(box + box)

    def test_no_pairs(self) -> None:
        """A box without pairs is none."""
        self._refused(END)

    def test_order_of_keys(self) -> None:
        """Keys that do not ascend, or come twice, are refused and named."""
        for keys in ((b"b", b"a"), (b"a", b"a"), (b"a", b"ab", b"aa")):
            self.assertIn("after key b", self._refused(encode((key, b"") for key in keys)))

    def test_key_length(self) -> None:
        """A key of more than 255 bytes is refused as soon as its length is known."""
        self.assertIn("256", self._refused(b"\x01\x00"))

    def test_most_pairs(self) -> None:
        """A box has at most 32 pairs."""
        pairs = [(bytes([65 + place]), b"") for place in range(33)]
        self.assertEqual(len(decode(encode(pairs[:32]))), 32)
        self.assertIn("32 pairs", self._refused(encode(pairs)))

    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a box or a ProtocolError; a box is written again as it was."""
        try:
            box = decode(data)
        except ProtocolError:
            return
        self.assertEqual(encode(box.items()), data)


class TemplateTests(SynchronousTestCase):
    """The one legal shape of a hot box."""

    def test_there_and_back(self) -> None:
        """What is written as a head is read from it."""
        template = Template([b"a", b"o"], b"p", 100)
        head = template.head(2**63 - 1, 0, 100)
        self.assertEqual(len(head), template.size)
        self.assertEqual(template.parse(b"xx" + head, 2), (2**63 - 1, 0, 100))

    def test_other_shapes(self) -> None:
        """A longer value, another key or another width is refused."""
        good = DATA.head(1, 5)
        self.assertEqual(DATA.parse(good, 0), (1, 5))
        for place in [*range(5), 13, 14, 15]:
            bad = bytearray(good)
            bad[place] ^= 2
            self.assertRaises(ProtocolError, DATA.parse, bad, 0)
        self.assertRaises(ProtocolError, DATA.parse, DATA.head(1, DATA.most + 1), 0)


class BoxReaderTests(SynchronousTestCase):
    """Reading a stream of boxes."""

    @given(STREAMS, CUTS)
    def test_any_cuts(self, stream: bytes, cuts: list[int]) -> None:
        """Wherever the bytes are cut, the same boxes come out, and they are what was written."""
        whole, cut = Reading(999).feed(stream), Reading(999).feed(stream, cuts)
        self.assertIsNone(whole.error)
        self.assertEqual(cut.events, whole.events)
        again = [
            encode(event[1])  # type: ignore[arg-type]
            if event[0] == "box"
            else DATA.head(event[1], event[2]) + bytes(event[3]) + END  # type: ignore[arg-type, call-overload]
            for event in cut.events
        ]
        self.assertEqual(b"".join(again), stream)

    @settings(max_examples=200)
    @given(NOISE, CUTS)
    def test_any_bytes(self, noise: bytes, cuts: list[int]) -> None:
        """Any bytes cut anywhere end in a ProtocolError or not, with the same boxes before it."""
        whole, cut = Reading(200).feed(noise), Reading(200).feed(noise, cuts)
        self.assertEqual(cut.events, whole.events)
        self.assertEqual(cut.error is None, whole.error is None)

    @given(NOISE, st.integers(1, 3))
    def test_what_it_holds(self, noise: bytes, size: int) -> None:
        """A reader holds no more than its limit, whatever comes."""
        reading = Reading(64)
        reading.feed(noise, list(range(0, len(noise), size)))
        if reading.error is None:
            self.assertLess(len(reading.reader._rest), 64)

    @given(STREAMS, st.binary(max_size=9), st.binary(max_size=9))
    def test_range(self, stream: bytes, before: bytes, behind: bytes) -> None:
        """Only the given range of the buffer is read, also when what follows it looks like more."""
        reading = Reading()
        reading.reader.feed(before + stream + behind, len(before), len(before) + len(stream))
        self.assertEqual(reading.events, Reading().feed(stream).events)

    def test_range_ends_in_a_key(self) -> None:
        """Bytes behind the range never complete what stands at its end."""
        data = DATA.head(1, 3) + b"abc" + END
        for cut in range(len(data)):
            reading = Reading()
            reading.reader.feed(data, 0, cut)
            reading.reader.feed(data, cut, len(data))
            self.assertEqual(reading.events, [("hot", 1, 3, b"abc")], cut)

    def test_hot_is_cut_through(self) -> None:
        """What has arrived of a hot value is handed on before the rest comes."""
        reading = Reading()
        reading.feed(DATA.head(7, 10) + b"abc")
        self.assertEqual(reading.events, [("hot", 7, 10, b"abc")])
        reading.feed(b"defg")
        self.assertEqual(reading.events, [("hot", 7, 10, b"abcdefg")])

    def test_hot_end(self) -> None:
        """A hot value is followed by the end of the box, wherever that is cut."""
        for end in (b"\x00\x01", b"\x01\x00", b"\x00\x01x"):
            for cut in range(20):
                reading = Reading().feed(DATA.head(1, 2) + b"ab" + end, [cut])
                self.assertIn("where a hot box ends", str(reading.error))

    def test_limit(self) -> None:
        """A box of the limit is read; a larger one is refused once its length shows."""
        box = encode([(b"k", bytes(92))])
        self.assertEqual(len(box), 99)
        self.assertEqual(len(Reading(99).feed(box).events), 1)
        self.assertIn("more than 98 bytes", str(Reading(98).feed(box).error))
        self.assertIn("more than 98 bytes", str(Reading(98).feed(box[:96] + b"\x01").error))
        self.assertIsNotNone(Reading(98).feed(box[:3] + b"\x10\x00").error, "before its value came")

    def test_limit_changes(self) -> None:
        """A new limit holds from the next box on, also when a callback sets it."""
        box = encode([(b"k", bytes(50))])
        reading = Reading(100)
        reading.reader._box = lambda pairs: setattr(reading.reader, "limit", 20)
        reading.feed(box * 2)
        self.assertIn("more than 20 bytes", str(reading.error))

    def test_callback_raises(self) -> None:
        """What a callback raises comes out of feed."""

        def fail(*args: object) -> None:
            raise ProtocolError("no")

        for name, data in (
            ("_box", encode([(b"k", b"")])),
            ("_head", DATA.head(1, 0)),
            ("_piece", DATA.head(1, 1)),
        ):
            reading = Reading()
            setattr(reading.reader, name, fail)
            self.assertEqual(str(reading.feed(data + b"x" + END).error), "no")

    def test_byte_by_byte(self) -> None:
        """The largest box costs about as much byte by byte as in one piece."""
        pairs = [(bytes([65 + place]), bytes(4_000)) for place in range(32)]
        box = encode(pairs)
        self.assertGreater(len(box), INNER_LIMIT - 3_500)
        scans = self._count_scans(lambda reading: reading.feed(box, list(range(len(box)))))
        self.assertLess(scans, 4 * boxes.MOST_KEYS)

    def _count_scans(self, use: Callable[[Reading], Reading]) -> int:
        calls: list[int] = []
        scan = boxes.scan

        def counting(data: Buffer, start: int, end: int) -> tuple[int, Box]:
            calls.append(end)
            return scan(data, start, end)

        self.patch(boxes, "scan", counting)
        self.assertEqual(len(use(Reading(INNER_LIMIT)).events), 1)
        return len(calls)
