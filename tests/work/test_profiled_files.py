"""Parquet files that are put as files with `profile=`: profiled as tables are, where they lie, and whatever is wrong with them is told."""

import base64
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

import artifactstore
from artifactstore import ConflictError, InvalidInputError, NotFoundError, Store
from artifactstore.content.side_content import read_side
from artifactstore.content.write.source import from_file
from artifactstore.errors import BackendError
from artifactstore.objects.tables import parquet_files, size_limits
from artifactstore.objects.tables.profile import Profiler
from artifactstore.work.put import profiling
from tests.servers.web import serving
from tests.warm import command


def table(rows: int = 5000, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(rows),
            "x": pa.array(random.standard_normal(rows)),
            "s": pa.array(random.choice(["red", "green", "blue"], rows)).dictionary_encode(),
            "nested": [{"a": [i % 3], "b": str(i % 7)} for i in range(rows)],
        }
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=tmp_path / "cache")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with two tables, and what is none."""
    top = tmp_path / "files"
    (top / "deep").mkdir(parents=True)
    pq.write_table(table(), top / "a.parquet", row_group_size=1234)
    pq.write_table(table(700, 1), top / "deep/data.parquet")
    (top / "notes.txt").write_text("none")
    return top


def side_of(store: Store, ref: str) -> dict[str, bytes]:
    session = store._session
    manifest = session.with_manifest(store.artifact(ref).digest, lambda found: found)
    return {name: read_side(session.backend, manifest, name) or b"" for name in manifest.side}


def near(profile: Any) -> dict[str, Any]:
    """The last digits of a sum depend on where it is cut."""
    found: dict[str, Any] = json.loads(json.dumps(profile))
    for column in found["columns"].values():
        column.update({key: pytest.approx(column[key], rel=1e-10) for key in ("mean", "std") if key in column})
    return found


# -- where it is found


def test_a_file_has_the_profile_and_row_hashes_of_the_same_table_as_an_object(store: Store, files: Path):
    made = store.put(files / "a.parquet", "file", profile=True)
    assert store.put(pq.read_table(files / "a.parquet"), "object").profile == near(made.profile)
    file, as_object = side_of(store, "file"), side_of(store, "object")
    assert set(file) == {"a.parquet/profile", "a.parquet/rows"}
    assert file["a.parquet/rows"] == as_object["rows"]
    assert store.artifact("file").profile == made.profile
    assert dict(made.profiles) == {"a.parquet": made.profile}


def test_without_the_option_nothing_is_kept_and_the_digest_is_the_same(store: Store, files: Path, tmp_path: Path):
    other = artifactstore.create(tmp_path / "other", cache=None)
    for source in (files, files / "a.parquet"):
        plain = store.put(source, "t")
        assert store.put(source, "t", profile=False).new is False
        assert (plain.profile, dict(plain.profiles), side_of(store, "t")) == (None, {}, {})
        assert other.put(source, "t", profile=True).digest == plain.digest
        assert len(other.artifact("t").profiles)


def test_tables_in_a_folder_are_found_by_their_paths(store: Store, files: Path):
    made = store.put(files, "folder", profile=True)
    assert made.profile is None
    assert list(made.profiles) == ["a.parquet", "deep/data.parquet"]
    assert {path: one["rows"] for path, one in made.profiles.items()} == {"a.parquet": 5000, "deep/data.parquet": 700}
    assert "a.parquet" in made.profiles
    with pytest.raises(NotFoundError, match=r"'a\.parquett' has no profile; near it: a\.parquet"):
        made.profiles["a.parquett"]
    assert "'deep/data.parquet'" in repr(made.profiles)
    only = store.put(files / "deep", "only", profile=True)
    assert only.profile is not None, "its only file is the table"


def test_tables_among_the_members_of_an_object_are_found_too(store: Store):
    made = store.put({"train": table(), "about": "a text"}, "bundle")
    assert list(made.profiles) == ["train/data.parquet"]
    assert made.profiles["train/data.parquet"]["rows"] == 5000
    assert list(store.put(table(), "t").profiles) == ["data.parquet"]


def test_what_is_left_out_is_not_profiled(store: Store, files: Path):
    (files / "deep/bad.parquet").write_bytes(b"none")
    assert list(store.put(files, "t", exclude=["deep"], profile=True).profiles) == ["a.parquet"]


def test_a_full_profile_looks_at_every_row(store: Store, tmp_path: Path):
    pq.write_table(pa.table({"n": range(150_000)}), tmp_path / "n.PQ")
    sampled = store.put(tmp_path / "n.PQ", "n", profile=True).profile
    (tmp_path / "full").mkdir()
    (tmp_path / "n.PQ").rename(tmp_path / "full/other.parquet")
    full = store.put(tmp_path / "full", "full", profile="full").profile
    assert sampled is not None
    assert full is not None
    assert (sampled["every"], sampled["columns"]["n"]["distinct"]) == (2, 75_000)
    assert (full["every"], full["columns"]["n"]["distinct"]) == (1, 150_000)


def test_differences_are_told_without_opening_the_files(store: Store, files: Path, monkeypatch: pytest.MonkeyPatch):
    store.put(files, "t", profile=True)
    store.put(files / "a.parquet", "one", profile=True)
    for path, seed in (("a.parquet", 0), ("deep/data.parquet", 1)):
        rows = pq.read_table(files / path).num_rows
        pq.write_table(pa.concat_tables([table(rows, seed).slice(10), table(20, 7)], promote_options="default"), files / path)
    store.put(files, "t", profile=True)
    pq.write_table(table(300, 9), files / "b.parquet")
    store.put(files / "b.parquet", "one", profile=True)
    opened: list[str] = []
    monkeypatch.setattr("artifactstore.objects.stored_folder.StoredFolder.open", lambda _, name: opened.append(name))
    found = store.diff("t:v1", "t:v2").tables
    assert {path: (one.added, one.removed, one.error) for path, one in found.items()} == {
        "a.parquet": (20, 10, 0),
        "deep/data.parquet": (20, 10, 0),
    }
    assert store.diff("t:v1/deep", "t:v2/deep").tables["data.parquet"].removed == 10
    assert store.diff("t:v1/a.parquet", "t:v2/a.parquet").overlap().rows == 4990
    assert store.diff("one:v1", "one:v2").tables["b.parquet"].new_rows == 300
    assert not opened


def test_it_is_checked_and_travels_as_other_side_content(store: Store, files: Path, tmp_path: Path):
    made = store.put(files, "t", profile=True, kind="model")
    assert made.sha256 is not None
    assert set(side_of(store, "t")) == {"sha256", *(f"{path}/{n}" for path in made.profiles for n in ("profile", "rows"))}
    assert store.verify(level="full").findings == []
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.put(b"its own", "own")
    store.maintenance.sync(other.url)
    assert dict(other.artifact("t").profiles) == dict(made.profiles)


def test_openlineage_tells_of_the_columns_of_a_file(store: Store, files: Path):
    with store.run("prepare"):
        store.put(files / "a.parquet", "features", profile=True)
    (output,) = store.lineage("features").export("openlineage")[-1]["outputs"]
    assert [field["name"] for field in output["facets"]["schema"]["fields"]] == ["id", "x", "s", "nested"]


def test_the_command_keeps_and_shows_profiles(store: Store, files: Path):
    def run(*arguments: str) -> str:
        done = command(*arguments, "--store", store.url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("put", str(files), "folder", "--profile")
    lines = run("show", "folder").splitlines()
    assert {"a.parquet", "rows      5,000", "deep/data.parquet", "rows      700"} <= set(lines)
    assert lines.index("a.parquet") < lines.index("rows      5,000") < lines.index("deep/data.parquet")
    told = json.loads(run("show", "folder", "--json"))
    assert (told["profile"], told["profiles"]["deep/data.parquet"]["rows"]) == (None, 700)
    pq.write_table(pa.table({"n": range(150_000)}), files / "n.parquet")
    run("put", str(files / "n.parquet"), "n", "--profile-full")
    assert store.artifact("n").profile is not None
    assert (store.artifact("n").profile or {})["every"] == 1
    assert run("show", "n").count("rows      150,000") == 1
    run("put", str(files / "a.parquet"), "none")
    assert "rows" not in run("show", "none")


def test_a_card_shows_some_tables_and_how_many_more_there_are(store: Store, tmp_path: Path):
    (tmp_path / "many").mkdir()
    for i in range(12):
        pq.write_table(pa.table({"n": range(i + 1)}), tmp_path / f"many/<{i:02}>.parquet")
    html = store.put(tmp_path / "many", "many", profile=True)._repr_html_()
    assert "&lt;09&gt;.parquet: 10 rows, 1 columns" in html
    assert "&lt;10&gt;.parquet: " not in html
    assert "2 more tables" in html
    shown = command("show", "many", "--store", store.url).stdout
    assert "<09>.parquet" in shown
    assert "<10>.parquet" not in shown
    assert "2 more tables" in shown


# -- what is wrong with it


@pytest.mark.parametrize("option", ["half", 7, None, "True"])
def test_an_option_without_sense_is_refused(store: Store, files: Path, option: Any):
    with pytest.raises(InvalidInputError, match=f"profile={option!r}: expected True, False or 'full'"):
        store.put(files, "t", profile=option)


def test_what_has_no_tables_is_refused(store: Store, files: Path):
    with pytest.raises(InvalidInputError, match=r"notes\.txt is not named \.parquet"):
        store.put(files / "notes.txt", "t", profile=True)
    with pytest.raises(InvalidInputError, match=r"no file in it is named \.parquet"):
        store.put(files, "t", profile=True, exclude=["*.parquet"])
    with pytest.raises(InvalidInputError, match="no option profile"):
        store.put("text", "t", format="text", profile=True)
    assert not store.names()


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Keeps keys in the open."""

    def wrap_key(self, key, master):
        return base64.b64encode(key)

    def unwrap_key(self, key, master):
        return base64.b64decode(key)


