"""What happens in a world: writers, movers of aliases, removers, clean-up, repacking, readers.

Each follows docs/reference/format.md with the library's real Journal, Appender and State; content is a word, each of its
letters a chunk, and each pack holds one letter. `Habits` are the rules of the protocol that lie in a task and not
in the library: mutants switch them off.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NoReturn

from artifactstore.catalog.fold.state import State
from artifactstore.catalog.spill.layer import Layer, write_layer
from artifactstore.catalog.spill.sqlite_file import scratch
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.errors import BackendError, ConflictError, NotFoundError, OutcomeUnknownError, RefusedError
from artifactstore.journal.append import Appender
from artifactstore.journal.journal import Journal
from artifactstore.journal.segments import list_derived
from artifactstore.journal.snapshots import Snapshot, content_key, published
from artifactstore.maintenance.extend import Publisher
from artifactstore.maintenance.gc.execute import collect
from artifactstore.maintenance.repack.execute import repack
from artifactstore.maintenance.snapshot import publish
from artifactstore.model.digest import Digest

from . import uploading
from .checker import Checker, live_digests
from .world import SimBackend, Violation, World

WORDS: Final = ("ab", "bc", "ca", "abc")
NAMES: Final = ("x", "y")
TRIES: Final = 4


@dataclass(slots=True)
class Habits:
    """Rules that tasks keep; a mutant switches one off."""

    waits_until_durable: bool = True
    reads_on_when_missing: bool = True
    repacking: bool = False  # whether much is written anew and read meanwhile
    sealing: bool = False  # whether segments are sealed; drawn otherwise
    publishing: bool = False  # whether snapshots are published, and forged; drawn otherwise
    extending: bool = False  # whether who seals also publishes deltas; drawn otherwise
    mode: str | None = None  # what sort of world it is; drawn otherwise
    eager: bool = False  # whether what rarely meets there is all that happens
    strange: bool = False  # whether clients with faults append, too; drawn otherwise
    moving: bool = False  # whether nearly all move aliases
    holding: bool = False  # whether nearly all hold, release and remove
    crowded: bool = False  # whether all writers expect others, and use the inbox from the start; drawn otherwise
    ending: bool = False  # whether aliases end, too
    gating: bool = False  # whether gates of aliases are set and lifted; drawn otherwise
    by_library: bool = False  # whether content goes through the library's ingest; drawn otherwise


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """What the fold says against a transaction."""

    def __init__(self, void: Any) -> None:
        super().__init__(str(void))
        self.code = void.code


def _nowhere() -> NoReturn:
    raise AssertionError("only a world knows how histories are read")


@dataclass(slots=True)
class Process:
    """What the threads of one process share.

    Attributes:
        told: marker of a transaction → what its caller was told: an entry's number, `failed` or `unknown`.
        copies: checkers of the places that this one is copied to.
        lost: why what was committed last is to be stored again.
        deltas: publishes what the fold has gained, where that happens.
    """

    world: World
    backend: SimBackend
    journal: Journal
    appender: Appender
    checker: Checker
    habits: Habits
    told: dict[str, int | str]
    copies: list[Checker] = field(default_factory=list)
    lost: Any = None
    own_history: Callable[[], tuple[Journal, Appender]] = field(default=_nowhere)
    deltas: Publisher | None = None

    def fork_neighbours(self) -> None:
        """Note that an owner makes copies writable beside their source."""
        for checker in self.copies:
            checker.forked = True

    def neighbours_forked(self) -> bool:
        return any(checker.forked for checker in self.copies)

    def commit(self, facts: list[dict[str, Any]], base: int) -> int:
        """Append; remembers what was told."""
        marker = self.world.new_id()
        marked = [{**fact, "marker": marker} for fact in facts]
        try:
            done = self.appender.commit(marked, birth=base, alive_at=base, refuse=Refused)
        except OutcomeUnknownError:
            self.told[marker] = "unknown"
            raise
        except (Refused, BackendError):
            self.told[marker] = "failed"
            raise
        self.told[marker], self.lost = done.seq, done.lost
        return done.seq

    def insist(self, call: Callable[[], Any]) -> Any:
        """Try a request again while the store is only busy."""
        for _ in range(6):
            try:
                return call()
            except BackendError:
                self.world.log("    again")
        return call()

    def _get(self, key: str) -> bytes:
        return bytes(self.insist(lambda: self.backend.read(key)))

    # -- content

    def upload(self, word: str) -> dict[str, Any]:
        """Store a word's letters and its manifest, sharing packs with manifests that nobody condemned; returns its `stored`."""
        world = self.world
        known = self._shared(word) if world.rng.random() < 0.6 else {}
        if self.habits.by_library:
            return uploading.stored(word, *uploading.upload(self, word, known))
        packs = {letter: known.get(letter) or world.new_id() for letter in word}
        manifest = world.new_id()
        raw = json.dumps({"word": word, "packs": packs}).encode()
        wanted = {pack_key(pack): letter.encode() for letter, pack in packs.items() if letter not in known}
        # They travel together: which of them is there first is anybody's guess.
        for key, data in world.rng.sample([*wanted.items(), (manifest_key(manifest), raw)], len(wanted) + 1):
            self._durable(key, data)
        return uploading.stored(word, manifest, raw, sorted(packs.values()))

    def letter(self, letter: str, pack: str) -> None:
        """Read a pack and check that it holds what it should."""
        if uploading.letter_of(self._get(pack_key(pack))) != letter.encode():
            raise Violation(f"a reader gets wrong bytes of {pack}")

    def _durable(self, key: str, data: bytes) -> None:
        if self.habits.waits_until_durable:
            self.insist(lambda: self.backend.write(key, data))
            return
        try:
            self.backend.write(key, data)
        except BackendError:
            self.world.log("    does not wait for it")

    def _shared(self, word: str) -> dict[str, str]:
        found: dict[str, str] = {}
        fold = self.journal.fold
        usable = [m for m in sorted(fold.manifests) if m not in fold.condemned_manifests]
        self.world.rng.shuffle(usable)
        for manifest in usable[:2]:
            try:
                record = json.loads(self._get(manifest_key(manifest)))
            except NotFoundError:
                continue
            found |= {letter: pack for letter, pack in record["packs"].items() if letter in word}
        return found

    # -- tasks

    def writer(self, puts: int) -> None:
        for _ in range(puts):
            self.quietly(lambda: self._put(self.world.rng.choice(WORDS[: self.world.words]), self.world.rng.choice(NAMES)))

    def quietly(self, act: Callable[[], None]) -> None:
        """Do something whose failure its caller was told of."""
        try:
            act()
        except (OutcomeUnknownError, BackendError, Refused) as error:
            self.world.log(f"    told: {type(error).__name__} {error}"[:150])

    def is_stored(self, word: str) -> bool:
        """Return whether a put of a word uploads nothing."""
        return bool(self.journal.fold.alive(name_of(word)))

    def _put(self, word: str, name: str) -> None:
        for _ in range(TRIES):
            alive_at = self.journal.catch_up()
            facts: list[dict[str, Any]] = [{"fact": "versioned", "name": name, "digest": name_of(word), "kind": "data"}]
            if not self.is_stored(word):
                facts.insert(0, self.upload(word))
            try:
                self.commit(facts, alive_at)
            except Refused as refused:
                if refused.code not in {"condemned", "holder", "base"}:
                    raise
                continue
            return

    def mover(self, moves: int) -> None:
        """Move aliases, hold and release."""
        for _ in range(moves):
            self.quietly(self._move)

    def _move(self) -> None:
        rng = self.world.rng
        head = self.journal.catch_up()
        fold = self.journal.fold
        name = rng.choice(NAMES)
        versions = [k for k, row in enumerate(fold.names.get(name, ()), 1) if "removed" not in row]
        if not versions:
            return
        if rng.random() < (0.7 if self.habits.holding else 0.2):
            digest = fold.names[name][rng.choice(versions) - 1]["digest"]
            hold = self.world.new_id()
            self.commit([{"fact": "held", "hold": hold, "digest": digest}], head)
            if rng.random() < 0.7:
                self.commit([{"fact": "released", "hold": hold}], self.journal.head)
            return
        more = self.world.more
        if self.habits.gating and more.random() < 0.3:
            rules = {"all": [{"run": "finished"}]} if more.random() < 0.5 else None
            self.commit([{"fact": "gated", "names": "*", "alias": "best", "rules": rules}], head)
            return
        moves = fold.aliases.get(name, {}).get("best", ())
        fact: dict[str, Any] = {"fact": "aliased", "name": name, "alias": "best", "version": rng.choice(versions)}
        if self.habits.ending and more.random() < 0.15:
            fact["version"] = None
        if more.random() < 0.6:
            fact["expect"] = moves[-1]["version"] if moves else None
        self.commit([fact], head)

    def remover(self, removals: int) -> None:
        for _ in range(removals):
            self.quietly(self._remove)

    def _remove(self) -> None:
        rng = self.world.rng
        head = self.journal.catch_up()
        fold = self.journal.fold
        rows = [(name, k, row) for name in NAMES for k, row in enumerate(fold.names.get(name, ()), 1) if "removed" not in row]
        if rows:
            name, version, row = rng.choice(rows)
            by_name = rng.random() < 0.3
            fact = {"name": name, "version": version} if by_name else {"digest": row["digest"]}
            self.commit([{"fact": "removed", **fact}], head)

    def chatterer(self, facts: int) -> None:
        """Append quickly, so that the window passes for the slow."""
        for k in range(facts):
            self.quietly(lambda k=k: self._measure(k))  # type: ignore[misc]

    def _measure(self, k: int) -> None:
        self.commit([{"fact": "measured", "digest": name_of("ab"), "metrics": {"k": k}}], self.journal.catch_up())

    def repacker(self, times: int) -> None:
        for _ in range(times):
            self.quietly(self._repack)

    def _repack(self) -> None:
        names = self.world.rng.choice([None, None, ["x"], ["[xy]"]])
        try:
            self.world.log(f"    {repack(self.journal, self.appender, below=0.5, names=names, dry_run=False)}")
        except NotFoundError:
            self.world.log("    nothing has such a name yet")
        except RefusedError as error:
            if self.checker.truth.header["moved_to"] is None:
                raise Violation(f"a repacking is refused: {error}") from error

    def gc(self, rounds: int) -> None:
        self.checker.deleters.add(self.world.current.name)  # type: ignore[union-attr]
        journal, appender = self.own_history()
        for _ in range(rounds):
            self.quietly(lambda: self._clean(journal, appender))

    def _clean(self, journal: Journal, appender: Appender) -> None:
        grace = timedelta(seconds=self.world.rng.choice([0, 0, 0.3, 2, 10]))
        try:
            self.world.log(f"    {collect(journal, appender, dry_run=self.world.rng.random() < 0.1, grace=grace)}")
        except ConflictError as error:
            self.world.log(f"    told: {error}"[:150])
        except RefusedError as error:
            if self.checker.truth.header["moved_to"] is None:
                raise Violation(f"a clean-up is refused: {error}") from error

    def reader_of(self, reads: int) -> Callable[[], None]:
        return lambda: self.reader(reads)

    def reader(self, reads: int) -> None:
        for _ in range(reads):
            self.quietly(self._read)

    def _read(self) -> None:
        self.journal.catch_up()
        fold = self.journal.fold
        live = [row["digest"] for name in NAMES for row in fold.names.get(name, ()) if "removed" not in row]
        if not live:
            return
        digest = self.world.rng.choice(live)
        manifest = fold.current_manifest(digest)
        while manifest is not None:
            try:
                record = json.loads(self._get(manifest_key(manifest)))
                for letter, pack in record["packs"].items():
                    self.letter(letter, pack)
            except NotFoundError as missing:
                self.world.log("    is missing")
                if self.habits.reads_on_when_missing:
                    self.insist(self.journal.catch_up)
                now = self.journal.fold.current_manifest(digest)
                if now == manifest:
                    raise Violation(f"a reader sees damage: {missing} of {digest}") from missing
                manifest = now
                continue
            return
        if digest in live_digests(self.journal.fold):
            raise Violation(f"a reader finds no holder of {digest}, which is named")

    def sealer(self, times: int) -> None:
        for _ in range(times):
            self.quietly(self._seal)

    def _seal(self) -> None:
        self.journal.catch_up()
        sealed = self.journal.seal()
        if sealed is not None and self.deltas is not None:
            done = self.deltas.extend(sealed)
            self.world.log(f"    delta {None if done is None else (done.since, done.seq)}")

    def publisher(self, times: int) -> None:
        for _ in range(times):
            self.quietly(lambda: self.world.log(f"    {publish(self.journal, self.appender)}"))

    def forger(self, times: int) -> None:
        """Put false snapshots there, with pointers to entries that say nothing of them."""
        for _ in range(times):
            self.quietly(self._forge)

    def _forge(self) -> None:
        if self.deltas is not None and self.world.rng.random() < 0.7:
            self._forge_delta()
            return
        head, digest = self.journal.catch_up(), str(self.journal.digest)
        false = State.load(json.loads(json.dumps(self.journal.fold.dump())))
        false.names.clear()
        path = scratch()
        try:
            false.write_file(path, digest)
            data = path.read_bytes()
        finally:
            path.unlink()
        forged = Snapshot(State.LAYOUT, head, self.world.rng.randint(max(1, head - 3), head + 1), str(Digest.of(data)), len(data))
        if head:
            self._durable(content_key(forged.digest), data)
            self._durable(forged.key, b"{}")

    def _forge_delta(self) -> None:
        found = published(list_derived(self.backend), State.LAYOUT)
        true = [one for one in found if one.since is not None]
        if not true:
            return
        one = self.world.rng.choice(true)
        layer = Layer(self.backend.read(one.content))
        tables = {table: [*layer.rows(table)] for table in layer.tables() if table not in {"names", "versions"}}
        small = json.dumps(layer.small()).encode()
        data = write_layer(layer.span, tables, counts={**layer.counts, "names": 0}, order=layer.order(), small=small)
        entry = self.world.rng.choice([one.entry, one.seq, self.journal.head])
        forged = Snapshot(State.LAYOUT, one.seq, entry, str(Digest.of(data)), len(data), one.since)
        self._durable(forged.content, data)
        self._durable(forged.key, b"{}")


def name_of(word: str) -> str:
    return str(Digest.of(word.encode()))
