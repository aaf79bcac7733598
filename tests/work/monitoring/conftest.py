"""A store with a table, a model that a run made from it, and an alias on the model."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import artifactstore
from artifactstore import Store


def table(seed: int, rows: int = 400, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    amount = rng.normal(shift, 1, rows)
    return pd.DataFrame({"amount": amount, "plan": rng.choice(list("abc"), rows), "age": rng.integers(18, 80, rows)})


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that each test gets a copy of: making it takes as long as most of them."""
    made = artifactstore.create(tmp_path_factory.mktemp("monitoring") / "store", cache=None)
    made.put(table(0), "churn/train")
    made.put(table(1, 300), "churn/today")
    made.put(table(2, 300, shift=1.0), "churn/shifted")
    with made.run("train", code=False) as run:
        run.get("churn/train")
        run.put({"w": [1]}, "churn/model", kind="model")
    made.alias("churn/model:v1", "production", reason="x")
    return Path(made.url)


@pytest.fixture
def store(tmp_path: Path, pattern: Path) -> Store:
    shutil.copytree(pattern, tmp_path / "store")
    return artifactstore.open(tmp_path / "store", cache=None)
