"""Completion: what is offered for each kind of word, in real shells, without a store being opened or a server being asked."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

import artifactstore
from artifactstore.cli import main
from artifactstore.cli.completion import spec
from artifactstore.cli.completion.answer import answer, candidates, split
from artifactstore.cli.completion.scripts import SCRIPTS
from artifactstore.cli.runner import load_commands

BREAKS = " \t\n\"'@><=;|&(:"
RUN: dict[str, str] = {}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its cache, and some files; tests only read it."""
    top = tmp_path_factory.mktemp("completion")
    store = artifactstore.open(top / "store", cache=top / "cache")
    (top / "work/data").mkdir(parents=True)
    (top / "work/some file.txt").write_text("x")
    (top / "work/data/part").mkdir()
    (top / "work/data/part/a.csv").write_text("1")
    (top / "work/data/b.csv").write_text("2")
    store.put(top / "work/data", "churn/raw")
    for number in range(3):
        store.put(str(number).encode(), "churn/model")
    store.put(b"x", "solo")
    store.alias("churn/model:v2", "production")
    with store.run("train", code=False) as run:
        RUN["id"] = run.id
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARTIFACTSTORE_CACHE", str(top / "cache"))
        main(["ls", "churn/raw:v1", "--store", store.url])
    return top


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(place / "store"))
    monkeypatch.setenv("ARTIFACTSTORE_CACHE", str(place / "cache"))
    monkeypatch.chdir(place / "work")


def offered(line: str) -> tuple[str, list[str]]:
    found = candidates(split(line)[1:], load_commands)
    return found.how, [word for word, _ in found.words]


VERSIONS = ["churn/model:latest", "churn/model:production", "churn/model:v3", "churn/model:v2", "churn/model:v1"]
OFFERS: list[tuple[str, str, list[str]]] = [
    ("x ver", "space", ["verify", "verify-folder", "versions"]),
    ("x --json ver", "space", ["verify", "verify-folder", "versions"]),
    ("x --store PLACE --json ver", "space", ["verify", "verify-folder", "versions"]),
    ("x --json show so", "nospace", ["solo"]),
    ("x --store none --json show ch", "nospace", []),
    ("x completion ", "space", ["bash", "zsh", "fish", "powershell"]),
    ("x --v", "space", ["--version"]),
    ("x verify --lev", "space", ["--level"]),
    ("x verify --level ", "space", ["quick", "frames", "full"]),
    ("x verify --level=f", "space", ["--level=frames", "--level=full"]),
    ("x put data churn/new --kind ", "space", ["code", "data", "model"]),
    ("x put data ch", "space", ["churn/model", "churn/raw"]),
    ("x put da", "files", []),
    ("x show ch", "nospace", ["churn/model", "churn/raw"]),
    ("x show churn/model", "nospace", ["churn/model", *VERSIONS]),
    ("x show churn/model:", "nospace", VERSIONS),
    ("x show churn/model:v", "nospace", VERSIONS[2:]),
    ("x show churn/model:p", "nospace", VERSIONS[1:2]),
    ("x show 'churn/model:p", "nospace", VERSIONS[1:2]),
    ("x show nothing", "nospace", []),
    ("x show none:", "space", []),
    ("x get churn/raw:v1/", "nospace", ["churn/raw:v1/b.csv", "churn/raw:v1/part/"]),
    ("x cat churn/raw:latest/part/", "space", ["churn/raw:latest/part/a.csv"]),
    ("x cat churn/raw:v1/none", "space", []),
    ("x cat solo:v1/", "space", []),
    ("x get solo da", "files", []),
    ("x alias churn/model:v3 ", "space", ["production"]),
    ("x put data churn/model --alias pro", "space", ["production"]),
    *((f"x {command} churn/model:v3 ", "space", ["production"]) for command in ("promote", "gate")),
    *((f"x {command} churn/model ", "space", ["production"]) for command in ("rollback", "unalias")),
    *((f"x {command} so", "nospace", ["solo"]) for command in ("promote", "gate", "approve", "reject", "approvals", "sign", "hold", "holds", "remove", "describe", "measure")),
    *((f"x {command} so", "space", ["solo"]) for command in ("rollback", "unalias", "gates")),
    ("x measure solo a=1 --on churn/r", "nospace", ["churn/raw"]),
    ("x approve solo --meaning ", "space", ["approval", "authorship", "responsibility", "review"]),
    ("x gate solo p --keys ", "files", []),
    ("x find --uses so", "nospace", ["solo"]),
    ("x diff churn/raw ./da", "files", []),
    ("x diff so", "files", ["solo"]),
    ("x run --in solo=da", "nospace", ["solo=data/"]),
    ("x run --in so", "nospace", ["solo"]),
    ("x run --in solo=data/b", "space", ["solo=data/b.csv"]),
    ("x run -- python ", "files", []),
    ("x runs tr", "space", ["train"]),
    ("x log --limit ", "space", []),
    ("x snapshot ", "space", []),
    ("x unknown ", "files", []),
    ("x ls solo ", "space", []),
    ("x sync --store", "space", ["--store"]),
    ("x show --json so", "nospace", ["solo"]),
    ("x show --store=none ch", "nospace", []),
    ("x show --store none ch", "nospace", []),
]  # fmt: skip


