"""Hugging Face's own client: the caches that it makes come in, and it takes what goes out. `.ci/run` installs it, beside the tests' environment."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import artifactstore
from artifactstore.integrations.hf import export, import_from
from tests.integrations.hub import Hub, commit_of, serving
from tests.servers.place import SERVERS
from tests.work.tree import tree

PYTHON = SERVERS / "hf/bin/python"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="huggingface_hub is not installed beside the tests' environment: see .ci/run"),
]
FILES = {
    "config.json": b'{"model_type": "net"}',
    "model.safetensors": os.urandom(300_000),
    "nested/vocab.txt": b"a\nb\n",
    ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(
        Hub({"models/org/net": dict(FILES), "datasets/org/rows": {"rows.parquet": b"PAR1", "README.md": b"rows"}})
    ) as made:
        yield made


def client(hub: Hub | None, cache: Path, code: str, **env: str) -> str:
    """Run a program where the client is installed, and this library as well."""
    own = {
        "HF_ENDPOINT": hub.url if hub is not None else "http://127.0.0.1:9", "HF_HUB_CACHE": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": os.pathsep.join([str(Path(artifactstore.__file__).parents[1]), sysconfig.get_path("purelib")]),
    }  # fmt: skip
    done = subprocess.run([PYTHON, "-c", code], env={**os.environ, **own, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_client_s_own_cache_comes_in_and_is_taken_back_without_a_network(hub: Hub, tmp_path: Path) -> None:
    code = "import huggingface_hub as h; print(h.snapshot_download('org/net')); print(h.snapshot_download('org/rows', repo_type='dataset'))"
    client(hub, tmp_path / "hub", code)
    store = artifactstore.open(tmp_path / "store", cache=None)
    report = import_from(store, "org/net", name="net", cache=str(tmp_path / "hub"))
    assert (report.versions, report.missing, report.skipped) == (1, [], [])
    assert store.artifact("net").metadata["hf.commit"] == commit_of(FILES)
    assert tree(store.get("net", tmp_path / "got")) == FILES
    assert import_from(store, "datasets/org/rows", name="rows", cache=str(tmp_path / "hub")).versions == 1
    export(store, "net", tmp_path / "out")
    made = {path: data for path, data in tree(tmp_path / "hub/models--org--net").items() if not path.startswith("trees/")}
    assert tree(tmp_path / "out/models--org--net") == made
    code = """
import huggingface_hub as h
from pathlib import Path
top = Path(h.snapshot_download('org/net'))
assert (top / 'nested/vocab.txt').read_bytes() == b'a\\nb\\n'
assert h.hf_hub_download('org/net', 'config.json') == str(top / 'config.json')
assert h.try_to_load_from_cache('org/net', 'model.safetensors') == str(top / 'model.safetensors')
found = h.scan_cache_dir()
(repo,) = found.repos
(revision,) = repo.revisions
assert not found.warnings, found.warnings
print(repo.repo_id, revision.commit_hash, sorted(revision.refs), len(revision.files), revision.size_on_disk)
"""
    size = sum(map(len, FILES.values()))
    assert client(None, tmp_path / "out", code, HF_HUB_OFFLINE="1") == f"org/net {commit_of(FILES)} ['main'] 4 {size}"
    # What the export wrote is what the client would have: with a network it downloads nothing.
    hub.asked.clear()
    client(hub, tmp_path / "out", "import huggingface_hub as h; h.snapshot_download('org/net')")
    assert not [one for one in hub.asked if one.startswith("GET /org/net/resolve")]


def test_what_is_not_cached_is_downloaded_by_the_client_and_a_part_is_named(hub: Hub, tmp_path: Path) -> None:
    code = """
import sys, artifactstore, huggingface_hub as h
from artifactstore.integrations.hf import import_from
store = artifactstore.open(sys.argv[0] and %r, cache=None)
print(import_from(store, 'org/net', name='net').versions, import_from(store, 'org/net', name='net').versions)
h.snapshot_download('org/rows', repo_type='dataset', allow_patterns=['*.md'])
print(import_from(store, 'datasets/org/rows', name='rows').missing)
try:
    import_from(store, 'org/none', name='none')
except artifactstore.NotFoundError as error:
    print(error)
"""
    lines = client(hub, tmp_path / "hub", code % str(tmp_path / "store")).splitlines()
    commit = commit_of(hub.repos["datasets/org/rows"])
    assert lines[:2] == ["1 0", f"['datasets/org/rows@{commit}: rows.parquet']"]
    assert "it cannot be downloaded: RepositoryNotFoundError" in lines[2]


def test_the_client_is_not_loaded_for_what_is_cached() -> None:
    code = "import sys, artifactstore.integrations.hf.importing; print('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
