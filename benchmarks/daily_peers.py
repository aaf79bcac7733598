"""The steps of a day in the terms of DVC, MLflow, LaminDB and trackio.

Each works as its users have it: DVC in folders (in a git repository where it needs one), MLflow with SQLite, LaminDB with
SQLite, trackio with its own SQLite. No server, no network, telemetry off.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Final

from daily_data import kept, values
from daily_tool import FRAME, Doing, Peer, both
from peer_tools import Took, run

__all__ = ["PEERS"]


class Dvc(Peer):
    """DVC: a `.dvc` file a name, an experiment a run."""

    name = "dvc"
    package = "dvc"
    more: ClassVar = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": "{home}/site", "GIT_CONFIG_GLOBAL": "/dev/null"}
    cannot: ClassVar = {
        "all": "`dvc exp show --csv` is the row above",
        "log": "no: dvclive, another package, writes files that a commit keeps",
        "first python": "no: its Python reads only",
    }
    RUNS: ClassVar = 100  # `exp show` takes 0.1 s and more for each
    NAMES: ClassVar = 1000  # `list` takes a quarter of an hour for 10,000

    def names(self) -> Path:
        """Return a folder with many `.dvc` files and their content."""
        many = min(self.NAMES, self.asked.names)

        def make(folder: Path) -> None:
            self.command("init", "--no-scm", "--quiet", cwd=folder)
            for number in range(many):
                name, _, _ = values(number)
                content = json.dumps({"weights": number}).encode()
                digest = hashlib.md5(content).hexdigest()
                for path in (folder / name, folder / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                lines = f"outs:\n- md5: {digest}\n  size: {len(content)}\n  hash: md5\n  path: {name.split('/')[1]}\n"
                (folder / f"{name}.dvc").write_text(lines)

        return kept(self.asked.folder / f"dvc-{many}", make)

    def first(self) -> Doing:
        """A repository, a file, the file again."""

        def once() -> Took:
            home = self.root / "first"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            (home / "small.txt").write_text("a small file\n")
            words = (["init", "--no-scm", "-q"], ["add", "-q", "small.txt"], ["get", "-q", ".", "small.txt", "-o", "got"])
            return both(*(self.command(*some, cwd=home) for some in words))

        return "`dvc init --no-scm`, `add`, `get`", once

    def list(self) -> Doing:
        home = self.names()
        return f"`dvc list . -R --dvc-only`: of {min(self.NAMES, self.asked.names):,} only", lambda: self.command(
            "list", ".", "-R", "--dvc-only", cwd=home
        )

    def show(self) -> Doing:
        home, name = self.names(), values(min(77, self.asked.names - 1))[0]
        return "`dvc list . NAME --size --show-hash`", lambda: self.command("list", ".", name, "--size", "--show-hash", cwd=home)

    def frame(self) -> Doing:
        home = self.root / "frame"
        home.mkdir()
        self.command("init", "--no-scm", "-q", cwd=home)
        own = [sys.executable, "-c", f"{FRAME}df.to_parquet('table.parquet')"]  # DVC's environment has no pandas
        return (
            "`df.to_parquet`, `dvc add`",
            lambda: both(run(own, cwd=home, env=self.env), self.command("add", "-q", "table.parquet", cwd=home)),
        )

    def best(self) -> Doing:
        """A table of experiments: commits under `refs/exps`, as `dvc exp save` makes them one by one."""
        runs = min(self.RUNS, self.asked.names)

        def make(folder: Path) -> None:
            def git(*words: str, **more: object) -> str:
                return subprocess.run(
                    ["git", *words], cwd=folder, env=self.env, check=True, capture_output=True, text=True, **more
                ).stdout.strip()  # type: ignore[call-overload,no-any-return]

            git("init", "-q")
            self.command("init", "--quiet", cwd=folder)
            self.command("config", "core.analytics", "false", cwd=folder)
            _, params, metrics = values(0)
            (folder / "params.yaml").write_text(json.dumps(params))
            (folder / "metrics.json").write_text(json.dumps(metrics))
            (folder / "dvc.yaml").write_text("params:\n- params.yaml\nmetrics:\n- metrics.json\n")
            git("add", "-A")
            git("commit", "-qm", "baseline")
            head = git("rev-parse", "HEAD")
            lines = []
            for number in range(runs):
                _, params, metrics = values(number)
                lines += [f"commit refs/exps/{head[:2]}/{head[2:]}/exp-{number}", "committer n <e@example.org> 1700000000 +0000"]
                lines += ["data 3", "exp", f"from {head}"]
                for path, record in (("params.yaml", params), ("metrics.json", metrics)):
                    text = json.dumps(record)
                    lines += [f"M 100644 inline {path}", f"data {len(text)}", text]
            git("fast-import", "--quiet", input="\n".join(lines) + "\n")

        home = kept(self.asked.folder / f"dvc-runs-{runs}", make)
        words = ("exp", "show", "--csv", "--sort-by", "auc", "--sort-order", "desc")
        return f"`dvc exp show --sort-by auc`: of {runs} experiments only", lambda: self.command(*words, cwd=home)


class Mlflow(Peer):
    """MLflow: registered models, runs and artifacts of a SQLite database and a folder."""

    name = "mlflow"
    package = "mlflow"
    more: ClassVar = {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    BEGIN: ClassVar = "import sys, mlflow; mlflow.set_tracking_uri('sqlite:///' + sys.argv[1]); c = mlflow.MlflowClient()\n"
    cannot: ClassVar = {"first": "no: a run's id comes from Python, and then `mlflow artifacts log-artifact`"}
    MAKE: ClassVar = """
