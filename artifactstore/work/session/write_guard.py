"""Write guard: refuses writes to replicas and to stores that have moved."""

from collections.abc import Callable, Sequence
from itertools import islice

from artifactstore.backend.base import Backend
from artifactstore.backend.wrappers.retry_policy import Retries
from artifactstore.catalog.fold.state import State
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    CorruptionError,
    InvalidInputError,
    RefusedError,
)
from artifactstore.journal.replica import PREFIX, read_replica_status
from artifactstore.model.facts import CONFIG_KEY, Config
from artifactstore.work.session.core import Core

__all__ = [
    "check_empty",
    "check_write_guard",
    "create_config",
    "incomplete_copy_error",
    "lost_config",
    "refuse_if_moved",
    "refuse_if_partial_copy",
]


def check_write_guard(core: Core) -> None:
    """Refuse to write to a replica or a moved store; the backend is asked once per session.

    Once suffices: a writable store never becomes a replica, and a move is recorded in its journal.

    Raises:
        RefusedError: a replica that was not released, a store that has moved, or a journal with missing entries.
        UnsupportedError: the backend lacks a guarantee that writes need.
    """
    url = core.backend.url
    if not core.probed:
        from artifactstore.backend.exclusive_create_probe import probe  # noqa: PLC0415 - only writers need it

        standing = read_replica_status(core.backend, core.config.store)
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
        refuse_if_moved(url, core.journal.fold)


def refuse_if_moved(url: str, state: State) -> None:
    """Refuse to write to a location that a store has moved away from.

    Raises:
        RefusedError: names the new location.
    """
    if state.header["moved_to"] is not None:
        raise RefusedError(f"the store at {url} has moved to {state.header['moved_to']}: write there; reading here goes on")


def create_config(backend: Backend, config: Config, connect: Callable[[], bool]) -> bool:
    """Create `store.json`; return False if another process's is used instead, or an own one whose reply was lost.

    Args:
        backend: the backend.
        config: what to create.
        connect: reads and uses an existing one; returns False if there is none.

    Raises:
        BackendError: it cannot be created.
    """
    retries = Retries()
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
            if not retries.again(error):
                raise
        else:
            return True


def incomplete_copy_error(core: Core, missing: str) -> ArtifactStoreError | None:
    """Return the error for an object that is missing because a copy is not finished; None if it is damage."""
    standing = read_replica_status(core.backend, core.config.store)
    if standing.target is None or standing.reached(core.journal.head):
        return None
    return BackendError(
        f"{missing} is not here yet: {core.backend.url} is an unfinished copy (entry {core.journal.head} of {standing.target[0]}). "
        "Read from its source, or run sync again",
        transient=True,
    )


def refuse_if_partial_copy(url: str, keys: Sequence[str]) -> None:
    """Refuse to make a store at a location with a partial copy of another store.

    Raises:
        RefusedError: there are marks of a copy.
    """
    if any(key.startswith(PREFIX) for key in keys):
        raise RefusedError(
            f"there is a partial copy of a store at {url}: finish it with `artifactstore sync`, or choose an empty location"
        )


def lost_config(url: str) -> CorruptionError:
    """Return the error for a journal without `store.json`."""
    text = (
        f"{url} has a journal but no {CONFIG_KEY}: `artifactstore repair --source COPY` brings it back from a copy of the store"
    )
    return CorruptionError(text, location=CONFIG_KEY)


def check_empty(backend: Backend, url: str, connect: Callable[[], bool]) -> None:
    """Refuse to make a store where something else is.

    Args:
        backend: the location.
        url: its URL.
        connect: uses a store that another process has made there meanwhile; returns False if there is none.

    Raises:
        CorruptionError: a journal without `store.json`.
        RefusedError: a partial copy of a store.
        InvalidInputError: other files.
    """
    # Files of `doctor` that could not be deleted, without that permission, must not block the creation of a store.
    others = (item.key for item in backend.list("") if not item.key.startswith(".doctor-"))
    found = [*islice(others, 3)]
    if not found or connect():
        return
    if any(True for _ in backend.list("journal/")):
        raise lost_config(url)
    refuse_if_partial_copy(url, found)
    raise InvalidInputError(
        f"{url} is not an artifactstore and is not empty ({', '.join(found)} …): choose an empty or new location"
    )
