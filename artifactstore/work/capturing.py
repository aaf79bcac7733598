"""What a run was made with, looked at beside it and stored with its first output: its code and its environment."""

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final
from weakref import finalize

from artifactstore.catalog.lineage import history_of
from artifactstore.content.source import Folder, Source, from_bytes, from_file, from_folder
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.facts import Fact
from artifactstore.work import put as _put
from artifactstore.work.capture.around import Around, is_installed
from artifactstore.work.capture.cells import executed
from artifactstore.work.capture.environment import ci_claims, command_line, environment
from artifactstore.work.capture.git import Tree, bundle, read_tree, skipped_text
from artifactstore.work.capture.secrets import captured, shown
from artifactstore.work.commit import Prepared
from artifactstore.work.said import Said
from artifactstore.work.sayable import sayable, text_of
from artifactstore.work.session import Core, Session

__all__ = ["Capture", "shown"]

_SCRIPTS: Final = (".py", ".sh", ".r", ".R", ".jl", ".pl", ".rb", ".js", ".sql", ".ipynb")


class Capture:
    """The code and the environment of a run, looked at beside it."""

    def __init__(self, session: Session, *, code: bool | str) -> None:
        self._session = session
        self._history = code == "history"
        self._here = self._folder = Path.cwd()
        self._code = bool(code)
        self._told: list[str] = []
        self._tree: Tree | None = None
        self._program = _program()
        self._environment: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._look, name="artifactstore-capture", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        if self._code:
            told: list[str] = []
            self._tree = read_tree(self._folder, told)
            self._told += [f"the code is not recorded as git has it: {text}" for text in told]
            root = self._folder if self._tree is None else self._tree.root
            if self._program is not None and not self._program.is_relative_to(root.resolve()):
                self._look_at(self._program)
        self._environment = environment(self._folder)

    def _look_at(self, program: Path) -> None:
        """Take the code from where the program lies, which was started in another folder."""
        tree = read_tree(program.parent)
        if tree is None and self._tree is not None:
            self._told.append(f"not stored with the code: {program} (lies outside of the repository {self._tree.root})")
        else:
            self._tree, self._folder = tree, program.parent

    def makers(self, run: str) -> list[Callable[[Core], Prepared]]:
        """Return what commits them, each an input of the run."""
        self._thread.join()
        made = [self._maker(run, "environment", lambda: _put.found_object(self._environment, {"format": "json"}), {})]
        for text in self._told:
            warnings.warn(captured(text), UserWarning, stacklevel=6)
        about: dict[str, Any] = {"folder": "."}
        tree = self._tree
        root = (self._folder if tree is None else tree.root).resolve()
        if self._program is not None and self._program.is_relative_to(root):
            about["script"] = text_of(self._program.relative_to(root).as_posix())
        if tree is not None:
            if tree.skipped:
                about["skipped"] = sayable(tree.skipped[:100])
                text = f"not stored with the code: {skipped_text(tree.skipped)}"
                warnings.warn(text, UserWarning, stacklevel=6)
            about = {**about, "kind": "git", "folder": _inside(self._here, tree.root), **tree.about}

            def find() -> _put.Found:
                return _put.Found(Folder(files=list(_sources(tree)), links=sorted(tree.links)), modes=True, root=str(tree.root))

            made.append(self._maker(run, "code", find, about, tree.digests))
            if self._history and "commit" in tree.about:
                made += self._with_history(run, tree)
        elif self._code and (found := _own_modules(self._folder)) is not None:
            about = {**about, "kind": "modules", **(ci_claims(os.environ) or {})}
            made.append(self._maker(run, "code", lambda: found, about))
        return made

    def _maker(
        self,
        run: str,
        role: str,
        find: Callable[[], _put.Found],
        about: Mapping[str, Any],
        known: dict[str, str] | None = None,
    ) -> Callable[[Core], Prepared]:
        """Return what stores one thing and says that the run used it; what is known to be there is not looked at again."""
        kind = role if role == "environment" else "code"
        said, known = Said(None, kind, None, {}), {} if known is None else known

        def make(core: Core) -> Prepared:
            store = core.config.store
            try:
                with self._session.reading(fresh=False) as state:
                    prepared = Prepared([], state.head, known.get(store, ""))
                    there = state.alive(prepared.digest)
                if not there:
                    prepared = _put.prepare(self._session, core, find(), said)
                    known[store] = prepared.digest
            except (ConflictError, InvalidInputError) as error:
                # The work itself must not fail for it.
                warnings.warn(f"the {role} of the run {run} is not recorded: {error}", UserWarning, stacklevel=7)
                with self._session.reading() as state:
                    return Prepared([], state.head, "")
            fact: Fact = {"fact": "used", "run": run, "digest": prepared.digest, "role": role}
            prepared.facts = [*prepared.facts, {**fact, "code": dict(about)} if about else fact]
            return prepared

        return make

    def _with_history(self, run: str, tree: Tree) -> Iterator[Callable[[Core], Prepared]]:
        """Yield what commits the history of the commit, as a git bundle; one that some run of this code has stored is used again."""
        store = self._session.core().config.store
        with self._session.asking() as state:
            digest = history_of(state, tree.digests.get(store, ""), tree.about["commit"])
        known = {} if digest is None else {store: digest}
        if known:
            yield self._maker(run, "history", lambda: _put.Found(Folder()), {}, known)
            return
        folder = mkdtemp(prefix="artifactstore-")
        path = Path(folder) / "history.bundle"

        def find() -> _put.Found:
            return _put.Found(Folder(files=[from_file(str(path))]), modes=True)

        finalize(find, rmtree, folder, ignore_errors=True)  # it is needed until it was committed, and that may be tried again
        if not bundle(tree.root, path):
            warnings.warn(f"the history of {tree.root} is not recorded: git can't write it", UserWarning, stacklevel=6)
            return
        yield self._maker(run, "history", find, {}, known)

    def cells(self, run: str) -> list[Callable[[Core], Prepared]]:
        """Return what commits a notebook's cells as they were executed up to now, as a file; nothing outside of notebooks."""
        found = executed() if self._code else None
        if found is None:
            return []
        cells, about = found, {"kind": "cells", "folder": "."} | ({"notebook": found.notebook} if found.notebook else {})

        def find() -> _put.Found:
            source = from_bytes(cells.name, cells.text.encode())
            return _put.Found(Folder(files=[source]), modes=True)

        return [self._maker(run, "cells", find, about)]

    def around(self, seen: Around) -> Fact:
        """Return what is told at the end of a run of the reads that went around the store."""
        self._thread.join()
        tree, url = self._tree, self._session.url
        skip = [Path(url)] if "://" not in url else []
        skip += [] if self._session.cache is None else [self._session.cache]
        files, more = seen.files(
            root=self._folder if tree is None else tree.root, stored=() if tree is None else tree.files, skip=skip
        )
        told: Fact = {"reads_seen": "partial"}
        told |= {"around": files} if files else {}
        told |= {"around_more": more} if more else {}
        programs = [shown(words) for words in seen.programs()]
        return told | ({"programs": programs} if programs else {})


