"""The intake: another system's versions, runs and aliases come in, at their own times and by their own actors.

What a foreign system says is recorded as what another store says is: by `received` facts, which never outweigh this store's own. The
system takes the part of the store, so the facts of one subject come in order and count once. What is here already is found by the
ids of that system, in metadata and in the ids of runs: a second import appends nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from types import TracebackType
from typing import Any, Final, Self

from artifactstore.catalog.fold.metadata_index import ALSO, further
from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.catalog.versions import Version
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.digest import ALGORITHMS
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Referable, Reference, as_reference, check_alias, check_name
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.put.arguments import PutRequest, checked_request, take_onto
from artifactstore.work.put.put import listed, prepare
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.sync.foreign_facts import ForeignFacts, distinct, new_edges, version_facts
from artifactstore.work.sync.imported import Imported
from artifactstore.work.sync.marks import Marks
from artifactstore.work.sync.new_store import import_target
from artifactstore.work.sync.past_runs import PastRun

__all__ = ["Brought", "Intake"]

_FACTS: Final = 512 * 1024  # bytes of facts of runs that are committed together
_TRIES: Final = 20  # commits of one version, while another import of the same source is first


@dataclass(frozen=True, slots=True)
class Brought:
    """A version that an intake has brought, or found.

    Attributes:
        ref: `name:v3`.
        digest: the artifact's digest; empty in a dry run that would bring it.
        new: whether it was brought now.
    """

    ref: str
    digest: str
    new: bool


class Intake:
    """One import from a foreign system: `with store.maintenance.intake("dvc", url) as intake: …`.

    Each version is a transaction. Runs are committed together, the last ones at the end of the block; if it raises, they are
    left for the next import. A dry run writes nothing and reads no content.

    Attributes:
        report: what was brought so far.
    """

    def __init__(self, session: Session, system: str, source: str, *, dry_run: bool = False, reason: str | None = None) -> None:
        session.check_writable()
        if session.batch() is not None:
            raise InvalidInputError("an import cannot be a part of a batch: it commits each version at once")
        self.report = Imported()
        session = import_target(session, ALGORITHMS[0], dry_run=dry_run)
        self._session, self._dry_run, self._reason = session, dry_run, reason
        self._system = system
        core = session.core() if dry_run else session.core_to_write()
        self._facts = ForeignFacts(system, source, core.appender.author)
        self._names: set[str] = set()
        self._marks: dict[tuple[str, tuple[str, ...]], Marks] = {}
        self._planned: dict[str, list[Fact]] = {}  # in a dry run: name → its further versions
        self._waiting: list[tuple[PastRun, list[Fact]]] = []  # with its edges
        self._waiting_bytes = 0
        self._runs: set[str] = set()  # ids of those that were brought

    def __enter__(self) -> Self:
        # What is here already is looked up in one state: else an import that brings nothing asks the backend for each version.
        self._reading = one_state(anew=True)
        self._reading.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            if kind is None:
                self._flush()
                self.report.names = len(self._names)
        finally:
            self._reading.__exit__(kind, error, where)

    # -- what is here

    def find(self, name: str, marks: Mapping[str, str]) -> str | None:
        """Return the reference of the newest version of a name whose metadata have these values, removed ones included."""
        name = check_name(name)
        self._names.add(name)
        with self._session.state() as state:
            number = self._marked(state, name, marks)
        return None if number is None else f"{name}:v{number}"

    def _marked(self, state: State, name: str, marks: Mapping[str, str]) -> int | None:
        """Return the number of the newest version of a name with these metadata."""
        if not marks:
            raise InvalidInputError(f"marks= must name what identifies a version of {name} in {self._system}")
        rows = [*state.names.get(name, ()), *self._planned.get(name, ())] if self._dry_run else state.names.get(name, ())
        key = tuple(sorted(marks))
        return self._marks.setdefault((name, key), Marks(key)).find(rows, marks)

    def has_run(self, run: str) -> bool:
        """Return whether a run is here, or brought by this intake."""
        with self._session.state() as state:
            return run in state.runs or run in self._runs

    # -- bringing

    def put(
        self,
        source: Any,
        name: str,
        *,
        marks: Mapping[str, str],
        kind: str = "data",
        metadata: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        time: datetime | None = None,
        actor: str | None = None,
        reason: str | None = None,
        **options: Any,
    ) -> Brought:
        """Bring a version, if the name has none with these marks; its source is read only then.

        Content that the newest version has already makes no new one, as with every put: its metadata gets the further marks.

        Args:
            source: what `Store.put` takes, or an artifact of this store.
            name: the name here.
            marks: metadata that identify the version in the other system.
            kind: data, model, code …
            metadata: further metadata.
            metrics: measured values.
            time: when it was made there; now by default.
            actor: who made it there; the actor of this import by default.
            reason: why.
            **options: of `Store.put`, for files and objects; `onto` takes a pinned reference: `name:v3`.

        Raises:
            InvalidInputError: an argument is invalid.
            BackendError: a backend failed; what was brought before stays.
        """
        if (known := self.find(name, marks)) is not None:
            return Brought(known, self._digest(known), new=False)
        name, left = check_name(name), dict(options)
        onto = take_onto(left)
        request = checked_request(
            source, name, options=left, kind=kind, metadata={**(metadata or {}), **marks}, metrics=metrics, reason=reason
        )
        if request.aliases:
            raise InvalidInputError("aliases= cannot be used here: call alias() once the version is there")
        origin = self._facts.origin(time, actor, reason)
        if self._dry_run:
            self._planned.setdefault(name, []).append({"digest": "", "metadata": request.metadata or {}})
            self.report.versions += 1
            with self._session.state(fresh=False) as state:
                return Brought(f"{name}:v{len(state.names.get(name, ())) + len(self._planned[name])}", "", new=True)
        copied = source.digest if isinstance(source, Artifact | Version) else None
        found = None if copied is not None else listed(self._session, source, request, left, onto)
        number = 0
        is_version = is_new = False

        def store(core: Core) -> Prepared:
            nonlocal number, is_version, is_new
            if found is not None:
                prepared = prepare(self._session, core, found, request)
            else:
                with self._session.state() as state:
                    prepared = Prepared([], state.head, str(copied))
            with self._session.state() as state:
                rows = state.names.get(name, ())
                stored = [fact for fact in prepared.facts if fact["fact"] == "stored"]
                number, is_version, is_new = self._marked(state, name, marks) or 0, False, False
                if number:
                    prepared.facts = []
                elif rows and rows[-1]["digest"] == prepared.digest and "removed" not in rows[-1]:
                    number = len(rows)
                    prepared.facts = [*stored, self._described(state, origin, name, request, marks)]
                else:
                    number, is_version, is_new = len(rows) + 1, True, bool(stored)
                    facts = version_facts(request, prepared.digest, single=found is not None and found.single)
                    prepared.facts = [*stored, self._facts.received(state, origin, facts, of=name)]
            return prepared

        prepared = self._commit(store)
        self.report.versions += is_version
        self.report.new += is_new
        return Brought(f"{name}:v{number}", prepared.digest, new=is_version)

    def run(self, id: str, name: str, **fields: Any) -> bool:  # noqa: A002 - the name of the field
        """Bring a run, if there is none of its id; an unfinished one that was brought before gets its end.

        Args:
            id: `<system>-<its id>`.
            name: the kind of work.
            **fields: of `PastRun`: time, ended, status, params, inputs, outputs, history …

        Returns:
            Whether it is new, or has ended now.

        Raises:
            NotFoundError: an input or output is not here: bring it first.
            InvalidInputError: an argument is invalid.
        """
        run = PastRun(id=id, name=name, **fields)
        run.check()
        with self._session.state() as state:
            if run.id in self._runs or not run.is_news(state):
                return False
        edges = [] if self._dry_run else [*self._edges("used", run.id, run.inputs), *self._edges("produced", run.id, run.outputs)]
        if run.code is not None and not self._dry_run:
            (edge,) = self._edges("used", run.id, [(run.code[0], "code")])
            edges.insert(0, {**edge, "code": dict(run.code[1])})
        edges = distinct(edges)
        self._runs.add(run.id)
        self.report.runs += self._dry_run  # else once it is committed: another import may bring it first
        if self._dry_run:
            return True
        self._waiting.append((run, edges))
        self._waiting_bytes += run.size()
        if self._waiting_bytes > _FACTS:
            self._flush()
        return True

    def add_edges(
        self,
        id: str,  # noqa: A002 - the name of the field
        *,
        time: datetime,
        actor: str | None = None,
        inputs: Iterable[tuple[str | Referable, str | None]] = (),
        outputs: Iterable[tuple[str | Referable, str | None]] = (),
    ) -> bool:
        """Add edges to a run that an earlier import brought: its files may have come since. Those that it has are not added again.

        Args:
            id: of the run; one that was recorded in this store stays as it is.
            time: when the edges came to be.
            actor: who made them; the actor of this import by default.
            inputs: as of `PastRun`.
            outputs: likewise.

        Returns:
            Whether there were any.

        Raises:
            NotFoundError: an input or output is not here: bring it first.
        """
        if self._dry_run or id in self._runs:
            return False
        edges = distinct([*self._edges("used", id, inputs), *self._edges("produced", id, outputs)])
        news: list[Fact] = []

        def add(_core: Core) -> Prepared:
            with self._session.state() as state:
                news[:] = new_edges(state, id, edges)
                facts = [self._facts.received(state, self._facts.origin(time, actor, None), news)] if news else []
                return Prepared(facts, state.head, "")

        with self._session.state(fresh=False) as state:
            is_needed = bool(new_edges(state, id, edges))
        if is_needed:
            self._commit(add)
        return bool(news)

    def alias(self, ref: str, alias: str, *, time: datetime | None = None, actor: str | None = None) -> bool:
        """Point an alias at a version, unless it does already, or was moved in this store.

        Raises:
            InvalidInputError: the reference is not `name:v3`, or the alias is malformed.
            NotFoundError: there is no such version.
        """
        parsed, alias = Reference.parse(ref), check_alias(alias)
        name, version = parsed.name, parsed.version
        if name is None or version is None:
            raise InvalidInputError(f"{ref}: expected NAME:vN, the version that {alias} is to mean")
        origin = self._facts.origin(time, actor, None)
        moved: list[bool] = []

        def point(_core: Core) -> Prepared:
            with self._session.state() as state:
                moved[:] = [self._moves_alias(state, name, alias, version)]
                if not moved[0]:
                    return Prepared([], state.head, "")
                fact: Fact = {"fact": "aliased", "name": name, "alias": alias, "version": version}
                return Prepared([self._facts.received(state, origin, [fact], of=name)], state.head, "")

        if self._dry_run:
            point(self._session.core())
        else:
            self._session.resolve(ref, tainted=True)
            self._commit(point)
        return moved[0]

    def _moves_alias(self, state: State, name: str, alias: str, version: int) -> bool:
        """Return whether an alias is to be moved; note why not, if it means another version here."""
        moves = state.aliases.get(name, {}).get(alias, ())
        if moves and moves[-1]["version"] == version:
            return False
        why = None
        if moves and is_own(moves[-1]):
            why = f"{name}:{alias}: it was moved in this store, by {moves[-1]['actor']}"
        elif alias in state.gates and gates_of(state, name, alias):
            why = f"{name}:{alias}: it has gates here: promote the version"
        if why is not None and why not in self.report.skipped:
            self.report.skipped.append(why)
        return why is None

    # -- facts

    def _flush(self) -> None:
        """Commit the runs that wait."""
        if not self._waiting:
            return
        brought = 0

        def bring(_core: Core) -> Prepared:
            nonlocal brought
            with self._session.state() as state:
                found = [facts for run, edges in self._waiting if (facts := self._run_facts(state, run, edges))]
                brought = len(found)
                return Prepared([*chain.from_iterable(found)], state.head, "")

        self._commit(bring)
        self.report.runs += brought
        self._waiting, self._waiting_bytes = [], 0

    def _run_facts(self, state: State, run: PastRun, edges: Sequence[Fact]) -> list[Fact]:
        """Return a run's facts: its start at its time, the rest at its end; nothing of one that came meanwhile."""
        if not run.is_news(state):
            return []
        first: list[Fact] = []
        last: Sequence[Fact] = edges
        if run.id not in state.runs:
            first = [run.start(), *(one for one in edges if one["fact"] == "used")]
            last = [*run.measures(), *(one for one in edges if one["fact"] != "used")]
        halves = ((run.time, first), (run.ended or run.time, [*last, *run.end()]))
        return [self._facts.received(state, self._facts.origin(time, run.actor, None), facts) for time, facts in halves if facts]

    def _digest(self, ref: str) -> str:
        """Return the digest of a version; none where a dry run would bring it."""
        name, _, number = ref.rpartition(":v")
        with self._session.state(fresh=False) as state:
            rows = state.names.get(name, ())
            return str(rows[int(number) - 1]["digest"]) if int(number) <= len(rows) else ""

    def _edges(self, kind: str, run: str, refs: Iterable[tuple[str | Referable, str | None]]) -> list[Fact]:
        found = []
        for ref, role in refs:
            at = self._session.resolve(as_reference(ref), tainted=True)
            fact: Fact = {"fact": kind, "run": run, "digest": at.digest}
            fact |= {} if at.name is None else {"name": at.name, "version": at.version}
            found.append({**fact, "role": role} if role is not None else fact)
        return found

    def _described(self, state: State, origin: Fact, name: str, request: PutRequest, marks: Mapping[str, str]) -> Fact:
        """Return the fact that notes an id at the newest version, which has this content: equal content is one version."""
        row = state.names[name][-1]
        known = row.get("metadata", {})
        metadata: Fact = {**(request.metadata or {}), **known}
        if any(key in known for key in marks):
            metadata[ALSO] = [*further(known), dict(marks)]
        fact: Fact = {"fact": "described", "name": name, "version": len(state.names[name]), "metadata": metadata}
        if is_own(row) or "described" in row:
            return fact  # what another system says changes nothing of ours: this import does
        return self._facts.received(state, origin, [fact], of=name)

    def _commit(self, store: Callable[[Core], Prepared]) -> Prepared:
        """Commit; again if another import was first.

        Raises:
            ConflictError: others were first each time, or a file of the source changed.
        """
        for tried in range(_TRIES):
            try:
                with one_state(anew=bool(tried)):
                    return commit(self._session, Step(store), reason=self._reason)[0]
            except ConflictError as error:
                if error.fact is None:
                    raise  # no other import: a file of the source changed
                last = error
                self._facts.begin_anew()  # look what the other import has brought
        raise last
