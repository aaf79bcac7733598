"""`Store.maintenance`: upkeep of a store. Each method calls one module of `artifactstore.maintenance`."""

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.journal.heads import format_head
from artifactstore.runtime.answering import answering
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import DEFAULT, cache_folder, find_url

if TYPE_CHECKING:
    from artifactstore.catalog.rows import Rows
    from artifactstore.maintenance.doctor.examine import Target
    from artifactstore.maintenance.doctor.findings import Diagnosis
    from artifactstore.maintenance.gc.cleanup import Cleanup
    from artifactstore.maintenance.repack.repacked import Repacked
    from artifactstore.maintenance.repair.report import Repaired
    from artifactstore.maintenance.snapshot import Published
    from artifactstore.maintenance.sync.report import SyncReport
    from artifactstore.maintenance.usage.usage import Usage
    from artifactstore.work.get.artifact import Artifact
    from artifactstore.work.sync.import_store import ImportOptions
    from artifactstore.work.sync.intake import Intake

__all__ = ["Maintenance", "examine_url"]

WEEK = timedelta(days=7)


@answering
class Maintenance:
    """Upkeep of one open store, as returned by `Store.maintenance`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sync(
        self,
        target: str | os.PathLike[str] | Any,
        *,
        move: bool = False,
        release: bool = False,
        dry_run: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        **importing: "Unpack[ImportOptions]",
    ) -> "SyncReport":
        """Copy, move or import this store to another location. A second run copies what is new, and resumes an interrupted one.

        If the target is empty, or a copy of this store, it becomes a *replica*: the same store, byte for byte, readable, and
        written by sync only. If the target is another store, it *imports*: missing content is copied, and names come with their
        versions, aliases and marks, by their own actors at their own times. The target's own facts take precedence over received
        ones: a name whose versions differ in both is left out, or imported as `<name>.from-<label>`.

        Args:
            target: a URL, a path, or an open store.
            move: then close this location for writing and open the target; reads here still work. The target must be empty.
            release: then make the copy writable, although this store stays writable too: from then on the two diverge.
                If the source is lost, release a copy by passing it as its own target.
            dry_run: write nothing; only report what would be copied.
            storage_options: of the target, if it is a URL.
            **importing: if the target is another store, see `ImportOptions`: names, with_lineage, on_conflict, label, reason. With
                names=, an empty target becomes a new store with these names.

        Returns:
            A report of what was copied, whether the target was released and the store moved; for an import, what was left out, and why.

        Raises:
            ConflictError: source and target have different histories; names the first entry that differs.
            RefusedError: the source is unfinished or has moved; the target has moved or is not writable.
            InvalidInputError: the target is not empty and not a store, or one of the two contains the other.
            NotFoundError: no store here, or `names` match nothing.
            UnsupportedError: the target is another store with another digest algorithm.
            CorruptionError: the source is damaged; undamaged content was copied.
            BackendError: a backend failed; run it again.
        """
        from artifactstore.work.sync.sync import sync  # noqa: PLC0415 - opening a store must not load rarely used modules

        return sync(
            self._session,
            target,
            move=move,
            release=release,
            dry_run=dry_run,
            storage_options=storage_options,
            importing=importing,
        )

    def import_from(
        self,
        source: str | os.PathLike[str] | Any,
        *,
        dry_run: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        **importing: "Unpack[ImportOptions]",
    ) -> "SyncReport":
        """Import into this store: an RO-Crate that `export` wrote with its files, a bundle, or another store.

        A crate comes back with its names, versions, aliases, runs and lineage, by their own actors at their own times; each digest
        is computed from its files. A second import of the same source brings nothing.

        Args:
            source: the crate's folder or zip file, a bundle, a URL, a path, or an open store.
            dry_run: write nothing; only report what would be imported.
            storage_options: of the source, if it is a URL.
            **importing: see `ImportOptions`: names, with_lineage, on_conflict, label, reason.

        Returns:
            A report of what was imported, and of what was left out and why.

        Raises:
            NotFoundError: nothing is there.
            InvalidInputError: a crate without its files, or not one that this library wrote.
            CorruptionError: files do not have the digest that the source claims; nothing of a crate was imported.
            UnsupportedError: the source has another digest algorithm.
            RefusedError: this store is read-only.
            BackendError: a backend failed; run it again.
        """
        from artifactstore.work.sync.sync import import_from  # noqa: PLC0415 - as in sync

        return import_from(self._session, source, dry_run=dry_run, storage_options=storage_options, importing=dict(importing))

    def intake(self, system: str, source: str, *, dry_run: bool = False, reason: str | None = None) -> "Intake":
        """Begin an import from another system: `with store.maintenance.intake("dvc", url) as intake: intake.put(…)`.

        Versions, runs and aliases come at their own times and by their own actors, as those of another store do; what is here
        already, by the ids of that system, is not brought again.

        Args:
            system: the other system, such as `dvc`.
            source: what identifies the source there: a URL or path without credentials.
            dry_run: write nothing; only count.
            reason: why, for the audit trail.

        Raises:
            RefusedError: this store is read-only.
            BackendError: a backend failed; run the import again.
        """
        from artifactstore.work.sync.intake import Intake  # noqa: PLC0415 - as in sync

        return Intake(self._session, system, source, dry_run=dry_run, reason=reason)

    def bundle(
        self, path: str | os.PathLike[str], *, names: Sequence[str] | None = None, with_lineage: bool = False
    ) -> "SyncReport":
        """Write this store, or a selection of it, as one zip file, for transport without a network.

        `artifactstore.open("zip://PATH")` reads it directly, and `sync` copies or imports it. A complete store is a copy: the
        same entries, byte for byte, and the same store at the same entry gives the same file. A selection is a small separate
        store whose history was received from this one.

        Args:
            path: the file; must not exist. It appears when complete: an interrupted bundle leaves nothing behind.
            names: names, patterns (`churn/*`) or references (`churn/model:production`); everything by default.
            with_lineage: add what they were made from: inputs, code, environments and runs.

        Returns:
            A report of its contents.

        Raises:
            AlreadyExistsError: the file exists.
            InvalidInputError: the path is not writable, or is inside the store.
            NotFoundError: no store here, or `names` match nothing.
            CorruptionError: the store is damaged.
            RefusedError: this is an unfinished copy.
            BackendError: reading or writing failed.
        """
        from artifactstore.work.sync.bundle import bundle  # noqa: PLC0415 - as in sync

        return bundle(self._session, path, names=names, with_lineage=with_lineage)

    def rescue(self, path: str | os.PathLike[str], name: str | None = None) -> "Artifact":
        """Put an object that was kept on this machine because its put failed in a run; then the kept copy is removed.

        Args:
            path: the folder that the failed put named (they are in `$ARTIFACTSTORE_RESCUE`, by default in the user's data folder).
            name: the name; by default that of the failed put.

        Raises:
            NotFoundError: nothing was kept there; the message lists what was kept.
            InvalidInputError: the failed put had no name, and none was passed.
        """
        from artifactstore.work.put.rescue import rescue  # noqa: PLC0415 - rarely needed

        return rescue(self._session, path, name)

    def accept_head(self) -> str:
        """Accept the present end of the journal on this machine, whose cache has seen a longer or different one; return it.

        Until then this machine warns at each opening and does not write to the store. Find out what happened first: an attack
        that deletes the last entries aims at exactly this call.
        """
        journal = self._session.core().journal
        journal.catch_up()
        journal.known.accept(journal.head, journal.digest)
        return format_head(journal.head, journal.digest)

    def snapshot(self) -> "Published":
        """Write a snapshot of the folded journal, so that the first open on a machine need not read all of it.

        Writers publish what they add to the history anyway, in small pieces. A whole snapshot is opened faster where a history has
        millions of entries, and at once where earlier versions wrote it. A `snapshot` fact in the journal vouches for the digest
        of its bytes, and `verify` compares it with the journal. It is derived: it may be deleted.

        Returns:
            Its entry, digest and size, and whether it was written now.

        Raises:
            NotFoundError: no store here.
            RefusedError: the store is read-only.
            BackendError: the backend failed; run it again.
        """
        from artifactstore.maintenance.snapshot import publish  # noqa: PLC0415 - as in sync

        self._session.check_writable()
        self._session.core()
        core = self._session.core_to_write()
        return publish(core.journal, core.appender)

    def gc(self, *, dry_run: bool = False, grace: timedelta = WEEK, reason: str | None = None) -> "Cleanup":
        """Free what no version, unnamed put, run or hold needs, and what killed and unfinished operations left.

        It is condemned in the journal first, and deleted then: writers and readers may go on meanwhile, here and elsewhere. A
        put whose uploads are condemned stores them again. Killed at any moment, it is finished by the next call.

        Args:
            dry_run: write and delete nothing; report what would be freed.
            grace: uploads that no entry names are spared for so long, by the store's own clock; 0 is safe, too.
            reason: recorded with what is condemned.

        Returns:
            What was freed; `.why(id_or_ref)` explains why something stays or goes.

        Raises:
            InvalidInputError: grace is negative, or not a timedelta.
            NotFoundError: no store here.
            RefusedError: a read-only store, a copy, a view of the past, or a store that has moved; or these credentials may not delete,
                or the storage keeps objects: then it names what is left.
            CorruptionError: the journal is damaged, or something that must stay is missing or unreadable; nothing was deleted.
            FormatError: a newer version wrote here; nothing was deleted.
            ConflictError: other writers were first again and again.
            BackendError: the backend failed; run it again.
        """
        from artifactstore.work.cleaning.cleaning import clean_up  # noqa: PLC0415 - as in sync

        return clean_up(self._session, dry_run=dry_run, grace=grace, reason=reason)

    def repack(self, *, below: float = 0.5, names: Sequence[str] | None = None, dry_run: bool = False) -> "Repacked":
        """Write packs anew that are mostly dead, or small; digests never change, and readers and writers go on meanwhile.

        The artifacts of a name are laid in reading order, the newest version first; equal chunks are stored once, and chunks that
        a newer codec makes smaller are encoded again. Every chunk is verified before it is written. `gc` frees what is left:
        until then both take space, at most `bytes_after` more. Artifacts that are stored as deltas stay where they are.

        Args:
            below: packs are written anew of which less than this share is needed.
            names: names or patterns (`churn/*`) whose artifacts may move; all by default.
            dry_run: write nothing; report what would be written.

        Returns:
            The packs that nothing needs any more, and their bytes before and after.

        Raises:
            InvalidInputError: below is not in (0, 1], or names are no texts.
            NotFoundError: no store here, or no name matches.
            RefusedError: a read-only store, a copy, a view of the past, or a store that has moved.
            CorruptionError: something that would be written anew is missing or damaged; what was done before stays done.
            BackendError: the backend failed; run it again.
        """
        from artifactstore.work.cleaning.cleaning import pack_anew  # noqa: PLC0415 - as in sync

        return pack_anew(self._session, below=below, names=names, dry_run=dry_run)

    def usage(self, by: str = "name") -> "Rows[Usage]":
        """Return what takes how many stored bytes, largest first; every current manifest is read.

        Args:
            by: `name`, `version`, `run` (what a run has produced) or `kind`. What has no name, or no run, is counted under "".

        Returns:
            For each its versions, the bytes of their content, the stored bytes that only it needs, and those that others need, too.

        Raises:
            InvalidInputError: `by` is none of these.
            NotFoundError: no store here.
            CorruptionError: a manifest is missing or damaged.
            BackendError: the backend failed.
        """
        from artifactstore.maintenance.usage.usage import usage  # noqa: PLC0415 - as in sync

        return usage(self._session.core().journal, by, self._session.query_state)

    def repair(
        self,
        source: "str | os.PathLike[str] | Any" = None,
        *,
        files: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None" = None,
        dry_run: bool = False,
    ) -> "Repaired":
        """Bring back what is damaged or missing, verified: from copies, from your own files, from elsewhere in the store.

        Content comes back under new ids and is relocated; a missing object under its own id. A damaged entry, facts file or
        `store.json` is replaced only by bytes that the chain vouches for. Segments and snapshots are written again. What no source
        has is marked by a `damaged` fact: a later put of the same content stores it again. A second run finds nothing more.

        Without a source, mirrors (`open(…, mirrors=)`), other packs with the same chunks and segments are used.

        Args:
            source: a copy of this store: a URL, a path, a bundle, an open store, or a list of these.
            files: folders and files of yours whose content is matched by digest.
            dry_run: write nothing; only report what would be restored.

        Returns:
            What was restored and from where, what stays lost, and what `verify` finds afterwards.

        Raises:
            InvalidInputError: a source is another store, or the store itself; `files` that do not exist.
            RefusedError: this store is read-only, has moved, or is a copy that was not released.
            NotFoundError: no store here, or at a source.
            BackendError: a backend failed; run it again.
        """
        from artifactstore.work.repair.repair import repair  # noqa: PLC0415 - as in sync

        return repair(self._session, source, files=files, dry_run=dry_run)

    def doctor(self, *, role: str | None = None, quick: bool = False, large: bool = False) -> "Diagnosis":
        """Check each operation and guarantee that a store needs, in a separate folder of its backend, and clean up.

        Args:
            role: check for a `reader` (nothing is written), a `writer` or a `janitor`; by default what the credentials
                allow, and a reader for a store opened with mode="r".
            quick: fewer races and smaller listings, 10 MB at most; otherwise up to 64 MiB in total.
            large: also write one object of more than 64 MiB.

        Returns:
            The checks, each with what was tried, the result, its meaning and the fix; `.ok` if all guarantees hold.

        Raises:
            InvalidInputError: no such role.
        """
        from artifactstore.maintenance.doctor.examine import examine  # noqa: PLC0415 - a store that is only used need not load it

        session = self._session
        if role is None and not session.may_write:
            role = "reader"
        return examine(_doctor_target(session), role=role, quick=quick, large=large)


def _doctor_target(session: Session) -> "Target":
    from artifactstore.maintenance.doctor.examine import Target  # noqa: PLC0415

    url, options, single_writer = session.connection_args

    def again() -> Backend:
        return connect(url, storage_options=options, single_writer=single_writer)

    return Target(session.backend, again, url, options, single_writer, session.cache)


def examine_url(
    url: str | os.PathLike[str] | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    single_writer: bool = False,
    role: str | None = None,
    quick: bool = False,
    large: bool = False,
) -> "Diagnosis":
    """Check a location that has no store, or one that cannot be opened.

    Raises:
        InvalidInputError: the URL is invalid, or no such role.
        UnsupportedError: the library for the scheme is not installed.
    """
    from artifactstore.maintenance.doctor.examine import Target, examine  # noqa: PLC0415

    where = find_url(url)
    text, storage_options = where.url, {**where.options, **(storage_options or {})} or None

    def again() -> Backend:
        return connect(text, storage_options=storage_options, single_writer=single_writer)

    target = Target(again(), again, text, storage_options, single_writer, cache_folder(DEFAULT))
    return examine(target, role=role, quick=quick, large=large)
