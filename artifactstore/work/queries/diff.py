"""Comparison of artifacts: which files differ, and how they differ inside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.rows import Rows
from artifactstore.display.displayed import Displayed, outline_of
from artifactstore.errors import ArtifactStoreError
from artifactstore.objects.compare.values import ValueChange, compare_values
from artifactstore.work.put.arguments import FolderOptions
from artifactstore.work.queries.diff_groups import SIGNS, Group, groups_of, largest_first, tensor_blocks, value_row
from artifactstore.work.queries.sides import Entry, Side, exact_sides, sides
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import strings

if TYPE_CHECKING:
    from artifactstore.display.outline import Block
    from artifactstore.objects.compare.tables import Overlap, TableDiff
    from artifactstore.objects.compare.tensors import TensorChange

__all__ = ["Change", "Diff", "diff", "verify_folder"]

_LISTED: Final = 200  # files that a notebook lists
_SMALL: Final = 8 * 2**20  # bytes of arrays that are compared to show which changed most
_JSON: Final = 64 * 2**20  # bytes of a JSON file that is compared inside


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two artifacts.

    Attributes:
        path: in the artifact.
        change: added, removed, changed, or moved (same bytes under another path).
        old_size: bytes before, or None.
        new_size: bytes after, or None.
        old: digest before, as text, or None.
        new: digest after, as text, or None.
        moved_from: the path before, if it was moved.
    """

    path: str
    change: str
    old_size: int | None
    new_size: int | None
    old: str | None
    new: str | None
    moved_from: str | None = None


