"""The files of one rank: its shards as safetensors, read from the tensors while they are stored, one tensor in memory at a time."""

import json
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import torch

from artifactstore.content.write.source import Source
from artifactstore.errors import InvalidInputError
from artifactstore.model.listing import check_path
from artifactstore.objects.formats.tensors import bytes_of, code_of, header_bytes, order_of

__all__ = ["TensorItem", "tensor_files"]

# What PyTorch's HuggingFaceStorageReader looks for in the header of each file.
_SHARDING: Final = "DCP_SHARDING_INFO"
_MARKS: Final = {"DCP_VERSION": "1.0", "format": "pt"}
_RAW: Final = "U8"  # what safetensors has no word for is kept as bytes


@dataclass(frozen=True)
class TensorItem:
    """A tensor, or a shard of one, that is to be stored.

    Attributes:
        name: of the tensor.
        offsets: of the shard in it.
        sizes: shape of the shard.
        dtype: of its elements.
        load: returns it, on whatever device it is.
        group: of tensors that are in files of their own, such as `model` and `optimizer`; "" is none.
    """

    name: str
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    dtype: torch.dtype
    load: Callable[[], torch.Tensor]
    group: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.sizes) * int(self.dtype.itemsize)


class _TensorFile:
    """A safetensors file that is composed while it is read."""

    def __init__(self, items: Sequence[TensorItem]) -> None:
        self.items = sorted(items, key=lambda one: (order_of(code_of(one.dtype) or _RAW), one.name))
        rows = [
            (one.name, code, one.sizes if code_of(one.dtype) else [one.size], one.size)
            for one in self.items
            for code in (code_of(one.dtype) or _RAW,)
        ]
        sharding = {one.name: {"saved_offsets": list(one.offsets)} for one in self.items}
        self._header = header_bytes(rows, {**_MARKS, _SHARDING: json.dumps(sharding, separators=(",", ":"))})
        self._starts = list(accumulate((len(self._header), *(one.size for one in self.items)), initial=0))
        self._loaded: tuple[int, memoryview] | None = None

    @property
    def size(self) -> int:
        return self._starts[-1]

    def begins(self) -> list[int]:
        """Return the offset of each item's first byte."""
        return self._starts[1:-1]

    def _part(self, number: int) -> memoryview:
        """Return the bytes of the header, or of one tensor."""
        if number == 0:
            return memoryview(self._header)
        if self._loaded is None or self._loaded[0] != number:
            self._loaded = None  # the one before may go
            item = self.items[number - 1]
            self._loaded = number, _bytes(item)
        return self._loaded[1]

    def fill(self, view: memoryview, offset: int) -> None:
        """Fill the view with bytes from `offset` on."""
        done, number = 0, bisect_right(self._starts, offset) - 1
        while done < len(view):
            at = offset + done - self._starts[number]
            piece = self._part(number)[at : at + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            number += 1

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly `size` bytes at `offset`."""
        room = bytearray(size)
        self.fill(memoryview(room), offset)
        return bytes(room)

    def check(self) -> None:
        """Do nothing: memory has no signature to compare."""


def _bytes(item: TensorItem) -> memoryview:
    tensor: Any = item.load().detach()
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        raise InvalidInputError(
            f"the tensor {item.name!r} is nested, sparse, quantized or without data: make it dense, or leave it out of the state"
        )
    if tuple(tensor.shape) != item.sizes or tensor.dtype != item.dtype:
        raise InvalidInputError(
            f"the tensor {item.name!r} is {tuple(tensor.shape)} of {tensor.dtype}, and the plan has {item.sizes} of {item.dtype}: it changed "
            "while it was saved"
        )
    return bytes_of(item.name, tensor)


def tensor_files(items: Sequence[TensorItem], prefix: str) -> list[tuple[Source, list[tuple[TensorItem, int]]]]:
    """Return the files for the shards of a rank, each with its items and their offsets; no tensor is read yet.

    Args:
        items: in the order of the plan. Each group has files of its own, since whether a file is stored as deltas is decided for
            the file: weights change little from step to step, an optimizer's moments all the time. Shards of one tensor go to
            different files, too, as a file has a name only once.
        prefix: beginning of the files' names.

    Raises:
        InvalidInputError: the name of a tensor cannot be stored.
    """
    files: dict[tuple[str, int], list[TensorItem]] = {}
    counts: dict[str, int] = {}
    for one in items:
        if one.name == "__metadata__":
            raise InvalidInputError("a tensor cannot be named '__metadata__': the name is reserved in safetensors")
        number = counts[one.name] = counts.get(one.name, -1) + 1
        files.setdefault((one.group, number), []).append(one)
    found = []
    for (group, number), some in files.items():
        file = _TensorFile(some)
        path = f"{prefix}{group and '-' + group}{'.' + str(number) if number else ''}.safetensors"
        check_path(path)
        source = Source(path, file.size, b"", executable=False, base=None, reader=file)
        found.append((source, list(zip(file.items, file.begins(), strict=True))))
    return found