def encrypted(path: Path, *, plaintext_footer: bool) -> None:
    factory = pe.CryptoFactory(lambda _: Keys())
    options = pe.EncryptionConfiguration(footer_key="f", column_keys={"c": ["id"]}, plaintext_footer=plaintext_footer)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), options)
    pq.write_table(table(50).select(["id", "x"]), path, encryption_properties=properties)


def damaged(path: Path) -> None:
    pq.write_table(table(), path)
    raw = bytearray(path.read_bytes())
    raw[4:300] = bytes(296)
    path.write_bytes(raw)


def twins(path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)


def rows_of_nothing(path: Path) -> None:
    pq.write_table(table(3).select([]), path)
    raw = path.read_bytes()
    assert raw.count(b"\x16\x00\x19") == 1, "the number of rows, and the list of row groups behind it"
    path.write_bytes(raw.replace(b"\x16\x00\x19", b"\x16\x06\x19"))
    assert pq.read_metadata(path).num_rows == 3


BAD: dict[str, Any] = {
    "no Parquet": lambda path: path.write_bytes(b"PAR1 nothing PAR1"),
    "nothing": lambda path: path.write_bytes(b""),
    "encrypted": lambda path: encrypted(path, plaintext_footer=False),
    "encrypted columns": lambda path: encrypted(path, plaintext_footer=True),
    "damaged": damaged,
    "twins": twins,
    "rows of nothing": rows_of_nothing,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", BAD)
def test_a_file_that_can_not_be_profiled_is_refused_alone_and_told_in_a_folder(store: Store, files: Path, what: str):
    BAD[what](files / "bad.parquet")
    with pytest.raises(InvalidInputError, match=r"bad\.parquet cannot be profiled: "):
        store.put(files / "bad.parquet", "t", profile=True)
    assert not store.names()
    with pytest.warns(UserWarning, match=r"1 of 3 Parquet files has no profile: bad\.parquet cannot be profiled") as told:
        made = store.put(files, "t", profile=True)
    assert told[0].filename == __file__
    assert list(made.profiles) == ["a.parquet", "deep/data.parquet"]
    assert Path(store.get("t"), "bad.parquet").read_bytes() == (files / "bad.parquet").read_bytes()


def test_of_many_that_can_not_be_profiled_some_are_named(store: Store, files: Path):
    for i in range(8):
        (files / f"bad{i}.parquet").write_bytes(b"none")
    with pytest.warns(UserWarning, match=r"8 of 10 Parquet files have no profile: bad0.*bad4.*; and 3 more$"):
        store.put(files, "t", profile=True)


def test_a_table_of_no_rows_has_one(store: Store, tmp_path: Path):
    pq.write_table(table(0), tmp_path / "t.parquet")
    found = store.put(tmp_path / "t.parquet", "t", profile=True).profile
    assert found is not None
    assert (found["rows"], len(found["columns"])) == (0, 4)


@pytest.mark.parametrize("garbage", [False, True])
def test_a_file_that_changes_before_it_is_profiled_is_a_conflict(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch, *, garbage: bool
):
    known_of = parquet_files.profile_file

    def change(source: Any, **options: Any) -> Any:
        path = files / source.path
        if garbage:
            path.write_bytes(b"x" * path.stat().st_size)
        else:
            pq.write_table(table(4000, 5), path)
        return known_of(source, **options)

    monkeypatch.setattr(profiling, "profile_file", change)
    with pytest.raises(ConflictError, match=r"a\.parquet changed while it was being put"):
        store.put(files, "t", profile=True)
    assert not store.names()


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_profiled_is_a_conflict(store: Store, files: Path, monkeypatch: pytest.MonkeyPatch):
    add = Profiler.add

    def change(self: Profiler, part: pa.Table) -> None:
        add(self, part)
        with (files / "a.parquet").open("r+b") as file:
            file.write(b"PAR1")

    monkeypatch.setattr(Profiler, "add", change)
    with pytest.raises(ConflictError, match=r"a\.parquet changed while it was being put"):
        store.put(files / "a.parquet", "t", profile=True)
    assert not store.names()


def test_content_that_is_there_gets_no_profile_and_that_is_told(store: Store, files: Path):
    store.put(files / "a.parquet", "t")
    store.put(files, "folder")
    with pytest.warns(UserWarning, match=r"a\.parquet has no profile: t:v1 was stored already") as told:
        assert store.put(files / "a.parquet", "t", profile=True).profile is None
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match="2 of 2 Parquet files have no profile: other:v1 was stored already"):
        store.put(files, "other", profile=True)
    with store.batch(), pytest.warns(UserWarning, match="no profile: .* was stored already"):
        store.put(files, "third", profile=True)


