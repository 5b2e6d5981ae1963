"""Boxes: the key and value pairs that everything between client and relay is made of.

The format is that of AMP at box level: for every pair two length bytes and the key, two length
bytes and the value; two zero bytes end the box. docs/protocol.md tells which boxes there are. Keys
stand in ascending order, which is the order that AMP implementations write them in, and the first
key tells the kind. One kind on each layer is *hot*: it has a single legal shape, is recognised by
a template, and its last value is handed on while it is still arriving ("cut-through").
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable

from burrow.errors import ProtocolError

LONGEST_KEY = 255
LONGEST_VALUE = 65_535
MOST_KEYS = 32  #: pairs in one box
END = b"\x00\x00"

Buffer = bytes | bytearray
Box = dict[bytes, bytes]


def encode(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a whole box; the pairs come with their keys in ascending order.

    Raises:
        ValueError: A key or value is too long to be written.
    """
    parts: list[bytes] = []
    for key, value in pairs:
        if not 0 < len(key) <= LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise ValueError(f"key {key!r} with a value of {len(value)} bytes does not fit in a box")
        parts += (struct.pack(">H", len(key)), key, struct.pack(">H", len(value)), value)
    parts.append(END)
    return b"".join(parts)


def decode(data: bytes) -> Box:
    """Return the pairs of one box that fills ``data`` exactly.

    Raises:
        ProtocolError: Not a box, cut short, or followed by something.
    """
    end, box = scan(data, 0, len(data))
    if end != len(data):
        raise ProtocolError(f"a box of {end} bytes in a value of {len(data)}")
    return box


def scan(data: Buffer, start: int, end: int) -> tuple[int, Box]:
    """Read one box from ``start``; return where it ends and its pairs.

    While the box is cut short, the first number is negative: minus the place that ``end`` has to
    reach before it is worth while to read again.

    Raises:
        ProtocolError: Not a box, whatever may follow.
    """
    box: Box = {}
    last = b""
    while (wanted := start + 2) <= end:
        size = (data[start] << 8) | data[start + 1]
        if size == 0 and box:
            return start + 2, box
        if not 0 < size <= LONGEST_KEY or len(box) == MOST_KEYS:
            raise ProtocolError(f"a key of {size} bytes after {len(box)} pairs")
        wanted = value = start + 4 + size
        if end < value:
            break
        key = bytes(data[start + 2 : start + 2 + size])
        if key <= last:
            raise ProtocolError(f"key {key!r} after key {last!r}")
        wanted = start = value + ((data[value - 2] << 8) | data[value - 1])
        if end < start:
            break
        box[key] = bytes(data[value:start])
        last = key
    return -wanted, box


class Template:
    """The one legal shape of a hot box: fixed 8-byte numbers, then one value of any length.

    Attributes:
        key: The first key as it stands on the wire, with its length: three bytes.
        most: The most bytes that the last value may have.
        size: Bytes in front of the last value.
    """

    def __init__(self, numbers: Iterable[bytes], last: bytes, most: int) -> None:
        """Describe a box whose one-byte keys ``numbers`` have 8-byte values and precede ``last``."""
        fixed = [b"\x00\x01" + number + b"\x00\x08" for number in numbers]
        self._layout = struct.Struct(">" + "5sQ" * len(fixed) + "3sH")
        self._fixed = (*fixed, b"\x00\x01" + last)
        self._fields: list[bytes | int] = [field for key in self._fixed for field in (key, 0)]
        self.key = fixed[0][:3]
        self.most = most
        self.size = self._layout.size

    def head(self, *values: int) -> bytes:
        """Return what stands in front of the last value: the numbers, then that value's length."""
        fields = self._fields.copy()
        fields[1::2] = values
        return self._layout.pack(*fields)

    def parse(self, data: Buffer, start: int) -> tuple[int, ...]:
        """Return the numbers and the last value's length from the ``size`` bytes at ``start``.

        Raises:
            ProtocolError: A box of this kind in another shape.
        """
        fields = self._layout.unpack_from(data, start)
        if fields[::2] != self._fixed or fields[-1] > self.most:
            raise ProtocolError(f"a box of kind {self.key[2:]!r} in another shape")
        return fields[1::2]


class BoxReader:
    """Reads a stream of boxes cut anywhere, hot ones by their template, others by their pairs.

    For a hot box ``head`` is called with the numbers and the last value's length, then ``piece``
    with a buffer and a range of it for every part of that value that has arrived; for any other box
    ``box`` is called with its pairs. A callback may raise; do not feed this reader again then.

    Attributes:
        limit: The most bytes that a box other than a hot one may have.
    """

    def __init__(
        self,
        template: Template,
        head: Callable[..., None],
        piece: Callable[[Buffer, int, int], None],
        box: Callable[[Box], None],
        limit: int,
    ) -> None:
        """Start between two boxes."""
        self._key, self._size, self._parse = template.key, template.size, template.parse
        self._head, self._piece, self._box = head, piece, box
        self.limit = limit
        self._rest = bytearray()  # the beginning of something that is not whole yet
        self._wanted = 0  # bytes that it needs before it is read again
        self._missing = 0  # bytes of a hot value still to come, its END not among them
        self._inside = False  # in a hot box, behind its head

    def feed(self, data: Buffer, start: int, end: int) -> None:
        """Read the next bytes: ``data[start:end]``.

        Raises:
            ProtocolError: Not boxes, or over a limit.
        """
        if self._rest:
            self._rest += data[start:end]
            if len(self._rest) < self._wanted:
                return
            data, start, end = self._rest, 0, len(self._rest)
        while start < end:
            after = self._read_hot(data, start, end) if self._inside else self._read(data, start, end)
            if after < 0:
                break
            start = after
        if start or data is not self._rest:  # else nothing was read: keep it, do not copy it again
            self._rest = bytearray(data[start:end])

    def _read(self, data: Buffer, start: int, end: int) -> int:
        """Read a box, or what there is of a hot one; return where to go on, or -1 if it is cut short."""
        if data.startswith(self._key, start):
            value = start + self._size
            if value > end:
                return self._cut_short(self._size)
            numbers = self._parse(data, start)
            self._head(*numbers)
            after = value + numbers[-1]
            if after + 2 > end:
                self._missing, self._inside = numbers[-1], True
                return value
            self._piece(data, value, after)
            if data[after] or data[after + 1]:
                raise ProtocolError(f"{bytes(data[after : after + 2])!r} where a hot box ends")
            return after + 2
        if end - start < 3:
            return self._cut_short(3)
        after, box = scan(data, start, min(end, start + self.limit))
        if after < 0:
            return self._cut_short(-after - start)
        self._box(box)
        return after

    def _cut_short(self, wanted: int) -> int:
        """Wait until ``wanted`` bytes of what begins here have come: tiny pieces cost no more than large."""
        if wanted > self.limit:
            raise ProtocolError(f"a box of more than {self.limit} bytes")
        self._wanted = wanted
        return -1

    def _read_hot(self, data: Buffer, start: int, end: int) -> int:
        """Read what is left of a hot box; return where to go on, or -1 if its END is cut."""
        if self._missing:
            after = min(end, start + self._missing)
            self._missing -= after - start
            self._piece(data, start, after)
            return after
        if end - start < 2:
            return self._cut_short(2)
        if data[start] or data[start + 1]:
            raise ProtocolError(f"{bytes(data[start : start + 2])!r} where a hot box ends")
        self._inside = False
        return start + 2
