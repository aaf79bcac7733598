"""Putting and getting: what goes in comes back, and nothing else happens."""

import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore import AlreadyExistsError, ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.store import Store
from tests.work.tree import tree


@pytest.mark.slow
def test_a_folder_comes_back_as_it_was(any_url: str, folder: Path, tmp_path: Path):
    store = artifactstore.open(any_url)
    made = store.put(folder, "scans/raw")
    assert made.ref == "scans/raw:v1"
    assert made.new
    artifactstore.open(any_url).get("scans/raw:v1", tmp_path / "back")  # nothing is known but what lies in the store
    assert tree(tmp_path / "back") == tree(folder)
    assert os.access(tmp_path / "back/run.sh", os.X_OK)
    assert not os.access(tmp_path / "back/a.txt", os.X_OK)


def test_the_same_script_gives_equal_digests_on_every_backend(folder: Path, tmp_path: Path, s3_url: str):
    digests = set()
    for url in (str(tmp_path / "one"), f"memory://{tmp_path.name}", s3_url):
        store = artifactstore.open(url)
        digests.add((store.put(folder, "a").digest, store.put({"k": [1, 2.5, None]}, "b").digest, store.put(b"x").digest))
    assert len(digests) == 1


def test_putting_the_same_again_makes_no_version(store: Store, folder: Path):
    first = store.put(folder, "name")
    again = store.put(folder, "name")
    assert (again.ref, again.new, again.uploaded) == (first.ref, False, 0)
    assert len(store.versions("name")) == 1


def test_a_b_a_makes_three_versions(store: Store):
    refs = [store.put(data, "name").ref for data in (b"a", b"b", b"a")]
    assert refs == ["name:v1", "name:v2", "name:v3"]
    assert store.get("name:v1") == store.get("name:v3") == b"a"


@pytest.mark.parametrize("value", [b"", b"bytes", {"b": 1, "a": [1.5, None, True, "ä"]}, [], 3, None, {}])
def test_objects_come_back_equal(store: Store, value: object):
    made = store.put(value, "object")
    store = artifactstore.open(store.url)
    assert store.get(made.ref) == value
    assert store.get(made.digest) == value


def test_text_comes_back_as_text(store: Store):
    store.put("Grüße\r\n", "text", format="text")
    assert store.get("text") == "Grüße\r\n"


def test_equal_json_has_equal_digests_whatever_the_order_of_keys(store: Store):
    assert store.put({"a": 1, "b": 2}).digest == store.put({"b": 2, "a": 1}).digest
    assert store.put({"a": 1}).digest != store.put({"a": 1.0}).digest


@pytest.mark.parametrize("bad", [float("nan"), {"a": float("inf")}, {1: 2}, {"a": {1, 2}}, object()])
def test_what_is_not_json_is_refused_with_its_place(store: Store, bad: object):
    with pytest.raises(InvalidInputError):
        store.put(bad, "x")
    with pytest.raises(NotFoundError):
        store.names()


def test_a_single_file_lands_under_its_name(store: Store, folder: Path, tmp_path: Path):
    store.put(folder / "a.txt", "file")
    assert store.get("file", tmp_path / "to") == tmp_path / "to"
    assert (tmp_path / "to/a.txt").read_bytes() == (folder / "a.txt").read_bytes()
    assert store.get("file").name == "a.txt"
    assert store.get(store.artifact("file").digest).is_dir()


def test_get_without_a_target_gives_one_read_only_tree(store: Store, folder: Path):
    store.put(folder, "name")
    first = store.get("name")
    assert tree(first) == tree(folder)
    assert store.get("name") == first
    assert (first / "a.txt").stat().st_mode & 0o222 == 0


