"""Footers: the authoritative index of each pack. Where a manifest differs from a footer, the manifest is wrong.

Small, read once, cached per pack: a writer checks them before it relies on another writer's manifest (decision 0031), and
`verify` checks those of every pack.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.content.packs.pack import Frame, pack_key, read_records
from artifactstore.content.packs.reader import fetch
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, NotFoundError
from artifactstore.runtime.loading import numpy
from artifactstore.runtime.threads import Pool

__all__ = ["FalseChunk", "Footers", "read_footer"]

_TAIL: Final = 256 * 1024  # bytes read from a pack's end: the records of about 5,000 chunks
_CACHED: Final = 16 * 2**20  # bytes of footers cached in memory
_AT_ONCE: Final = 16
_READ_GROUP: Final = 32 * 2**20  # bytes read at a time
_FIELDS: Final = (("offset", "q"), ("stored", "q"), ("size", "q"), ("codec", "B"))


@dataclass(frozen=True, slots=True)
class FalseChunk:
    """A chunk that is not where a manifest claims it is.

    Attributes:
        pack: the pack's id; "" for an inline chunk.
        offset: its offset in the pack.
        why: the reason.
        unreadable: whether the pack's footer cannot be read at all: it is missing or damaged.
    """

    pack: str
    offset: int
    why: str
    unreadable: bool = False

    def __str__(self) -> str:
        return f"{pack_key(self.pack)} at {self.offset}: {self.why}" if self.pack else self.why


class _FooterTable:
    """The frames of a pack in columns, by ascending offset."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        np = numpy()
        offsets, stored, sizes, codecs, _, digests, bases = zip(*frames, strict=True) if frames else ((),) * 7
        self.offsets = np.array(offsets, np.int64)
        self.stored = np.array(stored, np.int64)
        self.sizes = np.array(sizes, np.int64)
        self.codecs = np.array(codecs, np.uint8)
        self.digests = _columns(digests)
        self.bases = {offset: base for offset, base in zip(offsets, bases, strict=True) if base is not None}

    def first_contradiction(self, claims: "_Claims") -> tuple[int, str] | None:
        """Return the first offset at which the manifest contradicts the footer, and the reason."""
        np = numpy()
        at = np.searchsorted(self.offsets, claims.offsets)
        there = at < len(self.offsets)
        at[~there] = 0
        if not len(self.offsets):
            return int(claims.offsets[0]), "the pack has no frames"
        same = there & (self.offsets[at] == claims.offsets)
        for column, values in ((self.stored, claims.stored), (self.sizes, claims.sizes), (self.codecs, claims.codecs)):
            same &= column[at] == values
        same &= (self.digests[at] == claims.digests).all(axis=1)
        if not same.all():
            return int(claims.offsets[int(np.argmin(same))]), "the pack's footer has no such chunk"
        for offset, base in claims.bases:
            if self.bases.get(offset) != base:
                return offset, "the pack's footer has another base"
        return None


@dataclass(slots=True)
class _Claims:
    """A manifest's claims about one pack, in columns."""

    offsets: Any
    stored: Any
    sizes: Any
    codecs: Any
    digests: Any
    bases: Sequence[tuple[int, bytes]]


