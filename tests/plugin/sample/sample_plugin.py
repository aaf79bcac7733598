"""A backend that keeps all objects in one SQLite file (`sqlite:///folder/store.db`), and a format for temperatures."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from artifactstore import AlreadyExistsError, BackendError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.plugins import (
    MAX_WRITE,
    Backend,
    BackendDriver,
    Buffer,
    Policy,
    ReadFolder,
    Stored,
    WriteFolder,
    check_key,
    check_prefix,
    check_ranges,
    gather,
)

_TABLE = "CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB NOT NULL, time REAL NOT NULL) WITHOUT ROWID"


class SqliteBackend(Backend):
    """Objects as rows of one table; SQLite's transactions make `create` exclusive."""

    concurrency = 1

    def __init__(self, path: str) -> None:
        self.url = f"sqlite://{path}"
        self._path = path

    def _run(self, statement: str, values: Sequence[Any] = (), *, change: bool = False) -> list[tuple[Any, ...]]:
        try:
            db = sqlite3.connect(self._path if change else f"file:{self._path}?mode=ro", timeout=30, uri=not change)
            try:
                with db:
                    if change:
                        db.execute(_TABLE)
                    return db.execute(statement, values).fetchall()
            finally:
                db.close()
        except sqlite3.IntegrityError as error:
            raise AlreadyExistsError(f"{values[0]} exists in {self.url}") from error
        except sqlite3.Error as error:
            if not change and ("unable to open" in str(error) or "no such table" in str(error)):
                return []
            raise BackendError(f"{self.url}: {error}", transient="locked" in str(error)) from error

    def read(self, key: str) -> bytes:
        rows = self._run("SELECT data FROM objects WHERE key = ?", [check_key(key)])
        if not rows:
            raise NotFoundError(f"{key} does not exist in {self.url}")
        return bytes(rows[0][0])

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        check_ranges(ranges)
        data = self.read(key)
        if any(offset + length > len(data) for offset, length in ranges):
            raise BackendError(f"a range ends beyond the end of {key} in {self.url}", transient=False)
        return [data[offset : offset + length] for offset, length in ranges]

    def write(self, key: str, data: Buffer | Iterable[Buffer]) -> None:
        head, rest = gather(data)
        raw = bytes(head) if rest is None else b"".join([head, *(bytes(one) for one in rest)])
        self._run(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", [check_key(key), raw, datetime.now(UTC).timestamp()], change=True
        )

    def create(self, key: str, data: bytes) -> None:
        if len(data) > MAX_WRITE:
            raise InvalidInputError(f"{len(data):,} bytes are more than the {MAX_WRITE:,} that create accepts")
        self._run(
            "INSERT INTO objects VALUES (?, ?, ?)", [check_key(key), bytes(data), datetime.now(UTC).timestamp()], change=True
        )

    def list(self, prefix: str) -> Iterator[Stored]:
        end = check_prefix(prefix)[:-1] + "0" if prefix else "\U0010ffff"
        for key, size, time in self._run("SELECT key, length(data), time FROM objects WHERE key >= ? AND key < ?", [prefix, end]):
            yield Stored(key, size, datetime.fromtimestamp(time, UTC))

    def delete(self, key: str) -> None:
        self._run("DELETE FROM objects WHERE key = ?", [check_key(key)], change=True)

    def size(self, key: str) -> int:
        return len(self.read(key))


def _connect(scheme: str, rest: str, options: dict[str, Any], *, single_writer: bool) -> Backend:
    if options:
        raise InvalidInputError(f"{scheme}:// does not accept storage_options")
    if not rest.startswith("/"):
        raise InvalidInputError(f"{scheme}://{rest} must be an absolute path: {scheme}:///folder/store.db")
    return SqliteBackend(rest)


def _policy(url: str, role: str) -> Policy:
    return Policy(f"chmod {'a+r' if role == 'reader' else 'g+rw'} {url.removeprefix('sqlite://')}", None, ())


DRIVER = BackendDriver("sqlite", _connect, network=False, permissions={"read": "read permission on the file"}, policy=_policy)


@dataclass(frozen=True)
class Temperature:
    """A temperature in kelvin."""

    kelvin: float


class TemperatureFormat:
    """One number in a text file."""

    name = "temperature"
    executes_code = False
    write_options = ()
    read_options = ("unit",)

    def matches(self, obj: Any) -> bool:
        return isinstance(obj, Temperature)

    def write(self, obj: Any, folder: WriteFolder) -> None:
        folder.add("kelvin.txt", repr(float(obj.kelvin)).encode())

    def read(self, folder: ReadFolder, *, unit: str = "kelvin") -> Any:
        try:
            kelvin = float(folder.read("kelvin.txt"))
        except ValueError as error:
            raise CorruptionError("kelvin.txt is not a number", location="kelvin.txt") from error
        return Temperature(kelvin) if unit == "kelvin" else kelvin - 273.15
