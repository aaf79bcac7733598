"""The audit trail and aliases among a million facts: `log` by actor and month, by artifact, by alias; resolving an alias.

The store has 100,000 names with ten versions each; its entries are written as the library writes them, a hundred facts each, over
one year; no content is. One data set is used by 10,000 transactions. Each question is asked in a process that has indexed the journal
before (`warm`), and once in a new process with what that has kept (`cold`).
"""

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report import machine, own_process, table, write_section

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.content.codecs.chunker import CHUNKERS
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import format_time
from artifactstore.model.facts import CONFIG_KEY, Config

FACTS = 1_000_000
VERSIONS = 10
PER = 100  # facts of an entry
TXNS = 4  # transactions of an entry
ACTORS = [f"user-{number}" for number in range(20)]
START = 1_750_000_000
YEAR = 365 * 86_400
COMMON = "blake3:" + "c" * 64  # the data set that many transactions speak of
RUNS = 10_000  # of these
TARGETS = {  # question → (most in a process that asked before, most in a new process), in seconds
    "resolve an alias": (0.005, 1.0),
    "log by actor and month": (0.3, 2.0),
    "log by ref": (0.3, 2.0),
    "log by alias": (0.3, 2.0),
    "log by name and alias": (0.3, 2.0),
    "log of the newest 20": (0.3, 2.0),
    "log by a ref in 10,000 transactions": (None, None),
    "log of a month": (None, None),
}


def digest(number: int) -> str:
    """Return a digest that stands for some content."""
    return "blake3:" + number.to_bytes(32, "big").hex()


