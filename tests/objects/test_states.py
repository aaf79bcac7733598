"""States of optimizers: what torch saves comes back, bit by bit, with nothing unpickled. Runs where PyTorch is installed."""

import math
from typing import Any

import pytest

from artifactstore import CorruptionError, InvalidInputError
from artifactstore.objects.formats.states import State
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder

torch = pytest.importorskip("torch")


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def trained(kind: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 2))
    optimizer = kind(module.parameters(), **options)
    for _ in range(3):
        optimizer.zero_grad()
        module(torch.randn(4, 8)).sum().backward()
        optimizer.step()
    return module, optimizer


CASES = [
    (torch.optim.Adam, {"lr": 1e-3}), (torch.optim.AdamW, {"amsgrad": True}), (torch.optim.SGD, {"lr": 0.1}),
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (torch.optim.RMSprop, {}), (torch.optim.Adagrad, {}), (torch.optim.Rprop, {}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda one: getattr(one, "__name__", None))
def test_the_state_of_each_optimizer_comes_back_and_goes_on(store: Store, kind: Any, options: dict[str, Any]):
    module, optimizer = trained(kind, **options)
    state = optimizer.state_dict()
    made = store.put(state, "o")
    back = store.get("o", trust=False)
    assert same(state, back)
    assert store.put(back, "o").version == 1
    kind(module.parameters(), **options).load_state_dict(back)
    assert not any(one.path.endswith("pickle") for one in made.files)


def test_a_fresh_optimizer_has_a_state_too(store: Store):
    state = torch.optim.Adam(torch.nn.Linear(2, 2).parameters()).state_dict()
    made = store.put(state, "o")
    assert made.format == "state"
    assert same(store.get("o"), state)


def test_a_whole_checkpoint_is_stored_member_by_member(store: Store):
    module, optimizer = trained(torch.optim.Adam)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    whole = {
        "model": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "rng": torch.get_rng_state(),
        "epoch": 3,
        "note": "x",
    }
    store.put(whole, "checkpoint")
    back = store.get("checkpoint")
    assert same({**whole, "model": dict(whole["model"])}, back)
    assert store.open_file("checkpoint:latest/epoch/data.json").read() == b"3"
    paths = {one.path for one in store.artifact("checkpoint").files}
    assert {"model/model.safetensors", "optimizer/model.safetensors", "optimizer/state.json"} <= paths
    assert list(store.get("checkpoint", keys=["epoch"])) == ["epoch"]


def test_odd_values_and_tied_tensors_come_back(store: Store):
    shared = torch.arange(4.0)
    state = {0: shared, 1: shared, 2: [shared, (math.nan, math.inf, -0.0)], -5: {"none": None, "flag": True, "text": "ä"}, 7: {}}
    store.put(state, "s")
    back = store.get("s", device="cpu")
    assert same(state, back)
    assert back[0].data_ptr() == back[1].data_ptr()


def test_steps_of_an_optimizer_are_deltas(store: Store):
    random = torch.Generator().manual_seed(0)
    exp = torch.randn(500_000, generator=random)
    store.put({"state": {0: {"exp_avg": exp, "step": torch.tensor(1.0)}}, "param_groups": []}, "o")
    moved = exp + torch.randn(500_000, generator=random) * 1e-4
    made = store.put({"state": {0: {"exp_avg": moved, "step": torch.tensor(2.0)}}, "param_groups": []}, "o")
    assert made.uploaded < 0.66 * moved.numel() * 4
    assert torch.equal(store.get("o")["state"][0]["exp_avg"], moved)


def test_what_is_no_state_is_refused(store: Store):
    with pytest.raises(InvalidInputError, match="format='state' stores"):
        store.put({0: object()}, format="state")
    with pytest.raises(InvalidInputError, match="two tensors would be named '0'"):
        store.put({0: torch.zeros(1), "0": torch.zeros(1)}, format="state")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'["tensor","x"]', b'["dict",[1]]', b'["code","x"]', b"[" * 5000, b'["float","x"]']
)
def test_a_damaged_state_is_damaged(raw: bytes):
    with pytest.raises(CorruptionError):
        State().read(MemoryFolder({"state.json": raw}))
