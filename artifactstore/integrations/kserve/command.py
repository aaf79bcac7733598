"""`artifactstore-kserve SRC DEST [SRC DEST …]`: the program of a storage initializer; it exits with 0 or 1.

It needs no home folder, no capability and no writable folder but DEST, and keeps no cache unless `ARTIFACTSTORE_CACHE` says so.
"""

import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["main", "run"]

_PINNED: Final = re.compile(r"(?:[^:@]+@)?(?:blake3|sha256):[0-9a-f]{64}", re.ASCII)
_BY_NUMBER: Final = re.compile(r"[^:@]+:v[0-9]+", re.ASCII)
_STAGING: Final = re.compile(r"\.get\.[0-9a-f]{16}\.partial")  # of another start into this folder, or of a killed one
_LOG: Final = "/dev/termination-log"  # what Kubernetes shows of a container that ended
_USAGE: Final = (
    "usage: artifactstore-kserve SRC DEST [SRC DEST …]\n"
    "       artifactstore-kserve --manifest --image IMAGE [--schemes s3,abfss,gs]\n\n"
    "SRC is the URI of an artifact, such as artifactstore+s3://bucket/ml#churn/model@blake3:…; DEST the folder that becomes it.\n"
    "ARTIFACTSTORE_KSERVE_REQUIRE=digest refuses a SRC that is not pinned, =alias:NAME one that this alias does not hold.\n"
)
_OFF: Final = frozenset({"0", "false", "no", "off"})


def main(words: Sequence[str] | None = None) -> int:
    """Fetch each source into its folder; return the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if words in (["-h"], ["--help"]):
        sys.stdout.write(_USAGE)
        return 0
    if "--manifest" in words:
        from artifactstore.integrations.kserve.manifest import manifest  # noqa: PLC0415 - a pod needs none

        return _guarded("", lambda: sys.stdout.write(manifest(words)))
    if not words or len(words) % 2 or any(word.startswith("--") for word in words):
        return _failed("", "invalid_input", f"expected pairs of SRC and DEST, got {len(words)} arguments\n{_USAGE.rstrip()}")
    targets = [os.path.abspath(one) for one in words[1::2]]  # noqa: PTH100 - a link is one of the arguments, not what it leads to
    for given, target in zip(words[1::2], targets, strict=True):
        if not given or targets.count(target) > 1:
            return _failed("", "invalid_input", f"DEST {given!r}: expected a folder for each SRC, and each once")
    for source, target in zip(words[::2], words[1::2], strict=True):
        if code := _guarded(source, lambda source=source, target=target: _fetch(source, target, targets)):
            return code
    return 0


def _guarded(source: str, act: Any) -> int:
    """Do something; report what fails, in one line."""
    from artifactstore.errors import ArtifactStoreError  # noqa: PLC0415 - `--help` needs nothing

    try:
        act()
    except ArtifactStoreError as error:
        return _failed(source, error.kind, str(error))
    except OSError as error:
        return _failed(source, "backend", f"cannot write {error.filename or 'the target'}: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the pod must not start, and someone must see why
        return _failed(source, "crash", f"{type(error).__name__}: {error}")
    return 0


def _failed(source: str, error: str, message: str) -> int:
    line = _line({"error": error, "message": message, "source": source})
    sys.stderr.write(f"{line}\n")
    log = os.environ.get("TERMINATION_LOG_PATH", "")
    if log or os.path.exists(_LOG):  # noqa: PTH110 - any failure means no
        try:
            with open(log or _LOG, "a", encoding="utf-8") as file:  # noqa: PTH123 - a device, not a file to replace
                file.write(f"{line}\n")
        except OSError as problem:
            sys.stderr.write(f"cannot write {log or _LOG}: {problem.strerror or problem}\n")
    return 1


def _line(record: Mapping[str, Any]) -> str:
    """Return a record as one line; bytes that are no text, as in a hostile argument, are escaped."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _fetch(source: str, target: str, targets: Sequence[str]) -> None:
    import artifactstore  # noqa: PLC0415 - `--help` needs nothing of it
    from artifactstore.errors import InvalidInputError  # noqa: PLC0415 - as above

    began = time.monotonic()
    place, sign, ref = source.partition("#")
    ref = unquote(ref)
    if not place.startswith("artifactstore+") or not sign or not ref:
        raise InvalidInputError(
            f"{source!r} is not the URI of an artifact: expected artifactstore+s3://bucket/prefix#name@digest"
        )
    share = _share()
    cache: dict[str, Any] = {} if os.environ.get("ARTIFACTSTORE_CACHE") else {"cache": None}
    store = artifactstore.open(place, "r", storage_options=_options(place), **cache)
    found = store.artifact(ref)
    _check_taint(ref, found)
    _check_required(store, ref, found)
    folder, mine = Path(target), os.path.abspath(target)  # noqa: PTH100 - as above
    if os.path.lexists(folder) and not folder.is_dir():
        raise InvalidInputError(f"{folder} must be a folder, or not exist")
    paths = {one.path for one in found.files}
    inner = {Path(one) for one in targets if one.startswith(f"{mine}{os.sep}")}
    _check_target(folder, paths, inner)
    folder.mkdir(parents=True, exist_ok=True)
    pinned = found.digest if found.name is None else f"{found.name}@{found.digest}"
    store.get(pinned, folder, overwrite=True, **({"share": share} if share else {}))
    _check_target(folder, paths, inner)  # another process may have added to it meanwhile
    line = {
        "source": source,
        "ref": found.ref,
        "digest": found.digest,
        "files": found.count,
        "bytes": found.size,
        "seconds": round(time.monotonic() - began, 3),
    }
    sys.stdout.write(_line(line) + "\n")
    sys.stdout.flush()


