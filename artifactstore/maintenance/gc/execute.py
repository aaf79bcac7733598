"""Clean-up: judge, condemn, delete what stored entries condemn (docs/reference/protocol.md, rules 6 and 9).

Safe beside any number of writers, readers and other clean-ups, and after a kill at any moment: run it again. Deletes nothing
that no stored entry condemns, except litter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from artifactstore.backend.errors import KeptError
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.errors import ArtifactStoreError, BackendError, ConflictError, CorruptionError, NotFoundError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import entry_key, inbox_folder
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.gc.check import check_kept
from artifactstore.maintenance.gc.cleanup import Cleanup
from artifactstore.maintenance.gc.litter import Litter, clock_key, find_litter
from artifactstore.maintenance.gc.live import edge_candidates, live_digests, named_by_runs
from artifactstore.maintenance.gc.plan import Plan, judge_anew, make_plan, spare_young
from artifactstore.maintenance.gc.why import Why

__all__ = ["collect"]

_BATCH: Final = 20_000  # ids that one entry condemns: below the size from which facts get an object of their own
_TRIES: Final = 100  # lost races in a row
_DELETED: Final = 10_000  # objects that are deleted between two looks at what failed


class _LostRaceError(Exception):
    """Another entry came first: what was judged must be judged anew."""


@dataclass(slots=True)
class _Outcome:
    """What was deleted, and what was not.

    Attributes:
        gone: bytes of what was deleted.
        failed: key → error.
    """

    gone: int = 0
    failed: dict[str, ArtifactStoreError] = field(default_factory=dict)


def collect(journal: Journal, appender: Appender, *, dry_run: bool, grace: timedelta, reason: str | None = None) -> Cleanup:
    """Free what nothing needs, or with `dry_run` report what would be freed.

    Args:
        journal: the store's, folded from the entries themselves and not from a published snapshot.
        appender: of the same journal.
        dry_run: write and delete nothing.
        grace: how long an upload may go without an entry that names it.
        reason: recorded with what is condemned.

    Raises:
        CorruptionError: the journal is damaged, or something that must stay is missing or cannot be read; nothing was condemned.
        FormatError: a newer version wrote here; nothing was condemned.
        RefusedError: the store has moved, or these credentials may not delete, or the storage keeps objects; names what is left.
        ConflictError: other writers were first again and again.
        BackendError: the backend failed; run it again.
    """
    return _Collection(journal, appender, dry_run=dry_run, grace=grace, reason=reason).run()


class _Collection:
    """One clean-up."""

    def __init__(self, journal: Journal, appender: Appender, *, dry_run: bool, grace: timedelta, reason: str | None) -> None:
        self._journal = journal
        self._backend = journal.backend
        self._appender = appender
        self._dry_run = dry_run
        self._grace = grace
        self._reason = reason

    @property
    def _state(self) -> State:
        state: State = self._journal.fold
        return state

    def run(self) -> Cleanup:
        plan, now = self._judge()
        litter = find_litter(self._journal, self._grace, now, plan.head)
        why = Why(self._state, plan, litter)
        if self._dry_run:
            return _cleanup(plan, litter, why, dry_run=True)
        judged = self._condemn(plan)
        outcome = self._delete(plan, litter)
        if outcome.failed:
            raise _left(outcome, self._backend.url)
        plan.head = judged
        return _cleanup(plan, litter, why, dry_run=False)

    # -- judging

    def _judge(self) -> tuple[Plan, datetime | None]:
        """Return the plan, checked, and the time by the store's clock."""
        while True:
            self._journal.catch_up(confirm=True)
            _refuse_if_moved(self._state, self._backend.url)
            plan = make_plan(self._state, self._backend.list, by_runs=self._by_runs())
            if plan.robbed:
                raise self._robbed(plan.robbed[0])
            if self._lacks(plan):
                continue
            now = self._now(plan)
            spare_young(plan, self._grace, now)
            try:
                if plan.condemns:
                    check_kept(self._journal, self._state, plan)
            except CorruptionError as error:
                if self._was_condemned(error.location):
                    continue
                raise
            return plan, now

    def _by_runs(self) -> set[str]:
        candidates = edge_candidates(self._state, live_digests(self._state)) if self._state.edges else set()
        return named_by_runs(candidates, _effective(self._journal)) if candidates else set()

    def _robbed(self, digest: str) -> CorruptionError:
        """Return the error for an entry that condemns what must stay: whoever appended it may not be able to delete, a clean-up is."""
        state = self._state
        seqs = [
            state.condemned_manifests.get(one) or max((state.condemned_packs.get(pack, 0) for pack in packs), default=0)
            for one, (held, _, packs) in state.manifests.items()
            if held == digest
        ]
        rows = state.versions_by_digest.get(digest)
        what = f"{rows[-1][0]}:v{rows[-1][1]}" if rows else digest
        return CorruptionError(
            f"{entry_key(max(seqs, default=0))} condemns content that {what} needs: no clean-up does that. Nothing was deleted; find "
            f"out who appended it (`artifactstore log`), then put the content again, which stores it anew, or remove {what}",
            digest=digest,
            location=entry_key(max(seqs, default=0)),
        )

    def _lacks(self, plan: Plan) -> bool:
        """Return whether objects that must be there are missing because another clean-up has condemned them since.

        Raises:
            CorruptionError: they must be there and are not.
        """
        for key in plan.missing[:_TRIES]:
            try:
                self._backend.size(key)
            except NotFoundError:
                if self._was_condemned(key):
                    return True
                raise CorruptionError(
                    f"{key} is missing, but the journal names it ({Why(self._state, plan, Litter())(key)}): nothing was condemned or "
                    "deleted. Restore it from a copy of the store, or remove what needs it",
                    location=key,
                ) from None
        return False

    def _was_condemned(self, key: str) -> bool:
        """Return whether an entry has condemned an object, also one that came since the plan: then it may be gone."""
        self._journal.catch_up()
        one = key.rpartition("/")[2].partition(".")[0]
        return one in self._state.condemned_manifests or one in self._state.condemned_packs

    def _now(self, plan: Plan) -> datetime | None:
        """Return the time by the store's own clock; find out by the way whether these credentials may delete.

        Raises:
            RefusedError: they may not.
        """
        if self._dry_run:
            return self._backend.storage_time() or self._backend.storage_time(fresh=True)
        if not plan.deletes:
            return self._backend.storage_time()
        key = clock_key(plan.head)
        try:
            self._backend.create(key, b"clock")  # as all keys below journal/ are: some buckets allow nothing else there
        except BackendError as failure:
            if not failure.transient:
                raise
        now = next((item.modified for item in self._backend.list(inbox_folder(plan.head)) if item.key == key), None)
        error = self._backend.delete_many([key]).get(key)
        if error is not None and not isinstance(error, KeptError) and not _is_transient(error):
            raise RefusedError(
                f"cannot delete in {self._backend.url}: nothing was condemned or deleted, and {key} is left there. {error}",
                reasons=(str(error),),
            ) from error
        return now

    # -- condemning

    def _condemn(self, plan: Plan) -> int:
        """Append what is condemned, in as many entries as it takes: manifests before the packs that they refer to.

        Returns:
            The entry that it was last judged on.
        """
        manifests, packs = dict[str, int](), dict[str, int]()  # condemned so far
        lost, judged = 0, plan.head
        while plan.condemns:
            fact = _next_fact(plan)
            try:
                done = self._appender.commit(
                    [fact], birth=plan.head, alive_at=plan.head, refuse=self._refuse, reason=self._reason
                )
            except _LostRaceError as error:
                lost += 1
                if lost > _TRIES:
                    raise ConflictError(
                        f"other writers appended to {self._backend.url} first, {_TRIES} times in a row: nothing more was condemned or "
                        "deleted; run it again"
                    ) from error
                self._judge_anew(plan)
                judged = plan.head
                continue
            lost = 0
            manifests |= {one: plan.manifests.pop(one) for one in fact["manifests"]}
            packs |= {one: plan.packs.pop(one) for one in fact["packs"]}
            plan.head = done.seq
        plan.manifests, plan.packs = manifests, packs
        return judged

    def _judge_anew(self, plan: Plan) -> None:
        """Judge the rest of the plan on the state at the head."""
        journal = self._journal
        journal.catch_up(confirm=True)
        with journal.lock:
            _refuse_if_moved(self._state, self._backend.url)
            entries = journal.entries(plan.head + 1, self._state.head)
            judge_anew(plan, self._state, (fact for entry in entries for txn in entry["txns"] for fact in _all(txn["facts"])))

    def _refuse(self, void: Any) -> Exception:
        if void.code == "moved":
            return RefusedError(f"{void.text}: nothing was condemned; clean up there")
        return _LostRaceError(str(void))

    # -- deleting

    def _delete(self, plan: Plan, litter: Litter) -> _Outcome:
        """Delete what was listed and is condemned by stored entries, then litter."""
        # An entry that was just appended counts only once its bytes were read again.
        if plan.condemns or plan.left_manifests or plan.left_packs:
            self._journal.catch_up(confirm=True)
        outcome = _Outcome()
        state = self._state
        manifests, packs = plan.left_manifests | plan.manifests, plan.left_packs | plan.packs
        sizes = {manifest_key(one): size for one, size in manifests.items() if size >= 0 and one in state.condemned_manifests}
        sizes |= {pack_key(one): size for one, size in packs.items() if one in state.condemned_packs}
        for keys in _grouped({**sizes, **litter.sizes}):
            failed = self._backend.delete_many(keys)
            outcome.failed |= failed
            outcome.gone += sum(sizes.get(key, 0) + litter.sizes.get(key, 0) for key in keys if key not in failed)
        return outcome


