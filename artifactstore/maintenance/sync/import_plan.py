"""Planning of an import: which of another store's facts to import, and in which order. Pure: states and entries in, steps out.

A step is one entry of the source, as `received` facts for the target, with the digests whose content must be
there first. What the target already has is left out, so importing the same source again gives nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.fold.received import LAYOUT, subject
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.retention import is_younger
from artifactstore.maintenance.sync.import_selection import ImportFilter, ImportSelection
from artifactstore.maintenance.sync.name_histories import Histories, VersionRow
from artifactstore.model.digest import Digest
from artifactstore.model.facts import Fact

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["ImportPlanner", "Step"]

_MARKS: Final = frozenset({"measured", "tainted", "cleared", "approved", "signed"})
_RUNS: Final = frozenset({"started", "finished", "used", "produced"})  # except `measured` of a run
_HISTORY: Final = frozenset(
    {"versioned", "aliased", "removed"}
)  # compared by count: a name's history here is known without its origin
_LONGEST_RUN: Final = 100  # characters of a run's id


@dataclass(slots=True)
class Step:
    """The import of one source entry.

    Attributes:
        seq: its number in the source.
        facts: `received` facts.
        content: digests that the target must have, each with the local name that it belongs to.
        expect: local name → number of its versions and moves before this step.
    """

    seq: int
    facts: list[Fact] = field(default_factory=list)
    content: dict[str, str | None] = field(default_factory=dict)
    expect: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _FactOrigin:
    """The store that originally recorded some facts.

    Attributes:
        envelope: the fields of the `received` fact that identify it.
        own: whether the source recorded them itself, and did not receive them.
        gone: digests whose content the source never had.
    """

    envelope: Fact
    own: bool = True
    gone: Sequence[str] = ()

    @property
    def store(self) -> str:
        """The id of the store that recorded them."""
        return str(self.envelope["store"])

    @property
    def seq(self) -> int:
        """The entry number there."""
        return int(self.envelope["seq"])


class ImportPlanner(ImportSelection):
    """Converts the source's entries to facts for the target.

    Args: see `ImportSelection`.
    """

    def __init__(self, there: State, here: State, *, source: str, target: str, import_filter: ImportFilter) -> None:
        super().__init__(there, here, source=source, target=target, import_filter=import_filter)
        self._there = Histories()  # the source up to the current entry
        self._step = Step(0)  # the current step
        self._runs: dict[str, str | None] = {}  # source run → local run, None for a run that is left out
        self._freed: set[str] = set()  # holds whose release is received

    def steps(self, entries: "Iterable[tuple[Entry, Digest]]") -> Iterator[Step]:
        """Yield the step of each entry, from entry 1 on; entries without importable facts give none. To be called once.

        Args:
            entries: of the source, each with the digest of its bytes, up to the head of the state passed in.
        """
        judge = State(self._source)
        for entry, digest in entries:
            outcomes = judge.apply(entry)
            self._step = Step(entry["seq"])
            where = {"seq": entry["seq"], "entry": str(digest)}
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                if void is None:
                    self._take(txn, where, judge.header["time"])
            if self._step.facts:
                yield self._step

    def _take(self, txn: "Txn", where: Mapping[str, Any], time: str) -> None:
        record: Mapping[str, Any] = txn
        envelope: Fact = {"fact": "received", "store": self._source, **where, "time": time}
        envelope |= {key: record[key] for key in ("txn", "actor", "identity", "host", "tool", "reason") if key in record}
        facts: list[Fact] = []
        for fact in txn["facts"]:
            if fact["fact"] != "received":
                facts.append(fact)
                continue
            self._add_facts(_FactOrigin(envelope), facts)
            facts = []
            passed = {key: value for key, value in fact.items() if key not in {"facts", "gone", "expect", "renamed"}}
            passed["via"] = [*fact.get("via", ()), {"store": self._source, **where}]
            self._add_facts(_FactOrigin(passed, own=False, gone=fact.get("gone", ())), fact["facts"])
        self._add_facts(_FactOrigin(envelope), facts)

    def _add_facts(self, origin: _FactOrigin, facts: Sequence[Fact]) -> None:
        """Add the facts of one origin to the step."""
        found: list[Fact] = []
        renamed: dict[str, str] = {}
        for fact in facts:
            if fact["fact"] in LAYOUT or fact["fact"] == "received":
                continue
            for one in self._convert(fact, origin):
                found.append(one)
                _note_renaming(fact, one, renamed)
        if not found:
            return
        lacking = sorted({one["digest"] for one in found if one["fact"] == "versioned"} - self.wanted)
        more = {**({"gone": lacking} if lacking else {}), **({"renamed": renamed} if renamed else {})}
        self._step.facts.append({**origin.envelope, **more, "facts": found})

    def _already_received(self, origin: _FactOrigin, fact: Fact) -> bool:
        """Whether this was received before."""
        return self._progress.get(origin.store, {}).get(subject(fact), 0) >= origin.seq

    def _convert(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        """Yield the target's facts for one source fact."""
        kind = fact["fact"]
        if origin.store == self._target and kind not in _HISTORY and not (kind == "described" and self._is_renamed(fact["name"])):
            return  # recorded by this store itself
        if kind == "versioned":
            yield from self._versioned(fact, origin)
        elif kind == "removed":
            yield from self._removed(fact, origin)
        elif kind == "aliased":
            yield from self._aliased(fact, origin)
        elif kind == "described":
            yield from self._described(fact, origin)
        elif kind in _RUNS or (kind == "measured" and "digest" not in fact):
            yield from self._convert_run(fact, origin)
        elif kind in {"held", "released"}:
            yield from self._convert_hold(fact, origin)
        elif kind in _MARKS:
            if self._about(fact["digest"]) and not self._already_received(origin, fact):
                yield self._with_names(fact)
        elif self._digests is None and not self._already_received(origin, fact):
            yield fact

    def _is_renamed(self, name: str | None) -> bool:
        return name is not None and self.names.get(name, name) != name

    def _with_names(self, fact: Fact) -> Fact:
        """Translate the names and runs in a fact to their local names."""
        found = dict(fact)
        if fact["fact"] in {"started", "finished", "measured"}:
            pass  # the name of a run is not an artifact's
        elif "name" in fact and (mine := self.names.get(fact["name"])) is not None:
            found["name"] = mine
        elif "name" in fact:
            del found["name"]  # here the name may mean something else, or nothing
            found.pop("version", None)
        for key in ("by", "parent"):
            if key in fact and (run := self._local_run(fact[key])) is not None:
                found[key] = run
        return found

    def _versioned(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        name, digest = fact["name"], fact["digest"]
        if name is None:
            if digest in self._unnamed and origin.store != self._target and not self._already_received(origin, fact):
                self._unnamed_here.add(digest)
                self._require_content(digest, None)
                yield fact
            return
        absent = digest in origin.gone
        number = self._there.add(name, VersionRow(digest, origin.own, absent, absent))
        mine = self._local_name(name)
        if number is None or mine is None or number <= len(self._plan.rows.get(mine, ())):
            return  # it made no version there, or the version is here
        converted = {**fact, "name": mine}
        if self._stop_if_changed(mine, origin, converted):
            return
        expected, lacks = self._plan.counts(mine), digest not in self.wanted
        if self._plan.add(mine, VersionRow(digest, own=False, removed=lacks, gone=lacks, time=origin.envelope["time"])) is None:
            self._stop_name(
                mine, f"v{number} of the source has the content of an earlier version that was removed there, but not here"
            )
            return
        self._step.expect.setdefault(mine, expected)
        self._require_content(digest, mine)
        yield converted

    def _require_content(self, digest: str, name: str | None) -> None:
        if digest in self.wanted:
            self._step.content.setdefault(digest, name)

    def _local_name(self, name: str) -> str | None:
        """Return the local name of a source name whose history is imported."""
        mine = self.names.get(name)
        return None if mine in self._stopped else mine

    def _stop_if_changed(self, mine: str, origin: _FactOrigin, converted: Fact) -> bool:
        """Stop where the source's entry differs from what was received before."""
        if not self._already_received(origin, converted):
            return False
        self._stop_name(
            mine,
            f"entry {origin.seq} of the store {origin.store[:8]} was received before with other content: its history "
            "has changed, perhaps by a restore from a copy",
        )
        return True

    def _described(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        if fact["name"] is None:
            if fact.get("digest") in self._unnamed and not self._already_received(origin, fact):
                yield fact
            return
        number, mine = self._there.number(fact), self._local_name(fact["name"])
        if number is not None and mine is not None and number <= len(self._plan.rows.get(mine, ())):
            converted = {**fact, "name": mine, "version": number}
            if not self._already_received(origin, converted):
                yield converted

    def _aliased(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        name, alias = fact["name"], fact["alias"]
        ends = fact.get("version") is None and "digest" not in fact
        number = None if ends else self._there.number(fact)
        if number is None and not ends:
            return  # without effect there, too
        count = self._there.move(name, alias, number)
        mine = self._local_name(name)
        if mine is None or (name, alias) in self._aliases_left or count <= len(self._plan.moves.get(mine, {}).get(alias, ())):
            return
        if number is not None and number > len(self._plan.rows.get(mine, ())):
            return
        converted = {**fact, "name": mine, **({} if number is None else {"version": number})}
        if self._stop_if_changed(mine, origin, converted):
            return
        self._step.expect.setdefault(mine, self._plan.counts(mine))
        self._plan.move(mine, alias, number)
        yield converted

    def _removed(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        unnamed = "name" not in fact and fact["digest"] in self._unnamed_here and fact["digest"] not in self._unnamed
        if unnamed and self._digests is None and not self._already_received(origin, fact):
            if holds := self._holds_on(fact["digest"]):
                self._leave_out(
                    fact["digest"],
                    f"it was removed in the source, but it, or an artifact made from it, is under a hold here ({holds[0]})",
                )
            else:
                self._unnamed_here.discard(fact["digest"])
                yield fact
        for name, number in self._there.remove(fact, own=origin.own):
            mine = self._local_name(name)
            if mine is None or number > len(self._plan.rows.get(mine, ())):
                continue
            row = self._plan.rows[mine][number - 1]
            if row.removed and not row.gone:
                continue
            if row.own:
                self._leave_out(f"{mine}:v{number}", "it was removed in the source, but this store put it itself: it is kept")
                continue
            if holds := self._holds_on(row.digest):
                self._stop_name(
                    mine,
                    f"v{number} was removed in the source, but it, or an artifact made from it, is under a hold here ({holds[0]})",
                )
                continue
            if not row.removed and (days := self._least_days.get(mine, 0)) and is_younger(row.time, days, self._now):
                self._stop_name(mine, f"v{number} was removed in the source, but must be kept for {days} days here (retention)")
                continue
            converted = {**fact, "name": mine, "version": number, "digest": row.digest}
            if self._stop_if_changed(mine, origin, converted):
                continue
            self._step.expect.setdefault(mine, self._plan.counts(mine))
            self._plan.remove(converted, own=False)
            yield converted

    def _holds_on(self, digest: str) -> list[str]:
        return [hold for hold in self._held.get(digest, ()) if hold not in self._freed]

    def _convert_run(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        if self._wanted_runs is not None and fact.get("run") not in self._wanted_runs:
            return
        mine = self._local_run(fact.get("run", ""))
        if mine is None:
            return
        converted = self._with_names({**fact, "run": mine}) if "run" in fact else fact
        if not self._already_received(origin, converted):
            yield converted

    def _local_run(self, run: str) -> str | None:
        """Return the local id of a run; None where a run of this store has that id."""
        if run not in self._runs:
            known = self._renamed.get(self._source, {}).get(f"run:{run}", run)
            fresh = f"{run}.from-{self._filter.label}"
            if known not in self._own_runs:
                self._runs[run] = known
            elif self._filter.rename and fresh not in self._own_runs and len(fresh) <= _LONGEST_RUN:
                self._runs[run] = fresh
            else:
                self._runs[run] = None
                self._leave_out(f"run {run}", "a run of this store has the same id")
        return self._runs[run]

    def _convert_hold(self, fact: Fact, origin: _FactOrigin) -> Iterator[Fact]:
        """Import a hold that is active in the source; one that was released again is of no use here."""
        key = f"received/{fact['hold']}"
        if self._already_received(origin, fact):
            return
        if fact["fact"] == "held":
            if fact["hold"] in self._active and fact["digest"] in self.wanted:
                self._holds_here.add(key)
                self._require_content(fact["digest"], None)
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
