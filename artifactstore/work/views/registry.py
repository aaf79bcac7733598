"""`Store.registry`: gates, approvals, descriptions, measures, holds, removal, retention and taint."""

import os
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from artifactstore.catalog.rows import Rows
from artifactstore.model.graph import Node
from artifactstore.model.reference import Referable, as_reference
from artifactstore.runtime.answering import answering
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.registry import gates as _gates
from artifactstore.work.registry import holds as _holds
from artifactstore.work.registry import marks as _marks
from artifactstore.work.registry import promote as _promote
from artifactstore.work.registry import retention as _retention
from artifactstore.work.registry.gates import Gate
from artifactstore.work.registry.holds import Hold, Removed
from artifactstore.work.registry.retention import Expiry, Retention
from artifactstore.work.registry.signatures import approvals as _approvals
from artifactstore.work.registry.signatures.approvals import Approval
from artifactstore.work.registry.verdict import Verdict
from artifactstore.work.session.session import Session
from artifactstore.work.views.alias import ANY, remove_alias
from artifactstore.work.views.taint import mark

if TYPE_CHECKING:
    from artifactstore.work.monitoring.report import Drift
    from artifactstore.work.registry.signatures.anchors import Anchor
    from artifactstore.work.registry.signatures.sign import Signature

__all__ = ["Registry"]


