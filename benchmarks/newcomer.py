"""A long history opens at once: the first `names()` of a new process that knows nothing, of a history for which no command was run.

    python benchmarks/newcomer.py --folder DIR [--entries 1000000] [--check] [--write benchmarks/results.md]

The entries are those of `scale.py`, sealed as the library seals them; what the fold adds up to is published by the code that
publishes when writers seal, until nothing is left for it to do. That takes some ten minutes the first time. Asked is a process
of its own, without a cache: from the disk, and over 30 ms a round trip and eight connections of 12.5 MB/s.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import scale
from report import machine, own_process, table, write_section

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.errors import AlreadyExistsError
from artifactstore.journal.chain import entry_key
from artifactstore.journal.segments import Sealed, list_derived, list_segments, read_raw
from artifactstore.maintenance.extend import Publisher
from artifactstore.testing.backends import CountingBackend
from artifactstore.testing.latency import LatencyBackend
from artifactstore.work.session import session

MOST: Final = {"disk s": 3.0, "link s": 10.0, "link MB": 200.0, "disk GB of memory": 1.5, "link GB of memory": 1.5}
LATENCY, BANDWIDTH, CONNECTIONS = 0.03, 12.5e6, 8  # seconds; bytes a second of each
FAST: Final = 1e9  # bytes a second: a line on which nothing is left to the next writer


def main() -> int:
    """Make the store where it is not there, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--part", help="asked by this script itself, in a process of its own")
    asked = parser.parse_args()
    place = asked.folder / f"newcomer-{asked.entries}"
    if asked.part:
        print(json.dumps(PARTS[asked.part](place)))
        return 0
    make(place, asked.entries)
    if not (place / "published").exists():
        own_process("publish")  # stopped, it goes on where it was
    found = {what: value for part in ("disk", "link") for what, value in own_process(part).items()}
    rows = [[what, f"{value:,.2f}", f"{MOST[what]:g}" if what in MOST else ""] for what, value in found.items()]
    missed = [
        f"{what} is {found[what]:.3g}, and at most {most:g} was promised" for what, most in MOST.items() if found[what] > most
    ]
    text = f"{machine()}. {asked.entries:,} entries.\n\n{table(['figure', 'value', 'at most'], rows)}\n"
    text += ("\n".join(f"- missed: {line}" for line in missed) or "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "A newcomer to a long history", text)
    return 1 if missed and asked.check else 0


def make(place: Path, entries: int) -> None:
    """Make the store where it is not there, as far as nothing of its fold is published."""
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        scale.make(place, -(-entries // 3))
    _fill(place)


def _fill(place: Path) -> None:
    """Write the newest entries as objects, too: `scale.py` has them in segments alone, and the few behind a snapshot are read one by one."""
    backend = LocalBackend(place / "store")
    segments = sorted(list_segments(backend), key=lambda one: one.last)[-2:]
    for one in segments:
        for seq, raw in enumerate(read_raw(backend.read(one.key), one, None) or (), one.first):
            with suppress(AlreadyExistsError):
                backend.create(entry_key(seq), raw)


def publish(place: Path) -> dict[str, float]:
    """Publish what the fold adds up to, stretch by stretch, as writers do; return how many deltas that took."""
    store = artifactstore.open(place / "store", cache=place / "cache")
    if not store.exists("one/more"):
        store.put(b"x", "one/more")
    core = store._session.core()  # noqa: SLF001 - the part that seals
    backend, made = core.journal.backend, 0
    newest = max(list_segments(backend), key=lambda one: one.last)
    publisher = Publisher(core.journal, core.appender)
    while publisher.extend(Sealed(newest, list_derived(backend), FAST)) is not None:
        made += 1
    (place / "published").write_text(str(made))
    return {"deltas": made}


def disk(place: Path) -> dict[str, float]:
    """Ask from the disk."""
    return _asked(place, "disk", lambda backend: backend)


def link(place: Path) -> dict[str, float]:
    """Ask over a link."""
    return _asked(place, "link", lambda backend: LatencyBackend(backend, LATENCY, BANDWIDTH, connections=CONNECTIONS))


def _asked(place: Path, what: str, over: Callable[[Any], Any]) -> dict[str, float]:
    counted: list[CountingBackend] = []
    real = vars(session)["connect"]

    def connect(*arguments: Any, **options: Any) -> Any:
        counted.append(CountingBackend(real(*arguments, **options)))
        return over(counted[-1])

    vars(session)["connect"] = connect
    begin, worked = time.perf_counter(), time.process_time()
    names = len(artifactstore.open(place / "store", cache=None).names())
    took, worked = time.perf_counter() - begin, time.process_time() - worked
    return {
        f"{what} s": took,
        f"{what} s of processors": worked,
        f"{what} MB": sum(one.bytes_read for one in counted) / 1e6,
        f"{what} requests": sum(one.requests for one in counted),
        f"{what} names": names,
        f"{what} GB of memory": _peak() / 1e6,
    }


def _peak() -> int:
    """Return the most resident memory of this process in kB; `getrusage` would count that of the process that started it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


PARTS: Final[dict[str, Callable[[Path], dict[str, float]]]] = {"publish": publish, "disk": disk, "link": link}

if __name__ == "__main__":
    sys.exit(main())
