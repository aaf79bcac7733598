"""Keep: an object whose put failed in a run stays on this machine, as a small store of its own; `rescue` puts it later.

Hours of training end with a put. If that fails (the backend is away, credentials have expired, a package is missing), the object
must not be lost with the process.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from artifactstore.model.json_values import json_value
from artifactstore.printable import visible
from artifactstore.work.get.artifact import Artifact
from artifactstore.work.secrets import captured
from artifactstore.work.session.session import Session
from artifactstore.work.settings.settings import rescue_folder

__all__ = ["ABOUT", "KEPT", "keep"]

KEPT: Final = "rescued"  # of the only artifact in such a store
ABOUT: Final = "rescue"  # in its metadata: the arguments of the put
_NOT_IN_A_PATH: Final = re.compile(r"[^A-Za-z0-9._-]+")


def keep(
    source: Any, about: Mapping[str, Any], options: Mapping[str, Any], error: Exception, *, stored: Callable[..., Artifact]
) -> None:
    """Keep an object, and add to the error where it is, and what puts it later; never raises.

    Args:
        source: the object.
        about: the arguments of the put: name, kind, metadata, metrics, where they were passed.
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
        about = {**about, **{key: options[key] for key, kind in _DESCRIBING.items() if isinstance(options.get(key), kind)}}
        if not _kept(folder, source, {**about, "error": captured(f"{type(error).__name__}: {error}")}, options, stored):
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
    metadata = {ABOUT: {key: _recorded(key, value) for key, value in about.items()}}
    own = {key: value for key, value in options.items() if key not in _OF_THE_TARGET}
    for chosen in (own, {"format": "pickle"}):
        try:
            stored(session, source, KEPT, metadata=metadata, options=chosen)
        except OSError:
            raise
        except Exception:  # noqa: BLE001, S112 - of the format, or the object's own code
            continue
        return True
    return False


def _recorded(key: str, value: Any) -> Any:
    """Return an argument as JSON; None where that fails, which may be why the put has failed."""
    try:
        return json_value(value, key, otherwise=lambda one: {"repr": repr(one)[:200]})
    except Exception:  # noqa: BLE001 - the caller's own classes
        return None


_DESCRIBING: Final = {"tags": Mapping, "description": str}  # options that are put with it later; aliases would move hours later
_OF_THE_TARGET: Final = frozenset({"base", "verify", "aliases", "replace_metadata", *_DESCRIBING})
