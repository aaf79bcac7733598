"""Checkout: writes verified files into a target folder. A tree is staged in a hidden sibling and renamed into place.

An existing folder is added to: equal files are left alone, unrelated ones never touched, and one that differs is
an error before anything is written.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from operator import ge
from pathlib import Path
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.partial_folder import partial_folder
from artifactstore.content.read.retrieve import retrieve
from artifactstore.content.read.selection import SelectedFiles, Selection
from artifactstore.errors import (
    AlreadyExistsError,
    ArtifactStoreError,
    BackendError,
    CorruptionError,
    InvalidInputError,
    UnsupportedError,
)
from artifactstore.model.digest import new_hasher
from artifactstore.model.encoding import new_id
from artifactstore.model.listing import reads_utf8
from artifactstore.model.path_clashes import case_clashes, check_tree

__all__ = ["check_clash", "checkout", "unsupported_names", "write_files"]

_WINDOWS_BAD: Final = re.compile(r'[<>:"\\|?*\x01-\x1f]|[ .]$')
_WINDOWS_NAMES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def unsupported_names(paths: Iterable[str], *, windows: bool, ignores_case: bool) -> list[str]:
    """Return the paths that a platform cannot store."""
    bad: list[str] = []
    paths = [*paths] if windows or ignores_case else ()
    if windows:
        bad += [p for p in paths if any(_WINDOWS_BAD.search(part) or _WINDOWS_NAMES.fullmatch(part) for part in p.split("/"))]
    if ignores_case:
        bad += [second for first, second in case_clashes(paths) if not windows or first.casefold() == second.casefold()]
    return bad


def checkout(
    backend: Backend,
    manifest: Manifest,
    chosen: Selection,
    target: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _size, _files: None,
    write: Callable[..., None] | None = None,
) -> None:
    """Write the selected files under `target`: all of them are verified before any of them gets its name; `write` instead of `retrieve`.

    Raises:
        AlreadyExistsError: other content exists there; with the first five paths.
        InvalidInputError: `target` cannot be a folder.
        UnsupportedError: names that this platform cannot store.
        CorruptionError: bytes do not match a digest.
        BackendError: reading the store failed, or the disk is full.
    """
    check_clash(manifest, chosen)
    target = target.absolute()
    try:
        if os.path.lexists(target) and not target.is_dir():
            raise AlreadyExistsError(f"{target} must be a folder")
    except (OSError, ValueError) as error:
        if isinstance(error, AlreadyExistsError):
            raise
        raise InvalidInputError(f"{str(target)!r} cannot be a folder: {error}") from error
    # Stage inside an existing target: it may be a mount, or a link to another disk, whose parent folder is not writable.
    with partial_folder(*([target.resolve()] if os.path.isdir(target) else []), target.parent) as staging:  # noqa: PTH112 - any failure means no
        try:
            _check_names(chosen, staging)
            missing = _missing(manifest, chosen, target, overwrite=overwrite)
            _write_all(backend, manifest, missing, staging, partial(write or retrieve, progress=progress))
        except OSError as error:
            if isinstance(error, ArtifactStoreError):
                raise
            raise _failed(error, target, "nothing was written") from error
        moved = _Move(manifest, missing, staging, target, overwrite=overwrite)
        try:
            moved.all()
        except OSError as error:
            if isinstance(error, AlreadyExistsError):
                raise AlreadyExistsError(f"{error}; {moved.outcome()}") from error
            raise _failed(error, target, moved.outcome()) from error


def _failed(error: OSError, target: Path, outcome: str) -> Exception:
    if error.errno == errno.ENAMETOOLONG:
        name = str(error.filename or target)[:200]
        return InvalidInputError(f"the name {name!r} … is too long for this file system; {outcome}")
    return BackendError(f"{error.filename or target} cannot be written: {error.strerror or error}; {outcome}")


def write_files(
    backend: Backend,
    manifest: Manifest,
    chosen: Selection,
    folder: Path,
    *,
    progress: Callable[[int, int], None] = lambda _size, _files: None,
) -> None:
    """Write the selected files into a new, empty folder that no other process can see yet."""
    check_clash(manifest, chosen)
    _check_names(chosen, folder)
    _write_all(backend, manifest, chosen, folder, partial(retrieve, progress=progress))


def is_checked_out(manifest: Manifest, chosen: Selection, folder: Path) -> bool:
    """Return whether a folder contains exactly the selected files; every file is read."""
    links = dict(chosen.links)
    files = {path: row for row, path in chosen.files}
    for inner, folders, names in os.walk(folder):
        above = Path(inner).relative_to(folder).as_posix().removeprefix(".")
        above += "/" if above else ""
        for name in (*folders, *names):
            path, there = above + name, Path(inner, name)
            if there.is_symlink():
                if links.pop(path, None) != _target(there):
                    return False
            elif name in names:
                row = files.pop(path, None)
                if row is None or _compare(there, manifest, row) != "equal":
                    return False
                if bool(there.stat().st_mode & stat.S_IXUSR) != bool(manifest.executable[row]):
                    return False
    return not links and not files and all((folder / path).is_dir() for path in chosen.folders)


def check_clash(manifest: Manifest, chosen: Selection) -> None:
    """Refuse paths of which one is a parent of another, perhaps through a link that leads out of the target.

    Raises:
        CorruptionError: there are such paths.
    """
    if manifest.clash is None:
        return
    try:
        check_tree(chosen.files.paths, chosen.folders, chosen.links)
    except InvalidInputError as error:
        raise CorruptionError(
            f"this artifact cannot be written as a whole: {error}; choose files with paths=, or read them one by one with open_file",
            digest=str(manifest.identify()[1]),
            location=manifest.clash[1],
        ) from error


def _check_names(chosen: Selection, staging: Path) -> None:
    if not reads_utf8():
        texts = chain(chosen.paths(), chosen.folders, (to for _, to in chosen.links))
        if (odd := next((text for text in texts if not text.isascii()), None)) is not None:
            raise UnsupportedError(
                f"the locale of this process cannot write the name {odd!a}: nothing was written; "
                "set PYTHONUTF8=1, or a locale with UTF-8 (LC_ALL=C.UTF-8)"
            )
    probe = staging / ".Case"
    probe.touch()
    ignores_case = (staging / ".cASE").exists()
    probe.unlink()
    bad = unsupported_names(chosen.paths(), windows=os.name == "nt", ignores_case=ignores_case)
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise UnsupportedError(
            f"this file system cannot hold the names {', '.join(map(repr, bad[:5]))}{more}: nothing was written; choose a target on another file system, or read them one by one with open_file"
        )


def _write_all(backend: Backend, manifest: Manifest, chosen: Selection, folder: Path, write: Callable[..., None]) -> None:
    base = str(folder)
    needed = {path.rpartition("/")[0] for path in chosen.paths()} | set(chosen.folders)
    for inner in sorted(needed - {""}):
        os.makedirs(os.path.join(base, inner), exist_ok=True)  # noqa: PTH103, PTH118 - 100,000 folders
    files, again = chosen.files, list[tuple[str, str]]()
    if any(map(ge, files.rows, islice(files.rows, 1, None))):
        first: dict[int, str] = {}
        again = [(path, first[row]) for row, path in files if first.setdefault(row, path) != path]
        files = SelectedFiles([*first], [*first.values()])
    write(backend, manifest, files.rows, lambda at: f"{base}/{files.paths[at]}")
    for path, other in again:  # a file reached by several links
        shutil.copy(f"{base}/{other}", f"{base}/{path}")
    for path, to in chosen.links:
        os.symlink(to, f"{base}/{path}")  # noqa: PTH211 - pathlib would normalise the target, which is part of the identity


def _missing(manifest: Manifest, chosen: Selection, target: Path, *, overwrite: bool) -> Selection:
    """Leave out entries that exist already with equal content.

    Raises:
        AlreadyExistsError: an existing entry differs.
    """
    if not target.exists():
        return chosen
    rest, differ = Selection(), []
    blocked = _Blocked(target)
    for row, path in chosen.files:
        state = blocked.above(path) or _compare(target / path, manifest, row)
        if state == "differs":
            differ.append(path)
        if state != "equal":
            rest.files.append((row, path))
    for path, to in chosen.links:
        there = target / path
        if blocked.above(path) or (os.path.lexists(there) and not (there.is_symlink() and _target(there) == to)):
            differ.append(path)
        if not there.is_symlink() or path in differ:
            rest.links.append((path, to))
    for path in chosen.folders:
        if blocked.above(path) or ((target / path).exists() and not (target / path).is_dir()):
            differ.append(path)
        if blocked.above(path) or not (target / path).is_dir():
            rest.folders.append(path)
    # What a link points to is outside the target: the link is replaced, its destination stays.
    own = [path for path in differ if not blocked.above(path)]
    folders = [path for path in own if (target / path).is_dir() and not (target / path).is_symlink()]
    if differ and (not overwrite or folders):
        named = ", ".join(sorted(folders if overwrite else differ)[:5])
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        hint = "move the folder away, since a folder is never overwritten" if overwrite else "pass overwrite=True to replace them"
        raise AlreadyExistsError(
            f"{target} has other content under {named}{more}; nothing was written: choose another target, or {hint}"
        )
    return rest


def _target(link: Path) -> str:
    """Return the target of a link verbatim: pathlib would normalise it, and it is part of the identity."""
    return os.readlink(link)  # noqa: PTH115


class _Blocked:
    """Finds paths that pass through something other than a folder: a link there would lead out of the target."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._known: dict[str, bool] = {"": False}

    def above(self, path: str) -> str:
        """Return "differs" if a parent of `path` exists and is not a real folder, else ""."""
        return "differs" if self._blocked(path.rpartition("/")[0]) else ""

    def _blocked(self, folder: str) -> bool:
        found = self._known.get(folder)
        if found is None:
            found = self._blocked(folder.rpartition("/")[0])
            if not found:
                try:
                    found = not stat.S_ISDIR(os.lstat(f"{self._target}/{folder}").st_mode)
                except FileNotFoundError:
                    found = False
            self._known[folder] = found
        return found


