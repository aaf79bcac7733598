"""CycloneDX 1.6 as ECMA-424: the bill of materials of a model, its data, code, packages and runs, as a plain dict.

https://cyclonedx.org/docs/1.6/json/. Only what the store recorded is in it: the serial number is derived from the rest.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION
from artifactstore.work.export.record import PRODUCER, Item, Part, Record, RunOf

__all__ = ["document"]

_FILES: Final = 1000  # files of an artifact that are components of their own
_HASHES: Final = {"sha256": "SHA-256", "blake3": "BLAKE3"}
_DATA: Final = {"code": "source-code", "environment": "configuration"}
_IS_DATA: Final = frozenset({"dataset", "features", "code", "environment"})  # kinds of which no export makes a model
_ILLEGAL: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_Entity = dict[str, Any]


def document(record: Record) -> _Entity:
    """Return the bill of materials.

    Args:
        record: the record, with `files` of its artifacts and `environment` of its runs.

    Raises:
        InvalidInputError: a run that made nothing: there is no model to describe.
    """
    bom = _Bom(record)
    found = bom.whole()
    serial = uuid5(NAMESPACE_URL, f"artifactstore:bom/{canonical_json(found).decode()}")
    return {"serialNumber": f"urn:uuid:{serial}", **found}


class _Bom:
    """The bill under construction."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.main = record.items[_main(record)]
        self.makers: dict[str, list[RunOf]] = {}  # digest → the runs that made it
        for run in record.runs:
            for edge in run.outputs:
                self.makers.setdefault(edge.digest, []).append(run)
        self.libraries: dict[str, _Entity] = {}  # by bom-ref
        self.of_run = {run.ref.id: self._environment(run) for run in record.runs}

    def whole(self) -> _Entity:
        record, main = self.record, self.main
        others = [item for item in record.items.values() if item is not main]
        found: _Entity = {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": record.newest,
                "tools": {
                    "components": [{"type": "application", "name": "artifactstore", "version": VERSION, "purl": PRODUCER}],
                },
                "component": self._component(main),
                "properties": _properties({"store": record.url, "store_id": record.store}),
            },
            "components": [*map(self._component, others), *(self.libraries[ref] for ref in sorted(self.libraries))],
            "dependencies": self._dependencies(),
        }
        if record.runs:
            found["formulation"] = [{"workflows": [self._workflow(run) for run in record.runs]}]
        return found

    # -- components

    def _component(self, item: Item) -> _Entity:
        model = item.kind == "model" or (item is self.main and item.kind not in _IS_DATA)
        metadata = item.words
        parts = item.parts or ()
        single = parts[0] if item.count == 1 and len(parts) == 1 else None
        found: _Entity = {
            "type": "machine-learning-model" if model else "data",
            "bom-ref": item.digest,
            "name": item.naming.name if item.naming is not None else item.title,
            "version": f"v{item.naming.number}" if item.naming is not None else item.digest,
        }
        if isinstance(text := metadata.get("description"), str) and text:
            found["description"] = text
        if item.actor is not None:
            found["authors"] = [{"name": item.actor}]
        if isinstance(licence := metadata.get("license"), str) and licence:
            found["licenses"] = [{"license": {"name": licence}}]
        if single is not None:
            found["hashes"] = _hashes(single)
        elif 0 < len(parts) <= _FILES:
            found["components"] = [self._file(item, part) for part in parts]
        found |= {"modelCard": self._card(item)} if model else {"data": [self._data(item)]}
        if model and (pedigree := self._pedigree(item)):
            found["pedigree"] = pedigree
        sources = dict.fromkeys(run.remote for run in self.makers.get(item.digest, ()) if run.remote is not None)
        if sources:
            found["externalReferences"] = [{"type": "vcs", "url": _iri(url)} for url in sources]
        if isinstance(tags := metadata.get("tags"), list) and (texts := [tag for tag in tags if isinstance(tag, str)]):
            found["tags"] = texts
        found["properties"] = _properties(_about(item, metadata))
        return found

    def _file(self, item: Item, part: Part) -> _Entity:
        return {
            "type": "file",
            "bom-ref": f"{item.digest}/{quote(part.path)}",
            "name": part.path,
            "hashes": _hashes(part),
            "properties": _properties({"size": part.size}),
        }

    def _data(self, item: Item) -> _Entity:
        owner = item.words.get("owner")
        governed = isinstance(owner, str) and owner
        return {
            "type": _DATA.get(item.kind, "dataset"),
            "name": item.title,
            "contents": {"url": _iri(self.record.uri(item.digest))},
            **({"governance": {"owners": [{"contact": {"name": owner}}]}} if governed else {}),
        }

    def _card(self, item: Item) -> _Entity:
        """Return the model card: its metrics, and the data and parameters of the runs that made it."""
        makers = self.makers.get(item.digest, ())
        inputs = dict.fromkeys(edge.digest for run in makers for edge in run.inputs)
        others = {"model", "code", "environment"}
        datasets = [{"ref": one} for one in inputs if self.record.items[one].kind not in others and one != item.digest]
        metadata = item.words
        parameters: _Entity = {"datasets": datasets} if datasets else {}
        for ours, theirs in (
            ("task", "task"),
            ("architecture_family", "architectureFamily"),
            ("architecture", "modelArchitecture"),
        ):
            if isinstance(text := metadata.get(ours), str) and text:
                parameters[theirs] = text
        card: _Entity = {"modelParameters": parameters} if parameters else {}
        measured = [
            {"type": name, "value": _text(value), **({} if on is None else {"slice": on})} for name, value, on in item.measures
        ]
        measured += [
            {"type": name, "value": _text(item.metrics[name])}
            for name in sorted({*item.metrics} - {one["type"] for one in measured})
        ]
        if measured:
            card["quantitativeAnalysis"] = {"performanceMetrics": measured}
        params = {f"param:{name}": value for run in makers for name, value in sorted(run.params.items())}
        if params:
            card["properties"] = _properties(params)
        return card

    def _pedigree(self, item: Item) -> _Entity:
        """Return the models that it was made from, and the commits."""
        makers = self.makers.get(item.digest, ())
        models = dict.fromkeys(
            edge.digest
            for run in makers
            for edge in run.inputs
            if self.record.items[edge.digest].kind == "model" and edge.digest != item.digest
        )
        items = [self.record.items[one] for one in models]
        found: _Entity = {}
        if items:
            found["ancestors"] = [
                {
                    "type": "machine-learning-model",
                    "name": one.naming.name if one.naming is not None else one.title,
                    "version": f"v{one.naming.number}" if one.naming is not None else one.digest,
                    "properties": _properties({"digest": one.digest}),
                }
                for one in items
            ]
        commits = {str(run.code["commit"]): run for run in makers if run.code.get("commit")}
        if commits:
            found["commits"] = [
                {"uid": uid, **({"url": _iri(run.remote)} if run.remote is not None else {})} for uid, run in commits.items()
            ]
        if any(run.code.get("dirty") for run in makers):
            found["notes"] = "The code had changes that no commit holds: the stored code is the component of that kind."
        return found

    def _environment(self, run: RunOf) -> list[str]:
        """Add the packages and the interpreter of a run; return their bom-refs."""
        environment = run.environment or {}
        refs = []
        python = environment.get("python")
        if isinstance(python, Mapping) and isinstance(python.get("version"), str):
            name, release = str(python.get("implementation", "Python")), str(python["version"])
            ref = f"{name}@{release}"
            self.libraries[ref] = {"type": "platform", "bom-ref": ref, "name": name, "version": release}
            refs.append(ref)
        packages = environment.get("packages")
        for package in packages if isinstance(packages, list) else ():
            if not isinstance(package, Mapping) or not isinstance(label := package.get("name"), str) or not label:
                continue
            release = str(package.get("version") or "")
            purl = _purl(label, release, package.get("direct"))
            self.libraries[purl] = {"type": "library", "bom-ref": purl, "name": label, "version": release, "purl": purl}
            refs.append(purl)
        return refs

    # -- how it was made

    def _dependencies(self) -> list[_Entity]:
        """Return what each artifact was made from: inputs, code, environment, and its packages."""
        found = []
        for digest in [self.main.digest, *(one for one in self.record.items if one != self.main.digest)]:
            needs: dict[str, None] = {}
            for run in self.makers.get(digest, ()):
                own = [edge.digest for edge in run.inputs]
                own += [one for one in (run.code_digest, run.environment_digest) if one is not None]
                needs |= dict.fromkeys([*own, *self.of_run[run.ref.id]])
            needs.pop(digest, None)
            found.append({"ref": digest, **({"dependsOn": list(needs)} if needs else {})})
        return [*found, *({"ref": ref} for ref in sorted(self.libraries))]

    def _workflow(self, run: RunOf) -> _Entity:
        about = {
            "status": run.status,
            "actor": run.actor,
            "command": list(run.command) or None,
            "error": run.error,
            "parent": run.parents[0].id if run.parents else None,
            "branch": run.code.get("branch"),
            **{f"param:{name}": value for name, value in sorted(run.params.items())},
            **{f"metric:{name}": value for name, value in sorted(run.metrics.items())},
        }
        inputs = [edge.digest for edge in run.inputs]
        inputs += [one for one in (run.code_digest, run.environment_digest) if one is not None]
        found: _Entity = {
            "bom-ref": f"run:{run.ref.id}",
            "uid": str(run.ref.uuid),
            "name": run.ref.name,
            "taskTypes": ["build" if run.outputs else "other"],
            "timeStart": run.ref.started,
        }
        if run.finished is not None:
            found["timeEnd"] = run.finished
        if inputs:
            found["inputs"] = [{"resource": {"ref": one}} for one in dict.fromkeys(inputs)]
        if run.outputs:
            found["outputs"] = [{"type": "artifact", "resource": {"ref": edge.digest}} for edge in run.outputs]
        found["properties"] = _properties(about)
        return found


