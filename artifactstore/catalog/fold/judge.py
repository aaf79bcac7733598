"""The void rules of the protocol: whether a transaction takes effect, as a pure function.

Each rule was once missing from a model, which then lost data or reported false history (docs/reference/format.md, "The fold").
The texts of voids are part of the state that snapshots publish: changing one makes earlier snapshots differ from the fold.
"""

from collections.abc import Container, Iterable, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from artifactstore.catalog.fold.received import LAYOUT, is_own, subject
from artifactstore.catalog.gates.conditions import Case
from artifactstore.catalog.gates.recorded import why_refused
from artifactstore.catalog.gates.rules import is_gate
from artifactstore.catalog.retention import is_retention, too_young
from artifactstore.model.facts import WINDOW, Fact
from artifactstore.runtime.records import dataclass

if TYPE_CHECKING:
    from artifactstore.model.schema import Txn

__all__ = ["Facts", "Void", "holds_on", "judge", "versions_after"]

# Facts that name a digest whose bytes must exist; facts that only refer to one (used, measured, tainted …) need none.
_NEEDS_HOLDER: Final = frozenset({"versioned", "aliased", "held", "produced"})
_REFERS: Final = _NEEDS_HOLDER | {"stored", "relocated"}
_ALONE: Final = frozenset({"condemned", "moved_to"})
_LATER: Final = frozenset({"released", "gated", "retained"})
_JUDGED: Final = _NEEDS_HOLDER | _LATER | {"stored", "relocated", "removed", "started", "received"}  # others break no rule

Why = Literal[
    "twice",
    "window",
    "base",
    "alone",
    "moved",
    "condemned",
    "reused",
    "holder",
    "expect",
    "missing",
    "held",
    "current",
    "run",
    "format",
    "received",
    "gate",
    "retained",
]


@dataclass(frozen=True, slots=True)
class Void:
    """The reason why a transaction has no effect.

    Attributes:
        code: the rule, as a stable code.
        text: the reason in words.
        fact: the fact that broke the rule, if any.
    """

    code: Why
    text: str
    fact: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Facts(Protocol):
    """The part of the state that the rules read."""

    header: dict[str, Any]
    verdicts: dict[str, Any]
    holders: MutableMapping[str, list[str]]
    manifests: MutableMapping[str, list[Any]]
    condemned_manifests: dict[str, int]
    condemned_packs: dict[str, int]
    names: MutableMapping[str, list[dict[str, Any]]]
    aliases: dict[str, dict[str, list[dict[str, Any]]]]
    holds: dict[str, dict[str, Any]]
    retention: dict[str, list[dict[str, Any]]]
    gates: dict[str, dict[str, list[dict[str, Any]]]]
    runs: MutableMapping[str, dict[str, Any]]
    edges: MutableMapping[str, list[dict[str, Any]]]
    used_by_runs: MutableMapping[str, list[str]]
    received: dict[str, dict[str, int]]
    versions_by_digest: MutableMapping[str, list[list[Any]]]

    def version_of(self, fact: Mapping[str, Any]) -> int | None:
        """Return the number of the version that a fact names."""


