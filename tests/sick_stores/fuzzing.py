"""Bytes and texts from elsewhere through every parser: valid ones, changed at random.

`python -m tests.sick_stores.fuzzing PARSER EXAMPLES [SEED]` runs one of them and prints what it cost. With `atheris` installed, coverage
leads the changes: `python -m tests.sick_stores.fuzzing PARSER --guided -max_total_time=300`.
"""

import atexit
import gc
import importlib
import io
import json
import random
import resource
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import artifactstore
from artifactstore import ArtifactStoreError, Store
from artifactstore.backend.memory import MemoryBackend
from artifactstore.content.manifests.parquet import decode
from artifactstore.content.packs.pack import read_records
from artifactstore.content.packs.upload_ledger import unfinished_uploads
from artifactstore.content.side_content import parse_sha256
from artifactstore.journal.chain import entry_key, join
from artifactstore.journal.heads import parse_head
from artifactstore.journal.replica import read_replica_status, target_key
from artifactstore.journal.segments import Segment, list_segments, read_raw, segment_fault
from artifactstore.maintenance.verify.resume import Resume
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import canonical_json, new_id, parse_json
from artifactstore.model.facts import parse_config, parse_entry, parse_facts
from artifactstore.model.listing import check_disk_path
from artifactstore.model.reference import Reference
from artifactstore.signing.envelope import ANCHOR, APPROVAL, payload_of
from artifactstore.work.registry.signatures.keys import load_keys
from tests.sick_stores.fuzzed_readers import READERS, deep

ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    2**63,
    2**70,
    1e308,
    0.5,
    "",
    "..",
    "/etc/passwd",
    "a" * 300,
    "\ud800",
    "\0",
    [],
    {},
    [[]] * 3,
    "blake3:" + "0" * 64,
)


@dataclass(frozen=True, slots=True)
class Parser:
    """One parser.

    Attributes:
        seeds: valid inputs.
        parse: the parser; may raise this library's errors, and `also`.
        also: other errors that its contract names.
    """

    seeds: Callable[[], list[bytes]]
    parse: Callable[[bytes], object]
    also: tuple[type[Exception], ...] = ()


@cache
def made() -> Path:
    """A store with some of everything."""
    from artifactstore.journal import segments

    root = Path(tempfile.mkdtemp()) / "store"
    atexit.register(shutil.rmtree, root.parent, ignore_errors=True)
    before, segments.STRIDE = segments.STRIDE, 3  # type: ignore[misc]
    try:
        _fill(artifactstore.create(root, cache=None), root)
    finally:
        segments.STRIDE = before  # type: ignore[misc]
    return root


def _fill(store: Store, root: Path) -> None:
    noise = random.Random(1)
    store.put(noise.randbytes(50_000), "n", metadata={"owner": "x", "size": 3})
    store.put({"a": 1, "b": [1, 2, {"c": None}]}, "json")
    folder = root.parent / "folder"
    (folder / "in").mkdir(parents=True)
    (folder / "in/x").write_bytes(b"x" * 100_000)
    (folder / "y").symlink_to("in/x")
    store.put(folder, "folder", modes=True)
    with store.run("train", params={"depth": 3}) as run:
        run.get("n")
        run.put(b"model", "m", metrics={"auc": 0.5})
    store.alias("n:v1", "best", reason="why")
    store.registry.retention([{"names": "n*", "keep_last": 3}], reason="r")
    for k in range(5):
        store.put(b"%d" % k, "many")
    store.maintenance.bundle(root.parent / "bundle.zip")


def files(pattern: str) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in sorted(made().glob(pattern))][:6]


def _entry(raw: bytes) -> object:
    return join(raw, 1, Digest.of(b"?")) if raw[:1] == b"[" else parse_entry(raw, entry_key(1))


def _manifest(raw: bytes) -> object:
    found = decode(raw, "m", algorithm="blake3")
    for path in [*found.paths, *found.folders, *(path for path, _ in found.links)]:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise AssertionError(f"a path leads outside: {path!r}")
        check_disk_path(path)
    return [found.extent(i) for i in range(min(100, len(found.chunks)))]


def _footer(raw: bytes) -> object:
    return read_records(raw, len(raw), "packs/x.pack")


def _segment(raw: bytes) -> object:
    (segment, *_) = list_segments(MemoryBackendOf(made()))
    return read_raw(raw, segment, None), segment_fault(raw, Segment(1, 3, segment.digest, "segments/x"), None)


def MemoryBackendOf(root: Path) -> Any:  # noqa: N802 - makes one
    from artifactstore.backend.connect import connect

    return connect(str(root))


