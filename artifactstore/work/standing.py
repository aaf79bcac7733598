"""How a place stands: whether it may be written to, or is a copy, or has moved; asked before any work."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from artifactstore.backend.base import Backend
from artifactstore.catalog.state import State
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, BackendError, RefusedError
from artifactstore.journal.append import Patience
from artifactstore.journal.replica import PREFIX, read_standing
from artifactstore.model.facts import CONFIG_KEY, Config

if TYPE_CHECKING:
    from artifactstore.work.session import Core

__all__ = ["check_moved", "check_standing", "create_config", "gap", "refuse_begun_copy"]


def check_standing(core: "Core") -> None:
    """Refuse to write where nobody may; asked of the place itself once a session.

    Once is enough: a place that may be written to never becomes a copy, and that it moved stands in its journal.

    Raises:
        RefusedError: a copy that was not released, a place that has moved, or a journal of which entries are missing.
        UnsupportedError: the place can't promise what safety needs.
    """
    url = core.backend.url
    if not core.probed:
        from artifactstore.backend.probe import probe  # noqa: PLC0415 - only writers need it

        standing = read_standing(core.backend, core.config.store)
        if not standing.writable:
            raise RefusedError(
                f"{url} is a copy of a store, and only sync writes to it. To make it the store, move the store to it with "
                f"`artifactstore sync SOURCE {url} --move`; if the source is lost, `artifactstore sync {url} {url} --release`"
            )
        probe(core.backend, core.config.raw)
        core.journal.catch_up()
        core.probed = True
    core.journal.known.check()
    with core.journal.lock:
        check_moved(url, core.journal.fold)


def check_moved(url: str, state: State) -> None:
    """Refuse to write to a place that a store has moved away from.

    Raises:
        RefusedError: names the new place.
    """
    if state.marks["moved_to"] is not None:
        raise RefusedError(f"the store at {url} has moved to {state.marks['moved_to']}: write there; reading here goes on")


def create_config(backend: Backend, config: Config, connect: Callable[[], bool]) -> bool:
    """Create `store.json`; False where another's is used instead, or an own one whose reply was lost.

    Args:
        backend: the place.
        config: what to create.
        connect: reads what is there, and uses it; False where nothing is.

    Raises:
        BackendError: it can't be created.
    """
    patience = Patience(time.sleep)
    while True:
        try:
            backend.create(CONFIG_KEY, config.raw)
        except AlreadyExistsError:
            if not connect():
                raise
            return False
        except BackendError as error:
            if connect():
                return False
            if not patience.again(error):
                raise
        else:
            return True


def gap(core: "Core", missing: str) -> ArtifactStoreError | None:
    """Return the error for an object that is missing because a copy is not finished, or None: then it is damage."""
    standing = read_standing(core.backend, core.config.store)
    if standing.target is None or standing.reached(core.journal.head):
        return None
    return BackendError(
        f"{missing} is not here yet: {core.backend.url} is an unfinished copy (entry {core.journal.head} of {standing.target[0]}). "
        "Read from where it comes, or run sync again",
        transient=True,
    )


def refuse_begun_copy(url: str, keys: Sequence[str]) -> None:
    """Refuse to make a store where a copy of another one was begun.

    Raises:
        RefusedError: there are marks of a copy.
    """
    if any(key.startswith(PREFIX) for key in keys):
        raise RefusedError(f"a copy of a store was begun at {url}: finish it with `artifactstore sync`, or choose an empty place")
