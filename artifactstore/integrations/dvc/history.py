"""The history of a git repository, read by git's plumbing alone: objects, and the commits that lead to them.

No hook, filter or other program of the repository runs, whatever its configuration says: nothing but `rev-parse`, `rev-list` and
`cat-file` is called, which look at no working tree.
"""

import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from artifactstore.errors import InvalidInputError, NotFoundError, UnsupportedError

__all__ = ["Commit", "History", "TreeEntry"]

_SAFE: Final = (
    "--no-pager", "--no-replace-objects", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "protocol.allow=never",
    "-c", "core.alternateRefsCommand=", "-c", "core.untrackedCache=false", "-c", "core.sshCommand=false", "-c", "credential.helper=",
    "-c", "core.commitGraph=false",
)  # fmt: skip
_ALL: Final = ("--branches", "--tags", "--remotes")  # not refs/exps, which are DVC's experiments, nor the stash
_BLOB: Final = 64 * 2**20  # bytes of the largest file that is read as a whole
_DEEP: Final = 200  # folders in each other
_MOST: Final = 200_000  # files of DVC in one commit
_KEPT: Final = 20_000  # folders that are remembered: most are the same in the next commit
_PIECE: Final = 2**20
_PERSON: Final = re.compile(rb"^(.*) (-?\d+) ([-+]\d{4})$")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit.

    Attributes:
        id: its hash.
        tree: of its root folder.
        actor: the author, as `Jane <jane@example.org>`.
        time: of the author.
        subject: the first line of its message.
    """

    id: str
    tree: str
    actor: str
    time: datetime
    subject: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """An entry of a folder.

    Attributes:
        name: its name.
        id: of its object.
        kind: blob, tree, link or other.
    """

    name: str
    id: str
    kind: str


class History:
    """The history of the repository that a folder is in; used inside `with`.

    Attributes:
        folder: the folder, resolved.
        inner: its path in the repository; empty for the root.
    """

    def __init__(self, folder: Path) -> None:
        """Find the repository.

        Raises:
            NotFoundError: there is none.
            UnsupportedError: git is not installed.
        """
        program = shutil.which("git")
        if program is None:
            raise UnsupportedError("git is not installed: it is needed to read the history of a repository")
        if not folder.is_dir():
            raise NotFoundError(
                f"{folder} is not a folder: expected a git repository with DVC; clone it first if it is elsewhere"
            )
        self.folder = folder.resolve()
        self._program = program
        self._env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        self._env |= {
            "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "LC_ALL": "C",
            "GIT_ASKPASS": "false", "GIT_ATTR_NOSYSTEM": "1",
        }  # fmt: skip
        bare, error = self._run("rev-parse", "--is-bare-repository")
        if bare is None:
            hint = "; if you trust it: git config --global --add safe.directory FOLDER" if "ownership" in error else ""
            raise NotFoundError(f"{folder} is not a git repository that can be read: {error or 'no reason given'}{hint}")
        prefix = b"" if bare.strip() == b"true" else self._run("rev-parse", "--show-prefix")[0] or b""
        self.inner = os.fsdecode(prefix.rstrip(b"\n")).strip("/")
        self._objects: subprocess.Popen[bytes] | None = None
        self._trees: dict[str, tuple[TreeEntry, ...]] = {}
        self._found: dict[tuple[str, int], tuple[tuple[str, str], ...]] = {}

    def _command(self, *arguments: str) -> list[str]:
        return [self._program, "-C", str(self.folder), *_SAFE, *arguments]

    def _run(self, *arguments: str) -> tuple[bytes | None, str]:
        """Return the output of git, and its error output; None if it fails."""
        done = subprocess.run(  # noqa: S603 - git, by its full path, no shell
            self._command(*arguments), env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        error = done.stderr.decode(errors="replace").strip().splitlines()
        return (None if done.returncode else done.stdout), (error[0] if error else "")

    def __enter__(self) -> Self:
        self._objects = subprocess.Popen(  # noqa: S603 - as above
            self._command("cat-file", "--batch"),
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._objects is not None:
            self._objects.kill()
            self._objects.communicate()
            self._objects = None

    # -- commits

    def resolve(self, rev: str) -> str:
        """Return the hash of a revision's commit.

        Raises:
            NotFoundError: there is none.
        """
        if not rev or rev.startswith("-") or any(sign in rev for sign in "\0\n"):
            raise InvalidInputError(f"{rev!r} is not a revision: expected a branch, a tag or a commit")
        out, _ = self._run("rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}")
        if not out:
            raise NotFoundError(f"the repository {self.folder} has no revision {rev!r}")
        return out.decode().strip()

    def commits(self, rev: str | None = None) -> Iterator[Commit]:
        """Yield the commits that lead to a revision, or to all branches and tags, parents first."""
        tips = [rev] if rev is not None else [*_ALL]
        if rev is None and self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")[0]:
            tips.append("HEAD")
        out, error = self._run("rev-list", "--reverse", "--date-order", *tips, "--")
        if out is None:
            raise InvalidInputError(f"the history of {self.folder} cannot be read: {error}")
        for line in out.decode().split():
            yield self._commit(line)

    def _commit(self, one: str) -> Commit:
        kind, data = self._read(one)
        if kind != "commit":
            raise InvalidInputError(f"the repository {self.folder} lacks the commit {one}: fetch its whole history")
        head, _, message = data.partition(b"\n\n")
        fields: dict[bytes, bytes] = {}
        for line in head.split(b"\n"):
            key, _, value = line.partition(b" ")
            fields.setdefault(key, value)
        actor, moment = "unknown", datetime.fromtimestamp(0, UTC)
        match = _PERSON.match(fields.get(b"author", b""))
        if match is not None:
            actor = match[1].decode(errors="replace").strip() or actor
            seconds = min(max(int(match[2]), 0), 253_402_300_799)  # until the year 9999
            moment = datetime.fromtimestamp(seconds, UTC)
        subject = message.lstrip(b"\n").partition(b"\n")[0].decode(errors="replace").strip()
        return Commit(one, fields.get(b"tree", b"").decode(), actor, moment, subject[:200])

    # -- objects

    def _read(self, one: str, most: int = _BLOB) -> tuple[str, bytes]:
        """Return kind and bytes of an object; the kind is `missing` where it is not there, `large` where it has more than `most` bytes."""
        objects = self._objects
        assert objects is not None  # callers are inside `with`
        assert objects.stdin is not None
        assert objects.stdout is not None
        try:
            objects.stdin.write(one.encode() + b"\n")
            objects.stdin.flush()
        except OSError as error:
            raise InvalidInputError(
                f"git ended while the repository {self.folder} was read: is it damaged? try `git fsck`"
            ) from error
        words = objects.stdout.readline().split()
        if len(words) != 3:
            if words[1:] == [b"missing"]:
                return "missing", b""
            raise InvalidInputError(f"git cannot read {one} of the repository {self.folder}: is it damaged? try `git fsck`")
        kind, size = words[1].decode(), int(words[2])
        if size > most:
            left = size + 1
            while left and (piece := objects.stdout.read(min(left, _PIECE))):
                left -= len(piece)
            return "large", b""
        data = objects.stdout.read(size)
        objects.stdout.read(1)
        if len(data) != size:
            raise InvalidInputError(f"git cannot read {one} of the repository {self.folder}: is it damaged? try `git fsck`")
        return kind, data

    def blob(self, one: str) -> bytes | None:
        """Return the bytes of a file; None if it is not there (a partial clone), or too large to be one of DVC's."""
        kind, data = self._read(one)
        return data if kind == "blob" else None

    def tree(self, one: str) -> tuple[TreeEntry, ...]:
        """Return the entries of a folder; none if it is not there."""
        found = self._trees.get(one)
        if found is None:
            kind, data = self._read(one)
            found = tuple(_entries(data, len(one) // 2)) if kind == "tree" else ()
            if len(self._trees) >= _KEPT:
                self._trees.clear()
            self._trees[one] = found
        return found

    def at(self, tree: str, path: str) -> TreeEntry | None:
        """Return the entry at a path below a folder, or None."""
        found: TreeEntry | None = TreeEntry("", tree, "tree")
        for part in path.split("/"):
            if found is None or found.kind != "tree":
                return None
            found = next((one for one in self.tree(found.id) if one.name == part), None)
        return found

    def root(self, commit: Commit) -> str | None:
        """Return the tree of this folder in a commit; None if it was not there."""
        if not self.inner:
            return commit.tree
        found = self.at(commit.tree, self.inner)
        return found.id if found is not None and found.kind == "tree" else None

    def dvc_files(self, tree: str, depth: int = 0) -> tuple[tuple[str, str], ...]:
        """Return (path, id) of all files of DVC below a folder: `*.dvc`, `dvc.lock`, `dvc.yaml`; sorted as git sorts.

        Raises:
            InvalidInputError: there are too many.
        """
        key = tree, depth
        if key in self._found:
            return self._found[key]
        found: list[tuple[str, str]] = []
        if depth <= _DEEP:
            for one in self.tree(tree):
                if one.kind == "blob" and _is_dvc(one.name):
                    found.append((one.name, one.id))
                elif one.kind == "tree" and one.name != ".dvc":
                    found += [(posixpath.join(one.name, path), inner) for path, inner in self.dvc_files(one.id, depth + 1)]
                if len(found) > _MOST:
                    raise InvalidInputError(f"a commit of {self.folder} has more than {_MOST:,} files of DVC")
        if len(self._found) >= _KEPT:
            self._found.clear()
        self._found[key] = tuple(found)
        return self._found[key]

    def files(self, tree: str, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
        """Yield (path, id) of all files below a folder."""
        for one in self.tree(tree) if depth <= _DEEP else ():
            if one.kind == "blob":
                yield prefix + one.name, one.id
            elif one.kind == "tree":
                yield from self.files(one.id, f"{prefix}{one.name}/", depth + 1)


def _is_dvc(name: str) -> bool:
    return name in {"dvc.lock", "dvc.yaml"} or (name.endswith(".dvc") and name != ".dvc")


def _entries(data: bytes, length: int) -> Iterator[TreeEntry]:
    """Yield the entries of a tree object; those that git itself would not check out are left out."""
    at = 0
    while at < len(data):
        space, end = data.find(b" ", at), data.find(b"\0", at)
        if space < 0 or end < space:
            return
        mode, name = data[at:space], os.fsdecode(data[space + 1 : end])
        at = end + 1 + length
        kind = {b"40000": "tree", b"100644": "blob", b"100755": "blob", b"100664": "blob", b"120000": "link"}.get(mode, "other")
        if name and "/" not in name and name not in {".", "..", ".git"}:
            yield TreeEntry(name, data[end + 1 : at].hex(), kind)
