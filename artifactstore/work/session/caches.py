"""Local caches of stores: folds on disk, manifests in memory. All derived, all verified."""

import json
import os
import secrets
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.wrappers.range_cache import cache_limit, cached_bytes
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.tree_cache import TreeCache
from artifactstore.journal.heads import format_head, parse_head
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.local_files import is_own, read_own
from artifactstore.work.session.name_list import NameList
from artifactstore.work.settings.settings import TAG, TAGGED

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry

__all__ = ["CacheUse", "CheckedManifests", "FoldCache", "LastHead", "Manifests", "cache_use", "clear_cache", "is_cache"]

_CHECKED: Final = 50_000  # manifests of one store: 3 MB
_ROWS: Final = 3_000_000  # files and chunks of manifests in memory: about 500 MB at most


class FoldCache:
    """The fold of one store in the cache folder; any failure to read it counts as a cache miss.

    One line of JSON (locations of the tables, and a checksum of them all), then the tables as JSON. The large tables of a
    large store are in a separate file beside it, which never changes.
    """

    def __init__(self, folder: Path, store: str) -> None:
        self._path = folder / "stores" / store / "fold.json"
        self._names = NameList(self._path.parent)

    def see(self, entry: "Entry") -> None:
        """Note the names in an entry that was folded."""
        self._names.see(entry["seq"], chain.from_iterable(_facts(txn["facts"]) for txn in entry["txns"]))

    def note(self, fold: Any) -> None:
        """Write what was noted."""
        self._names.note(fold)

    def load(self) -> tuple[State, str] | None:
        """Return the cached fold and the digest of its last entry."""
        try:
            line, _, body = read_own(self._path).partition(b"\n")
            kept = json.loads(line)
            if kept["format"] != State.LAYOUT or kept["checksum"] != hash_bytes(body, "blake3").hex():
                return None
            view = memoryview(body)
            texts = {table: bytes(view[start:end]) for table, (start, end) in kept["tables"].items()}
            base = None
            if kept["base"]:
                path = self._path.with_name(str(kept["base"]))
                if not is_own(path.stat()):
                    return None
                base = SqliteTables(path, own=False)
            return State.load_texts(texts, base), str(kept["digest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):
            return None

    def save(self, fold: Any, digest: str) -> None:
        """Save a fold, completely or not at all."""
        with suppress(OSError, sqlite3.Error):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._save(fold, digest)

    def _save(self, fold: Any, digest: str) -> None:
        base = None
        if fold.base is not None:
            base = f"fold-{fold.head}-{secrets.token_hex(8)}.sqlite"
            fold.publish(self._path.with_name(base))
        places, body, at = {}, [], 0
        for table, text in fold.texts().items():
            places[table] = (at, at + len(text))
            body.append(text)
            at += len(text)
        whole = b"".join(body)
        kept = {
            "format": State.LAYOUT,
            "digest": digest,
            "base": base,
            "checksum": hash_bytes(whole, "blake3").hex(),
            "tables": places,
        }
        replace_whole(self._path, json.dumps(kept).encode(), b"\n", whole)
        # A file that another process may be about to open is left: it has read the previous line.
        for old in sorted(self._path.parent.glob("fold-*.sqlite"), key=lambda path: path.stat().st_mtime)[:-2]:
            old.unlink(missing_ok=True)


def _facts(facts: Iterable[Any]) -> Iterator[Any]:
    """Yield facts, with those inside of received ones."""
    for fact in facts:
        yield fact
        if fact["fact"] == "received":
            yield from fact["facts"]


class Manifests:
    """Decoded manifests by id: immutable, so never stale; the least recently used are evicted first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Manifest] = OrderedDict()
        self._rows = 0
        self._lock = threading.Lock()

    def get(self, manifest: str) -> Manifest | None:
        """Return a cached manifest, or None."""
        with self._lock:
            found = self._kept.get(manifest)
            if found is not None:
                self._kept.move_to_end(manifest)
            return found

    def put(self, manifest: str, decoded: Manifest) -> None:
        """Add a manifest."""
        with self._lock:
            if manifest in self._kept:
                return
            self._kept[manifest] = decoded
            self._rows += _weight(decoded)
            while self._rows > _ROWS and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._rows -= _weight(gone)


def _weight(manifest: Manifest) -> int:
    return len(manifest.paths) + len(manifest.chunks)


class LastHead:
    """The last entry of a journal that this machine has seen at one URL; copies of a store have their own ends.

    Args:
        folder: the cache.
        store: the store's id.
        url: of the backend.
    """

    def __init__(self, folder: Path, store: str, url: str) -> None:
        self._path = folder / "stores" / store / "heads" / hash_bytes(url.encode(), "blake3").hex()[:32]

    def load(self) -> tuple[int, str] | None:
        """Return the entry's number and digest, or None."""
        try:
            return parse_head(read_own(self._path).decode("ascii"))
        except (OSError, ValueError):
            return None

    def save(self, seq: int, digest: str) -> None:
        """Save the entry's number and digest."""
        with suppress(OSError):
            try:
                self._write(f"{format_head(seq, digest)}\n".encode())
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._write(f"{format_head(seq, digest)}\n".encode())

    def _write(self, line: bytes) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)


class CheckedManifests:
    """The manifests that this machine has written or verified, chunk by chunk (decisions 0031, 0045).

    One line each: a digest over the URL, the manifest's id and digest, and the artifact's digest. The lines contain no
    locations; a damaged line matches nothing.

    Args:
        folder: the cache, or None: then the record lasts as long as the process.
        store: the store's id.
        url: of the backend: another backend with the same store id may have other packs.
    """

    def __init__(self, folder: Path | None, store: str, url: str) -> None:
        self._path = None if folder is None else folder / "stores" / store / "checked"
        self._url = url
        self._known: set[bytes] | None = None

    def has(self, manifest: str, manifest_digest: str, digest: str) -> bool:
        """Return True if a manifest was checked."""
        return self._mark(manifest, manifest_digest, digest) in self._lines()

    def add(self, manifest: str, manifest_digest: str, digest: str) -> None:
        """Record that a manifest was checked, or written here."""
        mark, known = self._mark(manifest, manifest_digest, digest), self._lines()
        if mark in known:
            return
        known.add(mark)
        if self._path is not None:
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                full = len(known) > _CHECKED
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if full else os.O_APPEND), 0o644)
                try:
                    os.write(fd, mark + b"\n")  # a single write with O_APPEND: lines of several processes do not mix
                finally:
                    os.close(fd)
                if full:
                    self._known = {mark}

    def _mark(self, *parts: str) -> bytes:
        return hash_bytes("\n".join((self._url, *parts, "chunks")).encode(), "blake3").hex().encode()

    def _lines(self) -> set[bytes]:
        if self._known is None:
            try:
                self._known = set(read_own(self._path).split(b"\n")) if self._path is not None else set()
            except OSError:
                self._known = set()
        return self._known


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The size of a cache folder, in bytes.

    Attributes:
        folder: its path.
        trees: files of gets without a target.
        pieces: of packs, manifests and segments of remote stores.
        limit: the bound of both together.
    """

    folder: str
    trees: int
    pieces: int
    limit: int


def cache_use(folder: Path) -> CacheUse:
    """Measure a cache folder."""
    return CacheUse(str(folder), TreeCache(folder).size(), cached_bytes(folder), cache_limit())


def is_cache(disk: str, own: str | None) -> bool:
    """Return True if a folder of this machine is a cache of this library: the cache in use, or any folder with its tag."""
    if disk == own:
        return True
    tag = f"{disk}/{TAG}"
    try:
        return os.path.isfile(tag) and Path(tag).read_bytes()[: len(TAGGED)] == TAGGED  # noqa: PTH113 - each folder of a scan
    except OSError:
        return False


def clear_cache(folder: Path) -> None:
    """Remove the contents of a cache folder that belong to this library, and nothing else."""
    TreeCache(folder).clear()
    for name in ("stores", "places"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (*folder.glob("stat-*.sqlite*"), folder / "origins", folder / "commands.json"):
        path.unlink(missing_ok=True)
