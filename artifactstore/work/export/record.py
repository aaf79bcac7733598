"""What an export tells: runs with what they used and made, as plain values.

`collecting` makes a `Record` of a store and knows no standard. Each standard's room makes plain values of a `Record` and
knows no store; equal records make equal bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from artifactstore.model.version import VERSION

__all__ = ["PRODUCER", "Edge", "Item", "Naming", "Part", "Record", "RunOf", "RunRef", "actor_uuid", "repository_url"]

PRODUCER: Final = f"pkg:pypi/artifactstore@{VERSION}"  # a package URL: the library's name that belongs to no host


@dataclass(frozen=True, slots=True)
class Part:
    """One file of an artifact.

    Attributes:
        path: in the artifact.
        size: in bytes.
        digest: as `<algorithm>:<hex>`.
        sha256: the hex digits of its SHA-256, where the store has it.
    """

    path: str
    size: int
    digest: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """A version that an artifact is.

    Attributes:
        name: the name.
        number: k of `v<k>`.
        time: when it was put.
        actor: by whom.
        reason: why, where that was said.
        aliases: that point to it now.
        metadata: what was said about it.
        removed: whether it was removed.
    """

    name: str
    number: int
    time: str
    actor: str
    reason: str | None = None
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    removed: bool = False

    @property
    def ref(self) -> str:
        """`name:v3`."""
        return f"{self.name}:v{self.number}"


@dataclass(frozen=True, slots=True)
class Item:
    """An artifact.

    Attributes:
        digest: as `<algorithm>:<hex>`.
        kind: data, model, code, environment or the user's word.
        size: bytes of all files; None where the store never had them.
        count: how many files; likewise.
        format: the stored object's format, or None.
        namings: the versions that it is, in order; none of an unnamed one.
        time: when it was first put here, or None where the store knows only its digest.
        actor: by whom, or None.
        metrics: the newest measured values.
        tainted: whether it is.
        there: whether its bytes are in the store.
        profile: of a table, where that was looked for.
        parts: its files, where they were looked for.
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
        """The newest version that it is and that was not removed; the newest one where all were; None where it has no name."""
        return next((one for one in reversed(self.namings) if not one.removed), self.namings[-1] if self.namings else None)

    @property
    def ref(self) -> str:
        """`name:v3`, or the digest."""
        return self.digest if self.naming is None else self.naming.ref

    @property
    def title(self) -> str:
        """What people call it: as `ref`, but a digest cut short."""
        return self.digest[:15] if self.naming is None else self.naming.ref


@dataclass(frozen=True, slots=True)
class Edge:
    """That a run used or made an artifact.

    Attributes:
        digest: of the artifact.
        name: under which that was, or None.
        role: the part that it had, or None.
    """

    digest: str
    name: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class RunRef:
    """What names a run.

    Attributes:
        id: in its store.
        name: what kind of work it is.
        started: when.
        uuid: the same in every copy of the store, and in stores that received the run.
    """

    id: str
    name: str
    started: str
    uuid: UUID


@dataclass(frozen=True, slots=True)
class RunOf:
    """A run with all that is known of it.

    Attributes:
        ref: what names it.
        status: running, finished or failed.
        finished: when, or None.
        seconds: how long it took, as it said.
        actor: who started it.
        params: its parameters.
        parents: the run around it, then the one around that …
        error: what a failed run said.
        command: how its program was called.
        metrics: its own.
        code: what was recorded of its code: commit, branch, remotes, dirty …
        code_digest: the artifact that its code is, or None.
        environment_digest: the artifact that its environment is, or None.
        environment: what is in that, where it was looked for.
        inputs: what it used, without its code and environment.
        outputs: what it made.
    """

    ref: RunRef
    status: str
    finished: str | None = None
    seconds: float | None = None
    actor: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[RunRef, ...] = ()
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
        """The URL of its repository: that of `origin`, else of the first remote; None where none is known."""
        remotes = self.code.get("remotes")
        if not isinstance(remotes, Mapping) or not remotes:
            return None
        return repository_url(str(remotes.get("origin", remotes[min(remotes)])))


@dataclass(frozen=True, slots=True)
class Record:
    """What is exported.

    Attributes:
        store: the store's id.
        url: where it is, as a URL without credentials.
        start: the digest or run's id that was asked for.
        title: what people call that.
        runs: oldest first.
        items: digest → artifact; everything that the runs name, and what was asked for.
    """

    store: str
    url: str
    start: str
    title: str
    runs: tuple[RunOf, ...]
    items: Mapping[str, Item]

    def place(self, digest: str) -> str:
        """Return an absolute URI of an artifact: the store's URL and the digest behind `#`."""
        return f"{self.url}#{digest}"

    @property
    def newest(self) -> str:
        """The time of the last thing that it tells of."""
        times = [one for run in self.runs for one in (run.ref.started, run.finished)]
        return max(one for one in (*times, *(item.time for item in self.items.values()), "1970-01-01T00:00:00.000000Z") if one)


def repository_url(remote: str) -> str:
    """Return a repository's remote as a URL: git also writes `git@host:path`, and paths."""
    if "://" in remote:
        return remote
    host, sign, path = remote.partition(":")
    if sign and "/" not in host and len(host) > 1:
        return f"ssh://{host}/{path.lstrip('/')}"
    return Path(remote).absolute().as_uri() if Path(remote).is_absolute() else remote


def actor_uuid(actor: str) -> UUID:
    """Return an id of somebody, from what the store calls them."""
    return uuid5(NAMESPACE_URL, f"artifactstore:actor/{actor}")
