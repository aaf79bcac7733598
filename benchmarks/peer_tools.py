"""The tools that are compared: each puts a folder, gets one back, and says what it keeps. All run as programs.

Every tool works in a folder of its own, with a home of its own, so that all caches begin empty, and with the
settings that its users have by default but for what is said at each. What a put or a get does not need (making
the empty repository, starting MLflow's run) is not timed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from data import files_of

__all__ = ["TOOLS", "Took", "Tool", "ToolError", "run", "size_of"]


# A child's peak counts what its parent had when it was forked, so a parent of a few megabytes starts and times it.
_HELPER: Final = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
print([os.waitstatus_to_exitcode(status), seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss])
"""


class ToolError(RuntimeError):
    """A tool failed: its last words."""


@dataclass(frozen=True, slots=True)
class Took:
    """What one command took.

    Attributes:
        seconds: from before its start to its end.
        work: seconds of processors, in all its threads and in the kernel.
        peak: its highest resident set (that of the largest process, where it has several), in bytes.
    """

    seconds: float
    work: float
    peak: int


def run(command: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> Took:
    """Run a command, with its start and end in the time.

    Raises:
        ToolError: it returned something else than 0.
    """
    helper = [sys.executable, "-I", "-S", "-c", _HELPER, *command]
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(helper, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out, check=True)
        status, seconds, work, peak = json.loads(done.stdout)
        if status:
            out.seek(0)
            raise ToolError(f"{' '.join(command)} returned {status}: {out.read().decode(errors='replace')[-2000:]}")
    return Took(seconds, work, peak * (1 if sys.platform == "darwin" else 1024))


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder: `du --apparent-size` without the folders themselves."""
    return sum(files_of(folder).values())


class Tool:
    """One tool, working in `root`; it may use everything there but what begins with `data`."""

    name: ClassVar[str]
    install: ClassVar[str]  # how to get it
    ask_version: ClassVar[str] = "--version"
    settings: ClassVar[str]  # what differs from its defaults, and what its defaults do

    def __init__(self, root: Path, venv: Path | None) -> None:
        self.root = root
        self.store = root / "store"
        self.venv = venv
        home = root / "home"
        home.mkdir(parents=True, exist_ok=True)
        # No variable of the caller may change what a tool does; its caches begin empty.
        self.env = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "TMPDIR") if key in os.environ}
        self.env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}

    def program(self) -> str | None:
        """Return the path of the tool's command, or None where it is not installed."""
        return shutil.which(self.name)

    def version(self) -> str:
        """Return the name of the tool and what it says its version is."""
        found = subprocess.run(
            [self.program() or "", self.ask_version], capture_output=True, text=True, check=False, env=self.env
        )
        number = re.search(r"\d[\w.]*", found.stdout or found.stderr)
        return f"{self.name} {number[0] if number else ''}".strip()

    def start(self) -> None:
        """Make the empty store; not timed."""
        self.store.mkdir(parents=True)

    def put(self, folder: Path, label: str) -> Took:
        """Store a folder as one more version, which `label` names."""
        raise NotImplementedError

    def get(self, label: str, target: Path) -> Took:
        """Bring a version back into `target`, which doesn't exist (its parent does)."""
        raise NotImplementedError

    def stored(self) -> int:
        """Return the bytes that the tool keeps for all versions: without caches that can be made again."""
        return size_of(self.store)

    def arrived(self, target: Path) -> Path:
        """Return where under `target` the files lie after a get."""
        return target

    def _run(self, *command: str, cwd: Path | None = None) -> Took:
        return run([self.program() or self.name, *command], cwd=cwd or self.root, env=self.env)


class Cp(Tool):
    """A copy: the floor for time, without names, history, checks or sharing."""

    name = "cp"
    install = "it is there"
    settings = "`cp -r`, one copy a version; not synced to the disk when it returns"

    def put(self, folder: Path, label: str) -> Took:
        return self._run("-r", str(folder), str(self.store / label))

    def get(self, label: str, target: Path) -> Took:
        return self._run("-r", str(self.store / label), str(target))


class Restic(Tool):
    """restic: encrypts always; compresses with zstd by default in its second repository format."""

    name = "restic"
    ask_version = "version"
    install = "apt install restic (or brew)"
    settings = "defaults: encryption (always), zstd, its cache on (its users have it), the password from the environment"

    def __init__(self, root: Path, venv: Path | None) -> None:
        super().__init__(root, venv)
        self.env |= {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": str(self.store)}

    def start(self) -> None:
        self._run("init", "--repository-version", "2")

    def put(self, folder: Path, label: str) -> Took:
        return self._run("backup", "--quiet", "--tag", label, ".", cwd=folder)

    def get(self, label: str, target: Path) -> Took:
        return self._run("restore", "--quiet", "--tag", label, "--target", str(target), "latest")


class Borg(Tool):
    """BorgBackup; without encryption, as this library has none either."""

    name = "borg"
    install = "apt install borgbackup (or brew, or pip)"
    settings = (
        "`--encryption none` (keyed checksums cost time), `--compression zstd,1`, the codec of this library (its default is lz4)"
    )

    def __init__(self, root: Path, venv: Path | None) -> None:
        super().__init__(root, venv)
        self.env |= {"BORG_BASE_DIR": str(root / "home"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}

    def start(self) -> None:
        self._run("init", "--encryption", "none", str(self.store))

    def put(self, folder: Path, label: str) -> Took:
        return self._run("create", "--compression", "zstd,1", f"{self.store}::{label}", ".", cwd=folder)

    def get(self, label: str, target: Path) -> Took:
        target.mkdir()
        return self._run("extract", f"{self.store}::{label}", cwd=target)


class Casync(Tool):
    """casync: one file a chunk, no repository to keep consistent."""

    name = "casync"
    install = "apt install casync"
    settings = "defaults: chunks of 16 / 64 / 256 KiB, zstd, all metadata; no seed at extraction"

    def put(self, folder: Path, label: str) -> Took:
        return self._run("make", f"--store={self.store}/chunks.castr", str(self.store / f"{label}.caidx"), str(folder))

    def get(self, label: str, target: Path) -> Took:
        return self._run("extract", f"--store={self.store}/chunks.castr", str(self.store / f"{label}.caidx"), str(target))


class _InVenv(Tool):
    """A tool that is a Python package in a venv of its own (`--tools-venv`), so that its pins touch nothing else."""

    def program(self) -> str | None:
        if self.venv is not None and (self.venv / "bin" / self.name).exists():
            return str(self.venv / "bin" / self.name)
        return shutil.which(self.name)


class Dvc(_InVenv):
    """DVC: whole files by their MD5, no sharing below a file."""

    name = "dvc"
    install = "python -m venv TOOLS && TOOLS/bin/pip install dvc mlflow, then --tools-venv TOOLS"
    settings = "`dvc add` and `dvc checkout` without git; link type copy (the other ones share or freeze the user's files); telemetry off"

    def __init__(self, root: Path, venv: Path | None) -> None:
        super().__init__(root, venv)
        self.env |= {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / "home" / "site")}

    def _init(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._run("init", "--no-scm", "--quiet", cwd=folder)
        self._run("config", "cache.type", "copy", cwd=folder)
        self._run("config", "core.analytics", "false", cwd=folder)

    def start(self) -> None:
        self._init(self.root)

    def put(self, folder: Path, label: str) -> Took:
        took = self._run("add", "--quiet", str(folder.relative_to(self.root)))
        (self.root / "labels").mkdir(exist_ok=True)
        shutil.copyfile(folder.with_name(folder.name + ".dvc"), self.root / "labels" / label)  # git would keep it
        return took

    def get(self, label: str, target: Path) -> Took:
        self._init(target)
        self._run("config", "cache.dir", str(self.root / ".dvc" / "cache"), cwd=target)
        pointer = next(iter(self.root.glob("data*.dvc")))
        shutil.copyfile(self.root / "labels" / label, target / pointer.name)
        return self._run("checkout", "--quiet", cwd=target)

    def arrived(self, target: Path) -> Path:
        return target / next(iter(self.root.glob("data*.dvc"))).stem

    def stored(self) -> int:
        return size_of(self.root / ".dvc" / "cache")


class MLflow(_InVenv):
    """MLflow's artifacts of a run, in a local folder: copies, no sharing."""

    name = "mlflow"
    install = Dvc.install
    settings = "`log_artifacts` / `download_artifacts` in a run of a local store, one run a version; telemetry off"

    def __init__(self, root: Path, venv: Path | None) -> None:
        super().__init__(root, venv)
        self.env |= {"MLFLOW_TRACKING_URI": f"sqlite:///{self.store}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.env |= {"GIT_PYTHON_REFRESH": "quiet"}
        self._runs: dict[str, str] = {}

    def _python(self, code: str, *arguments: str) -> Took:
        python = Path(self.program() or "").with_name("python")
        return run([str(python), "-c", code, *arguments], cwd=self.root, env=self.env)

    def start(self) -> None:
        self.store.mkdir(parents=True)
        code = (
            "import json, mlflow, sys; from pathlib import Path; c = mlflow.MlflowClient(); "
            "e = c.create_experiment('benchmark', artifact_location=(Path(sys.argv[1]) / 'artifacts').as_uri()); "
            "print(json.dump({label: c.create_run(e).info.run_id for label in ('v1', 'again', 'v2')}, open(sys.argv[2], 'w')))"
        )
        self._python(code, str(self.store), str(self.root / "runs.json"))
        self._runs = json.loads((self.root / "runs.json").read_text())

    def put(self, folder: Path, label: str) -> Took:
        code = "import mlflow, sys; mlflow.MlflowClient().log_artifacts(sys.argv[1], sys.argv[2])"
        return self._python(code, self._runs[label], str(folder))

    def get(self, label: str, target: Path) -> Took:
        target.mkdir()
        code = "import mlflow, sys; mlflow.artifacts.download_artifacts(run_id=sys.argv[1], dst_path=sys.argv[2])"
        return self._python(code, self._runs[label], str(target))


class ArtifactStore(Tool):
    """This library, by its command."""

    name = "artifactstore"
    install = "pip install artifactstore-ml (or pip install -e . here)"
    settings = "defaults; its cache folder begins empty"

    def __init__(self, root: Path, venv: Path | None) -> None:
        super().__init__(root, venv)
        self.env["ARTIFACTSTORE_CACHE"] = str(root / "home" / "artifactstore")

    def program(self) -> str | None:
        beside = Path(sys.executable).with_name(self.name)
        return str(beside) if beside.exists() else shutil.which(self.name)

    def start(self) -> None:
        self._run("init", str(self.store))

    def put(self, folder: Path, label: str) -> Took:
        del label  # versions are counted: again makes none
        return self._run("put", str(folder), "data", "--store", str(self.store), "--json")

    def get(self, label: str, target: Path) -> Took:
        return self._run("get", f"data:{'v1' if label == 'v1' else 'latest'}", str(target), "--store", str(self.store), "--json")


TOOLS: Final[dict[str, type[Tool]]] = {tool.name: tool for tool in (Cp, Restic, Borg, Casync, Dvc, MLflow, ArtifactStore)}
