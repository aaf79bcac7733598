"""The import of a repository: commit by commit, outputs first, then the stages that made them."""

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.integrations.checked.files import Content, as_source
from artifactstore.integrations.checked.hashes import GitBlob, Hashed, LegacyMd5
from artifactstore.integrations.checked.origins import InMemory
from artifactstore.integrations.dvc.config import read_config
from artifactstore.integrations.dvc.contents import Contents
from artifactstore.integrations.dvc.history import Commit, History
from artifactstore.integrations.dvc.past_stage import run_id, run_of
from artifactstore.integrations.dvc.tracked import Found, Output, Stage, from_dvc_file, from_lock
from artifactstore.model.listing import check_path
from artifactstore.model.reference import check_name
from artifactstore.runtime.yaml.reader import parse_yaml
from artifactstore.store import Store
from artifactstore.work.sync.imported import Imported

__all__ = ["import_repository"]

_LONGEST: Final = 200  # bytes of a name
_KEPT: Final = 5_000  # files of DVC that are remembered once they are parsed
_PATTERNS: Final = 200  # files that are left out of the version before: each is a pattern that every path is compared with
_SIGN: Final = re.compile(r"([\\*?\[\]!# ])")  # what means something in a pattern
_METRICS: Final = 2**20  # bytes of a metrics file that is read
_CODE_FILES: Final = 20_000  # of a commit whose code is stored
_CODE_BYTES: Final = 128 * 2**20


def import_repository(
    store: Store, source: str, name: str, *, rev: str, cache: str | None, dry_run: bool, reason: str | None
) -> Imported:
    """Import a repository; see `import_from`."""
    check_name(name)
    folder = Path(source.removeprefix("file://") if source.startswith("file:///") else source).expanduser()
    history = History(folder)
    with history:
        tip = None if rev == "all" else history.resolve(rev)
        commits = list(history.commits(tip))
        texts = {} if (history.folder / ".dvc").is_dir() else _config_of(history, commits)
        contents = Contents(read_config(history.folder, texts=texts, cache=cache))
        with store.maintenance.intake("dvc", f"git+{history.folder.as_uri()}", dry_run=dry_run, reason=reason) as intake:
            run = _Import(store, intake, history, contents, name, dry_run=dry_run)
            wanted = None if tip is None else run.wanted(commits[-1])
            for commit in commits:
                run.commit(commit, wanted)
            run.end()
        return intake.report


def _config_of(history: History, commits: Sequence[Commit]) -> dict[str, str]:
    """Return the configuration that the newest commit has, for a repository without a working tree."""
    for commit in reversed(commits):
        tree = history.root(commit)
        entry = history.at(tree, ".dvc/config") if tree is not None else None
        if entry is not None and entry.kind == "blob":
            return {"config": (history.blob(entry.id) or b"").decode(errors="replace")}
    return {}


@dataclass(slots=True)
class _State:
    """What DVC tracks in one commit.

    Attributes:
        outputs: path → output.
        stages: what ran to make them.
    """

    outputs: dict[str, Output] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)


