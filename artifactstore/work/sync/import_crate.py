"""Import of a crate: an RO-Crate that `export` wrote comes back, with its names, versions, runs and lineage.

The crate's files and its `history.jsonl` are made into a small store, which is then imported as any other store is: what a crate says
is believed no more and no less than what another store says, and each artifact's digest is computed from its files.
"""

import os
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from artifactstore.errors import ArtifactStoreError, BackendError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.maintenance.sync.report import SyncReport
from artifactstore.model.digest import ALGORITHMS, Digest
from artifactstore.model.encoding import parse_json
from artifactstore.model.facts import Fact
from artifactstore.model.listing import check_path
from artifactstore.work.put.arguments import PutOptions, checked_request
from artifactstore.work.put.profiling import Profiling
from artifactstore.work.put.put import prepare
from artifactstore.work.put.sources import find
from artifactstore.work.session.commit import commit
from artifactstore.work.session.core import Core
from artifactstore.work.session.prepared import Prepared, Step
from artifactstore.work.session.session import Session
from artifactstore.work.settings.paths import local_path
from artifactstore.work.sync.import_store import ImportOptions, receive
from artifactstore.work.sync.new_store import import_target

__all__ = ["import_crate", "is_crate"]

_METADATA: Final = "ro-crate-metadata.json"
_HISTORY: Final = "history.jsonl"
_VERSION: Final = 1  # of the history that this library reads


def is_crate(source: Any) -> bool:
    """Return whether a path is an RO-Crate: a folder or a zip file with the metadata of one."""
    try:
        path = local_path(source, "source")
    except InvalidInputError:
        return False
    if path.is_dir():
        return (path / _METADATA).is_file()
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _METADATA in archive.namelist()


def import_crate(target: Session, source: Any, options: ImportOptions, *, dry_run: bool = False) -> SyncReport:
    """Import a crate; see `Maintenance.import_from`.

    Raises:
        InvalidInputError: it has no history, or one of a newer form.
        CorruptionError: the files of an artifact do not have its digest, or the history is damaged; nothing was imported.
    """
    path = local_path(source, "source")
    with TemporaryDirectory(prefix="artifactstore-") as scratch, _folder(path, Path(scratch, "crate")) as crate:
        history = _History.read(crate)
        stage = Session(str(Path(scratch, "store")), cache=None)
        stage.create(history.algorithm)
        for artifact in history.artifacts:
            _store(stage, crate, artifact)
        _append(stage, history.facts)
        chosen: ImportOptions = {**options}
        if chosen.get("label") is None:
            chosen["label"] = history.store[:8]
        report = receive(stage, import_target(target, history.algorithm, dry_run=dry_run), chosen, dry_run=dry_run)
    return replace(report, source=str(path), target=target.url)


# -- reading


@dataclass(frozen=True, slots=True)
class _Stored:
    """An artifact whose files are in the crate.

    Attributes:
        digest: of it.
        folder: of its files, in the crate.
        kind: data, model, code …
        format: of the object, or None.
        modes: whether executable bits are part of its identity.
        profiled: whether its tables had profiles.
    """

    digest: Digest
    folder: str
    kind: str
    format: str | None
    modes: bool
    profiled: bool

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> "_Stored":
        folder, form = line["folder"], line["format"]
        check_path(folder)
        if not isinstance(line["kind"], str) or not (form is None or isinstance(form, str)):
            raise ValueError("a kind and a format are texts")
        return cls(Digest.parse(line["artifact"]), folder, line["kind"], form, bool(line["modes"]), bool(line["profiled"]))


