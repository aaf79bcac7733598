"""The public entry point: `Store`. Each method calls one module of `artifactstore.work`."""

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from artifactstore.model.reference import Referable, as_reference
from artifactstore.runtime.answering import answering
from artifactstore.store_queries import StoreQueries
from artifactstore.work.registry.arguments import ANY
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.work.get.artifact import Artifact
    from artifactstore.work.monitoring.serving.log import Serving
    from artifactstore.work.put.arguments import PutOptions
    from artifactstore.work.registry.verdict import Verdict
    from artifactstore.work.runs.run import Run
    from artifactstore.work.runs.step import P, R
    from artifactstore.work.session.prepared import Batch
    from artifactstore.work.views.maintenance import Maintenance
    from artifactstore.work.views.registry import Registry

__all__ = ["ANY", "Store"]


@answering
class Store(StoreQueries):
    """A content-addressed store at one URL, made by `artifactstore.open`, or by `Store(url)`. Needs no close, safe for threads, picklable without secrets."""

    def __init__(self, url: "str | os.PathLike[str] | Session | None" = None, mode: str = "a") -> None:
        super().__init__(url if isinstance(url, Session) else Session(url, mode=mode))
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
        **options: "Unpack[PutOptions]",
    ) -> "Artifact":
        """Store a file, a folder or an object, and record it as the next version of `name`.

        Existing content is not uploaded again, and if the newest version of the name already has this content, no new version
        is made. Existing content keeps the profile that it was first stored with, or none. When this method returns, the
        artifact is durable and visible to every reader. A file whose size and timestamps prove that it is unchanged is not read
        again (docs/reference/cache.md); `rehash=True` reads every file.

        Args:
            source: a path (`~` is expanded, a symbolic link at the top is followed), a URL supported by fsspec, or an object, see
                docs/reference/objects.md. A `str` is always a path or a URL unless `format="text"` is passed. An `Artifact` of this
                store becomes a version of another name, with its kind and metadata; no byte is read.
            name: `/`-separated parts of letters, digits, `.`, `_`, `-`; without a name the artifact has only its digest.
            kind: data (the default), model, code, or your own word.
            metadata: a JSON object, see docs/reference/values.md; if the content is unchanged, it is merged into the version's.
            metrics: metric → number, measured on this artifact; NaN and infinities are recorded as such.
            reason: why, for the audit trail.
            **options: see `PutOptions`: aliases, tags, description, exclude, format, base, profile …

        Returns:
            The artifact; `.new` is True if anything was recorded, `.version` is None inside a batch.

        Raises:
            InvalidInputError: the path does not exist, the name is invalid, no format can store the object, the source is the
                store itself, or `profile=` was passed for a source without tables.
            ConflictError: a file changed while it was being read; nothing was committed.
            RefusedError: the store is read-only.
            BackendError: the backend kept failing for `$ARTIFACTSTORE_RETRY_SECONDS`; `OutcomeUnknownError` if the commit may have landed.
        """
        from artifactstore.work.put.put import put  # noqa: PLC0415 - each call loads what it needs

        return put(self._session, source, name, kind=kind, metadata=metadata, metrics=metrics, reason=reason, options=options)

    def get(
        self,
        ref: str | Referable,
        to: str | os.PathLike[str] | None = None,
        *,
        paths: Sequence[str] | None = None,
        overwrite: bool = False,
        trust: bool | str | Iterable[str] = False,
        executor: Any = None,
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
            executor: with `to`: a `concurrent.futures.Executor` whose workers fetch and write the files; see `PutOptions`.
            **options: options of the object's format (docs/reference/objects.md), such as `mmap`, `keys`, `tensors`, `type`; with
                a bare name also `version=3` or `alias="production"`. With `to` and a cache, `share="clones"` keeps the artifact
                in the cache and gives the target clones of its files, where the file system has them; `share="links"` else hard
                links, which are read-only and must not be changed (docs/reference/cache.md).

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
        from artifactstore.work.get.get import get  # noqa: PLC0415 - each call loads what it needs

        return get(self._session, ref, to, paths=paths, overwrite=overwrite, trust=trust, executor=executor, options=options)

    def open_file(self, ref: str | Referable, path: str | None = None) -> io.BufferedReader:
        """Open one file as a seekable binary reader that fetches only the ranges it needs, each chunk verified.

        Raises:
            NotFoundError: no such artifact, or no such file in it.
            InvalidInputError: the artifact has several files, and no path was passed.
        """
        from artifactstore.work.get.get import open_file  # noqa: PLC0415 - each call loads what it needs

        return open_file(self._session, as_reference(ref), path)

    def open_table(self, ref: str | Referable) -> Any:
        """Open a table as a `pyarrow.dataset.Dataset` that fetches only the ranges it needs, each chunk verified.

        Args:
            ref: a stored table, or files of a single kind (Parquet, CSV, Arrow, JSON, ORC); with `/path`, a file or folder of it.

        Raises:
            NotFoundError: no such artifact, or no such path in it.
            InvalidInputError: the artifact has no table files, or several kinds of them.
        """
        from artifactstore.work.get.get import open_table  # noqa: PLC0415 - each call loads what it needs

        return open_table(self._session, as_reference(ref))

    def at(self, moment: int | str | datetime | date) -> Self:
        """Return a read-only view of this store as of an entry number, an aware datetime, a date (its end, UTC), or a `head`; each also as text.

        Names, versions and aliases resolve as they did then; content is read from its current location.

        Raises:
            InvalidInputError: a datetime is naive, or the entry does not exist.
        """
        return type(self)(self._session.at(moment))

    def batch(self, *, reason: str | None = None) -> "AbstractContextManager[Batch]":
        """Collect puts and alias moves in a `with` block and commit them together: nothing is visible before the block ends.

        Inside the block, its own puts are found by digest. An exception commits nothing. A nested batch joins the outer batch.
        """
        from artifactstore.work.session.batch import batch  # noqa: PLC0415 - each call loads what it needs

        return batch(self._session, reason)

    def alias(self, ref: str | Referable, alias: str, *, expect: Any = ANY, reason: str | None = None) -> "Artifact | None":
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
        from artifactstore.work.views.alias import move_alias  # noqa: PLC0415 - each call loads what it needs

        return move_alias(self._session, as_reference(ref), alias, expect=expect, reason=reason)

    def promote(self, ref: str | Referable, alias: str, *, reason: str, expect: Any = ANY, keys: Any = None) -> "Verdict":
        """Point an alias at a version that its gates let pass: `store.promote("churn/model:v7", "production", reason="CR-31")`.

        It is judged on the very state that the move is committed on; a refusal is recorded, too. Without a gate it is a move of
        an alias with a reason.

        Args:
            ref: a version.
            alias: the alias.
            reason: why, for the audit trail.
            expect: as of `alias`.
            keys: whose signatures count: a path of a TOML file, or a dict; default `$ARTIFACTSTORE_KEYS`.

        Returns:
            The verdict, which is true; `str()` prints it.

        Raises:
            RefusedError: a gate says no, or the version was removed; `.reasons` has each condition that is not met, `.verdict` all.
            ConflictError: the alias does not point to what was expected.
            InvalidInputError: no reason, a path in an artifact, or inside a batch.
        """
        from artifactstore.work.registry.promote import promote  # noqa: PLC0415 - not needed by training code

        return promote(self._session, as_reference(ref), alias, reason=reason, expect=expect, keys=keys)

    def rollback(self, name: str, alias: str, *, reason: str, to: int | None = None, keys: Any = None) -> "Verdict":
        """Point an alias back at the version that it meant before; called again, it goes further back, never forth.

        Removed and tainted versions are passed over. Gates are not asked again: the entry of the original move is quoted.

        Args:
            name: the name.
            alias: the alias.
            reason: why.
            to: the number of any version that it meant before.
            keys: whose signatures count.

        Returns:
            A verdict; `.ref` is what the alias means now.

        Raises:
            RefusedError: nothing is left to go back to.
            ConflictError: another writer moved the alias meanwhile.
            NotFoundError: no such name or alias.
        """
        from artifactstore.work.registry.promote import rollback  # noqa: PLC0415 - as above

        return rollback(self._session, name, alias, reason=reason, to=to, keys=keys)

    def serving(
        self,
        ref: str | Referable,
        *,
        name: str | None = None,
        sample: float = 1.0,
        columns: Sequence[str] | None = None,
        spool: str | os.PathLike[str] | None = None,
        memory: int = 2**26,
        flush: float = 60.0,
    ) -> "Serving":
        """Open the inference log of a model: `with store.serving("churn/model:production") as log: log(inputs, outputs)`.

        A call takes some microseconds, never raises and never waits. Every `flush` seconds what was logged becomes a version of
        `<name of the model>/serving`: a Parquet file that names the digest of the one before. What cannot be kept is counted, in
        the log itself. `store.served(ref)` reads it, `log.verify()` checks it, `log.compare()` compares it with the training data.

        Args:
            ref: the model; an alias is resolved now.
            name: of the log.
            sample: the share of rows that are logged, chosen by their ids.
            columns: names of the inputs, if they come as arrays.
            spool: a folder in which segments wait while the store is away; they survive the process. By default they wait in memory.
            memory: bytes of calls that may wait; as many of segments without `spool`, 16 times as many with it.
            flush: seconds after which what was logged is stored.

        Raises:
            NotFoundError: no such model.
            InvalidInputError: an argument is invalid, or the model has no name and none was passed.
        """
        from artifactstore.work.monitoring.serving.log import Serving  # noqa: PLC0415 - servers alone need it

        return Serving(
            self._session, as_reference(ref), name=name, sample=sample, columns=columns, spool=spool, memory=memory, flush=flush
        )

    def run(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        id: str | None = None,  # noqa: A002 - part of the public API
        code: bool | str = True,
        expects: Iterable[str | type] = (),
    ) -> "Run":
        """Create a run: `with store.run("train", params={"depth": 8}) as run:`, or `.start()` and `.finish()` in a notebook.

        Reads from this store inside the run are recorded as inputs, puts as outputs, together with the working tree's code and
        the environment.

        Args:
            name: the kind of work.
            params: its parameters; a value without a JSON form is recorded as its `repr`.
            id: unique in the store; an unfinished run of that id is joined (for example by a restarted pod).
            code: whether to store the working tree; `history`: with all commits up to its own, as a git bundle.
            expects: what will be put: formats, libraries or types, such as `["sklearn"]`; whether they can be is checked now,
                before hours of training.

        Raises:
            InvalidInputError: the name or the id is invalid, or no format has an expected name.
            UnsupportedError: a put of what is expected needs a library that is not installed.
            RefusedError: this store is read-only.
        """
        from artifactstore.work.runs.run import Run  # noqa: PLC0415 - imports code and package capture, 30 ms

        def remove(ref: str, reason: str) -> object:
            return self.registry.remove(ref, reason)

        return Run(self._session, name, params=params, id=id, code=code, expects=expects, remove=remove)

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
        from artifactstore.work.runs.step import step  # noqa: PLC0415 - as above

        return step(self._session)(name) if callable(name) else step(self._session, name)

    @property
    def registry(self) -> "Registry":
        """Markings of stored content, such as taint."""
        from artifactstore.work.views.registry import Registry  # noqa: PLC0415 - not needed by training code

        return Registry(self._session)

    @property
    def maintenance(self) -> "Maintenance":
        """Upkeep of the store: copies, moves, snapshots, and checks of its backend."""
        from artifactstore.work.views.maintenance import Maintenance  # noqa: PLC0415 - as above

        if self._maintenance is None:
            self._maintenance = Maintenance(self._session)
        return self._maintenance

    def __getattr__(self, name: str) -> Any:
        from artifactstore.habits.calls import hint  # noqa: PLC0415 - only for a message

        raise AttributeError(f"{type(self).__name__} has no {name!r}{hint(name)}", name=name, obj=self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: what a call stored is durable when it returns, and a store has nothing to close."""

    def __contains__(self, ref: object) -> bool:
        return self.exists(as_reference(ref))

    def __getitem__(self, ref: str | Referable) -> "Artifact":
        """Return the record of an artifact, as `artifact`: `store["churn/model:v3"]`."""
        return self.artifact(ref)

    __iter__ = None  # else Python would ask for store[0], store[1] …

    def _ipython_key_completions_(self) -> list[str]:
        from artifactstore.work.queries.queries import key_completions  # noqa: PLC0415 - as above

        return key_completions(self._session)

    def __repr__(self) -> str:
        view = self._session.view
        return f"Store({self.url!r})" + (f" as of entry {view.head}" if view is not None else "")
