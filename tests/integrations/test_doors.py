"""Reading doors: the same artifact by any reference and any door is the same files with the same bytes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow.dataset as ds
import pytest

import artifactstore
from artifactstore.errors import NotFoundError
from artifactstore.integrations.fsspec import ArtifactFileSystem
from artifactstore.store import Store

CSV = "x,y\n{},a\n"
SHAPES: dict[str, list[str]] = {
    "file": ["one.csv"],
    "flat": ["a.csv", "b.csv"],
    "nested": ["a.csv", "deep/b.csv", "deep/er/c.csv"],
    "partitioned": ["year=2024/part 0.csv", "year=2024/part-1.csv", "year=2025/part-0.csv"],
    "with links": [
        "blobs/a.csv",
        "blobs/b.csv",
        "snapshot/one.csv -> ../blobs/a.csv",
        "latest -> snapshot",
        "two.csv -> latest/one.csv",
    ],
}
REFERENCES = ("{name}", "{name}:v1", "{name}:latest", "{name}:alias", "{name}@{digest}", "{digest}")


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dict[str, Path], Any]:
    top = tmp_path_factory.mktemp("doors")
    store = artifactstore.open(top / "store", cache=top / "cache")
    folders = {}
    for shape, paths in SHAPES.items():
        folder = top / "sources" / shape
        for number, line in enumerate(paths):
            path, _, target = line.partition(" -> ")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            if target:
                (folder / path).symlink_to(target)
            else:
                (folder / path).write_text(CSV.format(number))
        store.put(folder / paths[0] if shape == "file" else folder, name(shape))
        store.alias(f"{name(shape)}:v1", "alias")
        folders[shape] = folder
    ArtifactFileSystem.clear_instance_cache()
    return store, folders, fsspec.filesystem("artifactstore", store=store.url, cache=str(top / "cache"))


def name(shape: str) -> str:
    return f"team/{shape.replace(' ', '-')}"


def on_disk(folder: Path) -> dict[str, bytes]:
    """What a walk that follows links finds."""
    found = {}
    for here, _, files in os.walk(folder, followlinks=True):
        for one in files:
            path = Path(here, one)
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def references(store: Store) -> Iterator[tuple[str, str]]:
    for shape in SHAPES:
        digest = store.artifact(f"{name(shape)}:v1").digest
        for form in REFERENCES:
            yield shape, form.format(name=name(shape), digest=digest)


@pytest.mark.slow
def test_every_file_is_read_alike_by_every_door(laid: tuple[Store, dict[str, Path], Any], tmp_path: Path):
    store, folders, files = laid
    wrong = []
    for number, (shape, ref) in enumerate(references(store)):
        true = on_disk(folders[shape])
        pinned = ref if ref.count(":") else f"{ref}:latest"
        root = store.get(ref)
        gotten = on_disk(root) if root.is_dir() else {root.name: root.read_bytes()}
        store.get(ref, to=tmp_path / str(number))
        one = shape == "file"
        found = {
            "get": gotten,
            "get to": on_disk(tmp_path / str(number)),
            "open_file": {path: store.open_file(ref, path).read() for path in true},
            "open_file ref/path": {path: store.open_file(f"{pinned}/{path}").read() for path in true},
            "get ref/path": {path: store.get(f"{pinned}/{path}").read_bytes() for path in true},
            "fsspec ref/path": {path: files.cat(f"{ref}/{path}") for path in true},
            "fsspec ranges": {path: b"".join(files.cat_ranges([f"{ref}/{path}"] * 2, [0, 3], [3, 10**6])) for path in true},
        }
        for door, slash in (("fsspec", ""), ("fsspec /", "/"), ("fsspec ://", "artifactstore://")):
            listed = [path.removeprefix(ref).lstrip("/") for path in files.find(slash + ref)]
            found[f"{door} find"] = {
                path or SHAPES[shape][0]: files.cat("/".join(filter(None, ((slash.strip("/") and ref) or ref, path))))
                for path in listed
            }
            walked = [f"{here}/{two}" for here, _, inner in files.walk(slash + ref) for two in inner]
            found[f"{door} walk"] = (
                {path.strip("/").removeprefix(ref).lstrip("/"): files.cat(path) for path in walked} if not one else true
            )
            globbed = [path.removeprefix(ref).lstrip("/") for path in files.glob(f"{slash}{ref}/**/*.csv")] if not one else []
            found[f"{door} glob"] = {path: true[path] for path in globbed} if not one else true
        wrong += [(ref, door, sorted(some)) for door, some in found.items() if some != true]
    assert wrong == []


def test_every_folder_is_looked_at_alike(laid: tuple[Store, dict[str, Path], Any]):
    store, folders, files = laid
    local = fsspec.filesystem("file")
    for shape, ref in references(store):
        if shape == "file":
            assert (files.isfile(ref), files.isdir(ref), files.exists(f"{ref}/none")) == (True, False, False)
            continue
        inner = ["", *{path.rpartition("/")[0] for path in on_disk(folders[shape])} - {""}]
        for folder in inner:
            path, true = "/".join(filter(None, (ref, folder))), folders[shape] / folder
            names = sorted(one.name for one in true.iterdir())
            for form in (path, f"{path}/", f"/{path}", f"artifactstore://{path}"):
                assert sorted(one.rpartition("/")[2] for one in files.ls(form, detail=False)) == names, form
                assert files.isdir(form), form
                assert not files.isfile(form)
            kinds = {one["name"].rpartition("/")[2]: one["type"] for one in files.ls(path)}
            assert kinds == {one: "directory" if (true / one).is_dir() else "file" for one in names}
            assert len(files.find(path)) == len(local.find(str(true)))
            assert files.checksum(path) == files.checksum(f"/{path}/")
            with pytest.raises(FileNotFoundError):
                files.info(f"{path}/none")
        sizes = {path: files.info(f"{ref}/{path}")["size"] for path in on_disk(folders[shape])}
        assert sizes == {path: len(data) for path, data in on_disk(folders[shape]).items()}


@pytest.mark.slow
def test_every_table_has_the_same_rows(laid: tuple[Store, dict[str, Path], Any]):
    store, folders, files = laid
    for shape, ref in references(store):
        rows = ds.dataset(str(folders[shape]), format="csv", partitioning="hive").count_rows()
        assert store.open_table(ref).count_rows() == rows, ref
        if shape != "file":
            assert ds.dataset(ref, filesystem=files, format="csv", partitioning="hive").count_rows() == rows, ref
            assert ds.dataset(str(store.get(ref)), format="csv", partitioning="hive").count_rows() == rows, ref
        else:
            assert len(pd.read_csv(f"artifactstore://{ref}", storage_options={"store": store.url})) == rows


def test_pandas_reads_a_partitioned_folder_by_any_reference(tmp_path: Path):
    store = artifactstore.open(tmp_path / "store")
    for year in (2024, 2025):
        (tmp_path / f"t/year={year}").mkdir(parents=True)
        pd.DataFrame({"x": [1, 2]}).to_parquet(tmp_path / f"t/year={year}/part.parquet")
    digest = store.put(tmp_path / "t", "churn/features").digest
    store.alias("churn/features:v1", "alias")
    for form in REFERENCES:
        ref = form.format(name="churn/features", digest=digest)
        frame = pd.read_parquet(f"artifactstore://{ref}", storage_options={"store": store.url})
        assert (len(frame), sorted(set(frame["year"].astype(int)))) == (4, [2024, 2025]), ref


def test_parts_that_are_links_or_hold_some_come_with_what_the_links_need(
    laid: tuple[Store, dict[str, Path], Any], tmp_path: Path
):
    store, folders, _ = laid
    ref, folder = f"{name('with links')}:v1", folders["with links"]
    for number, part in enumerate(("snapshot", "snapshot/one.csv", "latest", "latest/one.csv", "two.csv", "blobs")):
        true = on_disk(folder / part) if (folder / part).is_dir() else {"": (folder / part).read_bytes()}
        for door in ("cache", "to", "fresh cache"):
            if door == "to":
                got = store.get(f"{ref}/{part}", to=tmp_path / str(number)) / part.rpartition("/")[2]
            else:
                cache = tmp_path / f"cache {number}" if door == "fresh cache" else tmp_path / "cache"
                got = artifactstore.open(store.url, "r", cache=cache).get(f"{ref}/{part}")
            assert (on_disk(got) if got.is_dir() else {"": got.read_bytes()}) == true, (part, door)
    store.get(ref, to=tmp_path / "chosen", paths=["snapshot/*", "latest"])
    assert on_disk(tmp_path / "chosen") == {
        path: data for path, data in on_disk(folder).items() if path.startswith(("snapshot", "latest"))
    }
    for part in ("latest/none", "none", "two.csv/x"):
        with pytest.raises(NotFoundError):
            store.get(f"{ref}/{part}")
        with pytest.raises(NotFoundError):
            store.open_file(f"{ref}/{part}")


def test_a_link_to_nothing_or_in_a_circle_is_an_error_and_no_path(tmp_path: Path):
    folder = tmp_path / "d"
    (folder / "deep/er").mkdir(parents=True)
    for one in ("a", "deep/b"):
        (folder / one).write_text(one)
    for link, target in (("gone", "nothing"), ("round", "about"), ("about", "round"), ("up", "."), ("deep/er/up", "..")):
        (folder / link).symlink_to(target)
    store = artifactstore.open(tmp_path / "store")
    store.put(folder, "d")
    for part in ("gone", "round"):
        with pytest.raises(NotFoundError):
            store.open_file(f"d:v1/{part}")
    assert store.open_file("d:v1/up/a").read() == b"a"
    files = fsspec.filesystem("artifactstore", store=store.url, skip_instance_cache=True)
    assert files.find("d:v1") == ["d:v1/a", "d:v1/deep/b"]
