"""Which versions have a value of metadata: an index for dotted keys, under which integrations note ids of their systems.

A superset: metadata that is described anew leaves its old rows, so a reader compares what it finds. A row lists versions that
have a text or a whole number under a key; an empty row had too many to select by. A row without a dot lists versions that have
more below the first part of their keys than is indexed.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

__all__ = ["ALSO", "candidates", "further", "values_at", "with_version"]

ALSO: Final = "artifactstore.also"  # lists further ids of a version: where versions in a row have equal content in another system
_MOST: Final = 1000  # versions of a row: of a value that more of them share, a search reads all versions instead
_KEYS: Final = 32  # values of a version that are indexed: configurations with hundreds of keys are not
_LONG: Final = 200  # characters of an indexed key and value

Versions = set[tuple[str, int]]


def with_version(table: Mapping[str, Any], name: str, number: int, metadata: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield the rows of the index that change with the metadata of a version, as they are then.

    Args:
        table: the index.
        name: the name.
        number: of the version.
        metadata: its metadata.
    """
    for row in (row for one in (metadata, *further(metadata)) for row in _rows(one)):
        listed = table.get(row)
        if listed is None:
            yield row, [[name, number]]
        elif listed and [name, number] not in listed:
            yield row, [] if len(listed) >= _MOST else [*listed, [name, number]]


def further(metadata: Any) -> list[dict[str, Any]]:
    """Return the further metadata of a version that stands for several versions of another system."""
    listed = metadata.get(ALSO) if isinstance(metadata, dict) else None
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _rows(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, dict):
        return
    left, more = _KEYS, set[str]()
    for key, value in metadata.items():
        inner: Iterable[tuple[str, Any]] = ()
        if isinstance(value, dict):
            inner = ((f"{key}.{name}", one) for name, one in value.items())
        elif "." in key:
            inner = ((key, value),)
        for name, one in inner:
            row = None if isinstance(one, dict) else _row(name, one)
            if row is not None and left:
                left -= 1
                yield row
            elif row is not None or isinstance(one, dict):
                more.add(_more(key))
    yield from sorted(row for row in more if _is_text(row))


def candidates(table: Mapping[str, Any], metadata: Mapping[str, Any]) -> Versions | None:
    """Return the fewest versions among which all are that have some metadata; None if the index cannot tell.

    Args:
        table: the index, as the fold has it.
        metadata: keys and their required values; a set of values allows any of them.
    """
    fewest: Versions | None = None
    for key, wanted in metadata.items():
        found = _listed(table, key, wanted)
        if found is not None and (fewest is None or len(found) < len(fewest)):
            fewest = found
    return fewest


def _listed(table: Mapping[str, Any], key: str, wanted: Any) -> Versions | None:
    if "." not in key:
        return None
    values = wanted if isinstance(wanted, set | frozenset) else (wanted,)
    found: Versions = set()
    for row in (_more(key), *(_row(key, value) for value in values)):
        if row is None or not _is_text(row):
            return None
        listed = table.get(row)
        if listed is not None:
            if not listed:
                return None
            found.update((name, number) for name, number in listed)
    return found


def values_at(metadata: Mapping[str, Any], key: str) -> Iterator[Any]:
    """Yield the values under a key: as it is, and where a dotted one leads inside."""
    if key in metadata:
        yield metadata[key]
    for one in further(metadata):
        if key in one:
            yield one[key]
    at = key.find(".")
    while at >= 0:
        inner = metadata.get(key[:at])
        if isinstance(inner, Mapping):
            yield from values_at(inner, key[at + 1 :])
        at = key.find(".", at + 1)


def _row(key: str, value: Any) -> str | None:
    """Return the row of a value; None if it has none: another type, or too long."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or (isinstance(value, int) and abs(value) >= 2**63):
        return None
    row = f"{key}={value}"
    return row if len(row) <= _LONG and _is_text(row) else None


def _more(key: str) -> str:
    return key.partition(".")[0] + "="


def _is_text(row: str) -> bool:
    """Return whether a row can be a key in a file: JSON allows halves of a surrogate pair."""
    return row.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in row)
