"""Rules of clean-up, each taken out of the shipped code by a line of its source."""

import inspect
import sys
import textwrap
from datetime import timedelta
from typing import Any

from artifactstore.journal import snapshots as snapshots_module
from artifactstore.journal.journal import Journal
from artifactstore.maintenance.gc import execute, litter, live, plan
from artifactstore.maintenance.gc.execute import _Collection
from artifactstore.maintenance.repack.execute import _Part

from .mutants import Mutant, _patches
from .tasks import Habits
from .world import EPOCH


def edited(function: Any, *edits: tuple[str, str]) -> Any:
    """Return a function of the library with lines of its source replaced."""
    source = textwrap.dedent(inspect.getsource(function))
    for old, new in edits:
        assert source.count(old) == 1, f"{function.__qualname__} has no line {old!r} any more, or several"
        source = source.replace(old, new)
    names = vars(sys.modules[function.__module__])
    made: dict[str, Any] = {}
    exec(compile(source, f"{function.__module__}, edited", "exec"), names, made)
    return made[function.__name__]


def _make_plan(*edits: tuple[str, str]) -> tuple[Any, str, Any]:
    return execute, "make_plan", edited(plan.make_plan, *edits)


def _judge_anew(*edits: tuple[str, str]) -> tuple[Any, str, Any]:
    return execute, "judge_anew", edited(plan.judge_anew, *edits)


def _method(name: str, *edits: tuple[str, str]) -> tuple[Any, str, Any]:
    return _Collection, name, edited(getattr(_Collection, name), *edits)


_NO_HOLDS = '    found.update(row["digest"] for row in state.holds.values())\n'
_WITHOUT_HOLDS = edited(live.live_digests, (_NO_HOLDS, ""))
_IS_LIVE_WITHOUT_HOLDS = edited(live.is_live, ('\n        or any(row["digest"] == digest for row in state.holds.values())', ""))
EAGER = Habits(eager=True)


REAL_SPARE = plan.spare_young


def _spare_nothing(judged: plan.Plan, _grace: timedelta, _now: Any) -> None:
    judged.orphans = {key: (one, size, EPOCH) for key, (one, size, _) in judged.orphans.items()}
    REAL_SPARE(judged, timedelta(0), EPOCH)


