"""RO-Crate 1.1 with the profile Process Run Crate 0.5: the metadata of a crate as a plain dict.

https://www.researchobject.org/ro-crate/specification/1.1/ and https://www.researchobject.org/workflow-run-crate/profiles/0.5/.
Each run is a `CreateAction`, its program a `SoftwareApplication`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION
from artifactstore.work.export.record import Item, Record, RunOf, actor_uuid

__all__ = ["HISTORY", "METADATA", "PREVIEW", "FileNote", "folder_of", "metadata"]

METADATA: Final = "ro-crate-metadata.json"
PREVIEW: Final = "ro-crate-preview.html"
HISTORY: Final = "history.jsonl"  # of a crate with the files of its artifacts
_CONTEXT: Final = "https://w3id.org/ro/crate/1.1/context"
_SPEC: Final = "https://w3id.org/ro/crate/1.1"
_PROFILE: Final = "https://w3id.org/ro/wfrun/process/0.5"
_SHA256: Final = "https://w3id.org/ro/terms/workflow-run#sha256"  # not in the context
_STATUS: Final = {
    "finished": "http://schema.org/CompletedActionStatus",
    "failed": "http://schema.org/FailedActionStatus",
    "running": "http://schema.org/ActiveActionStatus",
}
_FILES: Final = 1000  # files of an artifact that are listed individually
_TYPES: Final = {
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "md": "text/markdown",
    "parquet": "application/vnd.apache.parquet",
    "png": "image/png",
    "py": "text/x-python",
    "sh": "application/x-sh",
    "txt": "text/plain",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "zip": "application/zip",
}
_Entity = dict[str, Any]


class FileNote(NamedTuple):
    """A file of a crate that is of no artifact.

    Attributes:
        name: of the file.
        encoding: its media type.
        description: what is in it.
    """

    name: str
    encoding: str
    description: str


def folder_of(item: Item, top: str = "artifacts") -> str:
    """Return the folder of an artifact's files in a crate."""
    naming = item.naming
    if naming is None:
        return f"{top}/{item.algorithm}-{item.hex}"
    return f"{top}/{naming.name.replace('/', '~')}~v{naming.number}"  # names have no tilde, so no two share a folder


def metadata(
    record: Record,
    folders: Mapping[str, str],
    files: Iterable[FileNote] = (),
    *,
    license: str | None = None,  # noqa: A002 - the standard's word
) -> _Entity:
    """Return the content of `ro-crate-metadata.json`.

    Args:
        record: the record, with `files` of included artifacts, and `environment`.
        folders: digest → folder of each artifact whose files the crate includes.
        files: the other files of the crate.
        license: of the crate: a URL, or text.
    """
    crate = _Crate(record, folders, files)
    for item in record.items.values():
        crate.artifact(item)
    actions = [crate.action(run) for run in record.runs]
    return crate.whole(actions, license or "No licence is stated: ask whoever made it.")


