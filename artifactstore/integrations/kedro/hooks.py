"""The hooks, which Kedro finds by an entry point: a run for each session, and one below it for each node.

Kedro loads a node's inputs before it announces the node, and saves its outputs afterwards; a hook sees names, and no datasets.
So the datasets remember what they loaded, a node's run begins when the node does, and ends when its last output is saved. Workers
of a `ParallelRunner` have hooks of their own: what these need to know travels with the datasets.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kedro.framework.hooks import hook_impl
from kedro.io import CachedDataset, DatasetError

from artifactstore.errors import RefusedError
from artifactstore.integrations.pipelines import end, free_id, is_open, step_id
from artifactstore.model.encoding import new_id
from artifactstore.runtime.remarks import remark

__all__ = ["ArtifactHooks", "hooks"]

C = TypeVar("C", bound=Callable[..., Any])


def _hook(function: C) -> C:
    """Mark an implementation of a hook; Kedro's own mark has no types."""
    marked: C = hook_impl(function)
    return marked


_MODULE: Final = "artifactstore.integrations.kedro.dataset"
_PARAMETERS: Final = "parameters"
_INTERRUPTED: Final = "it was interrupted"
_TOLD: Final = ("env", "pipeline_names", "runtime_params", "tags", "node_names", "from_nodes", "to_nodes", "namespaces")


@dataclass
class _Node:
    """A node that runs.

    Attributes:
        runs: its run in each store.
        outputs: names of its outputs that are not saved yet.
        datasets: its outputs that are artifacts.
        inside: what makes its run the current one while its function runs.
    """

    runs: list[Any]
    outputs: set[str]
    datasets: list[Any]
    inside: ExitStack = field(default_factory=ExitStack)
    endless: bool = False  # it yields its outputs in parts: the last one is not announced


class ArtifactHooks:
    """Runs of the store for sessions and nodes of Kedro, wherever a pipeline has an `ArtifactDataset`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: list[tuple[Any, Any, list[Any]]] = []  # store, run of the session in it, its datasets
        self._nodes: dict[str, _Node] = {}
        self._leaving: int | None = None  # the process that ends open runs when it leaves

    # -- sessions

    @_hook
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Any, catalog: Any) -> None:
        """Start the run of the session, and let the datasets know it."""
        self._close(_INTERRUPTED)
        if self._leaving != os.getpid():
            self._leaving = os.getpid()
            atexit.register(self._leave, os.getpid())
        found = dict(_artifacts(catalog, pipeline.datasets()))
        params = {key: run_params[key] for key in _TOLD if run_params.get(key)}
        for url, dataset in _by_store(found.values()).items():
            store = dataset.store
            given = str(run_params.get("run_id") or run_params.get("session_id") or new_id())
            name = " + ".join(run_params.get("pipeline_names") or ["__default__"])
            try:
                run = store.run(f"kedro {name}"[:200], id=free_id(store, f"kedro-{given}"), params=params, code=False)
                run.start(current=False, capture=False)
            except RefusedError as error:
                remark(f"the nodes of this session are no runs in {url}: {error}")
                continue
            own = [one for one in found.values() if one.store.url == url]
            self._sessions.append((store, run, own))
            for one in own:
                one.session = run.id
        sources = _sources(pipeline, found)
        for node in pipeline.nodes:
            for name in node.outputs:
                if name in found:
                    found[name].made_from = sources[node.name]

    @_hook
    def after_pipeline_run(self, pipeline: Any) -> None:
        """End the run of the session."""
        self._close(None, pipeline)

    @_hook
    def on_pipeline_error(self, error: Exception, pipeline: Any) -> None:
        """End the run of the session, and those of nodes that loading or saving has stopped, as failed."""
        self._close(error, pipeline)

    def _leave(self, process: int) -> None:
        """End what is still open in a process that leaves: no hook tells of Ctrl-C."""
        if process == os.getpid():
            self._close(_INTERRUPTED)

    def _close(self, error: BaseException | str | None, pipeline: Any = None) -> None:
        with self._lock:
            sessions, self._sessions = self._sessions, []
            nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            self._end(node, error)
        for store, session, datasets in sessions:
            for node in () if pipeline is None else pipeline.nodes:
                _end_elsewhere(store, step_id(session.id, node.name), node, error)
            end(session, error)
            for dataset in datasets:
                dataset.session, dataset.made_from = None, ()
        if (module := sys.modules.get(_MODULE)) is not None:
            module.announced.forget()

    # -- nodes

    @_hook
    def before_dataset_loaded(self, dataset_name: str, node: Any) -> None:  # noqa: ARG002 - Kedro's names
        """Let the node's run record the load."""
        if (module := sys.modules.get(_MODULE)) is not None:
            module.announced.begin()

    @_hook
    def after_dataset_loaded(self, dataset_name: str, node: Any) -> None:  # noqa: ARG002 - Kedro's names
        """End what `before_dataset_loaded` began."""
        if (module := sys.modules.get(_MODULE)) is not None:
            module.announced.end()

    @_hook
    def before_node_run(self, node: Any, catalog: Any, inputs: Mapping[str, Any]) -> None:
        """Start the run of a node, with what it has loaded as inputs."""
        used, made = dict(_artifacts(catalog, node.inputs)), dict(_artifacts(catalog, node.outputs))
        stores = _by_store((*used.values(), *made.values())) or _any(catalog)
        runs = []
        for url, dataset in stores.items():
            run = self._started(dataset, node, inputs)
            if run is None:
                continue
            runs.append(run)
            for name, one in used.items():
                if one.store.url == url and (found := one.artifact_of(inputs.get(name))) is not None:
                    run.use(found.ref, role=name)
            earlier = {name for one in made.values() for name in one.made_from} - set(used)
            for name, one in _artifacts(catalog, sorted(earlier)):
                if one.store.url == url:
                    with suppress(KeyError):  # it was removed meanwhile
                        run.use(one.store.artifact(one.ref if one.newest is None else one.newest.ref).ref, role=name)
            for one in made.values():
                if one.store.url == url:
                    one.run = run
        if runs:
            begun = _Node(runs, set(node.outputs), [*made.values()])
            for run in runs:
                begun.inside.enter_context(run.inside())
            with self._lock:
                self._nodes[node.name] = begun

    @staticmethod
    def _started(dataset: Any, node: Any, inputs: Mapping[str, Any]) -> Any:
        """Return the run of a node in the store of a dataset; None where that takes no runs."""
        session = dataset.session
        made_id = None if session is None else step_id(session, node.name)
        try:
            return dataset.store.run(node.name[:200], id=made_id, params=_parameters(inputs)).start(parent=session)
        except RefusedError:  # it is only read
            return None

    @_hook
    def after_node_run(self, node: Any, outputs: Mapping[str, Any]) -> None:
        """Leave the run of a node; it ends with its last output."""
        begun = self._nodes.get(node.name)
        if begun is not None:
            begun.inside.close()
            begun.endless = all(isinstance(one, Iterator) for one in outputs.values())
            if not begun.outputs:
                self._finished(node.name)

    @_hook
    def on_node_error(self, error: Exception, node: Any) -> None:
        """End the run of a node as failed."""
        begun = self._nodes.get(node.name)
        if begun is not None:
            begun.inside.close()
            self._finished(node.name, error)

    @_hook
    def after_dataset_saved(self, dataset_name: str, node: Any) -> None:
        """End the run of a node whose outputs are all saved."""
        begun = self._nodes.get(node.name)
        if begun is not None and not begun.endless:
            begun.outputs.discard(dataset_name)
            if not begun.outputs:
                self._finished(node.name)

    def _finished(self, name: str, error: BaseException | None = None) -> None:
        with self._lock:
            begun = self._nodes.pop(name, None)
        if begun is not None:
            self._end(begun, error)

    @staticmethod
    def _end(begun: _Node, error: BaseException | str | None) -> None:
        with suppress(ValueError):  # entered in another thread, whose context is gone
            begun.inside.close()
        for one in begun.datasets:
            one.run = None
        for run in begun.runs:
            end(run, error)


