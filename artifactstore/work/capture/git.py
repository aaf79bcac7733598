"""The working tree as git sees it: tracked, modified and untracked files that are not ignored, with their tree's id.

The user's index and objects stay as they are: git works on a copy of the index, and writes what it must into a folder of
ours (`GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`).
"""

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_link, check_path
from artifactstore.work.capture.git_calls import Git, joined
from artifactstore.work.capture.secrets import looks_secret, without_credentials
from artifactstore.work.capture.tree_id import blob_id

__all__ = ["CAP", "Git", "Tree", "bundle", "read_tree", "skipped_text"]

CAP: Final = 50 * 2**20  # bytes of an untracked file that is still taken for code
_ALL: Final = 500 * 2**20  # bytes of all untracked files together
_SETTLED: Final = 2 * 10**9  # ns after which a file's time tells whether it has changed: clocks of file systems tick slowly
_LINK, _MODULE = "120000", "160000"  # modes of git's: a symbolic link, a submodule
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_POINTER: Final = range(100, 1024)  # bytes: of a pointer of git LFS, which has a digest and a size at least


@dataclass(slots=True)
class Tree:
    """A working tree.

    Attributes:
        root: its folder.
        files: paths of regular files, sorted.
        links: (path, target) of symbolic links.
        executable: the paths that git calls executable.
        about: what is recorded of it in the journal: commit, tree, branch …
        skipped: (path, why) of what is not stored.
        hidden: paths whose changes git was told to overlook.
        digests: store → the artifact that it is there.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    executable: frozenset[str] = frozenset()
    about: dict[str, Any] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


_tops: dict[str, str] = {}  # folder → the repository that it lies in
_trees: dict[str, tuple[Any, Tree]] = {}  # repository → what it was like, and its tree then


def read_tree(folder: Path, told: list[str] | None = None) -> Tree | None:
    """Read the working tree that a folder lies in; None where there is none, or no git that reads it.

    Args:
        folder: anywhere in the tree.
        told: is given what the user should know.
    """
    told = [] if told is None else told
    asked = Git.find(folder)
    if asked is None:
        return None
    place = str(folder)
    top = _tops.get(place) or asked.line("rev-parse", "--show-toplevel")
    if top is None:
        if "safe.directory" in asked.said:
            told.append(f"git does not trust who owns {folder}: git config --global --add safe.directory {folder}")
        return None  # no repository, a bare one, or one of another owner that git refuses to read
    _tops[place] = top
    git = asked.at(Path(top))
    status = _status(git)
    known = _trees.get(top)
    if status is None:
        told.append(f"git can't read {top}: {git.said[:500]}")
        return None
    if known is not None and known[0] == (status, _signature(git.folder, status, known[1].hidden)):
        return known[1]
    before = _signature(git.folder, status)
    tree = Tree(git.folder)
    overlooked = _read_files(git, tree, status)
    tree.about |= _about(git, status, dirty=overlooked or any(_changed(status)))
    modules = tree.about.get("submodules", {})
    key = [*before, *_times(git.folder, tree.hidden)]
    settled = all(changed < time.time_ns() - _SETTLED and path not in modules for path, changed, _ in key)
    if settled:  # a change within a submodule that has some already is not told apart from them
        _trees[top] = ((status, key), tree)
    return tree


def _status(git: Git) -> bytes | None:
    return git.run("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=none")


def _changed(status: bytes, *, untracked: bool = True, tracked: bool = True) -> Iterator[str]:
    """Yield the paths that `_status` names."""
    words = iter(status.split(b"\0"))
    for word in words:
        fields = {b"1 ": 8, b"2 ": 9, b"u ": 10, b"? ": 1}.get(word[:2])
        if fields is not None and (untracked if fields == 1 else tracked):
            yield os.fsdecode(word.split(b" ", fields)[fields])
        if word[:2] == b"2 ":
            next(words, None)  # the path before it was renamed


def _signature(root: Path, status: bytes, hidden: Sequence[str] = ()) -> list[tuple[str, int, int]]:
    """Return what tells whether files that differ from the last commit have changed again."""
    return [*_times(root, (*_changed(status), ".git/config")), *_times(root, hidden)]


def _times(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        with suppress(OSError):
            st = (root / path).lstat()
            yield path, st.st_mtime_ns, st.st_size


def _about(git: Git, status: bytes, *, dirty: bool) -> dict[str, Any]:
    heads = dict(word[2:].split(b" ", 1) for word in status.split(b"\0") if word.startswith(b"# branch."))
    commit, branch = (os.fsdecode(heads.get(key, b"")) for key in (b"branch.oid", b"branch.head"))
    commit = "" if commit == "(initial)" else commit
    remotes: dict[str, str] = {}
    for line in (git.line("remote", "-v") or "").splitlines():
        name, _, rest = line.partition("\t")
        remotes.setdefault(name, without_credentials(rest.rsplit(" ", 1)[0]))
    found = {
        "commit": commit or None,
        "head_tree": git.line("rev-parse", "--verify", f"{commit}^{{tree}}") if commit else None,
        "branch": None if branch == "(detached)" else branch or None,
        "describe": git.line("describe", "--always", "--tags", "--long") if commit else None,
        "remotes": remotes or None,
        "dirty": dirty,
    }
    return {key: value for key, value in found.items() if value is not None}


def _read_files(git: Git, tree: Tree, status: bytes) -> bool:
    """Find what is in the tree, and compute its id on a copy of the index; tells whether there are changes that git overlooks."""
    untracked, total = [], 0
    for path in _changed(status, tracked=False):
        why, size = _refused(git.folder / path, path, total)
        if why:
            tree.skipped.append((path, why))
        else:
            untracked.append(path)
            total += size
    with TemporaryDirectory(prefix="artifactstore-") as scratch:
        env = _own_index(git, Path(scratch))
        listed = _listed(git, env)
        overlooked = _show_hidden(git, tree, listed, env)
        changed = bool(tree.hidden) or any(_changed(status, untracked=False))
        if changed:
            git.run("add", "-u", "--", ".", env=env)
        if not git.run_for(untracked, "add", env=env):
            _add_plain(git, untracked, env)
        if changed or untracked:
            listed = _listed(git, env)
        entries = [_Entry.of(raw[2:]) for raw in listed]
        refused = {one.path: why for one in entries if (why := _unstorable(git.folder, one))}
        git.run_for([*refused], "rm", "--cached", "-q", "-f", env=env)
        written = git.run("write-tree", env=env)
    tree.skipped += refused.items()
    there = {one.path for one in entries}
    tree.skipped += [(path, "git can't add it") for path in untracked if path not in there]
    if written is not None:
        tree.about["tree"] = written.decode().strip()
    _sort_entries(git, tree, [one for one in entries if one.path not in refused])
    return overlooked


def _listed(git: Git, env: Mapping[str, str]) -> list[bytes]:
    """Return the lines of the index: a letter that tells how git treats the file, its mode, digest and path."""
    return [raw for raw in (git.run("ls-files", "-v", "-s", "-z", env=env) or b"").split(b"\0") if raw]


def _add_plain(git: Git, paths: Sequence[str], env: Mapping[str, str]) -> None:
    """Add files as they are, where git itself gives up: a filter of one that fails keeps all others out, too."""
    files = [path for path in paths if "\n" not in path and not (git.folder / path).is_symlink()]
    given = b"\n".join(os.fsencode(path) for path in files)
    digests = (git.run("hash-object", "-w", "--no-filters", "--stdin-paths", given=given, env=env) or b"").split()
    lines = []
    for path, digest in zip(files, digests, strict=False):  # as many, or none
        mode = b"100755" if os.access(git.folder / path, os.X_OK) else b"100644"
        lines.append(mode + b" " + digest + b"\t" + os.fsencode(path))
    git.run("update-index", "--add", "-z", "--index-info", given=b"\0".join(lines), env=env)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of git's index."""

    mode: str
    digest: str
    path: str

    @classmethod
    def of(cls, raw: bytes) -> Self:
        about, _, path = raw.partition(b"\t")
        mode, digest, _ = about.decode().split(" ")
        return cls(mode, digest, os.fsdecode(path))


