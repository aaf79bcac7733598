"""The storage reader: any number of ranks read what they need of a version, in ranges, verified."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.distributed.checkpoint import StorageReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.errors import ConflictError, CorruptionError, InvalidInputError, NotFoundError, UntrustedError
from artifactstore.integrations.torch.layout import FILE, Checkpoint, Shard, parse
from artifactstore.model.reference import Referable, as_reference
from artifactstore.objects.stored_folder import StoredFolder
from artifactstore.objects.trust import NOTHING, trust_of
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.runs.checkpoints import name_of, newest
from artifactstore.work.runs.run import Run
from artifactstore.work.session.session import Session
from artifactstore.work.tracking.current_run import note_read

if TYPE_CHECKING:
    from artifactstore.store import Store

__all__ = ["ArtifactReader", "resume"]

_BATCH: Final = 64 * 2**20  # bytes that are fetched at a time, and held


def resume(run: Run, name: str | None = None, *, trust: Any = False) -> "ArtifactReader | None":
    """Return a reader of the newest checkpoint of a run, also of an earlier job of the same id; None if there is none.

    Args:
        run: a started run.
        name: of the series, as passed to `ArtifactWriter`.
        trust: as for `ArtifactReader`.
    """
    session: Session = run._session  # noqa: SLF001 - a reader is a view of it
    series = name_of(run.name, name)
    with session.state() as state:
        found = newest(state, run.id, series)
    if found is None:
        return None
    run._running().own(found.digest)  # noqa: SLF001 - what a run has made itself is no input of it
    return ArtifactReader(run, found.ref, trust=trust)


class ArtifactReader(StorageReader):  # type: ignore[misc] # PyTorch is not read by the type checker
    """Read a distributed checkpoint: `dcp.load(state, storage_reader=ArtifactReader(store, "train/checkpoint:v3"))`.

    Any number of ranks may read; each fetches the ranges that it needs. What is read is verified, and nothing that is stored runs:
    objects that only a pickle can hold need `trust`.

    Attributes:
        ref: the version, pinned: `name:v3`, or a digest.
        step: its step, or None.
    """

    def __init__(self, of: "Run | Store", ref: str | Referable, *, trust: Any = False) -> None:
        """Find the checkpoint and read its description.

        Args:
            of: a store, or a started run.
            ref: the checkpoint.
            trust: as for `Store.get`: True, or the digest of the artifact, lets its pickles run.

        Raises:
            NotFoundError: there is no such artifact.
            InvalidInputError: it is not a distributed checkpoint.
            RefusedError: the reference is an alias of a tainted version.
        """
        super().__init__()
        self._of = of
        self._session: Session = of._session  # noqa: SLF001 - both are views of it
        self._trust = trust
        self._open(as_reference(ref))

    def _open(self, ref: str) -> None:
        session = self._session
        found = session.resolve(ref)
        if found.path is not None:
            raise InvalidInputError(f"{ref} names a path: expected an artifact")
        check_taint(session, ref, found)
        if isinstance(self._of, Run):
            self._of._running().used(found.digest, name=found.name, version=found.version)  # noqa: SLF001 - as Run.get does
        else:
            note_read(session, found)
        self.ref = found.digest if found.name is None or found.version is None else f"{found.name}:v{found.version}"
        self._found = found
        self._trusted = trust_of(self._trust, found.digest)
        self.step = self._step()
        folder = self._folder()
        try:
            raw = folder.read(FILE)
        except NotFoundError as error:
            raise InvalidInputError(f"{ref} is not a distributed checkpoint: it has no {FILE}; `store.get` reads it") from error
        self._checkpoint: Checkpoint = parse(raw, f"{self.ref}/{FILE}")

    def _step(self) -> int | None:
        found = self._found
        if found.name is None or found.version is None:
            return None
        with self._session.state(fresh=False) as state:
            step = state.names[found.name][found.version - 1].get("metadata", {}).get("step")
        return step if isinstance(step, int) else None

    def _folder(self) -> StoredFolder:
        session, digest = self._session, self._found.digest

        def no_tree() -> Any:
            raise AssertionError("a checkpoint is read in ranges")

        def use(manifest: Manifest) -> StoredFolder:
            using = partial(session.with_manifest, digest)
            return StoredFolder(session.core().cached_backend, manifest, no_tree, NOTHING, using=using)

        return session.with_manifest(digest, use)

    # -- as PyTorch calls it

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Return whether a checkpoint id may be a reference."""
        return isinstance(checkpoint_id, str)

    @property
    def checkpoint_id(self) -> str:
        """The version that is read."""
        return self.ref

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin another load; an id is another reference.

        Raises:
            NotFoundError: there is no such artifact.
        """
        if checkpoint_id is not None and str(checkpoint_id) not in {"", self.ref}:
            self._open(str(checkpoint_id))

    def read_metadata(self) -> Metadata:
        """Return what the checkpoint has."""
        return replace(self._checkpoint.metadata, storage_meta=StorageMeta(checkpoint_id=self.ref))

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:  # noqa: FBT001 - PyTorch's
        """Do nothing: the checkpoint is open."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Add to the plan which artifact this rank reads."""
        return replace(plan, storage_data=self._found.digest)

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Compare what the ranks read.

        Raises:
            ConflictError: they do not read the same checkpoint: another one was stored between.
        """
        if len({one.storage_data for one in plans}) > 1:
            raise ConflictError(
                "the ranks do not read the same checkpoint, since another one was stored meanwhile: pass the same version, or load again"
            )
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Read what this rank needs.

        Raises:
            CorruptionError: bytes do not match a digest.
            UntrustedError: it needs an object that only a pickle can hold.
            BackendError: the store cannot be reached.
        """
        folder = self._folder()
        pieces: dict[str, list[_Piece]] = {}
        for item in plan.items:
            if item.type is LoadItemType.BYTE_IO:
                planner.load_bytes(item, self._object(folder, item.storage_index.fqn))
                continue
            key = item.storage_index.fqn, tuple(item.storage_index.offset or ())
            shard = self._checkpoint.shards.get(key)
            if shard is None:
                raise CorruptionError(f"{self.ref} has no part of {key[0]!r} at {key[1]}", location=FILE)
            target = planner.resolve_tensor(item).detach()
            commit = partial(planner.commit_tensor, item, target)
            pieces.setdefault(shard.file, []).append(_Piece(shard, item, target, commit))
        for file, some in pieces.items():
            _read(folder, file, some, self.ref)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _object(self, folder: StoredFolder, name: str) -> io.BytesIO:
        """Return an object as `torch.save` writes it: one that PyTorch's planner may load without looking."""
        checkpoint = self._checkpoint
        if name in checkpoint.values:
            return _saved(checkpoint.values[name])
        raw = folder.read(checkpoint.objects[name])
        if self._trusted.everything:
            return io.BytesIO(raw)
        try:
            value = torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")
        except Exception as error:
            raise UntrustedError(
                f"{name!r} in {self.ref} was not read: only a pickle can hold it, and reading one runs code from the store; if you trust "
                f"its author, pass trust=True ({str(error).partition(chr(10))[0][:200]})"
            ) from error
        return _saved(value)  # written anew: the planner reads nothing that was stored


