"""What the journal says of some artifacts: their facts, approvals, verdicts and moves, as JSON values in the order of entries."""

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

from artifactstore.catalog.audit import Event
from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import format_time, parse_json
from artifactstore.model.fields import finite
from artifactstore.work.export.record import Item

__all__ = ["Statuses", "Subject", "approvals", "moves", "record_of", "signatures", "verdicts"]

Statuses = Mapping[tuple[str | None, int, str], tuple[str, str]]  # (digest, entry, actor) → (printed name, worth)
_PATTERNS: Final = frozenset({"gated", "retained"})  # of names that match a pattern


@dataclass(slots=True)
class Subject:
    """The artifacts and runs of which facts are wanted.

    Attributes:
        digests: of the artifacts.
        runs: ids of the runs.
        versions: (name, number) of the artifacts.
        names: of them.
        holds: ids of the holds on them that were met so far.
    """

    digests: frozenset[str]
    runs: frozenset[str]
    versions: frozenset[tuple[str, int]]
    names: frozenset[str]
    holds: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, items: Iterable[Item], runs: Iterable[str]) -> "Subject":
        """Return the subject of some artifacts and runs."""
        items = [*items]
        versions = frozenset((one.name, one.number) for item in items for one in item.namings)
        digests = frozenset(item.digest for item in items)
        return cls(digests, frozenset(runs), versions, frozenset(name for name, _ in versions))

    def events(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events that speak of the subject. Facts that came from another store stand for themselves."""
        return (event for event in events if event.fact != "received" and self._concerns(event))

    def _concerns(self, event: Event) -> bool:
        fact = event.fields
        if event.fact in _PATTERNS:
            pattern = fact.get("names")
            return isinstance(pattern, str) and any(fnmatchcase(name, pattern) for name in self.names)
        if event.fact == "released":
            return _text(fact.get("hold")) in self.holds
        if not self._names(event):
            return False
        if event.fact == "held" and isinstance(hold := fact.get("hold"), str):
            self.holds.add(hold)
        return True

    def _names(self, event: Event) -> bool:
        fact = event.fields
        if event.digest in self.digests or any(_text(fact.get(key)) in self.runs for key in ("run", "by")):
            return True
        if _text(fact.get("on")) in self.digests:
            return True
        if event.name not in self.names:
            return False
        # A move of an alias speaks of the version that it leaves, too.
        return event.version is None or event.fact == "aliased" or (event.name, event.version) in self.versions


def record_of(event: Event) -> dict[str, Any]:
    """Return an event as a JSON value: when, who, why, and the fact as recorded."""
    return {
        **_when(event),
        "fact": event.fact,
        "name": event.name,
        "version": event.version,
        "alias": event.alias,
        "digest": event.digest,
        "txn": event.txn,
        "host": event.host,
        "tool": event.tool,
        "fields": finite(event.fields),
    }


def approvals(events: Iterable[Event], refs: Mapping[str, str], statuses: Statuses) -> list[dict[str, Any]]:
    """Return the approvals and rejections, each with the printed name, time and meaning of its signature.

    Args:
        events: of the subject.
        refs: digest → reference.
        statuses: of those that have effect: printed name, and what the approval is worth.
    """
    found = []
    for event in events:
        if event.fact != "approved":
            continue
        fact = event.fields
        name, status = statuses.get((event.digest, event.seq, event.actor), (None, "without effect"))
        if event.outcome == "committed" and event.origin is None and name is None:
            status = "claimed"
        found.append(
            {
                "ref": refs.get(event.digest or "", event.digest),
                "digest": event.digest,
                "verdict": fact.get("verdict"),
                "meaning": fact.get("meaning", "approval"),
                "role": fact.get("role"),
                "alias": event.alias,
                "name": name or event.actor,
                "status": status,
                "signature": finite(fact.get("signature")),
                **_when(event),
            }
        )
    return found


def signatures(events: Iterable[Event], refs: Mapping[str, str], folders: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the signatures of files, each with its printed name and the file that has its bundle.

    Args:
        events: of the subject.
        refs: digest → reference.
        folders: digest → folder of each artifact whose files are in the dossier.
    """
    found = []
    for event in events:
        if event.fact != "signed":
            continue
        folder = folders.get(event.digest or "")
        fits = event.outcome == "committed" and folder is not None
        found.append(
            {
                **_when(event),
                "ref": refs.get(event.digest or "", event.digest),
                "name": _printed(event.fields.get("bundle")) or event.actor,
                "key": event.fields.get("key"),
                "file": f"signatures/{str(folder).partition('/')[2]}.{event.seq}.sig" if fits else None,
                "bundle": finite(event.fields.get("bundle")),
            }
        )
    return found


def _printed(bundle: Any) -> str | None:
    """Return the name that a bundle states; nothing in it is verified here."""
    try:
        statement = parse_json(b64decode(bundle["dsseEnvelope"]["payload"], validate=True), "the statement")
        return next(
            (_text(one["name"]) for one in statement["predicate"].values() if isinstance(one, dict) and "digest" in one), None
        )
    except (InvalidInputError, KeyError, TypeError, ValueError, AttributeError):
        return None


def verdicts(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the verdicts of gates, of moves that were made and of attempts that were refused, and what rollbacks quote."""
    found = []
    for event in events:
        given = {key: finite(event.fields[key]) for key in ("verdict", "rollback") if isinstance(event.fields.get(key), dict)}
        if event.fact in {"aliased", "refused"} and given:
            found.append(
                {**_when(event), "fact": event.fact, "name": event.name, "version": event.version, "alias": event.alias, **given}
            )
    return found


def moves(events: Iterable[Event], names: Iterable[str]) -> list[dict[str, Any]]:
    """Return the moves of the aliases of some names, and the attempts that were refused, each with the version before."""
    wanted = set(names)
    now: dict[tuple[str, str], int | None] = {}
    found = []
    for event in events:
        if event.name not in wanted or event.alias is None or event.fact not in {"aliased", "refused"}:
            continue
        key = event.name, event.alias
        refused = event.fact == "refused"
        reasons = event.fields.get("reasons")
        why = "; ".join(map(str, reasons)) if refused and isinstance(reasons, list) else None
        outcome = "refused" + (f": {why}" if why else "") if refused else event.outcome
        verdict, rollback = finite(event.fields.get("verdict")), finite(event.fields.get("rollback"))
        found.append(
            {
                **_when(event),
                "outcome": outcome,
                "name": event.name,
                "alias": event.alias,
                "before": now.get(key),
                "after": event.version,
                "verdict": verdict if isinstance(verdict, dict) else None,
                "rollback": rollback if isinstance(rollback, dict) else None,
            }
        )
        if outcome == "committed":
            now[key] = event.version
    return found


def _when(event: Event) -> dict[str, Any]:
    return {
        "entry": event.seq,
        "time": format_time(event.time),
        "actor": event.actor,
        "identity": event.identity,
        "reason": event.reason,
        "outcome": event.outcome,
        "origin": event.origin,
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
