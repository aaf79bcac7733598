"""The floor as a program: only what a put or a get cannot leave out. No records but one pickle, no journal, no names.

    floor_program.py put FOLDER STORE [--chunks]     stat, read, BLAKE3, codec, packs of 32 MB, sync, rename; what has the same stat is left alone
    floor_program.py get STORE FOLDER                read packs, decode, BLAKE3, write, rename

STORE is a folder, or a URL: then packs go and come by the same client as the library's, as many at once.

The calling thread handles small files, two more large ones, two more write packs, as in the library, whose codecs and cutter are
used: two threads for small files would take longer (docs/decisions/0103-small-files-in-one-thread.md). With `--chunks` content is cut as
the library cuts it, each chunk is hashed too, and a chunk that is stored already is not stored again; without, in blocks of
1 MiB at fixed offsets.
"""

import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final

import blake3

from artifactstore.content.codecs.codec import Encoder, decode

_WORKERS: Final = 2
_BLOCK: Final = 2**20
_JOB: Final = 4 * 2**20
_JOB_FILES: Final = 256
_PACK: Final = 32 * 2**20
_REMOTE_PACK: Final = 16 * 2**20
_UPLOADS: Final = 12
_FETCHERS: Final = 16
_local = threading.local()

# path, offset, size, digest of these bytes, its pieces: (pack, offset, stored, size, codec)
Record = tuple[str, int, int, bytes, list[tuple[int, int, int, int, int]]]
Job = list[tuple[str, int, int]]