class _Import:
    """One import.

    Attributes:
        refs: (name, md5) → the version here; None if there is none.
    """

    def __init__(self, store: Store, intake: Any, history: History, contents: Contents, prefix: str, *, dry_run: bool) -> None:
        self.intake, self.history, self.contents = intake, history, contents
        self.refs: dict[tuple[str, str], str | None] = {}
        self._store, self._prefix, self._dry_run = store, prefix, dry_run
        self._parsed: dict[tuple[str, ...], Found] = {}
        self._skipped: dict[str, str] = {}
        self._tried: set[tuple[str, str]] = set()
        self._before: dict[str, tuple[Output, str]] = {}  # name → the output that came last, and its version
        self._stages: set[tuple[str, ...]] = set()
        self._last: str | None = None  # the tree that was looked at last
        self._values: dict[str, Any] = {}

    # -- what a commit says

    def wanted(self, commit: Commit) -> tuple[set[tuple[str, str]], set[tuple[str, ...]]]:
        """Return the outputs and the stages of one commit, for an import of that alone."""
        tree = self.history.root(commit)
        state = self._state(tree) if tree is not None else _State()
        return {(one.path, one.md5) for one in state.outputs.values()}, {_key(one) for one in state.stages}

    def _state(self, tree: str) -> _State:
        state = _State()
        files = self.history.dvc_files(tree)
        by_path = dict(files)
        for path, blob in files:
            base = posixpath.basename(path)
            if base == "dvc.yaml":
                continue
            beside = by_path.get(posixpath.join(posixpath.dirname(path), "dvc.yaml"), "") if base == "dvc.lock" else ""
            key = (path, blob, beside)
            if key not in self._parsed:
                if len(self._parsed) >= _KEPT:
                    self._parsed.clear()
                self._parsed[key] = self._parse(*key)
            found = self._parsed[key]
            state.outputs |= {one.path: one for one in found.outputs}
            state.stages += found.stages
        return state

    def _parse(self, path: str, blob: str, beside: str) -> Found:
        try:
            value = self._value(path, blob)
            if not path.endswith("dvc.lock"):
                found = from_dvc_file(value, path)
            else:
                pipeline = None
                if beside:
                    try:
                        pipeline = self._value(f"{path.removesuffix('.lock')}.yaml", beside)
                    except InvalidInputError as error:
                        self._skip(f"{path.removesuffix('.lock')}.yaml", str(error))
                found = from_lock(value, pipeline, path)
        except InvalidInputError as error:
            found = Found(skipped=[(path, str(error))])
        except RecursionError:
            found = Found(skipped=[(path, "it is too deep")])
        for one, reason in found.skipped:
            self._skip(one, reason)
        return found

    def _value(self, path: str, blob: str) -> Any:
        data = self.history.blob(blob)
        if data is None:
            raise InvalidInputError("it is not in this clone, or too large")
        return parse_yaml(data, path)

    def _skip(self, one: str, reason: str) -> None:
        self._skipped.setdefault(_text(one), _text(reason))

    # -- bringing

    def commit(self, commit: Commit, wanted: tuple[set[tuple[str, str]], set[tuple[str, ...]]] | None) -> None:
        """Bring what is new in a commit."""
        tree = self.history.root(commit)
        if tree is None or tree == self._last:
            return
        self._last = tree
        state = self._state(tree)
        for one in state.outputs.values():
            if wanted is None or (one.path, one.md5) in wanted[0]:
                self._output(one, commit, tree)
        for stage in state.stages:
            key = _key(stage)
            if key not in self._stages and (wanted is None or key in wanted[1]):
                self._stages.add(key)
                self._stage(stage, commit, tree, state)

    def name_of(self, path: str) -> str:
        """Return the name for a path: where it has signs that no name has, with a part of the path's hash."""
        name = f"{self._prefix}/{re.sub(r'[^A-Za-z0-9._/-]', '_', path)}"
        if name == f"{self._prefix}/{path}" and len(name) <= _LONGEST:
            return name
        mark = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:8]
        return f"{name[: _LONGEST - 9].rstrip('/')}-{mark}"

    def find(self, output: Output) -> str | None:
        """Return the version here of an output, if it is here or was brought now."""
        key = self.name_of(output.path), output.md5
        if key not in self.refs:
            self.refs[key] = self.intake.find(key[0], {"dvc.md5": output.md5})
        return self.refs[key]

    def _output(self, one: Output, commit: Commit, tree: str) -> None:
        name = self.name_of(one.path)
        key = name, one.md5
        if self.find(one) is None and key not in self._tried:
            self._tried.add(key)
            self.refs[key] = self._bring(one, name, commit, tree)
        if (known := self.refs[key]) is not None:
            self._before[name] = one, known

    def _bring(self, one: Output, name: str, commit: Commit, tree: str) -> str | None:
        """Bring a version; return it, or None if it cannot be brought."""
        what = _text(f"{one.path} md5:{one.md5}")
        try:
            check_path(one.path)
            files, missing, options = self._changed_files(one, name) or (*self._files(one, tree), {})
        except InvalidInputError as error:
            self._skip(what, str(error))
            return None
        if files is None or missing:
            gone = _text(f" ({len(missing)} files, the first is {missing[0]})") if files is not None else ""
            self.intake.report.missing.append(what + gone)
            return None
        url, reading = as_source(files, single=not one.is_folder)
        if one.is_folder and "onto" not in options:
            options["allow_empty"] = True
        made = self.intake.put(
            url if files or "onto" not in options else None,
            name,
            marks={"dvc.md5": one.md5},
            kind=one.kind,
            metadata={"git.commit": commit.id, "dvc.path": one.path},
            time=commit.time,
            actor=commit.actor,
            reason=commit.subject or None,
            **options,
            **(reading if files or "onto" not in options else {}),
        )
        return str(made.ref)

    def _changed_files(self, one: Output, name: str) -> tuple[dict[str, Content], list[str], dict[str, Any]] | None:
        """Return the files of a folder that the version before does not have, and how to lay them over it; None if that is no use."""
        before, ref = self._before.get(name, (None, ""))
        if before is None or not one.is_folder or not before.is_folder or before.legacy != one.legacy or self._dry_run:
            return None
        old, new = self._listed(before), self._listed(one)
        if not old or not new:
            return None
        here, wanted = dict(old), dict(new)
        removed = [path for path in here if path not in wanted]
        changed = [(path, md5) for path, md5 in new if here.get(path) != md5]
        if len(changed) == len(new) or len(removed) > _PATTERNS or not (removed or changed):
            return None
        try:
            if self._store.artifact(ref).tainted:
                return None
        except NotFoundError:
            return None  # it was removed
        files, missing = self.contents.files(changed, legacy=one.legacy, remote=one.remote)
        without = ["/" + _SIGN.sub(r"\\\1", path) for path in removed]
        return files, missing, {"onto": ref, **({"without": without} if without else {})}

    def _listed(self, one: Output) -> tuple[tuple[str, str], ...] | None:
        found = self.contents.folder(one.md5, legacy=one.legacy, remote=one.remote)
        return one.files if found is None else found

    def _files(self, one: Output, tree: str) -> tuple[dict[str, Content] | None, list[str]]:
        """Return the files of an output, and the paths of those that are nowhere; None if nothing is known of them."""
        base = posixpath.basename(one.path)
        if not one.is_folder:
            content = self._in_git(one, tree) or self.contents.find(one.md5, legacy=one.legacy, remote=one.remote)
            return (None, []) if content is None else ({base: content}, [])
        listed = self._listed(one)
        if listed is None:
            return self._folder_in_git(one, tree)
        return self.contents.files(listed, legacy=one.legacy, remote=one.remote)

    def _in_git(self, one: Output, tree: str, path: str | None = None) -> Content | None:
        """Return the content of an output that is in git, not in the cache, if it is that."""
        if one.cached:
            return None
        entry = self.history.at(tree, path or one.path)
        data = self.history.blob(entry.id) if entry is not None and entry.kind == "blob" else None
        if data is None:
            return None
        check: Any = LegacyMd5(one.md5) if one.legacy else Hashed("md5", one.md5)
        check.update(data)
        return Content(InMemory(f"{path or one.path} in git", data)) if check.is_right() else None

    def _folder_in_git(self, one: Output, tree: str) -> tuple[dict[str, Content] | None, list[str]]:
        """Return the files of a folder that is in git, not in the cache; its MD5 is not checked, but git's own ids are."""
        entry = self.history.at(tree, one.path) if not one.cached else None
        if entry is None or entry.kind != "tree":
            return None, []
        return dict(self._git_files(entry.id)), []

    def _git_files(self, tree: str) -> Iterator[tuple[str, Content]]:
        for path, blob in self.history.files(tree):
            data = self.history.blob(blob)
            if data is not None:
                yield path, Content(InMemory(f"{path} in git", data), partial(GitBlob, blob, len(data)))

    # -- stages

    def _stage(self, stage: Stage, commit: Commit, tree: str, state: _State) -> None:
        if self.intake.has_run(run_id(stage, commit)):
            return
        run = run_of(stage, commit, state.outputs, self, tree)
        if not self._dry_run:
            run["code"] = self._code(commit)
        self.intake.run(**run)

    def content_of(self, output: Output, tree: str, path: str) -> bytes | None:
        """Return the bytes of a small output, or of a file in it, for its metrics."""
        if output.path != path and not output.is_folder:
            return None
        try:
            files, _ = self._files(output, tree)
        except InvalidInputError:
            return None
        inner = posixpath.relpath(path, output.path) if output.is_folder else posixpath.basename(path)
        content = (files or {}).get(inner)
        return content.read(0, content.origin.size) if content is not None and content.origin.size <= _METRICS else None

    def _code(self, commit: Commit) -> tuple[str, Mapping[str, Any]] | None:
        """Store the files of a commit; return their digest, and what is known of the commit."""
        files: dict[str, Content] = {}
        total = 0
        for path, content in self._git_files(commit.tree):
            try:
                check_path(path)
            except InvalidInputError:
                continue
            files[path] = content
            total += content.origin.size
            if len(files) > _CODE_FILES or total > _CODE_BYTES:
                self._skip(f"code of {commit.id}", f"it has more than {_CODE_FILES:,} files or {_CODE_BYTES:,} bytes")
                return None
        if not files:
            return None
        url, options = as_source(files)
        made = self._store.put(url, kind="code", metadata={"git.commit": commit.id}, **options)
        about = {
            "kind": "git",
            "folder": ".",
            "commit": commit.id,
            "author": commit.actor,
            "head_tree": commit.tree,
            "dirty": False,
        }
        return made.digest, about

    def end(self) -> None:
        """Report what was left out."""
        self.intake.report.skipped += [f"{one}: {reason}" for one, reason in self._skipped.items()]
        if self.intake.report.missing:
            self.intake.report.skipped += [f"remote {name}: {reason}" for name, reason in self.contents.unread.items()]


def _text(text: str) -> str:
    """Return a text that can be written: names in git need not be one."""
    return text.encode(errors="backslashreplace").decode()


def _key(stage: Stage) -> tuple[str, ...]:
    """Return what tells one execution of a stage from another."""
    read = [f"{one.path}\0{one.md5}" for one in stage.dependencies]
    return (
        stage.folder,
        stage.name,
        stage.command,
        repr(stage.params),
        *read,
        *(f"{one.path}\0{one.md5}" for one in stage.outputs),
    )