def _inside(folder: Path, root: Path) -> str:
    try:
        return folder.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return "."


def _program() -> Path | None:
    """Return the program that runs; None where it is installed, or typed in: then it is no code of the user's."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str) or not os.path.isfile(path) or is_installed(path):  # noqa: PTH113
        return None
    return Path(path).resolve()


def _sources(tree: Tree) -> Iterator[Source]:
    base = f"{tree.root}/"
    for path in tree.files:
        try:
            yield from_folder(base, path, executable=path in tree.executable)
        except InvalidInputError:
            tree.skipped.append((path, "is gone, or can't be stored under its name"))


def _own_modules(folder: Path) -> _put.Found | None:
    """Return the modules that were imported from a folder, and the scripts in the command: the code where there is no repository."""
    top = str(folder.resolve()) + os.sep
    files: dict[str, str] = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and path.endswith(".py"):
            real = os.path.realpath(path)
            inner = real.removeprefix(top)
            if inner != real and "site-packages" not in inner and not inner.startswith("."):
                files[inner.replace(os.sep, "/")] = real
    for word in command_line()[1:]:  # of `artifactstore run`, which imports nothing of it, they are all that is known
        real = os.path.realpath(word)
        if word.endswith(_SCRIPTS) and real.startswith(top) and os.path.isfile(real):  # noqa: PTH113
            files[real.removeprefix(top).replace(os.sep, "/")] = real
    if not files:
        return None
    sources: list[Source] = []
    for path in sorted(files):
        with suppress(InvalidInputError):  # is gone, or can't be stored under its name
            sources.append(replace(from_file(files[path]), path=path))
    return _put.Found(Folder(files=sources), modes=True, root="")
