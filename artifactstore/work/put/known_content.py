"""Deduplication shared by puts and imports: candidate manifests with known chunks, and writing a manifest."""

from collections.abc import Collection, Iterable
from typing import Final

from artifactstore.backend.buffers import writable
from artifactstore.catalog.fold.state import State
from artifactstore.content.manifests.checks import check
from artifactstore.content.manifests.hooks import HookIndex, select
from artifactstore.content.manifests.manifest import Manifest, manifest_key
from artifactstore.content.manifests.parquet import encode
from artifactstore.content.packs.known_chunks import FalseChunksError, KnownChunks
from artifactstore.content.read.open_file import prove
from artifactstore.errors import CorruptionError, FormatError, NotFoundError
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import Fact
from artifactstore.runtime.remarks import remark
from artifactstore.work.session.session import Session

__all__ = ["candidates", "distrust", "fresh_hooks", "known_chunks", "proves", "store_manifest"]

_CANDIDATES: Final = 2  # newest versions of the same name whose chunks are compared
_CANDIDATE_ROWS: Final = 1_500_000  # files and chunks of candidates, so that a million files fit the memory limit
_OBSERVED: Final = 1000  # bytes of content below which no other artifact is looked at


def candidates(state: State, name: str | None) -> list[str]:
    """Return the digests most likely to share chunks with the next version of a name."""
    rows = state.names.get(name, ()) if name is not None else ()
    found: list[str] = []
    for row in reversed(rows):
        if state.intact(row["digest"]) and row["digest"] not in found:
            found.append(row["digest"])
            if len(found) == _CANDIDATES:
                break
    return found


def fresh_hooks(session: Session) -> HookIndex:
    """Return the hooks of all artifacts."""
    hooks = session.core().hooks
    with session.state(fresh=False) as state:
        hooks.update(state.hooks)
    return hooks


def known_chunks(session: Session, wanted: Iterable[str], total: int, *, without: Collection[str] = ()) -> KnownChunks:
    """Collect the chunks of the manifests that are likeliest to share some with the new content.

    Args:
        session: where it is stored.
        wanted: digests of candidates, the likeliest first.
        total: bytes of content to be stored.
        without: digests of artifacts whose manifests are false.
    """

    def load(digest: str) -> Manifest | None:
        if digest in without:
            return None
        try:
            return session.with_manifest(digest, lambda manifest: manifest, relied_on=True)
        except (NotFoundError, CorruptionError, FormatError):
            return None  # an unreadable manifest shares no chunks, and must not block new content

    if total < _OBSERVED:
        return KnownChunks()  # so little rides in the manifest itself: reading another one costs more
    known = KnownChunks(fresh_hooks(session), load)
    rows = 0
    for digest in wanted:
        manifest = load(digest)
        if manifest is not None and (not rows or rows + len(manifest.chunks) <= _CANDIDATE_ROWS):
            rows += len(manifest.chunks)
            known.add(manifest)
    return known


def store_manifest(session: Session, manifest: Manifest, content: Digest, digest: Digest) -> tuple[Fact, int]:
    """Write a manifest under a new id; returns its `stored` fact and its size in bytes.

    Raises:
        InvalidInputError: readers would reject it.
        BackendError: it could not be written.
    """
    check(manifest)
    manifest.digest = str(digest)
    one = new_id()
    raw = encode(manifest, content, digest)
    session.backend.write(manifest_key(one), writable(raw))
    fact: Fact = {
        "fact": "stored",
        "digest": str(digest),
        "manifest": one,
        "manifest_digest": str(Digest.of(raw, manifest.algorithm)),
        "size": manifest.size,
        "files": len(manifest.paths),
        "packs": list(manifest.packs),
    }
    if content != digest:
        fact["content"] = str(content)
    if manifest.format is not None:
        fact["format"] = manifest.format
    # Inline chunks cannot be shared, so they are not hooks.
    hooks = select(d for d, pack in zip(manifest.chunks.digests, manifest.chunks.packs, strict=True) if pack >= 0)
    if hooks:
        fact["hooks"] = hooks
    core = session.core()
    core.manifests.put(one, manifest)
    if manifest.all_proven:
        core.checked.add(one, fact["manifest_digest"], fact["digest"])
    return fact, len(raw)


def distrust(session: Session, distrusted: set[str], false: FalseChunksError) -> None:
    """Stop relying on artifacts whose manifests are false, and warn of each; not of those whose packs clean-up took meanwhile.

    Raises:
        CorruptionError: chunks are false, but none of the known artifacts has them.
    """
    digests = {one.digest for one in false.manifests} - distrusted
    if not digests:
        raise CorruptionError(
            f"chunks that are stored already do not match their records: {false}; put with verify=True, or run `artifactstore verify`"
        )
    session.core().journal.catch_up()
    with session.state(fresh=False) as state:
        freed = {one.digest for one in false.manifests if any(pack in state.condemned_packs for pack in one.packs)}
    for digest in sorted(digests - freed):
        what = f"the manifest of {digest}" if digest else "the ledger of an interrupted upload, in the cache,"
        text = f"{what} is false and is not used: {false}; `artifactstore verify --level frames` names the entry and the actor"
        remark(text)
    distrusted |= digests


def proves(session: Session, own: Manifest | None, manifest: Manifest) -> str | None:
    """Return a path whose chunks in another writer's manifest of the same files are not those of the file, or None.

    Args:
        session: the store, from which a file is read to know.
        own: this machine's manifest of the same files.
        manifest: the other one.
    """
    for row in range(len(manifest.paths)):
        if manifest.is_proven(row) or (own is not None and manifest.same_chunks(own, row)):
            continue
        try:
            prove(session.backend, manifest, row)
        except CorruptionError:
            return manifest.paths[row]
    return None