def _artifacts(catalog: Any, names: Any) -> Iterator[tuple[str, Any]]:
    """Yield those datasets of a catalog that are artifacts, also behind Kedro's cache."""
    module = sys.modules.get(_MODULE)
    for name in names:
        found = None
        with suppress(DatasetError):  # one that cannot be made: Kedro itself will say so
            found = catalog.get(name) if name in catalog and not _is_parameter(name) else None
        while isinstance(found, CachedDataset):
            found = found._dataset  # noqa: SLF001 - which has no other door
        if found is not None and (module := module or sys.modules.get(_MODULE)) and isinstance(found, module.ArtifactDataset):
            yield name, found


def _end_elsewhere(store: Any, run: str, node: Any, error: BaseException | str | None) -> None:
    """End the run of a node whose worker could not see its end."""
    if is_open(store, run):
        joined = store.run(node.name[:200], id=run, code=False)
        end(joined.start(current=False, capture=False), error)


def _by_store(datasets: Iterable[Any]) -> dict[str, Any]:
    """Return a dataset for each store, by its URL: one that may write, if there is one."""
    found: dict[str, Any] = {}
    for one in datasets:
        known = found.get(one.store.url)
        if known is None or not known.store._session.may_write:  # noqa: SLF001 - a store that is only read has no other sign
            found[one.store.url] = one
    return found


def _any(catalog: Any) -> dict[str, Any]:
    """Return a dataset of the session, for a node that has none of its own."""
    known = [one for _, one in _artifacts(catalog, sorted(getattr(catalog, "_datasets", ()))) if one.session is not None]
    return {one.store.url: one for one in known[:1]}


def _is_parameter(name: str) -> bool:
    return name == _PARAMETERS or name.startswith("params:")


def _parameters(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters among a node's inputs, without Kedro's prefix."""
    whole = inputs.get(_PARAMETERS)
    found = dict(whole) if isinstance(whole, Mapping) else {}
    return found | {name.removeprefix("params:"): value for name, value in inputs.items() if name.startswith("params:")}


def _sources(pipeline: Any, found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return for each node the artifacts that its inputs were made from, through datasets that are none themselves."""
    behind: dict[str, set[str]] = {}  # dataset that is no artifact → artifacts
    sources: dict[str, tuple[str, ...]] = {}
    for node in pipeline.nodes:  # in the order of their dependencies
        names = {one for name in node.inputs for one in ({name} if name in found else behind.get(name, ()))}
        sources[node.name] = tuple(sorted(names))
        for name in node.outputs:
            if name not in found:
                behind[name] = names
    return sources


hooks: Final = ArtifactHooks()
