"""The import of a lineage store: files as they were recorded, once, with the tasks and workflows that made them."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest

import artifactstore
from artifactstore.cli.runner import run as cli
from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError, NotFoundError
from artifactstore.integrations.nextflow import import_from
from artifactstore.integrations.nextflow.values import name_of, nanoseconds, same_time
from artifactstore.model.reference import check_name
from artifactstore.store import Store
from tests.integrations.lineage_store import LineageStore
from tests.work.tree import tree


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = artifactstore.open(tmp_path / "store", cache=None)
    made.put({"other": 1}, "other")
    return made


@pytest.fixture
def flow(tmp_path: Path) -> LineageStore:
    return LineageStore(tmp_path / "launch")


def imported(store: Store, flow: LineageStore, **options: Any) -> Any:
    return import_from(store, str(flow.lineage), name="p", **options)


def rnaseq(flow: LineageStore, reads: Path, name: str = "happy_euler") -> dict[str, str]:
    """Two tasks in a row, whose files are published by a link, by a copy of another name, and as a folder."""
    reads.write_bytes(b"@read\nACGT\n")
    keys = {"workflow": flow.begin(name, {"outdir": "results", "depth": 8})}
    keys["fastqc"] = flow.task("FASTQC (gut)", {"logs": {"gut.zip": b"zip", "sub/gut.html": b"html"}}, [reads, "gut"])
    logs = flow.folder_of(keys["fastqc"]) / "logs"
    keys["multiqc"] = flow.task("MULTIQC", {"report.html": b"<html>", "data/plain.txt": b"1 2"}, [logs])
    flow.publish(logs, "fastqc/logs", mode="copy")
    flow.publish(flow.folder_of(keys["multiqc"]) / "report.html", "multiqc_report.html", mode="copy", labels=["qc", "final"])
    flow.publish(flow.folder_of(keys["multiqc"]) / "data/plain.txt", "data/plain.txt")
    flow.complete("OK")
    return keys


def names(store: Store) -> set[str]:
    return {one.name for one in store.names() if one.name.startswith("p/")}


def inputs(store: Store, run: str) -> set[str]:
    """The digests of what a run has read."""
    with store._session.state() as state:
        return {edge["digest"] for edge in state.edges[f"nextflow-{run}"] if edge["fact"] == "used"}


def test_files_are_versions_and_tasks_and_workflows_are_runs(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    keys = rnaseq(flow, tmp_path / "reads.fastq")
    report = imported(store, flow, reason="migration")
    assert (report.names, report.versions, report.runs) == (6, 6, 3)
    assert (report.missing, report.changed, report.skipped) == ([], [], [])
    task = name_of("p", "happy_euler", "logs", "FASTQC (gut)")
    assert names(store) == {
        task,
        "p/happy_euler/.tasks/MULTIQC/report.html",
        "p/happy_euler/.tasks/MULTIQC/data/plain.txt",
        "p/happy_euler/fastqc/logs",
        "p/happy_euler/multiqc_report.html",
        "p/happy_euler/data/plain.txt",
    }
    assert task.startswith("p/happy_euler/.tasks/FASTQC_gut-")
    made = store.artifact("p/happy_euler/multiqc_report.html")
    lid = f"lid://{keys['workflow']}/multiqc_report.html"
    assert made.metadata == {
        "nextflow.lid": lid,
        "nextflow.modified": flow.record(f"{keys['workflow']}/multiqc_report.html")["modifiedAt"],
        "nextflow.path": str(flow.results / "multiqc_report.html"),
        "nextflow.labels": "qc,final",
        "git.commit": "86165b8c81d43a1f57363964431395152e353e56",
    }
    assert (made.actor, made.kind, made.single) == ("jane", "data", True)
    assert abs(made.time.timestamp() - (flow.results / "multiqc_report.html").stat().st_mtime) < 1e-3
    assert [one.ref for one in store.find(metadata={"nextflow.lid": lid})] == ["p/happy_euler/multiqc_report.html:v1"]
    assert tree(store.get("p/happy_euler/fastqc/logs", tmp_path / "out")) == {"gut.zip": b"zip", "sub/gut.html": b"html"}
    assert store.get("p/happy_euler/data/plain.txt").read_bytes() == b"1 2", "through a link"
    assert store.verify(level="full").ok


def test_runs_have_parameters_parents_times_and_how_they_ended(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    keys = rnaseq(flow, tmp_path / "reads.fastq")
    imported(store, flow)
    runs = {one.id: one for one in store.runs()}
    workflow, fastqc = runs[f"nextflow-{keys['workflow']}"], runs[f"nextflow-{keys['fastqc']}"]
    assert (workflow.name, workflow.status, workflow.actor, workflow.parent) == ("happy_euler", "finished", "jane", None)
    assert (workflow.params["depth"], workflow.params["outdir"]) == (8, "results")
    assert workflow.params["nextflow.repository"] == "https://github.com/nextflow-io/rnaseq-nf"
    assert workflow.params["nextflow.commit"] == "86165b8c81d43a1f57363964431395152e353e56"
    assert workflow.params["nextflow.version"] == "26.08.0-edge"
    assert workflow.started == datetime(2026, 5, 9, 13, 27, 30, tzinfo=UTC)
    assert "hunter2" not in repr(list(store.log())), "the configuration is not recorded"
    assert (fastqc.name, fastqc.status, fastqc.parent) == ("FASTQC (gut)", "finished", workflow.id)
    assert fastqc.params["reads"] == [f"file://{tmp_path / 'reads.fastq'}"], "what no task made is a path"
    assert fastqc.params["value0"] == "gut"
    assert fastqc.params["nextflow.script"] == "run FASTQC (gut)"
    assert fastqc.params["nextflow.container"] == "quay.io/biocontainers/fastqc:0.11.9"
    assert abs(fastqc.started.timestamp() - (flow.folder_of(keys["fastqc"]) / ".command.begin").stat().st_mtime) < 1e-2
    assert runs[f"nextflow-{keys['multiqc']}"].params.keys().isdisjoint({"reads"}), "what a task made is an edge"


def test_lineage_goes_from_a_published_file_through_tasks_to_their_inputs(
    store: Store, flow: LineageStore, tmp_path: Path
) -> None:
    keys = rnaseq(flow, tmp_path / "reads.fastq")
    imported(store, flow)
    logs, report = store.artifact("p/happy_euler/fastqc/logs"), store.artifact("p/happy_euler/multiqc_report.html")
    assert logs.digest == store.artifact(name_of("p", "happy_euler", "logs", "FASTQC (gut)")).digest
    inner = store.artifact("p/happy_euler/.tasks/MULTIQC/report.html")
    assert report.digest != inner.digest, "it was published under another name"
    above = {one.id for one in store.lineage(report.ref).upstream()}
    assert {f"nextflow-{keys[one]}" for one in ("workflow", "fastqc", "multiqc")} <= above
    assert logs.digest in above
    below = {one.id for one in store.lineage(f"nextflow-{keys['multiqc']}").downstream()}
    assert {report.digest, inner.digest} <= below
    by_workflow = {one.id for one in store.lineage(f"nextflow-{keys['workflow']}").downstream()}
    assert {report.digest, logs.digest} <= by_workflow


def test_a_second_import_writes_nothing_and_reads_no_file(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    rnaseq(flow, tmp_path / "reads.fastq")
    imported(store, flow)
    entries = len(store.log())
    before = tree(flow.folder)
    again = imported(store, flow)
    assert (again.names, again.versions, again.runs, again.new, len(store.log())) == (6, 0, 0, 0, entries)
    assert tree(flow.folder) == before
    shutil.rmtree(flow.work)
    shutil.rmtree(flow.results)
    again = imported(store, flow)
    assert (again.missing, len(store.log())) == ([], entries)


def test_a_dry_run_counts_what_would_come(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    rnaseq(flow, tmp_path / "reads.fastq")
    (flow.results / "multiqc_report.html").write_text("edited")
    entries = len(store.log())
    report = imported(store, flow, dry_run=True)
    assert (report.versions, report.runs, len(report.changed), len(store.log())) == (5, 3, 1, entries)


# -- what is there now


def test_files_that_changed_or_are_gone_are_listed_and_not_stored(store: Store, flow: LineageStore) -> None:
    key = flow.begin("run")
    outputs = dict.fromkeys(("kept", "longer", "touched", "older", "gone", "folder/inner"), b"content")
    task = flow.folder_of(flow.task("T", {**outputs, "dir": {"a": b"a"}, "dir2": {"sub/a": b"a"}, "dir3": {"a": b"a"}}))
    (task / "longer").write_bytes(b"content and more")
    os.utime(task / "longer", ns=(0, nanoseconds(flow.record(f"{lid_key(task, flow)}/longer")["modifiedAt"]) or 0))
    os.utime(task / "touched")
    os.utime(task / "older", (1, 1))
    (task / "gone").unlink()
    (task / "dir" / "new").touch()
    later = datetime.now(UTC).timestamp() + 3600
    os.utime(task / "dir2" / "sub" / "a", (later, later))  # the folder's own time does not show it
    shutil.rmtree(task / "dir3")
    report = imported(store, flow)
    lid = f"lid://{lid_key(task, flow)}"
    assert set(report.changed) == {f"{lid}/{one}" for one in ("longer", "touched", "older", "dir", "dir2")}
    assert set(report.missing) == {f"{lid}/{one}" for one in ("gone", "dir3")}
    assert names(store) == {"p/run/.tasks/T/kept", "p/run/.tasks/T/folder/inner"}
    assert report.versions == 2
    assert key


def lid_key(task: Path, flow: LineageStore) -> str:
    return "".join(task.relative_to(flow.work).parts)


@pytest.mark.parametrize("mode", ["standard", "sha256", "deep", "lenient"])
def test_a_checksum_is_never_compared_with_content_whatever_its_mode_says(store: Store, flow: LineageStore, mode: str) -> None:
    flow.mode = mode
    flow.begin("run")
    flow.task("T", {"a": b"content"})
    report = imported(store, flow)
    assert (report.versions, report.changed) == (1, [])


def test_what_comes_back_later_is_brought_with_its_edges(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    keys = rnaseq(flow, tmp_path / "reads.fastq")
    away = tmp_path / "away"
    away.mkdir()
    for folder in (flow.work, flow.results):
        folder.rename(away / folder.name)
    first = imported(store, flow)
    assert (first.versions, first.runs, len(first.missing)) == (0, 3, 6)
    for folder in (flow.work, flow.results):
        (away / folder.name).rename(folder)
    second = imported(store, flow)
    assert (second.versions, second.runs, second.missing) == (6, 0, [])
    above = {one.id for one in store.lineage("p/happy_euler/multiqc_report.html").upstream()}
    assert {f"nextflow-{keys[one]}" for one in ("workflow", "fastqc", "multiqc")} <= above
    entries = len(store.log())
    imported(store, flow)
    assert len(store.log()) == entries


# -- workflows


def test_a_resumed_workflow_publishes_what_tasks_of_an_earlier_one_made(store: Store, flow: LineageStore) -> None:
    first = flow.begin("first")
    cached = flow.task("ALIGN", {"a.bam": b"bam"})
    flow.complete("ERR")
    second = flow.begin("second", resume=True)
    call = flow.task("CALL", {"a.vcf": b"vcf"}, [flow.folder_of(cached) / "a.bam"])
    flow.publish(flow.folder_of(cached) / "a.bam", "a.bam")
    flow.publish(flow.folder_of(call) / "a.vcf", "a.vcf")
    flow.complete("OK")
    report = imported(store, flow, run=f"lid://{second}")
    assert (report.versions, report.runs) == (4, 3), "with the cached task and its file, and without the workflow that failed"
    assert store.artifact("p/second/a.bam").digest == store.artifact("p/first/.tasks/ALIGN/a.bam").digest
    assert {f"nextflow-{cached}", f"nextflow-{call}"} <= {one.id for one in store.lineage("p/second/a.vcf").upstream()}
    assert store.runs("ALIGN")[0].parent == f"nextflow-{first}"
    whole = imported(store, flow)
    assert (whole.versions, whole.runs) == (0, 1)
    failed = next(run for run in store.runs() if run.id == f"nextflow-{first}")
    assert (failed.status, failed.error) == ("failed", "Nextflow's history has the status ERR")


def test_one_run_is_chosen_by_its_lineage_id(store: Store, flow: LineageStore) -> None:
    first = flow.begin("first")
    flow.task("A", {"a": b"a"})
    flow.complete("OK")
    second = flow.begin("second")
    flow.task("B", {"b": b"b"})
    flow.complete("OK")
    assert imported(store, flow, run=second).versions == 1
    assert names(store) == {"p/second/.tasks/B/b"}
    assert imported(store, flow, run=f"lid://{first}/").versions == 1
    for absent in ("lid://0123", f"lid://{first}#output", "second", ""):
        with pytest.raises(NotFoundError, match=r"it has lid://.* \((first|second)\)"):
            imported(store, flow, run=absent)


def test_a_failed_task_an_array_and_a_repeated_task(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    failed = flow.task("STAR (1)", {"a": b"a"}, code=137)
    again = flow.task("STAR (1)", {"a": b"a"}, attempt=2)
    array = [flow.task(f"ARRAY ({n})", {"out": f"{n}".encode()}, [str(n)]) for n in range(3)]
    unknown = flow.task("LOST", {"a": b"a"}, code=1)
    shutil.rmtree(flow.folder_of(unknown))
    silent = flow.task("SILENT", {})
    shutil.rmtree(flow.lineage / f"{silent}#output")
    (flow.folder_of(silent) / ".exitcode").unlink()
    report = imported(store, flow)
    assert (report.versions, report.runs) == (4, 8)
    runs = {one.id: one for one in store.runs()}
    assert (runs[f"nextflow-{failed}"].status, runs[f"nextflow-{failed}"].error) == ("failed", "exit status 137")
    assert (runs[f"nextflow-{unknown}"].status, runs[f"nextflow-{unknown}"].error) == ("failed", "it has no output files")
    assert runs[f"nextflow-{again}"].status == "finished"
    assert runs[f"nextflow-{silent}"].status in {"running", "abandoned"}, "nothing says that it has ended"
    assert len({store.find(metadata={"nextflow.lid": f"lid://{one}/out"})[0].name for one in array}) == 3
    workflow = runs[f"nextflow-{flow.run}"]
    assert workflow.status in {"running", "abandoned"}
    flow.complete("ERR")
    assert imported(store, flow).runs == 1
    assert store.runs("run")[0].status == "failed"


def test_a_task_that_was_repeated_under_its_id_makes_another_version(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    flow.task("T", {"a": b"one"})
    imported(store, flow)
    key = flow.task("T", {"a": b"two"})  # its folder was lost, and -resume ran it again
    report = imported(store, flow)
    assert (report.versions, report.runs, report.changed) == (1, 0, [])
    assert store.get("p/run/.tasks/T/a:v2").read_bytes() == b"two"
    assert {one.id for one in store.lineage("p/run/.tasks/T/a:v2").upstream()} >= {f"nextflow-{key}"}


def test_an_agent_is_a_run_with_its_model_and_prompt(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    fields: dict[str, Any] = {"instruction": "Be concise.", "tools": ["upper"], "maxIterations": 20, "promptTemplate": "Q: ${q}"}
    key = flow.task("analyst (1)", {"answer.txt": b"42"}, ["why?"], kind="AgentRun", **fields)
    assert imported(store, flow).runs == 2
    run = next(one for one in store.runs() if one.id == f"nextflow-{key}")
    assert run.params["nextflow.model"] == "openai/gpt-5-mini"
    assert (run.params["nextflow.tools"], run.params["nextflow.maxIterations"]) == (["upper"], 20)
    assert run.params["value0"] == "why?"
    assert {
        one.id for one in store.lineage(store.find(metadata={"nextflow.lid": f"lid://{key}/answer.txt"})[0].ref).upstream()
    } >= {run.id}


def test_a_published_file_that_another_workflow_reads_by_its_path_or_its_id_is_its_input(
    store: Store, flow: LineageStore
) -> None:
    first = flow.begin("first")
    task = flow.task("INDEX", {"genome.idx": b"index"})
    flow.publish(flow.folder_of(task) / "genome.idx", "genome.idx", mode="copy")
    flow.complete("OK")
    second = flow.begin("second", {"genome": f"lid://{first}/genome.idx", "reads": ["a", {"b": f"lid://{task}/genome.idx"}]})
    align = flow.task("ALIGN", {"a.bam": b"bam"}, [flow.results / "genome.idx"])
    flow.complete("OK")
    imported(store, flow)
    index = store.artifact("p/first/genome.idx")
    assert index.digest in inputs(store, align), "by its path, unchanged"
    assert index.digest in inputs(store, second)


def test_a_file_of_the_workflow_itself_has_the_workflow_as_its_run(store: Store, flow: LineageStore) -> None:
    key = flow.begin("run")
    flow.publish(None, "index.csv")
    flow.complete()
    imported(store, flow)
    assert {one.id for one in store.lineage("p/run/index.csv").upstream()} >= {f"nextflow-{key}"}
    assert store.runs("run")[0].status == "finished", "it has its output, and no history"


# -- records


def test_records_of_nextflow_25_04_are_read(store: Store, tmp_path: Path) -> None:
    flow = LineageStore(tmp_path / "launch", old=True)
    flow.begin("run")
    flow.save(f"{flow.run}/plain", "FileOutput", flow._file(_touched(tmp_path / "plain"), f"lid://{flow.run}", None))
    report = imported(store, flow)
    assert (report.versions, report.runs, report.skipped) == (1, 1, [])


def _touched(path: Path) -> Path:
    path.write_text("x")
    return path


def test_kinds_and_versions_of_the_future_are_skipped_by_name(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    flow.task("T", {"a": b"a"})
    for number in range(3):
        flow.save(f"{number:032}", "ModelRun", {"anything": 1})
    flow.save("f" * 32, "TaskRun", {"name": ["no text"]}, version="lineage/v1")
    report = imported(store, flow)
    assert (report.versions, report.runs) == (1, 2)
    assert report.skipped == [
        "ModelRun: 3 records of a kind that is not known here",
        "lineage/v1 TaskRun: 1 record of a kind that is not known here",
    ]


DAMAGE: dict[str, Any] = {
    "empty": b"",
    "half-written": lambda raw: raw[: len(raw) // 2],
    "no JSON": b"\x00\xff",
    "a list": b"[]",
    "a number": b"17",
    "no version": b'{"kind": "TaskRun", "spec": {}}',
    "no kind": b'{"version": "lineage/v1beta1", "spec": {}}',
    "a kind of another type": b'{"version": "lineage/v1beta1", "kind": 7, "spec": {}}',
    "a spec of another type": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": []}',
    "no path": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": {"size": 1}}',
    "a path of another type": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": {"path": ["/a"], "size": 1}}',
    "a size of another type": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": {"path": "/a", "size": "1"}}',
    "a time that is none": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": {"path": "/a", "size": 1, "modifiedAt": "now"}}',
    "a checksum of another type": b'{"version": "lineage/v1beta1", "kind": "FileOutput", "spec": {"path": "/a", "size": 1, "checksum": 1}}',
    "nested without end": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_named_and_nothing_is_imported(store: Store, flow: LineageStore, damage: str) -> None:
    flow.begin("run")
    key = flow.task("T", {"a": b"a", "b": b"b"})
    path = flow.lineage / key / "b" / ".data.json"
    raw = DAMAGE[damage]
    path.write_bytes(raw(path.read_bytes()) if callable(raw) else raw)
    entries = len(store.log())
    with pytest.raises(CorruptionError, match=r"/b/\.data\.json") as caught:
        imported(store, flow)
    assert caught.value.location == str(path)
    assert len(store.log()) == entries
    path.unlink()
    assert imported(store, flow).versions == 1


@pytest.mark.parametrize("value", [7, ["x", 1], {"x": [1]}, True, "odd"], ids=repr)
def test_fields_of_other_types_are_damage_or_passed_over(store: Store, flow: LineageStore, tmp_path: Path, value: Any) -> None:
    keys = rnaseq(flow, tmp_path / "reads.fastq")
    for kind, key in (("TaskRun", keys["fastqc"]), ("WorkflowRun", keys["workflow"]), ("TaskOutput", f"{keys['fastqc']}#output")):
        spec = flow.record(key)
        refused = []
        for field in spec:
            flow.save(key, kind, {**spec, field: value})
            with suppress(CorruptionError):
                imported(store, flow, dry_run=True)
                refused.append(field)
        flow.save(key, kind, {**spec, **dict.fromkeys(refused, value)})
        with suppress(CorruptionError):
            imported(artifactstore.open(f"memory://{tmp_path.name}-{kind}", cache=None), flow)
        flow.save(key, kind, spec)
    assert imported(store, flow).versions == 6


def test_what_is_not_a_lineage_store_is_not_found(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "absent", tmp_path / "store" / "store.json"):
        with pytest.raises(NotFoundError):
            import_from(store, str(source), name="p")
    with pytest.raises(InvalidInputError, match="at most 80"):
        import_from(store, str(tmp_path / "empty"), name="p" * 81)


def test_the_folder_that_has_the_lineage_store_will_do(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    flow.task("T", {"a": b"a"})
    assert import_from(store, str(flow.folder), name="p").versions == 1
    assert import_from(store, flow.lineage.as_uri(), name="p").versions == 0


# -- hostile


ODD_PATHS = [
    "with space.txt",
    "ümläut/ß",
    "semi;colon",
    "-dash",
    "a.b/..c",
    "..data/x",
    ".tasks/T/a",
    "quote'\"",
    "new\nline",
    "emoji 🧬",
    "#hash",
    "%41",
]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_odd_paths_are_names_of_their_own_and_keep_their_content(
    store: Store, flow: LineageStore, tmp_path: Path, path: str
) -> None:
    flow.begin("run")
    task = flow.task("T", {path: b"odd", "a": b"plain"})
    flow.publish(flow.folder_of(task) / path, path, mode="copy")
    report = imported(store, flow)
    assert (report.versions, report.names, report.skipped) == (3, 3, [])
    for lid in (f"lid://{task}/{path}", f"lid://{flow.run}/{path}"):
        (found,) = store.find(metadata={"nextflow.lid": lid})
        assert str(found.name).startswith("p/run/")
        assert store.get(found.ref).read_bytes() == b"odd"
        assert store.artifact(found.ref).files[0].path == Path(path).name
    assert imported(store, flow).versions == 0


def test_names_differ_where_paths_differ_and_always_are_names() -> None:
    runs = ["happy_euler", "a b", "", "..", ".hidden", "x" * 300, "ü"]
    tasks = [None, "FASTQC", "FASTQC (gut)", "FASTQC (gut )", "RNASEQ:ALIGN", "..", "y" * 300, "blake3"]
    paths = ["a", "a b", "a_b", "a/b", "..", "./x", "a//b", "z" * 400, "z" * 401, ".tasks/FASTQC/a", "\udcff", "\n"]
    made = [name_of("p" * 80, run, path, task) for run in runs for task in tasks for path in paths]
    assert len(set(made)) == len(made)
    for one in made:
        check_name(one)
    assert name_of("p", "run", "a/b.txt") == "p/run/a/b.txt"
    assert name_of("p", "run", "a/b.txt", "T") == "p/run/.tasks/T/a/b.txt"


@pytest.mark.parametrize(
    "path",
    [
        "/dev/zero",
        "relative",
        "",
        "\x00",
        "http://example.org/x",
        "memory://x/y",
        "file:///etc/passwd",
        "s3://",
        "s3://b",
        "s3://b/a?b",
        "x://y",
    ],
)
def test_records_that_point_to_something_else_bring_nothing(store: Store, flow: LineageStore, path: str) -> None:
    flow.begin("run")
    spec = {"path": path, "size": 0, "modifiedAt": "2026-05-09T13:27:34Z", "workflowRun": f"lid://{flow.run}"}
    flow.save(f"{flow.run}/a", "FileOutput", spec)
    report = imported(store, flow)
    assert report.versions == 0
    assert len(report.skipped) + len(report.changed) + len(report.missing) == 1
    assert not names(store)


def test_links_and_special_files_in_a_lineage_store_are_not_followed(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    flow.begin("run")
    key = flow.task("T", {"a": b"a", "b": b"b", "c": b"c"})
    path = flow.lineage / key / "b" / ".data.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    fifo = flow.lineage / key / "c" / ".data.json"
    fifo.unlink()
    os.mkfifo(fifo)
    (flow.lineage / "loop").symlink_to(flow.lineage)
    (flow.lineage / ".data.json").write_text("no record")
    deep = flow.lineage / "/".join(["d"] * 50)
    deep.mkdir(parents=True)
    assert imported(store, flow).versions == 1


def test_records_that_lead_around_in_circles_end(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    flow.begin("run")
    keys = [f"{flow.run}/{n}" for n in range(3)]
    for n, key in enumerate(keys):
        spec = flow._file(_touched(tmp_path / f"file{n}"), f"lid://{keys[(n + 1) % 3]}", None)
        flow.save(key, "FileOutput", spec)
    flow.save(f"{flow.run}/self", "FileOutput", flow._file(_touched(tmp_path / "self"), f"lid://lid://{flow.run}/self", None))
    task = flow.task("T", {"a": b"a"})
    spec = flow.record(task)
    flow.save(
        task,
        "TaskRun",
        {**spec, "input": [{"type": "path", "name": "x", "value": [f"lid://{task}/a", "lid://", "lid://../../etc"]}]},
    )
    report = imported(store, flow, run=flow.run)
    assert (report.versions, report.runs) == (5, 2)
    assert store.lineage("p/run/0").upstream()


def test_secrets_in_parameters_are_not_recorded(store: Store, flow: LineageStore) -> None:
    flow.begin("run", {"api_key": "hunter2-hunter2", "outdir": "https://jane:hunter2-hunter2@example.org/x"})
    flow.task("T", {"a": b"a"}, globalVars={"password": "hunter2-hunter2"})
    with pytest.warns(UserWarning, match="look like secrets"):
        imported(store, flow)
    assert "hunter2-hunter2" not in repr(list(store.log())) + repr([run.params for run in store.runs()])


def test_a_huge_value_is_cut(store: Store, flow: LineageStore) -> None:
    flow.begin("run", {"samples": [{"id": n, "path": "x" * 100} for n in range(1000)], "text": "y" * 10**6})
    imported(store, flow)
    run = store.runs("run")[0]
    assert all(len(json.dumps(value)) < 25_000 for value in run.params.values())


def test_a_file_without_permission_is_skipped_with_the_reason(store: Store, flow: LineageStore) -> None:
    if os.getuid() == 0:
        pytest.skip("root reads everything")
    flow.begin("run")
    folder = flow.folder_of(flow.task("T", {"sub/a": b"a", "b": b"b"}))
    (folder / "sub").chmod(0)
    report = imported(store, flow)
    (folder / "sub").chmod(0o700)
    assert (report.versions, len(report.skipped)) == (1, 1)
    assert "Permission denied" in report.skipped[0]


def test_a_file_that_changes_while_it_is_read_is_changed(
    store: Store, flow: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.begin("run")
    folder = flow.folder_of(flow.task("T", {"a": b"a" * 100, "b": b"b", "c": b"c"}))
    from artifactstore.integrations.nextflow.files import Files

    found = Files.find

    def find_and_change(self: Any, output: Any) -> Any:
        place = found(self, output)
        if place.state == "same" and output.path.endswith("/a"):
            (folder / "a").write_bytes(b"c" * 200)  # after the look, before the put
        elif place.state == "same" and output.path.endswith("/c"):
            (folder / "c").unlink()
        return place

    monkeypatch.setattr(Files, "find", find_and_change)
    report = imported(store, flow)
    lid = f"lid://{lid_key(folder, flow)}"
    assert (report.versions, report.changed, report.missing) == (1, [f"{lid}/a"], [f"{lid}/c"])
    assert store.verify(level="full").ok


def test_a_published_file_may_say_which_task_it_came_from(store: Store, flow: LineageStore, tmp_path: Path) -> None:
    flow.begin("run")
    task = f"{'b' * 32}"
    for key, name in ((task, "work"), (flow.run, "results")):
        file = tmp_path / name / "out.txt"
        file.parent.mkdir()
        file.write_text("hello\n")
        modified = datetime.fromtimestamp(file.stat().st_mtime, UTC).isoformat()
        source = f"lid://{task}" if key == task else f"lid://{task}/out.txt"
        whose = {"source": source, "workflowRun": f"lid://{flow.run}", "taskRun": f"lid://{task}"}
        spec = {"path": str(file), "size": 6, "createdAt": modified, "modifiedAt": modified, **whose}
        flow.save(f"{key}/out.txt", "FileOutput", spec)
    flow.save(task, "TaskRun", {"name": "hello", "sessionId": "s", "script": "", "workflowRun": f"lid://{flow.run}"})
    report = imported(store, flow)
    assert report.versions == 2
    assert names(store) == {"p/run/out.txt", "p/run/.tasks/hello/out.txt"}
    assert {one.id for one in store.lineage("p/run/out.txt").runs} == {f"nextflow-{flow.run}", f"nextflow-{task}"}


def test_a_file_in_the_folder_of_a_task_is_its_output_whatever_its_record_leaves_out(store: Store, flow: LineageStore) -> None:
    flow.begin("run")
    task = flow.task("T", {"a": b"a"})
    spec = flow.record(f"{task}/a")
    flow.save(f"{task}/a", "FileOutput", {key: value for key, value in spec.items() if key not in {"taskRun", "source"}})
    assert imported(store, flow).versions == 1
    assert names(store) == {"p/run/.tasks/T/a"}
    assert {one.id for one in store.lineage("p/run/.tasks/T/a").runs} == {f"nextflow-{task}"}


# -- in buckets


@pytest.mark.parametrize("service", ["s3_url", "azure_url", "gcs_url"])
def test_outputs_in_buckets_are_compared_and_stored(
    store: Store, flow: LineageStore, tmp_path: Path, request: pytest.FixtureRequest, service: str
) -> None:
    top = request.getfixturevalue(service).replace("abfs://", "az://")
    bucket = fsspec.filesystem(top.partition(":")[0], skip_instance_cache=True, use_listings_cache=False)
    for path, content in {"a": b"same", "b": b"other", "dir/x/1": b"1", "dir/2": b"2"}.items():
        bucket.pipe_file(f"{top}/work/{path}", content)
    about = bucket.info(f"{top}/work/a")
    modified = about.get("LastModified") or about.get("last_modified") or about["mtime"]
    flow.begin("run")

    def output(name: str, **fields: Any) -> None:
        whose = {"source": f"lid://{flow.run}", "workflowRun": f"lid://{flow.run}", "taskRun": None}
        spec = {"path": f"{top}/work/{name}", "size": 4, "createdAt": None, "modifiedAt": modified.isoformat(), **whose, **fields}
        flow.save(f"{flow.run}/{name}", "FileOutput", spec)

    output("a")
    output("b")  # five bytes now
    output("c")  # gone
    output("dir", size=0, modifiedAt=None)
    output("late", path=f"{top}/work/a", modifiedAt=(modified - timedelta(seconds=9)).isoformat())
    lid = f"lid://{flow.run}"
    report = imported(store, flow)
    assert (report.versions, report.missing, report.skipped) == (2, [f"{lid}/c"], [])
    assert set(report.changed) == {f"{lid}/b", f"{lid}/late"}
    assert tree(store.get("p/run/dir", tmp_path / "dir")) == {"x/1": b"1", "2": b"2"}
    assert store.get("p/run/a").read_bytes() == b"same"


def test_a_lineage_store_in_a_bucket_and_a_bucket_that_cannot_be_read(store: Store, flow: LineageStore, s3_url: str) -> None:
    flow.begin("run")
    flow.task("T", {"a": b"a"})
    for n in range(5):
        spec = {"path": f"s3://no-such-bucket-anywhere/{n}", "size": 1, "workflowRun": f"lid://{flow.run}"}
        flow.save(f"{flow.run}/{n}", "FileOutput", spec)
    bucket = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    bucket.put(str(flow.lineage), f"{s3_url}/launch/.lineage", recursive=True)
    report = import_from(store, f"{s3_url}/launch", name="p")
    assert (report.versions, report.runs, len(report.skipped)) == (1, 2, 5)
    assert report.skipped[0].startswith(f"lid://{flow.run}/0: cannot read s3://no-such-bucket-anywhere")
    assert report.skipped[-1] == f"lid://{flow.run}/4: s3://no-such-bucket-anywhere cannot be read"
    entries = len(store.log())
    again = import_from(store, f"{s3_url}/launch/.lineage", name="p")
    assert (again.versions, again.runs, len(store.log())) == (0, 0, entries)
    with pytest.raises(NotFoundError):
        import_from(store, f"{s3_url}/elsewhere", name="p")
    bucket.pipe_file(f"{s3_url}/launch/.lineage/{flow.run}/0/.data.json", b"{")
    with pytest.raises(CorruptionError, match=r"s3://.*/0/\.data\.json"):
        import_from(store, f"{s3_url}/launch", name="p")


# -- times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00Z", 0),
        ("2025-05-09T13:27:34.576590545-05:00", 1746815254576590545),
        ("2025-05-09T13:27:34.5+05:30", 1746777454500000000),
        ("2025-05-09T13:27:34+00:00[Europe/London]", 1746797254000000000),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("2025-05-09T13:27:34", None),
        ("2025-13-09T13:27:34Z", None),
        ("now", None),
    ],
)
def test_times_are_read_to_the_nanosecond(text: str, expected: int | None) -> None:
    assert nanoseconds(text) == expected


def test_times_are_equal_as_far_as_the_coarser_file_system_keeps_them() -> None:
    time = 1746815254576590545
    for coarse in (time, time // 10**3 * 10**3, time // 10**6 * 10**6, time // 10**9 * 10**9):
        assert same_time(time, coarse)
        assert same_time(coarse, time)
    assert same_time(time, (time // 10**3 + 1) * 10**3)
    assert not same_time(time, (time // 10**3 + 2) * 10**3)
    assert not same_time(time, time + 1)
    assert not same_time(time, time + 10**9)
    assert not same_time(time // 10**9 * 10**9, time + 10**9)


# -- the command


def test_the_command_reports_in_json_and_by_its_exit_code(
    store: Store, flow: LineageStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_URL", store.url)
    flow.begin("run")
    key = flow.task("T", {"a": b"a", "b": b"b"})
    (flow.folder_of(key) / "b").unlink()
    command = ["import", "nextflow", str(flow.lineage), "--name", "p"]
    assert cli([*command, "--run", f"lid://{flow.run}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "names": 2, "versions": 1, "runs": 2, "new": 1, "missing": [f"lid://{key}/b"], "changed": [], "skipped": [],
    }  # fmt: skip
    assert cli([*command, "--run", "lid://nothing"]) == 3
    assert cli(["import", "nextflow", str(flow.folder / "nothing"), "--name", "p"]) == 3
    assert cli([*command, "--cache", "x"]) == 2
    (flow.lineage / key / ".data.json").write_text("{")
    capsys.readouterr()
    assert cli(command) == 5
    assert str(flow.lineage / key / ".data.json") in capsys.readouterr().err


def test_every_failure_is_one_of_ours(store: Store, flow: LineageStore) -> None:
    with pytest.raises(ArtifactStoreError):
        import_from(store, "nosuchscheme://x/y", name="p")


# -- pointers through channels

# What BashWrapperBuilder makes of a process, without what containers and schedulers need: modules/nextflow, command-run.txt.
COMMAND_RUN = """#!/bin/bash
set -e
set -u
nxf_launch() {{
    /bin/bash -ue .command.sh
}}
nxf_main() {{
    trap 'printf -- "${{nxf_main_ret:=0}}" > .exitcode' EXIT
    cd "{folder}"
    touch .command.begin
    export NXF_TASK_WORKDIR="$PWD"
    {stage}
    set +e
    (set -o pipefail; (nxf_launch | tee .command.out) 3>&1 1>&2 2>&3 | tee .command.err) 3>&1 1>&2 2>&3 &
    wait $! || nxf_main_ret=$?
}}
nxf_main
"""


def process(folder: Path, script: str, inputs: dict[str, Path], env: dict[str, str]) -> int:
    """Run a task as Nextflow does: its inputs are links in its folder."""
    folder.mkdir(parents=True)
    stage = "\n    ".join(f'ln -s "{path}" "{name}"' for name, path in inputs.items()) or "true"
    (folder / ".command.sh").write_text(f"#!/bin/bash -ue\n{script}\n")
    (folder / ".command.run").write_text(COMMAND_RUN.format(folder=folder, stage=stage))
    done = subprocess.run(["bash", ".command.run"], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return int((folder / ".exitcode").read_text())


def page_scripts() -> list[str]:
    """The scripts of the processes on the page."""
    page = (Path(__file__).parents[2] / "docs/integrations/nextflow.md").read_text()
    found = re.findall(r'"""\n(.*?)"""', page, re.DOTALL)
    assert len(found) == 2
    return [textwrap.dedent(one) for one in found]


def test_a_pointer_goes_through_a_channel_and_is_the_same_bytes_for_the_same_content(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, evaluate = page_scripts()
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "train.py").write_text('#!/bin/sh\nmkdir model && cat "$1" > model/weights.bin\n')
    (bin_ / "evaluate.py").write_text('#!/bin/sh\nwc -c < "$1/weights.bin" > metrics.txt\n')
    (bin_ / "artifactstore").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m artifactstore "$@"\n')
    for one in bin_.iterdir():
        one.chmod(0o755)
    env = {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ARTIFACTSTORE_URL": store.url,
        "ARTIFACTSTORE_CACHE": str(tmp_path / "cache"),
        "ARTIFACTSTORE_ACTOR": "nextflow",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    (tmp_path / "s1.csv").write_text("x\n1\n")
    pointers = []
    for attempt in ("first", "again"):  # the second: its work folder was lost
        folder = tmp_path / "work" / attempt
        text = train.replace("${sample}", "s1").replace("${table}", "s1.csv").replace("${task.process}", "TRAIN")
        assert process(folder, text, {"s1.csv": tmp_path / "s1.csv"}, env) == 0
        pointers.append((folder / "model.artifact.json").read_bytes())
    assert pointers[0] == pointers[1], "so -resume finds everything downstream in its cache"
    assert len(store.versions("flow/s1/model")) == 1
    folder = tmp_path / "work" / "evaluate"
    text = evaluate.replace("${sample}", "s1").replace("${pointer}", "model.artifact.json")
    assert process(folder, text, {"model.artifact.json": tmp_path / "work" / "first" / "model.artifact.json"}, env) == 0
    assert (folder / "metrics.txt").read_text().strip() == "4"
    assert (folder / "model" / "weights.bin").read_bytes() == b"x\n1\n"
    places = [run.job["NXF_TASK_WORKDIR"] for run in store.runs() if run.name == "TRAIN"]
    assert places == [str(tmp_path / "work" / one) for one in ("first", "again")]
    edited = tmp_path / "work" / "first" / "model.artifact.json"
    edited.write_bytes(pointers[0].replace(b'"files":1', b'"files": 1'))
    assert process(tmp_path / "work" / "edited", text, {"model.artifact.json": edited}, env) == 5
