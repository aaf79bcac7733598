"""The fields of runs by their paths (`params.lr`, `metrics.auc`), and runs as a question sees them before it has chosen some."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from difflib import get_close_matches
from functools import cached_property, partial
from operator import itemgetter
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.runs.info import RunInfo, output_metrics
from artifactstore.catalog.spill.table import load, plain
from artifactstore.errors import InvalidInputError

__all__ = ["Candidate", "Fields", "candidates", "in_order", "paths_of", "records", "text_of", "value_at"]

_TABLES: Final = ("params", "metrics", "code")  # whose keys are fields of their own
_MANY: Final = 4  # if more than one run of so many is wanted, all rows are read at once


class Candidate:
    """A run that a question may choose: its parameters and metrics, which most questions ask for; the rest of its record on demand.

    Only while the state is held; parameters, metrics and the record that was made stay valid after that.
    """

    __slots__ = ("_info", "_make", "id", "metrics", "output_metrics", "params")

    def __init__(self, run: str, params: Any, metrics: Any, outputs: Any, make: Callable[[Any], RunInfo]) -> None:
        self.id = run
        self.params: dict[str, Any] = params
        self.metrics: dict[str, float] = metrics
        self.output_metrics: dict[str, float] = outputs
        self._make = make
        self._info: RunInfo | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.info(), name)

    def info(self) -> RunInfo:
        """Return the whole record."""
        if self._info is None:
            self._info = self._make(self)
        return self._info


def candidates(state: State, rows: Mapping[str, Any], make: Callable[[Candidate], RunInfo]) -> list[Candidate]:
    """Return runs as candidates; `rows` are theirs, `make` returns the whole record of one. Their edges are not read."""
    many = len(rows) * _MANY > len(state.runs)
    metrics = plain(state.metrics) if many else state.metrics
    outputs = _measured_outputs(state, metrics) if many else partial(output_metrics, state.edges, metrics)
    return [Candidate(run, row.get("params", {}), metrics.get(f"run:{run}", {}), outputs(run), make) for run, row in rows.items()]


def _measured_outputs(state: State, metrics: Mapping[str, Any]) -> Callable[[str], dict[str, float]]:
    """Return a function from a run to the metrics of what it produced, without a look at the edges of each."""
    found: dict[str, dict[str, float]] = {}
    several: set[str] = set()
    for digest, runs in state.produced_by.items():
        if (values := metrics.get(digest)) is not None:
            several.update(run for run in runs if run in found)
            found.update(dict.fromkeys(runs, values))
    for run in several:  # the order of its outputs decides
        found[run] = output_metrics(state.edges, metrics, run)
    return lambda run: found.get(run, {})


def records(state: State, chosen: Sequence[Candidate]) -> list[RunInfo]:
    """Return the whole records of chosen runs."""
    if len(chosen) * _MANY > len(state.runs):
        load(state.edges)
    return [one.info() for one in chosen]


def text_of(value: Any) -> str:
    """Return a value as text, as conditions compare it."""
    return (
        value if isinstance(value, str) else value.isoformat() if isinstance(value, datetime) else json.dumps(value, default=str)
    )


def in_order(pairs: Iterable[tuple[Any, Any]], *, reverse: bool) -> list[tuple[Any, Any]]:
    """Sort pairs by their first value, whatever the types: numbers, then times, then the rest as text."""
    pairs = list(pairs)
    if {type(value) for value, _ in pairs} <= {int, float, bool}:
        return sorted(pairs, key=itemgetter(0), reverse=reverse)
    return sorted(pairs, key=lambda pair: _ordered(pair[0]), reverse=reverse)


def _ordered(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool | int | float):
        return 0, value
    return (1, value.isoformat()) if isinstance(value, datetime) else (2, text_of(value))


def paths_of(runs: Iterable[Any]) -> list[str]:
    """Return the paths of all parameters and metrics, in the order of their first run."""
    found: dict[str, None] = {}
    known: set[tuple[str, ...]] = set()  # keys whose paths are found: those of most runs are the same
    for name, table in (("params", "params"), ("metrics", "metrics"), ("metrics", "output_metrics")):
        for run in runs:
            values = getattr(run, table)
            keys = None if dict in map(type, values.values()) else (name, *values)
            if keys is None or keys not in known:
                found |= dict.fromkeys(_flat(name, values))
            if keys is not None:
                known.add(keys)
    return list(found)


def _flat(prefix: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value and set(value) != {"repr"}:
        for key, one in value.items():
            yield from _flat(f"{prefix}.{key}", one)
    elif value != {}:
        yield prefix


def value_at(run: Any, path: str) -> Any:
    """Return the value at a path, or None."""
    head, _, rest = path.partition(".")
    value = getattr(run, head, None)
    if not rest:
        return value
    found = _inside(value, rest)
    return _inside(run.output_metrics, rest) if found is None and head == "metrics" else found


def _inside(value: Any, path: str) -> Any:
    while type(value) is dict or isinstance(value, Mapping):
        if path in value:  # names may have dots of their own
            return value[path]
        key, _, path = path.partition(".")
        value = value.get(key)
    return None


class Fields:
    """The fields of some runs, by their paths; those of parameters and metrics are collected once, when they are needed.

    Args:
        runs: the runs, or a function that reads them then.
    """

    def __init__(self, runs: Sequence[Any] | Callable[[], Sequence[Any]]) -> None:
        self._runs = runs

    @cached_property
    def _paths(self) -> list[str]:
        return paths_of(self._runs() if callable(self._runs) else self._runs)

    def known(self, path: str) -> str:
        """Return the whole path of a field; `lr` alone means the only parameter or metric of that name.

        Raises:
            InvalidInputError: there is none, or several; the message has the nearest ones.
        """
        own = [one.name for one in fields(RunInfo) if one.repr]
        if path in own or (path.partition(".")[0] == "code" and "." in path):
            return path
        paths = self._paths
        if path in paths:
            return path
        short = [one for one in paths if one.partition(".")[2] == path]
        if len(short) == 1:
            return short[0]
        if len(short) > 1:
            raise InvalidInputError(f"{path!r} is ambiguous: {' or '.join(short)}")
        if not paths and path.partition(".")[0] in _TABLES:
            return path  # no run has anything: then no condition on it is met
        short_names = {one.partition(".")[2]: one for one in paths}
        near = get_close_matches(path, [*short_names, *paths, *own], n=3, cutoff=0.6)
        nearest = dict.fromkeys(short_names.get(one, one) for one in near)
        known = f"the nearest are {', '.join(nearest)}" if nearest else f"there are {', '.join([*own, *paths][:40])}"
        raise InvalidInputError(f"no run has a column {path!r}; {known}")
