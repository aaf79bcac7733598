"""Dagster: an IO manager whose assets are names in a store, with a run for each step.

    Definitions(assets=[…], resources={"io_manager": ArtifactStoreIOManager("s3://bucket/ml", "churn")})

See docs/integrations/dagster.md.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.integrations.pipelines import end, is_open, made_below, name_of, opened, options_for, step_id
from artifactstore.store import Store

try:
    from dagster import (
        ConfigurableIOManager,
        DagsterEventType,
        DagsterInvariantViolationError,
        InitResourceContext,
        InputContext,
        MultiPartitionKey,
        OutputContext,
    )
    from pydantic import Field, PrivateAttr
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "dagster":
        raise
    raise UnsupportedError("the IO manager for Dagster needs it: pip install 'artifactstore-ml[dagster]'") from error

__all__ = ["ArtifactStoreIOManager"]

_OPTIONS: Final = "artifactstore"  # the key in the metadata of an asset, an output or an input, with options of `put` or `get`
_ASSET: Final = "dagster.asset"
_PARTITION: Final = "dagster.partition"
_ENDED: Final = frozenset({"SUCCESS", "FAILURE", "SKIPPED"})


class _Step:
    """The run of a step of this process, and the outputs that it has still to hand over."""

    def __init__(self, run: Any, outputs: set[str]) -> None:
        self.run = run
        self.outputs = outputs


class ArtifactStoreIOManager(ConfigurableIOManager):  # type: ignore[misc] # Dagster has no types here
    """Keeps the outputs of assets and ops in a store; what is loaded is verified.

    An asset key is a name, below the prefix: `AssetKey(["churn", "model"])` is `<prefix>/churn/model`, and each partition of it a
    name of its own, `<prefix>/churn/model/2026-11-30`. Each materialization is the next version. Outputs of ops that are no assets
    are `<prefix>/<run id>/<step>/<output>`.

    Each step is a run `dagster-<run id>-<step>`, below the run `dagster-<run id>`. A step loads what steps of the same run of
    Dagster have made, whatever others put meanwhile; else the newest version.

    Options of `Store.put` are in the metadata of an asset or output, those of `Store.get` in that of an `AssetIn`, under
    `artifactstore`: `@asset(metadata={"artifactstore": {"kind": "model"}})`.
    """

    url: str | None = Field(default=None, description="The store's URL; by default what artifactstore.open() opens.")
    prefix: str = Field(default="", description="The beginning of the names.")
    trust: bool = Field(default=False, description="Whether pickles and the like may be loaded, which can run code.")
    storage_options: dict[str, Any] | None = Field(
        default=None, description="Options of the store's backend; the environment is the better place for credentials."
    )

    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _steps: dict[tuple[str, str, int], _Step] = PrivateAttr(default_factory=dict)
    _above: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, url: Any = None, prefix: Any = "", **more: Any) -> None:
        super().__init__(url=url, prefix=prefix, **more)

    @property
    def store(self) -> Store:
        """The store."""
        return opened(self.url, self.storage_options)

    # -- names

    def _name(self, context: InputContext | OutputContext, partition: str | None = None) -> str:
        parts = [one for one in self.prefix.split("/") if one]
        if not context.has_asset_key:
            return name_of([*parts, *context.get_identifier()])
        if isinstance(partition, MultiPartitionKey):
            keys = [key for _, key in sorted(partition.keys_by_dimension.items())]
        else:
            keys = [] if partition is None else [partition]
        return name_of([*parts, *context.asset_key.path, *keys])

    # -- writing

    def handle_output(self, context: OutputContext, obj: Any) -> None:
        """Put an output as the next version of its name.

        Raises:
            InvalidInputError: the output is of several partitions, or its name is that of another asset or partition.
        """
        if obj is None and context.dagster_type.typing_type is type(None):
            return
        partition = self._partition(context)
        name, store = self._name(context, partition), self.store
        about = _identity(context, partition)
        self._check_name(store, name, about)
        given = _options(context.definition_metadata) | _options(context.output_metadata)
        metadata = {**dict(given.pop("metadata", None) or {}), **about}
        step = self._step(context.step_context)
        made = step.run.put(obj, name, metadata=metadata, role=context.name, **options_for(obj, given))
        found = {"ref": made.ref, "digest": made.digest, "uri": made.uri, "run": step.run.id}
        context.add_output_metadata({key: value for key, value in found.items() if key not in context.output_metadata})
        step.outputs.discard(context.name)
        if not step.outputs and context.mapping_key is None:  # of a dynamic output more may follow
            self._end((context.run_id, context.step_context.step.key, context.step_context.previous_attempt_count), None)

    @staticmethod
    def _partition(context: OutputContext) -> str | None:
        if not context.has_asset_key or not context.has_asset_partitions:
            return None
        keys: Sequence[str] = context.asset_partition_keys
        if len(keys) != 1:
            raise InvalidInputError(
                f"{context.asset_key.to_user_string()}: one output of {len(keys)} partitions: run the backfill with a run for each "
                f"partition, or let the asset put them itself and return nothing (-> None)"
            )
        return keys[0]

    @staticmethod
    def _check_name(store: Store, name: str, about: Mapping[str, str]) -> None:
        """Refuse a name that another asset or partition has: as paths, `["a", "b"]` and the partition b of `["a"]` are one.

        Raises:
            InvalidInputError: another one has it.
        """
        try:
            known = store.artifact(name).metadata
        except NotFoundError:
            return
        if _ASSET in known and {key: known.get(key) for key in (_ASSET, _PARTITION)} != {
            key: about.get(key) for key in (_ASSET, _PARTITION)
        }:
            other = " ".join(str(known[key]) for key in (_ASSET, _PARTITION) if key in known)
            raise InvalidInputError(f"the name {name} is that of {other}: choose another asset key, or another prefix")

    # -- reading

    def load_input(self, context: InputContext) -> Any:
        """Return what an upstream step made; of several partitions a dict of them by their keys.

        Raises:
            NotFoundError: it was never made.
        """
        if not context.has_asset_key or not context.has_asset_partitions:
            return self._get(context, self._name(_upstream(context)))
        keys = list(context.asset_partition_keys)
        if len(keys) == 1:
            return self._get(context, self._name(context, keys[0]))
        skip = bool(context.definition_metadata.get("allow_missing_partitions"))
        found = {}
        for key in keys:
            try:
                found[key] = self._get(context, self._name(context, key))
            except NotFoundError:
                if not skip:
                    raise
                context.log.warning(
                    "the partition %s of %s was never made: it is left out", key, context.asset_key.to_user_string()
                )
        return found

    def _get(self, context: InputContext, name: str) -> Any:
        store = self.store
        options: dict[str, Any] = {"trust": True} if self.trust else {}
        options |= _options(context.definition_metadata)
        in_step = _in_step(context)
        mine = made_below(store, name, _run_of(context.step_context.run_id)) if in_step else None
        ref = store.artifact(mine or name).ref
        if not in_step:  # such as `Definitions.load_asset_value`
            return store.get(ref, **options)
        run = self._step(context.step_context).run
        role = context.name if context.has_input_name else None
        if context.has_asset_key and (not context.has_asset_partitions or len(context.asset_partition_keys) == 1):
            context.add_input_metadata({"ref": ref})
        return run.get(ref, role=role, **options)

    # -- runs

    def setup_for_execution(self, context: InitResourceContext) -> None:
        """Start the run of the whole, or join it: where each step is a process, every one does."""
        if context.dagster_run is not None:
            self._whole(context.dagster_run)

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """End the runs of steps that did not hand over all of their outputs, and after the last step the run of the whole."""
        dagster_run, instance = context.dagster_run, context.instance
        if dagster_run is None or instance is None:
            return
        errors = _errors(instance, dagster_run.run_id)
        for key in list(self._steps):
            if key[0] == dagster_run.run_id:
                self._end(key, errors.get(key[1]))
        whole = self._whole(dagster_run)
        if whole is None or not is_open(self.store, whole.id):
            return
        left, failed = _progress(instance, dagster_run)
        if not left:
            end(whole, f"failed: {', '.join(failed)}" if failed else None)

    def _whole(self, dagster_run: Any) -> Any:
        """Return the run of the whole, which each process of it joins; None where it has ended."""
        with self._lock:
            if dagster_run.run_id not in self._above:
                tags = {key: value for key, value in dagster_run.tags.items() if not key.startswith(".")}
                name, params = f"dagster {dagster_run.job_name}"[:200], {"tags": tags} if tags else {}
                run = self.store.run(name, id=_run_of(dagster_run.run_id), params=params, code=False)
                try:
                    self._above[dagster_run.run_id] = run.start(current=False, capture=False)
                except ConflictError:  # a step is run again, after the end
                    self._above[dagster_run.run_id] = None
            return self._above[dagster_run.run_id]

    def _step(self, context: Any) -> _Step:
        """Return the run of a step; each try of it is one of its own."""
        attempt = context.previous_attempt_count
        key = (context.run_id, context.step.key, attempt)
        if (found := self._steps.get(key)) is not None:
            return found
        self._whole(context.dagster_run)
        for earlier in range(attempt):
            self._end((*key[:2], earlier), "it was tried again")
        with self._lock:
            above, tried = _run_of(context.run_id), f"-try{attempt + 1}" if attempt else ""
            run = self.store.run(context.step.key[:200], id=step_id(above, context.step.key + tried), params=_params(context))
            outputs = {one.name for one in context.step.step_outputs}
            self._steps[key] = _Step(run.start(current=False, parent=above), outputs)
            return self._steps[key]

    def _end(self, key: tuple[str, str, int], error: str | None) -> None:
        with self._lock:
            step = self._steps.pop(key, None)
        if step is not None:
            end(step.run, error)


def _params(context: Any) -> dict[str, Any]:
    """Return the configuration of a step, and its partition."""
    config = context.op_config
    found: dict[str, Any] = dict(config) if isinstance(config, Mapping) else {} if config is None else {"config": config}
    return found | ({"partition": str(context.partition_key)} if context.has_partition_key else {})


def _errors(instance: Any, run_id: str) -> dict[str, str]:
    """Return the errors of the steps that failed, or are tried again, by their keys."""
    wanted = {DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}
    found = {}
    for entry in instance.all_logs(run_id, of_type=wanted):
        event = entry.dagster_event
        failure = event.event_specific_data.error
        cause = failure.cause if failure is not None and failure.cause is not None else failure
        found[event.step_key] = "failed" if cause is None else cause.message.strip()
    return found


def _progress(instance: Any, dagster_run: Any) -> tuple[set[str], list[str]]:
    """Return the steps that have still to run, and those that failed; what waits for a failed one will never run."""
    stats = {one.step_key: one.status for one in instance.get_run_step_stats(dagster_run.run_id)}
    ended = {key for key, status in stats.items() if status is not None and status.value in _ENDED}
    failed = [key for key, status in stats.items() if status is not None and status.value == "FAILURE"]
    plan = instance.get_execution_plan_snapshot(dagster_run.execution_plan_snapshot_id)
    steps = {one.key: one for one in plan.steps if one.key in plan.step_keys_to_execute}
    stopped, before = set(failed), set[str]()
    while stopped != before:
        before = set(stopped)
        stopped |= {key for key, one in steps.items() if any(up.step_key in stopped for up in _above_of(one))}
    # A step that runs once for each value of another one's output has a placeholder in the plan.
    ran = {f"{key.partition('[')[0]}[?]" for key in ended if "[" in key} | ended
    return {key for key in steps if key not in ran | stopped} | (set(stats) - ended), failed


def _above_of(step: Any) -> list[Any]:
    return [handle for one in step.inputs for handle in one.upstream_output_handles]


def _options(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options of this library among the metadata of an asset, an output or an input."""
    found = (metadata or {}).get(_OPTIONS)
    return dict(getattr(found, "value", found) or {})


def _upstream(context: InputContext) -> Any:
    """Return the context whose identity names what is loaded: for an op's input, that of the output."""
    return context if context.has_asset_key else context.upstream_output


def _in_step(context: InputContext) -> bool:
    try:
        return context.step_context is not None
    except DagsterInvariantViolationError:
        return False


def _identity(context: OutputContext, partition: str | None) -> dict[str, str]:
    if not context.has_asset_key:
        return {}
    found = {_ASSET: context.asset_key.to_user_string()}
    return found if partition is None else {**found, _PARTITION: str(partition)}


def _run_of(run_id: str) -> str:
    return f"dagster-{run_id}"
