"""Names, versions and aliases in a state, and resolution of references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import TYPE_CHECKING, Any, overload

from artifactstore.catalog.fold.name_columns import columns_of, kept_columns, newest
from artifactstore.catalog.fold.received import origin_of
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.fold.times import is_uncertain
from artifactstore.catalog.spill.table import keys_with_prefix
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.encoding import parse_time
from artifactstore.model.reference import Reference
from artifactstore.runtime.records import dataclass

__all__ = [
    "Name",
    "Names",
    "Resolved",
    "Version",
    "alias_of",
    "names",
    "newest",
    "resolve",
    "unnamed",
    "version",
    "versions",
]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a name.

    Attributes:
        name: the name, or None for an unnamed artifact.
        version: k of `v<k>`, or None.
        digest: the artifact's digest, as text.
        kind: data, model, code, or a custom kind.
        size: bytes of all files.
        files: number of files.
        time: when it was put, UTC.
        actor: the actor that put it.
        reason: the reason given, if any.
        aliases: the aliases that point to it now.
        metadata: its metadata.
        metrics: the latest measured value of each metric.
        removed: whether it was removed.
        tainted: whether its digest is tainted.
        file: whether it was put from one file.
        uncertain: whether later entries contradict `time`: the clock of its writer, or of an earlier one, was far ahead.
        origin: `<store>:<entry>` where it was recorded, if received from another store; `actor`, `time` and `reason` are
            then those recorded there. Else None.
    """

    name: str | None
    version: int | None
    digest: str
    kind: str
    size: int
    files: int
    time: datetime
    actor: str
    reason: str | None = None
    aliases: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    removed: bool = False
    tainted: bool = False
    file: bool = False
    origin: str | None = None
    uncertain: bool = False

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)

    @property
    def ref(self) -> str:
        """A permanent reference to it: `name:v3`, or the digest."""
        return self.digest if self.name is None else f"{self.name}:v{self.version}"


