"""Keras models: the same model, the same digest; read only by who trusts them. Runs where Keras is installed."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifactstore import CorruptionError, InvalidInputError, UntrustedError
from artifactstore.objects.formats.keras import Keras
from artifactstore.objects.trust import Trust
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Keras's own

X = np.random.default_rng(0).random((8, 4)).astype("f4")


def model() -> Any:
    keras.utils.clear_session()  # which counts the names that it gives: they are a part of a model
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")], name="m")
    made.compile("adam", "mse")
    made.fit(X, X.sum(1), epochs=1, verbose=0)
    return made


def test_the_same_model_has_the_same_digest_and_comes_back(store: Store, elsewhere: Callable[[str], str]):
    made = store.put(model(), "m")
    assert [one.path for one in made.files] == ["config.json", "metadata.json", "model.weights.h5"]
    assert store.put(model(), "m").version == 1
    want = model().predict(X, verbose=0)
    np.testing.assert_allclose(store.get("m").predict(X, verbose=0), want, rtol=1e-5)
    assert store.get("m", compile=False).compiled is False
    ask = f"out = store.get('m', trust=True).predict(np.array({X[:2].tolist()!r}), verbose=0).shape"
    assert elsewhere(ask) == "[2, 1]"
    said = elsewhere("store.get('m')")
    assert said.startswith("UntrustedError")
    assert "keras.layers.Dense" in said


def test_names_are_trusted_one_by_one(store: Store, tmp_path: Path):
    files = {one.name: one.read_bytes() for one in _files(store, tmp_path)}
    with pytest.raises(UntrustedError) as caught:
        Keras().read(MemoryFolder(files, Trust(names=frozenset({"keras.Sequential"}))))
    assert "keras.layers.Dense" in str(caught.value)
    with pytest.raises(UntrustedError):
        Keras().read(MemoryFolder(files))


def _files(store: Store, tmp_path: Path) -> list[Path]:
    store.put(model(), "m")
    return list(store.get("m", tmp_path / "to").iterdir())


def test_code_in_a_configuration_runs_only_where_everything_is_trusted(store: Store, tmp_path: Path):
    mark = tmp_path / "ran"
    layer = keras.layers.Lambda(eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]"), output_shape=(4,), name="l")
    store.put(keras.Sequential([keras.Input((4,)), layer], name="m"), "l")
    mark.unlink(missing_ok=True)
    files = {one.name: one.read_bytes() for one in store.get("l", tmp_path / "to").iterdir()}
    with pytest.raises(UntrustedError):
        Keras().read(MemoryFolder(files))
    named = frozenset(_named(json.loads(files["config.json"])))
    with pytest.raises(CorruptionError):
        Keras().read(MemoryFolder(files, Trust(names=named)))
    assert not mark.exists()


def _named(node: Any) -> set[str]:
    from artifactstore.objects.formats.keras import _classes

    return _classes(node)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"class_name": "Nope", "module": "keras.layers", "config": {}}'])
def test_a_damaged_model_is_damaged(raw: bytes):
    with pytest.raises(CorruptionError):
        Keras().read(MemoryFolder({"config.json": raw, "metadata.json": b"{}", "model.weights.h5": b"x"}, Trust(everything=True)))


OWN = """
import keras


class Scale(keras.layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],))

    def call(self, x):
        return x * self.w
"""


def test_a_layer_of_the_users_own_is_imported_where_it_is_trusted_and_asked_for_where_it_is_not_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "layers_of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    mine = importlib.import_module("layers_of_mine")
    made = keras.Sequential([keras.Input((4,)), mine.Scale()])
    with pytest.warns(UserWarning, match=r"layers_of_mine\.Scale"):
        store.put(made, "own")
    files = {one.name: one.read_bytes() for one in store.get("own", tmp_path / "to").iterdir()}
    want = made.predict(X, verbose=0)
    everything = MemoryFolder(files, Trust(everything=True))
    np.testing.assert_allclose(Keras().read(everything).predict(X, verbose=0), want)
    with pytest.raises(UntrustedError, match=r"layers_of_mine\.Scale"):
        Keras().read(MemoryFolder(files, Trust(names=frozenset({"keras.Sequential"}))))
    monkeypatch.delitem(sys.modules, "layers_of_mine")
    (tmp_path / "layers_of_mine.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(InvalidInputError, match="custom_objects="):
        Keras().read(everything)
    given = Keras().read(everything, custom_objects={"Scale": mine.Scale})
    np.testing.assert_allclose(given.predict(X, verbose=0), want)
