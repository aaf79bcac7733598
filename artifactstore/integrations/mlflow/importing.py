"""The import: what MLflow recorded comes into a store, at its own times.

Logged models come first, then the versions of registered models, then the runs, which name both: so whatever stops the import,
nothing here names what is not here. What is here already is found by its ids, and of that nothing is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError
from artifactstore.integrations.mlflow.contents import Contents
from artifactstore.integrations.mlflow.records import (
    context_of,
    described,
    history_of,
    moment,
    name_of,
    parameters_of,
    path_of,
    status_of,
)
from artifactstore.integrations.mlflow.source import Source, errors_of, opened
from artifactstore.store import Store
from artifactstore.work.sync.imported import Imported

__all__ = ["bring"]

_PAGE: Final = 500  # records that are asked for at a time
_EXPERIMENTS: Final = 50  # whose logged models are asked for at once
_MODELS: Final = 100  # the most of them that a server gives
_UNKNOWN: Final = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"})
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PROMPT: Final = "mlflow.prompt.is_prompt"
_STAGES: Final = {"Production": "production", "Staging": "staging"}


def bring(
    store: Store, uri: str, prefix: str, *, experiments: Sequence[str] = (), dry_run: bool = False, reason: str | None = None
) -> Imported:
    """Import from a tracking URI; see `import_from`."""
    with opened(uri) as source, errors_of(source.identity):
        with store.maintenance.intake("mlflow", source.identity, dry_run=dry_run, reason=reason) as intake:
            work = _Import(store, source, prefix.rstrip("/"), intake, dry_run=dry_run)
            work.run(experiments)
        report = intake.report
        report.names = len(work.names)
        return report


def pages(search: Callable[..., Any], *, max_results: int = _PAGE, **asked: Any) -> Iterator[Any]:
    """Yield what all pages of a search have."""
    token = None
    while True:
        page = search(max_results=max_results, page_token=token, **asked)
        yield from page
        token = page.token
        if not token:
            return


class _Import:
    """One import.

    Attributes:
        names: here, of what has content there: registered models, logged models, artifacts of runs.
    """

    def __init__(self, store: Store, source: Source, prefix: str, intake: Any, *, dry_run: bool) -> None:
        self._prefix, self._intake = prefix, intake
        self._client, self._contents = source.client, Contents(store, source, dry_run=dry_run)
        self._ends = Ends(store, dry_run=dry_run)
        self.names: set[str] = set()
        self._experiments: dict[str, Any] = {}  # id → the experiment
        self._models: dict[str, str] = {}  # id of a logged model → reference here
        self._made: dict[str, list[str]] = {}  # id of a run → references of what it made

    def run(self, wanted: Sequence[str]) -> None:
        """Bring everything, or what belongs to some experiments."""
        self._choose(wanted)
        self._logged_models()
        self._registered_models(all_of_them=not wanted)
        for experiment in self._experiments.values():
            self._runs(experiment)

    def _choose(self, wanted: Sequence[str]) -> None:
        left = dict.fromkeys(wanted)
        for one in pages(self._client.search_experiments, view_type=ViewType.ALL):
            if wanted and not {one.name, one.experiment_id} & set(wanted):
                continue
            left.pop(one.name, None)
            left.pop(one.experiment_id, None)
            if one.lifecycle_stage != "active":
                self._skip(f"experiment {one.name}", "it was deleted in MLflow")
            else:
                self._experiments[one.experiment_id] = one
        if left:
            raise NotFoundError(f"MLflow has no experiment {', '.join(map(repr, left))}")

    def _skip(self, what: str, why: str) -> None:
        self._intake.report.skipped.append(f"{what}: {why}")

    def _put(self, uri: Callable[[], str], name: str, marks: Mapping[str, str], **described_: Any) -> str | None:
        """Bring a version unless it is here; return its reference, or None if its content is nowhere."""
        if (known := self._intake.find(name, marks)) is not None:
            self.names.add(name)
            return str(known)
        with self._contents.at(uri()) as source:
            if source is None:
                return None
            self.names.add(name)
            options = {"links": "follow"} if isinstance(source, Path) and source.is_dir() else {}
            return str(self._intake.put(source, name, marks=marks, **described_, **options).ref)

    # -- models

    def _logged_models(self) -> None:
        ids = list(self._experiments)
        for at in range(0, len(ids), _EXPERIMENTS):
            try:
                for one in pages(
                    self._client.search_logged_models, experiment_ids=ids[at : at + _EXPERIMENTS], max_results=_MODELS
                ):
                    self._logged_model(one)
            except MlflowException as error:
                if error.error_code not in _UNKNOWN:
                    raise
                return  # a server before MLflow 3 has none

    def _logged_model(self, one: Any) -> None:
        uri = f"models:/{one.model_id}"
        if str(one.status) != "READY":
            self._skip(uri, f"its status is {one.status}")
            return
        ref: str | None
        if (known := self._contents.here(one.artifact_location)) is not None:
            ref = known[0]
        else:
            fields = {"experiment_id": one.experiment_id, "run_id": one.source_run_id, "model_name": one.name}
            ref = self._put(
                lambda: one.artifact_location,
                f"{self._prefix}/.models/{one.model_id}",
                {"mlflow.model_id": one.model_id},
                kind="model",
                metadata=described(fields) | ({"mlflow.params": dict(one.params)} if one.params else {}),
                metrics=measured(one),
                time=moment(one.creation_timestamp),
                tags=dict(one.tags or {}),
            )
        if ref is None:
            self._intake.report.missing.append(uri)
            return
        self._models[one.model_id] = ref
        if one.source_run_id:
            self._made.setdefault(one.source_run_id, []).append(ref)

    def _registered_models(self, *, all_of_them: bool) -> None:
        versions: dict[str, list[Any]] = {}
        for one in pages(self._client.search_model_versions):
            versions.setdefault(one.name, []).append(one)
        for model in pages(self._client.search_registered_models):
            if _PROMPT in model.tags:
                self._skip(f"prompt {model.name}", "prompts are not imported")
                continue
            refs: dict[str, str] = {}
            stages: dict[str, str] = {}
            for one in sorted(versions.pop(model.name, ()), key=lambda version: int(version.version)):
                if all_of_them or self._is_of_chosen(one.run_id):
                    ref = self._version(one)
                    if ref is not None:
                        refs[str(one.version)] = ref
                        if (alias := _STAGES.get(one.current_stage)) is not None:
                            stages[alias] = str(one.version)
            for alias, number in {**stages, **model.aliases}.items():
                if (target := refs.get(str(number))) is not None:
                    self._alias(target, alias, model)

    def _is_of_chosen(self, run: str | None) -> bool:
        if not run:
            return False
        try:
            return self._client.get_run(run).info.experiment_id in self._experiments
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _version(self, one: Any) -> str | None:
        uri = f"models:/{one.name}/{one.version}"
        if one.status != "READY":
            self._skip(uri, f"its status is {one.status}")
            return None
        fields = {
            "model": one.name,
            "run_id": one.run_id,
            "model_id": one.model_id,
            "stage": one.current_stage,
            "source": one.source,
        }
        name = f"{self._prefix}/{name_of(one.name)}"
        marks = {"mlflow.version": str(one.version), "mlflow.created": str(one.creation_timestamp)}
        options: dict[str, Any] = {"tags": dict(one.tags)} if one.tags else {}
        options |= {"description": one.description} if one.description else {}
        ref = self._put(
            lambda: self._content_of(one),
            name,
            marks,
            kind="model",
            metadata=described(fields),
            metrics=measured(one),
            time=moment(one.creation_timestamp),
            actor=one.user_id or None,
            **options,
        )
        if ref is None:
            self._intake.report.missing.append(uri)
        elif one.run_id:
            self._made.setdefault(one.run_id, []).append(ref)
        return ref

    def _content_of(self, version: Any) -> str:
        """Return the URI of a version's content."""
        try:
            return str(self._client.get_model_version_download_uri(version.name, version.version))
        except MlflowException as error:
            if error.error_code not in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
                raise
            return str(version.source or "")

    def _alias(self, ref: str, alias: str, model: Any) -> None:
        try:
            self._intake.alias(ref, alias, time=moment(model.last_updated_timestamp))
        except InvalidInputError as error:
            self._skip(f"models:/{model.name}@{alias}", str(error))

    # -- runs

    def _runs(self, experiment: Any) -> None:
        deleted = 0
        order = ["attributes.start_time ASC"]
        for one in pages(
            self._client.search_runs, experiment_ids=[experiment.experiment_id], run_view_type=ViewType.ALL, order_by=order
        ):
            if one.info.lifecycle_stage != "active":
                deleted += 1
            else:
                self._run(one, experiment)
        if deleted:
            self._skip(f"experiment {experiment.name}", f"{deleted} of its runs were deleted in MLflow")

    def _run(self, run: Any, experiment: Any) -> None:
        info, run_id = run.info, f"mlflow-{run.info.run_id}"
        status = status_of(info.status)
        started = moment(info.start_time) or moment(info.end_time) or _START
        known = self._intake.has_run(run_id)
        outputs = self._artifacts(run)
        parent = run.data.tags.get("mlflow.parentRunId")
        fields = {
            "time": started,
            "ended": None if status is None else moment(info.end_time) or started,
            "status": status,
            "error": "killed" if info.status == "KILLED" else None,
            "params": parameters_of(run, experiment),
            "actor": info.user_id or run.data.tags.get("mlflow.user"),
            "inputs": self._inputs(run),
            "outputs": [(ref, None) for ref in dict.fromkeys([*outputs, *self._made.pop(info.run_id, ())])],
            "parent": f"mlflow-{parent}" if parent else None,
        }
        if self._ends.is_open(run_id):
            if status is not None and self._ends.end(run_id, fields["error"] or status, self._history(run)):
                self._intake.report.runs += 1
            return
        try:
            self._intake.run(run_id, info.run_name or "mlflow", history=() if known else self._history(run), **fields)
        except InvalidInputError as error:
            self._skip(run_id, str(error))

    def _history(self, run: Any) -> Any:
        get = self._client.get_metric_history
        return history_of(value for key in run.data.metrics for value in get(run.info.run_id, key))

    def _inputs(self, run: Any) -> list[tuple[str, str | None]]:
        given = getattr(run, "inputs", None)
        if given is None:
            return []
        sets = ((self._contents.data_set(one.dataset.source), context_of(one)) for one in given.dataset_inputs)
        models = ((self._models.get(one.model_id), "model") for one in getattr(given, "model_inputs", None) or ())
        return [(ref, role) for ref, role in (*sets, *models) if ref is not None]

    def _artifacts(self, run: Any) -> list[str]:
        """Bring the artifacts of a run, and each model among them also as an artifact of its own; return the references."""
        info = run.info
        if not info.artifact_uri:
            return []
        if (known := self._contents.here(info.artifact_uri)) is not None:
            return [known[0]]
        ended = str(info.end_time or "")
        name = f"{self._prefix}/.runs/{info.experiment_id}/{info.run_id}"
        marks = {"mlflow.run_id": info.run_id, "mlflow.end_time": ended}
        if (ref := self._intake.find(name, marks)) is not None:
            self.names.add(name)
            return [str(ref)]
        about = {"time": moment(info.end_time) or moment(info.start_time), "actor": info.user_id or None}
        with self._contents.at(info.artifact_uri) as source:
            if source is None:
                return []
            self.names.add(name)
            found = []
            for folder in models_in(source):
                path = folder.relative_to(source).as_posix()
                fields = described({"path": path, "experiment_id": info.experiment_id})
                target = f"{self._prefix}/.models/{info.run_id}/{path_of(path)}"
                options = {"kind": "model", "links": "follow", "metadata": fields, **about}
                found.append(str(self._intake.put(folder, target, marks=marks, **options).ref))
            fields = described({"experiment_id": info.experiment_id})
            options = {"links": "follow"} if source.is_dir() else {}
            return [*found, str(self._intake.put(source, name, marks=marks, metadata=fields, **about, **options).ref)]