def judge(state: Facts, txn: "Txn", seq: int, *, alone: bool, time: str) -> Void | None:
    """Return why `txn` in entry `seq` is void on this state, or None if it takes effect.

    Args:
        state: the state before it.
        txn: the transaction, with its facts.
        seq: the number of its entry.
        alone: whether it is the only transaction of its entry.
        time: of its entry.
    """
    found = state.verdicts.get(txn["txn"])
    if found is not None and found[1] is None:
        return Void("twice", f"it took effect in entry {found[0]}")
    if not txn["birth"] < seq <= txn["birth"] + WINDOW:
        return Void("window", f"born at {txn['birth']}, it could count in the {WINDOW} entries after that, not in {seq}")
    if not txn["birth"] <= txn["base"] < seq:
        return Void("base", f"its base {txn['base']} is not between its birth and its entry")
    if txn["base"] < state.header["condemned"]:
        return Void(
            "base", f"its references were last checked at {txn['base']}, before entry {state.header['condemned']} condemned some"
        )
    if state.header["moved_to"] is not None:
        return Void("moved", f"the store has moved to {state.header['moved_to']}")
    facts = txn["facts"]
    kinds = [fact["fact"] for fact in facts]
    if not _ALONE.isdisjoint(kinds):
        if not alone:
            return Void("alone", "a clean-up or a move must be alone in its entry")
        if txn["base"] != seq - 1:
            return Void("alone", "a clean-up or a move must be judged on exactly the state before it")
        # Facts are judged on the state before the transaction: one that refers to something would not see it condemned.
        if any(fact["fact"] in _REFERS for fact in facts):
            return Void("alone", "a clean-up or a move refers to nothing that it could take away")
    own: dict[str, str] = {}  # stored by this txn itself: digest → manifest, and manifest → digest
    new: dict[str, list[str]] = {}  # digests of the versions it has created so far, by name
    freed: set[str] = set()  # holds that it has released so far
    for kind, fact in zip(kinds, facts, strict=True):
        if kind not in _JUDGED:
            continue
        if kind == "received":
            void = _judge_received(state, fact, own, new, freed, time=time)
        elif kind in _LATER:
            void = _judge_later(state, fact, freed, time)
        else:
            void = _judge_fact(state, fact, own, new, freed)
            if void is None and kind == "aliased" and fact["alias"] in state.gates:
                void = _judge_gates(state, fact, time, fact.get("reason", txn.get("reason")))
            elif void is None and kind == "removed" and state.retention:
                void = _judge_retention(state, fact, time)
        if void is not None:
            return void
        if kind == "stored":
            own[fact["digest"]], own[fact["manifest"]] = fact["manifest"], fact["digest"]
        elif kind == "versioned" and fact["name"] is not None:
            new.setdefault(fact["name"], []).append(fact["digest"])
    return None


def _judge_later(state: Facts, fact: Fact, freed: set[str], time: str) -> Void | None:
    """Judge releases of holds, and rules."""
    kind = fact["fact"]
    if kind == "gated":
        return None if fact["rules"] is None or is_gate(fact["rules"]) else Void("gate", "its rules cannot be judged", fact)
    if kind == "retained":
        return None if fact["rules"] is None or is_retention(fact["rules"]) else Void("gate", "its rules mean nothing", fact)
    keys = [key for key in (fact["hold"], f"received/{fact['hold']}") if key in state.holds]
    if not keys:
        return Void("missing", f"there is no hold {fact['hold']}", fact)
    row = state.holds[keys[0]]
    if isinstance(row.get("until"), str) and time < row["until"]:
        return Void("held", f"the hold {fact['hold']} lasts until {row['until']}: it cannot be released before", fact)
    freed.update(keys)
    return None


def _judge_gates(state: Facts, fact: Fact, time: str, reason: Any) -> Void | None:
    """A gated alias moves by its gates' leave alone."""
    if fact.get("version") is None and "digest" not in fact:
        return None  # it ends
    number = state.version_of(fact)
    case = None
    if number is not None:
        digest = state.names[fact["name"]][number - 1]["digest"]
        case = Case(fact["name"], number, digest, fact["alias"], time, reason if isinstance(reason, str) else None)
    why = why_refused(state, fact, case)
    return None if why is None else Void("gate", why, fact)


def _judge_retention(state: Facts, fact: Fact, time: str, *, received: bool = False) -> Void | None:
    """A version is not removed before its name's rules allow it, neither here nor because another store did."""
    targets: list[tuple[str, int]]
    if "name" in fact:
        number = state.version_of(fact)
        targets = [] if number is None else [(fact["name"], number)]
    else:
        found = () if received else state.versions_by_digest.get(fact["digest"], ())  # a received removal names each version
        targets = [(name, number) for name, number, _ in found]
    for name, number in targets:
        row = state.names[name][number - 1]
        stays = "removed" in row or (received and is_own(row))  # nothing is removed
        if not stays and (days := too_young(state, name, number, time)) is not None:
            return Void("retained", f"{name}:v{number} must be kept for {days} days", fact)
    return None


