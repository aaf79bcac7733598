"""Receiving: what of another store's history is taken in, and in which order. Pure: states and entries in, steps out.

A step is what one entry of the source says, as `received` facts for the target, with the digests whose content must be
there first. What stands in the target already is left out, so the same source gives nothing the second time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.received import LAYOUT, subject
from artifactstore.catalog.state import State
from artifactstore.maintenance.choosing import Choice, Wish
from artifactstore.maintenance.histories import Histories, Row
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Fact

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["Receiver", "Step"]

_MARKS: Final = frozenset({"measured", "tainted", "cleared", "approved"})
_RUNS: Final = frozenset({"started", "finished", "used", "produced"})  # but for `measured` of a run
_HISTORY: Final = frozenset({"versioned", "aliased", "removed"})  # counted: what is here of a name is known without its origin
_LONGEST_RUN: Final = 100  # characters of a run's id


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


class Receiver(Choice):
    """Goes through the source's entries and tells what the target is to be told.

    Args: see `Choice`.
    """

    def __init__(self, there: State, here: State, *, source: str, target: str, wish: Wish) -> None:
        super().__init__(there, here, source=source, target=target, wish=wish)
        self._there = Histories()  # the source, as far as its entries were gone through
        self._step = Step(0)  # the one that is being made
        self._runs: dict[str, str | None] = {}  # run there → run here, None for one that is left out
        self._freed: set[str] = set()  # holds whose end is received

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
        kind = fact["fact"]
        if voice.store == self._target and kind not in _HISTORY and not (kind == "described" and self._is_renamed(fact["name"])):
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

    def _is_renamed(self, name: str | None) -> bool:
        return name is not None and self.names.get(name, name) != name

    def _with_names(self, fact: Fact) -> Fact:
        """Write the names and runs that a fact mentions beside its subject as they are called here."""
        found = dict(fact)
        if fact["fact"] in {"started", "finished", "measured"}:
            pass  # a run's name is no artifact's
        elif "name" in fact and (mine := self.names.get(fact["name"])) is not None:
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
            if digest in self._unnamed and voice.store != self._target and not self._known(voice, fact):
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
        unnamed = "name" not in fact and fact["digest"] in self._unnamed_here and fact["digest"] not in self._unnamed
        if unnamed and self._digests is None and not self._known(voice, fact):
            if holds := self._holds_on(fact["digest"]):
                self._leave(fact["digest"], f"it was removed there, and it or what was made from it is held here ({holds[0]})")
            else:
                self._unnamed_here.discard(fact["digest"])
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
            if holds := self._holds_on(row.digest):
                self._stop(mine, f"v{number} was removed there, and it or what was made from it is held here ({holds[0]})")
                continue
            converted = {**fact, "name": mine, "version": number, "digest": row.digest}
            if self._again(mine, voice, converted):
                continue
            self._step.expect.setdefault(mine, self._plan.counts(mine))
            self._plan.remove(converted, own=False)
            yield converted

    def _holds_on(self, digest: str) -> list[str]:
        return [hold for hold in self._held.get(digest, ()) if hold not in self._freed]

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
            self._freed.add(key)
            yield fact


def _note_renaming(fact: Fact, one: Fact, renamed: dict[str, str]) -> None:
    if fact["fact"] != "started" and fact.get("name") is not None and one.get("name", fact["name"]) != fact["name"]:
        renamed[fact["name"]] = one["name"]
    if "run" in fact and one["run"] != fact["run"]:
        renamed[f"run:{fact['run']}"] = one["run"]
