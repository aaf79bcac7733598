"""Arrays come back equal or are refused by name: dtype by shape by layout by container, the product of all of them."""

import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from artifactstore import ArtifactStoreError, InvalidInputError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.registry import read_object, write_object
from tests.objects.folder import MemoryFolder, as_files

NUMBERS = [
    "?",
    *(f"{order}{kind}" for order in "<>" for kind in ("i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16")),
    "i1",
    "u1",
    "g",
    "G",
]
UNITS = [f"{order}{kind}8{unit}" for order, kind, unit in itertools.product("<>", "Mm", ("[Y]", "[D]", "[25s]", "[ns]", "[as]"))]
TEXTS = ["S3", "<U2", ">U2", "V4"]
RECORDS: list[Any] = [
    [("a", "<i2"), ("b", ">f8")],
    np.dtype([("a", "i1"), ("b", "i8")], align=True),
    [("a", [("x", "f2", (2, 3)), ("y", "U2")]), ("ü", "M8[s]")],
]
REFUSED: list[Any] = [
    "O",
    np.dtypes.StringDType(),
    [("a", "i4"), ("o", "O")],
    [("t", [("o", "O", 2)])],
    {"names": ["a", "b"], "formats": ["i4", "i4"], "offsets": [8, 0], "itemsize": 16},
    [("ж", "i4")],
]
EMPTY: list[Any] = ["S0", "U0", "V0", []]  # of no bytes

SHAPES = [(), (0,), (1,), (5,), (2, 3), (3, 0), (0, 3), (2, 3, 4), (1, 1, 2, 1)]
LAYOUTS = ["C", "F", "backwards", "every second", "turned", "repeated", "read-only", "unaligned"]
CONTAINERS = ["alone", "dict", "list", "tuple", "beside others"]


def made(dtype: np.dtype, shape: tuple[int, ...], layout: str) -> np.ndarray | None:
    """Return an array of any bytes (true ones for flags), laid out so; None where the shape allows no such layout."""
    size = int(np.prod(shape)) * max(dtype.itemsize, 1)
    rng = np.random.default_rng(size)
    raw = rng.integers(0, 2 if dtype.kind == "b" else 256, size, np.uint8).tobytes()
    if dtype.kind == "U" or dtype.hasobject or (dtype.fields and "U" in str(dtype)):  # not every four bytes are a letter
        array = np.zeros(shape, dtype)
        if dtype.kind == "U" and array.size and dtype.itemsize:
            array.flat[0], array.flat[-1] = "ü\0", "\U0001f600z"
    else:
        array = (
            np.frombuffer(bytearray(raw), dtype, int(np.prod(shape))).reshape(shape) if dtype.itemsize else np.zeros(shape, dtype)
        )
    if layout in {"C", "F"}:
        return np.array(array, order=layout)  # type: ignore[call-overload, no-any-return]
    if layout == "read-only":
        array.flags.writeable = False
        return array
    if layout == "unaligned":
        if dtype.hasobject or not array.size or not dtype.itemsize:
            return None
        room = np.frombuffer(bytearray(b"\0" + array.tobytes()), np.uint8)[1:]
        return room.view(dtype).reshape(shape) if dtype.itemsize else None
    if not shape:
        return None
    return {
        "backwards": array[::-1],
        "every second": np.repeat(array, 2, axis=0)[::2],
        "turned": array.T,
        "repeated": np.broadcast_to(array[:1], shape) if shape[0] else array,
    }[layout]


def cases() -> Iterator[tuple[str, Any, bool]]:
    for kind, shape, layout in itertools.product([*NUMBERS, *UNITS, *TEXTS, *RECORDS, *EMPTY, *REFUSED], SHAPES, LAYOUTS):
        dtype = np.dtype(kind)
        number = SHAPES.index(shape) * len(LAYOUTS) + LAYOUTS.index(layout)
        array = made(dtype, shape, layout)
        if array is None:
            continue
        held: dict[str, Any] = {
            "alone": array, "dict": {"a": array, "A b.c": array[..., None]}, "list": [array], "tuple": (array, np.ones(1)),
            "beside others": {"x": [array, {"deep": (array,)}], "n": 1, "t": "text"},
        }  # fmt: skip
        # Each dtype meets each shape and layout in one container, and each container in turn.
        container = CONTAINERS[(number + len(str(dtype))) % len(CONTAINERS)]
        yield f"{dtype} {shape} {layout}, {container}", held[container], kind in REFUSED


