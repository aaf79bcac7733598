"""Real connections that break, servers that are busy, bytes that change on their way: each verb does what it should or says why."""

import os
import random
import re
import warnings

import pytest

from artifactstore.backend.buffers import content_md5
from artifactstore.backend.connect import connect
from artifactstore.backend.errors import NotAppliedError, ThrottledError
from artifactstore.backend.s3.backend import S3Backend
from artifactstore.errors import AlreadyExistsError, BackendError, NotFoundError
from tests.servers.moto import SECRET_KEY
from tests.servers.proxy import BENIGN, DAMAGE, LIES, FaultProxy, scripted, seeded, seeds

DATA = bytes(range(256)) * 40
BIG = bytes(range(256)) * 2**11  # enough to be watched on its way
VERBS = {
    "read": lambda backend: backend.read("there"),
    "read_ranges": lambda backend: backend.read_ranges("there", [(10, 300), (5000, 100)]),
    "write": lambda backend: backend.write("new", BIG),
    "create": lambda backend: backend.create("new", DATA),
    "list": lambda backend: sorted(item.key for item in backend.list("")),
    "delete": lambda backend: backend.delete("going"),
    "size": lambda backend: backend.size("there"),
}
SHOULD = {
    "read": DATA,
    "read_ranges": [DATA[10:310], DATA[5000:5100]],
    "list": ["going", "there"],
    "size": len(DATA),
}
# The check of ranges is the reader's, who knows digests; a page of HTML to a DELETE looks like its yes.
UNSEEN = {
    ("flipped", "read_ranges"),
    ("flipped", "list"),
    ("swallowed-tagged", "read_ranges"),
    ("swallowed-tagged", "size"),
    *((lie, "delete") for lie in LIES),
}


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What waits says so after some seconds; that is meant here."""
    warnings.filterwarnings("ignore", "s3://.*does not answer", UserWarning)


def prepare(backend):
    backend.write("there", DATA)
    backend.write("going", b"")
    backend.delete("new")


@pytest.fixture
def place(faulty_s3):
    proxy, url = faulty_s3
    backend = connect(url)
    prepare(backend)
    return proxy, backend


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted({*BENIGN, *DAMAGE, *LIES}))
def test_a_fault_that_passes_is_overcome_by_every_verb(place, fault):
    proxy, backend = place
    for verb in VERBS:
        if (fault, verb) not in UNSEEN:
            prepare(backend)
            overcome(proxy, backend, fault, verb)


def overcome(proxy, backend, fault, verb):
    before = len(proxy.log)
    proxy.plan = scripted(fault if fault in LIES else f"{fault} {fault}")
    denied = False
    try:
        answer = VERBS[verb](backend)
    except AlreadyExistsError:
        denied, answer = True, None
    except BackendError as error:
        # Whether it landed is not known below the journal: it must not be sent again here.
        if not error.transient or fault in {"409", "slow", "duplicate"}:
            raise
        denied, answer = True, None
    assert proxy.log[before].fault == fault
    proxy.settle()
    proxy.plan = scripted("")
    if denied:
        assert verb == "create"  # refused by its own first try, or unknown
    assert answer == SHOULD.get(verb)
    if verb == "create" and denied:
        try:
            assert backend.read("new") == DATA
        except NotFoundError:
            backend.create("new", DATA)
    keys = [item.key for item in backend.list("")]
    assert "there" in keys
    assert backend.read("there") == DATA
    if verb in {"write", "create"}:
        assert backend.read("new") == (BIG if verb == "write" else DATA)
    else:
        assert "new" not in keys
    assert ("going" not in keys) == (verb == "delete")


LASTING = {
    "403": ("AccessDenied", "check the credentials"),
    "expired": ("ExpiredToken", "log in again, or set new credentials"),
    "skewed": ("RequestTimeTooSkewed", "s ahead of this machine's: set this machine's clock"),
    "redirect": ("redirects to other.example", "set AWS_ENDPOINT_URL"),
    "moved": ("301|PermanentRedirect", "AWS_REGION=eu-west-7"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", LASTING)
def test_a_fault_that_stays_is_one_error_that_says_what_to_do(place, fault):
    proxy, backend = place
    for verb in VERBS:
        refused(proxy, backend, fault, verb)


def refused(proxy, backend, fault, verb):
    proxy.plan = lambda _: fault
    before = len(proxy.log)
    with pytest.raises(BackendError) as caught:
        VERBS[verb](backend)
    assert not caught.value.transient
    asked = proxy.log[before:]
    assert len(asked) <= 4, asked  # two ranges; the bucket's region is asked for once; nothing is hammered
    said = str(caught.value)
    code, advice = LASTING[fault]
    if verb != "size":  # a HEAD's reply has no words
        assert re.search(code, said), said
        assert advice in said
    assert backend.url in said
    assert SECRET_KEY not in said
    proxy.plan = scripted("")
    assert sorted(item.key for item in backend.list("")) == ["going", "there"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_giving_up_says_for_how_long_it_was_tried(place, verb, monkeypatch):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "0.5")
    proxy, backend = place
    proxy.plan = lambda _: "slowdown"
    with pytest.raises(BackendError) as caught:
        VERBS[verb](backend)
    assert caught.value.transient
    if verb != "create":  # whose reply is not known to be a no
        assert isinstance(caught.value, ThrottledError | NotAppliedError)
        assert "SlowDown" in str(caught.value) or "503" in str(caught.value)
        assert backend.url in str(caught.value)
        assert "tried " in str(caught.value)
        assert "ARTIFACTSTORE_RETRY_SECONDS" in str(caught.value)
    proxy.plan = scripted("")
    assert sorted(item.key for item in S3Backend(backend.url).list("")) == ["going", "there"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    ["lost-reply", "ok ok cut-request", "ok ok flipped-request", "ok ok ok lost-reply", "ok ok ok failed-200", "ok ok ok page"],
)
def test_an_object_in_parts_survives_a_fault_at_each_of_its_requests(place, script):
    proxy, backend = place
    piece = os.urandom(2**20)
    proxy.plan = scripted(script)
    backend.write("large", (piece for _ in range(66)))
    proxy.plan = scripted("")
    proxy.settle()
    assert backend.size("large") == 66 * 2**20
    assert backend.read_ranges("large", [(2**20 * n + 5, 1000) for n in (0, 63, 64, 65)]) == [piece[5:1005]] * 4


def test_a_redirect_is_followed_and_a_refusal_there_names_the_host(place, s3_server):
    proxy, backend = place
    proxy.plan = lambda _: "away"
    backend.write("new", DATA)  # moto takes unsigned writes: the signature is for the first host alone
    host = s3_server.removeprefix("http://")
    for call in (lambda: backend.read("there"), lambda: backend.size("there"), lambda: backend.delete("there")):
        with pytest.raises(BackendError, match=f"the reply came from {host}.*set AWS_ENDPOINT_URL to that") as caught:
            call()
        assert not caught.value.transient
    proxy.plan = scripted("")
    assert backend.read("new") == backend.read("there") == DATA


def test_what_the_server_did_not_check_is_mended_by_the_writer(place):
    """moto takes whatever comes for the bytes that were sent, whatever their MD5 says."""
    proxy, backend = place
    for number, call in enumerate((backend.write, backend.create)):
        proxy.plan = scripted("flipped-request ok 503 reset 500")  # also where the look and the mending don't go smoothly
        call(f"hurt/{number}", DATA)
        proxy.plan = scripted("")
        assert backend.read(f"hurt/{number}") == DATA


def test_a_server_whose_etags_are_no_md5_is_not_asked_twice_for_ever(place, monkeypatch):
    proxy, backend = place
    monkeypatch.setattr("artifactstore.backend.s3.checksums.content_md5", lambda data: content_md5(bytes(data)[::-1] + b"."))
    other = connect(backend.url)
    assert other.read("there") == DATA
    before = len(proxy.log)
    assert other.read("there") == DATA
    other.write("new", DATA)
    assert other.read("new") == DATA
    assert len(proxy.log) - before == 3


def test_a_no_that_is_damaged_is_asked_for_again(place):
    """A 404 without the words that a missing key has, and a listing that doesn't come: nothing is known yet."""
    proxy, backend = place
    proxy.plan = scripted("truncated 500 truncated reset")
    with pytest.raises(NotFoundError):
        backend.read("missing")


