"""The import of a repository with DVC: every content of its history, once, at its own time; nothing of the repository runs."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.errors import BackendError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations.dvc import import_from
from artifactstore.store import Store
from tests.integrations.dvc_repo import DvcRepo, md5
from tests.work.tree import tree

RAW = {"a.csv": b"a,b\r\n1,2\r\n", "sub/b.bin": bytes(range(256)) * 100}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.open(tmp_path / "store", cache=None)
    made.put({"other": 1}, "other")
    return made


@pytest.fixture(params=["3.x", "2.x"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> DvcRepo:
    return DvcRepo(tmp_path / "repo", legacy=request.param == "2.x")


@pytest.fixture
def new_repo(tmp_path: Path) -> DvcRepo:
    return DvcRepo(tmp_path / "repo")


def imported(store: Store, repo: DvcRepo, **options: Any) -> Any:
    return import_from(store, str(repo.folder), name="p", **options)


def test_each_content_is_a_version_in_the_order_of_commits(store: Store, repo: DvcRepo, tmp_path: Path) -> None:
    first = repo.add("data/raw", RAW)
    one = repo.commit("first data")
    second = repo.add("data/raw", {**RAW, "c": b"new"})
    text = repo.add("notes.txt", b"hello\r\n")
    two = repo.commit("more data")
    repo.add("data/raw", RAW)  # as it was
    repo.commit("back, with https://jane:hunter2@example.org/")
    repo.add("last", b"last")
    repo.commit("https://jane:hunter2@example.org/")
    report = imported(store, repo)
    assert (report.names, report.versions, report.runs, report.new) == (3, 4, 0, 4)
    assert "hunter2" not in repr(list(store.log()))
    assert (report.missing, report.changed, report.skipped) == ([], [], [])
    found = store.versions("p/data/raw")
    assert [v.metadata for v in found] == [
        {"dvc.md5": first, "git.commit": one, "dvc.path": "data/raw"},
        {"dvc.md5": second, "git.commit": two, "dvc.path": "data/raw"},
    ]
    assert [(v.time, v.actor, v.reason) for v in found] == [
        (datetime(2024, 3, 1, 11, 1, tzinfo=UTC), "Jane Doe <jane@example.org>", "first data"),
        (datetime(2024, 3, 1, 11, 2, tzinfo=UTC), "Jane Doe <jane@example.org>", "more data"),
    ]
    assert tree(store.get("p/data/raw:v1", tmp_path / "raw")) == RAW
    notes = store.artifact("p/notes.txt")
    assert (notes.single, notes.files[0].path, notes.metadata["dvc.md5"]) == (True, "notes.txt", text)
    assert tree(store.get("p/notes.txt", tmp_path / "notes")) == {"notes.txt": b"hello\r\n"}
    assert store.find(metadata={"dvc.md5": second})[0].ref == "p/data/raw:v2"
    assert store.verify()


def test_a_second_import_writes_nothing_and_a_later_one_what_is_new(store: Store, repo: DvcRepo) -> None:
    repo.add("data", RAW)
    repo.commit()
    repo.lock({"train": {"cmd": "python train.py", "outs": [{"path": "model", **repo.store(b"model 1")}]}})
    repo.commit()
    assert imported(store, repo).versions == 2
    entries, before = len(store.log()), tree(repo.folder / ".dvc")
    again = imported(store, repo)
    assert (again.names, again.versions, again.runs, again.new, len(store.log())) == (2, 0, 0, 0, entries)
    # What is here already needs no cache.
    for path in sorted(repo.cache.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert imported(store, repo).missing == []
    assert len(store.log()) == entries
    repo.add("data", {"new": b"new"})
    repo.commit()
    third = imported(store, repo)
    assert (third.names, third.versions, third.runs, third.new) == (2, 1, 0, 1)
    assert before.keys() - tree(repo.folder / ".dvc").keys()  # the test removed them, the import nothing
    assert {path for path in tree(repo.folder / ".dvc") if "cache" not in path} == {"config", ".gitignore"}


def test_of_a_folder_only_what_changed_is_read(store: Store, repo: DvcRepo, tmp_path: Path) -> None:
    odd = {"[a] !#*?\\ b": b"odd", "sub2": b"a file"}
    states: list[dict[str, bytes]] = [
        {**RAW, **odd},
        {**RAW, "sub2/new": b"new", "a.csv": b"other"},
        {**RAW, "a.csv": b"other", **odd},
        {"sub2/new": b"new", "a.csv": b"other"},
        {"sub2/new": b"new", "a.csv": b"again"},
        {},
        RAW,
    ]
    before: dict[str, bytes] = {}
    for k, state in enumerate(states):
        repo.add("data", state)
        repo.commit()
        same = {data for path, data in state.items() if before.get(path) == data}
        for data in same - {data for path, data in state.items() if before.get(path) != data}:
            repo.blob(md5(data, legacy=repo.legacy)).unlink()  # the store has it from the version before
        assert imported(store, repo).missing == []
        assert tree(store.get(f"p/data:v{k + 1}", tmp_path / f"got{k}")) == state
        plain = tmp_path / f"plain{k}"
        plain.mkdir()
        for name, data in state.items():
            (plain / name).parent.mkdir(parents=True, exist_ok=True)
            (plain / name).write_bytes(data)
        assert store.put(plain, "plain", allow_empty=True).digest == store.artifact(f"p/data:v{k + 1}").digest
        before = state
    assert store.verify()


def test_a_dry_run_reports_and_writes_nothing(store: Store, new_repo: DvcRepo) -> None:
    new_repo.add("data", RAW)
    new_repo.commit()
    new_repo.lock(
        {
            "s": {
                "cmd": "x",
                "deps": [{"path": "data", "md5": new_repo.store(RAW)["md5"]}],
                "outs": [{"path": "o", **new_repo.store(b"o")}],
            }
        }
    )
    new_repo.commit()
    entries = len(store.log())
    report = imported(store, new_repo, dry_run=True)
    assert (report.versions, report.runs, len(store.log())) == (2, 1, entries)
    assert [name.name for name in store.names()] == ["other"]


def test_stages_are_runs_with_params_metrics_inputs_and_the_commit_as_code(store: Store, repo: DvcRepo, tmp_path: Path) -> None:
    data = repo.add("data/raw", RAW)
    repo.write("train.py", "print('train')\n")
    metrics = json.dumps({"auc": 0.9, "by": {"class": {"0": 1}}, "label": "x", "ok": True}).encode()
    repo.write("metrics.json", metrics)
    repo.write(
        "dvc.yaml",
        "stages:\n  train:\n    cmd: python train.py\n    deps: [data/raw, train.py]\n    params: [lr]\n    outs: [model.bin]\n"
        "    metrics:\n    - metrics.json: {cache: false}\nartifacts:\n  best: {path: model.bin, type: model}\n",
    )
    repo.lock(
        {
            "train": {
                "cmd": "python train.py",
                "deps": [{"path": "data/raw", "md5": data}, {"path": "train.py", "md5": "0" * 32}],
                "params": {"params.yaml": {"lr": 1e-05, "net": {"depth": 3}}, "other.json": {"seed": 7}},
                "outs": [
                    {"path": "metrics.json", "md5": md5(metrics), "hash": "md5"},
                    {"path": "model.bin", **repo.store(b"\0model")},
                ],
            }
        }
    )
    commit = repo.commit("train it")
    report = imported(store, repo)
    assert (report.versions, report.runs, report.missing, report.skipped) == (3, 1, [], [])
    (run,) = store.runs()
    assert (run.id, run.name, run.status, run.actor) == (
        f"dvc-{commit}-train",
        "train",
        "finished",
        "Jane Doe <jane@example.org>",
    )
    assert run.params == {"lr": 1e-05, "net.depth": 3, "other.json:seed": 7}
    assert run.metrics == {"auc": 0.9, "by.class.0": 1.0}
    model = store.artifact("p/model.bin")
    assert (model.kind, model.commit, model.run) == ("model", commit, run.id)
    assert [(one.ref, one.role) for one in model.inputs if one.role != "code"] == [("p/data/raw:v1", "data/raw")]
    (code,) = [one for one in model.inputs if one.role == "code"]
    assert tree(store.get(code.digest, tmp_path / "code"))["train.py"] == b"print('train')\n"
    assert imported(store, repo).runs == 0


def test_stages_of_templates_and_of_dvc_0_are_in_the_folders_that_they_ran_in(store: Store, new_repo: DvcRepo) -> None:
    def out(path: str, text: bytes) -> dict[str, Any]:
        return {"cmd": "x", "outs": [{"path": path, **new_repo.store(text)}]}

    new_repo.write(
        "dvc.yaml",
        "vars: [other.yaml, {root: inline}]\nstages:\n  b:\n    foreach: [us, eu]\n    do: {wdir: 'reg/${item}', cmd: x, outs: [o]}\n"
        "  c:\n    matrix: {a: [x, y-z], n: [1, 2]}\n    cmd: x\n    outs: ['c/${item.a}/${item.n}']\n"
        "  d: {wdir: '${root}', cmd: x, outs: [o]}\n  e: {wdir: '${elsewhere}', cmd: x, outs: [o]}\n",
    )
    names = {"b@us": "o", "b@eu": "o", "c@y-z-2": "c/y-z/2", "d": "o", "e": "o"}
    new_repo.lock({name: out(path, name.encode()) for name, path in names.items()})
    new_repo.legacy = True
    new_repo.add("data/in", b"in")
    model, metric = new_repo.store(b"model"), new_repo.store(b'{"acc": 1}')
    new_repo.write(
        "train.dvc",
        f"md5: x\ncmd: python t.py\nwdir: sub\ndeps:\n- md5: {md5(b'in')}\n  path: ../data/in\nouts:\n- md5: {model['md5']}\n  path: model\n"
        f"  cache: true\n  metric: false\n- md5: {metric['md5']}\n  path: m.json\n  metric: true\n",
    )
    commit = new_repo.commit()
    report = imported(store, new_repo)
    assert [one.name for one in store.names("p/")] == [
        "p/c/y-z/2", "p/data/in", "p/inline/o", "p/reg/eu/o", "p/reg/us/o", "p/sub/m.json", "p/sub/model",
    ]  # fmt: skip
    assert report.skipped == ["dvc.lock:e: its wdir '${elsewhere}' is a template, which is not resolved here"]
    assert report.runs == 5
    (run,) = [run for run in store.runs() if run.id == f"dvc-{commit}-train"]
    assert run.metrics == {"acc": 1.0}
    assert [(one.ref, one.role) for one in store.artifact("p/sub/model").inputs if one.role != "code"] == [
        ("p/data/in:v1", "data/in")
    ]


@pytest.mark.parametrize("cached", [True, False])
def test_metrics_that_are_listed_apart_from_the_stages_are_found_in_their_outputs(
    store: Store, new_repo: DvcRepo, *, cached: bool
) -> None:
    live = {"metrics.json": b'{"loss": 0.25}', "plots/loss.tsv": b"step\tloss\n"}
    found = new_repo.store(live)
    new_repo.write(
        "sub/dvc.yaml",
        f"metrics: [dvclive/metrics.json, other.json]\nstages:\n  train:\n    cmd: x\n    outs:\n    - dvclive: {{cache: {str(cached).lower()}}}\n",
    )
    if not cached:
        for path, data in live.items():
            new_repo.write(f"sub/dvclive/{path}", data)
        new_repo.blob(found["md5"]).unlink()
    new_repo.lock({"train": {"cmd": "x", "outs": [{"path": "dvclive", **found}]}}, "sub/dvc.lock")
    new_repo.commit()
    report = imported(store, new_repo)
    assert (report.versions, report.runs, report.missing) == (1, 1, [])
    assert store.runs()[0].metrics == {"loss": 0.25}


def test_a_stage_that_ran_again_is_another_run_and_one_that_did_not_is_none(store: Store, new_repo: DvcRepo) -> None:
    def locked(text: bytes) -> dict[str, Any]:
        return {"s": {"cmd": "x", "outs": [{"path": "o", **new_repo.store(text)}]}}

    new_repo.lock(locked(b"1"))
    one = new_repo.commit()
    new_repo.write("README", "unrelated")
    new_repo.commit()
    new_repo.lock(locked(b"2"))
    three = new_repo.commit()
    imported(store, new_repo)
    assert sorted(run.id for run in store.runs()) == sorted([f"dvc-{one}-s", f"dvc-{three}-s"])


def test_names_of_stages_and_paths_may_be_anything(store: Store, new_repo: DvcRepo) -> None:
    long = "x" * 150
    odd = "my file ü (1).txt"
    new_repo.add(odd, b"odd")
    new_repo.add("my file u (1).txt", b"other")
    new_repo.add(f"{'d' * 100}/{'e' * 120}", b"long")
    new_repo.lock({f"{long}@1": {"cmd": "x", "outs": [{"path": "o", **new_repo.store(b"o")}]}, "\x1b[31mred": {"cmd": "y"}})
    commit = new_repo.commit("\x1b[31mred")
    report = imported(store, new_repo)
    assert (report.versions, report.runs) == (4, 2)
    assert all(len(run.id) <= 100 and run.id.startswith(f"dvc-{commit}-") for run in store.runs())
    names = [one.name for one in store.names("p/")]
    assert len(names) == len(set(names)) == 4
    assert all(len(name) <= 200 for name in names)
    (found,) = store.find(metadata={"dvc.path": odd})
    assert str(found.name).startswith("p/my_file____1_.txt-")
    assert store.artifact(found.ref).files[0].path == odd
    assert imported(store, new_repo).versions == 0


# -- where contents are


def test_what_the_cache_lacks_comes_from_remotes(store: Store, repo: DvcRepo, tmp_path: Path) -> None:
    repo.add("data", {f"{k}": b"%d" % k for k in range(60)})
    repo.write(
        ".dvc/config",
        f"[core]\n    remote = far\n['remote \"empty\"']\n    url = ../nothing\n['remote \"far\"']\n    url = {tmp_path}/far\n",
    )
    repo.commit()
    repo.cache.rename(tmp_path / "far")
    assert imported(store, repo).versions == 1
    assert store.artifact("p/data").count == 60


# Asked for one by one; found in a listing.
@pytest.mark.parametrize(("files", "legacy"), [(3, True), (60, False)])
def test_a_remote_in_s3_is_read_with_the_credentials_of_the_environment(
    store: Store, tmp_path: Path, s3_url: str, *, files: int, legacy: bool
) -> None:
    import fsspec

    repo = DvcRepo(tmp_path / "repo", legacy=legacy)
    repo.add("data", {f"{k}": b"%d" % k for k in range(files)})
    gone = repo.add("gone", b"gone")
    repo.blob(gone).unlink()
    repo.write(".dvc/config", f"[core]\n    remote = far\n['remote \"far\"']\n    url = {s3_url}/inner\n")
    repo.commit()
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    for path, data in tree(repo.cache).items():
        if data is not None:
            fs.pipe_file(f"{s3_url}/inner/{path}", data)
    repo.cache.rename(repo.folder / "no-cache")
    report = imported(store, repo)
    assert (report.versions, report.missing) == (1, [f"gone md5:{gone}"])
    assert store.artifact("p/data").count == files
    bad = repo.add("again", {"x": b"right"})
    repo.commit()
    key = f"{'' if repo.legacy else 'files/md5/'}{md5(b'right')[:2]}/{md5(b'right')[2:]}"
    fs.pipe_file(f"{s3_url}/inner/{key}", b"wrong")
    repo.blob(md5(b"right")).unlink()
    with pytest.raises(CorruptionError, match=f"{s3_url}/inner/{key} is damaged"):
        imported(store, repo)
    assert len(store.find(metadata={"dvc.md5": bad})) == 0


def test_credentials_of_the_configuration_are_used_and_recorded_nowhere(
    store: Store, new_repo: DvcRepo, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    endpoint, key, secret = (os.environ[name] for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    new_repo.add("data", b"data")
    new_repo.write(
        ".dvc/config",
        f"[core]\n    remote = far\n['remote \"far\"']\n    url = remote://base/inner\n['remote \"base\"']\n    url = {s3_url}\n    endpointurl = {endpoint}\n",
    )
    new_repo.write(".dvc/config.local", f"['remote \"base\"']\n    access_key_id = {key}\n    secret_access_key = {secret}\n")
    new_repo.commit()
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    for path, data in tree(new_repo.cache).items():
        fs.pipe_file(f"{s3_url}/inner/{path}", data)
    new_repo.cache.rename(new_repo.folder / "no-cache")
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    report = imported(store, new_repo)
    assert report.versions == 1
    assert secret not in repr(report) + repr(list(store.log()))


def test_gaps_are_listed_and_the_rest_is_imported(store: Store, repo: DvcRepo) -> None:
    gone = repo.add("gone.bin", b"gone")
    partly = repo.add("partly", {"a": b"a", "b": b"b", "c": b"c"})
    unlisted = repo.add("unlisted", {"x": b"x"})
    repo.add("kept.bin", b"kept")
    repo.commit()
    repo.blob(gone).unlink()
    repo.blob(md5(b"b")).unlink()
    repo.blob(unlisted).unlink()
    report = imported(store, repo)
    assert report.missing == [
        f"gone.bin md5:{gone}",
        f"partly md5:{partly} (1 files, the first is b)",
        f"unlisted md5:{unlisted}",
    ]
    assert (report.versions, [one.name for one in store.names("p/")]) == (1, ["p/kept.bin"])
    repo.store(b"b")
    assert imported(store, repo).versions == 1


@pytest.mark.parametrize("what", ["file", "in a folder", "list", "cut short", "longer"])
def test_damage_names_the_file_and_leaves_nothing_half_written(store: Store, repo: DvcRepo, what: str) -> None:
    repo.add("a.bin", b"first")
    repo.commit()
    data = os.urandom(3 << 20)
    folder = repo.add("data", {"ok": b"fine", "bad": data})
    repo.commit()
    path = repo.blob(folder) if what == "list" else repo.blob(md5(data))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes({"cut short": data[:-1], "longer": data + b"x"}.get(what, bytes(raw)))
    with pytest.raises(CorruptionError, match=r"damaged") as caught:
        imported(store, repo)
    assert str(path) in str(caught.value)
    assert [one.name for one in store.names("p/")] == ["p/a.bin"]
    assert store.verify()
    path.write_bytes(data) if what != "list" else repo.add("data", {"ok": b"fine", "bad": data})
    assert imported(store, repo).versions == 1


def test_text_with_crlf_is_checked_as_dvc_2_hashed_it(store: Store, tmp_path: Path) -> None:
    repo = DvcRepo(tmp_path / "repo", legacy=True)
    # It converts a megabyte at a time: what is cut between CR and LF stays as it is.
    text = b"x" * (2**20 - 1) + b"\r\n" + b"line\r\n" * 1000
    as_dvc = md5(b"x" * (2**20 - 1) + b"\r" + b"\n" + b"line\n" * 1000)
    mixed = b"\0binary\r\n" * 1000
    repo.add("mixed", mixed)
    repo.blob(as_dvc).parent.mkdir(parents=True)
    repo.blob(as_dvc).write_bytes(text)
    repo.write("text.dvc", f"outs:\n- md5: {as_dvc}\n  path: text\n")
    repo.commit()
    assert imported(store, repo).versions == 2


def test_both_layouts_may_be_in_one_cache(store: Store, new_repo: DvcRepo) -> None:
    new_repo.legacy = True
    old = new_repo.add("old.csv", b"a\r\n")
    new_repo.legacy = False
    new_repo.add("new.csv", b"a\r\n")
    new_repo.commit()
    assert old != md5(b"a\r\n")
    assert imported(store, new_repo).versions == 2


def test_the_cache_may_be_elsewhere(store: Store, new_repo: DvcRepo, tmp_path: Path) -> None:
    new_repo.add("a", b"a")
    new_repo.commit()
    new_repo.cache.rename(tmp_path / "elsewhere")
    assert imported(store, new_repo).missing
    new_repo.write(".dvc/config.local", "[cache]\n    dir = ../../elsewhere\n")
    assert imported(store, new_repo, dry_run=True).versions == 1
    new_repo.write(".dvc/config.local", "")
    assert imported(store, new_repo, cache=str(tmp_path / "elsewhere")).versions == 1


# -- which commits, and where


def test_a_single_revision_has_the_first_commit_that_has_each_content(store: Store, new_repo: DvcRepo) -> None:
    new_repo.add("a", b"1")
    one = new_repo.commit()
    new_repo.add("b", b"2")
    two = new_repo.commit()
    new_repo.git("tag", "v2")
    new_repo.add("a", b"3")
    new_repo.commit()
    report = imported(store, new_repo, rev="v2")
    assert report.versions == 2
    assert [store.artifact(f"p/{name}").metadata["git.commit"] for name in "ab"] == [one, two]
    assert imported(store, new_repo).versions == 1
    with pytest.raises(NotFoundError, match="no revision 'nowhere'"):
        imported(store, new_repo, rev="nowhere")
    for odd in ("--all", "", "a\nb"):
        with pytest.raises(InvalidInputError):
            imported(store, new_repo, rev=odd)


def test_all_branches_and_tags_are_imported_but_no_experiments(store: Store, new_repo: DvcRepo) -> None:
    new_repo.add("a", b"1")
    new_repo.commit()
    new_repo.git("checkout", "-q", "-b", "side")
    new_repo.add("a", b"2")
    new_repo.commit()
    new_repo.git("checkout", "-q", "main")
    new_repo.add("a", b"3")
    new_repo.commit()
    new_repo.git("checkout", "-q", "--detach")
    new_repo.add("a", b"4")
    experiment = new_repo.commit()
    new_repo.git("update-ref", "refs/exps/aa/x", experiment)
    new_repo.git("checkout", "-q", "main")
    report = imported(store, new_repo)
    assert (report.versions, report.names) == (3, 1)
    assert imported(store, new_repo, rev=experiment).versions == 1


@pytest.mark.parametrize("bare", [False, True])
def test_the_root_may_be_a_folder_and_the_repository_may_be_bare(store: Store, tmp_path: Path, *, bare: bool) -> None:
    repo = DvcRepo(tmp_path / "repo", inner="" if bare else "deep/project")
    repo.add("data/a", b"a")
    repo.lock({"s": {"cmd": "x", "outs": [{"path": "../o" if not bare else "o", **repo.store(b"o")}]}}, "pipes/dvc.lock")
    if bare:
        repo.write(".dvc/config", f"['remote \"r\"']\nurl = {tmp_path}/remote\n")
    commit = repo.commit()
    source = str(repo.folder)
    if bare:
        repo.cache.rename(tmp_path / "remote")
        subprocess.run(["git", "clone", "-q", "--bare", repo.folder, tmp_path / "bare"], check=True, capture_output=True)
        source = str(tmp_path / "bare")
    report = import_from(store, source, name="p")
    assert report.versions == 2
    assert [one.name for one in store.names("p/")] == ["p/data/a", "p/o" if not bare else "p/pipes/o"]
    assert store.runs()[0].id == f"dvc-{commit}-pipes/s"


def test_a_folder_without_git_and_one_that_is_not_there_are_not_found(store: Store, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for source, text in (("plain", "is not a git repository"), ("nothing", "is not a folder")):
        with pytest.raises(NotFoundError, match=text):
            import_from(store, str(tmp_path / source), name="p")
    subprocess.run(["git", "init", "-q", tmp_path / "plain"], check=True)
    report = import_from(store, str(tmp_path / "plain"), name="p")
    assert (report.names, report.versions) == (0, 0)


# -- what is not understood, and what is hostile


def test_what_is_not_known_is_skipped_by_name(store: Store, new_repo: DvcRepo) -> None:
    digest = md5(b"x")
    for name, text in {
        "etag": "outs:\n- etag: abc\n  path: etag\n",
        "hash": f"outs:\n- md5: {digest}\n  hash: sha512\n  path: hash\n",
        "short": "outs:\n- md5: abc\n  path: short\n",
        "cloud": "outs:\n- path: s3://bucket/key\n  etag: abc\n",
        "outside": f"outs:\n- md5: {digest}\n  path: ../../outside\n",
        "absolute": f"outs:\n- md5: {digest}\n  path: /etc/passwd\n",
        "wdir": f"wdir: ../..\nouts:\n- md5: {digest}\n  path: x\n",
        "conflict": "<<<<<<< HEAD\nouts:\n=======\n>>>>>>> other\n",
        "list": "- a\n- b\n",
        "tag": "outs: !!python/object/apply:os.system ['true']\n",
        "bomb": "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{k}: &{k} [{','.join([f'*{j}'] * 9)}]\n" for j, k in zip("abcdefgh", "bcdefghi", strict=True)),
        "binary": "\x00\x01",
        "new": "outs:\n- path: not-made-yet\n",
    }.items():
        new_repo.write(f"{name}.dvc", text)
    new_repo.write("dvc.lock", "schema: '9.0'\nstages: {}\n")
    new_repo.write("sub/dvc.lock", "schema: '2.0'\nstages: [1]\n")
    new_repo.write("not-utf8.dvc", b"\xff\xfe")
    (new_repo.folder / "link.dvc").symlink_to("/etc/passwd")
    new_repo.add("good", b"good")
    new_repo.commit()
    report = imported(store, new_repo)
    assert (report.versions, report.missing) == (1, [])
    skipped = dict(one.split(": ", 1) for one in report.skipped)
    assert set(skipped) == {
        "etag", "hash", "short", "cloud.dvc 's3://bucket/key'", "outside.dvc '../../outside'", "absolute.dvc '/etc/passwd'", "wdir.dvc",
        "conflict.dvc", "list.dvc", "tag.dvc", "bomb.dvc", "dvc.lock", "sub/dvc.lock", "not-utf8.dvc", "binary.dvc",
    }  # fmt: skip
    assert "newer" in skipped["dvc.lock"]
    assert imported(store, new_repo).versions == 0


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/../../evil", "a//b", "", "C:/x"])
def test_a_list_of_a_folder_that_leads_out_of_it_is_skipped(store: Store, new_repo: DvcRepo, path: str) -> None:
    new_repo.add("bad", {path: b"x"})
    new_repo.commit()
    report = imported(store, new_repo)
    assert (report.versions, report.missing, len(report.skipped)) == (0, [], 1)
    assert "leads out of it" in report.skipped[0]


def test_nothing_of_the_repository_runs(store: Store, new_repo: DvcRepo, tmp_path: Path) -> None:
    new_repo.add("a", b"a")
    new_repo.write("train.py", "x")
    new_repo.write(".gitattributes", "* filter=evil diff=evil\n")
    new_repo.lock({"s": {"cmd": f"touch {tmp_path}/ran", "outs": [{"path": "o", **new_repo.store(b"o")}]}})
    new_repo.commit()
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    evil.chmod(0o755)
    for hook in ("post-checkout", "reference-transaction", "fsmonitor-watchman", "post-index-change"):
        (new_repo.folder / ".git/hooks").mkdir(exist_ok=True)
        (new_repo.folder / ".git/hooks" / hook).write_text(evil.read_text())
        (new_repo.folder / ".git/hooks" / hook).chmod(0o755)
    for key in (
        "core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.gitProxy", "core.askPass", "diff.external",
        "filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.command", "diff.evil.textconv", "gpg.program",
        "credential.helper", "core.alternateRefsCommand", "uploadpack.packObjectsHook", "pager.rev-list", "pager.cat-file",
        "alias.cat-file", "alias.rev-list", "remote.origin.uploadpack",
    ):  # fmt: skip
        new_repo.git("config", key, f"!{evil}" if key.startswith("alias") else str(evil))
    for key, value in (
        ("remote.origin.url", f"ext::{evil}"),
        ("remote.origin.promisor", "true"),
        ("extensions.partialClone", "origin"),
        ("log.showSignature", "true"),
    ):
        new_repo.git("config", key, value)
    # An object that is not there, which a partial clone would fetch by a program of the configuration's.
    blob = new_repo.git("rev-parse", "HEAD:train.py")
    (new_repo.folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
    report = imported(store, new_repo)
    assert (report.versions, report.runs) == (2, 1)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ('{"a": 1, "b": NaN, "c": 1e999, "d": [1], "e": null}', {"a"}),
        (f'{{"a": 1, "b": {"9" * 400}, "c": -{"9" * 400}}}', {"a"}),
        ('{"x":' * 900 + "1" + "}" * 900, set()),
        ("[" * 100_000, set()),
        ("", set()),
        ("\x00\xff", set()),
        ('{"a\\ud800": 1, "": 2, "b": 3}', {"b"}),
        ("[1, 2]", set()),
    ],
)
def test_a_metrics_file_may_be_anything(store: Store, new_repo: DvcRepo, metrics: str, found: set[str]) -> None:
    new_repo.write("dvc.yaml", "stages: {s: {cmd: x, metrics: [m.json]}}\n")
    new_repo.lock({"s": {"cmd": "x", "outs": [{"path": "m.json", **new_repo.store(metrics.encode("latin-1"))}]}})
    new_repo.commit()
    report = imported(store, new_repo)
    assert (report.versions, report.runs) == (1, 1)
    assert found <= {*store.runs()[0].metrics}
    assert imported(store, new_repo).runs == 0


def test_names_that_are_no_text_are_skipped(store: Store, new_repo: DvcRepo) -> None:
    digest = new_repo.store(b"x")["md5"]
    odd = Path(os.fsdecode(os.fsencode(new_repo.folder) + b"/\xff"))
    odd.mkdir()
    (odd / "x.dvc").write_text(f"outs:\n- md5: {digest}\n  hash: md5\n  path: x\n")
    new_repo.write("y.dvc", f'outs:\n- md5: {digest}\n  hash: md5\n  path: "\\uD800"\n')
    new_repo.write("z.dvc", f'outs:\n- md5: {digest}\n  hash: md5\n  path: "a\\rb"\n')
    new_repo.lock({"s": {"cmd": "x", "outs": [{"path": "o", **new_repo.store(b"o")}]}}, "\udcff/dvc.lock")
    new_repo.lock({"\ud800": {"cmd": "x"}})
    new_repo.commit()
    report = imported(store, new_repo)
    assert (report.versions, report.runs) == (0, 1)
    assert len(report.skipped) == 5
    "".join(report.skipped).encode()
    assert imported(store, new_repo).runs == 0


def test_a_configuration_sends_no_variable_of_the_environment_elsewhere(
    store: Store, new_repo: DvcRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "stolen")
    new_repo.add("a", b"a")
    new_repo.write(
        ".dvc/config",
        f"[core]\n    remote = r\n['remote \"r\"']\n    url = {tmp_path}/$SECRET # a comment\n[cache]\n    dir = ${{SECRET}}\n",
    )
    new_repo.commit()
    new_repo.cache.rename(tmp_path / "stolen")
    assert imported(store, new_repo, dry_run=True).missing
    (tmp_path / "stolen").rename(tmp_path / "$SECRET")
    assert imported(store, new_repo).versions == 1


def test_a_repository_that_folders_blow_up_is_refused(store: Store, new_repo: DvcRepo) -> None:
    new_repo.write("x.dvc", "outs: []\n")
    new_repo.commit()
    tree_id = new_repo.git("rev-parse", "HEAD^{tree}")
    for _ in range(8):
        rows = "".join(f"040000 tree {tree_id}\tf{k}\n" for k in range(10))
        done = subprocess.run(["git", "-C", new_repo.folder, "mktree"], input=rows, capture_output=True, text=True, check=True)
        tree_id = done.stdout.strip()
    commit = new_repo.git("commit-tree", tree_id, "-m", "bomb")
    new_repo.git("branch", "bomb", commit)
    with pytest.raises(InvalidInputError, match="more than 200,000 files"):
        imported(store, new_repo)


def test_a_remote_that_cannot_be_reached_shows_no_credentials(store: Store, new_repo: DvcRepo) -> None:
    new_repo.add("a", b"a")
    new_repo.write(
        ".dvc/config",
        "['remote \"r\"']\n    url = http://user:hidden@127.0.0.1:9/x\n['remote \"v\"']\n    url = s3://b\n    version_aware = true\n"
        "['remote \"d\"']\n    url = gdrive://x\n",
    )
    new_repo.commit()
    assert imported(store, new_repo).versions == 1
    new_repo.add("b", b"b")
    new_repo.blob(md5(b"b")).unlink()
    new_repo.commit()
    with pytest.raises(BackendError) as caught:
        imported(store, new_repo)
    assert "hidden" not in str(caught.value)
    assert "127.0.0.1:9/x" in str(caught.value)
    new_repo.write(".dvc/config.local", "['remote \"r\"']\n    url = ../nowhere\n")
    report = imported(store, new_repo)
    assert len(report.missing) == 1
    assert [one.partition(":")[0] for one in report.skipped] == ["remote v", "remote d"]


def test_the_command_imports_with_gaps_and_exits_5_on_damage(new_repo: DvcRepo, tmp_path: Path) -> None:
    from tests.warm import command

    digest = new_repo.add("a", b"a")
    new_repo.add("b", b"b")
    new_repo.commit()
    new_repo.blob(digest).unlink()
    words = ["import", "dvc", str(new_repo.folder), "--name", "p", "--store", str(tmp_path / "new"), "--json"]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "names": 2, "versions": 1, "runs": 0, "new": 1, "missing": [f"a md5:{digest}"], "changed": [], "skipped": [],
    }  # fmt: skip
    new_repo.blob(digest).write_bytes(b"x")
    done = command(*words)
    assert done.returncode == 5
    assert str(new_repo.blob(digest)) in done.stderr
    assert command("import", "dvc", str(tmp_path), "--name", "p", "--store", str(tmp_path / "new")).returncode == 3


def test_it_is_loaded_only_when_it_is_called() -> None:
    code = "import sys, artifactstore.integrations.dvc; print([m for m in sys.modules if m.startswith('artifactstore.integrations.dvc.')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
