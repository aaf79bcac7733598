"""What integrations of pipeline tools share: stores that a process opens once, names for foreign keys, and the runs of steps."""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import artifactstore
from artifactstore.errors import ArtifactStoreError, ConflictError, NotFoundError
from artifactstore.model.encoding import new_id
from artifactstore.runtime.remarks import remark
from artifactstore.store import Store

__all__ = ["end", "free_id", "is_open", "made_below", "name_of", "opened", "options_for", "step_id"]

_ODD: Final = re.compile(r"[^A-Za-z0-9._-]")
_RESERVED: Final = frozenset({".", "..", "blake3", "sha256"})
_LONGEST: Final = 190  # characters of a name
_LONGEST_ID: Final = 100  # characters of the id of a run
_LOOKED_AT: Final = 1000  # versions of a name that are searched for one of a pipeline

_lock = threading.Lock()
_stores: Final[dict[str, Store]] = {}  # by URL and options


def opened(url: str | None, options: Mapping[str, Any] | None = None) -> Store:
    """Return the store at a URL; a process opens each once, so that its history is read once."""
    key = json.dumps([url, options], sort_keys=True, default=repr)
    with _lock:
        if key not in _stores:
            _stores[key] = artifactstore.open(url, storage_options=dict(options) if options else None)
        return _stores[key]


def name_of(parts: Iterable[str]) -> str:
    """Return a name made of foreign keys, one segment each; different keys never get the same name.

    Characters that a name cannot have become `_`, and a few digits of a hash mark that.
    """
    name = "/".join(_segment(part) for part in parts)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9].rstrip('/')}-{_mark(name)}"


def _segment(part: str) -> str:
    clean = _ODD.sub("_", part)
    return part if part and clean == part and part not in _RESERVED else f"{clean.strip('.')}-{_mark(part)}".lstrip("-")


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def step_id(above: str, step: str) -> str:
    """Return the id of the run of a step: that of the whole pipeline's run, and the step's key."""
    made = f"{above}-{step}"
    if len(made) <= _LONGEST_ID and made.isprintable():
        return made
    clean = "".join(one if one.isprintable() else "_" for one in made)
    return f"{clean[: _LONGEST_ID - 9]}-{_mark(step)}"


def options_for(value: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a put of a value that a step returned: a text is a value here, and never a path."""
    return {"format": "text", **options} if isinstance(value, str) else dict(options)


def made_below(store: Store, name: str, above: str) -> str | None:
    """Return the newest version of a name that a step of a pipeline's run has made; None if none has.

    What others put meanwhile does not come between the steps of one pipeline.
    """
    start = f"{above}-"
    with suppress(NotFoundError), store._session.query_state() as state:  # noqa: SLF001 - one look at the fold instead of many
        rows = state.names.get(name, ())
        for number in range(len(rows), max(0, len(rows) - _LOOKED_AT), -1):
            row = rows[number - 1]
            if "removed" not in row and any(run.startswith(start) for run in state.produced_by.get(row["digest"], ())):
                return f"{name}:v{number}"
    return None


def free_id(store: Store, run: str) -> str:
    """Return an id that no run has: tools name theirs by the millisecond, and several machines may share a store."""
    with suppress(NotFoundError), store._session.query_state() as state:  # noqa: SLF001 - as above
        if run in state.runs:
            return f"{run}-{new_id()[:6]}"
    return run


def is_open(store: Store, run: str) -> bool:
    """Return whether a run of this id was started and has not ended."""
    with store._session.query_state() as state:  # noqa: SLF001 - as above
        row = state.runs.get(run)
        return row is not None and "status" not in row


def end(run: Any, error: BaseException | str | None = None) -> None:
    """End a run; where that fails, the pipeline goes on with a warning: what was stored is stored."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else error
    try:
        with suppress(ConflictError):  # another process has ended it
            run.finish(error=text)
    except ArtifactStoreError as failure:
        remark(f"the end of the run {run.id} was not recorded: {failure}")
