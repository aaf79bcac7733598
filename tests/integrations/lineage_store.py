"""Lineage stores as Nextflow writes them, by its own rules: LinObserver and DefaultLinStore, modules/nf-lineage.

Nextflow cannot be had here. What it does is written down as a small imitation: a workflow's record at its start, a task's with its
outputs when it completes (cached tasks are not recorded again), a file's when it is published, the workflow's output at its end.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

VERSION = "lineage/v1beta1"
START = datetime(2026, 5, 9, 13, 27, 30, tzinfo=UTC)

_PROCESS: dict[str, Any] = {"eval": None, "conda": None, "spack": None, "architecture": None, "globalVars": {}, "binEntries": []}


def digest(*parts: Any) -> str:
    return hashlib.md5(json.dumps(parts, default=str).encode()).hexdigest()


def time_of(path: Path) -> str:
    """A file's time as OffsetDateTime prints it, with nanoseconds."""
    seconds, nanoseconds = divmod(path.stat().st_mtime_ns, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanoseconds:09}".rstrip("0").rstrip(".") + "Z"


def checksum(path: Path | str, *, mode: str = "standard") -> dict[str, str]:
    """Nextflow's checksum of a path: of its name, size and time, whatever the mode says."""
    about = [str(path)]
    if Path(path).exists():
        found = Path(path).stat()
        about += [str(found.st_size), str(found.st_mtime_ns)]
    return {"value": digest(*about), "algorithm": "nextflow", "mode": mode}


