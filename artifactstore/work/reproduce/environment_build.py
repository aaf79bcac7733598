"""Rebuilding the environment of a run: an interpreter of the recorded version with exactly the recorded packages."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PackagePath, distribution, version
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import BackendError, UnsupportedError
from artifactstore.model import version as _here

__all__ = ["BuiltEnvironment", "build", "present"]

_OWN: Final = ("artifactstore-ml", "artifactstore")  # this library on the index, and before its first release
_TOOLS: Final = frozenset({"pip", "setuptools", "wheel"})  # they build an environment and are not part of it
_MINOR: Final = re.compile(r"(\d+\.\d+)")


@dataclass(frozen=True, slots=True)
class BuiltEnvironment:
    """An environment to run in.

    Attributes:
        python: its interpreter.
        notes: how it differs from the recorded environment.
    """

    python: str
    notes: tuple[str, ...] = ()


def present(recorded: Mapping[str, Any]) -> BuiltEnvironment:
    """Return the running interpreter, with notes on how its packages differ from the recorded packages."""
    return BuiltEnvironment(sys.executable, tuple(_differing(recorded)))


def _differing(recorded: Mapping[str, Any]) -> Iterator[str]:
    asked = recorded.get("python", {}).get("version", "")
    if asked and asked != sys.version.split()[0]:
        yield f"Python {asked} was recorded, {sys.version.split()[0]} is used"
    for one in recorded.get("packages", ()):
        try:
            found = _here.VERSION if one["name"].lower() in _OWN else version(one["name"])
        except PackageNotFoundError:
            found = "none"
        if found != one["version"]:
            yield f"{one['name']} {one['version']} was recorded, {found} is used"


def build(recorded: Mapping[str, Any], folder: Path, code: Path | None) -> BuiltEnvironment:
    """Build a virtual environment with the recorded packages.

    Packages that were only on the recording machine are not available: what the code itself has of them is used, and this
    library is used as it runs now.

    Args:
        recorded: the environment of the run.
        folder: where to build; an existing environment is used.
        code: the code that was checked out.

    Raises:
        UnsupportedError: no virtual environment can be made here.
        BackendError: the packages cannot be installed; the message contains the output of the installer.
    """
    notes: list[str] = []
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / ".built"
    if done.exists():
        return BuiltEnvironment(str(python), tuple(done.read_text(encoding="utf-8").splitlines()))
    _call([_interpreter(recorded, notes), "-m", "venv", "--clear", str(folder)], "cannot make a virtual environment")
    site = Path(
        _call(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], "the new Python does not run"
        ).strip()
    )
    wanted = list(_requirements(recorded, notes))
    if wanted:
        listed = folder / "requirements.txt"
        listed.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        command = [str(python), "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "-q", "-r", str(listed)]
        _call(command, "cannot install the recorded packages; pass env=False to run with the installed packages")
    _add_own(site)
    if code is not None:
        (site / "_code.pth").write_text("".join(f"{one}\n" for one in (code, code / "src") if one.is_dir()), encoding="utf-8")
    done.write_text("\n".join(notes), encoding="utf-8")
    return BuiltEnvironment(str(python), tuple(notes))


def _interpreter(recorded: Mapping[str, Any], notes: list[str]) -> str:
    asked = str(recorded.get("python", {}).get("version", ""))
    here = sys.version.split()[0]
    found = _MINOR.match(asked)
    if found is None or found[1] == _MINOR.match(here)[1]:  # type: ignore[index] # Python's own version begins so
        if asked not in {"", here}:
            notes.append(f"Python {asked} was recorded, {here} is used")
        return sys.executable
    other = shutil.which(f"python{found[1]}")
    if other is None:
        notes.append(f"Python {asked} was recorded and is not installed, {here} is used")
        return sys.executable
    return other


def _requirements(recorded: Mapping[str, Any], notes: list[str]) -> Iterator[str]:
    for one in recorded.get("packages", ()):
        name, direct = one["name"], one.get("direct") or {}
        if name.lower() in _TOOLS or name.lower() in _OWN:
            continue
        if direct.get("local"):
            notes.append(f"{name} {one['version']} was installed from a folder: only what the code itself has of it is used")
            continue
        url, vcs = direct.get("url"), direct.get("vcs_info")
        if vcs is not None:
            yield f"{name} @ {vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
        elif url is not None:
            yield f"{name} @ {url}"
        else:
            yield f"{name}=={one['version']}"


def _add_own(site: Path) -> None:
    """Make this library available in the environment, as it runs now."""
    package = Path(_here.__file__).parents[1]
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    for file in _own_files():
        if ".dist-info" in str(file.parent) and file.name in {"METADATA", "entry_points.txt"}:
            target = site / str(file)
            target.parent.mkdir(exist_ok=True)
            shutil.copy2(str(file.locate()), target)


def _own_files() -> list[PackagePath]:
    """Return the installed files of this library, by whichever of its names it was installed."""
    for name in _OWN:
        with suppress(PackageNotFoundError):
            return distribution(name).files or []
    return []


def _call(command: Sequence[str], failing: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a fixed program
    except OSError as error:
        raise UnsupportedError(f"{failing}: {error}") from error
    if done.returncode:
        raise BackendError(f"{failing}: {(done.stderr or done.stdout).strip()[-1500:]}", transient=False)
    return done.stdout
