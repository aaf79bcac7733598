"""Clean-up and repacking: a plan over many artifacts, freeing what is dead, writing half-dead packs anew; beside restic, borg and git.

The journal of the plan is written as the library writes it, with empty objects: a clean-up reads facts, and lists what is there.
"""

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from report import machine, own_process, table, write_section

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.remote.fsspec_client import FsspecClient
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.maintenance.gc import execute
from artifactstore.model.digest import Digest
from artifactstore.model.facts import CONFIG_KEY, Config

PER_PACK = 10  # artifacts that share a pack
PER_TXN = 50  # 20,000 entries a million: the fold of a long journal is kept
TIME = "2026-01-01T00:00:00.000000Z"
MOST = {
    "requests": 110.0,
    "plan s per M artifacts": 60.0,
    "plan GB": 1.5,
    "repack MB of memory": 500.0,
    "extra bytes of live": 1.2,
}
LEAST = {"repack MB/s a core": 100.0, "share": 0.8}


def main() -> int:
    """Make the stores where they are not there, measure each part in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--artifacts", type=int, default=1_000_000)
    parser.add_argument("--deletes", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--part")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    if asked.part:
        print(json.dumps(PARTS[asked.part](asked)))
        return 0
    found: dict[str, dict[str, float]] = {}
    for part in PARTS:
        found[part] = own_process(part, ARTIFACTSTORE_CACHE="")
    rows = [[part, what, f"{value:,.2f}"] for part, values in found.items() for what, value in values.items()]
    text = table(["part", "figure", "value"], rows)
    print(machine(), text, sep="\n")
    if asked.write:
        write_section(asked.write, "Clean-up and repacking", f"{machine()}\n\n{text}\n")
    values = {what: value for part in found.values() for what, value in part.items()}
    missed = [
        f"{what} is {values[what]:.3g}, and at most {most:g} was promised" for what, most in MOST.items() if values[what] > most
    ]
    missed += [
        f"{what} is {values[what]:.3g}, and {least:g} was promised" for what, least in LEAST.items() if values[what] < least
    ]
    print(*missed, sep="\n")
    return int(asked.check and bool(missed))


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def make_journal(place: Path, artifacts: int) -> None:
    """Write a store whose objects are empty: `artifacts` artifacts, ten of which share a pack."""
    dice = random.Random(1)
    config = Config.new("c" * 32, "blake3", CHUNKERS, TIME)
    for name in ("journal", "manifests", "packs"):
        (place / name).mkdir(parents=True)
    (place / CONFIG_KEY).write_bytes(config.raw)
    previous, pack = Digest.of(config.raw), ""
    for seq, start in enumerate(range(0, artifacts, PER_TXN), 1):
        facts: list[dict[str, Any]] = []
        for number in range(start, min(artifacts, start + PER_TXN)):
            if number % PER_PACK == 0:
                pack = f"{dice.getrandbits(128):032x}"
                _touch(place / pack_key(pack))
            digest, manifest = f"blake3:{dice.getrandbits(256):064x}", f"{dice.getrandbits(128):032x}"
            _touch(place / manifest_key(manifest))
            facts.append(
                {
                    "fact": "stored",
                    "digest": digest,
                    "manifest": manifest,
                    "manifest_digest": digest,
                    "size": 10**6,
                    "files": 1,
                    "packs": [pack],
                }
            )
            facts.append(
                {"fact": "versioned", "name": f"team{number % 400}/name{number % 20_000}", "digest": digest, "kind": "data"}
            )
        raw = encode_entry(seq, previous, writer="0" * 32, time=TIME, txns=[_txn(dice, seq - 1, facts)])
        previous = Digest.of(raw)
        path = place / entry_key(seq)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)


def _txn(dice: random.Random, head: int, facts: list[dict[str, Any]]) -> dict[str, Any]:
    txn = {"txn": f"{dice.getrandbits(128):032x}", "birth": head, "base": head, "adoptable": False, "actor": "ana"}
    return {**txn, "identity": "claimed", "host": "h", "tool": "t", "time": TIME, "facts": facts}


def _touch(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()


def first_plan(asked: Any) -> dict[str, float]:
    """Fold the journal and judge all artifacts, in a process of its own: what the first clean-up of a machine does."""
    place = asked.folder / f"plan-{asked.artifacts}"
    if not place.exists():
        make_journal(place, asked.artifacts)
    shutil.rmtree(asked.folder / "plan-cache", ignore_errors=True)
    return {f"first plan, {what}": value for what, value in _judged(asked, place).items()}


def kept_plan(asked: Any) -> dict[str, float]:
    """Judge all artifacts by the fold that the first one has kept: what a clean-up by a timer does."""
    found = _judged(asked, asked.folder / f"plan-{asked.artifacts}")
    return {
        "plan with the fold kept, s": found["s"],
        "plan s per M artifacts": found["s of processors"] / (asked.artifacts / 1e6),
        "plan GB": found["GB"],
    }


def _judged(asked: Any, place: Path) -> dict[str, float]:
    before = _objects(place)
    store = artifactstore.open(place, cache=asked.folder / "plan-cache")
    begin, worked = time.perf_counter(), time.process_time()
    done = store.maintenance.gc()
    took, worked = time.perf_counter() - begin, time.process_time() - worked
    assert not done.packs
    assert _objects(place) == before, "nothing is dead, and something was written"
    return {"s": took, "s of processors": worked, "GB": _memory()}


def _objects(place: Path) -> list[tuple[str, int]]:
    """Return what is in a journal, with its times: a clean-up that condemns nothing writes nothing there."""
    return sorted((str(path), path.stat().st_mtime_ns) for path in (place / "journal").rglob("*"))


def free(asked: Any) -> dict[str, float]:
    """Free a tenth of a store."""
    place = asked.folder / "free"
    shutil.rmtree(place, ignore_errors=True)
    make_journal(place, 20_000)
    journal = sorted((place / "journal").rglob("*.json"))
    entry = json.loads(journal[-1].read_bytes())
    names = [
        fact
        for path in journal[: len(journal) // 10]
        for fact in json.loads(path.read_bytes())["txns"][0]["facts"]
        if fact["fact"] == "versioned"
    ]
    facts = [{"fact": "removed", "digest": fact["digest"]} for fact in names]
    head = entry["seq"]
    raw = encode_entry(
        head + 1, Digest.of(journal[-1].read_bytes()), writer="0" * 32, time=TIME, txns=[_txn(random.Random(2), head, facts)]
    )
    (place / entry_key(head + 1)).write_bytes(raw)
    execute.check_kept = lambda *_: None  # type: ignore[attr-defined]  # the manifests here are empty
    store = artifactstore.open(place, cache=None)
    begin = time.perf_counter()
    done = store.maintenance.gc()
    took = time.perf_counter() - begin
    return {"objects freed": len(done.manifests) + len(done.packs), "seconds": took}


def beside(asked: Any) -> dict[str, float]:
    """Let eight writers put and remove, with clean-up after clean-up beside them and without, in turns: commits a second."""
    place = asked.folder / "beside"
    shutil.rmtree(place, ignore_errors=True)
    artifactstore.create(place, cache=None).put(b"x", "base")
    script = (
        "import sys, time, artifactstore; store = artifactstore.open(sys.argv[1], cache=None)\n"
        "store.put(sys.argv[2].encode(), 'warm'); end = time.time() + 5; n = 0\n"
        "while time.time() < end:\n"
        "    made = store.put(f'{sys.argv[2]} {n} {end}'.encode() * 100, f'w/{sys.argv[2]}'); n += 1\n"
        "    if n % 4 == 0: store.registry.remove(made.digest, 'old'); n += 1\n"
        "print(n)"
    )
    rates: dict[bool, list[float]] = {True: [], False: []}
    freed = 0
    for turn in range(6):
        cleaning = bool(turn % 2)
        running = [
            subprocess.Popen([sys.executable, "-c", script, str(place), f"{turn}-{k}"], stdout=subprocess.PIPE, text=True)
            for k in range(8)
        ]
        janitor = artifactstore.open(place, cache=None)
        while any(one.poll() is None for one in running):
            if cleaning:
                freed += len(janitor.maintenance.gc(grace=timedelta(0)).manifests)
            else:
                time.sleep(0.05)
        rates[cleaning].append(sum(int(one.communicate()[0]) for one in running) / 5)
    with_, without = statistics.median(rates[True]), statistics.median(rates[False])
    return {"commits/s beside clean-ups": with_, "commits/s alone": without, "share": with_ / without, "manifests freed": freed}


def deletes(asked: Any) -> dict[str, float]:
    """Delete the packs of a bucket in an S3 server: how many requests that takes."""
    from moto.core import DEFAULT_ACCOUNT_ID  # noqa: PLC0415 - this part alone needs it
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer  # noqa: PLC0415 - this part alone needs it
    from moto.s3.models import s3_backends  # noqa: PLC0415 - this part alone needs it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    about = {"key": "x", "secret": "x", "endpoint_url": f"http://{host}:{port}", "client_kwargs": {"region_name": "us-east-1"}}
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    bucket.create_bucket("deletes", "us-east-1")
    dice = random.Random(5)
    keys = [pack_key(f"{dice.getrandbits(128):032x}") for _ in range(asked.deletes)]
    for key in keys:
        bucket.put_object("deletes", key, b"")
    backend = connect("s3://deletes", storage_options=about)
    made: list[str] = []
    real = FsspecClient.request

    def request(self: Any, action: str, *arguments: Any, **options: Any) -> Any:
        made.append(action)
        return real(self, action, *arguments, **options)

    FsspecClient.request = request  # type: ignore[method-assign]
    begin = time.perf_counter()
    assert backend.delete_many(keys) == {}
    took = time.perf_counter() - begin
    server.stop()
    return {
        "objects deleted of a bucket": len(keys),
        "requests": made.count("delete"),
        "seconds of the server and the client": took,
    }


def repack(asked: Any) -> dict[str, float]:
    """Write half-dead packs anew."""
    place, source = asked.folder / "repack", asked.folder / "repack-source"
    for one in (place, source):
        shutil.rmtree(one, ignore_errors=True)
    store = artifactstore.create(place, cache=None)
    half_dead(source, asked.megabytes, lambda: store.put(source, "data"), lambda: store.put(source, "data"))
    store.registry.remove("data:v1", "old")
    begin, worked = time.perf_counter(), time.process_time()
    done = store.maintenance.repack(below=0.9)
    took, worked = time.perf_counter() - begin, time.process_time() - worked
    freeing = time.perf_counter()
    store.maintenance.gc(grace=0)  # type: ignore[arg-type]  # no grace
    found = {
        "repack MB/s a core": done.bytes_after / 1e6 / worked,  # by its own seconds of processors: others may use them, too
        "repack MB of memory": _memory() * 1000,
        "repack s": took,
        "gc s": time.perf_counter() - freeing,
        "extra bytes of live": done.bytes_after / max(1, _live(source)),
    }
    return {**found, "of live bytes left": _size(place) / _live(source)}


def half_dead(source: Path, megabytes: int, first: Callable[[], object], second: Callable[[], object]) -> None:
    """Write files that do not compress, have them stored, remove every second one, have the rest stored."""
    dice = random.Random(3)
    source.mkdir()
    for number in range(megabytes):
        (source / f"{number:05d}.bin").write_bytes(dice.randbytes(10**6))
    first()
    for number in range(0, megabytes, 2):
        (source / f"{number:05d}.bin").unlink()
    second()


def _live(source: Path) -> int:
    return _size(source)


def _size(folder: Path) -> int:
    return sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and ".git" not in path.relative_to(folder).parts[:-1]
    )


def peers(asked: Any) -> dict[str, float]:
    """The same by restic, borg and git, as far as they are installed: seconds, and what is left per live byte."""
    found: dict[str, float] = {}
    for name, run in {"restic": _restic, "borg": _borg, "git": _git}.items():
        if shutil.which(name) is None:
            continue
        folder, source = asked.folder / f"peer-{name}", asked.folder / f"peer-{name}-source"
        for one in (folder, source):
            shutil.rmtree(one, ignore_errors=True)
        took = run(folder, source, asked.megabytes)
        left = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found |= {f"{name} s": took, f"{name}, of live bytes left": left / _live(source)}
    return found


def _sh(*words: str, cwd: Path | None = None, **env: str) -> None:
    subprocess.run(words, check=True, capture_output=True, cwd=cwd, env={**os.environ, **env})


def _restic(folder: Path, source: Path, megabytes: int) -> float:
    env = {"RESTIC_REPOSITORY": str(folder), "RESTIC_PASSWORD": "x"}
    _sh("restic", "init", **env)
    half_dead(
        source,
        megabytes,
        lambda: _sh("restic", "backup", str(source), **env),
        lambda: _sh("restic", "backup", str(source), **env),
    )
    begin = time.perf_counter()
    _sh("restic", "forget", "--keep-last", "1", "--prune", "--max-unused", "0", **env)
    return time.perf_counter() - begin


def _borg(folder: Path, source: Path, megabytes: int) -> float:
    env = {
        "BORG_REPO": str(folder),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_BASE_DIR": str(folder.parent / "borg-base"),
    }
    _sh("borg", "init", "-e", "none", **env)
    half_dead(
        source,
        megabytes,
        lambda: _sh("borg", "create", "::a", str(source), **env),
        lambda: _sh("borg", "create", "::b", str(source), **env),
    )
    begin = time.perf_counter()
    _sh("borg", "delete", "::a", **env)
    _sh("borg", "compact", "--threshold", "0", **env)
    return time.perf_counter() - begin


def _git(folder: Path, source: Path, megabytes: int) -> float:
    folder.mkdir()
    _sh("git", "init", "--bare", str(folder))
    env = {"GIT_DIR": str(folder), "GIT_WORK_TREE": str(source)}
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def store() -> None:
        _sh("git", "add", "-A", **env)
        _sh("git", "commit", "--amend" if (folder / "once").exists() else "-q", "-m", "x", **env, **who)
        (folder / "once").touch()

    half_dead(source, megabytes, store, store)
    begin = time.perf_counter()
    _sh("git", "reflog", "expire", "--expire=now", "--all", **env)
    _sh("git", "gc", "--prune=now", **env)
    return time.perf_counter() - begin


PARTS: dict[str, Callable[[Any], dict[str, float]]] = {
    "first_plan": first_plan,
    "kept_plan": kept_plan,
    "free": free,
    "beside": beside,
    "deletes": deletes,
    "repack": repack,
    "peers": peers,
}

if __name__ == "__main__":
    sys.exit(main())