def _judge_fact(
    state: Facts, fact: Fact, own: Mapping[str, str], new: dict[str, list[str]], freed: Container[str]
) -> Void | None:
    kind = fact["fact"]
    if kind == "stored":
        void = _not_reused(state, fact["manifest"], fact, own)
        if void is None and state.header["condemned"]:
            void = _not_condemned(state, [fact["manifest"]], fact["packs"], fact)
        return void
    if kind == "versioned" and "expect" in fact and (void := _version_follows(state, fact, new)) is not None:
        return void
    if kind == "aliased" and (void := _alias_moves(state, fact, new)) is not None:
        return void
    if kind in _NEEDS_HOLDER:
        digest = fact.get("digest")
        if digest is None:
            versions = state.names.get(fact.get("name", ""), [])
            number = fact.get("version")
            digest = versions[number - 1]["digest"] if number is not None and 1 <= number <= len(versions) else None
        if digest is not None and digest not in own and not state.holders.get(digest):
            return Void("holder", f"no manifest holds {digest}", fact)
        return None
    if kind == "relocated":
        holders = state.holders.get(fact["digest"])
        if not holders or holders[-1] != fact["from"]:
            return Void("current", f"{fact['from']} is not what currently holds {fact['digest']}", fact)
        void = _not_reused(state, fact["to"], fact, own)
        return void or _not_condemned(state, [fact["to"]], fact["packs"], fact)
    if kind == "removed":
        return _not_held(state, fact, new, freed)
    if kind == "started":
        run = state.runs.get(fact["run"])
        return Void("run", f"the run {fact['run']!r} has finished", fact) if run is not None and "status" in run else None
    return None


def _judge_received(
    state: Facts, fact: Fact, own: Mapping[str, str], new: dict[str, list[str]], freed: set[str], *, time: str
) -> Void | None:
    """Another store's facts count once, on exactly the history they were planned for, and only with their content."""
    known = state.received.get(fact["store"], {})
    for name, expected in fact.get("expect", {}).items():
        found = len(state.names.get(name, ())), sum(map(len, state.aliases.get(name, {}).values()))
        if found != (expected["versions"], expected["moves"]):
            text = f"{name} was expected to have {expected['versions']} versions and {expected['moves']} moves of aliases"
            return Void("expect", f"{text}, and has {found[0]} and {found[1]}", fact)
    for inner in fact["facts"]:
        kind = inner.get("fact")
        if kind in LAYOUT or kind == "received":
            continue
        if known.get(subject(inner), 0) >= fact["seq"]:
            return Void("received", f"what entry {fact['seq']} of the store {fact['store']} says was received before", inner)
        if kind in {"versioned", "held"}:
            digest = inner["digest"]
            missing = digest not in own and not state.holders.get(digest)
            if missing and not (kind == "versioned" and digest in fact.get("gone", ())):
                return Void("holder", f"no manifest holds {digest}", inner)
        if kind == "versioned" and inner["name"] is not None:
            new.setdefault(inner["name"], []).append(inner["digest"])
        elif kind == "released":
            freed.add(f"received/{inner['hold']}")
        elif kind == "removed":
            # Only local holds and rules are checked: a removal may name a version that is not here (yet).
            void = _not_held(state, inner, new, freed)
            if void is None and state.retention:
                void = _judge_retention(state, inner, time, received=True)
            if void is not None and void.code == "missing" and inner.get("digest") in new.get(inner.get("name", ""), ()):
                void = _not_held(state, {"digest": inner["digest"]}, new, freed)
            if void is not None and void.code != "missing":
                return Void(void.code, void.text, inner)
    return None


def _not_reused(state: Facts, manifest: str, fact: Fact, own: Mapping[str, str]) -> Void | None:
    """A manifest holds one digest: with two, condemning it for one would lose the bytes of the other."""
    known = state.manifests.get(manifest)
    holds = own.get(manifest) if known is None else known[0]
    if holds is not None and holds != fact["digest"]:
        return Void("reused", f"the manifest {manifest} already holds {holds}", fact)
    return None