def files_of(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the files of a folder."""
    folders = [folder]
    while folders:
        with os.scandir(folders.pop()) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry.path, entry.stat()


class Disk:
    """Objects in a folder."""

    is_remote = False

    def __init__(self, store: str) -> None:
        self.store = store
        self.open: dict[str, int] = {}
        os.makedirs(store, exist_ok=True)

    def write(self, name: str, frames: list[Any]) -> None:
        """Write an object, sync it, rename it."""
        fd = os.open(f"{self.store}/.{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        for at in range(0, len(frames), 1000):
            wanted = frames[at : at + 1000]
            if os.writev(fd, wanted) < sum(map(len, wanted)):
                raise OSError("a write stopped early")
        os.fsync(fd)
        os.close(fd)
        os.rename(f"{self.store}/.{name}", f"{self.store}/{name}")

    def read(self, name: str, begin: int, size: int) -> bytes:
        """Read a part of an object."""
        if name not in self.open:
            self.open[name] = os.open(f"{self.store}/{name}", os.O_RDONLY)
        return os.pread(self.open[name], size, begin)

    def whole(self, name: str) -> bytes | None:
        """Read an object, if it is there."""
        if not os.path.exists(f"{self.store}/{name}"):
            return None
        with open(f"{self.store}/{name}", "rb") as file:
            return file.read()

    def finish(self) -> None:
        """Make the names durable."""
        fd = os.open(self.store, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


class Remote:
    """Objects behind a URL, by the library's client."""

    is_remote = True

    def __init__(self, store: str) -> None:
        from artifactstore.backend.connect import connect  # noqa: PLC0415 - only for URLs

        self.backend = connect(store)

    def write(self, name: str, frames: list[Any]) -> None:
        """Write an object."""
        self.backend.write(name, b"".join(frames))

    def read(self, name: str, begin: int, size: int) -> bytes:
        """Read a part of an object."""
        return self.backend.read_ranges(name, [(begin, size)])[0]

    def whole(self, name: str) -> bytes | None:
        """Read an object, if it is there."""
        from artifactstore.errors import NotFoundError  # noqa: PLC0415 - only for URLs

        try:
            return self.backend.read(name)
        except NotFoundError:
            return None

    def finish(self) -> None:
        """Do nothing: what was written is durable."""


def place(store: str) -> Disk | Remote:
    """Return where objects go."""
    return Remote(store) if "://" in store else Disk(store)


class Packs:
    """Packs being filled: one per thread; written by threads of their own."""

    def __init__(self, store: Disk | Remote, first: int) -> None:
        self.store = store
        self.target = _REMOTE_PACK if store.is_remote else _PACK
        self.lock = threading.Lock()
        self.next = first
        self.pool = ThreadPoolExecutor(_UPLOADS if store.is_remote else 2)
        self.written: list[Future[None]] = []
        self.open: dict[int, tuple[int, list[Any], int]] = {}

    def add(self, frames: list[Any]) -> tuple[int, int]:
        """Queue frames for the thread's pack; return its number and the offset of the first."""
        me = threading.get_ident()
        number, held, size = self.open.get(me) or (self._number(), [], 0)
        offset = size
        held += frames
        size += sum(map(len, frames))
        if size >= self.target:
            self.written.append(self.pool.submit(self.store.write, str(number), held))
            self.open.pop(me, None)
        else:
            self.open[me] = (number, held, size)
        return number, offset

    def _number(self) -> int:
        with self.lock:
            self.next += 1
            return self.next

    def finish(self) -> None:
        """Write what is left, and wait."""
        self.written += [self.pool.submit(self.store.write, str(number), held) for number, held, _ in self.open.values()]
        for one in self.written:
            one.result()


def here(work: Callable[[Any], Any], batch: Any) -> Future[Any]:
    """Do some work at once."""
    done: Future[Any] = Future()
    done.set_result(work(batch))
    return done


def encoder(*, local: bool) -> Encoder:
    """Return the thread's encoder."""
    if not hasattr(_local, "encoder"):
        _local.encoder = Encoder(local=local)
    return _local.encoder  # type: ignore[no-any-return]


def read(path: str, offset: int, size: int) -> bytes:
    """Read a part of a file."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def store_pieces(packs: Packs, pieces: list[Any]) -> list[tuple[int, int, int, int, int]]:
    """Encode pieces and queue them; return where they are."""
    encoding = encoder(local=not packs.store.is_remote)
    encoded = [encoding.encode(piece) for piece in pieces]
    number, offset = packs.add([stored for _, stored in encoded])
    found = []
    for piece, (codec, stored) in zip(pieces, encoded, strict=True):
        found.append((number, offset, len(stored), len(piece), codec))
        offset += len(stored)
    return found


def store_job(packs: Packs, job: Job) -> list[Record]:
    """Read, hash, encode and queue some small files, or a part of a large one."""
    made = []
    for path, offset, size in job:
        data = read(path, offset, size)
        view = memoryview(data)
        blocks = [view[at : at + _BLOCK] for at in range(0, size, _BLOCK)] if size > _BLOCK else [data] if size else []
        made.append((path, offset, size, blake3.blake3(data).digest(), store_pieces(packs, blocks)))
    return made


class Chunked:
    """What chunking and deduplication add: cut, hash each chunk, look it up, store it once."""

    def __init__(self, packs: Packs, known: dict[bytes, tuple[int, int, int, int, int]]) -> None:
        from artifactstore.content.codecs.chunker import CHUNKERS, Cutter, choose_rule  # noqa: PLC0415 - only with --chunks

        self.packs = packs
        self.known = known
        self._tools = CHUNKERS, Cutter, choose_rule

    def cutter(self, path: str, size: int) -> Any:
        """Return the cutter of a file."""
        chunkers, cutter, choose_rule = self._tools
        rule, bounds = choose_rule(read(path, 0, 4096), size, lambda at, length: read(path, at, length))
        return cutter(chunkers[rule], bounds)

    def small(self, job: Job) -> list[Record]:
        """Store some small files."""
        made = []
        for path, _, size in job:
            data = read(path, 0, size)
            digest = blake3.blake3(data).digest()
            if size <= 32 * 1024:
                made.append((path, 0, size, digest, self.place([(digest, data)] if size else [])))
                continue
            view = memoryview(data)
            ends = self.cutter(path, size).cut(view, 0, last=True)
            made.append((path, 0, size, digest, self.pieces(view, ends)))
        return made

    def pieces(self, view: memoryview, ends: list[int]) -> list[tuple[int, int, int, int, int]]:
        """Store the chunks of a window."""
        chunks = [view[start:end] for start, end in pairwise([0, *ends])]
        return self.place([(blake3.blake3(chunk).digest(), chunk) for chunk in chunks])

    def place(self, chunks: list[tuple[bytes, Any]]) -> list[tuple[int, int, int, int, int]]:
        """Store chunks that are not stored yet; return where each is."""
        new = {digest: chunk for digest, chunk in chunks if digest not in self.known}
        if new:
            self.known.update(zip(new, store_pieces(self.packs, [*new.values()]), strict=True))
        return [self.known[digest] for digest, _ in chunks]

    def large(self, path: str, size: int, workers: ThreadPoolExecutor) -> Iterator[Future[list[Record]]]:
        """Store a large file: read and cut here, the rest by others; the digest of the file goes on beside."""
        cutter, offset, rest, whole = self.cutter(path, size), 0, b"", blake3.blake3()
        with open(path, "rb", buffering=0) as file:
            while offset < size:
                block = memoryview(rest + (file.read(_JOB) or b""))
                ends = cutter.cut(block, offset, last=offset + len(block) >= size)
                whole.update(block[: ends[-1]])
                yield workers.submit(self._window, path, offset, block[: ends[-1]], ends)
                rest, offset = bytes(block[ends[-1] :]), offset + ends[-1]
        whole.digest()

    def _window(self, path: str, offset: int, window: memoryview, ends: list[int]) -> list[Record]:
        # At a get each job is checked by itself, as without chunks: hashed here, since no digest of the file's parts is known.
        return [(path, offset, len(window), b"", self.pieces(window, ends))]


def put(folder: str, store: str, *, chunks: bool) -> None:
    """Store what has changed since the last put."""
    objects = place(store)
    before: dict[str, Any] = {"stats": {}, "records": {}, "known": {}, "packs": 0}
    if (raw := objects.whole("m")) is not None:
        before = pickle.loads(raw)
    stats, records, fresh = {}, {}, list[tuple[str, int]]()
    for path, st in sorted(files_of(folder)):
        name = path[len(folder) + 1 :]
        stats[name] = (st.st_size, st.st_mtime_ns, st.st_ino)
        if before["stats"].get(name) == stats[name]:
            records[name] = before["records"][name]
        else:
            fresh.append((path, st.st_size))
    if not fresh and len(stats) == len(before["stats"]):
        return
    packs = Packs(objects, before["packs"])
    chunked = Chunked(packs, before["known"]) if chunks else None
    small = chunked.small if chunked else lambda job: store_job(packs, job)
    with ThreadPoolExecutor(_WORKERS) as workers:
        done: list[Future[list[Record]]] = []
        batch: Job = []
        held = 0
        for path, size in fresh:
            if size > _JOB:
                if chunked:
                    for one in chunked.large(path, size, workers):
                        done.append(one)
                        if len(done) > 4:
                            done[-4].result()
                else:
                    done += [workers.submit(small, [(path, at, min(_JOB, size - at))]) for at in range(0, size, _JOB)]
                continue
            batch.append((path, 0, size))
            held += size
            if held > _JOB or len(batch) >= _JOB_FILES:
                done.append(here(small, batch))
                batch, held = [], 0
        if batch:
            done.append(here(small, batch))
        for future in done:
            for path, *rest in future.result():
                records.setdefault(path[len(folder) + 1 :], []).append(rest)
    packs.finish()
    made = {"stats": stats, "records": records, "known": chunked.known if chunked else {}, "packs": packs.next}
    objects.write("m", [pickle.dumps(made)])
    objects.finish()


def get(store: str, folder: str) -> None:
    """Write the files of the last put into a folder that isn't there."""
    objects = place(store)
    records = pickle.loads(objects.whole("m") or b"")["records"]
    staging = f"{folder}.tmp"
    for inner in sorted({name.rpartition("/")[0] for name in records}):
        os.makedirs(f"{staging}/{inner}", exist_ok=True)

    def write(part: list[tuple[str, int, int, bytes, list[tuple[int, int, int, int, int]]]]) -> None:
        # Neighbours in a pack are read together, as the library does.
        runs: list[list[int]] = []
        for *_, pieces in part:
            for number, offset, stored, _, _ in pieces:
                if runs and runs[-1][0] == number and runs[-1][2] == offset:
                    runs[-1][2] = offset + stored
                else:
                    runs.append([number, offset, offset + stored])
        views = iter([(begin, memoryview(objects.read(str(number), begin, end - begin))) for number, begin, end in runs])
        begin, view, at = 0, memoryview(b""), (0, -1)
        for name, where, _, digest, pieces in part:
            made = []
            for number, offset, stored, size, codec in pieces:
                if (number, offset) != at:
                    begin, view = next(views)
                made.append(decode(codec, view[offset - begin : offset - begin + stored], size, name))
                at = (number, offset + stored)
            hasher = blake3.blake3()
            for piece in made:
                hasher.update(piece)
            if digest and hasher.digest() != digest:
                raise SystemExit(f"{name} is damaged")
            fd = os.open(f"{staging}/{name}", os.O_WRONLY | os.O_CREAT, 0o666)
            if where:
                os.lseek(fd, where, os.SEEK_SET)
            for piece in made:
                os.write(fd, piece)
            os.close(fd)

    parts = [(name, *one) for name, found in records.items() for one in found]
    batch: list[Any] = []
    held = 0
    with ThreadPoolExecutor(_FETCHERS if objects.is_remote else _WORKERS) as workers:
        done = []
        for one in parts:
            batch.append(one)
            held += one[2]
            if held >= _JOB or len(batch) >= _JOB_FILES:
                alone = not objects.is_remote and len(batch) > 4 * held // _JOB
                done.append(here(write, batch) if alone else workers.submit(write, batch))
                batch, held = [], 0
        done.append(here(write, batch))
        for future in done:
            future.result()
    os.rename(staging, folder)


if __name__ == "__main__":
    if sys.argv[1] == "put":
        put(sys.argv[2], sys.argv[3], chunks="--chunks" in sys.argv)
    else:
        get(sys.argv[2], sys.argv[3])
