"""What happens between places of one world: copying, moving, releasing, visiting a copy, importing.

The library's own replicate, move, release and ImportPlanner at work; only content is a word here (see tasks).
"""

import json
from collections.abc import Callable
from typing import Any, Final

from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.errors import ArtifactStoreError, ConflictError, NotFoundError, RefusedError
from artifactstore.journal.journal import Journal
from artifactstore.journal.replica import read_replica_status
from artifactstore.maintenance.sync import move as move_module
from artifactstore.maintenance.sync import replicate as replicate_module
from artifactstore.maintenance.sync.import_plan import ImportPlanner, Step
from artifactstore.maintenance.sync.import_selection import ImportFilter
from artifactstore.maintenance.sync.object_copy import decoded_entries
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.model.facts import parse_config
from artifactstore.work.sync import import_store

from .tasks import WORDS, Process, Refused, name_of
from .world import SimBackend, Violation

TRIES: Final = 4


def nothing(_what: str, _total: int) -> Callable[[int], None]:
    return lambda _more: None


class Copier:
    """Copies and moves one place to another, and releases the copy."""

    def __init__(self, source: Process, target: SimBackend) -> None:
        self.source = source
        self.target = target

    def _quietly(self, act: Callable[[], object]) -> bool:
        """Do something whose failure its caller was told of; True if it came to its end."""
        world = self.source.world
        try:
            act()
        except (ConflictError, RefusedError) as error:
            world.log(f"    told: {type(error).__name__} {error}"[:200])
            if isinstance(error, ConflictError) and "two histories" in str(error) and not self.source.neighbours_forked():
                raise Violation(f"two histories, and nobody made two: {error}") from error
        except ArtifactStoreError as error:
            world.log(f"    told: {type(error).__name__} {error}"[:200])
            if error.kind not in {"backend", "outcome_unknown", "not_found"}:
                raise
        else:
            return True
        return False

    def reopen(self) -> Journal | None:
        try:
            raw = self.target.read("store.json")
        except NotFoundError:
            return None
        return Journal(self.target, parse_config(raw, "store.json"), State)

    def copy(self, times: int) -> None:
        for _ in range(times):
            self._quietly(
                lambda: replicate_module.replicate(
                    self.source.journal, self.target, self.reopen(), watch=nothing, done=SyncReport("replica", "", "")
                )
            )

    def move(self, times: int) -> None:
        for _ in range(times):
            done = SyncReport("move", "", "")
            if self._quietly(lambda done=done: self._move(done)):  # type: ignore[misc]
                return

    def _move(self, done: SyncReport) -> None:
        move_module.move(self.source.journal, self.source.appender, self.target, self.reopen, watch=nothing, done=done)

    def release(self, times: int) -> None:
        """An owner wants to write to a copy, whatever becomes of its source."""
        for _ in range(times):
            self._quietly(self._release)

    def _release(self) -> None:
        copy = self.reopen()
        if copy is not None:
            self.source.fork_neighbours()
            move_module.release(copy)


class Visitor:
    """Comes to a place and writes there, if that is allowed."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def visit(self, times: int) -> None:
        for _ in range(times):
            self.process.quietly(self._visit)

    def _visit(self) -> None:
        process = self.process
        try:
            raw = process.backend.read("store.json")
        except NotFoundError:
            process.world.log("    nobody there")
            return
        if not read_replica_status(process.backend, parse_config(raw, "store.json").store).writable:
            process.world.log("    only a copy")
            return
        act = process.world.rng.choice([lambda: process.writer(2), lambda: process.remover(1), lambda: process.gc(1)])
        act()


class Importer:
    """Takes one store's content and history into another."""

    def __init__(self, source: Process, target: Process, label: str) -> None:
        self.source = source
        self.target = target
        self.label = label

    def run(self, times: int) -> None:
        for _ in range(times):
            self.target.quietly(self._receive_some)

    def _receive_some(self) -> None:
        self.receive(self._wish())

    def _wish(self) -> ImportFilter:
        rng = self.target.world.rng
        return ImportFilter(rng.choice([None, None, ("x",), ("[xy]",)]), rng.random() < 0.5, self.label)

    def receive(self, import_filter: ImportFilter) -> int:
        """Import once; returns how many transactions that took."""
        for _ in range(TRIES):
            try:
                return self._plan(import_filter)
            except _StaleError as stale:
                self.target.world.log(f"    plans anew: {stale}"[:150])
        return -1

    def _plan(self, import_filter: ImportFilter) -> int:
        source, target = self.source, self.target
        head = source.insist(source.journal.catch_up)
        target.insist(target.journal.catch_up)
        rng = target.world.rng
        ids = {"source": source.journal.config.store, "target": target.journal.config.store}
        try:
            self.receiver = ImportPlanner(source.journal.fold, target.journal.fold, **ids, import_filter=import_filter)
        except NotFoundError:
            return 0  # nothing there is called so yet
        batch: list[Step] = []
        most, count = rng.choice([1, 2, 5]), 0
        for step in self.receiver.steps(decoded_entries(source.journal, head)):
            batch.append(step)
            if len(batch) >= most:
                self._commit(batch)
                batch, count = [], count + 1
        if batch:
            self._commit(batch)
            count += 1
        return count

    def _commit(self, batch: list[Step]) -> None:
        target = self.target
        for _ in range(TRIES):
            alive_at = target.journal.catch_up()
            stored = [self._bring(digest) for digest in self._lacking(batch)]
            try:
                target.commit([*stored, *import_store._with_expectations(batch)], alive_at)
            except Refused as refused:
                if refused.code in {"condemned", "holder", "base", "window"}:
                    continue
                raise _StaleError(str(refused)) from refused
            return
        raise _StaleError("clean-up took it again and again")

    def _lacking(self, batch: list[Step]) -> list[str]:
        digests = dict.fromkeys(digest for step in batch for digest in step.content)
        return [digest for digest in digests if not self.target.journal.fold.alive(digest)]

    def _bring(self, digest: str) -> dict[str, Any]:
        """Read content where it lies, and store it here."""
        source = self.source
        tried = None
        while True:
            manifest = source.journal.fold.current_manifest(digest)
            if manifest is None or manifest == tried:
                raise _StaleError(f"{digest[:15]} is gone")
            try:
                record = json.loads(source._get(manifest_key(manifest)))
                for letter, pack in record["packs"].items():
                    source.letter(letter, pack)
            except NotFoundError:
                tried = manifest
                source.insist(source.journal.catch_up)
                continue
            return self.target.upload(next(word for word in WORDS if name_of(word) == digest))


class _StaleError(Exception):
    """What was planned on is no more."""
