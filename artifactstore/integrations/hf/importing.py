"""The import of a snapshot: read from the cache, each file checked against the hub's hash, stored near its base model."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations.checked.files import Content, as_source
from artifactstore.integrations.checked.hashes import AllOf, Check, GitBlob, Hashed
from artifactstore.integrations.checked.origins import OnDisk
from artifactstore.integrations.hf.cache import Repo, Snapshot, cache_folder, check_rev, find_snapshot, parse_repo, repo_types
from artifactstore.model.listing import check_path
from artifactstore.runtime.yaml.reader import parse_yaml
from artifactstore.store import Store
from artifactstore.work.sync.imported import Imported

__all__ = ["import_snapshot"]

_CARD: Final = 2**20  # bytes of a card that are read
_SHA1: Final = 40  # digits


def import_snapshot(
    store: Store,
    source: str,
    name: str,
    *,
    cache: str | None,
    base: str | None,
    rev: str | None,
    dry_run: bool,
    reason: str | None,
) -> Imported:
    """Import a snapshot; see `import_from`."""
    repo, at, is_typed = parse_repo(source)
    if rev is not None:
        check_rev(rev)
        if at is not None and at != rev:
            raise InvalidInputError(f"{source} names a revision, and so does rev={rev!r}: pass one of them")
        at = rev
    folder = cache_folder(cache)
    snapshot = _found(folder, repo, at, is_typed=is_typed, may_download=not dry_run)
    with store.maintenance.intake("hf", f"hf://{snapshot.repo.text}", dry_run=dry_run, reason=reason) as intake:
        report: Imported = intake.report
        gone = [one.path for one in snapshot.files if one.broken == "gone"]
        # A later download may have brought more files of the same commit: that is another version.
        marks = {"hf.repo": snapshot.repo.text, "hf.commit": snapshot.commit, "hf.files": str(len(snapshot.files))}
        intake.find(name, marks)
        report.missing += [
            f"{snapshot.repo.text}@{snapshot.commit}: {path}" for path in (*gone, *snapshot.half, *snapshot.absent)
        ]
        report.missing[:] = dict.fromkeys(report.missing)
        if gone or snapshot.half:
            report.skipped.append(
                f"{snapshot.repo.text}@{snapshot.commit}: its download has not ended; finish it, then import again"
            )
            return report
        if not snapshot.files:
            raise NotFoundError(f"the snapshot {snapshot.commit} of {snapshot.repo.text} has no files")
        near = _base(store, snapshot, base)
        url, options = as_source(dict(_contents(snapshot)))
        if near is not None:
            options["base"] = near
        intake.put(url, name, marks=marks, kind=snapshot.repo.kind, **options)
    return intake.report


def _found(cache: Path, repo: Repo, rev: str | None, *, is_typed: bool, may_download: bool) -> Snapshot:
    """Return a snapshot of the cache, which is downloaded if it is not there.

    Raises:
        NotFoundError: it is not there, and cannot be downloaded.
    """
    types = [repo.type] if is_typed else [one for one in repo_types() if (cache / Repo(one, repo.id).folder).is_dir()]
    if len(types) > 1 and "models" not in types:
        raise InvalidInputError(f"{repo.id} is in the cache as {' and as '.join(types)}: write {types[0]}/{repo.id}")
    repo = Repo("models" if not types or "models" in types else types[0], repo.id)
    try:
        return find_snapshot(cache, repo, rev)
    except NotFoundError as error:
        if not may_download:
            raise
        reason = _download(cache, repo, rev)
        if reason:
            raise NotFoundError(f"{error.args[0]}; {reason}") from error
    return find_snapshot(cache, repo, rev)


def _download(cache: Path, repo: Repo, rev: str | None) -> str:
    """Download a snapshot by the hub's own client; return why not, if it cannot be."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return "HF_HUB_OFFLINE is set, so it is not downloaded"
    if importlib.util.find_spec("huggingface_hub") is None:
        return "download it first, or install huggingface_hub"
    import huggingface_hub  # noqa: PLC0415 - only where it is needed

    try:
        huggingface_hub.snapshot_download(
            repo.id, repo_type=repo.type.removesuffix("s"), revision=rev, cache_dir=os.fspath(cache)
        )
    except Exception as error:  # noqa: BLE001 - the client raises what its libraries raise
        return f"it cannot be downloaded: {type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else ''}"
    return ""


def _contents(snapshot: Snapshot) -> Iterator[tuple[str, Content]]:
    """Yield (path, content) of the files of a snapshot.

    Raises:
        CorruptionError: a file is not the one that the hub has there.
        InvalidInputError: a file cannot be stored, or leaves the cache.
    """
    for one in snapshot.files:
        what = f"{snapshot.repo.text}@{snapshot.commit[:12]} {one.path}"
        if one.broken.startswith("it is a link to"):
            raise CorruptionError(f"{what} is damaged: {one.broken}", location=one.disk)
        if one.broken:
            raise InvalidInputError(f"{what}: {one.broken}")
        check_path(one.path)
        try:
            origin = OnDisk(one.disk, what)
        except OSError as error:
            raise InvalidInputError(f"{what} cannot be read: {error.strerror or error}") from error
        checks = [
            partial(GitBlob, etag, origin.size) if len(etag) == _SHA1 else partial(Hashed, "sha256", etag) for etag in one.etags
        ]
        yield one.path, Content(origin, None if not checks else checks[0] if len(checks) == 1 else partial(_all_of, checks))


def _all_of(checks: Sequence[Callable[[], Check]]) -> Check:
    return AllOf([check() for check in checks])


def _base(store: Store, snapshot: Snapshot, base: str | None) -> str | None:
    """Return the artifact that is compared with: what was passed, else the newest version here of a model that the card names."""
    if base is not None:
        return store.artifact(base).ref
    for wanted in _named_bases(snapshot):
        try:
            found = store.find(metadata={"hf.repo": wanted})
        except ArtifactStoreError:
            return None
        if found:
            return str(found[-1].digest)
    return None


def _named_bases(snapshot: Snapshot) -> Iterator[str]:
    """Yield the repositories that the card names as base models."""
    card = next((one for one in snapshot.files if one.path == "README.md"), None)
    if card is None:
        return
    with open(card.disk, "rb") as file:  # noqa: PTH123 - a path as the cache has it
        text = file.read(_CARD).decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return
    head = text[4:].partition("\n---")[0]
    try:
        value = parse_yaml(head, "README.md")
    except InvalidInputError:
        return
    names = value.get("base_model") if isinstance(value, dict) else None
    yield from (str(one) for one in (names if isinstance(names, list) else [names]) if isinstance(one, str))
