"""Tensor comparison for safetensors and `.npy` files: how much each tensor changed, block by block in bounded memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.objects.base import Files
from artifactstore.objects.formats.arrays import read_header
from artifactstore.objects.formats.tensors import parse_header
from artifactstore.runtime.loading import numpy

__all__ = ["TensorChange", "compare_tensors"]

_BLOCK: Final = 4 * 2**20  # bytes of a tensor at a time
_NUMPY: Final = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "u1", "C64": "<c8",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorChange:
    """A tensor that differs.

    Attributes:
        name: name of the tensor; empty for that of a `.npy` file.
        change: added, removed, reshaped (another shape or dtype), or changed.
        old: dtype and shape before, such as `F32 [10, 20]`, or None.
        new: the same now.
        relative: norm of the difference divided by the norm before; None if unknown.
        largest: largest difference of an element; None if unknown.
        share: share of elements that differ; None if unknown.
    """

    name: str
    change: str
    old: str | None
    new: str | None
    relative: float | None = None
    largest: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class _Tensor:
    """The position of a tensor in its file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int
    read_as: str | None
    order: str = ""

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}{self.order}"


def compare_tensors(old: Files, new: Files, names: tuple[str, str]) -> Iterator[TensorChange]:
    """Yield the tensors that differ between two files, by name.

    Args:
        old: folder of the old file.
        new: folder of the new file.
        names: names of the two files.

    Raises:
        CorruptionError: one of them is not a valid tensor file.
    """
    before, after = _layout(old, names[0]), _layout(new, names[1])
    with old.open(names[0]) as a, new.open(names[1]) as b:
        for name in sorted({*before, *after}):
            one, other = before.get(name), after.get(name)
            if one is None:
                yield TensorChange(name, "added", None, str(other))
            elif other is None:
                yield TensorChange(name, "removed", str(one), None)
            elif str(one) != str(other):
                yield TensorChange(name, "reshaped", str(one), str(other))
            elif (found := _distance(a, b, one, other)) is not None:
                yield TensorChange(name, "changed", str(one), str(other), *found)


def _layout(folder: Files, name: str) -> dict[str, _Tensor]:
    size = folder.size(name)
    with folder.open(name) as file:
        if name.endswith(".npy"):
            shape, fortran, dtype, start = read_header(file, name)
            read_as = dtype.str if dtype.kind in "fiubc" else None
            return {"": _Tensor(str(dtype), shape, start, size, read_as, " in Fortran's order" if fortran else "")}
        found, _, base = parse_header(file, size)
    return {
        one: _Tensor(code, tuple(shape), base + begin, base + end, _NUMPY.get(code))
        for one, (code, shape, begin, end) in found.items()
    }


def _distance(a: Any, b: Any, one: _Tensor, other: _Tensor) -> tuple[float | None, float | None, float | None] | None:
    """Return relative norm, largest difference and share of two tensors; None if they are equal."""
    np = numpy()
    squares = norm = largest = 0.0
    changed = total = 0
    equal = True
    for at in range(0, one.end - one.begin, _BLOCK):
        length = min(_BLOCK, one.end - one.begin - at)
        a.seek(one.begin + at)
        b.seek(other.begin + at)
        old, new = a.read(length), b.read(length)
        equal = equal and old == new
        if one.read_as is None:
            continue
        with np.errstate(over="ignore", invalid="ignore"):
            before, after = _floats(old, one), _floats(new, one)
            apart = np.abs(after - before)
            changed += int((before != after).sum())
            total += len(before)
            squares += float((apart * apart).sum())
            norm += float((np.abs(before) ** 2).sum())
            largest = max(largest, float(apart.max(initial=0.0)))
    if equal:
        return None
    if one.read_as is None or not math.isfinite(squares) or not math.isfinite(norm):
        return None, None, changed / total if total else None
    return (math.sqrt(squares / norm) if norm else None), largest, changed / total


def _floats(raw: bytes, tensor: _Tensor) -> Any:
    np = numpy()
    numbers = np.frombuffer(raw, tensor.read_as)
    if tensor.dtype == "BF16":
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.complex128 if numbers.dtype.kind == "c" else np.float64)
