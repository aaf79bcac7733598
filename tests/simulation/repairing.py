"""Worlds in which disks lose and change objects, and the shipped repair of content brings them back, from a copy or as far as it goes.

A pack holds a letter and a manifest is JSON, as in all worlds: what reads, checks and writes one is replaced, the rest is what ships.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final, cast
from unittest.mock import patch

from artifactstore.backend.base import Backend
from artifactstore.content.codecs.codec import RAW
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.content.packs.pack import MAGIC, Frame, pack_key
from artifactstore.errors import CorruptionError, NotFoundError
from artifactstore.maintenance.repair import chunks as chunks_module
from artifactstore.maintenance.repair import content as content_module
from artifactstore.maintenance.repair import layouts as layouts_module
from artifactstore.maintenance.repair import rebuilt as rebuilt_module
from artifactstore.maintenance.repair.chunks import Copy
from artifactstore.maintenance.repair.content import ContentRepair
from artifactstore.maintenance.repair.packs import PackState
from artifactstore.model.digest import Digest, hash_bytes

from .checker import live_digests
from .scenario import Outcome, Scenario, played
from .tasks import NAMES, TRIES, WORDS, Habits, Process, Refused, name_of
from .uploading import _manifest_of, letter_of
from .world import InlinePool, Violation

BROKEN: Final = b"?"
LETTERS: Final = {hash_bytes(letter, "blake3"): letter for letter in (b"a", b"b", b"c")}
REAL_IDENTIFY = Manifest.identify


class Saved:
    """A copy of the place, as it was before anything was lost; reading it takes no turn."""

    url = "sim://copy"
    concurrency = 1
    listable = False

    def __init__(self, process: "Mender") -> None:
        self._process = process

    def read(self, key: str) -> bytes:
        found = self._process.checker.decayed.get(key, self._process.world.objects.get(key))
        if found is None:
            raise NotFoundError(key)
        return found

    read_large = read


class Mender(Process):
    """A process of a world with decay: it relies on nothing that was marked as damaged."""

    __slots__ = ()

    def is_stored(self, word: str) -> bool:
        """Return whether a put of a word uploads nothing: what was marked as damaged is stored again."""
        return bool(self.journal.fold.intact(name_of(word)))

    def _put(self, word: str, name: str) -> None:
        """Put as `work.session.commit` does: what took effect by way of the inbox and was lost meanwhile is stored again."""
        facts: list[dict[str, Any]] = [{"fact": "versioned", "name": name, "digest": name_of(word), "kind": "data"}]
        for _ in range(TRIES):
            alive_at = self.journal.catch_up()
            made = facts if self.is_stored(word) else [self.upload(word), *facts]
            if not made:
                return
            try:
                seq = self.commit(made, alive_at)
            except Refused as refused:
                if refused.code not in {"condemned", "holder", "base"}:
                    raise
                continue
            if self.lost is None:
                self._is_there(name_of(word), seq)
                return
            self.world.log(f"    lost: {self.lost}")
            facts = []

    def _is_there(self, digest: str, seq: int) -> None:
        """A put that succeeds in an entry is not of content that was marked as lost before."""
        truth = self.journal.fold
        marks = [truth.damaged.get(one, seq) for one in truth.holders.get(digest, ())]
        if marks and all(mark < seq for mark in marks):
            raise Violation(f"a put of {digest} succeeds in entry {seq}, and it was marked as lost in {marks}")

    def _shared(self, word: str) -> dict[str, str]:
        fold, found = self.journal.fold, dict[str, str]()
        usable = [m for m, row in sorted(fold.manifests.items()) if m == fold.current_manifest(row[0]) and m not in fold.damaged]
        self.world.rng.shuffle(usable)
        for manifest in usable[:2]:
            try:
                record = json.loads(self._get(manifest_key(manifest)))
            except (NotFoundError, ValueError):
                continue
            found |= {letter: pack for letter, pack in record["packs"].items() if letter in word}
        return found

    def _read(self) -> None:
        """Read what is named: a letter is right, or is known to have decayed."""
        self.journal.catch_up()
        fold = self.journal.fold
        live = [row["digest"] for name in NAMES for row in fold.names.get(name, ()) if "removed" not in row]
        if not live:
            return
        manifest = fold.current_manifest(self.world.rng.choice(live))
        try:
            packs = json.loads(self._get(manifest_key(str(manifest))))["packs"]
            for letter, pack in packs.items():
                raw = letter_of(self._get(pack_key(pack)))
                if raw not in {letter.encode(), BROKEN}:
                    raise Violation(f"a reader gets wrong bytes of {pack}")
        except (NotFoundError, ValueError):
            return  # damaged, or moved: what must not be missing, the checker sees

    def decay(self, times: int) -> None:
        for _ in range(times):
            self.world.turn("decay")
            live = [key for key in self._needed() if key not in self.checker.decayed]
            if not live:
                continue
            key = self.world.rng.choice(live)
            self.checker.decayed[key] = self.world.objects[key]
            self.world.log(f"    {key} decays")
            if self.world.rng.random() < 0.5:
                del self.world.objects[key]
            else:
                self.world.objects[key] = BROKEN

    def _needed(self) -> list[str]:
        truth, keys = self.checker.truth, set[str]()
        for digest in truth.holders:
            for manifest in truth.holders[digest]:
                keys |= {manifest_key(manifest), *map(pack_key, truth.manifests[manifest][2])}
        return sorted(key for key in keys if key in self.world.objects)

    def repairer(self, times: int) -> None:
        for _ in range(times):
            self.quietly(lambda: self.repair(with_copy=self.world.rng.random() < 0.5))

    def repair(self, *, with_copy: bool) -> None:
        copies = [Copy(cast("Backend", Saved(self)))] if with_copy else []
        for _ in range(4):
            repair = ContentRepair(self.journal, self.appender, copies, None, dry_run=False)
            if not repair.run():
                break

    def cleaner(self, rounds: int) -> None:
        try:
            self.gc(rounds)
        except CorruptionError as error:  # what must stay is damaged: nothing is deleted
            self.world.log(f"    {error}")


class Decaying(Scenario):
    """A world of one place with decay, and repairs."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Habits(mode="alone"), with_reference=False)
        self.publishing = self.extending = self.keeping = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        with super().installed(), ExitStack() as stack:
            for module, name, value in [
                (layouts_module, "read_manifest", read_manifest),
                (content_module, "read_manifest", read_manifest),
                (chunks_module, "read_manifest", read_manifest),
                (content_module, "look_at_pack", look_at_pack),
                (content_module, "Footers", _Agreeing),
                (content_module, "fetch", fetch),
                (chunks_module, "fetch", fetch),
                (chunks_module, "read_footer", read_footer),
                (content_module, "check", lambda _manifest: None),
                (content_module, "encode", encode),
                (content_module, "new_id", self.world.new_id),
                (content_module, "Pool", InlinePool),
                (rebuilt_module, "MAX_FRAMES", 1),
                (Manifest, "identify", identify),
            ]:
                stack.enter_context(patch.object(module, name, value))
            yield

    def process(self, name: str = "") -> Mender:
        made = super().process(name)
        fields: Mapping[str, Any] = {one: getattr(made, one) for one in Process.__dataclass_fields__}
        return Mender(**fields)

    def populate(self) -> None:
        rng = self.world.rng
        acts: dict[str, Callable[[Mender], Callable[[], None]]] = {
            "writer": lambda p: lambda: p.writer(3),
            "remover": lambda p: lambda: p.remover(2),
            "mover": lambda p: lambda: p.mover(2),
            "reader": lambda p: lambda: p.reader(5),
            "repairer": lambda p: lambda: p.repairer(2),
            "gc": lambda p: lambda: p.cleaner(2),
            "decay": lambda p: lambda: p.decay(3),
        }
        chosen = ["writer", "writer", "repairer", "decay", *rng.choices([*acts], k=rng.randint(1, 5))]
        processes = [self.process() for _ in range(rng.choice([1, 2, len(chosen)]))]
        for k, act in enumerate(chosen):
            self.world.add(f"t{k}", acts[act](processes[k % len(processes)]))

    def _before(self, verb: str, key: str, owner: str, data: bytes | None) -> None:
        if data is None or self.main.checker.decayed.get(key) != data:  # a late reply to the first write of it heals it
            super()._before(verb, key, owner, data)

    def _after(self) -> None:
        for key in [one for one, was in self.main.checker.decayed.items() if self.world.objects.get(one) == was]:
            del self.main.checker.decayed[key]  # it was created again
        super()._after()
        self._not_called_unchanged()

    def _not_called_unchanged(self) -> None:
        """No put may name what was marked as lost before, without having stored it."""
        checker = self.main.checker
        truth = checker.truth
        for name in NAMES:
            for row in truth.names.get(name, ()):
                marks = [truth.damaged.get(one, row["seq"]) for one in truth.holders.get(row["digest"], ())]
                if marks and all(mark < row["seq"] for mark in marks) and not self._was_posted(row["txn"]):
                    raise Violation(f"entry {row['seq']} names {row['digest']}, which was marked as lost in {marks}")

    def _was_posted(self, txn: str) -> bool:
        """Return whether it was sent to the inbox: then it may take effect by any writer's hand, and only the fold could stop it."""
        return any("journal/inbox/" in line and txn in line for line in self.world.trace)

    def _all_is_freed(self, name: str) -> None:
        """Leave clean-up to the other worlds: here it may stop at damage."""

    def finish(self) -> None:
        process = self.process()
        self.world.prepare("last repair alone", lambda: process.repair(with_copy=False))
        self._marked_or_right()
        self.world.prepare("last repair", lambda: process.repair(with_copy=True))
        self._all_right()
        super().finish()

    def _broken(self, digest: str) -> str | None:
        """Return what of an artifact's current manifest is not as it should be."""
        truth, objects = self.main.checker.truth, self.world.objects
        manifest = str(truth.current_manifest(digest))
        raw = objects.get(manifest_key(manifest), b"")
        if str(Digest.of(raw)) != truth.manifests[manifest][1]:
            return manifest_key(manifest)
        record = json.loads(raw)
        if name_of(record["word"]) != digest:
            raise Violation(f"{manifest} holds another word")
        for letter, pack in record["packs"].items():
            if pack not in truth.manifests[manifest][2]:
                raise Violation(f"the fact of {manifest} lacks {pack}")
            if letter_of(objects.get(pack_key(pack), b"")) != letter.encode():
                return pack_key(pack)
        return None

    def _marked_or_right(self) -> None:
        truth = self.main.checker.truth
        for digest in live_digests(truth):
            if (broken := self._broken(digest)) is not None and truth.intact(digest):
                raise Violation(f"{broken} of {digest} is lost, and a put would find it unchanged")

    def _all_right(self) -> None:
        for digest in live_digests(self.main.checker.truth):
            if (broken := self._broken(digest)) is not None:
                raise Violation(f"{broken} of {digest} stays lost, though a copy has it")


