"""The layout of a hub's cache: `models--org--name/{blobs,refs,snapshots,trees}`. It reads, and knows nothing of a store."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError, NotFoundError

__all__ = ["COMMIT", "Repo", "Snapshot", "SnapshotFile", "cache_folder", "find_snapshot", "parse_repo"]

COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_ETAG: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9_.-]{1,96}", re.ASCII)
_REV: Final = re.compile(r"[A-Za-z0-9_.+-]+(?:/[A-Za-z0-9_.+-]+)*", re.ASCII)
_KINDS: Final = {"models": "model", "datasets": "data", "spaces": "code"}
_FORMATS: Final = (1,)  # of the lists in `trees`
_LARGEST: Final = 256 * 2**20  # bytes of such a list


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository of a hub.

    Attributes:
        type: models, datasets or spaces.
        id: `org/name`, or `name` alone.
    """

    type: str
    id: str

    @property
    def folder(self) -> str:
        """The name of its folder in a cache."""
        return "--".join([self.type, *self.id.split("/")])

    @property
    def text(self) -> str:
        """The repository, as it is named in metadata and in messages."""
        return self.id if self.type == "models" else f"{self.type}/{self.id}"

    @property
    def kind(self) -> str:
        """The kind of its artifacts."""
        return _KINDS[self.type]


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A file of a snapshot.

    Attributes:
        path: in the snapshot.
        disk: where its bytes are.
        etags: the hashes that the hub has of it: SHA-256, or the id of a git blob; of the name of the blob, and of the hub's list.
        broken: why it cannot be read; empty if it can.
    """

    path: str
    disk: str
    etags: tuple[str, ...]
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A commit of a repository, as far as the cache has it.

    Attributes:
        repo: the repository.
        commit: 40 digits.
        files: what is there.
        absent: paths of the commit that are not in the snapshot, where the cache knows them.
        half: paths, or blobs, whose download has not ended.
    """

    repo: Repo
    commit: str
    files: tuple[SnapshotFile, ...]
    absent: tuple[str, ...]
    half: tuple[str, ...]


def cache_folder(given: str | None) -> Path:
    """Return the folder of the cache: what was given, else what the hub's own variables say."""
    if given is not None:
        return Path(given).expanduser()
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(name):
            return Path(os.path.expandvars(os.environ[name])).expanduser()
    home = os.environ.get("HF_HOME")
    above = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return (Path(os.path.expandvars(home)).expanduser() if home else above) / "hub"


def parse_repo(text: str) -> tuple[Repo, str | None, bool]:
    """Return the repository and the revision that a text means, and whether it says of which type it is.

    Raises:
        InvalidInputError: it is malformed.
    """
    whole, sign, rev = text.removeprefix("hf://").partition("@")
    parts = whole.split("/")
    is_typed = parts[0] in _KINDS and len(parts) > 1
    kind, inner = (parts[0], parts[1:]) if is_typed else ("models", parts)
    odd = [one for one in inner if not _PART.fullmatch(one) or "--" in one or ".." in one or one[0] in ".-" or one[-1] in ".-"]
    if not 1 <= len(inner) <= 2 or odd:
        raise InvalidInputError(
            f"{text[:200]!r} is not a repository: expected ORG/REPO, datasets/ORG/REPO or spaces/ORG/REPO, and @REV"
        )
    if sign:
        check_rev(rev)
    return Repo(kind, "/".join(inner)), rev if sign else None, is_typed


def check_rev(rev: str) -> None:
    """Refuse what is not a revision.

    Raises:
        InvalidInputError: with its text.
    """
    if not _REV.fullmatch(rev) or {".", ".."} & set(rev.split("/")) or len(rev) > 200:
        raise InvalidInputError(f"{rev[:200]!r} is not a revision: expected a branch, a tag or a commit")


def find_snapshot(cache: Path, repo: Repo, rev: str | None) -> Snapshot:
    """Return a snapshot in a cache.

    Raises:
        NotFoundError: it is not there.
    """
    folder = cache / repo.folder
    if not folder.is_dir():
        raise NotFoundError(f"{repo.text} is not in the cache {cache}")
    commit = _commit(folder, rev, repo)
    top = folder / "snapshots" / commit
    if not top.is_dir():
        raise NotFoundError(f"the cache {cache} has no snapshot {commit} of {repo.text}: it was never downloaded")
    listed = _listed(folder / "trees" / f"{commit}.json")
    files = tuple(sorted(_files(cache, top, listed), key=lambda one: one.path))
    known = {one.path for one in files}
    absent = tuple(path for path in sorted(listed or ()) if path not in known)
    return Snapshot(repo, commit, files, absent, tuple(_half(folder, listed, absent)))


