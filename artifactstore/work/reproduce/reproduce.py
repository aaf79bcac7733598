"""Reproduction of an artifact from its run's recorded code, inputs and environment, and a verdict on the result.

The program runs in a fork of the store (`work.session.fork`): it reads what was stored when the run began, and writes to a
scratch store.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

from artifactstore.backend.remote.secrets import without_secrets
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.lineage import code_of, companions
from artifactstore.catalog.runs.info import RunInfo, run_info
from artifactstore.errors import AlreadyExistsError, InvalidInputError, NotFoundError, UnsupportedError
from artifactstore.model.redaction import MARK
from artifactstore.work.get.get import get, stored_value
from artifactstore.work.reproduce.code import Code
from artifactstore.work.reproduce.comparison import Made, Reproduction, compare
from artifactstore.work.reproduce.environment_build import BuiltEnvironment, build, present
from artifactstore.work.session.commit import commit
from artifactstore.work.session.fork import VARIABLE, ScratchStore
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path
from artifactstore.work.settings.settings import secret_options
from artifactstore.work.tracking.current_run import EXPORTED

__all__ = ["reproduce"]

_RESTORED: Final = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")  # they affect the results of a program


@dataclass(slots=True)
class _Recorded:
    """The journal's record of a run.

    Attributes:
        run: itself.
        root: the outermost enclosing run, with which its program began.
        code: digest of its code, or None.
        about: the record of its code.
        environment: digest, or None.
        cells: digest of a notebook's cells, or None.
        modules: digest of its code outside the folder, or None.
        inputs: (name, version) of its reads by name.
        outputs: its outputs, as facts.
        head: the entry at which the store is restored.
        later: (name, version) that appeared between the run's start and its reads and are not inputs.
    """

    run: RunInfo
    root: str
    code: str | None
    about: Mapping[str, Any]
    environment: str | None
    cells: str | None
    modules: str | None
    inputs: list[tuple[str, int]]
    outputs: Sequence[Mapping[str, Any]]
    head: int
    later: list[tuple[str, int]]


def reproduce(
    session: Session,
    start: str,
    folder: Any,
    *,
    is_run: bool,
    env: bool = True,
    tolerance: float = 1e-6,
    command: Sequence[str] | None = None,
    timeout: float | None = None,
) -> Reproduction:
    """Run again what produced an artifact; see `Lineage.reproduce`."""
    target = local_path(folder, "folder").absolute()
    if target.exists() and not target.is_dir():
        raise AlreadyExistsError(f"{target} is a file: pass an empty or new folder")
    if target.exists() and any(target.iterdir()):
        raise AlreadyExistsError(f"{target} is not empty: pass an empty or new folder")
    if session.url.startswith("memory://"):
        raise UnsupportedError("another process cannot read a store in memory: sync it to a folder first")
    with session.query_state() as state:
        recorded = _recorded(state, start, is_run=is_run)
    about, top = dict(recorded.about), target / "code"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"cannot make {target}: {error.strerror or error}; choose another folder") from error
    if recorded.code is not None:
        Code(session, recorded.code, about).checkout(top)
    else:
        top.mkdir()
    environment = {} if recorded.environment is None else stored_value(session, recorded.environment)
    built = build(environment, target / "env", top) if env else present(environment)
    for digest, folder_ in ((recorded.cells, "cells"), (recorded.modules, "modules")):
        if digest is not None:
            get(session, digest, target / folder_)
    words = [str(word) for word in command] if command is not None else _command(recorded, top, target, built.python)
    fork, modules = _fork(session, recorded, target), None if recorded.modules is None else target / "modules"
    log = target / "log.txt"
    with log.open("wb") as out:
        returned = _run(
            words,
            top / str(about.get("folder", ".")),
            _variables(session, fork, environment, built, modules, env=env),
            out,
            timeout,
        )
    with session.query_state() as state:
        old = [(edge, _metrics(state, edge["digest"], recorded.run.id)) for edge in recorded.outputs]
    with Session(
        session.connection_args[0], storage_options=session.connection_args[1], cache=None, fork=fork
    ).query_state() as state:
        outputs = compare(old, list(_made(state, recorded)), tolerance)
    return Reproduction.of(
        outputs,
        recorded.run,
        returned,
        notes=(*_lacking(recorded, session), *built.notes),
        command=tuple(words),
        folder=target,
        log=log,
    )


def _lacking(recorded: _Recorded, session: Session) -> Iterator[str]:
    if names := secret_options(session.connection_args[1]):
        yield f"storage options that hold secrets were not passed to the program: {', '.join(names)}; it logs in by its environment"
    if recorded.code is None:
        yield "no code was recorded"
    yield from (f"{path} was not stored with the code: it {why}" for path, why in recorded.about.get("skipped", ()))
    yield from (f"the code is not complete: {text}" for text in recorded.about.get("because", ()))


# -- the record


def _recorded(state: State, start: str, *, is_run: bool) -> _Recorded:
    made = [start] if is_run else [run for run in state.produced_by.get(start, ()) if run in state.runs]
    if not made:
        raise NotFoundError(f"no run produced {start}")
    run = made[-1]
    root = run
    while (parent := state.runs[root].get("parent")) in state.runs and parent is not None:
        root = parent
    code, about, environment, cells, modules = None, {}, None, None, None
    for one in (run, root):
        found, record = code_of(state, one)
        along = companions(state, one)
        if code is None and found is not None:
            code, about, modules = found, record, along.get("modules")
        environment, cells = environment or along.get("environment"), cells or along.get("cells")
    edges = state.edges.get(run, ())
    inputs = [
        (edge["name"], edge["version"]) for edge in edges if edge["fact"] == "used" and edge.get("version") and edge.get("name")
    ]
    outputs = [edge for edge in edges if edge["fact"] == "produced"]
    began = int(state.runs[root]["seq"]) - 1
    head = max([began, *(int(state.names[name][number - 1]["seq"]) for name, number in inputs if _known(state, name, number))])
    later = [
        (name, number)
        for name, wanted in {name: max(n for one, n in inputs if one == name) for name, _ in inputs}.items()
        for number, row in enumerate(state.names.get(name, ()), 1)
        if number > wanted and row["seq"] <= head and "removed" not in row
    ]
    return _Recorded(run_info(state, run), root, code, about, environment, cells, modules, inputs, outputs, head, later)


def _handed_on(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the storage options that the program gets in a file: no secrets, and only JSON values."""
    found = {}
    for name, value in without_secrets(options).items():
        with suppress(TypeError, ValueError):
            found[name] = json.loads(json.dumps(value))
    return found


