"""The import: files first, then the runs of tasks, then those of workflows, so that nothing here names what is not here."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError
from artifactstore.integrations.nextflow.files import Files, Output
from artifactstore.integrations.nextflow.past_run import PastRuns, input_keys, is_same_file, run_id
from artifactstore.integrations.nextflow.records import Record, Records, read_records
from artifactstore.integrations.nextflow.values import check_prefix, key_of, moment, name_of, printed
from artifactstore.model.reference import check_name
from artifactstore.store import Store
from artifactstore.work.sync.imported import Imported

__all__ = ["import_lineage"]

_RUNS: Final = ("TaskRun", "AgentRun", "WorkflowRun")
_SHOWN: Final = 5  # runs that a message names
_STEPS: Final = 50  # from a file to the file that it was published from


def import_lineage(store: Store, source: str, name: str, *, run: str | None, dry_run: bool, reason: str | None) -> Imported:
    """Import a lineage store; see `import_from`."""
    prefix = check_name(name.rstrip("/"))
    check_prefix(prefix)
    records = read_records(source)
    graph = Graph(records)
    wanted = None if run is None else graph.of_run(run)
    with store.maintenance.intake("nextflow", records.identity, dry_run=dry_run, reason=reason) as intake:
        work = _Import(intake, graph, prefix)
        for kind, count in records.unknown.items():
            intake.report.skipped.append(
                f"{kind}: {count} {'record' if count == 1 else 'records'} of a kind that is not known here"
            )
        work.files(wanted)
        work.runs(wanted)
    return intake.report


class Graph:
    """What the records say of each other.

    Args:
        records: the lineage store.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self._same = {
            (one.text("path"), value): one.key
            for one in records.of("FileOutput")
            if isinstance(value := one.object("checksum").get("value"), str)
        }
        self._outputs: dict[str, list[Record]] = {}  # key of a run → the files that it made or published
        self._tasks: dict[str, list[Record]] = {}  # key of a workflow's run → its tasks
        for one in records.of("FileOutput"):
            self._outputs.setdefault(self.owner(one), []).append(one)
        for one in records.of("TaskRun", "AgentRun"):
            self._tasks.setdefault(key_of(one.text("workflowRun") or ""), []).append(one)

    def owner(self, one: Record) -> str:
        """Return the key of the run that made a file, or published it."""
        return self.task_of(one) or key_of(one.text("workflowRun") or one.key.partition("/")[0])

    def task_of(self, one: Record) -> str:
        """Return the key of the task in whose folder a file is; nothing of a published one, which may say what task it came from."""
        folder = one.key.partition("/")[0]
        above = self.records.by_key.get(folder)
        if above is None:
            return key_of(one.text("taskRun") or "")
        return folder if above.kind in {"TaskRun", "AgentRun"} else ""

    def outputs(self, run: str) -> list[Record]:
        """Return the files that a run made or published."""
        return self._outputs.get(run, [])

    def file(self, key: str) -> Record | None:
        """Return the file with a key, or the folder that it is in."""
        while key:
            one = self.records.by_key.get(key)
            if one is not None and one.kind == "FileOutput":
                return one
            key = key.rpartition("/")[0]
        return None

    def inputs(self, run: Record) -> Iterator[tuple[Record, str]]:
        """Yield (file, role) of what a run read and some task made, or some workflow published."""
        for key, role in input_keys(run):
            if (one := self.file(key)) is not None:
                yield one, role
        for row in run.rows("input"):
            for same in is_same_file(row.get("value")):
                key = self._same.get(same, "")
                if (one := self.file(key)) is not None:
                    name = row.get("name")
                    yield one, printed(name) if isinstance(name, str) and name else "input"

    def origin(self, one: Record) -> tuple[Record | None, Record | None]:
        """Return the file that a file was published from, and the task that made it."""
        before: Record | None = None
        for _ in range(_STEPS):
            task = self.records.by_key.get(self.task_of(one) or key_of(one.text("taskRun") or ""))
            if task is not None and task.kind in {"TaskRun", "AgentRun"}:
                return before, task
            key = key_of(one.text("source") or "")
            direct = self.records.by_key.get(key)
            if direct is not None and direct.kind in {"TaskRun", "AgentRun"}:
                return before, direct
            above = self.file(key)
            if above is None or above is one:
                return before, None
            one, before = above, before or above
        return before, None

    def of_run(self, lid: str) -> set[str]:
        """Return the keys of a workflow's run, of its tasks, and of the tasks and files that these came from.

        Raises:
            NotFoundError: there is no such run.
        """
        run = self.records.by_key.get(key_of(lid))
        if run is None or run.kind != "WorkflowRun":
            known = [f"{one.lid} ({printed(one.text('name') or '')})" for one in self.records.of("WorkflowRun")]
            shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
            raise NotFoundError(f"{self.records.identity} has no run of a workflow {lid!r}; it has {shown or 'none'}")
        found: set[str] = set()
        todo = [run, *self._tasks.get(run.key, ())]
        while todo:
            one = todo.pop()
            if one.key in found:
                continue
            found.add(one.key)
            if one.kind == "FileOutput":
                todo += filter(None, self.origin(one))
                continue
            todo += self.outputs(one.key)
            todo += (file for file, _ in self.inputs(one))
        return found


