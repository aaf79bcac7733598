"""Opening and creating a store: `artifactstore.open` and `artifactstore.create`."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from artifactstore.runtime.answering import answering
from artifactstore.store import Store
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import DEFAULT

__all__ = ["create", "open"]


@answering
def open(  # noqa: A001 - artifactstore.open, as in gzip.open
    url: str | os.PathLike[str] | None = None,
    mode: str = "a",
    *,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = DEFAULT,
    single_writer: bool = False,
    mirrors: "Iterable[str | os.PathLike[str] | Store]" = (),
) -> Store:
    """Open the store at a URL; reads at most `store.json` and creates nothing: the first write creates the store.

    Args:
        url: a folder, `s3://bucket/prefix`, `memory://name` …; None means `$ARTIFACTSTORE_URL`, else `[tool.artifactstore]
            url` of the nearest `pyproject.toml` upwards, else a store in the user's data folder.
        mode: `a` reads and appends, `r` only reads.
        storage_options: passed to the backend (endpoint, profile …); prefer the environment for credentials.
        cache: the folder for local caches, or None for no cache; by default `$ARTIFACTSTORE_CACHE`, else the user's cache folder.
        single_writer: a promise that no other process writes, which permits backends without exclusive creation.
        mirrors: copies of this store, as URLs or open stores. What is damaged or missing is read from them, checked, with one
            warning; they are not asked while nothing is wrong. `maintenance.repair()` brings it back.

    Raises:
        InvalidInputError: the URL is invalid, or its scheme unknown; a mirror is another store.
        UnsupportedError: the backend's extra is not installed.
        FormatError: the store has a newer format, or the URL is not a store.
        BackendError: the backend is unreachable.
    """
    options: dict[str, Any] = {"mode": mode, "storage_options": storage_options, "cache": cache, "single_writer": single_writer}
    if isinstance(mirrors, tuple) and not mirrors:
        return Store(Session(url, **options))
    from artifactstore.work.repair.mirrors import open_with_mirrors  # noqa: PLC0415 - few stores have some

    return Store(open_with_mirrors(url, mirrors, options))


@answering
def create(
    url: str | os.PathLike[str],
    *,
    digest: str = "blake3",
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = DEFAULT,
    single_writer: bool = False,
) -> Store:
    """Create an empty store, or open an existing store with the same parameters.

    Args:
        url: the location.
        digest: `blake3`, or `sha256` if regulations require it; it can never be changed.
        storage_options: as for `open`.
        cache: as for `open`.
        single_writer: as for `open`.

    Raises:
        AlreadyExistsError: a store with other parameters exists.
        InvalidInputError: the location is not empty, or the digest algorithm is unknown.
    """
    session = Session(url, storage_options=storage_options, cache=cache, single_writer=single_writer)
    session.create(digest)
    return Store(session)
