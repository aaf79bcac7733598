"""Dicts and tuples of several kinds, records, plugins: stored member by member, each reachable as a path."""

import dataclasses
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

from artifactstore import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.json import Json
from artifactstore.objects.formats.members import Members
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files


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
    with pytest.raises(InvalidInputError, match="no format matches"):
        store.put({"a": np.arange(3), "b": object()}, "m")


def test_dataclasses_and_pydantic_models_are_data_and_come_back_typed_when_asked(store: Store):
    store.put(Point(1, 2.5), "p")
    store.put(Model(a=1, b=["x"]), "q")
    assert store.get("p") == {"x": 1, "y": 2.5}
    assert store.get("p", type=Point) == Point(1, 2.5)
    assert store.get("q", type=Model) == Model(a=1, b=["x"])
    assert store.put(Point(1, 2.5)).digest == store.put({"y": 2.5, "x": 1}).digest
    with pytest.raises(InvalidInputError, match="do not fit Model"):
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
    with pytest.raises(
        InvalidInputError, match=r"unknown format 'thermometer'; available formats: 'data', .*, 'pickle', 'thermo'"
    ):
        store.put(b"x", "u", format="thermometer")


@pytest.mark.slow
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
    with pytest.raises(InvalidInputError, match="contains itself"):
        store.put(value, "m")


def test_the_member_that_can_not_be_stored_is_named(store: Store):
    with pytest.raises(InvalidInputError, match=r"numpy\.int64 at 'depth'"):
        store.put({"w": np.arange(2), "depth": np.int64(3)}, "m")
    with pytest.raises(InvalidInputError, match="the key 1 cannot be a file name"):
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
    with pytest.raises(CorruptionError, match="describe the members"):
        Members().read(MemoryFolder({"members.json": json.dumps(said).encode()}))


@pytest.mark.slow
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
        with pytest.raises(InvalidInputError, match=r"keys= must be a str or a number"):
            store.get(name, keys=1.5)
        with pytest.raises(InvalidInputError, match="available: '0', '1'"):
            store.get(name, keys="9")


def json_there_and_back(value: Any) -> tuple[Any, str]:
    folder = WriteFolder()
    Json().write(value, folder)
    files = as_files(folder)
    return Json().read(MemoryFolder(files, notes=folder.side)), files["data.json"].decode()


def shuffled(rng: random.Random, depth: int) -> Any:
    if depth == 0 or rng.random() < 0.2:
        return rng.choice([1, "a", None, 0.5, True])
    if rng.random() < 0.4:
        return [shuffled(rng, depth - 1) for _ in range(rng.randrange(4))]
    keys = rng.sample(["a", "b", "z", "é", "", "Z", "\U0001f600", "\ufb01"], rng.randrange(5))
    return {key: shuffled(rng, depth - 1) for key in keys}


def test_keys_come_in_the_order_in_which_they_were_and_digests_know_nothing_of_it():
    rng = random.Random(3)
    for _ in range(300):
        value = shuffled(rng, 5)
        if isinstance(value, str):
            continue
        back, raw = json_there_and_back(value)
        assert repr(back) == repr(value)  # repr: the order counts
        assert raw == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_order_of_the_first_put_stays_and_a_wrong_one_changes_nothing_else(store: Store):
    first = store.put({"z": 1, "a": {"y": 1, "b": 2}}, "c")
    assert store.put({"a": {"b": 2, "y": 1}, "z": 1}, "c").digest == first.digest
    assert repr(store.get("c")) == "{'z': 1, 'a': {'y': 1, 'b': 2}}"
    raw = b'{"a":{"b":2,"y":1},"z":1}'
    for note in (
        b"",
        b"[]",
        b'{"keys":[["x","z"]],"at":[]}',
        b'{"keys":[["z","z"]],"at":[]}',
        b'{"keys":[],"at":[[["q"],["a"]]]}',
        b'{"keys":[5],"at":5}',
        b'{"keys":[],"at":[[[],["z","b"]]]}',
        b"\xff",
    ):
        assert Json().read(MemoryFolder({"data.json": raw}, notes={"order": note})) == {"a": {"b": 2, "y": 1}, "z": 1}
    store.put({"weights": np.ones(2), "about": {"z": 1, "a": 2}}, "m")
    assert list(store.get("m")["about"]) == ["z", "a"]


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Outer:
    inner: Inner
    many: list[Inner]
    by_name: dict[str, Inner]
    maybe: Inner | None = None
    either: "int | Point" = 3
    count: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        self.count += 1
        self.inner = Inner(self.inner.rate * 2)


class Base(pydantic.BaseModel):
    name: str = pydantic.Field(alias="called", default="")
    model_config = pydantic.ConfigDict(populate_by_name=False)


class Sub(Base):
    rate: float = 0.0


class Holder(pydantic.BaseModel):
    one: Base
    many: list[Base] = []


def test_records_keep_what_is_in_them_and_are_made_again_without_running_their_code():
    made = Outer(Inner(0.5), [Inner(1.0)], {"a": Inner(2.0)}, Inner(3.0), Point(1, 2.0))
    data, _ = json_there_and_back(dataclasses.replace(made, inner=Inner(0.5)))
    assert data["count"] == 1
    folder = WriteFolder()
    made.inner = Inner(1.0)
    Json().write(made, folder)
    back = Json().read(MemoryFolder(as_files(folder), notes=folder.side), type=Outer)
    assert back == made
    assert type(back.either) is Point
    assert type(back.inner) is Inner
    assert type(back.by_name["a"]) is Inner
    holder = Holder(one=Sub(called="x", rate=0.5), many=[Sub(called="y", rate=1.0), Base(called="z")])
    data, _ = json_there_and_back(holder)
    assert data == {"one": {"name": "x", "rate": 0.5}, "many": [{"name": "y", "rate": 1.0}, {"name": "z"}]}
    for missing in ({"inner": {"rate": 1}}, {"inner": {"rate": 1}, "many": [], "by_name": {}, "other": 1}):
        with pytest.raises(InvalidInputError, match="do not fit Outer"):
            Json().read(MemoryFolder({"data.json": json.dumps(missing).encode()}), type=Outer)


class Raw(pydantic.BaseModel, arbitrary_types_allowed=True):
    data: Any


@pytest.mark.parametrize("odd", [b"\xff", np.arange(2), object(), {1, object()}, float("nan"), float("inf")])
def test_a_record_that_can_not_be_json_is_refused_by_the_right_error(odd: Any):
    for made in (Raw(data=odd), Point(odd, 1.0)):
        with pytest.raises(InvalidInputError):
            Json().write(made, WriteFolder())
