"""A place that only fsspec knows, for real: an FTP server. Read by anybody, written by the only writer."""

import os
import pickle
import traceback

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.errors import BackendError, InvalidInputError, UnsupportedError
from artifactstore.testing import BackendContract
from tests.servers.ftp import PASSWORD


class TestFtpWithOneWriter(BackendContract):
    """fsspec's class shares one connection, has its own words for what is missing, and lists a file as if it lay in itself."""

    many = 120
    secrets = (PASSWORD,)

    @pytest.fixture
    def backend(self, ftp_place):
        url, options = ftp_place
        return connect(url, storage_options=options, single_writer=True)

    @pytest.mark.skip(reason="the caller promised one writer")
    def test_of_many_threads_exactly_one_creates(self, backend):
        pass

    def test_a_pickled_backend_works_and_carries_no_secret(self, backend):
        with pytest.raises(InvalidInputError, match="password") as caught:
            pickle.dumps(backend)
        assert PASSWORD not in str(caught.value)


def test_a_store_behind_ftp_is_written_by_one_and_read_by_all(ftp_place, tmp_path):
    url, options = ftp_place
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(300_000))
    store = artifactstore.open(url, storage_options=options, single_writer=True, cache=None)
    put = store.put(source, "some/name")
    assert put.digest == artifactstore.open(tmp_path / "store").put(source, "some/name").digest
    reader = artifactstore.open(url, storage_options=options, cache=None)
    assert (reader.get("some/name", tmp_path / "out") / "a.bin").read_bytes() == (source / "a.bin").read_bytes()
    assert reader.verify(level="full").ok
    with pytest.raises(UnsupportedError, match="single_writer=True"):
        reader.put(source, "x")


def test_what_fails_is_an_error_without_the_password_and_never_a_missing_key(ftp_place):
    url, options = ftp_place
    backend = connect(url, storage_options={**options, "password": "wrong-but-secret"})
    with pytest.raises(BackendError, match="cannot read") as caught:
        backend.read("a")
    assert "wrong-but-secret" not in "".join(traceback.format_exception(caught.value))
