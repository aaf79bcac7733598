"""Verify holds what is stored against what the journal says of it, both ways."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.content.packs.pack import TRAILER, pack_key
from artifactstore.maintenance.verify import frames as frames_module
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store

from .facts import state_of, tell


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = artifactstore.create(tmp_path / "store", cache=None)
    for seed in range(2):
        store.put(np.random.default_rng(seed).bytes(300_000), f"name{seed}")
    return store


@pytest.mark.slow
@pytest.mark.parametrize("level", ["quick", "frames", "full"])
@pytest.mark.parametrize("named", ["none", "another", "all", "more"])
def test_a_fact_that_does_not_name_the_packs_of_its_manifest_is_found(store: Store, level: str, named: str):
    """Clean-up looks at facts alone: it would take a pack that the manifest needs."""
    state = state_of(store)
    (digest, holder), (_, other) = ((one, str(state.current_manifest(one))) for one in state.holders)
    raw = store._session.backend.read(manifest_key(holder))
    manifest = decode(raw, holder, algorithm="blake3")
    assert manifest.packs
    others = state.manifests[other][2]
    packs = {"none": [], "another": others, "all": manifest.packs, "more": [*manifest.packs, *others]}[named]
    to = new_id()
    again = encode(manifest, *manifest.identify())
    store._session.backend.write(manifest_key(to), again)
    fact = {"fact": "relocated", "digest": digest, "from": holder, "to": to, "manifest_digest": str(Digest.of(again))}
    tell(store, {**fact, "packs": packs})
    report = store.verify(level=level)
    fine = named in {"all", "more"}
    assert report.ok is fine
    if not fine:
        (finding,) = report.findings
        assert manifest_key(to) in str(finding)
        assert digest in str(finding)


@pytest.mark.slow
@pytest.mark.parametrize("level", ["quick", "frames", "full"])
def test_a_manifest_of_another_artifact_is_found(store: Store, level: str):
    state = state_of(store)
    (digest, holder), (_, other) = ((one, str(state.current_manifest(one))) for one in state.holders)
    raw, to = store._session.backend.read(manifest_key(other)), new_id()
    store._session.backend.write(manifest_key(to), raw)
    fact = {"fact": "relocated", "digest": digest, "from": holder, "to": to, "manifest_digest": str(Digest.of(raw))}
    tell(store, {**fact, "packs": state.manifests[other][2]})
    report = store.verify(level=level)
    (finding,) = report.findings
    assert f"as the manifest of {digest}, but is that of" in str(finding)


@pytest.mark.parametrize("level", ["quick", "frames", "full"])
@pytest.mark.parametrize("left", [-1000, -1, 0])
def test_a_pack_with_less_room_than_its_frames_and_a_trailer_need_is_found(store: Store, level: str, left: int):
    state = state_of(store)
    holder = str(state.current_manifest(next(iter(state.holders))))
    manifest = decode(store._session.backend.read(manifest_key(holder)), holder, algorithm="blake3")
    end = max(one.offset + one.stored for row in range(len(manifest.paths)) for one in manifest.extents(row))
    path = Path(store.url, pack_key(manifest.packs[0]))
    raw = path.read_bytes()
    path.write_bytes(raw[: end + (TRAILER - 1 if left == -1 else left)])
    report = store.verify(level=level)
    assert not report.ok
    assert "truncated" in str(report.findings[0])


def test_chunks_that_are_right_and_in_another_order_are_found(store: Store):
    """Each frame and each chunk is what its digest says: only the file's own tells."""
    state = state_of(store)
    digest = next(iter(state.holders))
    holder = str(state.current_manifest(digest))
    backend = store._session.backend
    manifest = decode(backend.read(manifest_key(holder)), holder, algorithm="blake3")
    chunks = manifest.chunks
    assert len(chunks) > 1
    columns: list[Any] = [chunks.digests, chunks.sizes, chunks.offsets, chunks.stored, chunks.codecs]
    for column in columns:
        column[0], column[1] = column[1], column[0]
    raw, to = encode(manifest, *manifest.identify()), new_id()
    backend.write(manifest_key(to), raw)
    fact = {"fact": "relocated", "digest": digest, "from": holder, "to": to, "manifest_digest": str(Digest.of(raw))}
    tell(store, {**fact, "packs": manifest.packs})
    assert store.verify(level="frames").ok
    report = store.verify(level="full")
    assert "do not add up to its digest" in str(report.findings[0])
    with pytest.warns(UserWarning, match="does not match its digest"):  # what held it before still does
        assert store.get("name0") == np.random.default_rng(0).bytes(300_000)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a link to itself", "a pipe", "a folder", "nothing"])