def facts(count: int) -> Iterator[dict[str, Any]]:
    """Yield facts: each name gets ten versions of two contents, an approval, and one name of a hundred an alias that moves."""
    names = count // VERSIONS
    yield _stored(COMMON)
    yield {"fact": "versioned", "name": "raw/common", "digest": COMMON, "kind": "data"}
    for version in range(VERSIONS):
        for number in range(names):
            name, one = f"team-{number % 50}/model-{number}", digest(2 * number + version % 2)
            if version < 2:
                yield _stored(one)
            yield {"fact": "versioned", "name": name, "digest": one, "kind": "model"}
            if version == 1:
                yield {"fact": "aliased", "name": name, "alias": "staging", "digest": one}
            if number % 100 == 7:
                yield {"fact": "aliased", "name": name, "alias": "production", "digest": one}
            if number % 50 == 3:
                yield {"fact": "measured", "digest": one, "metrics": {"auc": number % 1000 / 1000}}
            if version == 5 and number % max(1, names // RUNS) == 0:
                yield {"fact": "used", "run": f"{number:032x}", "digest": COMMON, "name": "raw/common", "version": 1}


def _stored(one: str) -> dict[str, Any]:
    return {
        "fact": "stored", "digest": one, "manifest": one[-32:], "manifest_digest": one, "size": 1000, "files": 1, "packs": [],
    }  # fmt: skip


def make(place: Path, count: int) -> None:
    """Write the store."""
    shutil.rmtree(place, ignore_errors=True)
    backend = LocalBackend(place / "store")
    config = Config.new(f"{count:032x}", "blake3", CHUNKERS, _time(0, 1))
    backend.create(CONFIG_KEY, config.raw)
    previous, seq, dice = Digest.of(config.raw, "blake3"), 0, random.Random(1)
    rows, total = [*facts(count)], 0
    entries = -(-len(rows) // PER)
    for begin in range(0, len(rows), PER):
        seq += 1
        some, moment = rows[begin : begin + PER], _time(seq, entries)
        txns = [_txn(seq, k, some[k * PER // TXNS : (k + 1) * PER // TXNS], dice.choice(ACTORS), moment) for k in range(TXNS)]
        raw = encode_entry(seq, previous, writer="0" * 32, time=moment, txns=[one for one in txns if one["facts"]])
        key = place / "store" / entry_key(seq)
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_bytes(raw)  # without a sync each
        previous, total = Digest.of(raw, "blake3"), total + len(some)
    (place / "done").write_text(json.dumps({"entries": seq, "facts": total, "names": count // VERSIONS}))


def _time(seq: int, entries: int) -> str:
    return format_time(datetime.fromtimestamp(START + YEAR * seq // entries, UTC))


def _txn(seq: int, k: int, some: list[dict[str, Any]], actor: str, moment: str) -> dict[str, Any]:
    return {
        "txn": f"{seq * TXNS + k:032x}", "birth": seq - 1, "base": seq - 1, "adoptable": False, "actor": actor, "identity": "os",
        "host": f"node{seq % 50}", "tool": "artifactstore 0.1.0", "time": moment, "facts": some,
    }  # fmt: skip


def questions(store: artifactstore.Store, names: int) -> dict[str, Callable[[], Any]]:
    """Return the questions."""
    since, until = datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 9, 30, tzinfo=UTC)
    name = f"team-{(names // 2 + 7) % 50}/model-{names // 2 + 7}"
    return {
        "resolve an alias": lambda: store.artifact(f"{name}:staging"),
        "log by actor and month": lambda: store.log(actor=ACTORS[3], since=since, until=until),
        "log by ref": lambda: store.log(ref=f"{name}:v3"),
        "log by alias": lambda: store.log(alias="production"),
        "log by name and alias": lambda: store.log(name=name, alias="production"),
        "log of the newest 20": lambda: store.log(limit=20),
        "log by a ref in 10,000 transactions": lambda: store.log(ref="raw/common:v1"),
        "log of a month": lambda: store.log(since=since, until=until),
    }


def ask(place: Path, question: str | None) -> dict[str, Any]:
    """Ask all questions in one process, or one in a process of its own."""
    names = json.loads((place / "done").read_text())["names"]
    begun = time.perf_counter()
    store = artifactstore.open(place / "store", "r", cache=place / "cache")
    asked = questions(store, names)
    if question is not None:
        found = asked[question]()
        return {"cold": time.perf_counter() - begun, "peak": _peak(), "rows": _rows(found)}
    store.names("team-1/")
    store.log(limit=1)
    answers: dict[str, Any] = {"first": time.perf_counter() - begun, "processor": time.process_time()}
    for one, call in asked.items():
        call()
        spent = []
        for _ in range(5):
            before = time.perf_counter()
            found = call()
            spent.append(time.perf_counter() - before)
        answers[one] = {"warm": sorted(spent)[2], "rows": _rows(found)}
        if _rows(found):
            before = time.perf_counter()
            seqs = [event.seq for event in found]
            answers[one]["read"] = time.perf_counter() - before
            assert len(seqs) == _rows(found)
    answers["peak"] = _peak()
    return answers


def _rows(found: Any) -> int:
    return len(found) if isinstance(found, artifactstore.catalog.rows.Rows) else 0


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    return 0.0


def main() -> int:
    """Make the store where it is not there, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--facts", type=int, default=FACTS, help="versions: the store has 1.4 times as many facts")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--part", help="asked by this script itself, in a process of its own")
    asked = parser.parse_args()
    place = asked.folder / f"audit-{asked.facts}"
    if not (place / "done").exists():
        make(place, asked.facts)
    if asked.part:
        print(json.dumps(ask(place, None if asked.part == "all" else asked.part)))
        return 0
    if not (place / "first.json").exists():
        shutil.rmtree(place / "cache", ignore_errors=True)
        (place / "first.json").write_text(json.dumps(own_process("all")))
    first = json.loads((place / "first.json").read_text())
    warm = own_process("all")
    cold = {one: min((own_process(one) for _ in range(3)), key=lambda found: found["cold"]) for one in TARGETS}
    rows, missed = [], []
    for one, limits in TARGETS.items():
        got = (warm[one]["warm"], cold[one]["cold"])
        words = ["" if most is None else f"≤ {most * 1000:g} ms" for most in limits]
        rows.append([one, f"{warm[one]['rows']:,}", f"{got[0] * 1000:.3g} ms", words[0], f"{got[1]:.2f} s", words[1]])
        rows[-1].append(f"{warm[one].get('read', 0) * 1000:.3g} ms")
        missed += [one for value, most in zip(got, limits, strict=True) if most is not None and value > most]
    about = json.loads((place / "done").read_text())
    text = f"{about['facts']:,} facts in {about['entries']:,} entries, {about['names']:,} names. "
    once = f"{first['first']:.0f} s ({first['processor']:.0f} s of processors), {first['peak']:.0f} MB"
    text += f"The first question of a machine, which folds and indexes all: {once}; "
    text += f"a later process: {warm['peak']:.0f} MB.\n\n"
    text += table(["", "facts found", "warm", "target", "new process", "target", "reading each row found"], rows)
    text += "\n" + ("\n".join(f"- missed: {one}" for one in dict.fromkeys(missed)) or "All targets are met.") + "\n"
    print(text)
    if asked.write:
        write_section(asked.write, "Audit trail", f"{machine()}.\n\n{text}")
    return 1 if missed and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
