"""Sick stores that a clean-up or a repacking meets: the exact error of each, and that nothing is deleted or half-done."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import ArtifactStoreError, CorruptionError, FormatError
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.model.digest import Digest
from artifactstore.store import Store
from tests.sick_stores.cases import entry, flip, newer, rewrite, truncate

NO_GRACE = timedelta(0)


def reopened(root: Path) -> Store:
    return artifactstore.open(root, cache=None)


@pytest.fixture
def sick(tmp_path: Path) -> Path:
    """A store with a removed version and a half-dead pack: there is something to free, and something to write anew."""
    store = artifactstore.open(tmp_path / "store", cache=None)
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.bin").write_bytes(os.urandom(60_000))
    store.put(folder, "name")
    for number in range(4):
        (folder / f"{number}.bin").unlink()
    store.put(folder, "name")
    store.put(os.urandom(100_000), "gone")
    with store.batch():
        for number in range(3):
            store.put(b"%d" % number, f"large/{number}", metadata={"text": "x" * 400_000})
    store.registry.remove("name:v1", "old")
    store.registry.remove("gone:v1", "old")
    return tmp_path / "store"


def facts(root: Path, kind: str) -> list[dict[str, Any]]:
    entries = [json.loads(path.read_bytes()) for path in sorted(root.glob("journal/0*/*.json"))]
    return [fact for one in entries for txn in one["txns"] for fact in txn["facts"] if fact["fact"] == kind]


def of_name(root: Path) -> dict[str, Any]:
    """Return the `stored` fact of the version that stays and has a pack."""
    return next(one for one in facts(root, "stored") if one["packs"] and one["files"] == 2)


def manifest(root: Path) -> Path:
    one = of_name(root)["manifest"]
    return root / f"manifests/{one[:2]}/{one}.parquet"


def pack(root: Path) -> Path:
    one = of_name(root)["packs"][0]
    return root / f"packs/{one[:2]}/{one}.pack"


def append(root: Path, *news: dict[str, Any], **more: Any) -> None:
    last = max(root.glob("journal/0*/*.json"))
    before = json.loads(last.read_bytes())
    head = before["seq"]
    txn = {"txn": f"{head:032x}", "birth": head, "base": head, "adoptable": False, "actor": "x", "identity": "claimed"}
    txn |= {"host": "h", "tool": "t", "time": "2026-01-01T00:00:00.000000Z", "facts": list(news)}
    raw = encode_entry(head + 1, Digest.of(last.read_bytes()), writer="0" * 32, time=before["time"], txns=[txn], **more)
    (root / entry_key(head + 1)).write_bytes(raw)


def false_holder(root: Path) -> None:
    """A newer manifest of the artifact, which is another's: readers fall back to the good one, which must not go."""
    other = next(one for one in facts(root, "stored") if one["digest"] != of_name(root)["digest"])
    raw = (root / f"manifests/{other['manifest'][:2]}/{other['manifest']}.parquet").read_bytes()
    (root / "manifests/ab").mkdir(exist_ok=True)
    (root / f"manifests/ab/ab{'0' * 30}.parquet").write_bytes(raw)
    append(root, {**of_name(root), "manifest": f"ab{'0' * 30}", "manifest_digest": str(Digest.of(raw))})


def damage_bytes(root: Path) -> None:
    for at in (0.05, 0.2, 0.4, 0.6, 0.8, 0.9):
        flip(pack(root), at)