CLEANUP: dict[str, Mutant] = {
    "delete from memory": Mutant(
        "only what stored entries condemn is deleted",
        _patches(
            _method(
                "_condemn",
                ("self._judge_anew(plan)", "break"),
                ("plan.manifests, plan.packs = manifests, packs", "plan.manifests |= manifests\n    plan.packs |= packs"),
            ),
            _method("_delete", (" and one in state.condemned_manifests", ""), (" if one in state.condemned_packs", "")),
        ),
    ),
    "closed upwards": Mutant(
        "who condemns a pack has condemned what needs it",
        _patches(
            (
                execute,
                "_next_fact",
                edited(
                    execute._next_fact,
                    ("[*islice(plan.manifests", "[] if plan.packs else [*islice(plan.manifests"),
                    (" if len(manifests) == len(plan.manifests) else 0", ""),
                ),
            )
        ),
    ),
    "all of the fold": Mutant(
        "manifests of the fold die with their packs",
        _patches(_make_plan(("            plan.manifests[manifest] = -1\n", ""))),
    ),
    "holds": Mutant(
        "clean-up keeps what is held",
        _patches((plan, "live_digests", _WITHOUT_HOLDS), (plan, "is_live", _IS_LIVE_WITHOUT_HOLDS)),
    ),
    "shared packs": Mutant(
        "a pack stays while a manifest that stays needs it",
        _patches(
            _make_plan(
                ("known_packs - kept_packs - condemned_packs", "known_packs - condemned_packs"),
                ("(kept_packs, condemned_packs, dead)", "(kept_packs - known_packs, condemned_packs, dead)"),
            )
        ),
    ),
    "packs of what stays": Mutant(
        "the packs of what stays stay",
        _patches(_make_plan(("            kept_packs.update(packs)\n", ""))),
    ),
    "judged anew": Mutant(
        "a lost race judges everything anew",
        _patches(_method("_condemn", ("self._judge_anew(plan)", "plan.head = self._journal.catch_up(confirm=True)"))),
    ),
    "stored since": Mutant(
        "what was stored since the plan stays",
        _patches(_judge_anew(('        if fact["fact"] in {"stored", "relocated"}:\n', "        if False:\n"))),
    ),
    "relocated since": Mutant(
        "what was relocated to since the plan stays",
        _patches(_judge_anew(('fact["fact"] in {"stored", "relocated"}', 'fact["fact"] == "stored"'))),
    ),
    "named since": Mutant(
        "what was named since the plan stays",
        _patches(_judge_anew(("            spoken.add(digest)\n", ""))),
    ),
    "packs of what was named since": Mutant(
        "the packs of what was named since the plan stay",
        _patches(_judge_anew(("            needed.update(known[2] if known is not None else ())\n", ""))),
        EAGER,
    ),
    "left by others": Mutant(
        "what an earlier clean-up has condemned is deleted",
        _patches((plan, "_judge_listed", edited(plan._judge_listed, ("left[one] = item.size", "pass")))),
    ),
    "orphans": Mutant(
        "an upload that no entry names goes once it is old",
        _patches(
            (
                plan,
                "_judge_listed",
                edited(plan._judge_listed, ("plan.orphans[item.key] = (one, item.size, item.modified)", "pass")),
            )
        ),
    ),
    "relocated with its packs": Mutant(
        "a relocation names the packs of the new manifest",
        _patches(
            (_Part, "_write", edited(_Part._write, ('"from": one.manifest}', '"from": one.manifest, "packs": []}'))),
        ),
        Habits(repacking=True),
    ),
    "repacking deletes nothing": Mutant(
        "only clean-up deletes, also what was just replaced",
        _patches(
            (
                _Part,
                "run",
                edited(
                    _Part.run,
                    (
                        "return [one.manifest for one in part]",
                        "self._journal.backend.delete_many([manifest_key(one.manifest) for one in part]); return [one.manifest for one in part]",
                    ),
                ),
            ),
        ),
        Habits(repacking=True),
    ),
    "past windows": Mutant(
        "what waits in the inbox stays until its window has passed",
        _patches((litter, "_is_past", lambda _key, _head: True)),
        Habits(crowded=True),
    ),
    "covered segments": Mutant(
        "a segment goes only where a longer one covers it",
        _patches(
            (
                litter,
                "_find_segments",
                edited(
                    litter._find_segments,
                    ("longest.append(one)", "covered.setdefault(one.key, []).append(one.key); longest.append(one)"),
                ),
            )
        ),
        Habits(sealing=True),
    ),
    "all of a chain vouched for": Mutant(
        "a delta is believed only if the journal vouches for everything that it is on, too",
        _patches(
            (snapshots_module, "vouching", lambda _snapshot, _raw: True),
            (
                Journal,
                "_read_all",
                edited(Journal._read_all, ("for one in begun.members if", "for one in begun.members[-1:] if")),
            ),
        ),
        Habits(extending=True),
    ),
    "newest snapshot": Mutant(
        "the newest snapshot that is believed stays",
        _patches(
            (
                litter,
                "_find_snapshots",
                edited(litter._find_snapshots, ("one.seq < whole[0].seq and one.key not in kept", "True")),
            )
        ),
        Habits(publishing=True),
    ),
}

# Taken out, these change nothing that a world can see, and why.
EQUIVALENT_CLEANUP: dict[str, Mutant] = {
    # The grace is for progress alone: an upload that is taken is stored again.
    "grace": Mutant(
        "an upload that no entry names is spared while it is young", _patches((execute, "spare_young", _spare_nothing))
    ),
    # Whatever was stored while objects were listed makes the append lose its race, and is then found to be needed.
    "stored while listing": Mutant(
        "what entries brought while objects were listed is no orphan",
        _patches((plan, "_judge_listed", edited(plan._judge_listed, ("elif one not in new:", "else:")))),
    ),
    # The fold voids it.
    "moved": Mutant(
        "a store that has moved is not cleaned up", _patches((execute, "_refuse_if_moved", lambda _state, _url: None))
    ),
}
