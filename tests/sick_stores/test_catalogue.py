"""Each sick store gives its error, with advice, and a repair makes of it what it can: with a healthy copy and without."""

import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import ArtifactStoreError
from artifactstore.journal import append as append_module
from artifactstore.work.repair.repair import repair_url
from tests.maintenance.facts import tell
from tests.sick_stores.cases import CASES, LOST, REFUSED, WHOLE, Case, store_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three versions, packs, inline content and spilled facts, and a copy of it."""
    home = tmp_path_factory.mktemp("sick")
    store = artifactstore.create(home / "store", cache=None)
    noise = random.Random(5)
    store.put(noise.randbytes(100_000), "name")
    store.put(noise.randbytes(100_000), "name")
    store.put(b"small", "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(append_module, "SPILL", 200)
        tell(store, {"fact": "measured", "digest": store.artifact("small").digest, "metrics": {f"m{k}": k for k in range(30)}})
    store.put(b"last", "last")
    store.maintenance.sync(home / "copy")
    return home


@pytest.fixture
def sick(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "store", tmp_path / "store")
    return tmp_path / "store"


def content(root: Path) -> dict[str, Any]:
    store = store_of(root)
    return {row.ref: store.get(row.ref) for name in store.names() for row in store.versions(name.name)}


def test_the_catalogue_has_grown():
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_sick_store_gives_its_error(sick: Path, case: Case):
    case.damage(sick)
    if case.error is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.use(store_of(sick))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(case.error, match=case.text):
            case.use(store_of(sick))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["a copy", "no source"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_repair_makes_of_each(sick: Path, made: Path, case: Case, source: str):
    case.damage(sick)
    expected = case.by_copy if source == "a copy" else case.alone
    given = made / "copy" if source == "a copy" else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if expected == REFUSED:
            with pytest.raises(ArtifactStoreError):
                repair_url(sick, given)
            return
        done = repair_url(sick, given)
        again = repair_url(sick, given)
        assert not again.restored, again
        assert [one.ref for one in again.lost] == [one.ref for one in done.lost]
        if expected == LOST:
            assert done.lost or not done.report.ok or case.name.startswith("a version whose")
            return
        assert expected == WHOLE
        assert not done.lost, done
        assert done.report.ok, str(done.report)
        theirs = content(made / "store")
        found = content(sick)
        assert {ref: found[ref] for ref in theirs if ref in found} == {ref: theirs[ref] for ref in theirs if ref in found}
        assert len(found) >= len(theirs) - (case.name == "no last entry")
        assert store_of(sick).put(b"after the repair", "after").new