class Diff(Rows[Change]):
    """The files in which two artifacts differ; empty (and false) if their files are equal.

    Attributes:
        a: reference of the first artifact.
        b: reference of the second artifact.
        unchanged: the number of equal files.
    """

    def __init__(self, a: "Side", b: "Side", *, key: Sequence[str], exact: bool) -> None:
        before, after = a.entries, b.entries
        super().__init__(Change, list(_changes(before, after)))
        self.a, self.b = a.ref, b.ref
        self.unchanged = sum(1 for path, one in after.items() if before.get(path) == one)
        self._sides = (a, b)
        self._key = key
        self._exact = exact

    @cached_property
    def tables(self) -> Mapping[str, "TableDiff"]:
        """The differences inside changed Parquet files, by path; computed on access.

        Two artifacts of one file each are compared whatever the names of their files; likewise tensors and JSON.

        Raises:
            CorruptionError: a file is not a Parquet file, or is damaged.
            InvalidInputError: the key does not identify rows.
        """
        from artifactstore.objects.compare.tables import compare_tables  # noqa: PLC0415 - Arrow, which names need not

        a, b = self._sides
        return {
            new: compare_tables(a.table(old), b.table(new), key=self._key, exact=self._exact)
            for old, new in self._pairs(".parquet")
        }

    @cached_property
    def tensors(self) -> Mapping[str, Rows["TensorChange"]]:
        """The tensors that differ inside changed safetensors and `.npy` files, by file path.

        Raises:
            CorruptionError: a file is not in this format, or is damaged.
        """
        from artifactstore.objects.compare.tensors import TensorChange, compare_tensors  # noqa: PLC0415 - NumPy

        a, b = self._sides
        return {
            new: Rows(TensorChange, list(compare_tensors(a.folder, b.folder, (a.inner(old), b.inner(new)))))
            for old, new in self._pairs(".safetensors", ".npy")
        }

    @cached_property
    def json(self) -> Mapping[str, Rows[ValueChange]]:
        """The values that differ inside changed JSON files of up to 64 MiB, by file path.

        Raises:
            CorruptionError: a file is not JSON, or is damaged.
        """
        a, b = self._sides
        return {
            new: Rows(ValueChange, list(compare_values(a.value(old), b.value(new))))
            for old, new in self._pairs(".json")
            if max(a.size(old), b.size(new)) <= _JSON
        }

    @cached_property
    def patches(self) -> Mapping[str, str]:
        """The lines that differ in text files of up to 1 MiB, in the format of `diff -u`, by path; for notebooks the cells' source."""
        from artifactstore.objects.compare.texts import LARGEST, patch  # noqa: PLC0415 - difflib, which names need not

        found: dict[str, str] = {}
        for one in self:
            if one.change != "moved" and max(one.old_size or 0, one.new_size or 0) <= LARGEST:
                old, new = (side.content(one.path) for side in self._sides)
                text = patch(one.path, old, new)
                if text:
                    found[one.path] = text
        return found

    def _pairs(self, *suffixes: str) -> list[tuple[str, str]]:
        """Return the files to compare, as (path in a, path in b)."""
        pairs = [(one.path, one.path) for one in self if one.change == "changed"]
        old, new = (side.files for side in self._sides)
        if not pairs and self and len(old) == len(new) == 1:
            pairs = [(old[0], new[0])]
        return [pair for pair in pairs if any(pair[0].endswith(one) and pair[1].endswith(one) for one in suffixes)]

    def overlap(self) -> "Overlap":
        """Find the rows that two tables share, such as rows of a test set that were trained on.

        Each artifact (or folder in it) must have exactly one Parquet file. The answer states whether it is based on a sample of
        the rows, and its error bound; `store.diff(a, b, exact=True)` compares all rows.

        Raises:
            InvalidInputError: one side does not have exactly one table, or the tables have no column in common.
            CorruptionError: a table is damaged.
        """
        from artifactstore.objects.compare.tables import overlap  # noqa: PLC0415 - Arrow, which names need not

        return overlap(*(side.only_table() for side in self._sides), exact=self._exact)

    @cached_property
    def groups(self) -> Sequence[Group]:
        """The changed files that follow one pattern (`000004.npy`), five or more of a folder, as groups."""
        a, b = self._sides
        return groups_of([(one.path, one.change) for one in self], a.entries, b.entries)

    def largest(self, group: Group, count: int = 3) -> "list[tuple[str, TensorChange]]":
        """Return the arrays of a group that changed most, each with its path; empty unless they are small or were compared already.

        `tensors` compares all of them, however large they are.
        """
        a, b = self._sides
        if group.change != "changed" or not group.paths[0].endswith(".npy"):
            return []
        if "tensors" not in self.__dict__ and sum(side.size(path) for path in group.paths for side in (a, b)) > _SMALL:
            return []
        try:
            return largest_first((path, one) for path in group.paths for one in self.tensors.get(path, ()))[:count]
        except ArtifactStoreError:
            return []  # damaged, or unreachable: this is about which files differ

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Change as Row  # noqa: PLC0415 - most processes show no report
        from artifactstore.display.outline import Changes, Line  # noqa: PLC0415 - as above

        first = {group.paths[0]: group for group in self.groups}
        inside = {path for group in self.groups for path in group.paths}
        rows, unread = [], False
        for one in self:
            if (group := first.get(one.path)) is not None:
                rows.append(Row(SIGNS[group.change], group.title, note=group.note))
                found = self.largest(group)
                rows += [Row("·", path, note=f"relative norm {by.relative:.3g}") for path, by in found if by.relative is not None]
                unread = unread or (not found and group.what == "arrays" and group.change == "changed")
            elif one.path not in inside:
                rows.append(Row(SIGNS[one.change], one.path, note=f"(was {one.moved_from})" if one.moved_from else ""))
        counts = ", ".join(f"{n} {word}" for word in SIGNS if (n := sum(one.change == word for one in self)))
        hint = [Line("which arrays changed most: .inside()", dim=True)] if unread else []
        listed = [Changes(rows, limit=_LISTED)] if rows else []
        return [*listed, Line(f"{counts or 'no differences'}, {self.unchanged} unchanged"), *hint]

    __str__ = Displayed.__str__  # a report, not a list

    def inside(self) -> str:
        """Return the differences inside files as text: a line with the file's name, then its differences."""
        from artifactstore.display.text_renderer import as_text  # noqa: PLC0415 - as above

        return as_text(self._inside_outline())

    def _inside_outline(self) -> "Iterator[Block]":
        from artifactstore.display.outline import Changes, Section  # noqa: PLC0415 - as above

        for path, table in self.tables.items():
            yield Section(f"{path}:", outline_of(table))
        yield from tensor_blocks(self.tensors, self.groups)
        for path, values in self.json.items():
            yield Section(f"{path}:", [Changes([value_row(one) for one in values])])


@one_state()
def diff(
    session: Session, a: str | Path, b: str | Path, *, key: Any = (), exact: bool = False, options: FolderOptions | None = None
) -> Diff:
    """Compare two artifacts, or one with a file or a folder of this machine; see `Store.diff`."""
    wanted = strings(key, "key") if not isinstance(key, str) else [key]
    return Diff(*sides(session, a, b, options or {}), key=wanted, exact=exact)


def verify_folder(session: Session, folder: Path, ref: str) -> Diff:
    """Compare an artifact with all that a folder of this machine has; see `Store.verify_folder`."""
    return Diff(*exact_sides(session, ref, folder), key=(), exact=False)


def _changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> Iterator[Change]:
    gone: dict[Entry, list[str]] = {}
    for path, entry in before.items():
        if path not in after and entry[1]:
            gone.setdefault(entry, []).append(path)
    moved: set[str] = set()
    for path, entry in sorted(after.items()):
        old = before.get(path)
        if old == entry:
            continue
        if old is not None:
            yield Change(path, "changed", old[1], entry[1], old[0], entry[0])
        elif gone.get(entry):
            source = gone[entry].pop(0)
            moved.add(source)
            yield Change(path, "moved", entry[1], entry[1], entry[0], entry[0], source)
        else:
            yield Change(path, "added", None, entry[1], None, entry[0])
    for path, entry in sorted(before.items()):
        if path not in after and path not in moved:
            yield Change(path, "removed", entry[1], None, entry[0], None)
