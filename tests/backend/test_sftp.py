"""What SFTP must do beyond the contract: who the server is, servers that can do less, connections that break, a whole store."""

import os
import pwd
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import artifactstore
from artifactstore.backend.connect import connect
from artifactstore.backend.errors import NotAppliedError
from artifactstore.backend.sftp import protocol
from artifactstore.backend.sftp.atomic_publish import Files
from artifactstore.backend.sftp.backend import SftpBackend
from artifactstore.backend.sftp.protocol import SftpChannel, SftpStatus
from artifactstore.backend.sftp.ssh import parse_sftp_url
from artifactstore.backend.wrappers.retrying import RetryingBackend
from artifactstore.errors import (
    AlreadyExistsError,
    BackendError,
    InvalidInputError,
    NotFoundError,
    UnsupportedError,
)
from artifactstore.testing import BackendContract
from tests.servers.sshd import HOST, Sshd, sshd


def bare(url, **options):
    """A backend without retries."""
    scheme, _, rest = url.partition("://")
    single_writer = options.pop("single_writer", False)
    return SftpBackend(parse_sftp_url(scheme, rest, options), options, single_writer=single_writer)


def folder_of(url):
    return Path("/" + url.removeprefix("sftp://").partition("/")[2])


def wires(backend):
    """How many connections and sessions a backend holds."""
    return len(backend._pool._clients), len(backend._pool._wires)


def cut(backend):
    """End a backend's sessions at the server, at once and without a word."""
    ports = {client.get_transport().sock.getsockname()[1] for client in backend._pool._clients}
    killed = 0
    for process in psutil.process_iter(["name"]):
        if "sshd" in (process.info["name"] or ""):
            try:
                found = [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port in ports]
            except psutil.Error:
                continue
            if found:
                process.kill()
                killed += 1
    assert killed


# -- servers that can do less


@pytest.fixture(scope="module")
def plain_server(tmp_path_factory):
    """A server with nothing beyond version 3: no hard links, no rename that replaces, no fsync."""
    with sshd(tmp_path_factory.mktemp("plain"), subsystem="internal-sftp -P hardlink,posix-rename,fsync") as server:
        yield server


@pytest.fixture
def plain_url(plain_server, isolated, tmp_path):
    plain_server.configure(isolated)
    return f"sftp://{HOST}{tmp_path}/place"


class TestAServerWithoutExtensions(BackendContract):
    races = 10
    many = 120

    @pytest.fixture
    def backend(self, plain_url):
        backend = bare(plain_url)
        with backend._pool.wire() as wire:
            assert not wire.extensions & {"hardlink@openssh.com", "posix-rename@openssh.com", "fsync@openssh.com"}
        return backend


def test_a_file_system_without_hard_links_needs_the_promise_of_one_writer(sftp_url, monkeypatch):
    # Every file system here makes links, so the server's no is what it says of those that don't (EPERM, told as a failure).
    extended = SftpChannel.extended

    def refused(self, name, *fields):
        if name == "hardlink@openssh.com":
            raise SftpStatus(4, "Failure")
        return extended(self, name, *fields)

    monkeypatch.setattr(SftpChannel, "extended", refused)
    with pytest.raises(UnsupportedError, match="single_writer=True"):
        bare(sftp_url).create("a", b"1")
    assert not [*folder_of(sftp_url).iterdir()]
    backend = bare(sftp_url, single_writer=True)
    backend.create("a", b"1")
    with pytest.raises(AlreadyExistsError):
        backend.create("a", b"2")
    assert backend.read("a") == b"1"


def test_a_server_that_only_reads_says_so_of_each_change(tmp_path_factory, isolated, tmp_path):
    with sshd(tmp_path_factory.mktemp("reading"), subsystem="internal-sftp -R") as server:
        server.configure(isolated)
        (tmp_path / "place").mkdir()
        (tmp_path / "place" / "a").write_bytes(b"1")
        backend = bare(f"sftp://{HOST}{tmp_path}/place")
        assert backend.read("a") == b"1"
        for verb in (lambda: backend.write("b", b""), lambda: backend.create("b/c", b""), lambda: backend.delete("a")):
            with pytest.raises(BackendError, match="permission denied") as caught:
                verb()
            assert not caught.value.transient
        assert wires(backend) == (1, 1)  # a no is no reason for a new connection


# -- who the server is, and who we are


