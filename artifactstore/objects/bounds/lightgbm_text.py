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

    _Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

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
    _check_forest([_Tree(number, lines) for number, lines in enumerate(trees)], features)
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


class _Tree:
    """The fields of a tree as text.

    Raises:
        UnknownModelError: a key unknown to this module.
        ValueError: a missing or duplicate key, an invalid count.
    """

    def __init__(self, number: int, lines: list[str]) -> None:
        self.number = number
        self.fields: dict[str, str] = {}
        for line in lines:
            key, equals, value = line.partition("=")
            if not equals or key in self.fields:
                raise ValueError(f"tree {number}: invalid line {line[:40]!r}")
            self.fields[key] = value
        self.leaves = _integer(self.fields, "num_leaves", least=1)
        self.inner = self.leaves - 1
        self.categories = _integer(self.fields, "num_cat")
        linear = self.fields.get("is_linear", "0")
        self.linear = linear == "1"
        wanted = {*_TREE, *(_CATEGORIES if self.categories else []), *(_LINEAR if self.linear else []), "shrinkage"}
        if linear not in {"0", "1"} or not wanted <= self.fields.keys():
            raise ValueError(f"tree {number} lacks {', '.join(sorted(wanted - self.fields.keys())) or 'is_linear'}")
        if strange := self.fields.keys() - wanted - {"is_linear"}:
            raise UnknownModelError(f"the key {min(strange)[:40]!r} of a tree")

    def optional(self, key: str) -> int:
        """Return how many values a field must have that may be empty in a tree of one leaf."""
        return self.leaves if self.fields[key] or self.inner else 0


def _check_forest(trees: list[_Tree], features: int) -> None:
    """Check all trees at once: the length of each array, the trees' shape, and what each node tests."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    inner = [tree.inner for tree in trees]
    leaves = [tree.leaves for tree in trees]
    _check_numbers(trees, "shrinkage", [1] * len(trees))
    for key in ("split_gain", "threshold", "internal_value", "internal_weight"):
        _check_numbers(trees, key, inner)
    _check_numbers(trees, "leaf_value", leaves)
    _check_numbers(trees, "leaf_weight", [tree.optional("leaf_weight") for tree in trees])
    _integers(trees, "leaf_count", [tree.optional("leaf_count") for tree in trees])
    _integers(trees, "internal_count", inner)
    _check_linear([tree for tree in trees if tree.linear], features)
    _check_shape(trees, _integers(trees, "left_child", inner), _integers(trees, "right_child", inner))
    if outside(_integers(trees, "split_feature", inner), features).any():
        raise ValueError("a node uses a feature that does not exist")
    kinds = _integers(trees, "decision_type", inner)
    if outside(kinds, 12).any():
        raise ValueError("an unknown decision type")
    _check_categories(trees, np.asarray(kinds & 1 == 1))


def _check_linear(trees: list[_Tree], features: int) -> None:
    """Check the linear models of leaves; their lists of features may have more than one space between them."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    if not trees:
        return
    leaves = [tree.leaves for tree in trees]
    _check_numbers(trees, "leaf_const", leaves)
    used = _integers(trees, "num_features", leaves)
    if (used < 0).any():
        raise ValueError("a leaf with a negative number of features")
    counts = np.add.reduceat(used, _starts(leaves)).tolist()
    for tree in trees:
        for key in ("leaf_features", "leaf_coeff"):
            tree.fields[key] = " ".join(tree.fields[key].split())
    if outside(_integers(trees, "leaf_features", counts), features).any():
        raise ValueError("a leaf's linear model uses a feature that does not exist")
    _check_numbers(trees, "leaf_coeff", counts)


def _check_shape(trees: list[_Tree], left: "_Integers", right: "_Integers") -> None:
    """Check that the children of all inner nodes form the trees."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    inner = np.array([tree.inner for tree in trees if tree.inner])
    if not len(inner):
        return
    # Inner nodes of a tree come first, then its leaves: -1 is leaf 0, -2 leaf 1 …
    sizes = 2 * inner + 1
    roots, limits = _starts(sizes), np.repeat(inner, inner)
    bases = np.repeat(roots, inner)
    nodes = np.arange(len(limits)) - np.repeat(_starts(inner), inner) + bases
    moved = []
    for child in (left, right):
        if ((child >= limits) | (child < -limits - 1) | (child == 0)).any():
            raise ValueError("a child of a node is outside of its tree")
        moved.append(np.full(int(sizes.sum()), -1))
        moved[-1][nodes] = bases + np.where(child < 0, limits - 1 - child, child)
    if not check_trees(moved[0], moved[1], roots)[1].all():
        raise ValueError("a node of a tree has no parent")


def _check_categories(trees: list[_Tree], chosen: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> None:
    """Check the category sets of all trees, and the set that each node of `chosen`, a mask of all inner nodes, tests."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    owners = [tree for tree in trees if tree.categories]
    sets, counts = np.full(len(chosen), -1.0), np.repeat([tree.categories for tree in trees], [tree.inner for tree in trees])
    if owners:
        lengths = np.array([tree.categories + 1 for tree in owners])
        bounds, starts = _integers(owners, "cat_boundaries", lengths.tolist()), _starts(lengths)
        grows = np.diff(bounds, prepend=-1) > 0
        grows[starts] = bounds[starts] == 0
        words = _integers(owners, "cat_threshold", bounds[starts + lengths - 1].tolist())
        if not grows.all() or outside(words, 2**32).any():
            raise ValueError("inconsistent category sets of a tree")
        sets[counts > 0] = _parsed(" ".join(tree.fields["threshold"] for tree in owners if tree.inner))
    sets, counts = sets[chosen], counts[chosen]
    if not bool(((sets >= 0) & (sets < counts) & (sets == np.floor(sets))).all()):
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


def _integers(trees: list[_Tree], key: str, counts: list[int]) -> "_Integers":
    """Return the integers of a field of all trees, one after the other, if each has as many as expected."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    made = np.fromstring(_joined(trees, key, counts, _INTEGERS), np.int64, sep=" ")
    if len(made) and max(made.max(), -made.min()) > (2**32 - 1 if key == "cat_threshold" else _MOST):
        raise ValueError(f"{key} of a tree is out of range")
    return made


def _check_numbers(trees: list[_Tree], key: str, counts: list[int]) -> None:
    text = _joined(trees, key, counts, _NUMBERS)
    if _HUGE.search(text) and _infinite(_parsed(text)) != text.count("inf"):
        raise ValueError(f"{key} of a tree has a number that does not fit a double")


def _joined(trees: list[_Tree], key: str, counts: list[int], pattern: re.Pattern[str]) -> str:
    """Return the text of a field of all trees, checked: one pattern over all is twice as fast as one for each tree."""
    texts = [tree.fields[key] for tree in trees]
    for tree, text, count in zip(trees, texts, counts, strict=True):
        if (found := text.count(" ") + 1 if text else 0) != count:
            raise ValueError(f"tree {tree.number}: {key} must have {count:,} values, got {found:,}")
    return _matching(pattern, " ".join(filter(None, texts)), f"{key} of a tree")


def _starts(counts: Any) -> "_Integers":
    """Return where each part begins, of parts of these lengths one after the other."""
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    starts: _Integers = np.cumsum(counts) - counts
    return starts


def _parsed(text: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    return np.fromstring(text, np.float64, sep=" ")


def _infinite(numbers: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> int:
    import numpy as np  # noqa: PLC0415 - loaded already, where there is a model

    return int(np.isinf(numbers).sum())
