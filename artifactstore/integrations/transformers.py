"""Transformers: a callback of its `Trainer` that stores each checkpoint. See docs/integrations/trainers.md.

The trainer writes its checkpoints to a folder as ever; each becomes the next version of one name, with what was measured.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import UnsupportedError
from artifactstore.integrations.series import Series
from artifactstore.runtime.remarks import remark
from artifactstore.work.runs.run import Run

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "transformers":
        raise
    raise UnsupportedError(
        "artifactstore.integrations.transformers needs transformers, which is not installed here: pip install transformers"
    ) from error

__all__ = ["ArtifactCallback"]

_STEPS: Final = {"step", "epoch"}  # of a row of the trainer's log: no measures


class ArtifactCallback(TrainerCallback):  # type: ignore[misc] # transformers is not read by the type checker
    """Store what a `Trainer` saves: `Trainer(…, callbacks=[ArtifactCallback(run)])`.

    Each saved checkpoint becomes the next version of one name, durable before the training goes on; numbers that the trainer logs are
    logged to the run. Where the trainer has a `metric_for_best_model`, the best one gets the alias `best`. `resume()` is what
    `trainer.train(resume_from_checkpoint=…)` goes on from, also on another machine.
    """

    def __init__(self, run: Run, name: str | None = None, *, keep: int | Mapping[str, Any] | None = None, **options: Any) -> None:
        """Store the checkpoints of a run.

        Args:
            run: a started run; of several processes each starts it, by its id.
            name: of the series; by default `<run name>/checkpoint`.
            keep: which checkpoints stay, as for `Run.checkpoint`; all by default.
            **options: of `put`, such as kind and metadata.

        Raises:
            InvalidInputError: an argument is invalid.
        """
        super().__init__()
        self._series = Series(run, name)
        self._keep = keep
        self._options = options

    def resume(self) -> str | None:
        """Return the folder of the newest checkpoint of the run, verified and read-only; None if there is none.

        Raises:
            CorruptionError: it is damaged.
        """
        found = self._series.newest()
        return None if found is None else str(self._series.read(found.ref))

    # -- as the trainer calls it

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        """Log numbers to the run."""
        del args, control
        if state.is_world_process_zero:
            metrics = _numbers(logs)
            if metrics:
                self._series.run.log(step=state.global_step, **metrics)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Store the checkpoint that was just saved."""
        del control
        _wait()  # each process has a file of its own in it
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not folder.is_dir():
            remark(f"{folder} does not exist: this checkpoint is not stored")
            return
        rows = [row for row in state.log_history if row.get("step") == state.global_step]
        metrics = {key: value for row in rows for key, value in _numbers(row).items() if key.startswith("eval_")}
        best = getattr(state, "best_global_step", None)
        if best is None and state.best_model_checkpoint:  # of an older version
            best = int(Path(state.best_model_checkpoint).name.rpartition("-")[2])
        self._series.add(folder, state.global_step, metrics, best=best == state.global_step, keep=self._keep, **self._options)


def _numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in (logs or {}).items()
        if key not in _STEPS and isinstance(value, int | float) and not isinstance(value, bool)
    }


def _wait() -> None:
    """Wait until all processes have written."""
    from torch import distributed  # noqa: PLC0415 - loaded already, where there is a trainer

    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