def test_a_server_that_is_not_known_is_an_error_that_says_how_to_know_it(sshd_server, isolated, tmp_path):
    sshd_server.configure(isolated)
    (isolated / ".ssh" / "known_hosts").unlink()
    url = f"sftp://{HOST}{tmp_path}/x"
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd_server.folder / "host.pub")], capture_output=True, text=True, check=True
    )
    with pytest.raises(BackendError, match=f"ssh-keyscan -p {sshd_server.port} 127") as caught:
        connect(url).read("a")
    assert not caught.value.transient
    assert shown.stdout.split()[1] in str(caught.value)
    known = tmp_path / "known"
    known.write_text(sshd_server.known_hosts)
    for options in ({"known_hosts": str(known)}, {"known_hosts": [str(known)]}, {"auto_add": True}):
        with pytest.raises(NotFoundError):
            connect(url, storage_options=options).read("a")
    assert not (isolated / ".ssh" / "known_hosts").exists()


def test_a_server_whose_key_changed_is_not_talked_to(sshd_server, isolated, tmp_path):
    sshd_server.configure(isolated)
    other = (sshd_server.folder / "user.pub").read_text().split()[1]
    (isolated / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{sshd_server.port} ssh-ed25519 {other}\n")
    for options in ({}, {"auto_add": True}):
        with pytest.raises(BackendError, match=r"differs from the one in known_hosts.*ssh-keygen -R \[127"):
            connect(f"sftp://{HOST}{tmp_path}/x", storage_options=options).read("a")


def test_who_is_not_let_in_is_told_how_to_try(sshd_server, isolated, tmp_path):
    sshd_server.configure(isolated)
    (isolated / ".ssh" / "config").unlink()
    url = f"sftp://nobody-of-that-name@127.0.0.1:{sshd_server.port}{tmp_path}/x"
    for options in ({}, {"password": "hunter22"}, {"key_filename": str(sshd_server.folder / "host")}):
        with pytest.raises(BackendError, match="rejected the login of nobody-of-that-name; try `ssh") as caught:
            connect(url, storage_options=options).read("a")
        assert "hunter22" not in str(caught.value)
        assert not caught.value.transient


@pytest.mark.slow
def test_a_key_may_be_said_and_may_be_locked(sshd_server, isolated, tmp_path):
    sshd_server.configure(isolated)
    (isolated / ".ssh" / "config").unlink()
    key = tmp_path / "key"
    key.write_bytes((sshd_server.folder / "user").read_bytes())
    key.chmod(0o600)
    url = f"ssh://127.0.0.1:{sshd_server.port}{tmp_path}/x"
    with pytest.raises(NotFoundError):
        connect(url, storage_options={"key_filename": str(key)}).read("a")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a passphrase", "-f", str(key)], check=True)
    with pytest.raises(BackendError, match=r"ssh-add|rejected the login") as caught:
        connect(url, storage_options={"key_filename": str(key)}).read("a")
    assert not caught.value.transient
    with pytest.raises(NotFoundError):
        connect(url, storage_options={"key_filename": str(key), "passphrase": "a passphrase"}).read("a")


def test_secrets_reach_no_pickle(sftp_url):
    import pickle

    with pytest.raises(InvalidInputError, match="password") as caught:
        pickle.dumps(connect(sftp_url, storage_options={"password": "hunter22"}))
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(("port", "words"), [(9, "no connection to 127.0.0.1:9")])
def test_a_server_that_is_not_there_may_be_tried_again(isolated, port, words):
    for verb in (lambda backend: backend.read("a"), lambda backend: backend.create("a", b"")):
        with pytest.raises(NotAppliedError, match=words) as caught:
            verb(bare(f"sftp://127.0.0.1:{port}/x"))
        assert caught.value.transient
    with pytest.raises(NotAppliedError, match="cannot resolve"):
        bare("sftp://no-such-host.invalid/x").read("a")


@pytest.mark.parametrize(
    "url",
    ["sftp://", "sftp://host", "sftp://host/", "sftp:///x", "sftp://host/~", "sftp://host/a/../b", "sftp://h:99999/x", "sftp://a b/x",
     "ssh://u@/x", "sftp://h/a\nb"],
)  # fmt: skip
def test_what_is_no_place_is_refused(url):
    with pytest.raises(InvalidInputError):
        connect(url)


def test_an_option_that_is_not_known_is_named():
    with pytest.raises(InvalidInputError, match=r"must not contain pasword; expected .*password") as caught:
        connect("sftp://host/x", storage_options={"pasword": "hunter22"})
    assert "hunter22" not in str(caught.value)


def test_a_folder_may_be_in_the_users_home(sshd_server, isolated):
    sshd_server.configure(isolated)
    name = f"artifactstore-test-{os.getpid()}"
    url = f"sftp://{HOST}/~/{name}/x"
    backend = connect(url)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    try:
        backend.create("a/b", b"1")
        assert (home / name / "x" / "a" / "b").read_bytes() == b"1"
        assert [item.key for item in backend.list("")] == ["a/b"]
    finally:
        backend.delete("a/b")
        for folder in ("x/a", "x", ""):
            (home / name / folder).rmdir()


# -- files


def test_what_a_crash_left_is_no_object(sftp_url):
    backend = bare(sftp_url)
    backend.write("a/b", b"1")
    (folder_of(sftp_url) / "a" / f".tmp-{'0' * 32}").write_bytes(b"half")
    assert [item.key for item in backend.list("")] == ["a/b"]
    assert [item.key for item in backend.temporaries()] == [f"a/.tmp-{'0' * 32}"]
    with pytest.raises(InvalidInputError, match="reserved for temporary files"):
        backend.write(f"a/.tmp-{'0' * 32}", b"")


def test_links_are_followed_and_what_is_no_key_is_nobodys_business(sftp_url):
    backend = bare(sftp_url)
    backend.write("a/b", b"12345")
    folder = folder_of(sftp_url)
    (folder / "a" / "ä b").write_bytes(b"x")
    (folder / "a" / "c").symlink_to("b")
    (folder / "a" / "d").symlink_to("nowhere")
    (folder / "e").symlink_to("a")
    assert {item.key: item.size for item in backend.list("")} == {"a/b": 5, "a/c": 5, "e/b": 5, "e/c": 5}


def test_a_folder_where_an_object_should_be_is_an_error_and_not_its_existence(sftp_url):
    backend = bare(sftp_url)
    backend.write("a/b", b"1")
    for verb in (lambda: backend.create("a", b"2"), lambda: backend.write("a", b"2")):
        with pytest.raises(BackendError, match="folder"):
            verb()
    assert not [path for path in folder_of(sftp_url).iterdir() if path.name.startswith(".tmp-")]


def test_what_is_missing_above_a_key_may_be_removed_at_any_time(sftp_url):
    import shutil

    backend = bare(sftp_url)
    backend.write("a/b/c", b"1")
    shutil.rmtree(folder_of(sftp_url))
    backend.write("a/b/c", b"2")
    assert backend.read("a/b/c") == b"2"


def test_a_large_object_comes_back_as_it_is_by_many_requests_at_once(sftp_url):
    data = os.urandom(9 * 2**20 + 12_345)
    backend = bare(sftp_url)
    backend.write("a", data)
    assert backend.read("a") == data
    ranges = [(offset, 100_000) for offset in range(0, len(data) - 100_000, 333_333)]
    assert backend.read_ranges("a", ranges) == [data[offset : offset + length] for offset, length in ranges]


def test_a_server_with_a_smaller_measure_is_asked_for_what_it_left_out(sftp_url, monkeypatch):
    # OpenSSH gives at most some 255 KiB for one request, whatever was asked for.
    data = os.urandom(3 * 2**20 + 5)
    backend = bare(sftp_url)
    backend.write("a", data)
    monkeypatch.setattr(protocol, "_PIECE", 2**20)
    assert backend.read("a") == data
    assert backend.read_ranges("a", [(7, 2 * 2**20), (0, 900_000)]) == [data[7 : 7 + 2 * 2**20], data[:900_000]]


# -- connections


def test_threads_share_few_connections(sftp_url):
    backend = bare(sftp_url)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda number: backend.create(f"a/{number}", b"1"), range(100)))
    clients, sessions = wires(backend)
    assert 1 <= clients <= 2
    assert sessions <= backend.concurrency


