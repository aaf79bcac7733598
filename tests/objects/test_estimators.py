"""scikit-learn's models: the same model has the same digest, everyday ones need no trust, hostile schemas run nothing."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from artifactstore import CorruptionError, UnsupportedError, UntrustedError
from artifactstore.objects import room
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.estimators import Estimator
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files

sklearn = pytest.importorskip("sklearn")
pytest.importorskip("skops")

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


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_and_a_refit_alike_have_the_same_digest(store: Store, name: str):
    import pickle

    model = MODELS[name]().fit(X, Y)
    digest = store.put(model).digest
    assert store.put(pickle.loads(pickle.dumps(model))).digest == digest
    assert store.put(MODELS[name]().fit(X, Y)).digest == digest
    assert store.put(MODELS[name]().fit(X[:100], Y[:100])).digest != digest


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


def test_a_class_of_the_users_own_needs_trust_elsewhere(store: Store, elsewhere: Callable[[str], str]):
    store.put(Own().fit(X, Y), "m")
    assert isinstance(store.get("m"), Own)
    said = elsewhere("store.get('m')")
    assert said.startswith("UntrustedError")
    assert "tests.objects.test_estimators.Own" in said
    assert elsewhere("out = type(store.get('m', trust=['tests.objects.test_estimators.Own'])).__name__") == "Own"


def test_what_skops_can_not_keep_is_a_pickle_and_says_so(store: Store, elsewhere: Callable[[str], str]):
    model = preprocessing.FunctionTransformer(lambda x: x * 2).fit(X)
    with pytest.warns(UserWarning, match="kept as a pickle"):
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
    folder.far = True
    with zipfile.ZipFile(io.BytesIO(zipped(folder))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


def test_few_bytes_that_become_many_are_refused(monkeypatch: pytest.MonkeyPatch):
    import scipy.sparse
    from sklearn.neighbors import NearestNeighbors

    points = scipy.sparse.csr_array((np.zeros(2_000_000), np.zeros(2_000_000, "i4"), np.array([0, 2_000_000])), shape=(1, 1))
    folder = WriteFolder()
    Estimator().write(NearestNeighbors(algorithm="brute").fit(points), folder)
    files = as_files(folder)
    assert sum(map(len, files.values())) < 2**20
    monkeypatch.setattr(room, "_free", lambda: 16 * 2**20)
    with pytest.raises(UnsupportedError, match="this estimator takes"):
        Estimator().read(MemoryFolder(files))
    again = {"schema.json": json.dumps([{"file": "0.npy"}] * 1000).encode(), "0.npy": bytes(2**20)}
    with pytest.raises(UnsupportedError, match=r"takes 1\.0 GB"):
        Estimator().read(MemoryFolder(again))
    with pytest.raises(CorruptionError, match=r"0\.npz can't be read"):
        Estimator().read(MemoryFolder({"schema.json": b"{}", "0.npz": b"PK\x03\x04"}))
