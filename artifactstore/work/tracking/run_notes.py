"""The pending facts of one process in a run: its reads, puts and metrics, until they are committed."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final

from artifactstore.content.read.tree_cache import digest_of_tree
from artifactstore.errors import ArtifactStoreError
from artifactstore.model.facts import Fact
from artifactstore.runtime.remarks import remark
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.tracking import inherited_runs
from artifactstore.work.tracking.inherited_runs import Inbox
from artifactstore.work.tracking.outside_reads import OutsideReads

__all__ = ["RunRecord", "role"]

_MOST: Final = 1000  # pending facts before they are committed

role: ContextVar[str | None] = ContextVar("artifactstore_role", default=None)  # of reads and puts in this context


class RunRecord:
    """The reads and puts of one process in a run: the process that has begun it, or a child process.

    A child process hands its facts over to its parent at once, since it may end without any clean-up; if the parent is not
    reachable, it commits them itself at once.

    Args:
        session: its store.
        store: that store's id.
        run: its id.
        parent: the enclosing run, or None.
        inbox: for a run of another process: the file for its facts, or None if they are committed here.
        joined: whether the run belongs to another process.
    """

    def __init__(
        self,
        session: Session,
        store: str,
        run: str,
        *,
        parent: str | None = None,
        inbox: str | None = None,
        joined: bool = False,
    ) -> None:
        self.session = session
        self.store = store
        self.run = run
        self.parent = parent
        self.pid = os.getpid()
        self.explicit = True  # begun by `start()`; a `with` block belongs to its context only
        self._inbox = inbox
        self._joined = joined
        self.odd: Counter[str] = Counter()  # metric → how often it was not finite
        self._handed: Inbox | None = None  # facts of other processes for a run of this one
        self.pending: list[Step] = []  # steps to commit with the first output, such as its code
        self._taken: list[Step] = []  # of these, the steps in a pending commit
        self.outside_reads = OutsideReads()  # reads that bypass the store
        self.before: Callable[[], None] = lambda: None  # fills `pending`
        self._lock = threading.Lock()
        self._waiting: list[Fact] = []
        self._used: set[str] = set()
        self._produced: set[str] = set()

    def used(self, digest: str, *, name: str | None = None, version: int | None = None, **more: Any) -> None:
        """Record an input; the first record of a digest counts."""
        fact: Fact = {"fact": "used", "run": self.run, "digest": digest}
        fact |= {key: value for key, value in {"name": name, "version": version, **more}.items() if value is not None}
        with self._lock:
            if digest in self._used:
                return
            self._used.add(digest)
            self._waiting.append(fact)
        if self._joined and self._hand_over(fact) is False:
            self._commit_at_once()

    def own(self, digest: str) -> None:
        """Let reads of something that this run has made itself, perhaps in an earlier process, be no inputs."""
        with self._lock:
            self._used.add(digest)

    def measured(self, metrics: dict[str, float], step: int | None, odd: dict[str, str] | None = None) -> None:
        """Record metrics of the run itself; `odd` are those that are not finite."""
        fact: Fact = {"fact": "measured", "run": self.run, "metrics": metrics}
        fact |= {} if step is None else {"step": step}
        fact |= {"not_finite": odd} if odd else {}
        if self._joined and self._hand_over(fact) is not False:
            return  # the parent process commits it: its order among other values is that of the inbox
        with self._lock:
            self.odd.update(list(odd or ()))
            self._waiting.append(fact)
            many = len(self._waiting) >= _MOST
        if many:
            self.flush()

    def _hand_over(self, fact: Fact) -> bool | None:
        return False if self._inbox is None else inherited_runs.hand_over(self._inbox, fact)

    def _commit_at_once(self) -> None:
        if self.session.may_write:
            self.flush_or_warn()

    def _collect(self, *, last: bool = False) -> None:
        """Collect what other processes have recorded in this run, and what was read from the cache."""
        for name in self.outside_reads.cached(mapped=last):
            digest = digest_of_tree(name)
            with self.session.state(fresh=False) as state:
                known = digest is not None and digest in state.stored
            if digest is not None and known:  # a cache may serve several stores
                self.used(digest)
        for fact in () if self._handed is None else self._handed.take():
            if fact.pop("fact") == "used":
                self.used(fact.pop("digest"), **fact)
            else:
                with self._lock:
                    self.odd.update(list(fact.get("not_finite", ())))
                    self._waiting.append({"fact": "measured", "run": self.run, **fact})

    def _has_ended(self) -> bool:
        """Return True if the journal has the end of a run of another process: nothing is added to it any more."""
        if not self._joined:
            return False
        with self.session.state(fresh=False) as state:
            return "status" in state.runs.get(self.run, {})

    def edges(self, digest: str, name: str | None) -> list[Fact]:
        """Return the facts to commit with an output: the reads so far, and that it was produced."""
        if self._has_ended():
            return []
        self._collect()
        with self._lock:
            facts = list(self._waiting)
            if digest not in self._produced:
                fact: Fact = {"fact": "produced", "run": self.run, "digest": digest}
                fact |= {key: value for key, value in {"name": name, "role": role.get()}.items() if value is not None}
                facts.append(fact)
            return facts

    def builds_on(self, digest: str, name: str | None, version: int | None) -> list[Fact]:
        """Return the fact to commit with an output that is made out of an artifact: none if this run made or read that."""
        with self._lock:
            if digest in self._used or digest in self._produced:
                return []
        with self.session.state(fresh=False) as state:
            if self.run in state.produced_by.get(digest, ()):
                return []
        fact: Fact = {"fact": "used", "run": self.run, "digest": digest, "role": "onto"}
        return [fact | {key: value for key, value in {"name": name, "version": version}.items() if value is not None}]

    def sent(self, facts: Iterable[Fact]) -> None:
        """Remove committed facts."""
        gone = list(facts)
        with self._lock:
            self._waiting = [fact for fact in self._waiting if not any(fact is one for one in gone)]
            self._produced.update(fact["digest"] for fact in gone if fact["fact"] == "produced")

    def with_edges(self, step: Step, name: str | None) -> Step:
        """Return a step that also records the edges of its output."""
        edges: list[Fact] = []

        def prepare(core: Core) -> Prepared:
            prepared = step.prepare(core)
            edges[:] = self.edges(prepared.digest, name)
            prepared.facts = [*prepared.facts, *edges]
            return prepared

        def settled(prepared: Prepared, committed: bool) -> None:  # noqa: FBT001 - as `Step` calls it
            step.settled(prepared, committed)
            if committed:
                self.sent(edges)

        return Step(prepare, settled, step.reason)

    def take_pending(self, *, last: bool = False) -> list[Step]:
        """Return the steps to commit with the next output, once; the last time all uncommitted steps."""
        self.before()
        with self._lock:
            found = [step for step in self.pending if last or step not in self._taken]
            self._taken += found
        return [self._until_committed(step) for step in found]

    def _until_committed(self, step: Step) -> Step:
        """Return a step that is pending until it is committed."""

        def settled(prepared: Prepared, committed: bool) -> None:  # noqa: FBT001 - as `Step` calls it
            step.settled(prepared, committed)
            if committed:
                with self._lock:
                    self.pending = [one for one in self.pending if one is not step]

        return Step(step.prepare, settled, step.reason)

    def flush(self, *last: Fact) -> None:
        """Commit pending facts, and some last facts.

        Raises:
            BackendError: the commit failed; the facts stay pending.
        """
        steps = self.take_pending(last=True) if last else []
        self._collect()

        def rest(_core: Core) -> Prepared:
            # Whether it has ended matters only to a process that joined it: else this process alone ends it.
            with self.session.state(fresh=self._joined) as state, self._lock:
                ended = self._joined and "status" in state.runs.get(self.run, {})
                return Prepared([] if ended else [*self._waiting, *last], state.head, "")

        if steps or last or self._waiting:
            from artifactstore.work.session.commit import commit  # noqa: PLC0415 - a command that only reads is in no run

            self.sent(commit(self.session, *steps, Step(rest))[-1].facts)

    def flush_or_warn(self) -> None:
        """Commit pending facts; a failure is a warning, as a read must not fail for it."""
        try:
            self.flush()
        except ArtifactStoreError as error:
            text = f"what this process read for the run {self.run} was not recorded: {error}"
            remark(text)
