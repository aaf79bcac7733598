"""What botocore knows of S3, read once in a process instead of once for each client, where it is most of what one costs."""

from functools import cache
from typing import Any

import pytest

__all__ = ["read_once"]


def read_once(patch: pytest.MonkeyPatch) -> None:
    """Let all sessions share what they read of botocore's own folder."""
    from botocore.loaders import JSONFileLoader, Loader

    begin = Loader.__init__
    known: dict[tuple[str, ...], dict[Any, Any]] = {}

    def shared(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._cache = known.setdefault(tuple(self.search_paths), {})

    patch.setattr(Loader, "__init__", shared)
    patch.setattr(JSONFileLoader, "load_file", staticmethod(cache(JSONFileLoader().load_file)))