def _known(state: State, name: str, number: int) -> bool:
    return 1 <= number <= len(state.names.get(name, ()))


def _fork(session: Session, recorded: _Recorded, target: Path) -> ScratchStore:
    """Make the store as of the start of the run, with the versions it read as the newest of their names."""
    url, options, _ = session.connection_args
    fork = ScratchStore(target / "store", url, session.core().config.store, recorded.head, _handed_on(options or {}))
    fork.save()
    if recorded.later:
        there = Session(url, storage_options=options, cache=None, fork=fork)
        facts = [{"fact": "removed", "name": name, "version": number} for name, number in recorded.later]

        def prepare(_core: Any) -> Prepared:
            with there.state() as state:
                return Prepared(list(facts), state.head, "")

        commit(there, Step(prepare), reason="came after what the run read")
    return fork


# -- running


def _command(recorded: _Recorded, top: Path, target: Path, python: str) -> list[str]:
    """Return the command to run: the recorded command, with paths of this machine."""
    words = list(recorded.run.command)
    if recorded.cells is not None:
        cells = next(iter((target / "cells").iterdir()))
        return [python, "-m", "artifactstore.work.runs.capture.notebook_cells", str(cells)]
    if len(words) < 2:
        raise InvalidInputError(f"the command of the run {recorded.run.id} is unknown: pass it as command=[…]")
    if any("***" in word or MARK in word for word in words):  # ***: of versions before the mark
        raise InvalidInputError("the recorded command had a secret, which was not stored: pass it as command=[…]")
    script, root = recorded.about.get("script"), top
    if not script and recorded.about.get("program"):
        script, root = recorded.about["program"], target / "modules"
    folder = top / str(recorded.about.get("folder", "."))
    shown = [python]
    for word in words[1:]:
        path = PureWindowsPath(word) if "\\" in word else PurePosixPath(word)
        elsewhere = path.is_absolute() or not (folder / path).exists()  # it was started in a folder other than its code's
        if script and elsewhere and f"/{path.as_posix()}".endswith(f"/{script}"):
            shown.append(str(root / script))
        elif path.is_absolute() and path.parent.name in {"bin", "Scripts"} and len(shown) == 1:
            shown += (
                ["-m", "artifactstore"] if path.stem in {"artifactstore", "astore"} else [str(Path(python).with_name(path.name))]
            )
        else:
            shown.append(word)
    return shown


def _variables(
    session: Session,
    fork: ScratchStore,
    environment: Mapping[str, Any],
    built: BuiltEnvironment,
    modules: Path | None,
    *,
    env: bool,
) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if key not in {EXPORTED, "PYTHONPATH", "PYTHONHOME"}}
    variables |= {key: value for key, value in environment.get("variables", {}).items() if key in _RESTORED}
    variables |= {VARIABLE: str(fork.file), "ARTIFACTSTORE_URL": session.connection_args[0]}
    if env:
        home = Path(built.python).parent
        variables |= {"VIRTUAL_ENV": str(home.parent), "PATH": f"{home}{os.pathsep}{os.environ.get('PATH', '')}"}
    kept = [] if modules is None else [str(modules)]
    kept += [os.environ["PYTHONPATH"]] if not env and "PYTHONPATH" in os.environ else []
    return variables | ({"PYTHONPATH": os.pathsep.join(kept)} if kept else {})


def _run(words: Sequence[str], folder: Path, variables: Mapping[str, str], out: Any, timeout: float | None) -> int:
    try:
        child = subprocess.Popen(words, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=out)  # noqa: S603 - what the caller asks for
    except OSError as error:
        raise InvalidInputError(f"cannot run {words[0]}: {error.strerror or error}") from error
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        out.write(f"\nstopped after {timeout} s\n".encode())
        return 124
    finally:
        if child.poll() is None:
            with suppress(OSError):
                child.kill()
            child.wait()


# -- the result


def _made(state: State, recorded: _Recorded) -> Iterator[Made]:
    """Yield the outputs of runs of the same name in the fork, those with the same parameters first."""
    runs = [run for run, row in state.runs.items() if row["name"] == recorded.run.name and _since(row, run, recorded)]
    runs.sort(key=lambda run: state.runs[run].get("params", {}) != recorded.run.params)
    for run in runs:
        for edge in state.edges.get(run, ()):
            if edge["fact"] == "produced":
                yield edge, _metrics(state, edge["digest"], run)


def _since(row: Mapping[str, Any], run: str, recorded: _Recorded) -> bool:
    return int(row["seq"]) > recorded.head or run == recorded.run.id


def _metrics(state: State, digest: str, run: str) -> dict[str, float]:
    return {**state.metrics.get(f"run:{run}", {}), **state.metrics.get(digest, {})}