import json, sqlite3, time, uuid
from mlflow.entities import Metric, Param
e = mlflow.create_experiment('day', artifact_location=sys.argv[3])
lines = [json.loads(line) for line in open(sys.argv[2])]
number, name, params, metrics = lines[0]
r, now = c.create_run(e, run_name='sweep-0').info.run_id, int(time.time() * 1000)
c.log_batch(r, [Metric(k, v, now, 0) for k, v in metrics.items()], [Param(k, str(v)) for k, v in params.items()])
c.set_terminated(r)
c.create_registered_model(name.replace('/', '.'))
c.create_model_version(name.replace('/', '.'), source=f'runs:/{r}/model', run_id=r)
base = sqlite3.connect(sys.argv[1])
base.row_factory = sqlite3.Row
kept = {t: [dict(row) for row in base.execute(f'select * from {t}')]
        for t in ('runs', 'metrics', 'latest_metrics', 'params', 'tags', 'registered_models', 'model_versions')}
for number, name, params, metrics in lines[1:]:
    one, values = uuid.uuid4().hex, {**params, **metrics}
    for t, rows in kept.items():
        for row in rows:
            row = {k: v.replace(r, one) if isinstance(v, str) else v for k, v in row.items()}
            if t in ('metrics', 'latest_metrics', 'params'): row['value'] = values[row['key']]
            if t in ('registered_models', 'model_versions'): row['name'] = name.replace('/', '.')
            base.execute(f"insert into {t} ({','.join(row)}) values ({','.join('?' * len(row))})", list(row.values()))
