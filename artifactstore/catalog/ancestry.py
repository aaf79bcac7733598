"""What an artifact was made from: the runs that made it, all that they used, and what of it is gone or tainted."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["ancestors", "code_of", "is_removed", "makers", "material", "tainted_ancestor"]

_BESIDE: Final = frozenset({"code", "environment", "cells", "history", "modules"})  # roles of what is recorded with each run


def makers(state: Any, digest: str) -> list[str]:
    """Return the runs that made an artifact, in order: a run that used it only passed it on."""
    passed = set(state.used_by_runs.get(digest, ()))
    return [run for run in state.produced_by.get(digest, ()) if run not in passed]


def code_of(state: Any, run: str) -> tuple[str | None, dict[str, Any]]:
    """Return the artifact of a run's code, and the recorded state of the code; None and {} if there is none."""
    for edge in state.edges.get(run, ()):
        if isinstance(edge.get("code"), dict):
            return edge["digest"], edge["code"]
    return None, {}


def ancestors(state: Any, digest: str) -> Iterator[str]:
    """Yield the digests from which an artifact was made, nearest first, code and environments included."""
    seen, todo = {digest}, deque([digest])
    while todo:
        for run in state.produced_by.get(todo.popleft(), ()):
            for edge in state.edges.get(run, ()):
                one = edge["digest"]
                if edge["fact"] == "used" and one not in seen:
                    seen.add(one)
                    todo.append(one)
                    yield one


def _is_beside(edge: Mapping[str, Any]) -> bool:
    return edge.get("role") in _BESIDE and "name" not in edge


def material(state: Any, digest: str) -> set[str]:
    """Return the data that an artifact was trained on: what its runs used, and what the models among that were trained on.

    Not what that data was made from: a test set and a training set are usually parts of one.
    """
    found: set[str] = set()
    todo, seen = [digest], {digest}
    while todo:
        for run in makers(state, todo.pop()):
            for edge in state.edges.get(run, ()):
                one = edge["digest"]
                if edge["fact"] != "used" or _is_beside(edge):
                    continue
                found.add(one)
                if one not in seen and any(kind == "model" for _, _, kind in state.versions_by_digest.get(one, ())):
                    seen.add(one)
                    todo.append(one)
    return found


def is_removed(state: Any, digest: str) -> bool:
    """Return whether an artifact was removed under all its names."""
    versions = state.versions_by_digest.get(digest, ())
    return (
        bool(versions)
        and digest not in state.unnamed
        and all("removed" in state.names[name][number - 1] for name, number, _ in versions)
    )


def tainted_ancestor(state: Any, digest: str) -> str | None:
    """Return the nearest ancestor with a taint that spreads, or None."""
    if not state.tainted:
        return None
    for one in ancestors(state, digest):
        marks = state.tainted.get(one)
        if marks is not None and any(mark["spread"] for mark in marks if mark is not None):
            return one
    return None