def _bundle(raw: bytes) -> object:
    path = made().parent / "fuzzed.zip"
    path.write_bytes(raw)
    store = artifactstore.open(f"zip://{path}", cache=None)
    names = [one.name for one in store.names()]
    return [store.get(one, to=Path(tempfile.mkdtemp()) / "out") for one in names[:2]]


def _mark(raw: bytes) -> object:
    backend = MemoryBackend(f"memory://{new_id()}")
    backend.write(target_key(3, Digest.of(b"x")), raw)
    return read_replica_status(backend, "0" * 32)


def _ledger(raw: bytes) -> object:
    folder = Path(tempfile.mkdtemp())
    (folder / "x.jsonl").write_bytes(raw)
    return unfinished_uploads(folder, "blake3", set)


def _resume(raw: bytes) -> object:
    path = made().parent / "resume"
    path.write_bytes(raw)
    return Resume(path, {"level": "frames"})


def _rules(raw: bytes) -> object:
    path = made().parent / "rules.toml"
    path.write_bytes(raw)
    store = artifactstore.open(f"memory://{new_id()}", cache=None)
    store.put(b"x", "n")
    for ask in (store.registry.gates, store.registry.retention):
        try:
            ask(path, reason="r")
        except ArtifactStoreError:
            continue
    return None


def _keys(raw: bytes) -> object:
    path = made().parent / "keys.toml"
    path.write_bytes(raw)
    return load_keys(path)


def _envelope(raw: bytes) -> object:
    value = parse_json(raw, "envelope")
    return payload_of(value, APPROVAL), payload_of(value, ANCHOR)


ENVELOPE: Final = {
    "payloadType": "application/vnd.artifactstore.approval+json",
    "payload": "eyJzdG9yZSI6IjAiLCJ0aW1lIjoiMjAyNi0wMS0wMVQwMDowMDowMC4wMDAwMDBaIn0=",
    "signatures": [{"keyid": "sha256:ab", "sig": "AAAA"}],
}
GATES: Final = b'[[gate]]\nnames = "churn/*"\nalias = "production"\nreason = true\nall = [{metric = "auc", is = ">= 0.9"}, {run = "finished"}]\n'
RETENTION: Final = b'[[retention]]\nnames = "sweep/*"\nkeep_last = 5\nkeep_days = 30\nkeep_kinds = ["model"]\n'
KEYS: Final = b'''[ada]
key = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
roles = ["qa"]
actors = ["ada"]
until = 2027-01-01
'''
REFERENCES: Final = [
    b"n",
    b"churn/model:v7",
    b"n:best",
    b"n@5",
    b"blake3:" + b"0" * 64,
    b"n:v1/in/x",
    b"a b:c",
    "ü/é:v1".encode(),
]

PARSERS: Final[dict[str, Parser]] = {
    "reference": Parser(lambda: list(REFERENCES), lambda raw: Reference.parse(raw.decode("utf-8", "surrogateescape"))),
    "head": Parser(lambda: [b"12:blake3:" + b"0" * 64], lambda raw: parse_head(raw.decode("utf-8", "replace"))),
    "listing": Parser(lambda: [b"0" * 64 + b"  in/x\n" + b"1" * 64 + b"  y\n"], lambda raw: parse_sha256(raw, ["in/x", "y"])),
    "entry": Parser(files("journal/*/*.json"), _entry),
    "facts": Parser(
        lambda: [canonical_json(json.loads(raw)["txns"][0]["facts"]) for raw in files("journal/*/*.json")()],
        lambda raw: parse_facts(raw, "facts/x"),
    ),
    "store.json": Parser(files("store.json"), lambda raw: parse_config(raw, "store.json")),
    "manifest": Parser(files("manifests/*/*"), _manifest),
    "pack footer": Parser(files("packs/*/*"), _footer, also=(LookupError,)),
    "segment": Parser(files("segments/*.parquet"), _segment),
    "bundle": Parser(lambda: [(made().parent / "bundle.zip").read_bytes()], _bundle),
    "mark": Parser(lambda: [canonical_json({"format": 1, "store": "0" * 32, "seq": 3, "entry": "blake3:" + "0" * 64})], _mark),
    "ledger": Parser(lambda: [json.dumps({"pack": "0" * 32, "chunks": [["00" * 32, 5, 8, 5, 0]]}).encode() + b"\n"], _ledger),
    "resume": Parser(
        lambda: [b'{"about": {"level": "frames"}, "seed": 5, "begun": "2026-11-30T00:00:00+00:00"}\n["00", 5, "2026", 1]\n'],
        _resume,
    ),
    "gates and retention": Parser(lambda: [GATES, RETENTION], _rules),
    "keys": Parser(lambda: [KEYS], _keys),
    "envelope": Parser(lambda: [canonical_json(ENVELOPE)], _envelope),
    **{name: Parser(*found) for name, found in READERS.items()},
}


