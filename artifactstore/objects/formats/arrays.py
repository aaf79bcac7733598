"""NumPy arrays as `.npy` files, one per array; scipy's sparse matrices as their component arrays.

The format is NumPy's own (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). Nothing is ever
pickled or unpickled here: arrays of Python objects are rejected on write and on read.
"""

import ast
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import canonical_json
from artifactstore.model.listing import check_path
from artifactstore.objects.base import ReadFolder, WriteFolder, stored_json, texts
from artifactstore.objects.bounds.sparse import check_sparse

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Array", "Arrays", "Sparse", "read_header"]

_HEADER: Final = 64 * 1024  # max bytes of a header
_DIMENSIONS: Final = 64  # NumPy's own limit
_FOREIGN: Final = 256  # dtype numbers from here on belong to other packages (NPY_USERDEF)


class Array:
    """A single `numpy.ndarray` (or `memmap`), stored as `data.npy`: dtype, order and shape are preserved."""

    name = "array"
    executes_code = False
    write_options = ()
    read_options = ("mmap",)

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a plain array, not a subclass with more state (masked, matrix, record arrays)."""
        import numpy as np  # noqa: PLC0415 - loaded already, where there is an array

        return type(obj) in (np.ndarray, np.memmap)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write the array."""
        _write(folder, "data.npy", obj)

    def read(self, folder: ReadFolder, *, mmap: bool = False) -> "np.ndarray[Any, Any]":
        """Read the array; with `mmap` it is read-only, and its pages are read on access."""
        return _read(folder, "data.npy", mmap=mmap)


