"""Questions to an open store: names, versions, find, log, diff."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from artifactstore.catalog import audit
from artifactstore.catalog import find as finding
from artifactstore.catalog import versions as catalog
from artifactstore.catalog.audit import Log
from artifactstore.catalog.rows import Rows
from artifactstore.catalog.versions import Name, Version
from artifactstore.content.manifest import Manifest
from artifactstore.content.source import from_file, open_unchanged
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.maintenance import verify as maintenance
from artifactstore.maintenance.report import Report
from artifactstore.model.digest import Digest, new_hasher
from artifactstore.model.reference import check_name
from artifactstore.work.artifact import artifact
from artifactstore.work.place import local_path
from artifactstore.work.session import Session

__all__ = ["Change", "Diff", "diff", "find", "log", "names", "verify", "versions"]


def names(session: Session, prefix: Any = "") -> Rows[Name]:
    """Return all names that begin with `prefix`."""
    if not isinstance(prefix, str):
        raise InvalidInputError(f"a prefix is a str, not a {type(prefix).__name__}")
    with session.asking() as state:
        return Rows(Name, catalog.names(state, prefix))


def versions(session: Session, name: str) -> Rows[Version]:
    """Return all versions of a name."""
    check_name(name)
    with session.asking() as state:
        return Rows(Version, catalog.versions(state, name))


def find(
    session: Session,
    *,
    name: str | None = None,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    metrics: Mapping[str, str | float] | None = None,
    file: str | os.PathLike[str] | None = None,
) -> Rows[Version]:
    """Return the versions that meet all conditions; see `Store.find`."""
    core = session.core()
    with session.asking() as state:
        found = list(finding.find(state, name=name, kind=kind, metadata=metadata, metrics=metrics))
    if file is not None:
        wanted = _file_digest(file, core.algorithm)
        holding = {digest for digest in dict.fromkeys(one.digest for one in found) if _holds(session, digest, wanted)}
        found = [one for one in found if one.digest in holding]
    return Rows(Version, found)


def _holds(session: Session, digest: str, wanted: bytes) -> bool:
    try:
        return session.with_manifest(digest, lambda manifest: wanted in manifest.digests)
    except NotFoundError:
        return False  # removed meanwhile


def _file_digest(file: Any, algorithm: str) -> bytes:
    """Return the raw digest of a file on disk, or the one that is written out."""
    text = str(local_path(file, "file"))
    if isinstance(file, str) and text.startswith(("blake3:", "sha256:")):
        digest = Digest.parse(text)
        if digest.algorithm != algorithm:
            raise InvalidInputError(f"this store has {algorithm} digests: {text} can't be looked up in it")
        return digest.raw
    source = from_file(text)
    hasher = new_hasher(algorithm)
    with open_unchanged(source) as fd:
        while block := os.read(fd, 2**20):
            hasher.update(block)
    return hasher.digest()


def log(
    session: Session,
    *,
    name: str | None = None,
    alias: str | None = None,
    actor: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    fact: str | None = None,
    txn: str | None = None,
) -> Log:
    """Return the audit trail; see `Store.log`."""
    wanted = audit.Filter(name, alias, actor, since, until, fact, txn)
    parsed = None if txn is None else audit.parse_txn(txn)
    journal = session.core().journal
    head = journal.catch_up()
    last = head if session.view is None else session.view.head
    found = list(audit.events(journal.entries(last=last), wanted))
    return Log(found, None if parsed is None else audit.outcome_of(found, parsed[1], head))


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
        moved_from: the path before, where it was moved.
    """

    path: str
    change: str
    old_size: int | None
    new_size: int | None
    old: str | None
    new: str | None
    moved_from: str | None = None


class Diff(Rows[Change]):
    """The files in which two artifacts differ; empty (and false) where their files are equal.

    Attributes:
        a: reference of the one.
        b: reference of the other.
        unchanged: how many files are equal.
    """

    def __init__(self, a: str, b: str, changes: list[Change], unchanged: int) -> None:
        super().__init__(Change, changes)
        self.a, self.b, self.unchanged = a, b, unchanged

    def __repr__(self) -> str:
        signs = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}
        lines = [f"{signs[one.change]} {one.path}" + (f"  (was {one.moved_from})" if one.moved_from else "") for one in self]
        counts = ", ".join(f"{n} {word}" for word in signs if (n := sum(one.change == word for one in self)))
        return "\n".join([*lines, f"{counts or 'no differences'}, {self.unchanged} unchanged"])


def diff(session: Session, a: str, b: str) -> Diff:
    """Compare the files of two artifacts; see `Store.diff`."""
    first, second = session.resolve(a), session.resolve(b)
    old = session.with_manifest(first.digest, lambda manifest: manifest)
    new = session.with_manifest(second.digest, lambda manifest: manifest)
    before, after = _entries(old, first.path), _entries(new, second.path)
    return Diff(a, b, list(_changes(before, after)), sum(1 for path, one in after.items() if before.get(path) == one))


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


def verify(session: Session, ref: str | None, *, level: str, fraction: float, anchor: str | None) -> Report:
    """Check the store, or one artifact; see `Store.verify`."""
    digest = None if ref is None else artifact(session, ref).digest
    journal = session.core().journal
    watch = session.watch("verify", 0)
    return maintenance.verify(journal, digest=digest, level=level, fraction=fraction, anchor=anchor, progress=watch)
