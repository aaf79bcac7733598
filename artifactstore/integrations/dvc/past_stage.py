"""A stage that ran, as a run: its inputs and outputs by the versions here, its parameters, and the numbers in its metrics."""

import hashlib
import json
import posixpath
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from artifactstore.errors import ArtifactStoreError, InvalidInputError
from artifactstore.integrations.dvc.history import Commit
from artifactstore.integrations.dvc.stages import flat_numbers, flat_params
from artifactstore.integrations.dvc.tracked import Dependency, Output, Stage
from artifactstore.runtime.yaml.reader import parse_yaml

__all__ = ["Versions", "run_id", "run_of"]

_LONGEST: Final = 100  # characters of a run's id


class Versions(Protocol):
    """The versions that an import has brought or found."""

    def find(self, output: Output) -> str | None:
        """Return the version of an output, or None."""

    def content_of(self, output: Output, tree: str, path: str) -> bytes | None:
        """Return the bytes of a small output, or of a file in it; None if they are nowhere."""


def run_of(stage: Stage, commit: Commit, outputs: Mapping[str, Output], versions: Versions, tree: str) -> dict[str, Any]:
    """Return the arguments of `Intake.run`.

    Args:
        stage: the stage.
        commit: the first that has it so.
        outputs: what DVC tracks in that commit, by path.
        versions: what was brought.
        tree: of DVC's root in that commit.
    """
    return {
        "id": run_id(stage, commit),
        "name": stage.name,
        "time": commit.time,
        "ended": commit.time,
        "status": "finished",
        "actor": commit.actor,
        "params": flat_params(stage.params),
        "inputs": list(_inputs(stage, outputs, versions)),
        "outputs": [(ref, one.path) for one in stage.outputs if (ref := versions.find(one)) is not None],
        "history": list(_metrics(stage, commit, versions, tree)),
    }


def run_id(stage: Stage, commit: Commit) -> str:
    """Return the id of the run: `dvc-<commit>-<stage>`; of stages in other folders with the folder."""
    name = posixpath.join(stage.folder, stage.name)
    whole = f"dvc-{commit.id}-{name}"
    if len(whole) <= _LONGEST and whole.isprintable():
        return whole
    mark = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    plain = "".join(one if one.isprintable() else "_" for one in whole)
    return f"{plain[: _LONGEST - 9]}-{mark}"


def _inputs(stage: Stage, outputs: Mapping[str, Output], versions: Versions) -> Iterator[tuple[str, str]]:
    """Yield (version, role) of what it read; files in git are a part of its code."""
    for one in stage.dependencies:
        for output in _outputs_at(one, outputs):
            ref = versions.find(output)
            if ref is not None:
                yield ref, one.path if output.path == one.path else output.path


def _outputs_at(dependency: Dependency, outputs: Mapping[str, Output]) -> Iterator[Output]:
    """Yield the outputs that a dependency is: itself, the folder it is in, or those that are in it."""
    path = dependency.path
    known = outputs.get(path)
    if known is not None:
        # The lock may be older than what is tracked now.
        yield known if dependency.md5 in {None, known.md5} else Output(path, str(dependency.md5), known.legacy)
        return
    above = path
    while above := posixpath.dirname(above):
        if above in outputs:
            yield outputs[above]
            return
    yield from (one for inner, one in outputs.items() if inner.startswith(f"{path}/"))


def _metrics(stage: Stage, commit: Commit, versions: Versions, tree: str) -> Iterator[tuple[str, int | None, float, Any]]:
    """Yield the numbers in its metrics; a name that several files have begins with the file's."""
    seen: set[str] = set()
    for path in stage.metrics:
        output = next(one for one in stage.outputs if f"{path}/".startswith(f"{one.path}/"))
        for name, value in flat_numbers(_value(versions.content_of(output, tree, path), path)):
            key = f"{path}:{name}" if name in seen else name
            seen.add(name)
            yield key, None, value, commit.time


def _value(data: bytes | None, path: str) -> Any:
    """Return the value of a metrics file; None if it cannot be read."""
    if data is None:
        return None
    kind = posixpath.splitext(path)[1].lower()
    try:
        if kind == ".json":
            return json.loads(data)
        if kind == ".toml":
            return tomllib.loads(data.decode())
        return parse_yaml(data, path) if kind in {".yaml", ".yml"} else None
    except (ArtifactStoreError, InvalidInputError, ValueError, RecursionError):
        return None
