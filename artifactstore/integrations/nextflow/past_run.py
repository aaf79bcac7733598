"""Runs of workflows, tasks and agents: their names, parameters, times and ends, as far as records and work folders have them.

Records have no times of a run but the workflow's start, and not how it ended. What else Nextflow leaves is looked at: `.exitcode` and
`.command.begin` in the work folder of a task, and the workflow's line in `.nextflow/history`.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from artifactstore.integrations.nextflow.records import Record, Records
from artifactstore.integrations.nextflow.values import bounded, key_of, keys_in, moment, nanoseconds, printed

__all__ = ["Ending", "PastRuns", "input_keys", "is_same_file", "run_id"]

_HASH: Final = re.compile(r"[0-9A-Za-z._-]{1,80}", re.ASCII)
_HISTORY: Final = 16 * 2**20  # bytes of .nextflow/history that are read
_EXIT: Final = 20  # bytes of an .exitcode
_WORKFLOW: Final = ("commandLine", "revision", "profile", "projectName", "containerEngine")  # of its metadata
_TASK: Final = ("script", "eval", "container", "conda", "spack", "architecture", "globalVars", "moduleId")
_AGENT: Final = (
    "runner", "model", "resolvedModel", "instruction", "goal", "promptTemplate", "maxIterations", "outputSchema", "tools", "skills",
    "container", "moduleId",
)  # fmt: skip


def run_id(key: str) -> str | None:
    """Return the id of the run with a key; None if it is not the key of a run."""
    return f"nextflow-{key}" if _HASH.fullmatch(key) else None


@dataclass(frozen=True, slots=True)
class Ending:
    """When a run was, and how it ended.

    Attributes:
        start: when it started; if that is not known, the earliest time that is.
        end: when it ended; None if it is not known to have ended.
        error: why it failed, if it did.
    """

    start: datetime
    end: datetime | None
    error: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Fields of a run."""
        ended = None if self.end is None else max(self.start, self.end)
        status = "finished" if self.error is None else "failed"
        return {"time": self.start, "ended": ended, "status": status, "error": self.error}