base.commit()
"""  # the first by its client, the others as copies of those rows: its client takes 0.1 s for each

    def base(self) -> Path:
        """Return a database with that many runs and registered models."""

        def make(folder: Path) -> None:
            with (folder / "runs.jsonl").open("w") as file:
                file.writelines(json.dumps([number, *values(number)]) + "\n" for number in range(self.asked.names))
            self.python(self.BEGIN + self.MAKE, folder / "mlflow.db", folder / "runs.jsonl", (folder / "artifacts").as_uri())

        return kept(self.asked.folder / f"mlflow-{self.asked.names}", make) / "mlflow.db"

    def _asks(self, code: str, *arguments: object) -> Callable[[], Took]:
        base = self.base()
        return lambda: self.python(self.BEGIN + code, base, *arguments)

    def list(self) -> Doing:
        code = (
            "n, token = 0, None\n"
            "while True:\n"
            "    page = c.search_registered_models(max_results=1000, page_token=token); n += len(page); token = page.token\n"
            "    if not token: break\n"
            "assert n == int(sys.argv[2])"
        )
        return "`search_registered_models`, pages of 1,000", self._asks(code, self.asked.names)

    def show(self) -> Doing:
        name = values(min(77, self.asked.names - 1))[0].replace("/", ".")
        return "`get_model_version` and its run", self._asks(
            "v = c.get_model_version(sys.argv[2], '1'); print(v, c.get_run(v.run_id))", name
        )

    def best(self) -> Doing:
        code = "e = c.get_experiment_by_name('day').experiment_id; print(c.search_runs([e], order_by=['metrics.auc DESC'], max_results=20))"
        return "`search_runs(order_by=, max_results=20)`", self._asks(code)

    def all(self) -> Doing:
        code = "print(len(mlflow.search_runs(experiment_names=['day'], order_by=['metrics.auc DESC'])))"
        return "`mlflow.search_runs(order_by=)`", self._asks(code)

    def _fresh(self, code: str) -> Callable[[], Took]:
        base = self.root / "own.db"
        self.python(
            self.BEGIN + "mlflow.create_experiment('own', artifact_location=sys.argv[2])", base, (self.root / "files").as_uri()
        )
        return lambda: self.python(self.BEGIN + "mlflow.set_experiment('own')\n" + code, base)

    def frame(self) -> Doing:
        code = f"{FRAME}df.to_parquet('table.parquet')\nwith mlflow.start_run(): mlflow.log_artifact('table.parquet')"
        return "`df.to_parquet`, `mlflow.log_artifact`", self._fresh(code)

    def log(self) -> Doing:
        base = self.root / "log.db"
        code = (
            "import time; mlflow.set_experiment('log'); start, used = time.perf_counter(), time.process_time()\n"
            "with mlflow.start_run():\n"
            "    for step in range(1000): mlflow.log_metric('loss', 1 / (step + 1), step=step)\n"
            "print(time.perf_counter() - start, time.process_time() - used)"
        )
        return "`mlflow.log_metric`", lambda: self.inside(self.BEGIN + code, base)

    def first_python(self) -> Doing:
        code = (
            "mlflow.create_experiment('own', artifact_location=sys.argv[2]); mlflow.set_experiment('own')\n"
            "with mlflow.start_run() as r: mlflow.log_artifact('small.txt')\n"
            "print(mlflow.artifacts.download_artifacts(run_id=r.info.run_id, artifact_path='small.txt'))"
        )

        def once() -> Took:
            home = self.root / "first"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            (home / "small.txt").write_text("a small file\n")
            return self.python(self.BEGIN + code, home / "m.db", (home / "files").as_uri(), cwd=home)

        return "`log_artifact`, `download_artifacts`: a new database", once


class Lamindb(Peer):
    """LaminDB with SQLite and a folder; a question to its hub at each save is answered beforehand, as no network is there."""

    name = "lamindb"
    package = "lamindb"
    cannot: ClassVar = {
        "first": "no: `lamin save` asks its hub",
        "best": "no: a run has no metrics; they are features of artifacts, one by one",
        "all": "no: as above",
        "log": "no: as above",
    }
    BEGIN: ClassVar = "import sys, lamindb as ln; ln.setup.settings.instance._is_on_hub = False\n"
    MAKE: ClassVar = """
import json
from pathlib import Path
first, *lines = [json.loads(line) for line in open(sys.argv[1])]
Path('weights.json').write_text('{"weights": 0}')
a = ln.Artifact('weights.json', key=first[1] + '.json', kind='model').save()
skip = {'id', 'uid', 'key', 'hash'}
same = {f.attname: getattr(a, f.attname) for f in a._meta.concrete_fields if f.attname not in skip}
more = [ln.Artifact.__new__(ln.Artifact) for _ in lines]
from django.db import models
for (number, name, _, _), one in zip(lines, more):
    models.Model.__init__(one, uid=f'{number:016x}0000', key=f'{name}.json', hash=f'{number:022x}', **same)
ln.Artifact.objects.bulk_create(more, batch_size=500)
"""  # the first by its own call, the others as copies of that row

    @classmethod
    def program(cls) -> str:
        return "lamin"

    def _new(self, folder: Path) -> Took:
        self.env["HOME"] = str(folder)
        (folder / "work").mkdir(parents=True)
        return self.command("init", "--storage", "./store", cwd=folder / "work")

    def _asks(self, code: str, *arguments: object) -> Callable[[], Took]:
        def make(folder: Path) -> None:
            with (folder / "runs.jsonl").open("w") as file:
                file.writelines(json.dumps([number, *values(number)]) + "\n" for number in range(self.asked.names))
            self._new(folder)
            self.python(self.BEGIN + self.MAKE, folder / "runs.jsonl", cwd=folder / "work")

        base = kept(self.asked.folder / f"lamindb-{self.asked.names}", make)

        def once() -> Took:
            self.env["HOME"] = str(base)
            return self.python(self.BEGIN + code, *arguments, cwd=base / "work")

        return once

    def list(self) -> Doing:
        code = "assert len(ln.Artifact.filter().to_dataframe(limit=None)) >= int(sys.argv[1])"
        return "`ln.Artifact.filter().to_dataframe(limit=None)`", self._asks(code, self.asked.names)

    def show(self) -> Doing:
        name = values(min(77, self.asked.names - 1))[0]
        return "`ln.Artifact.get(key=NAME).describe()`", self._asks("ln.Artifact.get(key=sys.argv[1]).describe()", f"{name}.json")

    def frame(self) -> Doing:
        home = self.root / "frame"
        self._new(home)
        code = f"{self.BEGIN}{FRAME}ln.Artifact.from_dataframe(df, key='table.parquet').save()"

        def once() -> Took:
            self.env["HOME"] = str(home)
            return self.python(code, cwd=home / "work")

        return "`ln.Artifact.from_dataframe(df, key=).save()`", once

    def first_python(self) -> Doing:
        code = f"{self.BEGIN}a = ln.Artifact('small.txt', key='small.txt').save(); print(a.cache())"

        def once() -> Took:
            home = self.root / "first"
            shutil.rmtree(home, ignore_errors=True)
            made = self._new(home)
            (home / "work" / "small.txt").write_text("a small file\n")
            return both(made, self.python(code, cwd=home / "work"))

        return "`lamin init`, `ln.Artifact(…).save()`, `.cache()`", once


class Trackio(Peer):
    """trackio: metrics and artifacts of a project in SQLite."""

    name = "trackio"
    package = "trackio"
    more: ClassVar = {"HF_HOME": "{home}/hf", "HF_HUB_OFFLINE": "1", "TRACKIO_DISABLE_TELEMETRY": "1"}
    cannot: ClassVar = {"first": "no: artifacts come from Python", "all": "no: its Python gives one run at a time"}
    NAMES: ClassVar = 1000  # artifacts: putting them takes minutes a thousand
    MAKE: ClassVar = """
