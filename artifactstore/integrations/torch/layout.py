"""What a distributed checkpoint is in a store: files of shards, and one JSON file that says which tensor each belongs to.

`checkpoint.json` describes the tensors, holds numbers and texts, and names the files of other objects. Shards are in safetensors
files, one or more a rank, whose headers have what PyTorch's own reader of such folders (`HuggingFaceStorageReader`) looks for.
Nothing in it is a pickle but the files of objects that only a pickle can hold.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from artifactstore.errors import CorruptionError, FormatError, InvalidInputError
from artifactstore.model.encoding import canonical_json, parse_json

__all__ = ["FILE", "Checkpoint", "Placed", "Shard", "describe", "group_of", "is_plain", "parse"]

FILE: Final = "checkpoint.json"
_FORMAT: Final = 1
_GROUP: Final = re.compile(r"[A-Za-z0-9_]{1,40}", re.ASCII)  # a part of a file's name


@dataclass(frozen=True)
class Placed:
    """Where one rank has put an item of its plan.

    Attributes:
        file: its file, or None for a plain value.
        begin: offset of a tensor's first byte in it.
        value: the plain value.
        part: what this rank has stored; with its first item.
    """

    file: str | None
    begin: int = 0
    value: Any = None
    part: Any = None


@dataclass(frozen=True)
class Shard:
    """A stored part of a tensor.

    Attributes:
        file: its file.
        begin: offset of its first byte.
        sizes: its shape.
        dtype: its dtype.
    """

    file: str
    begin: int
    sizes: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its JSON file describes it.

    Attributes:
        metadata: for PyTorch's planner.
        shards: of tensors, by name and offsets.
        values: plain values, by name.
        objects: files of other objects, by name.
    """

    metadata: Metadata
    shards: Mapping[tuple[str, tuple[int, ...]], Shard]
    values: Mapping[str, Any]
    objects: Mapping[str, str]


def is_plain(value: Any, deep: int = 20) -> bool:
    """Return whether a value is kept in the JSON file: numbers, texts, and lists and dicts of them, each of exactly that type."""
    kind = type(value)
    if value is None or kind is bool:
        return True
    if kind is int:
        return bool(abs(value) < 2**63)
    if kind is float:
        return math.isfinite(value)
    if kind is str:
        return bool(value.isprintable())
    if kind is list:
        return deep > 0 and all(is_plain(one, deep - 1) for one in value)
    return kind is dict and deep > 0 and all(type(key) is str and is_plain(one, deep - 1) for key, one in value.items())


def describe(metadata: Metadata, placed: Iterable[tuple[MetadataIndex, Placed]], ranks: int) -> bytes:
    """Return the JSON file.

    Raises:
        InvalidInputError: a planner of the caller's has made something that has no JSON form.
    """
    shards: dict[tuple[str, tuple[int, ...]], Placed] = {}
    others: dict[str, Placed] = {}
    for index, one in placed:
        if isinstance(metadata.state_dict_metadata.get(index.fqn), TensorStorageMetadata):
            shards[index.fqn, tuple(index.offset or ())] = one
        else:
            others[index.fqn] = one
    tensors = {}
    for name, about in metadata.state_dict_metadata.items():
        if isinstance(about, TensorStorageMetadata):
            rows = []
            for chunk in about.chunks:
                offsets = tuple(chunk.offsets)
                found = shards.get((name, offsets))
                if found is None:
                    raise InvalidInputError(
                        f"no rank has stored the part of {name!r} at {offsets}: nothing was committed; save again"
                    )
                rows.append([list(offsets), list(chunk.sizes), found.file, found.begin])
            tensors[name] = {"dtype": _name_of(about.properties.dtype), "shape": list(about.size), "shards": rows}
    return canonical_json(
        {
            "format": _FORMAT,
            "ranks": ranks,
            "tensors": tensors,
            "values": {name: one.value for name, one in others.items() if one.file is None},
            "objects": {name: one.file for name, one in others.items() if one.file is not None},
            "paths": _paths(metadata.planner_data),
        }
    )


def group_of(paths: Any, name: str) -> str:
    """Return the part of a nested state that a tensor is in, such as `model`; "" where it is at the top, or the name is odd."""
    path = paths.get(name) if isinstance(paths, Mapping) else None
    if not isinstance(path, Sequence) or isinstance(path, str) or len(path) < 2 or not _GROUP.fullmatch(str(path[0])):
        return ""
    return str(path[0])


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _paths(given: Any) -> dict[str, list[str | int]] | None:
    """Return where each name is in the nested state, as the default planner notes it."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        found = {name: list(path) for name, path in given.items() if isinstance(path, Sequence) and not isinstance(path, str)}
        parts = [part for path in found.values() for part in path]
        if len(found) == len(given) and all(type(part) in {str, int} for part in parts):
            return found
    raise InvalidInputError(
        "the planner's data are not those of DefaultSavePlanner, and have no JSON form: a planner must leave `planner_data` to it"
    )


def parse(raw: bytes, where: str) -> Checkpoint:
    """Read the JSON file.

    Raises:
        FormatError: a newer version of this library wrote it.
        CorruptionError: it is not such a file.
    """
    try:
        found = parse_json(raw, FILE)
        if found["format"] != _FORMAT:
            raise FormatError(
                f"{where} is of format {found['format']!r:.50}, and this version reads {_FORMAT}: upgrade artifactstore"
            )
        tensors, shards = {}, {}
        for name, one in found["tensors"].items():
            dtype = _dtype(one["dtype"])
            chunks = []
            for offsets, sizes, file, begin in one["shards"]:
                at, shape = _numbers(offsets), _numbers(sizes)
                chunks.append(ChunkStorageMetadata(torch.Size(at), torch.Size(shape)))
                shards[name, at] = Shard(_text(file), _numbers([begin])[0], shape, dtype)
            size = torch.Size(_numbers(one["shape"]))
            tensors[name] = TensorStorageMetadata(TensorProperties(dtype=dtype), size, chunks)
        values, objects, paths = dict(found["values"]), dict(found["objects"]), found["paths"]
        rest = {name: BytesStorageMetadata() for name in (*values, *objects)}
        data = None if paths is None else {name: tuple(_part(part) for part in path) for name, path in paths.items()}
        metadata = Metadata({**tensors, **rest}, planner_data=data)
        return Checkpoint(metadata, shards, values, {name: _text(file) for name, file in objects.items()})
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInputError) as error:
        raise CorruptionError(
            f"{where} is not the description of a distributed checkpoint: {error!r:.200}", location=FILE
        ) from error


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    if not isinstance(found, torch.dtype):
        raise TypeError(f"{name:.100} is no dtype")
    return found


def _numbers(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(type(one) is int and 0 <= one < 2**60 for one in given):
        raise TypeError(f"{given!r:.100} are no sizes")
    return tuple(given)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{given!r:.100} is no path")
    return given


def _part(given: Any) -> str | int:
    if type(given) not in {str, int}:
        raise TypeError(f"{given!r:.100} is no key")
    part: str | int = given
    return part
