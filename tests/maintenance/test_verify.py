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
