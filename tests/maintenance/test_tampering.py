"""Tamper evidence: what is changed, removed, swapped, renamed or renumbered in a store is found, and named.

Derived objects (segments, snapshots) are not part of it: they may be deleted at any time. The last entries, and a history made anew,
are found against an anchor and only against one: both are tested here, and said in docs/explanation/trust.md.
"""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, count
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from artifactstore.backend.connect import connect
from artifactstore.errors import ArtifactStoreError
from artifactstore.journal.chain import encode_entry, entry_key
from artifactstore.maintenance.verify.report import Report
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id

_NUMBER = count()


class Copies:
    """The objects of one store, and places where changed copies of it are verified."""

    def __init__(self, store: Store) -> None:
        backend = connect(store.url)
        self.objects = {item.key: backend.read(item.key) for item in backend.list("")}
        self.anchor = store.head
        self.entries = sorted(key for key in self.objects if key.startswith("journal/"))

    def report(self, objects: Mapping[str, bytes], *, anchor: str | None = None, level: str = "full") -> Report | str:
        """Verify a copy that has these objects, as a process that has never seen it; an error that stops it is text."""
        backend = connect(f"memory://tampered-{next(_NUMBER)}")
        for key, data in objects.items():
            backend.write(key, data)
        try:
            return artifactstore.open(backend.url, "r", cache=None).verify(level=level, anchor=anchor)
        except ArtifactStoreError as error:
            return f"{error} {getattr(error, 'location', '')}"
        finally:
            for key in objects:
                backend.delete(key)

    def assert_found(self, objects: Mapping[str, bytes], *named: str, level: str = "full") -> None:
        """Assert that a change is found, and that each of the keys is named."""
        report = self.report(objects, anchor=self.anchor, level=level)
        if isinstance(report, str):
            text = report
        else:
            assert report.damaged, named
            text = " ".join(f"{one.what} {one.location}" for one in report.findings if one.severity == "damage")
        for key in named:
            assert key in text, (key, text)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small content be in packs, and small transactions in objects of their own: stores of a few kilobytes have all kinds."""
    monkeypatch.setattr("artifactstore.content.packs.writer.INLINE_LIMIT", 256)
    monkeypatch.setattr("artifactstore.journal.append.SPILL", 640)


def made(seed: int, steps: int) -> Store:
    """Make a store with gates, approvals, holds, taints, moves, packs and spilled facts."""
    dice = random.Random(seed)
    store = artifactstore.create(f"memory://tampering-{next(_NUMBER)}", cache=None)
    store.put(dice.randbytes(300), "n")
    store.put({"w": 1}, "m", kind="model", metrics={"auc": 0.9}, reason="the first")
    store.registry.gates([{"names": "m", "alias": "live", "all": [{"metric": "auc", "is": ">= 0.5"}]}], reason="CR-1")
    store.registry.approve("m:v1", reason="seen", role="qa")
    store.promote("m:v1", "live", reason="CR-2")
    store.registry.hold("n", "litigation")
    actions: list[Callable[[], object]] = [
        lambda: store.put(dice.randbytes(dice.randrange(400)), "n", metadata={"k": "x" * dice.randrange(500)}),
        lambda: store.registry.describe("m:v1", {"owner": dice.random()}),
        lambda: store.registry.measure("m:v1", {"auc": 0.5 + dice.random() / 2}),
        lambda: store.registry.reject("n", reason="no"),
        lambda: store.registry.taint("n:v1", f"{dice.random()}"),
        lambda: store.alias("n:v1", f"a{dice.randrange(3)}"),
        lambda: store.registry.release(store.registry.hold("m:v1", "h"), "over"),
        lambda: store.registry.retention([{"names": "s/*", "keep_last": dice.randrange(1, 9)}], reason="CR-3"),
        store.registry.anchor,
    ]
    for _ in range(steps):
        dice.choice(actions)()
    return store


def least() -> Store:
    """Make the smallest store that has each kind of object."""
    store = artifactstore.create(f"memory://tampering-{next(_NUMBER)}", cache=None)
    store.put(random.Random(0).randbytes(300), "n", metadata={"k": "x" * 300})
    store.registry.gates([{"names": "n", "alias": "live", "all": [{"run": "finished"}]}], reason="CR-1")
    store.registry.approve("n", reason="seen")
    store.registry.hold("n", "litigation")
    return store


def flipped(data: bytes, at: int, dice: random.Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]


@pytest.mark.parametrize("make", [least, lambda: made(0, 0)])
def test_a_store_that_nobody_touched_is_fine(make: Callable[[], Store]):
    copies = Copies(make())
    assert len(copies.objects) < 20
    assert {key.partition("/")[0] for key in copies.objects} == {"store.json", "journal", "manifests", "packs", "facts"}
    report = copies.report(copies.objects, anchor=copies.anchor)
    assert isinstance(report, Report)
    assert report.ok
    assert {one.severity for one in report.findings} == {"note"}


@pytest.mark.slow
def test_each_byte_of_a_small_store_is_guarded():
    """Each byte once. Only packs need the level `full`: it makes all checks of `quick`, and more."""
    copies, dice = Copies(least()), random.Random(1)
    for key, data in copies.objects.items():
        level = "full" if key.startswith("packs/") else "quick"
        for at in range(len(data)):
            copies.assert_found({**copies.objects, key: flipped(data, at, dice)}, key, level=level)


def test_bytes_at_random_are_guarded():
    """Some of each object of several stores."""
    dice = random.Random(2)
    for seed in range(3):
        copies = Copies(made(seed, 6 * seed))
        for key, data in copies.objects.items():
            for at in {0, len(data) - 1, dice.randrange(len(data)), dice.randrange(len(data))}:
                copies.assert_found({**copies.objects, key: flipped(data, at, dice)}, key)


@pytest.mark.parametrize("seed", range(3))
def test_any_object_that_is_removed_cut_or_emptied_is_named(seed: int):
    copies, dice = Copies(made(seed, 5 * seed)), random.Random(seed)
    for key, data in copies.objects.items():
        gone = {one: data for one, data in copies.objects.items() if one != key}
        last = key == copies.entries[-1]
        copies.assert_found(gone, key if not last else f"{entry_key(len(copies.entries))}")
        for shorter in (b"", data[: dice.randrange(len(data))], data + b"\n"):
            copies.assert_found({**copies.objects, key: shorter}, key)


def test_any_two_objects_that_are_swapped_are_named():
    copies = Copies(made(0, 0))
    for one, other in combinations(copies.objects, 2):
        swapped = {**copies.objects, one: copies.objects[other], other: copies.objects[one]}
        report = copies.report(swapped, anchor=copies.anchor)
        text = report if isinstance(report, str) else " ".join(f"{one.what} {one.location}" for one in report.findings)
        assert isinstance(report, str) or report.damaged, (one, other)
        assert one in text or other in text, (one, other, text)


def renamed(key: str) -> Iterator[str]:
    """Yield other names for an object, of its own form where it has one."""
    yield key + ".old"
    yield "x" + key
    folder, _, name = key.rpartition("/")
    if (found := re.fullmatch(r"([0-9a-f]{32})(\.\w+)", name)) is not None:
        other = new_id()
        yield f"{folder.rpartition('/')[0]}/{other[:2]}/{other}{found[2]}"
        yield f"{folder.rpartition('/')[0]}/zz/{name}"
    if (found := re.fullmatch(r"(\d{12})\.json", name)) is not None:
        yield entry_key(int(found[1]) + 100)
        yield f"{folder}/{int(found[1])}.json"


def test_any_object_that_is_renamed_is_named():
    copies = Copies(made(1, 2))
    for key, data in copies.objects.items():
        for name in renamed(key):
            rest = {one: data for one, data in copies.objects.items() if one != key}
            copies.assert_found({**rest, name: data}, key)


def test_entries_that_are_renumbered_inserted_or_repeated_are_found():
    copies = Copies(made(1, 2))
    many = len(copies.entries)
    raws = [copies.objects[key] for key in copies.entries]
    rest = {key: data for key, data in copies.objects.items() if not key.startswith("journal/")}

    def journal(entries: list[bytes]) -> dict[str, bytes]:
        return {**rest, **{entry_key(seq): raw for seq, raw in enumerate(entries, 1)}}

    for at in range(many):
        without = raws[:at] + raws[at + 1 :]
        copies.assert_found(journal(without), entry_key(min(at + 1, many)))  # closed up
        copies.assert_found(journal([*raws[: at + 1], *raws[at:]]), entry_key(at + 2))  # one twice
        for to in {0, many // 2, many - 1} - {at}:
            moved = [*without[:to], raws[at], *without[to:]]
            copies.assert_found(journal(moved), "journal/")
        numbered = [re.sub(rb'"seq":\d+', b'"seq":%d' % (seq + 1), raw) if seq > at else raw for seq, raw in enumerate(raws, 1)]
        copies.assert_found(journal(numbered), "journal/")


# -- what the chain cannot show


def test_a_history_that_was_cut_is_found_against_an_anchor_and_only_against_one():
    copies = Copies(made(0, 3))
    for left in range(1, len(copies.entries)):
        cut = {key: data for key, data in copies.objects.items() if key not in copies.entries[left:]}
        alone = copies.report(cut)
        assert isinstance(alone, Report)
        assert alone.ok, "nothing in the store shows it"
        copies.assert_found(cut, entry_key(left + 1), "entries are missing")


def anew(copies: Copies, change: Callable[[Any], Any]) -> dict[str, bytes]:
    """Write the whole chain again, with other facts."""
    objects = dict(copies.objects)
    previous = Digest.of(objects["store.json"])
    for seq, key in enumerate(copies.entries, 1):
        entry = change(json.loads(objects[key]))
        raw = encode_entry(seq, previous, writer=entry["writer"], time=entry["time"], txns=entry["txns"], format=entry["format"])
        objects[key], previous = raw, Digest.of(raw)
    return objects


def test_a_history_that_was_made_anew_is_found_against_an_anchor_and_only_against_one():
    copies = Copies(made(0, 0))

    def by_eve(entry: Any) -> Any:
        for txn in entry["txns"]:
            txn["actor"] = "eve"
        return entry

    false = anew(copies, by_eve)
    alone = copies.report(false)
    assert isinstance(alone, Report)
    assert alone.ok, "nothing in the store shows it"
    copies.assert_found(false, copies.entries[-1], "history was changed")
    assert anew(copies, lambda entry: entry) == copies.objects, "the same facts make the same chain"


def test_a_history_with_another_last_entry_is_found_against_an_anchor():
    copies = Copies(made(0, 0))
    last = copies.entries[-1]
    false = {**copies.objects, last: copies.objects[last].replace(b"litigation", b"mitigation")}
    alone = copies.report(false)
    assert isinstance(alone, Report)
    assert alone.ok
    copies.assert_found(false, last, "history was changed")
