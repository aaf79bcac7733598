"""Bounds checks for scipy's sparse matrices, whose compiled operations follow indices unchecked."""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np

__all__ = ["check_sparse"]

_INT32: Final = 2**31 - 1


def check_sparse(matrix: Any) -> None:
    """Check that every index of a sparse matrix or array is inside its shape.

    Raises:
        ValueError: an index is outside, or the lengths of its parts do not match.
    """
    if matrix.format in {"csr", "csc", "bsr"}:
        _check_compressed(matrix)
    elif matrix.format == "coo":
        coordinates = matrix.coords if hasattr(matrix, "coords") else (matrix.row, matrix.col)
        for axis, (indices, count) in enumerate(zip(coordinates, matrix.shape, strict=True)):
            if len(indices) != len(matrix.data) or (len(indices) and not 0 <= _least(indices) <= _most(indices) < count):
                raise ValueError(f"an index of axis {axis} is outside of {matrix.shape}")
    elif matrix.format == "dia":
        data, offsets = matrix.data, matrix.offsets
        rows, columns = matrix.shape
        if data.ndim != 2 or offsets.ndim != 1 or len(offsets) != data.shape[0] or len(set(offsets.tolist())) != len(offsets):
            raise ValueError("diagonals that do not match their offsets")
        # A diagonal that begins outside the matrix is empty; if sums with its offset overflow, scipy writes out of bounds.
        most = _INT32 if offsets.dtype.itemsize <= 4 and max(rows, columns) <= _INT32 else _INT32 * _INT32
        if len(offsets) and max(-_least(offsets), _most(offsets)) + rows + columns + data.shape[1] > most:
            raise ValueError(f"a diagonal is far outside of {matrix.shape}")
    elif matrix.format not in {"lil", "dok"}:  # those two are lists and a dict of Python's
        raise ValueError(f"sparse matrices of format {matrix.format!r} are not supported")


def _check_compressed(matrix: Any) -> None:
    """Check CSR, CSC or BSR: scipy's own check misses what a negative count hides."""
    major, minor = matrix.shape[::-1] if matrix.format == "csc" else matrix.shape
    if matrix.format == "bsr":
        height, width = matrix.data.shape[1:]
        if not height or not width or major % height or minor % width:
            raise ValueError("blocks that do not match the shape")
        major, minor = major // height, minor // width
    starts, indices = matrix.indptr, matrix.indices
    if starts.dtype.kind != "i" or indices.dtype.kind != "i" or starts.ndim != 1 or indices.ndim != 1:
        raise ValueError("indices that are not a flat array of integers")
    if len(starts) != major + 1 or starts[0] != 0 or bool((starts[1:] < starts[:-1]).any()):
        raise ValueError("row pointers that are not monotonic")
    if int(starts[-1]) > len(indices) or len(indices) != len(matrix.data):
        raise ValueError("row pointers beyond the stored values")
    if len(indices) and not 0 <= _least(indices) <= _most(indices) < minor:
        raise ValueError(f"an index is outside of {matrix.shape}")


def _least(indices: "np.ndarray[Any, Any]") -> int:
    return int(indices.min())


def _most(indices: "np.ndarray[Any, Any]") -> int:
    return int(indices.max())
