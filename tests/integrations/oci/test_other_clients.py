"""oras and KServe's own fetch take what was pushed, and what oras pushes is pulled: one process of theirs for all tests."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactstore.cli import main as cli
from artifactstore.integrations import oci
from artifactstore.integrations.kserve.command import main as kserve
from artifactstore.store import Store
from tests.integrations.oci.conftest import MODEL, write
from tests.integrations.oci.test_push_pull import plain, with_links
from tests.servers.place import SERVERS
from tests.work.tree import tree

SKOPEO = SERVERS / "skopeo"
PYTHON = SERVERS / "oci-clients/bin/python"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client() -> Iterator[Callable[..., Any]]:
    if not PYTHON.with_name("kubernetes-validate").exists():
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


def test_kserve_serves_a_flipped_byte_and_says_nothing_of_it(
    store: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, debian: str, client: Any
) -> None:
    """Even of an image that is pinned to its digest: why there is `artifactstore-kserve`, and `verify-folder` for those who have none."""
    secret = os.urandom(5000)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/model.bin").write_bytes(secret)
    store.put(tmp_path / "source", "flipped")
    pushed = oci.push(store, "flipped", f"{debian}/flipped", layout="image", plain_http=True)
    blobs = tmp_path_factory.getbasetemp().glob("registry*/data/**/data")
    (blob,) = {one.resolve() for one in blobs if secret in one.read_bytes()}
    blob.write_bytes(blob.read_bytes().replace(secret, secret[:-1] + bytes([secret[-1] ^ 1])))
    client("kserve", f"oci://{pushed.pinned}", str(tmp_path / "models"))
    assert (tmp_path / "models/model.bin").read_bytes() == secret[:-1] + bytes([secret[-1] ^ 1])
    assert store.verify_folder(tmp_path / "models", "flipped")
    assert cli(["verify-folder", str(tmp_path / "models"), "flipped", "--store", store.url]) == 5


def test_kserve_itself_does_not_know_our_uris(store: Store, tmp_path: Path, client: Any) -> None:
    """So a cluster without our container fails, and starts nothing else in its stead."""
    made = store.put(b"1", "known")
    for uri in (made.uri, "artifactstore+s3://bucket/ml#churn/model:v1"):
        with pytest.raises(AssertionError, match="Cannot recognize storage type"):
            client("kserve", uri, str(tmp_path / "models"))
    assert tree(tmp_path / "models") == {}


def test_kubernetes_takes_what_the_pages_and_the_manifest_say(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    assert kserve(["--manifest", "--image", "registry/artifactstore:0.1"]) == 0
    container = yaml.safe_load(capsys.readouterr().out)["spec"]["container"]
    page = (Path(__file__).parents[3] / "docs/integrations/kserve.md").read_text()
    parts = [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    specs = [one for one in parts if "apiVersion" not in one]
    assert len(specs) > 1
    serving = {"name": "server", "image": "registry/server:1"}
    volumes = [{"name": "models", "emptyDir": {}}, {"name": "node", "emptyDir": {}}]
    for init in [container, *(one for spec in specs for one in spec.get("initContainers", ()))]:
        spec = {"initContainers": [init], "containers": [serving], "volumes": volumes}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "churn"}, "spec": spec}
        assert client("validate", yaml.safe_dump(pod))
    with pytest.raises(AssertionError, match="ValidationError"):
        client("validate", yaml.safe_dump(pod | {"spec": {**spec, "initContainers": [{**container, "commands": ["x"]}]}}))


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("modelpack", []),
        ("image", []),
        ("image", ["--dest-compress", "--dest-compress-format", "zstd"]),
        ("image", ["--format", "v2s2"]),
    ],
)
def test_skopeo_copies_an_exported_layout(  # noqa: PLR0917 - fixtures
    store: Store, other: Store, tmp_path: Path, debian: str, layout: str, options: list[str]
) -> None:
    """It compresses the layers of images, and docker's manifests have no annotations: links and folders are in the tar."""
    write(tmp_path / "source", {"new.bin": os.urandom(64)})  # it remembers what it has compressed, and how
    made = with_links(store, tmp_path / "source")
    oci.export(store, "a", tmp_path / "layout", layout=layout)
    target = f"{debian}/skopeo/{layout}:{len(options)}"
    words = ["--insecure-policy", "--tmpdir", str(tmp_path), "copy", "--dest-tls-verify=false", *options]
    libraries = ":".join(str(SKOPEO / one) for one in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    done = subprocess.run(
        [skopeo(libraries), *words, f"oci:{tmp_path / 'layout'}:v1", f"docker://{target}"],
        capture_output=True, text=True, check=False, env={**os.environ, "LD_LIBRARY_PATH": libraries},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert oci.pull(other, target, "b", plain_http=True).digest == made.digest


def skopeo(libraries: str) -> Path:
    program = SKOPEO / "usr/bin/skopeo"
    runs = program.exists() and not subprocess.run(
        [program, "--version"], capture_output=True, check=False, env={**os.environ, "LD_LIBRARY_PATH": libraries}
    ).returncode  # fmt: skip
    if not runs:
        pytest.skip("skopeo does not run here: .ci/run unpacks it")
    return program
