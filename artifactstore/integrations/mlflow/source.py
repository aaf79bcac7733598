"""Sources of an import: a tracking server, a database or a folder of MLflow's, which is only read.

MLflow's own classes write when they open what is old, new or empty. So a SQLite database is copied first, which is a moment in its
history, too, and brought to the schema of the installed MLflow; and a folder is looked at through a folder of links.
"""

import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from artifactstore.errors import ArtifactStoreError, BackendError, FormatError, InvalidInputError, NotFoundError, UnsupportedError

__all__ = ["Source", "errors_of", "opened"]

_SERVERS: Final = ("postgresql", "mysql", "mssql")
_FOLDERS: Final = "MLFLOW_ALLOW_FILE_STORE"  # newer versions refuse folders without it
_TAIL: Final = re.compile(r"[0-9]+/(?:models/m-)?[0-9a-f]{32}/artifacts(?:/.*)?$")  # where MLflow puts artifacts below a root
_ARTIFACTS: Final = re.compile(r"/(?:models/m-)?[0-9a-f]{32}/artifacts(?:/|$)")
_USER: Final = re.compile(r"(?<=//)[^/@\s]*@")
_NOT_THERE: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})


class Source:
    """An open source.

    Attributes:
        client: MLflow's client of it.
        uri: what the client was opened with.
        identity: what it is, without secrets.
    """

    def __init__(self, uri: str, identity: str, *roots: Path) -> None:
        """Open it; `roots` are folders that its artifacts may be in, if they are not where they were."""
        self.client: Any = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.uri = uri
        self.identity = identity
        self._roots = roots
        self._is_server = urlsplit(uri).scheme in {"http", "https"}

    def local(self, uri: str) -> Path | None:
        """Return the path of artifacts on this machine, also if they moved with their folder; None if they are elsewhere.

        Raises:
            NotFoundError: no path, or a server names a path here that is not one of artifacts: it might be any file of the user's.
        """
        parts = urlsplit(uri)
        if parts.scheme not in {"", "file"}:
            return None
        path = Path(unquote(parts.path) if parts.scheme else uri)
        if not uri or (self._is_server and (not _ARTIFACTS.search(path.as_posix()) or ".." in path.parts)):
            raise NotFoundError(f"{uri!r} is no place of artifacts")
        if not path.exists() and (tail := _TAIL.search(path.as_posix())) is not None:
            return next((root / tail[0] for root in self._roots if (root / tail[0]).exists()), path)
        return path

    @contextmanager
    def fetched(self, uri: str) -> Iterator[Path | None]:
        """Download artifacts that are elsewhere; None if there are none."""
        with tempfile.TemporaryDirectory(prefix="artifactstore-mlflow-") as folder:
            try:
                repository = get_artifact_repository(uri, tracking_uri=self.uri, registry_uri=self.uri)
                found = Path(repository.download_artifacts("", folder))
            except MlflowException as error:
                if error.error_code in _NOT_THERE:
                    yield None
                    return
                raise
            yield found if not found.is_dir() or any(found.iterdir()) else None

    def has_any(self, uri: str) -> bool:
        """Return whether there are artifacts at a URI that is elsewhere, without downloading them."""
        try:
            return bool(get_artifact_repository(uri, tracking_uri=self.uri, registry_uri=self.uri).list_artifacts(""))
        except MlflowException as error:
            if error.error_code in _NOT_THERE:
                return False
            raise


@contextmanager
def errors_of(identity: str) -> Iterator[None]:
    """Turn what MLflow's client raises into errors of this library."""
    try:
        yield
    except ArtifactStoreError:
        raise
    except MlflowException as error:
        text = f"MLflow at {identity}: {_USER.sub('', str(error))}"
        if error.error_code in _NOT_THERE:
            raise NotFoundError(text) from error
        raise BackendError(f"{text}; what was brought stays, run the import again", transient=True) from error
    except OSError as error:  # as that of `requests` is
        raise BackendError(
            f"{identity} failed: {_USER.sub('', str(error))}; what was brought stays, run the import again", transient=True
        ) from error


