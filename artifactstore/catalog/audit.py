"""Audit log: every fact of the journal with its outcome, and what each transaction did in words, filtered."""

import csv
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from artifactstore.catalog.actions import Naming, action
from artifactstore.catalog.changes import NO_CHANGE, Change, Changes
from artifactstore.catalog.events import Event, Filter, Subject, Transaction, text_of
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.display.values import counted
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import canonical_json, format_time, parse_time
from artifactstore.model.facts import ADOPTABLE, WINDOW, Fact
from artifactstore.model.fields import finite, sane
from artifactstore.printable import json_escaped, visible

if TYPE_CHECKING:
    from artifactstore.display.outline import Block
    from artifactstore.model.schema import Entry, Txn

__all__ = [
    "Event",
    "Filter",
    "Found",
    "Log",
    "Subject",
    "Transaction",
    "Walk",
    "clock_behind",
    "event_of",
    "newest",
    "outcome_of",
    "parse_txn",
    "transaction_of",
    "with_received",
]

_DIGEST: Final = 15  # characters of a digest that are shown
_RUN: Final = 12  # characters of a run's id that are shown


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

    def to_csv(self) -> str:
        """Return the events as CSV with a header, for a spreadsheet: no cell is taken for a formula; tables are JSON."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = self._names()
        writer.writerow(names)
        writer.writerows([_csv_cell(getattr(event, name)) for name in names] for event in self)
        return text.getvalue()

    def to_html(self) -> str:
        """Return the events as a page that loads nothing from elsewhere: a row each, with the values before and after."""
        from artifactstore.display import html_renderer  # noqa: PLC0415 - only for pages
        from artifactstore.display.lists import LISTS  # noqa: PLC0415 - as above
        from artifactstore.display.outline import Heading, Line, table_of  # noqa: PLC0415 - as above

        span = f", entries {self[0].seq:,} to {self[-1].seq:,}" if self else ""
        outcome = [] if self.outcome is None else [Line(f"outcome: {self.outcome}")]
        blocks: list[Block] = [
            Heading("Audit trail"),
            Line(counted(len(self), "facts") + span, dim=True),
            *outcome,
            table_of(self, LISTS["audit"]),
        ]
        return html_renderer.document("Audit trail", html_renderer.as_html(blocks))


def _csv_cell(value: Any) -> str:
    """Return a cell; text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, Mapping | list | tuple):
        return json_escaped(canonical_json(finite(value)).decode())
    if isinstance(value, int | float):
        return str(value)
    text = visible(str(value))
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


class Walk:
    """A reading of the journal from its first entry on, which may go on where it ended; `store` is its id.

    Attributes:
        state: the fold of what was read.
        changes: the current values of what facts change.
    """

    def __init__(self, store: str, state: State | None = None, changes: Changes | None = None) -> None:
        self.state = self._state = State(store) if state is None else state
        self.changes = self._changes = changes or Changes()

    @property
    def head(self) -> int:
        """The number of the last entry read."""
        return self._state.head

    @property
    def time(self) -> datetime:
        """The time of the last entry read."""
        return parse_time(self._state.header["time"])

    def transactions(self, entries: "Iterable[Entry]", wanted: Filter) -> Iterator[Transaction]:
        """Fold the next entries, and yield the transactions with a matching fact, oldest first."""
        for events in self.folded(entries):
            if matching := [event for event in events if wanted.wants(event)]:
                yield transaction_of(self._state, events, matching)

    def events(self, entries: "Iterable[Entry]", wanted: Filter) -> Iterator[Event]:
        """Fold the next entries, and yield the matching facts, oldest first."""
        return (event for events in self.folded(entries) for event in events if wanted.wants(event))

    def folded(self, entries: "Iterable[Entry]") -> Iterator[Sequence[Event]]:
        """Yield the facts of each transaction; a `received` one is followed by the facts that it contains."""
        for entry in entries:
            before = str(self._state.header["time"])
            outcomes = self._state.apply(entry)
            for txn, void in zip(entry["txns"], outcomes, strict=True):
                yield [*self._events(txn, "committed" if void is None else f"void: {void}", entry["seq"], before)]

    def _events(self, txn: "Txn", outcome: str, seq: int, before: str) -> Iterator[Event]:
        behind = clock_behind(txn["time"], before, str(self._state.header["time"]))
        committed = outcome == "committed"
        for raw, received in with_received(txn):
            fact, source = sane(raw), txn if received is None else received
            number = _number(self._state, fact, taken=committed)
            reason = source.get("reason") if fact["fact"] == "received" else fact.get("reason", source.get("reason"))
            change = self._change(fact, number, source["actor"], reason, own=received is None, committed=committed)
            found = Found(seq, parse_time(self._state.header["time"]), number, outcome, change, behind)
            yield event_of(txn, raw, received, found)

    def _change(self, fact: Fact, number: int | None, actor: str, reason: str | None, *, own: bool, committed: bool) -> Change:
        if fact["fact"] == "removed":
            gone = self._removed(fact, number)
            return NO_CHANGE if gone is None else Change(gone, None if committed else gone)
        return self._changes.follow(fact, number, actor=actor, reason=reason, own=own, takes_effect=committed)

    def _removed(self, fact: Fact, number: int | None) -> Mapping[str, Any] | None:
        """Return what a removal removes."""
        if "name" not in fact:
            found = self._state.versions_by_digest.get(fact["digest"], ())
            return {"digest": fact["digest"], "versions": [f"{name}:v{k}" for name, k, _ in found]}
        rows = self._state.names.get(fact["name"], ())
        if number is None or not 1 <= number <= len(rows):
            return None
        return {"digest": rows[number - 1]["digest"], "versions": [f"{fact['name']}:v{number}"]}


