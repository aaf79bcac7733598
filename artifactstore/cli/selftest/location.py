"""The user's own location: the checks of `doctor`, the core of the backends' contract, and a restore drill, in a folder of their own."""

import hashlib
import pickle
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Final

from artifactstore.backend.base import Backend
from artifactstore.backend.connect import connect
from artifactstore.cli.selftest.report import Check, judged, skipped
from artifactstore.errors import AlreadyExistsError, ArtifactStoreError, InvalidInputError, NotFoundError
from artifactstore.maintenance.doctor.findings import Diagnosis
from artifactstore.model.digest import hash_bytes
from artifactstore.opening import create
from artifactstore.opening import open as open_store
from artifactstore.store import Store
from artifactstore.work.settings.settings import Location
from artifactstore.work.views.maintenance import examine_url

__all__ = ["checks"]

_R3: Final = "R3: what is kept can be had back"
_R1: Final = "R1: an altered record is found"
_CONTRACT: Final = "R4, R13: nothing is lost or overwritten"
_SMALL: Final = 16 * 2**20  # bytes of an artifact of an existing store that is restored
_THREADS: Final = 8
_RACES: Final = 10
_BAD_KEYS: Final = ("", "/a", "a/", "a//b", "..", "a/../b", "a b", "a\\b", "k" * 1025)


def checks(where: Location, *, single_writer: bool, full: bool) -> Iterator[Check]:
    """Yield the checks of a location. Everything is written below `.doctor-<random>/`, and removed again.

    Args:
        where: the location.
        single_writer: the caller's promise that no other process writes.
        full: let `doctor` check everything, with up to 64 MiB.
    """
    options = dict(where.options)
    new = "://" not in where.url and not Path(where.url).exists()
    found = examine_url(where.url, storage_options=options, single_writer=single_writer, quick=not full)
    yield from _doctor(found)
    if not found.reached:
        return
    writable = found["write"].status == "ok" and found["delete"].status == "ok"
    if writable:
        backend = connect(where.url, storage_options=options or None, single_writer=single_writer)
        folder = f".doctor-{secrets.token_hex(8)}"
        url = f"{where.url.rstrip('/')}/{folder}/store"
        drill = connect(url, storage_options=options or None, single_writer=single_writer)
        try:
            yield from _contract(backend, folder)
            yield from _drill(url, options, drill, single_writer=single_writer)
        finally:
            left = _clean(drill, "") + _clean(backend, f"{folder}/")
            _remove_folders(where.url, folder)
            if new:
                with suppress(OSError):  # not empty: then not only ours
                    Path(where.url).rmdir()
        yield judged(
            "OQ-D-09",
            "everything that was written is removed again",
            "R13",
            "nothing left",
            lambda: ", ".join(left[:5]) or "nothing left",
        )
    else:
        why = "nothing can be written or deleted here"
        yield skipped("OQ-C-01", "the core of the contract", _CONTRACT, why)
        yield skipped("OQ-D-01", "an artifact that is put comes back", _R3, why)
    yield _existing(where, options, found)


def _doctor(found: Diagnosis) -> Iterator[Check]:
    for one in found.checks:
        expected = "" if one.status == "skipped" else "the guarantee holds"
        seen = " ".join(f"{one.happened} {one.means} {one.fix}".split()) or expected
        yield Check(
            f"OQ-B-{one.name}", one.tried or one.name, "R3, R4: the location can keep a store", expected, seen, one.status
        )


# -- the contract


def _contract(backend: Backend, folder: str) -> Iterator[Check]:
    """Yield the checks of the contract that need no test runner; `artifactstore.testing.BackendContract` has all of it."""
    tests: tuple[tuple[str, str, Callable[[Backend, str], str]], ...] = (
        ("what was written is read back, whole and in ranges", "equal", _ranges),
        ("an empty object is an object", "0 bytes", _empty),
        ("a write replaces what was there", "after", _replaces),
        ("pieces become one object", "equal", _pieces),
        ("create refuses what exists, and leaves it alone", "refused, first", _create),
        (f"of {_THREADS} threads exactly one creates each of {_RACES} keys", f"{_RACES} winners", _race),
        ("a missing key is not found by any verb", "not found, not found, not found", _missing),
        ("a listing has exactly what is below its prefix", "a/b a/c/d", _listing),
        ("every change is visible at once", "1, 0", _visible),
        ("deleting what is not there is no error", "gone", _delete),
        ("invalid keys are refused", f"{len(_BAD_KEYS)} refused", _keys),
        ("a pickled backend works in another process", "equal", _pickled),
    )
    for number, (title, expected, test) in enumerate(tests, 1):
        yield judged(f"OQ-C-{number:02}", title, _CONTRACT, expected, test, backend, f"{folder}/c{number:02}")
    why = (
        "concurrency of processes (OQ-B-create-race has it), objects of more than 64 MiB, and generated cases need a test runner"
    )
    yield skipped("OQ-C-90", "the rest of the contract", _CONTRACT, f"{why}: artifactstore.testing.BackendContract")