class _Crate:
    """The graph under construction: id → entity."""

    def __init__(self, record: Record, folders: Mapping[str, str], files: Iterable[FileNote]) -> None:
        self.record = record
        self.folders = folders
        self.files = files
        self.graph: dict[str, _Entity] = {}
        self.ids: dict[str, str] = {}  # digest → id
        self.parts: list[str] = []  # parts of the root, including files in folders: readers look for them there

    def _add(self, kind: str | list[str], ident: str, /, **attributes: Any) -> str:
        properties = {key: value for key, value in attributes.items() if value is not None and value != []}
        self.graph.setdefault(ident, {"@id": ident, "@type": kind, **properties})
        return ident

    def whole(self, actions: list[str], license: str) -> _Entity:  # noqa: A002 - the standard's word
        """Return the metadata: the root and its descriptor, then all else by id."""
        record = self.record
        for one in self.files:
            self.parts.append(
                self._add("File", one.name, name=one.name, encodingFormat=one.encoding, description=one.description)
            )
        is_url = license.startswith(("http://", "https://"))
        if is_url:
            self._add("CreativeWork", license, name=license, description="The licence of this crate.")
        self._add("CreativeWork", _PROFILE, name="Process Run Crate", version="0.5")
        root = {
            "@id": "./",
            "@type": "Dataset",
            "name": f"Provenance of {record.title}",
            "description": f"What {record.title} was made from, as {record.url} records it: {len(record.runs)} runs and "
            f"{len(record.items)} artifacts. Written by artifactstore {VERSION}.",
            "datePublished": _time(record.newest),
            "license": {"@id": license} if is_url else license,
            "conformsTo": {"@id": _PROFILE},
            "hasPart": _refs(self.parts),
            "mentions": _refs(actions),
        }
        about = {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _SPEC},
        }
        preview = {"@id": PREVIEW, "@type": "CreativeWork", "about": {"@id": "./"}, "name": "What is in here, for people"}
        graph = [about, root, preview, *(self.graph[key] for key in sorted(self.graph))]
        return {"@context": [_CONTEXT, {"sha256": _SHA256}], "@graph": graph}

    # -- artifacts

    def artifact(self, item: Item) -> str:
        """Add an artifact with its files; return its id, to which runs refer."""
        naming = item.naming
        properties: dict[str, Any] = {
            "name": item.title,
            "identifier": item.digest,
            "additionalType": item.kind if item.kind not in {"data", "code"} else None,
            "dateCreated": None if item.time is None else _time(item.time),
            "version": f"v{naming.number}" if naming is not None else item.digest if item.kind == "code" else None,
            "author": None if item.actor is None else _ref(self._person(item.actor)),
            "description": None if item.there else _absent(item),
        }
        kind = "SoftwareSourceCode" if item.kind == "code" else None
        parts = item.parts or ()
        folder = self.folders.get(item.digest)
        if folder is None:
            single = item.count == 1
            size = None if item.size is None else str(item.size)
            more = {"contentSize": size, "sha256": parts[0].sha256 if single and len(parts) == 1 else None}
            types = ["File" if single else "Dataset", kind]
            uri = self.record.uri(item.digest) + ("" if single else "/")  # the standard distinguishes folders by the slash
            return self._known(item, self._add(_types(types), uri, **properties, **more))
        top = f"{quote(folder)}/"
        if item.count == 1 and len(parts) == 1:
            only = parts[0]
            more = {"contentSize": str(only.size), "encodingFormat": _format(only.path), "sha256": only.sha256}
            return self._known(item, self._add(_types(["File", kind]), f"{top}{quote(only.path)}", **properties, **more))
        inner = []
        for part in parts if len(parts) <= _FILES else ():
            more = {"contentSize": str(part.size), "encodingFormat": _format(part.path), "sha256": part.sha256}
            inner.append(self._add("File", f"{top}{quote(part.path)}", name=part.path, **more))
        self.parts += inner
        return self._known(item, self._add(_types(["Dataset", kind]), top, **properties, hasPart=_refs(inner)))

    def _known(self, item: Item, name: str) -> str:
        self.ids[item.digest] = name
        self.parts.append(name)
        if item.metrics and "variableMeasured" not in self.graph[name]:
            self.graph[name]["variableMeasured"] = _refs(self._values(name, item.metrics))
        return name

    def _person(self, actor: str) -> str:
        return self._add("Person", f"#{actor_uuid(actor)}", name=actor)

    def _values(self, of: str, values: Mapping[str, Any]) -> list[str]:
        """Add one `PropertyValue` for each of some values."""
        found = []
        for key, value in sorted(values.items()):
            name = f"#{uuid5(NAMESPACE_URL, canonical_json([self.record.store, of, key]).decode())}"
            plain = value if isinstance(value, str | int | float) else canonical_json(value).decode()
            found.append(self._add("PropertyValue", name, name=key, value=plain))
        return found

    # -- runs

    def action(self, run: RunOf) -> str:
        """Add a run; return its id."""
        name = f"#{run.ref.uuid}"
        used = [self.ids[edge.digest] for edge in run.inputs]
        made = [self.ids[edge.digest] for edge in run.outputs]
        return self._add(
            "CreateAction",
            name,
            name=run.ref.name,
            identifier=run.ref.id,
            description=f"The run {run.ref.id} of {run.ref.name}: {run.status}.",
            instrument=_ref(self._software(run)),
            object=_refs([*used, *self._values(f"{name}/params", run.params)]),
            result=_refs([*made, *self._values(f"{name}/metrics", run.metrics)]),
            agent=_ref(self._person(run.actor)),
            startTime=_time(run.ref.started),
            endTime=None if run.finished is None else _time(run.finished),
            actionStatus=_STATUS[run.status],
            error=run.error,
        )

    def _software(self, run: RunOf) -> str:
        """Add the program of a run: a name with a state of the code; return its id."""
        state = [run.ref.name, run.code_digest, run.code.get("commit")]
        commit = run.code.get("commit")
        python = (run.environment or {}).get("python", {})
        needs = f"{python.get('implementation', 'Python')} {python['version']}" if "version" in python else None
        based = [one for one in (run.code_digest, run.environment_digest) if one is not None]
        return self._add(
            "SoftwareApplication",
            f"#{uuid5(NAMESPACE_URL, canonical_json([self.record.store, *state, *based]).decode())}",
            name=run.ref.name,
            softwareVersion=commit or run.code_digest or "unknown",
            url=run.remote,
            description="The commit, with changes that no commit holds." if run.code.get("dirty") else None,
            softwareRequirements=needs,
            isBasedOn=_refs(self.ids[one] for one in based),
        )


def _absent(item: Item) -> str:
    removed = bool(item.namings) and all(one.removed for one in item.namings)
    return "It was removed." if removed else "Its bytes are not in the store."


def _ref(name: str) -> dict[str, str]:
    return {"@id": name}


def _refs(names: Iterable[str]) -> Any:
    """Return references; the standard requires a single reference without a list."""
    found = [{"@id": name} for name in dict.fromkeys(names)]
    return found[0] if len(found) == 1 else found


def _time(time: str) -> str:
    """Return a time with milliseconds and an offset, as the profile's validator requires."""
    return f"{time[:23]}+00:00"


def _types(types: list[str | None]) -> str | list[str]:
    found = [one for one in types if one is not None]
    return found if len(found) > 1 else found[0]


def _format(path: str) -> str:
    return _TYPES.get(path.rpartition(".")[2].lower(), "application/octet-stream")
