"""Copy: a version under another name. Content has one digest, so nothing is read, and its lineage holds for both names."""

from dataclasses import replace
from typing import Final

from artifactstore.catalog.versions import Version
from artifactstore.errors import InvalidInputError
from artifactstore.model.reference import as_reference
from artifactstore.work.get.artifact import Artifact, of_committed, record_of
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.put.arguments import PutRequest, facts_of
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.refused import recorded_refusals
from artifactstore.work.session.session import Session

__all__ = ["COPIED_FROM", "copy"]

COPIED_FROM: Final = "copied_from"  # in the metadata: the version that it was copied from


def copy(session: Session, source: Artifact | Version, request: PutRequest, kind: str | None, reason: str | None) -> Artifact:
    """Record an artifact of this store as the next version of another name; see `Store.put`.

    Kind and metadata are taken over, under what was passed.

    Raises:
        InvalidInputError: no name was passed, or an uncommitted artifact.
        NotFoundError: this store does not have it.
    """
    name = request.name
    if name is None:
        raise InvalidInputError(f"put({source.ref}): pass the name of the copy: put(artifact, 'other/name')")
    found = session.resolve(as_reference(source))
    check_taint(session, source.ref, found)
    with session.state(fresh=False) as state:
        record = record_of(state, found)
    metadata = {**record.metadata, **(request.metadata or {})}
    if record.name is not None and record.name != name:
        metadata[COPIED_FROM] = record.ref
    made = replace(request, kind=request.kind if kind is not None else record.kind, metadata=metadata)
    outcome: list[bool] = []

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            facts = facts_of(state, made, found.digest, [], single=record.file)
            outcome.append(bool(facts))
            return Prepared(facts, state.head, found.digest)

    batch = session.batch()
    if batch is not None:
        batch.add(Step(prepare, reason=reason))
        return Artifact(session, replace(record, name=name, version=None, metadata=metadata, aliases=()), new=outcome[-1])
    with recorded_refusals(session, reason=reason):
        commit(session, Step(prepare), reason=reason)
    return of_committed(session, found.digest, name, new=outcome[-1])
