"""Conditions of gates, each judged on facts (docs/reference/format.md, "Gates"); what only content or keys can show is asked of the caller."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Protocol

from artifactstore.catalog.ancestry import ancestors, code_of, is_removed, makers, material, tainted_ancestor
from artifactstore.catalog.comparison import Comparison
from artifactstore.catalog.gates import approvals as _approvals
from artifactstore.catalog.gates.rules import kind_of
from artifactstore.catalog.gates.targets import Missing, digests_of, newest_of
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, parse_time

__all__ = ["Answer", "Case", "Facts", "Judge", "Outside", "round_difference"]

_DIGITS: Final = 12  # significant ones of a difference
_DAY: Final = 86_400  # seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What a condition says.

    Attributes:
        ok: whether it is met.
        text: it in words, with its value and limit.
        value: what was found, if it is one value.
        limit: what was asked, likewise.
        seen: what the answer is about, where content or keys gave it: it counts on that alone.
    """

    ok: bool
    text: str
    value: Any = None
    limit: Any = None
    seen: Mapping[str, Any] | None = None


Outside = Callable[[Mapping[str, Any], Mapping[str, Any]], Answer]  # (rule, seen) → answer of a condition on content or keys


class Facts(Protocol):
    """The part of the state that gates read."""

    header: dict[str, Any]
    names: MutableMapping[str, list[dict[str, Any]]]
    aliases: dict[str, dict[str, list[dict[str, Any]]]]
    stored: MutableMapping[str, dict[str, Any]]
    holders: MutableMapping[str, list[str]]
    unnamed: MutableMapping[str, dict[str, Any]]
    versions_by_digest: MutableMapping[str, list[list[Any]]]
    runs: MutableMapping[str, dict[str, Any]]
    edges: MutableMapping[str, list[dict[str, Any]]]
    produced_by: MutableMapping[str, list[str]]
    used_by_runs: MutableMapping[str, list[str]]
    tainted: dict[str, list[dict[str, Any] | None]]
    measures: MutableMapping[str, dict[str, list[list[Any]]]]
    approvals: MutableMapping[str, list[dict[str, Any]]]
    changed: dict[str, int]
    signed: dict[str, list[dict[str, Any]]]
    gates: dict[str, dict[str, list[dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Case:
    """A version that is to become what an alias means.

    Attributes:
        name: its name.
        number: k of `v<k>`.
        digest: its digest.
        alias: the alias.
        time: of the entry that moves it, or would.
        reason: of the move, or None.
    """

    name: str
    number: int
    digest: str
    alias: str
    time: str
    reason: str | None = None


@dataclass(slots=True)
class Judge:
    """The conditions on one version, each a method that takes its rule.

    Attributes:
        state: the fold.
        case: the version.
        outside: what is asked for an answer on content or keys.
    """

    state: Facts
    case: Case
    outside: Outside
    _cached: dict[str, Any] = field(default_factory=dict)

    def answer(self, rule: Mapping[str, Any]) -> Answer:
        """Return what a condition says."""
        found: Answer = getattr(self, f"_{kind_of(rule)}")(rule)
        return found

    # -- conditions on facts

    def _metric(self, rule: Mapping[str, Any]) -> Answer:
        metric, limit = rule["metric"], rule["is"]
        on = rule.get("on")
        where = "" if on is None else f" on {on}"
        row = self._measure(self.case.digest, metric, on)
        if row is None or row[1] is None:
            what = f"{metric} was not measured{where}" if row is None else f"{metric}{where} is not a finite number"
            return Answer(ok=False, text=f"{what}, asked is {limit}", limit=limit)
        where += " in another store" if row[4] else ""
        value, compare = row[1], Comparison.parse(limit)
        if "of" not in rule:
            ok = compare(value)
            return Answer(ok=ok, text=f"{metric}{where} is {value}, asked is {limit}", value=value, limit=limit)
        try:
            other = self._baseline(rule["of"])
        except Missing as missing:
            return Answer(ok=False, text=f"{metric} cannot be compared with {rule['of']}: {missing}", limit=limit)
        if other is None:
            return Answer(
                ok=True, text=f"{metric} has nothing to be compared with: {rule['of']} means no version yet", limit=limit
            )
        base = self._measure(other, metric, on)
        if base is None or base[1] is None:
            return Answer(
                ok=False, text=f"{metric} of {rule['of']} was not measured{where}, asked is a difference {limit}", limit=limit
            )
        difference = round_difference(value - base[1])
        text = f"{metric}{where} is {value}, {rule['of']} has {base[1]}: the difference is {difference}"
        return Answer(ok=compare(difference), text=f"{text}, asked is {limit}", value=difference, limit=limit)

    def _measure(self, digest: str, metric: str, on: str | None = None) -> list[Any] | None:
        """Return the newest measure [on, value, entry, run] of a metric; `on`: on that data alone."""
        rows = self.state.measures.get(digest, {}).get(metric, ())
        if on is None:
            return rows[-1] if rows else None
        try:
            wanted = digests_of(self.state, on)
        except Missing:
            return None
        return next((row for row in reversed(rows) if row[0] in wanted), None)

    def _baseline(self, of: str) -> str | None:
        """Return the digest of a baseline; None if it is an alias of this name that means no version yet."""
        if ":" in of or "@" in of or "/" in of:
            return newest_of(self.state, of)
        moves = self.state.aliases.get(self.case.name, {}).get(of)
        number = moves[-1]["version"] if moves else None
        return None if number is None else str(self.state.names[self.case.name][number - 1]["digest"])

    def _makers(self) -> list[str]:
        if "makers" not in self._cached:
            self._cached["makers"] = makers(self.state, self.case.digest)
        found: list[str] = self._cached["makers"]
        return found

    def _ended(self) -> list[str]:
        """Return the runs that made it and have finished; all that made it if none has."""
        made = self._makers()
        return [run for run in made if self.state.runs.get(run, {}).get("status") == "finished"] or made

    def _run(self, _rule: Mapping[str, Any]) -> Answer:
        made = self._makers()
        if not made:
            return Answer(ok=False, text="no run made it", limit="finished")
        states = [str(self.state.runs.get(run, {}).get("status", "running")) for run in made]
        ended = [one for one in states if one != "running"]
        ok = bool(ended) and ended[-1] == "finished"
        word = ended[-1] if ended else "running"
        return Answer(
            ok=ok,
            text=f"the run that made it has {word}" if ended else "the run that made it is still running",
            value=word,
            limit="finished",
        )

    def _lineage(self, _rule: Mapping[str, Any]) -> Answer:
        state = self.state
        if not self._makers():
            return Answer(ok=False, text="its lineage is not complete: no run made it", limit="complete")
        for digest in ancestors(state, self.case.digest):
            label = _label(state, digest)
            if digest not in state.stored:
                return Answer(ok=False, text=f"its lineage is not complete: {label} is not known here", limit="complete")
            if is_removed(state, digest) or not state.holders.get(digest):
                return Answer(ok=False, text=f"its lineage is not complete: {label} was removed", limit="complete")
        return Answer(ok=True, text="its lineage is complete", limit="complete")

    def _reads(self, _rule: Mapping[str, Any]) -> Answer:
        made = self._ended()
        if not made:
            return Answer(ok=False, text="no run made it, so its reads are not known", limit="tracked")
        for run in made:
            row = self.state.runs.get(run, {})
            count = len(row.get("around", ())) + int(row.get("around_more", 0))
            if count:
                first = next((str(one.get("path", "")) for one in row.get("around", ())), "")
                return Answer(
                    ok=False,
                    text=f"the run that made it read {count} files around the store, such as {first}",
                    value=count,
                    limit="tracked",
                )
        return Answer(ok=True, text="no read around the store was seen", limit="tracked")

    def _code(self, rule: Mapping[str, Any]) -> Answer:
        asked = rule["code"]
        made = self._ended()
        if not made:
            return Answer(ok=False, text="no run made it, so its code is not known", limit=asked)
        for run in made:
            _, code = code_of(self.state, run)
            commit = code.get("commit")
            if not commit:
                return Answer(ok=False, text=f"its code is in no commit, asked is {asked}", limit=asked)
            if asked == "clean" and code.get("dirty"):
                return Answer(
                    ok=False, text=f"its code is commit {commit[:10]} with changes, asked is clean", value=commit, limit=asked
                )
            branch = code.get("branch") or ""
            if "branch" in rule and not fnmatchcase(branch, rule["branch"]):
                text = f"its code is of {f'branch {branch}' if branch else 'no branch'}, asked is branch {rule['branch']}"
                return Answer(ok=False, text=text, value=branch, limit=rule["branch"])
            if "tag" in rule:
                tag, _, rest = str(code.get("describe") or "").rpartition("-0-g")
                if not tag or not fnmatchcase(tag, rule["tag"]):
                    text = f"its code is of {f'tag {tag}' if tag and rest else 'no tag'}, asked is tag {rule['tag']}"
                    return Answer(ok=False, text=text, value=tag or None, limit=rule["tag"])
        return Answer(ok=True, text=f"its code is {asked}", limit=asked)

    def _taint(self, _rule: Mapping[str, Any]) -> Answer:
        found = tainted_ancestor(self.state, self.case.digest)
        if found is None:
            return Answer(ok=True, text="nothing that it was made from is tainted", limit="none")
        return Answer(
            ok=False, text=f"{_label(self.state, found)}, from which it was made, is tainted", value=found, limit="none"
        )

    def _criteria(self, rule: Mapping[str, Any]) -> Answer:
        asked = rule["criteria"]
        try:
            digest = newest_of(self.state, asked)
        except Missing as missing:
            return Answer(ok=False, text=f"there are no acceptance criteria: {missing}", limit=asked)
        puts = [self.state.names[name][number - 1]["seq"] for name, number, _ in self.state.versions_by_digest.get(digest, ())]
        put = min(puts, default=None)
        runs = {row[3] for rows in self.state.measures.get(self.case.digest, {}).values() for row in rows[-1:]}
        if not runs or None in runs:
            return Answer(
                ok=False, text="it was measured outside of a run: nothing shows that the criteria were there before", limit=asked
            )
        for run in sorted(runs):
            began = self.state.runs.get(run, {}).get("seq")
            if put is None or began is None or put >= began:
                return Answer(
                    ok=False, text=f"{asked} was put after the run {run[:12]} that measured it began", value=put, limit=asked
                )
        return Answer(ok=True, text=f"{asked} was put before the run that measured it began", value=put, limit=asked)

    def _age(self, rule: Mapping[str, Any]) -> Answer:
        row = self.state.names[self.case.name][self.case.number - 1]
        days = round_difference(_seconds(row["time"], self.case.time) / _DAY)
        ok = Comparison.parse(rule["age"])(days)
        return Answer(ok=ok, text=f"it was put {days:.1f} days ago, asked is {rule['age']}", value=days, limit=rule["age"])

    def _approvals(self, rule: Mapping[str, Any]) -> Answer:
        count, case = rule["approvals"], self.case
        found = _approvals.counted(self.state, rule, name=case.name, number=case.number, digest=case.digest, alias=case.alias)
        what = " ".join(
            ["signed" if rule.get("signed") else "", rule.get("meaning", ""), "approvals" if count > 1 else "approval"]
        ).split()
        role = f" of role {rule['role']}" if "role" in rule else ""
        asked = f"{' '.join(what)}{role}: {len(found.actors)} of {count}"
        notes = [f"claimed by {', '.join(found.claimed)}: not signed"] if found.claimed else []
        notes += found.not_counted if len(found.actors) < count else ()
        text = asked + (f" ({'; '.join(notes)})" if notes else "")
        answer = Answer(ok=len(found.actors) >= count, text=text, value=len(found.actors), limit=count)
        if not rule.get("signed") or not answer.ok:
            return answer
        return self._asked(rule, {"entries": sorted(found.entries)}, answer)

    # -- conditions on content and keys

    def _evaluated(self, rule: Mapping[str, Any]) -> Answer:
        row = self._measure(self.case.digest, rule["metric"])
        if row is None or row[0] is None:
            metric = rule["metric"]
            what = f"{metric} was not measured" if row is None else f"on which data {metric} was measured is not recorded"
            return Answer(ok=False, text=f"{what}: nothing shows that it was evaluated apart", limit="apart")
        inputs = sorted(material(self.state, self.case.digest))
        seen = {"on": row[0], "made_from": str(Digest.of(canonical_json(inputs), "sha256"))}
        return self._asked(rule, seen, Answer(ok=True, text="", limit="apart"))

    def _report(self, rule: Mapping[str, Any]) -> Answer:
        kind = rule["report"]
        digest = self._newest_report(kind)
        if digest is None:
            return Answer(ok=False, text=f"no run made a report of kind {kind!r} from it", limit=rule["is"])
        return self._asked(rule, {"report": digest}, Answer(ok=True, text="", limit=rule["is"]))

    def _newest_report(self, kind: str) -> str | None:
        """Return the newest artifact of kind `report` that a run made, in this role, from the version."""
        newest: tuple[int, str] | None = None
        for run in self.state.used_by_runs.get(self.case.digest, ()):
            row = self.state.runs.get(run)
            for edge in self.state.edges.get(run, ()) if row is not None else ():
                if edge["fact"] != "produced" or edge.get("role") != kind:
                    continue
                rows = [
                    self.state.names[name][number - 1]
                    for name, number, of in self.state.versions_by_digest.get(edge["digest"], ())
                    if of == "report"
                ]
                unnamed = self.state.unnamed.get(edge["digest"])
                rows += [unnamed] if unnamed is not None and unnamed.get("kind") == "report" else []
                when = max((one["seq"] for one in rows if "removed" not in one), default=None)
                if when is not None and (newest is None or (when, edge["digest"]) > newest):
                    newest = when, edge["digest"]
        return None if newest is None else newest[1]

    def _format(self, rule: Mapping[str, Any]) -> Answer:
        return self._asked(rule, {"digest": self.case.digest}, Answer(ok=True, text="", limit="safe"))

    def _signature(self, rule: Mapping[str, Any]) -> Answer:
        role, rows = rule["signature"], self.state.signed.get(self.case.digest, ())
        if not rows:
            return Answer(ok=False, text=f"it has no signature, asked is one of role {role}", limit=role)
        return self._asked(rule, {"entries": sorted({row["seq"] for row in rows})}, Answer(ok=True, text="", limit=role))

    def _asked(self, rule: Mapping[str, Any], seen: Mapping[str, Any], facts: Answer) -> Answer:
        """Ask for what facts cannot show; it counts for exactly what it was asked about."""
        found = self.outside(rule, seen)
        return Answer(
            found.ok, found.text or facts.text, found.value if found.value is not None else facts.value, facts.limit, seen
        )


def round_difference(value: float) -> float:
    """Round to 12 significant digits: 0.91 - 0.92 is -0.01, whatever floats say."""
    return float(f"{value:.{_DIGITS}g}")


def _seconds(before: str, after: str) -> float:
    return (parse_time(after) - parse_time(before)).total_seconds()


def _label(state: Facts, digest: str) -> str:
    known = state.versions_by_digest.get(digest)
    return f"{known[-1][0]}:v{known[-1][1]}" if known else digest[:19]