def test_parts_of_an_artifact_can_be_got(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "name")
    store.get("name:v1/deep", tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one/deep").iterdir()) == ["er", "link", "ä ö ü.txt"]
    store.get("name", tmp_path / "two", paths=["*.txt"])
    assert set(tree(tmp_path / "two")) == {"a.txt", "deep/ä ö ü.txt"}
    assert store.get("name:latest/deep/er/b.bin").read_bytes() == (folder / "deep/er/b.bin").read_bytes()
    with pytest.raises(NotFoundError, match="near it"):
        store.get("name:v1/deep/er/b.bim", tmp_path / "three")
    assert not (tmp_path / "three").exists()


def test_an_existing_target_is_added_to_and_never_harmed(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "name")
    target = tmp_path / "to"
    target.mkdir()
    (target / "mine.txt").write_text("unrelated")
    (target / "a.txt").write_bytes((folder / "a.txt").read_bytes())
    before = (target / "a.txt").stat().st_ino
    store.get("name", target)
    assert tree(target) == {**tree(folder), "mine.txt": b"unrelated"}
    assert (target / "a.txt").stat().st_ino == before
    (target / "a.txt").write_text("changed")
    (target / "empty").unlink()
    with pytest.raises(AlreadyExistsError, match=r"a\.txt"):
        store.get("name", target)
    assert not (target / "empty").exists()
    store.get("name", target, overwrite=True)
    assert tree(target) == {**tree(folder), "mine.txt": b"unrelated"}
    assert [one for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_a_link_in_the_target_does_not_lead_a_get_outside(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "name")
    outside, target = tmp_path / "outside", tmp_path / "to"
    outside.mkdir()
    target.mkdir()
    (target / "deep").symlink_to(outside)
    with pytest.raises(AlreadyExistsError):
        store.get("name", target)
    store.get("name", target, overwrite=True)
    assert list(outside.iterdir()) == []
    assert tree(target) == tree(folder)


@pytest.mark.parametrize("behind", ["nothing", "the same", "another"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_of_an_artifact_is_taken_for_there_behind_a_link(store: Store, tmp_path: Path, kind: str, behind: str):
    """Each kind alone: one that is refused must not hide that another would not be."""

    def make(root: Path, text: str) -> None:
        (root / "deep").mkdir(parents=True)
        if kind == "file":
            (root / "deep/it").write_text(text)
        elif kind == "folder":
            (root / "deep" / ("it" if text == "text" else "that")).mkdir()
        else:
            (root / "deep/it").symlink_to("that" if text == "text" else "else")

    make(tmp_path / "source", "text")
    store.put(tmp_path / "source", "name")
    make(tmp_path / "outside", "text" if behind == "the same" else "txet")
    if behind == "nothing":
        shutil.rmtree(tmp_path / "outside")
        (tmp_path / "outside/deep").mkdir(parents=True)
    before = tree(tmp_path / "outside")
    target = tmp_path / "to"
    target.mkdir()
    (target / "deep").symlink_to(tmp_path / "outside/deep")
    with pytest.raises(AlreadyExistsError, match="deep"):
        store.get("name", target)
    assert (target / "deep").is_symlink()
    store.get("name", target, overwrite=True)
    assert tree(target) == tree(tmp_path / "source")
    assert not (target / "deep").is_symlink()
    assert tree(tmp_path / "outside") == before


def test_a_file_of_the_same_size_that_differs_is_not_taken_for_the_same(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "name")
    target = tmp_path / "to"
    store.get("name", target)
    (target / "a.txt").write_bytes((folder / "a.txt").read_bytes()[::-1])
    with pytest.raises(AlreadyExistsError, match=r"a\.txt"):
        store.get("name", target)
    store.get("name", target, overwrite=True)
    assert tree(target) == tree(folder)


def test_a_folder_is_never_overwritten_by_a_file(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "name")
    (tmp_path / "to/a.txt").mkdir(parents=True)
    with pytest.raises(AlreadyExistsError, match="never overwritten"):
        store.get("name", tmp_path / "to", overwrite=True)
    assert tree(tmp_path / "to") == {"a.txt": None}


def test_a_file_as_target_is_refused(store: Store, folder: Path):
    store.put(b"x", "name")
    with pytest.raises(AlreadyExistsError):
        store.get("name", folder / "a.txt")


def test_open_file_reads_seeks_and_fetches_only_what_it_needs(store: Store, tmp_path: Path):
    data = os.urandom(3_000_000)
    (tmp_path / "big.bin").write_bytes(data)
    store.put(tmp_path / "big.bin", "big")
    with store.open_file("big") as file:
        assert file.read(10) == data[:10]
        assert file.seek(-100, os.SEEK_END) == len(data) - 100
        assert file.read() == data[-100:]
        file.seek(1_234_567)
        assert file.read(300_000) == data[1_234_567:1_534_567]
    with pytest.raises(NotFoundError):
        store.open_file("big", "other")


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 200_000)), min_size=1, max_size=10), seed=st.integers(0, 9)
)
def test_a_reader_gives_the_same_bytes_as_a_file(store: Store, sizes: list[tuple[int, int]], seed: int):
    data = bytes((i * (seed + 3)) % 251 for i in range(200_000))
    store.put(data, f"data{seed}")
    with store.open_file(f"data{seed}") as file:
        for offset, length in sizes:
            file.seek(offset)
            assert file.read(length) == data[offset : offset + length]


