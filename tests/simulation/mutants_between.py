"""Rules between places, each taken out: copies, moves, releases, imports."""

from typing import Any

from artifactstore.catalog.fold import judge as judge_module
from artifactstore.catalog.fold import state as state_module
from artifactstore.catalog.fold.state import State
from artifactstore.errors import AlreadyExistsError
from artifactstore.journal.append import Appender
from artifactstore.journal.replica import ReplicaStatus, end_key, mark_body
from artifactstore.maintenance.sync import import_plan as receive_module
from artifactstore.maintenance.sync import import_selection as choosing_module
from artifactstore.maintenance.sync import move as move_module
from artifactstore.maintenance.sync import object_copy as whole_module
from artifactstore.maintenance.sync import replicate as replicate_module
from artifactstore.maintenance.sync.import_plan import ImportPlanner
from artifactstore.maintenance.sync.name_histories import Histories
from artifactstore.model.facts import Fact
from artifactstore.work.sync import import_store

from .mutants import Mutant, _patches
from .tasks import Habits

_COPY, _IMPORT = Habits(mode="copy"), Habits(mode="import")
_COPY_EAGER, _IMPORT_EAGER = Habits(mode="copy", eager=True), Habits(mode="import", eager=True)
_Copy = replicate_module._Copy
REAL_COPY_ENTRIES = _Copy._copy_entries
REAL_COPY_OBJECTS = _Copy._copy_objects
REAL_JUDGED = Appender._judged
REAL_RELEASE = move_module.release
REAL_JUDGE_RECEIVED = judge_module._judge_received
REAL_TAKE_VERSIONED = State._fold_versioned
REAL_TAKE_REMOVED = State._fold_removed
REAL_ENSURE = whole_module.create_with_retries
REAL_HISTORIES = Histories.of
REAL_CHOOSE = whole_module.select_objects


def _entries_first(self: Any, objects: Any) -> Any:
    """Copy the entries, and then what they need."""
    last, digest, _ = whole_module.snapshot(self._source, 0)
    REAL_COPY_ENTRIES(self, 1, last, digest)
    return REAL_COPY_OBJECTS(self, objects)


def _name_nothing(self: Any, standing: ReplicaStatus, _last: int, _digest: Any) -> ReplicaStatus:
    return standing


def _closing_is_judged_anywhere(self: Appender, ticket: Any, head: int) -> dict[str, Any]:
    judged = REAL_JUDGED(self, ticket, head)
    return {**judged, "base": head} if ticket.facts[0]["fact"] == "moved_to" else judged


def _release_first(source: Any, appender: Any, target: Any, reopen: Any, *, watch: Any, done: Any) -> None:
    """Open the new place when it has all, and close the old one then."""
    head = replicate_module.replicate(source, target, reopen(), watch=watch, done=done)
    REAL_RELEASE(reopen())
    appender.commit([{"fact": "moved_to", "url": target.url}], birth=head, alive_at=head, refuse=move_module._later_error)


def _release_anyhow(copy: Any) -> bool:
    head = copy.catch_up()
    return REAL_ENSURE(copy.backend, end_key(head), mark_body(copy.config.store, head, copy.digest))


def _write_over(backend: Any, key: str, raw: bytes) -> bool:
    """Copy an entry without asking whether another is there."""
    if not key.startswith("journal/"):
        return REAL_ENSURE(backend, key, raw)
    try:
        backend.create(key, raw)
    except AlreadyExistsError:
        backend.write(key, raw)
    return True


def _copy_closing_too(self: State) -> int:
    return self.head


def _only_what_stands(entries: Any, state: Any) -> Any:
    """Choose without packs that another entry's manifest brought."""
    found = REAL_CHOOSE(entries, state)
    found.packs = found.packs[:-1]
    return found


def _judge_received_without(*why: str) -> Any:
    def judge(state: Any, fact: Fact, own: Any, new: Any, freed: Any, *, time: str) -> Any:
        void = REAL_JUDGE_RECEIVED(state, fact, own, new, freed, time=time)
        return None if void is not None and void.code in why else void

    return judge


