"""Comparison of the values that runs record; and the list of what they do not record."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from artifactstore.catalog.runs.info import RunInfo
from artifactstore.model.secret_names import MARK
from artifactstore.work.queries.explanation import Difference

__all__ = ["differences", "lacking", "outside_reads", "packages", "record"]

_ABOUT: Final = (
    "kind",
    "branch",
    "remotes",
    "folder",
    "script",
    "program",
    "submodules",
    "lfs_pointers",
    "claimed_by",
)  # of code
_OF_COMMIT: Final = ("commit", "describe", "tree", "author", "committer")  # not repeated if the code itself differs


def outside_reads(run: RunInfo) -> dict[str, Any]:
    """Return what a run may have read without the store, except what is compared as its code."""
    return {str(one["path"]): one.get("digest", one["size"]) for one in run.around if not one.get("stored")}


def packages(environment: dict[str, Any]) -> dict[str, Any]:
    """Take the packages out of an environment: name → version, or origin."""
    return {str(one["name"]): one.get("direct") or one["version"] for one in environment.pop("packages", ())}


def differences(old: Any, new: Any, key: str = "") -> Iterator[Difference]:
    """Yield the differences of two JSON values, nested by their keys."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for one in sorted({*old, *new}):
            inner = f"{key}.{one}" if key else str(one)
            if one not in new:
                yield Difference(inner, _there(old[one]), None)
            elif one not in old:
                yield Difference(inner, None, _there(new[one]))
            else:
                yield from differences(old[one], new[one], inner)
    elif type(old) is not type(new) or json.dumps(old, sort_keys=True) != json.dumps(new, sort_keys=True):
        yield Difference(key, _there(old), _there(new))


def _there(value: Any) -> Any:
    """Return a present value: in a `Difference` None means absent."""
    return "null" if value is None else value


def record(run: RunInfo, about: Mapping[str, Any], *, same_code: bool) -> dict[str, Any]:
    """Return the values that a run records of itself, except those shown in parts of their own.

    Args:
        run: the run.
        about: the record of its code.
        same_code: whether the code is the same content: then only this shows that its commit differs.
    """
    values: dict[str, Any] = {"name": run.name, "status": run.status, "actor": run.actor}
    values |= {"command": shlex.join(run.command)} if run.command else {}
    values |= {"error": run.error} if run.error is not None else {}
    values |= {"programs": [shlex.join(words) for words in run.programs]} if run.programs else {}
    values |= {"not_finite": run.not_finite} if run.not_finite else {}
    keys = (*_ABOUT, *(_OF_COMMIT if same_code else ()))
    return values | {f"code {key}": about[key] for key in keys if key in about}


def lacking(run: RunInfo, about: Mapping[str, Any], *, code: bool, environment: bool) -> Iterator[str]:
    """Yield the parts that a run does not record, in words."""
    if not run.command:
        yield "its command"
    if not run.params:
        yield "parameters"
    if not code:
        yield "code"
    elif about.get("complete") is False:
        yield "all of its code"
    elif "complete" not in about:
        yield "whether its code is complete"
    if MARK in json.dumps([run.params, run.command, run.programs, run.error]):
        yield "what was redacted"
    if not environment:
        yield "environment"
    if run.reads_seen is None:
        yield "reads outside the store"
    elif run.around_more:
        yield f"{run.around_more:,} of the files read outside the store"
