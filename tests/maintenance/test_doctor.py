"""The doctor: real places, sick ones, and what it says of each."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.cli import main
from artifactstore.errors import BackendError
from artifactstore.maintenance.doctor.findings import Outcome
from artifactstore.maintenance.doctor.judgements import judge_delete
from artifactstore.work.views.maintenance import examine_url
from tests.servers.place import free_port, running


def test_a_healthy_folder_is_fit_and_left_as_it_was(tmp_path: Path):
    store = artifactstore.open(tmp_path / "store")
    store.put(b"x", "n")
    before = sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file())
    found = store.maintenance.doctor(quick=True)
    assert found.ok, found.checks
    assert found["create-race"].status == "ok"
    assert found["store-unchanged"].status == "ok"
    assert sorted(path for path in (tmp_path / "store").rglob("*") if path.is_file()) == before


def test_an_examination_makes_no_store(tmp_path: Path):
    assert examine_url(tmp_path / "new", quick=True).ok
    assert not (tmp_path / "new" / "store.json").exists()
    artifactstore.open(tmp_path / "new").put(b"x", "n")


def test_a_reader_is_examined_without_writing(tmp_path: Path):
    artifactstore.open(tmp_path / "store").put(b"x", "n")
    found = artifactstore.open(tmp_path / "store", "r").maintenance.doctor(quick=True)
    assert (found.role, found.ok) == ("reader", True)
    assert found["write"].status == "skipped"


@pytest.mark.slow
def test_s3_is_fit(s3_url):
    found = examine_url(s3_url, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]
    assert not list(connect(s3_url).list(""))


@pytest.mark.slow
def test_azure_is_fit(azure_url):
    found = examine_url(azure_url, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["gcs", "sftp"])
def test_other_places_are_fit(place, request):
    url = request.getfixturevalue(f"{place}_url")
    found = examine_url(url, quick=True)
    assert found.ok, [one for one in found.checks if one.status == "fail"]
    assert found["create-race"].status == "ok"
    assert not list(connect(url).list(""))


def test_what_can_only_be_read_is_examined_as_for_a_reader(tmp_path: Path):
    artifactstore.open(tmp_path / "store").put(b"x", "n")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "store")
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with running(command, port, tmp_path / "log"):
        for url in (f"zip://{tmp_path}/packed.zip", f"http://127.0.0.1:{port}/store"):
            found = examine_url(url, quick=True)
            assert (found.role, found.ok) == ("reader", True), found.checks
            assert found["store"].status == "ok"
            assert found["write"].status == "skipped"
            assert found["list"].status == ("ok" if url.startswith("zip:") else "skipped")


def test_a_web_server_that_is_not_there_does_not_pass_for_one_that_answers(monkeypatch):
    monkeypatch.setattr("artifactstore.maintenance.doctor.examine.time.sleep", lambda _: None)
    assert examine_url("http://127.0.0.1:9/x", quick=True)["reach"].status == "fail"


def test_a_missing_bucket_is_told_with_the_fix_and_exit_code_4(s3_url, capsys):
    code = main(["doctor", "s3://no-such-bucket-anywhere/x", "--quick", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (code, said["reached"], said["ok"]) == (4, False, False)
    assert "no-such-bucket-anywhere" in said["checks"][0]["happened"]
    assert said["checks"][0]["fix"]


@pytest.mark.slow
def test_a_server_that_ignores_the_condition_is_found(faulty_s3):
    proxy, url = faulty_s3
    proxy.plan = lambda _: "unconditional"
    found = examine_url(url, quick=True)
    assert not found.ok
    assert "fail" in {found["create-existing"].status, found["create-race"].status}
    assert "single_writer=True" in found["create-existing"].fix + found["create-race"].fix


def test_that_a_deleted_object_may_not_be_read_does_not_mean_that_it_still_can():
    denied = Outcome(error=BackendError("it can't be read: AccessDenied; check the credentials"))
    check = judge_delete(Outcome(), denied, Outcome(), "s3://bucket/prefix", None)
    assert (check.name, check.status) == ("delete", "skipped")
    assert "still" not in check.happened
    assert judge_delete(Outcome(), Outcome(b"there"), Outcome(), "s3://bucket/prefix", None).status == "fail"
    broken = Outcome(error=BackendError("the connection broke", transient=True))
    assert "the connection broke" in judge_delete(Outcome(), broken, Outcome(), "s3://bucket/prefix", None).happened


@pytest.mark.parametrize("role", ["reader", "writer", "janitor"])
def test_a_policy_is_printed_ready_to_paste(role, capsys):
    assert main(["doctor", "s3://bucket/prefix", "--policy", role]) == 0
    said = json.loads(capsys.readouterr().out)
    actions = {action for statement in said["Statement"] for action in statement["Action"]}
    assert ("s3:DeleteObject" in actions) == (role == "janitor")
    assert ("s3:PutObject" in actions) == (role != "reader")
    assert {"s3:GetObject", "s3:ListBucket"} <= actions