def _gone_is_there(self: State, fact: Fact, stamp: Fact) -> None:
    REAL_TAKE_VERSIONED(self, fact, {key: value for key, value in stamp.items() if key != "removed"})


def _remove_whatever_is_named(self: State, fact: Fact, stamp: Fact) -> None:
    REAL_TAKE_REMOVED(self, fact, stamp)
    number = self.version_of(fact) if "name" in fact else None
    if number is not None:
        self._set(self.names[fact["name"]][number - 1], "removed", stamp)


@classmethod  # type: ignore[misc]
def _nothing_is_own(_cls: Any, state: State) -> Histories:
    found = REAL_HISTORIES(state)
    for rows in found.rows.values():
        for row in rows:
            row.own = False
    return found


_HANDLERS = state_module._HANDLERS


def _no_content(self: Any, _digest: str, _name: str | None) -> None:
    pass


def _no_expectations(steps: Any) -> list[Fact]:
    return [fact for step in steps for fact in step.facts]


def _any_prefix(_a: Any, _b: Any) -> bool:
    return True


_WITHOUT_COUNTING_ONCE = (judge_module, "_judge_received", _judge_received_without("received", "expect"))

BETWEEN: dict[str, Mutant] = {
    "entries last": Mutant("a copy has what its entries name", _patches((_Copy, "_copy_objects", _entries_first)), _COPY),
    "names its head first": Mutant("nobody writes to a copy", _patches((_Copy, "_name", _name_nothing)), _COPY),
    "closed right behind": Mutant(
        "a move closes right behind the last entry copied", _patches((Appender, "_judged", _closing_is_judged_anywhere)), _COPY
    ),
    "close, then open": Mutant(
        "the old place is closed before the new one opens", _patches((move_module, "move", _release_first)), _COPY
    ),
    "released when reached": Mutant(
        "only a finished copy is released", _patches((move_module, "release", _release_anyhow)), _COPY_EAGER
    ),
    "entries are created": Mutant(
        "an entry of a copy is created exclusively", _patches((replicate_module, "create_with_retries", _write_over)), _COPY_EAGER
    ),
    "the closing entry stays": Mutant(
        "what closes the old place is not copied", _patches((State, "end", property(_copy_closing_too))), _COPY
    ),
    "all packs": Mutant("a copy has all packs", _patches((whole_module, "select_objects", _only_what_stands)), _COPY),
    "received with its content": Mutant(
        "what is received needs its content",
        _patches(
            (judge_module, "_judge_received", _judge_received_without("holder")), (ImportPlanner, "_require_content", _no_content)
        ),
        _IMPORT,
    ),
    "received holders are judged": Mutant(
        "a holder that is gone at the commit makes a reception void",
        _patches((judge_module, "_judge_received", _judge_received_without("holder"))),
        _IMPORT_EAGER,
    ),
    "received once": Mutant("what was received counts once", _patches(_WITHOUT_COUNTING_ONCE), _IMPORT),
    "behind its history": Mutant(
        "a name is received behind the history that was planned on",
        _patches((import_store, "_with_expectations", _no_expectations)),
        _IMPORT,
    ),
    "gone is removed": Mutant(
        "a version without content is removed",
        _patches((state_module, "_HANDLERS", {**_HANDLERS, "versioned": _gone_is_there})),
        _IMPORT,
    ),
    "own words stand": Mutant(
        "a received removal leaves own versions alone",
        _patches(
            (state_module, "_HANDLERS", {**_HANDLERS, "removed": _remove_whatever_is_named}),
            (Histories, "of", _nothing_is_own),
        ),
        _IMPORT,
    ),
    "layout stays there": Mutant(
        "another store's layout means nothing",
        _patches(
            (state_module, "LAYOUT", frozenset()), (judge_module, "LAYOUT", frozenset()), (receive_module, "LAYOUT", frozenset())
        ),
        _IMPORT,
    ),
    "one history": Mutant(
        "a name goes on only where its history is the same", _patches((choosing_module, "share_prefix", _any_prefix)), _IMPORT
    ),
}
