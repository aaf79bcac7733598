"""A pointer file: canonical JSON that names an artifact by its digest, and where it is; the same bytes for the same artifact."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import BackendError, CorruptionError, FormatError, NotFoundError
from artifactstore.runtime.atomic_files import replace_whole

__all__ = ["SUFFIXES", "Pointer", "check", "is_pointer", "read", "write"]

SUFFIXES: Final = (".artifact.json", ".artifact")
_FORM: Final = 1  # of the files that this library writes and reads
_LARGEST: Final = 64 * 1024  # bytes
_DIGEST: Final = re.compile(r"(blake3|sha256):[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer file says.

    Attributes:
        digest: of the artifact; it alone decides which content is meant.
        name: the name that it was put under, or None.
        version: number of its version, or None.
        store: URL of its store, without credentials; `--store` or the configuration outweighs it.
        files: number of files.
        bytes: of all files.
    """

    digest: str
    name: str | None
    version: int | None
    store: str
    files: int
    bytes: int

    @property
    def ref(self) -> str:
        """The reference of exactly this artifact."""
        return self.digest if self.name is None else f"{self.name}@{self.digest}"


def _content(pointer: Pointer) -> bytes:
    """Return what its file contains: canonical JSON, and a line feed."""
    fields = {"artifactstore": _FORM, **asdict(pointer)}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def is_pointer(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of an existing pointer file, by its suffix."""
    return os.fspath(path).endswith(SUFFIXES) and Path(path).is_file()


def of_artifact(artifact: Any) -> Pointer:
    """Return the pointer to an artifact."""
    where = artifact.uri.partition("#")[0]
    return Pointer(artifact.digest, artifact.name, artifact.version, where, artifact.count, artifact.size)


def write(artifact: Any, path: str | os.PathLike[str]) -> Pointer:
    """Write the pointer to an artifact; a file that says the same already is not touched.

    Raises:
        BackendError: the file cannot be written; what was there stays.
    """
    pointer, target = of_artifact(artifact), Path(path)
    content = _content(pointer)
    try:
        if target.exists() and target.read_bytes() == content:
            return pointer
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(target, content)
    except OSError as error:
        raise BackendError(f"cannot write the pointer file {target}: {error.strerror or error}") from error
    return pointer


def read(path: str | os.PathLike[str]) -> Pointer:
    """Read a pointer file.

    Raises:
        NotFoundError: there is none.
        CorruptionError: it is no pointer file, or was edited: its bytes are not those that it would be written with.
        FormatError: a newer version of this library wrote it.
    """
    target = Path(path)
    try:
        with target.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"no pointer file at {target}") from error
    except OSError as error:
        raise BackendError(f"cannot read {target}: {error.strerror or error}") from error
    try:
        found = json.loads(raw)
        form = found.pop("artifactstore")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(target, "it is not the JSON of one") from error
    if isinstance(form, int) and form > _FORM:
        raise FormatError(f"{target} has form {form} of pointer files, and this version reads {_FORM}: upgrade artifactstore")
    texts = isinstance(found.get("digest"), str) and isinstance(found.get("store"), str)
    numbers = all(type(found.get(key)) is int and found[key] >= 0 for key in ("files", "bytes"))
    named = isinstance(found.get("name"), str | None) and (found.get("version") is None or type(found["version"]) is int)
    if form != _FORM or set(found) != set(Pointer.__slots__) or not (texts and numbers and named):
        raise _damaged(target, "a field is missing, unknown or of another type")
    pointer = Pointer(**found)
    if not _DIGEST.fullmatch(pointer.digest):
        raise _damaged(target, f"{pointer.digest[:80]!r} is not a digest")
    try:
        same = _content(pointer).strip() == raw.strip()  # git may have changed the line's end
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape in JSON can be
        same = False
    if not same:
        raise _damaged(target, "its bytes differ from those that were written")
    return pointer


def check(pointer: Pointer, artifact: Any, path: str | os.PathLike[str]) -> None:
    """Check what a pointer file says of an artifact beside its digest.

    Raises:
        CorruptionError: the artifact has other numbers of files or bytes: the file was edited.
    """
    if (pointer.files, pointer.bytes) != (artifact.count, artifact.size):
        fault = (
            f"it says {pointer.files} files and {pointer.bytes} bytes, and the artifact has {artifact.count} and {artifact.size}"
        )
        raise _damaged(Path(path), fault)


def _damaged(path: Path, why: str) -> CorruptionError:
    text = f"{path} is not a valid pointer file: {why}. It was edited, or git has left marks of a merge in it: write it again with track"
    return CorruptionError(text, location=str(path))