class Arrays:
    """A dict, list or tuple of arrays and nothing else, each stored as `<key>.npy`; for a list the keys are indices."""

    name = "arrays"
    executes_code = False
    write_options = ()
    read_options = ("mmap", "keys")

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` contains only arrays, at least one, under keys that can be file names."""
        one = Array()
        if isinstance(obj, Mapping):
            plain = type(obj) is dict and all(isinstance(key, str) and "/" not in key for key in obj)
            return plain and bool(obj) and all(one.matches(member) for member in obj.values())
        return type(obj) in (list, tuple) and bool(obj) and all(one.matches(member) for member in obj)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write each array; the container's type and the order of its keys go into `arrays.json`."""
        if not self.matches(obj):
            raise InvalidInputError(
                "format='arrays' stores a non-empty dict (keys: str without '/'), list or tuple of NumPy arrays"
            )
        keys = list(obj) if isinstance(obj, dict) else [str(number) for number in range(len(obj))]
        for key, member in zip(keys, obj.values() if isinstance(obj, dict) else obj, strict=True):
            check_path(f"{key}.npy")
            _write(folder, f"{key}.npy", member)
        folder.add("arrays.json", canonical_json({"type": type(obj).__name__, "keys": keys}))

    def read(self, folder: ReadFolder, *, mmap: bool = False, keys: Any = None) -> Any:
        """Read all arrays, or those of `keys`."""
        record = _parsed(folder, "arrays.json")
        kind, names = record.get("type"), record.get("keys")
        if (
            kind not in ("dict", "list", "tuple")
            or not isinstance(names, list)
            or not all(isinstance(one, str) for one in names)
            or len(set(names)) < len(names)
        ):
            raise CorruptionError("arrays.json does not describe the arrays", location="arrays.json")
        if keys is not None:
            wanted = texts(keys, "keys", numbers=True)
            if missing := [key for key in wanted if key not in names]:
                raise InvalidInputError(
                    f"no array {', '.join(map(repr, missing))}; available: {', '.join(map(repr, names[:20]))}"
                )
            names = wanted
        found = {name: _read(folder, f"{name}.npy", mmap=mmap) for name in names}
        if kind == "dict":
            return found
        return list(found.values()) if kind == "list" else tuple(found.values())


class Sparse:
    """scipy's sparse matrices and arrays (csr, csc, coo, bsr, dia): one file per component array, and `sparse.json`."""

    name = "sparse"
    executes_code = False
    write_options = ()
    read_options = ("mmap",)
    _PARTS: Final = {
        "csr": ("data", "indices", "indptr"),
        "csc": ("data", "indices", "indptr"),
        "bsr": ("data", "indices", "indptr"),
        "coo": ("data", "row", "col"),
        "dia": ("data", "offsets"),
    }

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a sparse matrix; `write` rejects unsupported kinds, or a `dok` would be stored as a dict."""
        import scipy.sparse  # noqa: PLC0415 - loaded already, where there is a matrix

        return bool(scipy.sparse.issparse(obj))

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write its component arrays unchanged, with duplicates and explicit zeros."""
        import scipy.sparse  # noqa: PLC0415

        if not self.matches(obj) or obj.format not in self._PARTS or obj.ndim != 2:
            raise InvalidInputError(
                f"format='sparse' stores scipy's {', '.join(self._PARTS)} matrices of two dimensions, not a {type(obj).__name__}"
                f"{f' of {obj.ndim}' if self.matches(obj) and obj.ndim != 2 else ''}; use .tocsr()"
            )
        for part in self._PARTS[obj.format]:
            _write(folder, f"{part}.npy", getattr(obj, part))
        kind = "array" if isinstance(obj, scipy.sparse.sparray) else "matrix"
        folder.add("sparse.json", canonical_json({"format": obj.format, "shape": [int(n) for n in obj.shape], "type": kind}))

    def read(self, folder: ReadFolder, *, mmap: bool = False) -> Any:
        """Rebuild the matrix, after checking that every index is inside its shape."""
        import scipy.sparse  # noqa: PLC0415

        record = _parsed(folder, "sparse.json")
        parts = self._PARTS.get(str(record.get("format")))
        shape: Any = record.get("shape")
        whole = isinstance(shape, list) and len(shape) == 2 and all(type(one) is int and one >= 0 for one in shape)
        if parts is None or str(record.get("type")) not in {"array", "matrix"} or not whole:
            raise CorruptionError("sparse.json does not describe the matrix", location="sparse.json")
        make = getattr(scipy.sparse, f"{record['format']}_{record['type']}")
        arrays = [_read(folder, f"{part}.npy", mmap=mmap) for part in parts]
        content = (arrays[0], (arrays[1], arrays[2])) if record["format"] == "coo" else tuple(arrays)
        try:
            made = make(content, shape=tuple(shape))
            check_sparse(made)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise CorruptionError(f"the parts of the sparse matrix do not match: {error}", location="sparse.json") from error
        return made


def _parsed(folder: ReadFolder, name: str) -> dict[str, Any]:
    found = stored_json(folder, name)
    if not isinstance(found, dict):
        raise CorruptionError(f"{name} is not a JSON object", location=name)
    return found


def _write(folder: WriteFolder, name: str, array: Any) -> None:
    import numpy as np  # noqa: PLC0415

    array = np.asarray(array)
    if array.dtype.hasobject and array.dtype.char == "T":
        raise InvalidInputError(
            f"{name}: .npy cannot store texts of variable length ({array.dtype}): use .astype('U'), or a table"
        )
    if array.dtype.hasobject:
        raise InvalidInputError(
            f"{name}: an array of Python objects (dtype {array.dtype}) would have to be pickled: give it a dtype of numbers or "
            "fixed-length text, store it as a table, or pass format='pickle'"
        )
    if _is_foreign(array.dtype):
        raise InvalidInputError(
            f"{name}: the dtype {array.dtype} is not NumPy's own, and would be read back as raw bytes: store "
            ".astype(np.float32), .view() of an integer of the same size, or a PyTorch tensor"
        )
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = np.ascontiguousarray(array)
    flat = array.reshape(-1) if array.flags.c_contiguous else array.T.reshape(-1)
    flat = _without_padding(flat) if _is_padded(array.dtype) else flat
    folder.add(name, _head(array), memoryview(flat.view(np.uint8)) if flat.size and flat.itemsize else b"")


def _is_foreign(dtype: "np.dtype[Any]") -> bool:
    """Return whether a dtype comes from another package, such as `ml_dtypes.bfloat16`: `.npy` cannot express it."""
    if dtype.subdtype is not None:
        return _is_foreign(dtype.subdtype[0])
    return dtype.num >= _FOREIGN or any(_is_foreign(one[0]) for one in (dtype.fields or {}).values())


def _is_padded(dtype: "np.dtype[Any]") -> bool:
    """Return whether an element has padding bytes, which contain arbitrary memory."""
    if dtype.subdtype is not None:
        return _is_padded(dtype.subdtype[0])
    if dtype.fields is None:
        return dtype.char in "gG"  # ten bytes of sixteen
    return sum(one[0].itemsize for one in dtype.fields.values()) < dtype.itemsize or any(
        _is_padded(one[0]) for one in dtype.fields.values()
    )


def _without_padding(flat: Any) -> Any:
    """Return a copy with zeroed padding: equal values have equal bytes."""
    import numpy as np  # noqa: PLC0415

    clean = np.zeros(flat.shape, flat.dtype)
    if flat.dtype.fields is None:
        value = np.finfo(flat.dtype).nmant // 8 + 3  # bytes of a number: fraction, the bit before it, exponent and sign
        size = flat.dtype.itemsize // (2 if flat.dtype.kind == "c" else 1)
        clean.view(np.uint8).reshape(-1, size)[:, :value] = flat.view(np.uint8).reshape(-1, size)[:, :value]
        return clean
    for name, (kind, *_) in flat.dtype.fields.items():
        part = np.ascontiguousarray(flat[name])
        base = kind.subdtype[0] if kind.subdtype is not None else kind
        clean[name] = _without_padding(part.reshape(-1)).reshape(part.shape) if _is_padded(base) else part
    return clean


def _read(folder: ReadFolder, name: str, *, mmap: bool) -> "np.ndarray[Any, Any]":
    import numpy as np  # noqa: PLC0415

    with folder.open(name) as file:
        shape, fortran, dtype, start = read_header(file, name)
    count = 1
    for length in shape:
        count *= length
    if start + count * dtype.itemsize != folder.size(name):
        text = f"{name} has {folder.size(name)} bytes, but its header declares {count:,} elements of {dtype.itemsize} bytes"
        raise CorruptionError(text, location=name)
    order = "F" if fortran else "C"
    if mmap and count and dtype.itemsize:
        return np.memmap(folder.path(name), dtype=dtype, mode="r", offset=start, shape=shape, order=order)  # type: ignore[call-overload,no-any-return]
    if not count or not dtype.itemsize:
        try:
            # As a field: alone, zero-length elements ("S0") would get one byte each, whatever their number.
            return np.empty(shape, [("", dtype)], order)["f0"]  # type: ignore[call-overload,no-any-return]
        except ValueError as error:
            raise CorruptionError(f"{name} is not an .npy file: {error}", location=name) from error
    return np.frombuffer(folder.buffer(name), dtype, count, start).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]


def _head(array: "np.ndarray[Any, Any]") -> bytes:
    """Return the header of an array, byte for byte as `numpy.save` writes it."""
    import numpy as np  # noqa: PLC0415

    header = io.BytesIO()
    try:
        fields = np.lib.format.header_data_from_array_1_0(array)
        if np.lib.format.descr_to_dtype(fields["descr"]) != array.dtype:
            raise ValueError(f"{array.dtype} would be read back as {fields['descr']}")  # noqa: TRY301 - handled like NumPy's own
        np.lib.format.write_array_header_1_0(header, fields)
    except (UnicodeEncodeError, ValueError) as error:
        text = f"an array with fields out of order, with names beyond Latin-1, or very many cannot be stored as .npy ({error})"
        text = f"{text}: give it another dtype by .astype(), rename them, or store a table"
        raise InvalidInputError(text) from error
    return header.getvalue()


def read_header(file: Any, name: str) -> "tuple[tuple[int, ...], bool, np.dtype[Any], int]":
    """Read a header: shape, whether the order is Fortran's, dtype, and the offset of the data.

    NumPy's own parser is not used: it tries to repair invalid headers, at any cost in memory.
    """
    import numpy as np  # noqa: PLC0415

    def bad(what: object) -> CorruptionError:
        return CorruptionError(f"{name} is not an .npy file: {str(what)[:200]}", location=name)

    start = file.read(8)
    wide = {b"\x01\x00": 2, b"\x02\x00": 4, b"\x03\x00": 4}.get(start[6:])
    if start[:6] != b"\x93NUMPY" or wide is None:
        raise bad("its magic bytes are missing")
    length = int.from_bytes(file.read(wide), "little")
    if length > _HEADER:
        raise bad(f"its header length is {length:,} bytes")
    try:
        fields = ast.literal_eval(file.read(length).decode("utf-8" if start[6] == 3 else "latin-1"))
        shape, fortran = fields["shape"], fields["fortran_order"]
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError, OverflowError) as error:
        raise bad(error) from error
    if (
        not isinstance(shape, tuple)
        or len(shape) > _DIMENSIONS
        or not all(type(one) is int and 0 <= one < 2**60 for one in shape)
    ):
        raise bad(f"its shape is invalid: {str(shape)[:100]}")
    if dtype.hasobject:
        raise CorruptionError(f"{name} has dtype {dtype}, which needs unpickling: that is never done", location=name)
    return shape, bool(fortran), dtype, 8 + wide + length
