"""Filters of a source: `exclude=` patterns as in `.gitignore`, and warnings about files included by mistake."""

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.remarks import remark
from artifactstore.work.secrets import secrets_among

__all__ = ["Excluder", "hint_secret"]

_LOOKED: Final = 20_000  # entries of excluded folders that are checked for patterns that matched nothing else
_RELATIVE: Final = "patterns are read as in a .gitignore file, relative to the source"


class Excluder:
    """The patterns of one put; the last matching pattern decides, and excluded folders are not entered.

    Args:
        patterns: as passed by the caller.
        roots: the names of the source: absolute paths, or its URL; patterns that begin with one are relative to the source.
        option: the argument that they were passed as, for messages.

    Raises:
        InvalidInputError: a pattern cannot match anything in the source.
    """

    def __init__(self, patterns: Sequence[str], roots: Sequence[str] = (), *, option: str = "exclude") -> None:
        self._option = option
        self._given = list(dict.fromkeys(patterns))
        self._roots = [root.rstrip("/") for root in roots]
        self._rules = [self._rule(pattern) for pattern in self._given]
        self._used: set[int] = set()
        self._left_out: list[str] = []  # folders

    def __call__(self, path: str, *, folder: bool) -> bool:
        """Return True if a file or folder is excluded; the folders above it are not."""
        if not self._rules:
            return False
        out = False
        shown = f"{path}/" if folder else path
        for at, (keep, match, literal) in enumerate(self._rules):
            if match(shown) or literal in (path, shown):
                if out or not keep:
                    self._used.add(at)
                out = not keep
        if out and folder:
            self._left_out.append(path)
        return out

    def below(self, path: str) -> bool:
        """Return True if a file, or a folder with a trailing `/`, is excluded by itself or by a folder above it."""
        *above, own = [*accumulate(path.rstrip("/").split("/"), "{}/{}".format)]
        return any(self(one, folder=True) for one in above) or self(own, folder=path.endswith("/"))

    def check(self, paths: Iterable[str], *, disk: str | None = None, name: str = "") -> None:
        """Warn of patterns that matched nothing.

        Args:
            paths: of all included files and links; may be iterated more than once.
            disk: the source, if it is a folder of this machine.
            name: the source's own name.

        Raises:
            InvalidInputError: a pattern is relative to the folder above, or to the current folder.
        """
        idle = [at for at in range(len(self._rules)) if at not in self._used]
        if idle and disk is not None:
            idle = self._inside(idle, disk)
        if not idle:
            return
        for at in idle:
            for meant in _otherwise(self._given[at], name, disk):
                other = Excluder([meant])
                if any(other.below(path) for path in paths):
                    raise InvalidInputError(
                        f"{self._option}=[{self._given[at]!r}] matches nothing: {_RELATIVE}; expected {meant!r}"
                    )
        named = ", ".join(repr(self._given[at]) for at in idle)
        remark(f"{self._option}=[{named}] matched nothing: {_RELATIVE}")

    def _inside(self, idle: list[int], disk: str) -> list[int]:
        """Return the patterns that match nothing in excluded folders either, as far as those were checked."""
        looked = 0
        for top in self._left_out:
            for folder, folders, files in os.walk(os.path.join(disk, top)):  # noqa: PTH118
                inner = os.path.relpath(folder, disk).replace(os.sep, "/")
                for names, end in ((folders, "/"), (files, "")):
                    shown = [f"{inner}/{name}{end}" for name in names]
                    looked += len(shown)
                    idle = [at for at in idle if not any(map(self._rules[at][1], shown))]
                if not idle or looked > _LOOKED:
                    return []
        return idle

    def _rule(self, given: str) -> tuple[bool, Callable[[str], Any], str]:
        keep, text = given.startswith("!"), given.removeprefix("!")
        plain = self._relative(text, given)
        text = f"\\{plain}" if plain.startswith("#") else plain
        bare = text.rstrip(" ")
        text = bare + "\\ " * (len(text) - len(bare))  # trailing spaces are part of a name here
        try:
            match = _matcher(text)
        except ValueError as error:
            raise InvalidInputError(
                f"{self._option}=[{given!r}] is not a pattern: {_RELATIVE}; put a backslash before *, ?, [ or !"
            ) from error
        return keep, match, plain.lstrip("/")

    def _relative(self, text: str, given: str) -> str:
        """Convert a pattern to .gitignore form: it may begin with the source."""
        if os.name == "nt":
            text = text.replace("\\", "/")
        if text.startswith("~/"):
            text = os.path.expanduser(text)  # noqa: PTH111 - it may be a pattern
        rest = text
        for root in self._roots:
            if root and (text == root or text.startswith(root + "/")):
                rest = "/" + text[len(root) :].lstrip("/")
        while rest.startswith("./"):
            rest = "/" + rest[2:].lstrip("/")
        rest = rest[0] + rest[1:].replace("//", "/") if rest else rest
        if not rest.strip("/") or rest == "." or ".." in rest.split("/"):
            raise InvalidInputError(
                f"exclude=[{given!r}] names nothing inside of the source: {_RELATIVE}, such as '*.tmp', 'cache/' or '/logs'"
            )
        return rest


def _matcher(text: str) -> Callable[[str], Any]:
    """Return a function that matches a path itself; pathspec's own answer includes everything below a match.

    Raises:
        ValueError: the pattern is malformed.
    """
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only where something is left out

    (whole,) = GitIgnoreSpec.from_lines([text]).patterns
    parts = text.strip("/").split("/")
    if "/" not in text.rstrip("/"):
        return lambda shown: whole.match_file(_own(shown))
    if "**" not in parts:
        return lambda shown: shown.rstrip("/").count("/") == len(parts) - 1 and whole.match_file(shown)
    if parts[-1] == "**":
        return lambda shown: whole.match_file(shown)  # noqa: PLW0108 - mypy sees Any in the method itself
    (last,) = GitIgnoreSpec.from_lines([parts[-1]]).patterns
    return lambda shown: last.match_file(_own(shown)) and whole.match_file(shown)


def _own(shown: str) -> str:
    return shown[shown.rstrip("/").rfind("/") + 1 :]


def _otherwise(given: str, name: str, disk: str | None) -> list[str]:
    """Return the likely meanings of a pattern that matched nothing: relative to the folder above, or to the current folder."""
    text, found = given.removeprefix("!").removeprefix("./"), []
    if name and text.startswith(f"{name}/"):
        found.append("/" + text[len(name) + 1 :])
    if disk is not None:
        here = os.path.join(os.path.realpath(os.curdir), text)  # noqa: PTH118
        if here.startswith(f"{disk}/"):
            found.append(here[len(disk) :])
    return [one for one in found if one.strip("/")]


def hint_secret(paths: Iterable[str]) -> None:
    """Warn once of files that look like secrets."""
    found = [*islice(secrets_among(paths), 4)]
    if found:
        more = " …" if len(found) > 3 else ""
        text = (
            f"{', '.join(map(repr, found[:3]))}{more} may hold secrets, and stored content is permanent: "
            f"exclude=[{Path(found[0]).name!r}] leaves out what must not go in"
        )
        remark(text)