STOPS: list[tuple[str, str, Callable[[Path], object], type[ArtifactStoreError], str]] = [
    ("a missing pack", "gc", lambda r: pack(r).unlink(), CorruptionError, r"packs/.* is missing.* name:v2"),
    ("a missing manifest", "gc", lambda r: manifest(r).unlink(), CorruptionError, r"manifests/.* is missing.* name:v2"),
    ("a truncated manifest", "gc", lambda r: truncate(manifest(r)), CorruptionError, r"does not match its digest"),
    ("an empty manifest", "gc", lambda r: manifest(r).write_bytes(b""), CorruptionError, r"does not match its digest"),
    ("a flipped manifest", "gc", lambda r: flip(manifest(r)), CorruptionError, r"does not match its digest"),
    ("a false newer manifest", "gc", false_holder, CorruptionError, r"is the manifest of blake3:"),
    ("a truncated entry", "gc", lambda r: truncate(entry(r, 3)), CorruptionError, "not a journal entry"),
    ("a gap", "gc", lambda r: entry(r, 2).unlink(), CorruptionError, "is missing"),
    ("a changed entry", "gc", lambda r: rewrite(entry(r, 2), lambda e: e.update(writer="1" * 32)), CorruptionError, "broken"),
    ("a newer entry", "gc", lambda r: append(r, {"fact": "kept"}, format=99), FormatError, "upgrade"),
    ("a newer store.json", "gc", lambda r: rewrite(r / "store.json", newer), FormatError, "upgrade"),
    ("missing facts", "gc", lambda r: next(r.glob("facts/*/*")).unlink(), CorruptionError, r"facts/.* is missing"),
    ("flipped facts", "gc", lambda r: flip(next(r.glob("facts/*/*"))), CorruptionError, r"facts/.* does not match"),
    ("a flipped pack", "repack", damage_bytes, CorruptionError, r"packs/"),
    ("a missing manifest", "repack", lambda r: manifest(r).unlink(), CorruptionError, r"manifests/.* is missing"),
    ("a flipped manifest", "repack", lambda r: flip(manifest(r)), CorruptionError, r"manifests/.*digest"),
    ("a truncated entry", "repack", lambda r: truncate(entry(r, 3)), CorruptionError, "not a journal entry"),
    ("a newer entry", "repack", lambda r: append(r, {"fact": "kept"}, format=99), FormatError, "upgrade"),
    ("a missing pack", "usage", lambda r: manifest(r).unlink(), CorruptionError, r"manifests/.* is missing"),
]


def act(store: Store, verb: str) -> object:
    options: dict[str, dict[str, Any]] = {"gc": {"grace": NO_GRACE}, "repack": {"below": 0.9}, "usage": {}}
    return getattr(store.maintenance, verb)(**options[verb])


@pytest.mark.parametrize("case", STOPS, ids=[f"{one[1]}, {one[0]}" for one in STOPS])
def test_what_stops_it_is_told_and_nothing_is_lost(sick: Path, case: tuple[Any, ...]):
    what, verb, damage, kind, message = case
    damage(sick)
    before = {path: path.read_bytes() for path in sick.rglob("*") if path.is_file()}
    with pytest.raises(kind, match=message):
        act(reopened(sick), verb)
    after = {path: path.read_bytes() for path in sick.rglob("*") if path.is_file()}
    assert {path: raw for path, raw in after.items() if path in before} == before, what
    news = {path.relative_to(sick).parts[0] for path in after.keys() - before.keys()}
    assert news <= ({"packs", "manifests"} if verb == "repack" else set()), what


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def others(root: Path) -> None:
    for name in ("README", "x.pack", "0" * 32):
        put(root / "packs" / name)


HARMLESS: list[tuple[str, Callable[[Path], object]]] = [
    ("files of others", others),
    ("a pack in a wrong folder", lambda r: put(r / "packs" / f"{'0' * 32}.pack")),
    ("a damaged segment", lambda r: put(r / f"segments/1-{1:012d}-{3:012d}-{'0' * 64}.parquet")),
    ("an unknown kind of fact", lambda r: append(r, {"fact": "sung"})),
    ("a name in the inbox that means nothing", lambda r: put(r / "journal/inbox/x/y")),
]


@pytest.mark.parametrize(("what", "damage"), HARMLESS, ids=[one[0] for one in HARMLESS])
def test_what_is_none_of_its_business_stays(sick: Path, what: str, damage: Callable[[Path], object]):
    before = {path for path in sick.rglob("*") if path.is_file()}
    damage(sick)
    news = {path for path in sick.rglob("*") if path.is_file()} - before
    store = reopened(sick)
    assert len(store.maintenance.gc(grace=NO_GRACE).packs) == 1
    assert all(path.exists() for path in news), what
    store.maintenance.repack(below=0.9)
    store.maintenance.gc(grace=NO_GRACE)
    assert len([*sick.glob("packs/??/*.pack")]) == 1
    assert [file.path for file in reopened(sick).artifact("name").files] == ["4.bin", "5.bin"]
    assert [
        one for one in reopened(sick).verify(level="full").findings if one.severity == "damage" and one.rule != "derived"
    ] == []
