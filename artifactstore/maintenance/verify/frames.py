"""Verification of packs from end to end, without decoding: footers, checksums of frames, and what manifests say of them.

Some packs at a time; what was read is recorded, so that an interrupted run goes on behind it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import xxhash

from artifactstore.backend.base import Backend, Stored
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.footers import Footers, read_footer
from artifactstore.content.packs.pack import MAGIC, Frame, pack_key
from artifactstore.errors import ArtifactStoreError, NotFoundError
from artifactstore.maintenance.verify.packs import reraise_if_unreachable, sample, users_of
from artifactstore.maintenance.verify.report import Report
from artifactstore.maintenance.verify.resume import NOTHING, Resume
from artifactstore.runtime.threads import Pool

__all__ = ["check_frames"]

_BLOCK: Final = 2**20  # bytes read at a time: they stay in the processor's cache until they are hashed
_WORKERS: Final = 4


@dataclass(slots=True)
class _Looked:
    """What a look at a pack found.

    Attributes:
        pack: its id.
        error: why it could not be read to its end.
        begins: whether it begins as a pack does.
        frames: how many of its frames were read.
        bad: those that do not match their checksums.
    """

    pack: str
    error: ArtifactStoreError | None = None
    begins: bool = True
    frames: int = 0
    bad: list[Frame] = field(default_factory=list)


def check_frames(
    backend: Backend,
    manifests: Mapping[str, Manifest],
    report: Report,
    recorded: Mapping[str, str],
    *,
    fraction: float = 1.0,
    frames: str = "all",
    watch: Callable[..., Callable[..., None]] = lambda *_: lambda *_: None,
    packs: Mapping[str, Stored] = {},
    resume: Resume = NOTHING,
) -> None:
    """Read packs from end to end against their footers and checksums, without decoding.

    Args:
        backend: the store's.
        manifests: by the artifact's digest.
        report: receives the faults.
        recorded: the entry that recorded each artifact's manifest.
        fraction: of the packs, chosen at random.
        frames: which to read besides the footers: `all`, `none`, or those `unused` by every manifest.
        watch: called with an operation and its bytes in all; returns what is called with those read.
        packs: by their keys, as listed.
        resume: the record of what an interrupted run has read.
    """
    users, footers = users_of(manifests), Footers(backend)
    chosen = set(sample(sorted(users), fraction, resume.seed))
    total = sum(packs[key].size for one in chosen if (key := pack_key(one)) in packs)
    run = _Run(backend, manifests, users, footers, frames, watch("verify", total) if frames == "all" else _unseen)
    earlier = {one: many for one in chosen if (many := resume.frames(one, packs.get(pack_key(one)))) is not None}
    if earlier:
        report.count("frames", sum(earlier.values()))
        text = f"{len(earlier)} packs: a run that began {resume.begun} and was interrupted has read them, and they have not changed since"
        report.not_checked.append(text)
    try:
        for looked in run.all(sorted(chosen - earlier.keys())):
            _add(looked, manifests, users, report)
            if looked.error is None and looked.begins and not looked.bad:
                resume.note(looked.pack, packs.get(pack_key(looked.pack)), looked.frames)
    finally:
        resume.close()
    resume.finish()
    for digest, manifest in manifests.items():
        for mismatch in footers.contradictions(manifest, chosen.intersection(manifest.packs)):
            if not mismatch.unreadable:
                text = f"{mismatch}: another pack is stored under this name, or the manifest of {digest}{recorded.get(digest, '')} is false"
                report.damage(
                    f"{text}; `artifactstore repair` restores it from a copy",
                    f"{pack_key(mismatch.pack)} at {mismatch.offset}",
                    [digest],
                )


def _add(looked: _Looked, manifests: Mapping[str, Manifest], users: Mapping[str, Sequence[str]], report: Report) -> None:
    """Report what a look found."""
    pack, key = looked.pack, pack_key(looked.pack)
    report.count("frames", looked.frames)
    if not looked.begins:
        report.damage(f"{key} does not begin as a pack does; `artifactstore repair` restores it", f"{key} at 0", users[pack])
    for frame in looked.bad:
        text = f"{key}: the frame at {frame.offset} ({frame.stored} bytes) does not match its checksum"
        hit = [digest for digest in users[pack] if frame.offset in _offsets(pack, [manifests[digest]])]
        if hit:
            report.damage(f"{text}; `artifactstore repair` restores it", f"{key} at {frame.offset}", hit)
        else:
            report.note(f"{text}; no artifact uses it", f"{key} at {frame.offset}", rule="content")
    if looked.error is not None and not isinstance(looked.error, NotFoundError):  # a missing one was reported
        report.damage(str(looked.error), getattr(looked.error, "location", "") or key, users[pack])


def _unseen(_size: int) -> None:
    """Show nothing."""


def _offsets(pack: str, manifests: Iterable[Manifest]) -> set[int]:
    """Return the offsets of a pack's chunks that manifests refer to."""
    found: set[int] = set()
    for manifest in manifests:
        number, chunks = manifest.packs.index(pack), manifest.chunks
        found.update(offset for one, offset in zip(chunks.packs, chunks.offsets, strict=True) if one == number)
        found.update(one.offset for one in manifest.other_extents() if one.pack == pack)
    return found


