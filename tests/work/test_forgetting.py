"""What was cleaned up leaves the caches of each machine at its next look; what stays, stays cached."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import artifactstore
from artifactstore.store import Store
from tests.maintenance.test_gc import content


def cached(cache: Path) -> bytes:
    """All that the cache holds, in one piece."""
    return b"".join(path.read_bytes() for path in sorted(cache.rglob("*")) if path.is_file())


def removed(store: Store, *refs: str) -> None:
    for ref in refs:
        store.registry.remove(ref, "gone")
    store.maintenance.gc(grace=timedelta(0))


def test_trees_of_what_is_gone_leave_the_cache(tmp_path: Path):
    cache = tmp_path / "cache"
    store = artifactstore.create(tmp_path / "s", cache=cache)
    for seed, name in enumerate(("gone", "kept")):
        (tmp_path / name).mkdir()
        for number in range(2):
            (tmp_path / name / f"{number}.bin").write_bytes(content(seed + 10 * number, 50_000))
        store.put(tmp_path / name, name)
    program = (
        f"import artifactstore; s = artifactstore.open({store.url!r}, cache={str(cache)!r})\nfor n in ('gone', 'kept'): s.get(n)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # the trees are used by a process that has ended
    assert len([*(cache / "trees").glob("blake3-*")]) >= 2
    removed(artifactstore.open(store.url, cache=None), "gone:v1")
    assert content(0, 50_000) in cached(cache), "no look at the store yet"
    reader = artifactstore.open(store.url, cache=cache)
    assert reader.get("kept").is_dir()
    held = cached(cache)
    assert content(0, 50_000) not in held
    assert content(10, 50_000) not in held
    assert content(11, 50_000) in held


def test_a_tree_that_a_process_uses_stays_until_that_has_ended(tmp_path: Path):
    cache = tmp_path / "cache"
    store = artifactstore.create(tmp_path / "s", cache=cache)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a.bin").write_bytes(content(1, 50_000))
    store.put(tmp_path / "source", "gone")
    tree = store.get("gone")
    removed(store, "gone:v1")
    store.names()
    assert (tree / "a.bin").read_bytes() == content(1, 50_000)
    program = f"import artifactstore; artifactstore.open({store.url!r}, cache={str(cache)!r}).names()"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert (tree / "a.bin").exists(), "this process still uses it"


def test_pieces_of_a_remote_store_leave_the_cache(tmp_path: Path, s3_url: str):
    cache = tmp_path / "cache"
    store = artifactstore.open(s3_url, cache=cache)
    store.put(content(1), "gone")
    store.put(content(2), "kept")
    reader = artifactstore.open(s3_url, cache=cache)
    assert (reader.get("gone"), reader.get("kept")) == (content(1), content(2))
    files = {path.name for path in cache.rglob("near/packs/*/*")}
    assert files
    removed(artifactstore.open(s3_url, cache=None), "gone:v1")
    assert reader.get("kept") == content(2)
    left = {path.name for path in cache.rglob("near/packs/*/*")}
    assert len(left) == len(files) // 2
    assert left < files
    assert not [path for path in cache.rglob("near/manifests/*/*") if path.name.partition(".")[0] in "".join(files - left)]
