"""Pull: an artifact out of a registry; every byte is hashed as it arrives, and nothing is stored before all of them are there."""

import errno
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, BackendError, FormatError, NotFoundError
from artifactstore.integrations.oci import media_types as types
from artifactstore.integrations.oci.build import own_platform
from artifactstore.integrations.oci.documents import Document, choose, read
from artifactstore.integrations.oci.layers import Layer, plan, unpack
from artifactstore.integrations.oci.local_files import LocalFiles
from artifactstore.integrations.oci.registry.address import Address
from artifactstore.integrations.oci.registry.client import Registry
from artifactstore.integrations.oci.returned import put_returned
from artifactstore.integrations.oci.tar_stream import ROOT
from artifactstore.integrations.oci.tree import Tree
from artifactstore.model.reference import check_kind, check_name
from artifactstore.runtime.threads import Pool
from artifactstore.store import Store

__all__ = ["pull"]

_WORKERS: Final = 4
_DEPTH: Final = 3  # of indexes in indexes
_MODEL_KINDS: Final = ("application/vnd.cncf.model.", "application/vnd.cnai.model.", "application/vnd.kitops.modelkit.")


def pull(
    store: Store,
    source: str,
    name: str,
    *,
    plain_http: bool = False,
    platform: str | None = None,
    kind: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> Any:
    """Pull an artifact from a registry into a store; what `push` wrote comes back as the same artifact.

    It reads ModelPacks, images with `/models`, what oras pushed, and ModelKits of KitOps. A tag is resolved once.

    Args:
        store: the store.
        source: `HOST[:PORT]/REPO[:TAG]`, or `…@sha256:…`; the tag is `latest` by default.
        name: of the new version.
        plain_http: without TLS.
        platform: of an index with several manifests; by default Linux on this machine's processor.
        kind: data, model, code …; by default what was pushed, `model` for a ModelPack, a ModelKit and `/models`, else `data`.
        metadata: more of it; `oci.repository` and `oci.digest` are added.
        reason: why, for the audit trail.

    Returns:
        The artifact, as `put` does.

    Raises:
        NotFoundError: the registry has no such repository, tag or blob.
        CorruptionError: bytes do not have their digest or size.
        FormatError: the manifest or a layer cannot be read, or has paths that an artifact cannot have.
        InvalidInputError: the address or the name is invalid, or an index has several manifests that could be meant.
        BackendError: the registry or the disk fails.
    """
    address = Address.parse(source)
    check_name(name)
    if kind is not None:
        check_kind(kind)
    store._session.check_writable()  # noqa: SLF001 - before anything is fetched
    registry = Registry(address, plain_http=plain_http)
    try:
        digest, manifest = _resolved(registry, address, platform)
        what = f"{address.place}@{digest}"
        layers = plan(manifest, what)
        _refuse_twins(layers, what)
        own = {"oci.repository": address.place, "oci.digest": digest}
        with tempfile.TemporaryDirectory(prefix="artifactstore-pull-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            tree = Tree(folder / "tree", what)
            tree.folder.mkdir()
            local = LocalFiles(store, manifest.annotations.get(types.DIGEST, ""), name)
            tree.room(sum({one.entry.digest: one.entry.size for one in layers}.values()))
            if not _fetch(registry, layers, tree, folder, local) and any(one.below for one in layers):
                raise NotFoundError(f"{what} is an image without /{ROOT}: it is not one of a model")
            return put_returned(
                store, tree, name, manifest.annotations, kind=kind, guess=_kind(manifest, layers),
                metadata={**(metadata or {}), **own}, reason=reason, what=what,
            )  # fmt: skip
    except OSError as error:
        if isinstance(error, ArtifactStoreError):
            raise
        if error.errno == errno.ENAMETOOLONG:
            raise FormatError(f"{source} has a path that is too long for this file system; nothing was stored") from error
        raise BackendError(
            f"cannot write what was pulled to {tempfile.gettempdir()}: {error.strerror or error}; nothing was stored"
        ) from error
    finally:
        registry.close()


def _resolved(registry: Registry, address: Address, platform: str | None) -> tuple[str, Document]:
    """Return the manifest that is meant, and its digest; the tag is asked for once."""
    wanted = address.wanted
    for _ in range(_DEPTH):
        got = registry.manifest(wanted)
        what = f"{address.place}@{got.digest}"
        found = read(got.body, got.media_type, what)
        if not found.is_index:
            return got.digest, found
        wanted = choose(found, platform, own_platform(), what).digest
    raise FormatError(f"{address} is an index of indexes, more than {_DEPTH - 1} deep: pull what is meant by its digest")


def _refuse_twins(layers: list[Layer], what: str) -> None:
    """Refuse two layers for one path, before anything is fetched."""
    twice = [path for path, count in Counter(one.path for one in layers if one.path is not None).items() if count > 1]
    if twice:
        raise FormatError(f"{what} has {len(twice)} paths twice, such as {twice[0]!r}: which one is meant cannot be known")


def _fetch(registry: Registry, layers: list[Layer], tree: Tree, folder: Path, local: LocalFiles) -> bool:
    """Fetch files, several at a time, then tars in their order: a later one may replace files of an earlier one.

    Returns:
        Whether a tar had anything that was taken.
    """
    files = [(one, tree.new_file(one.path)) for one in layers if one.path is not None]
    first = {one.entry.digest: target for one, target in reversed(files)}
    with Pool(_WORKERS, "artifactstore-pull") as pool:
        for _ in pool.map(
            partial(_fetch_file, registry, local), [(one, target) for one, target in files if first[one.entry.digest] is target]
        ):
            pass
    for one, target in files:
        if (same := first[one.entry.digest]) is not target:
            shutil.copyfile(same, target)
        if one.executable:
            target.chmod(0o755)
    found = False
    for one in layers:
        if one.path is None:
            blob = folder / "blob"
            with blob.open("wb") as file:
                registry.fetch(one.entry.digest, one.entry.size, file)
            found = unpack(one, blob, tree, registry.address.place) or found
            blob.unlink()
    return found


def _fetch_file(registry: Registry, local: LocalFiles, row: tuple[Layer, Path]) -> None:
    layer, target = row
    if local.copy(layer.entry.digest, target):
        return
    with target.open("wb") as file:
        registry.fetch(layer.entry.digest, layer.entry.size, file)


def _kind(manifest: Document, layers: list[Layer]) -> str:
    """Return the kind of an artifact that others pushed."""
    types_ = [manifest.media_type, *(one.entry.media_type for one in layers)]
    is_model = any(one.startswith(_MODEL_KINDS) for one in types_) or any(one.below for one in layers)
    return "model" if is_model else "data"