@answering
class Registry:
    """What a store's artifacts may become, who says so, and what must stay, as returned by `Store.registry`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def gates(self, rules: Any = None, *, reason: str | None = None, signer: Any = None) -> Rows[Gate]:
        """Return the gates in force; with rules, set those first: `store.registry.gates("gates.toml", reason="CR-12")`.

        A gate says what a version must meet before an alias may point to it, for all names of a pattern. Gates that are not
        named in `rules` stay; `all = []` lifts one. Several gates for one alias must all be met.

        Args:
            rules: a path of a TOML file with `[[gate]]` tables, or the same as a dict or a list of dicts (docs/reference/gates.md).
            reason: why they change; needed with rules.
            signer: signs the change, such as `artifactstore.signing.KeyFile("owner.pem")`.

        Raises:
            InvalidInputError: unknown or contradictory rules, with the file's line and column; or no reason.
            RefusedError: the store is read-only.
        """
        return _gates.gates(self._session, rules, reason=reason, signer=signer)

    def check(self, ref: str | Referable, alias: str, *, keys: Any = None) -> Verdict:
        """Judge a version for an alias, and write nothing; a no is an answer, not an error.

        Args:
            ref: a version.
            alias: the alias.
            keys: whose signatures count: a path of a TOML file, or a dict; default `$ARTIFACTSTORE_KEYS`.

        Raises:
            NotFoundError: no such version.
        """
        return _promote.check(self._session, as_reference(ref), alias, keys=keys)

    def approve(
        self,
        ref: str | Referable,
        *,
        reason: str,
        meaning: str = "approval",
        role: str | None = None,
        alias: str | None = None,
        signer: Any = None,
    ) -> Approval:
        """Approve an artifact; without a signer the approval is only *claimed*.

        Args:
            ref: the artifact.
            reason: why.
            meaning: review, approval, authorship or responsibility.
            role: in which it is given, such as `qa`.
            alias: for this alias only; None: for any.
            signer: signs it, such as `artifactstore.signing.KeyFile("qa.pem")`.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason, or an unknown meaning.
        """
        return _approvals.judge(
            self._session, as_reference(ref), approved=True, reason=reason, meaning=meaning, role=role, alias=alias, signer=signer
        )

    def reject(
        self,
        ref: str | Referable,
        *,
        reason: str,
        meaning: str = "approval",
        role: str | None = None,
        alias: str | None = None,
        signer: Any = None,
    ) -> Approval:
        """Reject an artifact: it passes no gate until the same actor approves it.

        Args:
            ref: the artifact.
            reason: why.
            meaning: review, approval, authorship or responsibility.
            role: in which it is given.
            alias: for this alias only; None: for any.
            signer: signs it.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason.
        """
        return _approvals.judge(
            self._session,
            as_reference(ref),
            approved=False,
            reason=reason,
            meaning=meaning,
            role=role,
            alias=alias,
            signer=signer,
        )

    def approvals(self, ref: str | Referable, *, keys: Any = None) -> Rows[Approval]:
        """Return all approvals and rejections of an artifact, in order, with what each is worth.

        Args:
            ref: the artifact; of a version, what it is worth for that version.
            keys: whose signatures count; without them every signature is only claimed.

        Raises:
            NotFoundError: no such artifact.
        """
        return _approvals.approvals(self._session, as_reference(ref), keys=keys)

    def sign(self, ref: str | Referable, to: str | os.PathLike[str] | None = None, *, reason: str, signer: Any) -> "Signature":
        """Sign an artifact as OpenSSF Model Signing does: `model_signing verify key` accepts the folder that `get` gives.

        No content is read where the SHA-256 digests of the files are known: of models, and of what was put with `sha256=True`.

        Args:
            ref: the artifact.
            to: a new file for the bundle.
            reason: why.
            signer: such as `artifactstore.signing.KeyFile("release.pem")`.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason, or a signer that cannot sign.
            RefusedError: it is tainted, or the store is read-only.
            UnsupportedError: the extra `sign` is not installed.
        """
        from artifactstore.work.registry.signatures.sign import sign  # noqa: PLC0415 - loads what makes signatures

        return sign(self._session, ref, to, reason=reason, signer=signer)

    def describe(
        self,
        ref: str | Referable,
        metadata: Mapping[str, Any],
        *,
        of: str = "version",
        merge: bool = True,
        reason: str | None = None,
    ) -> Any:
        """Describe a version, or with `of="name"` its name: owner, description, tags. All values stay in the history.

        Args:
            ref: a version; or a name.
            metadata: JSON values.
            of: version or name.
            merge: add to what is there; else replace it.
            reason: why.

        Returns:
            The artifact; of a name, its `Name`.

        Raises:
            NotFoundError: no such version or name.
        """
        return _marks.describe(self._session, as_reference(ref), metadata, of=of, merge=merge, reason=reason)

    def measure(
        self, ref: str | Referable, metrics: Mapping[str, float], *, on: str | Referable | None = None, reason: str | None = None
    ) -> Artifact:
        """Record metrics of an artifact outside of a run; inside, `run.measure` records which run measured them.

        Args:
            ref: the artifact.
            metrics: name → number; NaN and infinities are recorded as such, and meet no gate.
            on: the data that it was measured on.
            reason: why.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: a value is not a number.
        """
        data = None if on is None else as_reference(on)
        return _marks.measure(self._session, as_reference(ref), metrics, on=data, reason=reason)

    def drift(
        self,
        reference: Any,
        current: Any,
        rules: Any = None,
        *,
        name: str | None = None,
        columns: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        model: str | Referable | None = None,
        reason: str | None = None,
        exact: bool = True,
        record: bool | None = None,
    ) -> "Drift":
        """Compare a table with the one that is expected: `store.registry.drift("churn/train", "churn/today", {"psi.max": "<= 0.2"})`.

        The report (docs/how-to/drift.md has its fields) is stored as an artifact of kind `report`, made in the role `drift` by a run
        that used both tables and the model, so that gates can ask for it; it is true if every rule holds. Memory is bounded.

        Args:
            reference: what is expected, such as the training data: a reference, a table of pandas, polars or pyarrow, a `Path` of
                a Parquet or CSV file, or a profile (`Artifact.profile`).
            current: what came, likewise.
            rules: field → `OP NUMBER`, as gates have it, or texts such as `amount.ks <= 0.1`; what cannot be measured meets none.
            name: of the report; by default `<name of the model>/drift`, and without a model it has only a digest.
            columns: only these; by default all of the reference, except for labels.
            labels: column with the truth → column with the prediction, as in `{"churned": "score"}`.
            model: the model that the data is for.
            reason: why, for the audit trail.
            exact: read all rows; False: of stored tables that have a profile, compare that.
            record: whether the report is stored; by default if the store may be written.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: a side is not a table, a rule is malformed, or there is no such column.
            RefusedError: the store is read-only, and `name`, `model` or `record=True` was passed.
        """
        from artifactstore.work.monitoring.drift import drift  # noqa: PLC0415 - loads what compares tables

        return drift(
            self._session, reference, current, rules, name=name, columns=columns, labels=labels, model=model, reason=reason,
            exact=exact, record=record,
        )  # fmt: skip

    def hold(self, ref: str | Referable, reason: str, *, until: datetime | date | None = None) -> Hold:
        """Hold an artifact: it and all that it was made from cannot be removed until the hold is released.

        Args:
            ref: the artifact.
            reason: why.
            until: the hold cannot be released before; it lasts until it is released.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason, or a naive datetime.
        """
        return _holds.hold(self._session, as_reference(ref), reason, until=until)

    def release(self, hold: str | Hold, reason: str) -> None:
        """Release a hold.

        Args:
            hold: the hold, its id, or the beginning of that.
            reason: why.

        Raises:
            NotFoundError: no such hold.
            RefusedError: before its `until`.
        """
        _holds.release(self._session, hold, reason)

    def holds(self, ref: str | Referable | None = None) -> Rows[Hold]:
        """Return the holds in force, of one artifact or of all."""
        return _holds.holds(self._session, None if ref is None else as_reference(ref))

    def remove(self, ref: str | Referable, reason: str) -> Removed:
        """Remove a version, or by digest all of an artifact: a tombstone with digest, actor and reason stays.

        Args:
            ref: `NAME:v3`, or a digest.
            reason: why.

        Raises:
            RefusedError: an alias means it, it is held, or it must be kept for some days; with every reason.
            InvalidInputError: a bare name, or no reason.
            NotFoundError: no such version.
        """
        return _holds.remove(self._session, as_reference(ref), reason)

    def retention(self, rules: Any = None, *, reason: str | None = None) -> Rows[Retention]:
        """Return the retention rules in force; with rules, set those first. They only say what `expire` may remove.

        Args:
            rules: a path of a TOML file with `[[retention]]` tables, or the same as a dict or a list of dicts.
            reason: why they change; needed with rules.

        Raises:
            InvalidInputError: unknown rules, with the file's line and column; or no reason.
        """
        return _retention.retention(self._session, rules, reason=reason)

    def expire(self, *, reason: str | None = None, dry_run: bool = False) -> Expiry:
        """Remove the versions that no retention rule keeps, nothing else needs, and no alias means.

        Args:
            reason: why; not needed with `dry_run`.
            dry_run: write nothing; only report what would expire.

        Raises:
            InvalidInputError: no reason.
            RefusedError: the store is read-only.
        """
        return _retention.expire(self._session, reason=reason, dry_run=dry_run)

    def taint(self, ref: str | Referable, reason: str, *, spread: bool = True) -> Rows[Node]:
        """Mark an artifact as not to be used: `store.registry.taint("churn/raw:v3", "wrong labels, CR-77")`.

        Reads by an alias are then refused, reads by version or digest give a warning, and `latest` skips it. Taint belongs to
        the content: putting it again does not remove it.

        Args:
            ref: the artifact.
            reason: why; shown to every reader of the artifact.
            spread: also warn for artifacts that were made from it.

        Returns:
            The named artifacts that were made from it, with the aliases that point to them.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: no reason was passed, or the reference is a path in an artifact.
        """
        return mark(self._session, as_reference(ref), reason, tainted=True, spread=spread)

    def untaint(self, ref: str | Referable, reason: str) -> Rows[Node]:
        """Remove a taint; both marks stay in the audit trail.

        Args:
            ref: the artifact; a bare name is its newest version, tainted or not.
            reason: why.

        Returns:
            The named artifacts that were made from it.

        Raises:
            NotFoundError: no such artifact.
            InvalidInputError: it is not tainted, or no reason was passed.
        """
        return mark(self._session, as_reference(ref), reason, tainted=False)

    def unalias(self, name: str, alias: str, reason: str, *, expect: Any = ANY) -> None:
        """End an alias: `store.registry.unalias("churn/model", "canary", "the trial is over")`. Its history stays.

        Args:
            name: the name that it belongs to.
            alias: the alias.
            reason: why.
            expect: the number of the version that it must point to now.

        Raises:
            NotFoundError: no such name or alias.
            ConflictError: it points to another version.
            InvalidInputError: no reason was passed.
        """
        remove_alias(self._session, name, alias, reason, expect=expect)

    def anchor(self, to: Any = None, *, signer: Any = None, meaning: str | None = None, reason: str | None = None) -> "Anchor":
        """Note the end of the journal outside of it: `store.verify(anchor=…)` then finds whether history was cut or made anew.

        Args:
            to: a new JSON file, or an open store of others, where it is put as `anchors/<id of this store>`.
            signer: signs it, such as `artifactstore.signing.KeyFile("audit.pem")`.
            meaning: of the signature; `review` says that a second person has read the audit trail up to there.
            reason: why.

        Raises:
            AlreadyExistsError: the file exists.
            InvalidInputError: an unknown meaning, or an empty store.
            RefusedError: the store is read-only.
        """
        from artifactstore.work.registry.signatures.anchors import anchor  # noqa: PLC0415 - few processes note an anchor

        other = getattr(to, "put", None)
        return anchor(self._session, to if other is None else None, put=other, signer=signer, meaning=meaning, reason=reason)

    def __repr__(self) -> str:
        return f"Registry({self._session.url!r})"