class LineageStore:
    """A launch folder with `.lineage`, `work` and `results`."""

    def __init__(self, folder: Path, *, old: bool = False) -> None:
        self.folder, self.old = folder, old
        self.lineage, self.work, self.results = folder / ".lineage", folder / "work", folder / "results"
        self.lineage.mkdir(parents=True)
        self.session = "065bdc6b-89b4-42ee-92c1-2a5af37f2c50"
        self.run = ""
        self._outputs: list[dict[str, Any]] = []
        self.mode = "standard"

    def save(self, key: str, kind: str, spec: Mapping[str, Any], *, version: str = VERSION) -> Path:
        path = self.lineage / key / ".data.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        body = {"version": version, "type": kind, **spec} if self.old else {"version": version, "kind": kind, "spec": spec}
        path.write_text(json.dumps(body, ensure_ascii=False))
        return path

    def record(self, key: str) -> Any:
        return json.loads((self.lineage / key / ".data.json").read_text())["spec"]

    # -- a workflow

    def begin(self, name: str, params: Mapping[str, Any] | None = None, **metadata: Any) -> str:
        """onFlowBegin."""
        spec = {
            "workflow": {
                "scriptFiles": [
                    {"path": "https://github.com/nextflow-io/rnaseq-nf/tree/86165b8/main.nf", "checksum": checksum("main.nf")}
                ],
                "repository": "https://github.com/nextflow-io/rnaseq-nf",
                "commitId": "86165b8c81d43a1f57363964431395152e353e56",
            },
            "sessionId": self.session,
            "name": name,
            "params": [{"type": type(value).__name__, "name": key, "value": value} for key, value in (params or {}).items()],
            "config": {"env": {"TOWER_ACCESS_TOKEN": "hunter2"}},
            "metadata": {
                "runName": name,
                "start": START.isoformat(),
                "userName": "jane",
                "launchDir": str(self.folder),
                "workDir": str(self.work),
                "commandLine": f"nextflow run rnaseq-nf -name {name}",
                "nextflow": {"version": "26.08.0-edge", "build": 1},
                **metadata,
            },
        }
        self.run, self._outputs = digest(spec), []
        self.save(self.run, "WorkflowRun", spec)
        history = self.lineage / ".history" / self.run
        history.parent.mkdir(exist_ok=True)
        history.write_text(f"2026-05-09 13:27:30 UTC\t{name}\t{self.session}\tlid://{self.run}")
        return self.run

    def publish(self, source: Path | None, path: str, *, mode: str = "link", labels: Sequence[str] | None = None) -> str:
        """onFilePublish: by a link, or by a copy."""
        target = self.results / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source is None:
            target.write_text("an index of the workflow's own")
        elif mode == "link":
            target.symlink_to(source)
        elif source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        lid = f"lid://{self.run}" if source is None else self.lid_of(source)
        spec = self._file(target, lid, None)
        self.save(f"{self.run}/{path}", "FileOutput", {**spec, "labels": None if labels is None else list(labels)})
        self._outputs.append({"type": "Path", "name": Path(path).name, "value": f"lid://{self.run}/{path}"})
        return f"lid://{self.run}/{path}"

    def complete(self, status: str | None = None) -> None:
        """onFlowComplete; `status`: the line in Nextflow's own history."""
        if self._outputs:
            created = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
            self.save(
                f"{self.run}#output",
                "WorkflowOutput",
                {"createdAt": created, "workflowRun": f"lid://{self.run}", "output": self._outputs},
            )
        if status is not None:
            history = self.folder / ".nextflow" / "history"
            history.parent.mkdir(exist_ok=True)
            row = ["2026-05-09 13:27:30", "1m", self.record(self.run)["name"], status, "86165b8", self.session, "nextflow run"]
            with history.open("a") as file:
                file.write("\t".join(row) + "\n")

    # -- a task

    def folder_of(self, key: str) -> Path:
        return self.work / key[:2] / key[2:]

    def lid_of(self, path: Path) -> str:
        parts = path.relative_to(self.work).parts
        return f"lid://{parts[0]}{'/'.join(parts[1:])}"

    def task(
        self,
        name: str,
        outputs: Mapping[str, bytes | Mapping[str, bytes]],
        inputs: Sequence[Path | str] = (),
        *,
        code: int = 0,
        attempt: int = 0,
        kind: str = "TaskRun",
        **fields: Any,
    ) -> str:
        """onTaskComplete: a task that has run; returns its hash."""
        key = digest(self.session, name, [str(one) for one in inputs], attempt)
        folder = self.folder_of(key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".command.begin").touch()
        made = [] if code else [self._write(folder / path, content) for path, content in outputs.items()]
        (folder / ".exitcode").write_text(str(code))
        paths = [one for one in inputs if isinstance(one, Path)]
        values = [one for one in inputs if not isinstance(one, Path)]
        rows = [{"type": "path", "name": "reads", "value": [self._input(one) for one in paths]}] if paths else []
        rows += [{"type": "val", "name": f"value{n}", "value": one} for n, one in enumerate(values)]
        spec = {
            "sessionId": self.session,
            "name": name,
            "codeChecksum": checksum(name),
            **(_PROCESS if kind == "TaskRun" else {"runner": "pi", "model": "openai/gpt-5-mini"}),
            **({"script": f"run {name}"} if kind == "TaskRun" else {}),
            "input": rows or None,
            "container": "quay.io/biocontainers/fastqc:0.11.9",
            "workflowRun": f"lid://{self.run}",
            "moduleId": None,
            **fields,
        }
        self.save(key, kind, spec)
        for path in made:
            inner = path.relative_to(folder).as_posix()
            self.save(f"{key}/{inner}", "FileOutput", {**self._file(path, f"lid://{key}", f"lid://{key}"), "labels": None})
        values_ = [{"type": "path", "name": path, "value": None if code else [f"lid://{key}/{path}"]} for path in outputs]
        created = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        output = {
            "taskRun": f"lid://{key}",
            "workflowRun": f"lid://{self.run}",
            "createdAt": created,
            "output": values_,
            "labels": None,
        }
        self.save(f"{key}#output", "TaskOutput", output)
        return key

    def _write(self, path: Path, content: bytes | Mapping[str, bytes]) -> Path:
        if isinstance(content, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return path
        path.mkdir(parents=True, exist_ok=True)
        for inner, data in content.items():
            self._write(path / inner, data)
        return path

    def _input(self, path: Path) -> Any:
        if path.is_relative_to(self.work):
            return self.lid_of(path)
        return {"path": f"file://{path}", "checksum": checksum(path, mode=self.mode)}

    def _file(self, path: Path, source: str, task: str | None) -> dict[str, Any]:
        return {
            "path": str(path),
            "checksum": checksum(path, mode=self.mode),
            "source": source,
            "workflowRun": f"lid://{self.run}",
            "taskRun": task,
            "size": path.stat().st_size,
            "createdAt": time_of(path),
            "modifiedAt": time_of(path),
        }