def _next_fact(plan: Plan) -> dict[str, Any]:
    manifests = [*islice(plan.manifests, _BATCH)]
    room = _BATCH - len(manifests) if len(manifests) == len(plan.manifests) else 0
    return {"fact": "condemned", "manifests": sorted(manifests), "packs": sorted(islice(plan.packs, room))}


def _grouped(sizes: dict[str, int]) -> Iterator[list[str]]:
    keys = iter(sizes)
    while some := [*islice(keys, _DELETED)]:
        yield some


def _all(facts: Sequence[Any]) -> Iterator[Any]:
    for fact in facts:
        yield fact
        if fact["fact"] == "received":
            yield from fact["facts"]


def _effective(journal: Journal) -> Iterator[Any]:
    """Yield the transactions of the whole journal that take effect."""
    state = State(journal.config.store)
    for entry in journal.entries():
        for txn, void in zip(entry["txns"], state.apply(entry), strict=True):
            if void is None:
                yield txn


def _refuse_if_moved(state: State, url: str) -> None:
    if state.header["moved_to"] is not None:
        raise RefusedError(f"the store at {url} has moved to {state.header['moved_to']}: clean up there")


def _is_transient(error: ArtifactStoreError) -> bool:
    return isinstance(error, BackendError) and error.transient


