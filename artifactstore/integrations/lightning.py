"""Lightning: a checkpoint callback whose checkpoints are versions of one name. See docs/integrations/trainers.md.

What the trainer hands over is stored as it is, by the strategy's own `CheckpointIO`, which this wraps: numbers, texts and tensors,
not a pickle, wherever the state has nothing else.
"""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError, UnsupportedError
from artifactstore.integrations.series import Series
from artifactstore.objects.formats.states import State
from artifactstore.runtime.remarks import remark
from artifactstore.work.runs.run import Run
from artifactstore.work.settings.uri import parse_uri

try:
    from lightning.pytorch.callbacks import Checkpoint
    from lightning.pytorch.plugins.io import CheckpointIO
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lightning":
        raise
    raise UnsupportedError(
        "artifactstore.integrations.lightning needs Lightning, which is not installed here: pip install lightning"
    ) from error

__all__ = ["ArtifactCheckpoint"]

_FORMAT: Final = State.name


class ArtifactCheckpoint(Checkpoint):  # type: ignore[misc] # Lightning is not read by the type checker
    """Store the state of the trainer: `Trainer(callbacks=[ArtifactCheckpoint(run, monitor="val_loss", save_top_k=3)])`.

    Each checkpoint becomes the next version of one name, durable before the training goes on. The newest and the best ones stay, the
    best one has the alias `best`. `trainer.fit(model, ckpt_path=callback.resume())` goes on from the newest one, also on another
    machine.
    """

    def __init__(
        self,
        run: Run,
        name: str | None = None,
        *,
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
        every_n_train_steps: int | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        save_weights_only: bool = False,
        **options: Any,
    ) -> None:
        """Store the checkpoints of a run; arguments mean what they mean to `ModelCheckpoint`.

        Args:
            run: a started run; of several processes each starts it, by its id.
            name: of the series; by default `<run name>/checkpoint`.
            monitor: the metric by which one is the best.
            mode: `min` or `max`.
            save_top_k: how many of the best stay, beside the newest; -1 keeps all. Without `monitor` it is 1 or -1.
            every_n_train_steps: store after so many steps, instead of after epochs.
            every_n_epochs: store after so many epochs; 1 by default.
            save_on_train_epoch_end: store at the end of the training's epoch; by default after its validation, if it has one.
            save_weights_only: leave out what only a resumed training needs.
            **options: of `put`, such as kind and metadata.

        Raises:
            InvalidInputError: an argument is invalid.
        """
        super().__init__()
        self._series = Series(run, name, monitor=monitor, mode=mode)
        for key, value in (("every_n_train_steps", every_n_train_steps), ("every_n_epochs", every_n_epochs)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InvalidInputError(f"{key}={value!r}: expected a number of at least 1, or None")
        if every_n_train_steps is not None and every_n_epochs is not None:
            raise InvalidInputError("pass every_n_train_steps= or every_n_epochs=, not both")
        if not isinstance(save_top_k, int) or save_top_k < -1 or save_top_k == 0:
            raise InvalidInputError(f"save_top_k={save_top_k!r}: expected how many of the best stay, or -1 for all")
        if monitor is None and save_top_k > 1:
            raise InvalidInputError(f"save_top_k={save_top_k} needs the metric by which they are the best: pass monitor=")
        self._keep: dict[str, Any] | None = None
        if save_top_k > 0:
            self._keep = {"last": 1} if monitor is None else {"last": 1, mode: monitor, "best": save_top_k}
        self._every_steps = every_n_train_steps
        self._every_epochs = every_n_epochs or 1
        self._on_train_epoch_end = save_on_train_epoch_end
        self._weights_only = save_weights_only
        self._options = options
        self._last_step = -1
        self._seen: dict[str, Any] = {}
        self._validated: tuple[int, set[str]] = -1, set()  # the step of the last validation, and which metrics it brings

    # -- to go on

    @property
    def best_model_path(self) -> str:
        """The best checkpoint, as `ckpt_path="best"` asks for it; empty if there is none."""
        ref = self._series.best()
        return "" if ref is None else self._path(ref)

    @best_model_path.setter
    def best_model_path(self, value: str) -> None:
        """Do nothing: Lightning tells what a process of its own has seen, and the store has it."""

    @property
    def last_model_path(self) -> str:
        """The newest checkpoint, as `ckpt_path=` takes it; empty if there is none."""
        return self.resume() or ""

    def resume(self) -> str | None:
        """Return what `trainer.fit(model, ckpt_path=…)` goes on from: the newest checkpoint of the run, or None."""
        found = self._series.newest()
        return None if found is None else self._path(found.ref)

    def _path(self, ref: str) -> str:
        found = self._series.artifact(ref)
        if found.format == _FORMAT:
            return found.uri
        return str(self._series.read(ref))  # a file or a folder of the strategy's own

    # -- as Lightning calls it

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let the strategy read and write states through the store."""
        del pl_module, stage
        inner = trainer.strategy.checkpoint_io
        if not (isinstance(inner, _StoredIO) and inner.series is self._series):
            trainer.strategy.checkpoint_io = _StoredIO(inner, self._series)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Note where the training begins: its first state is stored already, if it was resumed."""
        del pl_module
        self._last_step = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Store after so many steps."""
        if self._every_steps is not None and trainer.global_step % self._every_steps == 0:
            self._save(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Note what was measured before."""
        del pl_module
        self._seen = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Store after a validation."""
        del pl_module
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        fresh = {key for key, value in trainer.callback_metrics.items() if self._seen.get(key) is not value}
        self._validated = trainer.global_step, self._validated[1] | fresh
        if self._every_steps is None and not self._at_train_end(trainer) and self._is_due(trainer):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Store after an epoch."""
        del pl_module
        if self._every_steps is None and self._at_train_end(trainer) and self._is_due(trainer):
            self._save(trainer)

    def _at_train_end(self, trainer: Any) -> bool:
        if self._on_train_epoch_end is not None:
            return self._on_train_epoch_end
        return bool(not trainer.enable_validation or trainer.check_val_every_n_epoch not in {1, None})

    def _is_due(self, trainer: Any) -> bool:
        return int(trainer.current_epoch + 1) % self._every_epochs == 0

    def _metrics(self, trainer: Any) -> dict[str, float]:
        """Return what was measured of this very state: not what a validation some steps ago did."""
        step, names = self._validated
        found = {
            key: float(value)
            for key, value in trainer.callback_metrics.items()
            if (key not in names or step == trainer.global_step) and getattr(value, "numel", lambda: 1)() == 1
        }
        monitor = self._series.monitor
        if monitor is not None and monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "none"
            remark(f"monitor={monitor!r} was not logged, so no checkpoint is the best by it; logged were: {known}")
        return found

    def _save(self, trainer: Any) -> None:
        """Store the state, on all processes together."""
        step = trainer.global_step
        if trainer.fast_dev_run or step == self._last_step:
            return
        self._last_step = step
        metrics = self._metrics(trainer)  # on all processes, as one that is reduced is computed by all of them
        folder = trainer.strategy.broadcast(Path(trainer.default_root_dir, f".artifactstore-{uuid.uuid4().hex[:12]}"))
        path = folder / "state.ckpt"
        try:
            with trainer.strategy.checkpoint_io.passing(path) as passed:
                trainer.save_checkpoint(path, self._weights_only)
            if trainer.is_global_zero:
                state, options = path, self._options
                if passed:
                    state, options = passed[0], {**options, "format": _FORMAT}
                self._series.add(state, step, metrics, best=self._series.is_best(metrics), keep=self._keep, **options)
        finally:
            if trainer.is_global_zero:
                shutil.rmtree(folder, ignore_errors=True)

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: all that this needs to go on is in the store."""
        return {}


class _StoredIO(CheckpointIO):  # type: ignore[misc] # as above
    """The strategy's own way to files, and beside it the store: for URIs of artifacts, and for what the callback asks for."""

    def __init__(self, inner: Any, series: Series) -> None:
        self.inner = inner
        self.series = series
        self._path: str | None = None
        self._passed: list[Any] = []

    @contextmanager
    def passing(self, path: Path) -> Iterator[list[Any]]:
        """Yield a list that gets the state that is saved to a path, in place of a file, if the store has a form for it."""
        self._path, self._passed = str(path), []
        try:
            yield self._passed
        finally:
            self._path, self._passed = None, []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None) -> None:
        """Save a state."""
        if str(path) == self._path and State.is_storable(checkpoint):
            self._passed.append(checkpoint)
        elif storage_options is None:
            self.inner.save_checkpoint(checkpoint, path)
        else:
            self.inner.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: str | os.PathLike[str], *args: Any, **options: Any) -> Any:
        """Load a state, from the store if the path is the URI of an artifact."""
        found = parse_uri(path) if isinstance(path, str) else None
        if found is None or found.ref is None:
            return self.inner.load_checkpoint(path, *args, **options)
        return self.series.read(found.ref)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove files; a version of the store goes by the rule of its series."""
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        """End."""
        self.inner.teardown()