class Known(Protocol):
    """What a description of a transaction takes from the state after it."""

    @property
    def header(self) -> Mapping[str, Any]:
        """The header of the state."""

    @property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """The runs."""

    @property
    def versions_by_digest(self) -> Mapping[str, Sequence[Sequence[Any]]]:
        """The versions of each digest, the newest last."""

    def version_of(self, fact: Mapping[str, Any]) -> int | None:
        """Return the number of the version that a fact names."""


def transaction_of(state: Known, events: Sequence[Event], matching: Sequence[Event]) -> Transaction:
    """Return a transaction in words.

    Args:
        state: the state after it.
        events: all of its facts.
        matching: those that meet the conditions of a log.
    """

    def label(digest: str) -> str:
        versions = state.versions_by_digest.get(digest, ())
        return f"{versions[-1][0]}:v{versions[-1][1]}" if versions else digest[:_DIGEST]

    own = [event for event in events if event.origin is None]
    pointed: dict[tuple[str | None, str | None], int | None] = {}
    for event in events:
        if event.fact == "aliased":
            pointed.setdefault((event.name, event.alias), event.before)
    naming = Naming(
        label,
        lambda run: state.runs.get(run, {}).get("name") or run[:_RUN],
        lambda name, alias: pointed.get((name, alias)),
        lambda fact: _number(state, fact, taken=True),
        str(state.header["store"]),
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


class Found(NamedTuple):
    """What the fold says of a fact."""

    seq: int
    time: datetime
    version: int | None
    outcome: str
    change: Change
    clock: float | None


def event_of(txn: "Txn", raw: Fact, received: Fact | None, found: Found) -> Event:
    """Return the event of a fact of a transaction, or of a fact that a `received` one contains."""
    fact, source = sane(raw), txn if received is None else received
    return Event(
        seq=found.seq,
        time=found.time if received is None else parse_time(received["time"]),
        actor=source["actor"],
        identity=source["identity"],
        fact=fact["fact"],
        name=text_of(fact, "name"),
        version=found.version,
        alias=text_of(fact, "alias"),
        digest=text_of(fact, "digest"),
        reason=source.get("reason") if fact["fact"] == "received" else fact.get("reason", source.get("reason")),
        outcome=found.outcome,
        txn=f"{txn['txn']}-{txn['birth']}",
        host=source.get("host", ""),
        tool=source.get("tool", ""),
        fields=raw,
        origin=None if received is None else f"{received['store']}:{received['seq']}",
        before=found.change.before,
        after=found.change.after,
        clock=found.clock if received is None else None,
        claims=_claims_of(txn) if received is None else {},
    )


def _claims_of(txn: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims of a transaction; nothing if any writer has put something else there."""
    found = txn.get("claims")
    if not isinstance(found, dict) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        return {}
    return dict(found)


def with_received(txn: "Txn") -> Iterator[tuple[Fact, Fact | None]]:
    """Yield each fact of a transaction, and after a `received` fact those it contains, paired with it."""
    for fact in txn["facts"]:
        yield fact, None
        if fact["fact"] == "received":
            yield from ((inner, fact) for inner in fact["facts"])


def clock_behind(time: str, before: str, entry: str) -> float | None:
    """Return by how many seconds a transaction's own time lies before the time of the entry before it; None if it does not.

    Args:
        time: of the transaction.
        before: of the entry before it, as the fold has it.
        entry: of its entry, likewise; earlier than the one before where that is known to be wrong: its clock was ahead, not this one behind.
    """
    if time >= before or entry < before:
        return None
    return (parse_time(before) - parse_time(time)).total_seconds() or None


def _number(state: Known, fact: Mapping[str, Any], *, taken: bool) -> int | None:
    if isinstance(fact.get("version"), int) and 0 < fact["version"] < 2**31:
        return int(fact["version"])
    if (
        taken
        and isinstance(fact.get("name"), str)
        and "digest" in fact
        and fact["fact"] in {"versioned", "aliased", "described", "removed"}
    ):
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
    events = list(found)
    if any(event.outcome == "committed" for event in events):
        return "committed"
    over = head >= birth + WINDOW
    # Of what other writers may append, an old posting can be void while a newer one still takes effect.
    open_ = all(event.outcome.startswith("void: base") and event.fact in ADOPTABLE for event in events)
    if events and (over or not open_):
        return "void"
    return "never" if over else "unknown"
