"""scikit-learn's models: the same model has the same digest, everyday ones need no trust, hostile schemas run nothing."""

import copy
import datetime as dt
import enum
import io
import json
import re
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from artifactstore import CorruptionError, UnsupportedError, UntrustedError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.estimators import Estimator
from artifactstore.objects.formats.sameness import is_plain, what_differs
from artifactstore.objects.trust import Trust
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files

sklearn = pytest.importorskip("sklearn")
skops = pytest.importorskip("skops.io") and pytest.importorskip("skops")

from sklearn import (  # noqa: E402  # noqa: E402
    calibration,
    compose,
    datasets,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    model_selection,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)

X, Y = datasets.make_classification(120, 8, random_state=0)
COLUMNS = [("a", preprocessing.StandardScaler(), [0, 1]), ("b", preprocessing.OneHotEncoder(handle_unknown="ignore"), [2])]
MODELS = {
    "forest": lambda: ensemble.RandomForestClassifier(3, random_state=0),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=3, random_state=0),
    "histogram": lambda: ensemble.HistGradientBoostingClassifier(max_iter=3, random_state=0),
    "neighbours": lambda: neighbors.KNeighborsClassifier(algorithm="kd_tree"),
    "balls": lambda: neighbors.KNeighborsClassifier(algorithm="ball_tree"),
    "network": lambda: neural_network.MLPClassifier((4,), max_iter=400, tol=1e-2, random_state=0),
    "calibrated": lambda: calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2),
    "isotonic": lambda: calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=2),
    "columns": lambda: pipeline.make_pipeline(
        compose.ColumnTransformer(COLUMNS, remainder="passthrough"), linear_model.LogisticRegression(max_iter=500)
    ),
    "stack": lambda: ensemble.StackingClassifier([("a", tree.DecisionTreeClassifier(random_state=0)), ("b", naive_bayes.GaussianNB())]),
    "voting": lambda: ensemble.VotingClassifier([("a", svm.SVC()), ("b", naive_bayes.GaussianNB())]),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_and_a_refit_alike_have_the_same_digest(store: Store, name: str):
    import pickle

    model = MODELS[name]().fit(X, Y)
    digest = store.put(model).digest
    assert store.put(pickle.loads(pickle.dumps(model))).digest == digest
    assert store.put(MODELS[name]().fit(X, Y)).digest == digest
    assert store.put(MODELS[name]().fit(X[:100], Y[:100])).digest != digest


@pytest.mark.slow
def test_everyday_models_are_read_elsewhere_without_trust(store: Store, elsewhere: Callable[[str], str], tmp_path: Path):
    models = {name: make().fit(X, Y) for name, make in MODELS.items()}
    models["grid"] = model_selection.GridSearchCV(linear_model.LogisticRegression(), {"C": [0.1, 1]}, cv=2).fit(X, Y)
    models["scored"] = model_selection.GridSearchCV(
        pipeline.make_pipeline(impute.SimpleImputer(), feature_selection.SelectKBest(k=3), linear_model.LogisticRegression()),
        {"logisticregression__C": [0.1, 1]},
        scoring="roc_auc",
        cv=2,
    ).fit(X, Y)
    np.save(tmp_path / "x.npy", X)
    expected = {}
    for name, model in models.items():
        store.put(model, f"m/{name}")
        expected[name] = model.predict(X).tolist()
    said = elsewhere(
        f"X = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"out = json.dumps({{name: store.get('m/' + name).predict(X).tolist() for name in {sorted(models)!r}}})"
    )
    assert json.loads(said) == expected


def files_of(model: object) -> dict[str, bytes]:
    folder = WriteFolder()
    Estimator().write(model, folder)
    return as_files(folder)


def test_a_schema_that_names_a_callable_runs_nothing(tmp_path: Path):
    target = tmp_path / "ran"
    files = files_of(preprocessing.FunctionTransformer(np.log1p).fit(X))
    schema = files["schema.json"].decode()
    assert "log1p" in schema
    for module, function in (("os", "system"), ("subprocess", "getoutput"), ("builtins", "eval"), ("posix", "system")):
        bad = schema.replace('"log1p"', f'"{function}"').replace('"numpy"', f'"{module}"')
        with pytest.raises((UntrustedError, CorruptionError)):
            Estimator().read(MemoryFolder(files | {"schema.json": bad.encode()}))
    assert not target.exists()


