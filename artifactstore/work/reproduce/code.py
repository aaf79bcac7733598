"""The code of a run, restored byte for byte, checked against git's own ids, with its history if that is stored."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.printable import visible
from artifactstore.work.get.get import get
from artifactstore.work.runs.capture.git import Git
from artifactstore.work.runs.capture.git_tree_id import tree_id
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path

__all__ = ["Code"]

_SHA1: Final = 40  # hexadecimal digits


class Code:
    """The stored code of a run.

    Attributes:
        digest: of the artifact.
        commit: of the repository, or None.
        tree: git's id of the tree that was stored, changes and untracked files included; None without git.
        dirty: whether it had uncommitted changes.
        about: everything that was recorded about it.
        history: digest of the commits up to `commit` as a git bundle, where the run stored them; else None.
        modules: digest of the parts of the program outside that folder, each file under the path by which Python
            imports it; None if there are none.
        complete: whether everything is stored that Python had imported at the start of the run; None if unknown.
        because: the reasons why it is not complete.
    """

    def __init__(
        self,
        session: Session,
        digest: str,
        about: dict[str, Any],
        *,
        history: str | None = None,
        modules: str | None = None,
    ) -> None:
        self._session = session
        self.digest = digest
        self.about = about
        self.commit: str | None = about.get("commit")
        self.tree: str | None = about.get("tree")
        self.dirty = bool(about.get("dirty"))
        self.history = history
        self.modules = modules
        complete, because = about.get("complete"), about.get("because")
        self.complete: bool | None = complete if isinstance(complete, bool) else None
        self.because: tuple[str, ...] = tuple(map(str, because)) if isinstance(because, list) else ()

    def checkout(self, to: Any, *, overwrite: bool = False, history: bool = False) -> Path:
        """Restore the exact tree into a folder, executable bits, links and submodules included, checked against git's ids.

        Args:
            to: the folder.
            overwrite: replace files that differ; then nothing is checked, as other files may be present.
            history: also restore the repository, at its commit, with uncommitted changes as such; needs git, a new folder, and
                a run that stored it (`store.run(…, code="history")`).

        Raises:
            AlreadyExistsError: the folder has other content.
            CorruptionError: the tree is not the recorded tree.
            NotFoundError: no history was stored.
            UnsupportedError: git is not installed.
        """
        target = local_path(to, "to")
        if history:
            self._clone(target)
        made: Path = get(self._session, self.digest, target, overwrite=overwrite)
        if history:
            _git(made, "reset", "-q")
        if self.tree is not None and not overwrite and len(self.tree) == _SHA1 and not self.about.get("altered"):
            self._check(made)
        return made

    def _check(self, made: Path) -> None:
        modules: dict[str, str] = self.about.get("submodules", {})
        trees: dict[str, str] = self.about.get("submodule_trees", {})
        for path, recorded in (("", str(self.tree)), *sorted(trees.items())):
            inner = {one.removeprefix(f"{path}/"): commit for one, commit in modules.items() if one.startswith(f"{path}/")}
            found = tree_id(made / path, inner if path else modules)
            if found != recorded:
                raise CorruptionError(f"expected the recorded tree {recorded} in {made / path}, got {found}", digest=self.digest)

    def _clone(self, target: Path) -> None:
        if self.history is None:
            raise NotFoundError("no history was stored with this code: store.run(…, code='history') stores it")
        if target.exists() and any(target.iterdir()):
            raise AlreadyExistsError(f"{target} is not empty: a repository needs a folder of its own")
        with TemporaryDirectory(prefix="artifactstore-") as scratch:
            bundle = get(self._session, self.history, scratch + "/bundle") / "history.bundle"
            target.mkdir(parents=True, exist_ok=True)
            _git(target, "init", "-q")
            _git(target, "fetch", "-q", str(bundle), "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "HEAD")
            branch = self.about.get("branch")
            _git(
                target, "update-ref", *(["--no-deref", "HEAD"] if branch is None else [f"refs/heads/{branch}"]), str(self.commit)
            )
            if branch is not None:
                _git(target, "symbolic-ref", "HEAD", f"refs/heads/{branch}")

    def __repr__(self) -> str:
        state = "dirty" if self.dirty else "clean"
        lacking = f", not complete: {'; '.join(self.because)}" if self.complete is False or self.because else ""
        return visible(f"Code({self.digest[:15]}…, commit={(self.commit or 'none')[:12]}, {state}{lacking})")


def _git(folder: Path, *arguments: str) -> None:
    git = Git.find(folder)
    if git is None:
        raise UnsupportedError("git is not installed: history needs it; code without history does not")
    if git.run(*arguments, env={"GIT_ALLOW_PROTOCOL": "file"}) is None:
        raise InvalidInputError(f"git {arguments[0]} failed in {folder}: {git.error[:500]}")
