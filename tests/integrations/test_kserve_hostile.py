"""The storage initializer under attack: extra files, odd targets, users without a name, full disks, what was marked as bad."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore.integrations.kserve.command import main
from tests.work.tree import tree

PROGRAM = [sys.executable, "-c", "from artifactstore.integrations.kserve.command import run; run()"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An artifact with links, one of them to a folder, and an empty folder."""
    for name in ("ARTIFACTSTORE_CACHE", "ARTIFACTSTORE_KSERVE_REQUIRE", "ARTIFACTSTORE_KSERVE_SHARE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERMINATION_LOG_PATH", str(tmp_path / "log"))
    source = tmp_path / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "model.bin").write_bytes(b"1" * 3_000_000)
    (source / "link").symlink_to("model.bin")
    (source / "folder").symlink_to("sub")
    return artifactstore.open(tmp_path / "store", cache=None).put(source, "m", kind="model")


def refused(tmp_path: Path, words: Sequence[object], error: str, word: str) -> None:
    (tmp_path / "log").unlink(missing_ok=True)
    assert main([str(one) for one in words]) == 1
    found = json.loads((tmp_path / "log").read_text())
    assert (found["error"], word in found["message"]) == (error, True), found


@pytest.mark.parametrize(
    "extra", ["x.partial/evil", ".evil.0123456789abcdef.partial/evil", "link to a folder", "sub/link", "lost+found/../f"]
)
def test_nothing_that_is_not_of_the_artifact_is_served(made: Any, tmp_path: Path, extra: str) -> None:
    dest = tmp_path / "dest"
    if "link" in extra:
        (dest / extra).parent.mkdir(parents=True)
        (dest / extra).symlink_to("/etc")
    else:
        (dest / "lost+found").mkdir(parents=True)
        (dest / extra).parent.mkdir(parents=True, exist_ok=True)
        (dest / extra).write_bytes(b"x")
    refused(tmp_path, [made.uri, dest], "already_exists", "not of the artifact")
    assert not (dest / "model.bin").exists()


