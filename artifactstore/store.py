"""The public entry point: `Store`. Each method calls one module of `artifactstore.work`."""

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
from artifactstore.maintenance.verify.report import Report
from artifactstore.work.get import artifact as _artifact
from artifactstore.work.get import get as _get
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.put import put as _put
from artifactstore.work.put.arguments import PutOptions
from artifactstore.work.queries import diff as _diffing
from artifactstore.work.queries import queries as _asking
from artifactstore.work.queries.diff import Diff
from artifactstore.work.queries.queries import Conditions
from artifactstore.work.session import batch as _batch
from artifactstore.work.session.prepared import Batch
from artifactstore.work.session.session import Session
from artifactstore.work.views import alias as _alias
from artifactstore.work.views import lineage as _lineage
from artifactstore.work.views.alias import ANY
from artifactstore.work.views.lineage import Lineage
from artifactstore.work.views.maintenance import Maintenance

if TYPE_CHECKING:
    from artifactstore.work.queries.explanation import Why
    from artifactstore.work.runs.run import P, R, Run
    from artifactstore.work.views.registry import Registry

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

        Existing content is not uploaded again, and if the newest version of the name already has this content, no new version
        is made. Existing content keeps the profile that it was first stored with, or none. When this method returns, the
        artifact is durable and visible to every reader. A file whose size and timestamps prove that it is unchanged is not read
        again (docs/reference/cache.md); `rehash=True` reads every file.

        Args:
            source: a path (`~` is expanded, a symbolic link at the top is followed), a URL supported by fsspec, or an object, see
                docs/reference/objects.md. A `str` is always a path or a URL unless `format="text"` is passed.
            name: `/`-separated parts of letters, digits, `.`, `_`, `-`; without a name the artifact has only its digest.
            kind: data (the default), model, code, or your own word.
            metadata: any JSON object; if the content is unchanged, it replaces the metadata of the version.
            metrics: metric → finite number, measured on this artifact.
            reason: why, for the audit trail.
            **options: see `PutOptions`: exclude, links, modes, rehash, format, base, profile, source_options.

        Returns:
            The artifact; `.new` is True if anything was recorded, `.version` is None inside a batch.

        Raises:
            InvalidInputError: the path does not exist, the name is invalid, no format can store the object, the source is the
                store itself, or `profile=` was passed for a source without tables.
            ConflictError: a file changed while it was being read; nothing was committed.
            RefusedError: the store is read-only.
            BackendError: the backend kept failing for `$ARTIFACTSTORE_RETRY_SECONDS`; `OutcomeUnknownError` if the commit may have landed.
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
        """Read an artifact, or a part of it; every byte is checked against its digest.

        Args:
            ref: `name`, `name:v3`, `name:latest`, `name:alias`, `name@blake3:ab12cd…`, `blake3:…`; all but the first may end with
                `/path`.
            to: a folder that becomes the artifact's root (a single file is written into it under its own name). It may exist:
                missing files are added, equal files are left alone, unrelated files are never touched.
            paths: only these files, folders or patterns.
            overwrite: replace files that differ.
            trust: what the artifact may import or run, if its format cannot be read otherwise (`pickle`): True, its digest, or
                names of globals. Artifacts that this process has put itself need no trust.
            **options: options of the object's format (docs/reference/objects.md), such as `mmap`, `keys`, `tensors`, `type`.

        Returns:
            With `to`: its `Path`. Without: the object, if an object was put; else the `Path` of a read-only copy in the local
            cache (of the file itself, if a single file was put), which exists for the life of this process.

        Raises:
            NotFoundError: no such artifact, or it was removed.
            AlreadyExistsError: `to` has files that differ; nothing was written.
            CorruptionError: stored bytes do not match their digest; no file was written.
            BackendError: the store or the target failed; the message says how much was written.
            UnsupportedError: this platform does not support a file name, or an object's format cannot be read here.
            UntrustedError: reading the object would run code from the store, and `trust` does not allow it.
        """
        return _get.get(self._session, ref, to, paths=paths, overwrite=overwrite, trust=trust, options=options)

    def open_file(self, ref: str, path: str | None = None) -> io.BufferedReader:
        """Open one file as a seekable binary reader that fetches only the ranges it needs, each chunk verified.

        Raises:
            NotFoundError: no such artifact, or no such file in it.
            InvalidInputError: the artifact has several files, and no path was passed.
        """
        return _get.open_file(self._session, ref, path)

    def open_table(self, ref: str) -> Any:
        """Open a table as a `pyarrow.dataset.Dataset` that fetches only the ranges it needs, each chunk verified.

        Args:
            ref: a stored table, or files of a single kind (Parquet, CSV, Arrow, JSON, ORC); with `/path`, a file or folder of it.

        Raises:
            NotFoundError: no such artifact, or no such path in it.
            InvalidInputError: the artifact has no table files, or several kinds of them.
        """
        return _get.open_table(self._session, ref)

    def artifact(self, ref: str) -> Artifact:
        """Return the record of an artifact, without its content.

        Raises:
            NotFoundError: no such artifact, or it was removed.
        """
        return _artifact.artifact(self._session, ref)

    def diff(self, a: str, b: str, *, key: str | Sequence[str] = (), exact: bool = False) -> Diff:
        """Compare the files of two artifacts (or of folders or files in them); the result is empty if they are equal.

        Its `.tables`, `.tensors` and `.json` list differences inside files, `.overlap()` the rows that two tables share.

        Args:
            a: a reference.
            b: another.
            key: columns that identify the rows of a table, so that changed rows are distinguished from new rows; reads both tables.
            exact: read the tables, even if a sample of their row hashes would suffice.

        Raises:
            NotFoundError: no such artifact.
        """
        return _diffing.diff(self._session, a, b, key=key, exact=exact)

    def batch(self, *, reason: str | None = None) -> AbstractContextManager[Batch]:
        """Collect puts and alias moves in a `with` block and commit them together: nothing is visible before the block ends.

        Inside the block, its own puts are found by digest. An exception commits nothing. A nested batch joins the outer batch.
        """
        return _batch.batch(self._session, reason)

    def names(self, prefix: str = "") -> Rows[Name]:
        """Return all names that begin with `prefix`, sorted."""
        return _asking.names(self._session, prefix)

    def versions(self, name: str) -> Rows[Version]:
        """Return all versions of a name, oldest first.

        Raises:
            NotFoundError: no such name; the message lists the nearest names.
        """
        return _asking.versions(self._session, name)

    def find(self, **conditions: Unpack[Conditions]) -> Rows[Version]:
        """Return the versions that meet all conditions: `store.find(kind="model", metrics={"auc": ">= 0.9"}, uses="churn/raw")`.

        Args:
            **conditions: see `Conditions`: name, kind, metadata, metrics, file, uses, code, run, since.

        Raises:
            InvalidInputError: a condition is malformed; NotFoundError: no such artifact in `uses`.
        """
        return _asking.find(self._session, conditions)

    def alias(self, ref: str, alias: str, *, expect: Any = ANY, reason: str | None = None) -> Artifact | None:
        """Point an alias at a version: `store.alias("churn/model:v7", "production")`.

        Args:
            ref: a version.
            alias: the alias; must not be `latest` or `v<number>`.
            expect: the number of the version that the alias must point to now, or None if the alias must not exist yet.
            reason: why, for the audit trail.

        Returns:
            The artifact that it points to; None inside a batch.

        Raises:
            ConflictError: the alias points to another version; the message names the actor and the time of that move.
            NotFoundError: no such version.
        """
        return _alias.move_alias(self._session, ref, alias, expect=expect, reason=reason)

    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - part of the public API
        code: bool | str = True,
    ) -> "Run":
        """Create a run: `with store.run("train", params={"depth": 8}) as run:`, or `.start()` and `.finish()` in a notebook.

        Reads from this store inside the run are recorded as inputs, puts as outputs, together with the working tree's code and
        the environment.

        Args:
            name: the kind of work.
            params: its parameters; a value without a JSON form is recorded as its `repr`.
            id: unique in the store; an unfinished run of that id is joined (for example by a restarted pod).
            code: whether to store the working tree; `history`: with all commits up to its own, as a git bundle.

        Raises:
            InvalidInputError: the name or the id is invalid; `RefusedError`: this store is read-only.
        """
        from artifactstore.work.runs.run import Run  # noqa: PLC0415 - imports code and package capture, 30 ms

        return Run(self._session, name, params=params, id=id, code=code)

    @overload
    def step(self, name: "Callable[P, R]") -> "Callable[P, R]": ...

    @overload
    def step(self, name: str | None = None) -> "Callable[[Callable[P, R]], Callable[P, R]]": ...

    def step(self, name: Any = None) -> Any:
        """Decorate a function so that each call is a run: `@store.step`; arguments with a JSON form are its parameters.

        The return value is stored only if a name is passed: `@store.step("churn/features")`.

        Raises:
            InvalidInputError: the name is invalid, or the decorated object is not a function. Generators are refused, as they
                run after the call returns.
        """
        from artifactstore.work.runs.run import step  # noqa: PLC0415 - as above

        return step(self._session)(name) if callable(name) else step(self._session, name)

    def runs(self, name: str | None = None, *, status: str | None = None) -> Rows[RunInfo]:
        """Return the runs, oldest first.

        `name` is a name or a pattern (`train*`), `status` running, finished, failed or abandoned (no sign of life for a day).
        """
        return _lineage.runs(self._session, name=name, status=status)

    def lineage(self, ref: str) -> Lineage:
        """Return the lineage of an artifact (by reference) or of a run (by id), upstream and downstream.

        Raises:
            NotFoundError: no such artifact or run.
        """
        return _lineage.lineage(self._session, ref)

    def why(self, a: str, b: str) -> "Why":
        """Explain why two artifacts, or two runs, differ: parameters, code, packages, metrics and inputs, and why those differ.

        Only unequal parts are opened. The answer prints as text; see also `.to_json()` and `.to_html()`.

        Args:
            a: a reference, or a run's id.
            b: another.

        Raises:
            NotFoundError: no such artifact or run.
        """
        from artifactstore.work.queries.explain import why  # noqa: PLC0415 - imports text comparison, used only here

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
        """Return the audit trail, oldest first: the actor, time and reason of each action, with its outcome.

        Args:
            name: only facts about this name.
            alias: only facts about this alias.
            actor: only actions of this actor.
            since: from this time on (aware datetime).
            until: up to this time (aware datetime).
            fact: a single kind of fact: stored, versioned, described, aliased, measured …
            txn: a transaction, as in `OutcomeUnknownError.txn`; `.outcome` is then committed, void, never or unknown.

        Raises:
            InvalidInputError: a datetime is naive, or the transaction id is malformed.
            CorruptionError: the journal is damaged.
        """
        return _asking.log(self._session, name=name, alias=alias, actor=actor, since=since, until=until, fact=fact, txn=txn)

    def at(self, moment: int | datetime | date) -> Self:
        """Return a read-only view of this store as of an entry number, an aware datetime, or a date (its end, UTC).

        Names, versions and aliases resolve as they did then; content is read from its current location.

        Raises:
            InvalidInputError: a datetime is naive, or the entry does not exist.
        """
        return type(self)(self._session.at(moment))

    @property
    def head(self) -> str:
        """The last entry and the digest of its bytes, `12:blake3:ab…`: an anchor for `verify`.

        Raises:
            NotFoundError: no store at this URL.
            BackendError: the backend is unreachable.
        """
        return _asking.head(self._session)

    def verify(self, ref: str | None = None, *, level: str = "quick", fraction: float = 1.0, anchor: Any = None) -> Report:
        """Check that all content is present and unchanged; damage is listed in the report, never raised.

        Args:
            ref: only this artifact (and the journal).
            level: `quick` checks the journal's chain, every manifest, and that packs exist; `frames` also every pack's
                checksums; `full` also every file's digest.
            fraction: share of the content that `frames` and `full` read, chosen at random.
            anchor: `<entry>:<digest>` as noted earlier (`head`), which the journal must still contain; or the path of a file with
                such lines, or a list of both. Without an anchor, the loss of the last entries is detected only if the cache of this
                machine has seen them.

        Raises:
            NotFoundError: no store, or no such artifact.
            InvalidInputError: the level, the fraction or an anchor is invalid.
            BackendError: the backend is unreachable.
        """
        return _asking.verify(self._session, ref, level=level, fraction=fraction, anchor=anchor)

    @property
    def registry(self) -> "Registry":
        """Markings of stored content, such as taint."""
        from artifactstore.work.views.registry import Registry  # noqa: PLC0415 - not needed by training code

        return Registry(self._session)

    @property
    def maintenance(self) -> Maintenance:
        """Upkeep of the store: copies, moves, snapshots, and checks of its backend."""
        if self._maintenance is None:
            self._maintenance = Maintenance(self._session)
        return self._maintenance

    def __repr__(self) -> str:
        view = self._session.view
        return f"Store({self.url!r})" + (f" as of entry {view.head}" if view is not None else "")
