"""A catalogue of sick stores: what is wrong with each, the error that it gives, and what a repair makes of it."""

# mypy: disable-error-code="func-returns-value"

import json
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import artifactstore
from artifactstore import (
    ArtifactStoreError,
    BackendError,
    CorruptionError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
)
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal import segments as segments_module
from artifactstore.maintenance import extend as extend_module
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json
from artifactstore.store import Store
from tests.maintenance.facts import state_of, tell

Root = Path
ZERO: Final = "0" * 32


def one(root: Path, pattern: str) -> Path:
    return min(root.glob(pattern))


def flip(path: Path, at: float = 0.5) -> Path:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 0x10
    path.write_bytes(data)
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_bytes())
    change(record)
    path.write_bytes(canonical_json(record))


def entry(root: Path, seq: int) -> Path:
    return root / f"journal/000000000/{seq:012d}.json"


def newer(record: dict[str, Any]) -> None:
    record["format"] = 99


def swap(one: Path, other: Path) -> None:
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def packs(root: Path, change: Callable[[Path], object]) -> None:
    for path in sorted(root.glob("packs/*/*")):
        change(path)


def manifests(root: Path, change: Callable[[Path], object]) -> None:
    for path in sorted(root.glob("manifests/*/*")):
        change(path)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def full_folder_instead(path: Path) -> None:
    folder_instead(path)
    (path / "mine.txt").write_text("not yours")