def _commit(folder: Path, rev: str | None, repo: Repo) -> str:
    ref = _ref(folder, rev or "main")
    if ref is not None:
        return ref
    snapshots = sorted(one.name for one in _entries(folder / "snapshots") if COMMIT.fullmatch(one.name))
    if rev is None and len(snapshots) == 1:
        return snapshots[0]
    fits = [one for one in snapshots if rev is not None and len(rev) >= 6 and one.startswith(rev)]
    if len(fits) == 1:
        return fits[0]
    known = ", ".join([*_refs(folder / "refs"), *snapshots][:10]) or "nothing"
    raise NotFoundError(f"the cache has no revision {rev or 'main'!r} of {repo.text}; it has {known}")


def _ref(folder: Path, rev: str) -> str | None:
    try:
        with (folder / "refs" / rev).open("rb") as file:
            text = file.read(100).decode("ascii", errors="replace").strip()
    except OSError:
        return None
    if not COMMIT.fullmatch(text):
        raise NotFoundError(f"{folder / 'refs' / rev} does not have a commit, but {text[:50]!r}: download the repository again")
    return text


def _refs(folder: Path, prefix: str = "") -> Iterator[str]:
    for one in sorted(_entries(folder), key=lambda one: one.name):
        if one.is_dir(follow_symlinks=False):
            yield from _refs(Path(one.path), f"{prefix}{one.name}/")
        else:
            yield f"{prefix}{one.name}"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []


def _listed(path: Path) -> Mapping[str, str] | None:
    """Return path → hash of all files of a commit, where the cache has that list; None if not, or if it is of a later format."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        value = json.loads(raw) if len(raw) <= _LARGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("format_version") not in _FORMATS or not isinstance(value.get("files"), dict):
        return None
    return {
        path: str(about.get("lfs_sha256") or about.get("blob_id"))
        for path, about in value["files"].items()
        if isinstance(about, dict)
    }


def _files(cache: Path, top: Path, listed: Mapping[str, str] | None) -> Iterator[SnapshotFile]:
    """Yield the files of a snapshot; links are followed once to the name of the blob, which is the hash."""
    allowed = os.path.realpath(cache)
    todo: list[tuple[str, str]] = [(str(top), "")]
    while todo:
        above, prefix = todo.pop()
        for one in _entries(Path(above)):
            path = prefix + one.name
            if one.is_dir(follow_symlinks=False):
                todo.append((one.path, f"{path}/"))
                continue
            etags = [etag for etag in ((listed or {}).get(path),) if etag is not None and _ETAG.fullmatch(etag)]
            real = os.path.realpath(one.path)
            broken = ""
            if one.is_symlink():
                blob = os.path.basename(os.readlink(one.path))  # noqa: PTH115, PTH119 - there may be many
                if _ETAG.fullmatch(blob) and blob not in etags:
                    # A mirror may have another kind of hash than the hub's list has: both are checked.
                    if any(len(etag) == len(blob) for etag in etags):
                        broken = f"it is a link to {blob}, and the hub's list has {etags[0]}"
                    etags.append(blob)
                if not os.path.exists(real):  # noqa: PTH110 - as above
                    broken = "gone"
                elif os.path.commonpath([allowed, real]) != allowed and not etags:
                    broken = f"it is a link that leaves the cache, to {real}"
            yield SnapshotFile(path, real, tuple(etags), broken)


def _half(folder: Path, listed: Mapping[str, str] | None, absent: tuple[str, ...]) -> Iterator[str]:
    """Yield what is being downloaded, or was when the download was stopped."""
    blobs = _entries(folder / "blobs")
    there = {one.name for one in blobs}
    hashes = {one.name.split(".")[0] for one in blobs if one.name.endswith(".incomplete")} - there
    if listed is not None:
        yield from (path for path in absent if listed[path] in hashes)
    else:
        yield from (f"blobs/{one}.incomplete" for one in sorted(hashes))


def repo_types() -> Any:
    """Return the types of repositories."""
    return _KINDS