def _show_hidden(git: Git, tree: Tree, listed: Sequence[bytes], env: Mapping[str, str]) -> bool:
    """Let our index see the files whose changes git was told to overlook, where they are there; tells whether there are such changes."""
    flagged = [os.fsdecode(raw.partition(b"\t")[2]) for raw in listed if raw[:1] == b"S" or raw[:1].islower()]
    tree.hidden = [path for path in flagged if os.path.lexists(git.folder / path)]
    if not tree.hidden:
        return False
    for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
        git.run("update-index", flag, "-z", "--stdin", given=joined(tree.hidden), env=env)
    return git.run("diff", "--quiet", env=env) is None


def _unstorable(root: Path, entry: _Entry) -> str:
    """Return why an entry can't be stored, or ""."""
    if looks_secret(entry.path):
        return "looks like a secret"
    try:
        check_path(entry.path)
    except InvalidInputError:
        return "can't be stored under its name"
    if entry.mode == _LINK:
        try:
            check_link(entry.path, os.readlink(root / entry.path))  # noqa: PTH115 - pathlib would tidy it
        except InvalidInputError:
            return "points outside of the repository"
        except OSError:
            return ""  # is gone, which is told later
    return ""


def _own_index(git: Git, scratch: Path) -> dict[str, str]:
    """Copy the index, and give git a folder of its own for objects."""
    index, _, objects = (git.line("rev-parse", "--git-path", "index", "--git-path", "objects") or "").partition("\n")
    if index and (git.folder / index).exists():
        # With its time: by that git knows which files may have changed since without their times telling it.
        shutil.copy2(git.folder / index, scratch / "index")
    (scratch / "objects").mkdir()
    env = {"GIT_INDEX_FILE": str(scratch / "index"), "GIT_OBJECT_DIRECTORY": str(scratch / "objects")}
    if objects:
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str((git.folder / objects).resolve())
    return env


