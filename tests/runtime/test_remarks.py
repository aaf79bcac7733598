"""A warning points to the line of the program that called, however deep in the package it arises."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store


def _tainted(store: Store) -> None:
    store.registry.taint("data", "wrong labels")


def _in_run(store: Store, ref: str) -> None:
    with store.run("r", code=False) as run:
        run.get(ref)


def _in_batch(store: Store, folder: Path) -> None:
    with store.batch():
        store.put(folder, "folder", exclude=["nothing-*"])


def _logged(store: Store) -> None:
    with store.run("r", code=False) as run:
        run.log(loss="a text")  # type: ignore[arg-type]


CALLS: dict[str, Callable[[Store, Path], Any]] = {
    "a tainted get": lambda store, _: store.get("data:v1"),
    "a tainted get in a run": lambda store, _: _in_run(store, "data:v1"),
    "made from tainted data": lambda store, _: store.get("made"),
    "a filter that matches nothing": lambda store, folder: store.put(folder, "folder", exclude=["nothing-*"]),
    "metrics that are not finite": lambda store, _: _logged(store),
    "a put in a batch": _in_batch,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_warning_points_to_the_line_that_called(call: str, tmp_path: Path) -> None:
    store = artifactstore.open(f"memory://remarks-{call.replace(' ', '-')}", cache=None)
    (tmp_path / "file").write_text("x")
    store.put(b"x", "data")
    with store.run("make", code=False) as run:
        run.get("data")
        run.put(b"y", "made")
    _tainted(store)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        CALLS[call](store, tmp_path)
    assert found
    assert {one.filename for one in found} == {__file__}, [str(one.message) for one in found]
