"""A package with a backend and formats of its own, installed as anybody's would be, and used by the store, the CLI and doctor."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="what the sample package is built with is not installed")
    target = tmp_path_factory.mktemp("plugin")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--target",
        str(target),
        str(SAMPLE),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return target


def run(installed: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    env = {
        "PYTHONPATH": f"{installed}:{root}",
        "PATH": "/usr/bin:/bin",
        "HOME": str(cwd),
        "ARTIFACTSTORE_CACHE": str(cwd / "cache"),
    }
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=env, check=False)


@pytest.mark.slow
def test_a_store_lies_in_the_backend_of_another_package(installed: Path, tmp_path: Path):
    script = """
import artifactstore, sys
from sample_plugin import Temperature
store = artifactstore.open("sqlite:///" + sys.argv[1].lstrip("/") + "/store.db")
made = store.put(Temperature(300.0), "room")
assert store.get("room") == Temperature(300.0)
assert round(store.get("room", unit="celsius"), 2) == 26.85
assert store.artifact("room").digest == made.digest
assert store.verify(level="full").ok
print([one.path for one in made.files])
"""
    done = run(installed, "-c", script, str(tmp_path), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "['kelvin.txt']\n"), done.stderr
    listed = run(installed, "-m", "artifactstore", "ls", "--json", "--store", f"sqlite://{tmp_path}/store.db", cwd=tmp_path)
    assert json.loads(listed.stdout)[0]["name"] == "room", listed.stderr


@pytest.mark.slow
def test_its_contract_is_the_one_of_all_backends(installed: Path, tmp_path: Path):
    (tmp_path / "test_sqlite.py").write_text(
        "import pytest\nfrom artifactstore.testing import BackendContract\nfrom sample_plugin import SqliteBackend\n\n\n"
        "class TestSqlite(BackendContract):\n    races = 3\n    threads = 4\n    many = 30\n\n    @pytest.fixture\n    def backend(self, tmp_path):\n"
        "        return SqliteBackend(str(tmp_path / 'store.db'))\n"
    )
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "test_sqlite.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_doctor_knows_its_policies(installed: Path, tmp_path: Path):
    done = run(installed, "-m", "artifactstore", "doctor", "sqlite:///x/store.db", "--policy", "reader", cwd=tmp_path)
    assert "chmod a+r /x/store.db" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_format_that_runs_code_is_read_with_trust_only(installed: Path, tmp_path: Path):
    put = "import artifactstore; from sample_plugin_rules import Rules; artifactstore.open('s').put(Rules('6 * 7'), 'rules')"
    assert run(installed, "-c", put, cwd=tmp_path).returncode == 0
    get = "import artifactstore, sys; print(artifactstore.open('s').get('rules', trust=sys.argv[1] == 'yes'))"
    refused = run(installed, "-c", get, "no", cwd=tmp_path)
    assert "UntrustedError" in refused.stderr
    assert "trust=" in refused.stderr
    assert run(installed, "-c", get, "yes", cwd=tmp_path).stdout == "42\n"


@pytest.mark.slow
def test_without_the_package_its_scheme_is_named(tmp_path: Path):
    done = run(tmp_path, "-m", "artifactstore", "ls", "--store", "sqlite:///x/store.db", cwd=tmp_path)
    assert done.returncode == 2
    assert "sqlite://" in done.stderr