def test_content_that_is_there_with_its_profile_keeps_it_and_nothing_is_read(
    store: Store, files: Path, monkeypatch: pytest.MonkeyPatch
):
    made = store.put(files, "t", profile=True)
    monkeypatch.setattr(profiling, "profile_file", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for options in ({"profile": True}, {}, {"rehash": True, "profile": "full"}):
            again = store.put(files, "t", **options)
            assert again.new is False
            assert dict(again.profiles) == dict(made.profiles)


def test_in_a_batch_what_was_put_in_it_counts_as_there(store: Store, files: Path):
    with store.batch(), warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(files, "a", profile=True)
        store.put(files, "b", profile=True)
    assert len(store.artifact("b").profiles) == 2


# -- how it is read


@pytest.mark.slow
def test_a_large_row_group_of_a_file_is_read_in_bounded_memory(tmp_path: Path):
    numbers = np.random.default_rng(0).integers(0, 2**62, 24_000_000)
    pq.write_table(pa.table({"n": numbers}), tmp_path / "t.parquet", row_group_size=len(numbers), use_dictionary=False)
    assert (tmp_path / "t.parquet").stat().st_size > 180_000_000
    program = (
        "import resource, sys\n"
        "from artifactstore.content.write.source import from_file\n"
        "from artifactstore.objects.tables.parquet_files import profile_file\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != 'darwin' else 2**20)\n"
        "profile_file(from_file(sys.argv[1])); before = most()\n"
        "assert profile_file(from_file(sys.argv[2])); print(most() - before)\n"
    )
    pq.write_table(pa.table({"n": range(200_000)}), tmp_path / "little.parquet")
    command = [sys.executable, "-c", program, str(tmp_path / "little.parquet"), str(tmp_path / "t.parquet")]
    grown = int(subprocess.run(command, capture_output=True, check=True, text=True, timeout=300).stdout)
    assert grown < 100, "MiB"


def test_rows_that_are_long_come_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(size_limits, "_BATCH_BYTES", 100_000)
    pq.write_table(pa.table({"s": [f"{i:01000}" for i in range(1000)]}), tmp_path / "t.parquet", use_dictionary=False)
    pq.write_table(pa.table({str(i): [0] * 1000 for i in range(50)}), tmp_path / "wide.parquet")
    add, seen = Profiler.add, list[int]()

    def look(self: Profiler, part: pa.Table) -> None:
        seen.append(part.num_rows)
        add(self, part)

    monkeypatch.setattr(Profiler, "add", look)
    for name in ("t.parquet", "wide.parquet"):
        seen.clear()
        parquet_files.profile_file(from_file(str(tmp_path / name)))
        assert sum(seen) == 1000
        assert max(seen) <= 250


@pytest.fixture
def web(files: Path) -> Iterator[str]:
    """The files on a web server that knows no ranges."""
    with serving(files) as url:
        yield url


@pytest.fixture
def bucket(s3_url: str, files: Path) -> str:
    """The same in a bucket."""
    from moto.s3.models import s3_backends

    name = s3_url.removeprefix("s3://").partition("/")[0]
    for path in ("a.parquet", "deep/data.parquet", "notes.txt"):
        s3_backends["123456789012"]["aws"].put_object(name, f"raw/{path}", (files / path).read_bytes())
    return f"s3://{name}/raw"


@pytest.mark.slow
@pytest.mark.parametrize("whole", [2**26, 100_000, 100])
def test_files_behind_a_url_are_profiled_whole_by_row_groups_or_by_pieces(
    store: Store, bucket: str, files: Path, monkeypatch: pytest.MonkeyPatch, whole: int
):
    monkeypatch.setattr(parquet_files, "_REMOTE_WHOLE", whole)
    want = store.put(files, "disk", profile=True)
    other = artifactstore.create(f"memory://far-{whole}", cache=None)
    made = other.put(bucket, "far", profile=True)
    assert made.digest == want.digest
    assert dict(made.profiles) == {path: near(one) for path, one in want.profiles.items()}
    assert other.put(f"{bucket}/a.parquet", "one", profile=True).profile == near(want.profiles["a.parquet"])
    with pytest.raises(InvalidInputError, match="is not named"):
        other.put(f"{bucket}/notes.txt", "none", profile=True)


def test_a_file_of_the_web_is_profiled(store: Store, web: str, files: Path):
    made = store.put(f"{web}/a.parquet?token=secret", "page", profile=True)
    assert made.profile == near(artifactstore.create("memory://web", cache=None).put(files / "a.parquet", profile=True).profile)
    (files / "bad.parquet").write_bytes(b"none")
    with pytest.raises(InvalidInputError, match=r"bad\.parquet cannot be profiled") as caught:
        store.put(f"{web}/bad.parquet?token=secret", "bad", profile=True)
    assert "secret" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [2**26, 100])