def _saved(value: Any) -> io.BytesIO:
    made = io.BytesIO()
    torch.save(value, made)
    made.seek(0)
    return made


class _Piece:
    """A part of a shard that goes to a part of a tensor."""

    def __init__(self, shard: Shard, item: ReadItem, target: torch.Tensor, commit: Callable[[], None]) -> None:
        self.shard = shard
        self.target = target
        self.commit = commit
        self.at, self.lengths = tuple(item.storage_offsets), tuple(item.lengths)
        if tuple(target.shape) != self.lengths:
            raise InvalidInputError(
                f"{item.dest_index.fqn!r} has room for {tuple(target.shape)}, and {self.lengths} is to be read"
            )

    def spans(self) -> Iterator["_Span"]:
        """Yield it in contiguous ranges of at most some megabytes, where a row is no longer."""
        if all(self.lengths):
            yield from self._split(self.at, self.lengths, self.target, 0)

    def _split(self, at: tuple[int, ...], lengths: tuple[int, ...], target: torch.Tensor, axis: int) -> "Iterator[_Span]":
        span = _Span(self.shard, at, lengths, target)
        while axis < len(lengths) and lengths[axis] == 1:
            axis += 1
        if span.size <= _BATCH or axis == len(lengths):
            yield span
            return
        # Rows are taken together as far as they fit; what is between them is fetched, too.
        rows = max(1, lengths[axis] * _BATCH // span.size)
        for first in range(0, lengths[axis], rows):
            count = min(rows, lengths[axis] - first)
            begin = (*at[:axis], at[axis] + first, *at[axis + 1 :])
            size = (*lengths[:axis], count, *lengths[axis + 1 :])
            yield from self._split(begin, size, target.narrow(axis, first, count), axis + (count == 1))


class _Span:
    """A contiguous range of a shard's bytes, and the tensor that gets the elements in it that are wanted."""

    def __init__(self, shard: Shard, at: tuple[int, ...], lengths: tuple[int, ...], target: torch.Tensor) -> None:
        strides, step = [], 1
        for one in reversed(shard.sizes):
            strides.append(step)
            step *= one
        self.strides = strides[::-1]
        width = shard.dtype.itemsize
        first = sum(a * s for a, s in zip(at, self.strides, strict=True))
        last = first + sum((n - 1) * s for n, s in zip(lengths, self.strides, strict=True))
        self.begin = shard.begin + first * width
        self.size = (last - first + 1) * width
        self.shard, self.lengths, self.target = shard, lengths, target

    def take(self, raw: memoryview) -> None:
        """Copy the elements."""
        flat = torch.frombuffer(raw, dtype=torch.uint8).view(self.shard.dtype)
        self.target.copy_(flat.as_strided(self.lengths, self.strides))


def _read(folder: StoredFolder, file: str, pieces: list[_Piece], ref: str) -> None:
    """Read parts of one file, some megabytes at a time."""
    end = folder.size(file)
    waiting: list[_Span] = []
    size = 0

    def fetch() -> None:
        nonlocal size
        for one, raw in zip(waiting, folder.ranges(file, [(one.begin, one.size) for one in waiting]), strict=True):
            one.take(raw)
        waiting.clear()
        size = 0

    for piece in sorted(pieces, key=lambda one: one.shard.begin):
        for span in piece.spans():
            if span.begin + span.size > end:
                raise CorruptionError(
                    f"{ref}/{file} has {end} bytes, and {FILE} says that a tensor ends behind them", location=file
                )
            if waiting and size + span.size > _BATCH:
                fetch()
            waiting.append(span)
            size += span.size
    if waiting:
        fetch()
    for piece in pieces:
        piece.commit()
