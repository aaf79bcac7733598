"""Captures a run's code and environment in the background; stored with its first output."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final
from weakref import finalize

from artifactstore.catalog.lineage import history_of
from artifactstore.content.write.source import Folder, from_bytes, from_file
from artifactstore.errors import ConflictError, InvalidInputError
from artifactstore.model.facts import Fact
from artifactstore.runtime.remarks import remark
from artifactstore.work.put import put as _put
from artifactstore.work.put.arguments import PutRequest
from artifactstore.work.runs.capture.environment import ci_claims, environment
from artifactstore.work.runs.capture.git import Tree, bundle, read_tree, skipped_text
from artifactstore.work.runs.capture.notebook_cells import executed
from artifactstore.work.runs.capture.program import Part, Program, current_folder, running
from artifactstore.work.runs.json_safe import escape_undecodable, json_safe
from artifactstore.work.secrets import captured, looks_secret, shown
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.tracking.outside_reads import OutsideReads

__all__ = ["Capture", "shown"]

_AT_FIRST: Final = 1.0  # seconds that the start of a run waits for the capture of its code
_SHOWN: Final = 5  # reasons in a warning
_MOST: Final = 100  # recorded reasons, and recorded files that are not stored
_FOLDERS: Final = 8  # folders of modules that are searched for a repository

_ENVIRONMENTS: Final = 16  # cached by a process: packages are seldom installed while it works
_environments: Final[dict[str, dict[str, str]]] = {}  # as JSON → store → digest, so that the next run need not capture again


class Capture:
    """The code and the environment of a run, captured at its start; slow parts in the background."""

    def __init__(self, session: Session, *, code: bool | str) -> None:
        self._session = session
        self._history = code == "history"
        self._here = self._folder = Path(current_folder())
        self._code = bool(code)
        self._problems: list[str] = []
        self._tree: Tree | None = None
        self._program = running() if code else Program()
        self._environment: dict[str, Any] = {}
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._look, name="artifactstore-capture", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the code was read, at most a moment."""
        self._seen.wait(_AT_FIRST)

    def _look(self) -> None:
        try:
            if self._code:
                problems: list[str] = []
                try:
                    self._tree = self._find_tree(problems)
                except OSError as error:  # such as no folder for git's temporary index
                    problems.append(f"it cannot be read: {error.strerror or error}")
                self._problems += [f"the code is not recorded as git has it: {text}" for text in dict.fromkeys(problems)]
                if self._tree is None:
                    self._folder = self._plain_folder()
        finally:
            self._seen.set()
        self._environment = environment(self._folder if self._tree is None else self._here)

    def _find_tree(self, problems: list[str]) -> Tree | None:
        """Return the repository of the program: of its own file, else of the current folder, else of the imported modules."""
        main, parts = self._program.main, self._program.parts
        here = read_tree(self._here, problems, parts)
        if here is not None and main is not None and here.has(main):
            return here
        own = None if main is None else read_tree(Path(main).parent, problems, parts)
        if own is not None:
            return own
        if here is not None and (main is not None or not parts or any(here.has(path) for path in parts)):
            return here
        folders = Counter(os.path.dirname(path) for path in parts)  # noqa: PTH120
        for folder, _ in folders.most_common(_FOLDERS):
            found = read_tree(Path(folder), problems, parts)
            if found is not None:
                return found
        return here

    def _plain_folder(self) -> Path:
        """Return the folder of a program without a repository: the current folder, unless its file is elsewhere."""
        main, here = self._program.main, self._here.resolve()
        if main is None or (Path(main).is_relative_to(here) and here not in {Path(here.anchor), Path(os.path.expanduser("~"))}):  # noqa: PTH111 - a user may have no home
            return here
        return Path(main).parent

    def steps(self, run: str) -> list[Step]:
        """Return the steps that commit code and environment, each as an input of the run."""
        self._thread.join()
        found = self._environment
        if len(_environments) > _ENVIRONMENTS:
            _environments.clear()
        known = _environments.setdefault(json.dumps(found, sort_keys=True), {})
        made = [self._step(run, "environment", lambda: _put.found_object(found, {"format": "json"}), {}, known)]
        for text in self._problems:
            remark(captured(text))
        if not self._code:
            return made
        tree, parts = self._tree, self._program.parts
        about: dict[str, Any] = {"folder": "."}
        inside, outside = self._divided()
        main = self._program.main
        if main in inside:
            about["script"] = escape_undecodable(inside[main])
        elif main in outside:
            about["program"] = escape_undecodable(outside[main])
        if outside:
            about["modules"] = json_safe(sorted(outside.values())[:_MOST])  # they are an artifact of their own
        because = [*self._program.lacking, *(() if tree is None else tree.because)]
        because += [f"{path} {part.why}" for path, part in parts.items() if part.why and path not in inside]
        if self._program.seen:
            about["complete"] = not because
        if because:
            about["because"] = json_safe(because[:_MOST])
        if tree is not None:
            if tree.skipped:
                about["skipped"] = json_safe(tree.skipped[:_MOST])
                remark(f"not stored with the code: {skipped_text(tree.skipped)}")
            about = {**about, "kind": "git", "folder": _inside(self._here, tree.root), **tree.about}
            made.append(self._step(run, "code", lambda: _found_tree(tree, about), about, tree.digests))
            if self._history and "commit" in tree.about:
                made += self._with_history(run, tree)
        elif inside or because:
            about = {**about, "kind": "modules", **(ci_claims(os.environ) or {})}
            made.append(self._step(run, "code", lambda: _found_parts(parts, inside), about))
        if because:
            more = f"; and {len(because) - _SHOWN} more" if len(because) > _SHOWN else ""
            text = captured(f"the code is not complete: {'; '.join(because[:_SHOWN])}{more}")
            remark(text)
        if outside:
            made.append(self._step(run, "modules", lambda: _found_parts(parts, outside), {}))
        return made

    def _divided(self) -> tuple[dict[str, str], dict[str, str]]:
        """Divide the files of the program into those in its folder and those elsewhere: each path → path in the artifact."""
        tree, inside, outside = self._tree, dict[str, str](), dict[str, str]()
        root = self._folder.resolve() if tree is None else tree.root
        top, taken = f"{root}{os.sep}".replace(os.sep * 2, os.sep), set[str]()
        for path, part in self._program.parts.items():
            inner = path.removeprefix(top).replace(os.sep, "/")
            if inner != path and (tree.has(path) if tree is not None else part.data is not None and not looks_secret(inner)):
                inside[path] = inner
            elif part.data is not None and not looks_secret(part.name):
                name = next(one for n in count(1) if (one := part.name if n == 1 else f"{n}/{part.name}") not in taken)
                taken.add(name)
                outside[path] = name
        return inside, outside

    def _step(
        self,
        run: str,
        role: str,
        find: Callable[[], _put.PutSource],
        about: Mapping[str, Any],
        known: dict[str, str] | None = None,
    ) -> Step:
        """Return a step that stores one thing as an input of the run; content known to be stored is not read again."""
        kind = role if role == "environment" else "code"
        request, known = PutRequest(None, kind, None, {}), {} if known is None else known

        def prepare(core: Core) -> Prepared:
            store = core.config.store
            try:
                with self._session.state(fresh=False) as state:
                    prepared = Prepared([], state.head, known.get(store, ""))
                    there = state.intact(prepared.digest)
                if not there:
                    prepared = _put.prepare(self._session, core, find(), request)
                    known[store] = prepared.digest
            except (ConflictError, InvalidInputError) as error:
                # The run itself must not fail for it.
                remark(f"the {role} of the run {run} is not recorded: {error}")
                with self._session.state() as state:
                    return Prepared([], state.head, "")
            fact: Fact = {"fact": "used", "run": run, "digest": prepared.digest, "role": role}
            prepared.facts = [*prepared.facts, {**fact, "code": dict(about)} if about else fact]
            return prepared

        return Step(prepare)

    def _with_history(self, run: str, tree: Tree) -> Iterator[Step]:
        """Yield the step that commits the history up to the commit, as a git bundle; a bundle that an earlier run stored is reused."""
        store = self._session.core().config.store
        with self._session.query_state() as state:
            digest = history_of(state, tree.digests.get(store, ""), tree.about["commit"])
        known = {} if digest is None else {store: digest}
        if known:
            yield self._step(run, "history", lambda: _put.PutSource(Folder()), {}, known)
            return
        try:
            folder = mkdtemp(prefix="artifactstore-")
        except OSError as error:
            text = f"the history of {tree.root} is not recorded: cannot write a temporary file ({error.strerror or error})"
            remark(text)
            return
        path = Path(folder) / "history.bundle"

        def find() -> _put.PutSource:
            return _put.PutSource(Folder(files=[from_file(str(path))]), modes=True)

        finalize(find, rmtree, folder, ignore_errors=True)  # needed until it is committed, which may be retried
        if not bundle(tree.root, path):
            remark(f"the history of {tree.root} is not recorded: git cannot write it")
            return
        yield self._step(run, "history", find, {}, known)

    def cells(self, run: str) -> list[Step]:
        """Return the steps that commit a notebook's cells executed so far, as a file; empty outside notebooks."""
        found = executed() if self._code else None
        if found is None:
            return []
        cells, about = found, {"kind": "cells", "folder": "."} | ({"notebook": found.notebook} if found.notebook else {})

        def find() -> _put.PutSource:
            source = from_bytes(cells.name, cells.text.encode())
            return _put.PutSource(Folder(files=[source]), modes=True)

        return [self._step(run, "cells", find, about)]

    def changed(self) -> list[str] | None:
        """Return the files whose content is not that of the last commit, relative to the repository; None outside of one."""
        self._thread.join()
        return None if self._tree is None else [*self._tree.changed]

    def outside_reads(self, seen: OutsideReads) -> Fact:
        """Return the fact that records, at the end of a run, the reads that bypassed the store."""
        self._thread.join()
        tree, url = self._tree, self._session.url
        skip = [Path(url)] if "://" not in url else []
        skip += [] if self._session.cache is None else [self._session.cache]
        files, more = seen.files(
            root=self._folder if tree is None else tree.root, stored=() if tree is None else tree.files, skip=skip
        )
        fact: Fact = {"reads_seen": "partial"}
        fact |= {"around": files} if files else {}
        fact |= {"around_more": more} if more else {}
        programs = [shown(words) for words in seen.programs()]
        return fact | ({"programs": programs} if programs else {})


