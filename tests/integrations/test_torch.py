"""Distributed checkpoints with PyTorch itself: ranks are processes, some of which are killed. `.ci/run` has an environment with it."""

import importlib
import importlib.util
import math
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.store import Store
from tests.integrations.ranks import Failed, start

if importlib.util.find_spec("torch") is None:
    pytest.skip("PyTorch is not installed here", allow_module_level=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch: Any = pytest.importorskip("torch")
    import torch.distributed as dist
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    from artifactstore.integrations.torch import ArtifactReader, ArtifactWriter, resume

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
torch.set_num_threads(1)  # the ranks are forks
importlib.import_module("torch._dynamo")  # which each rank would load, to divide a tensor

RUN = "job-7"
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip
VALUES: dict[str, Any] = {
    "epoch": 3,
    "rate": 1e-4,
    "note": "warm: \N{SNOWMAN}",
    "none": None,
    "flag": True,
    "list": [1, "two", 3.5],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Any]]:
    """A checkpoint that four ranks have saved, and what each of them says."""
    folder = tmp_path_factory.mktemp("shared")
    found = artifactstore.open(folder / "store", cache=None)
    return found, saved(found.url, folder, metrics={"loss": 0.5}, aliases=["last"])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.open(tmp_path / "store", cache=None)


def number(size: tuple[int, ...], seed: int = 0) -> Any:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def whole(seed: int = 0) -> dict[str, Any]:
    """Return the tensors of a state before they are divided."""
    return {
        "rows": number((10, 3), seed),  # 4 ranks have 3, 3, 3 and 1 of them
        "few": number((2, 5), seed + 1),  # some ranks have none
        "columns": number((6, 8), seed + 2),
        "one": number((64,), seed + 3),
        "two axes": number((8, 4), seed + 4),
    }


def divided(tensors: dict[str, Any], ranks: int) -> dict[str, Any]:
    """Return the same as this rank has it: parts of tensors, plain tensors, and values."""
    line = init_device_mesh("cpu", (ranks,))
    grid = init_device_mesh("cpu", (2, ranks // 2))
    state: dict[str, Any] = {
        "model": {
            "rows": distribute_tensor(tensors["rows"], line, [Shard(0)]),
            "few": distribute_tensor(tensors["few"], line, [Shard(0)]),
            "columns": distribute_tensor(tensors["columns"], line, [Shard(1)]),
            "one": distribute_tensor(tensors["one"], line, [Replicate()]),
            "two axes": distribute_tensor(tensors["two axes"], grid, [Shard(0), Shard(1)]),
        },
        "plain": {str(one): torch.arange(6).reshape(2, 3).to(one) for one in DTYPES},
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros((0, 4)),
        "turned": number((4, 6), 9).t(),
        "values": dict(VALUES),
        "set": {1, 2},
    }
    return state


def emptied(state: Any) -> Any:
    """Return a state of the same form without what is in it."""
    if isinstance(state, dict):
        return {key: emptied(one) for key, one in state.items()}
    if isinstance(state, list):
        return [emptied(one) for one in state]
    if isinstance(state, DTensor):
        return DTensor.from_local(
            torch.zeros_like(state.to_local()), state.device_mesh, state.placements, shape=state.shape, stride=state.stride()
        )
    return torch.zeros_like(state) if isinstance(state, torch.Tensor) else None


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, DTensor):
        one, other = one.to_local(), other.to_local()
    if isinstance(one, torch.Tensor):
        flat = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other)]
        return bool(one.dtype == other.dtype and one.shape == other.shape and torch.equal(*flat))
    return bool(type(one) is type(other) and one == other)


def saved(url: str, tmp_path: Path, *, ranks: int = 4, seed: int = 0, step: int = 10, **options: Any) -> list[Any]:
    """Save by ranks that join one run; return what each says: the version."""

    def work(_rank: int) -> Any:
        run = artifactstore.open(url, cache=None).run("train", id=RUN, code=False).start(current=False)
        writer = ArtifactWriter(run, step=step, **options)
        return dcp.save(divided(whole(seed), ranks), storage_writer=writer).storage_meta.checkpoint_id

    return start(tmp_path, ranks, work)


