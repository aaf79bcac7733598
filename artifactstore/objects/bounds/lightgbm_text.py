"""Strict parser for LightGBM model text, as LightGBM writes it (`GBDT::SaveModelToString`, `Tree::ToString`, version v4).

LightGBM's own reader does not validate counts and indices: text in place of a number aborts the process, and a child, feature
or category out of range reads memory outside the model. Text that passes these checks is read to its end, and a prediction
stays inside its trees.
"""

import json
import re
from typing import TYPE_CHECKING, Any, Final

from artifactstore.objects.bounds.forest import UnknownModelError, check_trees, outside

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_lightgbm"]

_HEADER: Final = frozenset(
    [
        "version",
        "num_class",
        "num_tree_per_iteration",
        "label_index",
        "max_feature_idx",
        "objective",
        "average_output",
        "feature_names",
        "monotone_constraints",
        "feature_infos",
        "tree_sizes",
    ]
)
_TREE: Final = [
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
]
_CATEGORIES: Final = ["cat_boundaries", "cat_threshold"]
_LINEAR: Final = ["leaf_const", "num_features", "leaf_features", "leaf_coeff"]
_INTEGER: Final = re.compile(r"-?[0-9]{1,10}")
_INTEGERS: Final = re.compile(r"(?:-?+[0-9]{1,10}+(?: -?+[0-9]{1,10}+)*+)?+")
_NUMBER: Final = r"-?+(?:[0-9]{1,40}+(?:\.[0-9]{1,40}+)?+(?:e[+-]?+[0-9]{1,3}+)?+|inf|nan)"
_NUMBERS: Final = re.compile(rf"(?:{_NUMBER}(?: {_NUMBER})*+)?+")
_HUGE: Final = re.compile(r"e\+?[0-9]{3}")  # only numbers with such an exponent can overflow a double
_OBJECTIVE: Final = re.compile(r"[a-z_0-9]{1,40}(?: (?:sqrt|[a-z_]{1,40}:[-+.e0-9]{1,40}))*")
_PARAMETER: Final = re.compile(r"\[[a-z_0-9]+: [^\x00-\x1f\x7f]*\]")
_CHILDREN_OF_JSON: Final = 100  # max nesting of the category list, which needs two
_MOST: Final = 2**31 - 1


def check_lightgbm(text: str) -> None:
    """Check every count and index of a model.

    Args:
        text: output of `Booster.model_to_string`.

    Raises:
        UnknownModelError: keys or a version unknown to this module.
        ValueError: anything that LightGBM does not write.
    """
    if "\0" in text or (not text.isprintable() and "\r" in text):
        raise ValueError("it has a zero byte or a carriage return")
    head, found, rest = text.partition("\n\nTree=0\n")
    header = _header(head)
    features = _integer(header, "max_feature_idx") + 1
    classes = _integer(header, "num_class", least=1)
    each = _integer(header, "num_tree_per_iteration", least=1)
    if each != classes:
        raise ValueError(f"{classes} classes but {each} trees per iteration")
    _check_header(header, features, classes)
    sizes = [int(one) for one in _matching(_INTEGERS, header["tree_sizes"], "tree_sizes").split()]
    if bool(sizes) != bool(found) or len(sizes) % each:
        raise ValueError(f"{len(sizes)} trees, not a multiple of {each} per iteration")
    if classes > max(len(sizes), 100_000):
        raise ValueError(f"{classes:,} classes")
    if found:
        trees, tail = _cut(f"Tree=0\n{rest}", sizes)
    else:
        trees, tail = [], head.partition("\n\nend of trees\n")[2] or head.partition("\n\n\nend of trees\n")[2]
        tail = f"end of trees\n{tail}"
    _check_forest([_tree(number, lines) for number, lines in enumerate(trees)], features)
    _check_tail(tail)


def _header(head: str) -> dict[str, str]:
    lines = head.partition("\n\n")[0].rstrip("\n").split("\n")
    if lines[0] != "tree":
        raise ValueError("it does not begin with 'tree'")
    header: dict[str, str] = {}
    for line in lines[1:]:
        key, equals, value = line.partition("=")
        if key in header:
            raise ValueError(f"duplicate key {key}")
        if key not in _HEADER:
            raise UnknownModelError(f"the key {key[:40]!r}")
        if (not equals) != (key == "average_output") or ("=" in value and key != "feature_names"):
            raise ValueError(f"invalid line for {key}")
        header[key] = value
    missing = _HEADER - header.keys() - {"objective", "average_output", "monotone_constraints"}
    if missing:
        raise ValueError(f"missing keys {', '.join(sorted(missing))}")
    if header["version"] not in {"v3", "v4"}:
        raise UnknownModelError(f"the version {header['version'][:40]!r}")
    return header


