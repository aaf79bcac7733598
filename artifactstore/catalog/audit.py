"""Audit log: every fact of the journal with its outcome, and what each transaction did in words, filtered."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.actions import Naming, action
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import parse_time
from artifactstore.model.facts import WINDOW, Fact
from artifactstore.model.fields import sane

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["Event", "Filter", "Log", "Transaction", "Walk", "newest", "outcome_of", "parse_txn"]

_DIGEST: Final = 15  # characters of a digest that are shown
_RUN: Final = 12  # characters of a run's id that are shown


@dataclass(frozen=True, slots=True)
class Event:
    """A fact of the journal.

    Attributes:
        seq: the entry.
        time: the entry's time, UTC (a running maximum).
        actor: who appended it.
        identity: how the actor is known: claimed, os, oidc, certificate.
        fact: the kind of fact.
        name: the name it concerns, if any.
        version: the number of the version, if any.
        alias: the alias, if any.
        digest: the digest, if any.
        reason: the reason given, if any.
        outcome: `committed`, or `void: <rule>: …` if it has no effect.
        txn: the transaction's id.
        host: the machine's name.
        tool: program and version.
        fields: the whole fact as recorded.
        origin: `<store>:<entry>` for a fact received from another store, whose actor, identity, time, reason, host and
            tool are then those recorded there. Else None.
    """

    seq: int
    time: datetime
    actor: str
    identity: str
    fact: str
    name: str | None
    version: int | None
    alias: str | None
    digest: str | None
    reason: str | None
    outcome: str
    txn: str
    host: str
    tool: str
    fields: Mapping[str, Any]
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on events; each may be None.

    Attributes:
        name: facts about this name, or about names of this pattern (`churn/*`).
        alias: facts about this alias.
        actor: facts appended by this actor.
        since: facts at or after this time (aware).
        until: facts at or before this time (aware).
        fact: facts of this kind.
        txn: facts of this transaction.
    """

    name: str | None = None
    alias: str | None = None
    actor: str | None = None
    since: Any = None
    until: Any = None
    fact: str | None = None
    txn: str | None = None

    def __post_init__(self) -> None:
        for name in ("name", "alias", "actor", "fact", "txn"):
            value: Any = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise InvalidInputError(f"{name}= must be a str, got {value!r}")
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
                raise InvalidInputError(f"{name}= must be an aware datetime such as datetime.now(UTC), got {moment!r}")

    def wants(self, event: Event) -> bool:
        """Return whether an event meets all conditions."""
        return (
            (self.name is None or event.name == self.name or (event.name is not None and _is_like(event.name, self.name)))
            and (self.alias is None or event.alias == self.alias)
            and (self.actor is None or event.actor == self.actor)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.fact is None or event.fact == self.fact)
            and (self.txn is None or event.txn == self.txn)
        )


@dataclass(frozen=True, slots=True)
class Transaction:
    """Facts that were committed together, in words.

    Attributes:
        seq: the entry.
        time: the entry's time, UTC (a running maximum).
        actor: who appended it.
        what: what it did: `put churn/model:v7 · run train · auc 0.91`.
        reason: the reasons given, if any.
        outcome: `committed`, or `void: <rule>: …` if it has no effect.
        txn: its id.
        events: its facts; in a log those that meet the log's conditions.
    """

    seq: int
    time: datetime
    actor: str
    what: str
    reason: str | None
    outcome: str
    txn: str
    events: Sequence[Event] = field(repr=False)


class Log(Rows[Event]):
    """Events, newest last.

    Attributes:
        outcome: for a query by transaction: committed, void, never, unknown; else None.
    """

    def __init__(
        self, found: Sequence[Event], outcome: str | None = None, describe: Callable[[], Sequence[Transaction]] = tuple
    ) -> None:
        super().__init__(Event, found)
        self.outcome = outcome
        self._describe = describe  # reads the journal again: words are asked for by people only
        self._transactions: Rows[Transaction] | None = None

    @property
    def transactions(self) -> Rows[Transaction]:
        """The transactions that the events are of, newest last, each with what it did in words."""
        if self._transactions is None:
            self._transactions = Rows(Transaction, self._describe())
        return self._transactions