def test_four_ranks_save_one_version_and_two_or_one_load_it(shared: tuple[Store, list[Any]], tmp_path: Path) -> None:
    store, told = shared
    assert told == ["train/checkpoint:v1"] * 4
    (version,) = store.versions("train/checkpoint")
    assert version.metadata == {"step": 10, "torch.ranks": "4"}
    assert version.metrics == {"loss": 0.5}
    paths = [one.path for one in store.artifact("train/checkpoint:last").files]
    assert [one for one in paths if one.endswith("-model.safetensors")] == [
        f"shard-0000{n}-of-00004-model.safetensors" for n in (1, 2, 3, 4)
    ]
    (run,) = store.runs()
    assert run.status == "running"
    assert sorted(one["RANK"] for one in run.jobs) == ["0", "1", "2", "3"]
    assert store.verify(level="full").ok

    def load(_rank: int) -> bool:
        opened = artifactstore.open(store.url, cache=None)
        state = divided(whole(), dist.get_world_size())
        target = emptied(state)
        dcp.load(target, storage_reader=ArtifactReader(opened, "train/checkpoint:v1"))
        return same(target, state)

    assert start(tmp_path, 2, load) == [True, True]

    reader = ArtifactReader(store, "train/checkpoint")
    assert (reader.step, reader.ref) == (10, "train/checkpoint:v1")
    target = {
        "model": emptied(whole()),
        "values": dict.fromkeys(VALUES),
        "plain": {str(one): torch.zeros(2, 3, dtype=one) for one in DTYPES},
    }
    target["values"]["list"] = [None, None, None]
    dcp.load(target, storage_reader=reader, no_dist=True)
    assert same(target["model"], whole())
    assert same(target["values"], VALUES)
    assert all(same(target["plain"][str(one)], torch.arange(6).reshape(2, 3).to(one)) for one in DTYPES)


def test_the_files_are_such_that_pytorch_and_safetensors_read_them_without_this_library(
    shared: tuple[Store, list[Any]], tmp_path: Path
) -> None:
    store, _ = shared
    store.get("train/checkpoint", tmp_path / "out")
    target = emptied(whole())
    dcp.load(
        {"model." + key: one for key, one in target.items()},
        storage_reader=dcp.HuggingFaceStorageReader(str(tmp_path / "out")),
        no_dist=True,
    )
    assert same(target, whole())
    assert sorted(torch.load(one, weights_only=True) == {1, 2} for one in (tmp_path / "out" / "objects").iterdir()) == [True]


