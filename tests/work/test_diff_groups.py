"""Many changed files are few lines: groups of one pattern, the largest changes first."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import Store
from artifactstore.objects.compare.tensors import TensorChange
from artifactstore.work.queries import diff as diffing
from artifactstore.work.queries.diff_groups import groups_of, largest_first
from tests.warm import command


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def weights(count: int = 100) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {f"{i:06}": random.normal(size=50) for i in range(count)}


def nets(store: Store) -> None:
    made = weights()
    store.put(made, "net", kind="model")
    for number, key in enumerate(list(made)[4::8]):
        made[key] = made[key] * (1 + (number + 1) / 1000)
    store.put(made, "net", kind="model")


def test_a_hundred_arrays_are_one_line_and_the_largest_changes(store: Store):
    nets(store)
    found = store.diff("net:v1", "net:v2")
    assert str(found).splitlines() == [
        "~ 000004.npy … 000092.npy  12 of 100 arrays changed",
        "· 000092.npy  relative norm 0.012",
        "· 000084.npy  relative norm 0.011",
        "· 000076.npy  relative norm 0.01",
        "12 changed, 89 unchanged",
    ]
    assert len(found) == 12, "each of them is there for programs"
    page = found._repr_html_()
    assert page.count(".npy") == 5
    inside = found.inside().splitlines()
    assert inside[0] == "000004.npy … 000092.npy: 12 of 100 arrays changed"
    assert inside[1].startswith("  ~ 000092.npy: relative norm 0.012, largest ")
    assert inside[-1] == "  … and 2 smaller changes"
    assert len(inside) == 12


def test_programs_get_the_groups_too(store: Store):
    nets(store)
    done = command("diff", "net:v1", "net:v2", "--json", "--store", store.url)
    answer = json.loads(done.stdout)
    assert len(answer["changes"]) == 12
    (group,) = answer["groups"]
    assert (group["title"], group["of"], group["what"], len(group["paths"])) == ("000004.npy … 000092.npy", 100, "arrays", 12)
    assert [one["path"] for one in group["largest"]] == ["000092.npy", "000084.npy", "000076.npy"]
    assert group["largest"][0]["relative"] == pytest.approx(0.012)


def test_large_arrays_are_not_read_to_list_what_differs(store: Store, monkeypatch: pytest.MonkeyPatch):
    nets(store)
    monkeypatch.setattr(diffing, "_SMALL", 100)
    found = store.diff("net:v1", "net:v2")
    assert "relative norm" not in str(found)
    assert "which arrays changed most: .inside()" in str(found)
    assert found.largest(found.groups[0]) == []
    assert "tensors" not in found.__dict__
    _ = found.tensors
    assert "relative norm 0.012" in str(found), "they were compared"


def test_damage_does_not_hide_which_files_differ(store: Store):
    nets(store)
    for pack in (Path(store.url) / "packs").rglob("*"):
        if pack.is_file():
            pack.write_bytes(b"x" * pack.stat().st_size)
    found = artifactstore.open(store.url, cache=None).diff("net:v1", "net:v2")
    assert str(found).splitlines()[0] == "~ 000004.npy … 000092.npy  12 of 100 arrays changed"


@pytest.mark.parametrize("change", ["added", "removed", "changed", "moved"])
@pytest.mark.parametrize("folder", ["", "a/", "a/b/"])
@pytest.mark.parametrize("many", [4, 5, 20])
def test_groups_are_of_one_folder_and_one_change(change: str, folder: str, many: int):
    paths = [f"{folder}{i}.npy" for i in range(many)]
    others = [f"{folder}x/{i}.npy" for i in range(50)] + [f"{folder}{i}.json" for i in range(50)]
    found = groups_of([*((path, change) for path in paths), (f"{folder}x/1.npy", change)], [*paths, *others], [*paths, *others])
    if many < 5:
        assert found == []
        return
    (group,) = found
    assert group.title == f"{folder}0.npy … {many - 1}.npy"
    assert group.note == f"{many} arrays {change}"
    assert group.paths == tuple(paths)


@pytest.mark.parametrize(("change", "of"), [("removed", 20), ("added", 10), ("changed", 10), ("moved", 10)])
def test_removed_files_are_so_many_of_those_before_and_others_of_those_now(change: str, of: int):
    before, now = [f"{i}.npy" for i in range(20)], [f"{i}.npy" for i in range(10)]
    (group,) = groups_of([(f"{i}.npy", change) for i in range(5)], before, now)
    assert group.of == of
    assert group.note == f"5 of {of} arrays {change}"


def test_files_that_differ_otherwise_are_listed_one_by_one(store: Store, tmp_path: Path):
    for text in ("1", "2"):
        for name in ("a.txt", "b.txt", "c/1.txt", "c/2.txt"):
            (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / name).write_text(text)
        store.put(tmp_path / "d", "d")
    assert str(store.diff("d:v1", "d:v2")).splitlines() == [
        "~ a.txt",
        "~ b.txt",
        "~ c/1.txt",
        "~ c/2.txt",
        "4 changed, 0 unchanged",
    ]


def test_what_came_or_went_is_first_and_what_is_unknown_last():
    rows = [("a", TensorChange("", "changed", "x", "x", 0.1)), ("b", TensorChange("", "changed", "x", "x")), ("c", TensorChange("", "added", None, "x")),
            ("d", TensorChange("", "changed", "x", "x", 0.2))]  # fmt: skip
    assert [path for path, _ in largest_first(rows)] == ["c", "d", "a", "b"]


def test_a_file_of_many_tensors_shows_the_largest_changes(store: Store, tmp_path: Path):
    from safetensors.numpy import save_file

    made = weights(40)
    for step in (0, 1):
        save_file(
            {key: one * (1 + step * (i + 1) / 1000) for i, (key, one) in enumerate(made.items())}, tmp_path / "m.safetensors"
        )
        store.put(tmp_path / "m.safetensors", "m")
    lines = store.diff("m:v1", "m:v2").inside().splitlines()
    assert lines[0] == "m.safetensors:"
    assert [re.findall(r"~ (\d+):", line)[0] for line in lines[1:-1]] == [f"{i:06}" for i in range(39, 29, -1)]
    assert lines[-1] == "  … and 30 smaller changes"