def _check_header(header: dict[str, str], features: int, classes: int) -> None:
    _integer(header, "label_index")
    for key in ("feature_names", "feature_infos", "monotone_constraints"):
        if key in header and len(header[key].split(" ")) != features:
            raise ValueError(f"{key} has {len(header[key].split(' ')):,} entries for {features:,} features")
    _matching(_INTEGERS, header.get("monotone_constraints", ""), "monotone_constraints")
    objective = header.get("objective")
    if objective is not None:
        _matching(_OBJECTIVE, objective, "objective")
        for _, _, number in (one.partition(":") for one in objective.split(" ") if one.startswith("num_class:")):
            if not _INTEGER.fullmatch(number) or int(number) != classes:
                raise ValueError(f"an objective with {number} classes in a model with {classes}")
        for number in (one.partition(":")[2] for one in objective.split(" ")[1:] if ":" in one):
            float(number)


def _cut(text: str, sizes: list[int]) -> tuple[list[list[str]], str]:
    """Split the text by the tree sizes of the header; return the lines of each tree, and the rest."""
    raw = text.encode()
    trees, start = [], 0
    for number, size in enumerate(sizes):
        part = raw[start : start + size].decode("ascii", "replace")
        if size < 0 or not part.startswith(f"Tree={number}\n") or not part.endswith("\n\n\n") or "\n\n" in part[:-3]:
            raise ValueError(f"tree {number} does not match its declared size")
        trees.append(part[:-3].split("\n")[1:])
        start += size
    return trees, raw[start:].decode()


def _tree(number: int, lines: list[str]) -> dict[str, Any]:
    """Return the arrays of a tree, each checked for the length that the tree's counts require."""
    found: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key in found:
            raise ValueError(f"tree {number}: invalid line {line[:40]!r}")
        found[key] = value
    leaves, categories = _integer(found, "num_leaves", least=1), _integer(found, "num_cat")
    linear = found.get("is_linear", "0")
    wanted = [*_TREE, *(_CATEGORIES if categories else []), *(_LINEAR if linear == "1" else []), "shrinkage"]
    if linear not in {"0", "1"} or not set(wanted) <= found.keys():
        raise ValueError(f"tree {number} lacks {', '.join(sorted(set(wanted) - found.keys())) or 'is_linear'}")
    if strange := found.keys() - set(wanted) - {"is_linear"}:
        raise UnknownModelError(f"the key {min(strange)[:40]!r} of a tree")
    _check_numbers(found, "shrinkage", 1, number)
    inner = leaves - 1
    made: dict[str, Any] = {"leaves": leaves, "categories": categories}
    for key in ("split_feature", "decision_type", "left_child", "right_child", "internal_count"):
        made[key] = _integers(found, key, inner, number)
    for key in ("split_gain", "threshold", "internal_value", "internal_weight"):
        _check_numbers(found, key, inner, number)
    if categories:
        made["threshold"] = _parsed(found["threshold"])
    _check_numbers(found, "leaf_value", leaves, number)
    _check_numbers(found, "leaf_weight", leaves if found["leaf_weight"] or inner else 0, number)
    _integers(found, "leaf_count", leaves if found["leaf_count"] or inner else 0, number)
    if categories:
        bounds = _integers(found, "cat_boundaries", categories + 1, number)
        words = _integers(found, "cat_threshold", int(bounds[-1]), number)
        if bounds[0] != 0 or bool((bounds[1:] <= bounds[:-1]).any()) or bool(((words < 0) | (words >= 2**32)).any()):
            raise ValueError(f"tree {number}: inconsistent category sets")
    if linear == "1":
        _check_numbers(found, "leaf_const", leaves, number)
        used = _integers(found, "num_features", leaves, number)
        if bool((used < 0).any()):
            raise ValueError(f"tree {number}: a leaf with a negative number of features")
        squeezed = {key: " ".join(found[key].split()) for key in ("leaf_features", "leaf_coeff")}
        made["leaf_features"] = _integers(squeezed, "leaf_features", int(used.sum()), number)
        _check_numbers(squeezed, "leaf_coeff", int(used.sum()), number)
    return made


