"""Forks: a store as of some entry, for a program that runs again and must not change the store itself.

Whatever URL such a program opens (that of this store, an unused one, or none), it gets the fork; other stores are read-only
for it. The fork is passed by `$ARTIFACTSTORE_FORK`, the path of a small JSON file.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.errors import InvalidInputError
from artifactstore.journal.fetch import read_or_none
from artifactstore.model.facts import CONFIG_KEY, parse_config
from artifactstore.runtime.atomic_files import replace_whole
from artifactstore.runtime.records import dataclass

__all__ = ["VARIABLE", "ScratchStore"]

VARIABLE: Final = "ARTIFACTSTORE_FORK"
_FILE: Final = "fork.json"


@dataclass(frozen=True, slots=True)
class ScratchStore:
    """A store as of some entry, with new writes in a folder.

    Attributes:
        folder: contains the new writes.
        url: of the store.
        store: its id.
        head: the last entry that counts.
        options: storage options of the store, without secrets.
    """

    folder: Path
    url: str
    store: str
    head: int
    options: Mapping[str, Any]

    @property
    def cache(self) -> Path:
        """A separate cache folder: the same store id has another history elsewhere."""
        return self.folder.with_name(self.folder.name + "-cache")

    @property
    def file(self) -> Path:
        """What `$ARTIFACTSTORE_FORK` names."""
        return self.folder.with_name(_FILE)

    def save(self) -> None:
        """Write the file that describes it, readable only by its owner."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fields = {"folder": self.folder.name, "url": self.url, "store": self.store, "head": self.head, "options": self.options}
        replace_whole(self.file, json.dumps(fields).encode(), private=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read such a file.

        Raises:
            InvalidInputError: it cannot be read.
        """
        try:
            fields = json.loads(path.read_bytes())
            return cls(path.with_name(fields["folder"]), fields["url"], fields["store"], fields["head"], fields["options"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInputError(f"cannot read {VARIABLE}={path} ({error}): unset it") from error

    @classmethod
    def of_environment(cls) -> Self | None:
        """Return the fork of this process, or None."""
        path = os.environ.get(VARIABLE)
        return cls.load(Path(path)) if path else None

    def over(self, backend: Backend) -> Backend:
        """Wrap the backend that a program opens."""
        from artifactstore.backend.wrappers.overlay import OverlayBackend  # noqa: PLC0415 - few programs are run again
        from artifactstore.backend.wrappers.read_only import ReadOnlyBackend  # noqa: PLC0415 - as above

        own = LocalBackend(self.folder)
        origin: Backend | None = None
        if backend.url != own.url:
            raw = read_or_none(backend, CONFIG_KEY)
            if raw is not None and parse_config(raw, f"{backend.url}/{CONFIG_KEY}").store != self.store:
                return ReadOnlyBackend(backend, "a program that runs again for comparison changes nothing but its fork")
            origin = None if raw is None else backend
        if origin is None:
            origin = connect(self.url, storage_options=self.options or None)
        return OverlayBackend(own, ReadOnlyBackend(origin), self.head)
