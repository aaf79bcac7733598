"""Objects: `put` and `get` beside the plain call that a library has for it, and beside MLflow, in one run.

    python benchmarks/objects.py --folder DIR [--scale 1.0] [--repeat 3] [--check] [--write benchmarks/results.md]

An array (400 MB), a table (4 million rows), a forest (some 50 MB). All in this process, warm; the store is a folder on
the same disk, its cache is off. What is put is new each time (of the table one column), so little is known before. A row
whose library is not installed is left out. MLflow is asked without looking for requirements.
"""

import argparse
import gc
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from report import machine, table, write_section

import artifactstore

LIMITS: Final = {"array": (1.5, 1.5), "table": (1.3, 1.3), "model": (None, None)}  # put, get: times the plain call


def best(repeat: int, prepare: Callable[[int], Any], *calls: Callable[[Any], Any]) -> list[float]:
    """Return the shortest time of each call, after `prepare` has made what they work with."""
    found = [float("inf")] * len(calls)
    for number in range(repeat):
        thing = prepare(number)
        for at, call in enumerate(calls):
            gc.collect()
            os.sync()
            started = time.perf_counter()
            call(thing)
            found[at] = min(found[at], time.perf_counter() - started)
    return found


def arrays(
    folder: Path, scale: float
) -> tuple[Callable[[int], Any], dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]]:
    """An array of float64."""
    import numpy as np  # noqa: PLC0415

    numbers = np.random.default_rng(0).random(int(50_000_000 * scale))

    def prepare(number: int) -> Any:
        np.random.default_rng(number + 1).random(out=numbers)
        return numbers

    path = folder / "plain.npy"
    return prepare, {"np.save, np.load": (lambda one: np.save(path, one), lambda _: np.load(path))}


def tables(
    folder: Path, scale: float
) -> tuple[Callable[[int], Any], dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]]:
    """A frame of pandas."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    rows, rng = int(4_000_000 * scale), np.random.default_rng(0)
    frame = pd.DataFrame(
        {"id": np.arange(rows), "x": rng.random(rows), "y": rng.standard_normal(rows), "k": rng.integers(0, 1000, rows)}
    )
    frame["s"] = rng.integers(0, 10**9, rows).astype(str)

    def prepare(number: int) -> Any:
        frame["x"] = rng.random(rows) + number
        return frame

    path = folder / "plain.parquet"
    options: Any = {"compression": "zstd", "use_content_defined_chunking": True}
    return prepare, {"to_parquet, read_parquet": (lambda one: one.to_parquet(path, **options), lambda _: pd.read_parquet(path))}


def models(
    folder: Path, scale: float
) -> tuple[Callable[[int], Any], dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]]:
    """A forest of scikit-learn."""
    import joblib  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415
    from sklearn.ensemble import RandomForestRegressor  # noqa: PLC0415

    rng = np.random.default_rng(0)
    x, y = rng.random((20_000, 10)), rng.random(20_000)

    def prepare(number: int) -> Any:
        return RandomForestRegressor(max(1, int(25 * scale)), random_state=number).fit(x, y)

    path = folder / "plain.joblib"
    plain: dict[str, Any] = {"joblib.dump, load": (lambda one: joblib.dump(one, path), lambda _: joblib.load(path))}
    try:
        import mlflow  # noqa: PLC0415
    except ImportError:
        return prepare, plain
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    # Its artifacts go where the scratch is, not into the folder that one happens to be in.
    experiment = mlflow.create_experiment("objects", artifact_location=(folder / "mlartifacts").as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    info: list[Any] = []

    def log(one: Any) -> None:
        with mlflow.start_run():
            info.append(mlflow.sklearn.log_model(one, name="model", pip_requirements=[], serialization_format="cloudpickle"))

    plain["mlflow log_model, load_model"] = (log, lambda _: mlflow.sklearn.load_model(info[-1].model_uri))
    return prepare, plain


def main() -> int:
    """Measure and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    scratch = (args.folder / "objects").absolute()
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    rows, missed = [], False
    for name, make in {"array": arrays, "table": tables, "model": models}.items():
        try:
            prepare, plain = make(scratch, args.scale)
        except ImportError as error:
            print(f"{name} is left out: {error.name} is not installed", file=sys.stderr)
            continue
        store = artifactstore.open(scratch / name, cache=None)
        store.put(b"x", "first")
        own = best(args.repeat, prepare, lambda one, s=store: s.put(one, "o"), lambda _, s=store: s.get("o"))
        rows.append(
            [name, "artifactstore", *(f"{seconds:.2f}" for seconds in own), "", "", f"{store.artifact('o').size / 1e6:.0f}"]
        )
        for number, (peer, calls) in enumerate(plain.items()):
            took = best(args.repeat, prepare, *calls)
            ratios = [mine / theirs for mine, theirs in zip(own, took, strict=True)]
            rows.append([name, peer, *(f"{seconds:.2f}" for seconds in took), *(f"{ratio:.2f}" for ratio in ratios), ""])
            if number == 0:
                missed |= any(limit is not None and ratio > limit for ratio, limit in zip(ratios, LIMITS[name], strict=True))
    shutil.rmtree(scratch, ignore_errors=True)
    head = ["object", "by", "put s", "get s", "own put ÷ its", "own get ÷ its", "MB"]
    text = f"Measured on {machine()}; artifactstore {artifactstore.__version__}.\n\n{table(head, rows)}"
    print(text)
    if args.write:
        write_section(args.write, "Objects", text)
    return int(args.check and missed)


if __name__ == "__main__":
    sys.exit(main())
