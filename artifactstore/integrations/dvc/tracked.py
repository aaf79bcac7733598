"""What DVC's files say: outputs and stages, out of `*.dvc`, `dvc.lock` and `dvc.yaml`. Pure: it reads nothing."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.integrations.dvc.stages import Definition, definition_of, top_metrics
from artifactstore.model.listing import check_path

__all__ = ["Dependency", "Found", "Output", "Stage", "from_dvc_file", "from_lock"]

_MD5: Final = re.compile(r"([0-9a-f]{32})(\.dir)?", re.ASCII)
_SCHEMAS: Final = ("2.0",)  # of dvc.lock; older ones have none
_KNOWN: Final = ("md5", "md5-dos2unix")


@dataclass(frozen=True, slots=True)
class Output:
    """A file or folder that DVC tracks.

    Attributes:
        path: from DVC's root.
        md5: as DVC writes it: with `.dir` for a folder.
        legacy: whether its MD5 is that of DVC 1 and 2, of text with LF line ends.
        cached: whether its content is in DVC's cache; else it is in git.
        remote: the only remote that it is pushed to, or None.
        files: of a folder, where the file lists them itself.
        kind: `model` where DVC says so, else `data`.
    """

    path: str
    md5: str
    legacy: bool
    cached: bool = True
    remote: str | None = None
    files: tuple[tuple[str, str], ...] | None = field(default=None, hash=False)
    kind: str = "data"

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.md5.endswith(".dir")


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a stage read.

    Attributes:
        path: from DVC's root.
        md5: as of `Output`; None where DVC recorded none.
    """

    path: str
    md5: str | None


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that ran.

    Attributes:
        name: in its `dvc.yaml`; of a `.dvc` file with a command the file's name.
        folder: of that file, from DVC's root.
        command: what ran.
        dependencies: what it read.
        outputs: paths of what it wrote.
        params: file → its parameters.
        metrics: paths of its metrics files: outputs, or files in them.
    """

    name: str
    folder: str
    command: str
    dependencies: tuple[Dependency, ...]
    outputs: tuple[Output, ...]
    params: Mapping[str, Any]
    metrics: tuple[str, ...]


@dataclass(slots=True)
class Found:
    """What a file of DVC says.

    Attributes:
        outputs: what it tracks.
        stages: what ran.
        skipped: (path, why) of what is not understood.
    """

    outputs: list[Output] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def from_dvc_file(value: Any, path: str) -> Found:
    """Return what a `.dvc` file says.

    Args:
        value: its content.
        path: of the file, from DVC's root.
    """
    found = Found()
    if value is None:
        return found
    if not isinstance(value, Mapping):
        found.skipped.append((path, "not a mapping"))
        return found
    folder = posixpath.dirname(path)
    inner = _inside(folder, value.get("wdir") or ".")
    if inner is None:
        found.skipped.append((path, f"its wdir {value.get('wdir')!r} is not in the repository"))
        return found
    found.outputs += _outputs(value.get("outs"), inner, path, found)
    if isinstance(value.get("cmd"), str) and found.outputs:  # before DVC 1.0 each stage had such a file
        metrics = tuple(one.path for one, more in _paired(value.get("outs"), found.outputs, inner) if more.get("metric"))
        name = posixpath.basename(path).removesuffix(".dvc")
        dependencies = tuple(_dependencies(value.get("deps"), inner))
        found.stages.append(Stage(name, folder, value["cmd"], dependencies, tuple(found.outputs), {}, metrics))
    return found


def _paired(outs: Any, outputs: list[Output], folder: str) -> Iterator[tuple[Output, Mapping[str, Any]]]:
    by_path = {_inside(folder, one.get("path")): one for one in outs or () if isinstance(one, Mapping)}
    for one in outputs:
        if one.path in by_path:
            yield one, by_path[one.path]


def from_lock(lock: Any, pipeline: Any, path: str) -> Found:
    """Return what a `dvc.lock` says, together with the `dvc.yaml` beside it.

    Args:
        lock: content of `dvc.lock`.
        pipeline: content of `dvc.yaml`; None if there is none.
        path: of `dvc.lock`, from DVC's root.
    """
    found = Found()
    if lock is None:
        return found
    if not isinstance(lock, Mapping):
        found.skipped.append((path, "not a mapping"))
        return found
    stages: Any = lock
    if "schema" in lock:
        if str(lock["schema"]) not in _SCHEMAS:
            found.skipped.append((path, f"its schema {str(lock['schema'])[:40]!r} is newer than {_SCHEMAS[-1]}"))
            return found
        stages = lock.get("stages") or {}
    if not isinstance(stages, Mapping):
        found.skipped.append((path, "its stages are not a mapping"))
        return found
    folder = posixpath.dirname(path)
    apart = [inner for one in top_metrics(pipeline) if (inner := _inside(folder, one))]
    for name, stage in stages.items():
        if not isinstance(stage, Mapping):
            found.skipped.append((f"{path}:{name}"[:200], "not a mapping"))
            continue
        definition = definition_of(pipeline, str(name))
        inner = _inside(folder, definition.wdir)
        if "${" in definition.wdir:
            found.skipped.append(
                (f"{path}:{name}"[:200], f"its wdir {definition.wdir[:100]!r} is a template, which is not resolved here")
            )
            continue
        if inner is None:
            found.skipped.append(
                (f"{path}:{name}"[:200], f"its wdir {definition.wdir[:100]!r} is not a folder of the repository")
            )
            continue
        outputs = [_defined(one, definition, inner) for one in _outputs(stage.get("outs"), inner, f"{path}:{name}"[:200], found)]
        found.outputs += outputs
        metrics = [one.path for one in outputs if definition.is_metric(posixpath.relpath(one.path, inner or "."))]
        metrics += [one for one in apart if one not in metrics and any(f"{one}/".startswith(f"{out.path}/") for out in outputs)]
        params = stage.get("params")
        found.stages.append(
            Stage(
                str(name),
                folder,
                "\n".join(map(str, stage["cmd"])) if isinstance(stage.get("cmd"), list) else str(stage.get("cmd", "")),
                tuple(_dependencies(stage.get("deps"), inner)),
                tuple(outputs),
                params if isinstance(params, Mapping) else {},
                tuple(metrics),
            )
        )
    return found


def _defined(one: Output, definition: Definition, folder: str) -> Output:
    """Return an output with what `dvc.yaml` says of it."""
    about = definition.about(posixpath.relpath(one.path, folder or "."))
    cached = about.get("cache", True) is not False
    remote = about.get("remote") if isinstance(about.get("remote"), str) else one.remote
    kind = "model" if definition.is_model(posixpath.relpath(one.path, folder or ".")) else one.kind
    return Output(one.path, one.md5, one.legacy, cached, remote, one.files, kind)


def _outputs(outs: Any, folder: str, where: str, found: Found) -> list[Output]:
    """Return the outputs of a list; what is not understood is noted."""
    if outs is not None and not isinstance(outs, list):
        found.skipped.append((where, "its outs are not a list"))
        return []
    made = []
    for one in outs or ():
        if not isinstance(one, Mapping) or not isinstance(one.get("path"), str):
            found.skipped.append((where, "an output without a path"))
            continue
        path, reason = _inside(folder, one["path"]), ""
        if path is None or not path:
            found.skipped.append((f"{where} {one['path'][:200]!r}", "it is not in the repository"))
            continue
        scheme = one.get("hash")
        files = _listed(one.get("files"))
        if scheme is not None and scheme not in _KNOWN:
            reason = f"its hash {str(scheme)[:40]!r} is not known here"
        elif not isinstance(one.get("md5"), str):
            others = [str(key) for key in one if key in {"etag", "checksum", "version_id"} or "sha" in str(key)]
            reason = f"it has no md5, but {', '.join(others)}" if others else ""
            if not others and files is None:
                continue  # it has not been made yet
            reason = reason or "it has no md5"
        elif _MD5.fullmatch(one["md5"]) is None:
            reason = f"{one['md5'][:60]!r} is not an md5"
        if reason:
            found.skipped.append((path, reason))
            continue
        remote = one.get("remote")
        made.append(
            Output(
                path,
                one["md5"],
                scheme != "md5",
                one.get("cache", True) is not False,
                remote if isinstance(remote, str) else None,
                files,
                "model" if one.get("type") == "model" else "data",
            )
        )
    return made


def _dependencies(deps: Any, folder: str) -> Iterator[Dependency]:
    for one in deps if isinstance(deps, list) else ():
        if isinstance(one, Mapping) and isinstance(one.get("path"), str):
            path = _inside(folder, one["path"])
            md5 = one.get("md5")
            if path:
                yield Dependency(path, md5 if isinstance(md5, str) and _MD5.fullmatch(md5) else None)


def _listed(files: Any) -> tuple[tuple[str, str], ...] | None:
    """Return (path, md5) of the files that an output lists itself, as those of remotes with versions do."""
    if not isinstance(files, list):
        return None
    return checked_files(files)


def checked_files(files: Any) -> tuple[tuple[str, str], ...] | None:
    """Return (path, md5) of the entries of a folder; None if they are not what DVC writes, or lead out of it."""
    made = []
    for one in files if isinstance(files, list) else (None,):
        if not isinstance(one, Mapping):
            return None
        path, md5 = one.get("relpath"), one.get("md5")
        if not isinstance(path, str) or not isinstance(md5, str) or (match := _MD5.fullmatch(md5)) is None or match[2]:
            return None
        try:
            check_path(path)
        except InvalidInputError:
            return None
        made.append((path, md5))
    return tuple(made)


def _inside(folder: str, path: Any) -> str | None:
    """Return a path from DVC's root; None if it leads out of it."""
    if (
        not isinstance(path, str)
        or not path
        or path.startswith("/")
        or "://" in path
        or "\0" in path
        or re.match(r"[A-Za-z]:", path)
    ):
        return None
    whole = posixpath.normpath(posixpath.join(folder, path))
    if whole == ".":
        return ""
    return None if whole == ".." or whole.startswith("../") else whole
