"""Rescue: an object whose put failed in a run is kept on this machine, as a small store of its own, and put later.

Hours of training end with a put. If that fails (the backend is away, credentials have expired, a package is missing), the object
must not be lost with the process.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import read_side
from artifactstore.content.write.source import Folder, from_file
from artifactstore.errors import InvalidInputError, NotFoundError
from artifactstore.model.json_values import json_value
from artifactstore.objects.base import WriteFolder
from artifactstore.printable import visible
from artifactstore.work.get.artifact import Artifact, artifact
from artifactstore.work.get.get import get
from artifactstore.work.put.arguments import checked_request
from artifactstore.work.put.put import put_listed
from artifactstore.work.put.sources import PutSource
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import rescue_folder

__all__ = ["keep", "rescue"]

_NAME: Final = "rescued"  # of the only artifact in such a store
_ABOUT: Final = "rescue"  # in its metadata: the arguments of the put
_NOT_IN_A_PATH: Final = re.compile(r"[^A-Za-z0-9._-]+")


def keep(
    source: Any, about: Mapping[str, Any], options: Mapping[str, Any], error: Exception, *, stored: Callable[..., Artifact]
) -> None:
    """Keep an object, and add to the error where it is, and what puts it later; never raises.

    Args:
        source: the object.
        about: the arguments of the put: name, kind, metadata, metrics.
        options: its other options.
        error: why it failed.
        stored: the function that puts into a store.
    """
    try:
        top = rescue_folder()
        if top is None:
            return
        name = str(about["name"] or "object")
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        folder = top / f"{moment}-{_NOT_IN_A_PATH.sub('_', name)[:80]}"
        folder.mkdir(parents=True, mode=0o700)
        if not _kept(folder, source, {**about, "error": f"{type(error).__name__}: {error}"}, options, stored):
            shutil.rmtree(folder, ignore_errors=True)
            error.add_note(f"the object could not be kept in {top} either: no format can store it, pickle neither")
            return
        error.add_note(f"the object is not lost: `artifactstore rescue {folder} {visible(name)}` puts it")
    except Exception as other:  # noqa: BLE001 - whatever fails here must not hide the first error
        error.add_note(f"the object could not be kept on this machine either: {type(other).__name__}: {other}")


def _kept(
    folder: Path, source: Any, about: Mapping[str, Any], options: Mapping[str, Any], stored: Callable[..., Artifact]
) -> bool:
    """Put an object into a store of its own, by its format, or else as a pickle."""
    session = Session(str(folder), cache=None)
    metadata = {_ABOUT: json_value(about, _ABOUT, otherwise=lambda one: {"repr": repr(one)[:200]})}
    own = {key: value for key, value in options.items() if key not in _OF_THE_TARGET}
    for chosen in (own, {"format": "pickle"}):
        try:
            stored(session, source, _NAME, metadata=metadata, options=chosen)
        except OSError:
            raise
        except Exception:  # noqa: BLE001, S112 - of the format, or the object's own code
            continue
        return True
    return False


_OF_THE_TARGET: Final = frozenset({"base", "verify", "aliases", "tags", "description", "replace_metadata"})


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
        record = artifact(kept, _NAME)
    except NotFoundError as error:
        raise NotFoundError(f"{folder} has no object of a failed put: {_others()}") from error
    about: Mapping[str, Any] = record.metadata.get(_ABOUT, {})
    wanted = name if name is not None else about.get("name")
    if wanted is None:
        raise InvalidInputError(f"the put of {folder} had no name: pass one")
    kind, metadata, metrics = (about.get(key) for key in ("kind", "metadata", "metrics"))
    request = checked_request(None, wanted, kind=kind, metadata=metadata, metrics=_numbers(metrics), reason=None, options={})
    with tempfile.TemporaryDirectory(prefix="artifactstore-") as staged:
        get(kept, _NAME, staged, decode=False)
        found, written = PutSource(Folder(), format=record.format), WriteFolder()
        written.side.update(kept.with_manifest(record.digest, lambda manifest: dict(_side(kept, manifest))))
        files = [from_file(str(Path(staged, one.path)))._replace(path=one.path) for one in record.files if one.type == "file"]
        found.folder, found.kept = Folder(files=files), written
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
