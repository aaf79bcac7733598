"""Probe of a backend's exclusive `create`, once a session, by a write that can do no harm."""

import math
import time
from collections.abc import Callable
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.backend.memory import MemoryBackend
from artifactstore.backend.wrappers.base import Wrapper
from artifactstore.backend.wrappers.retry_policy import RetryPolicy, retried
from artifactstore.errors import AlreadyExistsError, UnsupportedError
from artifactstore.model.facts import CONFIG_KEY

__all__ = ["probe"]

_POLICY: Final = RetryPolicy(first=0.1, tries=6, seconds=math.inf)


def probe(backend: Backend, config_raw: bytes, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Create `store.json` again, with its own bytes: a backend with working conditions refuses.

    It needs no permission to delete, leaves no litter, and if the condition is ignored it replaces the object with
    identical bytes. One request; none for folders and memory, whose `create` is this library's own.

    Args:
        backend: of an existing store, as it will be used for writes.
        config_raw: the bytes of its `store.json`, as read.
        sleep: waits between tries.

    Raises:
        UnsupportedError: the server ignores the condition silently, or does not know it.
        BackendError: the probe could not be made.
    """
    inner = backend
    while isinstance(inner, Wrapper):
        inner = inner.inner
    if isinstance(inner, LocalBackend | MemoryBackend):
        return
    try:
        # Sending it again is harmless here, whatever the outcome of the first.
        retried(lambda: backend.create(CONFIG_KEY, config_raw), _POLICY, sleep=sleep)
    except AlreadyExistsError:
        return
    raise UnsupportedError(
        f"{backend.url}: the server overwrote the existing {CONFIG_KEY} although the request was conditional: it ignores "
        "conditions silently, so concurrent writers would overwrite each other. Pass single_writer=True if nothing else "
        "ever writes to it, or use another server; nothing was damaged"
    )
