"""Lightning and Transformers train tiny nets, are ended, and go on from what the store has. `.ci/run` has an environment with both."""

import importlib.util
import logging
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import InvalidInputError
from artifactstore.store import Store

for _name in ("torch", "lightning", "transformers", "accelerate"):
    if importlib.util.find_spec(_name) is None:
        pytest.skip(f"{_name} is not installed here", allow_module_level=True)
os.environ["HF_HUB_OFFLINE"] = "1"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch: Any = pytest.importorskip("torch")
    L: Any = pytest.importorskip("lightning")
    transformers: Any = pytest.importorskip("transformers")
    from artifactstore.integrations.lightning import ArtifactCheckpoint
    from artifactstore.integrations.transformers import ArtifactCallback

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
SERIES = "train/checkpoint"


class StopError(Exception):
    """Ends a training as a lost machine does."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=tmp_path / "cache")


@pytest.fixture
def run(store: Store) -> Any:
    return store.run("train", id="job", code=False).start(current=False)


def again(store: Store) -> Any:
    """Join the run as the next job of the same id does."""
    return artifactstore.open(store.url, cache=None).run("train", id="job", code=False).start(current=False)


def steps(store: Store) -> list[int]:
    return [one.metadata["step"] for one in store.versions(SERIES) if not one.removed]


# -- Lightning


class Net(L.LightningModule):  # type: ignore[misc]
    """Learns a sum. Its validation's losses may be prescribed."""

    def __init__(self, losses: list[float] | None = None, dies_at: int | None = None, odd: Any = None) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.losses, self.dies_at, self.odd = losses, dies_at, odd

    def training_step(self, batch: Any, _: int) -> Any:
        if self.dies_at is not None and self.global_step == self.dies_at:
            raise StopError
        loss = ((self.net(batch) - batch.sum(dim=1, keepdim=True)) ** 2).mean()
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        loss = ((self.net(batch) - batch.sum(dim=1, keepdim=True)) ** 2).mean()
        self.log("val_loss", loss if self.losses is None else self.losses[self.current_epoch % len(self.losses)])

    def test_step(self, batch: Any, number: int) -> None:
        self.log("epoch", float(self.restored))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.restored = checkpoint["epoch"]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.odd is not None:
            checkpoint["odd"] = self.odd


class Loader:
    """Four batches; knows where it is, so that a training goes on in the middle of an epoch."""

    def __init__(self) -> None:
        self.at = self.first = 0
        self.batches = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        first, self.first = self.first, 0
        for self.at in range(first + 1, 5):
            yield self.batches[self.at - 1]

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.first = state["at"] % 4


def data() -> Any:
    rows = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(rows, batch_size=4)


def fit(module: Any, folder: Path, callback: Any, *, epochs: int = 4, validate: bool = True, **options: Any) -> Any:
    """Train four steps an epoch; go on from what the callback says."""
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=epochs, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=1, callbacks=[callback], **options,
    )  # fmt: skip
    trainer.fit(module, Loader(), data() if validate else None, ckpt_path=callback.resume())
    return trainer


def weights(module: Any) -> list[Any]:
    return [one.detach().clone() for one in module.parameters()]


@pytest.mark.parametrize("by", ["epoch", "step"])
def test_a_training_of_lightning_that_was_ended_goes_on_to_the_same_weights(
    store: Store, run: Any, tmp_path: Path, by: str
) -> None:
    options: dict[str, Any] = {} if by == "epoch" else {"every_n_train_steps": 3}
    whole = Net()
    fit(whole, tmp_path / "a", ArtifactCheckpoint(store.run("whole", code=False).start(current=False)))

    with pytest.raises(StopError):
        fit(Net(dies_at=11), tmp_path / "b", ArtifactCheckpoint(run, save_top_k=-1, **options))
    assert steps(store) == ([4, 8] if by == "epoch" else [3, 6, 9])
    second = Net()
    callback = ArtifactCheckpoint(again(store), save_top_k=-1, **options)
    fit(second, tmp_path / "c", callback)
    assert all(torch.equal(one, other) for one, other in zip(weights(second), weights(whole), strict=True))
    assert steps(store) == ([4, 8, 12, 16] if by == "epoch" else [3, 6, 9, 12, 15])
    assert not [*(tmp_path / "c").rglob("*")], "nothing stays on the disk of the machine"
    saved = store.artifact(SERIES)
    assert saved.format == "state", "nothing of it is a pickle"
    assert saved.metrics.keys() == ({"train_loss", "val_loss"} if by == "epoch" else {"train_loss"})
    assert [one.id for one in store.runs()].count("job") == 1
    assert store.verify(level="full").ok