def _ranges(backend: Backend, top: str) -> str:
    data = secrets.token_bytes(200_000)
    backend.write(f"{top}/a", data)
    ranges = [(199_999, 1), (0, 10), (5, 10), (100, 0), (0, 200_000)]
    whole = backend.read(f"{top}/a") == data and backend.size(f"{top}/a") == len(data)
    parts = backend.read_ranges(f"{top}/a", ranges) == [data[at : at + size] for at, size in ranges]
    return "equal" if whole and parts else f"whole: {whole}, ranges: {parts}"


def _empty(backend: Backend, top: str) -> str:
    backend.write(f"{top}/a", b"")
    return f"{len(backend.read(f'{top}/a'))} bytes"


def _replaces(backend: Backend, top: str) -> str:
    backend.write(f"{top}/a", b"long before")
    backend.write(f"{top}/a", b"after")
    return bytes(backend.read(f"{top}/a")).decode()


def _pieces(backend: Backend, top: str) -> str:
    pieces = [secrets.token_bytes(size) for size in (1, 70_000, 3, 2**20 + 1)]
    backend.write(f"{top}/a", iter(pieces))
    return "equal" if backend.read(f"{top}/a") == b"".join(pieces) else "different"


def _create(backend: Backend, top: str) -> str:
    backend.create(f"{top}/a", b"first")
    try:
        backend.create(f"{top}/a", b"second")
    except AlreadyExistsError:
        return f"refused, {bytes(backend.read(f'{top}/a')).decode()}"
    return f"not refused, {bytes(backend.read(f'{top}/a')).decode()}"


def _race(backend: Backend, top: str) -> str:
    start = Barrier(_THREADS)

    def race(number: int) -> int:
        won = 0
        start.wait()
        for key in range(_RACES):
            with suppress(AlreadyExistsError):
                backend.create(f"{top}/{key}", bytes([number]) * 100)
                won += 1
        return won

    with ThreadPoolExecutor(_THREADS) as pool:
        return f"{sum(pool.map(race, range(_THREADS)))} winners"


def _missing(backend: Backend, top: str) -> str:
    backend.write(f"{top}/a/b", b"1")
    found = []
    for call in (backend.read, backend.size, lambda key: backend.read_ranges(key, [(0, 1)])):
        try:
            call(f"{top}/a/c")
        except NotFoundError:
            found.append("not found")
        else:
            found.append("found")
    return ", ".join(found)


def _listing(backend: Backend, top: str) -> str:
    for key in ("a/b", "a/c/d", "ab/c", "c"):
        backend.write(f"{top}/{key}", b"1")
    return " ".join(sorted(item.key.removeprefix(f"{top}/") for item in backend.list(f"{top}/a/")))


def _visible(backend: Backend, top: str) -> str:
    backend.write(f"{top}/a", b"1")
    before = sum(1 for _ in backend.list(f"{top}/"))
    backend.delete(f"{top}/a")
    return f"{before}, {sum(1 for _ in backend.list(f'{top}/'))}"


def _delete(backend: Backend, top: str) -> str:
    backend.write(f"{top}/a", b"1")
    for _ in range(2):
        backend.delete(f"{top}/a")
    try:
        backend.read(f"{top}/a")
    except NotFoundError:
        return "gone"
    return "still there"


def _keys(backend: Backend, _: str) -> str:
    refused = 0
    for key in _BAD_KEYS:
        try:
            backend.read(key)
        except InvalidInputError:
            refused += 1
        except ArtifactStoreError:
            continue
    return f"{refused} refused"


def _pickled(backend: Backend, top: str) -> str:
    other: Backend = pickle.loads(pickle.dumps(backend))  # noqa: S301 - made one line above
    other.write(f"{top}/a", b"1")
    return "equal" if backend.read(f"{top}/a") == b"1" else "different"


# -- the drill


