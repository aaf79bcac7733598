"""Models that were changed at random where a compiled reader follows numbers; run as a program, it reads and uses them.

    python tests/objects/hostile_models.py FAMILY SEED COUNT

reads COUNT changed models in this process, uses those that are taken as a user would, and prints how many were taken. Before
each case it writes the number of the case, so whoever started it knows at which one the process ended.
"""

import functools
import io
import itertools
import json
import random
import re
import struct
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from artifactstore import CorruptionError, UntrustedError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.arrays import Sparse
from artifactstore.objects.formats.boosting import LightGbm, XGBoost
from artifactstore.objects.formats.estimators import Estimator
from tests.objects.folder import MemoryFolder, as_files

Files = dict[str, bytes]
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(120, 4))
X[:, 2] = RANDOM.integers(0, 30, 120)
CLASSES = RANDOM.integers(0, 3, 120)
ODD = (-1, 0, 1, 2, 3, 7, 100, 2**31 - 1, -(2**31), 999_999)


def quicken_skops() -> None:
    """skops makes one list of names anew for each node of a model, which is half of the time it takes to read one."""
    from skops.io import _audit

    make = _audit.get_type_paths
    kept = functools.cache(make)
    _audit.get_type_paths = lambda types: list(kept(tuple(types))) if isinstance(types, list | tuple) else make(types)


def files_of(kind: Any, made: Any) -> Files:
    folder = WriteFolder()
    kind.write(made, folder)
    return as_files(folder)


