"""The working tree as git sees it: tracked, modified and untracked files that are not ignored, with their tree's id.

The user's index and objects stay as they are: git works on a copy of the index, and writes what it must into a folder of
ours (`GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`).
"""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_link
from artifactstore.work.capture.secrets import looks_secret
from artifactstore.work.capture.tree_id import blob_id

__all__ = ["CAP", "Git", "Tree", "bundle", "read_tree", "skipped_text"]

CAP: Final = 50 * 2**20  # bytes of an untracked file that is still taken for code
_ALL: Final = 500 * 2**20  # bytes of all untracked files together
_SETTLED: Final = 2 * 10**9  # ns after which a file's time tells whether it has changed: clocks of file systems tick slowly
_SECONDS: Final = 60  # that one call of git may take
_LINK, _MODULE = "120000", "160000"  # modes of git's: a symbolic link, a submodule
_CREDENTIALS: Final = re.compile(r"^([a-z][a-z0-9+.-]*://)[^/@]*@", re.IGNORECASE)
_LFS: Final = b"version https://git-lfs.github.com/spec/"


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
        digests: store → the artifact that it is there.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    executable: frozenset[str] = frozenset()
    about: dict[str, Any] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


_tops: dict[str, str] = {}  # folder → the repository that it lies in
_trees: dict[str, tuple[Any, Tree]] = {}  # repository → what it was like, and its tree then


