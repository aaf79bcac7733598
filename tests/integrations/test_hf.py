"""Snapshots of a hub come in checked, and go out as the hub's own cache."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations.hf import export, import_from
from artifactstore.store import Store
from tests.integrations.hub import Cache, commit_of, etag
from tests.warm import command
from tests.work.tree import tree

FILES = {
    "config.json": b'{"model_type": "net"}',
    "model.safetensors": os.urandom(200_000),
    "nested/deep/vocab.txt": b"a\nb\n",
    "README.md": b"---\nlicense: mit\n---\n# Net\n",
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    "empty.txt": b"",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.open(tmp_path / "store", cache=None)
    made.put({"other": 1}, "other")
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "hub")


def imported(store: Store, cache: Cache, source: str = "org/net", name: str = "net", **options: Any) -> Any:
    return import_from(store, source, name=name, cache=str(cache.folder), **options)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("listed", [True, False])
def test_a_snapshot_is_a_version_with_its_repository_and_commit(
    store: Store, cache: Cache, tmp_path: Path, *, links: bool, listed: bool
) -> None:
    commit = cache.add(FILES, links=links, listed=listed)
    before = tree(cache.folder)
    report = imported(store, cache)
    assert (report.names, report.versions, report.runs, report.new) == (1, 1, 0, 1)
    assert (report.missing, report.changed, report.skipped) == ([], [], [])
    made = store.artifact("net")
    assert (made.kind, made.metadata) == ("model", {"hf.repo": "org/net", "hf.commit": commit, "hf.files": "6"})
    assert tree(store.get("net", tmp_path / "got")) == FILES
    assert tree(cache.folder) == before
    entries = len(store.log())
    again = imported(store, cache)
    assert (again.names, again.versions, again.new, len(store.log())) == (1, 0, 0, entries)
    cache.add({**FILES, "more": b"more"})
    assert imported(store, cache).versions == 1
    assert [one.ref for one in store.find(metadata={"hf.commit": commit})] == ["net:v1"]


@pytest.mark.parametrize("source", ["org/net@{}", "org/net@v1", "org/net", "models/org/net", "hf://org/net@v1", "org/net@pr/1"])
def test_a_revision_is_a_commit_a_branch_or_a_tag(store: Store, cache: Cache, source: str) -> None:
    other = cache.add({"a": b"other"}, ref="v2")
    commit = cache.add(FILES, ref="v1")
    for ref in ("main", "pr/1"):
        (cache.top / "refs" / ref).parent.mkdir(exist_ok=True)
        (cache.top / "refs" / ref).write_text(f"{commit}\n")
    imported(store, cache, source.format(commit))
    assert store.artifact("net").metadata["hf.commit"] == commit
    imported(store, cache, "org/net", name="short", rev=other[:8])
    assert store.artifact("short").metadata["hf.commit"] == other


def test_a_single_snapshot_needs_no_ref(store: Store, cache: Cache) -> None:
    commit = cache.add(FILES, ref=None)
    assert imported(store, cache).versions == 1
    cache.add({"a": b"a"}, ref=None)
    with pytest.raises(NotFoundError, match=f"{commit}"):
        imported(store, cache)


@pytest.mark.parametrize(("kind", "artifact"), [("datasets", "data"), ("spaces", "code")])
def test_data_sets_and_spaces_are_found_with_and_without_their_type(
    store: Store, tmp_path: Path, kind: str, artifact: str
) -> None:
    cache = Cache(tmp_path / "hub", f"{kind}--org--net")
    cache.add(FILES)
    for source, name in ((f"{kind}/org/net", "typed"), ("org/net", "plain")):
        imported(store, cache, source, name)
        assert (store.artifact(name).kind, store.artifact(name).metadata["hf.repo"]) == (artifact, f"{kind}/org/net")
    with pytest.raises(NotFoundError):
        imported(store, cache, "models/org/net")


def test_repositories_of_one_part_are_found_and_the_cache_by_its_variables(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k, (variable, inner) in enumerate(
        {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}.items()
    ):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        for other in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
            monkeypatch.delenv(other, raising=False)
        Cache(tmp_path / variable / inner, "models--gpt2").add({"a": b"%d" % k})
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert import_from(store, "gpt2", name="gpt2").versions == 1
    assert len(store.versions("gpt2")) == 4


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("path", ["model.safetensors", "config.json", "empty.txt"])
@pytest.mark.parametrize("how", ["flipped", "cut", "longer"])
def test_damage_names_the_file_and_imports_nothing(store: Store, cache: Cache, path: str, how: str, *, links: bool) -> None:
    commit = cache.add(FILES, links=links, listed=not links)
    place = cache.top / "snapshots" / commit / path
    data = bytearray(FILES[path])
    changed = {
        "flipped": bytes([*data[:-1], data[-1] ^ 1]) if data else b"x",
        "cut": bytes(data[:-1]),
        "longer": bytes(data) + b"x",
    }[how]
    if changed == data:
        return
    Path(os.path.realpath(place)).write_bytes(changed)
    entries = len(store.log())
    with pytest.raises(CorruptionError, match=rf"{path} .*is damaged"):
        imported(store, cache)
    assert len(store.log()) == entries
    assert not store.exists("net")
    Path(os.path.realpath(place)).write_bytes(FILES[path])
    assert imported(store, cache).versions == 1


def test_a_link_to_another_blob_is_damage(store: Store, cache: Cache) -> None:
    commit = cache.add(FILES, listed=True)
    place = cache.top / "snapshots" / commit / "config.json"
    place.unlink()
    place.symlink_to(Path("../../blobs") / etag("empty.txt", b""))
    with pytest.raises(CorruptionError, match=r"config\.json"):
        imported(store, cache)


def test_a_mirror_may_name_every_blob_by_its_sha256(store: Store, cache: Cache) -> None:
    commit = cache.add(FILES, listed=True)
    place = cache.top / "snapshots" / commit / "config.json"
    blob = cache.top / "blobs" / hashlib.sha256(FILES["config.json"]).hexdigest()
    Path(os.path.realpath(place)).rename(blob)
    place.unlink()
    place.symlink_to(Path("../../blobs") / blob.name)
    assert imported(store, cache).versions == 1
    # The list has another hash of it than the name of the blob: both are checked.
    other = cache.top / "blobs" / hashlib.sha256(b"other").hexdigest()
    other.write_bytes(b"other")
    place.unlink()
    place.symlink_to(Path("../../blobs") / other.name)
    with pytest.raises(CorruptionError, match=r"config\.json"):
        imported(store, cache, name="other")


def test_a_download_that_has_not_ended_is_missing_and_not_imported(store: Store, cache: Cache) -> None:
    commit = cache.add(FILES)
    blob = cache.top / "blobs" / etag("model.safetensors", FILES["model.safetensors"])
    half = blob.with_name(f"{blob.name}.0123abcd.incomplete")
    half.write_bytes(b"half")  # of an attempt that was made again
    assert imported(store, cache, name="first").versions == 1
    blob.unlink()  # the link is there, the blob is not
    report = imported(store, cache)
    assert report.missing == [f"org/net@{commit}: model.safetensors", f"org/net@{commit}: blobs/{blob.name}.incomplete"]
    assert (report.versions, len(report.skipped)) == (0, 1)
    (cache.top / "snapshots" / commit / "model.safetensors").unlink()  # as it is during the download
    assert imported(store, cache).missing == [f"org/net@{commit}: blobs/{blob.name}.incomplete"]
    cache.list(commit, FILES)
    assert imported(store, cache).missing == [f"org/net@{commit}: model.safetensors"]
    assert not store.exists("net")
    half.unlink()  # so somebody wanted the other files only
    report = imported(store, cache)
    assert (report.versions, report.missing) == (1, [f"org/net@{commit}: model.safetensors"])
    assert imported(store, cache).versions == 0
    for path in [*(cache.top / "snapshots" / commit).rglob("*")]:
        if path.is_symlink():
            path.unlink()
    cache.add(FILES)
    assert imported(store, cache).versions == 1
    assert [one.metadata["hf.files"] for one in store.versions("net")] == ["5", "6"]


@pytest.mark.parametrize(
    "source",
    [
        "",
        "a/b/c",
        "../x",
        "org/../x",
        "org/net@../../etc",
        "org/net@",
        "org--x/net",
        "org/ne t",
        "datasets/a/b/c",
        "/etc",
        "a/.b",
    ],
)
def test_what_is_no_repository_is_refused(store: Store, cache: Cache, source: str) -> None:
    cache.add(FILES)
    with pytest.raises(InvalidInputError):
        imported(store, cache, source)


def test_links_that_leave_the_cache_are_not_followed_unless_their_content_is_known(
    store: Store, cache: Cache, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    commit = cache.add(FILES)
    place = cache.top / "snapshots" / commit / "stolen"
    place.symlink_to(secret)
    with pytest.raises(InvalidInputError, match="leaves the cache"):
        imported(store, cache)
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(InvalidInputError):
        imported(store, cache)
    place.unlink()
    # A blob that is a link into a store that several caches share.
    blob = cache.top / "blobs" / etag("config.json", FILES["config.json"])
    blob.rename(tmp_path / "shared")
    blob.symlink_to(tmp_path / "shared")
    assert imported(store, cache).versions == 1


def test_what_is_not_there_is_not_found(store: Store, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError, match="HF_HUB_OFFLINE"):
        imported(store, cache)
    cache.add(FILES)
    for rev in ("nowhere", "0" * 40):
        with pytest.raises(NotFoundError, match="main"):
            imported(store, cache, f"org/net@{rev}")
    (cache.top / "refs/main").write_text("garbage")
    with pytest.raises(NotFoundError, match="garbage"):
        imported(store, cache)
    cache.add({}, ref=None)
    (cache.top / "refs/main").write_text(commit_of({}))
    with pytest.raises(NotFoundError, match="never downloaded"):
        imported(store, cache)


@pytest.mark.parametrize("by", ["card", "list", "option"])
def test_a_fine_tune_shares_bytes_with_its_base(store: Store, tmp_path: Path, by: str) -> None:
    import numpy as np

    draw = np.random.default_rng(1)
    weights = draw.standard_normal(1_000_000).astype(np.float32)
    tuned = (weights + draw.standard_normal(len(weights)).astype(np.float32) * 1e-5).astype(np.float32)

    def safetensors(values: Any) -> bytes:
        head = json.dumps({"w": {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, 4 * len(values)]}}).encode()
        head += b" " * (-len(head) % 8)
        return bytes(len(head).to_bytes(8, "little") + head + values.tobytes())

    card = {
        "card": b"---\nbase_model: org/base\n---\n",
        "list": b"---\r\nbase_model:\r\n- org/none\r\n- org/base\r\n---\r\n",
        "option": b"# none\n",
    }[by]
    Cache(tmp_path / "hub", "models--org--base").add({"model.safetensors": safetensors(weights)})
    cache = Cache(tmp_path / "hub", "models--org--tuned")
    cache.add({"model.safetensors": safetensors(tuned), "README.md": card})
    imported(store, cache, "org/base", "base")
    before = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file())
    imported(store, cache, "org/tuned", "tuned", **({"base": "base"} if by == "option" else {}))
    grown = sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) - before
    alone = artifactstore.open(tmp_path / "alone", cache=None)
    imported(alone, cache, "org/tuned", "tuned")
    whole = sum(path.stat().st_size for path in (tmp_path / "alone").rglob("*") if path.is_file())
    assert grown < 0.7 * whole
    assert store.artifact("tuned").digest == alone.artifact("tuned").digest


def test_a_dry_run_writes_and_downloads_nothing(store: Store, cache: Cache) -> None:
    entries = len(store.log())
    with pytest.raises(NotFoundError):
        imported(store, cache, dry_run=True)
    cache.add(FILES)
    assert imported(store, cache, dry_run=True).versions == 1
    assert len(store.log()) == entries


# -- the way out


def test_an_import_goes_out_as_the_cache_that_it_came_from(store: Store, cache: Cache, tmp_path: Path) -> None:
    commit = cache.add(FILES)
    imported(store, cache)
    made = export(store, "net", tmp_path / "out")
    assert made == tmp_path / "out/models--org--net/snapshots" / commit
    assert tree(tmp_path / "out") == tree(cache.folder)
    assert import_from(store, "org/net", name="net", cache=str(tmp_path / "out")).versions == 0
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.parent.name == "blobs"}
    export(store, "net", tmp_path / "out")
    assert {path: path.lstat().st_mtime_ns for path in before} == before


def test_what_was_never_on_a_hub_goes_out_under_its_digest(store: Store, tmp_path: Path) -> None:
    for path, data in FILES.items():
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).write_bytes(data)
    made = store.put(tmp_path / "files", "churn/model", kind="model")
    with pytest.raises(InvalidInputError, match="--repo"):
        export(store, "churn/model", tmp_path / "out")
    top = export(store, "churn/model", tmp_path / "out", repo="datasets/team/churn")
    assert top.relative_to(tmp_path / "out").as_posix() == f"datasets--team--churn/snapshots/{made.digest.partition(':')[2][:40]}"
    assert (top.parents[1] / "refs/main").read_text() == top.name
    assert {one.relative_to(top).as_posix(): one.read_bytes() for one in top.rglob("*") if one.is_file()} == FILES
    assert all(one.is_symlink() and not one.readlink().is_absolute() for one in top.rglob("*") if one.is_file())
    for blob in (top.parents[1] / "blobs").iterdir():
        algorithm = "sha256" if len(blob.name) == 64 else "sha1"
        head = b"" if len(blob.name) == 64 else b"blob %d\0" % blob.stat().st_size
        assert hashlib.new(algorithm, head + blob.read_bytes()).hexdigest() == blob.name


def test_it_adds_to_what_is_there_and_mends_what_is_damaged(store: Store, cache: Cache, tmp_path: Path) -> None:
    commit = cache.add(FILES)
    imported(store, cache)
    other = cache.add({"config.json": FILES["config.json"], "other": b"other"})
    place = cache.top / "snapshots" / commit / "nested/deep/vocab.txt"
    Path(os.path.realpath(place)).unlink()
    place.unlink()
    export(store, "net", cache.folder)
    assert (cache.top / "refs/main").read_text() == commit
    assert (cache.top / "snapshots" / other / "other").read_bytes() == b"other"
    assert place.read_bytes() == FILES["nested/deep/vocab.txt"]
    blob = cache.top / "blobs" / etag("model.safetensors", FILES["model.safetensors"])
    blob.write_bytes(b"damaged")
    for name, age in ((".artifactstore-old", 100_000), (".artifactstore-new", 0)):  # of killed exports, and of one that runs
        (cache.top / name).mkdir()
        os.utime(cache.top / name, (time.time() - age,) * 2)
    with pytest.raises(AlreadyExistsError, match=r"model\.safetensors"):
        export(store, "net", cache.folder)
    assert [one.name for one in cache.top.iterdir() if one.name.startswith(".")] == [".artifactstore-new"]
    (cache.top / "snapshots" / commit / "model.safetensors").unlink()
    export(store, "net", cache.folder)
    assert (cache.top / "snapshots" / commit / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_without_links_the_snapshot_has_the_files(
    store: Store, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = cache.add(FILES)
    imported(store, cache)

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("a privilege is not held")

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refused)
        top = export(store, "net", tmp_path / "out")
    assert tree(top) == FILES
    assert import_from(store, f"org/net@{commit}", name="net", cache=str(tmp_path / "out")).versions == 0


def test_the_commands_exit_as_the_errors_do(cache: Cache, tmp_path: Path) -> None:
    commit = cache.add(FILES)
    words = ["--store", str(tmp_path / "store"), "--json"]
    done = command("import", "hf", "org/net", "--name", "net", "--cache", str(cache.folder), *words)
    assert json.loads(done.stdout) == {
        "names": 1,
        "versions": 1,
        "runs": 0,
        "new": 1,
        "missing": [],
        "changed": [],
        "skipped": [],
    }, done.stderr
    done = command("export", "net", "--as", "hf", "--to", str(tmp_path / "out"), *words)
    assert json.loads(done.stdout) == {"path": str(tmp_path / "out/models--org--net/snapshots" / commit)}, done.stderr
    Path(os.path.realpath(cache.top / "snapshots" / commit / "config.json")).write_bytes(b"changed")
    done = command("import", "hf", "org/net", "--name", "other", "--cache", str(cache.folder), *words)
    assert (done.returncode, "config.json" in done.stderr) == (5, True)
    done = command("import", "hf", "org/none", "--name", "x", "--cache", str(cache.folder), *words, env={"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 3
