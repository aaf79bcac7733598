"""The three data sets of the benchmarks: made from a seed, so that every machine measures the same bytes.

    python benchmarks/data.py --folder DIR [--sets small,checkpoint,csv] [--scale 1.0]

Each lies in `DIR/data/<set>/v1` and `v2`, beside `about.json` with its sizes. Nothing is made twice. No network.
"""

import argparse
import filecmp
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FEW", "SETS", "DataSet", "files_of", "load", "make", "update"]

SEED: Final = 20_250_101
RECIPE: Final = 1  # counted up when the bytes change: data of an older recipe is made anew
LAYERS: Final = 50
SHAPES: Final = {  # one layer of the checkpoint: 19.9 MB
    "attention.query": (1024, 1024),
    "attention.key": (1024, 1024),
    "attention.value": (1024, 1024),
    "attention.output": (1024, 1024),
    "mlp.up": (2816, 1024),
    "mlp.down": (1024, 2816),
    "norm.attention": (1024,),
    "norm.mlp": (1024,),
}
# Sets of fewer files are removed at once, others at the end: ext4 searches long for an inode after many were freed, minutes later still.
FEW: Final = 100


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set on disk.

    Attributes:
        name: small, checkpoint or csv.
        v1: its folder.
        v2: the same after the change.
        raw: bytes of v1.
        changed: bytes of v2 that v1 doesn't have: of rewritten and added files, tensors or rows.
        files: in v1.
    """

    name: str
    v1: Path
    v2: Path
    raw: int
    changed: int
    files: int


def make(name: str, folder: Path, *, scale: float = 1.0) -> DataSet:
    """Make a data set unless it is there; `scale` shrinks it for a trial run."""
    home = folder / "data" / name
    about = home / "about.json"
    wanted = {"recipe": RECIPE, "scale": scale}
    if not about.exists() or {key: json.loads(about.read_text()).get(key) for key in wanted} != wanted:
        shutil.rmtree(home, ignore_errors=True)
        for version in ("v1", "v2"):
            (home / version).mkdir(parents=True)
        changed = SETS[name](home / "v1", home / "v2", scale)
        sizes = files_of(home / "v1")
        about.write_text(json.dumps({**wanted, "raw": sum(sizes.values()), "changed": changed, "files": len(sizes)}))
    return load(name, folder)


def load(name: str, folder: Path) -> DataSet:
    """Return a data set that is there."""
    home = folder / "data" / name
    found = json.loads((home / "about.json").read_text())
    return DataSet(name, home / "v1", home / "v2", found["raw"], found["changed"], found["files"])


def files_of(folder: Path) -> dict[str, int]:
    """Return path → size in bytes of everything below a folder that is no folder."""
    found = {}
    for inner, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(inner, name)  # noqa: PTH118 - pathlib takes minutes for what these scripts walk through
            found[os.path.relpath(path, folder)] = os.lstat(path).st_size
    return found


def update(work: Path, version: Path) -> None:
    """Turn a working folder into `version` as its user would: only what differs is written or removed."""
    wanted, there = files_of(version), files_of(work)
    for path in there.keys() - wanted.keys():
        (work / path).unlink()
    for path in sorted(wanted):
        if there.get(path) != wanted[path] or not filecmp.cmp(work / path, version / path, shallow=False):
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(version / path, work / path)


def _generator(*key: int) -> "np.random.Generator":
    import numpy as np  # noqa: PLC0415 - who only runs programs need not have it

    return np.random.default_rng([SEED, *key])


# -- small: 20,000 incompressible files in 100 folders; v2 rewrites 10 % of them, adds 40 and removes 40


def _small(v1: Path, v2: Path, scale: float) -> int:
    count = int(20_000 * scale)
    sizes = _generator(0).integers(1_000, 34_301, count)
    rewritten = set(_generator(1).choice(count, count // 10, replace=False).tolist())
    removed = set(_generator(2).choice(count, count // 500, replace=False).tolist())
    changed = 0
    for i in range(count):
        path = f"{i % 100:02d}/{i:06d}.bin"
        data = _generator(3, i).bytes(int(sizes[i]))
        _write(v1 / path, data)
        if i in removed:
            continue
        if i in rewritten:
            data = _generator(4, i).bytes(int(sizes[i]))
            changed += len(data)
        _write(v2 / path, data)
    for i in range(count // 500):
        data = _generator(5, i).bytes(17_650)
        _write(v2 / f"{i % 100:02d}/new-{i:04d}.bin", data)
        changed += len(data)
    return changed


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


# -- checkpoint: 1 GB of bf16 weights in safetensors; v2 changes the last tenth of the tensors


def _checkpoint(v1: Path, v2: Path, scale: float) -> int:
    layers = max(10, int(LAYERS * scale))
    tensors = [(f"model.layers.{i:03d}.{name}.weight", shape) for i in range(layers) for name, shape in SHAPES.items()]
    kept = len(tensors) - len(tensors) // 10
    _safetensors(v1 / "model.safetensors", tensors, ((1, i) for i in range(len(tensors))))
    _safetensors(v2 / "model.safetensors", tensors, ((1 if i < kept else 2, i) for i in range(len(tensors))))
    return sum(_bytes_of(shape) for _, shape in tensors[kept:])


def _bytes_of(shape: tuple[int, ...]) -> int:
    size = 2
    for length in shape:
        size *= length
    return size


def _safetensors(path: Path, tensors: list[tuple[str, tuple[int, ...]]], keys: Iterable[tuple[int, int]]) -> None:
    """Write tensors as <8-byte length><JSON header><data>, the header padded to 8 bytes as its library does."""
    header, at = {}, 0
    for name, shape in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + _bytes_of(shape)]}
        at += _bytes_of(shape)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (_, shape), key in zip(tensors, keys, strict=True):
            file.write(bf16(_bytes_of(shape) // 2, *key))


def bf16(count: int, *key: int) -> bytes:
    """Return normal values of deviation 0.02 as bf16: the upper half of float32, rounded to nearest even."""
    import numpy as np  # noqa: PLC0415 - as above

    bits = (_generator(6, *key).standard_normal(count, dtype=np.float32) * np.float32(0.02)).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


# -- csv: 3 million rows, about 150 MB; v2 edits 200 rows, scattered


def _csv(v1: Path, v2: Path, scale: float) -> int:
    count = int(3_000_000 * scale)
    edited = set(_generator(7).choice(count, 200, replace=False).tolist())
    changed = 0
    with (v1 / "events.csv").open("w") as before, (v2 / "events.csv").open("w") as after:
        for start, rows in rows_of(count):
            before.writelines(rows)
            for i in sorted(edited & set(range(start, start + len(rows)))):
                fields = rows[i - start].rstrip("\n").split(",")
                fields[4] = f"{float(fields[4]) * 10:.2f}"  # often one digit longer: what follows moves
                rows[i - start] = ",".join(fields) + "\n"
                changed += len(rows[i - start])
            after.writelines(rows)
    return changed


def rows_of(count: int) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first row, rows): id, time, user, item, price, score."""
    import numpy as np  # noqa: PLC0415 - as above

    for start in range(0, count, 100_000):
        n = min(100_000, count - start)
        draw = _generator(8, start)
        users, items = draw.integers(0, 50_000, n).tolist(), draw.integers(0, 2_000, n).tolist()
        prices, scores = draw.gamma(2.0, 20.0, n).tolist(), draw.normal(0.0, 1.0, n).tolist()
        times = np.datetime_as_string(np.datetime64("2025-01-01T00:00:00") + np.arange(start, start + n)).tolist()
        yield (
            start,
            [f"{start + i},{times[i]},{users[i]},{items[i]},{prices[i]:.2f},{scores[i]:.4f}\n" for i in range(n)],
        )


SETS: Final[dict[str, Callable[[Path, Path, float], int]]] = {"small": _small, "checkpoint": _checkpoint, "csv": _csv}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the data goes")
    parser.add_argument("--sets", default=",".join(SETS), help="which; default all")
    parser.add_argument("--scale", type=float, default=1.0, help="1.0 is the full size")
    args = parser.parse_args()
    for name in args.sets.split(","):
        found = make(name, args.folder, scale=args.scale)
        print(f"{name}: {found.files} files, {found.raw / 1e6:.1f} MB; v2 has {found.changed / 1e6:.3f} MB that v1 has not")


if __name__ == "__main__":
    main()
