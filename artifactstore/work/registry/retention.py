"""Retention: rules that say which versions may expire, and the removal of those that no rule keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.ancestry import ancestors
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.retention import check_retention, rules_of
from artifactstore.catalog.rows import Rows
from artifactstore.display.displayed import Displayed
from artifactstore.display.values import counted, format_size
from artifactstore.errors import ConflictError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.encoding import canonical_json, format_time, parse_time
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Reference
from artifactstore.work.registry.arguments import required_reason
from artifactstore.work.registry.holds import freed_bytes
from artifactstore.work.registry.rule_files import RuleTables, check_pattern, load_rules
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.refused import record_refusal
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    from artifactstore.display.outline import Block

__all__ = ["Expiry", "Retention", "expire", "retention"]

_SHOWN: Final = 50  # versions that are listed
_BATCH: Final = 1000  # versions that one transaction removes
_Version = tuple[str, int, str]  # name, number, digest


@dataclass(frozen=True, slots=True)
class Retention:
    """A retention rule in force.

    Attributes:
        names: pattern of the names that it is for.
        rules: keep_last, keep_days, keep_kinds, at_least_days.
        version: k of its versions.
        entry: the entry that set it.
        time: when.
        actor: who.
        reason: why.
    """

    names: str
    rules: Mapping[str, Any]
    version: int
    entry: int
    time: datetime
    actor: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Expiry(Displayed):
    """What expired, or would.

    Attributes:
        refs: the versions that no rule keeps.
        bytes: of content that clean-up will free.
        kept: how many versions of names with rules stay.
        dry_run: whether nothing was removed.
    """

    refs: tuple[str, ...]
    bytes: int
    kept: int
    dry_run: bool
    _why: Mapping[str, list[str]] = field(default_factory=dict, repr=False, compare=False)

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Line, Lines  # noqa: PLC0415 - programs look at the values

        lines = list(self.refs[:_SHOWN])
        if len(self.refs) > _SHOWN:
            lines.append(f"… and {len(self.refs) - _SHOWN:,} more")
        return [Line(self.summary), *([Lines(lines, indent=2)] if lines else [])]

    @property
    def summary(self) -> str:
        """It in one line."""
        many, what = counted(len(self.refs), "versions"), "would expire" if self.dry_run else "expired"
        size = f": {format_size(self.bytes)} that clean-up can free" if self.refs else ""
        return f"{many} {what}{size}; {self.kept:,} of names with rules stay"

    def why(self, ref: str) -> str:
        """Return why a version stays or expires.

        Raises:
            NotFoundError: no rule is for its name, or it has no such version.
        """
        parsed = Reference.parse(ref)
        words = self._why.get(parsed.name or "", [])
        if parsed.version is None or not 1 <= parsed.version <= len(words):
            raise NotFoundError(f"{ref}: no retention rule is for this name, or it has no such version")
        return words[parsed.version - 1]


def retention(session: Session, rules: Any = None, *, reason: Any = None) -> Rows[Retention]:
    """Return the rules in force, after setting those that are passed; see `Registry.retention`."""
    if rules is None:
        if reason is not None:
            raise InvalidInputError("reason= is for a change: pass rules=, too")
    else:
        _set(session, load_rules(rules, "retention"), required_reason(reason, "the retention changes"))
    with session.query_state() as state:
        return Rows(Retention, list(_in_force(state)))


def _in_force(state: State) -> Iterator[Retention]:
    for names, rows in sorted(state.retention.items()):
        row = rows[-1]
        if row["rules"] is not None:
            yield Retention(names, row["rules"], len(rows), row["seq"], parse_time(row["time"]), row["actor"], row.get("reason"))


def _set(session: Session, tables: RuleTables, reason: str) -> None:
    session.check_writable()
    if session.batch() is not None:
        raise InvalidInputError("retention cannot change inside a batch")
    wanted: dict[str, dict[str, Any] | None] = {}
    for number, table in enumerate(tables.tables):
        own = dict(table)
        names = own.pop("names", None)
        try:
            check_pattern(names)
            check_retention(own)
        except InvalidInputError as error:
            key = next((key for key in own if f"{key!r}" in str(error) or f"{key} =" in str(error)), "names")
            raise tables.error(number, key, str(error)) from error
        if names in wanted:
            raise tables.error(number, "names", f"{names} has two rules here: put both into one")
        wanted[str(names)] = own or None

    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            facts: list[Fact] = []
            for names, rules in wanted.items():
                rows = state.retention.get(names)
                now = rows[-1]["rules"] if rows else None
                if canonical_json(now) != canonical_json(rules):
                    facts.append({"fact": "retained", "names": names, "rules": rules})
            return Prepared(facts, state.head, "")

    commit(session, Step(prepare), reason=reason)


def expire(session: Session, *, reason: Any = None, dry_run: Any = False) -> Expiry:
    """Remove what no rule keeps; see `Registry.expire`."""
    if not isinstance(dry_run, bool):
        raise InvalidInputError(f"dry_run={dry_run!r:.100}: expected True or False")
    text = None
    if not dry_run:
        session.check_writable()
        text = required_reason(reason, "they expire")
        if session.batch() is not None:
            raise InvalidInputError("expire cannot be used inside a batch")
    now = _store_time(session)
    with session.query_state() as state:
        chosen, words = _plan(state, now)
        gone = sum(one == _GONE for many in words.values() for one in many)
        kept = sum(map(len, words.values())) - len(chosen) - gone
        size = freed_bytes(state, {(name, number) for name, number, _ in chosen}, (digest for _, _, digest in chosen))
    refs = tuple(f"{name}:v{number}" for name, number, _ in chosen)
    if not dry_run:
        for start in range(0, len(chosen), _BATCH):
            _remove(session, chosen[start : start + _BATCH], text)
    return Expiry(refs, size, kept, dry_run, words)


def _remove(session: Session, versions: list[_Version], reason: str | None) -> None:
    def prepare(_core: Core) -> Prepared:
        with session.state() as state:
            facts: list[Fact] = [
                {"fact": "removed", "name": name, "version": number}
                for name, number, _ in versions
                if "removed" not in state.names[name][number - 1]
            ]
            return Prepared(facts, state.head, "")

    try:
        commit(session, Step(prepare), reason=reason)
    except (RefusedError, ConflictError) as error:
        record_refusal(session, "expire", error, {}, reason=reason)
        raise


def _store_time(session: Session) -> str:
    """Return the time by the store's own clock; of storage without one, that of its last entry."""
    there = session.core().backend.storage_time(fresh=True)
    with session.query_state() as state:
        last = str(state.header["time"])
    return last if there is None or session.view is not None else max(last, format_time(there))


