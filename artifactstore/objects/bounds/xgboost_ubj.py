"""Strict parser for XGBoost models in universal binary JSON, as XGBoost writes them (`UBJWriter`, `RegTree::SaveModel`).

XGBoost's own reader does not validate parents, children, features and category segments. A model that passes these checks is
read to its end, and neither the reader nor a prediction leaves its trees.
"""

import re
import struct
from typing import Any, Final

from artifactstore.objects.bounds.forest import UnknownModelError, check_trees, outside
from artifactstore.objects.memory_limit import check_memory

__all__ = ["check_booster", "check_xgboost"]

_MAX_NESTING: Final = 32  # max levels; XGBoost's own models have nine
_CATEGORY: Final = 2**24  # XGBoost's own limit: largest integer up to which a float counts without gaps
_ROOT: Final = {-1, 2**31 - 1}  # parent values that mark a root
_ROWS: Final = 64  # rows that a prediction makes dense at a time, with all features
_SCALARS: Final = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q", b"d": ">f", b"D": ">d"}
_PER_NODE: Final = [
    "base_weights",
    "default_left",
    "left_children",
    "loss_changes",
    "parents",
    "right_children",
    "split_conditions",
    "split_indices",
    "split_type",
    "sum_hessian",
]
_CATEGORICAL: Final = ["categories", "categories_nodes", "categories_segments", "categories_sizes"]
_SCORE: Final = re.compile(r"\[?-?[0-9.]{1,40}(?:E-?[0-9]{1,3})?(?:,-?[0-9.]{1,40}(?:E-?[0-9]{1,3})?)*\]?", re.IGNORECASE)


