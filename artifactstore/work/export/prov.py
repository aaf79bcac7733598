"""W3C PROV as PROV-JSON (https://www.w3.org/submissions/prov-json/), as a plain dict.

Artifacts are entities by their digests, whatever their names; a version is an alternate of one of them (`alternateOf`)
and a specialization of its name (`specializationOf`). Ids are derived from content, so equal things have equal ids in two
exports: documents can be merged.
"""

from collections.abc import Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from artifactstore.model.encoding import canonical_json
from artifactstore.work.export.record import Edge, Item, Record, RunOf, actor_uuid

__all__ = ["document"]

_MOST: Final = 10_000  # derivations of one run: beyond, its uses and products imply the same


def document(record: Record) -> dict[str, Any]:
    """Return the document."""
    built = _Document(record)
    for item in record.items.values():
        built.item(item)
    makers: dict[str, list[RunOf]] = {}
    for run in record.runs:
        for edge in run.outputs:
            makers.setdefault(edge.digest, []).append(run)
    for run in record.runs:
        built.run(run, makers)
    return {"prefix": built.prefixes, **{kind: rows for kind, rows in sorted(built.kinds.items()) if rows}}


class _Document:
    """The document under construction: kind → id → attributes."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.kinds: dict[str, dict[str, dict[str, Any]]] = {}
        self.prefixes = {
            "store": f"urn:uuid:{UUID(record.store)}#",
            "uuid": "urn:uuid:",
            "artifactstore": "pkg:pypi/artifactstore-ml#",
            "schema": "https://schema.org/",
            "xsd": "http://www.w3.org/2001/XMLSchema#",
        }

    def _add(self, kind: str, name: str, **attributes: Any) -> str:
        values = {key.replace("__", ":"): _literal(value) for key, value in attributes.items() if value is not None}
        self.kinds.setdefault(kind, {}).setdefault(name, {}).update(values)
        return name

    def _relate(self, kind: str, **attributes: Any) -> None:
        """Add a relation under an id derived from its ends."""
        ends = {f"prov:{key}": value for key, value in attributes.items() if "__" not in key and value is not None}
        more = {key: value for key, value in attributes.items() if "__" in key}
        name = f"_:{uuid5(NAMESPACE_URL, canonical_json([kind, self.record.store, ends]).decode()).hex}"
        self.kinds.setdefault(kind, {})[name] = ends
        self._add(kind, name, **more)

    # -- entities

    def item(self, item: Item) -> None:
        """Add an artifact, its versions, and their actors."""
        one = self._add(
            "entity",
            _entity(item.digest),
            prov__label=item.title,
            prov__type=_name("artifactstore", "Artifact"),
            prov__location=self.record.url,
            artifactstore__digest=item.digest,
            artifactstore__kind=item.kind,
            artifactstore__format=item.format,
            artifactstore__files=item.count,
            schema__contentSize=item.size,
            artifactstore__metrics=_json(item.metrics),
            artifactstore__tainted=item.tainted or None,
            artifactstore__removed=None if item.there else True,
        )
        if item.actor is not None:
            self._relate("wasAttributedTo", entity=one, agent=self._agent(item.actor))
        for naming in item.namings:
            general = self._add(
                "entity",
                f"store:name/{naming.name}",
                prov__label=naming.name,
                prov__type=_name("artifactstore", "Name"),
            )
            special = self._add(
                "entity",
                f"store:version/{naming.name}/v{naming.number}",
                prov__label=naming.ref,
                prov__type=_name("artifactstore", "Version"),
                schema__version=f"v{naming.number}",
                schema__dateCreated=_time(naming.time),
                artifactstore__reason=naming.reason,
                artifactstore__aliases=" ".join(naming.aliases) or None,
                artifactstore__metadata=_json(naming.metadata),
                artifactstore__removed=naming.removed or None,
            )
            self._relate("specializationOf", specificEntity=special, generalEntity=general)
            self._relate("alternateOf", alternate1=special, alternate2=one)
            self._relate("wasAttributedTo", entity=special, agent=self._agent(naming.actor))

    def _agent(self, actor: str) -> str:
        return self._add("agent", f"uuid:{actor_uuid(actor)}", prov__label=actor)

    # -- activities

    def run(self, run: RunOf, makers: Mapping[str, list[RunOf]]) -> None:
        """Add a run: its inputs and outputs, its code, its actor, and the runs before it."""
        activity = f"uuid:{run.ref.uuid}"
        self._add(
            "activity",
            activity,
            prov__label=run.ref.name,
            prov__type=_name("artifactstore", "Run"),
            artifactstore__run=run.ref.id,
            artifactstore__status=run.status,
            artifactstore__params=_json(run.params),
            artifactstore__metrics=_json(run.metrics),
            artifactstore__error=run.error,
            artifactstore__command=_json(list(run.command)),
            artifactstore__seconds=run.seconds,
            artifactstore__commit=run.code.get("commit"),
            artifactstore__dirty=run.code.get("dirty"),
            schema__codeRepository=run.remote,
        )
        self.kinds["activity"][activity] |= {"prov:startTime": run.ref.started}
        if run.finished is not None:
            self.kinds["activity"][activity] |= {"prov:endTime": run.finished}
        plan = _entity(run.code_digest) if run.code_digest is not None else None
        if plan is not None:
            self.kinds["entity"][plan]["prov:type"] = [_name("artifactstore", "Artifact"), _name("prov", "Plan")]
        self._relate("wasAssociatedWith", activity=activity, agent=self._agent(run.actor), plan=plan)
        own = [Edge(one, role="environment") for one in (run.environment_digest,) if one is not None]
        for edge in (*run.inputs, *own):
            self._relate("used", activity=activity, entity=_entity(edge.digest), prov__role=edge.role)
        for edge in run.outputs:
            self._relate("wasGeneratedBy", entity=_entity(edge.digest), activity=activity, prov__role=edge.role)
        self._derive(run, activity)
        self._inform(run, activity, makers)

    def _derive(self, run: RunOf, activity: str) -> None:
        if len(run.inputs) * len(run.outputs) > _MOST:
            return
        for made in run.outputs:
            for used in run.inputs:
                if made.digest != used.digest:
                    ends = {"generatedEntity": _entity(made.digest), "usedEntity": _entity(used.digest)}
                    self._relate("wasDerivedFrom", **ends, activity=activity)

    def _inform(self, run: RunOf, activity: str, makers: Mapping[str, list[RunOf]]) -> None:
        before = {
            maker.ref.uuid for edge in run.inputs for maker in makers.get(edge.digest, ()) if maker.ref.uuid != run.ref.uuid
        }
        for one in sorted(before):
            self._relate("wasInformedBy", informed=activity, informant=f"uuid:{one}")
        if run.parents:
            above = run.parents[0]
            parent = self._add("activity", f"uuid:{above.uuid}", prov__label=above.name, artifactstore__run=above.id)
            self.kinds["activity"][parent] |= {"prov:startTime": above.started}
            self._relate("wasInformedBy", informed=activity, informant=parent, artifactstore__parent=True)


def _entity(digest: str) -> str:
    return f"store:{digest.replace(':', '-')}"


def _name(prefix: str, local: str) -> dict[str, str]:
    return {"$": f"{prefix}:{local}", "type": "prov:QUALIFIED_NAME"}


def _time(time: str) -> dict[str, str]:
    return {"$": time, "type": "xsd:dateTime"}


def _json(value: Any) -> str | None:
    """Return a value that PROV cannot express as JSON; None if it is empty."""
    return canonical_json(value).decode() if value else None


def _literal(value: Any) -> Any:
    if isinstance(value, bool):
        return {"$": str(value).lower(), "type": "xsd:boolean"}
    if isinstance(value, int):
        return {"$": str(value), "type": "xsd:long"}
    return {"$": repr(value), "type": "xsd:double"} if isinstance(value, float) else value
