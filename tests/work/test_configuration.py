"""Configuration files: what holds, where it comes from, and what is refused."""

import json
import os
import pickle
import warnings
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError
from artifactstore.backend.wrappers.range_cache import cache_limit
from artifactstore.cli import main


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's file; the current folder is an empty project."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "project/deep").mkdir(parents=True)
    (tmp_path / "config/artifactstore").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project/deep")
    return tmp_path / "config/artifactstore/config.toml"


def project(tmp_path: Path, text: str) -> None:
    (tmp_path / "project/pyproject.toml").write_text(text)


def test_a_store_has_a_name(user: Path, tmp_path: Path):
    user.write_text(f'[stores.team]\nurl = "{tmp_path}/team"\n\n[stores.mine]\nurl = "near"\n')
    artifactstore.open("team").put(b"x", "a")
    assert artifactstore.open("team").url == f"{tmp_path}/team"
    assert artifactstore.open("mine").url == f"{user.parent}/near"
    assert artifactstore.open("./team").url == str(tmp_path / "project/deep/team")
    assert artifactstore.open("other").url == str(tmp_path / "project/deep/other")
    assert pickle.loads(pickle.dumps(artifactstore.open("team"))).get("a") == b"x"
    assert main(["ls", "--store", "team"]) == 0


def test_the_project_goes_before_the_user_and_a_variable_before_both(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    user.write_text(f'url = "mine"\nactor = "user"\n[stores.mine]\nurl = "{tmp_path}/of-user"\n')
    assert artifactstore.open().url == f"{tmp_path}/of-user"
    project(tmp_path, '[tool.artifactstore]\nurl = "mine"\n[tool.artifactstore.stores.mine]\nurl = "of-project"\n')
    assert artifactstore.open().url == str(tmp_path / "project/of-project")
    store = artifactstore.open()
    store.put(b"x", "a")
    assert (store.log()[-1].actor, store.log()[-1].identity) == ("user", "claimed")
    monkeypatch.setenv("ARTIFACTSTORE_URL", "mine")
    assert artifactstore.open().url == str(tmp_path / "project/of-project")
    monkeypatch.setenv("ARTIFACTSTORE_URL", str(tmp_path / "env"))
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "me")
    store = artifactstore.open()
    store.put(b"x", "a")
    assert (store.url, store.log()[-1].actor) == (str(tmp_path / "env"), "me")


def test_endpoint_and_profile_reach_the_backend(user: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch):
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    user.write_text(f'[stores.team]\nurl = "{s3_url}"\nendpoint = "{endpoint}"\n')
    artifactstore.open("team").put(b"x", "a")
    assert artifactstore.open(s3_url, storage_options={"endpoint_url": endpoint}).get("a") == b"x"


