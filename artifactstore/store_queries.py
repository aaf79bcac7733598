"""The questions to a store: what it has, where it came from, why two things differ, and whether all of it is intact."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from artifactstore.errors import NotFoundError
from artifactstore.model.reference import Referable, as_reference, selected
from artifactstore.runtime.answering import answering
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.catalog.audit import Log
    from artifactstore.catalog.rows import Rows
    from artifactstore.catalog.runs.table import RunTable
    from artifactstore.catalog.versions import Name, Version
    from artifactstore.maintenance.verify.report import Report
    from artifactstore.work.get.artifact import Artifact
    from artifactstore.work.put.arguments import FolderOptions
    from artifactstore.work.queries.diff import Diff
    from artifactstore.work.queries.explanation import Why
    from artifactstore.work.queries.queries import Conditions
    from artifactstore.work.queries.status import Status
    from artifactstore.work.views.lineage import Lineage

__all__ = ["StoreQueries"]


@answering
class StoreQueries:
    """What can be asked of a store without changing it; see `Store`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def artifact(self, ref: str | Referable, *, version: int | str | None = None, alias: str | None = None) -> "Artifact":
        """Return the record of an artifact, without its content.

        Args:
            ref: a reference; wherever one is expected, an `Artifact`, a `Version` or a node of a lineage may stand for it.
            version: with a bare name, the number of a version.
            alias: with a bare name, an alias.

        Raises:
            NotFoundError: no such artifact, or it was removed.
        """
        from artifactstore.work.get.artifact import artifact  # noqa: PLC0415 - each question loads what it needs

        return artifact(self._session, selected(ref, version, alias))

    def exists(self, ref: str | Referable, *, version: int | str | None = None, alias: str | None = None) -> bool:
        """Return whether a reference resolves; for a path in an artifact, whether it has such a file or folder.

        Raises:
            InvalidInputError: the reference is malformed.
            BackendError: the backend is unreachable.
        """
        from artifactstore.work.get.artifact import exists  # noqa: PLC0415 - as above

        try:
            return exists(self._session, selected(ref, version, alias))
        except NotFoundError:
            return False

    def diff(
        self,
        a: "str | Referable | os.PathLike[str]",
        b: "str | Referable | os.PathLike[str]",
        *,
        key: str | Sequence[str] = (),
        exact: bool = False,
        **options: "Unpack[FolderOptions]",
    ) -> "Diff":
        """Compare the files of two artifacts (or of folders or files in them); the result is empty if they are equal.

        Its `.tables`, `.tensors` and `.json` list differences inside files, `.overlap()` the rows that two tables share.

        Args:
            a: a reference; a `Path` is a file or a folder of this machine: `store.diff("raw:v1", Path("data"))`. Nothing is stored;
                files whose size and times prove that they are unchanged are not read.
            b: another.
            key: columns that identify the rows of a table, so that changed rows are distinguished from new rows; reads both tables.
            exact: read the tables, even if a sample of their row hashes would suffice.
            **options: `exclude` and `links` as for `put`, for a folder of this machine.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: a path does not exist, or cannot be read.
        """
        from artifactstore.work.queries.diff import diff  # noqa: PLC0415 - each question loads what it needs

        return diff(self._session, _sided(a), _sided(b), key=key, exact=exact, options=options)

    def verify_folder(self, folder: "str | os.PathLike[str]", ref: str | Referable) -> "Diff":
        """Compare a folder, wherever it came from, with an artifact, exactly; false if it is that artifact and nothing else.

        Every byte is read, whatever a cache knows of the folder. Files, links, empty folders and, where they are a part of the
        identity, executable bits count; nothing is left out.

        Args:
            folder: of this machine.
            ref: an artifact, or a folder in it.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: it is not a folder, or cannot be read.
            ConflictError: a file changed while it was read.
        """
        from artifactstore.work.queries.diff import verify_folder  # noqa: PLC0415 - training code never asks

        return verify_folder(self._session, Path(folder), as_reference(ref))

    def status(
        self, path: "str | os.PathLike[str]" = ".", *, against: str | Referable | None = None, **options: "Unpack[FolderOptions]"
    ) -> "Status":
        """Tell which version a folder or file of this machine came from, and what changed in it since; false if nothing has.

        Puts and gets with `to=` are remembered in the local cache. A folder that is not remembered is recognised if its content is
        that of a version. For a folder above remembered ones, each of those is examined.

        Args:
            path: the folder or file.
            against: compare with this artifact instead.
            **options: `exclude` and `links` as for `put`; by default those of the put that is remembered.

        Raises:
            NotFoundError: the version is unknown; pass `against=`.
            InvalidInputError: the path does not exist, or cannot be read.
        """
        from artifactstore.work.queries.status import status  # noqa: PLC0415 - training code never asks

        return status(self._session, path, against=None if against is None else as_reference(against), options=options)

    def names(self, prefix: str = "") -> "Rows[Name]":
        """Return all names that begin with `prefix`, or match a pattern such as `churn/*`, sorted."""
        from artifactstore.work.queries.queries import names  # noqa: PLC0415 - each question loads what it needs

        return names(self._session, prefix)

    def versions(self, name: str) -> "Rows[Version]":
        """Return all versions of a name, oldest first.

        Raises:
            NotFoundError: no such name; the message lists the nearest names.
        """
        from artifactstore.work.queries.queries import versions  # noqa: PLC0415 - each question loads what it needs

        return versions(self._session, name)

    def find(self, words: str | None = None, /, **conditions: "Unpack[Conditions]") -> "Rows[Version]":
        """Return the versions that meet all conditions: `store.find(kind="model", metrics={"auc": ">= 0.9"}, uses="churn/raw")`.

        Args:
            words: `find("churn")` is `find(text="churn")`.
            **conditions: see `Conditions`: name, text, alias, tag, kind, metadata, metrics, file, uses, code, run, since.

        Raises:
            InvalidInputError: a condition is malformed; NotFoundError: no such artifact in `uses`.
        """
        from artifactstore.work.queries.queries import find  # noqa: PLC0415 - each question loads what it needs

        if words is not None:
            conditions.setdefault("text", words)
        return find(self._session, conditions)

    def runs(
        self,
        name: str | None = None,
        *,
        status: str | None = None,
        where: str | Sequence[str] = (),
        sort: str | None = None,
        limit: int | None = None,
        columns: str | Sequence[str] | None = None,
    ) -> "RunTable":
        """Return the runs as a table, oldest first: `store.runs("sweep*", where="auc >= 0.9", sort="-auc", limit=10)`.

        Its `.to_pandas()` has a column for each parameter and metric; `store.runs()[-1].history("loss")` is a logged series.

        Args:
            name: a name or a pattern (`train*`).
            status: running, finished, failed or abandoned (no sign of life for a day).
            where: conditions that must all hold, such as `params.lr < 0.1`, `status = failed`, `name ~ sweep`. Metrics are those
                of the run, then those of the artifacts that it produced; `auc` alone means the only field of that name.
            sort: a column; with `-` before it the largest first. Runs without a value come last.
            limit: only so many.
            columns: the columns of the table: fields of `RunInfo`, `params.lr`, `metrics.auc`, `code.branch`.

        Raises:
            InvalidInputError: a condition is malformed, or no run has such a column; the message has the nearest ones.
            NotFoundError: no run has that name.
        """
        from artifactstore.catalog.runs.table import Selection  # noqa: PLC0415 - each question loads what it needs
        from artifactstore.work.views.runs import runs  # noqa: PLC0415 - as above

        chosen = Selection(where, sort, limit, columns)
        return runs(self._session, name=name, status=status, chosen=chosen)

    def served(
        self, ref: str | Referable, *, name: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Any:
        """Return what a model was asked and answered, as a `pyarrow.Table`: the rows of its inference log, in their order.

        Columns are the inputs, outputs and labels; `_time`, `_id`, `_seq` (the number of the row in its process) and `_latency`.
        The chain of each stream is checked on the way.

        Args:
            ref: a version or alias, for the rows of that model; a bare name, for those of all of its versions.
            name: of the log; by default `<name of the model>/serving`.
            since: from this time on (aware datetime).
            until: up to this time (aware datetime).

        Raises:
            NotFoundError: no such model, or it has no log.
            CorruptionError: a segment is damaged, missing, or out of its place.
        """
        from artifactstore.work.monitoring.serving.served import read  # noqa: PLC0415 - each question loads what it needs

        return read(self._session, as_reference(ref), name=name, since=since, until=until)

    def lineage(self, ref: str | Referable) -> "Lineage":
        """Return the lineage of an artifact (by reference) or of a run (by id), upstream and downstream.

        Raises:
            NotFoundError: no such artifact or run.
        """
        from artifactstore.work.views.lineage import lineage  # noqa: PLC0415 - each question loads what it needs

        return lineage(self._session, as_reference(ref))

    def why(self, a: str | Referable, b: str | Referable) -> "Why":
        """Explain why two artifacts, or two runs, differ: parameters, code, packages, metrics and inputs, and why those differ.

        Only unequal parts are opened. The answer prints as text; see also `.to_json()` and `.to_html()`.

        Args:
            a: a reference, or a run's id.
            b: another.

        Raises:
            NotFoundError: no such artifact or run.
        """
        from artifactstore.work.queries.explain import why  # noqa: PLC0415 - imports text comparison, used only here

        return why(self._session, as_reference(a), as_reference(b))

    def log(
        self,
        *,
        ref: str | Referable | None = None,
        name: str | None = None,
        alias: str | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fact: str | None = None,
        txn: str | None = None,
        limit: int | None = None,
    ) -> "Log":
        """Return the audit trail, oldest first: the actor, time and reason of each action, with its outcome.

        Its `.transactions` say in words what was committed together: `put churn/model:v7 · run train · auc 0.91`; `.to_csv()` and
        `.to_html()` are for those who have no Python. Of many facts the rows are read from the journal when they are looked at.

        Args:
            ref: only facts that speak of this artifact, by its digest or by any of its names and versions: approvals, measures and
                taints, too, which name no name. It may have been removed.
            name: only facts about this name, or about names of this pattern (`churn/*`).
            alias: only facts about this alias.
            actor: only actions of this actor.
            since: from this time on (aware datetime).
            until: up to this time (aware datetime).
            fact: a single kind of fact: stored, versioned, described, aliased, measured …
            txn: a transaction, as in `OutcomeUnknownError.txn`; `.outcome` is then committed, void, never or unknown.
            limit: only so many, the newest.

        Raises:
            InvalidInputError: a datetime is naive, or the transaction id is malformed.
            NotFoundError: no such artifact was ever here.
            CorruptionError: the journal is damaged.
        """
        from artifactstore.work.queries.log import Wanted, log  # noqa: PLC0415 - each question loads what it needs

        about = None if ref is None else as_reference(ref)
        conditions = Wanted(ref=about, name=name, alias=alias, actor=actor, since=since, until=until, fact=fact, txn=txn)
        return log(self._session, conditions, limit)

    @property
    def head(self) -> str:
        """The last entry and the digest of its bytes, `12:blake3:ab…`: an anchor for `verify`.

        Raises:
            NotFoundError: no store at this URL.
            BackendError: the backend is unreachable.
        """
        from artifactstore.work.queries.queries import head  # noqa: PLC0415 - each question loads what it needs

        return head(self._session)

    def verify(
        self,
        ref: str | Referable | None = None,
        *,
        level: str = "quick",
        fraction: float = 1.0,
        anchor: Any = None,
        keys: Any = None,
    ) -> "Report":
        """Check that all content is present and unchanged, and that nothing has effect that breaks a rule; nothing is raised.

        Findings are `damage`, a `breach` (a promotion whose gate does not hold when content and signatures are judged again, the
        signature of something else), or a `note` (an attempt without effect, a change of rules, a clock that ran back).

        Args:
            ref: only this artifact (and the journal).
            level: `quick` checks the journal's chain, every manifest, and that packs exist; `frames` also every pack's
                checksums; `full` also every file's digest.
            fraction: share of the content that `frames` and `full` read, chosen at random.
            anchor: `<entry>:<digest>` as noted earlier (`head`), which the journal must still contain; or the path of a file with
                such lines, or of one that `registry.anchor` wrote; or a list of these. Without an anchor, the loss of the last entries
                is detected only if the cache of this machine has seen them, and a history that was made anew is not.
            keys: whose signatures count: a path of a TOML file, or a dict; default `$ARTIFACTSTORE_KEYS`. Without keys, signatures that
                gates ask for are not judged again.

        Raises:
            NotFoundError: no store, or no such artifact.
            InvalidInputError: the level, the fraction or an anchor is invalid.
            BackendError: the backend is unreachable.
        """
        from artifactstore.work.registry.verify import verify  # noqa: PLC0415 - training code never asks

        about = None if ref is None else as_reference(ref)
        return verify(self._session, about, level=level, fraction=fraction, anchor=anchor, keys=keys)


def _sided(side: "str | Referable | os.PathLike[str]") -> str | Path:
    """Return a side of a comparison: a path of this machine as `Path`, a reference as text."""
    return Path(side) if isinstance(side, os.PathLike) else as_reference(side)