class Git:
    """Calls of git in one folder.

    Attributes:
        folder: where.
        said: what the last call that failed had to say.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.said = ""
        self._program = program
        # Nothing that the user's shell says about another repository, no prompts, no locks for looking.
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self._env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """Return git for a folder; None where it is not installed."""
        program = shutil.which("git")
        return None if program is None else cls(folder, program)

    def run(self, *arguments: str, given: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes | None:
        """Return what git prints, or None where it fails."""
        try:
            done = subprocess.run(  # noqa: S603 - git, by its full path, no shell
                [self._program, *arguments],
                cwd=self.folder,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                env={**self._env, **(env or {})},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            self.said = str(error)
            return None
        if done.returncode:
            self.said = done.stderr.decode(errors="replace").strip()
            return None
        return done.stdout

    def at(self, folder: Path) -> Self:
        """Return git for another folder."""
        return type(self)(folder, self._program)

    def run_for(self, paths: Sequence[str], *arguments: str, env: Mapping[str, str]) -> None:
        """Run git with paths, which mean themselves, however many they are."""
        if paths:
            given = b"\0".join(os.fsencode(path) for path in paths)
            self.run(
                *arguments, "--pathspec-from-file=-", "--pathspec-file-nul",
                given=given, env={**env, "GIT_LITERAL_PATHSPECS": "1"},
            )  # fmt: skip

    def line(self, *arguments: str) -> str | None:
        """Return the one line that git prints, or None."""
        out = self.run(*arguments)
        text = "" if out is None else out.decode(errors="replace").strip()
        return text or None


def read_tree(folder: Path, told: list[str] | None = None) -> Tree | None:
    """Read the working tree that a folder lies in; None where there is none, or no git that reads it.

    Args:
        folder: anywhere in the tree.
        told: is given what the user should know.
    """
    asked = Git.find(folder)
    if asked is None:
        return None
    place = str(folder)
    top = _tops.get(place) or asked.line("rev-parse", "--show-toplevel")
    if top is None:
        if "safe.directory" in asked.said and told is not None:
            told.append(f"git does not trust who owns {folder}: git config --global --add safe.directory {folder}")
        return None  # no repository, a bare one, or one of another owner that git refuses to read
    _tops[place] = top
    git = asked.at(Path(top))
    status = git.run("status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignore-submodules=none")
    key = (status, _signature(git.folder, status or b""))
    known = _trees.get(top)
    if status is not None and known is not None and known[0] == key:
        return known[1]
    tree = Tree(git.folder)
    _read_files(git, tree)
    tree.about |= _about(git, dirty=None if status is None else any(_changed(status)))
    modules = tree.about.get("submodules", {})
    settled = all(changed < time.time_ns() - _SETTLED and path not in modules for path, changed, _ in key[1])
    if settled:  # a change within a submodule that has some already is not told apart from them
        _trees[top] = (key, tree)
    return tree


def _changed(status: bytes) -> Iterator[str]:
    """Yield the paths that `git status --porcelain=v2 -z` names."""
    words = iter(status.split(b"\0"))
    for word in words:
        fields = {b"1 ": 8, b"2 ": 9, b"u ": 10, b"? ": 1}.get(word[:2])
        if fields is not None:
            yield os.fsdecode(word.split(b" ", fields)[fields])
        if word[:2] == b"2 ":
            next(words, None)  # the path before it was renamed


def _signature(root: Path, status: bytes) -> list[tuple[str, int, int]]:
    """Return what tells whether files that differ from the last commit have changed again."""
    found = []
    for path in (*_changed(status), ".git/config"):
        try:
            st = (root / path).lstat()
        except OSError:
            continue
        found.append((path, st.st_mtime_ns, st.st_size))
    return found


def _about(git: Git, *, dirty: bool | None) -> dict[str, Any]:
    head = git.line("rev-parse", "--verify", "HEAD^{commit}")
    remotes: dict[str, str] = {}
    for line in (git.line("remote", "-v") or "").splitlines():
        name, _, rest = line.partition("\t")
        remotes.setdefault(name, _CREDENTIALS.sub(r"\1", rest.rsplit(" ", 1)[0]))
    found = {
        "commit": head,
        "head_tree": git.line("rev-parse", "--verify", "HEAD^{tree}"),
        "branch": git.line("symbolic-ref", "--short", "-q", "HEAD"),
        "describe": git.line("describe", "--always", "--tags", "--long") if head else None,
        "remotes": remotes or None,
        "dirty": dirty,
    }
    return {key: value for key, value in found.items() if value is not None}


def _read_files(git: Git, tree: Tree) -> None:
    """Find what is in the tree, and compute its id on a copy of the index."""
    listed = git.run("ls-files", "-z", "--others", "--exclude-standard")
    untracked, total = [], 0
    for path in _paths(listed):
        why, size = _refused(git.folder / path, path, total)
        if why:
            tree.skipped.append((path, why))
        else:
            untracked.append(path)
            total += size
    with TemporaryDirectory(prefix="artifactstore-") as scratch:
        env = _own_index(git, Path(scratch))
        git.run("add", "-u", "--", ".", env=env)
        git.run_for(untracked, "add", env=env)
        secret = [path for path in _paths(git.run("ls-files", "-z", env=env)) if looks_secret(path)]
        git.run_for(secret, "rm", "--cached", "-q", "-f", env=env)
        tree.skipped += [(path, "looks like a secret") for path in secret]
        written = git.run("write-tree", env=env)
        entries = git.run("ls-files", "-s", "-z", env=env) or b""
    if written is not None:
        tree.about["tree"] = written.decode().strip()
    _sort_entries(git, tree, entries)


def _own_index(git: Git, scratch: Path) -> dict[str, str]:
    """Copy the index, and give git a folder of its own for objects."""
    index = git.line("rev-parse", "--git-path", "index")
    objects = git.line("rev-parse", "--git-path", "objects")
    if index is not None and (git.folder / index).exists():
        # With its time: by that git knows which files may have changed since without their times telling it.
        shutil.copy2(git.folder / index, scratch / "index")
    (scratch / "objects").mkdir()
    env = {"GIT_INDEX_FILE": str(scratch / "index"), "GIT_OBJECT_DIRECTORY": str(scratch / "objects")}
    if objects is not None:
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str((git.folder / objects).resolve())
    return env


def _paths(out: bytes | None) -> list[str]:
    return [os.fsdecode(path) for path in (out or b"").split(b"\0") if path]


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


def _sort_entries(git: Git, tree: Tree, entries: bytes) -> None:
    executable, modules, pointers, altered = set[str](), dict[str, str](), 0, False
    filters = _has_filters(git, entries)
    before = len(tree.skipped)
    for entry in entries.split(b"\0"):
        if not entry:
            continue
        about, _, raw = entry.partition(b"\t")
        mode, digest, _ = about.decode().split(" ")
        path = os.fsdecode(raw)
        place = git.folder / path
        if mode == _MODULE:
            modules[path] = digest
            if (place / ".git").exists():
                _add_module(git.at(place), tree, path)
        elif mode == _LINK:
            try:
                target = os.readlink(place)  # noqa: PTH115 - pathlib would tidy it
                check_link(path, target)
                tree.links.append((path, target))
            except OSError:
                tree.skipped.append((path, "is gone"))
            except InvalidInputError:
                tree.skipped.append((path, "points outside of the repository"))
        elif not place.is_file():
            tree.skipped.append((path, "is gone"))
        else:
            tree.files.append(path)
            if mode == "100755":
                executable.add(path)
            pointers += _is_pointer(place)
            altered = altered or (filters and blob_id(str(place)).hex() != digest)
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
    _read_files(git, inner)
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


def _has_filters(git: Git, entries: bytes) -> bool:
    """Tell whether git may keep files otherwise than they lie on disk."""
    crlf = git.line("config", "--get", "core.autocrlf")
    return (
        b".gitattributes" in entries
        or crlf in {"true", "input"}
        or git.line("config", "--get", "core.attributesFile") is not None
    )


def _is_pointer(path: Path) -> bool:
    """Tell whether a file is what git LFS left in place of its content."""
    try:
        if path.lstat().st_size > 1024:
            return False
        with path.open("rb") as file:
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
