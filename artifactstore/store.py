"""The front door: `Store`, every method of which calls one room."""

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from artifactstore.catalog.audit import Log
from artifactstore.catalog.lineage import RunInfo
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Name, Version
from artifactstore.maintenance.report import Report
from artifactstore.work import alias as _alias
from artifactstore.work import artifact as _artifact
from artifactstore.work import asking as _asking
from artifactstore.work import batch as _batch
from artifactstore.work import diffing as _diffing
from artifactstore.work import get as _get
from artifactstore.work import lineage as _lineage
from artifactstore.work import put as _put
from artifactstore.work.alias import ANY
from artifactstore.work.artifact import Artifact
from artifactstore.work.asking import Conditions
from artifactstore.work.batch import Batch
from artifactstore.work.diffing import Diff
from artifactstore.work.lineage import Lineage
from artifactstore.work.maintenance import Maintenance
from artifactstore.work.said import PutOptions
from artifactstore.work.session import Session

if TYPE_CHECKING:
    from artifactstore.work.registry import Registry
    from artifactstore.work.run import P, R, Run
    from artifactstore.work.why import Why

__all__ = ["ANY", "Store"]


class Store:
    """A content-addressed store at one URL, made by `artifactstore.open`. Needs no close, safe for threads, picklable without secrets."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._maintenance: Maintenance | None = None

    @property
    def url(self) -> str:
        """Where the store is, without credentials."""
        return self._session.url

    def put(
        self,
        source: Any,
        name: str | None = None,
        *,
        kind: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        reason: str | None = None,
        **options: Unpack[PutOptions],
    ) -> Artifact:
        """Store a file, a folder or an object, and record it as the next version of `name`.

        Content that is there is not stored again, and putting what the newest version of the name holds makes no new
        version. What is there keeps the profile that it was first stored with, or none. When this returns, the artifact is
        durable and everybody sees it. Files whose size and times are as they were are not read again, where those prove that
        (docs/cache.md); `rehash=True` reads every file.

        Args:
            source: a path (`~` is expanded, a link at the top followed), a URL that fsspec knows, or an object, see
                docs/objects.md. A `str` is always a path or a URL unless `format="text"` is said.
            name: `/`-separated parts of letters, digits, `.`, `_`, `-`; without one the artifact has only its digest.
            kind: data (the default), model, code, or a word of your own.
            metadata: any JSON object; on an equal put it describes the version anew.
            metrics: metric → finite number, measured of this artifact.
            reason: why, for the audit trail.
            **options: see `PutOptions`: exclude, links, modes, rehash, format, base, profile, source_options.

        Returns:
            The artifact; `.new` tells whether anything was recorded, `.version` is None inside a batch.

        Raises:
            InvalidInputError: no such path, a name that can't be stored, an object of no known format, the store itself, or
                `profile=` of what has no table.
            ConflictError: a file changed while it was read; nothing was committed.
            RefusedError: a read-only store.
            BackendError: the place failed for `$ARTIFACTSTORE_RETRY_SECONDS`; `OutcomeUnknownError` if it may have landed.
        """
        return _put.put(
            self._session, source, name, kind=kind, metadata=metadata, metrics=metrics, reason=reason, options=options
        )

    def get(
        self,
        ref: str,
        to: str | os.PathLike[str] | None = None,
        *,
        paths: Sequence[str] | None = None,
        overwrite: bool = False,
        trust: bool | str | Iterable[str] = False,
        **options: Any,
    ) -> Any:
        """Bring back what a reference means, every byte checked against its digest.

        Args:
            ref: `name`, `name:v3`, `name:latest`, `name:alias`, `name@blake3:ab12cd…`, `blake3:…`, each but the first with
                `/path` behind it if wanted.
            to: a folder that becomes the artifact's root (one file lands in it under its name). It may exist: missing
                files are added, equal ones left alone, unrelated ones never touched.
            paths: only these files, folders or patterns.
            overwrite: replace files that differ.
            trust: what of the artifact may run or be imported, where its format can't be read otherwise (`pickle`): True,
                its digest, or names of globals. What this process has put itself needs none.
            **options: of the object's format (docs/objects.md), such as `mmap`, `keys`, `tensors`, `type`.

        Returns:
            With `to`: its `Path`. Without: the object, where one was put; else the `Path` of a read-only copy in the
            local cache (of the file itself, where one file was put), which stays as long as this process lives.

        Raises:
            NotFoundError: nothing of that name, or removed.
            AlreadyExistsError: `to` holds files that differ; nothing was written.
            CorruptionError: stored bytes do not match their digest; nothing was put in place.
            BackendError: the store or the target failed; it says how much was put in place.
            UnsupportedError: names that this platform can't hold, or an object's format that can't be read here.
            UntrustedError: reading the object would run code that the store holds, and `trust` does not allow it.
        """
        return _get.get(self._session, ref, to, paths=paths, overwrite=overwrite, trust=trust, options=options)

    def open_file(self, ref: str, path: str | None = None) -> io.BufferedReader:
        """Open one file as a seekable binary reader that fetches only the ranges it needs, each chunk verified.

        Raises:
            NotFoundError: nothing of that name, or no such file in it.
            InvalidInputError: several files, and no path was said.
        """
        return _get.open_file(self._session, ref, path)

    def open_table(self, ref: str) -> Any:
        """Open a table as a `pyarrow.dataset.Dataset` that fetches only the ranges it needs, each chunk verified.

        Args:
            ref: a stored table, or files of one kind (Parquet, CSV, Arrow, JSON, ORC); with `/path`, one file or folder of it.

        Raises:
            NotFoundError: nothing of that name, or no such path in it.
            InvalidInputError: no files of tables, or several kinds.
        """
        return _get.open_table(self._session, ref)

    def artifact(self, ref: str) -> Artifact:
        """Return what is known about an artifact, without its content.

        Raises:
            NotFoundError: nothing of that name, or removed.
        """
        return _artifact.artifact(self._session, ref)

    def diff(self, a: str, b: str, *, key: str | Sequence[str] = (), exact: bool = False) -> Diff:
        """Compare the files of two artifacts (or of folders or files in them); empty where they are equal.

        Its `.tables`, `.tensors` and `.json` tell what differs inside of files, `.overlap()` which rows two tables share.

        Args:
            a: a reference.
            b: another.
            key: columns that tell the rows of tables apart, so that changed rows can be told from new ones; both are read then.
            exact: read tables, where a sample of their rows' hashes would do.

        Raises:
            NotFoundError: nothing of one of these names.
        """
        return _diffing.diff(self._session, a, b, key=key, exact=exact)

    def batch(self, *, reason: str | None = None) -> AbstractContextManager[Batch]:
        """Collect puts and alias moves in a `with` block and commit them together: nothing is visible before its end.

        Inside, own puts are found by their digest. An exception commits nothing. An inner batch joins the outer one.
        """
        return _batch.batch(self._session, reason)

    def names(self, prefix: str = "") -> Rows[Name]:
        """Return all names that begin with `prefix`, sorted."""
        return _asking.names(self._session, prefix)

    def versions(self, name: str) -> Rows[Version]:
        """Return all versions of a name, oldest first.

        Raises:
            NotFoundError: no such name; the message has the nearest ones.
        """
        return _asking.versions(self._session, name)

    def find(self, **conditions: Unpack[Conditions]) -> Rows[Version]:
        """Return the versions that meet all conditions: `store.find(kind="model", metrics={"auc": ">= 0.9"}, uses="churn/raw")`.

        Args:
            **conditions: see `Conditions`: name, kind, metadata, metrics, file, uses, code, run, since.

        Raises:
            InvalidInputError: a condition that can't be read; NotFoundError: no such artifact in `uses`.
        """
        return _asking.find(self._session, conditions)

    def alias(self, ref: str, alias: str, *, expect: Any = ANY, reason: str | None = None) -> Artifact | None:
        """Point an alias at a version: `store.alias("churn/model:v7", "production")`.

        Args:
            ref: a version.
            alias: the word; never `latest` or `v<number>`.
            expect: the number of the version that must hold the alias now, None for an alias that must not exist yet.
            reason: why, for the audit trail.

        Returns:
            The artifact that it points to; None inside a batch.

        Raises:
            ConflictError: another version holds the alias; the message says who moved it and when.
            NotFoundError: no such version.
        """
        return _alias.move_alias(self._session, ref, alias, expect=expect, reason=reason)

    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - what users call it
        code: bool | str = True,
    ) -> "Run":
        """Begin a run: `with store.run("train", params={"depth": 8}) as run:`, or `.start()` and `.finish()` in a notebook.

        What is read from this store inside is recorded as an input, what is put as an output; the working tree's code and
        the environment go along.

        Args:
            name: what kind of work it is.
            params: its parameters; what JSON can't say is kept as its `repr`.
            id: unique in the store; an unfinished run of that id is joined (a pod that was restarted).
            code: whether the working tree is stored; `history`: with all commits up to its own, as a git bundle.

        Raises:
            InvalidInputError: no name, or an id that can't be; `RefusedError`: this store can't be written.
        """
        from artifactstore.work.run import Run  # noqa: PLC0415 - what looks at code and packages, 30 ms

        return Run(self._session, name, params=params, id=id, code=code)

    @overload
    def step(self, name: "Callable[P, R]") -> "Callable[P, R]": ...

    @overload
    def step(self, name: str | None = None) -> "Callable[[Callable[P, R]], Callable[P, R]]": ...

    def step(self, name: Any = None) -> Any:
        """Make a run of each call of a function: `@store.step`; its arguments that JSON can say are the parameters.

        What it returns is stored only under a name: `@store.step("churn/features")`.

        Raises:
            InvalidInputError: no name, or no function: a generator is none, as it works on after its call.
        """
        from artifactstore.work.run import step  # noqa: PLC0415 - as above

        return step(self._session)(name) if callable(name) else step(self._session, name)

    def runs(self, name: str | None = None, *, status: str | None = None) -> Rows[RunInfo]:
        """Return the runs, oldest first.

        `name` is a name or a pattern (`train*`), `status` running, finished, failed or abandoned (no sign of life for a day).
        """
        return _lineage.runs(self._session, name=name, status=status)

    def lineage(self, ref: str) -> Lineage:
        """Return what an artifact (by a reference) or a run (by its id) was made from, and what was made from it.

        Raises:
            NotFoundError: no such artifact or run.
        """
        return _lineage.lineage(self._session, ref)

    def why(self, a: str, b: str) -> "Why":
        """Tell why two artifacts, or two runs, differ: parameters, code, packages, metrics and inputs, and why those differ.

        Only what is not equal is opened. The answer prints as text; `.to_json()`, `.to_html()`.

        Args:
            a: a reference, or a run's id.
            b: another.

        Raises:
            NotFoundError: no such artifact or run.
        """
        from artifactstore.work.why import why  # noqa: PLC0415 - compares texts, which only this does

        return why(self._session, a, b)

    def log(
        self,
        *,
        name: str | None = None,
        alias: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fact: str | None = None,
        txn: str | None = None,
    ) -> Log:
        """Return the audit trail, oldest first: who did what, when and why, with the outcome of each.

        Args:
            name: only facts that speak of this name.
            alias: only facts that speak of this alias.
            actor: only what this actor did.
            since: from this moment on (aware).
            until: up to this moment (aware).
            fact: only one kind: stored, versioned, described, aliased, measured …
            txn: one transaction, as `OutcomeUnknownError.txn` gives it; `.outcome` then is committed, void, never or unknown.

        Raises:
            InvalidInputError: a naive datetime, or no transaction.
            CorruptionError: the journal is damaged.
        """
        return _asking.log(self._session, name=name, alias=alias, actor=actor, since=since, until=until, fact=fact, txn=txn)

    def at(self, moment: int | datetime | date) -> Self:
        """Return this store, read-only, as it was: an entry's number, an aware datetime, or a date (its end, UTC).

        Names, versions and aliases resolve as they did then; where bytes lie is always taken from today.

        Raises:
            InvalidInputError: a naive datetime, or an entry that does not exist.
        """
        return type(self)(self._session.at(moment))

    @property
    def head(self) -> str:
        """The last entry and the digest of its bytes, `12:blake3:ab…`: what `verify` takes for an anchor.

        Raises:
            NotFoundError: no store.
            BackendError: the place could not be reached.
        """
        return _asking.head(self._session)

    def verify(self, ref: str | None = None, *, level: str = "quick", fraction: float = 1.0, anchor: Any = None) -> Report:
        """Check that everything is there and unchanged; damage is listed in the report, never raised.

        Args:
            ref: only this artifact (and the journal).
            level: `quick` checks the journal's chain, every manifest, and that packs are there; `frames` every pack's
                checksums; `full` every file's digest.
            fraction: share of the content that `frames` and `full` look into, chosen at random.
            anchor: `<entry>:<digest>` as noted earlier (`head`): the journal must still have it. Or the path of a file of such
                lines, or a list of both. Without one, entries that were deleted at the end are missed only where the cache of
                this machine knew them.

        Raises:
            NotFoundError: no store, or no such reference.
            InvalidInputError: no such level, fraction or anchor.
            BackendError: the place could not be reached.
        """
        return _asking.verify(self._session, ref, level=level, fraction=fraction, anchor=anchor)

    @property
    def registry(self) -> "Registry":
        """Judgements on what is stored, such as taint."""
        from artifactstore.work.registry import Registry  # noqa: PLC0415 - what training code does without

        return Registry(self._session)

    @property
    def maintenance(self) -> Maintenance:
        """What keeps a store in order: copies, moves and checks of the place it lies in."""
        if self._maintenance is None:
            self._maintenance = Maintenance(self._session)
        return self._maintenance

    def __repr__(self) -> str:
        view = self._session.view
        return f"Store({self.url!r})" + (f" as of entry {view.head}" if view is not None else "")
