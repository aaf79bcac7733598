"""`run --strict`: a program that reads around the store, or whose code is in no commit, ends with 1, and nothing of it is put."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.store import Store
from tests.cli.conftest import Call

GIT = ("git", "-c", "user.name=ann", "-c", "user.email=ann@example")


def git(*words: str) -> None:
    subprocess.run([*GIT, *words], check=True, capture_output=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone whose code is committed, a store beside it, and a file that is in neither."""
    folder = tmp_path / "clone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(tmp_path / "cache"))
    for name in ("PYTHONPATH", "ARTIFACTSTORE_READS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "outside.csv").write_text("x\n1\n")
    (tmp_path / "raw.csv").write_text("x\n2\n")
    artifactstore.open().put(tmp_path / "raw.csv", "raw")
    git("init", "-q", "-b", "main", ".")
    (folder / ".gitignore").write_text("in/\nout*\n*.bin\n*.db\n")
    (folder / "train.py").write_text("import sys\nif __name__ == '__main__':\n    exec(sys.argv[1])\n")
    (folder / "settings.json").write_text("{}")
    commit()
    return folder


def commit() -> None:
    git("add", "-A")
    git("commit", "-qm", "code")


def strictly(
    call: Call, text: str, *options: str, program: tuple[str, ...] = (sys.executable, "train.py")
) -> tuple[int, str, str]:
    return call("run", "--strict", *options, "--", *program, text)


def last() -> Any:
    return artifactstore.open().runs()[-1]


READS_OF_THE_STORE = "import artifactstore; s = artifactstore.open(); "
GOOD = {
    "nothing": "pass",
    "an input": "open('in/raw.csv').read()",
    "the store": READS_OF_THE_STORE + "s.get('raw', to='in/there'); open('in/there/raw.csv').read()",
    "its cache": READS_OF_THE_STORE + "p = s.get('raw'); open(p).read()",
    "its own file": "open('out.txt', 'w').write('x'); open('out.txt').read()",
    "its own file, by a child": "import subprocess, sys; subprocess.run([sys.executable, '-c', \"open('out2', 'w').write('x')\"], check=True); open('out2').read()",
    "a temporary file": "import tempfile; f = tempfile.NamedTemporaryFile(); f.write(b'x'); f.seek(0); f.read()",
    "a new file to read and write": "f = open('out3', 'w+'); f.write('x'); f.seek(0); f.read()",
    "a module": "import settings_of, colorsys, json.tool",
    "what Python has": "import os; open(os.__file__).read()",
}  # fmt: skip
BAD = {
    "a file": "open('{}').read()",
    "by its number": "import os; os.close(os.open('{}', os.O_RDONLY))",
    "to change it": "open('{}', 'r+').close()",
    "before it is replaced": "open('{0}').read(); open('{0}', 'w').write('y')",
    "a child of Python": "import subprocess, sys; subprocess.run([sys.executable, '-c', \"open('{}').read()\"], check=True)",
    "a child by multiprocessing": "import multiprocessing as m; p = m.get_context('spawn').Pool(1); p.map(len, ['x']); p.apply(open('{}').read().upper); p.close(); p.join()",
    "a fork": "import os; pid = os.fork(); pid or (open('{}').read(), os._exit(0)); os.waitpid(pid, 0)",
    "a thread": "import threading; t = threading.Thread(target=lambda: open('{}').read()); t.start(); t.join()",
    "pandas' kin": "import csv; list(csv.reader(open('{}')))",
    "a map that stays": "import mmap, os; f = os.open('{}', os.O_RDONLY); kept = mmap.mmap(f, 0, prot=mmap.PROT_READ); os.close(f)",
    "while a module is imported": "import reader",
    "standard input": "import sys; sys.stdin.read()",
}  # fmt: skip


def test_what_comes_from_the_store_or_from_the_program_itself_is_no_read_around_it(place: Path, call: Call):
    (place / "settings_of.py").write_text("VALUE = 1\n")
    commit()
    code, _, err = strictly(call, "\n".join(GOOD.values()), "--in", "raw=in")
    assert code == 0, err
    run = last()
    assert (run.status, run.reads_seen, run.around, run.error) == ("finished", "strict", (), None)
    assert "strict" not in err


def test_what_is_read_around_the_store_is_named_and_ends_with_1(place: Path, call: Call):
    files = {what: place.parent / f"{number}.csv" for number, what in enumerate(BAD)}
    for file in files.values():
        file.write_text("x\n1\n")
    (place / "reader.py").write_text(f"open({str(files['while a module is imported'])!r}).read()\n")
    commit()
    text = "\n".join(BAD[what].format(file) for what, file in files.items())
    program = ("sh", "-c", f'{sys.executable} train.py "$0" < {files["standard input"]}')
    code, out, err = strictly(call, text, "--out", "model=settings.json", program=program)
    assert code == 1, err
    assert f"error: strict: {len(BAD)} files were read around the store: " in err
    run = last()
    found = {one["path"] for one in run.around}
    assert [what for what, file in files.items() if str(file) not in found] == []
    assert (run.status, run.reads_seen, len(found)) == ("failed", "partial", len(BAD)), "what the shell read is not known"
    assert all(path in str(run.error) for path in found)
    assert [one.name for one in artifactstore.open().names()] == ["raw"], "no output of it is put"
    assert out == ""


def test_a_file_of_the_code_is_read_around_the_store_too_as_gates_have_it(place: Path, call: Call):
    code, _, err = strictly(call, "open('settings.json').read()")
    assert code == 1
    assert "settings.json (stored with the code)" in err


def test_a_file_that_was_in_the_folder_of_an_input_before_is_not_the_stores(place: Path, call: Call):
    (place / "in").mkdir()
    (place / "in/old.csv").write_text("old")
    code, _, err = strictly(call, "open('in/old.csv').read()", "--in", "raw=in")
    assert code == 1
    assert "in/old.csv" in err
    assert strictly(call, "open('in/raw.csv').read()", "--in", "raw=in")[0] == 0
    assert strictly(call, "open('in/one.csv').read()", "--in", "raw=in/one.csv")[0] == 0


@pytest.mark.parametrize(
    "what", ["changed", "new", *(pytest.param(one, marks=pytest.mark.slow) for one in ("staged", "gone", "hidden"))]
)
def test_code_that_is_in_no_commit_ends_with_1_and_the_files_are_named(place: Path, call: Call, what: str):
    if what == "new":
        (place / "new.py").write_text("")
    elif what == "gone":
        (place / "settings.json").unlink()
    else:
        (place / "train.py").write_text("import sys\nexec(sys.argv[1])  # changed\n")
    if what == "staged":
        git("add", "-A")
    if what == "hidden":
        git("update-index", "--assume-unchanged", "train.py")
    name = {"new": "new.py", "gone": "settings.json"}.get(what, "train.py")
    code, _, err = strictly(call, "pass", "--out", "model=train.py")
    assert code == 1
    assert err.startswith(f"note: strict: the code is not that of a commit: {name}; commit them; this run will fail\n")
    assert f"error: strict: the code is not that of a commit: {name}; commit them" in err
    run = last()
    assert (run.status, run.code["dirty"]) == ("failed", True)
    assert len(artifactstore.open().names()) == 1


def test_a_repository_without_a_commit_is_dirty_and_no_repository_is_a_note(place: Path, call: Call, tmp_path: Path, monkeypatch):
    (tmp_path / "young").mkdir()
    monkeypatch.chdir(tmp_path / "young")
    git("init", "-q", ".")
    Path("train.py").write_text("import sys\nexec(sys.argv[1])\n")
    assert strictly(call, "pass")[0] == 1
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    Path("train.py").write_text("import sys\nexec(sys.argv[1])\n")
    code, _, err = strictly(call, "pass")
    assert code == 0
    assert "note: strict: the code is in no git repository" in err


def test_the_programs_own_exit_code_wins(place: Path, call: Call):
    code, _, err = strictly(call, f"import sys; open({str(place.parent / 'outside.csv')!r}).read(); sys.exit(3)")
    assert code == 3
    assert "error: strict: 1 files were read" in err
    assert "the program returned 3; strict: 1 files" in str(last().error)
    (place / "new.py").write_text("")
    assert strictly(call, "import os; os.kill(os.getpid(), 9)")[0] == 137


@pytest.mark.parametrize(
    "words",
    [
        (sys.executable, "-I", "-c"),
        ("true",),
        *(pytest.param(one, marks=pytest.mark.slow) for one in (("sh", "-c", "true"), (sys.executable, "-S", "-c"))),
    ],
)
def test_a_program_that_cannot_be_watched_is_noted(place: Path, call: Call, words: tuple[str, ...]):
    code, _, err = strictly(call, "pass", program=words)
    assert code == 0
    assert "note: strict: the program is none of Python" in err
    assert last().reads_seen == "partial"


def test_the_answer_as_json_names_what_is_broken(place: Path, call: Call):
    outside = str(place.parent / "outside.csv")
    code, out, _ = call("run", "--strict", "--json", "--", sys.executable, "train.py", f"print(open({outside!r}).read())")
    answer = json.loads(out)
    assert (code, answer["code"], answer["status"], answer["outputs"]) == (1, 0, "failed", [])
    assert outside in answer["broken"][0]
    code, out, _ = call("run", "--strict", "--json", "--", sys.executable, "train.py", "pass")
    assert (code, json.loads(out)["broken"]) == (0, [])


def test_the_program_finds_its_own_modules_and_customizations_as_without_being_watched(place: Path, call: Call, monkeypatch):
    own = place.parent / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import os\nos.environ['MINE'] = 'yes'\n")
    monkeypatch.setenv("PYTHONPATH", str(own))
    text = (
        "import os, sys; assert os.environ['MINE'] == 'yes'; assert not any('artifactstore-watch' in one for one in sys.path); "
        "assert 'own' in sys.modules['sitecustomize'].__file__"
    )
    code, _, err = strictly(call, text)
    assert code == 0, err
    assert "ARTIFACTSTORE_READS" not in os.environ
    assert os.environ["PYTHONPATH"] == str(own)


def test_a_child_that_goes_on_after_the_end_meets_no_error(place: Path, call: Call):
    child = "import time; time.sleep(0.5); open('out-late', 'w').write('done')"
    text = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    assert strictly(call, text)[0] == 0
    import time

    for _ in range(100):
        if (place / "out-late").exists() and (place / "out-late").read_text() == "done":
            break
        time.sleep(0.1)
    assert (place / "out-late").read_text() == "done"


def test_a_gate_that_asks_for_tracked_reads_sees_those_of_a_strict_run(place: Path, call: Call):
    outside = str(place.parent / "outside.csv")
    puts = "s.put({'a': 1}, 'model')"
    assert strictly(call, f"{READS_OF_THE_STORE}open({outside!r}).read(); {puts}")[0] == 1
    store: Store = artifactstore.open()
    store.registry.gates({"names": "*", "alias": "best", "all": [{"reads": "tracked"}]}, reason="x")
    assert "read 1 files around the store" in store.registry.check("model", "best").reasons[0]
    assert strictly(call, f"{READS_OF_THE_STORE}{puts.replace('1', '2')}")[0] == 0
    assert artifactstore.open().registry.check("model", "best").ok


def test_nonsense_in_the_file_of_reports_is_passed_over(place: Path, call: Call):
    text = "import os; open(os.environ['ARTIFACTSTORE_READS'], 'ab').write(b'zz\\n\\n61\\n7265616 \\n70726f63657373 31\\n\\xff\\xff\\n726561640a 41\\n')"
    assert strictly(call, text)[0] == 0