def _not_condemned(state: Facts, manifests: Iterable[str], packs: Iterable[str], fact: Fact) -> Void | None:
    for one in manifests:
        if one in state.condemned_manifests:
            return Void("condemned", f"the manifest {one} was condemned by entry {state.condemned_manifests[one]}", fact)
    for one in packs:
        if one in state.condemned_packs:
            return Void("condemned", f"the pack {one} was condemned by entry {state.condemned_packs[one]}", fact)
    return None


def _alias_moves(state: Facts, fact: Fact, new: Mapping[str, list[str]]) -> Void | None:
    name, alias = fact["name"], fact["alias"]
    moves = state.aliases.get(name, {}).get(alias, [])
    holder = moves[-1]["version"] if moves else None
    if "expect" in fact and fact["expect"] != holder:
        last = moves[-1] if moves else None
        at = "nothing" if last is None else f"v{holder}, moved there in entry {last['seq']} by {last['actor']} at {last['time']}"
        expected = "to be new" if fact["expect"] is None else f"at v{fact['expect']}"
        return Void("expect", f"{name}:{alias} was expected {expected}, and is at {at}", fact)
    if fact.get("version") is None and "digest" not in fact:
        return None
    if fact.get("version") is None and fact["digest"] in new.get(name, ()):
        return None
    number = state.version_of(fact)
    if number is None:
        return Void("missing", f"{name} has no version {fact.get('version', fact.get('digest'))}", fact)
    if "removed" in state.names[name][number - 1]:
        return Void("missing", f"{name}:v{number} was removed in entry {state.names[name][number - 1]['removed']['seq']}", fact)
    return None


def _version_follows(state: Facts, fact: Fact, new: Mapping[str, list[str]]) -> Void | None:
    """A version that was made out of the newest one is void where that is not the newest any more."""
    expected, name = fact["expect"], fact["name"]
    if type(expected) is not int or name is None:
        return None
    rows = state.names.get(name, [])
    count = versions_after(rows, new.get(name, ()))
    if count == expected:
        return None
    return Void("expect", f"{name} was expected to have {expected} versions, and has {count}", fact)


def versions_after(rows: Sequence[Mapping[str, Any]], new: Iterable[str]) -> int:
    """Return how many versions a name has after these digests became its next ones: one that is the newest already is none."""
    count = len(rows)
    last = rows[-1]["digest"] if rows and "removed" not in rows[-1] else None
    for digest in new:
        count, last = count + (digest != last), digest
    return count


def _not_held(state: Facts, fact: Fact, new: Mapping[str, list[str]], freed: Container[str] = frozenset()) -> Void | None:
    """A removal is void while its target, or anything made from it, is held."""
    if "name" in fact:
        number = state.version_of(fact)
        if number is not None:
            digest = state.names[fact["name"]][number - 1]["digest"]
        elif fact.get("version") is None and fact.get("digest") in new.get(fact["name"], ()):
            digest = fact["digest"]
        else:
            return Void("missing", f"{fact['name']} has no such version to remove", fact)
    else:
        digest = fact["digest"]
    for hold, one in holds_on(state, digest).items():
        if hold not in freed:
            return Void("held", f"{one} is held ({hold})" + ("" if one == digest else f" and was made from {digest}"), fact)
    return None


def holds_on(state: Facts, digest: str) -> dict[str, str]:
    """Return the holds that prevent a digest's removal: on it or on anything made from it, each with its digest, sorted."""
    if not state.holds:
        return {}
    held: dict[str, list[str]] = {}
    for hold, row in state.holds.items():
        held.setdefault(row["digest"], []).append(hold)
    found: dict[str, str] = {}
    seen, runs, todo = {digest}, set[str](), [digest]
    while todo:
        one = todo.pop()
        found |= dict.fromkeys(held.get(one, ()), one)
        for run in state.used_by_runs.get(one, ()):
            if run in runs:
                continue
            runs.add(run)
            for edge in state.edges.get(run, ()):
                if edge["fact"] == "produced" and edge["digest"] not in seen:
                    seen.add(edge["digest"])
                    todo.append(edge["digest"])
    # In a fixed order: a cached or trial state may order its tables differently, and every fold must give the same text.
    return dict(sorted(found.items()))