def test_metadata_metrics_and_kind_are_kept(store: Store):
    made = store.put(b"1", "m", kind="model", metadata={"rows": 3}, metrics={"auc": 0.91})
    assert (made.kind, made.metadata, made.metrics) == ("model", {"rows": 3}, {"auc": 0.91})
    again = store.put(b"1", "m", metadata={"rows": 4}, metrics={"auc": 0.91})
    assert (again.version, again.metadata, again.new) == (1, {"rows": 4}, True)
    assert store.artifact("m").metadata == {"rows": 4}
    assert not store.put(b"1", "m", metadata={"rows": 4}, metrics={"auc": 0.91}).new


@pytest.mark.parametrize("metrics", [{"auc": [1]}, {"auc": "0.9"}, {1: 2.0}, {"auc": None}])
def test_metrics_must_be_numbers(store: Store, metrics: dict[str, float]):
    with pytest.raises(InvalidInputError, match="metric"):
        store.put(b"1", "m", metrics=metrics)


def test_another_kind_for_the_same_version_is_told(store: Store):
    store.put(b"1", "m")
    with pytest.warns(UserWarning, match="stays of the kind 'data'"):
        store.put(b"1", "m", kind="model")


def test_excluded_files_stay_out(store: Store, folder: Path):
    made = store.put(folder, "name", exclude=["deep/", "*.txt", "nothing"])
    assert [one.path for one in made.files] == ["back\\slash", "empty", "line\nfeed", "run.sh"]


def test_a_repository_gives_one_hint(store: Store, folder: Path):
    (folder / ".git").mkdir()
    (folder / "deep/.git").mkdir()
    with pytest.warns(UserWarning, match=r"exclude=\['\.git'\]") as caught:
        store.put(folder, "name")
    assert len(caught) == 1


def test_names_that_differ_by_case_give_a_warning(store: Store, folder: Path):
    (folder / "A.TXT").write_text("other")
    with pytest.warns(UserWarning, match="differ only by case"):
        store.put(folder, "name")


def test_executable_bits_are_identity_only_where_meant(store: Store, folder: Path):
    plain = store.put(folder, "data")
    code = store.put(folder, "code", kind="code")
    assert plain.content == code.content
    assert plain.digest != code.digest
    assert store.put(folder, "code", kind="code", modes=False).digest == plain.digest


def test_a_link_that_leaves_is_refused_or_followed(store: Store, folder: Path, tmp_path: Path):
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "away").symlink_to("../outside.txt")
    with pytest.raises(InvalidInputError, match="follow"):
        store.put(folder, "name")
    made = store.put(folder, "name", links="follow")
    assert {one.path: one.type for one in made.files}["away"] == "file"
    (folder / "loop").symlink_to(".")
    with pytest.raises(InvalidInputError, match="never end"):
        store.put(folder, "name", links="follow")


