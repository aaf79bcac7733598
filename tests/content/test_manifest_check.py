"""What readers refuse in a manifest, its writers refuse before: no manifest may be written that this version can't read."""

import io
import random
import re
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifactstore import ArtifactStoreError, CorruptionError, InvalidInputError
from artifactstore.content.codecs.codec import DELTAS, RAW
from artifactstore.content.manifests import checks
from artifactstore.content.manifests.checks import check
from artifactstore.content.manifests.compact_lists import Texts
from artifactstore.content.manifests.manifest import INLINE, Extent, Manifest
from artifactstore.content.manifests.parquet import decode, encode
from artifactstore.model.digest import Digest

PACK, OTHER = "0" * 32, "f" * 32
BASE = Extent(b"b" * 32, 100, OTHER, 8, 90, RAW)


def sound() -> Manifest:
    """Return a manifest with files in packs and inline, a delta, folders, links and side content."""
    made = Manifest("blake3", packs=[PACK, OTHER], modes=True, format="table")
    for path in ("a", "d/b", "d/c"):
        for number in range(2):
            made.chunks.add(Digest.of(f"{path}{number}".encode()).raw, 100, 0, 8 + 100 * len(made.chunks), 100, RAW)
        made.close_file(path, 200, Digest.of(path.encode()).raw, executable=path == "a")
    made.chunks.inline[len(made.chunks)] = b"tiny"
    made.chunks.add(Digest.of(b"tiny").raw, 4, INLINE, 0, 4, RAW)
    made.close_file("e", 4, Digest.of(b"tiny").raw, executable=False)
    made.chunks.bases[len(made.chunks)] = BASE
    made.chunks.add(b"d" * 32, 100, 0, 900, 60, DELTAS[2])
    made.close_file("f", 100, b"d" * 32, executable=False)
    made.folders, made.links = ["empty"], [("link", "d/b")]
    made.side = {"profile": [Extent(b"s" * 32, 10, PACK, 8, 10, RAW), Extent(b"t" * 32, 3, None, 0, 3, RAW, b"abc")]}
    made.deltas = {"f": (2, 150)}
    return made


def many(made: Manifest) -> Manifest:
    """Add so many files that they are looked at in columns; some are empty, some of several chunks."""
    for number in range(1500):
        for part in range((1, 1, 1, 0, 3)[number % 5]):
            made.chunks.add(Digest.of(b"%d %d" % (number, part)).raw, 7, 0, 0, 7, RAW)
        size = 7 * (len(made.chunks) - made.first[-1])
        own = made.chunks.digests[-1] if size == 7 else Digest.of(b"%d" % number if size else b"").raw
        made.close_file(f"z/{number:05}", size, own, executable=number % 7 == 0)
    return made


def rename(row: int, path: str) -> Callable[[Manifest], object]:
    return lambda m: setattr(m, "paths", Texts([*m.paths[:row], path, *m.paths[row + 1 :]]))


def alone(path: str) -> Callable[[Manifest], object]:
    """Leave one file, under that path: Arrow needs the rows in order."""

    def change(m: Manifest) -> None:
        m.__init__("blake3")  # type: ignore[misc]
        m.close_file(path, 0, Digest.of(b"").raw, executable=False)

    return change


def record(column: str, i: int, value: int) -> Callable[[Manifest], object]:
    return lambda m: getattr(m.chunks, column).__setitem__(i, value)


def side(**fields: object) -> Callable[[Manifest], object]:
    extent: dict[str, object] = {"digest": b"s" * 32, "size": 10, "pack": PACK, "offset": 8, "stored": 10, "codec": RAW}
    return lambda m: m.side.update(profile=[Extent(**{**extent, **fields})])  # type: ignore[arg-type]


