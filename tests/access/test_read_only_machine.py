"""A machine as containers often are: its root is read-only, its user unknown and without a home, there is no git."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux")
    or os.geteuid() != 0
    or shutil.which("setpriv") is None
    or shutil.which("unshare") is None,
    reason="needs root on Linux, unshare and setpriv",
)

_MOUNTS = """
mount --make-rprivate / && mount -t tmpfs none "$1/disk" && chmod 777 "$1/disk" || exit 77
for point in $(awk '{print $2}' /proc/mounts | grep -v -e '^/proc' -e '^/sys' -e '^/dev' -e "^$1/disk"); do
    mount -o remount,ro,bind "$point" || exit 77
done
"""
# Root alone may read this interpreter's files: the right to read everything is kept, that to write is not.
_USER = "exec setpriv --reuid 61234 --regid 61234 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
_WORK = """
import contextlib, io, json, os, sys, warnings
base, found = sys.argv[1], {}
os.chdir(base)
try:
    open("/tmp/any", "w")
except OSError:
    pass
else:
    sys.exit(77)
import artifactstore
from artifactstore.cli import main
import pandas

def note(name, do):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            value = do()
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
    found[name] = [value if isinstance(value, (int, str, bool)) else repr(value), [str(one.message) for one in said]]

def work(name, url, mode):
    store = None
    def begin():
        nonlocal store
        store = artifactstore.open(url, mode)
    note(f"{name} open", begin)
    if mode == "a":
        note(f"{name} put", lambda: store.put(base + "/src", "d").ref)
        note(f"{name} put object", lambda: store.put({"a": 1}, "o").ref)
        note(f"{name} put table", lambda: store.put(pandas.DataFrame({"x": [1]}), "t").ref)
        def run():
            with store.run("train", params={"x": 1}) as run:
                run.get("o")
                run.put({"b": 2}, "p")
            return run.info.status if hasattr(run, "info") else "finished"
        note(f"{name} run", run)
        note(f"{name} get to", lambda: (store.get("d", to=base + "/disk/out") / "a").read_text())
        note(f"{name} sync", lambda: store.maintenance.sync(base + "/disk/copy").kind)
    note(f"{name} get object", lambda: json.dumps(store.get("o")))
    note(f"{name} get table", lambda: int(store.get("t")["x"][0]))
    note(f"{name} open_file", lambda: store.open_file("d", "a").read().decode())
    note(f"{name} lineage", lambda: "o:v1" in str(store.lineage("p").upstream()))
    note(f"{name} verify", lambda: store.verify(level="full").ok)
    note(f"{name} get folder", lambda: str(store.get("d")))
    os.environ["ARTIFACTSTORE_URL"] = url
    commands = [["ls"], ["log"], ["verify"], ["lineage", "p"], ["why", "o", "p"], ["head"], ["versions", "d"], ["cat", "d:v1/a"]]
    if mode == "a":
        commands += [["put", base + "/src", "d"], ["get", "d", base + "/disk/out2"], ["doctor", url]]
        commands += [["run", "--", sys.executable, "-c", "pass"]]
    for command in commands:
        out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
        def call():
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                return main(command)
        note(f"{name} $ {command[0]}", call)
        found[f"{name} $ {command[0]}"][1] += [line for line in err.getvalue().splitlines() if line.startswith(("note:", "error", "Trace"))]

work("own", base + "/disk/store", "a")
work("read-only", base + "/store", "r")
sys.__stdout__.write(json.dumps(found))
"""


@pytest.mark.slow
def test_every_main_command_works_there_with_at_most_one_warning(tmp_path: Path):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "disk").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a").write_text("a")
    store = artifactstore.create(tmp_path / "store", cache=None)
    store.put(tmp_path / "src", "d")
    store.put({"a": 1}, "o")
    import pandas as pd

    store.put(pd.DataFrame({"x": [1]}), "t")
    with store.run("train", code=False) as run:
        run.get("o")
        run.put({"b": 2}, "p")
    lines = f'{_MOUNTS}PATH=/nonexistent {_USER} "$2" -c "$3" "$1"'
    lines = lines.replace(
        "PATH=/nonexistent exec setpriv", "setpriv=$(command -v setpriv); export PATH=/nonexistent; exec $setpriv"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(artifactstore.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["unshare", "-m", "sh", "-c", lines, "sh", str(tmp_path), sys.executable, _WORK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 77 or done.stderr.startswith(("unshare", "setpriv")):
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = json.loads(done.stdout)
    right = {
        "open": "None",
        "put": "d:v1",
        "put object": "o:v1",
        "put table": "t:v1",
        "run": "finished",
        "get to": "a",
        "sync": "replica",
        "get object": '{"a": 1}',
        "get table": 1,
        "open_file": "a",
        "lineage": True,
        "verify": True,
        "$ why": 1,  # they differ
    }
    for what, (value, said) in found.items():
        store_, _, action = what.partition(" ")
        if action == "get folder":
            assert "pass to= to choose a folder" in value  # no folder is left that could hold it
            continue
        assert value == right.get(action, 0), (what, value, said)
        # An opened store warns once, and each command opens it.
        few = 1 if action == "open" or action.startswith("$") else 0
        assert len(said) <= few, (what, said)
        assert all("no home folder" in one for one in said), (what, said)
        assert store_ in {"own", "read-only"}
