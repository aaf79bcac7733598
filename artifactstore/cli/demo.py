"""The demo: the main workflow on real data, step by step; a second run finds everything unchanged."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from artifactstore.cli import printing
from artifactstore.cli.progress import shown
from artifactstore.display.values import counted, format_size
from artifactstore.errors import UnsupportedError
from artifactstore.opening import open as open_store
from artifactstore.store import Store

__all__ = ["run_demo"]

_EDITED: Final = "breast_cancer.csv"


def run_demo(folder: Path, url: str | None, *, quiet: bool = False) -> dict[str, Any]:
    """Run the demo in `folder`; return the results as JSON values.

    Raises:
        UnsupportedError: scikit-learn, which provides the data, is not installed.
    """
    say: Callable[[str], None] = (lambda _text: None) if quiet else lambda text: printing.echo(text, lines=True)
    data, model = folder / "data", folder / "model.joblib"
    where = str(folder / "store") if url is None else url
    if not data.exists():
        _copy_data(data)
    store = open_store(where)
    with shown(store._session):  # noqa: SLF001 - the command line draws the progress of the store that it opened
        say(f"The store is {store.url}; the first put creates it.\n")
        say(
            f"1. A folder with {sum(one.is_file() for one in data.rglob('*'))} real files, scikit-learn's images and tables, is put under a name."
        )
        data_v1 = _put(store, say, data, "demo/data")

        say("\n2. A model is trained on one of the tables, saved with joblib, and put as a file with its metric.")
        accuracy = _train(data / _EDITED, model) if not model.exists() else None
        metrics = {"accuracy": accuracy} if accuracy is not None else None
        trained = _put(store, say, model, "demo/model", kind="model", metrics=metrics)
        say(f"   metrics: {dict(trained.metrics)}")

        say(f"\n3. One row of {_EDITED} is corrected, and the folder is put again: only the change is stored.")
        _edit(data / _EDITED)
        data_v2 = _put(store, say, data, "demo/data")
        say(f"   of {format_size(data_v2.size)}, {format_size(data_v2.uploaded)} went into the store")

        say("\n4. What is the difference?    store.diff('demo/data:v1', 'demo/data:v2')")
        changes = store.diff("demo/data:v1", "demo/data:v2")
        for line in repr(changes).splitlines():
            say(f"   {line}")

        say("\n5. A movable pointer: production.    store.alias('demo/model:v1', 'production', reason=…)")
        store.alias("demo/model:v1", "production", reason="the demo's first model")
        for event in store.log(name="demo/model", fact="aliased"):
            say(
                f"   {event.time:%Y-%m-%d %H:%M:%S} {event.actor}: {event.name}:{event.alias} -> v{event.version} ({event.reason})"
            )

        say("\n6. The data as the model saw it is read back, every byte checked against its digest.")
        back = store.get("demo/data:v1", folder / "data-v1", overwrite=True)
        say(f"   store.get('demo/data:v1', to='{back}')")

        say("\n7. Is all content present and unchanged?    store.verify(level='full')")
        report = store.verify(level="full")
        say(f"   {'ok' if report.ok else 'DAMAGED'}: " + ", ".join(counted(many, what) for what, many in report.checked.items()))
    digest = store.artifact("demo/data:v1").content.partition(":")[2]
    say(f"\ndemo/data:v1 can be checked without this library: run this in {back}; its result begins with {digest[:12]}")
    say("   find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0r b3sum -- | b3sum")
    say(f"Next: artifactstore ls --store {where}; artifactstore log --store {where}")
    return {
        "store": store.url,
        "puts": [
            {"ref": one.ref, "digest": one.digest, "new": one.new, "uploaded": one.uploaded}
            for one in (data_v1, trained, data_v2)
        ],
        "changes": len(changes),
        "ok": report.ok,
    }


def _put(store: Store, say: Callable[[str], None], path: Path, name: str, **options: Any) -> Any:
    made = store.put(path, name, **options)
    word = f"{format_size(made.uploaded)} uploaded" if made.new else "unchanged, 0 uploaded"
    say(f"   store.put('{path}', '{name}')  ->  {made.ref}  {made.digest[:15]}…  {format_size(made.size)}: {word}")
    return made


def _copy_data(data: Path) -> None:
    """Copy the images and tables that scikit-learn contains."""
    try:
        import sklearn.datasets  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UnsupportedError("the demo uses data and a model of scikit-learn: pip install 'artifactstore-ml[demo]'") from error
    source = Path(sklearn.datasets.__file__).parent
    part = data.with_name(f".{data.name}.partial")
    shutil.rmtree(part, ignore_errors=True)
    for inner, pattern in (("images", "*.jpg"), ("data", "*.csv*")):
        for file in sorted((source / inner).glob(pattern)):
            target = part / "images" / file.name if inner == "images" else part / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    part.rename(data)


def _train(table: Path, model: Path) -> float:
    import joblib  # noqa: PLC0415 - an extra, and slow to load
    import numpy as np  # noqa: PLC0415
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    values = np.loadtxt(table, delimiter=",", skiprows=1)
    train, test, train_y, test_y = train_test_split(values[:, :-1], values[:, -1], random_state=0)
    forest = RandomForestClassifier(n_estimators=50, random_state=0).fit(train, train_y)
    joblib.dump(forest, model)
    return float(forest.score(test, test_y))


def _edit(table: Path) -> None:
    """Correct one value in the middle of a table, once."""
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    middle = len(lines) // 2
    first, comma, rest = lines[middle].partition(",")
    if not first.endswith("5"):
        lines[middle] = f"{first}5{comma}{rest}"
        table.write_text("".join(lines), encoding="utf-8")
