"""Get: reads the artifact of a reference as files on disk, an object in memory, or a reader."""

import io
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from artifactstore.catalog.versions import Resolved, alias_of
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.checkout import checkout, is_checked_out, write_files
from artifactstore.content.read.open_file import open_chunks
from artifactstore.content.read.selection import SelectedFiles, Selection, disk_size, select
from artifactstore.content.read.tree_cache import CacheError, TreeCache
from artifactstore.errors import BackendError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.model.encoding import new_id, parse_json
from artifactstore.model.listing import follow, through_links
from artifactstore.model.reference import Referable, selected
from artifactstore.objects.registry import read_object
from artifactstore.objects.stored_folder import StoredFolder
from artifactstore.objects.trust import NOTHING, Trust, trust_of
from artifactstore.runtime.local_files import temporary
from artifactstore.runtime.remarks import remark
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.session.origins import remember
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path, matches, strings
from artifactstore.work.tracking.current_run import note_read
from artifactstore.work.workers.crew import check_executor

__all__ = ["get", "open_file", "open_table", "opened", "stored_value", "untrusted_object"]


def get(
    session: Session,
    ref: str | Referable,
    to: Any = None,
    *,
    paths: Any = None,
    overwrite: bool = False,
    trust: Any = False,
    decode: bool = True,
    executor: Any = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """Read what `ref` resolves to; see `Store.get`. With `decode` off, an object is returned as its files."""
    if check_executor(executor) is not None and to is None:
        raise InvalidInputError("executor= is for files that are written to a folder: pass to=, or leave it out")
    options = dict(options or {})
    ref = selected(ref, options.pop("version", None), options.pop("alias", None))
    share = options.pop("share", None) if to is not None else None
    if share not in {None, "clones", "links"}:
        raise InvalidInputError(f"share={share!r}: expected 'clones' or 'links'")
    wanted = None if paths is None else strings(paths, "paths")
    if wanted is not None and not wanted:
        raise InvalidInputError("paths=[] names no file: leave it out to get all files")
    target = None if to is None else local_path(to, "to")
    if target is not None and "://" not in session.url and Path(session.url) in (target.absolute(), *target.absolute().parents):
        raise InvalidInputError(f"{target} is inside the store: choose another target")
    found = session.resolve(ref)
    if isinstance(to, str):
        _check_target(session, found, to)
    _check_and_track(session, ref, found, target)

    def use(manifest: Manifest) -> Any:
        if target is not None:
            if options:
                raise InvalidInputError(
                    f"with to= the files are written as they are, and {', '.join(sorted(options))} is for objects only: leave one of them out"
                )
            whole = wanted is None and found.path is None
            via = _writer(session, manifest, found, executor=executor, share=share if whole else None)
            return _to_folder(session, manifest, found, target, wanted, overwrite=overwrite, via=via)
        if decode and manifest.format is not None and found.path is None and wanted is None:
            return read_object(manifest.format, _folder(session, manifest, found, trust_of(trust, found.digest)), options)
        if options:
            raise InvalidInputError(f"{ref} is not an object but files, so {', '.join(sorted(options))} cannot be used")
        return _to_tree(session, manifest, found, wanted)

    return session.with_manifest(found.digest, use)


def _check_target(session: Session, found: Resolved, to: str) -> None:
    """Refuse a target that is a version or an alias of the name, and no folder yet: `get("churn", "v3")` means `churn:v3`.

    Raises:
        InvalidInputError: names both ways to write it.
    """
    if found.name is None or "/" in to or os.path.lexists(to):
        return
    with session.state(fresh=False) as state:
        number = to.removeprefix("v")
        is_version = to.startswith("v") and number.isdecimal() and 0 < int(number) <= len(state.names.get(found.name, ()))
        if is_version or alias_of(state, found.name, to) is not None:
            text = f"get({found.name!r}, {to!r}) would write into a folder named {to}"
            raise InvalidInputError(f"{text}: for that version use get('{found.name}:{to}'), for the folder './{to}'")


def open_file(session: Session, ref: str, path: Any = None) -> io.BufferedReader:
    """Open a file of the artifact that `ref` resolves to; see `Store.open_file`."""
    if path is not None and not isinstance(path, str):
        raise InvalidInputError(f"path= must be a str, got {type(path).__name__}")
    found = session.resolve(ref)
    if path is not None and found.path is not None:
        raise InvalidInputError(f"got two paths, in {ref!r} and path={path!r}: pass one")
    _check_and_track(session, ref, found)

    def use(manifest: Manifest) -> int:
        wanted = path if path is not None else found.path
        if wanted is None:
            if len(manifest.paths) != 1:
                some = ", ".join(repr(one) for one in manifest.paths[:5])
                raise InvalidInputError(
                    f"{ref} has {len(manifest.paths)} files; pass path= with one of {some}"
                    + (" …" if len(manifest.paths) > 5 else "")
                )
            return 0
        row = manifest.find(wanted)
        if row is None:
            raise NotFoundError(_no_path(manifest, ref, str(wanted)))
        return row

    return opened(session, found.digest, session.with_manifest(found.digest, use))  # the same in all manifests of an artifact


def opened(session: Session, digest: str, row: int) -> io.BufferedReader:
    """Open the file in a row of an artifact's manifest; not recorded as an input of the current run."""
    again = partial(session.with_manifest, digest, part=row)
    return again(lambda manifest: open_chunks(session.core().cached_backend, manifest, row, again))


def open_table(session: Session, ref: str) -> Any:
    """Open the table that `ref` resolves to; see `Store.open_table`."""
    from artifactstore.objects.tables.datasets import open_dataset  # noqa: PLC0415 - loads Arrow's datasets

    found = session.resolve(ref)
    _check_and_track(session, ref, found)

    def use(manifest: Manifest) -> Any:
        folder, chosen = _folder(session, manifest, found, NOTHING), (found.path or "").rstrip("/")
        if not chosen:
            return open_dataset(folder, ref)
        if manifest.find(chosen) is not None:
            parent, _, name = chosen.rpartition("/")
            return open_dataset(folder.only(name, parent), ref)
        inside = folder.inner(chosen)
        if not inside.names:
            raise NotFoundError(_no_path(manifest, ref, chosen))
        return open_dataset(inside, ref)

    return session.with_manifest(found.digest, use)


def _check_and_track(session: Session, ref: str, found: Resolved, to: Path | None = None) -> None:
    """Check for taint and record the read as an input of the current run."""
    check_taint(session, ref, found)
    note_read(session, found, to)


def stored_value(session: Session, digest: str) -> Any:
    """Return an artifact that is a JSON value; not recorded as an input of the current run.

    Raises:
        NotFoundError: it is not stored any more.
        CorruptionError: it is not JSON.
    """
    found = Resolved(digest)
    raw = session.with_manifest(digest, lambda manifest: _folder(session, manifest, found, NOTHING).read("data.json"))
    try:
        return parse_json(raw, "data.json")
    except InvalidInputError as error:
        raise CorruptionError(f"{digest}: {error}", location="data.json") from error


def untrusted_object(session: Session, digest: str) -> Any:
    """Read an object as a caller would who trusts nothing, not even what this process has put; not recorded as an input.

    Raises:
        UntrustedError: reading it would run code.
        UnsupportedError: it cannot be read here.
        CorruptionError: it is damaged.
    """
    found = Resolved(digest)
    return session.with_manifest(
        digest, lambda manifest: read_object(str(manifest.format), _folder(session, manifest, found, NOTHING), {})
    )


def _folder(session: Session, manifest: Manifest, found: Resolved, trust: Trust) -> StoredFolder:
    def tree() -> Path:
        return _to_tree(session, manifest, found, None)

    return StoredFolder(session.core().cached_backend, manifest, tree, trust, using=partial(session.with_manifest, found.digest))


def _no_path(manifest: Manifest, ref: str, path: str) -> str:
    import difflib  # noqa: PLC0415 - only for a message

    near = difflib.get_close_matches(path, manifest.paths[:20_000], n=3, cutoff=0.5)
    return f"{ref} has no file {path!r}" + (f"; near it: {', '.join(near)}" if near else f"; it has {len(manifest.paths)} files")


def _is_single(session: Session, found: Resolved, manifest: Manifest) -> bool:
    """Return True if the reference means an artifact that was put from a single file."""
    if found.name is None or found.version is None or len(manifest.paths) != 1:
        return False
    with session.state(fresh=False) as state:
        return bool(state.names[found.name][found.version - 1].get("file"))


def _chooser(found: Resolved, manifest: Manifest, patterns: Sequence[str] | None, *, rebase: bool) -> Callable[[str], str | None]:
    """Return a function from a path to the path under the target, or None if it is not selected.

    A path in the reference selects one file or folder; with `rebase` it is written under its own name.
    """
    chosen = None if found.path is None else found.path.rstrip("/")
    base = chosen.rpartition("/")[0] if chosen is not None and rebase else ""
    cut = len(base) + 1 if base else 0
    globs = None if patterns is None else [pattern.rstrip("/") for pattern in patterns]
    # The name of an existing file means that file, even if it looks like a pattern: `a[1].txt`.
    literal = {glob for glob in globs or () if manifest.index(glob) is not None}

    def wanted(path: str) -> str | None:
        if chosen is not None and path != chosen and not path.startswith(chosen + "/"):
            return None
        if globs is not None and path not in literal and not any(g not in literal and matches(path, g) for g in globs):
            return None
        return path[cut:]

    return wanted


def _select(found: Resolved, manifest: Manifest, patterns: Sequence[str] | None, *, rebase: bool) -> Selection:
    wanted = _chooser(found, manifest, patterns, rebase=rebase)
    chosen = select(manifest, wanted)
    if manifest.links and (found.path is not None or patterns is not None):
        _bring_linked(manifest, chosen, wanted, None if found.path is None else found.path.rstrip("/"))
    if (found.path is not None or patterns is not None) and not any(True for _ in chosen.paths()):
        asked = found.path if found.path is not None else ", ".join(patterns or ())
        raise NotFoundError(_no_path(manifest, found.name or found.digest, str(asked)))
    return chosen


def _bring_linked(manifest: Manifest, chosen: Selection, wanted: Callable[[str], str | None], asked: str | None) -> None:
    """Write files instead of links if the selection lacks the target of a link, or is itself a link."""
    through = through_links(manifest.links, manifest.paths)
    brought = {path for path in manifest.paths if wanted(path) is not None}
    brought |= {path for path, _ in manifest.links if wanted(path) is not None}
    kept: dict[str, str] = {}
    for path, target in manifest.links:
        files = [real for name, real in through.items() if name == path or name.startswith(f"{path}/")]
        next_ = follow({}, f"{path.rpartition('/')[0]}/{target}") or ""
        works = brought.issuperset(files) and any(one == next_ or one.startswith(f"{next_}/") for one in brought)
        if wanted(path) is not None and (not files or (works and path != asked)):
            kept[path] = target
    chosen.links = [(str(wanted(path)), target) for path, target in kept.items()]
    for name, real in through.items():
        landing, row = wanted(name), manifest.index(real)
        if landing is not None and row is not None and not any(name == one or name.startswith(f"{one}/") for one in kept):
            chosen.files.append((row, landing))
    chosen.files = SelectedFiles(*zip(*sorted(chosen.files), strict=True)) if chosen.files else chosen.files


def _to_folder(
    session: Session,
    manifest: Manifest,
    found: Resolved,
    target: Path,
    paths: Sequence[str] | None,
    *,
    overwrite: bool,
    via: AbstractContextManager[Callable[..., None] | None],
) -> Path:
    chosen = _select(found, manifest, paths, rebase=True)
    total = sum(manifest.sizes[row] for row in chosen.files.rows)
    watch = session.watch("get", total, len(chosen.files.rows))
    with via as write:
        checkout(session.core().cached_backend, manifest, chosen, target, overwrite=overwrite, progress=watch, write=write)
    path = (found.path or "").rstrip("/") or (manifest.paths[0] if _is_single(session, found, manifest) else "")
    written = os.path.realpath(target / path.rpartition("/")[2])
    remember(session, written, found, how="get", path=path, paths=tuple(paths or ()))
    return target


def _writer(
    session: Session, manifest: Manifest, found: Resolved, *, executor: Any, share: str | None
) -> AbstractContextManager[Callable[..., None] | None]:
    """Return what writes files into a target: this process, its cache, or workers."""
    if executor is not None:
        from artifactstore.work.get.distribute import retrieve_by  # noqa: PLC0415 - only for a get by several workers

        return nullcontext(retrieve_by(session, executor, found.digest))
    if share is not None and session.cache is not None:
        from artifactstore.work.get.shared import lending  # noqa: PLC0415 - few targets get files of the cache

        return lending(session, manifest, found.digest, links=share == "links")
    return nullcontext(None)


def _to_tree(session: Session, manifest: Manifest, found: Resolved, paths: Sequence[str] | None) -> Path:
    """Materialise in the cache; a part of an artifact gets its own tree unless the whole artifact is cached."""
    chosen = _select(found, manifest, paths, rebase=False)
    is_part = found.path is not None or paths is not None
    key = found.digest
    if is_part:
        mark = sha256("\0".join(["links followed", found.path or "", *(paths or ())]).encode()).hexdigest()[:16]
        key = f"{key}-{mark}"
    total = sum(manifest.sizes[row] for row in chosen.files.rows)

    def materialise(folder: Path) -> None:
        write_files(
            session.core().cached_backend, manifest, chosen, folder, progress=session.watch("get", total, len(chosen.files.rows))
        )

    def is_right(folder: Path) -> bool:
        return is_checked_out(manifest, chosen, folder)

    root = _materialised(
        session, [found.digest] if is_part else [], (key, disk_size(manifest, chosen.files.rows)), materialise, is_right
    )
    if found.path is not None:
        return root / found.path
    return root / manifest.paths[0] if _is_single(session, found, manifest) else root


def _materialised(
    session: Session,
    wholes: Sequence[str],
    tree: tuple[str, int],
    materialise: Callable[[Path], None],
    is_right: Callable[[Path], bool],
) -> Path:
    """Return a tree in the cache, given its key and size; if the cache fails, a temporary tree for the life of this process."""
    key, total = tree
    if session.cache is not None:
        trees = TreeCache(session.cache)
        try:
            return next(filter(None, map(trees.find, wholes)), None) or trees.get(key, total, materialise, is_right)
        except CacheError as error:
            text = f"{error}: the files are in a temporary folder until this process ends; pass to= to choose a folder"
            remark(text)
    temporary = Path(_temporary_folder())
    try:
        return TreeCache(temporary).get(key, total, materialise)
    except CacheError:
        # Operations beyond plain writes (a rename, modes) may be what fails here.
        folder = temporary / new_id()
        try:
            folder.mkdir()
            materialise(folder)
        except OSError as error:
            if isinstance(error, BackendError):
                raise
            raise BackendError(f"cannot write {folder}: {error.strerror or error}; pass to= to choose a folder") from error
        return folder


_TEMPORARY: list[tuple[int, str]] = []


def _temporary_folder() -> str:
    """Return a folder for trees that exists for the life of this process, without a cache."""
    if not _TEMPORARY or _TEMPORARY[-1][0] != os.getpid():
        import atexit  # noqa: PLC0415 - only without a cache

        with temporary("no cache is available: pass to= to choose a folder, or set ARTIFACTSTORE_CACHE"):
            folder = mkdtemp(prefix="artifactstore-")
        _TEMPORARY.append((os.getpid(), folder))
        atexit.register(_remove_own, os.getpid(), folder)
    return _TEMPORARY[-1][1]


def _remove_own(pid: int, folder: str) -> None:
    if pid == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
