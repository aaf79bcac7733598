"""Snapshots of the fold: publishing, opening and comparing them (decision 0026)."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from artifactstore.backend.base import Backend
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.sqlite_file import SqliteTables, scratch
from artifactstore.display.displayed import Displayed
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, CorruptionError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_derived
from artifactstore.journal.snapshots import Snapshot, content_key, published, snapshots_of
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.encoding import canonical_json
from artifactstore.runtime.threads import Pool

if TYPE_CHECKING:
    from artifactstore.catalog.spill.layer import Layer
    from artifactstore.catalog.spill.layered import LayeredTables
    from artifactstore.display.outline import Block

__all__ = ["Published", "copy_snapshot", "fault_of", "list_published", "open_below", "open_snapshot", "publish"]

_PIECE: Final = 16 * 2**20  # bytes per read or write
_HASHED: Final = 4 * 2**20  # bytes per hash update


@dataclass(frozen=True, slots=True)
class Published(Displayed):
    """A snapshot of the fold that others can open; displayed as text and HTML.

    Attributes:
        entry: the last journal entry that it contains.
        digest: of its bytes.
        size: its bytes.
        new: whether it was written now; False where nothing was added since the newest one, or the journal is empty.
    """

    entry: int
    digest: str
    size: int
    new: bool

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line  # noqa: PLC0415 - programs look at the values
        from artifactstore.display.values import format_size  # noqa: PLC0415 - as above

        if not self.entry:
            return [Line("the store is empty: no snapshot was written")]
        outcome = "written" if self.new else "exists already, no entry since"
        return [Line(f"snapshot of entry {self.entry}: {outcome} ({format_size(self.size)}, {self.digest})")]


def list_published(backend: Backend, state: State | None = None) -> list[Snapshot]:
    """Return the snapshots that this version can read, newest first: deltas with what they are on.

    Args:
        backend: the store's.
        state: the fold; then only those for which it vouches.
    """
    derived = list_derived(backend)
    false = [one for one in published(derived, State.LAYOUT) if state is not None and not state.vouches(one.digest, one.seq)]
    return snapshots_of(derived, State.LAYOUT, {one.key for one in false}, every=True)


def publish(journal: Journal, appender: Appender) -> Published:
    """Write the fold at the head for other readers, and record it in the journal.

    Its bytes are durable before the fact that vouches for them, and the fact is in the journal before the pointer to it.

    Raises:
        BackendError: the backend failed; what was written is unreferenced litter.
        RefusedError: the transaction would have no effect here.
    """
    path = scratch()
    try:
        with journal.lock:
            head = journal.catch_up()
            if head == 0:
                return Published(0, "", 0, new=False)
            last = next((one for one in list_published(journal.backend) if one.since is None), None)
            if last is not None and last.entry == head and journal.fold.vouches(last.digest, last.seq):
                return Published(last.seq, last.digest, last.size, new=False)
            entry = str(journal.digest)
            journal.fold.write_file(path, entry)
            _check_written(path, head, entry)
        digest, size = str(_digest_of(path, journal.config.digest)), path.stat().st_size
        journal.backend.write(content_key(digest), _pieces(path))
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, ArtifactStoreError):
            raise
        text = f"cannot create the snapshot in {path.parent} ({error}): it needs some 2 kB per artifact there, twice; set TMPDIR"
        raise BackendError(f"{text} to a folder with more space. Nothing was published") from error
    finally:
        path.unlink(missing_ok=True)
    candidate = Snapshot(State.LAYOUT, head, 0, digest, size)
    done = appender.commit([candidate.fact], birth=head, alive_at=head, refuse=_refuse)
    _point_to(journal.backend, replace(candidate, entry=done.seq))
    return Published(head, digest, size, new=True)


def _check_written(path: Path, head: int, entry: str) -> None:
    """Open a snapshot as its readers will, before any fact vouches for it.

    Raises:
        CorruptionError: readers would reject it.
    """
    try:
        base = SqliteTables.received(path, own=False, lasting=True)
        with closing(base):
            written, last = State.open_file(base)
            found = (written.head, last)
            for table in vars(State()):
                getattr(written, table)  # values stored as JSON are decoded on access
    except (ValueError, KeyError, CorruptionError) as error:
        raise CorruptionError(f"cannot read back the snapshot ({error}): nothing was published", location=str(path)) from error
    if found != (head, entry):
        raise CorruptionError(f"the snapshot does not end with entry {head}: nothing was published", location=str(path))


def _refuse(void: Any) -> Exception:
    return BackendError(f"the snapshot cannot be recorded here: {void}")


def open_snapshot(backend: Backend, algorithm: str, snapshot: Snapshot) -> tuple[State, str] | None:
    """Open a snapshot whose bytes match its recorded digest; None where they do not, or are unavailable.

    In a local folder it is read in place, else it is downloaded. A delta is opened with what it is on.

    Returns:
        The fold, and the digest of the last entry folded.

    Raises:
        CorruptionError: a delta, or what it is on, does not match its digest, or is not such a file; names that digest.
    """
    if snapshot.digest.partition(":")[0] != algorithm:
        return None
    if snapshot.since is not None:
        return _open_deltas(backend, algorithm, snapshot)
    local_path = Path(backend.url) / content_key(snapshot.digest) if "://" not in backend.url else None
    if local_path is not None and local_path.is_file():
        return _open_file(local_path, algorithm, snapshot, lasting=True)
    path = scratch()
    opened = None
    try:
        _download(backend, snapshot, path)
        opened = _open_file(path, algorithm, snapshot, lasting=False)
    except (ArtifactStoreError, OSError):
        pass  # it is only derived: the entries have the same facts
    finally:
        if opened is None:
            path.unlink(missing_ok=True)
    return opened


def _open_deltas(backend: Backend, algorithm: str, snapshot: Snapshot) -> tuple[State, str]:
    from artifactstore.catalog.fold.deltas import open_layers  # noqa: PLC0415 - few processes open one

    tables = _open_tables(backend, algorithm, snapshot.members, {})
    try:
        return open_layers(tables), tables.layers[-1].span.entry
    except (ArtifactStoreError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptionError(f"{snapshot.content} is damaged ({error})", digest=snapshot.digest) from error


def _open_tables(backend: Backend, algorithm: str, members: Sequence[Snapshot], held: "Mapping[str, Layer]") -> "LayeredTables":
    from artifactstore.maintenance.deltas import open_members  # noqa: PLC0415 - as above

    return open_members(backend, algorithm, members, partial(open_snapshot, backend, algorithm), held)


def open_below(journal: Journal, delta: Snapshot, held: "Mapping[str, Layer]" = MappingProxyType({})) -> "LayeredTables":
    """Open what a delta is on.

    Args:
        journal: the store's.
        delta: the delta.
        held: layers by digest that need not be read.

    Raises:
        CorruptionError: something does not match its digest; names that digest.
    """
    from artifactstore.catalog.spill.layered import LayeredTables  # noqa: PLC0415 - as above

    backend, algorithm, store = journal.backend, journal.config.digest, journal.config.store
    return _open_tables(backend, algorithm, delta.below, held) if delta.below else LayeredTables((), store=store)


def copy_snapshot(source: Backend, target: Backend, algorithm: str, snapshot: Snapshot, *, written: bool = False) -> int:
    """Copy a snapshot's bytes, checked against its digest, and then the pointer to it; return the bytes copied, 0 if it is damaged.

    Args:
        source: where it is.
        target: where the entries are that vouch for it, and what it is on.
        algorithm: of the store's digests.
        snapshot: the snapshot.
        written: its bytes are there already.

    Raises:
        ArtifactStoreError: a backend failed; what was written is litter.
    """
    path = scratch()
    try:
        if not written:
            _download(source, snapshot, path)
            if str(_digest_of(path, algorithm)) != snapshot.digest:
                return 0
            with suppress(AlreadyExistsError):
                target.write(snapshot.content, _pieces(path))
    finally:
        path.unlink(missing_ok=True)
    _point_to(target, snapshot)
    return 0 if written else snapshot.size


def _point_to(backend: Backend, snapshot: Snapshot) -> None:
    with suppress(AlreadyExistsError):
        backend.create(snapshot.key, canonical_json({"format": 1, **snapshot.fact, "entry": snapshot.entry}))


def _open_file(path: Path, algorithm: str, snapshot: Snapshot, *, lasting: bool) -> tuple[State, str] | None:
    try:
        if str(_digest_of(path, algorithm)) != snapshot.digest:
            return None
        return State.open_file(SqliteTables.received(path, own=not lasting, lasting=lasting))
    except (ArtifactStoreError, OSError, ValueError, KeyError):
        return None


def _download(backend: Backend, snapshot: Snapshot, path: Path) -> None:
    key, ranges = snapshot.content, [(at, min(_PIECE, snapshot.size - at)) for at in range(0, snapshot.size, _PIECE)]
    together = max(1, min(8, backend.concurrency))
    with path.open("wb") as file, Pool(together) as pool:
        for at in range(0, len(ranges), together):  # limits the pieces in memory
            for (data,) in pool.map(lambda one: backend.read_ranges(key, [one]), ranges[at : at + together]):
                file.write(data)


def _digest_of(path: Path, algorithm: str) -> Digest:
    hasher = new_hasher(algorithm, parallel=True)
    with path.open("rb") as file, Pool(1) as pool:  # the next piece is read while this one is hashed
        coming = pool.submit(file.read, _HASHED)
        while piece := coming.result():
            coming = pool.submit(file.read, _HASHED)
            hasher.update(piece)
    return Digest(algorithm, hasher.digest())


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def fault_of(journal: Journal, snapshot: Snapshot, state: State, last: str) -> str | None:
    """Return a snapshot's fault, or None.

    Args:
        journal: the store's.
        snapshot: its pointer.
        state: the fold of the entries that it should contain.
        last: digest of the last of these.
    """
    opened = open_snapshot(journal.backend, journal.config.digest, snapshot)
    if opened is None:
        return "is damaged or missing"
    try:
        found = _differing(opened[0], state) if opened[1] == last else f"its last entry {opened[1]}"
    except CorruptionError as error:  # its digest matches: it was written like this
        found = str(error)
    finally:
        opened[0].close()
    return None if found is None else f"differs from the journal ({found})"


def _differing(candidate: State, true: State) -> str | None:
    for table, rows in vars(State()).items():
        if isinstance(rows, dict) and not table.startswith("_"):
            found = _differs(getattr(candidate, table), getattr(true, table), in_order=table == "runs")
            if found is not None:
                return f"{table} of {found}"
    return None


def _differs(candidate: Mapping[str, Any], true: Mapping[str, Any], *, in_order: bool) -> str | None:
    if in_order:
        for one, other in zip(candidate, true, strict=False):
            if one != other:
                return one
    for key, value in true.items():
        if key not in candidate or candidate[key] != value:
            return key
    if len(candidate) != len(true):
        return next((key for key in candidate if key not in true), "…")
    return None
