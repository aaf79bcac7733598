"""Put onto: the next version of a name, made out of an existing artifact, of which no byte is read.

A version that is made out of the newest one of the same name says how many there were. If another writer was first, it is
made anew out of that writer's version: both land (docs/decisions/0074). Writers of one machine take turns for this, since what is
made anew is a manifest of all files (docs/decisions/0087).
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from artifactstore.catalog.fold.judge import versions_after
from artifactstore.catalog.fold.state import State
from artifactstore.catalog.versions import Resolved
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.read.open_file import open_chunks
from artifactstore.content.side_content import parse_sha256, read_side
from artifactstore.content.write.ingested import Ingested
from artifactstore.content.write.layer import Layers, lay_over
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.facts import Fact
from artifactstore.model.reference import Reference
from artifactstore.runtime.file_locks import single_flight
from artifactstore.work.get.artifact import record_of
from artifactstore.work.get.taint_check import check_taint
from artifactstore.work.put.arguments import PutRequest
from artifactstore.work.put.filters import Excluder
from artifactstore.work.put.known_content import proves
from artifactstore.work.session.as_of import one_state
from artifactstore.work.session.prepared import Batch, Prepared
from artifactstore.work.session.session import Session
from artifactstore.work.tracking.current_run import current

__all__ = ["Onto"]

_PATIENCE: Final = 5.0  # seconds that a writer waits for its turn: a slow one holds up no other for longer


class Onto:
    """What a put is made out of.

    Attributes:
        kind: of that artifact; None if there is none yet.
        digest: of it, or None.
        alive_at: the head at which what was stored for this put was known to be alive.
    """

    def __init__(self, session: Session, name: str, given: Mapping[str, Any]) -> None:
        self._session = session
        self._name = name
        self._ref: str = given["onto"]
        self._at: str = given["at"]
        self._patterns: Sequence[str] = given["without"]
        parsed = Reference.parse(self._ref)
        if parsed.path is not None:
            raise InvalidInputError(f"onto={self._ref!r} names a path: expected an artifact; at= is where the source goes")
        self._of = parsed.name
        self._newest = parsed.name is not None and parsed.version is None and parsed.alias is None and parsed.digest is None
        self._own = self._newest and parsed.name == name
        self._batch: Batch | None = session.batch()
        self._earlier = 0 if self._batch is None else len(self._batch.steps)
        self._pending: list[str] = []
        self._found: Resolved | None = None
        self._staged: Manifest | None = None
        self._expected = 0
        self._stored: Manifest | None = None
        self._merged: Layers | None = None
        self._sha256: dict[str, bytes] = {}  # of what was stored before
        self._turn: ExitStack | None = None
        self.alive_at = -1
        self.kind: str | None = None
        if self._own:
            session.core_to_write()  # the first version may be the first of the store
        self._resolve()

    @property
    def digest(self) -> str | None:
        """Of the artifact."""
        return None if self._found is None else self._found.digest

    def begin(self, state: State) -> int:
        """Find the artifact as it is now; return the head at which everything that the put relies on was alive."""
        if self._stored is not None and int(state.header["condemned"]) > self.alive_at:
            self._stored = None  # clean-up may have taken it
        if self._stored is None:
            self.alive_at = state.head
        return self.alive_at

    def take(self, manifest: Manifest, alive_at: int, sha256: Mapping[str, bytes]) -> None:
        """Note what was stored for this put before it began."""
        self._stored, self.alive_at, self._sha256 = manifest, alive_at, dict(sha256)

    def known(self) -> list[Manifest]:
        """Find the artifact again; return manifests whose chunks the new files may share, the likeliest first."""
        self._resolve()
        if self._stored is not None:
            return [self._stored]
        return [] if self._staged is None else [self._staged]

    def _resolve(self) -> None:
        session, batch = self._session, self._batch
        earlier: Sequence[Prepared] = () if batch is None else batch.prepared[: self._earlier]
        self._staged = None
        self._pending = [
            fact["digest"] for one in earlier for fact in one.facts if fact["fact"] == "versioned" and fact["name"] == self._of
        ]
        with session.state() as state:
            rows = state.names.get(self._name, [])
            self._expected = versions_after(rows, self._pending if self._own else ())
            try:
                self._found = self._in_batch() or session.resolve(self._ref)
            except NotFoundError:
                if not self._own:
                    raise
                self._found, self.kind = None, None  # it begins with nothing
                return
            if self._found.digest in state.stored:
                self.kind = record_of(state, self._found).kind
        check_taint(session, self._ref, self._found)
        for one in reversed(earlier):
            if one.digest == self._found.digest and one.staged is not None:
                self._staged = one.staged.manifest
                break

    def _in_batch(self) -> Resolved | None:
        """Return what this batch has put under that name before, if its newest version is meant."""
        return Resolved(self._pending[-1], self._of) if self._newest and self._pending else None

    def lay(self, done: Ingested, *, sha256: bool) -> int:
        """Lay what was stored over the artifact; return the bytes that were written for it."""
        self._stored = done.manifest
        self._take_turn()
        if self._found is None:
            found = self._lay(Manifest(done.manifest.algorithm), done, sha256=sha256)
        elif self._staged is not None:
            found = self._lay(self._staged, done, sha256=sha256)
        else:
            found = self._session.with_manifest(
                self._found.digest, lambda lower: self._lay(lower, done, sha256=sha256), relied_on=True
            )
        self._merged = found
        done.manifest = found.manifest
        return found.uploaded

    def _take_turn(self) -> None:
        """Wait until no other process or thread of this machine makes a version of this name, and find out what they made."""
        folder = self._session.cache
        if not self._own or self._batch is not None or self._turn is not None or folder is None:
            return
        self._turn = ExitStack()
        # A folder of its own: what holds a turn fetches manifests, whose locks may have the same number.
        lock = single_flight(folder / "locks" / "turns", [f"{self._session.url} {self._name}"], timeout=_PATIENCE)
        if self._turn.enter_context(lock):
            with one_state(anew=True):
                self._resolve()

    def end(self) -> None:
        """Let others take their turn: this put has been committed, or has failed."""
        if self._turn is not None:
            self._turn.close()
            self._turn = None

    def _lay(self, lower: Manifest, done: Ingested, *, sha256: bool) -> Layers:
        if lower.format is not None:
            raise InvalidInputError(
                f"{self._ref} is an object of the format {lower.format!r}: onto= builds on files and folders; get it into a folder first"
            )
        upper, backend = self._stored, self._session.backend
        assert upper is not None
        without = Excluder(self._patterns, option="without")
        made = lay_over(backend, lower, upper, at=self._at, without=without.below if self._patterns else lambda _: False)
        without.check((*lower.paths, *(f"{path}/" for path in lower.folders), *(path for path, _ in lower.links)))
        if sha256:
            prefix = f"{self._at}/" if self._at else ""
            own = {prefix + path: digest for path, digest in {**done.sha256, **self._sha256}.items()}
            done.sha256 = {**self._sha256_of(lower, made), **own}
        return made

    def _sha256_of(self, lower: Manifest, made: Layers) -> dict[str, bytes]:
        """Return the SHA-256 of the files that stay; they are read only if the artifact was put without it."""
        backend = self._session.backend
        raw = read_side(backend, lower, "sha256")
        listed = None if raw is None else parse_sha256(raw, lower.paths)
        if listed is not None:
            return {path: bytes.fromhex(listed[row]) for path, row in made.kept}
        found: dict[str, bytes] = {}
        for path, row in made.kept:
            with open_chunks(backend, lower, row) as file:
                found[path] = hashlib.file_digest(file, "sha256").digest()
        return found

    def proves(self, manifest: Manifest) -> str | None:
        """Return a path whose chunks in another writer's manifest of the same files are not those of the file, or None."""
        return proves(self._session, None if self._merged is None else self._merged.manifest, manifest)

    def facts(self, facts: list[Fact]) -> list[Fact]:
        """Return the facts of the put, with what they expect, and with what the current run has built on."""
        if self._own:
            facts = [{**fact, "expect": self._expected} if fact["fact"] == "versioned" else fact for fact in facts]
        tracker = current(self._session)
        if facts and tracker is not None and self._found is not None and self._staged is None:
            facts += tracker.builds_on(self._found.digest, self._found.name, self._found.version)
        return facts

    def request(self, request: PutRequest, kind: str | None) -> PutRequest:
        """Return the arguments of the put, with the kind of what it is made out of unless one was passed."""
        return request if kind is not None or self.kind is None else replace(request, kind=self.kind)