import json, sys, trackio
from pathlib import Path
from trackio.sqlite_storage import SQLiteStorage
trackio.init(project='day', name='all')
for line in list(open(sys.argv[1]))[:int(sys.argv[2])]:
    number, name, params, metrics = json.loads(line)
    Path('weights.json').write_text(json.dumps({'weights': number}))
    trackio.log_artifact('weights.json', name=name.replace('/', '.'), type='model')
trackio.finish()
for line in open(sys.argv[1]):
    number, name, params, metrics = json.loads(line)
    SQLiteStorage.bulk_log('day', f'sweep-{number}', [metrics], config=params)
"""

    def base(self) -> None:
        """Use a project with that many artifacts and runs."""

        def make(folder: Path) -> None:
            with (folder / "runs.jsonl").open("w") as file:
                file.writelines(json.dumps([number, *values(number)]) + "\n" for number in range(self.asked.names))
            self.env["TRACKIO_DIR"] = str(folder / "trackio")
            self.python(self.MAKE, folder / "runs.jsonl", self.NAMES, cwd=folder)

        self.env["TRACKIO_DIR"] = str(kept(self.asked.folder / f"trackio-{self.asked.names}", make) / "trackio")

    def _asks(self, *words: str) -> Callable[[], Took]:
        self.base()
        return lambda: self.command(*words)

    def list(self) -> Doing:
        few = min(self.NAMES, self.asked.names)
        return f"`trackio list artifacts --project day`: of {few:,} only", self._asks("list", "artifacts", "--project", "day")

    def show(self) -> Doing:
        name = values(min(77, self.asked.names - 1))[0].replace("/", ".")
        return "`trackio get artifact --name NAME`", self._asks("get", "artifact", "--project", "day", "--name", name)

    def best(self) -> Doing:
        sql = "select run_name, json_extract(metrics, '$.auc') as auc from metrics order by auc desc limit 20"
        return "`trackio query project --sql`", self._asks("query", "project", "--project", "day", "--sql", sql)

    def frame(self) -> Doing:
        code = f"import trackio\n{FRAME}df.to_parquet('table.parquet')\n"
        code += "trackio.init(project='own', name='own', resume='allow'); trackio.log_artifact('table.parquet', name='table'); trackio.finish()"
        return "`df.to_parquet`, `trackio.log_artifact`", lambda: self.python(code)

    def log(self) -> Doing:
        code = (
            "import time, trackio; start, used = time.perf_counter(), time.process_time(); trackio.init(project='log')\n"
            "for step in range(1000): trackio.log({'loss': 1 / (step + 1)}, step=step)\n"
            "trackio.finish(); print(time.perf_counter() - start, time.process_time() - used)"
        )
        return "`trackio.log`", lambda: self.inside(code)

    def first_python(self) -> Doing:
        code = (
            "import trackio; trackio.init(project='first'); trackio.log_artifact('small.txt', name='small')\n"
            "print(trackio.use_artifact('small:latest').download()); trackio.finish()"
        )

        def once() -> Took:
            shutil.rmtree(self.root / "hf", ignore_errors=True)
            (self.root / "small.txt").write_text("a small file\n")
            return self.python(code)

        return "`log_artifact`, `use_artifact(…).download()`: a new project", once


PEERS: Final = (Dvc, Mlflow, Lamindb, Trackio)
