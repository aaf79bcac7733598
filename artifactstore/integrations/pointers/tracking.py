"""Tracked files and folders: their content is in a store, and a pointer file beside each is what git keeps."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError, NotFoundError
from artifactstore.integrations.pointers.pointer import SUFFIXES, Pointer, check, is_pointer, read, write
from artifactstore.integrations.recognised import recognised
from artifactstore.runtime.atomic_files import staged
from artifactstore.store import Store

__all__ = ["Tracked", "checkout", "compare", "store_of", "track"]

_SUFFIX: Final = ".artifact"
_PASSED_OVER: Final = {".git", ".venv", "node_modules", "__pycache__"}
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._/-]+")


@dataclass(frozen=True, slots=True)
class Tracked:
    """A tracked file or folder.

    Attributes:
        path: of its working copy.
        pointer: what its pointer file pins.
        state: `same`, `changed`, or `missing`: there is no working copy.
        changes: number of files that differ.
    """

    path: Path
    pointer: Pointer
    state: str = "same"
    changes: int = 0


def track(store: Store, path: str | os.PathLike[str], name: str | None = None, **options: Any) -> Tracked:
    """Put a file or folder, write the pointer beside it, and let git ignore the content.

    Args:
        store: the store.
        path: of the file or folder.
        name: the name of the new version; by default that of the pointer that is there, else its path in the repository.
        **options: of `put`.

    Raises:
        InvalidInputError: there is no such path, or git tracks it itself.
        BackendError: a backend failed.
    """
    working = Path(path)
    if os.fspath(path).endswith(SUFFIXES):
        raise InvalidInputError(f"{path} is a pointer file: track {_working_copy(working)}, the content")
    if not os.path.lexists(working):
        raise InvalidInputError(f"no such path: {os.fspath(path)!r}")
    beside = _beside(working)
    top = _repository(working)
    if top is not None:
        _refuse_tracked(working)
    if name is None:
        name = (read(beside).name if beside.exists() else None) or _name_of(working, top)
    made = store.put(os.fspath(working), name, **options)
    pointer = write(made, beside)
    if top is not None:
        _ignore(working)
    return Tracked(working, pointer)


def compare(store: Store, paths: Sequence[str | os.PathLike[str]] = ()) -> list[Tracked]:
    """Compare working copies with what their pointers pin.

    Args:
        store: the store.
        paths: of working copies, pointers, or folders that are searched for pointers; by default the current folder.

    Raises:
        NotFoundError: a path has no pointer, or the store lacks an artifact.
        CorruptionError: a pointer file was edited.
    """
    return [_compared(store, working, pointer) for working, pointer in _found(paths)]


def checkout(store: Store, paths: Sequence[str | os.PathLike[str]] = (), *, overwrite: bool = False) -> list[Tracked]:
    """Bring what pointers pin. Each working copy is replaced as a whole, by one rename; copies that are the same stay.

    Args:
        store: the store.
        paths: as for `compare`.
        overwrite: also replace working copies that no version in the store has.

    Returns:
        What was brought.

    Raises:
        AlreadyExistsError: unsaved work would be lost; nothing was changed.
        NotFoundError: a path has no pointer, or the store lacks an artifact.
        CorruptionError: a pointer or the store is damaged; the working copy stays.
    """
    found = compare(store, paths)
    lost = [] if overwrite else [str(one.path) for one in found if one.state == "changed" and recognised(store, one.path) is None]
    if lost:
        raise AlreadyExistsError(
            f"{', '.join(lost)}: changed, and in no version of the store: track it to keep the changes, or pass --overwrite to lose them"
        )
    brought = [one for one in found if one.state != "same"]
    for one in brought:
        _bring(store, one)
    return brought


def store_of(paths: Sequence[str | os.PathLike[str]] = ()) -> str | None:
    """Return the store that pointers name; None if there are none.

    Args:
        paths: as for `compare`.

    Raises:
        InvalidInputError: they name several.
        CorruptionError: a pointer file was edited.
    """
    stores = {read(pointer).store for _, pointer in _found(paths)}
    if len(stores) > 1:
        raise InvalidInputError(f"these pointers name several stores: {', '.join(sorted(stores))}: pass --store")
    return stores.pop() if stores else None


def _bring(store: Store, one: Tracked) -> None:
    """Replace a working copy by the artifact."""
    with staged(one.path.absolute()) as scratch:
        scratch.mkdir(parents=True)
        artifact = store.artifact(one.pointer.ref)
        written = Path(store.get(artifact, scratch / "new"))
        if artifact.single:
            (written,) = written.iterdir()
        if os.path.lexists(one.path):
            one.path.rename(scratch / "old")
        try:
            written.rename(one.path)
        except OSError:
            if os.path.lexists(scratch / "old"):
                (scratch / "old").rename(one.path)
            raise


def _compared(store: Store, working: Path, file: Path) -> Tracked:
    pointer = read(file)
    check(pointer, store.artifact(pointer.ref), file)
    if not os.path.lexists(working):
        return Tracked(working, pointer, "missing")
    changes = len(store.status(os.fspath(working), against=pointer.ref)[0].diff)
    return Tracked(working, pointer, "changed" if changes else "same", changes)


def _found(paths: Sequence[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Yield working copies with their pointers, each once.

    Raises:
        NotFoundError: a path has none.
    """
    seen: set[Path] = set()
    for path in paths or (Path(),):
        given = Path(path)
        if is_pointer(given):
            pointers = [given]
        elif _beside(given).is_file():
            pointers = [_beside(given)]
        else:
            pointers = sorted(_below(given))
            if not pointers and paths:
                raise NotFoundError(
                    f"{given} has no pointer file: `artifactstore track {given}` makes one; `artifactstore get {given} FOLDER` is for names"
                )
        for pointer in pointers:
            if pointer not in seen:
                seen.add(pointer)
                yield _working_copy(pointer), pointer


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if one not in _PASSED_OVER and not Path(parent, f"{one}{_SUFFIX}").is_file())
        yield from (Path(parent, file) for file in files if file.endswith(SUFFIXES))


