"""Selection for an import: what can be taken from another store, and under which names, given both states. Pure.

A name's history continues here if it is a prefix of the source's history, or the other way round. A store's own
facts take precedence over received ones: on a conflict the other's are left out or get another name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from artifactstore.catalog.fold.received import is_own
from artifactstore.catalog.fold.state import State
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.maintenance.sync.name_histories import Histories, share_prefix
from artifactstore.maintenance.sync.report import LeftOut
from artifactstore.model.reference import check_alias, check_name

__all__ = ["ImportFilter", "ImportSelection"]


@dataclass(frozen=True, slots=True)
class ImportFilter:
    """What the caller wants to import.

    Attributes:
        names: name patterns; None for everything.
        rename: whether a conflicting name is imported as `<name>.from-<label>`.
        label: identifies the source in new names.
        false: digest → why its content can never be imported, of artifacts whose manifests are not what they were recorded as.
    """

    names: tuple[str, ...] | None = None
    rename: bool = False
    label: str = ""
    false: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def checked(cls, names: Any, on_conflict: Any, label: Any, store: str) -> "ImportFilter":
        """Validate the caller's arguments.

        Raises:
            InvalidInputError: not patterns, an unknown conflict mode, or a label that is not valid in a name.
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
        chosen = None if names is None else tuple(names)
        if chosen == ():
            raise InvalidInputError("names=[] would import nothing: leave it out for everything")
        return cls(chosen, on_conflict == "rename", label or store[:8])

    def wants(self, name: str) -> bool:
        """Whether a name is selected."""
        return self.names is None or any(fnmatchcase(name, pattern) for pattern in self.names)


class ImportSelection:
    """The selection of what one store imports from another.

    Attributes:
        left_out: what is not imported, and why.
        names: source name → local name, of everything that is imported.
        wanted: digests whose content is imported if it is not here.
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
        self._choose(there)
        self._held = _held_digests(here)
        self._choose_content(there)

    # -- deciding

    def _choose(self, there: State) -> None:
        for pattern in self._filter.names or ():
            if not any(fnmatchcase(name, pattern) for name in there.names):
                some = ", ".join(sorted(there.names)[:5]) + (" …" if len(there.names) > 5 else "")
                raise NotFoundError(f"no name of the source matches {pattern!r}; it has {some or 'no names yet'}")
        source, taken = Histories.of(there), set[str]()
        for name in sorted(there.names):
            if not self._filter.wants(name):
                continue
            mine, why = self._find_local_name(name, there, source, taken)
            if mine is None:
                self.left_out.append(LeftOut(name, why))
                continue
            self.names[name] = mine
            taken.add(mine)
            for alias, moves in sorted(source.moves.get(name, {}).items()):
                if not share_prefix(moves, self._plan.moves.get(mine, {}).get(alias, [])):
                    self._aliases_left.add((name, alias))
                    self.left_out.append(LeftOut(f"{mine}:{alias}", "the alias was moved differently here and there"))

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
        rows = [row for name in self.names for row in there.names[name]]
        live = {row["digest"] for row in rows if "removed" not in row}
        self._digests = None if self._filter.names is None else {row["digest"] for row in rows}
        false = self._filter.false.keys()
        live -= false
        self._unnamed = set(there.unnamed) - false if self._filter.names is None else set()
        held = {digest for digest in there.holds.values() if self._about(digest) and there.alive(digest)} - false
        self._active = {hold.rpartition("/")[2] for hold, digest in there.holds.items() if digest in held}
        self.wanted = live | self._unnamed | held
        for digest, why in self._filter.false.items():
            named = [
                f"{name}:v{k}" for name in self.names for k, row in enumerate(there.names[name], 1) if row["digest"] == digest
            ]
            for what in named or [digest]:
                self._leave_out(what, why)
        self._wanted_runs = (
            None
            if self._digests is None
            else {run for digest, runs in there.produced_by.items() if digest in self._digests for run in runs}
        )

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
    for hold, held in sorted(state.holds.items()):
        seen, todo = {held}, [held]
        while todo:
            one = todo.pop()
            found.setdefault(one, []).append(hold)
            more = {digest for run in state.produced_by.get(one, ()) for digest in used.get(run, ())} - seen
            seen |= more
            todo += more
    return found
