"""Comparison of artifacts: which files differ, and how they differ inside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.rows import Rows
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.display.displayed import Displayed, outline_of
from artifactstore.errors import CorruptionError, InvalidInputError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, parse_json
from artifactstore.objects.compare.values import ValueChange, compare_values
from artifactstore.objects.stored_folder import StoredFolder
from artifactstore.objects.tables.profile_names import side_prefix
from artifactstore.objects.trust import NOTHING
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import strings

if TYPE_CHECKING:
    from artifactstore.display.outline import Block
    from artifactstore.display.outline import Change as Row
    from artifactstore.objects.compare.tables import Overlap, StoredTable, TableDiff
    from artifactstore.objects.compare.tensors import TensorChange

__all__ = ["Change", "Diff", "diff"]

_SHOWN: Final = 100  # characters of a value
_LISTED: Final = 200  # files that a notebook lists
_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
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

    def __init__(self, a: "_Side", b: "_Side", *, key: Sequence[str], exact: bool) -> None:
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

    def _outline(self) -> "list[Block]":
        from artifactstore.display.outline import Change as Row  # noqa: PLC0415 - most processes show no report
        from artifactstore.display.outline import Changes, Line  # noqa: PLC0415 - as above

        notes = [f"(was {one.moved_from})" if one.moved_from else "" for one in self]
        rows = [Row(_SIGNS[one.change], one.path, note=note) for one, note in zip(self, notes, strict=True)]
        counts = ", ".join(f"{n} {word}" for word in _SIGNS if (n := sum(one.change == word for one in self)))
        return [Changes(rows, limit=_LISTED), Line(f"{counts or 'no differences'}, {self.unchanged} unchanged")]

    __str__ = Displayed.__str__  # a report, not a list

    def inside(self) -> str:
        """Return the differences inside files as text: a line with the file's name, then its differences."""
        from artifactstore.display.text_renderer import as_text  # noqa: PLC0415 - as above

        return as_text(self._inside_outline())

    def _inside_outline(self) -> "Iterator[Block]":
        from artifactstore.display.outline import Changes, Section  # noqa: PLC0415 - as above

        for path, table in self.tables.items():
            yield Section(f"{path}:", outline_of(table))
        files: list[tuple[str, Rows[Any]]] = [*self.tensors.items(), *self.json.items()]
        for path, rows in files:
            yield Section(f"{path}:", [Changes([_row(one) for one in rows])])


def _row(one: "TensorChange | ValueChange") -> "Row":
    from artifactstore.display.outline import Change as Row  # noqa: PLC0415 - as above

    sign = _SIGNS.get(one.change, "~")
    if isinstance(one, ValueChange):
        old, new = (canonical_json(value).decode()[:_SHOWN] for value in (one.old, one.new))
        return Row(sign, one.path or "/", None if sign == "+" else old, None if sign == "-" else new)
    if one.change != "changed":
        return Row(sign, one.name, one.old, one.new)
    numbers = (("relative norm", one.relative), ("largest", one.largest), ("elements", one.share))
    known = ", ".join(f"{word} {value:.3g}" for word, value in numbers if value is not None)
    return Row(sign, one.name or "array", new=known or "changed")


class _Side:
    """One of the two compared artifacts, or a folder or file in it."""

    def __init__(self, session: Session, ref: str) -> None:
        found = session.resolve(ref)
        self.ref = ref
        self._session = session
        self._manifest = session.with_manifest(found.digest, lambda manifest: manifest)
        self._chosen = found
        self.entries = _entries(self._manifest, found.path)
        using = partial(session.with_manifest, found.digest)
        self.folder = StoredFolder(session.core().cached_backend, self._manifest, _no_tree, NOTHING, using=using)

    @property
    def files(self) -> list[str]:
        """Paths of the regular files, as in `entries`."""
        return [path for path in self.entries if self._manifest.index(self.inner(path)) is not None]

    def inner(self, path: str) -> str:
        """Return the path in the artifact."""
        chosen = (self._chosen.path or "").rstrip("/")
        if not chosen:
            return path
        return chosen if self._manifest.index(chosen) is not None else f"{chosen}/{path}"

    def size(self, path: str) -> int:
        """Return a file's size in bytes."""
        return self.entries[path][1]

    def content(self, path: str) -> bytes | None:
        """Return a file's bytes; None if it does not exist."""
        inner = self.inner(path)
        return self.folder.read(inner) if path in self.entries and self._manifest.index(inner) is not None else None

    def value(self, path: str) -> Any:
        """Parse a JSON file."""
        try:
            return parse_json(self.folder.read(self.inner(path)), path)
        except InvalidInputError as error:
            raise CorruptionError(f"{self.ref}: {error}", location=path) from error

    def table(self, path: str) -> "StoredTable":
        """Return a Parquet file, with its side content."""
        from artifactstore.objects.compare.tables import StoredTable  # noqa: PLC0415 - Arrow, which names need not

        inner, backend, manifest = self.inner(path), self._session.core().cached_backend, self._manifest
        known = side_prefix(manifest, inner)

        def side(name: str) -> bytes | None:
            return read_side(backend, manifest, known + name)

        return StoredTable(self.folder, inner, side)

    def only_table(self) -> "StoredTable":
        """Return the only Parquet file.

        Raises:
            InvalidInputError: there is none, or more than one.
        """
        found = [path for path in self.files if path.endswith(".parquet")]
        if len(found) != 1:
            raise InvalidInputError(f"expected one Parquet file in {self.ref}, got {len(found)}: pass {self.ref}/PATH")
        return self.table(found[0])


def _no_tree() -> Any:
    raise AssertionError  # no comparison needs files on this machine


@one_state()
def diff(session: Session, a: str, b: str, *, key: Any = (), exact: bool = False) -> Diff:
    """Compare two artifacts; see `Store.diff`."""
    wanted = strings(key, "key") if not isinstance(key, str) else [key]
    return Diff(_Side(session, a), _Side(session, b), key=wanted, exact=exact)


_Entry = tuple[str, int]  # digest (or a link's target, or "folder"), bytes


def _entries(manifest: Manifest, path: str | None) -> dict[str, _Entry]:
    found = {
        one: (str(Digest(manifest.algorithm, digest)), size)
        for one, digest, size in zip(manifest.paths, manifest.digests, manifest.sizes, strict=True)
    }
    found |= {one: (f"link to {target}", 0) for one, target in manifest.links}
    found |= dict.fromkeys(manifest.folders, ("folder", 0))
    if path is None:
        return found
    chosen = path.rstrip("/")
    inside = {one[len(chosen) + 1 :]: entry for one, entry in found.items() if one.startswith(chosen + "/")}
    if chosen in found:
        inside[chosen.rpartition("/")[2]] = found[chosen]
    if not inside:
        raise NotFoundError(f"no file or folder {path!r} in the artifact")
    return inside


def _changes(before: Mapping[str, _Entry], after: Mapping[str, _Entry]) -> Iterator[Change]:
    gone: dict[_Entry, list[str]] = {}
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
