"""A training job of SageMaker as a run: what the service hands in by variables and folders, and takes back the same way.

Source: the SageMaker Training Toolkit, ENVIRONMENT_VARIABLES.md; `$SAGEMAKER_BASE_DIR` is the service's own variable.
"""

import json
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.integrations.recognised import recognised
from artifactstore.runtime.remarks import remark
from artifactstore.store import Store

__all__ = ["job"]

_BASE: Final = "/opt/ml"
_FAILURE: Final = 1024  # characters that the service shows of a failure


@dataclass(frozen=True, slots=True)
class _Job:
    """What the service says of a job.

    Attributes:
        name: of the job.
        host: of this process, and all hosts in order; one where the service says nothing.
        hosts: see `host`.
        base: the service's folder.
        params: hyperparameters.
        channels: name → folder.
        model: the folder of the model.
        output: the folder of further output.
    """

    name: str
    host: str
    hosts: tuple[str, ...]
    base: Path
    params: Mapping[str, Any]
    channels: Mapping[str, Path]
    model: Path
    output: Path
    failure: Path = field(default=Path())

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "_Job":
        """Read the variables.

        Raises:
            InvalidInputError: they are not those of a job, or one is malformed.
        """
        base = Path(variables.get("SAGEMAKER_BASE_DIR") or _BASE)
        about = _json(variables, "SM_TRAINING_ENV", dict)
        name = variables.get("TRAINING_JOB_NAME") or about.get("job_name") or ""
        name = name or variables.get("TRAINING_JOB_ARN", "").rpartition("/")[2]
        if not isinstance(name, str) or not name:
            raise InvalidInputError(
                "this is not a training job of SageMaker: TRAINING_JOB_NAME is not set, and SM_TRAINING_ENV has no job_name"
            )
        params = _json(variables, "SM_HPS", dict) or about.get("hyperparameters") or _file(base, "hyperparameters.json")
        hosts = tuple(_json(variables, "SM_HOSTS", list)) or (variables.get("SM_CURRENT_HOST", "algo-1"),)
        return cls(
            name=name,
            host=variables.get("SM_CURRENT_HOST") or hosts[0],
            hosts=hosts,
            base=base,
            params=params,
            channels=_channels(variables, base),
            model=Path(variables.get("SM_MODEL_DIR") or base / "model"),
            output=Path(variables.get("SM_OUTPUT_DATA_DIR") or base / "output" / "data"),
            failure=base / "output" / "failure",
        )

    @property
    def run(self) -> str:
        """The id of its run: that of the first host is the job's."""
        first = self.host == min(self.hosts)
        return f"sagemaker-{self.name}" if first else f"sagemaker-{self.name}-{self.host}"


@contextmanager
def job(store: Store, name: str, *, model: str, code: bool | str = True) -> Iterator[Any]:
    """Record a training job as a run: `with sagemaker.job(store, "train", model="churn/model") as run:`.

    Hyperparameters are its parameters. Each channel is an input with its name as the role: content that the store has is linked,
    other content is stored under `<model>/channels/<name>`. At the end `SM_MODEL_DIR` becomes the next version of `model`, and what
    is in `SM_OUTPUT_DATA_DIR` of `<model>/output`. If the block raises, the service gets the error by its failure file.
    Of a job with several hosts the first one stores the model; each further host has a run of its own.

    Args:
        store: the store.
        name: the kind of work.
        model: the name of the model.
        code: as for `Store.run`.

    Raises:
        InvalidInputError: this is not a job of SageMaker, or a variable of it is malformed.
    """
    found = _Job.read(os.environ)
    try:
        with store.run(name, id=found.run, params={**found.params}, code=code) as run:
            for channel, folder in found.channels.items():
                _use(store, run, channel, folder, model)
            yield run
            if found.run == f"sagemaker-{found.name}":
                _keep(run, found, model)
    except BaseException as error:
        _tell(found.failure, error)
        raise


def _use(store: Store, run: Any, channel: str, folder: Path, model: str) -> None:
    """Record a channel as an input; store its content if the store lacks it."""
    if not folder.is_dir() or not any(folder.iterdir()):
        remark(f"the channel {channel} has no files in {folder}: it is no input")
        return
    ref = recognised(store, folder)
    if ref is None:
        # Not by the run: it did not make it.
        with store.run(f"{run.name}: channel {channel}", id=f"{run.id}-{channel}"[:100], code=False) as arrival:
            ref = arrival.put(folder, f"{model}/channels/{channel}").ref
    run.use(ref, role=channel)


def _keep(run: Any, found: _Job, model: str) -> None:
    if found.model.is_dir() and any(found.model.rglob("*")):
        run.put(found.model, model, kind="model", metadata={"sagemaker.job": found.name})
    else:
        remark(f"{found.model} has no files: no model is stored")
    if found.output.is_dir() and any(found.output.rglob("*")):
        run.put(found.output, f"{model}/output", metadata={"sagemaker.job": found.name})


def _tell(path: Path, error: BaseException) -> None:
    """Write the failure file, of which the service shows the beginning."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[:_FAILURE], encoding="utf-8", errors="replace")


def _channels(variables: Mapping[str, str], base: Path) -> dict[str, Path]:
    names = _json(variables, "SM_CHANNELS", list)
    if not names:
        data = base / "input" / "data"
        names = sorted(one.name for one in data.iterdir() if one.is_dir()) if data.is_dir() else []
    if not all(isinstance(one, str) and one for one in names):
        raise InvalidInputError(f"SM_CHANNELS: expected a JSON list of names, got {variables.get('SM_CHANNELS', '')[:200]!r}")
    return {one: Path(variables.get(f"SM_CHANNEL_{one.upper()}") or base / "input" / "data" / one) for one in names}


def _json(variables: Mapping[str, str], name: str, kind: type) -> Any:
    """Return the value of a variable that holds JSON; an empty one if it is not set."""
    text = variables.get(name, "")
    if not text:
        return kind()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, kind):
        raise InvalidInputError(f"{name}: expected a JSON {'object' if kind is dict else 'list'}, got {text[:200]!r}")
    return found


def _file(base: Path, name: str) -> dict[str, Any]:
    path = base / "input" / "config" / name
    if not path.is_file():
        return {}
    found = _json({name: path.read_text(encoding="utf-8")}, name, dict)
    return dict(found)
