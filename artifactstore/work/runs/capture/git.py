"""The working tree as git sees it: tracked, modified and untracked files that are not ignored, with the id of their tree.

The user's index and objects stay unchanged: git works on a copy of the index, and writes objects into a separate folder
(`GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`).
"""

import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_link, check_path
from artifactstore.work.runs.capture.git_cli import Git, about_commit, joined
from artifactstore.work.runs.capture.git_index import Entry, has_filters, index_line, listed, own_index, path_of, set_lines
from artifactstore.work.runs.capture.git_status import SECONDS, changed_paths, read_status
from artifactstore.work.runs.capture.git_tree_id import blob_id
from artifactstore.work.runs.capture.kept_files import Kept, blob_of
from artifactstore.work.runs.capture.program import SETTLED, Part
from artifactstore.work.secrets import looks_secret

__all__ = ["CAP", "Git", "Tree", "bundle", "read_tree", "skipped_text"]

CAP: Final = 50 * 2**20  # bytes: a larger untracked file is not taken for code
_ALL: Final = 500 * 2**20  # bytes of all untracked files together
_CODE: Final = (".py", ".pyi", ".ipynb", ".sh", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".json", ".sql", ".r", ".R", ".jl")
_LINK, _MODULE = "120000", "160000"  # git's modes of a symbolic link and a submodule
_LFS: Final = b"version https://git-lfs.github.com/spec/"
_POINTER: Final = range(100, 1024)  # bytes of a git LFS pointer, which has at least a digest and a size


@dataclass(slots=True)
class Tree:
    """A working tree.

    Attributes:
        root: its folder.
        files: paths of regular files, sorted.
        links: (path, target) of symbolic links.
        executable: the paths with git's executable mode.
        about: its record in the journal: commit, tree, branch …
        skipped: (path, why) of files that are not stored.
        changed: paths that differ from the last commit, and untracked ones.
        hidden: paths whose changes git was configured to ignore (assume-unchanged, skip-worktree).
        forced: ignored paths that the program has imported.
        because: the reasons why it is not complete.
        kept: the contents when the tree was read.
        digests: store → its artifact in that store.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    executable: frozenset[str] = frozenset()
    about: dict[str, Any] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    because: list[str] = field(default_factory=list)
    kept: Kept = field(default_factory=Kept)
    digests: dict[str, str] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Return True if a file on disk (its path without links) is stored with it."""
        inner = _below(path, str(self.root))
        return inner is not None and inner in self.stored

    @property
    def stored(self) -> frozenset[str]:
        """The paths of its files."""
        if len(self._stored) != len(self.files):
            self._stored = frozenset(self.files)
        return self._stored

    _stored: frozenset[str] = frozenset()


_tops: dict[str, str] = {}  # folder → its repository
_trees: dict[str, tuple[Any, Tree]] = {}  # repository → its state, and its tree in that state


def read_tree(folder: Path, problems: list[str] | None = None, taken: Mapping[str, Part] | None = None) -> Tree | None:
    """Read the working tree that contains a folder; None if there is none, or if git cannot read it.

    Args:
        folder: anywhere in the tree.
        problems: receives warnings for the user.
        taken: files of the program, by their paths: included even if git ignores them, with these contents.
    """
    problems, taken = [] if problems is None else problems, taken or {}
    asked = Git.find(folder)
    if asked is None:
        return None
    start = str(folder)
    top = _tops.get(start) or asked.line("rev-parse", "--show-toplevel")
    if top is None:
        if "safe.directory" in asked.error:
            problems.append(f"git does not trust the owner of {folder}: git config --global --add safe.directory {folder}")
        return None  # not a repository, a bare one, or one of another owner that git refuses to read
    _tops[start] = top
    git = asked.at(Path(top))
    tree = Tree(git.folder)
    status = read_status(git, tree.because)
    known = _trees.get(top)
    if status is None:
        problems.append(f"git cannot read {top}: {git.error[:500]}")
        return None
    inside = [inner for path in taken if (inner := _below(path, top)) is not None]
    if known is not None and known[0] == (status, _signature(git.folder, status, known[1])) and _has_all(known[1], inside):
        return known[1]
    before = _signature(git.folder, status)
    overlooked = _read_files(git, tree, status, taken)
    tree.changed = [*dict.fromkeys((*changed_paths(status), *(tree.hidden if overlooked else ()), *tree.forced))]
    tree.about |= about_commit(git, status, dirty=overlooked or bool(tree.changed))
    modules = tree.about.get("submodules", {})
    key = [*before, *_times(git.folder, (*tree.hidden, *tree.forced))]
    settled = all(changed < time.time_ns() - SETTLED and path not in modules for path, changed, _ in key)
    if settled:  # a change within a submodule that already has changes is not detected by the status
        _trees[top] = ((status, key), tree)
    return tree


