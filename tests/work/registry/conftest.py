"""A store with data, a model that a run made from it, and people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import artifactstore
from artifactstore import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


@pytest.fixture
def person(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Store]:
    """Open the store as another actor."""

    def opened(actor: str) -> Store:
        with monkeypatch.context() as patch:
            patch.setenv("ARTIFACTSTORE_ACTOR", actor)
            found = artifactstore.open(store.url, cache=None)
            found._session.core()  # the actor is read here
        return found

    return opened


@contextmanager
def run(store: Store, name: str) -> Iterator[Any]:
    with store.run(name, code=False) as one:
        yield one


def frame(start: int, rows: int = 50) -> pd.DataFrame:
    return pd.DataFrame({"x": range(start, start + rows), "y": range(rows)})


def train(store: Store, value: Any, *, data: str = "churn/train", name: str = "churn/model", **more: Any) -> str:
    """Make a version of a model from data; return its reference."""
    with run(store, "train") as one:
        one.get(data)
        return str(one.put(value, name, kind="model", **more).ref)


def evaluate(store: Store, ref: str, auc: float, *, on: str = "churn/test") -> str:
    """Measure a model on data, in a run; return that run's id."""
    with run(store, "evaluate") as one:
        one.get(ref)
        one.get(on)
        one.measure(ref, {"auc": auc}, on=on)
        return str(one.id)


@pytest.fixture
def churn(store: Store) -> Store:
    """Data, and two measured versions of a model: v1 with 0.91, v2 with 0.95."""
    store.put(frame(0), "churn/train")
    store.put(frame(1000), "churn/test")
    for number, auc in enumerate((0.91, 0.95), 1):
        train(store, {"w": [number]})
        evaluate(store, f"churn/model:v{number}", auc)
    return store