@pytest.mark.parametrize(("line", "how", "words"), OFFERS)
def test_each_kind_of_word_gets_what_fits(line: str, how: str, words: list[str]):
    assert offered(line) == (how, words)


def test_runs_digests_and_named_stores_are_offered(place: Path, monkeypatch: pytest.MonkeyPatch, isolated: Path):
    digest = artifactstore.open().artifact("churn/model").digest
    (how, (word,)) = offered("x show churn/model@")
    assert how == "space"
    assert digest.startswith(word.removeprefix("churn/model@"))
    assert artifactstore.open().artifact(word).version == 3
    assert offered(f"x show {RUN['id'][:4]}")[1] == [RUN["id"][:12]]
    assert offered("x runs --compare ")[1] == [RUN["id"][:12]]
    monkeypatch.delenv("ARTIFACTSTORE_URL")
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "artifactstore/config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(f'url = "team"\n[stores.team]\nurl = "{place}/store"\n[stores.other]\nurl = "s3://none/x"\n')
    assert offered("x show --store ") == ("files", ["other", "team"])
    assert offered("x show so")[1] == offered("x show --store team so")[1] == ["solo"]
    assert offered("x show --store other so")[1] == []


def test_a_remote_store_is_completed_from_the_cache_without_asking_it(s3_url: str, monkeypatch: pytest.MonkeyPatch):
    artifactstore.open(s3_url).put(b"x", "far/away")
    artifactstore.open(s3_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for url in (s3_url, f"{s3_url}/"):
        monkeypatch.setenv("ARTIFACTSTORE_URL", url)
        assert offered("x show fa")[1] == ["far/away"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a b", ["a", "b"]), ("a b ", ["a", "b", ""]), ("a 'b c", ["a", "b c"]), ('a "b\\" c" d', ["a", 'b" c', "d"]),
        ("a b\\ c", ["a", "b c"]), ("a ''", ["a", ""]), ("a 'b'c", ["a", "bc"]), ("a \\", ["a", ""]), ("", [""]),
    ],
)  # fmt: skip
def test_an_unfinished_line_is_split_as_far_as_it_goes(line: str, words: list[str]):
    assert split(line) == words


def test_powershell_doubles_quotes_and_escapes_by_a_backtick():
    for line, words in (
        ("a 'it''s b", ["a", "it's b"]),
        ("a 'it''s' b", ["a", "it's", "b"]),
        ('a "say ""x"" b', ["a", 'say "x" b']),
        ("a '' b", ["a", "", "b"]),
        ("a b` c", ["a", "b c"]),
        (r'"C:\Program Files\astore.exe" ls', [r"C:\Program Files\astore.exe", "ls"]),
    ):
        assert split(line, "powershell") == words


def test_the_script_for_powershell_is_one_for_its_grammar():
    language = pytest.importorskip("tree_sitter_powershell")
    from tree_sitter import Language, Parser

    parser = Parser(Language(language.language()))
    script = SCRIPTS["powershell"]
    assert not parser.parse(script.encode()).root_node.has_error
    for sign in "(){}":  # what is missing is seen, so that the assertion above means something
        at = script.index(sign)
        assert parser.parse((script[:at] + script[at + 1 :]).encode()).root_node.has_error, sign


def test_bash_gets_only_what_comes_after_its_break(capfd: pytest.CaptureFixture[str]):
    for line, breaks, expected in (
        ("x show churn/model:pro", BREAKS, "production"),
        ("x show churn/model:pro", " ", "churn/model:production"),
        ("x show solo@", BREAKS, "blake3:"),
        ("x verify --level=fu", BREAKS, "full"),
    ):
        capfd.readouterr()
        assert answer(["bash", line, breaks], load_commands) == 0
        assert capfd.readouterr().out.splitlines()[1].startswith(expected)


