"""What a hostile or faulty writer of the same store may append: it can create objects and entries, never change or delete any."""

from collections.abc import Mapping, Sequence
from typing import Any

from artifactstore.content.manifests.manifest import Extent, Manifest, manifest_key
from artifactstore.content.manifests.parquet import encode
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store


def inline(files: Mapping[str, bytes], form: str | None = None) -> Manifest:
    """Return a manifest whose files ride in it."""
    made = Manifest("blake3")
    for path, data in sorted(files.items()):
        made.chunks.inline[len(made.chunks)] = data
        made.chunks.add(Digest.of(data).raw, len(data), -1, 0, len(data), 0)
        made.close_file(path, len(data), Digest.of(data).raw, executable=False)
    made.format = form
    return made


def append(store: Store, facts: Sequence[dict[str, Any]]) -> None:
    """Append a transaction."""
    core = store._session.core()
    head = core.journal.catch_up()
    core.appender.commit(facts, birth=head, alive_at=head, refuse=lambda void: RuntimeError(str(void)))


def written(store: Store, manifest: Manifest) -> tuple[str, str, bytes]:
    """Write a manifest; returns its id, its digest and its bytes."""
    content, identity = manifest.identify()
    raw, one = encode(manifest, content, identity), new_id()
    store._session.backend.write(manifest_key(one), raw)
    return one, str(Digest.of(raw)), raw


def stored(store: Store, digest: str, manifest: Manifest, **more: Any) -> dict[str, Any]:
    """Write a manifest; returns a fact that says that it holds a digest."""
    one, found, _ = written(store, manifest)
    fact = {"fact": "stored", "digest": digest, "manifest": one, "manifest_digest": found, "size": manifest.size}
    return {**fact, "files": len(manifest.paths), "packs": manifest.packs, **more}


def claim(store: Store, digest: str, manifest: Manifest, **more: Any) -> str:
    """Append a fact that says that a manifest holds a digest; returns the manifest's id."""
    fact = stored(store, digest, manifest, **more)
    append(store, [fact])
    return str(fact["manifest"])


def manifest_of(store: Store, digest: str) -> Manifest:
    """Return what a store holds, for a change."""
    store._session.core().journal.catch_up()
    return store._session.with_manifest(digest, lambda manifest: manifest)


def elsewhere(extent: Extent, **changes: Any) -> Extent:
    """Return where a chunk is said to be, changed."""
    return extent._replace(**changes)