def _drill(url: str, options: dict[str, str], backend: Backend, *, single_writer: bool) -> Iterator[Check]:
    """Put an artifact into a store of its own below the location, get it back, and damage a byte of it."""
    data = {"noise.bin": secrets.token_bytes(300_000), "deep/text.txt": b"artifactstore\n" * 1000, "empty": b""}

    def opened() -> Store:
        return open_store(url, storage_options=options or None, cache=None, single_writer=single_writer)

    def put() -> str:
        with TemporaryDirectory(prefix="artifactstore-") as scratch:
            for name, raw in data.items():
                path = Path(scratch, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(raw)
            store = create(url, storage_options=options or None, cache=None, single_writer=single_writer)
            return store.put(scratch, "drill", reason="self-test").ref

    def get() -> str:
        with TemporaryDirectory(prefix="artifactstore-") as scratch:
            back = opened().get("drill", to=Path(scratch, "back"))
            found = {one.relative_to(back).as_posix(): one.read_bytes() for one in back.rglob("*") if one.is_file()}
        return "equal" if found == data else "different"

    def damaged() -> str:
        pack = max(backend.list("packs/"), key=lambda item: item.size).key
        raw = bytearray(backend.read(pack))
        raw[len(raw) // 3] ^= 1
        backend.write(pack, bytes(raw))
        report = opened().verify(level="full")
        return "found" if not report.ok and pack in str(report) else f"not found: {report}"

    yield judged("OQ-D-01", "an artifact is put", _R3, "drill:v1", put)
    yield judged("OQ-D-02", "it comes back byte for byte", _R3, "equal", get)
    yield judged("OQ-D-03", "the store verifies", _R1, "ok", lambda: "ok" if opened().verify(level="full").ok else "damaged")
    yield judged("OQ-D-04", "one changed byte is found, and its object named", _R1, "found", damaged)


def _existing(where: Location, options: dict[str, str], found: Diagnosis) -> Check:
    """Get the newest small artifact of an existing store, and compare its files with their digests by another implementation."""
    ident, title = "OQ-D-05", "an artifact of the existing store comes back, as recorded"
    if found["store"].status != "ok":
        return skipped(
            ident, title, _R3, "there is no store yet" if found["store"].status == "skipped" else "the store is not readable"
        )
    try:
        store = open_store(where.url, "r", storage_options=options or None, cache=None)
        rows = [one for one in store.find() if one.size <= _SMALL and not one.removed and not one.tainted]
    except ArtifactStoreError as error:
        return Check(ident, title, _R3, "equal", f"{type(error).__name__}: {error}", "fail")
    if not rows:
        return skipped(ident, title, _R3, f"it has no artifact of at most {_SMALL // 2**20} MiB")
    ref = max(rows, key=lambda one: one.time).ref
    return judged(ident, f"{title}: {ref}", _R3, "equal", _restored, store, ref)


def _restored(store: Store, ref: str) -> str:
    artifact = store.artifact(ref)
    with TemporaryDirectory(prefix="artifactstore-") as scratch:
        store.get(artifact.digest, to=Path(scratch, "back"))
        algorithm = artifact.digest.partition(":")[0]
        for file in artifact.files:
            raw = Path(scratch, "back", file.path).read_bytes()
            known = hashlib.sha256(raw).digest() if algorithm == "sha256" else hash_bytes(raw, algorithm)
            if (file.digest or "").rpartition(":")[2] != known.hex():
                return f"{file.path} is different"
    return "equal" if store.verify(artifact.digest, level="full").ok else "damaged"


def _clean(backend: Backend, prefix: str) -> list[str]:
    """Remove everything below a prefix; return what could not be removed."""
    left = []

    def remove(key: str) -> None:
        try:
            backend.delete(key)
        except ArtifactStoreError as error:
            left.append(f"{key}: {error}")

    try:
        with ThreadPoolExecutor(max(1, min(8, backend.concurrency))) as pool:
            list(pool.map(remove, [item.key for item in backend.list(prefix)]))
        left += [item.key for item in backend.list(prefix)]
    except ArtifactStoreError as error:
        left.append(str(error))
    return left


def _remove_folders(url: str, folder: str) -> None:
    """Remove the empty folders of a file system: a backend deletes objects only."""
    if "://" in url:
        return
    for one in (*sorted(Path(url, folder).rglob("*"), reverse=True), Path(url, folder)):
        with suppress(OSError):
            one.rmdir()