def test_a_link_at_the_top_is_followed(store: Store, folder: Path, tmp_path: Path):
    (tmp_path / "short").symlink_to(folder)
    assert store.put(tmp_path / "short").digest == store.put(folder).digest
    (tmp_path / "one.txt").symlink_to(folder / "a.txt")
    assert [one.path for one in store.put(tmp_path / "one.txt").files] == ["one.txt"]


def test_what_can_not_be_stored_is_refused_by_name(store: Store, folder: Path):
    os.mkfifo(folder / "deep/pipe")
    with pytest.raises(InvalidInputError, match=r"pipe is a named pipe"):
        store.put(folder, "name")
    (folder / "deep/pipe").unlink()
    (folder / "-").write_text("stdin")
    with pytest.raises(InvalidInputError, match="standard input"):
        store.put(folder, "name")
    (folder / "-").unlink()
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff"))).write_text("x")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        store.put(folder, "name")
    assert not (Path(store.url) / "packs").exists()


def test_an_unreadable_file_is_named(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.open

    def refusing(path, *rest, **more):
        if str(path).endswith("b.bin"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest, **more)

    monkeypatch.setattr("artifactstore.content.write.source.os.open", refusing)
    with pytest.raises(InvalidInputError, match=r"b\.bin cannot be read: Permission denied"):
        store.put(folder, "name")
    with pytest.raises(NotFoundError):
        store.versions("name")


@pytest.mark.slow
@pytest.mark.parametrize("size", [50_000, 9_000_000])
@pytest.mark.parametrize("change", ["append", "truncate", "replace", "edit"])
def test_a_file_that_changes_while_it_is_read_commits_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, change: str
):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))

    def touch() -> None:
        if change == "append":
            with path.open("ab") as file:
                file.write(b"more")
        elif change == "truncate":
            os.truncate(path, size // 2)
        elif change == "replace":
            (tmp_path / "other").write_bytes(os.urandom(size))
            (tmp_path / "other").replace(path)
        else:
            with path.open("r+b") as file:
                file.write(b"edit")

    def touching(real):
        def call(*arguments):
            touch()
            return real(*arguments)

        return call

    monkeypatch.setattr("artifactstore.content.write.source.os.open", touching(os.open))
    with pytest.raises(ConflictError, match=r"changed while it was being put|became shorter"):
        store.put(path, "name")
    monkeypatch.undo()
    monkeypatch.setattr("artifactstore.content.write.source.os.read", touching(os.read))
    path.write_bytes(os.urandom(size))
    with pytest.raises(ConflictError, match=r"changed while it was being put|became shorter"):
        store.put(path, "name")
    monkeypatch.undo()
    with pytest.raises(NotFoundError):
        store.versions("name")
    assert store.put(path, "name").version == 1


def test_swapped_arguments_are_told(store: Store, folder: Path):
    with pytest.raises(InvalidInputError, match="swapped"):
        store.put("my/name", {"a": 1})  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="swapped"):
        store.put("my/name", str(folder))
    with pytest.raises(InvalidInputError, match="format='text'"):
        store.put("just some text", "name")


def test_an_unknown_option_names_those_that_are_known(store: Store, folder: Path):
    with pytest.raises(InvalidInputError, match="exclude, executor, format, links"):
        store.put(folder, "name", exlude=["x"])  # type: ignore[call-arg]


def test_the_store_is_never_put_into_itself(folder: Path):
    store = artifactstore.open(folder / "store")
    (folder / "store").mkdir()
    with pytest.raises(InvalidInputError, match="itself"):
        store.put(folder / "store", "name")
    with pytest.warns(UserWarning, match="'store' is a store or a cache of artifactstore"):
        made = store.put(folder, "name")
    assert not [one.path for one in made.files if one.path.startswith("store")]
    assert store.put(folder, "name", exclude=["store"]).digest == made.digest
    with pytest.raises(InvalidInputError, match="itself"):
        store.put(folder / "store/journal", "name")