@pytest.mark.parametrize("level", ["quick", "frames", "full"])
@pytest.mark.parametrize("what", ["packs", "manifests", "journal"])
def test_one_path_that_cannot_be_read_is_a_finding_and_the_rest_is_checked(tmp_path: Path, what: str, level: str, how: str):
    store = artifactstore.create(tmp_path / "store", cache=None)
    for seed in range(3):
        store.put(np.random.default_rng(seed).bytes(300_000), f"name{seed}")
    path = sorted(one for one in (tmp_path / "store" / what).rglob("*") if one.is_file())[1]
    path.unlink()
    {"a link to itself": lambda: path.symlink_to(path.name), "a pipe": lambda: os.mkfifo(path), "a folder": path.mkdir}.get(
        how, lambda: None
    )()
    report = artifactstore.open(tmp_path / "store", "r", cache=None).verify(level=level)
    assert not report.ok
    assert any(path.name.partition(".")[0] in str(one) for one in report.findings)
    assert report.checked["manifests"] >= (1 if what == "journal" else 2)
    if what != "journal":
        assert report.checked["entries"] == 3
        assert len([one for one in report.findings if one.severity == "damage"]) <= 3  # the others are fine


def test_a_put_stores_again_what_it_cannot_read(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    data = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8)
    store.put(data, "name")
    (pack,) = (one for one in (tmp_path / "store/packs").rglob("*") if one.is_file())
    pack.unlink()
    pack.symlink_to(pack.name)  # fails as a bad sector does: again and again
    store = artifactstore.open(tmp_path / "store", cache=None)
    changed = data.copy()
    changed[1000] += 1
    with pytest.warns(UserWarning, match="cannot read"):
        store.put(changed, "name")
    assert (store.get("name:v2") == changed).all()
    store.put(data.tobytes(), "bytes")
    assert store.get("bytes") == data.tobytes()
    again = artifactstore.open(tmp_path / "store", cache=None)
    with pytest.warns(UserWarning, match="cannot read"):
        again.put(data, "again")
    assert (again.get("name:v1") == data).all()


@pytest.mark.parametrize("level", ["quick", "frames", "full"])
def test_a_manifest_whose_bytes_changed_and_whose_content_did_not_is_found(store: Store, level: str):
    """Whoever may write manifests could otherwise change what no digest but the journal's covers, such as chunks."""
    state = state_of(store)
    holder = str(state.current_manifest(next(iter(state.holders))))
    path = Path(store.url, manifest_key(holder))
    raw = path.read_bytes()
    changed = raw.replace(b"parquet-cpp-arrow version", b"parquet-cpp-arrow Version")
    assert changed != raw
    assert decode(changed, holder, algorithm="blake3").digest == decode(raw, holder, algorithm="blake3").digest
    path.chmod(0o644)
    path.write_bytes(changed)
    report = store.verify(level=level)
    assert not report.ok
    assert any("does not match its digest in the journal" in str(finding) for finding in report.findings), report.findings


@pytest.mark.parametrize("level", ["quick", "frames", "full"])
@pytest.mark.parametrize(
    ("call", "lost"), [("read", False), ("read", True), ("list", False), ("list", True), ("read_ranges", False)]
)
def test_what_clean_up_takes_meanwhile_is_no_damage(
    store: Store, level: str, call: str, *, lost: bool, monkeypatch: pytest.MonkeyPatch
):
    """Another process removes an artifact and frees it between the journal's reading and the content's."""
    other = artifactstore.open(store.url, cache=None)
    lasting = store.artifact("name1")
    if lost:
        state = state_of(store)
        (pack,) = state.manifests[str(state.current_manifest(lasting.digest))][2]
        os.truncate(Path(store.url, pack_key(pack)), 1000)
    backend = type(store._session.core().backend)
    real, busy = getattr(backend, call), list[str]()

    def overtaken(self: Any, key: str, *more: Any) -> Any:
        if not busy and key.startswith(("manifests/", "packs/")):
            busy.append(key)
            other.registry.remove("name0:v1", reason="no longer wanted")
            assert other.maintenance.gc(grace=timedelta(0)).packs
        return real(self, key, *more)

    monkeypatch.setattr(backend, call, overtaken)
    report = store.verify(level=level)
    if busy:
        assert report.ok is not lost
        assert {one for finding in report.findings for one in finding.artifacts} <= {lasting.digest}
    else:
        assert call == "read_ranges"
        assert level == "quick"


class _Stopped(BaseException):
    pass


def _stop_after(monkeypatch: pytest.MonkeyPatch, many: int) -> list[str]:
    """Let verify read so many packs, then end it as Ctrl-C does; returns the keys that were read."""
    real, read = frames_module._Run._look, list[str]()

    def look(self: Any, pack: str) -> Any:
        if len(read) == many:
            raise _Stopped
        read.append(pack)
        return real(self, pack)

    monkeypatch.setattr(frames_module._Run, "_look", look)
    monkeypatch.setattr(frames_module, "Pool", lambda *_: _Here())
    return read


class _Here:
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def map(self, call: Any, *rows: Any) -> Any:
        return map(call, *rows)