@dataclass(frozen=True, slots=True)
class _History:
    """The content of `history.jsonl`."""

    store: str
    algorithm: str
    artifacts: list[_Stored]
    facts: list[list[Fact]]

    @classmethod
    def read(cls, crate: Path) -> "_History":
        """Read the history of a crate.

        Raises:
            InvalidInputError: there is none, or it is of a newer form.
            CorruptionError: it is damaged.
        """
        try:
            lines = (crate / _HISTORY).read_bytes().splitlines()
        except FileNotFoundError:
            text = f"this crate has no {_HISTORY}: only a crate that artifactstore wrote with its files inside can be imported"
            dossier = (crate / "facts.jsonl").is_file()
            instead = (
                "of a dossier, import the store.zip in it (bundle=True), or put its files" if dossier else "put its files instead"
            )
            raise InvalidInputError(f"{text}; {instead}") from None
        except OSError as error:
            raise BackendError(f"cannot read {crate / _HISTORY}: {error.strerror or error}") from error
        try:
            found = cls._parse(lines)
        except (InvalidInputError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise CorruptionError(f"{_HISTORY} is damaged: {error!r:.200}", location=_HISTORY) from error
        if found is None:
            raise InvalidInputError(f"{_HISTORY} has a newer form than this library reads: upgrade it")
        return found

    @classmethod
    def _parse(cls, lines: list[bytes]) -> "_History | None":
        """Return the history; None if it has another form."""
        first, *others = (parse_json(line, _HISTORY) for line in lines)
        if first["history"] != _VERSION:
            return None
        store, algorithm = first["store"], first["digest"]
        artifacts = [_Stored.of(line) for line in others if "artifact" in line]
        facts = [line["facts"] for line in others if "artifact" not in line]
        sound = algorithm in ALGORITHMS and isinstance(store, str)
        if not sound or not all(fact["fact"] == "received" for fact in chain.from_iterable(facts)):
            raise ValueError("not what a store has received")
        return cls(store, algorithm, artifacts, facts)


@contextmanager
def _folder(path: Path, scratch: Path) -> Iterator[Path]:
    """Return a crate as a folder: itself, or a zip file's content."""
    if path.is_dir():
        yield path
        return
    try:
        with zipfile.ZipFile(path) as archive:
            _unpack(archive, scratch)
    except FileNotFoundError as error:
        raise NotFoundError(f"no crate at {path}") from error
    except zipfile.BadZipFile as error:
        raise CorruptionError(f"{path} is not a readable zip file: {error}", location=str(path)) from error
    except OSError as error:
        raise BackendError(f"cannot unpack {path} in {scratch.parent}: {error.strerror or error}") from error
    yield scratch


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """Unpack a zip file, links last: no file is written through one.

    Raises:
        CorruptionError: a path in it leads outside of the folder.
    """
    folder.mkdir()
    links: list[tuple[str, str]] = []
    for info in archive.infolist():
        name = info.filename.rstrip("/")
        try:
            check_path(name)
        except InvalidInputError as error:
            raise CorruptionError(f"{archive.filename} has an impossible path: {error}", location=name) from error
        mode = info.external_attr >> 16
        target = folder / name
        if info.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(mode):
            links.append((name, os.fsdecode(archive.read(info))))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, target.open("xb") as into:
                shutil.copyfileobj(source, into, 2**20)
            if mode & stat.S_IXUSR:
                target.chmod(0o755)
    for name, to in links:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(to)


# -- storing


def _store(stage: Session, crate: Path, artifact: _Stored) -> None:
    """Store the files of an artifact.

    Raises:
        CorruptionError: they do not have its digest.
    """
    folder = crate / artifact.folder
    if folder.is_symlink() or not folder.is_dir():
        raise CorruptionError(f"the crate lacks {artifact.folder}, the files of {artifact.digest}", location=artifact.folder)
    options: PutOptions = {"modes": artifact.modes, "rehash": True, "allow_empty": True}

    def store(core: Core) -> Prepared:
        request = checked_request(folder, None, options={}, kind=artifact.kind)
        found = find(stage, folder, options, request)
        found.format, found.hint = artifact.format, False
        if artifact.profiled:
            found.profiling = Profiling(found.folder.files, full=False, single=False)
        prepared = prepare(stage, core, found, request)
        if prepared.digest != str(artifact.digest):
            text = (
                f"the files in {artifact.folder} are {prepared.digest}, and the crate says {artifact.digest}: they were changed"
            )
            raise CorruptionError(f"{text}; nothing was imported", digest=str(artifact.digest), location=artifact.folder)
        prepared.facts = [fact for fact in prepared.facts if fact["fact"] == "stored"]  # its history says what it is
        return prepared

    commit(stage, Step(store))


def _append(stage: Session, steps: Iterable[list[Fact]]) -> None:
    """Append the history.

    Raises:
        CorruptionError: it contradicts itself.
    """
    for facts in steps:

        def append(_core: Core, facts: list[Fact] = facts) -> Prepared:
            with stage.state() as state:
                return Prepared(facts, state.head, "")

        try:
            commit(stage, Step(append))
        except BackendError:
            raise
        except ArtifactStoreError as error:
            raise CorruptionError(f"{_HISTORY} is damaged: {error}", location=_HISTORY) from error
