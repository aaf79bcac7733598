"""Prepared transactions: facts and content that wait for their commit, alone or in a batch."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from artifactstore.model.facts import Fact
from artifactstore.model.reference import Reference
from artifactstore.work.session.core import Core

if TYPE_CHECKING:
    from artifactstore.content.manifests.manifest import Manifest

__all__ = ["Batch", "Prepared", "Staged", "Step", "current_batch"]


@dataclass(frozen=True, slots=True)
class Staged:
    """Content that is durable and not yet named by an entry."""

    manifest: "Manifest"


class Attempt(Protocol):
    """An upload of packs, of which the outcome is not yet known."""

    def close(self, *, committed: bool) -> None:
        """End it."""


@dataclass(slots=True)
class Prepared:
    """The facts that one call will append.

    Attributes:
        facts: in order; empty if there is nothing to record.
        alive_at: the head at which its references were known to be alive.
        digest: of the artifact that it is about.
        staged: its content, if that was stored anew.
        uploaded: bytes of packs and manifests that were written.
        uploads: the ledger of these packs; closed when the outcome is known.
        content: the digest of its plain listing, where that was computed.
    """

    facts: list[Fact]
    alive_at: int
    digest: str
    staged: Staged | None = None
    uploaded: int = 0
    uploads: Attempt | None = None
    content: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One part of a transaction.

    Attributes:
        prepare: store its content, if any, and return what to append; called again if clean-up took that content.
        settled: called with the result of `prepare` and whether it was committed.
        reason: recorded with each of its facts: inside a batch the transaction's own reason is the batch's.
    """

    prepare: Callable[[Core], Prepared]
    settled: Callable[[Prepared, bool], None] = lambda _prepared, _committed: None
    reason: str | None = None

    def run(self, core: Core) -> Prepared:
        """Prepare, and add the reason."""
        prepared = self.prepare(core)
        if self.reason is not None:
            prepared.facts = [{**fact, "reason": self.reason} for fact in prepared.facts]
        return prepared


class Writable(Protocol):
    """What a batch needs of its store."""

    def core_to_write(self) -> Core:
        """Return the store, for writing."""


class Batch:
    """The pending puts and alias moves of a `with store.batch():` block.

    Attributes:
        session: the store.
        outer: the enclosing batch of another store, or None.
        staged: digest → content that is durable and not committed.
        steps: the parts of the transaction, in order.
        prepared: what each step has prepared.
    """

    def __init__(self, session: Writable, outer: "Batch | None") -> None:
        self.session = session
        self.outer = outer
        self.staged: dict[str, Staged] = {}
        self.steps: list[Step] = []
        self.prepared: list[Prepared] = []

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"a batch has no {name!r}: inside the block call the store itself, such as store.put(…)", name=name, obj=self
        )

    def add(self, step: Step) -> Prepared:
        """Prepare one more step; it is prepared again if clean-up takes its content before the end."""
        prepared = step.run(self.session.core_to_write())
        self.steps.append(step)
        self.prepared.append(prepared)
        if prepared.staged is not None:
            self.staged[prepared.digest] = prepared.staged
        return prepared

    def find(self, ref: str) -> str | None:
        """Return the digest of a put in this batch by its digest or a prefix of it, or None."""
        parsed = Reference.parse(ref)
        if parsed.digest is None:
            return None
        text = ":".join(parsed.digest)
        found = {one.digest for one in self.prepared if one.digest.startswith(text)}
        return found.pop() if len(found) == 1 else None

    def name_of(self, digest: str) -> str | None:
        """Return the name under which this batch put a digest, or None."""
        for one in self.prepared:
            for fact in one.facts:
                if fact["fact"] == "versioned" and fact["digest"] == digest and fact["name"] is not None:
                    return str(fact["name"])
        return None


current_batch: ContextVar["Batch | None"] = ContextVar("artifactstore_batch", default=None)
