"""Objects beside what their own libraries take, in one process, warm: serialise, hash, write and sync; read, hash and parse.

Run by `floor.py`; prints one JSON list of [what, who, seconds, seconds of processors].

    python benchmarks/floor_objects.py --folder DIR [--scale 1.0] [--only wide]
"""

import argparse
import gc
import io
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import blake3

import artifactstore

FLOOR: Final = "floor"
OWN: Final = "artifactstore"
Call = Callable[[], Any]
Step = tuple[str, Call, Call]  # name, the floor, this library


def keep(path: Path, data: Any) -> None:
    """Hash bytes, write them, sync them, rename them."""
    blake3.blake3(data).digest()
    staging = path.with_suffix(".new")
    with staging.open("wb", buffering=0) as file:
        view = memoryview(data).cast("B")
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    staging.rename(path)


def load(path: Path) -> bytes:
    """Read bytes and hash them."""
    data = path.read_bytes()
    blake3.blake3(data).digest()
    return data


def arrays(folder: Path, scale: float, store: Any) -> Iterator[tuple[str, list[Step]]]:
    """400 MB of float64."""
    import numpy as np  # noqa: PLC0415

    one, path = np.random.default_rng(0).random(int(50_000_000 * scale)), folder / "plain.npy"

    def save() -> None:
        blake3.blake3(memoryview(one).cast("B")).digest()
        with (folder / "plain.new").open("wb") as file:
            np.save(file, one)
            file.flush()
            os.fsync(file.fileno())
        (folder / "plain.new").rename(path)

    def read() -> Any:
        made = np.load(path)
        blake3.blake3(memoryview(made).cast("B")).digest()
        return made

    yield (
        f"array of {one.nbytes / 1e6:.0f} MB",
        [
            ("put", save, lambda: store.put(one, "array")),
            ("get", read, lambda: store.get("array")),
            ("get, mmap=True, the first", lambda: (read(), save(), np.load(path, "r")), lambda: store.get("array", mmap=True)),
            ("get, mmap=True, later", lambda: np.load(path, "r"), lambda: store.get("array", mmap=True)),
        ],
    )


def frames(folder: Path, scale: float, store: Any) -> Iterator[tuple[str, list[Step]]]:
    """A long frame of five columns, and wide ones."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    rng, rows = np.random.default_rng(0), int(4_000_000 * scale)
    long = pd.DataFrame(
        {"id": np.arange(rows), "x": rng.random(rows), "y": rng.standard_normal(rows), "k": rng.integers(0, 1000, rows)}
    )
    long["s"] = rng.integers(0, 10**9, rows).astype(str)
    columns = int(10_000 * min(1, scale * 10))
    wide = pd.DataFrame(rng.standard_normal((1000, columns)), columns=[f"c{i}" for i in range(columns)])
    tall = {"table of 5 columns": long, f"wide table of {columns:,} columns": wide}
    mixed = {f"c{i}": (rng.integers(0, 50, 1000), rng.random(1000), rng.choice(["a", "b"], 1000))[i % 3] for i in range(columns)}
    tall[f"wide table of {columns:,} mixed columns"] = pd.DataFrame(mixed)
    options: Any = {"compression": "zstd", "compression_level": 1, "use_content_defined_chunking": True}
    for number, (name, frame) in enumerate(tall.items()):
        path, key, first = folder / f"{number}.parquet", f"table{number}", frame.columns[1]

        def save(frame: Any = frame, path: Path = path) -> None:
            raw = io.BytesIO()
            frame.to_parquet(raw, **options)
            keep(path, raw.getbuffer())

        def part(path: Path = path, first: str = first) -> Any:
            return pd.read_parquet(path, columns=[first])

        yield (
            name,
            [
                ("put", save, lambda frame=frame, key=key: store.put(frame, key)),
                ("put, unchanged", save, lambda frame=frame, key=key: store.put(frame, key)),
                ("get", lambda path=path: pd.read_parquet(io.BytesIO(load(path))), lambda key=key: store.get(key)),
                ("get, one column", part, lambda key=key, first=first: store.get(key, columns=[first])),
            ],
        )


def models(folder: Path, scale: float, store: Any) -> Iterator[tuple[str, list[Step]]]:
    """A forest of scikit-learn, by skops, which the library uses too."""
    import numpy as np  # noqa: PLC0415
    import skops.io  # noqa: PLC0415
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415

    rng = np.random.default_rng(0)
    model = RandomForestRegressor(max(1, int(25 * scale)), random_state=0).fit(rng.random((20_000, 10)), rng.random(20_000))
    path = folder / "plain.skops"
    yield (
        "model (a forest)",
        [
            ("put", lambda: keep(path, skops.io.dumps(model)), lambda: store.put(model, "model")),
            ("get", lambda: skops.io.loads(load(path), trusted=["sklearn.tree._tree.Tree"]), lambda: store.get("model")),
        ],
    )


def states(folder: Path, scale: float, store: Any) -> Iterator[tuple[str, list[Step]]]:
    """A state dict of torch, 400 MB of float32."""
    import safetensors.torch  # noqa: PLC0415
    import torch  # noqa: PLC0415

    torch.manual_seed(0)
    state = {f"layer.{i:02d}.weight": torch.randn(1024, int(1024 * scale)) for i in range(100)}
    path = folder / "plain.safetensors"

    def part() -> Any:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys() if name.startswith("layer.0")}  # noqa: SIM118 - no dict

    yield (
        "state dict of 400 MB",
        [
            ("put", lambda: keep(path, safetensors.torch.save(state)), lambda: store.put(state, "state")),
            ("get", lambda: safetensors.torch.load(load(path)), lambda: store.get("state")),
            ("get, tensors='layer.0*'", part, lambda: store.get("state", tensors="layer.0*")),
        ],
    )


def small(folder: Path, _scale: float, store: Any) -> Iterator[tuple[str, list[Step]]]:
    """The small things of a process that runs, 200 at a time, beside SQLite's insert and select."""
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect(folder / "small.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (name TEXT, version INTEGER, data BLOB, PRIMARY KEY (name, version))")
    count = iter(range(10**9))

    def insert() -> None:
        for _ in range(200):
            connection.execute("INSERT INTO t VALUES ('small', ?, ?)", (next(count), os.urandom(1000)))

    def select() -> None:
        for _ in range(200):
            connection.execute("SELECT data FROM t WHERE name = 'small' ORDER BY version DESC LIMIT 1").fetchone()

    def times(call: Call) -> Call:
        return lambda: [call() for _ in range(200)]

    yield (
        "200 small things",
        [
            ("put of 1 kB", insert, times(lambda: store.put(os.urandom(1000), "small"))),
            ("get of 1 kB", select, times(lambda: store.get("small"))),
            ("resolve", select, times(lambda: store.artifact("small"))),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    store = artifactstore.open(args.folder / "store", cache=args.folder / "cache")
    store.put(b"x", "first")
    found = []
    for make in (arrays, frames, models, states, small):
        try:
            for name, steps in make(args.folder, args.scale, store):
                if args.only and args.only not in name:
                    continue
                for step, *calls in steps:
                    for who, call in zip((FLOOR, OWN), calls, strict=True):
                        gc.collect()
                        os.sync()
                        started, worked = time.perf_counter(), time.process_time()
                        made = call()
                        found.append([f"{name}, {step}", who, time.perf_counter() - started, time.process_time() - worked])
                        del made
        except ImportError as error:
            print(f"{make.__name__}: left out, {error.name} is not installed")
    shutil.rmtree(args.folder / "store", ignore_errors=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
