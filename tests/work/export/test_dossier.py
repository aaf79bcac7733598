"""Dossiers: what common tools say of them, what is in them, and that none is half there."""

import json
import random
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import blake3
import pytest

import artifactstore
from artifactstore import AlreadyExistsError, BackendError, CorruptionError, InvalidInputError, RefusedError, Store
from artifactstore.catalog.fold.state import State
from artifactstore.content.read.stream import stream
from artifactstore.work.export.files import ZipWriter
from tests.maintenance.facts import tell
from tests.work.export.conftest import SECRET, make

OTHERS = {
    "README.txt", "SHA256SUMS", "anchor.json", "approvals.json", "bom.cdx.json", "facts.jsonl", "lineage.svg",
    "ro-crate-metadata.json", "ro-crate-preview.html", "verdicts.json",
}  # fmt: skip
VERDICT = {
    "ok": True, "ref": "churn/model:v1", "alias": "production", "at": 18, "gates": [],
    "conditions": [{"ok": True, "gate": 0, "rule": {"metric": "auc", "is": ">= 0.9"}, "judged": "facts", "value": 0.91,
                    "limit": ">= 0.9", "text": "auc is 0.91, asked is >= 0.9 <script>"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dossiers")


@pytest.fixture(scope="module")
def store(top: Path) -> Store:
    """The store of all exports, with a judged past."""
    make(top, top / "store")
    found = artifactstore.open(top / "store", cache=None)
    model = found.artifact("churn/model").digest
    found.put(b"newer", "churn/model", kind="model", reason="retrained")
    found.alias("churn/model:v2", "production", reason="retrained")
    tell(found, {"fact": "approved", "digest": model, "verdict": "approved", "role": "qa"}, reason="looks <good>")
    tell(found, {"fact": "aliased", "name": "churn/model", "version": 1, "alias": "production", "verdict": VERDICT})
    reasons = ["auc is 0.91, asked is >= 0.99"]
    refused = {"fact": "refused", "action": "promote", "name": "churn/model", "version": 1, "alias": "gold", "reasons": reasons}
    tell(found, {**refused, "verdict": {**VERDICT, "ok": False}})
    with pytest.MonkeyPatch.context() as patch:  # of a writer that goes around the rules
        patch.setattr(State, "predict", lambda _, txns, *__: [None] * len(txns))
        tell(found, {"fact": "aliased", "name": "churn/model", "version": 1, "alias": "staging", "expect": 7})
    found.registry.taint("churn/raw", "labels are wrong")
    found.put(b"unrelated", "other/thing")
    return artifactstore.open(top / "store", "r", cache=None)


@pytest.fixture(scope="module")
def folder(store: Store, top: Path) -> Path:
    """A dossier, unpacked as a user would."""
    made = store.lineage("churn/model:v1").export("dossier", top / "model.zip")
    assert made == top / "model.zip"
    subprocess.run(["unzip", "-q", str(made), "-d", str(top / "model")], check=True)
    return top / "model"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "facts.jsonl").read_text().splitlines()]


def parsed(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_common_tools_unpack_and_check_it(folder: Path):
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    named = {line.partition("  ")[2] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert named == there - {"SHA256SUMS"}
    assert {one for one in there if "/" not in one} == OTHERS
    assert (folder / "files/churn~model~v1/link").readlink() == Path("config.json")
    assert (folder / "files/churn~model~v1/start.sh").stat().st_mode & stat.S_IXUSR


def test_one_changed_byte_is_found(folder: Path, tmp_path: Path):
    for name in ("files/churn~raw~v1/data", "facts.jsonl", "verdicts.json"):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(folder, copy, symlinks=True)
        raw = bytearray((copy / name).read_bytes())
        raw[0] ^= 1
        (copy / name).write_bytes(raw)
        done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=copy, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, f"{name}: FAILED\n")


def test_the_files_of_it_and_its_ancestors_are_there_byte_for_byte_and_nothing_else(store: Store, folder: Path):
    assert (folder / "files/churn~raw~v1/data").read_bytes() == b"raw"
    assert (folder / "files/churn~model~v1/weights ä.bin").read_bytes() == b"w" * 100
    names = {path.name for path in (folder / "files").iterdir()}
    assert {one for one in names if one.startswith("churn")} == {"churn~raw~v1", "churn~features~v1", "churn~model~v1"}
    digests = {node.id.replace(":", "-") for node in store.lineage("churn/model:v1").upstream().artifacts}
    environments = {path.name for path in (folder / "environment").iterdir() if path.is_dir()}
    assert {one for one in names if one.startswith("blake3")} | environments <= digests
    assert environments
    (requirements,) = (folder / "environment").glob("*.requirements.txt")
    assert "numpy==" in requirements.read_text()


def test_listings_give_the_digests_that_the_journal_has(store: Store, folder: Path):
    for name in ("raw", "features", "model"):
        raw = (folder / f"listings/churn~{name}~v1.txt").read_bytes()
        assert store.artifact(f"churn/{name}:v1").digest == f"blake3:{blake3.blake3(raw).hexdigest()}"
        plain = [line.split("  ", 1) for line in raw.decode().splitlines() if not line.startswith("#")]
        for digest, path in plain:
            assert blake3.blake3((folder / f"files/churn~{name}~v1/{path}").read_bytes()).hexdigest() == digest


def test_every_fact_about_them_is_told_with_its_outcome_and_no_other(store: Store, folder: Path):
    found = lines(folder)
    told = [(one["entry"], json.dumps(one["fields"], sort_keys=True)) for one in found]
    digests = {store.artifact(f"churn/{name}:v1").digest for name in ("raw", "features", "model")}
    for event in store.log():
        about = event.digest in digests or (event.name in {"churn/model", "churn/raw"} and event.alias is not None)
        if about:
            assert (event.seq, json.dumps(event.fields, sort_keys=True)) in told, event
    assert [one["entry"] for one in found] == sorted(one["entry"] for one in found)
    put = {(one["name"], one["version"]) for one in found if one["fact"] == "versioned" and one["name"] is not None}
    assert put == {("churn/raw", 1), ("churn/features", 1), ("churn/model", 1)}
    assert "other/thing" not in (folder / "facts.jsonl").read_text()
    approved = next(one for one in found if one["fact"] == "approved")
    assert {key: approved[key] for key in ("reason", "outcome", "identity")} == {
        "reason": "looks <good>", "outcome": "committed", "identity": "os"
    }  # fmt: skip
    taint = next(one for one in found if one["fact"] == "tainted")
    assert (taint["reason"], taint["actor"], taint["time"][-1]) == ("labels are wrong", approved["actor"], "Z")
    void = next(one for one in found if one["alias"] == "staging")
    assert void["outcome"].startswith("void: ")
    assert {one["fields"]["run"] for one in found if one["fact"] == "started"} == {
        run.id for run in store.runs() if run.name in {"prepare äö", "train"}
    }


def test_approvals_and_verdicts_are_those_of_the_facts(folder: Path):
    (approval,) = parsed(folder, "approvals.json")
    assert {key: approval[key] for key in ("ref", "verdict", "meaning", "role", "status", "reason", "name")} == {
        "ref": "churn/model:v1", "verdict": "approved", "meaning": "approval", "role": "qa", "status": "by an author",
        "reason": "looks <good>", "name": approval["actor"],
    }  # fmt: skip
    promoted, refused = parsed(folder, "verdicts.json")
    assert (promoted["fact"], promoted["outcome"], promoted["verdict"]) == ("aliased", "committed", VERDICT)
    assert (refused["fact"], refused["alias"], refused["verdict"]["ok"]) == ("refused", "gold", False)


def test_the_anchor_is_the_head_and_verify_takes_it(store: Store, folder: Path):
    anchor = parsed(folder, "anchor.json")
    assert anchor["text"] == f"{anchor['seq']}:{anchor['entry']}" == store.head
    assert anchor["store"] == store._session.core().config.store
    assert store.verify(anchor=anchor["text"]).ok


def test_the_bill_of_materials_has_the_sha256_of_every_file(folder: Path):
    found = parsed(folder, "bom.cdx.json")
    raw = next(one for one in found["components"] if one["name"] == "churn/raw")
    assert {"alg": "SHA-256", "content": sha256(b"raw").hexdigest()} in raw["hashes"]


def test_the_crate_names_every_file(folder: Path):
    graph = {one["@id"]: one for one in parsed(folder, "ro-crate-metadata.json")["@graph"]}
    files = {unquote(key) for key, one in graph.items() if "File" in one["@type"] and "#" not in key}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    assert files == there - {"ro-crate-metadata.json", "ro-crate-preview.html"}


class _Page(HTMLParser):
    """The links and the text of a page, and what it would fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key == "href":
                self.links.append(value or "")
            if key in {"src", "srcset", "data"} or tag in {"script", "link", "iframe", "object"}:
                self.fetched.append(f"{tag} {value}")

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_the_page_says_what_who_when_why_and_needs_nothing_from_elsewhere(folder: Path):
    raw = (folder / "ro-crate-preview.html").read_text()
    page = _Page()
    page.feed(raw)
    assert page.fetched == []
    assert "@import" not in raw
    assert "url(" not in raw
    assert "<script" not in raw
    assert all((folder / unquote(one)).exists() for one in page.links)
    assert len(page.links) > 10
    for said in (
        "churn/model:v1", "production", "looks <good>", "qa", "approval", "auc is 0.91, asked is >= 0.9 <script>", "labels are wrong",
        "refused: auc is 0.91, asked is >= 0.99", "void: ", "prepare äö", "marked as not to be used", "retrained", "größer <b>",
    ):  # fmt: skip
        assert said in page.text, said
    assert "<svg" in raw
    assert (folder / "lineage.svg").read_text() in raw


def test_two_dossiers_are_equal_byte_for_byte(store: Store, top: Path, tmp_path: Path):
    first = store.lineage("churn/model:v1").export("dossier", tmp_path / "1.zip")
    again = (
        artifactstore.open(store.url, "r", cache=tmp_path / "cache")
        .lineage("churn/model:v1")
        .export("dossier", tmp_path / "2.zip")
    )
    with store._session.state() as state:
        past = store.at(state.head).lineage("churn/model:v1").export("dossier", tmp_path / "3.zip")
    assert first.read_bytes() == again.read_bytes() == past.read_bytes()
    with zipfile.ZipFile(first) as packed:
        assert {one.date_time for one in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert len(packed.namelist()) == len(set(packed.namelist()))
        assert SECRET.encode() not in b"".join(packed.read(name) for name in packed.namelist())
    bundles = [store.lineage("churn/raw:v1").export("dossier", tmp_path / f"{i}b.zip", bundle=True) for i in range(2)]
    assert bundles[0].read_bytes() == bundles[1].read_bytes()


def test_of_the_past_it_says_what_was_known_then(store: Store, tmp_path: Path):
    with store._session.state() as state:
        before = state.aliases["churn/model"]["production"][1]["seq"] - 1
    made = store.at(before).lineage("churn/model:v1").export("dossier", tmp_path / "then.zip")
    with zipfile.ZipFile(made) as packed:
        assert json.loads(packed.read("anchor.json"))["seq"] == before
        assert json.loads(packed.read("approvals.json")) == []
        assert b"labels are wrong" not in packed.read("facts.jsonl")


def test_the_bundle_in_it_is_the_store(store: Store, tmp_path: Path):
    made = store.lineage("churn/raw:v1").export("dossier", tmp_path / "raw.zip", bundle=True)
    with zipfile.ZipFile(made) as packed:
        packed.extract("store.zip", tmp_path)
    inner = artifactstore.open(f"zip://{tmp_path / 'store.zip'}", "r", cache=None)
    assert inner.head == store.head
    with pytest.warns(UserWarning, match="labels are wrong"):
        assert inner.get("churn/raw:v1") == b"raw"
    other = artifactstore.create(tmp_path / "other", cache=None)
    other.maintenance.import_from(tmp_path / "store.zip", names=["churn/raw"])
    assert other.registry.untaint("churn/raw:v1", "a copy")[:] == []
    assert other.get("churn/raw:v1") == b"raw"
    with pytest.raises(InvalidInputError, match=r"import the store\.zip in it"):
        other.maintenance.import_from(made)
    with pytest.raises(InvalidInputError, match="view of the past"):
        store.at(3).lineage("churn/raw:v1").export("dossier", tmp_path / "past.zip", bundle=True)
    assert not (tmp_path / "past.zip").exists()


@pytest.mark.parametrize("name", ["train", "evaluate", "endless"])
def test_a_run_has_one_too(store: Store, tmp_path: Path, name: str):
    (run,) = store.runs(name)
    made = store.lineage(run.id).export("dossier", tmp_path / "run.zip")
    with zipfile.ZipFile(made) as packed:
        assert set(packed.namelist()) >= OTHERS
        assert f"Dossier of {name}" in packed.read("ro-crate-preview.html").decode()


def test_what_cant_be_a_dossier_is_refused(store: Store, tmp_path: Path):
    lineage = store.lineage("churn/raw:v1")
    for options, said in (
        ({}, "zip file"),
        ({"to": tmp_path / "folder"}, "zip file"),
        ({"to": tmp_path / "x.zip", "files": "inside"}, "dossier has no option 'files': expected one of keys, bundle, license"),
        ({"to": tmp_path / "x.zip", "bundle": "yes"}, "expected a bool"),
        ({"to": Path(store.url) / "x.zip"}, "is inside the store"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            lineage.export("dossier", **options)
    (tmp_path / "x.zip").touch()
    for bundle in (False, True):
        with pytest.raises(AlreadyExistsError, match="exists already"):
            lineage.export("dossier", tmp_path / "x.zip", bundle=bundle)
    assert [one.name for one in tmp_path.iterdir()] == ["x.zip"]


@pytest.fixture
def small(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


def test_damage_and_a_full_disk_leave_nothing(small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    small.put(random.Random(0).randbytes(400_000), "big", kind="model")
    pack = max((tmp_path / "store/packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    good = pack.read_bytes()
    pack.chmod(0o644)
    pack.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    lineage = artifactstore.open(small.url, "r", cache=None).lineage("big")
    with pytest.raises(CorruptionError):
        lineage.export("dossier", tmp_path / "x.zip")
    pack.write_bytes(good)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BackendError, match="No space left"):
        lineage.export("dossier", tmp_path / "x.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["store"]


def test_a_sha256_that_the_file_does_not_have_is_damage(small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from artifactstore.work.put import put

    monkeypatch.setattr(put, "plain_line", lambda _, path: f"{'0' * 64}  {path}\n")  # a writer that records a wrong one
    small.put(b"model", "model", kind="model")
    with pytest.raises(CorruptionError, match=r"model:v1/.* was recorded with it"):
        small.lineage("model").export("dossier", tmp_path / "x.zip")
    assert [one.name for one in tmp_path.iterdir()] == ["store"]


def test_what_was_removed_has_no_files_and_a_store_with_sha256_is_checked_with_one_tool(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", digest="sha256", cache=None)
    store.put(b"rows", "rows")
    with store.run("train", code=False) as run:
        run.get("rows")
        run.put(b"model", "model")
    tell(store, {"fact": "removed", "name": "rows", "version": 1}, reason="consent was withdrawn")
    made = store.lineage("model").export("dossier", tmp_path / "x.zip")
    with zipfile.ZipFile(made) as packed:
        assert not [name for name in packed.namelist() if name.startswith("files/rows")]
        listing = packed.read("listings/model~v1.txt")
        assert store.artifact("model").digest == f"sha256:{sha256(listing).hexdigest()}"
        assert b"sha256sum listings/" in packed.read("README.txt")
        assert b"consent was withdrawn" in packed.read("ro-crate-preview.html")


def test_names_that_look_like_markup_stay_text(tmp_path: Path):
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.run("<img src=x onerror=alert(1)>", code=False, params={"<b>": "</pre><script>x</script>"}) as run:
        run.put(b"x", "m", metadata={"<i>": "\x1b[31m", "description": "a\u202eb"}, reason="<u>why</u>")
    made = store.lineage("m").export("dossier", tmp_path / "x.zip")
    with zipfile.ZipFile(made) as packed:
        page = packed.read("ro-crate-preview.html").decode()
        for bad in ("<img", "<script", "<u>", "<i>", "\x1b", "\u202e"):
            assert bad not in page, bad


def test_a_file_that_failed_half_way_is_written_anew_in_its_room(tmp_path: Path):
    def pieces(*, fail: bool) -> Iterator[list[bytes]]:
        yield [b"first", b"second" * 1000]
        if fail:
            raise CorruptionError("moved meanwhile")
        yield [b"last"]

    for name, fails in (("failed.zip", (True, False)), ("fine.zip", (False,))):
        with (tmp_path / name).open("wb") as file, ZipWriter(file) as archive:
            archive.add("a/b.txt", b"before")
            for fail in fails:
                try:
                    archive._add("a/c.bin", 5 + 6000 + 4, pieces(fail=fail))
                except CorruptionError:
                    assert "a/c.bin" not in archive.sums
            archive.add("d.txt", b"after")
    assert (tmp_path / "failed.zip").read_bytes() == (tmp_path / "fine.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "failed.zip") as packed:
        assert packed.testzip() is None
        assert packed.read("a/c.bin") == b"first" + b"second" * 1000 + b"last"


def test_an_artifact_whose_first_manifest_fails_is_read_by_another(small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("a", "b", "c"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(name.encode() * 10)
    small.put(tmp_path / "data", "data")
    session = small._session
    whole = session.with_manifest

    def twice(digest: str, use: Any, **options: Any) -> Any:
        def first(manifest: Any) -> Any:
            broken = lambda *args: (one for i, one in enumerate(stream(*args)) if i < 2 or _fail())  # noqa: E731
            with monkeypatch.context() as patch:
                patch.setattr("artifactstore.work.export.files.stream", broken)
                with pytest.raises(CorruptionError):
                    use(manifest)
            return use(manifest)

        return whole(
            digest, first if "_add_manifest" in getattr(getattr(use, "__code__", None), "co_names", ()) else use, **options
        )

    def _fail() -> bool:
        raise CorruptionError("a pack is gone")

    expected = small.lineage("data").export("dossier", tmp_path / "1.zip").read_bytes()
    monkeypatch.setattr(session, "with_manifest", twice)
    assert small.lineage("data").export("dossier", tmp_path / "2.zip").read_bytes() == expected


def test_signed_approvals_are_judged_by_the_keys_of_the_caller(small: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cryptography")
    from tests.signing.private_keys import private, public_pem, write

    write(tmp_path / "qa.pem", "Ed25519")
    public = public_pem(private("Ed25519"))
    small.put(b"model", "model", kind="model")
    small.put(b"other", "unapproved")
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "quinn")
    other = artifactstore.open(small.url, cache=None)
    signer = artifactstore.signing.KeyFile(tmp_path / "qa.pem", name="Quinn Quality")
    other.registry.approve("model", reason="validated", role="qa", signer=signer)
    found = {}
    for number, keys in enumerate((None, {"quinn": {"key": public, "roles": ["qa"]}}, {"x": {"key": public, "roles": ["dev"]}})):
        made = other.lineage("model").export("dossier", tmp_path / f"{number}.zip", keys=keys)
        with zipfile.ZipFile(made) as packed:
            (approval,) = json.loads(packed.read("approvals.json"))
            page = packed.read("ro-crate-preview.html").decode()
        assert approval["name"] == "Quinn Quality"
        assert approval["signature"]["payloadType"] == "application/vnd.artifactstore.approval+json"
        for said in ("Quinn Quality", "approval", approval["time"][:19].replace("T", " "), approval["status"]):
            assert said in page, said
        found[number] = approval["status"]
    assert (found[0], found[1]) == ("claimed", "valid")
    assert found[2] not in {"claimed", "valid"}
    for ref in ("model", "unapproved"):
        with pytest.raises(InvalidInputError):
            other.lineage(ref).export("dossier", tmp_path / "bad.zip", keys={"x": 5})
    assert not (tmp_path / "bad.zip").exists()


def test_signed_files_come_with_their_bundle_and_who_signed_them(small: Store, tmp_path: Path):
    pytest.importorskip("cryptography")
    from tests.signing.private_keys import write

    small.put(b"model", "team/model", kind="model")
    signer = artifactstore.signing.KeyFile(write(tmp_path / "release.pem", "ECDSA P-256"), name="Rita <Release>")
    made = small.registry.sign("team/model", reason="release 7", signer=signer)
    with zipfile.ZipFile(small.lineage("team/model").export("dossier", tmp_path / "x.zip")) as packed:
        (name,) = [one for one in packed.namelist() if one.startswith("signatures/") and not one.endswith("/")]
        assert re.fullmatch(r"signatures/team~model~v1\.\d+\.sig", name)
        assert packed.read(name) == made.bundle
        assert f"  {name}\n" in packed.read("SHA256SUMS").decode()
        page = packed.read("ro-crate-preview.html").decode()
        for said in ("Rita &lt;Release&gt;", "release 7", "signature of the files", made.time.strftime("%Y-%m-%d %H:%M")):
            assert said in page, said


def test_words_of_a_name_and_measures_on_data_are_shown(small: Store, tmp_path: Path):
    small.put(b"rows", "rows", kind="dataset")
    small.put(b"model", "model", kind="model")
    small.registry.describe("model", {"owner": "Olga", "description": "of the name"}, of="name")
    small.registry.describe("model:v1", {"description": "of the version"})
    small.registry.measure("model", {"auc": 0.91}, on="rows")
    with zipfile.ZipFile(small.lineage("model").export("dossier", tmp_path / "x.zip")) as packed:
        page = packed.read("ro-crate-preview.html").decode()
        assert "0.91, measured on rows:v1" in page
        assert "Olga" in page
        model = json.loads(packed.read("bom.cdx.json"))["metadata"]["component"]
        assert model["description"] == "of the version"
        assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
            {"type": "auc", "value": "0.91", "slice": "rows:v1"}
        ]
        told = [json.loads(line) for line in packed.read("facts.jsonl").splitlines()]
        assert [one["fields"]["metadata"] for one in told if one["fact"] == "described"] == [
            {"owner": "Olga", "description": "of the name"}, {"description": "of the version"}
        ]  # fmt: skip
    with zipfile.ZipFile(small.lineage("rows").export("dossier", tmp_path / "rows.zip")) as packed:
        told = [json.loads(line) for line in packed.read("facts.jsonl").splitlines()]
        assert [one["fields"]["metrics"] for one in told if one["fact"] == "measured"] == [{"auc": 0.91}]


def test_a_promotion_by_a_gate_is_told_with_its_verdict(small: Store, tmp_path: Path):
    small.put(b"model", "model", kind="model", metrics={"auc": 0.95})
    rules = {"names": "mod*", "alias": "production", "all": [{"metric": "auc", "is": ">= 0.9"}]}
    small.registry.gates(rules, reason="policy 7")
    small.promote("model", "production", reason="the best so far")
    small.put(b"worse", "model", kind="model", metrics={"auc": 0.5})
    with pytest.raises(RefusedError):
        small.promote("model:v2", "production", reason="a try")
    with zipfile.ZipFile(small.lineage("model:v1").export("dossier", tmp_path / "x.zip")) as packed:
        (verdict,) = json.loads(packed.read("verdicts.json"))
        assert (verdict["verdict"]["ok"], verdict["reason"]) == (True, "the best so far")
        kinds = [json.loads(line)["fact"] for line in packed.read("facts.jsonl").splitlines()]
        assert "gated" in kinds
        page = packed.read("ro-crate-preview.html").decode()
        for said in ("policy 7", "the best so far", "auc is 0.95", "&gt;= 0.9"):
            assert said in page, said
    with zipfile.ZipFile(small.lineage("model:v2").export("dossier", tmp_path / "y.zip")) as packed:
        found = json.loads(packed.read("verdicts.json"))
        assert [one["verdict"]["ok"] for one in found if one["version"] == 2] == [False]
        assert "auc is 0.5" in packed.read("ro-crate-preview.html").decode()


@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_in_it(tmp_path: Path):
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells a process's own peak: elsewhere it counts what its parent had when it was forked")
    store = artifactstore.create(tmp_path / "store", cache=None)
    code = (
        "import artifactstore, sys\n"
        "store = artifactstore.open(sys.argv[1], 'r', cache=None)\n"
        "store.lineage(sys.argv[2]).export('dossier', sys.argv[3])\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    peaks = []
    for name, blocks in (("less", 40), ("more", 160)):
        with (tmp_path / name).open("wb") as file:
            for _ in range(blocks):
                file.write(random.randbytes(2**20))
        store.put(tmp_path / name, name)
        command = [sys.executable, "-c", code, store.url, name, str(tmp_path / f"{name}.zip")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024)
        assert (tmp_path / f"{name}.zip").stat().st_size > blocks * 2**20
    assert peaks[1] < peaks[0] + 64 * 2**20, peaks
