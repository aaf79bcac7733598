"""Layers: the rows of the fold's tables that changed between two entries, as one immutable file that is searched by key.

The file is one line of JSON (what it spans, and where its blocks are), then the blocks, each a zstd frame; digests and ids that
occur twice are there once, and a number stands for each in the rows. The rows of a table are sorted by key and grouped, so that
a look-up decodes one group; a filter of ten bits a row spares most look-ups of absent keys.

A row is the JSON of its value; or `+` and what is added to the end of the JSON before it; or nothing, if it is gone.
"""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from xxhash import xxh3_64_intdigest

from artifactstore.catalog.spill.words import Words, find_words
from artifactstore.runtime.frames import Frames

__all__ = ["FORMAT", "GONE", "Layer", "Span", "compose", "key_hash", "row_between", "write_layer"]

FORMAT: Final = 2  # 1 had digests and ids in a dictionary of zstd, which found few of many thousand
GONE: Final = b""
_ADDED: Final = b"+"
_GROUP: Final = 512  # rows of a group
_GROUP_BYTES: Final = 2**18
_MAX_BLOCK: Final = 64 * 2**20  # bytes of a decoded block
_MAX_LINE: Final = 16 * 2**20
_BITS: Final = 10  # of the filter, for each row: one look-up in fifty is in vain
_PROBES: Final = 3
_LOW: Final = 0xFFFFFFFF
_HELD: Final = 64 * 2**20  # bytes of decoded groups in memory, of one layer

Row = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Span:
    """What a layer spans.

    Attributes:
        store: id of the store.
        layout: of its tables.
        since: the entry before its first; 0: it begins with the journal.
        before: digest of that entry's bytes; empty at 0.
        seq: its last entry.
        entry: digest of that entry's bytes.
    """

    store: str
    layout: int
    since: int
    before: str
    seq: int
    entry: str


def compose(old: bytes | None, row: bytes) -> bytes | None:
    """Return the JSON of a value after a layer's row; None if it is gone.

    Raises:
        ValueError: the row adds to a value that does not exist.
    """
    if row[:1] != _ADDED:
        return row or None
    if old is None:
        raise ValueError("a row adds to one that does not exist")
    return old[:-1] + row[1:]


def row_between(old: bytes | None, new: bytes | None) -> bytes | None:
    """Return the row that turns the JSON of a value into another; None if they are equal."""
    if old == new:
        return None
    if new is None:
        return GONE
    if (
        old is not None
        and len(old) > 2
        and old[:1] in b"[{"
        and new[len(old) - 1 : len(old)] == b","
        and new.startswith(old[:-1])
    ):
        return _ADDED + new[len(old) - 1 :]
    return new


def key_hash(key: str) -> int:
    """Return the hash of a key by which filters are asked."""
    return xxh3_64_intdigest(key.encode("utf-8", "surrogatepass"))


def write_layer(
    span: Span, tables: Mapping[str, Iterable[Row]], *, counts: Mapping[str, int], order: Sequence[str], small: bytes
) -> bytes:
    """Encode a layer.

    Args:
        span: what it spans.
        tables: for each table its rows, sorted by key, each key once.
        counts: for each table its number of rows after the last entry.
        order: keys of new rows of the ordered table.
        small: what has changed in small tables.

    Raises:
        ValueError: a block is larger than readers accept.
    """
    groups = {table: list(_grouped(tables[table])) for table in sorted(tables)}
    order_text, seen = json.dumps(list(order), separators=(",", ":")).encode(), Counter[bytes]()
    for raw in (small, order_text, *(raw for some in groups.values() for _, raw in some)):
        seen.update(find_words(raw))
    words = Words.of(word for word, count in seen.items() if count > 1)
    frames = Frames()
    body: list[bytes] = []
    at = 0

    def block(raw: bytes, *, plain: bool = False) -> list[int]:
        nonlocal at
        if len(raw) > _MAX_BLOCK:
            raise ValueError(f"a block of {len(raw):,} bytes is larger than {_MAX_BLOCK:,}")
        if not plain:
            raw = words.encoded(raw)
        data = frames.encoded(raw)
        body.append(data)
        at += len(data)
        return [at - len(data), len(data), len(raw)]

    parts: dict[str, Any] = {}
    for table, some in groups.items():
        found = [[keys[0], *block(raw)] for keys, raw in some]
        if found:
            parts[table] = {
                "groups": found,
                "filter": block(_filter([key_hash(key) for keys, _ in some for key in keys]), plain=True),
            }
    line = {
        "format": FORMAT,
        "store": span.store,
        "layout": span.layout,
        "since": span.since,
        "before": span.before,
        "seq": span.seq,
        "entry": span.entry,
        "counts": dict(sorted(counts.items())),
        "order": block(order_text),
        "small": block(small),
        "digests": block(words.digests, plain=True),
        "ids": block(words.ids, plain=True),
        "tables": parts,
    }
    return b"\n".join([json.dumps(line, separators=(",", ":")).encode(), b"".join(body)])


