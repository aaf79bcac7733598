"""Rescue: an object that was kept after a failed put is put, as what it was."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.content.write.source import Folder, from_file
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.objects.base import WriteFolder
from artifactstore.work.get.artifact import Artifact, artifact
from artifactstore.work.get.get import get
from artifactstore.work.put.arguments import checked_request
from artifactstore.work.put.keep import ABOUT, KEPT
from artifactstore.work.put.put import put_listed
from artifactstore.work.put.sources import PutSource
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import rescue_folder

__all__ = ["rescue"]


def rescue(session: Session, path: str | os.PathLike[str], name: str | None = None) -> Artifact:
    """Put an object that was kept after a failed put; see `Maintenance.rescue`.

    Raises:
        NotFoundError: nothing was kept there.
        InvalidInputError: no name was passed, and the put had none either.
    """
    session.check_writable()
    folder = Path(path).expanduser().absolute()
    try:
        kept = Session(str(folder), mode="r", cache=None)
        record = artifact(kept, KEPT)
    except NotFoundError as error:
        raise NotFoundError(f"{folder} has no object of a failed put: {_others()}") from error
    about: Mapping[str, Any] = record.metadata.get(ABOUT, {})
    wanted = name if name is not None else about.get("name")
    if wanted is None:
        raise InvalidInputError(f"the put of {folder} had no name: pass one")
    kind, metadata, metrics = (about.get(key) for key in ("kind", "metadata", "metrics"))
    described = {key: about[key] for key in ("tags", "description") if key in about}
    request = checked_request(None, wanted, options=described, kind=kind, metadata=metadata, metrics=_numbers(metrics))
    with tempfile.TemporaryDirectory(prefix="artifactstore-") as staged:
        get(kept, KEPT, staged, decode=False)
        found, written = PutSource(Folder(), format=record.format), WriteFolder()
        written.side.update(kept.with_manifest(record.digest, lambda manifest: dict(_side(kept, manifest))))
        files = [from_file(str(Path(staged, one.path)))._replace(path=one.path) for one in record.files if one.type == "file"]
        found.folder, found.kept = Folder(files=files), written
        found.sha256 = kept.with_manifest(record.digest, lambda manifest: "sha256" in manifest.side)
        made = put_listed(session, found, request, f"rescued; the put failed with {about.get('error', '')}"[:1000], own=False)
    shutil.rmtree(folder, ignore_errors=True)
    return made


def _side(kept: Session, manifest: Manifest) -> Any:
    for name in manifest.side:
        raw = read_side(kept.core().cached_backend, manifest, name)
        if raw is not None and name != "sha256":
            yield name, raw


def _numbers(metrics: Any) -> dict[str, float] | None:
    """Return metrics as they were passed: those that are not finite have their names as text."""
    if not isinstance(metrics, Mapping):
        return None
    return {key: float(value["repr"]) if isinstance(value, Mapping) else value for key, value in metrics.items()}


def _others() -> str:
    """Return what was kept elsewhere, for a message."""
    top = rescue_folder()
    try:
        known = [] if top is None else sorted(one.name for one in top.iterdir() if one.is_dir())
    except OSError:
        known = []
    return f"in {top} are {', '.join(known[-5:])}" if known else "check the path that the failed put named"