def test_what_another_has_written_is_never_mended(place):
    """A yes that is none, with a tag of its own, to a create that another was faster with."""
    proxy, backend = place
    backend.write("theirs", b"theirs")
    proxy.plan = scripted("swallowed-tagged")
    with pytest.raises(BackendError):
        backend.create("theirs", b"mine")
    proxy.plan = scripted("")
    assert backend.read("theirs") == b"theirs"


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(4))
def test_many_calls_over_a_bad_network_keep_to_the_contract(s3_server, s3_url, monkeypatch, seed):
    monkeypatch.setenv("ARTIFACTSTORE_RETRY_SECONDS", "60")
    draw = random.Random(seed)
    with FaultProxy(s3_server, seeded(seed, 0.25, (*BENIGN, *DAMAGE)), late=0.2) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        backend = connect(s3_url)
        kept: dict[str, bytes] = {}
        unknown: dict[str, bytes] = {}
        gone: set[str] = set()
        for number in range(60):
            key, data = f"a/{number}", draw.randbytes(draw.choice((0, 10, 5000, 400_000)))
            match draw.choice(("write", "create", "read", "size", "delete", "list")):
                case "write":
                    backend.write(key, data)
                    kept[key] = data
                case "create":
                    try:
                        backend.create(key, data)
                        kept[key] = data
                    except AlreadyExistsError:
                        kept[key] = data  # by its own first try: nobody else is here
                    except BackendError as error:
                        if not error.transient:
                            raise
                        unknown[key] = data
                case "read" if kept:
                    key = draw.choice(sorted(kept))
                    assert backend.read(key) == kept[key]
                case "size" if kept:
                    key = draw.choice(sorted(kept))
                    assert backend.size(key) == len(kept[key])
                case "delete" if kept:
                    key = draw.choice(sorted(kept))
                    backend.delete(key)
                    del kept[key]
                    gone.add(key)
                case "list":
                    with proxy.still():  # a flipped bit in a key can't be told
                        assert kept.keys() <= {item.key for item in backend.list("a/")} <= kept.keys() | unknown.keys() | gone
        proxy.settle()
        proxy.plan = scripted("")
        there = {item.key: backend.read(item.key) for item in S3Backend(s3_url).list("")}
        late = {one.path.rpartition("/prefix/")[2] for one in proxy.log if one.fault == "late" and one.verb == "PUT"}
        for key, data in there.items():
            assert data == {**unknown, **kept}.get(key) or key in gone & late
        assert kept.keys() <= there.keys()
