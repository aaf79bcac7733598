"""Selection for an import: what can be taken from another store, and under which names, given both states. Pure.

A name's history continues here if it is a prefix of the source's history, or the other way round. A store's own
facts take precedence over received ones: on a conflict the other's are left out or get another name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.gates.evaluate import gates_of
from artifactstore.catalog.lineage import node_of, reachable
from artifactstore.catalog.retention import least_days
from artifactstore.catalog.versions import resolve
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.maintenance.sync.name_histories import Histories, share_prefix
from artifactstore.maintenance.sync.report import LeftOut
from artifactstore.model.encoding import format_time
from artifactstore.model.reference import Reference, check_alias, check_name, full_name

__all__ = ["ImportFilter", "ImportSelection"]


@dataclass(frozen=True, slots=True)
class ImportFilter:
    """What the caller wants to import.

    Attributes:
        names: name patterns; None for everything, unless there are references.
        rename: whether a conflicting name is imported as `<name>.from-<label>`.
        label: identifies the source in new names.
        false: digest → why its content can never be imported, of artifacts whose manifests are not what they were recorded as.
        refs: references: single versions, what an alias means, digests.
        lineage: whether everything that the selected artifacts were made from comes along: inputs, code, environments, runs.
        runs: ids of the runs that come along; None for those that made the selected artifacts.
    """

    names: tuple[str, ...] | None = None
    rename: bool = False
    label: str = ""
    false: Mapping[str, str] = field(default_factory=dict)
    refs: tuple[Reference, ...] = ()
    lineage: bool = False
    runs: frozenset[str] | None = None

    @classmethod
    def checked(cls, names: Any, on_conflict: Any, label: Any, store: str, *, lineage: Any = False) -> "ImportFilter":
        """Validate the caller's arguments.

        Raises:
            InvalidInputError: not patterns or references, lineage without a selection, an unknown conflict mode, or a label that is not valid in a name.
        """
        if names is not None and (
            isinstance(names, str) or not isinstance(names, Iterable) or not all(isinstance(one, str) and one for one in names)
        ):
            raise InvalidInputError(f"names= must be a list of names or patterns, for example ['churn/*'], got {names!r}")
        if on_conflict not in {"leave", "rename"}:
            raise InvalidInputError(f"on_conflict= must be 'leave' or 'rename', got {on_conflict!r}")
        if label is not None:
            try:
                check_alias(label)
            except InvalidInputError as error:
                raise InvalidInputError(f"label= must consist of letters, digits, '.', '_' and '-', got {label!r}") from error
        if not isinstance(lineage, bool):
            raise InvalidInputError(f"with_lineage={lineage!r}: expected True or False")
        if lineage and names is None:
            raise InvalidInputError("with_lineage=True is for a selection by names=: without one, everything comes along")
        chosen = None if names is None else tuple(map(full_name, names))
        if chosen == ():
            raise InvalidInputError("names=[] would import nothing: leave it out for everything")
        if chosen is None:
            return cls(rename=on_conflict == "rename", label=label or store[:8])
        refs = tuple(Reference.parse(one) for one in chosen if ":" in one or "@" in one)
        if inner := [str(one) for one in refs if one.path is not None]:
            raise InvalidInputError(f"{inner[0]} is a path in an artifact: select the artifact")
        patterns = tuple(one for one in chosen if ":" not in one and "@" not in one)
        return cls(patterns, on_conflict == "rename", label or store[:8], refs=refs, lineage=lineage)

    def wants(self, name: str) -> bool:
        """Whether a name is selected."""
        return self.names is None or any(fnmatchcase(name, pattern) for pattern in self.names)


class ImportSelection:
    """The selection of what one store imports from another.

    Attributes:
        left_out: what is not imported, and why.
        names: source name → local name, of everything that is imported.
        wanted: digests whose content is imported if it is not here.
        lacking: what the imported artifacts were made from and neither store will have here, by its names.
    """

    def __init__(self, there: State, here: State, *, source: str, target: str, import_filter: ImportFilter) -> None:
        """Decide.

        Args:
            there: the source's state; used only in this call.
            here: the target's state; used only in this call.
            source: the source's store id.
            target: the target's store id.
            import_filter: the caller's filter.

        Raises:
            NotFoundError: a pattern matches no name of the source.
        """
        self._source, self._target, self._filter = source, target, import_filter
        self.left_out: list[LeftOut] = []
        self.names: dict[str, str] = {}
        self._plan = Histories.of(here)
        self._stopped: set[str] = set()
        self._aliases_left: set[tuple[str, str]] = set()
        self._renamed = {store: dict(names) for store, names in here.renamed.items()}
        self._progress = {store: dict(done) for store, done in here.received.items()}
        self._own_runs = {run for run, row in here.runs.items() if is_own(row)}
        self._unnamed_here = {digest for digest, row in here.unnamed.items() if not is_own(row)}
        self._holds_here = {hold for hold in here.holds if hold.startswith("received/")}
        self._required = self._find_required(there)
        self._choose(there, here)
        self._held = _held_digests(here)
        self._now = max(str(here.header["time"]), format_time(datetime.now(UTC)))
        self._least_days = {mine: least_days(here, mine) for mine in self.names.values()} if here.retention else {}
        self._choose_content(there)
        self.lacking = sorted(self._find_lacking(there, here))

    # -- deciding

    def _find_required(self, there: State) -> set[str]:
        """Return the digests that are selected by reference or by lineage, not by a pattern of names."""
        found = {resolve(there, ref).digest for ref in self._filter.refs}
        if self._filter.lineage:
            by_name = {row["digest"] for name in there.names if self._filter.wants(name) for row in there.names[name]}
            for digest in sorted(found | by_name):
                found |= {node.id for node in reachable(there, digest, up=True).nodes.values() if node.type == "artifact"}
        return found

    def _find_lacking(self, there: State, here: State) -> Iterator[str]:
        """Yield what runs of imported artifacts used, and is not here afterwards."""
        seen = set[str]()
        for run in self._wanted_runs or ():
            for edge in there.edges.get(run, ()):
                digest = edge["digest"]
                if edge["fact"] == "used" and digest not in seen and digest not in self.wanted and not here.alive(digest):
                    seen.add(digest)
                    named = edge.get("name") is not None and edge.get("version") is not None
                    label = f"{edge['name']}:v{edge['version']}" if named else node_of(there, digest).label
                    yield f"{edge['role']} {label}" if edge.get("role") and not named else label

    def _choose(self, there: State, here: State) -> None:
        for pattern in self._filter.names or ():
            if not any(fnmatchcase(name, pattern) for name in there.names):
                some = ", ".join(sorted(there.names)[:5]) + (" …" if len(there.names) > 5 else "")
                raise NotFoundError(f"no name of the source matches {pattern!r}; it has {some or 'no names yet'}")
        source, taken = Histories.of(there), set[str]()
        required = {name for digest in self._required for name, _, _ in there.versions_by_digest.get(digest, ())}
        for name in sorted(there.names):
            if not self._filter.wants(name) and name not in required:
                continue
            mine, why = self._find_local_name(name, there, source, taken)
            if mine is None:
                self.left_out.append(LeftOut(name, why))
                continue
            self.names[name] = mine
            taken.add(mine)
            for alias, moves in sorted(source.moves.get(name, {}).items()):
                gated = bool(gates_of(here, mine, alias))
                if gated or not share_prefix(moves, self._plan.moves.get(mine, {}).get(alias, [])):
                    self._aliases_left.add((name, alias))
                    why = "the alias is gated here: promote it" if gated else "the alias was moved differently here and there"
                    self.left_out.append(LeftOut(f"{mine}:{alias}", why))

    def _find_local_name(self, name: str, there: State, source: Histories, taken: set[str]) -> tuple[str | None, str]:
        """Find the local name under which a history can continue: the one used last time, its own, or a new one."""
        theirs = [row.digest for row in source.rows[name]]
        first = there.names[name][0]
        known = self._renamed.get(first.get("from", self._source), {}).get(name)
        known = self._renamed.get(self._source, {}).get(name, known)
        fresh = f"{name}.from-{self._filter.label}"
        why = ""
        for one in dict.fromkeys([known or name, *([fresh] if self._filter.rename else [])]):
            try:
                check_name(one)
            except InvalidInputError as error:
                return None, str(error)
            ours = [row.digest for row in self._plan.rows.get(one, [])]
            if share_prefix(theirs, ours) and one not in taken:
                return one, ""
            if not why:
                k = next((k for k, (a, b) in enumerate(zip(theirs, ours, strict=False), 1) if a != b), 1)
                why = f"{one}:v{k} is a different artifact here than in the source: on_conflict='rename' imports it as {fresh}"
                if self._filter.rename:
                    why = f"{one}:v{k} is a different artifact here than in the source, and {fresh} is taken, too: choose another label"
        return None, why

    def _choose_content(self, there: State) -> None:
        rows = [row for name in self.names if self._filter.wants(name) for row in there.names[name]]
        live = {row["digest"] for row in rows if "removed" not in row} | {one for one in self._required if there.alive(one)}
        self._digests = None if self._filter.names is None else {row["digest"] for row in rows} | self._required
        false = self._filter.false.keys()
        live -= false
        self._unnamed = {one for one in there.unnamed if self._digests is None or one in self._required} - false
        held = {
            row["digest"] for row in there.holds.values() if self._about(row["digest"]) and there.alive(row["digest"])
        } - false
        self._active = {hold.rpartition("/")[2] for hold, row in there.holds.items() if row["digest"] in held}
        self.wanted = live | self._unnamed | held
        for digest, why in self._filter.false.items():
            named = [
                f"{name}:v{k}" for name in self.names for k, row in enumerate(there.names[name], 1) if row["digest"] == digest
            ]
            for what in named or [digest]:
                self._leave_out(what, why)
        self._wanted_runs = self._filter.runs
        if self._wanted_runs is None and self._digests is not None:
            made = (runs for digest, runs in there.produced_by.items() if digest in self._digests)
            self._wanted_runs = frozenset(run for runs in made for run in runs)

    def _about(self, digest: str) -> bool:
        return self._digests is None or digest in self._digests

    def _leave_out(self, what: str, why: str) -> None:
        found = LeftOut(what, why)
        if found not in self.left_out:
            self.left_out.append(found)

    def _stop_name(self, name: str, why: str) -> None:
        """Import nothing more of a name: what follows would not continue the history here."""
        self._stopped.add(name)
        self._leave_out(name, why)


def _held_digests(state: State) -> dict[str, list[str]]:
    """Return what cannot be removed: each digest under a hold, or from which a held artifact was made, with those holds."""
    used: dict[str, list[str]] = {}
    for digest, runs in state.used_by_runs.items() if state.holds else ():
        for run in runs:
            used.setdefault(run, []).append(digest)
    found: dict[str, list[str]] = {}
    for hold, held in sorted((hold, row["digest"]) for hold, row in state.holds.items()):
        seen, todo = {held}, [held]
        while todo:
            one = todo.pop()
            found.setdefault(one, []).append(hold)
            more = {digest for run in state.produced_by.get(one, ()) for digest in used.get(run, ())} - seen
            seen |= more
            todo += more
    return found
