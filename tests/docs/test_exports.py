import importlib
from pathlib import Path

import pytest

import artifactstore
from artifactstore.store import Store


@pytest.mark.parametrize(
    "module", ["artifactstore", "artifactstore.errors", "artifactstore.plugins", "artifactstore.signing", "artifactstore.testing"]
)
def test_each_exported_name_is_there_and_says_what_it_is(module: str):
    found = importlib.import_module(module)
    for name in found.__all__:
        value = getattr(found, name)
        assert not callable(value) or value.__doc__, name
    assert {*found.__all__} <= {*dir(found)}


def test_what_calls_return_is_of_exported_types(tmp_path: Path):
    (tmp_path / "f").write_bytes(b"x")
    store = artifactstore.open(tmp_path / "store", cache=None)
    made = store.put(tmp_path / "f", "n")
    with store.run("r", code=False) as run:
        store.get("n:v1", to=tmp_path / "got")
        store.put({"a": 1}, "m")
    answers = {
        "Store": store, "Artifact": made, "File": made.files[0], "Run": run, "RunInfo": store.runs()[0], "Rows": store.names(),
        "Name": store.names()[0], "Version": store.versions("n")[0], "Log": store.log(), "Event": store.log()[0],
        "Diff": store.diff("n", "m"), "Change": store.diff("n", "m")[0], "Lineage": store.lineage("m"),
        "Node": store.lineage("n").impact()[0], "Why": store.why("m", "n"), "Report": store.verify(),
        "Drawing": store.lineage("m").draw(), "RunTable": store.runs(), "Chart": store.runs().plot("started", "seconds", svg=True), "Diagnosis": store.maintenance.doctor(quick=True),
    }  # fmt: skip
    for name, answer in answers.items():
        assert isinstance(answer, getattr(artifactstore, name)), name
    assert isinstance(store, Store)
