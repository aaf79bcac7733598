"""The environment of a run: Python, the machine and exact packages. Never a dump of variables."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from artifactstore.work.secrets import captured, without_credentials

__all__ = ["ci_claims", "command_line", "environment"]

# Variables that change what a program computes; none of them holds a secret. Those of a scheduler are facts of the run: see `job`.
_VARIABLES: Final = ("OMP_NUM_THREADS", "PYTHONHASHSEED", "CONDA_DEFAULT_ENV")
_IMAGES: Final = ("ARTIFACTSTORE_IMAGE", "CONTAINER_IMAGE", "IMAGE_DIGEST", "SINGULARITY_CONTAINER", "APPTAINER_CONTAINER")


_LOCKS: Final = (
    "uv.lock", "poetry.lock", "pdm.lock", "pylock.toml", "Pipfile.lock", "pixi.lock", "conda-lock.yml", "environment.yml",
    "environment.yaml", "requirements.txt",
)  # fmt: skip
_LONGEST_LOCK: Final = 4 * 2**20  # bytes
_UPWARDS: Final = 8  # folders

_kept: Final[dict[str, Any]] = {}


def environment(folder: Path | None = None) -> dict[str, Any]:
    """Return the environment as a JSON value; equal if nothing has changed.

    Args:
        folder: where the program runs; lock files are searched from there up to its repository's top.
    """
    found: dict[str, Any] = {
        "python": {"version": platform.python_version(), "implementation": platform.python_implementation()},
        "platform": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "cpu": {"name": _cpu(), "count": os.cpu_count()},
        "packages": _packages(),
    }
    gpus = _gpus()
    if gpus:
        found["gpus"] = gpus
    variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    if variables:
        found["variables"] = captured(variables)
    image = next((os.environ[name] for name in _IMAGES if os.environ.get(name)), None)
    if image is not None:
        found["image"] = captured(image)
    locks = {} if folder is None else _locks(folder)
    if locks:
        found["locks"] = locks
    return found


def _locks(folder: Path) -> dict[str, str]:
    """Return the lock files of the nearest folder upwards that has some."""
    for parent in (folder, *folder.parents[:_UPWARDS]):
        found = {}
        for name in _LOCKS:
            with suppress(OSError, UnicodeDecodeError):
                if (parent / name).stat().st_size <= _LONGEST_LOCK:
                    found[name] = _lock(parent / name)
        if found or (parent / ".git").exists():
            return found
    return {}


def _lock(path: Path) -> str:
    """Return a lock file without credentials; read again when it has changed."""
    st = path.stat()
    key = (str(path), st.st_mtime_ns, st.st_size)
    known = _kept.get(path.name)
    if known is None or known[0] != key:
        known = _kept[path.name] = (key, captured(path.read_text(encoding="utf-8")))
    text: str = known[1]
    return text


def _packages() -> list[dict[str, Any]]:
    """Return the installed packages; read again when a folder of packages has changed."""
    key = tuple((path, os.stat(path).st_mtime_ns) for path in sys.path if os.path.isdir(path))  # noqa: PTH112, PTH116
    if _kept.get("key") != key:
        _kept.update(key=key, packages=_installed())
    found: list[dict[str, Any]] = _kept["packages"]
    return found


def _installed() -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for entry in sys.path:
        for folder in _records(entry):
            name, version = _head(folder)
            if not name or name.lower() in rows:
                continue  # the first on the path is imported
            row: dict[str, Any] = {"name": name, "version": version}
            with suppress(OSError, UnicodeDecodeError):
                row["direct"] = _direct((folder / "direct_url.json").read_text(encoding="utf-8"))
            rows[name.lower()] = row
    return [rows[name] for name in sorted(rows)]


def _records(entry: str) -> list[Path]:
    """Return the metadata folders of installed packages (https://packaging.python.org, recording installed projects)."""
    try:
        with os.scandir(entry or ".") as found:
            names = sorted(entry.name for entry in found if entry.name.endswith((".dist-info", ".egg-info")))
    except OSError:
        return []
    return [Path(entry, name) for name in names]


def _head(record: Path) -> tuple[str, str]:
    """Return name and version of a package: reads the head of its metadata only, a tenth of the time of a full parse."""
    for inner in ("METADATA", "PKG-INFO", ""):
        found: dict[str, str] = {}
        try:
            with open(record / inner if inner else record, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                for line in file:
                    key, sign, value = line.partition(":")
                    if key.lower() in {"name", "version"}:
                        found.setdefault(key.lower(), value.strip())
                    if not sign or len(found) == 2:
                        break
        except OSError:
            continue
        return found.get("name", ""), found.get("version", "")
    return "", ""


def _direct(text: str) -> Any:
    """Return the origin of a package, without credentials; a local folder only as such."""
    try:
        direct = json.loads(text)
        url = str(direct.get("url", ""))
        if url.startswith("file:"):
            return {"editable": bool(direct.get("dir_info", {}).get("editable")), "local": True}
        kept = {key: direct[key] for key in ("vcs_info", "archive_info", "subdirectory") if key in direct}
        return {"url": without_credentials(url), **captured(kept)}
    except (ValueError, AttributeError, TypeError):
        return None


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - a fixed command
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def command_line() -> list[str]:
    """Return the command of this program: the arguments of the interpreter, without those of notebook kernels."""
    return [sys.executable, *sys.orig_argv[1:]] if sys.orig_argv else [sys.executable, *sys.argv]


def ci_claims(env: Mapping[str, str]) -> dict[str, str] | None:
    """Return a CI system's variables about the code, in the absence of a repository: claimed, not verified."""
    for system, names in {
        "github": {"commit": "GITHUB_SHA", "branch": "GITHUB_REF_NAME", "repository": "GITHUB_REPOSITORY"},
        "gitlab": {"commit": "CI_COMMIT_SHA", "branch": "CI_COMMIT_REF_NAME", "repository": "CI_PROJECT_PATH"},
        "azure": {"commit": "BUILD_SOURCEVERSION", "branch": "BUILD_SOURCEBRANCHNAME", "repository": "BUILD_REPOSITORY_NAME"},
    }.items():
        if env.get(names["commit"]):
            return {"claimed_by": system, **{key: env[name] for key, name in names.items() if env.get(name)}}
    return None