@dataclass(frozen=True, slots=True)
class Name:
    """A name with its newest version.

    Attributes:
        name: the name.
        versions: number of versions so far.
        latest: number of the newest version that is neither removed nor tainted, or None.
        kind: of that version.
        size: of that version, in bytes.
        time: when the name got its newest version.
        aliases: alias → version.
        metadata: of the name itself: owner, description …
    """

    name: str
    versions: int
    latest: int | None
    kind: str
    size: int
    time: datetime
    aliases: Mapping[str, int]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    if not TYPE_CHECKING:  # a type checker finds what is missing itself

        def __getattr__(self, name: str) -> Any:
            from artifactstore.habits.calls import missing  # noqa: PLC0415 - only for a message

            raise missing(self, name)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The target of a reference.

    Attributes:
        digest: the artifact's digest, as text.
        name: the name, or None for a bare digest.
        version: its number, or None.
        path: the path inside the artifact, or None.
    """

    digest: str
    name: str | None = None
    version: int | None = None
    path: str | None = None


def resolve(state: State, ref: Reference, *, tainted: bool = False) -> Resolved:
    """Resolve a reference in this state.

    Args:
        state: the state.
        ref: the reference.
        tainted: whether the newest version may be a tainted one; else it is passed by.

    Raises:
        NotFoundError: no such name, version, alias or digest; the message suggests similar names.
        InvalidInputError: a digest prefix that several artifacts share.
    """
    if ref.name is None:
        assert ref.digest is not None
        text = f"{ref.digest[0]}:{ref.digest[1]}"
        digests = [text] if text in state.stored else keys_with_prefix(state.stored, text)
        return Resolved(_by_prefix(ref.digest, digests), path=ref.path)
    rows = state.names.get(ref.name)
    if not rows:
        raise NotFoundError(_no_name(state, ref.name))
    if ref.version is not None:
        number = ref.version
        if number > len(rows):
            raise NotFoundError(f"{ref.name} has no v{number}: its newest version is v{len(rows)}")
    elif ref.alias is not None:
        found = alias_of(state, ref.name, ref.alias)
        if found is None:
            from artifactstore.habits.calls import reference_hint  # noqa: PLC0415 - only for a message

            known = sorted(a for a, moves in state.aliases.get(ref.name, {}).items() if moves[-1]["version"] is not None)
            raise NotFoundError(
                f"{ref.name} has no alias {ref.alias!r}{reference_hint(f'{ref.name}:{ref.alias}')}"
                + (f"; it has {', '.join(known)}" if known else "; it has none yet")
            )
        number = found
    elif ref.digest is not None:
        digest = _by_prefix(ref.digest, [row["digest"] for row in rows])
        number = max(k for k, row in enumerate(rows, 1) if row["digest"] == digest)
    else:
        latest = newest(state, ref.name, tainted=tainted)
        if latest is None:
            left = newest(state, ref.name, tainted=True)
            hint = "" if left is None else f" or is tainted; get a version by number: {ref.name}:v{left}"
            raise NotFoundError(f"every version of {ref.name} was removed{hint}")
        number = latest
    row = rows[number - 1]
    if "removed" in row:
        gone = row["removed"]
        raise NotFoundError(
            f"{ref.name}:v{number} was removed in entry {gone['seq']} by {gone['actor']}"
            + (f": {gone['reason']}" if "reason" in gone else "")
        )
    return Resolved(row["digest"], ref.name, number, ref.path)


def removed_digest(state: State, ref: Reference) -> str | None:
    """Return the digest that a reference meant before it was removed, or None if nothing was there."""
    if ref.name is None:
        assert ref.digest is not None
        text = ":".join(ref.digest)
        return text if text in state.stored or text in state.versions_by_digest else None
    rows = state.names.get(ref.name, ())
    if ref.version is not None:
        return str(rows[ref.version - 1]["digest"]) if ref.version <= len(rows) else None
    if ref.alias is not None:
        return None
    prefix = "" if ref.digest is None else ":".join(ref.digest)
    return next((str(row["digest"]) for row in reversed(rows) if row["digest"].startswith(prefix)), None)


def alias_of(state: State, name: str, alias: str) -> int | None:
    """Return the number of the version that an alias points to, or None."""
    moves = state.aliases.get(name, {}).get(alias)
    return moves[-1]["version"] if moves else None


def version(state: State, name: str, number: int) -> Version:
    """Return the record of a version; it must exist."""
    return _version(state, name, number, state.names[name][number - 1], _aliases(state, name))


def unnamed(state: State, digest: str) -> Version:
    """Return the record of an artifact referenced by digest."""
    row = state.unnamed.get(digest)
    if row is not None:
        return _version(state, None, None, row, {})
    for name, number, _ in state.versions_by_digest.get(digest, ()):
        if "removed" not in state.names[name][number - 1]:
            found = version(state, name, number)
            # Referenced by digest an artifact is a folder, whatever it was put from (docs/reference/format.md, "Facts").
            return Version(
                None, None, digest, found.kind, found.size, found.files, found.time, found.actor, metrics=found.metrics
            )
    raise NotFoundError(f"{digest} is not in any version: it was removed")


def versions(state: State, name: str, numbers: Iterable[int] | None = None) -> list[Version]:
    """Return the versions of a name, oldest first, including removed ones.

    Args:
        state: the state to search.
        name: the name.
        numbers: only these; None for all.

    Raises:
        NotFoundError: no such name.
    """
    rows = state.names.get(name)
    if not rows:
        raise NotFoundError(_no_name(state, name))
    aliases = _aliases(state, name)
    wanted = range(1, len(rows) + 1) if numbers is None else numbers
    return [_version(state, name, k, rows[k - 1], aliases) for k in wanted]


class Names(Sequence[Name]):
    """Names with their newest versions, in columns: ten thousand names are listed without a record of each.

    Args:
        columns: the fields of `Name`; the time as text.
    """

    def __init__(self, **columns: list[Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["name"])

    @overload
    def __getitem__(self, at: int) -> Name: ...
    @overload
    def __getitem__(self, at: slice) -> list[Name]: ...
    def __getitem__(self, at: int | slice) -> Name | list[Name]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        fields: dict[str, Any] = {name: column[at] for name, column in self._columns.items()}
        return Name(**fields | {"time": parse_time(fields["time"])})

    def values(self, name: str) -> list[Any]:
        """Return a field of all names."""
        return [*map(parse_time, self._columns[name])] if name == "time" else [*self._columns[name]]


def names(state: State, prefix: str = "") -> Names:
    """Return all names that start with `prefix`, sorted."""
    columns = None if prefix else kept_columns(state)
    if columns is None:
        columns = columns_of(state, state.last_versions(prefix))
    aliases, described = state.aliases, state.name_metadata

    def held(name: str) -> dict[str, int]:
        moves = aliases.get(name)
        return {alias: k for alias, rows in moves.items() if (k := rows[-1]["version"]) is not None} if moves else {}

    def about(name: str) -> dict[str, Any]:
        texts = described.get(name)
        return texts[-1]["metadata"] if texts else {}

    return Names(
        **columns,
        aliases=[held(name) if aliases else {} for name in columns["name"]],
        metadata=[about(name) if described else {} for name in columns["name"]],
    )


def _aliases(state: State, name: str) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for alias, moves in sorted(state.aliases.get(name, {}).items()):
        if (k := moves[-1]["version"]) is not None:
            found[k] = (*found.get(k, ()), alias)
    return found


def _version(
    state: State, name: str | None, number: int | None, row: Mapping[str, Any], aliases: Mapping[int, tuple[str, ...]]
) -> Version:
    digest = row["digest"]
    stored = state.stored.get(digest, {})
    return Version(
        name=name,
        version=number,
        digest=digest,
        kind=row["kind"],
        size=stored.get("size", 0),
        files=stored.get("files", 0),
        time=parse_time(row["time"]),
        actor=row["actor"],
        reason=row.get("reason"),
        aliases=aliases.get(number, ()) if number is not None else (),
        metadata=row.get("metadata", {}),
        metrics=state.metrics.get(digest, {}),
        removed="removed" in row,
        tainted=digest in state.tainted,
        file=bool(row.get("file")),
        origin=origin_of(row),
        uncertain=is_uncertain(state.header, row),
    )


def _by_prefix(wanted: tuple[str, str], digests: Iterable[str]) -> str:
    text = f"{wanted[0]}:{wanted[1]}"
    found = sorted({digest for digest in digests if digest.startswith(text)})
    if not found:
        raise NotFoundError(f"this store has no artifact with the digest {text}; to search for a file's digest use find(file=…)")
    if len(found) > 1:
        raise InvalidInputError(f"{text} is ambiguous ({', '.join(found[:3])} …): add more digits")
    return found[0]


def _no_name(state: State, name: str) -> str:
    import difflib  # noqa: PLC0415 - only needed for a message

    near = difflib.get_close_matches(name, state.names, n=3, cutoff=0.6) if len(state.names) <= 20_000 else []
    parts = name.split("/")
    for n in range(len(parts) - 1, 0, -1):
        if (shorter := "/".join(parts[:n])) in state.names:
            rest = "/".join(parts[n:])
            return f"no artifact is named {name!r}; for {rest!r} in {shorter!r} use {shorter}:latest/{rest}"
    if near:
        return f"no artifact is named {name!r}; similar names: {', '.join(near)}"
    return f"no artifact is named {name!r}; " + (
        f"{len(state.names)} other name{'s exist' if len(state.names) > 1 else ' exists'}"
        if state.names
        else "the store has no names yet"
    )
