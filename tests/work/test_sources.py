"""Sources: the same tree by path, `file://`, `s3://` and `memory://` is stored the same, or refused the same."""

import random
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

import artifactstore
from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.store import Store
from artifactstore.work.put.filters import Excluder

Tree = dict[str, bytes | None]  # None: an empty folder

TREES: dict[str, Tree] = {
    "flat": {"a": b"1", "b": b"2"},
    "nested": {"a/b/c": b"1", "a/d": b"2", "e": b""},
    "empty folders": {"a/empty": None, "b": b"1", "c/d/e": None},
    "nothing but empty folders": {"a": None, "b/c": None},
    "partitioned": {"year=2024/part 0.csv": b"1", "year=2025/part+1.csv": b"2"},
    "odd names": {"a b": b"1", "c%20d": b"2", "ö": b"3", "e?f": b"4", "g#h": b"5", "i&j=k": b"6", "[l]": b"7", "m*": b"8"},
    "hidden": {".hidden/x": b"1", ".a": b"2"},
    "like a pattern": {"a[1].txt": b"1", "a1.txt": b"2", "{x}": b"3"},
    "a file with the name of a folder elsewhere": {"x/data": b"1", "data/x": b"2"},
}
DOORS = ("path", "file://", "s3://", "memory://")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return artifactstore.create("memory://sources-of-tests", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def laid(tmp_path: Path, s3_url: str) -> Callable[[str, Tree], str]:
    """Lay a tree behind a door and return how it is called."""
    from moto.s3.models import s3_backends

    bucket = s3_url.removeprefix("s3://").partition("/")[0]
    numbers = iter(range(1000))

    def lay(door: str, tree: Tree) -> str:
        name = f"tree {next(numbers)}"
        if door == "s3://":
            for path, data in tree.items():
                key = f"{name}/{path}/" if data is None else f"{name}/{path}"
                s3_backends["123456789012"]["aws"].put_object(bucket, key, data or b"")
            return f"s3://{bucket}/{name}"
        if door == "memory://":
            memory = fsspec.filesystem("memory")
            for path, data in tree.items():
                memory.makedirs(f"/{name}-{id(numbers)}/{path if data is None else path.rpartition('/')[0]}", exist_ok=True)
                if data is not None:
                    memory.pipe(f"/{name}-{id(numbers)}/{path}", data)
            return f"memory://{name}-{id(numbers)}"
        for path, data in tree.items():
            (tmp_path / name / (path if data is None else path.rpartition("/")[0])).mkdir(parents=True, exist_ok=True)
            if data is not None:
                (tmp_path / name / path).write_bytes(data)
        return (tmp_path / name).as_uri() if door == "file://" else str(tmp_path / name)

    return lay


def outcome(store: Store, source: str, **options: object) -> tuple[object, list[str]]:
    """What a put gives: the digest or the class of the error, and what its warnings begin with."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            made: object = store.put(source, **options).digest  # type: ignore[arg-type]
        except ArtifactStoreError as error:
            made = type(error)
    return made, sorted(str(one.message)[:40] for one in told)


@pytest.mark.slow
def test_each_tree_is_stored_the_same_by_every_door(store: Store, laid: Callable[[str, Tree], str]):
    wrong = []
    for shape, tree in TREES.items():
        sources = [laid(door, tree) for door in DOORS]
        filters = [["a"], ["/a/"], ["b/", "*.csv"], ["*", "!*/", "!*.txt"]] if shape in {"nested", "empty folders"} else []
        for end, exclude in (("", []), ("/", []), *(("", one) for one in filters)):
            found = [outcome(store, source + end, exclude=exclude) for source in sources]
            if len({str(one) for one in found}) != 1:
                wrong.append((shape, end, exclude, found))
    assert wrong == []


@pytest.mark.slow
def test_each_file_is_stored_the_same_by_every_door(store: Store, laid: Callable[[str, Tree], str]):
    wrong = []
    sources = [laid(door, TREES["odd names"]) for door in DOORS]
    for name in TREES["odd names"]:
        found = []
        for door, source in zip(DOORS, sources, strict=True):
            path = f"{source}/{name}" if door != "file://" else Path(sources[0], name).as_uri().replace("tree%200", "tree%201")
            found.append(outcome(store, path))
            found.append(outcome(store, path + "/"))
        if len({str(one) for one in found[::2]}) != 1 or {str(one[0]) for one in found[1::2]} != {str(InvalidInputError)}:
            wrong.append((name, found))
    assert wrong == []


def test_a_slash_at_the_end_means_a_folder_even_beside_an_object_of_that_name(store: Store, laid: Callable[[str, Tree], str]):
    url = laid("s3://", {"data": b"m", "data/one": b"1", "data/two": b"2", "only": b"x", "marked/": b"not empty"})
    assert [one.path for one in store.put(f"{url}/data/").files] == ["one", "two"]
    assert [one.path for one in store.put(f"{url}/data").files] == ["data"]
    with pytest.raises(InvalidInputError, match="contains no files"):
        store.put(f"{url}/only/")
    with pytest.raises(InvalidInputError, match="neither a file nor a folder"):
        store.put(f"{url}/")


@pytest.mark.slow
def test_a_version_of_an_object_is_honoured_and_no_part_of_its_name(store: Store, s3_url: str):
    from moto.s3.models import s3_backends

    server, bucket = s3_backends["123456789012"]["aws"], s3_url.removeprefix("s3://").partition("/")[0]
    server.put_bucket_versioning(bucket, "Enabled")
    old = server.put_object(bucket, "v/k.csv", b"old").version_id
    server.put_object(bucket, "v/k.csv", b"newer")
    for query, size in (("", 5), (f"?versionId={old}", 3)):
        made = store.put(f"s3://{bucket}/v/k.csv{query}")
        assert [(one.path, one.size) for one in made.files] == [("k.csv", size)]
    with pytest.raises(InvalidInputError):
        store.put(f"s3://{bucket}/v/?versionId={old}")


# -- exclude


NAMES = ("a", "b", "keep", "logs", "x.tmp", "xy", "c", "d e", ".hidden")
PIECES = (*NAMES, "*", "?", "*.tmp", "[a-b]", "**", "k*", "[!a]", "[a-c]", "\\keep")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="git is what is compared with")
def test_patterns_mean_what_they_mean_to_git(tmp_path: Path):
    choose = random.Random(7)
    paths = sorted({"/".join(choose.choices(NAMES, k=choose.randint(1, 4))) for _ in range(120)})
    paths = [path for path in paths if not any(other.startswith(f"{path}/") for other in paths)]
    top = tmp_path / "top"
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("")
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    wrong = []
    for _ in range(150):
        patterns = [_pattern(choose) for _ in range(choose.randint(1, 3))]
        (tmp_path / "rules").write_text("".join(f"{one}\n" for one in patterns))
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--others", f"--exclude-from={tmp_path}/rules"], cwd=top, check=True, capture_output=True
        )
        excluder = Excluder(patterns)
        kept = [path for path in paths if not excluder.below(path)]
        if kept != sorted(listed.stdout.decode().split("\0")[:-1]):
            wrong.append((patterns, sorted(set(kept) ^ set(listed.stdout.decode().split("\0")[:-1]))))
    assert wrong == []


def _pattern(choose: random.Random) -> str:
    body = "/".join(one.lstrip("!") for one in choose.choices(PIECES, k=choose.randint(1, 3)))
    return choose.choice(("", "", "", "/", "!")) + body + choose.choice(("", "", "/"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for path in ("keep", "logs/x", "a/b", "a/x/b", "#c", "d ", "inner/key", "[e]", "!f"):
        (tmp_path / "d" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / path).write_text(path)
    return tmp_path / "d"


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("./inner", ["inner/key"]), ("/inner", ["inner/key"]), (".//inner/", ["inner/key"]), ("inner//key", ["inner/key"]),
        ("{root}/inner", ["inner/key"]), ("{root}//inner/*", ["inner/key"]), ("{link}/inner", ["inner/key"]),
        ("a/**/b", ["a/b", "a/x/b"]), ("a/**", ["a/b", "a/x/b"]), ("**/x", ["a/x/b", "logs/x"]), ("#c", ["#c"]), ("d ", ["d "]),
        ("[e]", ["[e]"]), ("\\!f", ["!f"]), ("inner/key", ["inner/key"]),
    ],
)  # fmt: skip
def test_what_users_write_works(store: Store, source: Path, pattern: str, gone: list[str]):
    link = source.with_name("link")
    link.symlink_to(source)
    every = {one.path for one in store.put(source).files}
    given = pattern.format(root=source, link=link)
    assert sorted(every - {one.path for one in store.put(link, exclude=[given]).files}) == sorted(gone)


@pytest.mark.parametrize("pattern", ["d/logs", "./d/logs", "d/a/**"])
def test_a_pattern_that_is_relative_to_something_else_is_refused_with_the_right_form(
    store: Store, source: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
):
    monkeypatch.chdir(source.parent)
    with pytest.raises(InvalidInputError, match=r"expected '/(logs|a/\*\*)'"):
        store.put("d", exclude=[pattern])


@pytest.mark.parametrize("pattern", ["", "/", ".", "./", "..", "../d", "a/../b", "!", "a\\", "{root}"])
def test_a_pattern_that_can_mean_nothing_is_refused(store: Store, source: Path, pattern: str):
    with pytest.raises(InvalidInputError, match="exclude="):
        store.put(source, exclude=[pattern.format(root=source)])


@pytest.mark.parametrize("pattern", ["nothing", "!keep", "/x", "/elsewhere/logs", "*.none", "LOGS", "["])
def test_a_pattern_without_effect_is_named(store: Store, source: Path, pattern: str):
    with pytest.warns(UserWarning, match="matched nothing") as told:
        store.put(source, exclude=[pattern, "a"])
    assert [repr(pattern) in str(one.message) for one in told] == [True]


def test_a_pattern_for_what_is_left_out_anyway_is_not_named(store: Store, source: Path):
    assert store.put(source, exclude=["a", "b", "logs/", "x"]).count == 6


def test_patterns_are_for_folders_and_may_be_paths(store: Store, source: Path):
    with pytest.raises(InvalidInputError, match="is one file"):
        store.put(source / "keep", exclude=["keep"])
    assert store.put(source, exclude=[source / "a", Path("logs")]).count == 6  # type: ignore[list-item]


# -- what must not go in by mistake


def test_what_looks_like_a_secret_gives_one_hint(store: Store, laid: Callable[[str, Tree], str]):
    tree: Tree = {"data": b"1", ".env": b"2", "deep/id_rsa": b"3", "deep/server.pem": b"4"}
    for door in DOORS:
        url = laid(door, tree)
        with pytest.warns(UserWarning, match=r"may hold secrets.*exclude=\['\.env'\]") as told:
            store.put(url)
        assert len(told) == 1
        assert store.put(url, exclude=[".env", "id_rsa", "*.pem"]).count == 1


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_folder_that_became_empty_is_refused_unless_that_is_meant(store: Store, laid: Callable[[str, Tree], str], door: str):
    full, empty = laid(door, {"d/a": b"1", "e": None}), laid(door, {"d": None})
    name = f"emptied-{DOORS.index(door)}"
    assert store.put(empty, name).version == 1  # nothing was lost yet
    assert store.put(full, name).version == 2
    excludes: list[list[str]] = [[], ["*"]]
    for source, exclude in zip((empty, full), excludes, strict=True):
        with pytest.raises(InvalidInputError, match=r"has no files, but .*:v2 has 1.*allow_empty=True"):
            store.put(source, name, exclude=exclude)
    assert store.versions(name)[-1].version == 2
    assert store.put(empty, name, allow_empty=True).version == 3


def test_stores_and_caches_are_no_source(tmp_path: Path, s3_url: str):
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    (home / "project/a").write_text("a")
    store = artifactstore.open(home / "project/store", cache=home / ".cache")
    store.put(b"1", "x")
    artifactstore.open(home / "other", cache=home / "deep/cache").put(b"2", "y")
    (home / "mine").mkdir()
    (home / "mine/store.json").write_text('{"store": "a shop"}')
    with pytest.warns(UserWarning, match="is a store or a cache of artifactstore") as told:
        made = store.put(home, "home")
    assert [one.path for one in made.files] == ["mine/store.json", "project/a"]
    assert len(told) == 1
    with pytest.raises(InvalidInputError, match="is an artifactstore"):
        store.put(home / "other", "z")
    assert store.put(store.get("home"), "again").digest == made.digest  # what a get gave, out of the cache
    artifactstore.open(s3_url).put(b"3", "z")
    with pytest.raises(InvalidInputError, match="is an artifactstore"):
        store.put(s3_url, "z")


def test_what_is_not_complete_yet_is_no_source(store: Store, tmp_path: Path):
    for name in (".0123456789abcdef.partial", ".name.0123456789abcdef.partial"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "f").write_text("half")
    (tmp_path / "d/.x.partial").write_text("a user's own")
    assert [one.path for one in store.put(tmp_path / "d").files] == [".x.partial"]


def test_git_leaves_out_a_store_and_the_store_knows_nothing_of_that(tmp_path: Path):
    store = artifactstore.open(tmp_path / "store")
    store.put(b"1", "x")
    assert (tmp_path / "store/.gitignore").read_text() == "*\n"
    assert store.verify(level="full").ok
    store.maintenance.sync(tmp_path / "copy")
    assert artifactstore.open(tmp_path / "copy").get("x") == b"1"
    (tmp_path / "made/.gitignore").parent.mkdir()
    (tmp_path / "made/.gitignore").write_text("own\n")
    assert artifactstore.open(tmp_path / "made").put(b"1", "x").version == 1
    assert (tmp_path / "made/.gitignore").read_text() == "own\n"


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]