@dataclass(slots=True)
class _Run:
    """Reads packs, several at a time."""

    backend: Backend
    manifests: Mapping[str, Manifest]
    users: Mapping[str, Sequence[str]]
    footers: Footers
    frames: str
    progress: Callable[..., None]
    _room: threading.local = field(default_factory=threading.local)

    def all(self, packs: Sequence[str]) -> Iterator[_Looked]:
        """Yield what was found, in order."""
        if len(packs) < 2:
            yield from map(self._look, packs)
            return
        with Pool(max(2, min(_WORKERS, self.backend.concurrency)), "artifactstore-verify") as pool:
            for start in range(0, len(packs), 16 * _WORKERS):  # so that a run that is stopped has noted what it read
                yield from pool.map(self._look, packs[start : start + 16 * _WORKERS])

    def _look(self, pack: str) -> _Looked:
        key, made = pack_key(pack), _Looked(pack)
        try:
            found, tail, size = read_footer(self.backend, key)
            self.footers.keep(pack, tail, size)
            (begin,) = self.backend.read_ranges(key, [(0, len(MAGIC))])  # no reader needs them, but they are what was written
            made.begins = begin == MAGIC
            self.progress(max(0, size - sum(frame.stored for frame in found)))
            if self.frames == "unused":
                known = _offsets(pack, [self.manifests[digest] for digest in self.users[pack]])
                found = [frame for frame in found if frame.offset not in known]
            self._check(key, found if self.frames != "none" else (), made)
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            made.error = error
        return made

    def _check(self, key: str, frames: Sequence[Frame], made: _Looked) -> None:
        start, last = 0, len(frames)
        hashed = xxhash.xxh3_64_intdigest
        while start < last:
            low, end, high = frames[start].offset, start, 0
            while end < last and (until := frames[end].offset + frames[end].stored - low) <= _BLOCK:
                end, high = end + 1, until
            if end == start:  # one that is longer than a block
                end, high = start + 1, frames[start].stored
            block = self._memory(high)
            self.backend.read_into(key, [(low, block)])
            for frame in frames[start:end]:
                at = frame.offset - low
                if hashed(block[at : at + frame.stored]) != frame.checksum:
                    made.bad.append(frame)
            made.frames += end - start
            self.progress(high)
            start = end

    def _memory(self, size: int) -> memoryview:
        """Return memory of this thread, which is used again: fresh pages cost more than reading them."""
        room: memoryview | None = getattr(self._room, "room", None)
        if room is None or len(room) < size:
            room = self._room.room = memoryview(bytearray(max(size, _BLOCK)))
        return room[:size]
