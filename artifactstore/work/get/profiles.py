"""The profiles of an artifact's tables, each read on access."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from artifactstore.errors import NotFoundError

__all__ = ["Profiles"]


class Profiles(Mapping[str, Mapping[str, Any]]):
    """Path of a table in an artifact → its profile.

    Args:
        names: path → name of the profile.
        read: returns a profile by its name.
    """

    def __init__(self, names: Mapping[str, str], read: Callable[[str], Mapping[str, Any]]) -> None:
        self._names = names
        self._read = read

    def __getitem__(self, path: str) -> Mapping[str, Any]:
        name = self._names.get(path)
        if name is None:
            import difflib  # noqa: PLC0415 - only for a message

            near = difflib.get_close_matches(path, self._names, n=3, cutoff=0.5)
            there = f"near it: {', '.join(near)}" if near else f"{len(self._names)} tables have one"
            raise NotFoundError(f"{path!r} has no profile; {there}")
        return self._read(name)

    def __contains__(self, path: object) -> bool:
        return path in self._names  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"<profiles of {', '.join(map(repr, self._names)) or 'nothing'}>"
