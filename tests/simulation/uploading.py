"""Content that goes through the library's own ingest and packer, whose threads are tasks of the world.

A request that nobody waits for happens some time later, or never, as in a process whose threads go on.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final, Self, cast

from artifactstore.backend.base import Backend, Buffer
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.content.packs.known_chunks import KnownChunks
from artifactstore.content.packs.pack import MAGIC, pack_key
from artifactstore.content.packs.reader import MissingPackError
from artifactstore.content.write.ingest import ingest
from artifactstore.content.write.source import Folder, from_bytes
from artifactstore.errors import NotFoundError
from artifactstore.maintenance.repack.plan import Layout, RepackPlan
from artifactstore.maintenance.repack.rewrite import Rewritten
from artifactstore.model.digest import Digest, hash_bytes

from .world import Crash, Task, Violation, World

if TYPE_CHECKING:
    from .tasks import Process

_RELOCATED: Final = ("digest", "manifest_digest", "packs")
_CHUNKERS: Final = dict.fromkeys(("rows", "bytes", "tensors"), (64, 65, 66))


class TaskPool:
    """A thread pool each of whose works is a task of the world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun: list[Work] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)

    def submit(self, call: Callable[..., Any], *args: Any) -> "Future[Any]":
        world = self._world
        assert world.current is not None
        work = Work(world, lambda: call(*args))
        work.task = Task(f"{world.current.name}.{len(world.tasks)}", work.run, world.current.speed, world.current.mortal)
        world.tasks.append(work.task)
        self._begun.append(work)
        return cast("Future[Any]", work)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as a real one
        for work in self._begun:
            if cancel_futures and work.task.thread is None:
                work.done = work.task.done = work.left = True
            elif wait:
                work.wait()


class Work:
    """A future: what a task of the world comes to."""

    def __init__(self, world: World, call: Callable[[], Any]) -> None:
        self.task: Task
        self.done = self.left = False
        self._callbacks: list[Callable[[Work], None]] = []
        self._world = world
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._value = self._call()
        except Crash as error:
            self._error = error
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            self._error = error
        finally:
            self.done = True
            for callback in self._callbacks:
                callback(self)

    def add_done_callback(self, callback: Callable[["Work"], None]) -> None:
        self._callbacks.append(callback)
        if self.done:
            callback(self)

    def cancelled(self) -> bool:
        return self.left

    def exception(self) -> BaseException | None:
        return self._error

    def free_for(self, _task: Task) -> bool:
        return self.done

    def wait(self) -> None:
        task = self._world.current
        assert task is not None
        while not self.done:
            task.blocked_on = self
            try:
                self._world.turn(f"wait for {self.task.name}")
            finally:
                task.blocked_on = None

    def result(self) -> Any:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value


class _Patient:
    """The place as ingest sees it: what is refused is sent again for some time."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self.concurrency = process.world.rng.choice([2, 8])
        self.is_remote = self.concurrency > 2

    def write(self, key: str, data: Buffer | list[Buffer]) -> None:
        self._process.insist(lambda: self._process.backend.write(key, data))


def letter_of(raw: bytes) -> bytes:
    """Return what a pack holds, whoever wrote it."""
    return raw[len(MAGIC) :][:1] if raw.startswith(MAGIC) else raw


def upload(process: "Process", word: str, known: dict[str, str]) -> tuple[str, bytes, list[str]]:
    """Store a word's letters and its manifest; returns its id, its bytes and its packs.

    Args:
        process: of the writer.
        word: each letter is a file.
        known: packs of letters that are there.
    """
    folder = Folder([from_bytes(letter, letter.encode()) for letter in sorted(word)])
    index = KnownChunks()
    if known:
        index.add(_manifest_of(known))
    place = cast("Backend", _Patient(process))
    with ingest(place, folder, algorithm="blake3", chunkers=_CHUNKERS, known=index) as done:
        made, one = done.manifest, process.world.new_id()
        packs = {path: made.packs[number] for path, number in zip(made.paths, made.chunks.packs, strict=True)}
        raw = json.dumps({"word": word, "packs": packs}).encode()
        process._durable(manifest_key(one), raw)
    return one, raw, sorted(packs.values())


def _manifest_of(known: dict[str, str]) -> Manifest:
    made = Manifest("blake3", packs=sorted(set(known.values())))
    for letter, pack in sorted(known.items()):
        digest = hash_bytes(letter.encode(), "blake3")
        made.chunks.add(digest, 1, made.packs.index(pack), len(MAGIC), 1, RAW)
        made.close_file(letter, 1, digest, executable=False)
    return made


def decoded(raw: bytes, _key: str, *, algorithm: str) -> Manifest:
    """Return a word's manifest: each letter is a file of one chunk, in a pack of its own."""
    record = json.loads(raw)
    made = Manifest(algorithm)
    for letter, pack in sorted(record["packs"].items()):
        digest = hash_bytes(letter.encode(), algorithm)
        if pack not in made.packs:
            made.packs.append(pack)
        made.chunks.add(digest, 1, made.packs.index(pack), 0, 1, RAW)
        made.close_file(letter, 1, digest, executable=False)
    made.digest = str(Digest.of(record["word"].encode()))
    return made


