"""Stores made by released versions: read, digest for digest, for ever."""

import json
import shutil
from pathlib import Path

import pytest

import artifactstore
from artifactstore.model.digest import Digest
from tests.golden.make import fill, step
from tests.work.tree import tree

HERE = Path(__file__).parent
CASES = [(made, algorithm) for made in sorted(HERE.glob("v*")) for algorithm in ("blake3", "sha256")]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0].name}-{case[1]}")
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    made, algorithm = request.param
    shutil.copytree(made / algorithm, tmp_path / "golden")
    return tmp_path / "golden", json.loads((made / "digests.json").read_text())[algorithm]


def test_there_is_a_golden_store():
    assert CASES


def test_every_reference_still_has_its_digest(golden):
    root, digests = golden
    store = artifactstore.open(root, "r")
    for ref, digest in digests.items():
        assert store.artifact(ref).digest == digest


def test_this_version_gives_the_same_content_the_same_digests(golden, tmp_path: Path):
    _, digests = golden
    algorithm = next(iter(digests.values())).partition(":")[0]
    made = fill(artifactstore.create(tmp_path / "new", digest=algorithm), tmp_path / "work")
    assert made == digests


def test_a_golden_store_verifies_and_comes_back(golden, tmp_path: Path):
    root, _ = golden
    store = artifactstore.open(root)
    report = store.verify(level="full")
    assert report.ok, report.findings
    assert store.get("data") == b"bytes"
    assert store.get("json") == {"b": [1, 2.5, None], "a": "ä"}
    assert store.get("text") == "text\n"
    back = store.get("folder:v1", tmp_path / "back")
    assert (back / "a.txt").read_bytes() == b"golden\n" * 50
    assert len(tree(back)) == 10
    assert store.get("folder:good/a.txt").read_bytes() == b"edited\n"
    assert [event.reason for event in store.log(alias="good")] == ["checked", None]
    assert {event.actor for event in store.log()} == {"golden"}


def test_a_golden_store_that_took_another_in_reads_as_it_did(tmp_path: Path):
    shutil.copytree(HERE / "imported-v0.1.0" / "here", tmp_path / "golden")
    store = artifactstore.open(tmp_path / "golden", cache=None)
    assert store.verify(level="full").findings == []
    assert [(one.name, one.versions, dict(one.aliases)) for one in store.names()] == [
        ("n", 2, {"best": 2}),
        ("taken", 1, {}),
        ("taken.from-there", 1, {}),
    ]
    one, two = store.versions("n")
    assert (one.reason, dict(one.metrics), store.get("n:v1")) == ("first", {"m": 1.5}, b"one")
    assert [(found.origin or "").partition(":")[2] for found in (one, two)] == ["1", "2"]
    assert [event.reason for event in store.log(alias="best")] == ["checked"]
    assert {event.reason for event in store.log(fact="received")} == {"delivery"}
    assert store.put(b"more", "n").version == 3


def test_a_golden_store_with_deltas_reads_as_it_did(tmp_path: Path):
    shutil.copytree(HERE / "deltas-v0.1.0", tmp_path / "golden")
    store = artifactstore.open(tmp_path / "golden", cache=None)
    assert store.verify(level="full").findings == store.verify(level="frames").findings == []
    for width, codec in ((2, 4), (4, 5), (8, 6)):
        session = store._session
        found = session.with_manifest(session.resolve(f"w{width}:v2").digest, lambda manifest: manifest)
        assert set(found.chunks.codecs) == {codec}
        for version in (1, 2):
            assert store.get(f"w{width}:v{version}") == step(width, version)


