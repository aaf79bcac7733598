"""Audit log: every fact of the journal with its outcome, filtered by name, actor, time and the like."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.rows import Rows
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import parse_time
from artifactstore.model.facts import WINDOW, Fact
from artifactstore.model.fields import sane

if TYPE_CHECKING:
    from artifactstore.model.schema import Entry, Txn

__all__ = ["Event", "Filter", "Log", "events", "outcome_of", "parse_txn"]


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
        name: facts about this name.
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
            (self.name is None or event.name == self.name)
            and (self.alias is None or event.alias == self.alias)
            and (self.actor is None or event.actor == self.actor)
            and (self.since is None or event.time >= self.since)
            and (self.until is None or event.time <= self.until)
            and (self.fact is None or event.fact == self.fact)
            and (self.txn is None or event.txn == self.txn)
        )


class Log(Rows[Event]):
    """Events, newest last.

    Attributes:
        outcome: for a query by transaction: committed, void, never, unknown; else None.
    """

    def __init__(self, found: list[Event], outcome: str | None = None) -> None:
        super().__init__(Event, found)
        self.outcome = outcome


def events(entries: "Iterable[Entry]", wanted: Filter) -> Iterator[Event]:
    """Fold entries from the first one on, and yield the matching facts, each with its outcome.

    A `received` fact is followed by the facts that it contains.
    """
    state = State()
    for entry in entries:
        outcomes = state.apply(entry)
        for txn, void in zip(entry["txns"], outcomes, strict=True):
            for raw, received in _with_received(txn):
                fact, source = sane(raw), txn if received is None else received
                event = Event(
                    seq=entry["seq"],
                    time=parse_time(state.header["time"] if received is None else received["time"]),
                    actor=source["actor"],
                    identity=source["identity"],
                    fact=fact["fact"],
                    name=_text(fact, "name"),
                    version=_number(state, fact, taken=void is None),
                    alias=_text(fact, "alias"),
                    digest=_text(fact, "digest"),
                    reason=source.get("reason") if fact["fact"] == "received" else fact.get("reason", source.get("reason")),
                    outcome="committed" if void is None else f"void: {void}",
                    txn=f"{txn['txn']}-{txn['birth']}",
                    host=source.get("host", ""),
                    tool=source.get("tool", ""),
                    fields=raw,
                    origin=None if received is None else f"{received['store']}:{received['seq']}",
                )
                if wanted.wants(event):
                    yield event


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
