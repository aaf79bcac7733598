"""Bounds checks for what scikit-learn's compiled code follows unchecked: trees, neighbours, support vectors, vocabularies.

A model is checked twice: before it is built, for what compiled code reads during construction (`check_schema`); and once
built, before it is used: each object reachable from it (`check_objects`).
"""

import io
import json
import pickle
from collections.abc import Callable
from typing import Any, Final

from artifactstore.objects.bounds.forest import UnknownModelError, check_trees
from artifactstore.objects.bounds.lightgbm_text import check_lightgbm
from artifactstore.objects.bounds.sparse import check_sparse
from artifactstore.objects.bounds.xgboost_ubj import check_booster

__all__ = ["check_objects", "check_schema"]


def check_schema(schema: Any, read: Callable[[str], bytes]) -> None:
    """Check what compiled code would read while the estimator is built.

    Args:
        schema: as skops writes it, renumbered.
        read: returns the bytes of a file that the schema names.

    Raises:
        UnknownModelError: a booster with parts unknown to this version.
        ValueError: an inconsistent tree or booster.
    """
    todo = [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, list):
            todo += node
        if not isinstance(node, dict):
            continue
        todo += node.values()
        kind = (node.get("__module__"), node.get("__class__"))
        if node.get("__loader__") in {"TypeNode", "CachedNode"}:
            continue  # names a class, or an object defined elsewhere in the schema
        if kind == ("sklearn.tree._tree", "Tree"):
            _check_tree_node(node, read)
        elif kind == ("lightgbm.basic", "Booster"):
            state = _content(node, "_handle")
            if state.get("__loader__") != "JsonNode":
                raise ValueError("a booster of LightGBM's without its model")
            text = json.loads(str(state.get("content")))
            if text is not None:
                check_lightgbm(_text(text))
        elif kind == ("xgboost.core", "Booster"):
            state = _content(node, "handle")
            if state.get("__loader__") == "JsonNode" and state.get("content") == "null":
                continue
            if state.get("__loader__") not in {"BytearrayNode", "BytesNode"}:
                raise ValueError("a booster of XGBoost's without its model")
            check_booster(read(_text(state.get("file"))))


