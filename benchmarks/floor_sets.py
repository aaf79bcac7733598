"""Data sets that only `floor.py` uses: a million small files, and one sparse file of 100 GB."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import data as datasets

__all__ = ["MADE", "copy_sparse"]

_STRETCH: Final = 100_000_000  # bytes of a large file that hold one run of data
_FILLED: Final = 10_000_000  # bytes of that run


def million(folder: Path, scale: float) -> None:
    """Make a million different files of 1 kB, 1,000 a folder; v2 rewrites 1 % of them."""
    home, count = folder / "data" / "million", int(1_000_000 * scale)
    draw = random.Random(3)

    def make() -> int:
        for i in range(count):
            for version in ("v1", "v2"):
                if i % 1000 == 0:
                    (home / version / f"{i // 1000:04d}").mkdir(parents=True)
            data = draw.randbytes(1000)
            (home / "v1" / f"{i // 1000:04d}" / f"{i % 1000:03d}").write_bytes(data)
            data = draw.randbytes(1000) if i % 100 == 50 else data
            (home / "v2" / f"{i // 1000:04d}" / f"{i % 1000:03d}").write_bytes(data)
        return 1000 * len(range(50, count, 100))

    _unless_there(home, count, 1000 * count, make)


def large(folder: Path, scale: float) -> None:
    """Make a file of 100 GB with 10 MB of noise in each 100 MB, the rest holes; v2 has other noise in one of a hundred."""
    home, count = folder / "data" / "large", int(1000 * scale)

    def make() -> int:
        for version in ("v1", "v2"):
            (home / version).mkdir(parents=True)
            with (home / version / "image.raw").open("wb") as file:
                file.truncate(count * _STRETCH)
                for i in range(count):
                    other = version == "v2" and i % 100 == 50
                    draw = random.Random(2 * i + other)
                    file.seek(i * _STRETCH + random.Random(-i).randrange(_STRETCH - _FILLED))
                    file.write(draw.randbytes(_FILLED))
        return _FILLED * len(range(50, count, 100))

    _unless_there(home, 1, count * _STRETCH, make)


def _unless_there(home: Path, files: int, raw: int, make: Callable[[], int]) -> None:
    about = home / "about.json"
    found = json.loads(about.read_text()) if about.exists() else {}
    if (found.get("files"), found.get("raw")) != (files, raw):
        shutil.rmtree(home, ignore_errors=True)
        about.parent.mkdir(parents=True)
        changed = make()
        about.write_text(json.dumps({"raw": raw, "changed": changed, "files": files}))


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a folder, with its holes as holes."""
    subprocess.run(["cp", "-r", "--sparse=always", str(source), str(target)], check=True)


MADE: Final[dict[str, Callable[[Path, float], None]]] = {
    **{name: lambda folder, scale, name=name: datasets.make(name, folder, scale=scale) for name in datasets.SETS},  # type: ignore[misc]
    "million": million,
    "large": large,
}