@pytest.mark.slow
def test_a_connection_that_broke_while_nobody_looked_is_made_anew(sftp_url):
    inner = bare(sftp_url)
    backend = RetryingBackend(inner)
    backend.create("a", b"1")
    cut(inner)
    assert backend.read("a") == b"1"
    cut(inner)
    backend.create("b", b"2")
    assert {item.key for item in backend.list("")} == {"a", "b"}


def test_a_connection_that_breaks_in_mid_write_leaves_nothing_under_the_name(sftp_url):
    backend = bare(sftp_url)
    backend.write("warm", b"1")

    def pieces():
        yield os.urandom(2**20)
        cut(backend)
        for _ in range(20):
            yield os.urandom(2**20)

    with pytest.raises(NotAppliedError, match="connection broke"):
        backend.write("a", pieces())
    assert [item.key for item in backend.list("")] == ["warm"]


def test_a_create_whose_reply_is_lost_is_not_sent_again(sftp_url, monkeypatch):
    connect(sftp_url).write("warm", b"1")
    publish, published = Files.publish, []

    def lost(self, wire, *rest):
        publish(self, wire, *rest)
        published.append(rest)
        raise EOFError("the connection ended")

    monkeypatch.setattr(Files, "publish", lost)
    backend = connect(sftp_url)
    with pytest.raises(BackendError) as caught:
        backend.create("a", b"1")
    assert caught.value.transient
    assert not isinstance(caught.value, NotAppliedError)
    assert len(published) == 1
    assert backend.read("a") == b"1"


