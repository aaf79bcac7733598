"""in-toto Statements with SLSA provenance, one for each run that made something.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance: claims of
a laptop about itself reach level 1 and no more; nothing in here is signed.
"""

from collections.abc import Iterator
from typing import Any, Final

from artifactstore.model.version import VERSION
from artifactstore.work.export.record import PRODUCER, Edge, Item, Record, RunOf

__all__ = ["BUILD_TYPE", "statements"]

BUILD_TYPE: Final = "pkg:pypi/artifactstore-ml?build_type=run-v1#docs/reference/exports.md"  # documents the parameters
_FILES: Final = 1000  # files of an artifact that are individual subjects


def statements(record: Record, builder: str | None = None) -> list[dict[str, Any]]:
    """Return a statement for each run with outputs, oldest first.

    Args:
        record: the record; `sha256` adds files of models as subjects, `environment` the versions of Python.
        builder: URI of the builder, such as a CI system; by default this library.
    """
    return [_statement(record, run, builder or PRODUCER) for run in record.runs if run.outputs]


def _statement(record: Record, run: RunOf, builder: str) -> dict[str, Any]:
    subjects = [one for edge in run.outputs for one in _subjects(record.items[edge.digest])]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"run": run.ref.name, "params": dict(run.params)},
                "internalParameters": _internal(record, run),
                "resolvedDependencies": list(_dependencies(record, run)),
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"artifactstore": VERSION}},
                "metadata": {
                    "invocationId": f"urn:uuid:{run.ref.uuid}",
                    "startedOn": run.ref.started,
                    **({} if run.finished is None else {"finishedOn": run.finished}),
                },
            },
        },
    }


def _subjects(item: Item) -> Iterator[dict[str, Any]]:
    """Yield the artifact, with the digest of its listing, and its files if their SHA-256 is known."""
    yield {"name": item.ref, "digest": {item.algorithm: item.hex}}
    parts = [part for part in item.parts or () if part.sha256 is not None]
    if len(parts) <= _FILES:
        for part in parts:
            yield {"name": f"{item.ref}/{part.path}", "digest": {"sha256": part.sha256} | _own(part.digest)}


def _own(digest: str) -> dict[str, str]:
    algorithm, _, digits = digest.partition(":")
    return {algorithm: digits}


def _internal(record: Record, run: RunOf) -> dict[str, Any]:
    fields = {
        "store": record.url,
        "store_id": record.store,
        "run": run.ref.id,
        "status": run.status,
        "actor": run.actor,
        "command": list(run.command) or None,
        "error": run.error,
        "seconds": run.seconds,
        "parent": run.parents[0].id if run.parents else None,
        "metrics": dict(run.metrics) or None,
    }
    environment = run.environment or {}
    fields |= {key: environment.get(key) for key in ("python", "platform", "image")}
    return {key: value for key, value in fields.items() if value is not None}


def _dependencies(record: Record, run: RunOf) -> Iterator[dict[str, Any]]:
    if commit := run.code.get("commit"):
        about = {key: run.code[key] for key in ("branch", "dirty", "folder", "describe", "claimed_by") if key in run.code}
        uri = {"uri": _git_uri(run)} if run.remote else {}
        yield {"name": "commit", **uri, "digest": {"gitCommit": commit}, "annotations": about}
    if run.code_digest is not None:
        more = {"gitTree": run.code["tree"]} if "tree" in run.code else {}
        yield _dependency(record, Edge(run.code_digest, role="code"), more)
    if run.environment_digest is not None:
        yield _dependency(record, Edge(run.environment_digest, role="environment"), {})
    for edge in run.inputs:
        yield _dependency(record, edge, {})


def _git_uri(run: RunOf) -> str:
    branch = run.code.get("branch")
    return f"git+{run.remote}" + (f"@refs/heads/{branch}" if branch else "")


def _dependency(record: Record, edge: Edge, more: dict[str, str]) -> dict[str, Any]:
    item = record.items[edge.digest]
    about = {"kind": item.kind, "size": item.size, "role": edge.role}
    return {
        "name": edge.role if edge.role in {"code", "environment"} else item.ref,
        "uri": record.uri(edge.digest),
        "digest": {item.algorithm: item.hex, **more},
        "annotations": {key: value for key, value in about.items() if value is not None},
    }
