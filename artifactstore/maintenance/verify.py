"""Verify: is everything there that the journal names, and is it what the journal says?

Looks at the bytes as they are stored, not at anything derived; never raises for damage, but lists it.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import xxhash

from artifactstore.backend.base import Backend
from artifactstore.backend.pool import Pool
from artifactstore.catalog.state import State
from artifactstore.content.fetch import fetch
from artifactstore.content.manifest import Manifest, manifest_key
from artifactstore.content.manifest_file import decode
from artifactstore.content.pack import TRAILER, Frame, pack_key, read_records
from artifactstore.content.side import read_side
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, FormatError, InvalidInputError, NotFoundError
from artifactstore.journal.chain import entry_key, join
from artifactstore.journal.fetch import fetch_run, last_listed
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import read_standing
from artifactstore.journal.snapshots import Snapshot
from artifactstore.maintenance.report import Finding, Report
from artifactstore.maintenance.snapshot import fault_of, published
from artifactstore.model.digest import Digest, hash_bytes, new_hasher
from artifactstore.model.facts import CONFIG_KEY, parse_config

__all__ = ["LEVELS", "verify"]

LEVELS: Final = ("quick", "frames", "full")
_FOOTER: Final = 256 * 1024  # bytes read from a pack's end: the records of some 4,000 chunks
_BLOCK: Final = 16 * 2**20


def verify(
    journal: Journal,
    *,
    digest: str | None = None,
    level: str = "quick",
    fraction: Any = 1.0,
    anchor: Any = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Report:
    """Check a store, or one artifact of it.

    Args:
        journal: the store's.
        digest: only this artifact and the journal; all that are held otherwise.
        level: `quick` reads the journal, every manifest and the list of packs; `frames` also every pack, against its
            checksums; `full` also decodes every chunk and checks every file against its digest.
        fraction: share of the packs or artifacts that `frames` and `full` look into, chosen at random.
        anchor: `<entry>:<digest>` noted earlier: that entry must still have that digest.
        progress: told how many more bytes were read.

    Raises:
        InvalidInputError: no such level, fraction or anchor.
        BackendError: the place could not be reached.
    """
    if level not in LEVELS:
        raise InvalidInputError(f"level={level!r}: {', '.join(LEVELS)}")
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 < fraction <= 1:
        raise InvalidInputError(f"fraction={fraction!r}: above 0, at most 1")
    report = Report(level)
    state = _check_journal(journal, report, _parse_anchor(anchor))
    _check_standing(journal, state, report)
    manifests = _check_manifests(journal, state, report, digest)
    for one in _check_packs(journal.backend, manifests, report):
        if report.unfinished:
            del manifests[one]
    if level == "frames":
        _check_frames(journal.backend, manifests, report, fraction, progress)
    elif level == "full":
        _check_files(journal, manifests, report, fraction, progress)
    if level == "quick":
        report.not_checked.append("the bytes in packs: level='frames' checks their checksums, level='full' every digest")
    if fraction < 1:
        report.not_checked.append(f"{1 - fraction:.0%} of the content, chosen at random")
    if digest is not None:
        report.not_checked.append("all other artifacts")
    return report


def _parse_anchor(anchor: Any) -> tuple[int, str] | None:
    if anchor is None:
        return None
    number, _, digest = anchor.partition(":") if isinstance(anchor, str) else ("", "", "")
    if not number.isdecimal() or len(number) > 12:
        raise InvalidInputError(f"anchor={str(anchor)[:100]!r}: expected <entry>:<algorithm>:<hex>, for example 12:blake3:ab…")
    return int(number), str(Digest.parse(digest))


def _check_journal(journal: Journal, report: Report, anchor: tuple[int, str] | None) -> State:
    """Read every entry as it is stored (never a segment), check the chain, judge every transaction."""
    state = State()
    config = journal.config
    try:
        raw = journal.backend.read(CONFIG_KEY)
        if raw != config.raw:
            report.damage(f"{CONFIG_KEY} is not what it was when this store was opened: it was changed", CONFIG_KEY)
        parse_config(raw, CONFIG_KEY)
    except ArtifactStoreError as error:
        _unless_away(error)
        report.damage(str(error), CONFIG_KEY)
    previous = Digest.of(config.raw, config.digest)
    seq = 0
    snapshots = published(journal.backend)
    wrong: list[tuple[Snapshot, str]] = []
    try:
        for seq, raw in enumerate(fetch_run(journal.backend, 1, last_listed(journal.backend, 1)), 1):
            entry = journal.complete(join(raw, seq, previous))
            previous = Digest.of(raw, config.digest)
            outcomes = state.apply(entry)
            report.count("entries")
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                report.count("transactions")
                if void is not None:
                    what = f"transaction {txn['txn']} by {txn['actor']} has no effect ({void})"
                    report.findings.append(Finding("note", what, entry_key(seq)))
            for snapshot in (one for one in snapshots if one.seq == seq):
                report.count("snapshots")
                wrong += [(snapshot, fault) for fault in [fault_of(journal, snapshot, state, str(previous))] if fault]
            if anchor is not None and seq == anchor[0] and str(previous) != anchor[1]:
                report.damage(
                    f"entry {seq} has the digest {previous}, the anchor says {anchor[1]}: history was changed", entry_key(seq)
                )
    except (CorruptionError, FormatError, NotFoundError) as error:
        report.damage(str(error), getattr(error, "location", "") or entry_key(seq + 1))
    for snapshot, fault in wrong:
        text = f"the snapshot of entry {snapshot.seq} {fault}: delete it, it is only derived"
        if state.vouches(snapshot.digest, snapshot.seq):
            report.damage(f"{text}, and ask who vouched for it in entry {snapshot.entry}", snapshot.key)
        else:
            report.findings.append(Finding("note", f"{text}; nobody reads it, for nothing vouches for it", snapshot.key))
    if anchor is not None and anchor[0] > state.head:
        report.damage(
            f"the anchor names entry {anchor[0]}, the journal ends at {state.head}: entries are missing",
            entry_key(state.head + 1),
        )
    return state


def _check_standing(journal: Journal, state: State, report: Report) -> None:
    try:
        standing = read_standing(journal.backend, journal.config.store)
    except ArtifactStoreError as error:
        _unless_away(error)
        report.damage(str(error), getattr(error, "location", "") or "replica/")
        return
    if standing.target is not None and not standing.reached(state.head):
        report.unfinished = True
        report.not_checked.append(f"what comes behind entry {state.head}: this is an unfinished copy up to {standing.target[0]}")


def _check_manifests(journal: Journal, state: State, report: Report, digest: str | None) -> dict[str, Manifest]:
    """Read every manifest that currently holds an artifact; returns digest → manifest."""
    wanted = [(one, holders[-1]) for one, holders in state.holders.items() if holders and (digest is None or one == digest)]

    def check(item: tuple[str, str]) -> tuple[str, Manifest | None, str]:
        one, holder = item
        key = manifest_key(holder)
        try:
            raw = journal.backend.read(key)
            expected = state.manifests[holder][1]
            if str(Digest.of(raw, journal.config.digest)) != expected:
                return one, None, f"{key} does not match its digest in the journal: it was changed or truncated"
            manifest = decode(raw, key, algorithm=journal.config.digest)
            if str(manifest.identify()[1]) != one:
                return one, None, f"{key} is not the manifest of {one}"
        except NotFoundError:
            return one, None, ""
        except ArtifactStoreError as error:
            _unless_away(error)
            return one, None, str(error)
        return one, manifest, ""

    found: dict[str, Manifest] = {}
    with Pool(max(1, min(8, journal.backend.concurrency))) as pool:
        for one, manifest, fault in pool.map(check, wanted):
            report.count("manifests")
            if manifest is None and not fault:
                report.missing(manifest_key(state.holders[one][-1]), [one])
            elif manifest is None:
                report.damage(f"{fault}; restore it from a copy of the store", manifest_key(state.holders[one][-1]), [one])
            else:
                report.count("artifacts")
                found[one] = manifest
                if manifest.clash is not None:
                    first, second = manifest.clash
                    what = (
                        f"it has {first!r} twice" if first == second else f"{second!r} is inside of {first!r}, which is no folder"
                    )
                    report.damage(
                        f"the artifact {one} cannot be got as a whole: {what}; read its files one by one, put them again under other "
                        "names, and remove this version",
                        manifest_key(state.holders[one][-1]),
                        [one],
                    )
                missing = set(manifest.packs) - set(state.manifests[state.holders[one][-1]][2])
                if missing:
                    report.damage(
                        f"the manifest of {one} uses packs that its fact does not name",
                        manifest_key(state.holders[one][-1]),
                        [one],
                    )
    return found


def _users(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = {}
    for digest, manifest in manifests.items():
        for pack in manifest.packs:
            users.setdefault(pack, []).append(digest)
    return users


def _check_packs(backend: Backend, manifests: Mapping[str, Manifest], report: Report) -> set[str]:
    """Every pack that a manifest refers to is there and long enough; returns the artifacts that lack one."""
    users, lacking = _users(manifests), set[str]()
    if not users:
        return lacking
    sizes = _sizes(backend, [pack_key(pack) for pack in users])
    ends: dict[str, int] = {}
    for manifest in manifests.values():
        chunks = manifest.chunks
        for number, offset, stored in zip(chunks.packs, chunks.offsets, chunks.stored, strict=True):
            if number >= 0:
                name = manifest.packs[number]
                ends[name] = max(ends.get(name, 0), offset + stored)
        for one in manifest.beside():
            ends[str(one.pack)] = max(ends.get(str(one.pack), 0), one.offset + one.stored)
    for pack, digests in users.items():
        key = pack_key(pack)
        report.count("packs")
        if key not in sizes:
            report.missing(key, digests)
            lacking.update(digests)
        elif sizes[key] < ends.get(pack, 0) + TRAILER:
            text = f"{key} is truncated: {sizes[key]} bytes, at least {ends.get(pack, 0) + TRAILER} expected; restore it from a copy of the store"
            report.damage(text, f"{key} at {sizes[key]}", digests)
    return lacking


def _sizes(backend: Backend, keys: Sequence[str]) -> dict[str, int]:
    """The sizes of those objects that are there: by a listing, or one by one where there is none."""
    if backend.listable:
        return {item.key: item.size for item in backend.list("packs/")}

    def size(key: str) -> int | None:
        try:
            return backend.size(key)
        except NotFoundError:
            return None

    with Pool(backend.concurrency) as pool:
        found = dict(zip(keys, pool.map(size, keys), strict=True))
    return {key: value for key, value in found.items() if value is not None}


def _unless_away(error: ArtifactStoreError) -> None:
    """Let an error pass that says nothing of what is stored: the place could not be reached."""
    if isinstance(error, BackendError) and error.transient:
        raise error


def _sample(items: Sequence[str], fraction: float) -> list[str]:
    if fraction >= 1:
        return list(items)
    return random.sample(list(items), max(1, round(len(items) * fraction))) if items else []


def _check_frames(
    backend: Backend, manifests: Mapping[str, Manifest], report: Report, fraction: float, progress: Callable[[int], None]
) -> None:
    """Read packs from end to end against their checksums, without decoding."""
    users = _users(manifests)
    for pack in _sample(sorted(users), fraction):
        key = pack_key(pack)
        try:
            frames = _footer(backend, key)
            _compare(pack, frames, [manifests[digest] for digest in users[pack]], report)
            for frame in _bad_frames(backend, key, frames, report, progress):
                text = f"{key}: the frame at {frame.offset} ({frame.stored} bytes) does not match its checksum; restore the pack from a copy"
                report.damage(text, f"{key} at {frame.offset}", users[pack])
        except NotFoundError:
            continue  # said already
        except ArtifactStoreError as error:
            _unless_away(error)
            report.damage(str(error), getattr(error, "location", "") or key, users[pack])


def _compare(pack: str, frames: Sequence[Frame], manifests: Iterable[Manifest], report: Report) -> None:
    """What manifests say of a pack must be what its own footer says: else it is another pack under this name."""
    known = {frame.offset: (frame.stored, frame.size, frame.codec, frame.digest) for frame in frames}
    for manifest in manifests:
        for offset, told in _said_of(manifest, pack):
            if known.get(offset) != told:
                where = f"{pack_key(pack)} at {offset}"
                text = f"{where}: the pack's own footer knows no such chunk: another pack lies under this name; restore it from a copy"
                report.damage(text, where, [str(manifest.identify()[1])])
                break


def _said_of(manifest: Manifest, pack: str) -> Iterator[tuple[int, tuple[int, int, int, bytes]]]:
    """Yield what a manifest says of a pack: offset, and stored length, size, codec and digest of the chunk there."""
    number, chunks = manifest.packs.index(pack), manifest.chunks
    for i, one in enumerate(chunks.packs):
        if one == number:
            yield chunks.offsets[i], (chunks.stored[i], chunks.sizes[i], chunks.codecs[i], chunks.digests[i])
    for extent in manifest.beside():
        if extent.pack == pack:
            yield extent.offset, (extent.stored, extent.size, extent.codec, extent.digest)


def _footer(backend: Backend, key: str) -> list[Frame]:
    size = backend.size(key)
    want = min(size, _FOOTER)
    while True:
        (tail,) = backend.read_ranges(key, [(size - want, want)])
        try:
            return read_records(tail, size, key)
        except LookupError as error:
            if isinstance(error, ArtifactStoreError):
                raise
            want = int(error.args[0])


def _bad_frames(
    backend: Backend, key: str, frames: Sequence[Frame], report: Report, progress: Callable[[int], None]
) -> Iterator[Frame]:
    start = 0
    while start < len(frames):
        end = start + 1
        while end < len(frames) and frames[end].offset + frames[end].stored - frames[start].offset <= _BLOCK:
            end += 1
        low, high = frames[start].offset, frames[end - 1].offset + frames[end - 1].stored
        (block,) = backend.read_ranges(key, [(low, high - low)])
        for frame in frames[start:end]:
            report.count("frames")
            if (
                xxhash.xxh3_64_intdigest(memoryview(block)[frame.offset - low : frame.offset - low + frame.stored])
                != frame.checksum
            ):
                yield frame
        progress(high - low)
        start = end


def _check_files(
    journal: Journal, manifests: Mapping[str, Manifest], report: Report, fraction: float, progress: Callable[[int], None]
) -> None:
    """Decode every chunk once and check every file; a file's digest is checked over its chunks in order."""
    checked: set[bytes] = set()  # files by their digest and by where their chunks lie: the same bytes may lie in two places
    for digest in _sample(sorted(manifests), fraction):
        manifest = manifests[digest]
        for name in manifest.side:
            try:
                read_side(journal.backend, manifest, name)
            except ArtifactStoreError as error:
                _unless_away(error)
                text = f"what is known of {digest} beside its files ({name}) can't be read: {error}"
                report.damage(text, getattr(error, "location", "") or name, [digest])
        for row, path in enumerate(manifest.paths):
            mark = _mark(manifest, row)
            if mark in checked:
                continue
            fault = _check_file(journal.backend, manifest, row, progress)
            report.count("files")
            if fault is None:
                checked.add(mark)
            else:
                report.damage(f"{path} of {digest}: {fault}", fault.location or path, [digest])


def _mark(manifest: Manifest, row: int) -> bytes:
    places = "".join(f"{one.pack}:{one.offset}:{one.stored}:{one.codec};" for one in manifest.extents(row))
    return hash_bytes(manifest.digests[row] + places.encode(), "blake3")


def _check_file(backend: Backend, manifest: Manifest, row: int, progress: Callable[[int], None]) -> CorruptionError | None:
    hasher = new_hasher(manifest.algorithm)
    extents = list(manifest.extents(row))
    start = 0
    try:
        while start < len(extents):
            end, total = start + 1, extents[start].size
            while end < len(extents) and total + extents[end].size <= _BLOCK:
                total += extents[end].size
                end += 1
            for chunk in fetch(backend, extents[start:end], algorithm=manifest.algorithm):
                hasher.update(chunk)
            progress(total)
            start = end
    except CorruptionError as error:
        return error
    except ArtifactStoreError as error:
        _unless_away(error)
        return CorruptionError(str(error), location=manifest.paths[row])
    empty = hash_bytes(b"", manifest.algorithm) if not extents else None
    if (empty or hasher.digest()) != manifest.digests[row]:
        return CorruptionError(
            "its chunks do not add up to its digest; restore it from a copy of the store", location=manifest.paths[row]
        )
    return None
