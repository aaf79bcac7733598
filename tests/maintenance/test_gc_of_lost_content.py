"""Clean-up, puts and repair where content is lost: by a disk, or by a writer that condemned what was needed."""

import itertools
import random
import warnings
from collections.abc import Iterator
from datetime import timedelta
from itertools import product

import pytest

import artifactstore
from artifactstore import CorruptionError
from artifactstore.backend.connect import connect
from artifactstore.content.manifests.manifest import manifest_key
from artifactstore.content.packs.pack import pack_key
from artifactstore.store import Store

from .facts import state_of, tell

NO_GRACE = timedelta(0)
_count = itertools.count()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Reading past a holder that is lost warns, and other tests look at that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def content(seed: int, size: int = 100_000) -> bytes:
    return random.Random(seed).randbytes(size)


def new_store() -> Store:
    return artifactstore.create(f"memory://lost-{next(_count)}", cache=None)


def again(store: Store) -> Store:
    return artifactstore.open(store.url, cache=None)


def ids(store: Store, digest: str) -> list[tuple[str, list[str]]]:
    """The manifests that hold a digest, with their packs."""
    state = state_of(again(store))
    return [(one, state.manifests[one][2]) for one in state.holders.get(digest, ())]


def lose(store: Store, what: str, manifest: str, packs: list[str]) -> None:
    backend = connect(store.url)
    for key in [manifest_key(manifest)] if what != "pack" else []:
        backend.delete(key)
    for key in map(pack_key, packs if what != "manifest" else []):
        backend.delete(key)


def copied(store: Store) -> str:
    url = f"memory://copy-{next(_count)}"
    store.maintenance.sync(url)
    return url


def clean(store: Store) -> int:
    """Clean up, with something that goes; return how many packs went."""
    writer = again(store)
    writer.registry.remove(writer.put(content(99), "garbage").digest, "old")
    return len(again(store).maintenance.gc(grace=NO_GRACE).packs)


@pytest.mark.parametrize(
    ("what", "name", "stored_again", "shared"),
    [
        (what, "n" if shared else None, stored_again, shared)
        for what, stored_again, shared in product(["manifest", "pack", "both"], [False, True], [False, True])
    ],
)
def test_lost_content_that_is_marked_stops_no_clean_up_and_comes_back_from_a_copy(
    what: str, name: str | None, *, stored_again: bool, shared: bool
):
    store = new_store()
    data = content(1, 1_000_000 if shared else 100_000)
    made = store.put(data, name)
    store.put(content(2), "other")
    if shared:
        store.put(data, "shares")
        shares = store.put(data + content(3), "shares").digest
        assert set(ids(store, made.digest)[0][1]) & set(ids(store, shares)[0][1])
    copy = copied(store)
    lose(store, what, *ids(store, made.digest)[0])
    store = again(store)
    assert made.digest in {one.digest for one in store.maintenance.repair().lost}
    if stored_again:
        assert store.put(data, name).uploaded > 0
    packs = ids(store, made.digest)[0][1]
    assert clean(store) >= 1
    if what == "manifest" and not stored_again:
        assert {pack_key(one) for one in packs} <= {item.key for item in connect(store.url).list("packs/")}
    assert again(store).maintenance.repair(copy).lost == []
    assert again(store).get(made.digest) == data
    assert again(store).get("other") == content(2)
    if shared:
        assert again(store).get("shares") == data + content(3)


@pytest.mark.parametrize("lost", list(product(["manifest", "pack", ""], repeat=2)))
def test_of_several_holders_those_stay_that_a_repair_may_need(lost: tuple[str, ...]):
    """Each holder of one artifact loses its manifest, its pack or nothing; a clean-up frees, and a copy brings all of it back."""
    store = new_store()
    store.put(content(2), "other")
    digest, copies = "", []
    for number, _ in enumerate(lost):
        digest = again(store).put(content(1), "n").digest
        if number + 1 < len(lost):
            tell(again(store), {"fact": "damaged", "digest": digest, "manifest": ids(store, digest)[-1][0]})
    copies.append(copied(store))
    holders = ids(store, digest)
    assert len(holders) == len(lost)
    for what, (manifest, packs) in zip(lost, holders, strict=True):
        if what:
            lose(store, what, manifest, packs)
    repaired = again(store).maintenance.repair()
    assert clean(store) >= 1
    if lost[0] and len(set(lost)) == 1:  # else bytes and layout are left, of different holders
        assert [one.digest for one in repaired.lost] == [digest]
        assert [one for one, _ in ids(store, digest)] == [one for one, _ in holders], "any of them may come back"
    else:
        assert again(store).get("n") == content(1)
    assert again(store).maintenance.repair(copies[0]).lost == []
    assert again(store).get("n") == content(1)


def test_a_pack_that_sound_content_needs_is_missed_even_if_damaged_content_shares_it():
    store = new_store()
    digest = store.put(content(1, 1_000_000), "a").digest
    shares = store.put(content(1, 1_000_000) + content(3), "a").digest
    ((manifest, packs),) = ids(store, digest)
    assert set(packs) & set(ids(store, shares)[0][1])
    tell(store, {"fact": "damaged", "digest": digest, "manifest": manifest})
    lose(store, "pack", manifest, packs)
    with pytest.raises(CorruptionError, match="is missing, but the journal names it"):
        clean(store)