def _compare(path: Path, manifest: Manifest, row: int) -> str:
    """Return absent, equal or differs."""
    try:
        st = path.lstat()
    except FileNotFoundError:
        return "absent"
    if not stat.S_ISREG(st.st_mode) or st.st_size != manifest.sizes[row]:
        return "differs"
    hasher = new_hasher(manifest.algorithm)
    with path.open("rb") as file:
        while block := file.read(2**20):
            hasher.update(block)
    return "equal" if hasher.digest() == manifest.digests[row] else "differs"


class _Move:
    """Moves staged files to the target, and tracks its progress.

    Of several processes that write into the same folder, each accepts equal files that another one has written.
    """

    def __init__(self, manifest: Manifest, chosen: Selection, staging: Path, target: Path, *, overwrite: bool) -> None:
        self._manifest = manifest
        self._chosen = chosen
        self._staging = staging
        self._target = target
        self._overwrite = overwrite
        self._placed = 0

    def all(self) -> None:
        """Move everything; with a single rename if the target does not exist.

        Raises:
            AlreadyExistsError: another process has written other content meanwhile.
            OSError: the target cannot be written.
        """
        if not self._target.exists():
            try:
                self._staging.rename(self._target)
            except OSError:
                if not self._target.is_dir():
                    raise
            else:
                return
        for folder, folders, files in os.walk(self._staging):
            inner = os.path.relpath(folder, self._staging)
            there = self._target if inner == "." else self._target / inner
            if there != self._target:
                self._make(there)
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118
            for name in (*files, *links):
                path = name if inner == "." else f"{inner}/{name}"
                self._move(Path(folder, name), there / name, path.replace(os.sep, "/"))
                self._placed += 1

    def outcome(self) -> str:
        """Describe the state of the target, for messages."""
        total = len(self._chosen.files) + len(self._chosen.links)
        if not self._placed:
            return "nothing was written"
        return f"{self._placed} of {total} files were written before that, each complete: get again to write the rest"

    def _make(self, there: Path) -> None:
        if self._overwrite and (there.is_symlink() or there.is_file()):
            there.unlink()
        with suppress(FileExistsError):
            there.mkdir()
        if not stat.S_ISDIR(there.lstat().st_mode):
            raise AlreadyExistsError(f"{there} was created by another process meanwhile and is not a folder")

    def _move(self, source: Path, there: Path, path: str) -> None:
        try:
            if self._overwrite:
                source.replace(there)
            elif source.is_symlink():
                os.symlink(_target(source), there)  # noqa: PTH211 - see _target
            else:
                os.link(source, there)
        except FileExistsError as error:
            if not self._is_equal(there, path):
                raise AlreadyExistsError(f"{there} was created by another process meanwhile, with other content") from error
        except OSError as error:
            if error.errno == errno.EXDEV:  # a folder in the target is on another file system
                self._copy(source, there, path)
            elif self._overwrite or source.is_symlink():
                raise
            else:
                source.rename(there)  # a file system without links

    def _copy(self, source: Path, there: Path, path: str) -> None:
        beside = there.with_name(f".{new_id()[:16]}.partial")
        try:
            shutil.copy(source, beside, follow_symlinks=False)
            self._move(beside, there, path)
        finally:
            beside.unlink(missing_ok=True)

    def _is_equal(self, there: Path, path: str) -> bool:
        for row, one in self._chosen.files:
            if one == path:
                return _compare(there, self._manifest, row) == "equal"
        return (path, _target(there) if there.is_symlink() else None) in self._chosen.links
