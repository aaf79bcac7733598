"""Conditions on content: whether data is apart from what a model was trained on, a report's field, whether reading runs code."""

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from artifactstore.catalog.comparison import Comparison
from artifactstore.catalog.gates.conditions import Answer
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.errors import ArtifactStoreError, CorruptionError, NotFoundError, UntrustedError
from artifactstore.objects.registry import runs_code
from artifactstore.runtime.loading import arrow, numpy
from artifactstore.work.get.get import opened, stored_value, untrusted_object
from artifactstore.work.session.session import Session

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["evaluated_apart", "reads_safely", "report_field"]

_ROWS: Final = "rows"  # side content with the hashes of a table's rows
_PICKLED: Final = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".cloudpickle")
_SNIFFED: Final = 1000  # files whose first bytes are looked at


def evaluated_apart(session: Session, metric: str, on: str, made_from: set[str], ancestors: set[str]) -> Answer:
    """Judge whether the data of a measure shares no file and no row with what the model was trained on.

    Args:
        session: the store.
        metric: the metric.
        on: digest of the data that it was measured on.
        made_from: digests of the data that the model was trained on.
        ancestors: digests of all that the model was made from: the data itself must not be among them.
    """
    if on in ancestors:
        return Answer(ok=False, text=f"the data on which {metric} was measured is among what it was made from", limit="apart")
    try:
        files, tables = _files_and_rows(session, on)
    except (NotFoundError, CorruptionError) as error:
        return Answer(ok=False, text=f"the data on which {metric} was measured cannot be read: {error}", limit="apart")
    bits, unknown = 0, []
    if not files:
        return Answer(ok=False, text=f"the data on which {metric} was measured has no files", limit="apart")
    for digest in sorted(made_from):
        try:
            others, other_tables = _files_and_rows(session, digest)
        except (NotFoundError, CorruptionError) as error:
            return Answer(ok=False, text=f"what it was made from cannot be read: {error}", limit="apart")
        shared = files & others
        if shared:
            return Answer(
                ok=False,
                text=f"{metric} was measured on data with {len(shared)} files that it was made from",
                value=len(shared),
                limit="apart",
            )
        for one in tables:
            for other in other_tables:
                if one is None or other is None:
                    unknown.append(digest)
                    continue
                common, depth = _shared(one, other)
                bits = max(bits, depth)
                if common:
                    about = "" if not depth else f" of a sample of one in {2**depth}"
                    text = f"{metric} was measured on data that shares {common} rows{about} with what it was made from"
                    return Answer(ok=False, text=text, value=common, limit="apart")
    text = f"{metric} was measured on data that shares no file and no row with what it was made from"
    if unknown:
        text = f"{metric} was measured on data that shares no file with what it was made from; rows are not known of all tables"
    elif bits:
        # Of n shared rows none is in a sample of one in 2^bits with a probability of (1 - 2^-bits)^n.
        least = int(3 * 2**bits)
        text += f" (by a sample of one in {2**bits}: {least} shared rows or more would be seen with 95 %)"
    return Answer(ok=True, text=text, limit="apart")


def _files_and_rows(session: Session, digest: str) -> tuple[set[bytes], list[tuple[int, "Hashes"] | None]]:
    """Return the digests of an artifact's files that are not empty, and the row hashes of its tables; None for one without."""

    def use(manifest: Manifest) -> tuple[set[bytes], list[tuple[int, "Hashes"] | None]]:
        files = {raw for raw, size in zip(manifest.digests, manifest.sizes, strict=True) if size}
        rows: list[tuple[int, Hashes] | None] = []
        for name in manifest.side:
            if name.rpartition("/")[2] == _ROWS:
                raw = read_side(session.core().cached_backend, manifest, name)
                rows.append(None if raw is None else _decoded(raw))
        tables = sum(path.lower().endswith((".parquet", ".pq")) for path in manifest.paths)
        rows += [None] * max(0, tables - len(rows))
        return files, rows

    return session.with_manifest(digest, use)


def _decoded(raw: bytes) -> tuple[int, "Hashes"]:
    numpy()
    table = arrow("parquet").read_table(io.BytesIO(raw))
    counts = json.loads(table.schema.metadata[b"artifactstore"])
    return int(counts["bits"]), table.column("hash").to_numpy()


def _shared(one: tuple[int, "Hashes"], other: tuple[int, "Hashes"]) -> tuple[int, int]:
    """Return how many of one table's rows are in the other, as far as both are sampled, and the depth of that sample."""
    np = numpy()
    bits = max(one[0], other[0])
    mask = np.uint64((1 << bits) - 1)
    mine, theirs = (hashes[hashes & mask == 0] if bits else hashes for hashes in (one[1], other[1]))
    return int(np.isin(mine, theirs).sum()), bits


def report_field(session: Session, rule: Mapping[str, Any], digest: str) -> Answer:
    """Judge a field of a JSON report: `psi.max` is `max` inside of `psi`."""
    limit, name = rule["is"], f"{rule['report']}: {rule['field']}"
    try:
        value = stored_value(session, digest)
    except (NotFoundError, CorruptionError) as error:
        return Answer(ok=False, text=f"{name} cannot be read: {error}", limit=limit)
    for part in rule["field"].split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return Answer(ok=False, text=f"the report has no field {rule['field']!r}, asked is {limit}", limit=limit)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Answer(ok=False, text=f"{name} is no number, asked is {limit}", limit=limit)
    return Answer(ok=Comparison.parse(limit)(value), text=f"{name} is {value}, asked is {limit}", value=value, limit=limit)


def reads_safely(session: Session, digest: str) -> Answer:
    """Judge whether reading an artifact runs no code of its own: its format, and whether files are pickles."""

    def use(manifest: Manifest) -> tuple[str | None, list[str], list[tuple[int, str]]]:
        suspects = [path for path in manifest.paths if path.lower().endswith(_PICKLED)]
        return manifest.format, suspects, [(row, manifest.paths[row]) for row in range(min(len(manifest.paths), _SNIFFED))]

    try:
        kind, suspects, files = session.with_manifest(digest, use)
        if kind is not None and runs_code(kind):
            return Answer(ok=False, text=f"reading it runs code: its format is {kind}", value=kind, limit="safe")
        if kind is not None:
            untrusted_object(session, digest)
            return Answer(ok=True, text=f"reading it runs no code: its format is {kind}", value=kind, limit="safe")
        if suspects:
            return Answer(ok=False, text=f"{suspects[0]} may run code when it is loaded", value=suspects[0], limit="safe")
        pickled = next((path for row, path in files if _is_pickle(session, digest, row)), None)
        if pickled is not None:
            return Answer(ok=False, text=f"{pickled} is a pickle, which runs code when it is loaded", value=pickled, limit="safe")
    except UntrustedError as error:
        return Answer(ok=False, text=f"reading it runs code: {error}", limit="safe")
    except ArtifactStoreError as error:
        return Answer(ok=False, text=f"whether reading it runs code cannot be judged: {error}", limit="safe")
    return Answer(ok=True, text="reading it runs no code: its files are no pickles", limit="safe")


def _is_pickle(session: Session, digest: str, row: int) -> bool:
    with opened(session, digest, row) as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5
