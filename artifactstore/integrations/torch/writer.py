"""The storage writer: each rank stores its shards, the coordinator makes them one version."""

import io
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.distributed.checkpoint import StorageWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from artifactstore.content.write.source import Source, from_bytes
from artifactstore.errors import ConflictError, InvalidInputError, UnsupportedError
from artifactstore.integrations.torch.layout import FILE, Placed, describe, group_of, is_plain
from artifactstore.integrations.torch.shard_files import TensorItem, tensor_files
from artifactstore.work.put.parts import Parts, StoredPart, store_part
from artifactstore.work.runs.checkpoints import Keep, name_of
from artifactstore.work.runs.json_safe import whole_number
from artifactstore.work.runs.run import Run

if TYPE_CHECKING:
    from artifactstore.store import Store
    from artifactstore.work.get.artifact import Artifact

__all__ = ["ArtifactWriter"]

_SMALL: Final = 8192  # bytes of an object that may be a number or a text
_OPTIONS: Final = frozenset({"kind", "metadata", "metrics", "reason", "aliases", "tags", "description"})


class ArtifactWriter(StorageWriter):  # type: ignore[misc] # PyTorch is not read by the type checker
    """Write a distributed checkpoint as one version: `dcp.save(state, storage_writer=ArtifactWriter(run, step=100))`.

    Every rank makes one, for the same run (joined by its id) or store. A rank's shards are durable before the coordinator commits;
    nothing of a checkpoint is visible before, and if a rank dies none of it ever is. Shards that are stored already cost nothing.

    Attributes:
        artifact: what the last save has made; on the coordinator, else None.
        step: how far the training is; a `checkpoint_id` that is passed to `dcp.save` sets it, so one writer serves many steps.
    """

    def __init__(
        self,
        to: "Run | Store",
        name: str | None = None,
        *,
        step: int | None = None,
        keep: int | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Prepare to write.

        Args:
            to: a started run, whose next checkpoint it is; or a store.
            name: of the series; by default `<run name>/checkpoint`.
            step: how far the training is.
            keep: which checkpoints of the run stay, as for `Run.checkpoint`.
            **options: of `put`: kind, metadata, metrics, reason, aliases, tags, description.

        Raises:
            InvalidInputError: an argument is invalid.
        """
        super().__init__()
        self._to = to
        self._session = to._session  # noqa: SLF001 - both are views of it
        if isinstance(to, Run):
            self._name = name_of(to.name, name)
        elif name is None or keep is not None:
            raise InvalidInputError("pass name= with a store; keep= is for the checkpoints of a run: pass the run instead")
        else:
            self._name = name
        if unknown := sorted(options.keys() - _OPTIONS):
            raise InvalidInputError(f"{', '.join(unknown)}: expected options of put that describe: {', '.join(sorted(_OPTIONS))}")
        if keep is not None:
            Keep.of(keep)
        self._keep = keep
        self._options = options
        self.step = step
        self.artifact: Artifact | None = None

    # -- as PyTorch calls it

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Return whether a checkpoint id is a step."""
        return str(checkpoint_id).isdecimal()

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin another checkpoint; an id is its step.

        Raises:
            InvalidInputError: it is not a whole number.
        """
        self.artifact = None
        if checkpoint_id is not None and str(checkpoint_id) != "":
            if not self.validate_checkpoint_id(checkpoint_id):
                raise InvalidInputError(
                    f"checkpoint_id={str(checkpoint_id)[:100]!r}: expected the step, a whole number; the name is an argument of ArtifactWriter"
                )
            self.step = int(str(checkpoint_id))

    def storage_meta(self) -> StorageMeta:
        """Return what identifies this checkpoint."""
        return StorageMeta(checkpoint_id=self._name if self.artifact is None else self.artifact.ref)

    def set_up_storage_writer(self, is_coordinator: bool, *_args: Any, **kwargs: Any) -> None:  # noqa: FBT001 - PyTorch's
        """Check that there is something to write to.

        Raises:
            UnsupportedError: the ranks do not talk to each other.
            InvalidInputError: the step is missing.
            RefusedError: the store is read-only.
        """
        del is_coordinator
        if not kwargs.get("use_collectives", True):
            raise UnsupportedError(
                "use_collectives=False makes a checkpoint of each rank: leave it out, one version has all ranks"
            )
        step = None if self.step is None else whole_number(self.step)
        if step is None:
            raise InvalidInputError(
                f"step={self.step!r:.100}: expected a whole number, as step= or as the checkpoint_id of dcp.save"
            )
        self.step = step
        self._session.check_writable()

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Add the step to the plan."""
        return replace(plan, storage_data=self.step)

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Number the ranks.

        Raises:
            ConflictError: they do not save the same step.
        """
        steps = sorted({one.storage_data for one in plans if isinstance(one.storage_data, int)} | {self.step or 0})
        if len(steps) > 1:
            raise ConflictError(f"the ranks save different steps ({', '.join(map(str, steps[:5]))}): nothing was stored")
        return [replace(plan, storage_data=(number, len(plans))) for number, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Store the shards of this rank; they are durable when the future is done."""
        rank, ranks = plan.storage_data
        prefix = f"shard-{rank + 1:05}-of-{ranks:05}"
        placed: list[tuple[WriteItem, int, Placed]] = []
        files: list[Source] = []
        tensors: dict[int, WriteItem] = {}
        items: list[TensorItem] = []
        for item in plan.items:
            if item.type is WriteItemType.BYTE_IO:
                raw = _bytes(planner.resolve_data(item))
                value = _plain(raw)
                if value is not _NOT:
                    placed.append((item, len(raw), Placed(None, value=value)))
                else:
                    path = f"objects/{prefix}-{len(files):05}.pt"
                    files.append(from_bytes(path, raw))
                    placed.append((item, len(raw), Placed(path)))
            else:
                one = _tensor_item(item, planner, group_of(plan.planner_data, item.index.fqn))
                tensors[id(one)] = item
                items.append(one)
        for source, inside in tensor_files(items, prefix):
            files.append(source)
            placed += [(tensors[id(one)], one.size, Placed(source.path, begin)) for one, begin in inside]
        done: Future[list[WriteResult]] = Future()
        if placed:
            part = self._store(files)
            placed[0] = (*placed[0][:2], replace(placed[0][2], part=part))
        done.set_result([WriteResult(index=item.index, size_in_bytes=size, storage_data=one) for item, size, one in placed])
        return done

    def _store(self, files: list[Source]) -> StoredPart:
        return store_part(self._session, files, name=self._name, sha256=self._options.get("kind") == "model")

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Make one version of what all ranks have stored; on the coordinator."""
        found = [(one.index, one.storage_data) for some in results for one in some]
        parts = [one.part for _, one in found if one.part is not None]
        parts.append(self._store([from_bytes(FILE, describe(metadata, found, len(results)))]))
        options = {**self._options, "metadata": {**(self._options.get("metadata") or {}), "torch.ranks": str(len(results))}}
        if isinstance(self._to, Run):
            self.artifact = self._to.checkpoint(Parts(parts), step=self.step or 0, name=self._name, keep=self._keep, **options)
        else:
            options["metadata"]["step"] = self.step
            self.artifact = self._to.put(Parts(parts), self._name, **options)
        metadata.storage_meta = self.storage_meta()


_NOT: Final = object()


def _bytes(given: Any) -> bytes:
    return given.getvalue() if isinstance(given, io.BytesIO) else bytes(given.read())


def _plain(raw: bytes) -> Any:
    """Return the number, text or None that `torch.save` has written, if it is one."""
    if len(raw) > _SMALL:
        return _NOT
    try:
        value = torch.load(io.BytesIO(raw), weights_only=True)
    except Exception:  # noqa: BLE001 - it is of another type: of the caller's own, which is not looked at here
        return _NOT
    return value if is_plain(value) else _NOT


def _tensor_item(item: WriteItem, planner: SavePlanner, group: str) -> TensorItem:
    about = item.tensor_data
    assert about is not None  # for PyTorch's planners, as for any: the metadata are made of it
    return TensorItem(
        item.index.fqn,
        tuple(item.index.offset or ()),
        tuple(about.chunk.sizes),
        about.properties.dtype,
        lambda: planner.resolve_data(item),
        group,
    )