class Rewriting:
    """Writes words anew for the library's repacking, which then relocates them."""

    def __init__(self, world: World, words: Sequence[str]) -> None:
        self._world = world
        self._words = {str(Digest.of(word.encode())): word for word in words}

    def choose(self, layouts: Iterable[Layout], _numbers: Any, sizes: Mapping[str, int], _below: float) -> RepackPlan:
        """Choose packs at random: how dead they are plays no part in what is safe."""
        layouts = list(layouts)
        packs = sorted({pack for one in layouts for pack in one.packs if pack in sizes and not one.fixed})
        chosen = {pack: 1 for pack in packs if self._world.rng.random() < 0.6}
        return RepackPlan(
            chosen, len(chosen), [one for one in layouts if not one.fixed and not chosen.keys().isdisjoint(one.packs)]
        )

    def rewrite(self, backend: Backend, sources: Sequence[Manifest], bad: Collection[str]) -> tuple[list[Rewritten], int]:
        """Write the letters in some packs into new ones, each once, and a manifest for each word."""
        moved: dict[str, str] = {}
        return [self._one(backend, source, bad, moved) for source in sources], len(moved)

    def _one(self, backend: Backend, source: Manifest, bad: Collection[str], moved: dict[str, str]) -> Rewritten:
        packs: dict[str, str] = {}
        for row, letter in enumerate(source.paths):
            (extent,) = source.extents(row)
            packs[letter] = pack = str(extent.pack)
            if pack in bad:
                if letter not in moved:
                    self._move(backend, letter, pack, moved)
                packs[letter] = moved[letter]
        one, word = self._world.new_id(), self._words[source.digest]
        raw = json.dumps({"word": word, "packs": packs}).encode()
        backend.write(manifest_key(one), raw)
        fact = {key: value for key, value in stored(word, one, raw, sorted(packs.values())).items() if key in _RELOCATED}
        return Rewritten({**fact, "fact": "relocated", "to": one}, len(raw))

    def _move(self, backend: Backend, letter: str, pack: str, moved: dict[str, str]) -> None:
        try:
            raw = backend.read(pack_key(pack))
        except NotFoundError as error:
            raise MissingPackError(pack) from error
        if letter_of(raw) != letter.encode():
            raise Violation(f"a repacking gets wrong bytes of {pack}")
        moved[letter] = self._world.new_id()
        backend.write(pack_key(moved[letter]), letter.encode())


def stored(word: str, manifest: str, raw: bytes, packs: list[str]) -> dict[str, Any]:
    """Return the fact for a word that is durable."""
    return {
        "fact": "stored",
        "digest": str(Digest.of(word.encode())),
        "manifest": manifest,
        "manifest_digest": str(Digest.of(raw)),
        "size": len(word),
        "files": 1,
        "packs": packs,
    }