def _cleanup(plan: Plan, litter: Litter, why: Why, *, dry_run: bool) -> Cleanup:
    manifests, packs = plan.left_manifests | plan.manifests, plan.left_packs | plan.packs
    return Cleanup(
        manifests=tuple(sorted(manifests)),
        packs=tuple(sorted(packs)),
        litter=tuple(sorted(litter.sizes)),
        bytes=sum(size for size in manifests.values() if size > 0) + sum(packs.values()) + sum(litter.sizes.values()),
        kept=plan.kept,
        spared=plan.spared,
        head=plan.head,
        dry_run=dry_run,
        _why=why,
    )


def _left(outcome: _Outcome, url: str) -> ArtifactStoreError:
    """Return the error for what could not be deleted."""
    failed = outcome.failed
    first = next(iter(failed.values()))
    text = f"{len(failed):,} objects of {url} could not be deleted, {outcome.gone:,} bytes were freed"
    if all(_is_transient(error) for error in failed.values()):
        return BackendError(f"{text}: run it again. The first error was: {first}", transient=True)
    reasons = tuple(dict.fromkeys(str(error) for error in islice((e for e in failed.values() if not _is_transient(e)), 10)))
    return RefusedError(
        f"{text}. They are condemned, no reader needs them, and the next clean-up tries again. The first error was: {reasons[0]}",
        reasons=reasons,
    )
