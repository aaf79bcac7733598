"""Import: another store's content and history come into this one, batch by batch, each batch a transaction.

If it is killed, the next run continues after the last transaction: the journal alone records what is here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Final, TypedDict, TypeVar

from artifactstore.catalog.fold.judge import Void
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.packs.known_chunks import FalseChunksError, KnownChunks, check_reused
from artifactstore.content.transfer import amount_to_move, transfer
from artifactstore.errors import (
    CondemnedBeforeCommitError,
    ConflictError,
    CorruptionError,
    NotFoundError,
    RefusedError,
    UnsupportedError,
)
from artifactstore.journal.heads import format_head
from artifactstore.maintenance.sync.import_plan import ImportPlanner, Step
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.maintenance.sync.object_copy import decoded_entries, digest_at
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.model.encoding import canonical_json
from artifactstore.model.facts import Fact
from artifactstore.runtime.threads import Pool
from artifactstore.work.put.known_content import candidates, distrust, known_chunks, store_manifest
from artifactstore.work.put.resume import Uploads
from artifactstore.work.session.manifests import FalseManifestError
from artifactstore.work.session.session import Session

__all__ = ["ImportOptions", "receive"]

T = TypeVar("T")
_FACTS: Final = 512 * 1024  # bytes of facts of one transaction, unless a single step is larger
_CONTENT: Final = 2**30  # bytes of content of one transaction: the most that a kill can cost
_ARTIFACTS: Final = 256  # of one transaction
_SMALL: Final = 4 * 2**20  # bytes: smaller artifacts are copied in parallel, larger ones alone and in parts
_AT_ONCE: Final = 8
_TRIES: Final = 8  # attempts at a plan, as another writer may change its basis


class ImportOptions(TypedDict, total=False):
    """Options of a sync into another store.

    Attributes:
        names: names, patterns (`churn/*`) or references (`churn/model:v3`, `churn/model:production`) to import; everything by
            default. Of a reference only that version's content comes, of a name all versions.
        with_lineage: import also what they were made from: inputs, code, environments and runs.
        on_conflict: `leave` leaves out names that conflict, `rename` imports them as `<name>.from-<label>`.
        label: the label in such names; by default the first 8 digits of the source's store id.
        reason: why, for the audit trail of the target.
    """

    names: Sequence[str] | None
    with_lineage: bool
    on_conflict: str
    label: str | None
    reason: str | None


class _StaleError(Exception):
    """Another writer changed one of the two stores: plan again."""


class _FalseError(Exception):
    """An artifact of the source that can never be imported: skip it."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(why)
        self.digest = digest


class _GoneError(Exception):
    """Imported content was condemned before the commit: import it again."""


@dataclass(slots=True)
class _Batch:
    """Steps that are committed together."""

    steps: list[Step] = field(default_factory=list)
    content: dict[str, str | None] = field(default_factory=dict)
    size: int = 0  # of the facts, in bytes
    bytes: int = 0  # of the content


def receive(source: Session, target: Session, options: ImportOptions, *, dry_run: bool) -> SyncReport:
    """Import the content and history of one store into another; see `Maintenance.sync`.

    Raises:
        UnsupportedError: the two have different digest algorithms.
        NotFoundError: the source has no such name.
        ConflictError: other writers changed the plan in every attempt.
        CorruptionError: the source is damaged; what came before the damage is committed. A version whose manifest does not match
            its record, or that no version of this library may write any more, is skipped and reported.
    """
    core = source.core()
    there = core.config
    import_filter = ImportFilter.checked(
        options.get("names"),
        options.get("on_conflict", "leave"),
        options.get("label"),
        there.store,
        lineage=options.get("with_lineage", False),
    )
    here = (target.core() if dry_run else target.core_to_write()).config
    if there.digest != here.digest:
        raise UnsupportedError(
            f"{source.url} has {there.digest} digests and {target.url} {here.digest}: an artifact has one identity in each of them, "
            f"so history cannot be imported; get from the one and put into the other, or make the target with digest={there.digest!r}"
        )
    report = SyncReport("import", source.url, target.url, dry_run=dry_run)
    false: dict[str, str] = {}
    tries = _TRIES
    while tries:
        tries -= 1
        try:
            _Run(source, target, replace(import_filter, false=false), report, options.get("reason")).run()
        except _StaleError:
            continue
        except _FalseError as error:
            if error.digest not in false:
                tries += 1
            false[error.digest] = str(error)
            continue
        target.core().seal()
        return report
    raise ConflictError(f"{source.url} or {target.url} kept changing during the import ({_TRIES} attempts): run it again")