def simulate(seed: int) -> Outcome:
    """Run a seed to its end or to its first violation."""
    return played(Decaying(seed), first=2)


# -- what reads, checks and writes a manifest of JSON and a pack of one letter


class _Agreeing:
    def __init__(self, _backend: Any) -> None:
        pass

    def contradictions(self, _manifest: Manifest, _packs: Any = None) -> list[Any]:
        return []


def identify(manifest: Manifest) -> tuple[Digest, Digest]:
    if manifest.format in WORDS:
        return (Digest.of(str(manifest.format).encode()),) * 2
    return REAL_IDENTIFY(manifest)


def read_manifest(backend: Any, holder: str, expected: str, digest: str) -> tuple[Manifest | None, bytes | None, str]:
    try:
        raw = backend.read(manifest_key(holder))
    except NotFoundError:
        return None, None, ""
    if str(Digest.of(raw)) != expected:
        return None, None, "does not match its digest"
    record = json.loads(raw)
    made = _manifest_of(record["packs"])
    made.digest, made.format = name_of(record["word"]), record["word"]
    return (made, raw, "") if made.digest == digest else (None, None, "another word")


def encode(manifest: Manifest, _content: Digest, _digest: Digest) -> bytes:
    packs = {path: manifest.packs[number] for path, number in zip(manifest.paths, manifest.chunks.packs, strict=True)}
    return json.dumps({"word": manifest.format, "packs": packs}).encode()


def _frames(raw: bytes) -> list[Frame]:
    letter = letter_of(raw)
    if letter not in LETTERS.values():
        raise CorruptionError("no letter")
    return [Frame(len(MAGIC), 1, 1, RAW, 0, hash_bytes(letter, "blake3"))]


def look_at_pack(backend: Any, pack: str, _algorithm: str, *, raw: bytes | None = None, footers: Any = None) -> PackState:
    assert footers is None or isinstance(footers, _Agreeing)
    try:
        return PackState(frames={one.offset: one for one in _frames(backend.read(pack_key(pack)) if raw is None else raw)})
    except NotFoundError:
        return PackState("missing", missing=True)
    except CorruptionError:
        return PackState("damaged")


def read_footer(backend: Any, key: str) -> tuple[list[Frame], bytes, int]:
    return _frames(backend.read(key)), b"", 0


def fetch(backend: Any, extents: Any, *, algorithm: str | None = None) -> list[bytes]:
    found = [letter_of(backend.read(pack_key(one.pack))) for one in extents]
    if algorithm is not None and any(hash_bytes(raw, algorithm) != one.digest for raw, one in zip(found, extents, strict=True)):
        raise CorruptionError("another letter")
    return found
