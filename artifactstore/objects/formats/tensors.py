"""PyTorch tensors, state dicts and modules as safetensors: nothing is ever unpickled.

The file is that of https://github.com/huggingface/safetensors (format of version 0.4 and later): the length of a JSON
header (8 bytes, little-endian), the header padded with spaces to a multiple of 8, the tensors' bytes without a gap. It is
written as the reference library writes it, tensors by dtype and then by name, so other programs read it
and equal tensors give equal bytes.
"""

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from artifactstore.errors import CorruptionError, InvalidInputError
from artifactstore.model.encoding import parse_json
from artifactstore.objects.base import ReadFolder, WriteFolder, texts
from artifactstore.objects.key_order import note_order, with_order

if TYPE_CHECKING:
    import torch

__all__ = ["Tensors", "bytes_of", "code_of", "header_bytes", "order_of", "parse_header"]

_FILE: Final = "model.safetensors"
_TIED: Final = "artifactstore.tied"  # metadata: JSON object, name → name of the tensor whose memory it shares
_TYPE: Final = "artifactstore.type"  # metadata: tensor | module; absent for a dict
_SINGLE: Final = "tensor"  # the name of a single tensor
_MAX_HEADER: Final = 100 * 2**20  # max bytes of a header, as in the reference library
_DTYPES: Final = {  # safetensors → (torch's name, bits of an element), in the order in which the reference library lays them out
    "U64": ("uint64", 64),
    "I64": ("int64", 64),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F32": ("float32", 32),
    "U32": ("uint32", 32),
    "I32": ("int32", 32),
    "BF16": ("bfloat16", 16),
    "F16": ("float16", 16),
    "U16": ("uint16", 16),
    "I16": ("int16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "I8": ("int8", 8),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
}
_CODES: Final = {name: code for code, (name, _) in _DTYPES.items()}
_RANKS: Final = {name: rank for rank, (name, _) in enumerate(_DTYPES.values())}


class Tensors:
    """A tensor, a dict of tensors (a state dict), or a module, which is stored as its state dict."""

    name = "tensors"
    executes_code = False
    write_options = ()
    read_options = ("tensors", "device", "into")

    def matches(self, obj: Any) -> bool:
        """Return whether `obj` is a tensor, a module, or a non-empty dict of str to tensors."""
        import torch  # noqa: PLC0415 - loaded already, where there is a tensor

        if isinstance(obj, torch.Tensor | torch.nn.Module):
            return True
        return (
            isinstance(obj, Mapping)
            and bool(obj)
            and all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in obj.items())
        )

    def write(self, obj: Any, folder: WriteFolder) -> None:
        """Write `model.safetensors`; tensors that share their memory are stored once."""
        import torch  # noqa: PLC0415

        if not self.matches(obj):
            raise InvalidInputError("format='tensors' stores a tensor, a dict of str to tensors, or a module")
        metadata: dict[str, str] = {}
        if isinstance(obj, torch.nn.Module):
            metadata[_TYPE] = "module"
            obj = obj.state_dict()
            if strange := [key for key, value in obj.items() if not isinstance(value, torch.Tensor)]:
                raise InvalidInputError(
                    f"the module's state {strange[0]!r} is not a tensor: put its parts one by one, or pass format='pickle'"
                )
        elif isinstance(obj, torch.Tensor):
            metadata[_TYPE] = "tensor"
            obj = {_SINGLE: obj}
        tied: dict[str, str] = {}
        seen: dict[Any, str] = {}
        kept: dict[str, torch.Tensor] = {}
        for name in sorted(obj):
            tensor = obj[name].detach()
            _check(name, tensor)
            address = tensor.data_ptr()  # 0 if a tensor is composed of others
            lazy = tensor.is_conj(), tensor.is_neg()  # the same memory, other values
            mark = (str(tensor.device), address, tensor.dtype, tuple(tensor.shape), tensor.stride(), lazy)
            if address and tensor.numel() and mark in seen:
                tied[name] = seen[mark]
            else:
                seen[mark] = name
                kept[name] = tensor
        if tied:
            metadata[_TIED] = json.dumps(tied, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        names = sorted(kept, key=lambda one: (_RANKS[_dtype(kept[one])], one))
        folder.add(_FILE, _header(kept, names, metadata), *(bytes_of(name, kept[name]) for name in names))
        if _TYPE not in metadata:
            note_order(folder, dict.fromkeys(obj))

    def read(self, folder: ReadFolder, *, tensors: Any = None, device: Any = None, into: Any = None) -> Any:
        """Read the tensors.

        Args:
            folder: folder of the object.
            tensors: names or patterns (`layer.0.*`): fetch only these.
            device: device to move them to.
            into: a module to load them into (`load_state_dict`, strict unless `tensors` selects some); it is returned.
        """
        import torch  # noqa: PLC0415

        patterns = None if tensors is None else texts(tensors, "tensors")
        if device is not None:
            _check_device(device)
        with folder.open(_FILE) as file:
            found, metadata, start = parse_header(file, folder.size(_FILE))
            tied = _tied_names(metadata, found)
            names = _chosen(list(found) + list(tied), patterns)
            sources = {tied.get(name, name) for name in names}
            if tensors is None:
                whole = folder.buffer(_FILE)[start:]
                loaded = {name: _tensor(whole[found[name][2] : found[name][3]], *found[name][:2]) for name in sources}
            else:
                chosen = sorted(sources, key=lambda one: found[one][2])
                parts = folder.ranges(_FILE, [(start + found[name][2], found[name][3] - found[name][2]) for name in chosen])
                loaded = {name: _tensor(part, *found[name][:2]) for name, part in zip(chosen, parts, strict=True)}
        if device is not None:
            loaded = {name: tensor.to(device) for name, tensor in loaded.items()}
        state = {name: loaded[tied.get(name, name)] for name in sorted(names)}
        if into is not None:
            if not isinstance(into, torch.nn.Module):
                raise InvalidInputError(f"into= must be a torch.nn.Module, not a {type(into).__name__}")
            try:
                into.load_state_dict(state, strict=tensors is None)
            except RuntimeError as error:
                raise InvalidInputError(f"the stored tensors do not fit into={type(into).__name__}: {error}") from error
            return into
        if metadata.get(_TYPE) == "tensor" and list(state) == [_SINGLE]:
            return state[_SINGLE]
        return with_order(folder, state) if tensors is None else state


def _check(name: str, tensor: "torch.Tensor") -> None:
    import torch  # noqa: PLC0415

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        raise InvalidInputError(
            f"the tensor {name!r} is nested, sparse, quantized or without data: make it dense, or pass format='pickle'"
        )
    if _dtype(tensor) not in _CODES:
        raise InvalidInputError(f"the tensor {name!r} has the dtype {tensor.dtype}, which safetensors does not support")
    if name == "__metadata__":
        raise InvalidInputError("a tensor cannot be named '__metadata__': the name is reserved in safetensors")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"the tensor {name!r} has a name that is not valid UTF-8: rename it") from error


