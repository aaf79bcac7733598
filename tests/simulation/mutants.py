"""The protocol with one rule taken out, each as a small patch: the simulator must find what breaks.

A rule that is guarded in two places (the fold and the appender) is taken out of both, or nothing breaks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from artifactstore.catalog.fold import judge as judge_module
from artifactstore.catalog.fold.state import State
from artifactstore.content.packs.writer import Packer
from artifactstore.errors import AlreadyExistsError, NotFoundError
from artifactstore.journal import append as append_module
from artifactstore.journal import chain as chain_module
from artifactstore.journal import inbox as inbox_module
from artifactstore.journal import journal as journal_module
from artifactstore.journal import snapshots as snapshots_module
from artifactstore.journal.append import Appender
from artifactstore.journal.chain import entry_key, join
from artifactstore.journal.journal import Journal
from artifactstore.model.digest import Digest
from artifactstore.model.facts import parse_entry

from .tasks import Habits
from .world import SimBackend

REAL_JUDGE = judge_module.judge
REAL_JUDGE_FACT = judge_module._judge_fact
REAL_JOIN = join
REAL_LOOK_FOR = Appender._look_for
REAL_DELIVER = SimBackend._deliver


@dataclass(frozen=True, slots=True)
class Mutant:
    """A missing rule.

    Attributes:
        rule: what is missing.
        patched: takes it out of the library.
        habits: takes it out of the tasks.
    """

    rule: str
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    habits: Habits = field(default_factory=Habits)


def _patches(*targets: tuple[Any, str, Any]) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def all_of_them() -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, value in targets:
                stack.enter_context(patch.object(owner, name, value))
            yield

    return all_of_them


def _without(why: str) -> Callable[..., Any]:
    """The judge without one of its rules; those behind it are still asked."""

    def judge(state: Any, txn: Any, seq: int, *, alone: bool, time: str) -> Any:
        void = REAL_JUDGE(state, txn, seq, alone=alone, time=time)
        if void is None or void.code != why or any(fact["fact"] == "condemned" for fact in txn["facts"]):
            return void
        changed: dict[str, dict[str, Any]] = {
            "twice": {"txn": "0" * 32},
            "window": {"birth": seq - 1, "base": seq - 1},
            "base": {"base": seq - 1},
        }
        return REAL_JUDGE(state, {**txn, **changed[why]}, seq, alone=alone, time=time)  # type: ignore[typeddict-item]

    return judge


def _judge_fact_without_current(state: Any, fact: Any, own: Any, new: Any, freed: Any) -> Any:
    void = REAL_JUDGE_FACT(state, fact, own, new, freed)
    if void is not None and void.code == "current":
        return REAL_NOT_CONDEMNED(state, [fact["to"]], fact["packs"], fact)
    return void


def _judge_in_company(state: Any, txn: Any, seq: int, *, alone: bool, time: str) -> Any:
    return REAL_JUDGE(state, txn, seq, alone=True, time=time)


def _judge_as_planned_here(state: Any, txn: Any, seq: int, *, alone: bool, time: str) -> Any:
    clean_up = any(fact["fact"] == "condemned" for fact in txn["facts"])
    judged: Any = {**txn, "base": seq - 1} if clean_up else txn
    return REAL_JUDGE(state, judged, seq, alone=alone, time=time)


def _wait_for_nothing(_self: Packer) -> None:
    pass


def _batch_all(self: Appender) -> list[Any]:
    return [ticket for ticket in self._pending if not ticket.settled]


def _not_condemned_but_packs(state: Any, manifests: Any, packs: Any, fact: Any) -> Any:
    return REAL_NOT_CONDEMNED(state, manifests, [], fact)


def _not_condemned_but_manifests(state: Any, manifests: Any, packs: Any, fact: Any) -> Any:
    return REAL_NOT_CONDEMNED(state, [], packs, fact)


REAL_NOT_CONDEMNED = judge_module._not_condemned


def _send_with_new_id(self: Appender, ticket: Any, head: int) -> None:
    if ticket.tried and ticket.tried > head:
        ticket.record["txn"] = f"{(int(ticket.record['txn'], 16) + 1) % 2**128:032x}"
    REAL_LOOK_FOR(self, ticket, head)


def _exists_is_success(self: SimBackend, verb: str, key: str, data: bytes, me: str) -> None:
    """A client that takes `exists` for its own earlier success."""
    try:
        REAL_DELIVER(self, verb, key, data, me)
    except AlreadyExistsError:
        if not key.startswith("journal/"):
            raise


def _exists_then_write(self: SimBackend, key: str, data: bytes) -> None:
    try:
        self.read(key)
    except NotFoundError:
        self.write(key, data)
        return
    raise AlreadyExistsError(key)


def _base_is_always_the_head(self: Appender, ticket: Any, head: int) -> dict[str, Any]:
    return {**ticket.record, "facts": ticket.facts, "base": head}


def _predict_each_on_the_same_state(self: State, txns: Sequence[Any], time: str, others: int = 0) -> list[Any]:
    return [REAL_PREDICT(self, [txn], time, int(k >= len(txns) - others))[0] for k, txn in enumerate(txns)]


REAL_PREDICT = State.predict


def _accept_whatever_comes(self: Journal, raw: bytes, entry: Any) -> None:
    with self.lock:
        self.fold.apply(entry)
        self.digest = Digest.of(raw, self.config.digest)


def _watch_nothing(self: Journal, txn: str) -> None:
    pass


def _give_up_without_a_doubt(self: Appender, batch: Sequence[Any], error: Exception) -> None:
    for ticket in batch:
        if not ticket.settled:
            ticket.error = error


def _join_without_the_chain(raw: bytes, seq: int, _previous: Any) -> Any:
    entry = parse_entry(raw, entry_key(seq))
    return REAL_JOIN(raw, seq, Digest.parse(entry["previous"]))


def _give_up_what_was_posted(self: Appender, batch: Sequence[Any], error: Any) -> None:
    """Take what was posted for what no other writer can append."""
    for ticket in batch:
        ticket.posted = -1
    REAL_GIVE_UP(self, batch, error)


def _a_void_copy_is_the_end(self: Appender, ticket: Any, head: int) -> None:
    posted, ticket.posted = ticket.posted, -1
    try:
        REAL_LOOK_FOR(self, ticket, head)
    finally:
        ticket.posted = posted


def _renew_what_was_posted(self: Appender, good: Sequence[Any], head: int, now: str) -> None:
    for ticket in good:
        if ticket.posted >= 0 and head - ticket.record["birth"] >= chain_module.INBOX_FOLDER:
            self._renew(ticket, head)
    REAL_POST(self, good, head, now)


def _renew_what_is_under_way(self: Appender, good: Sequence[Any], head: int, now: str) -> None:
    for ticket in good:
        ticket.tried = min(ticket.tried, head)
    REAL_POST(self, good, head, now)


def _fold_own_alone(self: Appender, seq: int, previous: Any, time: str, txns: Any, form: int) -> Any:  # noqa: PLR0917 - as what it replaces
    """Accept an own entry without what was adopted."""
    return REAL_ENTRY(
        self, seq, previous, time, [one for one in txns if self.journal._watched.get(one["txn"], "?") is None], form
    )


def _adopt_beside_a_clean_up(self: Appender, good: Sequence[Any], head: int, now: str) -> Any:
    append_module._ALONE = frozenset()  # type: ignore[misc]
    try:
        return REAL_ADOPT(self, good, head, now)
    finally:
        append_module._ALONE = REAL_ALONE  # type: ignore[misc] # not what was there before: another task may have been in here then


REAL_ALONE = append_module._ALONE
REAL_GIVE_UP, REAL_POST, REAL_ENTRY, REAL_ADOPT = Appender._give_up, Appender._post, Appender._entry, Appender._adopt
_ANYTHING = tuple((module, "is_adoptable", lambda _facts: True) for module in (append_module, inbox_module))


def _success_is_a_reply(self: Appender, ticket: Any, head: int) -> None:
    """Never look into the journal for an own transaction: only a reply says that it is there."""
    if ticket.tried > head:
        REAL_LOOK_FOR(self, ticket, head)


def _overtaken_but(code: str) -> Callable[..., Any]:
    """What other writers may append, with one of its two rules taken out."""

    def overtaken(self: State, txn: Any) -> Any:
        if code == "gate":
            with patch.object(self, "gates", {}):
                return REAL_OVERTAKEN(self, txn)
        return REAL_OVERTAKEN(self, {**txn, "base": 2**62})

    return overtaken


REAL_OVERTAKEN = State.overtaken

MUTANTS: dict[str, Mutant] = {
    "condemned packs": Mutant(
        "a txn that stores on a condemned pack is void", _patches((judge_module, "_not_condemned", _not_condemned_but_packs))
    ),
    "condemned manifests": Mutant(
        "a txn that stores a condemned manifest is void", _patches((judge_module, "_not_condemned", _not_condemned_but_manifests))
    ),
    "holder": Mutant("what names a digest needs a holder", _patches((judge_module, "_NEEDS_HOLDER", frozenset()))),
    "twice": Mutant("an id takes effect once", _patches((judge_module, "judge", _without("twice")))),
    "window": Mutant("an id takes effect within its window", _patches((judge_module, "judge", _without("window")))),
    "base of a clean-up": Mutant(
        "a clean-up is judged on exactly the state it was planned on", _patches((Appender, "_judged", _base_is_always_the_head))
    ),
    "alone": Mutant(
        "a clean-up is alone in its entry",
        _patches((judge_module, "judge", _judge_in_company), (Appender, "_batch", _batch_all)),
    ),
    "alone by the fold": Mutant(
        "the fold refuses a clean-up in company, whoever wrote it",
        _patches((judge_module, "judge", _judge_in_company)),
        Habits(strange=True),
    ),
    "alone by the head": Mutant(
        "the fold refuses a clean-up that was planned before the head, whoever wrote it",
        _patches((judge_module, "judge", _judge_as_planned_here)),
        Habits(strange=True),
    ),
    "packs first": Mutant(
        "an entry comes behind its packs", _patches((Packer, "wait", _wait_for_nothing)), Habits(by_library=True)
    ),
    "look for own": Mutant("own ids are looked for first", _patches((Appender, "_look_for", _success_is_a_reply))),
    "new id after a doubt": Mutant(
        "a txn keeps its id until its window has passed", _patches((Appender, "_look_for", _send_with_new_id))
    ),
    "trust exists": Mutant(
        "the reply to a retried create is not believed", _patches((SimBackend, "_deliver", _exists_is_success))
    ),
    "exists then write": Mutant("create is one step", _patches((SimBackend, "create", _exists_then_write))),
    "predict in order": Mutant(
        "each is judged on the state after the ones before", _patches((State, "predict", _predict_each_on_the_same_state))
    ),
    "accept": Mutant("an entry is folded once and in its place", _patches((Journal, "accept", _accept_whatever_comes))),
    "watch": Mutant("an own verdict is remembered while somebody waits", _patches((Journal, "watch", _watch_nothing))),
    "unknown": Mutant("what was sent and not seen is unknown", _patches((Appender, "_give_up", _give_up_without_a_doubt))),
    "durable first": Mutant("an entry only names what is durable", habits=Habits(waits_until_durable=False)),
    "vouched for": Mutant(
        "a snapshot is believed only if the journal vouches for it",
        _patches((snapshots_module, "vouching", lambda _snapshot, _raw: True), (State, "vouches", lambda *_: True)),
        Habits(publishing=True),
    ),
    "posted is unknown": Mutant(
        "what was posted and not seen is unknown",
        _patches((Appender, "_give_up", _give_up_what_was_posted)),
        Habits(crowded=True),
    ),
    "void copies": Mutant(
        "a void copy of what was posted is not its end",
        _patches((Appender, "_look_for", _a_void_copy_is_the_end)),
        Habits(crowded=True, strange=True),
    ),
    "posted keeps its id": Mutant(
        "what was posted keeps its id", _patches((Appender, "_post", _renew_what_was_posted)), Habits(crowded=True)
    ),
    "adoptable": Mutant(
        "only what stays void once it is void is adopted", _patches(*_ANYTHING), Habits(crowded=True, holding=True, mode="alone")
    ),
    "moved since it was posted": Mutant(
        "a move of an alias that was moved since is not adopted",
        _patches((State, "overtaken", _overtaken_but("expect"))),
        Habits(crowded=True, moving=True),
    ),
    "gated since it was posted": Mutant(
        "a move of an alias that was gated since is not adopted, although that gate was lifted",
        _patches((State, "overtaken", _overtaken_but("gate"))),
        Habits(crowded=True, moving=True, gating=True, mode="alone"),
    ),
    "adopted is folded": Mutant(
        "an own entry is folded with what it adopts", _patches((Appender, "_entry", _fold_own_alone)), Habits(crowded=True)
    ),
    "clean-up adopts nothing": Mutant(
        "a clean-up adopts nothing",
        # A world may end while a task is in there: what it set is set back with the rest.
        _patches((append_module, "_ALONE", REAL_ALONE), (Appender, "_adopt", _adopt_beside_a_clean_up)),
        Habits(crowded=True),
    ),
    "read on": Mutant("who misses an object catches up first", habits=Habits(reads_on_when_missing=False, repacking=True)),
}

# Taken out, these change nothing that a world can see, and why.
EQUIVALENT: dict[str, Mutant] = {
    # The appender judges each reference on the head, and the fold looks at each manifest, pack and holder by itself:
    # the rule stands for facts that a later version may bring, whose references this fold can't see.
    "base of an adopted txn": Mutant(
        "a base before the last clean-up is void", _patches((judge_module, "judge", _without("base")))
    ),
    # A relocation from a holder of yesterday makes a whole manifest the current one: wasteful, never wrong.
    "current": Mutant(
        "a relocation is judged on the current holder", _patches((judge_module, "_judge_fact", _judge_fact_without_current))
    ),
    # Nobody in a world forges bytes; tests/journal does.
    "chain": Mutant("an entry carries the digest of the one before", _patches((journal_module, "join", _join_without_the_chain))),
    # A writer posts before it creates, and what it created before a lost race is settled by reading on behind that race.
    "under way keeps its id": Mutant(
        "what may be under way keeps its id", _patches((Appender, "_post", _renew_what_is_under_way)), Habits(crowded=True)
    ),
}