def asked(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.argv[0] = 'artifactstore'; from artifactstore.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, *(["-X", "importtime"] if environment.pop("timed", "") else []), "-c", program, "__complete", *words],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_answer_loads_no_large_library():
    asked("zsh", "x", "sh")  # the commands are kept from now on
    done = asked("zsh", "x", "show", "churn/model:v3", timed="1")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.stdout == "nospace\nchurn/model:v3\n"
    tops = {name.partition(".")[0] for name in loaded}
    assert tops & {"typer", "click", "argparse", "pyarrow", "numpy", "fsspec", "pydantic", "rich", "asyncio", "sqlite3"} == set()
    assert {"artifactstore.store", "artifactstore.work.session.session", "artifactstore.backend.connect"} & loaded == set()


@pytest.mark.parametrize(
    "broken", ["config", "project", "cache", "no cache", "no store", "no home", "names", "words", "unknown shell", "commands"]
)
def test_whatever_is_broken_no_error_is_printed(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Path):
    monkeypatch.chdir(tmp_path)
    words, environment = ["zsh", "x", "show", "so"], {}
    if broken == "config":
        (tmp_path / "artifactstore").mkdir()
        (tmp_path / "artifactstore/config.toml").write_text("[stores\nx=")
        environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    elif broken == "project":
        (tmp_path / "pyproject.toml").write_text("[tool.artifactstore]\nulr = 1\n")
    elif broken == "cache":
        (tmp_path / "file").touch()
        environment = {"ARTIFACTSTORE_CACHE": str(tmp_path / "file")}
    elif broken == "no cache":
        environment = {"ARTIFACTSTORE_CACHE": ""}
    elif broken == "no store":
        environment = {"ARTIFACTSTORE_URL": "s3:/x\0"[:-1]}
    elif broken == "no home":
        for name in ("HOME", "ARTIFACTSTORE_CACHE", "ARTIFACTSTORE_URL", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
            monkeypatch.delenv(name, raising=False)
    elif broken == "names":
        shutil.copytree(place / "cache", tmp_path / "cache")
        for path in (tmp_path / "cache/stores").rglob("names"):
            path.write_bytes(b"\0" * 100)
        environment = {"ARTIFACTSTORE_CACHE": str(tmp_path / "cache")}
    elif broken == "words":
        words = ["zsh"]
    elif broken == "unknown shell":
        words = ["bash"]
    else:
        shutil.copytree(place / "cache", tmp_path / "cache")
        (tmp_path / "cache/commands.json").write_text("[]")
        environment = {"ARTIFACTSTORE_CACHE": str(tmp_path / "cache")}
    done = asked(*words, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert broken != "commands" or done.stdout == "nospace\nsolo\tv1\n"


def test_what_parameters_take_is_known_for_all_commands():
    main(["--version"])
    from artifactstore.cli.options import app

    group: Any = typer.main.get_command(app)
    commands = spec.commands_of(group)
    known = {parameter.name for command in group.commands.values() for parameter in command.params}
    both = {f"{name} {parameter.name}" for name, command in group.commands.items() for parameter in command.params}
    assert set(spec.KINDS) <= known | both
    options = {f"{name} {option}" for name, command in commands.items() for option in command["options"]}
    options |= {option for command in commands.values() for option in command["options"]} | both
    assert set(spec.VALUES) <= options
    for name, command in group.commands.items():
        unsaid = [
            one.name
            for one in command.params
            if one.param_type_name == "argument" and one.name not in {"text", "reason", "shell"}
        ]
        assert [one for one in unsaid if f"{name} {one}" not in spec.KINDS and one not in spec.KINDS] == [], (
            f"{name}: say in KINDS of cli/completion/spec.py what it takes"
        )
    assert json.loads(json.dumps(commands)) == commands


def test_the_script_of_each_shell_is_printed(capfd: pytest.CaptureFixture[str]):
    for shell, script in SCRIPTS.items():
        capfd.readouterr()
        assert main(["completion", shell]) == 0
        assert capfd.readouterr().out == script
        assert "astore" in script
        if shutil.which(shell) is not None:
            subprocess.run(
                [shell, "-n" if shell != "fish" else "--no-execute", "/dev/stdin"], input=script, text=True, check=True
            )
    assert main(["completion", "csh"]) == 2
    assert "no completion for 'csh': expected one of bash, zsh, fish, powershell" in capfd.readouterr().err


@pytest.fixture
def shell_environment(place: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which `artifactstore` answers shells, and prints its words otherwise."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("artifactstore", "astore"):
        text = (
            f'#!/bin/sh\nif [ "$1" = __complete ]; then exec {sys.executable} -c \'import sys; from artifactstore.cli import main; '
            'sys.exit(main())\' "$@"; fi\nprintf "ARGS:"; for a; do printf "[%s]" "$a"; done; echo " END"\n'
        )
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for shell, script in SCRIPTS.items():
        (tmp_path / shell).write_text(script)
    return {
        **{name: value for name, value in os.environ.items() if name.startswith(("ARTIFACTSTORE", "XDG", "PYTHON"))},
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ ", "LANG": "C.UTF-8",
        "PYTHONPATH": str(Path(artifactstore.__file__).parents[1]),
    }  # fmt: skip


class Terminal:
    """A shell on a pseudo-terminal."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)
        self._seen = ""

    def type(self, text: str, until: str) -> re.Match[str]:
        """Type, and wait until the screen has a pattern; returns what matched."""
        self._seen = ""
        os.write(self._fd, text.encode())
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([self._fd], [], [], 1)[0]:
                self._seen += os.read(self._fd, 65536).decode(errors="replace")
                if (found := re.search(until, self._seen)) is not None:
                    return found
        raise AssertionError(self._seen)

    def close(self) -> None:
        os.close(self._fd)
        os.waitpid(self.pid, 0)


# What is typed before the tab, a part of what then appears, and the words that the program gets.
TYPED = [
    ("artifactstore show sol", "o", "[show][solo]"),
    ("astore show churn/model:pro", "duction", "[show][churn/model:production]"),
    ("artifactstore verify --level=fu", "ll", "[verify][--level=full]"),
    ("artifactstore show churn/raw:v1/pa", "rt/", "[show][churn/raw:v1/part/]"),
    ("artifactstore put som", "e.*txt", "[put][some file.txt]"),
    ("artifactstore run --in solo=da", "ta/", "[run][--in][solo=data/]"),
]


@pytest.mark.parametrize(
    ("shell", "start", "setup"),
    [
        ("bash", ["bash", "--norc", "--noprofile", "-i"], "source ~/bash; bind 'set enable-bracketed-paste off'"),
        pytest.param("zsh", ["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source ~/zsh", marks=pytest.mark.slow),
    ],
)
def test_a_tab_completes_in_a_real_shell(shell: str, start: list[str], setup: str, shell_environment: dict[str, str]):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    asked("zsh", "x", "sh")
    terminal = Terminal(start, shell_environment)
    try:
        terminal.type(f"{setup}; echo REA''DY\n", "READY\r")
        for typed, appears, words in TYPED:
            terminal.type(f"{typed}\t", re.escape(typed[-2:]) + ".*" + appears)
            assert terminal.type("\n", r"ARGS:(.*) END")[1] == words, typed
    finally:
        terminal.close()


def test_fish_completes(shell_environment: dict[str, str]):
    if shutil.which("fish") is None:
        pytest.skip("no fish here")
    asked("zsh", "x", "sh")
    lines = "\n".join(f"complete -C {json.dumps(typed)}; echo END" for typed, _, _ in TYPED)
    done = subprocess.run(
        ["fish", "--no-config"],
        input=f"source ~/fish\n{lines}\n",
        capture_output=True,
        text=True,
        env=shell_environment,
        check=True,
    )
    found = [part.strip().splitlines() for part in done.stdout.split("END\n")[:-1]]
    first = [part[0].partition("\t")[0] for part in found]
    assert first == ["solo", "churn/model:production", "--level=full", "churn/raw:v1/part/", "some file.txt", "solo=data/"]
    assert done.stderr == ""


def test_a_notebook_offers_names(place: Path):
    completer = pytest.importorskip("IPython.core.completer")
    store = artifactstore.open()
    found = completer.IPCompleter(namespace={"store": store})
    with completer.provisionalcompleter():
        texts = [one.text for one in found.completions('store["churn/m', len('store["churn/m'))]
    assert texts == ["churn/model", "churn/model:production"]
    assert store["churn/model:production"].version == 2
    with pytest.raises(artifactstore.NotFoundError):
        store["none"]
    with pytest.raises(TypeError, match="not iterable"):
        list(store)  # type: ignore[call-overload]


def test_a_notebook_offers_names_of_a_remote_store_from_the_cache(s3_url: str, monkeypatch: pytest.MonkeyPatch):
    artifactstore.open(s3_url).put(b"x", "far/away")
    store = artifactstore.open(s3_url)
    monkeypatch.setattr(store._session.backend, "read", None)
    monkeypatch.setattr(store._session.backend, "list", None)
    assert store._ipython_key_completions_() == ["far/away"]
