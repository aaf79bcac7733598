"""A store's prefix means the same behind every scheme: it works, or is refused before anything is written."""

import os
from pathlib import Path

import pytest

import artifactstore
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import new_id

# Some that an encoding would make the same, and the others as segments of one.
GOOD = ["a b", "a%20b", "a+b", "\u00e9", "e\u0301", "a%b/日本/a=b/a&b/a;b/a:b/a[b/a'b/a\"b/ a/a /~"]
REFUSED = ["a#b", "a?b=c", "a//b", "/a", "a/./b", "a/../b", "a*b", "a\\b", "a\nb", "a\0b"]
DATA = os.urandom(100_000)  # in a pack


@pytest.fixture(params=["memory", "s3", "azure", "gcs"])
def base(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return f"memory://{new_id()}"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def _works(url: str, wanted: str) -> None:
    store = artifactstore.open(url, cache=None)
    made = store.put(DATA, "n")
    assert store.url == wanted
    other = artifactstore.open(url, cache=None)
    assert other.get("n") == DATA
    assert other.open_file("n").read() == DATA
    assert [one.name for one in other.names()] == ["n"]
    report = other.verify(level="full")  # lists what is there
    assert (report.findings, report.head) == ([], store.head)
    assert other.put(DATA, "n").digest == made.digest
    assert store.head == other.head  # nothing new was appended elsewhere


@pytest.mark.slow
def test_a_prefix_of_any_letters_is_that_prefix_and_no_other(base: str):
    """Encoded or cut anywhere on its way, two of them would be the same place, or one would be empty when it is opened again."""
    for prefix in GOOD:
        _works(f"{base}/{prefix}", f"{base}/{prefix}")
    stores = [artifactstore.open(f"{base}/{prefix}", "r", cache=None)._session.core().config.store for prefix in GOOD]
    assert len(set(stores)) == len(GOOD)
    slash = artifactstore.open(f"{base}/{GOOD[0]}/", "r", cache=None)
    assert (slash.get("n"), slash.url) == (DATA, f"{base}/{GOOD[0]}")


def test_a_prefix_that_a_url_or_a_place_would_read_otherwise_is_refused(base: str):
    # In s3:// and gs:// an at sign may be the end of a secret, which has slashes in it.
    for prefix in [*REFUSED, *(["a@b"] if base.startswith(("s3:", "gs:")) else [])]:
        with pytest.raises(InvalidInputError):
            artifactstore.open(f"{base}/{prefix}", cache=None).put(DATA, "n")


def test_a_folder_of_any_name_is_a_store(tmp_path: Path):
    for prefix in [*GOOD, "a#b", "a?b=c", "a*b"]:
        _works(str(tmp_path / prefix), str(tmp_path / prefix))
    assert len(list(tmp_path.iterdir())) == len(GOOD) + 3
