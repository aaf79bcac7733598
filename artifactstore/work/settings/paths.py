"""Validation of path and pattern arguments, and of the location of files to write."""

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.local_files import absolute

__all__ = ["local_path", "matches", "strings", "target_of"]


def local_path(value: Any, what: str) -> Path:
    """Return a path on this machine, `~` expanded.

    Raises:
        InvalidInputError: not a `str` or `os.PathLike`, or not a valid path.
    """
    if not isinstance(value, str | os.PathLike):
        raise InvalidInputError(f"{what} must be a path, got {type(value).__name__}")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise InvalidInputError(f"{what} must be a path as str, got {type(text).__name__}")
    try:
        os.fsencode(text)
        path = Path(text).expanduser()
    except (UnicodeEncodeError, RuntimeError) as error:
        raise InvalidInputError(f"{what}={text[:200]!r} is not a valid path: {error}") from error
    if "\0" in text or not text:
        raise InvalidInputError(f"{what}={text[:200]!r} is not a valid path")
    if not path.is_absolute():
        absolute(path)  # fails if the current folder is gone
    return path


def strings(value: Any, what: str) -> list[str]:
    """Return a list of strings.

    Raises:
        InvalidInputError: not a list, a single string, or an item that is not a str.
    """
    if isinstance(value, str):
        raise InvalidInputError(f"{what} must be a list: {what}=[{value[:200]!r}]")
    try:
        found = list(value)
    except TypeError as error:
        raise InvalidInputError(f"{what} must be a list of str, got {type(value).__name__}") from error
    for one in found:
        if not isinstance(one, str):
            raise InvalidInputError(f"{what} must be a list of str, got {type(one).__name__} in it")
    return found


def matches(path: str, pattern: str) -> bool:
    """Return True if a pattern matches a path: the path itself, a folder above it, or by `*`, `?`, `[…]`, `**/`."""
    if path == pattern or path.startswith(pattern + "/") or fnmatchcase(path, pattern):
        return True
    return pattern.startswith("**/") and matches(path, pattern[3:])


def target_of(url: str, to: Any, *, what: str, kind: str) -> Path:
    """Check and return the path of a file to write on this machine.

    Args:
        url: of the store, which must not contain the path.
        to: the path as passed by the caller.
        what: the name of the argument in messages.
        kind: the kind of the file, in the message about a URL.

    Raises:
        InvalidInputError: a URL, a path in the store itself, or in a folder that does not exist.
    """
    target = local_path(to, what)
    if "://" in os.fspath(to):
        raise InvalidInputError(f"{os.fspath(to)[:200]!r} is a URL: {kind} is written to a file on this machine")
    target = target.absolute()
    if not target.parent.is_dir():
        raise InvalidInputError(f"the folder {target.parent} does not exist: make it first")
    if "://" not in url and Path(url).resolve() in (target.resolve(), *target.resolve().parents):
        raise InvalidInputError(
            f"{target} is inside the store: choose a path outside, as only the store's own files may be there"
        )
    return target
