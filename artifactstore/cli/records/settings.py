"""Which settings hold, and where each comes from: for people who wonder why a command uses another store."""

import os
from typing import Any

from artifactstore.backend.wrappers.range_cache import cache_limit
from artifactstore.model.version import VERSION
from artifactstore.work.secrets import without_credentials
from artifactstore.work.settings.configuration import NamedStore, configuration, project_file, user_file
from artifactstore.work.settings.settings import DEFAULT, actor_without_token, cache_folder, find_url, name_prefix, rescue_folder

__all__ = ["overview"]


def overview(url: Any = None) -> list[tuple[str, str, str]]:
    """Return the settings as rows: name, value, where it comes from.

    Raises:
        InvalidInputError: a configuration file or a variable is invalid.
    """
    where, configured = find_url(url), configuration()

    def origin(variable: str, key: str = "") -> str:
        if os.environ.get(variable) is not None:
            return f"${variable}"
        found = configured.values.get(key)
        return "the default" if found is None else found.origin

    file, cache, rescue = user_file(), cache_folder(DEFAULT), rescue_folder()
    rows = [
        ("store", without_credentials(where.url), where.origin),
        *((f"store {name}", _described(one), one.origin) for name, one in sorted(configured.stores.items())),
        ("actor", actor_without_token("").actor, origin("ARTIFACTSTORE_ACTOR", "actor")),
        (
            "identity",
            os.environ.get("ARTIFACTSTORE_IDENTITY") or configured.get("identity") or "none",
            origin("ARTIFACTSTORE_IDENTITY", "identity"),
        ),
        ("prefix", name_prefix() or "none", origin("ARTIFACTSTORE_PREFIX", "prefix")),
        ("cache", "none" if cache is None else str(cache), origin("ARTIFACTSTORE_CACHE", "cache")),
        ("cache bytes", f"{cache_limit():,}", origin("ARTIFACTSTORE_CACHE_BYTES", "cache_bytes")),
        ("offline", os.environ.get("ARTIFACTSTORE_OFFLINE", "0"), origin("ARTIFACTSTORE_OFFLINE")),
        ("retry seconds", os.environ.get("ARTIFACTSTORE_RETRY_SECONDS", "300"), origin("ARTIFACTSTORE_RETRY_SECONDS")),
        ("rescue", "off" if rescue is None else str(rescue), origin("ARTIFACTSTORE_RESCUE")),
    ]
    project = project_file()
    if project is not None:
        rows.append(("project's file", str(project), "there"))
    if file is not None:
        rows.append(("user's file", str(file), "there" if file.is_file() else "not there"))
    return [*rows, ("version", VERSION, "")]


def _described(store: NamedStore) -> str:
    options = ", ".join(f"{key} {without_credentials(value)}" for key, value in store.options.items())
    return without_credentials(store.url) + (f" ({options})" if options else "")
