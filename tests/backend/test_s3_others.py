"""The contract and a race on S3 servers of other makers."""

import pytest

from artifactstore.backend.connect import connect
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.testing import BackendContract
from tests.backend.test_races import check, race
from tests.servers.moto import SECRET_KEY
from tests.servers.s3_others import STRICT

pytestmark = pytest.mark.slow  # the contract once more: the line runs it on the main backends


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's own pages hold 1,000 keys."""
    ask = S3Backend._page
    monkeypatch.setattr(S3Backend, "_page", lambda self, prefix, more: ask(self, prefix, {"MaxKeys": 20, **more}))


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize("other_url", STRICT, indirect=True)
class TestStrict(BackendContract):
    many = 50
    races = 10
    secrets = (SECRET_KEY,)

    @pytest.fixture
    def backend(self, other_url):
        return connect(other_url)


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize("other_url", ["nanio"], indirect=True)  # s3rver fails at a listing's second page
class TestCarelessWithOneWriter(BackendContract):
    many = 50
    secrets = (SECRET_KEY,)

    @pytest.fixture
    def backend(self, other_url):
        return connect(other_url, single_writer=True)

    def test_of_many_threads_exactly_one_creates(self, backend):
        pytest.skip("the caller promised one writer")

    def test_deleting_removes_one_and_a_missing_key_is_no_error(self, backend):
        # nanio keeps keys as files, and fails where a key to delete is another's folder: no store has such keys.
        for name in "bc":
            backend.write(f"a/{name}", b"1")
        for key in ("a/b", "a/b", "x/y"):
            backend.delete(key)
        assert [item.key for item in backend.list("")] == ["a/c"]

    def test_many_are_deleted_and_missing_ones_are_no_error(self, backend):
        for name in "bcde":  # as above
            backend.write(f"a/{name}", b"1")
        assert backend.delete_many(["a/b", "a/c", "a/d", "x/y"]) == {}
        assert [item.key for item in backend.list("")] == ["a/e"]


@pytest.mark.parametrize("other_url", STRICT, indirect=True)
def test_of_many_processes_exactly_one_creates_an_object(other_url):
    check(other_url, race(other_url, 60, 0.05), 60)