FAULTS: dict[str, Callable[[Manifest], object]] = {
    "a path twice": rename(2, "d/b"),
    "a path twice, of a file and a folder": lambda m: m.folders.append("e"),
    "a path twice, of a file and a link": lambda m: m.links.append(("e", "a")),
    "no chunks, and the digest of something": lambda m: m.close_file("zz", 0, b"z" * 32, executable=False),
    "a folder twice": lambda m: m.folders.append("empty"),
    "a link twice": lambda m: m.links.append(("link", "a")),
    "a file inside of a file": rename(1, "a/b"),
    "a file deep inside of a file": rename(1, "a/b/c/d"),
    "a folder inside of a file": lambda m: m.folders.append("a/x"),
    "a link inside of a file": lambda m: m.links.append(("a/x", "../e")),
    "a file inside of a link": lambda m: m.links.append(("d", "a")),
    "a folder inside of a link": lambda m: m.folders.append("link/x"),
    "out of order": rename(3, "b"),
    **{
        f"the path {path!r}": alone(path)
        for path in ("", "/a", "-", "..", "C:a", "CON\x00", "a\r", "\ufffd", "\ud800", "A" * 256, "A//b", "A/./b", "A/", "A/../b")
    },
    "a folder's path": lambda m: m.folders.append("x//y"),
    "a link's path": lambda m: m.links.append(("../x", "a")),
    "a link that leads outside": lambda m: m.links.append(("x", "../../y")),
    "a link that leads outside through another": lambda m: m.links.extend([("x", "d"), ("y", "x/../../z")]),
    "an absolute link": lambda m: m.links.append(("x", "/etc/passwd")),
    "a link to nothing": lambda m: m.links.append(("x", "")),
    "a link that is no text": lambda m: m.links.append(("x", "\ud800")),
    "a size that its chunks do not have": lambda m: m.sizes.__setitem__(0, 201),
    "a pack that is no id": lambda m: m.packs.__setitem__(0, "../../etc"),
    "a pack in capitals": lambda m: m.packs.__setitem__(1, "F" * 32),
    "a pack behind the list": record("packs", 0, 2),
    "a pack before the list": record("packs", 0, -2),
    "an inline chunk without bytes": record("packs", 0, INLINE),
    "a chunk in a pack with bytes here": record("packs", 6, 0),
    "a chunk before its pack": record("offsets", 0, -1),
    "a chunk that is stored too long": record("stored", 0, 64 * 2**20 + 1),
    "a chunk that is stored shorter than nothing": record("stored", 0, -1),
    "a chunk that is too long": lambda m: (m.chunks.sizes.__setitem__(0, 65 * 2**20), m.sizes.__setitem__(0, 65 * 2**20 + 100)),
    "chunks of less than nothing": lambda m: (m.chunks.sizes.__setitem__(0, -1), m.chunks.sizes.__setitem__(1, 201)),
    "a delta without a base": lambda m: m.chunks.bases.clear(),
    "a base of what is no delta": lambda m: m.chunks.bases.update({0: BASE}),
    "a base of another size": lambda m: m.chunks.bases.update({7: Extent(b"b" * 32, 99, OTHER, 8, 90, RAW)}),
    "a base that is a delta": lambda m: m.chunks.bases.update({7: Extent(b"b" * 32, 100, OTHER, 8, 90, DELTAS[2])}),
    "a base before its pack": lambda m: m.chunks.bases.update({7: Extent(b"b" * 32, 100, OTHER, -8, 90, RAW)}),
    "a base that is stored too long": lambda m: m.chunks.bases.update({7: Extent(b"b" * 32, 100, OTHER, 8, 2**27, RAW)}),
    "side content in no pack": side(pack=None),
    "side content here and there": side(data=b"0123456789"),
    "side content in a pack that is not listed": side(pack="e" * 32),
    "side content that is a delta": side(codec=DELTAS[2]),
    "side content too long": side(stored=2**27),
    "side content before its pack": side(offset=-1),
}
UNWRITABLE = ("out of order",)  # Arrow would read past its buffers as it writes
CLASHES = [
    fault for fault in FAULTS if fault.startswith(("a path twice", "a folder twice", "a link twice")) or "inside of a" in fault
]


def read_back(manifest: Manifest) -> Manifest:
    return decode(encode(manifest, *manifest.identify()), "manifests/x", algorithm="blake3")


def test_what_is_sound_is_written_and_read():
    check(sound())
    back = read_back(sound())
    assert back.identify() == sound().identify()
    assert back.clash is None
    check(back)


def test_many_that_are_sound_are_written_and_read():
    mixed, files = many(sound()), many(sound())
    files.folders, files.links = [], []
    for made in (mixed, files):
        check(made)
        back = read_back(made)
        assert back.identify() == made.identify()
        assert (back.paths, back.sizes, back.digests, back.executable) == (made.paths, made.sizes, made.digests, made.executable)
        assert (back.first, back.folders, back.links) == (made.first, made.folders, made.links)
        assert vars(back.chunks) == vars(made.chunks)


