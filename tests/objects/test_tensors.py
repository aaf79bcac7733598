"""PyTorch's tensors as safetensors: exact, tied ones tied, parts alone, never unpickled. Runs where PyTorch is installed."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from artifactstore import CorruptionError, InvalidInputError
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder

torch = pytest.importorskip("torch")

from artifactstore.objects.formats.tensors import Tensors  # noqa: E402


def state() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "w": torch.randn(3, 4), "half": torch.randn(5).to(torch.bfloat16), "n": torch.arange(4), "one": torch.tensor(3.0),
        "none": torch.zeros(0, 3), "turned": torch.randn(4, 4).t(), "small": torch.randn(4).to(torch.float8_e4m3fn),
        "flags": torch.tensor([True, False]), "z": torch.complex(torch.randn(2), torch.randn(2)),
    }  # fmt: skip


def test_a_state_dict_comes_back_exactly(store: Store):
    put = state()
    store.put(put, "t")
    back = store.get("t")
    assert sorted(back) == sorted(put)
    for name, tensor in put.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert bytes(back[name].reshape(-1).view(torch.uint8).numpy()) == bytes(
            tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        )


def test_the_file_is_byte_for_byte_that_of_the_reference_library(store: Store, tmp_path: Path):
    reference = pytest.importorskip("safetensors.torch")
    put = {name: tensor.contiguous() for name, tensor in state().items()}
    reference.save_file(put, tmp_path / "reference")
    store.put(put, "t")
    store.get("t", tmp_path / "to")
    assert (tmp_path / "to/model.safetensors").read_bytes() == (tmp_path / "reference").read_bytes()
    assert len(reference.load_file(tmp_path / "to/model.safetensors")) == len(put)


def test_tied_tensors_are_stored_once_and_stay_tied(store: Store):
    shared = torch.randn(100, 100)
    made = store.put({"embedding": shared, "head": shared, "other": torch.zeros(1)}, "t")
    assert made.size < 1.1 * 40_000
    back = store.get("t")
    assert back["embedding"].data_ptr() == back["head"].data_ptr()
    assert list(store.get("t", tensors=["head"])) == ["head"]
    digests = {store.put({"b": shared, "a": shared, "c": shared}).digest for _ in range(5)}
    assert len(digests) == 1


def test_a_module_is_its_state_and_is_loaded_into_the_callers_own(store: Store):
    def make() -> Any:
        return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

    module, other = make(), make()
    store.put(module, "m")
    assert store.get("m", into=other) is other
    assert all(torch.equal(a, b) for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True))
    with pytest.raises(InvalidInputError, match="do not fit into=Linear"):
        store.get("m", into=torch.nn.Linear(2, 2))
    assert sorted(store.get("m", tensors="0.*")) == ["0.bias", "0.weight"]
    with pytest.raises(InvalidInputError, match="matches none of the"):
        store.get("m", tensors="9.*")


def test_a_single_tensor_comes_back_as_one(store: Store):
    store.put(torch.arange(6).reshape(2, 3), "t")
    assert torch.equal(store.get("t", device="cpu"), torch.arange(6).reshape(2, 3))


@pytest.mark.parametrize("bad", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")])
def test_tensors_that_safetensors_can_not_hold_are_refused(store: Store, bad):
    with pytest.raises(InvalidInputError, match="sparse, quantized or without data"):
        store.put({"a": bad}, "t")


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one(dtype: str = "F32", shape: object = (1,), offsets: object = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "bad",
    [
        b"", b"\0" * 8, raw({}, b"x"), raw({}, length=2**62), raw(b"nothing"), raw(b"[]"), raw(b'{"a":' * 3000),
        raw({"a": one()}), raw({"a": one()}, b"x" * 5), raw({"a": one(shape=[2**40, 2**40])}, b"x" * 4),
        raw({"a": one(shape=[-1])}, b"x" * 4), raw({"a": one(offsets=[4, 8])}, b"x" * 8), raw({"a": one(offsets=[4, 0])}, b"x" * 4),
        raw({"a": one(), "b": one()}, b"x" * 4), raw({"a": one(dtype="OBJECT")}, b"x" * 4), raw({"a": one(shape=[1.0])}, b"x" * 4),
        raw({"a": one(shape=[True])}, b"x" * 4), raw({"a": one(), "__metadata__": {"x": 1}}, b"x" * 4),
        raw({"a": one(), "__metadata__": {"artifactstore.tied": '{"b": "c"}'}}, b"x" * 4), raw({"a": None}), raw({"a": one(offsets=[0])}, b"x" * 4),
        raw({"a": {**one(), "dtype": ["F32"]}}, b"x" * 4), raw({"a": one(shape=[2**59, 2**59, 0], offsets=[0, 0])}),
        raw({"a": one(), "__metadata__": {"artifactstore.tied": '{"b": ["a"]}'}}, b"x" * 4),
    ],
)  # fmt: skip
def test_a_file_that_lies_is_damaged(bad: bytes):
    with pytest.raises(CorruptionError):
        Tensors().read(MemoryFolder({"model.safetensors": bad}))


def test_a_shape_of_many_lengths_is_told_at_once():
    bad = raw({"a": one(shape=[2**59] * 200_000)}, b"x" * 4)
    begin = time.process_time()
    with pytest.raises(CorruptionError):
        Tensors().read(MemoryFolder({"model.safetensors": bad}))
    assert time.process_time() - begin < 60, "it hangs: multiplied out it takes minutes"


def test_views_that_are_not_computed_yet_are_values_of_their_own(store: Store):
    numbers = torch.complex(torch.randn(3, 4), torch.randn(3, 4))
    put = {"a": numbers, "b": numbers.conj(), "c": numbers.imag, "d": numbers.conj().imag, "e": numbers.conj()}
    store.put(put, "t")
    back = store.get("t")
    assert all(torch.equal(back[name], tensor.clone()) for name, tensor in put.items())
    assert back["b"].data_ptr() == back["e"].data_ptr()
    store.put(numbers.conj(), "alone")
    assert torch.equal(store.get("alone"), numbers.conj().resolve_conj())


@pytest.mark.parametrize("bad", [{"\ud800": torch.ones(1)}, torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged)])
def test_names_and_layouts_that_have_no_place_in_a_file_are_refused(store: Store, bad: Any):
    with pytest.raises(InvalidInputError, match="the tensor"):
        store.put(bad, "t")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "bogus"}, "device='bogus'"), ({"device": 1.5}, "device=1.5"), ({"device": "xpu:7"}, "device='xpu:7'"),
        ({"tensors": 5}, "tensors= must be"), ({"tensors": [5]}, "a list of them"), ({"tensors": b"w"}, "got b'w'"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(store: Store, options: dict[str, Any], said: str):
    store.put({"w": torch.ones(2)}, "t")
    with pytest.raises(InvalidInputError, match=said):
        store.get("t", **options)