class _Import:
    """One import.

    Args:
        intake: takes what comes.
        graph: the records.
        prefix: of names.
    """

    def __init__(self, intake: Any, graph: Graph, prefix: str) -> None:
        self._intake, self._graph, self._prefix = intake, graph, prefix
        self._past, self._found = PastRuns(graph.records), Files()
        self._refs: dict[str, str] = {}  # key of a file → its version here

    def _skip(self, what: str, why: str) -> None:
        self._intake.report.skipped.append(f"{printed(what)}: {printed(why)}")

    # -- files

    def files(self, wanted: set[str] | None) -> None:
        """Bring the files that are unchanged, in the order in which they were made."""
        chosen = [one for one in self._graph.records.of("FileOutput") if wanted is None or one.key in wanted]
        for one in sorted(chosen, key=lambda file: (file.time("modifiedAt") or 0, file.key)):
            ref = self._file(one)
            if ref is not None:
                self._refs[one.key] = ref

    def _file(self, one: Record) -> str | None:
        """Bring a file; return its version here, or None if it cannot be brought."""
        path, modified = one.text("path"), one.text("modifiedAt")
        size = one.spec.get("size")
        if path is None or not isinstance(size, int | None) or isinstance(size, bool):
            raise one.damaged("a file must have a path and a size")
        name = self._name(one)
        # A task that was repeated after its folder was lost has the same lineage ID, and may have made something else.
        marks = {"nextflow.lid": printed(one.lid), "nextflow.modified": modified or ""}
        if (known := self._intake.find(name, marks)) is not None:
            return str(known)
        output = Output(path, size, one.time("modifiedAt"), self._written(one))
        place = self._found.find(output)
        if place.state in {"missing", "changed"}:
            getattr(self._intake.report, place.state).append(printed(one.lid))
            return None
        if place.source is None:
            self._skip(one.lid, place.state)
            return None
        made = one.time("modifiedAt") or one.time("createdAt")
        try:
            brought = self._intake.put(
                place.source,
                name,
                marks=marks,
                metadata=self._metadata(one, path),
                time=None if made is None else moment(made),
                actor=self._actor(one),
                **place.options,
            )
        except InvalidInputError as error:
            self._skip(one.lid, str(error))
            return None
        except ConflictError:
            now = self._found.find(output).state
            if now not in {"missing", "changed"}:
                raise
            getattr(self._intake.report, now).append(printed(one.lid))
            return None
        return str(brought.ref)

    def _workflow(self, one: Record) -> Record | None:
        found = self._graph.records.by_key.get(key_of(one.text("workflowRun") or ""))
        return found if found is not None and found.kind == "WorkflowRun" else None

    def _name(self, one: Record) -> str:
        workflow = self._workflow(one)
        run = workflow.text("name") if workflow is not None else None
        owner, _, path = one.key.partition("/")
        key = self._graph.task_of(one)
        if not key:
            return name_of(self._prefix, run or owner, path or "output")
        task = self._graph.records.by_key.get(key)
        named = task.text("name") if task is not None and task.kind in {"TaskRun", "AgentRun"} else None
        unowned = key_of(one.text("workflowRun") or "") or owner
        return name_of(self._prefix, run or unowned, path or "output", named or key)

    def _written(self, one: Record) -> int | None:
        """Return when the outputs of what made a file were complete."""
        output = self._graph.records.by_key.get(f"{self._graph.owner(one)}#output")
        return output.time("createdAt") if output is not None else None

    def _metadata(self, one: Record, path: str) -> dict[str, Any]:
        workflow = self._workflow(one)
        commit = workflow.object("workflow").get("commitId") if workflow is not None else None
        labels = one.spec.get("labels")
        found = {"nextflow.path": printed(path)}
        if isinstance(commit, str) and commit:
            found["git.commit"] = printed(commit)
        if isinstance(labels, list) and (texts := [printed(label) for label in labels if isinstance(label, str)]):
            found["nextflow.labels"] = ",".join(texts)
        return found

    def _actor(self, one: Record) -> str | None:
        workflow = self._workflow(one)
        name = workflow.object("metadata").get("userName") if workflow is not None else None
        return printed(name) if isinstance(name, str) and name else None

    # -- runs

    def runs(self, wanted: set[str] | None) -> None:
        """Bring the runs; to those that are here already, what has come since."""
        published = self._published()
        for kind in _RUNS:
            for one in self._graph.records.of(kind):
                if wanted is None or one.key in wanted:
                    self._run(one, published)

    def _published(self) -> dict[str, list[tuple[str, str]]]:
        """Return (version, role) of the published files that a run has made, or that it has read, by the key of the run."""
        found: dict[str, list[tuple[str, str]]] = {}
        for one in self._graph.records.of("FileOutput"):
            ref = self._refs.get(one.key)
            if ref is None or self._graph.task_of(one):
                continue
            source, task = self._graph.origin(one)
            if task is not None:
                found.setdefault(task.key, []).append((ref, _role(one)))
            elif source is not None and (read := self._refs.get(source.key)) is not None:
                found.setdefault(f"{self._graph.owner(one)}#source", []).append((read, _role(source)))
        return found

    def _run(self, one: Record, published: dict[str, list[tuple[str, str]]]) -> None:
        id_ = run_id(one.key)
        if id_ is None:
            self._skip(one.lid, "its key cannot be the id of a run")
            return
        inputs = [(ref, role) for file, role in self._graph.inputs(one) if (ref := self._refs.get(file.key)) is not None]
        inputs += published.get(f"{one.key}#source", ())
        outputs = [(ref, _role(file)) for file in self._graph.outputs(one.key) if (ref := self._refs.get(file.key)) is not None]
        outputs += published.get(one.key, ())
        fields = self._past.workflow(one) if one.kind == "WorkflowRun" else self._past.task(one)
        fields["name"] = printed(fields["name"])
        edges = {"inputs": _once(inputs), "outputs": _once(outputs)}
        if not self._intake.run(id_, **fields, **edges):
            self._intake.add_edges(id_, time=fields["ended"] or fields["time"], actor=fields["actor"], **edges)


def _role(one: Record) -> str:
    """Return the path of a file relative to what made it."""
    return printed(one.key.partition("/")[2])[-200:] or "output"


def _once(edges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return edges without repetitions: the first role of a version stays."""
    found: dict[str, str] = {}
    for ref, role in edges:
        found.setdefault(ref, role)
    return list(found.items())
