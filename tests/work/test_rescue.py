"""An object whose put fails in a run is kept on this machine, and put later: whatever failed, and as what it was."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artifactstore
from artifactstore import ArtifactStoreError, InvalidInputError, NotFoundError, Store
from artifactstore.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARTIFACTSTORE_RESCUE", str(tmp_path / "rescue"))
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    return tmp_path / "rescue"


class Opaque:
    """What no format stores but pickle."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.number == self.number

    __hash__ = None  # type: ignore[assignment]


def _broken(store: Store, tmp_path: Path) -> Callable[[], None]:
    """Take the store away, and return what brings it back."""
    shutil.move(store.url, tmp_path / "away")
    Path(store.url).write_text("a file where the store was")

    def back() -> None:
        Path(store.url).unlink()
        shutil.move(tmp_path / "away", store.url)

    return back


OBJECTS: dict[str, Any] = {
    "json": {"z": 1, "a": [1.5, None]},
    "bytes": b"weights",
    "array": np.arange(12.0).reshape(3, 4),
    "members": {"w": np.ones(3), "b": np.zeros(2)},
    "opaque": Opaque(3),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_survives_a_store_that_is_gone(store: Store, tmp_path: Path, folder: Path, kind: str):
    store.put(b"first", "churn/model")
    run = store.run("train", code=False).start()
    back = _broken(store, tmp_path)
    with pytest.raises(Exception) as error:
        run.put(OBJECTS[kind], "churn/model", kind="model", metadata={"rate": 0.1}, metrics={"auc": 0.9, "loss": float("nan")})
    back()
    run.finish()  # an active run would be asked for by later tests of this process
    (note,) = error.value.__notes__
    (kept,) = folder.iterdir()
    assert f"`artifactstore rescue {kept} churn/model` puts it" in note
    assert kept.stat().st_mode & 0o077 == 0
    store = artifactstore.open(store.url)
    made = store.maintenance.rescue(kept)
    assert (made.ref, made.kind, made.metadata) == ("churn/model:v2", "model", {"rate": 0.1})
    assert made.metrics == {"auc": 0.9}
    assert made.reason is not None
    assert made.reason.startswith("rescued; the put failed with ")
    assert not kept.exists()
    got = store.get(made, trust=kind == "opaque")
    assert np.array_equal(got, OBJECTS[kind]) if kind == "array" else repr(got) == repr(OBJECTS[kind]) or got == OBJECTS[kind]
    if kind == "json":
        assert list(got) == ["z", "a"]  # side content came along
    if kind != "opaque":
        assert not store.put(OBJECTS[kind], "churn/model", kind="model").new


@pytest.mark.parametrize(
    ("source", "name", "options"),
    [
        (Opaque(1), "model", {}),
        ({1, 2}, "model", {}),
        ({"a": 1}, "no valid name!", {}),
        ({"a": 1}, "model", {"metadata": {"x": object()}}),
        ({"a": 1}, "model", {"metrics": {"auc": "high"}}),
        (b"x", "model", {"aliases": ["latest"]}),
        (b"x", "model", {"nothing": 1}),
    ],
)
def test_a_refused_put_loses_nothing_either(store: Store, folder: Path, source: Any, name: str, options: dict[str, Any]):
    with store.run("train", code=False) as run:
        with pytest.raises(ArtifactStoreError) as error:
            run.put(source, name, **options)
        assert "is not lost" in error.value.__notes__[0]
    (kept,) = folder.iterdir()
    made = store.maintenance.rescue(kept, "kept/model") if not options.get("metrics") else None
    if made is not None:
        assert store.get(made, trust=True) == source


class Login(dict[str, int]):
    """Metadata that fails with a secret in its message."""

    def items(self):
        raise OSError("no answer from postgresql://user:s3cr3t@host/db")


def test_what_describes_it_comes_along_and_no_secret_of_the_failure(store: Store, folder: Path):
    with store.run("train", code=False) as run, pytest.raises(OSError, match="s3cr3t") as error:
        run.put(b"x", "m", metadata=Login(a=1), tags={"stage": "raw"}, description="the first", aliases=["best"])
    (kept,) = folder.iterdir()
    assert "is not lost" in error.value.__notes__[0]
    made = store.maintenance.rescue(kept)
    assert made.metadata == {"tags": {"stage": "raw"}, "description": "the first"}
    assert made.aliases == ()
    assert "s3cr3t" not in str(made.reason)
    assert "[redacted]" in str(made.reason)


def test_outside_of_a_run_and_for_files_and_when_turned_off_nothing_is_kept(
    store: Store, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    for call in (lambda: store.put(Opaque(1), "m"),):
        with pytest.raises(InvalidInputError) as error:
            call()
        assert not hasattr(error.value, "__notes__")
    with store.run("train", code=False) as run:
        with pytest.raises(InvalidInputError):
            run.put(tmp_path / "absent", "m")
        monkeypatch.setenv("ARTIFACTSTORE_RESCUE", "")
        with pytest.raises(InvalidInputError) as error:
            run.put(Opaque(1), "m")
    assert not hasattr(error.value, "__notes__")
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_hides_no_error(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ARTIFACTSTORE_RESCUE", str(tmp_path / "file"))
    with store.run("train", code=False) as run, pytest.raises(InvalidInputError, match="cannot store an object") as error:
        run.put(Opaque(1), "m")
    assert "could not be kept on this machine either" in error.value.__notes__[0]
    monkeypatch.setenv("ARTIFACTSTORE_RESCUE", str(tmp_path / "other"))
    never: list[Any] = []
    with store.run("train", code=False) as run, pytest.raises(InvalidInputError) as error:
        run.put((one for one in never), "m")
    assert "pickle neither" in error.value.__notes__[0]
    assert list((tmp_path / "other").iterdir()) == []


def test_on_the_command_line(store: Store, folder: Path, capfd: pytest.CaptureFixture[str]):
    with store.run("train", code=False) as run, pytest.raises(InvalidInputError):
        run.put({"a": 1}, "no valid name!")
    (kept,) = folder.iterdir()
    assert main(["rescue", str(kept), "--store", store.url]) == 2
    assert main(["rescue", str(kept), "good/name", "--store", store.url]) == 0
    assert "good/name:v1" in capfd.readouterr().out
    assert main(["rescue", str(kept), "good/name", "--store", store.url]) == 3
    assert store.get("good/name") == {"a": 1}


def test_what_was_never_kept_is_named(store: Store, folder: Path, tmp_path: Path):
    with pytest.raises(NotFoundError, match="check the path"):
        store.maintenance.rescue(tmp_path / "nothing")
    with store.run("train", code=False) as run, pytest.raises(InvalidInputError):
        run.put(Opaque(1), "m")
    with pytest.raises(NotFoundError, match=next(folder.iterdir()).name):
        store.maintenance.rescue(tmp_path / "nothing")