def _inside(folder: Path, root: Path) -> str:
    try:
        return folder.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return "."


def _found_tree(tree: Tree, about: dict[str, Any]) -> _put.PutSource:
    """Return a working tree as it was, and note what of it is not available any more."""
    lost: list[str] = []
    files = list(tree.kept.sources(str(tree.root), tree.files, tree.executable, lost))
    if lost:
        skipped = [(path, "has changed since, and was not kept") for path in lost]
        about |= {"skipped": json_safe([*tree.skipped, *skipped][:_MOST]), "altered": True}
        about |= {"complete": False, "because": [*about.get("because", ()), f"not stored: {skipped_text(skipped)}"]}
        remark(f"not stored with the code: {skipped_text(skipped)}")
    return _put.PutSource(Folder(files=files, links=sorted(tree.links)), modes=True, root=str(tree.root), likely_known=True)


def _found_parts(parts: Mapping[str, Part], names: Mapping[str, str]) -> _put.PutSource:
    """Return files of the program, each under its own path."""
    sources = []
    for path, name in sorted(names.items(), key=lambda one: one[1].encode("utf-8", "surrogateescape")):
        with suppress(InvalidInputError):  # its path is not storable
            sources.append(from_bytes(name, parts[path].data or b""))
    return _put.PutSource(Folder(files=sources), modes=True, root="", likely_known=True)