def test_a_read_only_store_refuses_before_any_work(store: Store, folder: Path):
    store.put(b"x", "name")
    reading = artifactstore.open(store.url, "r")
    for call in (lambda: reading.put(folder, "name"), lambda: reading.alias("name:v1", "a"), lambda: reading.batch().__enter__()):
        with pytest.raises(RefusedError, match="mode='r'"):
            call()
    assert reading.get("name") == b"x"


def test_opening_creates_nothing(tmp_path: Path):
    store = artifactstore.open(tmp_path / "typo")
    with pytest.raises(NotFoundError, match="no store at"):
        store.names()
    assert not (tmp_path / "typo").exists()


def test_a_folder_with_other_things_is_no_store(folder: Path):
    store = artifactstore.open(folder)
    with pytest.raises(InvalidInputError, match="is not empty"):
        store.put(b"x", "name")
    assert not (folder / "store.json").exists()


def test_a_store_with_sha256_stays_one(tmp_path: Path, folder: Path):
    store = artifactstore.create(tmp_path / "store", digest="sha256")
    made = store.put(folder, "name")
    assert made.digest.startswith("sha256:")
    assert artifactstore.create(tmp_path / "store", digest="sha256").get("name:v1/a.txt").read_bytes() == b"first\n" * 10
    with pytest.raises(AlreadyExistsError, match="sha256"):
        artifactstore.create(tmp_path / "store")
    with pytest.raises(InvalidInputError):
        artifactstore.create(tmp_path / "other", digest="md5")