def _share() -> str | None:
    """Return how the target may share the bytes of the node's cache.

    Raises:
        InvalidInputError: `ARTIFACTSTORE_KSERVE_SHARE` means nothing.
    """
    from artifactstore.errors import InvalidInputError  # noqa: PLC0415 - as above

    rule = os.environ.get("ARTIFACTSTORE_KSERVE_SHARE", "") or "links"
    if rule not in {"links", "clones", "nothing"}:
        raise InvalidInputError(f"ARTIFACTSTORE_KSERVE_SHARE={rule!r}: expected links, clones or nothing")
    return None if rule == "nothing" else rule


def _check_required(store: Any, ref: str, found: Any) -> None:
    """Refuse what the cluster's owner does not want to run.

    Raises:
        InvalidInputError: `ARTIFACTSTORE_KSERVE_REQUIRE` means nothing.
        RefusedError: the source is not pinned, or another version holds the alias.
    """
    from artifactstore.errors import InvalidInputError, NotFoundError, RefusedError  # noqa: PLC0415 - as above

    rule = os.environ.get("ARTIFACTSTORE_KSERVE_REQUIRE", "")
    kind, _, alias = rule.partition(":")
    if not rule:
        return
    if rule == "digest":
        if not _PINNED.fullmatch(ref):
            raise RefusedError(
                f"{ref} is not pinned to a digest, and ARTIFACTSTORE_KSERVE_REQUIRE=digest: expected …@{found.digest}"
            )
        return
    if kind != "alias" or not alias:
        raise InvalidInputError(f"ARTIFACTSTORE_KSERVE_REQUIRE={rule!r}: expected digest or alias:NAME")
    if found.name is None:
        raise RefusedError(f"{ref} has no name, so {alias!r} cannot hold it: expected NAME@{found.digest}")
    try:
        held = store.artifact(f"{found.name}:{alias}").digest
    except NotFoundError as error:
        raise RefusedError(f"{found.name} has no alias {alias!r}, which ARTIFACTSTORE_KSERVE_REQUIRE asks for") from error
    if held != found.digest:
        raise RefusedError(f"{found.name}:{alias} is {held}, and {ref} is {found.digest}: only what {alias!r} holds may start")


def _check_taint(ref: str, found: Any) -> None:
    """Refuse a version that is marked as not to be used, unless it was asked for by its number or digest.

    Raises:
        RefusedError: it is tainted.
    """
    from artifactstore.errors import RefusedError  # noqa: PLC0415 - as above

    by_alias = os.environ.get("ARTIFACTSTORE_KSERVE_REQUIRE", "").startswith("alias:")
    if found.tainted and (by_alias or not (_PINNED.fullmatch(ref) or _BY_NUMBER.fullmatch(ref))):
        raise RefusedError(f"{found.ref} is tainted: move the alias, or ask for {found.digest} itself")


def _check_target(folder: Path, paths: set[str], inner: set[Path]) -> None:
    """Refuse a folder with files that are not of the artifact: what is served must be it, and nothing else.

    Args:
        folder: the target.
        paths: of the artifact.
        inner: other targets of this command that are in this one.

    Raises:
        AlreadyExistsError: names one.
    """
    from artifactstore.errors import AlreadyExistsError  # noqa: PLC0415 - as above

    for above, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(above, name))]  # noqa: PTH114, PTH118
        folders[:] = [name for name in folders if Path(os.path.abspath(above), name) not in inner]  # noqa: PTH100
        if above == str(folder):
            folders[:] = [name for name in folders if name != "lost+found" and not _STAGING.fullmatch(name)]
        for name in (*files, *links):
            path = Path(above, name).relative_to(folder).as_posix()
            if path not in paths:
                raise AlreadyExistsError(f"{folder} has {path!r}, which is not of the artifact: expected an empty folder")


def _options(place: str) -> Mapping[str, Any] | None:
    """Return the storage options that KServe's variables mean; credentials are found by the libraries themselves."""
    if not place.startswith("artifactstore+s3"):
        return None
    options: dict[str, Any] = {}
    client: dict[str, Any] = {}
    endpoint = os.environ.get("S3_ENDPOINT", "")
    if endpoint and "AWS_ENDPOINT_URL" not in os.environ and "?endpoint=" not in place:
        secure = os.environ.get("S3_USE_HTTPS", "1").lower() not in _OFF
        options["endpoint_url"] = endpoint if "://" in endpoint else f"{'https' if secure else 'http'}://{endpoint}"
    if os.environ.get("S3_VERIFY_SSL", "1").lower() in _OFF:
        client["verify"] = False
    elif bundle := os.environ.get("AWS_CA_BUNDLE", ""):
        client["verify"] = bundle
    if os.environ.get("awsAnonymousCredential", "").lower() == "true":  # noqa: SIM112 - KServe's own name
        options["anon"] = True
    return options | ({"client_kwargs": client} if client else {}) or None


def run() -> None:
    """Run the program."""
    sys.exit(main())