def _below(path: str, top: str) -> str | None:
    """Return the path relative to a folder, or None."""
    return path[len(top) + 1 :] if path.startswith(f"{top}{os.sep}") else None


def _has_all(tree: Tree, inside: Sequence[str]) -> bool:
    """Return True if a tree has the files of a program that are below its top, or cannot have them."""
    passed = {path for path, _ in tree.skipped}
    return all(path in tree.stored or path in passed or _in_another(tree.root, path) for path in inside)


def _in_another(root: Path, path: str) -> bool:
    """Return True if a file is in another repository below the top."""
    folders = path.split("/")[:-1]
    return any(os.path.lexists(f"{root}/{'/'.join(folders[:n])}/.git") for n in range(1, len(folders) + 1))


def _signature(root: Path, status: bytes, tree: Tree | None = None) -> list[tuple[str, int, int]]:
    """Return the state of the files that differ from the last commit, which changes when they change again."""
    more = () if tree is None else (*tree.hidden, *tree.forced)
    return [*_times(root, (*changed_paths(status), ".git/config")), *_times(root, more)]


def _times(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for path in paths:
        with suppress(OSError):
            st = (root / path).lstat()
            yield path, st.st_mtime_ns, st.st_size


def _read_files(git: Git, tree: Tree, status: bytes, taken: Mapping[str, Part]) -> bool:
    """List the tree, and compute its id on a copy of the index; return True if there are changes that git ignores."""
    with TemporaryDirectory(prefix="artifactstore-") as scratch:
        env = own_index(git, Path(scratch))
        lines = listed(git, env)
        untracked = _untracked(git, tree, status, lines, taken)
        tree.kept.plain = not has_filters(git, (*(path_of(raw) for raw in lines), *untracked))
        overlooked = _show_hidden(git, tree, lines, env)
        changed = [*changed_paths(status, untracked=False), *tree.hidden]
        added = not changed or git.run("add", "-u", "--", ".", env=env) is not None
        if not added:
            Path(env["GIT_INDEX_FILE"] + ".lock").unlink(missing_ok=True)  # git was killed
        set_lines(git, _read_untracked(git, tree, untracked, taken, env), env)
        if changed or untracked:
            lines = listed(git, env)
        entries = [Entry.of(raw[2:]) for raw in lines]
        if changed:
            entries, lacking = _read_changed(git, tree, changed, taken, entries, added=added)
            set_lines(git, lacking, env)
        refused = {one.path: why for one in entries if (why := _unstorable(git.folder, one))}
        git.run_for([*refused], "rm", "--cached", "-q", "-f", env=env)
        written = git.run("write-tree", "--missing-ok", env=env)
    tree.skipped += refused.items()
    there = {one.path for one in entries} | {path for path, _ in tree.skipped}
    tree.skipped += [(path, "git cannot add it") for path in untracked if path not in there]
    if written is not None:
        tree.about["tree"] = written.decode().strip()
    _sort_entries(git, tree, [one for one in entries if one.path not in refused])
    tree.forced = [path for path in tree.forced if path in tree.stored]
    return overlooked


def _untracked(git: Git, tree: Tree, status: bytes, lines: Sequence[bytes], taken: Mapping[str, Part]) -> list[str]:
    """Return the untracked files to store, those of the program and other code first; includes ignored files of the program."""
    found = [*changed_paths(status, tracked=False)]
    inside = {inner for path in taken if (inner := _below(path, str(git.folder))) is not None and taken[path].data is not None}
    if inside:
        there = {*map(path_of, lines), *found}
        tree.forced = [path for path in sorted(inside - there) if not _in_another(git.folder, path)]
    wanted, total = [], 0
    for path in sorted((*found, *tree.forced), key=lambda one: (one not in inside, not one.endswith(_CODE), one)):
        why, size = _refused(git.folder / path, path, total)
        if why:
            tree.skipped.append((path, why))
        else:
            wanted.append(path)
            total += size
    return wanted


def _read_untracked(
    git: Git, tree: Tree, untracked: Sequence[str], taken: Mapping[str, Part], env: Mapping[str, str]
) -> list[bytes]:
    """Add untracked files; return index lines of those that git did not add itself.

    git is needed if it stores files in another form than on disk; a filter that fails or takes too long excludes none.
    """
    end = time.monotonic() + SECONDS
    git.until = end - SECONDS / 2
    by_git = not tree.kept.plain and git.run_for(untracked, "add", "-f", env=env)
    git.until = None
    if not by_git:
        Path(env["GIT_INDEX_FILE"] + ".lock").unlink(missing_ok=True)  # git was killed
    lines, late = [], []
    for path in untracked:
        if time.monotonic() > end and path not in tree.forced and not path.endswith(".py") and not by_git:
            late.append(path)
        elif (found := tree.kept.read(f"{git.folder}/{path}", path, taken)) is None:
            tree.skipped.append((path, "cannot be read"))
        elif not by_git:
            lines.append(index_line(path, found[1], found[0]))
    if late:
        tree.skipped += [(path, f"was not read: the {SECONDS:.0f} seconds for untracked files were over") for path in late]
        tree.because.append(f"{len(late):,} untracked files were not read: the {SECONDS:.0f} seconds for them were over")
    return lines


def _read_changed(
    git: Git, tree: Tree, changed: Sequence[str], taken: Mapping[str, Part], entries: Sequence[Entry], *, added: bool
) -> tuple[list[Entry], list[bytes]]:
    """Read changed tracked files; return the entries, and index lines of those whose index content was not as read."""
    there, lines = {one.path: one for one in entries}, []
    for path in changed:
        known, found = there.get(path), tree.kept.read(f"{git.folder}/{path}", path, taken)
        if found is None:
            if known is not None and not added and not os.path.lexists(f"{git.folder}/{path}"):
                lines.append(index_line(path, "0" * 40, "0"))  # it is removed
                del there[path]
        elif (
            (known is None or known.mode != _MODULE) and (not added or tree.kept.plain) and known != (new := Entry(*found, path))
        ):
            if known is not None and added:
                new = Entry(known.mode, new.digest, path)  # git decides whether modes count
            lines.append(index_line(path, new.digest, new.mode))
            there[path] = new
    return [*there.values()], lines


def _show_hidden(git: Git, tree: Tree, lines: Sequence[bytes], env: Mapping[str, str]) -> bool:
    """Make the copied index see existing files whose changes git was configured to ignore; return True if there are such changes."""
    flagged = [path_of(raw) for raw in lines if raw[:1] == b"S" or raw[:1].islower()]
    tree.hidden = [path for path in flagged if os.path.lexists(git.folder / path)]
    if not tree.hidden:
        return False
    for flag in ("--no-assume-unchanged", "--no-skip-worktree"):
        git.run("update-index", flag, "-z", "--stdin", given=joined(tree.hidden), env=env)
    return git.run("diff", "--quiet", env=env) is None


def _unstorable(root: Path, entry: Entry) -> str:
    """Return why an entry cannot be stored, or ""."""
    if looks_secret(entry.path):
        return "looks like a secret"
    try:
        check_path(entry.path)
    except InvalidInputError:
        return "cannot be stored under its name"
    if entry.mode == _LINK:
        try:
            check_link(entry.path, os.readlink(root / entry.path))  # noqa: PTH115 - pathlib would tidy it
        except InvalidInputError:
            return "points outside the repository"
        except OSError:
            return ""  # deleted, which is reported later
    return ""


def _refused(path: Path, name: str, total: int) -> tuple[str, int]:
    """Return why an untracked file is not stored, or "", and its size."""
    if looks_secret(name):
        return "looks like a secret", 0
    try:
        st = path.lstat()
    except OSError as error:
        return f"cannot be read ({error.strerror})", 0
    if name.endswith("/"):
        return "is a repository of its own", 0
    if not stat.S_ISREG(st.st_mode) and not stat.S_ISLNK(st.st_mode):
        return "is not a regular file", 0
    if st.st_size > CAP:
        return f"has {st.st_size:,} bytes, and untracked files of more than {CAP:,} are not code", 0
    if total + st.st_size > _ALL:
        return f"untracked files have more than {_ALL:,} bytes together", 0
    return "", st.st_size


def _sort_entries(git: Git, tree: Tree, entries: Sequence[Entry]) -> None:
    executable, modules, pointers, altered = set[str](), dict[str, str](), 0, False
    kept, before = tree.kept, len(tree.skipped)
    for entry in entries:
        path, full_path = entry.path, f"{git.folder}/{entry.path}"  # strings: pathlib takes four times as long
        if entry.mode == _MODULE:
            modules[path] = entry.digest
            if os.path.exists(f"{full_path}/.git"):  # noqa: PTH110
                _add_module(git.at(Path(full_path)), tree, path)
        elif entry.mode == _LINK and os.path.islink(full_path):  # noqa: PTH114
            tree.links.append((path, os.readlink(full_path)))  # noqa: PTH115
        elif entry.mode == _LINK or ((st := _look_at(full_path)) is None and path not in kept.data):
            tree.skipped.append((path, "is gone"))
        else:
            tree.files.append(path)
            if entry.mode == "100755":
                executable.add(path)
            kept.blobs[path] = entry.digest
            if path not in kept.data and st is not None:
                kept.see(path, st)
            pointers += st is not None and st.st_size in _POINTER and _is_pointer(full_path)
            if not kept.plain:
                own = blob_of(kept.data[path]) if path in kept.data else blob_id(full_path).hex()
                altered = altered or own != entry.digest
    tree.files.sort()
    tree.executable |= executable
    if modules:
        tree.about["submodules"] = {**modules, **tree.about.get("submodules", {})}
    if altered or len(tree.skipped) > before:
        tree.about["altered"] = True  # git's tree has other bytes than the files on disk: its filters change line ends and more
    if pointers:
        tree.about["lfs_pointers"] = pointers


def _add_module(git: Git, tree: Tree, path: str) -> None:
    """Add the content of a submodule, as it is on disk, under its path."""
    inner = Tree(git.folder)
    _read_files(git, inner, read_status(git, inner.because) or b"", {})
    tree.kept.add_module(path, inner.kept)
    tree.because += [f"{path}: {text}" for text in inner.because]
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


def _look_at(path: str) -> os.stat_result | None:
    """Return the stat of a regular file; None if there is none."""
    try:
        st = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return st if stat.S_ISREG(st.st_mode) else None


def _is_pointer(path: str) -> bool:
    """Return True if a file is a git LFS pointer."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(len(_LFS)) == _LFS
    except OSError:
        return False


def bundle(root: Path, target: Path) -> bool:
    """Write the history of the current commit, with its branches and tags, as one file; return False if git cannot."""
    git = Git.find(root)
    command = ("-c", "pack.threads=1", "bundle", "create", "-q", str(target), "HEAD", "--branches", "--tags")
    return git is not None and git.run(*command) is not None


def skipped_text(skipped: Sequence[tuple[str, str]]) -> str:
    """Describe files that were not stored, for a warning."""
    some = "; ".join(f"{path} ({why})" for path, why in skipped[:5])
    return some + (f" and {len(skipped) - 5} more" if len(skipped) > 5 else "")
