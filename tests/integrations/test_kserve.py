"""The storage initializer: what it fetches is the artifact and nothing else, or the pod does not start."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.integrations.kserve import command
from artifactstore.integrations.kserve.command import main
from tests.work.tree import tree

FILES = {"model.bin": os.urandom(300_000), "config/settings.json": b"{}", "README.md": b"read me"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("ARTIFACTSTORE_CACHE", "ARTIFACTSTORE_KSERVE_REQUIRE", "S3_ENDPOINT", "S3_VERIFY_SSL", "S3_USE_HTTPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERMINATION_LOG_PATH", str(tmp_path / "termination-log"))


@pytest.fixture
def made(tmp_path: Path) -> Any:
    for path, data in FILES.items():
        target = tmp_path / "source" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    store = artifactstore.open(tmp_path / "store")
    found = store.put(tmp_path / "source", "churn/model", kind="model")
    store.alias("churn/model:v1", "production")
    return found


def parsed(text: str) -> Any:
    (line,) = text.splitlines()
    return json.loads(line)


def test_it_fetches_each_source_and_says_what_it_was(made: Any, tmp_path: Path, capsys: Any) -> None:
    store = made.uri.partition("#")[0]
    sources = [made.uri, f"{store}#churn/model:production", f"{store}#{made.digest}"]
    words = [word for k, one in enumerate(sources) for word in (one, str(tmp_path / f"deep/dest {k}"))]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for k, (source, line) in enumerate(zip(sources, lines, strict=True)):
        assert tree(tmp_path / f"deep/dest {k}") == FILES
        assert list(line) == ["source", "ref", "digest", "files", "bytes", "seconds"]
        assert (line["source"], line["digest"], line["files"]) == (source, made.digest, 3)
        assert line["bytes"] == sum(map(len, FILES.values()))
    assert not (tmp_path / "termination-log").exists()
    assert main(words) == 0  # as a container that is started again
    assert tree(tmp_path / "deep/dest 0") == FILES


def test_what_a_killed_attempt_left_is_replaced(made: Any, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / ".get.0123456789abcdef.partial/config").mkdir(parents=True)
    (dest / ".get.0123456789abcdef.partial/config/half").write_bytes(b"half")
    (dest / "lost+found").mkdir()
    (dest / "model.bin").write_bytes(b"older")
    assert main([made.uri, str(dest)]) == 0
    assert tree(dest) == {**FILES, "lost+found": None}


@pytest.mark.parametrize("at", [0, 1000, -1000])
def test_a_flipped_byte_starts_no_pod(made: Any, tmp_path: Path, capsys: Any, at: int) -> None:
    for pack in (tmp_path / "store/packs").rglob("*.pack"):
        data = bytearray(pack.read_bytes())
        data[at] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    code = main([made.uri, str(tmp_path / "dest")])
    assert code == (0 if at == 0 and tree(tmp_path / "dest") == FILES else 1)
    if code:
        assert parsed((tmp_path / "termination-log").read_text()) == parsed(capsys.readouterr().err)
        assert parsed((tmp_path / "termination-log").read_text())["error"] == "corruption"
        assert tree(tmp_path / "dest") == {}


@pytest.mark.parametrize(
    ("words", "error", "word"),
    [
        ([], "invalid_input", "pairs of SRC and DEST"),
        (["{uri}"], "invalid_input", "pairs of SRC and DEST"),
        (["{uri}", "{dest}", "{uri}"], "invalid_input", "pairs of SRC and DEST"),
        (["{store}", "{dest}"], "invalid_input", "not the URI of an artifact"),
        (["s3://bucket/model", "{dest}"], "invalid_input", "not the URI of an artifact"),
        (["{store}#nothing", "{dest}"], "not_found", "nothing"),
        (["{store}#churn/model:v9", "{dest}"], "not_found", "v9"),
        (["{store}/nowhere#churn/model", "{dest}"], "not_found", "no store"),
        (["{uri}", "/proc/nowhere/dest"], "", "cannot"),
        (["--manifest"], "invalid_input", "--image"),
        (["--manifest", "--image", "a b"], "invalid_input", "--image"),
        (["--manifest", "--image", "i", "--schemes", "s3,ftp"], "invalid_input", "'ftp'"),
        (["--manifest", "--nonsense", "i"], "invalid_input", "--nonsense"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(  # noqa: PLR0917 - fixtures
    made: Any, tmp_path: Path, capsys: Any, words: list[str], error: str, word: str
) -> None:
    store, dest = made.uri.partition("#")[0], str(tmp_path / "dest")
    assert main([one.format(uri=made.uri, store=store, dest=dest) for one in words]) == 1
    found = parsed((tmp_path / "termination-log").read_text())
    assert list(found) == ["error", "message", "source"]
    assert found == parsed(capsys.readouterr().err)
    assert error in found["error"]
    assert word in found["message"]
    assert not Path(dest).exists() or tree(Path(dest)) == {}


def test_a_folder_with_other_files_is_refused(made: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "dest/config").mkdir(parents=True)
    (tmp_path / "dest/config/other.json").write_text("{}")
    assert main([made.uri, str(tmp_path / "dest")]) == 1
    assert "config/other.json" in parsed(capsys.readouterr().err)["message"]
    assert tree(tmp_path / "dest") == {"config/other.json": b"{}"}


@pytest.mark.parametrize(
    ("rule", "ref", "starts"),
    [
        ("digest", "churn/model@{digest}", True),
        ("digest", "{digest}", True),
        ("digest", "churn/model@{prefix}", False),
        ("digest", "churn/model:v1", False),
        ("digest", "churn/model", False),
        ("alias:production", "churn/model@{digest}", True),
        ("alias:production", "churn/model:production", True),
        ("alias:production", "churn/model:v2", False),
        ("alias:production", "churn/model", False),
        ("alias:production", "{digest}", False),
        ("alias:nothing", "churn/model", False),
        ("alias:", "churn/model", False),
        ("nonsense", "churn/model", False),
    ],
)
def test_only_what_the_cluster_requires_starts(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str, ref: str, *, starts: bool
) -> None:
    (tmp_path / "source/model.bin").write_bytes(b"newer")
    artifactstore.open(tmp_path / "store").put(tmp_path / "source", "churn/model", kind="model")
    monkeypatch.setenv("ARTIFACTSTORE_KSERVE_REQUIRE", rule)
    full = ref.format(digest=made.digest, prefix=made.digest[:20])
    assert main([f"{made.uri.partition('#')[0]}#{full}", str(tmp_path / "dest")]) == (0 if starts else 1)
    assert (tmp_path / "dest").exists() is starts


def test_the_program_needs_no_home_and_writes_nothing_but_the_target(made: Any, tmp_path: Path) -> None:
    """Where namespaces can be made, the root is read-only, and it has no capability."""
    dest = tmp_path / "dest"
    dest.mkdir()
    program = [sys.executable, "-c", "from artifactstore.integrations.kserve.command import run; run()", made.uri, str(dest)]
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}
    inside = f"mount --bind {dest} {dest} && mount -o remount,ro,bind / && "
    inside += 'exec setpriv --bounding-set -all --inh-caps -all --no-new-privs "$@"'
    confined = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount --make-rprivate / && {inside}", "sh", *program]
    probe = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount --make-rprivate / && {inside}", "sh", "true"]
    can = (
        shutil.which("unshare")
        and shutil.which("setpriv")
        and subprocess.run(probe, capture_output=True, check=False).returncode == 0
    )
    done = subprocess.run(confined if can else program, env=env, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == made.digest
    assert tree(dest) == FILES


def test_on_s3_with_the_variables_of_kserve(
    request: pytest.FixtureRequest, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(request.getfixturevalue("s3_url"))
    artifactstore.open(tmp_path / "store").maintenance.sync(url)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("S3_ENDPOINT", endpoint.partition("://")[2])
    monkeypatch.setenv("S3_USE_HTTPS", "0")
    assert main([f"artifactstore+{url}#churn/model:production", str(tmp_path / "dest")]) == 0
    assert tree(tmp_path / "dest") == FILES


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, None),
        ({"S3_ENDPOINT": "minio:9000"}, {"endpoint_url": "https://minio:9000"}),
        ({"S3_ENDPOINT": "minio:9000", "S3_USE_HTTPS": "0"}, {"endpoint_url": "http://minio:9000"}),
        ({"S3_ENDPOINT": "http://minio:9000"}, {"endpoint_url": "http://minio:9000"}),
        ({"S3_ENDPOINT": "minio:9000", "AWS_ENDPOINT_URL": "http://x"}, None),
        ({"S3_VERIFY_SSL": "0"}, {"client_kwargs": {"verify": False}}),
        ({"AWS_CA_BUNDLE": "/ca.pem"}, {"client_kwargs": {"verify": "/ca.pem"}}),
        ({"awsAnonymousCredential": "True"}, {"anon": True}),
    ],
)
def test_the_variables_of_kserve_become_options(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], options: Any) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "awsAnonymousCredential"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert command._options("artifactstore+s3://b/x") == options
    assert command._options("artifactstore+gs://b/x") is None


def test_a_cache_on_the_node_is_used_if_it_is_named(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    assert main([made.uri, str(tmp_path / "dest")]) == 0
    assert (tmp_path / "cache").is_dir()
    assert tree(tmp_path / "dest") == FILES


def test_the_manifest_names_prefixes_and_drops_every_right(capsys: Any) -> None:
    yaml = pytest.importorskip("yaml")
    assert main(["--manifest", "--image", "registry/artifactstore:0.1", "--schemes", "s3,https"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["apiVersion"], found["kind"]) == ("serving.kserve.io/v1alpha1", "ClusterStorageContainer")
    container = found["spec"]["container"]
    assert (container["name"], container["image"]) == ("storage-initializer", "registry/artifactstore:0.1")
    assert found["spec"]["supportedUriFormats"] == [{"prefix": "artifactstore+s3://"}, {"prefix": "artifactstore+https://"}]
    assert found["spec"]["supportsMultiModelDownload"] is True
    rights = container["securityContext"]
    assert (rights["runAsNonRoot"], rights["readOnlyRootFilesystem"], rights["capabilities"]) == (True, True, {"drop": ["ALL"]})