def same(a: Any, b: Any) -> str | None:
    """Return how two values differ; of arrays all that can be asked of them but for padding, which has no value."""
    if isinstance(a, np.ndarray):
        if type(b) is not np.ndarray or a.dtype != b.dtype or a.shape != b.shape:
            return f"{a.dtype} {a.shape} became {type(b).__name__} {getattr(b, 'dtype', '')} {getattr(b, 'shape', '')}"
        if a.dtype.itemsize and a.flags.c_contiguous != b.flags.c_contiguous and (a.flags.c_contiguous or a.flags.f_contiguous):
            return "another order"
        if not b.flags.writeable or not b.flags.aligned:
            return "it can't be worked with"
        if a.dtype.fields:
            return next((said for name in a.dtype.names or () if (said := same_bytes(a[name], b[name]))), None)
        return same_bytes(a, b)
    if type(a) is not type(b):
        return f"{type(a)} became {type(b)}"
    if isinstance(a, dict):
        return f"keys {list(b)}" if list(a) != list(b) else next((said for key in a if (said := same(a[key], b[key]))), None)
    if isinstance(a, list | tuple):
        return (
            "length"
            if len(a) != len(b)
            else next((said for one, two in zip(a, b, strict=True) if (said := same(one, two))), None)
        )
    return None if a == b else f"{a!r} became {b!r}"


def same_bytes(a: np.ndarray, b: np.ndarray) -> str | None:
    if a.dtype.fields:
        return next((said for name in a.dtype.names or () if (said := same_bytes(a[name], b[name]))), None)
    if a.dtype.char in "gG":  # six of sixteen bytes are padding
        equal = np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a.real), np.signbit(b.real))
    else:
        equal = np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    return None if equal else f"{a!r:.80} became {b!r:.80}"


def there_and_back(value: Any) -> tuple[Any, dict[str, bytes]]:
    folder = WriteFolder()
    name = write_object(value, folder)
    files = as_files(folder)
    return read_object(name, MemoryFolder(files)), files


@pytest.mark.slow
def test_arrays_come_back_equal_or_are_refused_by_name():
    counted: Counter[str] = Counter()
    wrong = []
    for name, value, refused in cases():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # not a word of NumPy's either
                said = same(value, there_and_back(value)[0])
        except InvalidInputError as error:
            counted["refused"] += 1
            said = None if refused else f"refused: {error}"
        except ArtifactStoreError as error:
            said = f"written without a word, and then {type(error).__name__}: {error}"
        except Exception as error:  # noqa: BLE001 - which it is is what is looked for
            said = f"{type(error).__name__}: {error}"
        else:
            counted["equal"] += said is None
            said = "it was to be refused" if refused else said
        if said is not None:
            wrong.append(f"{name}: {said}")
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:40])
    assert counted["equal"] > 2400
    assert counted["refused"] > 200


def test_the_same_values_have_the_same_bytes_however_they_lie_in_memory():
    for kind, shape in itertools.product([*NUMBERS, *UNITS[:4], *TEXTS, *RECORDS], [(5,), (2, 3), (2, 3, 4)]):
        array = made(np.dtype(kind), shape, "C")
        assert array is not None
        ways = [
            array,
            array.copy(),
            array[::-1][::-1],
            np.repeat(array, 2, axis=0)[::2],
            made(np.dtype(kind), shape, "unaligned"),
        ]
        assert len({tuple(sorted(there_and_back(one)[1].items())) for one in ways}) == 1, (kind, shape)


def test_subclasses_which_hold_more_than_an_array_are_refused_by_their_class():
    subclasses: list[Any] = [
        np.ma.array([1, 2], mask=[False, True]),
        np.zeros(2, [("a", "i4"), ("b", "f8")]).view(np.recarray),
        np.array(["a"]).view(np.char.chararray),
        np.arange(3).view(type("Mine", (np.ndarray,), {})),
    ]
    for odd in subclasses:
        for held in (odd, [odd], {"a": odd}, (odd, np.ones(1)), {"a": odd, "n": 1}):
            try:
                there_and_back(held)
            except InvalidInputError as error:
                assert type(odd).__name__ in str(error)  # noqa: PT017 - of many
            else:
                raise AssertionError(f"{type(odd)} was stored in {type(held)}")


def test_a_memory_map_is_stored_as_the_array_that_it_shows(tmp_path: Path):
    for number, (kind, order) in enumerate(itertools.product(["<f8", ">i2", "M8[s]"], "CF")):
        mapped = np.memmap(tmp_path / str(number), kind, "w+", shape=(3, 4), order=order)  # type: ignore[call-overload]
        mapped[:] = np.arange(12).reshape(3, 4).astype(kind)
        back = there_and_back(mapped[1:])[0]
        assert same(np.array(mapped[1:]), back) in {None, "another order"}
        assert (back == mapped[1:]).all()


def test_sparse_matrices_come_back_by_format_and_dtype_and_keep_what_scipy_would_tidy_up():
    count = 0
    for form, kind, array in itertools.product(
        ["csr", "csc", "coo", "bsr", "dia"], ["?", "i1", "u8", "f4", "f8", "c16"], [True, False]
    ):
        for shape in ((3, 3), (0, 3), (3, 0), (1, 70)):
            dense = (np.arange(shape[0] * shape[1]).reshape(shape) % 3).astype(kind)
            put = getattr(scipy.sparse, f"{form}_{'array' if array else 'matrix'}")(dense)
            if put.nnz:
                put.data.flat[0] = 0  # an explicit zero
            back = there_and_back(put)[0]
            assert type(back) is type(put)
            assert (back.shape, back.dtype, back.nnz) == (put.shape, put.dtype, put.nnz)
            assert (back.toarray() == put.toarray()).all()
            count += 1
    assert count == 240