def _beside(working: Path) -> Path:
    absolute = working if working.name not in {"", ".", ".."} else working.absolute().resolve()
    return absolute.with_name(f"{absolute.name}{_SUFFIX}")


def _working_copy(pointer: Path) -> Path:
    suffix = next(one for one in SUFFIXES if pointer.name.endswith(one))
    return pointer.with_name(pointer.name.removesuffix(suffix))


def _repository(path: Path) -> Path | None:
    return next((one for one in path.absolute().parents if (one / ".git").exists()), None)


def _name_of(working: Path, top: Path | None) -> str:
    absolute = working.absolute()
    inner = absolute.relative_to(top).as_posix() if top is not None and absolute.is_relative_to(top) else absolute.name
    return _NOT_IN_NAMES.sub("-", inner).strip("-/")


def _refuse_tracked(working: Path) -> None:
    """Refuse what git has itself: it would be in both.

    Raises:
        InvalidInputError: git tracks it.
    """
    command = ["git", "-C", os.fspath(working.absolute().parent), "ls-files", "-z", "--", f"./{working.absolute().name}"]
    environment: Mapping[str, str] = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60)  # noqa: S603 - a fixed command
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode == 0 and done.stdout.strip(b"\0"):
        raise InvalidInputError(f"git tracks {working} itself: `git rm -r --cached {working}` first; the files stay")


def _ignore(working: Path) -> None:
    """Add a line to the `.gitignore` beside a working copy."""
    absolute = working.absolute()
    line = f"/{absolute.name}".replace("\\", "\\\\")
    line = re.sub(r"([*?\[#! ])", r"\\\1", line)
    file = absolute.parent / ".gitignore"
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if line not in text.splitlines():
            file.write_text(f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BackendError(f"cannot add {line} to {file}: {error}; add it yourself") from error
