"""Parses row groups of a manifest's Parquet file into a manifest's columns; without an object per row if all are files."""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from operator import gt
from typing import Any

from artifactstore.content.manifests.arrow_columns import all_equal, memory, present, raw_digests, raw_texts, truths
from artifactstore.content.manifests.checks import check_base, check_files
from artifactstore.content.manifests.compact_lists import SIZE, shifted
from artifactstore.content.manifests.manifest import Extent, Manifest
from artifactstore.model.listing import check_link, check_paths

__all__ = ["add_chunks", "add_rows"]


def add_chunks(manifest: Manifest, lists: Any, *, bases: bool) -> str:
    """Add the chunks of some rows; return for each whether it has its own digest, as digits."""
    if lists.null_count:
        raise ValueError("a file has no list of chunks")
    ends = memory(lists.offsets, "i")
    # `flatten` would load pyarrow.compute, 0.04 s.
    values = lists.values.slice(ends[0], ends[-1] - ends[0]) if len(ends) else lists.values
    if values.null_count:
        raise ValueError("a chunk is missing")
    names = {values.type.field(i).name: i for i in range(values.type.num_fields)}
    fields = {name: values.field(i) for name, i in names.items()}
    c, base = manifest.chunks, len(manifest.chunks)
    c.digests.data += raw_digests(fields["digest"])
    for name, target in (("size", c.sizes), ("offset", c.offsets), ("stored", c.stored), ("pack", c.packs), ("codec", c.codecs)):
        target.frombytes(memoryview(memory(fields[name], target.typecode)).cast("B"))
    if fields["data"].null_count < len(values):
        c.inline.update((i, data) for i, data in enumerate(fields["data"].to_pylist(), base) if data is not None)
    if bases and fields["base"].null_count < len(values):
        _add_bases(manifest, fields["base"].to_pylist(), base)
    return present(fields["digest"])


def add_rows(manifest: Manifest, columns: dict[str, Any], own: str, before: str) -> str:
    """Add files, folders and links, whose chunks were added before; return the last path."""
    m, base, low = manifest, len(manifest.chunks) - len(own), len(manifest.paths)
    ends = array("i", memory(columns["chunks"].offsets, "i").tobytes() or bytes(4))
    shift = base - ends[0]
    if all_equal(columns["type"], b"file"):
        if columns["digest"].null_count:
            raise ValueError("a file has no digest")
        m.paths.extend_raw(*raw_texts(columns["path"]))
        m.sizes.frombytes(memoryview(memory(columns["size"], "q")).cast("B"))
        m.digests.data += raw_digests(columns["digest"])
        m.executable += truths(columns["executable"])
        m.first.extend(shifted(ends[1:], shift))
        for batch in m.paths.batches(low):
            before = _check_order(batch, before)
    else:
        paths = columns["path"].to_pylist()
        before = _check_order(paths, before)
        _add_mixed(manifest, columns, paths, [end + shift for end in ends[1:]])
    _add_digests(manifest, low, base, own)
    check_files(manifest, low)
    return before


def _check_order(paths: Sequence[str], before: str) -> str:
    """Check that paths are valid and sorted; return the last one."""
    check_paths(paths)
    if any(map(gt, (before, *paths), paths)):
        path = next(two for one, two in pairwise((before, *paths)) if one > two)
        raise ValueError(f"the path {path!r} is not in sorted order")
    return paths[-1] if paths else before


def _add_mixed(manifest: Manifest, columns: dict[str, Any], paths: list[str], ends: list[int]) -> None:
    """Add files mixed with folders and links."""
    m = manifest
    kinds, targets, bits_of = (columns[name].to_pylist() for name in ("type", "target", "executable"))
    sizes, raw, there = memory(columns["size"], "q"), raw_digests(columns["digest"]), present(columns["digest"])
    for i, (path, kind) in enumerate(zip(paths, kinds, strict=True)):
        if kind == "file":
            if there[i] == "0":
                raise ValueError(f"the file {path!r} has no digest")
            m.paths.append(path)
            m.sizes.append(sizes[i])
            m.digests.data += raw[i * SIZE : i * SIZE + SIZE]
            m.executable.append(bool(bits_of[i]))
            m.first.append(ends[i])
        elif kind == "dir":
            m.folders.append(path)
        elif kind == "link":
            check_link(path, targets[i])
            m.links.append((path, targets[i]))
        else:
            raise ValueError(f"{path!r} has the unknown type {kind!r}")


def _add_digests(manifest: Manifest, low: int, base: int, own: str) -> None:
    """Set the digest of single-chunk files on their chunk; `own` marks the chunks from `base` on that have their own digest."""
    m, lacking = manifest, own.count("0")
    if lacking == len(own) == len(m.paths) - low and m.first[low:] == array("q", range(base, base + len(own) + 1)):
        m.chunks.digests.data[base * SIZE :] = m.digests.data[low * SIZE :]
        return
    if lacking:
        for row, (begin, end) in enumerate(pairwise(m.first[low:]), low):
            if end - begin == 1 and own[begin - base] == "0":
                m.chunks.digests.data[begin * SIZE : end * SIZE] = m.digests.data[row * SIZE : row * SIZE + SIZE]
                lacking -= 1
    if lacking:
        raise ValueError("a chunk has no digest")


def _add_bases(manifest: Manifest, rows: list[dict[str, Any] | None], first: int) -> None:
    """Add the bases of deltas, for chunks from `first` on."""
    packs = manifest.packs
    for i, row in enumerate(rows, first):
        if row is None:
            continue
        one = Extent(pack=packs[row["pack"]], **{name: row[name] for name in ("digest", "size", "offset", "stored", "codec")})
        check_base(manifest, i, one, row["pack"])
        manifest.chunks.bases[i] = one
