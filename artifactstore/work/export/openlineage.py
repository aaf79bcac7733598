"""OpenLineage 2-0-2: two run events for each run, as plain dicts (https://openlineage.io/spec/2-0-2/OpenLineage.json).

A run's code and environment are facets and tags, not data sets: each run has them, and they would join all graphs into one.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from artifactstore.catalog.runs.parent import ParentRun
from artifactstore.model.encoding import parse_time
from artifactstore.work.export.record import PRODUCER, Edge, Item, Record, RunOf, RunRef

__all__ = ["events"]

_SPEC: Final = "https://openlineage.io/spec"
_ENDS: Final = {"finished": "COMPLETE", "failed": "FAIL", "running": "RUNNING"}
_QUANTILES: Final = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_TYPES: Final = {"model": "MODEL", "code": "FILE", "environment": "FILE"}
_FORMATS: Final = {"table": "parquet", "json": "json", "text": "text"}


def events(record: Record, namespace: str | None = None) -> list[dict[str, Any]]:
    """Return the events, grouped by run, oldest run first.

    Args:
        record: the record; `profile` adds schemas and metrics of columns.
        namespace: of jobs; data sets always have that of their store.
    """
    return [event for run in record.runs for event in _of_run(record, run, namespace or record.url)]


def run_id(ref: RunRef) -> str:
    """Return a run's UUID of version 7, as servers expect it: its start time, and a hash of its identity as random bits."""
    time = parse_time(ref.started)
    milliseconds = int(time.timestamp()) * 1000 + time.microsecond // 1000
    bits = ref.uuid.int
    number = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | (bits >> 64 & 0xFFF) << 64 | 2 << 62 | bits & (2**62 - 1)
    return str(UUID(int=number))


def _of_run(record: Record, run: RunOf, namespace: str) -> Iterator[dict[str, Any]]:
    job = {"namespace": namespace, "name": run.ref.name, "facets": _job_facets(record, run)}
    common = {"job": job, "producer": PRODUCER, "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"}
    facets = _run_facets(record, run, namespace)
    yield {
        **common,
        "eventType": "START",
        "eventTime": run.ref.started,
        "run": {"runId": run_id(run.ref), "facets": facets},
        "inputs": [],
        "outputs": [],
    }
    if run.error is not None:
        facets = {**facets, "errorMessage": _facet("1-0-1/ErrorMessageRunFacet", message=run.error, programmingLanguage="PYTHON")}
    made = [record.items[edge.digest].time for edge in run.outputs]
    yield {
        **common,
        "eventType": _ENDS[run.status],
        "eventTime": run.finished or max([run.ref.started, *(time for time in made if time is not None)]),
        "run": {"runId": run_id(run.ref), "facets": facets},
        "inputs": [_input(record, edge) for edge in run.inputs],
        "outputs": [_output(record, edge) for edge in run.outputs],
    }


def _facet(schema: str, **fields: Any) -> dict[str, Any]:
    """Return a facet with the required fields; `schema` is `<version>/<Name>`."""
    name = schema.partition("/")[2]
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}/facets/{schema}.json#/$defs/{name}", **fields}


def _tags(kind: str, tags: Mapping[str, Any]) -> dict[str, Any]:
    fields = [{"key": key, "value": _text(value), "source": "artifactstore"} for key, value in sorted(tags.items())]
    return _facet(f"1-0-0/Tags{kind}Facet", tags=fields)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _run_facets(record: Record, run: RunOf, namespace: str) -> dict[str, Any]:
    tags: dict[str, Any] = {"actor": run.actor, "run": run.ref.id, "store": record.store}
    tags |= {f"metric.{name}": value for name, value in run.metrics.items()}
    for key, digest in (("code", run.code_digest), ("environment", run.environment_digest)):
        if digest is not None:
            tags[key] = digest
    tags |= {f"code.{key}": run.code[key] for key in ("dirty", "tree") if key in run.code}
    facets: dict[str, Any] = {"tags": _tags("Run", tags)}
    if run.params:
        fields = [{"key": key, "value": _text(value)} for key, value in sorted(run.params.items())]
        facets["executionParameters"] = _facet("1-0-0/ExecutionParametersRunFacet", parameters=fields)
    above = run.above or next(iter(run.parents), None)
    if above is not None:
        top = run.top or run.parents[-1]
        facets["parent"] = _facet("1-2-0/ParentRunFacet", **_named(above, namespace), root=_named(top, namespace))
    return facets


def _named(ref: RunRef | ParentRun, namespace: str) -> dict[str, Any]:
    if isinstance(ref, ParentRun):
        return {"run": {"runId": ref.run}, "job": {"namespace": ref.namespace, "name": ref.job}}
    return {"run": {"runId": run_id(ref)}, "job": {"namespace": namespace, "name": ref.name}}