def test_what_did_not_change_costs_nothing(store: Store, tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        run = artifactstore.open(store.url, cache=None).run("train", id=RUN, code=False).start(current=False)
        writer, made = ArtifactWriter(run), []
        mesh = init_device_mesh("cpu", (4,))
        frozen = distribute_tensor(number((1024, 1024)), mesh, [Shard(0)])
        for step in (1, 2):
            head = distribute_tensor(number((4, 64), step), mesh, [Shard(0)])
            planner = dcp.DefaultSavePlanner(enable_plan_caching=True)
            dcp.save({"frozen": frozen, "head": head}, storage_writer=writer, checkpoint_id=str(step), planner=planner)
            made.append(writer.artifact.uploaded if writer.artifact is not None else None)
        return made

    (first, second), *_ = start(tmp_path, 4, work)
    assert first > 3 * 2**20
    assert second < 30_000
    assert [one.metadata["step"] for one in store.versions("train/checkpoint")] == [1, 2]


@pytest.mark.parametrize("when", ["it stores", "it has stored", "the coordinator commits", "the coordinator has committed"])
def test_a_rank_that_dies_leaves_nothing_half_visible_and_the_series_goes_on(store: Store, tmp_path: Path, when: str) -> None:
    saved(store.url, tmp_path, step=1)

    def work(rank: int) -> Any:
        run = artifactstore.open(store.url, cache=None).run("train", id=RUN, code=False).start(current=False)
        writer: Any = ArtifactWriter(run, step=2)

        def die(*_: Any, **__: Any) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        if rank == 2 and when == "it stores":
            writer._store = die
        elif rank == 2 and when == "it has stored":
            real = writer.write_data
            writer.write_data = lambda *args: die(real(*args))
        elif rank == 0 and when == "the coordinator commits":
            writer._to.checkpoint = die
        elif rank == 0 and when == "the coordinator has committed":
            before = writer.finish
            writer.finish = lambda **given: die(before(**given))
        dcp.save(divided(whole(5), 4), storage_writer=writer)
        return "saved"

    ended = start(tmp_path, 4, work)
    dead = 0 if "coordinator" in when else 2
    assert ended[dead] == -signal.SIGKILL
    assert all(isinstance(one, Failed) for number, one in enumerate(ended) if number != dead)
    expected = [1, 2] if when == "the coordinator has committed" else [1]
    assert [one.metadata["step"] for one in store.versions("train/checkpoint")] == expected
    assert store.verify(level="full").ok

    assert saved(store.url, tmp_path, seed=6, step=3)[0] == f"train/checkpoint:v{len(expected) + 1}"
    with store.run("train", id=RUN, code=False) as run:
        reader = resume(run)
        assert reader is not None
        assert reader.step == 3
        target = {"model": emptied(whole())}
        dcp.load(target, storage_reader=reader, no_dist=True)
        assert same(target["model"], whole(6))
    assert store.verify(level="full").ok


def test_what_the_ranks_do_not_agree_on_stores_nothing(store: Store, tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        run = artifactstore.open(store.url, cache=None).run("train", id=RUN, code=False).start(current=False)
        dcp.save({"a": torch.ones(3)}, storage_writer=ArtifactWriter(run, step=rank))

    assert all("different steps (0, 1)" in one for one in start(tmp_path, 2, work))

    def alone(_rank: int) -> Any:
        dcp.save(
            {"a": torch.ones(3)}, storage_writer=ArtifactWriter(artifactstore.open(store.url), "x", step=1), use_collectives=False
        )

    assert all("use_collectives" in one for one in start(tmp_path, 2, alone))

    def apart(rank: int) -> Any:
        other = artifactstore.open(f"{store.url}-{rank}", cache=None)
        dcp.save(divided(whole(), 2), storage_writer=ArtifactWriter(other, "x", step=1))

    assert all("another store" in one for one in start(tmp_path, 2, apart))
    assert len(store.names()) == 0


def test_ranks_that_read_different_versions_are_told(store: Store, tmp_path: Path) -> None:
    for step in (1, 2):
        dcp.save(
            {"scalar": torch.tensor(step)}, storage_writer=ArtifactWriter(store, "train/checkpoint", step=step), no_dist=True
        )

    def load(rank: int) -> Any:
        dcp.load(
            {"scalar": torch.zeros(())},
            storage_reader=ArtifactReader(artifactstore.open(store.url), f"train/checkpoint:v{rank + 1}"),
        )

    assert all("do not read the same checkpoint" in one for one in start(tmp_path, 2, load))


class Own:
    """A class of the caller's, which only a pickle can hold."""

    def __init__(self, value: int) -> None:
        self.value = value


def test_objects_that_only_a_pickle_can_hold_need_trust(store: Store) -> None:
    writer = ArtifactWriter(store, "own", step=1)
    dcp.save({"own": Own(7), "nan": math.nan, "text": "two\nlines"}, storage_writer=writer, no_dist=True)
    target: dict[str, Any] = {"nan": None, "text": None}
    dcp.load(target, storage_reader=ArtifactReader(store, "own"), no_dist=True)
    assert math.isnan(target["nan"])
    assert target["text"] == "two\nlines"
    with pytest.raises(dcp.api.CheckpointException, match="trust=True"):
        dcp.load({"own": None}, storage_reader=ArtifactReader(store, "own"), no_dist=True)
    for trust in (True, store.artifact("own").digest):
        target = {"own": None}
        dcp.load(target, storage_reader=ArtifactReader(store, "own", trust=trust), no_dist=True)
        assert target["own"].value == 7


def test_a_rank_reads_the_ranges_that_it_needs_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import artifactstore.integrations.torch.reader as module

    reading: Any = module

    table = number((4096, 512))  # 8 MiB
    dcp.save({"table": table}, storage_writer=ArtifactWriter(store, "t", step=1), no_dist=True)
    asked: list[int] = []
    real = reading.StoredFolder.ranges

    def ranges(self: Any, name: str, wanted: Any) -> Any:
        asked.extend(size for _, size in wanted)
        return real(self, name, wanted)

    monkeypatch.setattr(reading.StoredFolder, "ranges", ranges)
    monkeypatch.setattr(reading, "_BATCH", 2**20)

    class Part(dcp.DefaultLoadPlanner):  # type: ignore[misc]
        def create_local_plan(self) -> Any:
            plan = super().create_local_plan()
            item = plan.items[0]
            at, size = torch.Size((100, 3)), torch.Size((50, 7))
            return dcp.LoadPlan([type(item)(item.type, item.dest_index, at, item.storage_index, at, size)])

    for axes, most in (((50, 7), 49 * 2048 + 28), (None, 8 * 2**20)):
        asked.clear()
        target = {"table": torch.zeros_like(table)}
        dcp.load(target, storage_reader=ArtifactReader(store, "t"), planner=Part() if axes else None, no_dist=True)
        assert sum(asked) == most
        assert max(asked) <= 2**20
        if axes:
            assert torch.equal(target["table"][100:150, 3:10], table[100:150, 3:10])
            assert int(target["table"].count_nonzero()) == 350
        else:
            assert torch.equal(target["table"], table)


def test_damage_is_an_error_of_the_rank_that_meets_it(store: Store) -> None:
    dcp.save({"table": number((1024, 512))}, storage_writer=ArtifactWriter(store, "t", step=1), no_dist=True)
    pack = max(Path(store.url, "packs").rglob("*"), key=lambda one: one.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    with pytest.raises(dcp.api.CheckpointException, match="CorruptionError"):
        dcp.load({"table": torch.zeros(1024, 512)}, storage_reader=ArtifactReader(store, "t"), no_dist=True)


def test_a_save_in_the_background_is_the_same(store: Store, tmp_path: Path) -> None:
    def work(_rank: int) -> Any:
        run = artifactstore.open(store.url, cache=None).run("train", id=RUN, code=False).start(current=False)
        done = dcp.async_save(divided(whole(), 2), storage_writer=ArtifactWriter(run, step=1, keep=1))
        return done.result().storage_meta.checkpoint_id

    assert start(tmp_path, 2, work) == ["train/checkpoint:v1"] * 2
    target = emptied(whole())
    dcp.load({"model": target}, storage_reader=ArtifactReader(store, "train/checkpoint"), no_dist=True)
    assert same(target, whole())


def test_a_training_that_is_ended_and_resumed_by_fewer_ranks_ends_where_an_undisturbed_one_does(
    store: Store, tmp_path: Path
) -> None:
    def train(url: str, until: int, dies_at: int | None) -> Any:
        torch.manual_seed(0)
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        model = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 1)).double()
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        run = artifactstore.open(url, cache=None).run("train", id=RUN, code=False).start(current=False)
        first = 0
        if (reader := resume(run)) is not None:
            weights, state = get_state_dict(model, optimizer)
            dcp.load({"model": weights, "optimizer": state}, storage_reader=reader)
            set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
            first = int(reader.step or 0)
        writer = ArtifactWriter(run, keep=2)
        for step in range(first + 1, until + 1):
            if step == dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
            data = number((8, 6), step).double()
            loss = ((model(data) - data.sum(dim=1, keepdim=True)) ** 2).mean()  # every rank has the same data
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            weights, state = get_state_dict(model, optimizer)
            dcp.save({"model": weights, "optimizer": state}, storage_writer=writer, checkpoint_id=str(step))
        return first, [one.full_tensor().tolist() for one in model.parameters()]

    whole_run = start(tmp_path, 2, lambda _rank: train(f"{store.url}-undisturbed", 6, None))
    assert start(tmp_path, 4, lambda _rank: train(store.url, 6, 4)) == [-signal.SIGKILL] * 4
    resumed = start(tmp_path, 2, lambda _rank: train(store.url, 6, None))
    assert [first for first, _ in resumed] == [3, 3]
    for (_, ours), (_, theirs) in zip(resumed, whole_run, strict=True):
        assert all(
            torch.allclose(torch.tensor(one), torch.tensor(other), atol=1e-12) for one, other in zip(ours, theirs, strict=True)
        )
    assert [one.metadata["step"] for one in store.versions("train/checkpoint") if not one.removed] == [5, 6]


def test_wrong_calls_say_what_to_do(store: Store) -> None:
    store.put(b"x", "file")
    with pytest.raises(NotFoundError):
        ArtifactReader(store, "nothing")
    with pytest.raises(InvalidInputError, match="not a distributed checkpoint"):
        ArtifactReader(store, "file")
    with pytest.raises(InvalidInputError, match="pass name="):
        ArtifactWriter(store)
    with store.run("train", code=False) as run:
        with pytest.raises(InvalidInputError, match="keep="):
            ArtifactWriter(run, keep={"newest": 3})
        with pytest.raises(InvalidInputError, match="exclude: expected"):
            ArtifactWriter(run, exclude=["*.tmp"])
    with pytest.raises(InvalidInputError, match="pass the run"):
        ArtifactWriter(store, "x", keep=1)
    with pytest.raises(dcp.api.CheckpointException, match="expected a whole number"):
        dcp.save({"a": torch.ones(1)}, storage_writer=ArtifactWriter(store, "x"), no_dist=True)
    with pytest.raises(InvalidInputError, match="expected the step"):
        dcp.save({"a": torch.ones(1)}, storage_writer=ArtifactWriter(store, "x"), checkpoint_id="/tmp/x", no_dist=True)
    with pytest.raises(dcp.api.CheckpointException, match="make it dense"):
        dcp.save({"a": torch.eye(3).to_sparse()}, storage_writer=ArtifactWriter(store, "x", step=1), no_dist=True)
    with pytest.raises(dcp.api.CheckpointException, match="reserved"):
        dcp.save({"__metadata__": torch.ones(1)}, storage_writer=ArtifactWriter(store, "x", step=1), no_dist=True)
    with store.run("train", code=False) as run:
        assert resume(run) is None