@pytest.mark.parametrize(("mode", "best"), [("min", [3, 5]), ("max", [1, 6])])
def test_the_best_stay_beside_the_newest_and_one_has_the_alias(
    store: Store, run: Any, tmp_path: Path, mode: str, best: list[int]
) -> None:
    losses = [5.0, 4.0, 1.0, math.nan, 2.0, 6.0, 3.0]
    callback = ArtifactCheckpoint(run, monitor="val_loss", mode=mode, save_top_k=2)
    trainer = fit(Net(losses), tmp_path, callback, epochs=7)
    assert steps(store) == [4 * epoch for epoch in [*best, 7]]
    first = 3 if mode == "min" else 6
    assert store.artifact(f"{SERIES}:best").metadata["step"] == 4 * first
    (tested,) = trainer.test(Net(losses), data(), ckpt_path="best", verbose=False)
    assert tested == {"epoch": first - 1}
    assert callback.best_model_path.endswith(f"#{SERIES}@{store.artifact(f'{SERIES}:best').digest}")
    assert callback.last_model_path.endswith(store.artifact(SERIES).digest)
    saved = store.get(f"{SERIES}:best")
    assert saved["global_step"] == 4 * first
    Net().load_state_dict(saved["state_dict"])


def test_the_best_is_remembered_by_the_next_job(store: Store, run: Any, tmp_path: Path) -> None:
    losses = [2.0, 3.0, 2.5, 1.0, 4.0]
    options: dict[str, Any] = {"monitor": "val_loss"}
    fit(Net(losses), tmp_path, ArtifactCheckpoint(run, **options), epochs=2)
    fit(Net(losses), tmp_path, ArtifactCheckpoint(again(store), **options), epochs=3)
    assert store.artifact(f"{SERIES}:best").metadata["step"] == 4
    fit(Net(losses), tmp_path, ArtifactCheckpoint(again(store), **options), epochs=5)
    assert store.artifact(f"{SERIES}:best").metadata["step"] == 16
    assert steps(store) == [16, 20]


def test_what_a_validation_some_steps_ago_measured_is_not_this_states(store: Store, run: Any, tmp_path: Path) -> None:
    fit(Net([1.0, 2.0]), tmp_path, ArtifactCheckpoint(run, monitor="val_loss", every_n_train_steps=3, save_top_k=-1), epochs=3)
    with_loss = [one.metadata["step"] for one in store.versions(SERIES) if "val_loss" in one.metrics]
    assert steps(store) == [3, 6, 9, 12]
    assert with_loss == [], "the state after step 12 is stored before its validation"


@pytest.mark.parametrize(
    ("options", "trainer", "validate", "expected"),
    [
        ({"every_n_epochs": 2}, {}, True, [8, 16]),
        ({"save_on_train_epoch_end": True}, {}, True, [4, 8, 12, 16]),
        ({}, {}, False, [4, 8, 12, 16]),
        ({}, {"val_check_interval": 0.5}, True, [2, 4, 6, 8, 10, 12, 14, 16]),
        ({}, {"check_val_every_n_epoch": 2}, True, [4, 8, 12, 16]),
        ({"every_n_train_steps": 2}, {"accumulate_grad_batches": 2}, True, [2, 4, 6, 8]),
        ({}, {"fast_dev_run": True}, True, []),
        ({"save_weights_only": True}, {}, True, [4, 8, 12, 16]),
    ],
)
def test_when_it_is_stored(
    store: Store,
    run: Any,
    tmp_path: Path,
    options: dict[str, Any],
    trainer: dict[str, Any],
    *,
    validate: bool,
    expected: list[int],
) -> None:
    fit(Net(), tmp_path, ArtifactCheckpoint(run, save_top_k=-1, **options), validate=validate, **trainer)
    assert (steps(store) if expected else [one.name for one in store.names()]) == expected
    if expected:
        assert ("optimizer_states" in store.get(SERIES)) == ("save_weights_only" not in options)


def test_a_state_that_only_a_pickle_can_hold_is_stored_as_the_file_of_the_trainer(store: Store, run: Any, tmp_path: Path) -> None:
    fit(Net(odd={1, 2}), tmp_path, ArtifactCheckpoint(run), epochs=2)
    assert store.artifact(SERIES).format is None
    callback = ArtifactCheckpoint(again(store))
    trainer = fit(Net(odd={1, 2}), tmp_path, callback, epochs=3)
    assert (trainer.global_step, steps(store)) == (12, [12])
    assert Path(str(callback.resume())).is_file()