@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_no_earlier_holder_goes_for_one_that_cannot_be_read(fault: str):
    """The newest is marked, readers use the one before it: the oldest goes only if that one is sound."""
    store, backend = new_store(), None
    digest = store.put(content(1), "n").digest
    backend = connect(store.url)
    ((first, packs),) = ids(store, digest)
    raw, row = backend.read(manifest_key(first)), state_of(store).manifests[first]
    second, third = "a" * 32, "b" * 32
    for one in (second, third):
        backend.write(manifest_key(one), raw)
        fact = {"digest": digest, "manifest": one, "manifest_digest": row[1], "size": 100_000, "files": 1, "packs": packs}
        tell(again(store), {"fact": "stored", **fact})
    tell(again(store), {"fact": "damaged", "digest": digest, "manifest": third})
    assert again(store).maintenance.gc(dry_run=True).manifests == (first,)
    backend.delete(manifest_key(second))
    if fault == "changed":
        backend.write(manifest_key(second), raw[:-1] + b"?")
    with pytest.raises(CorruptionError, match=r"is missing|does not match"):
        clean(store)
    assert [one for one, _ in ids(store, digest)] == [first, second, third]


# -- packs that an entry condemns while their manifests stand: no clean-up does that, another writer may


def robbed(store: Store, digest: str, *, delete: bool) -> None:
    """Condemn the packs of the current holder alone; a clean-up of another version may delete them."""
    manifest, packs = ids(store, digest)[-1]
    tell(store, {"fact": "condemned", "manifests": [], "packs": packs})
    if delete:
        lose(store, "pack", manifest, packs)


@pytest.mark.parametrize(("deleted", "name", "more"), list(product([False, True], ["n", "m", None], [b"", b"changed"])))
def test_content_whose_packs_are_condemned_is_stored_again_and_shares_nothing(name: str | None, more: bytes, *, deleted: bool):
    store = new_store()
    digest = store.put(content(1, 1_000_000), "n").digest
    robbed(store, digest, delete=deleted)
    made = again(store).put(content(1, 1_000_000) + more, name)
    assert made.uploaded >= 1_000_000
    assert again(store).get(made.digest) == content(1, 1_000_000) + more
    assert again(store).put(content(1, 1_000_000) + more, name).uploaded == 0
    if not more:
        assert clean(store) >= 1, "a clean-up goes on once the content was stored anew"
        assert len(ids(store, digest)) == 1
        assert again(store).get("n") == content(1, 1_000_000)


def test_an_earlier_holder_is_enough_where_the_packs_of_the_current_one_are_condemned():
    store = new_store()
    digest = store.put(content(1), "n").digest
    first = ids(store, digest)[0][0]
    tell(store, {"fact": "damaged", "digest": digest, "manifest": first})
    again(store).put(content(1), "n")
    robbed(again(store), digest, delete=False)
    assert again(store).put(content(1), "n").uploaded > 0, "the first is marked, the second is robbed"
    assert clean(store) >= 1
    assert again(store).get("n") == content(1)


def test_a_clean_up_keeps_an_earlier_holder_where_the_packs_of_the_current_one_are_condemned():
    store = new_store()
    digest = store.put(content(1), "n").digest
    backend = connect(store.url)
    ((first, packs),) = ids(store, digest)
    row, second = state_of(store).manifests[first], "a" * 32
    backend.write(manifest_key(second), backend.read(manifest_key(first)))
    fact = {"digest": digest, "manifest": second, "manifest_digest": row[1], "size": 100_000, "files": 1}
    tell(again(store), {"fact": "stored", **fact, "packs": [*packs, "c" * 32]})
    tell(again(store), {"fact": "condemned", "manifests": [], "packs": ["c" * 32]})
    assert again(store).put(content(1), "n").uploaded == 0
    clean(store)
    assert ids(store, digest) == [(first, packs)]
    assert again(store).get("n") == content(1)


@pytest.mark.parametrize("deleted", [False, True])
def test_a_repair_moves_what_is_condemned_by_mistake_or_marks_it(*, deleted: bool):
    store = new_store()
    digest = store.put(content(1), "n").digest
    copy = copied(store)
    robbed(store, digest, delete=deleted)
    done = again(store).maintenance.repair()
    assert bool(done.lost) is deleted
    if deleted:
        assert again(store).maintenance.repair(copy).lost == []
    assert again(store).get("n") == content(1)
    assert clean(store) >= 1
    assert again(store).get("n") == content(1)
    assert again(store).put(content(1), "n").uploaded == 0


def test_a_put_that_is_robbed_between_its_look_and_its_entry_stores_again(monkeypatch: pytest.MonkeyPatch):
    from artifactstore.journal.append import Appender

    store = new_store()
    digest = store.put(content(1), "n").digest
    writer, real, done = again(store), Appender.commit, list[int]()

    def commit(self, facts, **options):
        if not done and any(fact["fact"] == "versioned" for fact in facts):
            done.append(1)
            robbed(again(store), digest, delete=True)
        return real(self, facts, **options)

    monkeypatch.setattr(Appender, "commit", commit)
    assert writer.put(content(1), "m").digest == digest
    assert done
    assert again(store).get("m") == content(1)
