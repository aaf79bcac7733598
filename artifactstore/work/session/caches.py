"""Local caches of stores: folds on disk, manifests in memory. All derived, all verified."""

import json
import os
import shutil
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.name_columns import listing
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.journal.heads import format_head, parse_head
from artifactstore.model.digest import hash_bytes
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.local_files import is_own, read_own
from artifactstore.runtime.records import dataclass
from artifactstore.work.session.name_list import NameList
from artifactstore.work.settings.settings import TAG, TAGGED

if TYPE_CHECKING:
    from artifactstore.content.manifests.manifest import Manifest
    from artifactstore.model.schema import Entry

__all__ = ["CacheUse", "CheckedManifests", "FoldCache", "LastHead", "Manifests", "cache_use", "clear_cache", "is_cache"]

_CHECKED: Final = 50_000  # manifests of one store: 3 MB
_ROWS: Final = 3_000_000  # files and chunks of manifests in memory: about 500 MB at most


class FoldCache:
    """The fold of one store in the cache folder; any failure to read it counts as a cache miss.

    One line of JSON (locations of the tables, and a checksum of them all), then the tables as JSON. The large tables of a store
    that is not small are in a separate file beside it, which never changes: a question reads the rows that it needs. Then the
    first file has what differs from it, until that is much. A fold that began with published deltas keeps these as its files.
    """

    SHARE = 64  # the tables are written anew when 1/64 of the entries are new: that costs little compared with reading them
    FILED = 20_000  # rows from which the large tables are a file: decoding as many takes 0.2 s
    STEP = 64  # new entries after which the differences are written
    BEHIND = 2048  # new entries after which a fold in layers is written as one file

    def __init__(self, folder: Path, store: str) -> None:
        self._path = folder / "stores" / store / "fold.json"
        self._names = NameList(self._path.parent)
        self._is_text = False  # whether large tables were found as text, which an earlier version wrote

    def see(self, entry: "Entry") -> None:
        """Note the names in an entry that was folded."""
        self._names.see(entry["seq"], chain.from_iterable(_facts(txn["facts"]) for txn in entry["txns"]))

    def note(self, fold: Any) -> None:
        """Write what was noted."""
        self._names.note(fold)

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        return self._path.parent

    def load(self) -> tuple[State, str] | None:
        """Return the cached fold and the digest of its last entry."""
        found = self.load_with()
        return None if found is None else found[:2]

    def load_with(self) -> tuple[State, str, dict[str, bytes]] | None:
        """Return the cached fold, the digest of its last entry, and what was saved with it."""
        try:
            line, _, body = read_own(self._path).partition(b"\n")
            kept = json.loads(line)
            if kept["format"] != State.LAYOUT or kept["checksum"] != hash_bytes(body, "blake3").hex():
                return None
            view = memoryview(body)
            texts = {table: bytes(view[start:end]) for table, (start, end) in kept["tables"].items()}
            base, layers = None, kept.get("layers", ())
            deltas = {table: bytes(view[start:end]) for table, (start, end) in kept.get("deltas", {}).items()}
            self._is_text = not kept["base"] and not layers and len(body) > self.FILED * 200
            if layers:
                fold = State.load_texts(texts, self._load_layers(layers), deltas)
                fold.base_head = int(kept["base_head"])
                return fold, str(kept["digest"]), {name: bytes(view[start:end]) for name, (start, end) in kept["more"].items()}
            if kept["base"]:
                path = self._path.with_name(str(kept["base"]))
                if not is_own(path.stat()):
                    return None
                base = SqliteTables(path, own=False)
            fold = State.load_texts(texts, base, deltas)
            fold.base_head, fold.listed = int(kept.get("base_head", 0)), base is not None
            more = {name: bytes(view[start:end]) for name, (start, end) in kept.get("more", {}).items()}
            return fold, str(kept["digest"]), more
        except (OSError, ValueError, KeyError, TypeError, AttributeError, sqlite3.Error):
            return None

    def is_due(self, fold: Any, saved: int) -> bool:
        """Return whether enough entries were folded since entry `saved` to save the fold again."""
        if fold.base is None or fold.base.own:
            return self._is_text or bool(fold.head - saved > saved // self.SHARE)
        return bool(fold.head - saved > min(saved // self.SHARE, max(self.STEP, (saved - fold.base_head) // 8)))

    def save(self, fold: Any, digest: str, more: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """Save a fold, completely or not at all; `more` is saved with it."""
        with suppress(OSError, sqlite3.Error):
            self._is_text = False
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._save(fold, digest, more)

    def _save(self, fold: Any, digest: str, more: Mapping[str, bytes]) -> None:
        base, head, deltas, layers = None, 0, {}, self._save_layers(fold)
        if layers:
            head, deltas = fold.base_head, fold.deltas()
        elif self._fits(fold):
            base, head, deltas = fold.base.path.name, fold.base_head, fold.deltas()
        elif fold.base is not None or fold.count_rows() > self.FILED:
            base, head = f"fold-{fold.head}-{os.urandom(8).hex()}.sqlite", fold.head
            fold.publish(self._path.with_name(base), listing(fold))
        body: list[bytes] = []
        places, changed, others = (_placed(texts, body) for texts in (fold.texts(filed=bool(base or layers)), deltas, more))
        whole = b"".join(body)
        kept = {
            "format": State.LAYOUT,
            "digest": digest,
            "base": base,
            "layers": layers,
            "base_head": head,
            "deltas": changed,
            "more": others,
            "checksum": hash_bytes(whole, "blake3").hex(),
            "tables": places,
        }
        replace_whole(self._path, json.dumps(kept).encode(), b"\n", whole)
        # A file that another process may be about to open is left: it has read the previous line.
        for old in sorted(self._path.parent.glob("fold-*.sqlite"), key=lambda path: path.stat().st_mtime)[:-2]:
            old.unlink(missing_ok=True)

    def _save_layers(self, fold: Any) -> list[str]:
        """Keep the layers that a fold is on, if little is new since; return their digests."""
        found = getattr(fold.base, "layers", ())
        if (
            not found
            or fold.base.bottom is not None
            or fold.head - fold.base_head > max(fold.base_head // self.SHARE, self.BEHIND)
        ):
            return []
        folder = self._path.with_name("layers")
        folder.mkdir(exist_ok=True)
        paths = {layer.digest: folder / layer.digest.partition(":")[2] for layer in found}
        for layer in found:
            if not paths[layer.digest].exists():
                replace_whole(paths[layer.digest], layer.data)
        old = sorted((path for path in folder.iterdir() if path not in paths.values()), key=lambda path: path.stat().st_mtime)
        for path in old[: -len(paths)]:  # as with files of tables, another process may be about to open some
            path.unlink(missing_ok=True)
        return [*paths]

    def _load_layers(self, digests: Iterable[str]) -> Any:
        from artifactstore.catalog.spill.layer import Layer  # noqa: PLC0415 - few folds have some
        from artifactstore.catalog.spill.layered import LayeredTables  # noqa: PLC0415 - as above

        layers: list[Layer] = []
        for digest in digests:
            algorithm, _, name = digest.partition(":")
            data = read_own(self._path.with_name("layers") / name)
            if hash_bytes(data, algorithm).hex() != name:
                raise ValueError("a layer has changed")
            layers.append(Layer(data, digest))
        return LayeredTables(layers, None, layers[0].span.store)

    def _fits(self, fold: Any) -> bool:
        """Return whether little differs from the file of large tables that is in this folder, and keep that from being removed."""
        file = fold.base
        if file is None or file.own or file.path.parent != self._path.parent:
            return False
        if fold.head - fold.base_head > max(fold.base_head // self.SHARE, self.STEP):
            return False
        try:
            os.utime(file.path)
        except OSError:
            return False
        return True


def _placed(texts: Mapping[str, bytes], body: list[bytes]) -> dict[str, tuple[int, int]]:
    """Append texts to a body, and return where each begins and ends."""
    places, at = {}, sum(map(len, body))
    for name, text in texts.items():
        places[name] = (at, at + len(text))
        body.append(text)
        at += len(text)
    return places


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

    def get(self, manifest: str) -> "Manifest | None":
        """Return a cached manifest, or None."""
        with self._lock:
            found = self._kept.get(manifest)
            if found is not None:
                self._kept.move_to_end(manifest)
            return found

    def put(self, manifest: str, decoded: "Manifest") -> None:
        """Add a manifest."""
        with self._lock:
            if manifest in self._kept:
                return
            self._kept[manifest] = decoded
            self._rows += _weight(decoded)
            while self._rows > _ROWS and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._rows -= _weight(gone)

    def drop(self, manifests: Iterable[str]) -> None:
        """Drop manifests that no artifact has any more."""
        with self._lock:
            for one in manifests:
                gone = self._kept.pop(one, None)
                self._rows -= 0 if gone is None else _weight(gone)


def _weight(manifest: "Manifest") -> int:
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
    from artifactstore.backend.wrappers.range_cache import cache_limit, cached_bytes  # noqa: PLC0415 - as below
    from artifactstore.content.read.tree_cache import TreeCache  # noqa: PLC0415 - as below

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
    from artifactstore.content.read.tree_cache import TreeCache  # noqa: PLC0415 - only for this question

    TreeCache(folder).clear()
    for name in ("stores", "places"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (*folder.glob("stat-*.sqlite*"), folder / "origins", folder / "commands.json"):
        path.unlink(missing_ok=True)