@pytest.fixture(params=[True, False], ids=["with NumPy", "without"])
def _numpy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check rows with NumPy, or as a process does that has not loaded it."""
    monkeypatch.setattr(checks, "numpy_pays", lambda _count: request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("_numpy")
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if "the path" not in fault])
def test_a_reader_and_a_writer_refuse_the_same_among_many(fault: str, *, mixed: bool):
    made = many(sound())
    if not mixed:
        made.folders, made.links = [], []
    FAULTS[fault](made)
    made.folders.sort()
    made.links.sort()
    try:
        check(made)
    except InvalidInputError:
        accepted = False
    else:
        accepted = True
    assert not accepted or (not mixed and any(word in fault for word in ("folder", "link")))  # they spoke of what is not there
    if fault not in UNWRITABLE:
        try:
            read = read_back(made).clash is None
        except (ArtifactStoreError, ValueError, OverflowError, KeyError):
            read = False
        assert read is accepted


@pytest.mark.slow
@pytest.mark.usefixtures("_numpy")
@pytest.mark.parametrize("row", [0, 4, 5, 700, 1503, 1504])
@pytest.mark.parametrize("what", ["more", "less", "digest"])
def test_one_false_file_among_many_is_found(row: int, what: str):
    made = many(sound())
    if what != "digest":
        made.sizes[row] += 1 if what == "more" else -1
    elif made.first[row + 1] - made.first[row] == 1:
        made.digests[row] = b"x" * 32
    else:
        return
    with pytest.raises(InvalidInputError, match=re.escape(repr(made.paths[row]))):
        check(made)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_reader_refuses_a_writer_refuses_first(fault: str):
    made = sound()
    FAULTS[fault](made)
    with pytest.raises(InvalidInputError):
        check(made)
    # Versions before this one wrote paths that clash: their files can be read one by one, and `place` refuses the whole.
    if fault in CLASHES:
        made.folders.sort()
        made.links.sort()
        if made.links and "link" not in fault:
            made.links.clear()
        if made.links:
            with pytest.raises(CorruptionError):
                read_back(made)
        else:
            assert read_back(made).clash is not None
    elif fault not in UNWRITABLE:
        with pytest.raises((ArtifactStoreError, ValueError, OverflowError, KeyError)):
            read_back(made)


@pytest.mark.slow
def test_writer_and_reader_agree_on_trees_made_at_random():
    rng, agreed = random.Random(7), {True: 0, False: 0}
    names = ["a", "b", "a-b", "a/b", "a/b/c", "a/c", "b/a", "ab"]
    for _ in range(300):
        made = Manifest("blake3")
        for path in sorted(rng.choices(names, k=rng.randrange(4))):
            made.close_file(path, 0, Digest.of(b"").raw, executable=False)
        made.folders = sorted(rng.choices(names, k=rng.randrange(2)))
        made.links = sorted((path, "x") for path in rng.choices(names, k=rng.randrange(2)))
        try:
            check(made)
            accepted = True
        except InvalidInputError:
            accepted = False
        try:
            read = read_back(made).clash is None
        except CorruptionError:
            read = False
        assert accepted is read, (made.paths, made.folders, made.links)
        agreed[accepted] += 1
    assert min(agreed.values()) > 30


@pytest.mark.parametrize(
    ("chunks", "digest", "what"), [(1, b"x" * 32, "another digest than the file"), (2, None, "a chunk has no digest")]
)
def test_a_reader_refuses_chunks_whose_digests_are_not_theirs(chunks: int, digest: bytes | None, what: str):
    made = Manifest("blake3", packs=[PACK])
    for i in range(chunks):
        made.chunks.add(bytes([i]) * 32, 10, 0, 10 * i, 10, RAW)
    made.close_file("f", 10 * chunks, bytes(32), executable=False)
    table = pq.read_table(io.BytesIO(encode(made, *made.identify())))
    rows = table.to_pylist()
    rows[0]["chunks"][0]["digest"] = digest
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), sink)
    with pytest.raises(CorruptionError, match=what):
        decode(sink.getvalue(), "manifests/x", algorithm="blake3")