@pytest.mark.slow
def test_a_forked_child_takes_nothing_of_its_parents_with_it(sftp_url):
    """The child ends as any program does, collecting what it has; the parent's connections must not notice."""
    program = f"""
import gc, os, sys, threading
from artifactstore.backend.connect import connect
backend = connect({sftp_url!r})
threads = [threading.Thread(target=backend.write, args=(f"a/{{n}}", b"1")) for n in range(12)]
[one.start() for one in threads], [one.join() for one in threads]
pool = backend.inner._pool
before = [client.get_transport() for client in pool._clients]
wires = {{id(wire) for wire in pool._wires}}
assert len(wires) > 1

def fork(uses):
    child = os.fork()
    if child == 0:
        if uses:
            assert backend.read("a/1") == b"1"
        gc.collect()
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0

def check():
    assert backend.read("a/1") == b"1"
    assert all(transport.is_active() for transport in before), "a connection was lost"
    assert wires <= {{id(wire) for wire in pool._wires}}, "a session was lost"
    assert not [wire for wire in pool._idle if wire.channel.closed], "a session was ended"

for uses in (False, True):
    fork(uses)
    check()
busy = threading.Thread(target=lambda: [backend.read("a/1") for _ in range(300)])
busy.start()
for uses in (False, True, True):
    fork(uses)
busy.join()
check()
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_store_behind_sftp_has_the_digests_of_one_in_a_folder(sftp_url, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.bin").write_bytes(os.urandom(300_000))
    (source / "b.txt").write_text("text\n" * 1000)
    digests = set()
    for number, url in enumerate((sftp_url, str(tmp_path / "store"))):
        store = artifactstore.open(url, cache=None)
        digests.add(store.put(source, "some/name").digest)
        store.alias("some/name:v1", "good", reason="it is")
        assert (store.get("some/name:good", tmp_path / f"out{number}") / "a.bin").read_bytes() == (source / "a.bin").read_bytes()
        assert store.verify(level="full").ok
    assert len(digests) == 1
    # What lies there is an ordinary store: whoever is at the server opens the folder itself.
    here = artifactstore.open(folder_of(sftp_url), cache=None)
    here.put({"a": 1}, "value")
    assert artifactstore.open(sftp_url, cache=None).get("value") == {"a": 1}


def test_many_threads_put_into_one_store_at_once(sftp_url):
    store = artifactstore.open(sftp_url, cache=None)
    store.put({"number": -1}, "warm")
    start = threading.Barrier(6)

    def put(number):
        start.wait()
        return artifactstore.open(sftp_url, cache=None).put({"number": number}, f"name/{number}").ref

    with ThreadPoolExecutor(6) as pool:
        refs = list(pool.map(put, range(6)))
    assert [store.get(ref) for ref in refs] == [{"number": number} for number in range(6)]
    assert store.verify().ok


def test_the_fixture_leads_where_it_says(sshd_server: Sshd, sftp_url):
    connect(sftp_url).write("a", b"1")
    assert (folder_of(sftp_url) / "a").read_bytes() == b"1"
    assert "Accepted publickey" in (sshd_server.folder / "log").read_text()