@pytest.mark.parametrize(("tool", "algorithm"), [("b3sum", "blake3"), ("sha256sum", "sha256")])
def test_the_checksum_tools_agree_with_the_digest(tmp_path: Path, folder: Path, tool: str, algorithm: str):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    shutil.rmtree(folder / "nothing")
    (folder / "deep/link").unlink()
    made = artifactstore.create(tmp_path / "store", digest=algorithm).put(folder, "name")
    listing = subprocess.run(
        f"find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0r {tool} --",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=True,
    ).stdout
    assert listing == made.listing.encode()
    total = subprocess.run([tool], input=listing, capture_output=True, check=True).stdout
    assert made.digest == made.content == f"{algorithm}:{total.split()[0].decode()}"
    checked = subprocess.run([tool, "--check", "--quiet", "-"], input=listing, cwd=folder, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_zero_and_one_file(store: Store, tmp_path: Path):
    (tmp_path / "none").mkdir()
    made = store.put(tmp_path / "none", "none")
    assert (len(made.files), made.size) == (0, 0)
    artifactstore.open(store.url).get("none", tmp_path / "back")
    assert tree(tmp_path / "back") == {}
    (tmp_path / "none/one").write_bytes(b"")
    assert len(store.put(tmp_path / "none", "none").files) == 1


def test_small_content_rides_in_the_manifest_and_large_content_in_packs(store: Store):
    store.put(b"small", "name")
    assert not (Path(store.url) / "packs").exists()
    store.put(os.urandom(100_000), "name")
    assert len(list((Path(store.url) / "packs").rglob("*.pack"))) == 1


def test_content_that_another_name_has_is_not_stored_twice(store: Store, tmp_path: Path):
    data = os.urandom(20_000_000)
    store.put(data, "one")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/copy.bin").write_bytes(data)
    assert store.put(tmp_path / "in", "two").uploaded < 2_000_000  # found through hooks
    assert store.put(tmp_path / "in", "three", base="two").uploaded == 0
    assert store.put(data, "four").uploaded == 0


def test_an_edit_stores_little(store: Store, tmp_path: Path):
    lines = [f"{i},{i * 7 % 1000},{i % 13}\n" for i in range(200_000)]
    (tmp_path / "t.csv").write_text("".join(lines))
    first = store.put(tmp_path / "t.csv", "t")
    lines[100_000] = "edited\n"
    lines.insert(50, "inserted\n")
    (tmp_path / "t.csv").write_text("".join(lines))
    second = store.put(tmp_path / "t.csv", "t")
    assert second.uploaded < first.uploaded / 5
    store.get("t:v2", tmp_path / "back")
    assert (tmp_path / "back/t.csv").read_text() == "".join(lines)


def test_rehash_sees_what_the_stat_cache_can_not(store: Store, tmp_path: Path):
    file = tmp_path / "f"
    file.write_bytes(b"one")
    os.utime(file, ns=(10**18, 10**18))
    store.put(file, "f")
    file.write_bytes(b"two")
    os.utime(file, ns=(10**18, 10**18))
    assert store.put(file, "f").version == 2  # the ctime has moved
    assert store.put(file, "f", rehash=True).version == 2


def test_without_a_cache_everything_works(tmp_path: Path, folder: Path):
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.put(folder, "name")
    assert not store.put(folder, "name").new
    assert tree(store.get("name")) == tree(folder)


def test_a_cache_that_can_not_be_written_gives_one_warning(tmp_path: Path, folder: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot write the cache folder"):
        store = artifactstore.open(tmp_path / "store", cache=tmp_path / "file/cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(folder, "name")
        assert tree(store.get("name")) == tree(folder)


def test_bytes_that_another_name_holds_are_not_uploaded_again(tmp_path: Path):
    data = bytes(range(256)) * 600
    store = artifactstore.open(tmp_path / "no-cache", cache=None)
    store.put(data, "one")
    packs = sorted((tmp_path / "no-cache" / "packs").rglob("*.pack"))
    assert store.put(data, "two").uploaded == 0
    assert sorted((tmp_path / "no-cache" / "packs").rglob("*.pack")) == packs


@pytest.mark.parametrize("seconds", [-(2**33), -1, 2**31, 9_300_000_000, 10_413_792_000, 15_000_000_000])
def test_files_and_stores_of_any_time_are_taken(tmp_path: Path, seconds: int):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "f").write_text("x")
    store = artifactstore.open(tmp_path / "store")
    store.put(b"x", "x")
    for path in (folder / "f", folder, *(tmp_path / "store").rglob("*")):
        os.utime(path, (seconds, seconds))
    assert store.put(folder, "f").version == 1
    assert store.put(folder / "f", "one").version == 1
    assert not store.put(folder, "f").new
    assert store.verify(level="full").ok
    assert store.get("f", tmp_path / "back").joinpath("f").read_text() == "x"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["s3_url", "gcs_url", "memory"])
def test_a_store_may_lie_under_any_prefix(request: pytest.FixtureRequest, place: str):
    base = "memory://odd-prefixes" if place == "memory" else str(request.getfixturevalue(place))
    for prefix in ("env=prod/ml", "team+x", "my team/ml", "größe/日本", "a%20b", "a&b;c,d/(e)'f'", "e\u0301"):
        store = artifactstore.open(f"{base}/{prefix}", cache=None)
        store.put({"prefix": prefix}, "x")
        assert artifactstore.open(f"{base}/{prefix}/", cache=None).get("x") == {"prefix": prefix}
        assert store.verify(level="full").ok
    for prefix in ("a//b", "a/../b", "a/./b", "a?b", "a#b", "a\\b", "a*", "a\nb"):
        with pytest.raises(InvalidInputError):
            artifactstore.open(f"{base}/{prefix}")


def test_names_that_differ_by_how_an_accent_is_written_give_a_warning(store: Store, tmp_path: Path):
    folder = tmp_path / "accents"
    folder.mkdir()
    for name in ("\u00e9.txt", "e\u0301.txt"):
        (folder / name).write_text(name)
    if len(list(folder.iterdir())) < 2:
        pytest.skip("this file system takes both for one")
    with pytest.warns(UserWarning, match="how accents are written"):
        assert store.put(folder, "name").count == 2


def test_an_empty_selection_is_refused_as_such(store: Store):
    store.put(b"x", "name")
    with pytest.raises(InvalidInputError, match=r"paths=\[\] names no file"):
        store.get("name", paths=[])