class Footers:
    """The footers of one backend; thread-safe.

    Args:
        backend: backend of the packs: not behind a cache, whose bytes another store may have supplied.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._cached: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def keep(self, pack: str, tail: bytes, size: int) -> None:
        """Cache the footer of a pack that was just read or written.

        Args:
            pack: its id.
            tail: its last bytes, with the whole footer.
            size: size of the pack, in bytes.
        """
        with self._lock:
            if pack not in self._cached:
                self._cached[pack] = (tail, size)
                self._size += len(tail)
            while self._size > _CACHED and len(self._cached) > 1:
                self._size -= len(self._cached.popitem(last=False)[1][0])

    def contradictions(self, manifest: Manifest, packs: Iterable[str] | None = None) -> list[FalseChunk]:
        """Return where a manifest contradicts the footers of its packs: the first contradiction per pack.

        Args:
            manifest: the manifest to check.
            packs: check only these packs; all by default.

        Raises:
            BackendError: a footer could not be read.
        """
        wanted = set(manifest.packs if packs is None else packs)
        if not wanted:
            return []
        claims = {pack: one for pack, one in _claims_of(manifest).items() if pack in wanted}
        if len(claims) == 1 or not self._backend.is_remote:
            found = [self._check_pack(pack, one) for pack, one in claims.items()]
        else:
            with Pool(max(1, min(self._backend.concurrency, _AT_ONCE)), "artifactstore-footers") as pool:
                found = list(pool.map(self._check_pack, claims, claims.values()))
        return [one for one in found if one is not None]

    def unreadable(self, manifest: Manifest, packs: Iterable[str]) -> list[FalseChunk]:
        """Read all chunks that a manifest has in some packs, and its inline chunks; return those that do not match.

        Raises:
            BackendError: a pack could not be read.
        """
        wanted = set(packs) | {None}
        ids = [*manifest.packs, None]  # the last one is for inline chunks
        chunks = [manifest.extent(i) for i, number in enumerate(manifest.chunks.packs) if ids[number] in wanted]
        extents = sorted(
            {(one.pack or "", one.offset, one.digest): one for one in chunks}.values(),
            key=lambda one: (one.pack or "", one.offset),
        )
        found: list[FalseChunk] = []
        at = 0
        while at < len(extents):
            end, size = at + 1, extents[at].size
            while end < len(extents) and size < _READ_GROUP:
                size += extents[end].size
                end += 1
            found += self._find_unreadable(extents[at:end], manifest.algorithm)
            at = end
        return found

    def _find_unreadable(self, extents: Sequence[Extent], algorithm: str) -> list[FalseChunk]:
        try:
            fetch(self._backend, extents, algorithm=algorithm)
        except (BackendError, CorruptionError, NotFoundError) as error:
            if isinstance(error, BackendError) and error.transient:
                raise
            if len(extents) == 1:
                return [FalseChunk(extents[0].pack or "", extents[0].offset, str(error))]
            half = len(extents) // 2
            return [*self._find_unreadable(extents[:half], algorithm), *self._find_unreadable(extents[half:], algorithm)]
        return []

    def _check_pack(self, pack: str, claims: _Claims) -> FalseChunk | None:
        try:
            found = self._table(pack).first_contradiction(claims)
        except NotFoundError:
            return FalseChunk(pack, 0, "the pack is missing", unreadable=True)
        except CorruptionError as error:
            return FalseChunk(pack, 0, str(error), unreadable=True)
        except BackendError as error:  # a bad sector, a link to itself: as bad as a damaged pack
            if error.transient:
                raise
            return FalseChunk(pack, 0, str(error), unreadable=True)
        return None if found is None else FalseChunk(pack, *found)

    def _table(self, pack: str) -> _FooterTable:
        with self._lock:
            found = self._cached.get(pack)
            if found is not None:
                self._cached.move_to_end(pack)
        if found is None:
            frames, tail, size = read_footer(self._backend, pack_key(pack))
            self.keep(pack, tail, size)
            return _FooterTable(frames)
        return _FooterTable(read_records(*found, pack_key(pack)))


def read_footer(backend: Backend, key: str) -> tuple[list[Frame], bytes, int]:
    """Read the footer of a pack; return its frames, its last bytes with the whole footer, and the pack's size in bytes.

    Raises:
        NotFoundError: the pack is missing.
        CorruptionError: its footer is damaged, or the pack's size is not what the footer declares.
        BackendError: it could not be read.
    """
    size = backend.size(key)
    want = min(size, _TAIL)
    while True:
        (tail,) = backend.read_ranges(key, [(size - want, want)])
        try:
            return read_records(tail, size, key), tail, size
        except LookupError as error:
            if isinstance(error, ArtifactStoreError):
                raise
            want = int(error.args[0])


def _claims_of(manifest: Manifest) -> Mapping[str, _Claims]:
    """Return a manifest's claims about each of its packs: chunks of files, bases of deltas, and side content."""
    np = numpy()
    c = manifest.chunks
    numbers = np.frombuffer(c.packs, np.int32) if len(c) else np.empty(0, np.int32)
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(manifest.packs) + 1))
    held = (c.offsets, c.stored, c.sizes, c.codecs) if len(c) else ()
    columns = [np.frombuffer(one, kind) for one, (_, kind) in zip(held, _FIELDS, strict=False)]
    all_digests = _columns([b"".join(c.digests)])
    more: dict[str, list[Extent]] = {}
    for extent in manifest.other_extents():
        more.setdefault(str(extent.pack), []).append(extent)
    found: dict[str, _Claims] = {}
    for number, pack in enumerate(manifest.packs):
        rows = order[bounds[number] : bounds[number + 1]]
        extra = more.get(pack, ())
        if not len(rows) and not extra:
            continue
        bases = [(c.offsets[i], c.bases[i].digest) for i in rows.tolist() if i in c.bases] if c.bases else []
        beside = [np.array([getattr(one, name) for one in extra], kind) for name, kind in _FIELDS]
        parts = [one[rows] for one in columns] or [np.empty(0, kind) for _, kind in _FIELDS]
        offsets, stored, sizes, codecs = (np.concatenate(pair) for pair in zip(parts, beside, strict=True))
        digests = np.concatenate((all_digests[rows], _columns([one.digest for one in extra])))
        found[pack] = _Claims(offsets, stored, sizes, codecs, digests, bases)
    return found


def _columns(digests: Sequence[bytes]) -> Any:
    """Return digests as rows of four numbers, for vectorised comparison."""
    return numpy().frombuffer(b"".join(digests), numpy().uint64).reshape(-1, 4)
