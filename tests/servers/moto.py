"""moto's S3, in this process, for as long as the tests run."""

import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.botocore_models import read_once

ACCESS_KEY = "AKIATESTINGTESTING"
SECRET_KEY = "testing-secret-that-nobody-may-see"


def number_request(headers: dict[str, str]) -> str:
    headers["x-amzn-requestid"] = made = uuid.uuid4().hex.upper()
    return made


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of an S3 server in this process, for as long as the tests run."""
    from moto import backends
    from moto.core import errors as core_errors
    from moto.core import responses as core_responses
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer
    from moto.s3.responses import S3Response

    # moto looks for the key and writes it in two steps, without a lock between: a real server's PUT is one step.
    lock, put = threading.Lock(), S3Response.put_object

    def put_in_one_step(self):
        with lock:
            return put(self)

    patch = pytest.MonkeyPatch()
    patch.setattr(S3Response, "put_object", put_in_one_step)
    services = list(backends.list_of_moto_modules())  # moto lists its own folder for every request, two fifths of its time
    patch.setattr(backends, "list_of_moto_modules", lambda: services)
    read_once(patch)
    # And it makes its table of errors anew for each error, and draws each request's number by 52 draws.
    errors = core_errors.ErrorLookupFactory()
    patch.setattr(core_errors, "ErrorLookupFactory", lambda: errors)
    patch.setattr(core_responses, "gen_amzn_requestid_long", number_request)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else every request is a line below each failed test
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    patch.undo()


@pytest.fixture
def s3_url(s3_server: str, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty place on the S3 server: a bucket of its own and a prefix; the environment leads there."""
    from moto.s3.models import s3_backends

    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = f"test-{uuid.uuid4().hex}"
    s3_backends["123456789012"]["aws"].create_bucket(bucket, "us-east-1")  # at the server itself: a client takes 0.3 s to make
    return f"s3://{bucket}/some/prefix"