def _refused(path: Path, name: str, total: int) -> tuple[str, int]:
    """Return why an untracked file is not taken, or "", and its size."""
    if looks_secret(name):
        return "looks like a secret", 0
    try:
        st = path.lstat()
    except OSError as error:
        return f"can't be read ({error.strerror})", 0
    if name.endswith("/"):
        return "is a repository of its own", 0
    if st.st_size > CAP:
        return f"has {st.st_size:,} bytes, and untracked files of more than {CAP:,} are no code", 0
    if total + st.st_size > _ALL:
        return f"untracked files have more than {_ALL:,} bytes together", 0
    return "", st.st_size


def _sort_entries(git: Git, tree: Tree, entries: Sequence[_Entry]) -> None:
    executable, modules, pointers, altered = set[str](), dict[str, str](), 0, False
    filters = _has_filters(git, entries)
    before = len(tree.skipped)
    for entry in entries:
        path, place = entry.path, f"{git.folder}/{entry.path}"  # as texts: paths of pathlib take four times as long
        if entry.mode == _MODULE:
            modules[path] = entry.digest
            if os.path.exists(f"{place}/.git"):  # noqa: PTH110
                _add_module(git.at(Path(place)), tree, path)
        elif entry.mode == _LINK and os.path.islink(place):  # noqa: PTH114
            tree.links.append((path, os.readlink(place)))  # noqa: PTH115
        elif entry.mode == _LINK or (size := _file_size(place)) is None:
            tree.skipped.append((path, "is gone"))
        else:
            tree.files.append(path)
            if entry.mode == "100755":
                executable.add(path)
            pointers += size in _POINTER and _is_pointer(place)
            altered = altered or (filters and blob_id(place).hex() != entry.digest)
    tree.files.sort()
    tree.executable |= executable
    if modules:
        tree.about["submodules"] = {**modules, **tree.about.get("submodules", {})}
    if altered or len(tree.skipped) > before:
        tree.about["altered"] = True  # git's tree is of other bytes than those on disk: its filters change line ends and more
    if pointers:
        tree.about["lfs_pointers"] = pointers


def _add_module(git: Git, tree: Tree, path: str) -> None:
    """Take the content of a submodule in, as it lies there, under its path."""
    inner = Tree(git.folder)
    _read_files(git, inner, _status(git) or b"")
    tree.files += [f"{path}/{one}" for one in inner.files]
    tree.links += [(f"{path}/{one}", target) for one, target in inner.links]
    tree.executable |= {f"{path}/{one}" for one in inner.executable}
    tree.skipped += [(f"{path}/{one}", why) for one, why in inner.skipped]
    trees = {path: inner.about["tree"]} if "tree" in inner.about else {}
    for word, found in (("submodules", {}), ("submodule_trees", trees)):
        deeper = {f"{path}/{one}": value for one, value in inner.about.get(word, {}).items()}
        if found or deeper:
            tree.about[word] = {**tree.about.get(word, {}), **found, **deeper}
    if inner.about.get("altered"):
        tree.about["altered"] = True


def _has_filters(git: Git, entries: Sequence[_Entry]) -> bool:
    """Tell whether git may keep files otherwise than they lie on disk."""
    if any(one.path.endswith(".gitattributes") for one in entries):
        return True
    said = git.line("config", "--get-regexp", r"^core\.(autocrlf|attributesfile)$") or ""
    return any(line.lower() != "core.autocrlf false" for line in said.splitlines())


def _file_size(path: str) -> int | None:
    """Return how many bytes a regular file has; None where there is none."""
    try:
        st = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return st.st_size if stat.S_ISREG(st.st_mode) else None


def _is_pointer(path: str) -> bool:
    """Tell whether a file is what git LFS left in place of its content."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False


def bundle(root: Path, target: Path) -> bool:
    """Write the history of the current commit, with its branches and tags, as one file; False where git can't."""
    git = Git.find(root)
    command = ("-c", "pack.threads=1", "bundle", "create", "-q", str(target), "HEAD", "--branches", "--tags")
    return git is not None and git.run(*command) is not None


def skipped_text(skipped: Sequence[tuple[str, str]]) -> str:
    """Return what was not stored, for a warning."""
    some = "; ".join(f"{path} ({why})" for path, why in skipped[:5])
    return some + (f" and {len(skipped) - 5} more" if len(skipped) > 5 else "")
