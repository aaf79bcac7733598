"""The history of a crate: the facts of its artifacts as another store receives them, one JSON object a line.

`artifactstore import` reads it: the files of a crate give the content, these lines give names, versions, aliases, runs and measures.
The first line names the store and its digest algorithm; then each artifact in the crate has a line, in the order of digests; then
each entry of the journal that speaks of them, in order (docs/reference/exports.md, "RO-Crate").
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.maintenance.sync.import_plan import ImportPlanner
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.maintenance.sync.object_copy import decoded_entries
from artifactstore.model.encoding import canonical_json
from artifactstore.model.reference import Reference
from artifactstore.objects.tables.profile_names import profiled
from artifactstore.work.export.record import Item, Record
from artifactstore.work.export.ro_crate import folder_of
from artifactstore.work.session.session import Session

__all__ = ["VERSION", "history"]

VERSION: Final = 1  # of this file


def history(session: Session, record: Record) -> bytes:
    """Return the content of `history.jsonl`.

    Raises:
        BackendError: the store is unreachable.
        CorruptionError: its journal is damaged.
    """
    return b"".join(canonical_json(line) + b"\n" for line in _lines(session, record))


def _lines(session: Session, record: Record) -> Iterator[Mapping[str, Any]]:
    config = session.core().config
    yield {"history": VERSION, "store": config.store, "digest": config.digest}
    inside = [item for _, item in sorted(record.items.items()) if item.there]
    for item in inside:
        yield session.with_manifest(item.digest, partial(_artifact, item))
    chosen = ImportFilter(
        names=(),
        label=config.store[:8],
        refs=tuple(Reference.parse(item.digest) for item in inside),
        runs=frozenset(run.ref.id for run in record.runs),
    )
    with session.state() as state:
        planner = ImportPlanner(state, State(), source=config.store, target="", import_filter=chosen)
        last = state.end
    for step in planner.steps(decoded_entries(session.core().journal, last)):
        yield {"facts": step.facts}


def _artifact(item: Item, manifest: Manifest) -> Mapping[str, Any]:
    return {
        "artifact": item.digest,
        "folder": folder_of(item),
        "kind": item.kind,
        "format": manifest.format,
        "modes": manifest.modes,
        "profiled": bool(profiled(manifest)),
    }
