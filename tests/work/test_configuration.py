"""Configuration files: what holds, where it comes from, and what is refused."""

import json
import os
import pickle
from pathlib import Path

import pytest

import artifactstore
from artifactstore import InvalidInputError
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
        ("nothing = 1", "unknown key nothing; expected url, actor, cache, stores"),
        ("url = 3", "url must be a string"),
        ('stores = "x"', "stores must be a table"),
        ("[stores.team]\nendpoint = 'x'", "must be a table with a url"),
        ("[stores.team]\nurl = 'x'\nendpoints = 'y'", "unknown key stores.team.endpoints; did you mean 'endpoint'"),
        ("[stores.'a/b']\nurl = 'x'", "cannot name a store"),
        ("url = [", "cannot read"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(user: Path, tmp_path: Path, text: str, message: str):
    user.write_text(text)
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


def test_a_file_that_others_can_change_gives_a_warning(user: Path, tmp_path: Path):
    user.write_text(f'url = "{tmp_path}/s"\n')
    user.chmod(0o666)
    with pytest.warns(UserWarning, match="other users can change"):
        artifactstore.open()


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
    assert main(["config", "--store", "mine"]) == 0
    assert f"{tmp_path}/mine" in capfd.readouterr().out