@contextmanager
def opened(uri: str) -> Iterator[Source]:
    """Open a tracking URI.

    Raises:
        NotFoundError: there is nothing.
        FormatError: it is of a newer MLflow, or of something else.
        InvalidInputError: not a tracking URI.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    with ExitStack() as stack:
        if scheme in {"http", "https"}:
            source = Source(uri, _without_user(uri))
        elif scheme in _SERVERS:
            source = _database_server(uri)
        elif scheme == "sqlite":
            source = stack.enter_context(_database(Path(unquote(urlsplit(uri).path.removeprefix("/")))))
        elif scheme in {"", "file"}:
            path = Path(unquote(urlsplit(uri).path) if scheme else uri).expanduser().absolute()
            source = stack.enter_context(_database(path) if path.is_file() else _folder(path))
        else:
            raise InvalidInputError(
                f"{_without_user(uri)!r} is not a tracking URI that can be imported: expected http://HOST:PORT, sqlite:///FILE or a folder"
            )
        yield source


def _without_user(uri: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _database_server(uri: str) -> Source:
    identity = _without_user(uri)
    try:
        import sqlalchemy  # noqa: PLC0415 - a whole MLflow has it
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - as above

        engine = sqlalchemy.create_engine(uri)
    except ImportError as error:
        raise UnsupportedError(f"{identity} needs the whole MLflow and the driver of its database: {error}") from error
    try:
        with closing(engine.connect()) as connection:
            if not sqlalchemy.inspect(connection).has_table("experiments"):
                raise NotFoundError(f"{identity} has no tables of MLflow")  # which would make them
        return Source(uri, identity)
    except SQLAlchemyError as error:
        raise BackendError(f"{identity} cannot be read: {_USER.sub('', str(error))}", transient=True) from error
    except MlflowException as error:
        raise FormatError(f"{identity}: {error}") from error
    finally:
        engine.dispose()


@contextmanager
def _database(path: Path) -> Iterator[Source]:
    """Open a copy of a SQLite database, at the schema of the installed MLflow."""
    path = path.absolute()
    if not path.is_file():
        raise NotFoundError(f"there is no database at {path}: check the tracking URI")
    identity = f"sqlite:///{path}"
    with tempfile.TemporaryDirectory(prefix="artifactstore-mlflow-") as folder:
        copy = Path(folder, "mlflow.sqlite")
        try:
            with (
                closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as there,
                closing(sqlite3.connect(copy)) as here,
            ):
                there.backup(here)
                tables = {row[0] for row in here.execute("select name from sqlite_master")}
        except sqlite3.DatabaseError as error:
            raise FormatError(f"{path} cannot be read as a SQLite database: {error}") from error
        if not {"experiments", "runs", "alembic_version"} <= tables:
            raise FormatError(f"{path} is a database, but not one of MLflow's: it has no runs")
        source = _upgraded(f"sqlite:///{copy}", identity, path.parent / "mlruns", path.parent / "mlartifacts")
        try:
            yield source
        finally:
            _close(source)


def _upgraded(uri: str, identity: str, *roots: Path) -> Source:
    try:
        from mlflow.store.db import utils  # noqa: PLC0415 - loads SQLAlchemy and Alembic
    except ImportError as error:
        raise UnsupportedError(f"{identity} needs the whole MLflow, not the slim one: pip install mlflow") from error
    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    try:
        utils._upgrade_db(engine)  # noqa: SLF001 - what `mlflow db upgrade` calls
    except Exception as error:
        if "locate revision" in str(error):
            raise FormatError(
                f"{identity} is of a newer MLflow than {mlflow.__version__}, which is installed: install that version here"
            ) from error
        raise FormatError(f"{identity}: MLflow {mlflow.__version__} cannot read this database: {error}") from error
    finally:
        engine.dispose()
    return Source(uri, identity, *roots)


def _close(source: Source) -> None:
    """Close the connections to the copy, which is deleted."""
    for engine in {id(one): one for one in (getattr(store, "engine", None) for store in _stores(source.client)) if one}.values():
        engine.dispose()


def _stores(client: Any) -> Iterator[Any]:
    for getter in ("_tracking_client", "_get_registry_client"):
        found = getattr(client, getter, None)
        yield getattr(found() if callable(found) else found, "store", None)


@contextmanager
def _folder(path: Path) -> Iterator[Source]:
    """Open a folder that MLflow has written, through a folder of links."""
    path = path / "mlruns" if (path / "mlruns").is_dir() else path
    if not path.is_dir():
        raise NotFoundError(f"there is no database and no folder at {path}: check the tracking URI")
    if not any((one / "meta.yaml").is_file() for one in path.iterdir()) and not (path / "models").is_dir():
        raise NotFoundError(f"{path} is not a folder of MLflow's: no folder in it has a meta.yaml")
    allowed = os.environ.get(_FOLDERS)
    with tempfile.TemporaryDirectory(prefix="artifactstore-mlflow-") as folder:
        for one in path.iterdir():
            Path(folder, one.name).symlink_to(one)
        os.environ[_FOLDERS] = "true"
        try:
            yield Source(Path(folder).as_uri(), path.as_uri(), path)
        finally:
            if allowed is None:
                del os.environ[_FOLDERS]
            else:
                os.environ[_FOLDERS] = allowed