class Walk:
    """A reading of the journal from its first entry on, which may go on where it ended; `store` is its id."""

    def __init__(self, store: str) -> None:
        self._state = State(store)
        self._pointed: dict[tuple[str, str], int | None] = {}

    @property
    def head(self) -> int:
        """The number of the last entry read."""
        return self._state.head

    def transactions(self, entries: "Iterable[Entry]", wanted: Filter) -> Iterator[Transaction]:
        """Fold the next entries, and yield the transactions with a matching fact, oldest first."""
        for events in self._folded(entries):
            if matching := [event for event in events if wanted.wants(event)]:
                yield self._transaction(events, matching)
            for event in events if events and events[0].outcome == "committed" else ():
                if event.fact == "aliased" and event.name is not None and event.alias is not None:
                    self._pointed[event.name, event.alias] = event.version

    def events(self, entries: "Iterable[Entry]", wanted: Filter) -> Iterator[Event]:
        """Fold the next entries, and yield the matching facts, oldest first."""
        return (event for events in self._folded(entries) for event in events if wanted.wants(event))

    def _folded(self, entries: "Iterable[Entry]") -> Iterator[Sequence[Event]]:
        """Yield the facts of each transaction; a `received` one is followed by the facts that it contains."""
        for entry in entries:
            outcomes = self._state.apply(entry)
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                yield [*self._events(txn, "committed" if void is None else f"void: {void}", entry["seq"])]

    def _events(self, txn: "Txn", outcome: str, seq: int) -> Iterator[Event]:
        for raw, received in _with_received(txn):
            fact, source = sane(raw), txn if received is None else received
            yield Event(
                seq=seq,
                time=parse_time(self._state.header["time"] if received is None else received["time"]),
                actor=source["actor"],
                identity=source["identity"],
                fact=fact["fact"],
                name=_text(fact, "name"),
                version=_number(self._state, fact, taken=outcome == "committed"),
                alias=_text(fact, "alias"),
                digest=_text(fact, "digest"),
                reason=source.get("reason") if fact["fact"] == "received" else fact.get("reason", source.get("reason")),
                outcome=outcome,
                txn=f"{txn['txn']}-{txn['birth']}",
                host=source.get("host", ""),
                tool=source.get("tool", ""),
                fields=raw,
                origin=None if received is None else f"{received['store']}:{received['seq']}",
            )

    def _transaction(self, events: Sequence[Event], matching: Sequence[Event]) -> Transaction:
        own = [event for event in events if event.origin is None]
        naming = Naming(
            self._label,
            lambda run: self._state.runs.get(run, {}).get("name") or run[:_RUN],
            lambda name, alias: self._pointed.get((name, alias)),
            lambda fact: _number(self._state, fact, taken=True),
        )
        first = own[0]
        return Transaction(
            seq=first.seq,
            time=first.time,
            actor=first.actor,
            what=action([(sane(dict(event.fields)), event.version) for event in own], naming),
            reason="; ".join(dict.fromkeys(event.reason for event in events if event.reason)) or None,
            outcome=first.outcome,
            txn=first.txn,
            events=matching,
        )

    def _label(self, digest: str) -> str:
        versions = self._state.versions_by_digest.get(digest, ())
        return f"{versions[-1][0]}:v{versions[-1][1]}" if versions else digest[:_DIGEST]


def newest(found: Iterable[Transaction], limit: int | None) -> list[Transaction]:
    """Return the transactions of the newest `limit` events; the others are forgotten on the way."""
    kept: deque[Transaction] = deque()
    many = 0
    for one in found:
        kept.append(one)
        many += len(one.events)
        while limit is not None and kept and many - len(kept[0].events) >= limit:
            many -= len(kept.popleft().events)
    return [*kept]


def _is_like(name: str, pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[") and fnmatchcase(name, pattern)


def _with_received(txn: "Txn") -> Iterator[tuple[Fact, Fact | None]]:
    """Yield each fact of a transaction, and after a `received` fact those it contains, paired with it."""
    for fact in txn["facts"]:
        yield fact, None
        if fact["fact"] == "received":
            yield from ((inner, fact) for inner in fact["facts"])


def _text(fact: Mapping[str, Any], field: str) -> str | None:
    value = fact.get(field)
    return value if isinstance(value, str) else None  # an unknown kind of fact may contain anything


def _number(state: State, fact: Mapping[str, Any], *, taken: bool) -> int | None:
    if isinstance(fact.get("version"), int) and 0 < fact["version"] < 2**31:
        return int(fact["version"])
    if taken and isinstance(fact.get("name"), str) and "digest" in fact and fact["fact"] in {"versioned", "aliased", "described"}:
        return state.version_of(fact)
    return None


def parse_txn(text: Any) -> tuple[str, int]:
    """Parse a transaction as in `OutcomeUnknownError.txn`: `<32 hex>-<birth>`.

    Raises:
        InvalidInputError: the form differs.
    """
    one, _, birth = text.partition("-") if isinstance(text, str) else ("", "", "")
    if len(birth) > 12 or len(one) != 32 or not birth.isdecimal() or set(one) - set("0123456789abcdef"):
        raise InvalidInputError(
            f"{text!r} is not a transaction; expected <32 hex digits>-<number>, as in OutcomeUnknownError.txn"
        )
    return one, int(birth)


def outcome_of(found: Iterable[Event], birth: int, head: int) -> str:
    """Return the outcome of a transaction: committed, void, never (its window has passed), or unknown (it may still land)."""
    outcomes = [event.outcome for event in found]
    if "committed" in outcomes:
        return "committed"
    if outcomes:
        return "void"
    return "never" if head >= birth + WINDOW else "unknown"
