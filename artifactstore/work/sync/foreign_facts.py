"""The facts of another system, as those of another store: received, in order, by their own actors and at their own times."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.errors import InvalidInputError
from artifactstore.model.actor import Actor
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, format_time
from artifactstore.model.facts import Fact
from artifactstore.work.put.arguments import PutRequest
from artifactstore.work.secrets import captured

__all__ = ["ForeignFacts", "distinct", "new_edges", "version_facts"]


class ForeignFacts:
    """Makes the facts of one import.

    Args:
        system: the other system.
        source: what identifies the source there.
        author: who imports.
    """

    def __init__(self, system: str, source: str, author: Actor) -> None:
        self._system, self._author = system, author
        self._store = Digest.of(canonical_json([system, source])).raw.hex()[:32]
        self._seq = 0  # the last that was given in this import

    def begin_anew(self) -> None:
        """Look again at what was received of this source: another import of it was first."""
        self._seq = 0

    def origin(self, time: datetime | None, actor: str | None, reason: str | None) -> Fact:
        """Return actor, time, tool and reason of facts there.

        Raises:
            InvalidInputError: the time lacks a time zone.
        """
        if time is not None and time.tzinfo is None:
            raise InvalidInputError(f"time={time!r}: expected a datetime with a time zone")
        own = actor is None
        found: Fact = {
            "actor": self._author.actor if own else captured(str(actor), "actor"),
            "identity": self._author.identity if own else "claimed",
            "tool": self._system,
            "time": format_time(time or datetime.now(UTC)),
        }
        return found if reason is None else {**found, "reason": captured(reason, "reason")}

    def received(self, state: State, origin: Fact, facts: Sequence[Fact], *, of: str | None = None) -> Fact:
        """Return facts as received from the system, behind all that was received from it.

        Args:
            state: the state that they are planned for.
            origin: actor, time, tool and reason there.
            facts: the facts.
            of: the name whose history must be as it is now.
        """
        if not self._seq:
            self._seq = max(state.received.get(self._store, {}).values(), default=0)
        self._seq += 1
        entry = str(Digest.of(canonical_json([origin, [*facts]])))
        found: Fact = {"fact": "received", "store": self._store, "seq": self._seq, "entry": entry, **origin, "facts": [*facts]}
        if of is not None:
            moves = sum(map(len, state.aliases.get(of, {}).values()))
            found["expect"] = {of: {"versions": len(state.names.get(of, ())), "moves": moves}}
        return found


def version_facts(request: PutRequest, digest: str, *, single: bool) -> list[Fact]:
    """Return the facts of a new version, and of what was measured on it."""
    fact: Fact = {"fact": "versioned", "name": request.name, "digest": digest, "kind": request.kind}
    fact |= {"file": True} if single else {}
    fact |= {"metadata": request.metadata} if request.metadata else {}
    if not (request.metrics or request.not_finite):
        return [fact]
    odd: Fact = {"not_finite": request.not_finite} if request.not_finite else {}
    return [fact, {"fact": "measured", "digest": digest, "metrics": request.metrics, **odd}]


def distinct(edges: Iterable[Fact]) -> list[Fact]:
    """Return edges without those that repeat an earlier one: an artifact is an input of a run once, whatever its names."""
    found: dict[tuple[str, str], Fact] = {}
    for one in edges:
        found.setdefault((one["fact"], one["digest"]), one)
    return list(found.values())


def new_edges(state: State, run: str, edges: Iterable[Fact]) -> list[Fact]:
    """Return the edges that a run lacks; none for one that is not here, or was recorded in this store."""
    row = state.runs.get(run)
    if row is None or is_own(row):
        return []
    known = {(edge["fact"], edge["digest"]) for edge in state.edges.get(run, ())}
    return [one for one in edges if (one["fact"], one["digest"]) not in known]
