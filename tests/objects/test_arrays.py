"""NumPy arrays, containers of them, sparse matrices: what comes back is what went in, and nothing is ever unpickled."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.extra import numpy as st_numpy

from artifactstore import ArtifactStoreError, CorruptionError, InvalidInputError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.arrays import Array, Arrays
from artifactstore.objects.registry import write_object
from artifactstore.store import Store
from tests.objects.folder import MemoryFolder, as_files


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes("A") == other.tobytes("A")


@pytest.mark.parametrize(
    "array",
    [
        np.array(3.5),
        np.zeros((0, 3)),
        np.zeros((3, 0), np.int8),
        np.arange(24).reshape(2, 3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(10)[::3],
        np.arange(12).reshape(3, 4)[:, ::-1],
        np.array(["a", "bcd", ""]),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([1, -2], ">i4"),
        np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array([True, False]),
        np.array([1 + 2j], np.complex64),
        np.array([1.5, np.nan], np.float16),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_an_array_comes_back_with_dtype_order_and_shape(store: Store, array: np.ndarray):
    made = store.put(array, "a")
    back = store.get("a")
    assert same(back, array)
    assert back.flags.writeable
    assert back.flags.f_contiguous == array.flags.f_contiguous or not array.flags.contiguous
    assert [one.path for one in made.files] == ["data.npy"]
    if array.size:
        mapped = store.get("a", mmap=True)
        assert isinstance(mapped, np.memmap)
        assert same(np.asarray(mapped), array)
        assert not mapped.flags.writeable


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st_numpy.arrays(
        st_numpy.scalar_dtypes() | st_numpy.array_dtypes(st_numpy.scalar_dtypes()), st_numpy.array_shapes(min_dims=0, min_side=0)
    )
)
def test_any_array_comes_back(array: np.ndarray):
    assume(all(ord(letter) < 256 for letter in repr(array.dtype.descr)))  # names and titles: `.npy` has no others
    folder = WriteFolder()
    Array().write(array, folder)
    assert same(Array().read(MemoryFolder(as_files(folder))), array)


def test_numpy_itself_reads_the_file(store: Store, tmp_path: Path):
    array = np.arange(1000.0).reshape(10, 100)
    store.put(array, "a")
    store.get("a", tmp_path / "to")
    assert same(np.load(tmp_path / "to/data.npy"), array)
    np.save(tmp_path / "own.npy", array)
    assert (tmp_path / "own.npy").read_bytes() == (tmp_path / "to/data.npy").read_bytes()


@pytest.mark.slow
def test_a_large_array_comes_back_without_a_copy_of_itself_in_memory_at_the_put(store: Store):
    array = np.random.default_rng(1).integers(0, 2**60, 20_000_000)
    tracemalloc.start()
    store.put(array, "a")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes
    assert same(store.get("a"), array)


def straight(store: Store) -> tuple[np.ndarray, Path]:
    """Put an array whose chunks lie in one pack as they are; returns it and the pack."""
    array = np.random.default_rng(2).random(1_000_000)
    store.put(array, "a")
    (pack,) = Path(store.url).glob("packs/*/*.pack")
    assert pack.stat().st_size > array.nbytes
    assert same(store.get("a"), array)
    return array, pack


def test_a_flipped_byte_of_a_large_array_names_the_chunk(store: Store):
    array, pack = straight(store)
    whole = pack.read_bytes()
    for at in (5000, len(whole) // 2, array.nbytes - 100):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        pack.write_bytes(damaged)
        with pytest.raises(CorruptionError, match=rf"packs/.*{pack.stem}.* at \d+: \d+ stored bytes do not decode to") as caught:
            store.get("a")
        offset = int(str(caught.value.location).rpartition(" ")[2])
        assert offset <= at < offset + 256 * 1024
    pack.write_bytes(whole)
    assert same(store.get("a"), array)


def test_a_truncated_pack_of_a_large_array_is_said_to_be_truncated(store: Store):
    _, pack = straight(store)
    pack.write_bytes(pack.read_bytes()[:3_000_000])
    with pytest.raises(CorruptionError, match=r"is truncated: it has 3000000 bytes"):
        store.get("a")


def test_a_lost_pack_of_a_large_array_is_named(store: Store):
    _, pack = straight(store)
    pack.unlink()
    with pytest.raises(ArtifactStoreError, match=pack.stem):
        store.get("a")


def test_arrays_come_back_where_some_chunks_lie_as_they_are_and_others_not(store: Store):
    rng = np.random.default_rng(3)
    array = np.concatenate([rng.random(300_000), np.zeros(200_000), rng.random(250_000), np.arange(100_000.0)] * 2)
    store.put(array, "a")
    back = store.get("a")
    assert same(back, array)
    assert back.flags.writeable
    array[400_000] = 1.5
    store.put(array, "a")
    assert same(store.get("a"), array)


def test_equal_arrays_have_equal_digests_and_other_dtypes_other_ones(store: Store):
    array = np.arange(6).reshape(2, 3)
    digest = store.put(array).digest
    assert store.put(array.copy()).digest == digest
    assert store.put(array.astype("i4")).digest != digest
    assert store.put(np.asfortranarray(array)).digest != digest


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.arange(3), "b": np.eye(2)},
        [np.arange(3), np.eye(2)],
        (np.zeros(1), np.array("x")),
        {"z": np.ones(1), "a": np.ones(2)},
    ],
    ids=["dict", "list", "tuple", "order"],
)
def test_containers_of_arrays_come_back_as_they_were(store: Store, value):
    store.put(value, "a")
    back = store.get("a")
    assert type(back) is type(value)
    if isinstance(value, dict):
        assert list(back) == list(value)
    pairs = zip(back.values(), value.values(), strict=True) if isinstance(value, dict) else zip(back, value, strict=True)
    assert all(same(one, other) for one, other in pairs)


def test_one_array_of_many_is_read_alone(store: Store):
    store.put({"a": np.arange(3), "b": np.eye(2)}, "a")
    assert list(store.get("a", keys=["b"])) == ["b"]
    with pytest.raises(InvalidInputError, match="no array 'c'"):
        store.get("a", keys="c")


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr", "dia"])
@pytest.mark.parametrize("make", ["array", "matrix"])
def test_sparse_matrices_come_back_as_they_were(store: Store, kind: str, make: str):
    found = getattr(scipy.sparse, f"{kind}_{make}")(scipy.sparse.random(50, 40, 0.1, random_state=0))
    store.put(found, "a")
    back = store.get("a")
    assert type(back) is type(found)
    assert back.dtype == found.dtype
    assert abs(back - found).sum() == 0


def test_a_sparse_matrix_whose_parts_contradict_each_other_is_damaged():
    folder = WriteFolder()
    write_object(scipy.sparse.csr_array(np.eye(3)), folder)
    files = as_files(folder)
    wrong = io.BytesIO()
    np.save(wrong, np.array([0, 1, 99], np.int32))
    from artifactstore.objects.formats.arrays import Sparse

    with pytest.raises(CorruptionError, match="do not match"):
        Sparse().read(MemoryFolder(files | {"indices.npy": wrong.getvalue()}))


@pytest.mark.parametrize("bad", [np.array([object()]), np.array([(1, "x")], dtype=[("a", "i4"), ("b", "O")])])
def test_arrays_of_python_objects_are_refused_with_the_ways_on(store: Store, bad: np.ndarray):
    with pytest.raises(InvalidInputError, match="format='pickle'"):
        store.put(bad, "a")


def test_names_of_fields_that_npy_can_not_hold_are_refused(store: Store):
    with pytest.raises(InvalidInputError, match="rename them"):
        store.put(np.zeros(1, [("Ā", "i4")]), "a")


def test_a_masked_array_is_not_silently_stripped_of_its_mask(store: Store):
    with pytest.raises(InvalidInputError, match="no format matches"):
        store.put(np.ma.masked_array([1, 2], [True, False]), "a")


def test_options_that_the_format_does_not_know_are_named(store: Store):
    with pytest.raises(InvalidInputError, match="no option compress"):
        store.put(np.arange(3), "a", compress=True)  # type: ignore[call-arg]
    store.put(np.arange(3), "a")
    with pytest.raises(InvalidInputError, match="available: mmap"):
        store.get("a", lazy=True)


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMPY",
        b"no array at all",
        npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n(S'echo'\ntR."),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n", b"x" * 8),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n", b"x" * 8),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", b"x" * 16),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (2**30, 2**30, 2**30), }\n"),
        npy(b"{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }\n", b"x" * 8),
        npy(b"__import__('os').system('true')\n"),
        npy(b"(" * 60000 + b"\n"),
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n", b"x" * 8, b"\x09\x00"),
    ],
    ids=range(12),
)
def test_a_hostile_npy_file_is_damaged_and_runs_nothing(raw: bytes):
    with pytest.raises(CorruptionError):
        Array().read(MemoryFolder({"data.npy": b"loads what has to be loaded"}))
    tracemalloc.start()
    with pytest.raises(CorruptionError):
        Array().read(MemoryFolder({"data.npy": raw}))
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("make", ["lil_matrix", "dok_matrix", "dok_array"])
def test_sparse_matrices_that_are_no_arrays_inside_are_refused_with_a_way_on(store: Store, make: str):
    with pytest.raises(InvalidInputError, match=r"use \.tocsr\(\)"):
        store.put(getattr(scipy.sparse, make)((3, 4)), "m")


@pytest.mark.parametrize("shape", [(2**59, 2**59, 0), (1,) * 70, (0,) * 70])
def test_a_header_with_a_shape_that_no_array_has_is_damage(shape: tuple[int, ...]):
    head = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode()
    raw = b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(8 if shape[0] == 1 else 0)
    with pytest.raises(CorruptionError, match=r"not an .npy file"):
        Array().read(MemoryFolder({"data.npy": raw}))


def test_arrays_that_are_named_again_and_again_are_damage():
    files = {"arrays.json": json.dumps({"type": "dict", "keys": ["x"] * 9}).encode(), "x.npy": b""}
    with pytest.raises(CorruptionError, match=r"arrays\.json"):
        Arrays().read(MemoryFolder(files))


PADDED = np.dtype({"names": ["a", "b", "c"], "formats": ["i1", "f8", ("g", (2,))], "offsets": [0, 8, 16], "itemsize": 64})


@pytest.mark.parametrize("dtype", ["g", "G", PADDED], ids=["longdouble", "clongdouble", "a gap between fields"])
def test_what_lies_between_values_is_no_part_of_them(store: Store, dtype: Any):
    digests = set()
    for seed in range(3):
        made = np.frombuffer(np.random.default_rng(seed).bytes(6 * np.dtype(dtype).itemsize), np.uint8).copy().view(dtype)
        if made.dtype.names:
            made["a"], made["b"], made["c"] = 1, 2.5, np.arange(12).reshape(6, 2) / 3
        else:
            values = (np.arange(6) / 3).astype(dtype).view(np.uint8).reshape(-1, 16)
            made.view(np.uint8).reshape(-1, 16)[:, :10] = values[:, :10]
        digests.add(store.put(made.reshape(2, 3), "a").digest)
        back = store.get("a")
        assert (back.dtype, back.shape) == (made.dtype, (2, 3))
        for name in made.dtype.names or (...,):
            assert (back[name] == made.reshape(2, 3)[name]).all()
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "int4"])
def test_dtypes_of_other_packages_are_refused_instead_of_becoming_bare_bytes(store: Store, kind: str):
    dtype = getattr(pytest.importorskip("ml_dtypes"), kind)
    for array in (np.ones(3, dtype), np.zeros(2, [("a", "f4"), ("b", dtype, (2,))])):
        with pytest.raises(InvalidInputError, match="not NumPy's own"):
            store.put(array, "a")