def test_the_cache_folder(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ARTIFACTSTORE_CACHE", raising=False)
    user.write_text(f'cache = "{tmp_path}/own-cache"\n')
    artifactstore.open(tmp_path / "s").put(b"x", "a")
    assert (tmp_path / "own-cache").is_dir()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('urll = "x"', "unknown key urll; did you mean 'url'"),
        ("nothing = 1", "unknown key nothing; expected url, actor, identity, prefix, cache, cache_bytes, stores"),
        ("url = 3", "url must be a string"),
        ('stores = "x"', "stores must be a table"),
        ("[stores.team]\nendpoint = 'x'", "must be a table with a url"),
        ("[stores.team]\nurl = 'x'\nendpoints = 'y'", "unknown key stores.team.endpoints; did you mean 'endpoint'"),
        ("[stores.'a/b']\nurl = 'x'", "cannot name a store"),
        ("cache_bytes = [1]", "cache_bytes must be a string or a whole number"),
        ("cache_bytes = true", "cache_bytes must be a string or a whole number, got True"),
        ("cache_bytes = 'lots'", "cache_bytes must be a number of bytes such as 5000000000 or '5 GB', not 'lots'"),
        ("prefix = 1", "prefix must be a string"),
        ("url = [", "cannot read"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(user: Path, tmp_path: Path, text: str, message: str):
    user.write_text(text)
    if "not 'lots'" in message:
        with pytest.raises(InvalidInputError, match="cache_bytes must be a number of bytes"):
            artifactstore.open(tmp_path / "s").put(Path(__file__), "x").files, main(["config"]), cache_limit()
        return
    with pytest.raises(InvalidInputError, match=r"config\.toml") as error:
        artifactstore.open()
    assert message in str(error.value)
    user.unlink()
    project(tmp_path, "[tool.artifactstore]\n" + text.replace("[stores", "[tool.artifactstore.stores"))
    with pytest.raises(InvalidInputError, match=r"pyproject\.toml") as error:
        artifactstore.open()
    assert message in str(error.value)


def test_a_file_that_is_no_toml_does_not_stop_a_store_with_a_url(user: Path, tmp_path: Path):
    user.write_text("url = [")
    project(tmp_path, "nothing of it is TOML")
    artifactstore.open(tmp_path / "s").put(b"x", "a")


@pytest.mark.parametrize(("whose", "mode", "warnings_"), [
    ("user", 0o666, 1), ("user", 0o602, 1), ("user", 0o644, 0), ("user", 0o600, 0), ("user", 0o664, 0),
    ("project", 0o666, 1), ("project", 0o664, 0), ("project", 0o644, 0),
])  # fmt: skip
def test_a_file_that_others_can_change_gives_one_warning(user: Path, tmp_path: Path, whose: str, mode: int, warnings_: int):
    path = user if whose == "user" else tmp_path / "project/pyproject.toml"
    user.write_text(f'url = "{tmp_path}/s"\n') if whose == "user" else project(tmp_path, "[tool.artifactstore]\nurl = 's'\n")
    path.chmod(mode)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            artifactstore.open()
    expected = [f"other users can change {path}, which decides what your stores are: chmod go-w {path}"] * warnings_
    assert [str(one.message) for one in caught] == expected


def test_a_relative_name_begins_with_the_prefix_at_every_door(user: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    store = artifactstore.open(tmp_path / "s")
    for call in (lambda: store.put(b"x", "./model"), lambda: store.get("./model"), lambda: store.names("./")):
        with pytest.raises(InvalidInputError, match=r"'\./(model)?' is relative to a prefix, and none is configured"):
            call()
    user.write_text('prefix = "team/churn/"\n')
    made = store.put(b"x", "./model", aliases=["best"])
    assert made.name == "team/churn/model"
    store.put(b"y", "model")
    assert (
        store.get("./model")
        == store.get("./model:best")
        == store.get("./model", version=1)
        == store.get("team/churn/model")
        == b"x"
    )
    assert store.get("model") == b"y"
    assert [one.name for one in store.names("./")] == [one.name for one in store.find(name="./mod*")] == ["team/churn/model"]
    assert [one.version for one in store.versions("./model")] == [1]
    assert {event.name for event in store.log(name="./model") if event.name} == {"team/churn/model"}
    store.alias("./model:v1", "prod")
    store.registry.unalias("./model", "prod", "over")
    assert store.exists("./model:best")
    assert not store.exists("./model:prod")
    with store.run("train", code=False) as run:
        run.get("./model")
        run.put(b"z", "./out")
    assert store.artifact("./out").inputs[0].ref == "team/churn/model:v1"
    assert {one.name for one in store.lineage("./out").runs} == {"train"}
    assert not store.diff("./model", "team/churn/model:v1")
    copy = artifactstore.open(tmp_path / "copy")
    store.maintenance.sync(copy.url, names=["./m*"])
    assert [one.name for one in copy.names()] == ["team/churn/model"]
    for words in (["ls", "./"], ["ls", "./mod*"], ["versions", "./model"], ["show", "./model"], ["ls", "./model:v1"]):
        assert main([*words, "--store", store.url]) == 0, words
    user.write_text('prefix = "not a name"\n')
    with pytest.raises(InvalidInputError, match="'not a name/model' is not a reference"):
        store.get("./model")


@pytest.mark.parametrize(
    ("value", "limit"), [("5000", 5000), ("'5 GB'", 5 * 10**9), ("'1.5kB'", 1500), ("'2 GiB'", 2 * 2**30), ("'1e6'", 10**6)]
)
def test_the_size_of_the_cache_can_be_configured(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, limit: int
):
    monkeypatch.delenv("ARTIFACTSTORE_CACHE_BYTES", raising=False)
    user.write_text(f"cache_bytes = {value}\n")
    artifactstore.open(tmp_path / "s")
    assert cache_limit() == limit
    monkeypatch.setenv("ARTIFACTSTORE_CACHE_BYTES", "7 MB")
    assert cache_limit() == 7 * 10**6
    user.unlink()
    monkeypatch.delenv("ARTIFACTSTORE_CACHE_BYTES")
    artifactstore.open(tmp_path / "s")
    assert cache_limit() == 20 * 10**9


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["ls", "--at", "1", "--at", "2"], "--at is passed with several values, 1 and 2"),
        (["ls", "--store", "a", "--store=b"], "--store is passed with several values, a and b"),
        (["runs", "-n", "1", "--limit", "2"], "--limit is passed with several values, 1 and 2"),
        (["show", "x:v1@blake3:abcdef"], "has 2 selectors, :v1 and @blake3:abcdef"),
        (["show", "a/x@blake3:abcdef:best/p"], "has 2 selectors, @blake3:abcdef and :best"),
        (["show", "x:v1:v2"], "has 2 selectors, :v1 and :v2"),
    ],
)
def test_what_contradicts_itself_is_refused(user: Path, words: list[str], text: str, capfd: pytest.CaptureFixture[str]):
    assert main(words) == 2
    assert text in capfd.readouterr().err


def test_an_option_may_be_repeated_with_the_same_value(user: Path, tmp_path: Path):
    artifactstore.open(tmp_path / "s").put(b"x", "x")
    url = str(tmp_path / "s")
    assert main(["ls", "--store", url, "--store", url]) == 0
    store = artifactstore.open(url)
    for call in (
        lambda: store.get("x:v1", version=2),
        lambda: store.get("x", version=1, alias="best"),
        lambda: store.artifact("x:v1", alias="b"),
    ):
        with pytest.raises(InvalidInputError, match="pass"):
            call()


def test_the_command_says_where_each_setting_comes_from(
    user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    user.write_text(f'url = "team"\n[stores.team]\nurl = "s3://user:secret@bucket/x"\n[stores.mine]\nurl = "{tmp_path}/mine"\n')
    monkeypatch.setenv("ARTIFACTSTORE_ACTOR", "me")
    assert main(["config", "--json"]) == 0
    out = capfd.readouterr().out
    assert "secret" not in out
    found = {row["setting"]: (row["value"], row["origin"]) for row in json.loads(out)}
    assert found["store"][1] == str(user)
    assert found["store mine"] == (f"{tmp_path}/mine", str(user))
    assert found["actor"] == ("me", "$ARTIFACTSTORE_ACTOR")
    assert found["retry seconds"] == ("300", "the default")
    assert found["prefix"] == ("none", "the default")
    names = {"store", "store mine", "store team", "actor", "identity", "prefix"}
    names |= {"cache", "cache bytes", "offline", "retry seconds", "rescue"}
    assert found["identity"] == ("none", "the default")
    assert set(found) == {*names, "user's file", "version"}
    assert main(["config", "--store", "mine"]) == 0
    assert f"{tmp_path}/mine" in capfd.readouterr().out
