"""What a run will put is checked at its start, not after hours of training."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import artifactstore
from artifactstore import InvalidInputError, Store, UnsupportedError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Hide modules from the import system, as if they were not installed."""

    def hide(*modules: str) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


@pytest.mark.parametrize("expected", ["sklearn", "estimator", LogisticRegression])
def test_a_missing_extra_is_named_before_anything_is_recorded(store: Store, without: Any, expected: Any) -> None:
    store.put("x", "x", format="text")
    before = store.head
    without("skops")
    with pytest.raises(UnsupportedError, match=r"skops: pip install 'artifactstore-ml\[sklearn\]'"):
        store.run("train", expects=[expected])
    assert store.head == before


def test_all_that_is_missing_is_named_at_once(store: Store, without: Any) -> None:
    without("skops", "PIL", "xgboost")
    with pytest.raises(UnsupportedError, match=r"skops.*xgboost.*PIL"):
        store.run("train", expects=["sklearn", "xgboost", "figure"])


@pytest.mark.parametrize(
    "expected",
    [
        [],
        ["sklearn"],
        ["pandas", "table", "json", "text", "pickle", "data", "members"],
        [dict, np.ndarray, LogisticRegression],
        ("rich",),
    ],
)
def test_what_is_installed_starts(store: Store, expected: Any) -> None:
    with store.run("train", expects=expected) as run:
        run.put(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), "model")
    assert store.exists("model")


def test_one_library_of_a_format_is_enough(store: Store, without: Any) -> None:
    without("polars")
    store.run("train", expects=["table"])
    with pytest.raises(UnsupportedError, match="polars"):
        store.run("train", expects=["polars"])


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (["skleran"], "the nearest are sklearn"),
        (["estimater"], "the nearest are estimator"),
        (["no such library"], "formats: 'data'"),
        (["a.b"], "no format and no installed library"),
        (["..x"], "no format and no installed library"),
        ("sklearn", "expected a list"),
        ([3], "expected a list"),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(store: Store, expected: Any, text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        store.run("train", expects=expected)