def _job_facets(record: Record, run: RunOf) -> dict[str, Any]:
    facets = {"jobType": _facet("2-0-4/JobTypeJobFacet", processingType="BATCH", integration="ARTIFACTSTORE", jobType="RUN")}
    commit = run.code.get("commit")
    if commit is not None or run.code_digest is not None:
        # Without a known repository, link to the stored working tree.
        stored = record.uri(run.code_digest) if run.code_digest is not None else record.url
        fields = {
            "type": "git",
            "url": run.remote or stored,
            "repoUrl": run.remote,
            "version": commit or run.code_digest,
            "branch": run.code.get("branch"),
            "path": run.code.get("folder"),  # where it was started
        }
        given = {key: value for key, value in fields.items() if value is not None}
        facets["sourceCodeLocation"] = _facet("1-1-0/SourceCodeLocationJobFacet", **given)
    return facets


def _dataset(record: Record, edge: Edge) -> dict[str, Any]:
    item = record.items[edge.digest]
    called = edge.name or (item.naming.name if item.naming is not None else item.digest)
    facets = {
        "version": _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=item.digest),
        "storage": _storage(item),
        "datasetType": _facet("1-0-1/DatasetTypeDatasetFacet", datasetType=_type(item)),
        "tags": _tags("Dataset", _dataset_facets(item, edge)),
    }
    if item.profile is not None:
        fields = [
            {"name": field["name"], "type": field.get("arrow", field["type"]), "ordinal_position": position}
            for position, field in enumerate(item.profile["schema"]["fields"], 1)
        ]
        facets["schema"] = _facet("1-2-0/SchemaDatasetFacet", fields=fields)
    return {"namespace": record.url, "name": called, "facets": facets}


def _storage(item: Item) -> dict[str, Any]:
    known = _FORMATS.get(item.format or "")
    return _facet("1-0-1/StorageDatasetFacet", storageLayer="artifactstore", **({"fileFormat": known} if known else {}))


def _type(item: Item) -> str:
    return "TABLE" if item.format == "table" else _TYPES.get(item.kind, "FILE")


def _dataset_facets(item: Item, edge: Edge) -> dict[str, Any]:
    tags: dict[str, Any] = {"kind": item.kind}
    tags |= {f"metric.{name}": value for name, value in item.metrics.items()}
    naming = next((one for one in reversed(item.namings) if one.name == edge.name), item.naming)
    if naming is not None:
        tags["ref"] = naming.ref
        tags |= {f"metadata.{key}": value for key, value in naming.metadata.items()}
    aliases = [f"{one.name}:{alias}" for one in item.namings for alias in one.aliases]
    more = {"role": edge.role, "aliases": aliases or None, "format": item.format, "tainted": item.tainted or None}
    return tags | {key: value for key, value in more.items() if value is not None}


def _statistics(item: Item) -> dict[str, Any]:
    rows = None if item.profile is None else item.profile["rows"]
    fields = {"rowCount": rows, "size": item.size, "fileCount": item.count}
    return {key: value for key, value in fields.items() if value is not None}


def _input(record: Record, edge: Edge) -> dict[str, Any]:
    item = record.items[edge.digest]
    facets = {"inputStatistics": _facet("1-0-0/InputStatisticsInputDatasetFacet", **_statistics(item))}
    if item.profile is not None:
        columns = {name: _column(column, item.profile) for name, column in item.profile["columns"].items()}
        about = {"rowCount": item.profile["rows"], "bytes": item.size, "fileCount": item.count, "columnMetrics": columns}
        facets["dataQualityMetrics"] = _facet("1-0-3/DataQualityMetricsInputDatasetFacet", **about)
    return {**_dataset(record, edge), "inputFacets": facets}


def _output(record: Record, edge: Edge) -> dict[str, Any]:
    fields = _statistics(record.items[edge.digest])
    facets = {"outputStatistics": _facet("1-0-2/OutputStatisticsOutputDatasetFacet", **fields)}
    return {**_dataset(record, edge), "outputFacets": facets}


def _column(column: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return a column's metrics; text and booleans do not count as numbers."""
    nulls = column["nulls"]
    count = profile["rows"] - nulls
    found: dict[str, Any] = {"nullCount": nulls, "count": count}
    if "distinct" in column and profile["every"] == 1:  # a sample would give too few
        found["distinctCount"] = min(column["distinct"], count)  # NaN is missing, and not a value
    found |= {key: column[key] for key in ("min", "max") if _is_number(column.get(key))}
    quantiles = column.get("quantiles")
    if quantiles and all(_is_number(one) for one in quantiles):
        steps = len(quantiles) - 1
        known = {part: round(part * steps) for part in _QUANTILES if abs(part * steps - round(part * steps)) < 1e-9}
        found["quantiles"] = {f"{part:g}": quantiles[at] for part, at in known.items()}
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