def changed(raw: bytes, rng: random.Random) -> bytes:
    """Return bytes with some changes: of JSON also its values."""
    if rng.random() < 0.01:
        return deep(rng)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        if raw[:1] in {b"{", b"["} and rng.random() < 0.6:
            try:
                raw = json.dumps(_change(json.loads(raw), rng), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
                continue
            except (ValueError, RecursionError):
                pass
        if raw[:4] == b"PAR1" and rng.random() < 0.3:
            raw = _columns(raw, rng)
            continue
        raw = _bytes(raw, rng)
    return raw


def _change(value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    if isinstance(value, dict):
        key = rng.choice(sorted(value))
        how = rng.random()
        if how < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, (key if how < 0.9 else str(rng.choice(ODD))): _change(value[key], rng)}
    at = rng.randrange(len(value))
    return [*value[:at], _change(value[at], rng), *value[at + (rng.random() < 0.9) :]]


def _bytes(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    if rng.random() < 0.4:
        at = max(0, len(raw) - rng.randrange(1, 200))  # most formats have their index at the end
    how = rng.randrange(6)
    if how == 0:
        return raw[:at]
    if how == 1:
        return raw[:at] + rng.randbytes(rng.choice([1, 4, 100])) + raw[at:]
    if how == 2:
        return raw[:at] + raw[at + rng.choice([1, 4, 100]) :]
    if how == 3:
        return raw[:at] + bytes([rng.choice([0, 255, 127, 46, 47])]) * 4 + raw[at + 4 :]
    if how == 4 and len(raw) > 8:
        other = rng.randrange(len(raw))
        return raw[:at] + raw[other : other + 50] + raw[at:]
    out = bytearray(raw or b"\0")
    out[min(at, len(out) - 1)] ^= 1 << rng.randrange(8)
    return bytes(out)


def _columns(raw: bytes, rng: random.Random) -> bytes:
    """Return a Parquet file that was written with other values: what no flipped byte gets past a checksum."""
    try:
        table = pq.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError):
        return _bytes(raw, rng)
    name = rng.choice(table.column_names)
    rows = table.column(name).to_pylist()
    if rows:
        at = rng.randrange(len(rows))
        rows[at] = rng.choice([*ODD, "../up", "C:/x", "a//b", "a\rb", -5, 2**40])
    sink = io.BytesIO()
    try:
        at = table.column_names.index(name)
        changed_ = table.set_column(at, table.schema.field(at), pa.array(rows, table.schema.field(at).type))
        pq.write_table(changed_, sink)
    except (pa.ArrowException, OSError, TypeError, ValueError, OverflowError):
        return _bytes(raw, rng)
    return sink.getvalue()


def one(parser: Parser, raw: bytes) -> bool:
    """Parse bytes; return whether they were taken. Any other error passes through."""
    expected: tuple[type[Exception], ...] = (ArtifactStoreError, *parser.also)
    try:
        parser.parse(raw)
    except expected:
        return False
    return True


def run(name: str, examples: int, seed: int = 0) -> dict[str, int]:
    """Run a parser over changed inputs."""
    parser = PARSERS[name]
    seeds = parser.seeds()
    assert seeds, name
    assert any(one(parser, raw) for raw in seeds), name
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = 0
    for number in range(examples):
        rng = random.Random(seed * 10_000_019 + number)
        raw = changed(rng.choice(seeds), rng)
        try:
            taken += one(parser, raw)
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}, example {number}: {raw[:300]!r} …")
            raise
    return {"taken": taken, "growth": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024}


def guided(name: str, options: Sequence[str]) -> None:
    """Let coverage lead the changes, from the valid inputs on, until a fault is found or a limit of libFuzzer is met; needs atheris.

    Args:
        name: of the parser.
        options: of libFuzzer: `-max_total_time=300` (seconds), `-rss_limit_mb=1024`, or a file that was found before.
    """
    atheris: Any = importlib.import_module("atheris")

    parser = PARSERS[name]
    corpus = Path(tempfile.mkdtemp())
    for number, raw in enumerate(parser.seeds()):
        (corpus / f"{number}").write_bytes(raw)
    again = any(Path(option).is_file() for option in options)
    for function in [one for one in gc.get_objects() if isinstance(one, FunctionType)]:
        if function.__module__ is not None and function.__module__.startswith("artifactstore"):
            atheris.instrument_func(function)  # all others too would take minutes
    atheris.Setup([sys.argv[0], *options, *([] if again else [str(corpus)])], lambda raw: one(parser, raw) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[2] == "--guided":
        guided(sys.argv[1], sys.argv[3:])
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)))