def _check_device(device: Any) -> None:
    """Reject an invalid or unavailable device before anything is fetched for it."""
    import torch  # noqa: PLC0415

    try:
        torch.empty(0, device=torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise InvalidInputError(f"device={device!r} is not available here: {reason}; pass device='cpu', or omit it") from error


def _dtype(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def bytes_of(name: str, tensor: "torch.Tensor") -> memoryview:
    """Return the bytes of a tensor, in the order of its elements; a copy only if they are not in memory like that."""
    import torch  # noqa: PLC0415

    try:
        # Conjugated and negated views are computed lazily.
        flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")
    except (RuntimeError, TypeError) as error:
        text = f"the tensor {name!r} ({type(tensor).__name__}) has no readable values ({str(error)[:200]})"
        raise InvalidInputError(f"{text}: make it a plain tensor, or pass format='pickle'") from error


def _header(kept: "Mapping[str, torch.Tensor]", names: list[str], metadata: dict[str, str]) -> bytes:
    rows = [(name, _CODES[_dtype(one)], one.shape, one.numel() * one.element_size()) for name in names for one in (kept[name],)]
    return header_bytes(rows, metadata)


def header_bytes(rows: Iterable[tuple[str, str, Sequence[int], int]], metadata: Mapping[str, str]) -> bytes:
    """Return the beginning of a safetensors file.

    Args:
        rows: of each tensor, in the order of the data: its name, its dtype as safetensors calls it, shape, bytes.
        metadata: texts to keep with it.
    """
    found: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    at = 0
    for name, code, shape, size in rows:
        found[name] = {"dtype": code, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def code_of(dtype: "torch.dtype") -> str | None:
    """Return what safetensors calls a dtype, or None if it has no word for it."""
    return _CODES.get(str(dtype).removeprefix("torch."))


def order_of(code: str) -> int:
    """Return the place of a dtype in a file: the wide ones come first, so that all are aligned."""
    return _RANKS[_DTYPES[code][0]]


def parse_header(file: Any, size: int) -> tuple[dict[str, tuple[str, list[int], int, int]], dict[str, str], int]:
    """Read and check a header: name → (dtype, shape, begin, end), metadata, offset of the data."""

    def bad(what: str) -> CorruptionError:
        return CorruptionError(f"{_FILE} {what}", location=_FILE)

    raw = file.read(8)
    length = struct.unpack("<Q", raw)[0] if len(raw) == 8 else 0
    if not 2 <= length <= min(_MAX_HEADER, size - 8):
        raise bad(f"has no valid header within its {size} bytes")
    try:
        header = parse_json(file.read(length), "its header")
    except InvalidInputError as error:
        raise bad(f"cannot be read: {error}") from error
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise bad("has a header that is not safetensors'")
    found: dict[str, tuple[str, list[int], int, int]] = {}
    for name, one in header.items():
        entry = one if isinstance(one, dict) else {}
        code, shape, offsets = entry.get("dtype"), _numbers(entry.get("shape")), _numbers(entry.get("data_offsets"))
        if not isinstance(code, str) or code not in _DTYPES or shape is None or offsets is None or len(offsets) != 2:
            raise bad(f"does not describe {name[:100]!r}")
        if offsets[1] - offsets[0] != _elements(shape, size) * _DTYPES[code][1] // 8:
            raise bad(f"has a byte range for {name[:100]!r} that does not match its shape")
        found[name] = (code, shape, offsets[0], offsets[1])
    at = 0
    for name, (_, _, begin, end) in sorted(found.items(), key=lambda item: item[1][2:]):
        if begin != at:
            raise bad(f"has tensors that overlap or leave a gap, at {name[:100]!r}")
        at = end
    if at != size - 8 - length:
        raise bad(f"has {size - 8 - length:,} bytes of data, but its header declares {at:,}")
    return found, metadata, 8 + length


def _elements(shape: list[int], most: int) -> int:
    """Return how many elements a shape has, capped just above `most`: the product of many dimensions would take long."""
    count = 0 if 0 in shape else 1
    for length in shape:
        count *= length
        if count > most:
            break
    return count


def _numbers(value: Any) -> list[int] | None:
    fine = isinstance(value, list) and all(type(one) is int and 0 <= one < 2**60 for one in value)
    return value if fine else None


def _tied_names(metadata: Mapping[str, str], found: Mapping[str, Any]) -> dict[str, str]:
    if _TIED not in metadata:
        return {}
    try:
        tied = parse_json(metadata[_TIED], _TIED)
    except InvalidInputError as error:
        raise CorruptionError(f"{_FILE}: {error}", location=_FILE) from error
    if not isinstance(tied, dict) or any(
        name in found or not isinstance(other, str) or other not in found for name, other in tied.items()
    ):
        raise CorruptionError(f"{_FILE} ties tensors that do not exist", location=_FILE)
    return tied


def _chosen(names: list[str], patterns: list[str] | None) -> list[str]:
    if patterns is None:
        return names
    chosen = [name for name in names if any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)]
    if not chosen:
        raise InvalidInputError(
            f"tensors={patterns!r} matches none of the {len(names)} tensors, such as {', '.join(sorted(names)[:5])}"
        )
    return chosen


def _tensor(raw: memoryview, code: str, shape: list[int]) -> "torch.Tensor":
    import torch  # noqa: PLC0415

    dtype = getattr(torch, _DTYPES[code][0])
    if not raw.nbytes:
        try:
            return torch.empty(shape, dtype=dtype)
        except RuntimeError as error:
            raise CorruptionError(
                f"{_FILE} has a shape that is invalid for a tensor: {str(error)[:200]}", location=_FILE
            ) from error
    if raw.readonly:
        raw = memoryview(bytearray(raw))
    return torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