@pytest.fixture
def many(tmp_path: Path) -> Store:
    store = artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")
    for seed in range(6):
        store.put(np.random.default_rng(seed).bytes(100_000), f"name{seed}")
    return store


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_an_interrupted_run_over_frames_goes_on_where_it_was(many: Store, monkeypatch: pytest.MonkeyPatch, fraction: float):
    with pytest.MonkeyPatch.context() as patch:
        first = _stop_after(patch, 2)
        with pytest.raises(_Stopped):
            many.verify(level="frames", fraction=fraction)
    rest = _stop_after(monkeypatch, 100)
    report = many.verify(level="frames", fraction=fraction)
    assert not {*first} & {*rest}
    assert len(first) + len(rest) == 6 * fraction
    assert any("2 packs: a run that began" in one for one in report.not_checked)
    assert report.ok
    again = many.verify(level="frames", fraction=fraction)
    assert not any("a run that began" in one for one in again.not_checked)
    assert again.checked["frames"] >= 3


@pytest.mark.parametrize(
    "what", ["changed since", "damaged when read", "another fraction", "an old record", "a torn record", "no cache"]
)
def test_what_was_not_read_as_it_is_now_is_read_again(many: Store, monkeypatch: pytest.MonkeyPatch, what: str, tmp_path: Path):
    paths = sorted(Path(many.url).glob("packs/*/*"))
    if what == "damaged when read":
        _flip(paths[0])
    if what == "no cache":
        many = artifactstore.open(many.url, cache=None)
    with pytest.MonkeyPatch.context() as patch:
        first = _stop_after(patch, 3)
        with pytest.raises(_Stopped):
            many.verify(level="frames")
    records = list(tmp_path.glob("cache/stores/*/verify-*"))
    assert len(records) == (what != "no cache")
    if what == "changed since":
        _flip(next(path for path in paths if path.stem == first[0]))
    elif what == "an old record":
        records[0].write_bytes(records[0].read_bytes().replace(b'"begun": "20', b'"begun": "19'))
    elif what == "a torn record":
        records[0].write_bytes(records[0].read_bytes()[:-20])
    rest = _stop_after(monkeypatch, 100)
    report = many.verify(level="frames", fraction=0.9999 if what == "another fraction" else 1)
    assert len(rest) == {"changed since": 4, "damaged when read": 4, "a torn record": 4}.get(what, 6)
    assert report.ok is (what not in {"changed since", "damaged when read"})


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["pack", "manifest", "missing pack", "missing manifest"])
@pytest.mark.parametrize("level", ["frames", "full"])
def test_a_finding_names_the_versions_that_it_hits(store: Store, damage: str, level: str):
    store.put(store.get("name0"), "other")
    store.put(b"small", "inline")
    tell(store, {"fact": "removed", "name": "other", "version": 1})
    store.put(store.get("name0"), "third")
    state = state_of(store)
    holder = str(state.current_manifest(store.artifact("name0").digest))
    key = pack_key(state.manifests[holder][2][0]) if "pack" in damage else manifest_key(holder)
    path = Path(store.url, key)
    path.unlink() if "missing" in damage else _flip(path)
    finding = next(one for one in store.verify(level=level).findings if one.severity == "damage" and one.versions)
    assert finding.versions == ("name0:v1", "third:v1")
    assert finding.what.endswith("it hits name0:v1, third:v1")


def test_a_holder_that_a_newer_one_replaced_is_a_note(store: Store):
    state = state_of(store)
    digest, (holder,) = next(iter(state.holders.items()))
    tell(store, {"fact": "damaged", "digest": digest, "manifest": holder})
    store.put(np.random.default_rng(0).bytes(300_000), "name0")
    Path(store.url, manifest_key(holder)).unlink()
    report = store.verify(level="full")
    assert report.ok
    (finding,) = report.findings
    assert finding.severity == "note"
    assert "a newer one is used instead" in finding.what


def test_a_damaged_frame_that_nothing_uses_is_a_note(store: Store):
    state = state_of(store)
    digest, (holder,) = next(iter(state.holders.items()))
    (pack,) = state.manifests[holder][2]
    other = next(one for one in state.manifests if one != holder)
    manifest = decode(store._session.backend.read(manifest_key(other)), other, algorithm="blake3")
    manifest.packs.append(pack)  # it lists the pack, and uses no frame of it
    raw, to = encode(manifest, *manifest.identify()), new_id()
    store._session.backend.write(manifest_key(to), raw)
    fact = {"fact": "relocated", "digest": manifest.digest, "from": other, "to": to, "manifest_digest": str(Digest.of(raw))}
    tell(store, {**fact, "packs": manifest.packs})
    tell(store, {"fact": "damaged", "digest": digest, "manifest": holder})
    store.put(np.random.default_rng(0).bytes(300_000), "name0")
    _flip(Path(store.url, pack_key(pack)))
    report = store.verify(level="frames")
    assert report.ok
    assert ["no artifact uses it" in one.what for one in report.findings] == [True]
