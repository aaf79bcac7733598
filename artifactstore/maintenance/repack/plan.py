"""The plan of a repacking: which packs are worth writing anew, and which artifacts move with them. Pure: functions of values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from artifactstore.content.packs.pack import MAGIC, TARGET, TRAILER
from artifactstore.runtime.loading import numpy

__all__ = ["Layout", "RepackPlan", "choose"]

_RECORD: Final = 49  # bytes of a frame's record in a pack's footer
_SMALL: Final = 4 * 2**20  # bytes: smaller packs of one name are merged


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the bytes of an artifact are.

    Attributes:
        digest: its digest.
        manifest: the id of its current manifest.
        group: the name that it is laid with; its packs are merged with those of the same name only.
        packs: the ids of its packs.
        extents: rows of number of the pack (over all artifacts), offset and stored length; each once.
        fixed: whether it stays where it is: its packs cannot go.
    """

    digest: str
    manifest: str
    group: str
    packs: tuple[str, ...]
    extents: Any
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class RepackPlan:
    """What is written anew.

    Attributes:
        packs: the packs that nothing will need any more, with their bytes.
        most: bytes that are written anew at most.
        artifacts: those that have bytes there, by group, in reading order.
    """

    packs: Mapping[str, int]
    most: int
    artifacts: Sequence[Layout]


def choose(layouts: Iterable[Layout], numbers: Mapping[str, int], sizes: Mapping[str, int], below: float) -> RepackPlan:
    """Choose the packs of which less than a share is alive, and small ones where merging makes them fewer.

    Args:
        layouts: all artifacts that must stay, in reading order.
        numbers: pack → its number in the layouts' extents.
        sizes: pack → bytes, of those that exist.
        below: the share.
    """
    layouts = list(layouts)
    live, frames = _live(layouts, len(numbers))
    fixed = {pack for one in layouts if one.fixed for pack in one.packs}
    groups: dict[str, set[str]] = {}  # pack → the groups that need it
    for one in layouts:
        for pack in one.packs:
            groups.setdefault(pack, set()).add(one.group)
    chosen: set[str] = set()
    small: dict[str, list[str]] = {}  # group → its small packs
    for pack, whose in groups.items():
        if pack in fixed or pack not in sizes:
            continue
        alive, number = int(live[numbers[pack]]), numbers[pack]
        dead = sizes[pack] - len(MAGIC) - TRAILER - alive - _RECORD * int(frames[number])
        if dead > 0 and alive < below * (alive + dead):
            chosen.add(pack)
        elif sizes[pack] < _SMALL and len(whose) == 1:
            small.setdefault(next(iter(whose)), []).append(pack)
    for packs in small.values():
        if math.ceil(sum(int(live[numbers[pack]]) for pack in packs) / TARGET) < len(packs):
            chosen.update(packs)
    moved = [one for one in layouts if not chosen.isdisjoint(one.packs)]
    most = sum(int(live[numbers[p]]) + _RECORD * int(frames[numbers[p]]) + len(MAGIC) + TRAILER for p in chosen)
    return RepackPlan({pack: sizes[pack] for pack in sorted(chosen)}, most, moved)


def _live(layouts: Sequence[Layout], packs: int) -> tuple[Any, Any]:
    """Return for each pack the bytes that artifacts need, and in how many frames; each extent counts once."""
    np = numpy()
    parts = [one.extents for one in layouts if len(one.extents)]
    rows = np.unique(np.concatenate(parts), axis=0) if parts else np.empty((0, 3), np.int64)
    return (
        np.bincount(rows[:, 0], weights=rows[:, 2], minlength=packs),
        np.bincount(rows[:, 0], minlength=packs),
    )
