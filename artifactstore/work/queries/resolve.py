"""Resolution of references to an artifact, a run, or the code of a commit."""

import re
from itertools import islice
from typing import Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.table import keys_with_prefix
from artifactstore.errors import ArtifactStoreError, InvalidInputError, NotFoundError
from artifactstore.work.session.session import Session

__all__ = ["resolve"]


def resolve(session: Session, ref: str) -> tuple[str, bool]:
    """Resolve a reference to (digest or run, whether it is a run).

    Raises:
        NotFoundError: no such artifact or run.
        InvalidInputError: the reference is malformed, or is a prefix of several runs' ids.
    """
    if not isinstance(ref, str):
        raise InvalidInputError(f"a reference must be a str, got {type(ref).__name__}")
    with session.query_state() as state:
        found = _run_of(state, ref)
        if found is not None:
            return found, True
        code = _code_of_commit(state, ref) if _COMMIT.fullmatch(ref) and ref not in state.names else None
    if code is not None:
        return code, False
    try:
        return session.resolve(ref).digest, False
    except NotFoundError as error:
        if ":" in ref:
            raise
        with session.state(fresh=False) as state:
            named = [run[:_SHOWN] for run, row in state.runs.items() if row["name"] == ref]
        if named:
            several = f"{len(named)} runs have" if len(named) > 1 else "a run has"
            raise NotFoundError(f"{error}; {several} this name: pass an id, {' or '.join(named[: -_NAMED - 1 : -1])}") from error
        digest = f"; a digest begins so: blake3:{ref}" if _is_digest(session, ref) else ""
        raise NotFoundError(f"{error}; no run's id and no commit begins with it either{digest}") from error


def _is_digest(session: Session, text: str) -> bool:
    """Whether the digest of one artifact begins so, as people copy it from a list."""
    if not _COMMIT.fullmatch(text):
        return False
    try:
        session.resolve(f"blake3:{text}")
    except ArtifactStoreError:
        return False
    return True


_SHOWN: Final = 12  # characters of a run's id
_NAMED: Final = 3  # runs of a name that a message has, the newest
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}", re.ASCII)


def _code_of_commit(state: State, commit: str) -> str | None:
    """Return the code artifact that a run recorded for a commit; of several, the one without changes."""
    found: dict[str, bool] = {}
    for edges in state.edges.values():
        for edge in edges:
            if str(edge.get("code", {}).get("commit", "")).startswith(commit):
                found[edge["digest"]] = bool(edge["code"].get("dirty"))
    clean = [digest for digest, dirty in found.items() if not dirty]
    if len(found) > 1 and len(clean) != 1:
        raise InvalidInputError(
            f"{len(found)} states of the code were recorded for commit {commit}: pass the run, or the code's digest"
        )
    return next(iter(clean or found), None)


def _run_of(state: State, ref: str) -> str | None:
    if ref in state.runs:
        return ref
    if len(ref) >= 6 and ":" not in ref and "/" not in ref:
        matches = [*islice(keys_with_prefix(state.runs, ref), 100)]
        if len(matches) == 1:
            return matches[0]
        if len(matches) > 1:
            raise InvalidInputError(f"{len(matches)} runs begin with {ref!r}: pass more digits")
    return None