@pytest.mark.parametrize(
    "loader", ["ObjectNode", "ReduceNode", "TypeNode", "FunctionNode", "MethodNode", "OperatorFuncNode", "PartialNode"]
)
def test_a_schema_that_names_a_class_of_its_own_is_refused_by_name(loader: str):
    node = {
        "__class__": "Popen", "__module__": "subprocess", "__loader__": loader, "__id__": 1, "content": {},
        "reduce": {}, "attrs": {}, "constructor": {}, "func": {}, "state": {}, "method": {}, "type": "json",
    }  # fmt: skip
    schema = {"protocol": 2, "_skops_version": "0.13", **node}
    with pytest.raises((UntrustedError, CorruptionError)) as caught:
        Estimator().read(MemoryFolder({"schema.json": json.dumps(schema).encode()}))
    assert "Popen" in str(caught.value) or isinstance(caught.value, CorruptionError)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"nothing", b'{"a": ' * 5000, b'{"__loader__": "ObjectNode"}'])
def test_a_damaged_schema_is_damaged(raw: bytes):
    with pytest.raises(CorruptionError):
        Estimator().read(MemoryFolder({"schema.json": raw}))


class Own(linear_model.LogisticRegression):  # type: ignore[misc]
    """A class of the user's own."""


@pytest.mark.slow
def test_a_class_of_the_users_own_needs_trust_elsewhere(store: Store, elsewhere: Callable[[str], str]):
    store.put(Own().fit(X, Y), "m")
    assert isinstance(store.get("m"), Own)
    said = elsewhere("store.get('m')")
    assert said.startswith("UntrustedError")
    assert "tests.objects.test_estimators.Own" in said
    assert elsewhere("out = type(store.get('m', trust=['tests.objects.test_estimators.Own'])).__name__") == "Own"


def test_what_skops_can_not_keep_is_a_pickle_and_says_so(store: Store, elsewhere: Callable[[str], str]):
    model = preprocessing.FunctionTransformer(lambda x: x * 2).fit(X)
    with pytest.warns(UserWarning, match="stored as a pickle"):
        store.put(model, "m")
    assert (store.get("m").transform(X) == X * 2).all()
    assert elsewhere("store.get('m')").startswith("UntrustedError")


def test_the_files_are_skops_own_again_when_zipped(tmp_path: Path):
    import skops.io

    model = linear_model.LogisticRegression().fit(X, Y)
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        for name, data in files_of(model).items():
            archive.writestr(name, data)
    assert (skops.io.load(tmp_path / "model.skops").predict(X) == model.predict(X)).all()