def models_in(folder: Path) -> list[Path]:
    """Return the folders of models below a folder, which is one itself or not."""
    return sorted(path.parent for path in folder.rglob("MLmodel") if path.parent != folder)


def measured(record: Any) -> dict[str, float] | None:
    """Return the values that were measured of a model."""
    values = {one.key: one.value for one in record.metrics or ()}
    return values or None


class Ends:
    """Runs that MLflow began through the artifact repository: they are this store's own, and have not ended here.

    Args:
        store: the store.
        dry_run: end none.
    """

    def __init__(self, store: Store, *, dry_run: bool) -> None:
        self._store, self._dry_run = store, dry_run
        self._open: set[str] = set()
        with suppress(NotFoundError):  # no run has that name
            self._open = {one.id for one in store.runs("mlflow") if one.finished is None}

    def is_open(self, run: str) -> bool:
        """Return whether it is one of them."""
        return run in self._open

    def end(self, run: str, status: str, history: Any) -> bool:
        """Record what it measured, and that it has ended; return whether that was new."""
        self._open.discard(run)
        if self._dry_run:
            return True
        try:
            joined = self._store.run("mlflow", id=run, code=False).start(current=False, capture=False)
        except ConflictError:
            return False  # another import was first
        for metric, step, value, _ in history:
            joined.log(step=step, **{metric: value})
        joined.finish(error=None if status == "finished" else status)
        return True