def test_a_place_that_fails_while_it_is_profiled_is_no_bad_file(
    store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch, whole: int
):
    from artifactstore.backend.source_url import SourceUrl

    monkeypatch.setattr(parquet_files, "_REMOTE_WHOLE", whole)
    known_of = parquet_files.profile_file

    def fail(source: Any, **options: Any) -> Any:
        monkeypatch.setattr(SourceUrl, "read", lambda *_: (_ for _ in ()).throw(BackendError("away", transient=True)))
        return known_of(source, **options)

    monkeypatch.setattr(profiling, "profile_file", fail)
    with pytest.raises(BackendError, match="away"):
        store.put(bucket, "t", profile=True)
    assert not store.names()


def test_what_a_refused_profile_leaves_uploaded_is_used_by_the_next_put(s3_url: str, tmp_path: Path):
    store = artifactstore.create(s3_url, cache=tmp_path / "cache")
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": np.random.default_rng(0).integers(0, 2**62, 400_000)}), path, use_dictionary=False)
    raw = bytearray(path.read_bytes())
    raw[4:100] = bytes(96)
    path.write_bytes(raw)
    with pytest.raises(InvalidInputError, match="cannot be profiled"):
        store.put(path, "t", profile=True)
    made = store.put(path, "t")
    assert made.size > 2_000_000
    assert made.uploaded < 100_000
