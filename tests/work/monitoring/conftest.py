"""A store with a table, a model that a run made from it, and an alias on the model."""

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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.create(tmp_path / "store", cache=None)
    made.put(table(0), "churn/train")
    made.put(table(1, 300), "churn/today")
    made.put(table(2, 300, shift=1.0), "churn/shifted")
    with made.run("train", code=False) as run:
        run.get("churn/train")
        run.put({"w": [1]}, "churn/model", kind="model")
    made.alias("churn/model:v1", "production", reason="x")
    return made