def _main(record: Record) -> str:
    """Return the digest of the model: what was asked for; of a run its model, else its first output."""
    if record.start in record.items:
        return record.start
    made = [edge.digest for run in record.runs for edge in run.outputs]
    if not made:
        raise InvalidInputError(f"the run {record.title} made nothing: export the bill of materials of an artifact")
    return next((one for one in made if record.items[one].kind == "model"), made[0])


def _about(item: Item, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    shown = {"description", "license", "tags"}
    return {
        "digest": item.digest,
        "kind": item.kind,
        "format": item.format,
        "size": item.size,
        "files": item.count,
        "stored": item.time,
        "aliases": list(item.naming.aliases) if item.naming is not None and item.naming.aliases else None,
        "reason": item.naming.reason if item.naming is not None else None,
        "tainted": item.tainted or None,
        "in_store": None if item.there else False,
        **{f"metadata:{name}": value for name, value in sorted(metadata.items()) if name not in shown},
    }


def _properties(values: Mapping[str, Any]) -> list[_Entity]:
    """Return values that the standard has no word for; they are texts."""
    return [{"name": f"artifactstore:{name}", "value": _text(value)} for name, value in values.items() if value is not None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value).decode()


def _hashes(part: Part) -> list[_Entity]:
    """Return the digests of a file's bytes, as `sha256sum` and `b3sum` print them."""
    own, _, digits = part.digest.partition(":")
    known = {"sha256": part.sha256, own: digits}
    return [{"alg": _HASHES[name], "content": text} for name, text in known.items() if text is not None and name in _HASHES]


def _purl(name: str, version: str, direct: Any) -> str:
    """Return a package URL (https://github.com/package-url/purl-spec): of a package of the index, or of another origin."""
    plain = quote(re.sub(r"[-_.]+", "-", name).lower(), safe="-")
    found = f"pkg:pypi/{plain}" + (f"@{quote(version, safe='')}" if version else "")
    return found + "".join(_origin(direct))


def _origin(direct: Any) -> Iterator[str]:
    if not isinstance(direct, Mapping) or not isinstance(url := direct.get("url"), str):
        return
    vcs = direct.get("vcs_info")
    if isinstance(vcs, Mapping):
        source = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
        yield f"?vcs_url={quote(source, safe=':/')}"
    else:
        yield f"?download_url={quote(url, safe=':/')}"


def _iri(text: str) -> str:
    """Escape what a reference cannot contain."""
    return quote(_ILLEGAL.sub("%25", text), safe="/:?#@!$&'()*+,;=%~")
