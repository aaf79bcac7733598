"""Receiving: what of another store's history is taken in, in which order, under which names. Pure: states in, steps out.

A step is what one entry of the source says, as `received` facts for the target, with the digests whose content must be
there first. What stands in the target already is left out, so the same source gives nothing the second time. What a
store has said itself stands above what it is told (catalog.received): where both can't stand, the source's is left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.judge import held_by
from artifactstore.catalog.received import LAYOUT, is_own, subject
from artifactstore.catalog.state import State
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.maintenance.histories import Histories, Row, common_prefix
from artifactstore.maintenance.sync import LeftOut
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Fact
from artifactstore.model.reference import check_alias, check_name

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["Receiver", "Step", "Wish"]

_MARKS: Final = frozenset({"measured", "tainted", "cleared", "approved"})
_RUNS: Final = frozenset({"started", "finished", "used", "produced"})  # but for `measured` of a run
_HISTORY: Final = frozenset({"versioned", "aliased", "removed"})  # counted: what is here of a name is known without its origin
_LONGEST_RUN: Final = 100  # characters of a run's id


@dataclass(frozen=True, slots=True)
class Wish:
    """What the caller wants to be taken in.

    Attributes:
        names: patterns of names; None for everything.
        rename: whether what can't stand under its name comes as `<name>.from-<label>`.
        label: the word that tells where it came from.
    """

    names: tuple[str, ...] | None = None
    rename: bool = False
    label: str = ""

    @classmethod
    def checked(cls, names: Any, on_conflict: Any, label: Any, store: str) -> "Wish":
        """Read what a caller said.

        Raises:
            InvalidInputError: no patterns, an unknown way with conflicts, a label that can't be part of a name.
        """
        if names is not None and (
            isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(one, str) and one for one in names)
        ):
            raise InvalidInputError(f"names={names!r}: a list of names or patterns, for example ['churn/*']")
        if on_conflict not in {"leave", "rename"}:
            raise InvalidInputError(f"on_conflict={on_conflict!r}: 'leave' or 'rename'")
        if label is not None:
            try:
                check_alias(label)
            except InvalidInputError as error:
                raise InvalidInputError(f"label={label!r}: letters, digits, '.', '_' and '-'") from error
        chosen = None if names is None else tuple(names)
        if chosen == ():
            raise InvalidInputError("names=[] would take nothing in: leave it out for everything")
        return cls(chosen, on_conflict == "rename", label or store[:8])

    def wants(self, name: str) -> bool:
        """Tell whether a name is wanted."""
        return self.names is None or any(fnmatchcase(name, pattern) for pattern in self.names)


@dataclass(slots=True)
class Step:
    """What one entry of the source gives.

    Attributes:
        seq: its number there.
        facts: `received` facts.
        content: digests that the target must hold, each with the name here that it belongs to.
        expect: name here → how many versions and moves it has before this step.
    """

    seq: int
    facts: list[Fact] = field(default_factory=list)
    content: dict[str, str | None] = field(default_factory=dict)
    expect: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Voice:
    """Who says something.

    Attributes:
        said: the fields of the `received` fact that passes it on.
        own: whether the source says it itself, and was not told it.
        gone: digests whose content never came to the source.
    """

    said: Fact
    own: bool = True
    gone: Sequence[str] = ()

    @property
    def store(self) -> str:
        """The id of the store that said it first."""
        return str(self.said["store"])

    @property
    def seq(self) -> int:
        """Its entry there."""
        return int(self.said["seq"])


class Receiver:
    """Decides what one store takes from another, as both are now; `steps` then goes through the source's entries.

    Attributes:
        left_out: what is not received, and why.
        names: name there → name here, of all that is received.
        wanted: digests whose content comes if it isn't here.
    """

    def __init__(self, there: State, here: State, *, source: str, target: str, wish: Wish) -> None:
        """Decide.

        Args:
            there: the source's state; only looked at in this call.
            here: the target's state; only looked at in this call.
            source: the source's store id.
            target: the target's.
            wish: what is wanted.

        Raises:
            NotFoundError: a pattern that no name of the source matches.
        """
        self._source, self._target, self._wish = source, target, wish
        self.left_out: list[LeftOut] = []
        self.names: dict[str, str] = {}
        self._plan = Histories.of(here)
        self._stopped: set[str] = set()
        self._aliases_left: set[tuple[str, str]] = set()
        self._renamed = {store: dict(names) for store, names in here.renamed.items()}
        self._progress = {store: dict(done) for store, done in here.received.items()}
        self._own_runs = {run for run, row in here.runs.items() if is_own(row)}
        self._runs: dict[str, str | None] = {}
        self._unnamed_here = {digest for digest, row in here.unnamed.items() if not is_own(row)}
        self._holds_here = {hold for hold in here.holds if hold.startswith("received/")}
        self._there = Histories()  # the source, as far as its entries were gone through
        self._step = Step(0)  # the one that is being made
        self._choose(there)
        removed = {row["digest"] for name in self.names for row in there.names[name] if "removed" in row}
        self._held = {digest: found for digest in sorted(removed) if (found := held_by(here, digest)) is not None}
        self._choose_content(there)

    # -- deciding

    def _choose(self, there: State) -> None:
        for pattern in self._wish.names or ():
            if not any(fnmatchcase(name, pattern) for name in there.names):
                raise NotFoundError(f"no name of the source matches {pattern!r}; it has {len(there.names)} names")
        source = Histories.of(there)
        for name in sorted(there.names):
            if not self._wish.wants(name):
                continue
            mine, why = self._name_here(name, there, source)
            if mine is None:
                self.left_out.append(LeftOut(name, why))
                continue
            self.names[name] = mine
            for alias, moves in sorted(source.moves.get(name, {}).items()):
                if not common_prefix(moves, self._plan.moves.get(mine, {}).get(alias, [])):
                    self._aliases_left.add((name, alias))
                    self.left_out.append(LeftOut(f"{mine}:{alias}", "the alias was moved here, and otherwise there"))

    def _name_here(self, name: str, there: State, source: Histories) -> tuple[str | None, str]:
        """Find the name under which a name's history can go on here: the one of last time, its own, or a new one."""
        theirs = [row.digest for row in source.rows[name]]
        first = there.names[name][0]
        known = self._renamed.get(first.get("from", self._source), {}).get(name)
        known = self._renamed.get(self._source, {}).get(name, known)
        fresh = f"{name}.from-{self._wish.label}"
        why = ""
        for one in dict.fromkeys([known or name, *([fresh] if self._wish.rename else [])]):
            try:
                check_name(one)
            except InvalidInputError as error:
                return None, str(error)
            ours = [row.digest for row in self._plan.rows.get(one, [])]
            taken = one in self.names.values()
            if common_prefix(theirs, ours) and not taken:
                return one, ""
            if not why:
                k = next((k for k, (a, b) in enumerate(zip(theirs, ours, strict=False), 1) if a != b), 1)
                why = f"{one}:v{k} is another artifact here than there: on_conflict='rename' brings it as {fresh}"
                if self._wish.rename:
                    why = f"{one}:v{k} is another artifact here than there, and {fresh} is taken too: choose another label"
        return None, why

    def _choose_content(self, there: State) -> None:
        rows = [row for name in self.names for row in there.names[name]]
        live = {row["digest"] for row in rows if "removed" not in row}
        self._digests = None if self._wish.names is None else {row["digest"] for row in rows}
        self._unnamed = set(there.unnamed) if self._wish.names is None else set()
        held = {digest for digest in there.holds.values() if self._about(digest) and there.alive(digest)}
        self._active = {hold.rpartition("/")[2] for hold, digest in there.holds.items() if digest in held}
        self.wanted = live | self._unnamed | held
        self._wanted_runs = (
            None
            if self._digests is None
            else {run for digest, runs in there.produced_by.items() if digest in self._digests for run in runs}
        )

    def _about(self, digest: str) -> bool:
        return self._digests is None or digest in self._digests

    def _leave(self, what: str, why: str) -> None:
        found = LeftOut(what, why)
        if found not in self.left_out:
            self.left_out.append(found)

    def _stop(self, name: str, why: str) -> None:
        """Take nothing more of a name: what follows would not stand on what is here."""
        self._stopped.add(name)
        self._leave(name, why)

    # -- going through the source's entries

    def steps(self, entries: "Iterable[tuple[Entry, Digest]]") -> Iterator[Step]:
        """Yield what each entry gives, from entry 1 on; entries that give nothing give no step. To be called once.

        Args:
            entries: of the source, each with the digest of its bytes, up to the head of the state that was handed in.
        """
        judge = State()
        for entry, digest in entries:
            outcomes = judge.apply(entry)
            self._step = Step(entry["seq"])
            where = {"seq": entry["seq"], "entry": str(digest)}
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                if void is None:
                    self._take(txn, where, judge.marks["time"])
            if self._step.facts:
                yield self._step

    def _take(self, txn: "Txn", where: Mapping[str, Any], time: str) -> None:
        record: Mapping[str, Any] = txn
        said: Fact = {"fact": "received", "store": self._source, **where, "time": time}
        said |= {key: record[key] for key in ("txn", "actor", "identity", "host", "tool", "reason") if key in record}
        facts: list[Fact] = []
        for fact in txn["facts"]:
            if fact["fact"] != "received":
                facts.append(fact)
                continue
            self._give(_Voice(said), facts)
            facts = []
            passed = {key: value for key, value in fact.items() if key not in {"facts", "gone", "expect", "renamed"}}
            passed["via"] = [*fact.get("via", ()), {"store": self._source, **where}]
            self._give(_Voice(passed, own=False, gone=fact.get("gone", ())), fact["facts"])
        self._give(_Voice(said), facts)

    def _give(self, voice: _Voice, facts: Sequence[Fact]) -> None:
        """Add what one voice says to the step."""
        found: list[Fact] = []
        renamed: dict[str, str] = {}
        for fact in facts:
            if fact["fact"] in LAYOUT or fact["fact"] == "received":
                continue
            for one in self._convert(fact, voice):
                found.append(one)
                _note_renaming(fact, one, renamed)
        if not found:
            return
        lacking = sorted({one["digest"] for one in found if one["fact"] == "versioned"} - self.wanted)
        more = {**({"gone": lacking} if lacking else {}), **({"renamed": renamed} if renamed else {})}
        self._step.facts.append({**voice.said, **more, "facts": found})

    def _known(self, voice: _Voice, fact: Fact) -> bool:
        """Tell whether this was received before."""
        return self._progress.get(voice.store, {}).get(subject(fact), 0) >= voice.seq

    def _convert(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        """Yield what the target is to be told of one fact."""
        kind, name = fact["fact"], fact.get("name")
        if voice.store == self._target and kind not in _HISTORY and (name is None or self.names.get(name, name) == name):
            return  # this store has said it itself
        if kind == "versioned":
            yield from self._versioned(fact, voice)
        elif kind == "removed":
            yield from self._removed(fact, voice)
        elif kind == "aliased":
            yield from self._aliased(fact, voice)
        elif kind == "described":
            yield from self._described(fact, voice)
        elif kind in _RUNS or (kind == "measured" and "digest" not in fact):
            yield from self._of_a_run(fact, voice)
        elif kind in {"held", "released"}:
            yield from self._of_a_hold(fact, voice)
        elif kind in _MARKS:
            if self._about(fact["digest"]) and not self._known(voice, fact):
                yield self._with_names(fact)
        elif self._digests is None and not self._known(voice, fact):
            yield fact

    def _with_names(self, fact: Fact) -> Fact:
        """Write the names and runs that a fact mentions beside its subject as they are called here."""
        found = dict(fact)
        if "name" in fact and (mine := self.names.get(fact["name"])) is not None:
            found["name"] = mine
        elif "name" in fact:
            del found["name"]  # here it may mean something else, or nothing
            found.pop("version", None)
        for key in ("by", "parent"):
            if key in fact and (run := self._run_here(fact[key])) is not None:
                found[key] = run
        return found

    def _versioned(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        name, digest = fact["name"], fact["digest"]
        if name is None:
            if digest in self._unnamed and not self._known(voice, fact):
                self._unnamed_here.add(digest)
                self._need(digest, None)
                yield fact
            return
        absent = digest in voice.gone
        number = self._there.add(name, Row(digest, voice.own, absent, absent))
        mine = self._going_on(name)
        if number is None or mine is None or number <= len(self._plan.rows.get(mine, ())):
            return  # it made no version there, or it is here
        converted = {**fact, "name": mine}
        if self._again(mine, voice, converted):
            return
        expected, lacks = self._plan.counts(mine), digest not in self.wanted
        if self._plan.add(mine, Row(digest, own=False, removed=lacks, gone=lacks)) is None:
            self._stop(mine, f"v{number} there holds again what was removed before it, and here that was not removed")
            return
        self._step.expect.setdefault(mine, expected)
        self._need(digest, mine)
        yield converted

    def _need(self, digest: str, name: str | None) -> None:
        if digest in self.wanted:
            self._step.content.setdefault(digest, name)

    def _going_on(self, name: str) -> str | None:
        """Return what a name is called here, if its history is received."""
        mine = self.names.get(name)
        return None if mine in self._stopped else mine

    def _again(self, mine: str, voice: _Voice, converted: Fact) -> bool:
        """Stop where the source now says another thing in an entry that was received before."""
        if not self._known(voice, converted):
            return False
        self._stop(
            mine,
            f"entry {voice.seq} of the store {voice.store[:8]} was received before and said something else then: it has "
            "another history now, perhaps restored from a copy",
        )
        return True

    def _described(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        if fact["name"] is None:
            if fact.get("digest") in self._unnamed and not self._known(voice, fact):
                yield fact
            return
        number, mine = self._there.number(fact), self._going_on(fact["name"])
        if number is not None and mine is not None and number <= len(self._plan.rows.get(mine, ())):
            converted = {**fact, "name": mine, "version": number}
            if not self._known(voice, converted):
                yield converted

    def _aliased(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        name, alias = fact["name"], fact["alias"]
        ends = fact.get("version") is None and "digest" not in fact
        number = None if ends else self._there.number(fact)
        if number is None and not ends:
            return  # it had no effect there either
        count = self._there.move(name, alias, number)
        mine = self._going_on(name)
        if mine is None or (name, alias) in self._aliases_left or count <= len(self._plan.moves.get(mine, {}).get(alias, ())):
            return
        if number is not None and number > len(self._plan.rows.get(mine, ())):
            return
        converted = {**fact, "name": mine, **({} if number is None else {"version": number})}
        if self._again(mine, voice, converted):
            return
        self._step.expect.setdefault(mine, self._plan.counts(mine))
        self._plan.move(mine, alias, number)
        yield converted

    def _removed(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        if "name" not in fact and fact["digest"] in self._unnamed_here and fact["digest"] not in self._unnamed:
            self._unnamed_here.discard(fact["digest"])
            if self._digests is None and not self._known(voice, fact):
                yield fact
        for name, number in self._there.remove(fact, own=voice.own):
            mine = self._going_on(name)
            if mine is None or number > len(self._plan.rows.get(mine, ())):
                continue
            row = self._plan.rows[mine][number - 1]
            if row.removed and not row.gone:
                continue
            if row.own:
                self._leave(f"{mine}:v{number}", "it was removed there, and was put here by this store itself: it stays")
                continue
            if row.digest in self._held:
                self._stop(mine, f"v{number} was removed there and is held here ({self._held[row.digest]})")
                continue
            converted = {**fact, "name": mine, "version": number, "digest": row.digest}
            if self._again(mine, voice, converted):
                continue
            self._step.expect.setdefault(mine, self._plan.counts(mine))
            self._plan.remove(converted, own=False)
            yield converted

    def _of_a_run(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        if self._wanted_runs is not None and fact.get("run") not in self._wanted_runs:
            return
        mine = self._run_here(fact.get("run", ""))
        if mine is None:
            return
        converted = self._with_names({**fact, "run": mine}) if "run" in fact else fact
        if not self._known(voice, converted):
            yield converted

    def _run_here(self, run: str) -> str | None:
        """Return the id of a run here; None where a run of this store has it."""
        if run not in self._runs:
            known = self._renamed.get(self._source, {}).get(f"run:{run}", run)
            fresh = f"{run}.from-{self._wish.label}"
            if known not in self._own_runs:
                self._runs[run] = known
            elif self._wish.rename and fresh not in self._own_runs and len(fresh) <= _LONGEST_RUN:
                self._runs[run] = fresh
            else:
                self._runs[run] = None
                self._leave(f"run {run}", "a run of this store has the same id")
        return self._runs[run]

    def _of_a_hold(self, fact: Fact, voice: _Voice) -> Iterator[Fact]:
        """A hold comes while it stands there; what was put and released again in the past is of no use here."""
        key = f"received/{fact['hold']}"
        if self._known(voice, fact):
            return
        if fact["fact"] == "held":
            if fact["hold"] in self._active and fact["digest"] in self.wanted:
                self._holds_here.add(key)
                self._need(fact["digest"], None)
                yield fact
        elif key in self._holds_here:
            self._holds_here.discard(key)
            yield fact


def _note_renaming(fact: Fact, one: Fact, renamed: dict[str, str]) -> None:
    if fact.get("name") is not None and one.get("name", fact["name"]) != fact["name"]:
        renamed[fact["name"]] = one["name"]
    if "run" in fact and one["run"] != fact["run"]:
        renamed[f"run:{fact['run']}"] = one["run"]
