"""Finding versions: by name, kind, metadata and metrics. Pure functions of the state."""

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from artifactstore.catalog.state import State
from artifactstore.catalog.versions import Version, versions
from artifactstore.errors import InvalidInputError

__all__ = ["condition", "find"]

_CONDITION: Final = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*", re.ASCII)
_OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


def condition(text: str | float) -> Callable[[float], bool]:
    """Read a condition on a metric: `OP NUMBER` with one of `>= <= == != > <`, or a bare number for equality.

    Raises:
        InvalidInputError: another form.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return lambda value: value == text
    match = _CONDITION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidInputError(f"{text!r} is no condition on a metric; expected for example '>= 0.9' or '< 1e-3'")
    compare, number = _OPERATORS[match[1]], float(match[2])
    return lambda value: compare(value, number)


def find(
    state: State,
    *,
    name: Any = None,
    kind: Any = None,
    metadata: Any = None,
    metrics: Any = None,
) -> Iterator[Version]:
    """Yield the versions that meet all conditions, by name and number; removed ones are left out.

    Args:
        state: where to look.
        name: a name or a pattern with `*`, `?` and `[…]`.
        kind: the kind.
        metadata: keys and the values that they must have; a dotted key looks inside.
        metrics: metric → condition, for example `{"auc": ">= 0.9"}`; the newest measured value counts.

    Raises:
        InvalidInputError: a condition that can't be read.
    """
    for what, text in (("name", name), ("kind", kind)):
        if text is not None and not isinstance(text, str):
            raise InvalidInputError(f"{what}={text!r}: a str is needed")
    for what, table in (("metadata", metadata), ("metrics", metrics)):
        if table is not None and not (isinstance(table, Mapping) and all(isinstance(key, str) for key in table)):
            raise InvalidInputError(f"{what} is a dict with str keys, not {table!r}")
    tests = {metric: condition(text) for metric, text in (metrics or {}).items()}
    for one in sorted(state.names):
        if name is not None and not fnmatchcase(one, name):
            continue
        for version in versions(state, one):
            if (
                not version.removed
                and (kind is None or version.kind == kind)
                and all(_same(_inside(version.metadata, key), value) for key, value in (metadata or {}).items())
                and all(metric in version.metrics and test(version.metrics[metric]) for metric, test in tests.items())
            ):
                yield version


def _same(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _inside(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    value: Any = metadata
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
