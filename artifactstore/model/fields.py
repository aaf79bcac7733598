"""Validation of the optional fact fields that readers use and that the first version's schemas did not check.

A fact with a malformed field was accepted once and is in a journal for ever: whether its transaction counts must not change, so
a reader treats the field as absent. Writers refuse it. The raw fact stays as it is, and `verify` reports it.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import parse_time

__all__ = ["CheckedFacts", "finite", "malformed", "sane"]

Fact = dict[str, Any]

Is = Callable[[Any], bool]


class CheckedFacts(list[Fact]):
    """Facts of a transaction that have no malformed field."""

    __slots__ = ()


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _table(value: Any) -> bool:
    return isinstance(value, dict) and _is_finite(value)


def _is_finite(value: Any) -> bool:
    for one in value.values() if type(value) is dict else value:
        kind = type(one)
        if kind is float:
            if not isfinite(one):
                return False
        elif (kind is dict or kind is list) and not _is_finite(one):
            return False
    return True


def _table_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())


def _number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False  # an integer too large for a float


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _whole_or_none(value: Any) -> bool:
    return value is None or _whole(value)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _file(value: Any) -> bool:
    digest = value.get("digest", "") if isinstance(value, dict) else None
    return isinstance(digest, str) and isinstance(value.get("path"), str) and _whole(value.get("size"))


def _files(value: Any) -> bool:
    return isinstance(value, list) and all(map(_file, value))


def _time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse_time(value))
    except InvalidInputError:
        return False


def _rows_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_texts, value))


def _pairs(value: Any) -> bool:
    return _rows_of_texts(value) and all(len(one) == 2 for one in value)


def _metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _code(value: Any) -> bool:
    return _table(value) and all(_fits(_OF_CODE, name, one) for name, one in value.items())


_OF_CODE: Final[Mapping[str, Is]] = {
    **dict.fromkeys(
        ("kind", "notebook", "folder", "script", "commit", "author", "committer", "head_tree", "tree", "branch"), _text
    ),
    **dict.fromkeys(("describe", "claimed_by", "repository"), _text),
    "dirty": _truth,
    "remotes": _table_of_texts,
    "submodules": _table_of_texts,
    "submodule_trees": _table_of_texts,
    "lfs_pointers": _whole,
    "skipped": _pairs,
}
# By name alone, whatever the kind: readers look for these in any fact.
_FIELDS: Final[Mapping[str, Is]] = {
    **dict.fromkeys(
        ("reason", "alias", "role", "path", "parent", "error", "reads_seen", "kind", "content", "format", "by", "run"), _text
    ),
    **dict.fromkeys(("url", "hooks", "until", "meaning"), _text),
    "signature": _table,
    "rollback": _table,
    "name": _text_or_none,
    "version": _whole_or_none,
    "step": _whole,
    "at": _time,
    "command": _texts,
    "params": _table,
    "metadata": _table,
    "metrics": _metrics,
    "seconds": _number,
    "around": _files,
    "around_more": _whole,
    "programs": _rows_of_texts,
    "claimed": _truth,
    "file": _truth,
    "spread": _truth,
    "code": _code,
    "job": _table_of_texts,
}

# The type of each field whose values are always well formed; `object`, which no value has, where they must be looked at.
_USUAL: Final[Mapping[str, type]] = {
    name: str if check in {_text, _text_or_none} else bool if check is _truth else object for name, check in _FIELDS.items()
}


def _fits(fields: Mapping[str, Is], name: str, value: Any) -> bool:
    check = fields.get(name)
    return check is None or check(value)


def malformed(fact: Mapping[str, Any]) -> list[str]:
    """Return a fact's malformed fields, which count as absent; `received` facts are checked, too."""
    found = []
    for name, value in fact.items():
        usual = _USUAL.get(name)  # fast path: a fold checks millions
        if usual is not None and type(value) is not usual and not _FIELDS[name](value):
            found.append(name)
    if fact.get("fact") == "received":
        found += [f"facts.{name}" for inner in fact["facts"] for name in malformed(inner)]
    return found


def sane(fact: Fact) -> Fact:
    """Return a fact as readers use it: without malformed fields; numbers that JSON cannot hold are written out."""
    for name, value in fact.items():  # as in `malformed`, without a call: a fold does this for each fact
        usual = _USUAL.get(name)
        if usual is not None and type(value) is not usual and not _FIELDS[name](value):
            break
    else:
        if fact.get("fact") != "received":
            return fact
    if not (bad := malformed(fact)):
        return fact
    kept = {name: value for name, value in fact.items() if name not in bad}
    for name in (name for name in bad if name in fact):
        value = fact[name]
        if name == "code" and isinstance(value, dict):
            kept[name] = finite({key: one for key, one in value.items() if _fits(_OF_CODE, key, one)})
        elif name in {"params", "metadata"} and isinstance(value, dict):
            kept[name] = finite(value)
        elif name == "around" and isinstance(value, list):
            kept[name] = [one for one in value if _file(one)]
        elif name == "metrics" and isinstance(value, dict):
            kept[name] = {key: one for key, one in value.items() if _number(one)}
    if fact.get("fact") == "received":
        kept["facts"] = [sane(inner) for inner in fact["facts"]]
    return kept


def finite(value: Any) -> Any:
    """Return a JSON value with finite numbers only: JSON allows `1e999`, which Python reads as infinity and cannot write again."""
    if isinstance(value, float) and not isfinite(value):
        return {"repr": repr(value)}
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return value
