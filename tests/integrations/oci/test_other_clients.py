"""oras and KServe's own fetch take what was pushed, and what oras pushes is pulled: one process of theirs for all tests."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactstore.integrations import oci
from artifactstore.store import Store
from tests.integrations.oci.conftest import MODEL, write
from tests.integrations.oci.test_push_pull import plain, with_links
from tests.servers.place import SERVERS
from tests.work.tree import tree

PYTHON = SERVERS / "oci-clients/bin/python"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[..., Any]]:
    if not (PYTHON.parents[1] / "done").exists():
        pytest.skip("oras and kserve-storage are not installed: .ci/run installs them")
    script = Path(__file__).with_name("other_clients.py")
    with subprocess.Popen(
        [PYTHON, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask(*words: str) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            found = json.loads(process.stdout.readline())
            assert "error" not in found, found["error"]
            return found["result"]

        yield ask
        process.stdin.close()


def test_oras_pulls_what_was_pushed(store: Store, tmp_path: Path, debian: str, client: Any) -> None:
    plain(store, tmp_path / "source")
    pushed = oci.push(store, "a", f"{debian}/for-oras", plain_http=True)
    client("oras_pull", pushed.target, str(tmp_path / "got"))
    assert tree(tmp_path / "got") == MODEL
    assert not store.verify_folder(tmp_path / "got", "a")


def test_what_oras_pushes_is_pulled(store: Store, tmp_path: Path, debian: str, client: Any) -> None:
    files = {path.rpartition("/")[2]: data for path, data in MODEL.items()}  # oras-py titles files by their names alone
    write(tmp_path / "source", files)
    client("oras_push", f"{debian}/from-oras:v1", str(tmp_path / "source"))
    got = oci.pull(store, f"{debian}/from-oras:v1", "b", plain_http=True)
    assert tree(store.get("b", tmp_path / "got")) == files
    assert got.digest == store.put(tmp_path / "source", "c").digest
    client("oras_push_folder", f"{debian}/from-oras:folder", str(tmp_path / "source"))
    oci.pull(store, f"{debian}/from-oras:folder", "d", plain_http=True)
    found = tree(store.get("d", tmp_path / "folder"))
    assert {path.removeprefix("source/"): data for path, data in found.items()} == files


def test_what_oras_has_pulled_goes_back_unsent(store: Store, tmp_path: Path, debian: str, client: Any) -> None:
    write(tmp_path / "source", {"x.onnx": b"onnx" * 1000})
    client("oras_push", f"{debian}/around:v1", str(tmp_path / "source"))
    oci.pull(store, f"{debian}/around:v1", "b", plain_http=True)
    done = oci.push(store, "b", f"{debian}/around:v2", plain_http=True, referrers=False)
    assert (done.sent, done.blobs) == (1, 2)  # its config: the file is there


def test_kserve_fetches_an_image(store: Store, tmp_path: Path, debian: str, client: Any) -> None:
    with_links(store, tmp_path / "source")
    pushed = oci.push(store, "a", f"{debian}/for-kserve", layout="image", plain_http=True)
    for number, place in enumerate((pushed.target, pushed.pinned)):
        client("kserve", f"oci://{place}", str(tmp_path / f"models {number}"))
        assert not store.verify_folder(tmp_path / f"models {number}", "a")