def _content(node: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the value of a key in an object's state, if it is written there."""
    state = node.get("content")
    members = state.get("content") if isinstance(state, dict) and state.get("__loader__") == "DictNode" else None
    found = members.get(key) if isinstance(members, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"a {node.get('__class__')} without {key}")  # noqa: TRY004 - the file is at fault, not a caller
    return found


def _check_tree_node(node: dict[str, Any], read: Callable[[str], bytes]) -> None:
    """Check that a tree has as many class counts as outputs: its constructor copies them unchecked."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    reduced = node.get("__reduce__")
    arguments = reduced.get("args") if isinstance(reduced, dict) else None
    items = arguments.get("content") if isinstance(arguments, dict) else None
    if not isinstance(items, list) or len(items) != 3 or not all(isinstance(one, dict) for one in items):
        raise ValueError("a tree without its three constructor arguments")
    file = items[1].get("file")
    outputs = json.loads(items[2]["content"]) if items[2].get("__loader__") == "JsonNode" else None
    if items[1].get("__loader__") != "NdArrayNode" or not isinstance(file, str) or type(outputs) is not int:
        raise ValueError("a tree without class counts")
    counts = np.load(io.BytesIO(read(file)), allow_pickle=False)
    if counts.ndim != 1 or not 0 < outputs == len(counts) or bool((counts < 1).any()):
        raise ValueError(f"a tree with {outputs} outputs, but {len(counts) if counts.ndim else 'no'} class counts")


def check_objects(made: Any) -> None:
    """Check each object reachable from an estimator.

    Raises:
        ValueError: an index is out of bounds; with the class of its object.
    """
    try:
        _Visitor().dump(made)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"it cannot be traversed: {error}") from error


class _Visitor(pickle.Pickler):
    """Traverses all objects as a pickle would, writes nothing, and skips arrays of numbers."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())

    def persistent_id(self, obj: Any) -> Any:
        import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

        if isinstance(obj, np.ndarray | np.generic):
            return None if obj.dtype.hasobject else "numbers"
        if isinstance(obj, str | bytes | bytearray | type | np.dtype):
            return "plain"
        compiled = False
        for cls in type(obj).__mro__:
            check = _CHECKS.get(f"{cls.__module__}.{cls.__qualname__}")
            if check is not None:
                try:
                    check(obj)
                except UnknownModelError:
                    raise
                except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
                    raise ValueError(f"{type(obj).__name__}: {error}") from error
                compiled |= cls.__module__ in _COMPILED
        return "compiled" if compiled else None


class _Nowhere:
    """A file that discards its data."""

    def write(self, data: bytes) -> int:
        return len(data)


def _require(fits: Any, what: str) -> None:
    if not bool(fits):
        raise ValueError(what)


def _inside(numbers: Any, count: int, what: str) -> None:
    _require(not len(numbers) or 0 <= int(numbers.min()) <= int(numbers.max()) < count, what)


def _tree(tree: Any) -> None:
    """Check `sklearn.tree._tree.Tree`: nodes, depth, features."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    count = int(tree.node_count)
    _require(0 < count == int(tree.capacity), "its node count is wrong")
    nodes = tree.__getstate__()["nodes"]
    left, right = (nodes[key].astype(np.int64) for key in ("left_child", "right_child"))
    for child in (left, right):
        _require(((child == -1) | ((child > 0) & (child < count))).all(), "a child of a node is outside of its tree")
    depth, _ = check_trees(left, right, np.zeros(1, np.int64))
    _require(depth <= int(tree.max_depth), "it is deeper than declared")
    _inside(nodes["feature"][left != -1], int(tree.n_features), "a node uses a feature that does not exist")


def _decision_tree(made: Any) -> None:
    if "tree_" in vars(made):
        _require(made.tree_.n_features == made.n_features_in_, "its tree has another number of features")


def _forest(made: Any) -> None:
    for one in vars(made).get("estimators_", []):
        _require(one.tree_.n_features == made.n_features_in_, "one of its trees has another number of features")


def _isolation(made: Any) -> None:
    if "estimators_" in vars(made):
        for one, columns in zip(made.estimators_, made.estimators_features_, strict=True):
            _require(one.tree_.n_features == len(columns), "one of its trees has another number of features")
            _inside(columns, made.n_features_in_, "one of its trees uses a feature that does not exist")


def _boosting(made: Any) -> None:
    if "estimators_" not in vars(made):
        return
    classes = len(made.classes_) if hasattr(made, "classes_") else 1
    width = classes if classes > 2 else 1
    _require(made.estimators_.ndim == 2 and made.estimators_.shape[1] == width, "it has trees for another number of classes")
    _require(getattr(made, "n_trees_per_iteration_", width) == width, "it has trees for another number of classes")
    first = getattr(made, "init_", None)
    _require(len(getattr(first, "classes_", range(classes))) == classes, "its initial estimator has another number of classes")
    for one in made.estimators_.ravel():
        _require(one.tree_.n_features == made.n_features_in_, "one of its trees has another number of features")


def _histograms(made: Any) -> None:
    """Check the predictors of a HistGradientBoosting estimator."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    if "_predictors" not in vars(made):
        return
    features = int(made.n_features_in_)
    known = np.zeros(features, bool) if made._bin_mapper.is_categorical_ is None else np.asarray(made._bin_mapper.is_categorical_)  # noqa: SLF001 - where scikit-learn keeps it
    _require(
        known.shape == (features,) and len(made._bin_mapper.bin_thresholds_) == features,  # noqa: SLF001
        "bins for another number of features",
    )
    width = {len(one) for one in made._predictors}  # noqa: SLF001
    classes = len(made.classes_) if hasattr(made, "classes_") else 1
    _require(
        width <= {classes if classes > 2 else 1} and made.n_trees_per_iteration_ in width | {1, classes},
        "another number of classes",
    )
    for predictor in (one for each in made._predictors for one in each):  # noqa: SLF001
        nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets
        left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
        inner = nodes["is_leaf"] == 0
        _require(len(nodes) and (nodes["is_leaf"] <= 1).all(), "a tree without nodes")
        _inside(left[inner], len(nodes), "a child of a node is outside of its tree")
        _inside(right[inner], len(nodes), "a child of a node is outside of its tree")
        check_trees(np.where(inner, left, -1), np.where(inner, right, -1), np.zeros(1, np.int64))
        asked = nodes["feature_idx"][inner].astype(np.int64)
        _inside(asked, features, "a node uses a feature that does not exist")
        chosen = nodes["is_categorical"][inner] != 0
        _require(known[asked[chosen]].all(), "a node tests categories of a feature that has none")
        _inside(nodes["bitset_idx"][inner][chosen], len(sets), "a node uses a category set that does not exist")
        _require(sets.ndim == 2 and sets.shape[1] == 8, "category sets of the wrong size")


def _neighbour_tree(tree: Any) -> None:
    """Check `KDTree` and `BallTree`, from the state that `BinaryTree.__getstate__` returns."""
    data, order, nodes, bounds, _, levels, count, *_, metric, weights = tree.__getstate__()
    samples, features = data.shape
    _require(len(order) == samples and len(nodes) == count == 2 ** int(levels) - 1, "its node count is wrong")
    _inside(order, samples, "a neighbour that does not exist")
    _require(len(set(order.tolist())) == samples, "a duplicate neighbour")
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    _require(((starts >= 0) & (starts <= ends) & (ends <= samples)).all(), "a node with samples that do not exist")
    _require(((nodes["is_leaf"] == 0) | (nodes["is_leaf"] == 1)).all(), "a node that is neither leaf nor inner")
    _require((nodes["is_leaf"][count // 2 :] == 1).all(), "an inner node without children")
    kinds = {"KDTree": 2, "BallTree": 1}
    wanted = next(kinds[one] for cls in type(tree).__mro__ for one in kinds if cls.__name__.startswith(one))
    _require(bounds.shape == (wanted, count, features), "bounds for another number of nodes")
    _require(weights is None or len(weights) == samples, "weights for another number of samples")
    vector, size = metric.__getstate__()[1:3]
    _require(size == 0 or size == features == len(vector), "a metric for another number of features")


def _neighbours(made: Any) -> None:
    """Check estimators that search neighbours by brute force or in a tree."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    if "_fit_X" not in vars(made):
        return
    samples, features = made._fit_X.shape  # noqa: SLF001 - where scikit-learn keeps it
    _require(made.n_samples_fit_ == samples, "its sample count is wrong")
    precomputed = made.effective_metric_ == "precomputed"
    _require(features == made.n_features_in_ or precomputed, "samples with another number of features")
    tree = vars(made).get("_tree")
    _require(tree is None or tree.data.shape == (samples, features), "a tree over another number of samples")
    if "_y" in vars(made) and "classes_" in vars(made):
        labels = np.asarray(made._y)  # noqa: SLF001
        _require(len(labels) == samples, "labels for another number of samples")
        single = labels.ndim == 1 or labels.shape[1] == 1
        each = [made.classes_] if single and not isinstance(made.classes_, list) else made.classes_
        for column, classes in zip(labels.reshape(samples, -1).T, each, strict=True):
            _inside(column, len(classes), "a label of a class that does not exist")


def _support_vectors(made: Any) -> None:
    """Check a libsvm estimator: counts of support vectors, and the sizes of the arrays that depend on them."""
    if "support_" not in vars(made):
        return
    vectors, count = made.support_vectors_, len(made.support_)
    _require(made._n_support.ndim == made.support_.ndim == 1, "invalid counts of support vectors")  # noqa: SLF001 - where scikit-learn keeps it
    classes = len(made._n_support)  # noqa: SLF001
    pairs = classes * (classes - 1) // 2
    _require(classes >= 2 and (made._n_support >= 0).all(), "invalid counts of support vectors")  # noqa: SLF001
    if hasattr(made, "classes_"):
        _require(
            len(made.classes_) == classes and made._n_support.sum() == count,  # noqa: SLF001
            "support vectors for another number of classes",
        )
    rows = max(classes - 1, 1) if hasattr(made, "classes_") else 1
    coefficients = made._dual_coef_
    values = coefficients.data if hasattr(coefficients, "indptr") else coefficients
    _require(
        coefficients.shape == (rows, count) and values.size == rows * count, "coefficients for another number of support vectors"
    )
    _require(len(made._intercept_) >= (pairs if hasattr(made, "classes_") else 1), "intercepts for another number of classes")
    for key in ("_probA", "_probB"):
        _require(len(getattr(made, key)) in {0, pairs, 1}, "probabilities for another number of classes")
        _require(
            not hasattr(made, "classes_") or len(getattr(made, key)) in {0, pairs}, "probabilities for another number of classes"
        )
    _inside(made.support_, made.shape_fit_[0], "a support vector that does not exist")
    precomputed = made.kernel == "precomputed"
    _require(precomputed or vectors.shape == (count, made.n_features_in_), "support vectors with another number of features")
    _require(not precomputed or made.shape_fit_[0] == made.n_features_in_, "support vectors for another kernel")


def _centres(made: Any) -> None:
    if "cluster_centers_" in vars(made):
        _require(made.cluster_centers_.ndim == 2, "invalid centres")
        _require(made.cluster_centers_.shape[1] == made.n_features_in_, "centres with another number of features")


def _vocabulary(made: Any) -> None:
    """Check the columns of words: a sparse matrix is built with them unchecked."""
    words = vars(made).get("vocabulary_")
    if words is not None:
        _require(sorted(words.values()) == list(range(len(words))), "words in columns that do not exist")


def _one_hot(made: Any) -> None:
    if "_n_features_outs" in vars(made):
        made_anew = made._compute_n_features_outs()  # noqa: SLF001 - as `fit` does
        _require(list(made._n_features_outs) == list(made_anew), "categories in columns that do not exist")  # noqa: SLF001


_COMPILED: Final = frozenset({"sklearn.tree._tree", "sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree"})
_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "scipy.sparse._base._spbase": check_sparse,
    "sklearn.cluster._kmeans._BaseKMeans": _centres,
    "sklearn.ensemble._forest.BaseForest": _forest,
    "sklearn.ensemble._gb.BaseGradientBoosting": _boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting": _histograms,
    "sklearn.ensemble._iforest.IsolationForest": _isolation,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": _vocabulary,
    "sklearn.feature_extraction.text.CountVectorizer": _vocabulary,
    "sklearn.neighbors._ball_tree.BallTree": _neighbour_tree,
    "sklearn.neighbors._base.NeighborsBase": _neighbours,
    "sklearn.neighbors._kd_tree.KDTree": _neighbour_tree,
    "sklearn.preprocessing._encoders.OneHotEncoder": _one_hot,
    "sklearn.svm._base.BaseLibSVM": _support_vectors,
    "sklearn.tree._classes.BaseDecisionTree": _decision_tree,
    "sklearn.tree._tree.Tree": _tree,
}


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a model that is not text")  # noqa: TRY004 - the file is at fault, not a caller
    return value