# -- the plan

_GONE: Final = "it was removed"
_FREE: Final = "no rule keeps it"


def _plan(state: State, now: str) -> tuple[list[_Version], dict[str, list[str]]]:
    """Return the versions that expire, and for each version of a name with rules why it stays or expires."""
    words: dict[str, list[str]] = {}
    free: list[_Version] = []
    kept: set[str] = set()
    for name, members in state.names.items() if state.retention else ():
        rules, rows = list(rules_of(state, name)), list(members)
        if not rules:
            kept.update(row["digest"] for row in rows if "removed" not in row)
            continue
        found = words[name] = _of_name(state, name, rows, rules, now)
        for number, (word, row) in enumerate(zip(found, rows, strict=True), 1):
            if word == _FREE:
                free.append((name, number, row["digest"]))
            elif word != _GONE:
                kept.add(row["digest"])
    if not free:
        return [], words
    needed = _needed(state, kept)
    chosen = []
    for name, number, digest in free:
        why = needed.get(digest)
        if why is None:
            chosen.append((name, number, digest))
        else:
            words[name][number - 1] = why
    return chosen, words


def _of_name(state: State, name: str, rows: Sequence[Mapping[str, Any]], rules: list[Mapping[str, Any]], now: str) -> list[str]:
    """Return for each version of a name why its rules keep it, or that none does."""
    last, days, least = (
        max((int(one.get(key, 0)) for one in rules), default=0) for key in ("keep_last", "keep_days", "at_least_days")
    )
    kinds = {kind for one in rules for kind in one.get("keep_kinds", ())}
    since, young = (
        format_time(parse_time(now) - timedelta(days=many)) if many else "~" for many in (days, least)
    )  # "~" is after all
    meant = _meant(state, name, since)
    newest = set([k for k in range(len(rows), 0, -1) if "removed" not in rows[k - 1]][:last])
    found = []
    for number, row in enumerate(rows, 1):
        if "removed" in row:
            word = _GONE
        elif number in meant:
            word = meant[number]
        elif number in newest:
            word = f"it is among the last {last}"
        elif row["time"] > since:
            word = f"it was put less than {days} days ago"
        elif row.get("kind") in kinds:
            word = f"its kind {row['kind']} is kept"
        elif row["time"] > young:
            word = f"it must be kept for {least} days"
        else:
            word = _FREE
        found.append(word)
    return found


def _meant(state: State, name: str, since: str) -> dict[int, str]:
    """Return the versions that an alias means, or meant since a time."""
    found: dict[int, str] = {}
    for alias, moves in state.aliases.get(name, {}).items():
        for move, after in zip(moves, [*moves[1:], None], strict=True):
            if move["version"] is None:
                continue
            if after is None:
                found[move["version"]] = f"{name}:{alias} means it"
            elif after["time"] > since:
                found.setdefault(move["version"], f"{name}:{alias} meant it until {after['time'][:10]}")
    return found


def _needed(state: State, kept: set[str]) -> dict[str, str]:
    """Return the digests that must stay although no rule keeps their version, and why: holds, and what was made from them."""
    found = {row["digest"]: "it is held" for row in state.holds.values()}
    for digest in [*found]:
        found |= dict.fromkeys(ancestors(state, digest), "something that is held was made from it")
    found |= {row["digest"]: "it is held" for row in state.holds.values()}
    seen = {*kept, *state.unnamed}
    todo = [*seen] if state.edges else []
    while todo:
        for run in state.produced_by.get(todo.pop(), ()):
            for edge in state.edges.get(run, ()):
                digest = edge["digest"]
                if edge["fact"] == "used" and digest not in seen:
                    seen.add(digest)
                    todo.append(digest)
                    found.setdefault(digest, "something that is kept was made from it")
    return found