def _grouped(rows: Iterable[Row]) -> Iterator[tuple[list[str], bytes]]:
    keys: list[str] = []
    values: list[bytes] = []
    size = 0
    for key, value in rows:
        keys.append(key)
        values.append(value)
        size += len(value)
        if len(keys) == _GROUP or size > _GROUP_BYTES:
            yield keys, _joined(keys, values)
            keys, values, size = [], [], 0
    if keys:
        yield keys, _joined(keys, values)


def _joined(keys: list[str], values: list[bytes]) -> bytes:
    return b"\n".join([json.dumps(keys, separators=(",", ":")).encode(), *values])


def _filter(hashes: Sequence[int]) -> bytes:
    bits = bytearray((len(hashes) * _BITS + 7) // 8)
    for mixed in hashes:
        probe, step = mixed & _LOW, mixed >> 32 | 1
        for _ in range(_PROBES):
            spot = probe % (len(bits) * 8)
            bits[spot >> 3] |= 1 << (spot & 7)
            probe += step
    return bytes(bits)


class _Part:
    """A table's rows in a layer."""

    __slots__ = ("bits", "filter", "firsts", "groups")

    def __init__(self, found: Mapping[str, Any], size: int) -> None:
        self.groups = [_block(one[1:], size) for one in found["groups"]]
        self.firsts = [_text(one[0]) for one in found["groups"]]
        self.filter = _block(found["filter"], size)
        self.bits: bytes | None = None
        if not self.groups or any(one >= other for one, other in zip(self.firsts, self.firsts[1:], strict=False)):
            raise ValueError("groups are not in order")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise ValueError("a number is expected")
    return value


def _block(value: Any, size: int) -> tuple[int, int, int]:
    at, length, raw = map(_number, value)
    if at + length > size or raw > _MAX_BLOCK:
        raise ValueError("a block is outside of the file, or too large")
    return at, length, raw


class Layer:
    """A layer, as it was written.

    Args:
        data: its bytes, which have the digest that is expected of them.
        digest: their digest, if it is known.

    Attributes:
        span: what it spans.
        counts: for each table its number of rows after the last entry.
        data: the file.
        size: its bytes.
        digest: of its bytes, as text, once it is known.

    Raises:
        ValueError: the bytes are not a layer of this format.
    """

    def __init__(self, data: bytes, digest: str = "") -> None:
        try:
            end = data.index(b"\n", 0, _MAX_LINE)
            line = json.loads(data[:end])
            if line["format"] != FORMAT:
                raise ValueError("another format")
            layout, since, seq = _number(line["layout"]), _number(line["since"]), _number(line["seq"])
            self.span = Span(_text(line["store"]), layout, since, _text(line["before"]), seq, _text(line["entry"]))
            self.counts = {_text(table): _number(count) for table, count in line["counts"].items()}
            size = len(data) - end - 1
            self._order, self._small = (_block(line[name], size) for name in ("order", "small"))
            self._digests, self._ids = (_block(line[name], size) for name in ("digests", "ids"))
            self._parts = {table: _Part(found, size) for table, found in line["tables"].items()}
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a layer: {error!r}") from error
        if since >= seq:
            raise ValueError("a layer without entries")
        self.data, self.size, self.digest = data, len(data), digest
        self._body = memoryview(data)[end + 1 :]
        self._frames = Frames()
        self._words: Words | None = None
        self._held: dict[tuple[str, int], tuple[list[str], list[bytes]]] = {}
        self._weight = 0

    def _decoded(self, block: tuple[int, int, int], *, plain: bool = False) -> bytes:
        at, length, raw = block
        found = self._frames.decoded(self._body[at : at + length], raw)
        if plain:
            return found
        if self._words is None:
            self._words = Words(self._decoded(self._digests, plain=True), self._decoded(self._ids, plain=True))
        return self._words.decoded(found, _MAX_BLOCK)

    def small(self) -> Any:
        """Return what has changed in small tables."""
        return json.loads(self._decoded(self._small))

    def order(self) -> list[str]:
        """Return the keys of new rows of the ordered table, in order."""
        found = json.loads(self._decoded(self._order))
        if not isinstance(found, list):
            raise TypeError("a list is expected")
        return found

    def tables(self) -> Iterable[str]:
        """Return the tables that have rows here."""
        return self._parts.keys()

    def find(self, table: str, key: str, mixed: int) -> bytes | None:
        """Return a row, or None; `mixed` is the key's hash."""
        part = self._parts.get(table)
        if part is None:
            return None
        bits = part.bits
        if bits is None:
            bits = part.bits = self._decoded(part.filter, plain=True)
        size, probe, step = len(bits) * 8, mixed & _LOW, mixed >> 32 | 1
        for _ in range(_PROBES):
            spot = probe % size
            if not bits[spot >> 3] & 1 << (spot & 7):
                return None
            probe += step
        at = bisect_right(part.firsts, key) - 1
        if at < 0:
            return None
        keys, rows = self._group(table, part, at)
        here = bisect_left(keys, key)
        return rows[here] if here < len(keys) and keys[here] == key else None

    def _group(self, table: str, part: _Part, at: int) -> tuple[list[str], list[bytes]]:
        found = self._held.get((table, at))
        if found is None:
            found = self._split(part, at)
            if self._weight > _HELD:
                self._held, self._weight = {}, 0
            self._held[table, at] = found
            self._weight += part.groups[at][2]
        return found

    def _split(self, part: _Part, at: int) -> tuple[list[str], list[bytes]]:
        first, *rows = self._decoded(part.groups[at]).split(b"\n")
        keys = json.loads(first)
        if len(keys) != len(rows):
            raise ValueError("a group has other keys than rows")
        return keys, rows

    def rows(self, table: str, low: str = "", high: str | None = None) -> Iterator[Row]:
        """Yield rows by key, from `low` on, and below `high`."""
        part = self._parts.get(table)
        if part is None:
            return
        for at in range(max(0, bisect_right(part.firsts, low) - 1), len(part.groups)):
            if high is not None and part.firsts[at] >= high:
                return
            keys, rows = self._held.get((table, at)) or self._split(part, at)
            begin = bisect_left(keys, low)
            end = len(keys) if high is None else bisect_left(keys, high)
            yield from zip(keys[begin:end], rows[begin:end], strict=True)

    def difference(self, true: "Layer") -> str | None:
        """Return what differs from another layer, or None.

        Raises:
            ValueError: a block is damaged.
        """
        for what in ("span", "counts"):
            if getattr(self, what) != getattr(true, what):
                return what
        for what in ("order", "small"):
            if getattr(self, what)() != getattr(true, what)():
                return what
        for table in sorted({*self.tables(), *true.tables()}):
            for mine, other in zip_longest(self.rows(table), true.rows(table)):
                if mine != other:
                    return f"{table} of {(other or mine)[0]}"
        return None
