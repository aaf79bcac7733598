"""Entry point of exports: the supported standards, their options, and their targets."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.atomic_files import staged
from artifactstore.work.export import ml_bom, openlineage, openlineage_client, prov, ro_crate, slsa
from artifactstore.work.export.collect import collect
from artifactstore.work.export.dossier.writing import Judge, write_dossier
from artifactstore.work.export.files import check_free, write_crate, write_file
from artifactstore.work.export.history import history
from artifactstore.work.export.html_preview import page
from artifactstore.work.export.record import as_text
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import target_of

__all__ = ["OPTIONS", "as_text", "export"]

OPTIONS: Final[Mapping[str, Mapping[str, type]]] = {
    "openlineage": {"namespace": str, "send": bool, "overwrite": bool},
    "prov": {"overwrite": bool},
    "slsa": {"builder": str, "overwrite": bool},
    "ro-crate": {"files": str, "license": str},
    "ml-bom": {"overwrite": bool},
    "dossier": {"keys": object, "bundle": bool, "license": str},
}
_FILES: Final = ("inside", "reference")
_HISTORY: Final = ro_crate.FileNote(
    ro_crate.HISTORY,
    "application/jsonl",
    "What the journal records of these artifacts, as another store of artifactstore receives it.",
)


def export(
    session: Session,
    start: str,
    *,
    is_run: bool,
    standard: str,
    to: Any,
    options: Mapping[str, Any],
    write_bundle: Callable[[Session, Path], object],
    approvals: Judge,
) -> Any:
    """Export lineage in a standard format; see `Lineage.export`.

    Args:
        session: the store.
        start: a digest, or a run's id.
        is_run: whether `start` is a run.
        standard: its name.
        to: the target, or None.
        options: of the standard.
        write_bundle: writes the store as a file.
        approvals: judges the approvals of an artifact by the caller's keys.
    """
    _check(standard, options)
    if standard == "ro-crate":
        return _crate(session, start, to, is_run=is_run, **options)
    if standard == "dossier":
        return _dossier(session, start, to, is_run=is_run, write_bundle=write_bundle, approvals=approvals, **options)
    overwrite = bool(options.get("overwrite"))
    if standard == "openlineage":
        return _openlineage(session, start, to, is_run=is_run, options=options)
    target = None if to is None else _target(session, to)
    value: Any
    if standard == "prov":
        value = prov.document(collect(session, start, is_run=is_run))
    elif standard == "ml-bom":
        value = ml_bom.document(collect(session, start, is_run=is_run, look={"files", "environment"}))
    else:
        record = collect(session, start, is_run=is_run, look={"sha256", "environment"})
        value = slsa.statements(record, options.get("builder"))
    return _written(value, target, overwrite=overwrite)


def _check(standard: Any, options: Mapping[str, Any]) -> None:
    known = OPTIONS.get(standard) if isinstance(standard, str) else None
    if known is None:
        raise InvalidInputError(f"no standard {standard!r}: expected one of {', '.join(OPTIONS)}")
    for name, value in options.items():
        if name not in known:
            raise InvalidInputError(f"{standard} has no option {name!r}: expected one of {', '.join(known)}")
        if not isinstance(value, known[name]):
            raise InvalidInputError(f"{name}={value!r}: expected a {known[name].__name__}")
    if options.get("files", _FILES[0]) not in _FILES:
        raise InvalidInputError(f"files={options['files']!r}: expected one of {', '.join(_FILES)}")


def _target(session: Session, to: Any) -> Path:
    return target_of(session.url, to, what="to", kind="this standard")


def _written(value: Any, target: Path | None, *, overwrite: bool) -> Any:
    if target is None:
        return value
    write_file(target, as_text(value).encode(), overwrite=overwrite)
    return target


def _openlineage(session: Session, start: str, to: Any, *, is_run: bool, options: Mapping[str, Any]) -> Any:
    url = _server(to, wanted=bool(options.get("send")))
    target = None if to is None or url is not None else _target(session, to)
    namespace = options.get("namespace") or os.environ.get("OPENLINEAGE_NAMESPACE")
    events = openlineage.events(collect(session, start, is_run=is_run, look={"profile"}), namespace)
    if url is None:
        return _written(events, target, overwrite=bool(options.get("overwrite")))
    if openlineage_client.is_disabled(os.environ):
        return 0
    return openlineage_client.send(url, events, os.environ.get("OPENLINEAGE_API_KEY"))


def _server(to: Any, *, wanted: bool) -> str | None:
    """Return the URL to which events are sent, or None."""
    if isinstance(to, str) and to.lower().startswith(("http://", "https://")):
        return openlineage_client.endpoint_of(to)
    if not wanted:
        return None
    if to is not None:
        raise InvalidInputError(f"send=True sends to a server, and to={to!r} is a file: leave one of them out")
    url = os.environ.get("OPENLINEAGE_URL", "").strip()
    if not url:
        raise InvalidInputError("send=True needs a server: set $OPENLINEAGE_URL, or pass to='https://…'")
    return openlineage_client.endpoint_of(url)


def _crate(
    session: Session,
    start: str,
    to: Any,
    *,
    is_run: bool,
    files: str = _FILES[0],
    license: str | None = None,  # noqa: A002 - the standard's word
) -> Path:
    if to is None:
        raise InvalidInputError("a crate is a folder or a zip file: pass to='crate' or to='crate.zip'")
    target, inside = _target(session, to), files == "inside"
    look: Sequence[str] = ("files" if inside else "sha256", "environment")
    record = collect(session, start, is_run=is_run, look=look)
    folders = {one.digest: ro_crate.folder_of(one) for one in record.items.values() if inside and one.there}
    metadata = ro_crate.metadata(record, folders, (_HISTORY,) if inside else (), license=license)
    texts = {ro_crate.METADATA: as_text(metadata).encode(), ro_crate.PREVIEW: page(record, folders).encode()}
    if inside:
        texts[ro_crate.HISTORY] = history(session, record)
    write_crate(session, record, target, texts, folders)
    return target


def _dossier(
    session: Session,
    start: str,
    to: Any,
    *,
    is_run: bool,
    write_bundle: Callable[[Session, Path], object],
    approvals: Judge,
    keys: Any = None,
    bundle: bool = False,
    license: str | None = None,  # noqa: A002 - the standard's word
) -> Path:
    target = None if to is None else _target(session, to)
    if target is None or target.suffix.lower() != ".zip":
        raise InvalidInputError("a dossier is a zip file: pass to='dossier.zip'")
    if keys is not None:
        from artifactstore.signing.keys import Keys  # noqa: PLC0415 - most stores know no signature

        keys = Keys.load(keys)
    judge = partial(approvals, keys=keys)
    if not bundle:
        write_dossier(session, start, target, is_run=is_run, license=license, bundle=None, approvals=judge)
        return target
    check_free(target)
    with staged(target) as packed:
        write_bundle(session, packed)
        write_dossier(session, start, target, is_run=is_run, license=license, bundle=packed, approvals=judge)
    return target
