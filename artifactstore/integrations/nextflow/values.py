"""Times, lineage IDs, names and values of Nextflow's, as they are here."""

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from artifactstore.errors import InvalidInputError

__all__ = ["bounded", "key_of", "keys_in", "moment", "name_of", "nanoseconds", "printed", "same_time"]

_TIME: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(?:Z|([+-])(\d\d):?(\d\d)(?::?(\d\d))?)(?:\[.*\])?", re.ASCII
)
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ODD: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST: Final = 200  # bytes of a name
_PREFIX: Final = 80  # of them for the prefix
_PART: Final = 50  # of them for the run, and for the task
_MARK: Final = 9  # characters
_VALUE: Final = 20_000  # characters of a recorded value


def nanoseconds(text: str) -> int | None:
    """Return a time of ISO 8601 with an offset in nanoseconds since 1970, which datetime does not have; None if it is none."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute = (int(match[n]) for n in range(1, 6))
    try:
        local = datetime(year, month, day, hour, minute, int(match[6] or 0), tzinfo=UTC)
    except ValueError:
        return None
    offset = 0
    if match[8] is not None:
        offset = int(match[9]) * 3600 + int(match[10]) * 60 + int(match[11] or 0)
        offset = -offset if match[8] == "-" else offset
    return (round((local - _START).total_seconds()) - offset) * 10**9 + int((match[7] or "0").ljust(9, "0"))


def moment(time: int) -> datetime:
    """Return nanoseconds since 1970 as a time; what no datetime can be is the first or the last that one can."""
    last = 253_402_300_799 * 10**6  # microseconds: the end of the year 9999
    return _START + timedelta(microseconds=min(max(time // 1000, -62_135_596_800 * 10**6), last))


def same_time(one: int, other: int) -> bool:
    """Return whether two times are equal, in nanoseconds, or as far as the coarser of two file systems keeps them.

    Microseconds may be rounded, as by a program that has seconds as a number with a fraction.
    """
    if one == other or (abs(one - other) <= 10**3 and 0 in (one % 10**3, other % 10**3)):
        return True
    return any(one // unit == other // unit and 0 in (one % unit, other % unit) for unit in (10**3, 10**6, 10**9))


def key_of(lid: str) -> str:
    """Return the key that a lineage ID names, without a trailing slash; what is no lineage ID counts as a key."""
    while lid.startswith("lid:"):
        lid = lid.removeprefix("lid:").lstrip("/")
    return lid.strip("/")


def keys_in(value: Any) -> Iterator[str]:
    """Yield the keys of all lineage IDs in a value, in order."""
    todo = [value]
    while todo:
        one = todo.pop()
        if isinstance(one, str):
            if one.startswith("lid://"):
                yield key_of(one)
        elif isinstance(one, dict | list):
            todo += reversed(list(one.values()) if isinstance(one, dict) else one)


def printed(text: str) -> str:
    """Return a text that can be written: the names of files need not be one."""
    return text.encode(errors="backslashreplace").decode()


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that leaves no room for names.

    Raises:
        InvalidInputError: it is too long.
    """
    if len(prefix) > _PREFIX:
        raise InvalidInputError(f"the prefix of names must have at most {_PREFIX} characters, got {len(prefix)}")


def name_of(prefix: str, run: str, path: str, task: str | None = None) -> str:
    """Return the name for a file: where a part has characters that names lack, or is too long, with a part of its hash.

    Args:
        prefix: of all names.
        run: name of the workflow's run.
        path: of the file, relative to what published or made it.
        task: name of the task that made it; None of a published file.
    """
    head = [prefix, _part(run)] if task is None else [prefix, _part(run), ".tasks", _part(task)]
    room = _LONGEST - len("/".join(head)) - 1
    parts = path.split("/")
    plain = [_ODD.sub("_", one) or "_" for one in parts]
    plain = [one if one.strip(".") else one.replace(".", "_") for one in plain]
    if task is None and plain[0] == ".tasks":
        plain[0] = "_tasks"  # the names of what tasks made
    tail = "/".join(plain)
    if plain != parts or len(tail) > room:
        tail = f"{tail[: room - _MARK].rstrip('/')}-{_mark(path)}"
    return "/".join([*head, tail])


def _part(text: str) -> str:
    plain = _ODD.sub("_", text).strip("_") if _ODD.search(text) else text
    if plain == text and text.strip(".") and len(text) <= _PART:
        return text
    return f"{plain[: _PART - _MARK].lstrip('.') or '_'}-{_mark(text)}"


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def bounded(value: Any) -> Any:
    """Return a value as a parameter: one that is very long becomes the beginning of its text."""
    if isinstance(value, str):
        return value if len(value) <= _VALUE else f"{value[:_VALUE]}…"
    if not isinstance(value, dict | list):
        return value
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = "…"
    return value if len(text) <= _VALUE else f"{text[:_VALUE]}…"