class _Run:
    """One plan and its execution, batch by batch."""

    def __init__(
        self, source: Session, target: Session, import_filter: ImportFilter, report: SyncReport, reason: str | None
    ) -> None:
        self._source, self._target = source, target
        self._report = report
        self._reason = reason
        self._journal = source.core().journal
        with source.state() as there, target.state() as here:
            self._head = there.end
            self._receiver = ImportPlanner(
                there, here, source=self._id(source), target=self._id(target), import_filter=import_filter
            )
            self._sizes = {one: int(there.stored.get(one, {}).get("size", 0)) for one in self._receiver.wanted}
            total = sum(size for one, size in self._sizes.items() if not here.intact(one))
        self._total, self._progress = total, source.watch("import", total)
        self._lock = Lock()
        self._shunned: set[str] = set()  # artifacts of the target whose manifests are false

    @staticmethod
    def _id(session: Session) -> str:
        return session.core().config.store

    def run(self) -> None:
        report = self._report
        for batch in self._batches():
            if report.dry_run:
                self._count(batch)
            else:
                self._commit(batch)
        report.head = format_head(self._head, digest_at(self._journal, self._head))
        report.renamed |= {there: here for there, here in self._receiver.names.items() if there != here}
        report.left_out, report.lacking = [*self._receiver.left_out], self._receiver.lacking

    def _batches(self) -> Iterator[_Batch]:
        batch = _Batch()
        for step in self._receiver.steps(decoded_entries(self._journal, self._head)):
            size = len(canonical_json(step.facts))
            if batch.steps and (
                batch.size + size > _FACTS or batch.bytes > _CONTENT or len(batch.content) + len(step.content) > _ARTIFACTS
            ):
                yield batch
                batch = _Batch()
            batch.steps.append(step)
            batch.size += size
            batch.bytes += sum(self._sizes.get(digest, 0) for digest in step.content if digest not in batch.content)
            for digest, name in step.content.items():
                batch.content.setdefault(digest, name)
        if batch.steps:
            yield batch

    # -- counting

    def _count(self, batch: _Batch) -> None:
        with self._target.state(fresh=False) as state:
            todo = {digest: name for digest, name in batch.content.items() if not state.intact(digest)}
        known = self._known(todo)
        for digest in todo:
            manifest = self._read(digest, lambda manifest: manifest)
            self._report.artifacts += 1
            self._report.objects += 1
            self._report.bytes += amount_to_move(manifest, known)
            known.add(manifest)
        self._report.entries += 1
        self._report.versions += _versions(batch.steps)

    # -- copying

    def _commit(self, batch: _Batch) -> None:
        tries = 3
        while tries:
            tries -= 1
            with self._target.state() as state:
                alive_at = state.head
                maybe = {digest for digest in batch.content if state.intact(digest)}
            here = {digest for digest in maybe if self._target.holds(digest)}
            todo = {digest: name for digest, name in batch.content.items() if digest not in here}
            uploads = Uploads(self._target)
            committed = False
            try:
                stored = self._copy_content(todo, uploads)
                facts = [*stored, *_with_expectations(batch.steps)]
                appender = self._target.core().appender
                appender.commit(facts, birth=alive_at, alive_at=alive_at, refuse=_error_for, reason=self._reason)
                committed = True
            except _GoneError:
                continue
            except FalseChunksError as error:
                distrust(self._target, self._shunned, error)
                tries += 1
                continue
            finally:
                uploads.close(committed=committed)
            self._report.entries += 1
            self._report.artifacts += len(stored)
            self._report.versions += _versions(batch.steps)
            return
        raise CondemnedBeforeCommitError("clean-up took the imported content 3 times in a row: run it again when gc has finished")

    def _known(self, todo: Mapping[str, str | None]) -> KnownChunks:
        with self._target.state(fresh=False) as state:
            wanted = dict.fromkeys(one for name in dict.fromkeys(todo.values()) for one in candidates(state, name))
        return known_chunks(self._target, wanted, sum(self._sizes.get(digest, 0) for digest in todo), without=self._shunned)

    def _copy_content(self, todo: Mapping[str, str | None], uploads: Uploads) -> list[Fact]:
        """Copy content; return the `stored` facts. Small artifacts of different names are copied in parallel."""
        if not todo:
            return []
        known = self._known(todo)
        if "" not in self._shunned:
            known.add(uploads.known)
        small: dict[str | None, list[str]] = {}
        large: list[str] = []
        for digest, name in todo.items():
            if self._sizes.get(digest, 0) <= _SMALL:
                small.setdefault(name if name is not None else digest, []).append(digest)
            else:
                large.append(digest)
        far = self._source.backend.is_remote or self._target.backend.is_remote
        facts: dict[str, Fact] = {}

        def lane(digests: Sequence[str]) -> None:
            for digest in digests:
                facts[digest] = self._copy_artifact(digest, known, uploads)

        if far and len(small) > 1:
            with Pool(_AT_ONCE, "artifactstore-import") as pool:
                list(pool.map(lane, small.values()))
        else:
            lane([digest for digests in small.values() for digest in digests])
        lane(large)
        return [facts[digest] for digest in todo]

    def _copy_artifact(self, digest: str, known: KnownChunks, uploads: Uploads) -> Fact:
        def move(manifest: Manifest) -> Any:
            return transfer(
                self._source.backend,
                manifest,
                self._target.backend,
                known,
                ledger=uploads.ledger,
                footers=self._target.core().footers,
                progress=self._progress,
            )

        try:
            done = self._read(digest, move)
        except NotFoundError as error:
            raise self._lost(digest, error) from error
        check_reused(done.manifest, done.packs, known, self._target.core().footers)
        content, found = done.manifest.identify()
        fact, size = store_manifest(self._target, done.manifest, content, found)
        with self._lock:
            known.add(done.manifest)
            self._report.bytes += done.uploaded + size
            self._report.objects += 1 + len(done.packs)
        return fact

    def _read(self, digest: str, use: Callable[[Manifest], T]) -> T:
        def checked(manifest: Manifest) -> T:
            if manifest.clash is not None:
                raise _FalseError(
                    digest, f"its paths {manifest.clash[0]!r} and {manifest.clash[1]!r} clash: put it under other names"
                )
            return use(manifest)

        try:
            return self._source.with_manifest(digest, checked)
        except FalseManifestError as error:
            raise _FalseError(digest, str(error)) from error

    def _lost(self, digest: str, error: Exception) -> Exception:
        """Distinguish clean-up at the source, which its journal records, from damage."""
        with self._source.state() as there:
            if there.end > self._head:
                return _StaleError(str(error))
        return CorruptionError(
            f"{self._source.url} names {digest}, but no manifest there holds it: restore it from a copy of the store",
            digest=digest,
        )


def _with_expectations(steps: Sequence[Step]) -> list[Fact]:
    """Join the facts of steps; the first states the expected state of their names before the transaction."""
    expect: dict[str, dict[str, int]] = {}
    for step in steps:
        for name, counts in step.expect.items():
            expect.setdefault(name, counts)
    facts = [fact for step in steps for fact in step.facts]
    return [{**facts[0], **({"expect": expect} if expect else {})}, *facts[1:]]


def _versions(steps: Sequence[Step]) -> int:
    inner_facts = (inner for step in steps for fact in step.facts for inner in fact["facts"])
    return sum(inner["fact"] == "versioned" and inner["name"] is not None for inner in inner_facts)


def _error_for(void: Void) -> Exception:
    if void.code in {"condemned", "holder", "base", "window"}:
        return _GoneError(str(void))
    if void.code in {"moved", "format"}:
        return RefusedError(f"{void.text}: nothing more was imported", reasons=(void.text,))
    return _StaleError(str(void))