class _Reader:
    """Parser for universal binary JSON (ubjson.org, draft 12), for the subset that XGBoost writes."""

    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0

    def all(self) -> Any:
        found = self._value(0)
        if self._at != len(self._raw):
            raise ValueError(f"{len(self._raw) - self._at:,} bytes after its end")
        return found

    def _take(self, size: int) -> bytes:
        if not 0 <= size <= len(self._raw) - self._at:
            raise ValueError("it is truncated")
        self._at += size
        return self._raw[self._at - size : self._at]

    def _count(self) -> int:
        if self._take(1) != b"L":
            raise ValueError("a length was expected")
        return int.from_bytes(self._take(8), signed=True)

    def _text(self) -> str:
        return self._take(self._count()).decode()

    def _value(self, depth: int) -> Any:
        if depth > _MAX_NESTING:
            raise ValueError("it is nested too deeply")
        mark = self._take(1)
        if mark == b"{":
            return self._members(depth)
        if mark == b"[":
            return self._items(depth)
        if mark == b"S":
            return self._text()
        if mark in _SCALARS:
            return struct.unpack(_SCALARS[mark], self._take(struct.calcsize(_SCALARS[mark])))[0]
        if mark in b"TFZ":
            return {b"T": True, b"F": False, b"Z": None}[mark]
        raise ValueError(f"unknown marker {mark!r}")

    def _members(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self._raw[self._at : self._at + 1] != b"}":
            key = self._text()
            if key in found:
                raise ValueError(f"duplicate key {key[:40]!r}")
            found[key] = self._value(depth + 1)
        self._at += 1
        return found

    def _items(self, depth: int) -> Any:
        import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

        kind = self._take(1)
        if kind == b"$":
            dtype = np.dtype(_SCALARS[mark] if (mark := self._take(1)) in _SCALARS else "V0")
            if not dtype.itemsize or self._take(1) != b"#":
                raise ValueError("an array of an unknown type")
            return np.frombuffer(self._take(max(self._count(), -1) * dtype.itemsize), dtype)
        if kind != b"#" or not 0 <= (count := self._count()) <= len(self._raw) - self._at:
            raise ValueError("an array without a length")
        return [self._value(depth + 1) for _ in range(count)]


def check_xgboost(raw: bytes) -> None:
    """Check every count and index of the output of `Booster.save_raw("ubj")`.

    Raises:
        UnknownModelError: parts unknown to this module.
        ValueError: anything that XGBoost does not write.
    """
    _check_model(_Reader(raw).all())


def check_booster(raw: bytes) -> None:
    """Check the content of a pickled booster: a model as for `check_xgboost`, with its training configuration.

    Raises:
        UnknownModelError: parts unknown to this module.
        ValueError: anything that XGBoost does not write.
    """
    found = _Reader(raw).all()
    if not isinstance(found, dict) or found.keys() != {"Config", "Model"}:
        raise UnknownModelError("unknown content in the booster")
    _check_model(found["Model"])


def _check_model(model: Any) -> None:
    learner = _part(_known(model, "learner", "version"), "learner")
    _known(learner, "attributes", "feature_names", "feature_types", "gradient_booster", "learner_model_param", "objective")
    about = _part(learner, "learner_model_param")
    _known(about, "base_score", "boost_from_average", "num_class", "num_feature", "num_target")
    features, outputs = _number(about, "num_feature"), max(_number(about, "num_class"), _number(about, "num_target", "1"), 1)
    check_memory(features * _ROWS * 4, "this XGBoost model", "get its files with to=")
    score = about.get("base_score")
    if not isinstance(score, str) or not _SCORE.fullmatch(score) or score.count(",") not in {0, outputs - 1}:
        raise ValueError(f"invalid base score {str(score)[:40]!r}")
    if not all(isinstance(one, str) for one in _part(learner, "attributes").values()):
        raise ValueError("an attribute is not text")
    for key in ("feature_names", "feature_types"):
        names = learner.get(key, [])
        if not isinstance(names, list) or len(names) not in {0, features} or not all(isinstance(one, str) for one in names):
            raise ValueError(f"{key} must have an entry for each of {features:,} features")
    _check_objective(_part(learner, "objective"), outputs)
    _check_gradient(_part(learner, "gradient_booster"), features, outputs)


def _check_objective(objective: dict[str, Any], outputs: int) -> None:
    for key, value in objective.items():
        if isinstance(value, dict):
            if not all(isinstance(one, str) for one in value.values()):
                raise UnknownModelError(f"{key[:40]!r} of its objective")
            if "num_class" in value and _number(value, "num_class") not in {0, 1, outputs}:
                raise ValueError(f"an objective with {value['num_class'][:20]} classes in a model with {outputs}")
        elif isinstance(value, list):
            if not all(isinstance(one, float) for one in value):
                raise UnknownModelError(f"{key[:40]!r} of its objective")
        elif not isinstance(value, str) and not _is_array(value, "f"):
            raise UnknownModelError(f"{key[:40]!r} of its objective")


def _check_gradient(booster: dict[str, Any], features: int, outputs: int) -> None:
    name = booster.get("name")
    if name == "dart":
        model = _part(_known(booster, "name", "gbtree", "weight_drop"), "gbtree")
        count = _check_trees(_part(model, "model"), features, outputs)
        if len(_numbers(booster, "weight_drop")) != count:
            raise ValueError("tree weights for another number of trees")
    elif name == "gbtree":
        _check_trees(_part(_known(booster, "name", "model"), "model"), features, outputs)
    elif name == "gblinear":
        model = _known(_part(_known(booster, "name", "model"), "model"), "boosted_rounds", "weights")
        if len(_numbers(model, "weights")) != (features + 1) * outputs or type(model.get("boosted_rounds")) is not int:
            raise ValueError("weights for another number of features")
    else:
        raise UnknownModelError(f"an unknown booster {str(name)[:40]!r}")


def _check_trees(model: dict[str, Any], features: int, outputs: int) -> int:
    """Check all trees of a model, and return their number."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    _known(model, "cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees")
    about = _part(model, "gbtree_model_param")
    _known(about, "num_parallel_tree", "num_trees", "size_leaf_vector")
    trees, groups = model.get("trees"), _integers(model, "tree_info")
    count = _number(about, "num_trees")
    if not isinstance(trees, list) or not count == len(trees) == len(groups) or bool(outside(groups, outputs).any()):
        raise ValueError("trees without an output, or another number of trees than declared")
    parallel = _number(about, "num_parallel_tree", "1")
    rounds = _integers(model, "iteration_indptr") if "iteration_indptr" in model else None
    if rounds is None:
        if not parallel or count % (parallel * outputs):
            raise ValueError("iterations with unequal numbers of trees")
    elif not len(rounds) or rounds[0] != 0 or rounds[-1] != count or bool((rounds[1:] < rounds[:-1]).any()):
        raise ValueError("iterations that do not cover its trees")
    checked = [_tree(one, features) for one in trees]
    sizes = np.array([len(one["left_children"]) for one in checked], np.int64)
    roots = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))[:-1]
    if checked:
        shift = np.repeat(roots, sizes)
        left, right = (np.concatenate([one[key] for one in checked]) for key in ("left_children", "right_children"))
        _, reached = check_trees(np.where(left < 0, -1, left + shift), np.where(right < 0, -1, right + shift), roots)
        inner = reached & (left != -1)
        asked = np.concatenate([one["split_indices"] for one in checked])
        if bool(outside(asked[inner], features).any()):
            raise ValueError("a node uses a feature that does not exist")
        sets = np.concatenate([one["has_set"] for one in checked])
        kinds = np.concatenate([one["split_type"] for one in checked])
        if bool(outside(kinds, 2).any()) or bool((inner & (kinds == 1) & ~sets).any()):
            raise ValueError("a node uses a category set that does not exist")
        check_memory(sum(one["bits"] for one in checked) // 8, "this XGBoost model", "get its files with to=")
    _check_categories(model.get("cats"), features)
    return count


def _tree(tree: Any, features: int) -> dict[str, Any]:
    """Return the arrays of a tree, each checked for the length that the tree's counts require."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    about = _part(_known(tree, "id", "tree_param", *_PER_NODE, *_CATEGORICAL), "tree_param")
    _known(about, "num_deleted", "num_feature", "num_nodes", "size_leaf_vector")
    if _number(about, "size_leaf_vector", "0") > 1:
        raise UnknownModelError("a tree with several outputs in a leaf")
    nodes = _number(about, "num_nodes")
    if not nodes or _number(about, "num_feature") not in {0, features} or _number(about, "num_deleted") > nodes:
        raise ValueError("a tree with other counts than its model")
    made: dict[str, Any] = {}
    for key in _PER_NODE:
        made[key] = (_numbers if key in {"base_weights", "loss_changes", "split_conditions", "sum_hessian"} else _integers)(
            tree, key
        )
        if len(made[key]) != nodes:
            raise ValueError(f"{key} has {len(made[key]):,} entries for {nodes:,} nodes")
    for key in ("left_children", "right_children"):
        if bool(((made[key] < -1) | (made[key] >= nodes) | (made[key] == 0)).any()):
            raise ValueError("a child of a node is outside of its tree")
    parents = made["parents"]
    if int(parents[0]) not in _ROOT or bool(outside(parents[1:], nodes).any()):
        raise ValueError("a parent of a node is outside of its tree")
    of, segments, sizes = (_integers(tree, key) for key in _CATEGORICAL[1:])
    categories = _integers(tree, "categories")
    if not len(of) == len(segments) == len(sizes) or bool(outside(of, nodes).any()) or bool((of[1:] <= of[:-1]).any()):
        raise ValueError("category sets for nodes that do not exist")
    ends = segments + sizes
    if bool(outside(segments, len(categories) + 1).any()) or bool((sizes <= 0).any()) or bool((sizes > len(categories)).any()):
        raise ValueError("inconsistent category sets")
    if bool((ends > len(categories)).any()) or bool(outside(categories, _CATEGORY).any()):
        raise ValueError("inconsistent category sets")
    made["has_set"] = np.zeros(nodes, bool)
    made["has_set"][of] = True
    made["bits"] = sum(int(categories[start:end].max()) for start, end in zip(segments, ends, strict=True))
    return made


def _check_categories(cats: Any, features: int) -> None:
    """Check the category names that a model was trained with."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    if cats is None:
        return
    encoded = _known(cats, "enc", "feature_segments", "sorted_idx").get("enc")
    if not isinstance(encoded, list) or len(encoded) not in {0, features}:
        raise ValueError("category names for another number of features")
    counts = []
    for one in encoded:
        values: Any = _known(one, "type", "offsets", "values").get("values")
        if "offsets" in one:
            offsets = _integers(one, "offsets")
            ends = len(values) if isinstance(values, list) or _is_array(values, "iu") else -1
            if len(offsets) and (offsets[0] != 0 or offsets[-1] > ends or bool((offsets[1:] < offsets[:-1]).any())):
                raise ValueError("inconsistent category names")
            if ends < 0:
                raise ValueError("category names that are not text")
            counts.append(max(len(offsets) - 1, 0))
        else:
            counts.append(len(_numbers(one, "values")))
    segments, order = _integers(cats, "feature_segments"), _integers(cats, "sorted_idx")
    wanted = [0, *np.cumsum(np.array(counts, np.int64)).tolist()] if encoded else []
    limits = np.repeat(np.array(counts, np.int64), counts) if counts else np.zeros(0, np.int64)
    if segments.tolist() not in (wanted, [0] if not encoded else wanted) or len(order) != len(limits):
        raise ValueError("inconsistent category names")
    if bool(((order < 0) | (order >= limits)).any()):
        raise ValueError("an order over categories that do not exist")


def _known(found: Any, *keys: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError("a part of the model is not an object")  # noqa: TRY004 - the file is at fault, not a caller
    if strange := found.keys() - set(keys):
        raise UnknownModelError(f"the key {min(strange)[:40]!r}")
    return found


def _part(found: dict[str, Any], key: str) -> dict[str, Any]:
    part = found.get(key)
    if not isinstance(part, dict):
        raise ValueError(f"{key} is missing")  # noqa: TRY004 - as above
    return part


def _number(found: dict[str, Any], key: str, default: str = "") -> int:
    text = found.get(key, default)
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > 2**31 - 1:
        raise ValueError(f"invalid {key} {str(text)[:40]!r}")
    return int(text)


def _is_array(value: Any, kinds: str) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "-") in kinds


def _integers(found: dict[str, Any], key: str) -> Any:
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    value = found.get(key)
    if isinstance(value, list) and all(type(one) in {int, bool} and abs(one) < 2**62 for one in value):
        return np.array(value, np.int64)
    if not _is_array(value, "iu"):
        raise ValueError(f"{key} is not an array of integers")
    return value.astype(np.int64)  # type: ignore[union-attr]


def _numbers(found: dict[str, Any], key: str) -> Any:
    value = found.get(key)
    if not _is_array(value, "fiu") and not (isinstance(value, list) and all(type(one) in {int, float} for one in value)):
        raise ValueError(f"{key} is not an array of numbers")
    return value