def test_a_strategy_that_writes_a_folder_of_its_own_is_stored_as_such(store: Store, run: Any, tmp_path: Path) -> None:
    from lightning.pytorch.strategies import SingleDeviceStrategy

    class Folders(SingleDeviceStrategy):  # type: ignore[misc]
        """As FSDP's and DeepSpeed's do."""

        def save_checkpoint(self, checkpoint: Any, filepath: Any, storage_options: Any = None) -> None:
            Path(filepath).mkdir(parents=True)
            torch.save(checkpoint, Path(filepath, "all.pt"))

        def load_checkpoint(self, checkpoint_path: Any, weights_only: Any = None) -> Any:
            return torch.load(Path(checkpoint_path, "all.pt"), weights_only=False)

    for epochs in (1, 2):
        fit(Net(), tmp_path, ArtifactCheckpoint(again(store)), epochs=epochs, strategy=Folders(device=torch.device("cpu")))
    assert [one.path for one in store.artifact(SERIES).files] == ["all.pt"]
    assert store.artifact(SERIES).metadata["step"] == 8


def test_two_processes_of_lightning_store_each_state_once(store: Store, run: Any, tmp_path: Path) -> None:
    callback = ArtifactCheckpoint(run, save_top_k=-1)
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, default_root_dir=tmp_path, logger=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback],
    )  # fmt: skip
    trainer.fit(Net(), data())
    assert steps(store) == [2, 4]
    assert all(one.run == "job" for one in (store.artifact(f"{SERIES}:v1"), store.artifact(SERIES)))


def test_wrong_arguments_say_what_to_do(store: Store, run: Any) -> None:
    for options, text in (
        ({"mode": "least"}, "mode="), ({"save_top_k": 0}, "save_top_k=0"), ({"save_top_k": 3}, "pass monitor="),
        ({"every_n_epochs": 0}, "every_n_epochs=0"), ({"every_n_epochs": 1, "every_n_train_steps": 1}, "not both"),
    ):  # fmt: skip
        with pytest.raises(InvalidInputError, match=text):
            ArtifactCheckpoint(run, **options)
    kinds: list[Any] = [ArtifactCheckpoint, ArtifactCallback]
    for kind in kinds:
        with pytest.raises(InvalidInputError, match="expected a run"):
            kind(store)


# -- Transformers


def trainer_of(folder: Path, callbacks: list[Any], **options: Any) -> Any:
    """Return a trainer of a tiny BERT: three steps an epoch."""
    transformers.set_seed(3)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=16
    )
    model = transformers.BertForSequenceClassification(config)
    rows = [{"input_ids": [1, 2 + n % 7, 3, n % 5], "labels": n % 2} for n in range(12)]
    chosen = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 4} | options
    arguments = transformers.TrainingArguments(
        output_dir=folder, per_device_train_batch_size=4, learning_rate=0.01, report_to=[], disable_tqdm=True, use_cpu=True,
        logging_steps=1, seed=3, dataloader_pin_memory=False, **chosen,
    )  # fmt: skip
    return transformers.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows[:4], callbacks=callbacks)


class Dies(transformers.TrainerCallback):  # type: ignore[misc]
    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 8:
            raise StopError


def test_a_training_of_transformers_that_was_ended_goes_on_to_the_same_weights(store: Store, run: Any, tmp_path: Path) -> None:
    whole = trainer_of(tmp_path / "a", [])
    whole.train()

    callback = ArtifactCallback(run)
    assert callback.resume() is None
    with pytest.raises(StopError):
        trainer_of(tmp_path / "b", [callback, Dies()]).train(resume_from_checkpoint=callback.resume())
    assert steps(store) == [3, 6]
    shutil.rmtree(tmp_path / "b")  # another machine
    callback = ArtifactCallback(again(store))
    second = trainer_of(tmp_path / "c", [callback])
    second.train(resume_from_checkpoint=callback.resume())
    assert steps(store) == [3, 6, 9, 12]
    for one, other in zip(weights(second.model), weights(whole.model), strict=True):
        assert torch.equal(one, other)
    assert "eval_loss" in store.artifact(SERIES).metrics
    callback._series.run.finish()
    (info,) = store.runs()
    assert {"loss", "eval_loss", "learning_rate"} <= info.metrics.keys()
    assert info.history("eval_loss")[-1].step == 12
    assert store.verify(level="full").ok


def test_the_best_of_transformers_has_the_alias_and_stays(store: Store, run: Any, tmp_path: Path) -> None:
    callback = ArtifactCallback(run, keep={"last": 1, "min": "eval_loss"})
    trainer = trainer_of(
        tmp_path,
        [callback],
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        load_best_model_at_end=True,
        save_total_limit=1,
    )
    trainer.train()
    best = store.artifact(f"{SERIES}:best")
    assert best.metadata["step"] == trainer.state.best_global_step
    assert best.metrics["eval_loss"] == pytest.approx(trainer.state.best_metric)
    assert set(steps(store)) == {best.metadata["step"], 12}
