"""Installation: the versions of everything, and whether the installed files are those of the release."""

import hashlib
import platform
import re
import sys
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from artifactstore.cli.selftest.report import Check, judged, skipped
from artifactstore.model.version import VERSION

__all__ = ["checks", "versions"]

_NAME: Final = "artifactstore-ml"
_TOOLS: Final = {"dev", "docs", "testing"}  # extras of those who work on it
_R17: Final = "R17: the program is the one that was released"


def versions() -> Mapping[str, str]:
    """Return the versions of Python, this library, and the installed packages that it names."""
    found = {"python": platform.python_version(), "platform": platform.platform(), "artifactstore": VERSION}
    for name in _named():
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def checks() -> Iterator[Check]:
    """Yield the checks of an installation."""
    yield judged(
        "IQ-01",
        "Python is supported",
        _R17,
        "3.11 or newer",
        lambda: "3.11 or newer" if sys.version_info >= (3, 11) else platform.python_version(),
    )
    try:
        installed = metadata.distribution(_NAME)
    except metadata.PackageNotFoundError:
        for ident, title in (
            ("IQ-02", "The version is the installed one"),
            ("IQ-03", "The installed files are those of the release"),
        ):
            yield skipped(ident, title, _R17, "it runs from a folder, not from an installed package")
        return
    yield judged("IQ-02", "The version is the installed one", _R17, VERSION, lambda: installed.version)
    yield _files(installed)
    missing = [name for name, extra in _required(installed) if extra is None and not _is_there(name)]
    yield judged("IQ-04", "The required packages are installed", _R17, "all", lambda: ", ".join(missing) or "all")


def _named() -> list[str]:
    try:
        return sorted({name for name, extra in _required(metadata.distribution(_NAME)) if extra not in _TOOLS})
    except metadata.PackageNotFoundError:
        return ["blake3", "fsspec", "numpy", "pyarrow", "pydantic", "pyfastcdc", "typer", "xxhash", "zstandard"]


def _required(installed: metadata.Distribution) -> Iterator[tuple[str, str | None]]:
    """Yield the packages that it names, and the extra that needs each, if only an extra does."""
    for line in installed.requires or ():
        if (found := re.match(r"[A-Za-z0-9._-]+", line)) is not None and found[0] != _NAME:
            yield found[0], next(iter(re.findall(r"extra == [\"'](\w+)", line)), None)


def _is_there(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _files(installed: metadata.Distribution) -> Check:
    """Compare each file of the package with the digest that the release recorded."""
    title, expected = "The installed files are those of the release", "all files have their recorded digests"
    recorded = [one for one in installed.files or () if one.hash is not None and one.parts[0] == "artifactstore"]
    if not recorded:
        return skipped("IQ-03", title, _R17, "the installation records no digests: an editable one, or a folder on the path")

    def see() -> str:
        bad = []
        for one in recorded:
            raw = hashlib.new(one.hash.mode, Path(one.locate()).read_bytes()).digest() if one.hash is not None else b""
            if one.hash is not None and urlsafe_b64encode(raw).rstrip(b"=").decode() != one.hash.value:
                bad.append(str(one))
        return ", ".join(bad) or expected

    return judged("IQ-03", title, _R17, expected, see)