def file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"no folder")


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling_instead(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def snapshot_of(root: Path, change: Callable[[Path], object]) -> None:
    """A published snapshot whose bytes are changed."""
    store_of(root).maintenance.snapshot()
    change(one(root, "segments/folds/*"))


def deltas_of(root: Path, change: Callable[[Path], object]) -> None:
    """Some published deltas whose bytes are changed."""
    with patch.object(segments_module, "STRIDE", 3), patch.object(extend_module, "STRIDE", 3):
        for k in range(7):
            store_of(root).put(b"%d" % k, "many")
    for path in sorted(root.glob("segments/deltas/*")):
        change(path)


def loop_instead(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def store_of(root: Path) -> Store:
    return artifactstore.open(root, cache=None)


def said(root: Path, *facts: dict[str, Any]) -> None:
    tell(store_of(root), *facts)


def holder_of(root: Path, ref: str) -> tuple[str, str, list[str]]:
    """The digest, the manifest and the packs of a version."""
    store = store_of(root)
    digest = store.artifact(ref).digest
    holder = str(state_of(store).current_manifest(digest))
    return digest, holder, list(state_of(store).manifests[holder][2])


def condemn_a_pack_alone(root: Path) -> None:
    _, _, packs = holder_of(root, "name:v1")
    said(root, {"fact": "condemned", "manifests": [], "packs": packs})
    (root / pack_key(packs[0])).unlink()


def condemn_a_pack_that_stays(root: Path) -> None:
    said(root, {"fact": "condemned", "manifests": [], "packs": holder_of(root, "name:v1")[2]})


def put_what_was_robbed(root: Path) -> None:
    data = store_of(root).get("name:v1")
    condemn_a_pack_alone(root)
    store_of(root).put(data, "name-again")


def lose_a_manifest_and_say_so(root: Path) -> None:
    digest, holder, _ = holder_of(root, "name:v1")
    said(root, {"fact": "damaged", "digest": digest, "manifest": holder})
    (root / manifest_key(holder)).unlink()


def condemn_what_is_named(root: Path) -> None:
    _, holder, packs = holder_of(root, "name:v1")
    said(root, {"fact": "condemned", "manifests": [holder], "packs": packs})
    for key in (manifest_key(holder), pack_key(packs[0])):
        (root / key).unlink()


def relocate_to(root: Path, raw: bytes | None, *, digest_of: bytes | None = None, packs: list[str] | None = None) -> None:
    """A relocation whose manifest is not what it should be."""
    digest, holder, own = holder_of(root, "name:v1")
    to = "f" * 32
    if raw is not None:
        path = root / manifest_key(to)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    said(
        root,
        {
            "fact": "relocated",
            "digest": digest,
            "from": holder,
            "to": to,
            "manifest_digest": str(Digest.of(digest_of if digest_of is not None else raw or b"")),
            "packs": own if packs is None else packs,
        },
    )


def drop_the_old_layout(root: Path) -> None:
    """A repack that was finished and cleaned up, whose new pack is gone."""
    digest, holder, own = holder_of(root, "name:v1")
    said(root, {"fact": "damaged", "digest": digest, "manifest": holder})
    store = store_of(root)
    store.put(store.get("name:v1"), "again")
    said(root, {"fact": "condemned", "manifests": [holder], "packs": own})
    for key in (manifest_key(holder), pack_key(own[0])):
        (root / key).unlink()
    _, _, new = holder_of(root, "again:v1")
    (root / pack_key(new[0])).unlink()


def put_again_after_loss(root: Path) -> None:
    digest, holder, own = holder_of(root, "name:v1")
    data = store_of(root).get("name:v1")
    said(root, {"fact": "damaged", "digest": digest, "manifest": holder})
    flip(root / pack_key(own[0]))
    store_of(root).put(data, "name-again")


def turn_manifests(root: Path) -> None:
    """Each has the bytes of the next."""
    found = sorted(root.glob("manifests/*/*"))
    for path, raw in zip(found, [*(one.read_bytes() for one in found[1:]), found[0].read_bytes()], strict=True):
        path.write_bytes(raw)


def used_then_put(store: Store) -> object:
    root = Path(store.url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        helped = mirrored(root, root.parent / "good")
        helped.names()
    return helped.put(b"x", "y")


def inbox(root: Path, name: str, raw: bytes) -> None:
    folder = root / "journal/inbox/00000000"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(raw)


def spill(root: Path, change: Callable[[Path], object]) -> None:
    change(one(root, "facts/*/*"))


def another_store(root: Path) -> Path:
    other = root.parent / "another"
    artifactstore.create(other, cache=None).put(b"x", "y")
    return other


def mirrored(root: Path, *mirrors: Path) -> Store:
    return artifactstore.open(root, cache=None, mirrors=list(mirrors))


def names(store: Store) -> object:
    return store.names()


def get(store: Store) -> object:
    return store.get("name:v1")


def put(store: Store) -> object:
    return store.put(b"x", "y")


def clean(store: Store) -> object:
    return store.maintenance.gc(grace=timedelta(0))


def verified(store: Store) -> object:
    report = store.verify(level="frames")
    if not report.ok:
        raise CorruptionError("; ".join(one.what for one in report.findings if one.severity == "damage"))
    return report


WHOLE, LOST, REFUSED = "whole", "lost", "refused"


@dataclass(frozen=True, slots=True)
class Case:
    """A sick store.

    Attributes:
        name: what is wrong.
        damage: makes it so.
        use: what is done with it.
        error: what that raises; None if it goes well.
        text: what the message says.
        by_copy: what a repair with a healthy copy makes of it: `whole`, `lost` or `refused`.
        alone: what one without a source makes of it.
    """

    name: str
    damage: Callable[[Path], object]
    use: Callable[[Store], object]
    error: type[ArtifactStoreError] | None
    text: str
    by_copy: str = WHOLE
    alone: str = LOST


CASES: Final = [
    # -- packs
    Case("flipped packs", lambda r: packs(r, flip), get, CorruptionError, r"packs/.* at \d+"),
    Case("truncated packs", lambda r: packs(r, truncate), get, CorruptionError, "truncated.*repair|truncated.*restore"),
    Case("missing packs", lambda r: shutil.rmtree(r / "packs"), get, CorruptionError, r"packs/.*pack is missing"),
    Case("empty packs", lambda r: packs(r, lambda p: p.write_bytes(b"")), get, CorruptionError, "truncated: it has 0 bytes"),
    Case("swapped packs", lambda r: swap(*sorted(r.glob("packs/*/*"))[:2]), get, CorruptionError, r"packs/", alone=WHOLE),
    Case("a folder instead of a pack", lambda r: packs(r, folder_instead), get, ArtifactStoreError, "packs/"),
    Case("a folder with files instead of a pack", lambda r: packs(r, full_folder_instead), verified, CorruptionError, r"packs/.*is missing: a folder is in its place: move it away, then try again, with `artifactstore repair`"),
    Case("a file instead of the folder of packs", lambda r: file_instead(r / "packs"), verified, CorruptionError, "packs/.*is missing: a file is in the place of its folder: move it away", REFUSED),
    Case("pipes instead of packs", lambda r: packs(r, pipe_instead), get, ArtifactStoreError, "packs/.*is not a regular file"),
    Case("a pack that links to nothing", lambda r: packs(r, dangling_instead), get, CorruptionError, "pack is missing"),
    Case("a pack that links to itself", lambda r: packs(r, loop_instead), get, ArtifactStoreError, "packs/"),
    Case("packs of zeros", lambda r: packs(r, lambda p: p.write_bytes(bytes(p.stat().st_size))), get, CorruptionError, r"packs/"),
    Case("packs with flipped footers", lambda r: packs(r, lambda p: flip(p, 0.9999)), verified, CorruptionError, "footer|trailer", alone=WHOLE),
    Case("packs that begin as something else", lambda r: packs(r, lambda p: flip(p, 0)), verified, CorruptionError, "does not begin as a pack", alone=WHOLE),
    Case("packs with more behind them", lambda r: packs(r, lambda p: p.write_bytes(p.read_bytes() + b"more")), verified, CorruptionError, "trailer", alone=WHOLE),
    Case("packs without their footer", lambda r: packs(r, lambda p: truncate(p, 0.9995)), verified, CorruptionError, "truncated", alone=WHOLE),
    # -- manifests
    Case("flipped manifests", lambda r: manifests(r, flip), get, CorruptionError, "manifests/.*digest.*restore it"),
    Case("missing manifests", lambda r: shutil.rmtree(r / "manifests"), get, CorruptionError, "manifests/.*is missing.*restore it"),
    Case("empty manifests", lambda r: manifests(r, lambda p: p.write_bytes(b"")), get, CorruptionError, "manifests/.*digest"),
    Case("truncated manifests", lambda r: manifests(r, truncate), get, CorruptionError, "manifests/.*changed or truncated"),
    Case("manifests in one another's place", turn_manifests, get, CorruptionError, "manifests/"),
    Case("folders instead of manifests", lambda r: manifests(r, folder_instead), get, ArtifactStoreError, "manifests/"),
    Case("folders with files instead of manifests", lambda r: manifests(r, full_folder_instead), verified, CorruptionError, r"manifests/.*is missing: a folder is in its place: move it away"),
    Case("a file instead of the folder of manifests", lambda r: file_instead(r / "manifests"), verified, CorruptionError, "manifests/.*is missing: a file is in the place of its folder: move it away", REFUSED),
    Case("manifests that link to themselves", lambda r: manifests(r, loop_instead), get, ArtifactStoreError, "manifests/"),
    Case("nothing but the journal", lambda r: [shutil.rmtree(r / one) for one in ("packs", "manifests")], get, CorruptionError, "missing"),
    # -- the journal
    Case("a flipped entry", lambda r: flip(entry(r, 2), 0.3), names, CorruptionError, "000000000002"),
    Case("a truncated entry", lambda r: truncate(entry(r, 3)), names, CorruptionError, "000000000003.json is not a journal entry"),
    Case("an empty entry", lambda r: entry(r, 1).write_bytes(b""), names, CorruptionError, "000000000001"),
    Case("an entry of zeros", lambda r: entry(r, 2).write_bytes(bytes(500)), names, CorruptionError, "000000000002.json is not a journal entry"),
    Case("an entry with another number", lambda r: rewrite(entry(r, 2), lambda e: e.update(seq=7)), names, CorruptionError, "000000000002.json contains entry 7"),
    Case("an entry twice", lambda r: shutil.copy(entry(r, 1), entry(r, 2)), names, CorruptionError, "000000000002.json contains entry 1"),
    Case("swapped entries", lambda r: swap(entry(r, 1), entry(r, 2)), names, CorruptionError, "000000000001.json contains entry 2"),
    Case("a gap in the journal", lambda r: entry(r, 2).unlink(), names, CorruptionError, "000000000002.json is missing"),
    Case("a gap, and a writer", lambda r: entry(r, 2).unlink(), put, CorruptionError, "Nothing can be written"),
    Case("a gap, and a clean-up", lambda r: entry(r, 2).unlink(), clean, CorruptionError, "000000000002.json is missing"),
    Case("a gap at the beginning", lambda r: entry(r, 1).unlink(), names, CorruptionError, "000000000001.json is missing"),
    Case("two gaps", lambda r: [entry(r, k).unlink() for k in (1, 3)], names, CorruptionError, "is missing"),
    Case("a damaged last entry", lambda r: truncate(entry(r, 5)), names, CorruptionError, "000000000005.json is not a journal entry"),
    Case("no last entry", lambda r: entry(r, 5).unlink(), names, None, "", WHOLE, WHOLE),
    Case("a forked journal", lambda r: rewrite(entry(r, 2), lambda e: e.update(time="2020-01-01T00:00:00.000000Z")), names, CorruptionError, "journal is broken between .*000000000002.json and .*000000000003.json"),
    Case("a fact that changed", lambda r: rewrite(entry(r, 2), lambda e: e["txns"][0]["facts"][-1].update(kind="model")), names, CorruptionError, "journal is broken"),
    Case("an actor that changed", lambda r: rewrite(entry(r, 1), lambda e: e["txns"][0].update(actor="somebody else")), names, CorruptionError, "Compare both with a copy"),
    Case("all entries damaged", lambda r: [truncate(entry(r, k)) for k in range(1, 6)], names, CorruptionError, "000000000001"),
    Case("a folder instead of an entry", lambda r: folder_instead(entry(r, 2)), names, CorruptionError, "000000000002.json is missing, .*a folder is in its place: move it away"),
    Case("a folder with files instead of an entry", lambda r: full_folder_instead(entry(r, 2)), names, CorruptionError, "000000000002.json is missing, .*a folder is in its place: move it away", LOST),
    Case("a folder instead of an entry, and a writer", lambda r: folder_instead(entry(r, 2)), put, CorruptionError, "Nothing can be written"),
    Case("a folder instead of the last entry", lambda r: folder_instead(entry(r, 5)), put, BackendError, "000000000005.json: a folder is in the object's place: move it away"),
    Case("a folder with files instead of the last entry", lambda r: full_folder_instead(entry(r, 5)), verified, CorruptionError, "nothing can be appended as .*000000000005.json: a folder is in its place: move it away", LOST),
    Case("a folder behind the last entry", lambda r: entry(r, 6).mkdir(), put, BackendError, "000000000006.json: a folder is in the object's place: move it away", LOST),
    Case("a folder instead of the first entry", lambda r: folder_instead(entry(r, 1)), names, CorruptionError, "000000000001.json.*a folder is in its place"),
    Case("folders instead of two entries and a pack", lambda r: [folder_instead(one) for one in (entry(r, 2), entry(r, 4), min(r.glob("packs/*/*")))], names, CorruptionError, "000000000002.json is missing, .*a folder is in its place"),
    Case("an entry that links to itself", lambda r: loop_instead(entry(r, 2)), names, BackendError, "000000000002.json.*Too many levels"),
    Case("an entry that links to nothing", lambda r: dangling_instead(entry(r, 2)), names, CorruptionError, "000000000002.json is missing"),
    Case("a pipe instead of an entry", lambda r: pipe_instead(entry(r, 2)), names, BackendError, "000000000002.json: it is not a regular file.*remove it"),
    Case("a file instead of the folder of entries", lambda r: file_instead(r / "journal/000000000"), names, CorruptionError, "journal/.*a file is in the place of its folder: move it away", LOST),
    Case("an entry twice, in another case", lambda r: shutil.copy(entry(r, 1), entry(r, 2).with_suffix(".JSON")), names, None, "", WHOLE, WHOLE),
    Case("a folder instead of facts", lambda r: spill(r, folder_instead), names, CorruptionError, r"facts/.*is missing: restore it"),
    Case("a newer entry", lambda r: rewrite(entry(r, 3), newer), names, FormatError, "upgrade"),
    Case("a newer entry, and a writer", lambda r: rewrite(entry(r, 3), newer), put, FormatError, "upgrade"),
    Case("a newer entry, and a clean-up", lambda r: rewrite(entry(r, 3), newer), clean, FormatError, "upgrade"),
    Case("missing facts", lambda r: spill(r, Path.unlink), names, CorruptionError, r"facts/.*is missing: restore it"),
    Case("flipped facts", lambda r: spill(r, flip), names, CorruptionError, r"facts/.*does not match its digest"),
    Case("empty facts", lambda r: spill(r, lambda p: p.write_bytes(b"[]")), names, CorruptionError, r"facts/.*does not match its digest"),
    # -- store.json
    Case("a newer store", lambda r: rewrite(r / "store.json", newer), names, FormatError, "format 99.*upgrade", alone=REFUSED),
    Case("a flipped store.json", lambda r: flip(r / "store.json", 0.01), names, FormatError, "store.json", alone=REFUSED),
    Case("an empty store.json", lambda r: (r / "store.json").write_bytes(b""), names, FormatError, "not the store.json", alone=REFUSED),
    Case("a store.json of something else", lambda r: (r / "store.json").write_text("{}"), names, FormatError, "not the store.json", alone=REFUSED),
    Case("a changed store.json", lambda r: rewrite(r / "store.json", lambda c: c.update(created="2020-01-01T00:00:00.000000Z")), names, CorruptionError, "between store.json and"),
    Case("the store.json of another store", lambda r: rewrite(r / "store.json", lambda c: c.update(store=ZERO)), names, CorruptionError, "between store.json and", REFUSED),
    Case("no store.json", lambda r: (r / "store.json").unlink(), put, CorruptionError, "a journal but no store.json.*repair --source", alone=REFUSED),
    Case("no store.json, read", lambda r: (r / "store.json").unlink(), names, CorruptionError, "a journal but no store.json", alone=REFUSED),
    Case("a folder instead of store.json", lambda r: folder_instead(r / "store.json"), names, ArtifactStoreError, "store.json", alone=REFUSED),
    Case("a folder with files instead of store.json", lambda r: full_folder_instead(r / "store.json"), names, ArtifactStoreError, "store.json", LOST, REFUSED),
    Case("a pipe instead of store.json", lambda r: pipe_instead(r / "store.json"), names, BackendError, "store.json: it is not a regular file", alone=REFUSED),
    Case("nothing at all", shutil.rmtree, names, NotFoundError, "no store at", REFUSED, REFUSED),
    # -- what clean-up meets, and leaves
    Case("a missing manifest, and a clean-up", lambda r: shutil.rmtree(r / "manifests"), clean, CorruptionError, "manifest"),
    Case("a pack condemned without its manifest", condemn_a_pack_alone, get, CorruptionError, "pack is missing"),
    Case("a pack condemned without its manifest that is still there", condemn_a_pack_that_stays, get, None, "", WHOLE, WHOLE),
    Case("a pack condemned without its manifest, and a clean-up", condemn_a_pack_that_stays, clean, CorruptionError, r"condemns content that name:v1 needs.*put the content again", WHOLE, WHOLE),
    Case("a pack condemned without its manifest, and its content put again", put_what_was_robbed, lambda s: s.verify(level="frames").ok and get(s), None, "", WHOLE, WHOLE),
    Case("a lost manifest that is marked, and a clean-up", lose_a_manifest_and_say_so, clean, None, ""),
    Case("a lost manifest that is marked", lose_a_manifest_and_say_so, get, CorruptionError, "manifests/.*is missing"),
    Case("a version whose content was condemned", condemn_what_is_named, get, NotFoundError, r"clean-up took its content in entry \d+", LOST, LOST),
    Case("condemned objects that are still there", lambda r: said(r, {"fact": "condemned", "manifests": [ZERO], "packs": [ZERO]}), get, None, "", WHOLE, WHOLE),
    Case("objects that no entry names", lambda r: [shutil.copytree(r / "packs", r / "packs2"), *(p.rename(r / f"packs/{p.parent.name}/{ZERO}.pack") for p in [one(r, "packs2/*/*")]), shutil.rmtree(r / "packs2")], get, None, "", WHOLE, WHOLE),
    Case("unfinished writes", lambda r: (r / "packs" / ".tmp-1234").write_bytes(b"half"), get, None, "", WHOLE, WHOLE),
    # -- what repack leaves
    Case("a relocation to nothing", lambda r: relocate_to(r, None), lambda s: s.verify(level="frames").ok and get(s), None, "", WHOLE, WHOLE),
    Case("a relocation to what is no manifest", lambda r: relocate_to(r, b"no manifest"), verified, CorruptionError, "f{32}", WHOLE, WHOLE),
    Case("a relocation to another artifact's manifest", lambda r: relocate_to(r, (r / manifest_key(holder_of(r, "small:v1")[1])).read_bytes()), verified, CorruptionError, "is that of", WHOLE, WHOLE),
    Case("a relocation with another digest", lambda r: relocate_to(r, b"one thing", digest_of=b"another"), verified, CorruptionError, "does not match its digest", WHOLE, WHOLE),
    Case("a relocation that names no packs", lambda r: relocate_to(r, (r / manifest_key(holder_of(r, "name:v1")[1])).read_bytes(), packs=[]), verified, CorruptionError, "uses packs that its fact does not list", WHOLE, WHOLE),
    Case("a repacked artifact whose new pack is gone", drop_the_old_layout, get, CorruptionError, "pack is missing"),
    # -- what adoption meets
    Case("garbage in the inbox", lambda r: inbox(r, f"{ZERO}-000000000001.json", b"\0garbage"), put, None, "", WHOLE, WHOLE),
    Case("a foreign file in the inbox", lambda r: inbox(r, "README", b"hello"), put, None, "", WHOLE, WHOLE),
    Case("a transaction of a newer kind in the inbox", lambda r: inbox(r, f"{ZERO}-000000000001.json", b'{"format": 99}'), put, None, "", WHOLE, WHOLE),
    Case("an inbox full of waits", lambda r: [inbox(r, f"{k:032x}-000000000001.yield", b"") for k in range(20)], put, None, "", WHOLE, WHOLE),
    # -- marks of copies
    Case("a damaged mark of a copy", lambda r: ((r / "replica").mkdir(), (r / f"replica/{1:012d}-{'0' * 64}.json").write_bytes(b"?")), put, CorruptionError, "replica/.*not a valid replica mark.*restore it", REFUSED, REFUSED),
    Case("an unfinished copy", lambda r: ((r / "replica").mkdir(), (r / f"replica/{99:012d}-{'0' * 64}.json").write_bytes(canonical_json({"store": store_of(r)._session.core().config.store}))), put, RefusedError, "only sync writes to it", REFUSED, REFUSED),
    # -- derived objects
    Case("segments of nothing", lambda r: ((r / "segments").mkdir(), (r / f"segments/1-{1:012d}-{3:012d}-{'0' * 64}.parquet").write_bytes(b"PAR1")), names, None, "", WHOLE, WHOLE),
    Case("a snapshot without its bytes", lambda r: ((r / "segments").mkdir(), (r / f"segments/fold-11-{1:012d}-{2:012d}-blake3-{'0' * 64}.json").write_bytes(b"{}")), names, None, "", WHOLE, WHOLE),
    Case("an empty snapshot", lambda r: snapshot_of(r, lambda p: p.write_bytes(b"")), names, None, "", WHOLE, WHOLE),
    Case("a folder instead of a snapshot", lambda r: snapshot_of(r, folder_instead), names, None, "", WHOLE, WHOLE),
    Case("empty deltas", lambda r: deltas_of(r, lambda p: p.write_bytes(b"")), names, None, "", WHOLE, WHOLE),
    Case("flipped deltas", lambda r: deltas_of(r, flip), names, None, "", WHOLE, WHOLE),
    Case("folders instead of deltas", lambda r: deltas_of(r, folder_instead), names, None, "", WHOLE, WHOLE),
    Case("a file instead of the folder of segments", lambda r: ((r / "segments").exists() and shutil.rmtree(r / "segments"), (r / "segments").write_bytes(b"")), put, None, "", WHOLE, WHOLE),
    Case("an unknown folder", lambda r: ((r / "future").mkdir(), (r / "future/thing").write_bytes(b"x")), put, None, "", WHOLE, WHOLE),
    # -- what mirrors meet
    Case("a mirror that is another store", lambda _: None, lambda s: mirrored(Path(s.url), another_store(Path(s.url))), InvalidInputError, "is another store.*pass a copy of this one", WHOLE, WHOLE),
    Case("a mirror that is nothing", lambda _: None, lambda s: mirrored(Path(s.url), Path(s.url).parent / "nowhere"), NotFoundError, "no store at", WHOLE, WHOLE),
    Case("a mirror that is as damaged", lambda r: (packs(r, flip), shutil.copytree(r, r.parent / "bad")), lambda s: mirrored(Path(s.url), Path(s.url).parent / "bad").get("name:v1"), CorruptionError, r"packs/.* at \d+"),
    Case("a mirror with another history", lambda r: (shutil.copytree(r, r.parent / "bad"), rewrite(entry(r.parent / "bad", 2), lambda e: e.update(writer=ZERO)), truncate(entry(r, 2))), lambda s: mirrored(Path(s.url), Path(s.url).parent / "bad").names(), CorruptionError, "000000000002"),
    Case("a damaged journal with a mirror, and a writer", lambda r: (shutil.copytree(r, r.parent / "good"), truncate(entry(r, 2))), used_then_put, CorruptionError, "repair.* before writing"),
    # -- what repair leaves and meets
    Case("sound content that is marked as damaged", lambda r: said(r, {"fact": "damaged", "digest": holder_of(r, "name:v1")[0], "manifest": holder_of(r, "name:v1")[1]}), get, None, "", WHOLE, WHOLE),
    Case("a mark of a manifest that is not here", lambda r: said(r, {"fact": "damaged", "digest": str(Digest.of(b"?")), "manifest": ZERO}), get, None, "", WHOLE, WHOLE),
    Case("lost content that is marked", lambda r: (said(r, {"fact": "damaged", "digest": holder_of(r, "name:v1")[0], "manifest": holder_of(r, "name:v1")[1]}), packs(r, flip)), get, CorruptionError, r"packs/.* at \d+"),
    Case("lost content that was put again", put_again_after_loss, get, None, "", WHOLE, WHOLE),
    Case("half a repair", lambda r: (packs(r, flip), shutil.copy(one(r, "packs/*/*"), one(r, "packs/*/*").with_name(f"{ZERO}.pack"))), get, CorruptionError, r"packs/.* at \d+"),
    Case("the files of doctor", lambda r: ((r / ".doctor-1").mkdir(), (r / ".doctor-1/x").write_bytes(b"x")), put, None, "", WHOLE, WHOLE),
    Case("a strange name among the entries", lambda r: (r / "journal/000000000/notes.txt").write_bytes(b"x"), names, None, "", WHOLE, WHOLE),
    # -- many at once
    Case("a pack and an entry", lambda r: (packs(r, flip), truncate(entry(r, 2))), names, CorruptionError, "000000000002"),
    Case("a manifest and facts", lambda r: (manifests(r, flip), spill(r, flip)), names, CorruptionError, "facts/"),
    Case("store.json, an entry and all packs", lambda r: ((r / "store.json").unlink(), truncate(entry(r, 2)), packs(r, truncate)), names, CorruptionError, "a journal but no store.json", alone=REFUSED),
    Case("one pack flipped and one missing", lambda r: (flip(min(r.glob("packs/*/*"))), sorted(r.glob("packs/*/*"))[1].unlink()), verified, CorruptionError, "packs/"),
    Case("a missing manifest and its flipped pack", lambda r: ((r / manifest_key(holder_of(r, "name:v1")[1])).unlink(), packs(r, flip)), get, CorruptionError, "manifests/.*is missing"),
]  # fmt: skip
