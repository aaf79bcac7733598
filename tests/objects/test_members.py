"""Dicts and tuples of several kinds, records, plugins: stored member by member, each reachable as a path."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pydantic
import pytest

from artifactstore import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.objects.formats.members import Members
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Model(pydantic.BaseModel):
    a: int
    b: list[str] = []


def test_a_dict_of_several_kinds_comes_back_and_each_member_is_a_path(store: Store, tmp_path: Path):
    value = {"weights": np.arange(4.0), "about": {"depth": 8}, "note": "a text", "raw": b"\0\1", "pair": (np.eye(2), [1])}
    made = store.put(value, "m")
    back = store.get("m")
    assert list(back) == list(value)
    assert (back["weights"] == value["weights"]).all()
    assert (back["about"], back["note"], back["raw"], back["pair"][1]) == ({"depth": 8}, "a text", b"\0\1", [1])
    assert type(back["pair"]) is tuple
    assert "weights/data.npy" in [one.path for one in made.files]
    store.get("m:latest/note", tmp_path / "to")
    assert (tmp_path / "to/note/data.txt").read_text() == "a text"
    assert list(store.get("m", keys=["note"])) == ["note"]
    with pytest.raises(InvalidInputError, match="no member 'x'"):
        store.get("m", keys="x")


def test_equal_members_have_equal_digests(store: Store):
    assert store.put({"a": np.arange(3), "b": {"x": 1}}).digest == store.put({"a": np.arange(3), "b": {"x": 1}}).digest


@pytest.mark.parametrize("key", ["a/b", "", 1, "..", "x" * 300])
def test_a_key_that_can_be_no_folder_is_refused(store: Store, key: object):
    with pytest.raises(InvalidInputError):
        store.put({key: np.arange(3), "b": {"x": 1}}, "m")
    with pytest.raises(NotFoundError):
        store.artifact("m")


def test_a_member_without_a_format_refuses_the_whole(store: Store):
    with pytest.raises(InvalidInputError, match="no format is for it"):
        store.put({"a": np.arange(3), "b": object()}, "m")


def test_dataclasses_and_pydantic_models_are_data_and_come_back_typed_when_asked(store: Store):
    store.put(Point(1, 2.5), "p")
    store.put(Model(a=1, b=["x"]), "q")
    assert store.get("p") == {"x": 1, "y": 2.5}
    assert store.get("p", type=Point) == Point(1, 2.5)
    assert store.get("q", type=Model) == Model(a=1, b=["x"])
    assert store.put(Point(1, 2.5)).digest == store.put({"y": 2.5, "x": 1}).digest
    with pytest.raises(InvalidInputError, match="do not make a Model"):
        store.get("p", type=Model)
    with pytest.raises(InvalidInputError, match="dataclass or a pydantic model"):
        store.get("p", type=int)


def test_a_format_of_another_package_is_found_by_its_types_module(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "thermo.py").write_text(
        "class Reading:\n    def __init__(self, value): self.value = value\n"
        "class Format:\n    name = 'thermo'\n    executes_code = False\n    write_options = ()\n    read_options = ('unit',)\n"
        "    def matches(self, obj): return isinstance(obj, Reading)\n"
        "    def write(self, obj, folder):\n        with folder.open('reading') as file: file.write(str(obj.value).encode())\n"
        "    def read(self, folder, unit='C'): return unit, Reading(float(folder.read('reading')))\n"
    )
    about = tmp_path / "thermo-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: thermo\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[artifactstore.formats]\nthermo = thermo:Format\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    store.put({"a": [1]}, "other")
    assert "thermo" not in sys.modules
    import thermo  # type: ignore[import-not-found]

    store.put(thermo.Reading(21.5), "t")
    unit, back = store.get("t", unit="K")
    assert (unit, back.value) == ("K", 21.5)


def test_an_object_over_64_mib_waits_on_disk_and_leaves_nothing_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import gc
    import tempfile

    from artifactstore.objects.base import WriteFolder

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = WriteFolder()
    with folder.open("large") as file:
        for number in range(70):
            file.write(bytes([number]) * 2**20)
    with folder.inner("deep").open("small") as file:
        file.write(b"x")
    assert [(one.path, one.size) for one in folder.sources] == [("large", 70 * 2**20), ("deep/small", 1)]
    assert len(list((tmp_path / "tmp").rglob("*"))) == 2
    del folder
    gc.collect()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_holds_itself_is_refused(store: Store):
    value: dict[str, object] = {"a": np.arange(2)}
    value["me"] = value
    with pytest.raises(InvalidInputError, match="holds itself"):
        store.put(value, "m")


def test_the_member_that_can_not_be_stored_is_named(store: Store):
    with pytest.raises(InvalidInputError, match=r"numpy\.int64 at 'depth'"):
        store.put({"w": np.arange(2), "depth": np.int64(3)}, "m")
    with pytest.raises(InvalidInputError, match="the key 1 can't name a file"):
        store.put({1: np.arange(2)}, "m")
    with pytest.raises(InvalidInputError, match=r"builtins\.dict at 0 \(.*builtins\.set at 'x'\)"):
        store.put([{"x": {1}}, np.arange(2)], "m")


def test_members_that_are_named_again_and_again_are_damage():
    files = {"members.json": json.dumps({"type": "list", "members": [["a", "text"]] * 9}).encode(), "a/data.txt": b"x"}
    with pytest.raises(CorruptionError, match=r"members\.json"):
        Members().read(MemoryFolder(files))


@pytest.mark.parametrize(
    "said",
    [
        {"members": []},
        {"members": [], "type": []},
        {"type": "dict", "members": [[["a"], "text"]]},
        {"type": "dict", "members": 5},
    ],
)
def test_members_of_no_container_are_damage(said: dict[str, object]):
    with pytest.raises(CorruptionError, match="what the members are"):
        Members().read(MemoryFolder({"members.json": json.dumps(said).encode()}))


def test_members_in_members_without_end_are_damage():
    files = {f"{'0/' * deep}members.json": b'{"type": "list", "members": [["0", "members"]]}' for deep in range(1000)}
    for cut in range(300, 340):  # wherever the limit is met
        with pytest.raises((CorruptionError, NotFoundError)):
            Members().read(MemoryFolder({name: raw for name, raw in files.items() if len(name) < 2 * (cut + 10)}))


def test_a_member_that_can_not_be_stored_is_named_with_its_place(store: Store):
    with pytest.raises(InvalidInputError, match=r"at 'about': at '1': value\['loss'\] is nan"):
        store.put({"about": (np.arange(2), {"loss": float("nan")})}, "m")


def test_keys_are_names_or_numbers(store: Store):
    store.put([np.arange(2), "text", {"a": 1}], "m")
    store.put([np.arange(2), np.arange(3)], "a")
    assert store.get("m", keys=2) == [{"a": 1}]
    assert [len(one) for one in store.get("a", keys=[1])] == [3]
    for name in ("m", "a"):
        with pytest.raises(InvalidInputError, match=r"keys=1\.5: a str or a number"):
            store.get(name, keys=1.5)
        with pytest.raises(InvalidInputError, match="there are '0', '1'"):
            store.get(name, keys="9")
