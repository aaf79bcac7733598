"""Facts of the journal with their outcomes, and what each transaction did in words, as values; and which of them are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.records import dataclass

__all__ = ["Event", "Filter", "Subject", "Transaction", "is_like", "text_of"]


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
        before: the value before it: of an alias the version (None: it pointed to nothing), of a gate or retention the rules, of
            `described` the metadata, of `measured` the previous values of the artifact's metrics, of a taint or hold what it was, of a removal the
            digest and the versions. None for kinds of facts that change no value.
        after: the value after it, likewise; of a fact without effect the same as before.
        clock: seconds that the transaction's own time lies before the entry before it: its writer's clock is behind, ran back, or
            it was tried again. Else None.
        origin: `<store>:<entry>` for a fact received from another store, whose actor, identity, time, reason, host and
            tool are then those recorded there. Else None.
        claims: what a token states of the actor, such as `repository` and `run_id`; verified by its writer only if the identity is
            oidc.
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
    before: Any = None
    after: Any = None
    clock: float | None = None
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact of which facts are wanted: those that name its digest, or its names and versions.

    Attributes:
        digest: its digest.
        versions: (name, number) of its versions; those that are met are added.
        holds: ids of the holds on it that were met so far, in the order of entries.
    """

    digest: str
    versions: set[tuple[str, int]]
    holds: set[str] = field(default_factory=set, compare=False)

    def concerns(self, event: Event) -> bool:
        """Return whether a fact speaks of it. Facts must be passed in the order of entries."""
        fact = event.fields
        if event.fact == "released":
            return text_of(fact, "hold") in self.holds
        if event.digest == self.digest or (text_of(fact, "on") == self.digest and event.fact != "held"):
            if event.fact == "versioned" and event.name is not None and event.version is not None:
                self.versions.add((event.name, event.version))
            if event.fact == "held" and (hold := text_of(fact, "hold")) is not None:
                self.holds.add(hold)
            return True
        if event.name is None:
            return False
        if event.fact == "aliased":  # a move speaks of the version that it leaves, too
            return any((event.name, one) in self.versions for one in (event.version, event.before))
        if event.version is None and event.digest is None:
            return any(name == event.name for name, _ in self.versions)  # it speaks of the name
        return (event.name, event.version) in self.versions


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
        subject: facts that speak of this artifact.
    """

    name: str | None = None
    alias: str | None = None
    actor: str | None = None
    since: Any = None
    until: Any = None
    fact: str | None = None
    txn: str | None = None
    subject: Subject | None = None

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
        about = self.subject is None or self.subject.concerns(event)  # asked of each: it notes holds
        return (
            about
            and (self.name is None or event.name == self.name or (event.name is not None and is_like(event.name, self.name)))
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


def is_like(name: str, pattern: str) -> bool:
    """Return whether a name matches a pattern; text without a sign of one is none."""
    return any(sign in pattern for sign in "*?[") and fnmatchcase(name, pattern)


def text_of(fact: Mapping[str, Any], field: str) -> str | None:
    """Return a field of a fact if it is text: an unknown kind of fact may contain anything."""
    value = fact.get(field)
    return value if isinstance(value, str) else None
