"""What has no verb yet, appended as facts by the library's own appender: removals, clean-up, holds, marks, runs."""

from typing import Any

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.store import Store

Fact = dict[str, Any]


class VoidError(Exception):
    """The fold says no."""


def tell(store: Store, *facts: Fact, reason: str | None = None) -> int:
    """Append facts as one transaction; returns its entry."""
    core = store._session.core_to_write()
    head = core.journal.catch_up()
    return core.appender.commit(
        list(facts), birth=head, alive_at=head, refuse=lambda void: VoidError(str(void)), reason=reason
    ).seq


def state_of(store: Store) -> State:
    """The fold at the head."""
    with store._session.state() as state:
        return state


def removed(name: str, version: int) -> Fact:
    return {"fact": "removed", "name": name, "version": version}


def edge(kind: str, run: str, digest: str, **more: Any) -> Fact:
    return {"fact": kind, "run": run, "digest": digest, **more}


def run(one: str, used: list[str], produced: list[str], **more: Any) -> list[Fact]:
    """All facts of one run."""
    return [
        {"fact": "started", "run": one, "name": "train", **more},
        *(edge("used", one, digest) for digest in used),
        *(edge("produced", one, digest) for digest in produced),
        {"fact": "measured", "run": one, "metrics": {"loss": 0.5}},
        {"fact": "finished", "run": one, "status": "finished", "seconds": 1.5},
    ]


def live(state: State) -> set[str]:
    named = {row["digest"] for rows in state.names.values() for row in rows if "removed" not in row}
    return named | {row["digest"] for row in state.holds.values()} | set(state.unnamed)


def clean_up(store: Store) -> None:
    """Condemn and delete all that nothing keeps alive."""
    state = state_of(store)
    keep = {state.current_manifest(digest) for digest in live(state)}
    kept = {pack for manifest in keep if manifest is not None for pack in state.manifests[manifest][2]}
    dead = sorted(one for one in state.manifests if one not in keep and one not in state.condemned_manifests)
    packs = {pack for one in dead for pack in state.manifests[one][2]} - kept
    if not dead:
        return
    tell(store, {"fact": "condemned", "manifests": dead, "packs": sorted(packs)})
    backend = store._session.backend
    for key in [*map(manifest_key, dead), *map(pack_key, sorted(packs))]:
        backend.delete(key)