def test_what_comes_into_the_target_meanwhile_starts_no_pod(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    get = artifactstore.Store.get

    def slow(self: Any, ref: str, to: Path, **more: Any) -> Any:
        found = get(self, ref, to, **more)
        (to / "evil.py").write_bytes(b"x")
        return found

    monkeypatch.setattr(artifactstore.Store, "get", slow)
    refused(tmp_path, [made.uri, tmp_path / "dest"], "already_exists", "evil.py")


def test_links_and_folders_of_the_artifact_are_its_own_when_it_starts_again(made: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert main([made.uri, str(tmp_path / "dest")]) == 0
        assert tree(tmp_path / "dest") == tree(tmp_path / "source")


def test_a_target_in_a_target_is_not_foreign_to_it(made: Any, tmp_path: Path) -> None:
    store = artifactstore.open(tmp_path / "store", cache=None)
    adapter = store.put(b"2", "adapter")
    words = [made.uri, str(tmp_path / "models"), adapter.uri, str(tmp_path / "models/adapters/one")]
    for order in (words, [*words[2:], *words[:2]], words):
        assert main(order) == 0
    assert (tmp_path / "models/model.bin").exists()
    assert len(tree(tmp_path / "models/adapters/one")) == 1
    (tmp_path / "models/adapters/other").write_bytes(b"x")
    refused(tmp_path, words, "already_exists", "adapters/other")


def test_odd_targets_are_one_line(made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "nowhere").symlink_to("gone")
    for odd in (tmp_path / "file", tmp_path / "nowhere"):
        refused(tmp_path, [made.uri, odd], "invalid_input", "must be a folder")
    monkeypatch.chdir(tmp_path)
    refused(tmp_path, [made.uri, ""], "invalid_input", "DEST")
    refused(tmp_path, [made.uri, "a", made.uri, "./a"], "invalid_input", "once")
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    assert main([made.uri, str(tmp_path / "way")]) == 0
    assert tree(tmp_path / "real") == tree(tmp_path / "source")
    refused(tmp_path, [made.uri, tmp_path / "store/packs"], "invalid_input", "inside the store")


def test_bytes_that_are_no_text_are_escaped(made: Any, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff"
    done = subprocess.run([*PROGRAM, b"artifactstore+file:///\xff#x", odd], capture_output=True, env=_env(tmp_path), check=False)
    assert done.returncode == 1
    assert json.loads(done.stderr)["source"].endswith("\udcff#x")
    assert (tmp_path / "log").read_bytes() == done.stderr
    done = subprocess.run([*PROGRAM, made.uri, odd], capture_output=True, env=_env(tmp_path), check=False)
    assert (done.returncode, json.loads(done.stdout)["files"]) == (0, 1), done.stderr


def _env(tmp_path: Path) -> dict[str, str]:
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(artifactstore.__file__).parents[1])}
    return {**path, "TERMINATION_LOG_PATH": str(tmp_path / "log"), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize(
    ("ref", "rule", "starts"),
    [
        ("m:production", "", False),
        ("m:latest", "", False),
        ("m", "", False),
        ("m:v1", "", True),
        ("m@{digest}", "", True),
        ("m@{digest}", "digest", True),
        ("m@{digest}", "alias:production", False),
        ("m:v1", "alias:production", False),
    ],
)
def test_what_is_tainted_starts_only_if_it_is_named_itself(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str, rule: str, *, starts: bool
) -> None:
    store = artifactstore.open(tmp_path / "store", cache=None)
    store.alias("m:v1", "production")
    store.registry.taint("m:v1", "trained on bad data")
    monkeypatch.setenv("ARTIFACTSTORE_KSERVE_REQUIRE", rule)
    uri = f"{made.uri.partition('#')[0]}#{ref.format(digest=made.digest)}"
    code = 0
    with pytest.warns(UserWarning, match="tainted") if starts else _nothing():
        code = main([uri, str(tmp_path / "dest")])
    assert code == (0 if starts else 1)
    assert (tmp_path / "dest").exists() is starts


class _nothing:  # noqa: N801 - as contextlib names them
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


def test_a_second_model_that_fails_fails_the_pod(made: Any, tmp_path: Path) -> None:
    store = made.uri.partition("#")[0]
    words = [made.uri, tmp_path / "first", f"{store}#nothing", tmp_path / "second", made.uri, tmp_path / "third"]
    refused(tmp_path, words, "not_found", "nothing")
    assert tree(tmp_path / "first") == tree(tmp_path / "source")
    assert not (tmp_path / "second").exists()
    assert not (tmp_path / "third").exists()


def _inside(script: str, *words: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in a mount namespace of its own."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f"mount --make-rprivate / && {script}", "sh"]
    if not shutil.which("unshare") or subprocess.run([*command[:5], "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no mount namespaces")
    return subprocess.run([*command, *map(str, words)], capture_output=True, text=True, env=env, check=False)


@pytest.mark.parametrize("cached", [False, True])
def test_a_full_disk_is_one_line_and_leaves_nothing(made: Any, tmp_path: Path, *, cached: bool) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    env = _env(tmp_path) | ({"ARTIFACTSTORE_CACHE": str(tmp_path / "cache")} if cached else {})
    script = f'mount -t tmpfs -o size=1m none {dest}; "$@"; code=$?; find {dest} >{tmp_path}/left; exit $code'
    done = _inside(script, *PROGRAM, made.uri, dest, env=env)
    assert done.returncode == 1
    assert "No space left" in json.loads(done.stderr.splitlines()[-1])["message"]
    assert (tmp_path / "left").read_text().split() == [str(dest)]
    assert json.loads((tmp_path / "log").read_text())["error"]


def test_a_target_that_is_a_mount_point_and_one_that_is_read_only(made: Any, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    env = _env(tmp_path) | {"ARTIFACTSTORE_CACHE": str(tmp_path / "cache")}
    script = f'mount -t tmpfs -o size=9m none {dest} && "$@" && cmp {dest}/model.bin {tmp_path}/source/model.bin && ls {dest}'
    done = _inside(script, *PROGRAM, made.uri, dest, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1:] == ["folder", "link", "model.bin", "sub"]
    done = _inside(f'mount -t tmpfs -o ro none {dest} && "$@"', *PROGRAM, made.uri, dest, env=env)
    assert done.returncode == 1
    assert "Read-only" in json.loads(done.stderr.splitlines()[-1])["message"]


@pytest.mark.parametrize("umask", ["000", "077", "777"])
def test_a_user_without_a_name_and_any_umask(made: Any, tmp_path: Path, umask: str) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "--map-user=12345", "true"], check=False).returncode:
        pytest.skip("this machine makes no user namespaces")
    dest = tmp_path / "dest"
    words = ["unshare", "--map-user=12345", "sh", "-c", f'umask {umask}; exec "$@"', "sh", *PROGRAM, made.uri, str(dest)]
    for cached in ({}, {"ARTIFACTSTORE_CACHE": str(tmp_path / "cache")}):
        done = subprocess.run(words, capture_output=True, text=True, env=_env(tmp_path) | cached, check=False)
        if umask == "777":  # nothing that is written can be read
            assert done.returncode == 1
            assert any('"error"' in line for line in done.stderr.splitlines())
        else:
            assert done.returncode == 0, done.stderr
            assert tree(dest) == tree(tmp_path / "source")
        subprocess.run(["chmod", "-R", "u+rwx", str(dest), str(tmp_path / "cache")], capture_output=True, check=False)
        shutil.rmtree(dest, ignore_errors=True)


@pytest.mark.parametrize("half", [{"AWS_ACCESS_KEY_ID": "x"}, {"AWS_SECRET_ACCESS_KEY": "x"}, {"AWS_PROFILE": "nothing"}])
def test_half_of_a_credential_is_one_line(
    request: pytest.FixtureRequest, made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: dict[str, str]
) -> None:
    url = str(request.getfixturevalue("s3_url"))
    artifactstore.open(tmp_path / "store", cache=None).maintenance.sync(url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in half.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0")
    assert main([f"artifactstore+{url}#m", str(tmp_path / "dest")]) == 1
    found = json.loads((tmp_path / "log").read_text())
    assert found["error"] != "crash"
    assert "redential" in found["message"] or "profile" in found["message"], found
    assert not (tmp_path / "dest").exists()
