"""The plan of a clean-up: what is dead, what is left of what was condemned before, what stays. Pure: functions of values.

Rule 6 of docs/reference/protocol.md. A plan holds for exactly one state; when other entries came in between, `judge_anew`
takes out what they brought back to life. Facts name the packs of each manifest: no manifest is read here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from artifactstore.backend.base import Stored
from artifactstore.catalog.fold.lost import is_robbed
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.maintenance.gc.live import is_live, live_digests

__all__ = ["Plan", "judge_anew", "make_plan", "needed_holders", "spare_young"]


@dataclass(slots=True)
class Plan:
    """What a clean-up would condemn and delete, judged on one state.

    Attributes:
        head: the entry that it was judged on.
        by_runs: digests that only runs keep.
        manifests: manifests to condemn: id → bytes, -1 where no such object is listed.
        packs: packs to condemn, likewise.
        left_manifests: manifests that an entry has condemned and that are still listed: id → bytes.
        left_packs: packs likewise.
        orphans: listed objects that no entry names: key → (id, bytes, time by the store's clock or None).
        young: orphans that are spared: id → their time.
        spared: bytes of these.
        kept: bytes of the manifests and packs that stay.
        missing: keys of objects that must be there and are not listed.
        robbed: digests that must stay and that an entry has taken the content of: no clean-up appends such an entry.
        replaced: digests of which an earlier manifest goes, and the current one stays.
    """

    head: int
    by_runs: Collection[str] = ()
    manifests: dict[str, int] = field(default_factory=dict)
    packs: dict[str, int] = field(default_factory=dict)
    left_manifests: dict[str, int] = field(default_factory=dict)
    left_packs: dict[str, int] = field(default_factory=dict)
    orphans: dict[str, tuple[str, int, datetime | None]] = field(default_factory=dict)
    young: dict[str, datetime | None] = field(default_factory=dict)
    spared: int = 0
    kept: int = 0
    missing: list[str] = field(default_factory=list)
    robbed: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)

    @property
    def condemns(self) -> bool:
        """Whether there is something to condemn."""
        return bool(self.manifests or self.packs)

    @property
    def deletes(self) -> bool:
        """Whether there is something to delete, or an orphan that may be old enough."""
        return self.condemns or bool(self.left_manifests or self.left_packs or self.orphans)


def make_plan(state: State, list_objects: Callable[[str], Iterable[Stored]], *, by_runs: Collection[str] = ()) -> Plan:
    """Judge every manifest and pack, listed or known.

    Args:
        state: the fold; it may move on while objects are listed, and what comes then stays.
        list_objects: lists a folder of the store; called when all else is judged: what must be there was there before.
        by_runs: digests that runs alone name.
    """
    plan = Plan(state.head, by_runs)
    live = live_digests(state, by_runs)
    keep: set[str] = set()
    robbed = {*live}
    for digest, holders in state.holders.items():
        if holders and digest in live:
            robbed.discard(digest)
            keep.update(needed_holders(state, holders))
            if len(holders) > 1:
                plan.replaced.append(digest)
    condemned_manifests, condemned_packs = {*state.condemned_manifests}, {*state.condemned_packs}
    kept_packs: set[str] = set()
    excused: set[str] = set()
    expected: set[str] = set()  # packs of kept manifests of which nothing is known to be lost
    known_packs: set[str] = set()
    for manifest, (digest, _, packs) in state.manifests.items():
        if manifest in keep:
            kept_packs.update(packs)
            if not condemned_packs.isdisjoint(packs):
                robbed.add(digest)
            if manifest in state.damaged:
                excused.update((manifest, *packs))
            else:
                expected.update(packs)
        elif manifest not in condemned_manifests:
            plan.manifests[manifest] = -1
            known_packs.update(packs)
    plan.robbed = sorted(robbed)
    _judge_listed(plan, (keep, condemned_manifests, plan.manifests), state.manifests, list_objects("manifests/"), manifest_key)
    dead = dict.fromkeys(known_packs - kept_packs - condemned_packs, -1)
    _judge_listed(plan, (kept_packs, condemned_packs, dead), (), list_objects("packs/"), pack_key)
    plan.packs = {pack: size for pack, size in dead.items() if size >= 0}  # one that is not there needs no condemning
    if excused:
        absent = {*map(manifest_key, excused), *map(pack_key, excused - expected)}
        plan.missing = [key for key in plan.missing if key not in absent]
    return plan


def needed_holders(state: State, holders: Sequence[str]) -> Sequence[str]:
    """Return the manifests of an artifact that must stay: the current one, and the last one of which nothing is lost.

    If something is lost of each, all stay: a repair may bring any of them back, and needs the packs that its fact names. One
    whose packs are condemned stays only where there is no other: it cannot be read for long.
    """
    if len(holders) == 1:
        return holders
    usable = [one for one in holders if not is_robbed(state, one)] or holders
    whole = next((one for one in reversed(usable) if one not in state.damaged), None)
    if whole is None:
        return usable
    return [whole] if whole == usable[-1] else [usable[-1], whole]


def _judge_listed(
    plan: Plan,
    judged: tuple[set[str], set[str], dict[str, int]],
    new: Collection[str] | Mapping[str, Any],
    items: Iterable[Stored],
    key_of: Callable[[str], str],
) -> None:
    """Sort the objects of a folder: kept, condemned before, dead, orphans; note which of the kept ones are not listed.

    Args:
        plan: receives them.
        judged: ids that stay, that an entry has condemned, and that are dead.
        new: ids that entries behind the judged state may have brought.
        items: the listing.
        key_of: returns the key of an id.
    """
    keep, condemned, dead = judged
    lacking = {*keep}
    left = plan.left_manifests if key_of is manifest_key else plan.left_packs
    for item in items:
        one = item.key.rpartition("/")[2].partition(".")[0]
        if key_of(one) != item.key:
            continue  # no object of a store
        if one in keep:
            plan.kept += item.size
            lacking.discard(one)
        elif one in condemned:
            left[one] = item.size
        elif one in dead:
            dead[one] = item.size
        elif one not in new:
            plan.orphans[item.key] = (one, item.size, item.modified)
    plan.missing += map(key_of, sorted(lacking))


def spare_young(plan: Plan, grace: timedelta, now: datetime | None) -> None:
    """Spare the orphans that are younger than the grace; without the time, of the store or of an object, it is spared.

    Args:
        plan: changed in place.
        grace: how long uploads may go without an entry that names them.
        now: the time by the store's clock.
    """
    for key, (one, size, modified) in plan.orphans.items():
        if now is None or modified is None or now - modified < grace:
            plan.young[one] = modified
            plan.spared += size
        elif key.startswith("manifests/"):
            plan.manifests[one] = size
        else:
            plan.packs[one] = size
    plan.orphans.clear()


def judge_anew(plan: Plan, state: State, facts: Iterable[Mapping[str, Any]]) -> None:
    """Judge what is to be condemned on a later state: all that entries since then may need again stays.

    What has died since then waits for the next clean-up.

    Args:
        plan: changed in place.
        state: the fold.
        facts: those of all transactions since the state that was judged, also of void ones, and inside of received ones.
    """
    spoken: set[str] = set()
    needed: set[str] = set()  # manifests and packs
    by_runs = {*plan.by_runs}
    for fact in facts:
        digest = fact.get("digest")
        if isinstance(digest, str):
            spoken.add(digest)
            if fact["fact"] in {"used", "produced"}:
                by_runs.add(digest)
        if fact["fact"] in {"stored", "relocated"}:
            needed.update((str(fact.get("manifest") or fact.get("to")), *fact["packs"]))
    for manifest in [*plan.manifests]:
        known = state.manifests.get(manifest)
        if manifest in state.condemned_manifests:
            del plan.manifests[manifest]  # by another clean-up, which deletes it: and so does this one
        elif manifest in needed or (known is not None and known[0] in spoken and _stays(state, manifest, known[0], by_runs)):
            del plan.manifests[manifest]
            needed.update(known[2] if known is not None else ())
    plan.packs = {pack: size for pack, size in plan.packs.items() if pack not in needed and pack not in state.condemned_packs}
    plan.head = state.head


def _stays(state: State, manifest: str, digest: str, by_runs: Collection[str]) -> bool:
    holders = state.holders.get(digest, ())
    return bool(holders) and manifest in needed_holders(state, holders) and is_live(state, digest, by_runs)
