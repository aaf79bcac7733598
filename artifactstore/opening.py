"""How a store is opened or made: `artifactstore.open` and `artifactstore.create`."""

import os
from collections.abc import Mapping
from typing import Any

from artifactstore.store import Store
from artifactstore.work.place import DEFAULT
from artifactstore.work.session import Session

__all__ = ["create", "open"]


def open(  # noqa: A001 - artifactstore.open, as in gzip.open
    url: str | os.PathLike[str] | None = None,
    mode: str = "a",
    *,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = DEFAULT,
    single_writer: bool = False,
) -> Store:
    """Open the store at a URL; reads `store.json` at most, and creates nothing: the first write does.

    Args:
        url: a folder, `s3://bucket/prefix`, `memory://name` …; None takes `$ARTIFACTSTORE_URL`, else `[tool.artifactstore]
            url` of the nearest `pyproject.toml` upwards, else a store in the user's data folder.
        mode: `a` reads and appends, `r` only reads.
        storage_options: handed to the backend (endpoint, profile …); credentials are better left to the environment.
        cache: a folder for local caches, None for none; by default `$ARTIFACTSTORE_CACHE`, else the user's cache folder.
        single_writer: you promise that nobody else writes, so that places without exclusive creation can be used.

    Raises:
        InvalidInputError: no URL, or an unknown scheme.
        UnsupportedError: the backend's extra is not installed.
        FormatError: a newer format, or not a store.
        BackendError: the place can't be reached.
    """
    return Store(Session(url, mode=mode, storage_options=storage_options, cache=cache, single_writer=single_writer))


def create(
    url: str | os.PathLike[str],
    *,
    digest: str = "blake3",
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = DEFAULT,
    single_writer: bool = False,
) -> Store:
    """Create an empty store, or open the one that is there if it has the same parameters.

    Args:
        url: where.
        digest: `blake3`, or `sha256` where rules demand it; it can never be changed.
        storage_options: as for `open`.
        cache: as for `open`.
        single_writer: as for `open`.

    Raises:
        AlreadyExistsError: a store with other parameters is there.
        InvalidInputError: other things are there, or no such digest algorithm.
    """
    session = Session(url, storage_options=storage_options, cache=cache, single_writer=single_writer)
    session.create(digest)
    return Store(session)