@dataclass(slots=True)
class PastRuns:
    """The runs of a lineage store.

    Args:
        records: the lineage store.
    """

    records: Records
    _times: dict[str, tuple[int, int]] = field(default_factory=dict)  # key of a run → first and last time of its outputs
    _histories: dict[str, Mapping[tuple[str, str], str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for one in self.records.of("FileOutput", "TaskOutput", "WorkflowOutput"):
            owners = {key_of(one.text("workflowRun") or ""), key_of(one.text("taskRun") or "")}
            for time in filter(None, (one.time("createdAt"), one.time("modifiedAt") if one.kind == "FileOutput" else None)):
                for owner in owners:
                    first, last = self._times.get(owner, (time, time))
                    self._times[owner] = min(first, time), max(last, time)

    # -- workflows

    def workflow(self, one: Record) -> dict[str, Any]:
        """Return the fields of a workflow's run."""
        workflow, metadata = one.object("workflow"), one.object("metadata")
        params = dict(_named(one.rows("params")))
        own = {
            "repository": workflow.get("repository"),
            "commit": workflow.get("commitId"),
            "session": one.text("sessionId"),
            **{key: metadata.get(key) for key in _WORKFLOW},
            "version": nextflow.get("version") if isinstance(nextflow := metadata.get("nextflow"), dict) else None,
        }
        return {
            "name": one.text("name") or one.key,
            "params": params | _own(own),
            "actor": _text(metadata.get("userName")),
            **self._of_workflow(one, metadata).fields,
        }

    def _of_workflow(self, one: Record, metadata: Mapping[str, Any]) -> Ending:
        first, last = self._times.get(one.key, (0, 0))
        start = nanoseconds(text) if (text := _text(metadata.get("start"))) is not None else None
        start = first if start is None else start
        output = self.records.by_key.get(f"{one.key}#output")
        written = output.time("createdAt") if output is not None else None
        status = self._status(one, metadata)
        if status == "ERR":
            return Ending(moment(start), moment(written or last or start), "Nextflow's history has the status ERR")
        if status == "OK" or written is not None:
            return Ending(moment(start), moment(written or last or start))
        return Ending(moment(start), None)

    def _status(self, one: Record, metadata: Mapping[str, Any]) -> str | None:
        """Return how Nextflow's own history says that a run ended: OK, ERR, or None."""
        for folder in (self.records.parent, _text(metadata.get("launchDir"))):
            if folder is not None and os.path.isabs(folder):  # noqa: PTH117 - it may be anything
                path = os.path.join(folder, ".nextflow", "history")  # noqa: PTH118 - as above
                if path not in self._histories:
                    self._histories[path] = _history(path)
                found = self._histories[path].get((one.text("name") or "", one.text("sessionId") or ""))
                if found in {"OK", "ERR"}:
                    return found
        return None

    # -- tasks

    def task(self, one: Record) -> dict[str, Any]:
        """Return the fields of a task's or an agent's run."""
        workflow = self.records.by_key.get(key_of(one.text("workflowRun") or ""))
        inputs = [(row.get("name"), _outside(row.get("value"))) for row in one.rows("input")]
        params = dict(_unique((name, value) for name, value in inputs if value is not None))
        own = {key: one.spec.get(key) for key in (_TASK if one.kind == "TaskRun" else _AGENT)}
        if entries := [_text(row.get("path")) for row in one.rows("binEntries")]:
            own["binEntries"] = entries
        parent = key_of(one.text("workflowRun") or "")
        return {
            "name": one.text("name") or one.key,
            "params": params | _own(own),
            "actor": _text(workflow.object("metadata").get("userName")) if workflow is not None else None,
            "parent": run_id(parent),
            **self._of_task(one, workflow).fields,
        }

    def _of_task(self, one: Record, workflow: Record | None) -> Ending:
        first, last = self._times.get(one.key, (0, 0))
        output = self.records.by_key.get(f"{one.key}#output")
        written = output.time("createdAt") if output is not None else None
        metadata = workflow.object("metadata") if workflow is not None else {}
        begun, code, exited = _left(_text(metadata.get("workDir")), one.key)
        text = _text(metadata.get("start"))
        end = exited or written
        start = begun or end or first or (nanoseconds(text) if text is not None else None) or 0
        if code is not None and code != 0:
            return Ending(moment(start), moment(end or start), f"exit status {code}")
        if code is None and output is not None and _lacks_files(output):
            return Ending(moment(start), moment(end or last or start), "it has no output files")
        return Ending(moment(start), moment(end) if end is not None else None)


def input_keys(one: Record) -> Iterator[tuple[str, str]]:
    """Yield (key, role) of what a run read: the name of an input, or of a workflow's parameter."""
    for row in one.rows("params" if one.kind == "WorkflowRun" else "input"):
        role = _text(row.get("name")) or "input"
        yield from ((key, role) for key in keys_in(row.get("value")))


def is_same_file(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (path, checksum) of the files in an input that no task made. Equal checksums of a path mean equal sizes and times."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict) and isinstance(one.get("path"), str) and isinstance(one.get("checksum"), dict):
            checksum = one["checksum"].get("value")
            if isinstance(checksum, str):
                yield one["path"].removeprefix("file://"), checksum


def _named(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    return _unique((row.get("name"), row.get("value")) for row in rows)


def _unique(pairs: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield names with their values; one that occurs again gets a number."""
    seen: dict[str, int] = {}
    for given, value in pairs:
        name = given[:200] if isinstance(given, str) and given else "input"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}", bounded(value)


def _outside(value: Any) -> Any:
    """Return an input as a parameter: of files that no task made their paths; None of those that are inputs by lineage IDs."""
    if isinstance(value, str):
        return None if value.startswith("lid://") else value
    if not isinstance(value, list):
        return value["path"] if isinstance(value, dict) and set(value) == {"path", "checksum"} else value
    left = [found for one in value if (found := _outside(one)) is not None]
    return left if left or not value else None


def _own(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"nextflow.{key}": bounded(value) for key, value in fields.items() if value not in (None, "", [], {})}


def _text(value: Any) -> str | None:
    return printed(value) if isinstance(value, str) and value else None


def _lacks_files(output: Record) -> bool:
    """Return whether a task has made none of its files: the record of one that failed has null for each."""
    paths = [row.get("value") for row in output.rows("output") if row.get("type") == "path"]
    return bool(paths) and all(value is None for value in paths)


# -- what Nextflow leaves beside the records


def _left(work: str | None, key: str) -> tuple[int | None, int | None, int | None]:
    """Return when a task began, its exit status, and when it ended, by its work folder; None where that does not say it."""
    if work is None or not os.path.isabs(work) or not key.isalnum() or len(key) < 3:  # noqa: PTH117 - it may be anything
        return None, None, None
    folder = Path(work, key[:2], key[2:])
    begun, _ = _regular(folder / ".command.begin", 0)
    exited, raw = _regular(folder / ".exitcode", _EXIT)
    text = raw.decode("ascii", errors="replace").strip()
    if not re.fullmatch(r"-?[0-9]{1,10}", text, re.ASCII):
        return begun, None, None
    return begun, int(text), exited


def _regular(path: Path, most: int) -> tuple[int | None, bytes]:
    """Return the time and the first bytes of a regular file; None if there is none."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            return None, b""
        if not most:
            return about.st_mtime_ns, b""
        with path.open("rb") as file:
            return about.st_mtime_ns, file.read(most)
    except (OSError, ValueError):
        return None, b""


def _history(path: str) -> Mapping[tuple[str, str], str]:
    """Return (run name, session) → status of a `.nextflow/history`: time, duration, name, status, revision, session, command."""
    _, raw = _regular(Path(path), _HISTORY)
    rows = (line.split("\t") for line in raw.decode(errors="replace").splitlines())
    return {(row[2].strip(), row[5].strip()): row[3].strip() for row in rows if len(row) >= 6}
