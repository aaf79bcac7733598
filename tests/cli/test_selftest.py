"""The self-test: it passes where all is well, each fault fails a check of its own, and nothing stays behind."""

import json
import os
import re
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.backend.local.backend import LocalBackend
from artifactstore.cli import main
from artifactstore.cli.selftest import installation, known_answers, location
from artifactstore.cli.selftest.report import Check, Report
from artifactstore.work.settings.settings import Location


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["selftest", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def store(tmp_path: Path) -> str:
    made = artifactstore.create(tmp_path / "store", cache=None)
    made.put(b"old", "old")
    made.put(os.urandom(200_000), "newest", reason="x")
    return made.url


def checks_of(url: str) -> dict[str, Check]:
    return {one.id: one for one in location.checks(Location(url, is_default=False), single_writer=False, full=False)}


def everything(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_it_passes_leaves_a_store_as_it_was_and_writes_a_dated_report(store: str, tmp_path: Path, capsys: Any):
    before = everything(store)
    code, out, err = called(capsys, store, "--report", str(tmp_path / "report.json"))
    assert (code, err) == (0, "")
    assert re.search(r"passed: \d+ ok, \d+ skipped; .*store, 20\d\d-", out)
    assert everything(store) == before
    assert not [path for path in Path(store).iterdir() if path.name.startswith(".doctor")]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    assert report["time"].startswith("20")
    assert {"python", "artifactstore", "numpy", "zstandard", "s3fs"} <= set(report["versions"])
    assert "pytest" not in report["versions"]
    ids = [one["id"] for one in report["checks"]]
    assert len(ids) == len(set(ids)) > 60
    assert {one.rpartition("-")[0].split("-")[0] for one in ids} == {"IQ", "OQ"}
    for one in report["checks"]:
        assert one["title"]
        assert one["requirement"].startswith("R")
        assert one["seen"], one
        assert one["expected"] or one["status"] == "skipped", one
    restored = next(one for one in report["checks"] if one["id"] == "OQ-D-05")
    assert (restored["status"], restored["title"].rpartition(": ")[2]) == ("ok", "newest:v1")


def test_a_new_location_is_gone_again_and_the_page_needs_nothing_from_elsewhere(tmp_path: Path, capsys: Any):
    page = tmp_path / "report.html"
    code, out, _ = called(capsys, str(tmp_path / "new"), "--report", str(page))
    assert code == 0
    assert out.endswith(f"{page}\n")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html"]
    text = page.read_text()
    assert "Self-test of artifactstore, 20" in text
    assert "OQ-D-04" in text
    assert not re.search(r"<(script|link|img|iframe)|src=|url\(|@import", text)
    HTMLParser().feed(text)
    for options in ([], ["--json"]):
        assert called(capsys, str(tmp_path / "new"), "--report", str(page), *options)[0] == 7  # evidence is not written over
    assert called(capsys, str(tmp_path / "new"), "--report", str(tmp_path / "x.pdf"))[0] == 2
    assert called(capsys, str(tmp_path / "new"), "--report", str(tmp_path / "none/x.html"))[0] == 2


def test_a_failed_check_ends_with_1_and_is_named(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_answers, "decode", lambda *_: b"wrong")
    code, out, _ = called(capsys, str(tmp_path / "new"), "--json")
    report = json.loads(out)
    assert (code, report["ok"]) == (1, False)
    assert {one["id"] for one in report["checks"] if one["status"] == "fail"} == {f"OQ-A-{number:02}" for number in range(7, 14)}
    code, out, _ = called(capsys, str(tmp_path / "new"))
    assert code == 1
    assert "fail: OQ-A-07 the codec raw decodes: expected " in out
    assert "FAILED: " in out


def test_wrong_digests_and_a_changed_store_are_found(monkeypatch: pytest.MonkeyPatch):
    assert {one.status for one in known_answers.checks()} == {"ok", "skipped"}
    monkeypatch.setattr(known_answers, "hash_bytes", lambda *_: b"0" * 32)
    monkeypatch.setattr(known_answers, "_HEAD", "7:blake3:00")
    failed = {one.id for one in known_answers.checks() if one.status == "fail"}
    assert failed == {*(f"OQ-A-{number:02}" for number in range(1, 7)), "OQ-A-22"}


def test_each_broken_promise_of_a_backend_fails_the_check_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run() -> set[str]:
        return {one.id for one in location._contract(LocalBackend(str(tmp_path / "b")), ".doctor-x") if one.status == "fail"}

    assert run() == set()
    broken: list[tuple[str, Any, set[str]]] = [
        ("create", lambda self, key, data: self.write(key, data), {"OQ-C-05", "OQ-C-06"}),
        ("list", lambda _, prefix: iter(()), {"OQ-C-08", "OQ-C-09"}),
        ("delete", lambda _, key: None, {"OQ-C-09", "OQ-C-10"}),
        ("read_ranges", lambda _, key, ranges: [b"x"] * len(ranges), {"OQ-C-01", "OQ-C-07"}),
    ]
    for verb, fault, expected in broken:
        folder = tmp_path / verb
        monkeypatch.setattr(LocalBackend, verb, fault)
        found = {one.id for one in location._contract(LocalBackend(str(folder)), ".doctor-x") if one.status == "fail"}
        monkeypatch.undo()
        assert found == expected, verb


def test_damage_of_an_existing_artifact_fails_the_drill(store: str):
    assert checks_of(store)["OQ-D-05"].status == "ok"
    pack = max(Path(store, "packs").rglob("*.pack"), key=lambda path: path.stat().st_size)
    raw = bytearray(pack.read_bytes())
    raw[1000] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(raw)
    found = checks_of(store)
    assert (found["OQ-D-05"].status, found["OQ-D-04"].status) == ("fail", "ok")
    assert "CorruptionError" in found["OQ-D-05"].seen


def test_a_verify_that_finds_nothing_fails_the_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = artifactstore.Store.verify
    monkeypatch.setattr(artifactstore.Store, "verify", lambda self, *given, **_: real(self, *given, level="quick"))
    found = checks_of(str(tmp_path / "new"))
    assert found["OQ-D-04"].status == "fail"
    assert found["OQ-D-04"].seen.startswith("not found")


def test_where_nothing_can_be_written_the_rest_is_tested(store: str, tmp_path: Path):
    artifactstore.open(store, cache=None).maintenance.bundle(tmp_path / "store.zip")
    found = checks_of(f"zip://{tmp_path / 'store.zip'}")
    assert {found[one].status for one in ("OQ-C-01", "OQ-D-01")} == {"skipped"}
    assert found["OQ-D-05"].status == "ok"
    assert not [one for one in found.values() if one.status == "fail"]


def test_installed_files_are_compared_with_their_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import hashlib
    from base64 import urlsafe_b64encode

    info = tmp_path / "artifactstore_ml-0.1.0.dist-info"
    info.mkdir()
    (tmp_path / "artifactstore").mkdir()
    (tmp_path / "artifactstore/x.py").write_bytes(b"x = 1\n")
    digest = urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: artifactstore-ml\nVersion: 0.1.0\nRequires-Dist: numpy\n")
    (info / "RECORD").write_text(f"artifactstore/x.py,sha256={digest},6\nartifactstore_ml-0.1.0.dist-info/RECORD,,\n")
    monkeypatch.setattr(metadata, "distribution", lambda _: metadata.PathDistribution(info))
    assert {one.id: one.status for one in installation.checks()} == {f"IQ-0{number}": "ok" for number in range(1, 5)}
    (tmp_path / "artifactstore/x.py").write_bytes(b"x = 2\n")
    found = {one.id: one for one in installation.checks()}
    assert (found["IQ-03"].status, found["IQ-03"].seen) == ("fail", "artifactstore/x.py")


def test_the_report_is_what_was_seen():
    report = Report("file:///x", "2026-05-03T12:00:00.000000Z", "host", "ann (os)", {"python": "3"}, [
        Check("IQ-01", "a <b>", "R1", "1", "2 <script>", "fail"), Check("OQ-C-01", "c", "R1", "", "why", "skipped"),
    ])  # fmt: skip
    assert not report.ok
    assert "fail: IQ-01 a <b>: expected 1, got 2 <script>" in str(report)
    assert "<script>" not in report.page()
    assert "2 &lt;script&gt;" in report.page()
    assert report.to_json()["checks"][0]["seen"] == "2 <script>"
