"""A folder that may only be read: everything can be asked, nothing is written, and the words say so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import artifactstore

pytestmark = pytest.mark.skipif(
    not hasattr(os, "setuid") or os.geteuid() != 0 or os.name == "nt",
    reason="permissions bind no one but ordinary users: the test must become one, which takes root",
)
_PROGRAM = """
import os, sys, tempfile
import artifactstore
from artifactstore.cli import main
from artifactstore.errors import RefusedError
url = sys.argv[1]

def read(url):
    store = artifactstore.open(url, cache=None)
    assert [row.name for row in store.names()] == ["d"]
    assert store.verify(level="full").ok
    return store

# Once as root, so that every module is loaded: an ordinary user may not be able to read this interpreter's own files.
spare = tempfile.mkdtemp() + "/store"
artifactstore.open(spare, cache=None).put(b"x", "d")
read(spare)
main(["doctor", spare, "--quick", "--json"])
print("-- as an ordinary user --")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
store = read(url)
for call in (lambda: store.put(b"x", "x"), lambda: store.alias("d:v1", "good")):
    try:
        call()
    except RefusedError as error:
        assert "this user cannot write" in str(error), error
    else:
        raise AssertionError("written")
sys.exit(main(["doctor", url, "--quick"]))
"""


@pytest.mark.slow
def test_a_reader_of_a_folder_reads_and_is_refused_before_any_work(tmp_path: Path):
    folder = tmp_path / "store"
    artifactstore.open(folder).put(b"content", "d")
    for parent in (tmp_path, *tmp_path.parents):
        if parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    before = sorted(folder.rglob("*"))
    done = subprocess.run([sys.executable, "-c", _PROGRAM, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read only" in done.stdout.partition("-- as an")[2]
    assert f"{folder} for a reader: every guarantee" in done.stdout
    assert sorted(folder.rglob("*")) == before