def test_what_lies_between_the_fields_of_a_record_is_no_part_of_it():
    import io

    from artifactstore.objects.formats.estimators import _without_padding

    kind = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    written = []
    for fill in (0, 255):
        raw = bytearray([fill]) * kind.itemsize * 3
        records = np.frombuffer(raw, kind)
        records["a"], records["b"] = [1, 2, 3], [0.5, 1.5, 2.5]
        file = io.BytesIO()
        np.save(file, records)
        written.append(file.getvalue())
    assert written[0] != written[1]
    clean = [b"".join(_without_padding(one, "a.npy")) for one in written]
    assert clean[0] == clean[1] == written[0]
    assert (np.load(io.BytesIO(clean[1]))["b"] == [0.5, 1.5, 2.5]).all()
    plain = io.BytesIO()
    np.save(plain, np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert b"".join(_without_padding(plain.getvalue(), "a.npy")) == plain.getvalue()


def test_the_files_of_a_model_elsewhere_are_read_at_the_same_time():
    import threading

    from artifactstore.objects.base import zipped
    from tests.objects.folder import MemoryFolder

    met = threading.Barrier(4, timeout=30)

    class Far(MemoryFolder):
        def read(self, name: str) -> bytes:
            met.wait()
            return super().read(name)

    files = {f"{number}.npy": bytes([number]) for number in range(8)}
    folder = Far(files)
    folder.is_remote = True
    with zipfile.ZipFile(io.BytesIO(zipped(folder))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_few_bytes_that_become_many_are_refused(free_memory: Callable[[int], None]):
    import scipy.sparse
    from sklearn.neighbors import NearestNeighbors

    points = scipy.sparse.csr_array((np.zeros(2_000_000), np.zeros(2_000_000, "i4"), np.array([0, 2_000_000])), shape=(1, 1))
    folder = WriteFolder()
    Estimator().write(NearestNeighbors(algorithm="brute").fit(points), folder)
    files = as_files(folder)
    assert sum(map(len, files.values())) < 2**20
    free_memory(16 * 2**20)
    with pytest.raises(UnsupportedError, match="this estimator takes"):
        Estimator().read(MemoryFolder(files))
    again = {"schema.json": json.dumps([{"file": "0.npy"}] * 1000).encode(), "0.npy": bytes(2**20)}
    with pytest.raises(UnsupportedError, match=r"takes 1\.0 GB"):
        Estimator().read(MemoryFolder(again))
    with pytest.raises(CorruptionError, match=r"0\.npz cannot be read"):
        Estimator().read(MemoryFolder({"schema.json": b"{}", "0.npz": b"PK\x03\x04"}))


class Strength(enum.IntEnum):
    LOW = 1


class Pair(NamedTuple):
    a: int
    b: str


VALUES: dict[str, Any] = {
    "text": "a", "numbers": [1, -0.5, float("inf"), 2**70, True, None], "NumPy's": [np.float64(0.1), np.int32(5), np.bool_(False)],  # noqa: FBT003
    "dict": {"b": 1, "a": [2]}, "whole keys": {2: "a", 1: "b"}, "flags": {True: "yes", False: "no"}, "mixed keys": {1: "a", "1": "b"}, "None as a key": {None: "?"},
    "float keys": {0.5: 1}, "tuple keys": {(1, 2): 3}, "NumPy keys": {np.int64(3): 1, np.int64(4): 2}, "ordered": OrderedDict(b=1, a=2), "default": defaultdict(list, a=[1]), "counter": Counter("aab"),
    "tuple": (1, "a"), "named tuple": Pair(1, "b"), "set": {1, 2}, "frozen": frozenset({1}), "deque": deque([1, 2], maxlen=5), "slice": slice(1, None, 2), "bytes": b"a\0", "bytearray": bytearray(b"a"),
    "range": range(3), "pattern": re.compile("a"), "date": dt.date(2020, 1, 1), "moment": dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "decimal": Decimal("1.50"), "enum": Strength.LOW, "text of NumPy": np.str_("a"),
    "path": Path("a"), "function": np.log1p, "method of a class": str.split, "partial": partial(np.clip, a_max=3), "bound": "a b".split, "type": dict, "dtype": np.dtype("f4"), "array": np.arange(3.0), "texts": np.array(["a", "b"]),
    "objects": np.array(["a", None, 1], object), "masked": np.ma.MaskedArray([1, 2], [True, False]), "stamp": pd.Timestamp("2020"), "frame": pd.DataFrame({"a": [1]}), "complex": 1j, "ellipsis": ..., "datetime64": np.datetime64("2020-01-01"),
    "structured": np.zeros(2, [("a", "i1"), ("b", "f8")]), "generator": np.random.default_rng(3), "state": np.random.RandomState(3), "nested": {"a": ({"b": [deque([1])]},)}, "self": "itself",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("value", VALUES)
def test_a_value_in_an_estimator_comes_back_as_it_was(value: str):
    model = preprocessing.FunctionTransformer(np.clip, kw_args={"v": VALUES[value]})
    if value == "self":
        model.kw_args["v"] = model
    folder = WriteFolder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Estimator().write(model, folder)
    back = Estimator().read(MemoryFolder(as_files(folder), Trust(everything=True)))
    assert value in {"frame", "bound"} or what_differs(model, back) is None
    if value not in {
        "frame",
        "array",
        "texts",
        "objects",
        "masked",
        "structured",
        "generator",
        "state",
        "self",
        "bound",
        "partial",
    }:
        assert back.kw_args["v"] == VALUES[value]
        assert type(back.kw_args["v"]) is type(VALUES[value])
        assert repr(back.kw_args["v"]) == repr(VALUES[value])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_of_every_day_are_the_same_when_they_come_back_and_are_not_read_at_put(name: str):
    model = MODELS[name]().fit(X, Y)
    raw = skops.io.dumps(model)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert is_plain(json.loads(archive.read("schema.json")), model)
    assert what_differs(model, skops.io.loads(raw, trusted=skops.io.get_untrusted_types(data=raw))) is None


def test_what_differs_is_found_wherever_it_is():
    model = ensemble.GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, Y)
    other = ensemble.GradientBoostingClassifier(n_estimators=2, random_state=0).fit(X, Y)
    assert what_differs(model, other) is None
    other.estimators_[1, 0].tree_.value[0] += 1
    assert "estimators_" in str(what_differs(model, other))
    for key, value in {"learning_rate": 0.2, "subsample": 1, "n_iter_no_change": np.int64(3)}.items():
        changed = copy.deepcopy(model)
        vars(changed)[key] = value
        assert what_differs(model, changed) == key
