"""A soak of some seconds in a folder and on S3; `python -m tests.soak.soak` does hours of it."""

from pathlib import Path
from typing import Any

import pytest

import artifactstore
from tests.soak.soak import faults, soak

pytestmark = pytest.mark.slow
SECONDS = 14


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_nothing_is_lost_or_left_over_by_processes_at_everything_at_once(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url: Any = request.getfixturevalue("s3_url") if where == "s3" else str(tmp_path / "store")
    store = artifactstore.create(url, cache=None)
    (tmp_path / "work").mkdir()
    expected = soak(url, processes=8, seconds=SECONDS, seed=7, folder=tmp_path / "work")
    assert list(faults(store, expected, tmp_path)) == []
    assert expected.ends, "no worker came to its end"
    assert expected.sure
