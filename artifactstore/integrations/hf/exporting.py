"""The export into a hub's cache: blobs by their etags, a snapshot of links to them, and at last `refs/main`."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import AlreadyExistsError, BackendError, InvalidInputError
from artifactstore.integrations.hf.cache import COMMIT, Repo, parse_repo
from artifactstore.model.reference import Referable
from artifactstore.store import Store

__all__ = ["export_snapshot"]

_STAGED: Final = ".artifactstore-"
_DAY: Final = 86_400  # seconds
_BLOCK: Final = 4 * 2**20
_LARGE: Final = 10 * 2**20  # bytes from which on a hub keeps a file as LFS, whatever its name
_LFS: Final = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack",
    "*.npy", "*.npz", "*.onnx", "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "*.tar",
    "*.tar.*", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*",
)  # fmt: skip # what a hub's own .gitattributes has, where the artifact has none
_SHA256: Final = 64  # digits
_RULE: Final = re.compile(r"^(\S+)\s+(?:.*\s)?(-?filter)(?:=(\S+))?(?:\s|$)")


def export_snapshot(store: Store, ref: str | Referable, cache: Path, repo: str | None) -> Path:
    """Export an artifact; see `export`."""
    artifact = store.artifact(ref)
    given = repo or artifact.metadata.get("hf.repo")
    if not isinstance(given, str):
        raise InvalidInputError(f"{artifact.ref} has no hf.repo in its metadata: pass --repo ORG/NAME")
    target, rev, _ = parse_repo(given)
    if rev is not None:
        raise InvalidInputError(f"{given!r} names a revision: the commit is that of the artifact")
    own = artifact.metadata.get("hf.commit")
    commit = own if isinstance(own, str) and COMMIT.fullmatch(own) else artifact.digest.partition(":")[2][:40]
    if not artifact.count:
        raise InvalidInputError(f"{artifact.ref} has no files")
    try:
        return _written(store, artifact, cache, target, commit)
    except OSError as error:
        if isinstance(error, BackendError | AlreadyExistsError):
            raise
        raise BackendError(f"cannot write {error.filename or cache}: {error.strerror or error}") from error


def _written(store: Store, artifact: Any, cache: Path, repo: Repo, commit: str) -> Path:
    folder = cache / repo.folder
    blobs, snapshots = folder / "blobs", folder / "snapshots"
    top = snapshots / commit
    for one in (blobs, snapshots, folder / "refs"):
        one.mkdir(parents=True, exist_ok=True)
    with _staging(folder) as staged:
        files = store.get(artifact.digest if artifact.name is None else f"{artifact.name}@{artifact.digest}", staged / "files")
        etags = dict(_etags(files))
        _check_free(top, etags)
        made = staged / "snapshot"
        linked = _links_work(staged)
        for path, etag in sorted(etags.items(), key=lambda one: not (files / one[0]).is_symlink()):
            place = made / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if not linked:
                _move(files / path, place)
                continue
            _store_blob(files / path, blobs / etag, etag)
            place.symlink_to(os.path.join(*[".."] * (path.count("/") + 2), "blobs", etag))  # noqa: PTH118 - a relative target
        _publish(made, top, etags)
        _write_ref(folder / "refs" / "main", commit)
    return top


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Yield a folder on the same disk, which is removed at the end; those of killed exports are removed after a day."""
    for left in folder.glob(f"{_STAGED}*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=_STAGED, dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _etags(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, etag) of the files of a folder; links are files there."""
    found = sorted(
        Path(above, name).relative_to(folder).as_posix()
        for above, _, names in os.walk(folder, followlinks=True)
        for name in names
        if Path(above, name).is_file()
    )
    rules = _rules(folder / ".gitattributes")
    for path in found:
        yield path, _etag(folder / path, sha256=_is_lfs(path, (folder / path).stat().st_size, rules))


def _rules(path: Path) -> list[tuple[str, bool]]:
    """Return (pattern, whether it is kept as LFS) of a `.gitattributes`; those of a new repository if there is none."""
    if not path.is_file() or path.stat().st_size > 2**20:
        return [(one, True) for one in _LFS]
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(match[1], match[3] == "lfs") for line in lines if (match := _RULE.match(line.strip())) is not None]


def _is_lfs(path: str, size: int, rules: list[tuple[str, bool]]) -> bool:
    """Return whether a hub keeps a file as LFS: the last rule that fits decides."""
    found = size > _LARGE
    for pattern, wanted in rules:
        if fnmatch(path if "/" in pattern.rstrip("/") else path.rpartition("/")[2], pattern.lstrip("/")):
            found = wanted
    return found


def _etag(path: Path, *, sha256: bool) -> str:
    """Return the hash by which a hub names a file: SHA-256 of LFS files, else the id of the git blob."""
    made = hashlib.new("sha256" if sha256 else "sha1", usedforsecurity=False)
    if not sha256:
        made.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while data := file.read(_BLOCK):
            made.update(data)
    return made.hexdigest()


def _check_free(top: Path, etags: dict[str, str]) -> None:
    """Refuse a snapshot that has other content under the same commit.

    Raises:
        AlreadyExistsError: names a file.
    """
    for path, etag in etags.items():
        there = top / path
        if there.is_symlink() and not there.exists():
            continue  # its blob is gone, and is written again
        if there.exists() and _etag(there, sha256=len(etag) == _SHA256) != etag:
            raise AlreadyExistsError(
                f"{there} exists and has other content: nothing was written; remove the snapshot, or pass another --repo"
            )


def _links_work(folder: Path) -> bool:
    """Return whether symbolic links can be made here; on Windows often not, and a hub's cache is without them there."""
    probe = folder / "link"
    try:
        probe.symlink_to("target")
    except (OSError, NotImplementedError):
        return False
    probe.unlink()
    return True


def _store_blob(source: Path, blob: Path, etag: str) -> None:
    """Put a file among the blobs, unless it is there; one that is damaged there is replaced."""
    if blob.exists() and _etag(blob, sha256=len(etag) == _SHA256) == etag:
        return
    _move(source, blob)


def _move(source: Path, target: Path) -> None:
    """Move a file, at once; what a link leads to is copied."""
    if source.is_symlink():
        real = source.with_name(f"{source.name}.artifactstore")
        shutil.copyfile(source, real)
        source = real
    os.replace(source, target)  # noqa: PTH105 - atomic


def _publish(made: Path, top: Path, etags: dict[str, str]) -> None:
    """Move a snapshot to its place; into the one that is there file by file."""
    if not top.exists():
        with suppress(OSError):  # another process was first
            made.rename(top)
            return
    for path in etags:
        there = top / path
        there.parent.mkdir(parents=True, exist_ok=True)
        if there.is_symlink() and not there.exists():
            there.unlink()
        if not there.exists():
            os.replace(made / path, there)  # noqa: PTH105 - atomic


def _write_ref(path: Path, commit: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    staged.write_text(commit, encoding="ascii")
    os.replace(staged, path)  # noqa: PTH105 - atomic