def test_a_golden_store_with_a_snapshot_reads_as_it_did(tmp_path: Path):
    shutil.copytree(HERE / "snapshot-v0.1.0", tmp_path / "golden")
    store = artifactstore.open(tmp_path / "golden", cache=None)
    assert store.verify(level="full").findings == []
    (event,) = store.log(fact="snapshot")
    assert event.digest == str(Digest.of(next((tmp_path / "golden/segments/folds").iterdir()).read_bytes()))
    opened = []
    with pytest.MonkeyPatch.context() as patch:  # whatever an entry costs, and whatever layout this version has
        patch.setattr("artifactstore.journal.snapshots._ENTRY", 2**40)
        patch.setattr("artifactstore.catalog.fold.state.State.LAYOUT", event.fields["layout"])
        patch.setattr("artifactstore.maintenance.snapshot.open_snapshot", lambda _place, _digest, one: opened.append(one))
        other = artifactstore.open(tmp_path / "golden", cache=None)
        assert [(one.name, one.versions, dict(one.aliases)) for one in other.names()] == [("n", 2, {"best": 1})]
    assert [(one.seq, one.digest) for one in opened] == [(event.fields["seq"], event.digest)]
    assert store.get("n:best") == b"one"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_golden_store_with_lineage_reads_as_it_did(tmp_path: Path):
    shutil.copytree(HERE / "lineage-v0.1.0", tmp_path / "golden")
    store = artifactstore.open(tmp_path / "golden", cache=None)
    assert store.verify(level="full").findings == []
    told = {one.name: one for one in store.runs()}
    assert {name: one.status for name, one in told.items() if name != "endless"} == {
        "prepare": "finished",
        "train": "finished",
        "inner": "finished",
        "failing": "failed",
    }
    assert (told["train"].id, told["train"].metrics, told["inner"].parent) == ("nightly", {"loss": 0.5}, "nightly")
    assert told["prepare"].params == {"scale": 2, "odd": {"repr": "<class 'object'>"}}
    assert told["prepare"].command == ("python", "train.py", "--depth", "8")
    assert told["prepare"].around == ({"path": "data.csv", "size": 4, "stored": True},)
    assert told["failing"].error == "ValueError: on purpose"
    lines = [line.lstrip(" │├└─").split("  (")[0] for line in str(store.lineage("model:production").upstream()).splitlines()]
    assert [line.split(" ")[0] for line in lines if "[data]" in line or "[model]" in line] == [
        "model:v1",
        "features:v1",
        "raw:v1",
        "raw:v1",  # which a run made of itself
    ]
    assert any("[data] TAINTED" in line for line in lines)
    assert "[no-op]" in str(store.lineage("raw:v1").downstream())
    code = store.lineage("model").code
    assert code is not None
    assert (code.commit, code.tree) == TREES
    back = code.checkout(tmp_path / "back", history=True)
    assert {path.name for path in back.iterdir()} == {".git", "train.py", "run.sh", "new.py", "data.csv"}
    assert (back / "train.py").read_text() == "x = 2\n"
    with pytest.warns(UserWarning, match="model:v1 was made from raw:v1, which is tainted: wrong labels"):
        assert store.get("model:production") == b"weights"
    assert store.artifact("features").version == 1


TREES = (
    "16d70c4a1b555d396f7ebfe2a8e93429ccaa4afd",
    "fb210c5bac49314980466a34a2d337808c270b99",
)  # commit, and git's id of the tree with its changes


def test_a_golden_store_can_be_written_on(golden, tmp_path: Path):
    root, _ = golden
    store = artifactstore.open(root)
    before = tree(root)
    assert store.put(b"more", "data").version == 2
    after = tree(root)
    assert {path: after[path] for path in before} == before
    assert store.verify(level="full").ok


def test_a_golden_store_with_gates_is_judged_as_it_was(tmp_path: Path):
    shutil.copytree(HERE / "gates-v0.1.0", tmp_path / "golden")
    keys = tmp_path / "golden/keys.toml"
    store = artifactstore.open(tmp_path / "golden/store", cache=None)
    assert store.verify(level="full").ok
    (gate,) = store.registry.gates()
    assert (gate.names, gate.alias, gate.version, gate.reason, len(gate.rules["all"])) == ("mod*", "production", 1, "CR-1", 11)
    assert store.artifact("model:production").ref == "model:v1"
    moves = [event for event in store.log(alias="production", fact="aliased") if event.outcome == "committed"]
    assert [event.reason for event in moves] == ["CR-2", "CR-3", "CR-5"]
    assert next(event.fields["reasons"][0] for event in store.log(fact="refused")) == "auc on test is 0.5, asked is >= 0.8"
    assert [(one.name, one.role, one.status) for one in store.registry.approvals("model:v1", keys=keys)] == [
        ("Quinn Q", "qa", "stale")
    ]
    assert [one.status for one in store.registry.approvals("model:v2", keys=keys)] == ["valid", "claimed"]
    assert store.registry.check("model:v2", "production", keys=keys).reasons == ("rosa has rejected it: bias",)
    assert [one.reason for one in store.registry.holds()] == ["audit", "audit"]
    assert store.names()[0].metadata == {"owner": "team"}
    assert [one.version for one in store.versions("sweep/a") if not one.removed] == [3]
    assert store.at(moves[1].seq).artifact("model:production").ref == "model:v2"
    assert store.put({"n": 9}, "sweep/a").version == 4
