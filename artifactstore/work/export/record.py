"""The record of an export: runs with their inputs and outputs, as plain values.

`collecting` builds a `Record` from a store and knows no standard. The module of each standard converts a `Record` and
knows no store; equal records give equal bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from artifactstore.catalog.runs.parent import ParentRun
from artifactstore.model.encoding import canonical_json
from artifactstore.model.version import VERSION

__all__ = ["PRODUCER", "Edge", "Item", "Naming", "Part", "Record", "RunOf", "RunRef", "actor_uuid", "as_text", "repository_url"]

PRODUCER: Final = f"pkg:pypi/artifactstore-ml@{VERSION}"  # a package URL: a name of the library independent of any host


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an artifact.

    Attributes:
        path: in the artifact.
        size: in bytes.
        digest: as `<algorithm>:<hex>`.
        sha256: the hex digits of its SHA-256, if the store has it.
    """

    path: str
    size: int
    digest: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """A version of an artifact.

    Attributes:
        name: the name.
        number: k of `v<k>`.
        time: when it was put.
        actor: of the put.
        reason: why, if that was recorded.
        aliases: that point to it now.
        metadata: its metadata.
        removed: whether it was removed.
        of_name: the metadata of the name itself: description, owner …
    """

    name: str
    number: int
    time: str
    actor: str
    reason: str | None = None
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    removed: bool = False
    of_name: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        """`name:v3`."""
        return f"{self.name}:v{self.number}"


@dataclass(frozen=True, slots=True)
class Item:
    """An artifact.

    Attributes:
        digest: as `<algorithm>:<hex>`.
        kind: data, model, code, environment or the user's own word.
        size: bytes of all files; None if the store never had them.
        count: the number of files; likewise.
        format: the stored object's format, or None.
        namings: its versions, in order; empty if unnamed.
        time: when it was first put here, or None if the store knows only its digest.
        actor: of that put, or None.
        metrics: the newest measured values.
        measures: (metric, value, data that it was measured on or None), the newest on each data.
        tainted: whether it is tainted.
        there: whether its bytes are in the store, and it was not removed.
        profile: of a table, if that was requested.
        parts: its files, if requested.
    """

    digest: str
    kind: str = "data"
    size: int | None = None
    count: int | None = None
    format: str | None = None
    namings: tuple[Naming, ...] = ()
    time: str | None = None
    actor: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    measures: tuple[tuple[str, float, str | None], ...] = ()
    tainted: bool = False
    there: bool = True
    profile: Mapping[str, Any] | None = None
    parts: tuple[Part, ...] | None = None

    @property
    def algorithm(self) -> str:
        """The digest's algorithm."""
        return self.digest.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digest's digits."""
        return self.digest.partition(":")[2]

    @property
    def naming(self) -> Naming | None:
        """Its newest version that was not removed; its newest version if all were; None if it has no name."""
        return next((one for one in reversed(self.namings) if not one.removed), self.namings[-1] if self.namings else None)

    @property
    def words(self) -> Mapping[str, Any]:
        """Its metadata, and where that has nothing, the metadata of its name."""
        return {} if self.naming is None else {**self.naming.of_name, **self.naming.metadata}

    @property
    def ref(self) -> str:
        """`name:v3`, or the digest."""
        return self.digest if self.naming is None else self.naming.ref

    @property
    def title(self) -> str:
        """A label for people: as `ref`, but with a shortened digest."""
        return self.digest[:15] if self.naming is None else self.naming.ref


@dataclass(frozen=True, slots=True)
class Edge:
    """A use or production of an artifact by a run.

    Attributes:
        digest: of the artifact.
        name: the name of that use or put, or None.
        role: its role in the run, or None.
    """

    digest: str
    name: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class RunRef:
    """Identity of a run.

    Attributes:
        id: in its store.
        name: the kind of work.
        started: when.
        uuid: the same in every copy of the store, and in stores that received the run.
    """

    id: str
    name: str
    started: str
    uuid: UUID


@dataclass(frozen=True, slots=True)
class RunOf:
    """A run with its full record.

    Attributes:
        ref: its identity.
        status: running, finished or failed.
        finished: when, or None.
        seconds: its duration, as recorded.
        actor: of its start.
        params: its parameters.
        parents: the enclosing run, then the next one …
        above: the run of another system that started it, if that is nearer than its enclosing run.
        top: the run of another system that everything began with, if one is known.
        error: of a failed run.
        command: of its program.
        metrics: its own.
        code: the record of its code: commit, branch, remotes, dirty …
        code_digest: the artifact of its code, or None.
        environment_digest: the artifact of its environment, or None.
        environment: its content, if requested.
        inputs: its inputs, without code and environment.
        outputs: its outputs.
    """

    ref: RunRef
    status: str
    finished: str | None = None
    seconds: float | None = None
    actor: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[RunRef, ...] = ()
    above: ParentRun | None = None
    top: ParentRun | None = None
    error: str | None = None
    command: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    code: Mapping[str, Any] = field(default_factory=dict)
    code_digest: str | None = None
    environment_digest: str | None = None
    environment: Mapping[str, Any] | None = None
    inputs: tuple[Edge, ...] = ()
    outputs: tuple[Edge, ...] = ()

    @property
    def remote(self) -> str | None:
        """The URL of its repository: that of `origin`, else of the first remote; None if unknown."""
        remotes = self.code.get("remotes")
        if not isinstance(remotes, Mapping) or not remotes:
            return None
        return repository_url(str(remotes.get("origin", remotes[min(remotes)])))


@dataclass(frozen=True, slots=True)
class Record:
    """The contents of an export.

    Attributes:
        store: the store's id.
        url: its URL without credentials.
        start: the requested digest or run id.
        title: a label for that.
        runs: oldest first.
        items: digest → artifact; all that the runs name, and the requested one.
    """

    store: str
    url: str
    start: str
    title: str
    runs: tuple[RunOf, ...]
    items: Mapping[str, Item]

    def uri(self, digest: str) -> str:
        """Return an absolute URI of an artifact: the store's URL, `#` and the digest."""
        return f"{self.url}#{digest}"

    @property
    def newest(self) -> str:
        """The time of the last event in the record."""
        times = [one for run in self.runs for one in (run.ref.started, run.finished)]
        return max(one for one in (*times, *(item.time for item in self.items.values()), "1970-01-01T00:00:00.000000Z") if one)


def repository_url(remote: str) -> str:
    """Convert a repository's remote to a URL: git also accepts `git@host:path`, and paths."""
    if "://" in remote:
        return remote
    host, sign, path = remote.partition(":")
    if sign and "/" not in host and len(host) > 1:
        return f"ssh://{host}/{path.lstrip('/')}"
    return Path(remote).absolute().as_uri() if Path(remote).is_absolute() else remote


def actor_uuid(actor: str) -> UUID:
    """Return an id of an actor, derived from its name in the store."""
    return uuid5(NAMESPACE_URL, f"artifactstore:actor/{actor}")


def as_text(value: Any, *, lines: bool = True) -> str:
    """Serialise an export for a file: a list as JSON lines, if `lines`, anything else as indented JSON; keys sorted."""
    if isinstance(value, list) and lines:
        return "".join(canonical_json(one).decode() + "\n" for one in value)
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True) + "\n"