def _check_forest(trees: list[dict[str, Any]], features: int) -> None:
    """Check all trees at once: their shape, and what each node tests."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    used = [one["leaf_features"] for one in trees if "leaf_features" in one]
    if used and bool(outside(np.concatenate(used), features).any()):
        raise ValueError("a leaf's linear model uses a feature that does not exist")
    trees = [one for one in trees if one["leaves"] > 1]
    if not trees:
        return
    # Inner nodes of a tree come first, then its leaves: -1 is leaf 0, -2 leaf 1 …
    sizes = np.array([2 * one["leaves"] - 1 for one in trees])
    roots = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    left, right = np.full(int(sizes.sum()), -1), np.full(int(sizes.sum()), -1)
    for root, one in zip(roots.tolist(), trees, strict=True):
        inner = one["leaves"] - 1
        for target, key in ((left, "left_child"), (right, "right_child")):
            child = one[key]
            if bool(((child >= inner) | (child < -one["leaves"]) | (child == 0)).any()):
                raise ValueError("a child of a node is outside of its tree")
            target[root : root + inner] = root + np.where(child < 0, inner - 1 - child, child)
    if not check_trees(left, right, roots)[1].all():
        raise ValueError("a node of a tree has no parent")
    kinds = np.concatenate([one["decision_type"] for one in trees])
    if bool(outside(np.concatenate([one["split_feature"] for one in trees]), features).any()):
        raise ValueError("a node uses a feature that does not exist")
    if bool(outside(kinds, 12).any()):
        raise ValueError("an unknown decision type")
    for one in trees:
        chosen = one["decision_type"] & 1 == 1
        if not chosen.any():
            continue
        sets = one["threshold"][chosen] if "threshold" in one else np.array([-1.0])
        if not bool(((sets >= 0) & (sets < one["categories"]) & (sets == np.floor(sets))).all()):
            raise ValueError("a node uses a category set that does not exist")


def _check_tail(tail: str) -> None:
    """Check the text after the trees: importances, parameters, and the categories of a pandas frame."""
    importances, found, rest = tail.partition("\nparameters:\n")
    lines = importances.split("\n")
    if lines[:3] != ["end of trees", "", "feature_importances:"] or not all(
        not line or re.fullmatch(r".+=[0-9]{1,20}", line) for line in lines[3:]
    ):
        raise ValueError("invalid text after the trees")
    parameters, ended, last = rest.partition("\nend of parameters\n") if found else ("", "", "")
    if not ended or not all(not line or _PARAMETER.fullmatch(line) for line in parameters.split("\n")):
        raise ValueError("its parameters are not in LightGBM's form")
    match = re.fullmatch(r"\npandas_categorical:(.*)\n*", last)
    if match is None and last.strip("\n"):
        raise UnknownModelError("the text after the parameters")
    if match is not None:
        if match[1].count("[") > _CHILDREN_OF_JSON + match[1].count('"') + match[1].count(","):
            raise ValueError("its categories are nested too deeply")
        found_json = json.loads(match[1])
        if found_json is not None and not (isinstance(found_json, list) and all(isinstance(one, list) for one in found_json)):
            raise ValueError("its categories are not lists of values")


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{what} is not in LightGBM's form")
    return text


def _integer(found: dict[str, str], key: str, *, least: int = 0) -> int:
    text = found.get(key, "")
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= _MOST:
        raise ValueError(f"invalid {key} {text[:40]!r}")
    return int(text)


def _integers(found: dict[str, str], key: str, count: int, tree: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    made = np.fromstring(_matching(_INTEGERS, found[key], f"tree {tree}: {key}"), np.int64, sep=" ")
    if len(made) != count or bool((abs(made) > (2**32 - 1 if key == "cat_threshold" else _MOST)).any()):
        raise ValueError(f"tree {tree}: {key} must have {count:,} values in range, got {len(made):,}")
    return made


def _check_numbers(found: dict[str, str], key: str, count: int, tree: int) -> None:
    text = _matching(_NUMBERS, found[key], f"tree {tree}: {key}")
    there = text.count(" ") + 1 if text else 0
    if there != count or (_HUGE.search(text) and _infinite(_parsed(text)) != text.count("inf")):
        raise ValueError(f"tree {tree}: {key} must have {count:,} numbers that fit a double, got {there:,}")


def _parsed(text: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    return np.fromstring(text, np.float64, sep=" ")


def _infinite(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> int:
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    return int(np.isinf(numbers).sum())
