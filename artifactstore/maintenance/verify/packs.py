"""Verification of packs: presence, length, footer, checksums, and the files' digests."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from artifactstore.backend.base import Backend, Stored
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.pack import TRAILER, pack_key
from artifactstore.content.packs.reader import fetch
from artifactstore.content.side_content import parse_sha256, read_side
from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, NotFoundError
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.verify.report import Report
from artifactstore.model.digest import hash_bytes, new_hasher
from artifactstore.runtime.loading import numpy
from artifactstore.runtime.threads import Pool

__all__ = ["check_files", "check_packs", "reraise_if_unreachable", "sample", "users_of"]

_BLOCK: Final = 16 * 2**20


def users_of(manifests: Mapping[str, Manifest]) -> dict[str, list[str]]:
    """Return pack → the artifacts whose manifests use it."""
    users: dict[str, list[str]] = {}
    for digest, manifest in manifests.items():
        for pack in manifest.packs:
            users.setdefault(pack, []).append(digest)
    return users


def check_packs(backend: Backend, manifests: Mapping[str, Manifest], report: Report) -> tuple[dict[str, Stored], set[str]]:
    """Check that every referenced pack exists and is long enough; return the packs by key, and the artifacts that lack one."""
    users, lacking = users_of(manifests), set[str]()
    if not users:
        return {}, lacking
    packs = _listed(backend, [pack_key(pack) for pack in users], report)
    ends: dict[str, int] = {}
    for manifest in manifests.values():
        for name, end in zip(manifest.packs, _ends(manifest), strict=True):
            ends[name] = max(ends.get(name, 0), end)
        for one in manifest.other_extents():
            ends[str(one.pack)] = max(ends.get(str(one.pack), 0), one.offset + one.stored)
    for pack, digests in users.items():
        key = pack_key(pack)
        report.count("packs")
        if key not in packs:
            report.missing(key, digests, obstacle=backend.obstacle(key))
            lacking.update(digests)
        elif packs[key].size < ends.get(pack, 0) + TRAILER:
            text = f"{key} is truncated: {packs[key].size} bytes, at least {ends.get(pack, 0) + TRAILER} expected; restore it from a copy of the store"
            report.damage(text, f"{key} at {packs[key].size}", digests)
    return packs, lacking


def _ends(manifest: Manifest) -> list[int]:
    """Return where the last chunk of a manifest ends in each of its packs."""
    np, chunks = numpy(), manifest.chunks
    found = np.zeros(len(manifest.packs), np.int64)
    if len(chunks):
        numbers = np.frombuffer(chunks.packs, np.int32)
        there = numbers >= 0
        ends = np.frombuffer(chunks.offsets, np.int64) + np.frombuffer(chunks.stored, np.int64)
        np.maximum.at(found, numbers[there], ends[there])
    return found.tolist()  # type: ignore[no-any-return]


def _listed(backend: Backend, keys: Sequence[str], report: Report) -> dict[str, Stored]:
    """Return the existing ones of some objects: by a listing, or one by one without listings."""
    if backend.listable:
        try:
            return {item.key: item for item in backend.list("packs/")}
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            report.damage(f"packs/ cannot be listed: {error}", getattr(error, "location", "") or "packs/")

    def size(key: str) -> int | None:
        try:
            return backend.size(key)
        except NotFoundError:
            return None
        except ArtifactStoreError as error:
            reraise_if_unreachable(error)
            report.damage(f"cannot stat {key}: {error}", key)
            return 2**62

    with Pool(backend.concurrency) as pool:
        found = dict(zip(keys, pool.map(size, keys), strict=True))
    return {key: Stored(key, value, None) for key, value in found.items() if value is not None}


def reraise_if_unreachable(error: ArtifactStoreError) -> None:
    """Re-raise an error that tells nothing about stored data: the backend could not be reached."""
    if isinstance(error, BackendError) and error.transient:
        raise error


def sample(items: Sequence[str], fraction: float, seed: int | None = None) -> list[str]:
    """Return a share of some items, chosen at random; the same seed chooses the same."""
    if fraction >= 1:
        return list(items)
    return random.Random(seed).sample(list(items), max(1, round(len(items) * fraction))) if items else []  # noqa: S311 - a sample


def check_files(
    journal: Journal,
    manifests: Mapping[str, Manifest],
    report: Report,
    fraction: float,
    watch: Callable[..., Callable[..., None]],
) -> None:
    """Decode every chunk once and check every file; a file's digest is checked over its chunks in order."""
    checked: set[bytes] = set()  # files by their digest and their chunks' locations: the same bytes may be stored twice
    chosen = sample(sorted(manifests), fraction)
    progress = watch("verify", sum(sum(manifests[one].sizes) for one in chosen), sum(len(manifests[one].paths) for one in chosen))
    for digest in chosen:
        manifest = manifests[digest]
        stated: Sequence[str | None] = [None] * len(manifest.paths)
        for name in manifest.side:
            try:
                raw = read_side(journal.backend, manifest, name)
                if name == "sha256" and raw is not None:
                    stated = _stated(raw, manifest, digest, report) or stated
            except ArtifactStoreError as error:
                reraise_if_unreachable(error)
                text = f"cannot read the side content {name} of {digest}: {error}"
                report.damage(text, getattr(error, "location", "") or name, [digest])
        for row, path in enumerate(manifest.paths):
            mark = _mark(manifest, row) + (stated[row] or "").encode()
            if mark in checked:
                progress(manifest.sizes[row], 1)
                continue
            fault = _check_file(journal.backend, manifest, row, progress, stated[row])
            report.count("files")
            progress(0, 1)
            if fault is None:
                checked.add(mark)
            else:
                report.damage(f"{path} of {digest}: {fault}", fault.location or path, [digest])


def _stated(raw: bytes, manifest: Manifest, digest: str, report: Report) -> list[str] | None:
    """Return the SHA-256 digests that a manifest states for its files, which signatures of models are made from."""
    found = parse_sha256(raw, list(manifest.paths))
    if found is None:
        report.damage(f"the side content sha256 of {digest} is not about its files", "sha256", [digest])
    return found


def _mark(manifest: Manifest, row: int) -> bytes:
    layout = "".join(f"{one.pack}:{one.offset}:{one.stored}:{one.codec};" for one in manifest.extents(row))
    return hash_bytes(manifest.digests[row] + layout.encode(), "blake3")


def _check_file(
    backend: Backend, manifest: Manifest, row: int, progress: Callable[..., None], sha256: str | None
) -> CorruptionError | None:
    hasher = new_hasher(manifest.algorithm)
    other = None if sha256 is None else new_hasher("sha256")
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
                if other is not None:
                    other.update(chunk)
            progress(total)
            start = end
    except CorruptionError as error:
        return error
    except ArtifactStoreError as error:
        reraise_if_unreachable(error)
        return CorruptionError(str(error), location=manifest.paths[row])
    empty = hash_bytes(b"", manifest.algorithm) if not extents else None
    if (empty or hasher.digest()) != manifest.digests[row]:
        return CorruptionError(
            "its chunks do not add up to its digest; restore it from a copy of the store", location=manifest.paths[row]
        )
    if other is not None and other.digest().hex() != sha256:
        return CorruptionError(
            f"its SHA-256 is {other.digest().hex()}, but its writer stated {sha256}: do not use signatures that were made from that",
            location=manifest.paths[row],
        )
    return None