def lightgbm_models() -> list[Files]:
    import lightgbm

    base = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 2, "min_data_per_group": 1, "cat_smooth": 0}
    shapes: list[tuple[dict[str, Any], Any, dict[str, Any]]] = [
        ({"num_leaves": 6}, X[:, 2] * 7 % 5, {"categorical_feature": [2]}),
        ({"num_leaves": 4, "linear_tree": True, "min_data_in_leaf": 20}, X[:, 0], {}),
        ({"objective": "multiclass", "num_class": 3, "num_leaves": 4}, CLASSES, {}),
        ({"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, CLASSES > 0, {}),
    ]
    trained = [lightgbm.train({**base, **more}, lightgbm.Dataset(X, label=y, **how), 2) for more, y, how in shapes]
    return [files_of(LightGbm(), one) for one in trained]


def change_text(files: Files, chance: random.Random) -> Files:
    """Change numbers of a model, lines, or the order of a line's numbers; sizes of trees are mended, so that it is read on."""
    text = files["model.txt"].decode()
    for _ in range(chance.choice([1, 1, 2])):
        lines = text.split("\n")
        chosen = [
            i for i, line in enumerate(lines) if re.match(r"(left|right)_child|split_f|cat_|thresh|decis|num_|leaf_f|max_f", line)
        ]
        at = chance.choice(chosen if chance.random() < 0.8 else range(len(lines)))
        key, _, rest = lines[at].partition("=")
        numbers = rest.split(" ")
        if chance.random() < 0.3:
            chance.shuffle(numbers)
        elif chance.random() < 0.8:
            numbers[chance.randrange(len(numbers))] = str(chance.choice([*ODD, *range(-6, 7), "x", "1e400", "nan", ""]))
        else:
            numbers = numbers[: chance.randrange(len(numbers) + 1)]
        lines[at] = f"{key}={' '.join(numbers)}"
        text = "\n".join(lines)
    if chance.random() < 0.9:
        ends = [one.start() for one in re.finditer(r"(?m)^(?:Tree=\d+|end of trees)$", text)]
        sizes = [str(b - a) for a, b in itertools.pairwise(ends)]
        text = re.sub(r"(?m)^tree_sizes=.*$", f"tree_sizes={' '.join(sizes)}", text)
    return {"model.txt": text.encode()}


def use_lightgbm(model: Any) -> None:
    rows = np.vstack([X[:5], np.full((1, 4), np.nan), np.full((1, 4), 1e18), np.full((1, 4), -1e18)])
    if model.num_feature() == rows.shape[1]:
        model.predict(rows)
        model.predict(rows, pred_leaf=True)
        if "is_linear=1" not in model.model_to_string():
            model.predict(rows, pred_contrib=True)
    model.dump_model()


def xgboost_models() -> list[Files]:
    import pandas as pd
    import xgboost

    frame = pd.DataFrame({"a": X[:, 0], "c": pd.Categorical(np.array(list("abcdef"))[X[:, 2].astype(int) % 6])})
    plain, chosen = xgboost.DMatrix(X, label=CLASSES), xgboost.DMatrix(frame, label=X[:, 2] % 3, enable_categorical=True)
    shapes: list[tuple[dict[str, Any], Any]] = [
        ({"max_depth": 3}, plain),
        ({"max_depth": 3, "max_cat_to_onehot": 1}, chosen),
        ({"objective": "multi:softprob", "num_class": 3, "gamma": 2}, plain),
        ({"booster": "dart", "rate_drop": 0.5}, plain),
        ({"booster": "gblinear"}, plain),
    ]
    return [files_of(XGBoost(), xgboost.train({"nthread": 1, **more}, data, 2)) for more, data in shapes]


def change_binary(files: Files, chance: random.Random) -> Files:
    """Change a number behind one of the keys that are followed, or any byte."""
    raw = bytearray(files["model.ubj"])
    keys = rb"children|parents|indices|categories\w*|split_type|tree_info|indptr|sorted_idx|segments|offsets|weight_drop|num_\w+|weights"
    for _ in range(chance.choice([1, 1, 2])):
        if chance.random() < 0.8:
            at = chance.choice([one.end() for one in re.finditer(keys, raw)]) + chance.choice([2, 12]) + 4 * chance.randrange(6)
            value = struct.pack(">i", chance.choice(ODD)) if chance.random() < 0.7 else bytes([chance.randrange(256)])
            raw[at : at + len(value)] = value
        else:
            raw[chance.randrange(len(raw))] = chance.randrange(256)
    return {"model.ubj": bytes(raw)}


def use_xgboost(model: Any) -> None:
    import xgboost

    count = model.num_features()
    if count > 100:
        return
    names, kinds = model.feature_names, model.feature_types
    data = xgboost.DMatrix(np.abs(X[:8, :count]) // 1 % 5 if count <= 4 else np.ones((8, count)), feature_names=names, feature_types=kinds, enable_categorical=True)  # fmt: skip
    for how in ({}, {"pred_leaf": True}, {"pred_contribs": True}, {"output_margin": True}):
        try:
            model.predict(data, **how)
        except xgboost.core.XGBoostError:
            continue
    model.get_dump(with_stats=True)


def sparse_matrices() -> list[Files]:
    import scipy.sparse

    made = scipy.sparse.random_array((12, 8), density=0.3, random_state=0)
    return [files_of(Sparse(), one) for one in (made.tocsr(), made.tocsc(), made.tocoo(), made.todia(), made.tobsr((3, 2)))]


def use_sparse(matrix: Any) -> None:
    if max(matrix.shape) > 1000:
        return
    matrix @ np.ones(matrix.shape[1])
    matrix.toarray()
    for make in (matrix.tocsr, matrix.tocsc, matrix.tocoo):
        made = make()
        (made + made).sum()
    matrix.T.tocsr()


def estimators() -> list[Files]:
    from sklearn.cluster import KMeans
    from sklearn.ensemble import (
        ExtraTreesRegressor,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.svm import SVC, SVR, OneClassSVM
    from sklearn.tree import DecisionTreeClassifier

    quicken_skops()
    two = {"n_estimators": 2, "random_state": 0}
    made: list[Any] = [
        DecisionTreeClassifier(max_depth=3),
        RandomForestClassifier(**two, max_depth=3),
        ExtraTreesRegressor(**two, max_depth=3),
        GradientBoostingClassifier(**two, max_depth=2),
        HistGradientBoostingClassifier(max_iter=2, max_depth=3),
        IsolationForest(**two, max_features=0.5),
        KNeighborsClassifier(algorithm="kd_tree", leaf_size=8),
        KNeighborsClassifier(algorithm="ball_tree", leaf_size=8),
        KNeighborsClassifier(algorithm="brute"),
        KMeans(3, n_init=1, random_state=0),
        SVC(),
        SVR(),
        OneClassSVM(),
    ]
    found = [one.fit(X, CLASSES) for one in made]
    words = make_pipeline(CountVectorizer(), TfidfTransformer()).fit(["a bc de fg", "bc de hi", "jk lm no"])
    return [files_of(Estimator(), one) for one in (*found, words, OneHotEncoder().fit(CLASSES.reshape(-1, 1)))]


def change_estimator(files: Files, chance: random.Random) -> Files:
    """Change numbers in one array, or one whole number of the schema."""
    made = dict(files)
    arrays = [name for name in files if name.endswith((".npy", ".npz"))]
    for _ in range(chance.choice([1, 1, 2])):
        if not arrays or chance.random() < 0.3:
            schema = made["schema.json"].decode()
            found = chance.choice(list(re.finditer(r'(?<="content":")-?\d+(?=")', schema)) or [None])
            if found is not None:
                schema = schema[: found.start()] + str(chance.choice(ODD)) + schema[found.end() :]
            made["schema.json"] = schema.encode()
            continue
        name = chance.choice(arrays)
        try:
            array = np.load(io.BytesIO(made[name]), allow_pickle=False)
        except ValueError:
            continue
        if name.endswith(".npz"):
            parts = {key: array[key].copy() for key in array.files}
            target = parts[chance.choice([key for key in parts if key not in {"format", "_is_array"}])]
        else:
            target = array = array.copy()
        target = target[chance.choice(target.dtype.names)] if target.dtype.names else target
        if target.dtype.kind in "iuf" and target.size:
            flat = np.unravel_index(chance.randrange(target.size), target.shape)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target[flat] = np.array(chance.choice(ODD)).astype(target.dtype)
        sink = io.BytesIO()
        if name.endswith(".npz"):
            np.savez(sink, **parts)
        elif chance.random() < 0.1 and array.ndim and len(array):
            np.save(sink, array[:-1])
        else:
            np.save(sink, array)
        made[name] = sink.getvalue()
    return made


def change_arrays(files: Files, chance: random.Random) -> Files:
    made = change_estimator({**files, "schema.json": b""}, chance)
    del made["schema.json"]
    if chance.random() < 0.2:
        about = json.loads(made["sparse.json"])
        about["shape"][chance.randrange(2)] = chance.choice(ODD)
        made["sparse.json"] = json.dumps(about).encode()
    return made


def use_estimator(model: Any) -> None:
    words = hasattr(model, "steps")
    rows: Any = ["a bc xx", "lm no"] if words else CLASSES[:5].reshape(-1, 1) if hasattr(model, "categories_") else X[:8]
    for name in (
        "predict",
        "predict_proba",
        "transform",
        "decision_function",
        "kneighbors",
        "apply",
        "decision_path",
        "score_samples",
    ):
        if hasattr(model, name):
            try:
                made = getattr(model, name)(rows)
                if words:
                    (made @ made.T).sum()
            except (ValueError, TypeError, IndexError, AttributeError, KeyError, MemoryError, OverflowError, ZeroDivisionError):
                continue


FAMILIES: dict[str, tuple[Any, Callable[[], list[Files]], Callable[[Files, random.Random], Files], Callable[[Any], None]]] = {
    "lightgbm": (LightGbm, lightgbm_models, change_text, use_lightgbm),
    "xgboost": (XGBoost, xgboost_models, change_binary, use_xgboost),
    "sparse": (Sparse, sparse_matrices, change_arrays, use_sparse),
    "estimators": (Estimator, estimators, change_estimator, use_estimator),
}


def main(family: str, seed: int, count: int) -> None:
    warnings.simplefilter("ignore")
    kind, models, change, use = FAMILIES[family]
    good, taken, refused = models(), 0, 0
    for files in good:
        use(kind().read(MemoryFolder(files)))
    for number in range(count):
        print("case", number, flush=True)
        chance = random.Random(f"{seed} {number}")
        try:
            made = kind().read(MemoryFolder(change(chance.choice(good), chance)))
        except (CorruptionError, UntrustedError):
            refused += 1
            continue
        taken += 1
        try:
            use(made)
        except (
            ValueError,
            TypeError,
            OverflowError,
            MemoryError,
        ) as error:  # an error is an answer; the end of the process is none
            print("an error:", type(error).__name__)
    print(f"taken {taken} refused {refused}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
