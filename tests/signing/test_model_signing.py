"""OpenSSF Model Signing: bundles made from digests alone, which the reference verifier accepts and refuses as it must."""

import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

pytest.importorskip("cryptography")

import artifactstore
from artifactstore import Store
from artifactstore.content.manifests.manifest import Manifest
from artifactstore.content.side_content import store_side
from artifactstore.errors import AlreadyExistsError, CorruptionError, InvalidInputError, NotFoundError, RefusedError
from artifactstore.model.digest import Digest
from artifactstore.signing import KeyFile, OidcToken
from artifactstore.signing.keys import Keys
from artifactstore.signing.oms import oms_bundle, verify_oms
from artifactstore.signing.verify import sign_payload
from artifactstore.work.put.known_content import store_manifest
from artifactstore.work.registry.signatures.sha256 import _stated
from artifactstore.work.registry.signatures.sign import Signature, sign
from artifactstore.work.session.commit import commit
from artifactstore.work.session.prepared import Prepared, Step
from tests.servers.place import SERVERS
from tests.signing.private_keys import KINDS, private, public_pem, write
from tests.signing.test_tokens import token
from tests.work.falsified import claim, manifest_of

VERIFIER: Final = SERVERS / "model-signing/bin/python"
NOW: Final = datetime(2026, 5, 3, tzinfo=UTC)
# The real command, in a process of its own for each case; its imports, which take seconds, are done once.
VERIFY: Final = """
import json, os, runpy, sys
import model_signing._cli
for case in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        out = os.open(case["log"], os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1); os.dup2(out, 2)
        for dash in "_", "-":
            sys.argv = ["model_signing", "verify", "key", case["folder"], "--signature", case["signature"], f"--public{dash}key", case["key"]]
            try:
                runpy.run_module("model_signing", run_name="__main__")
            except SystemExit as end:
                if end.code == 2 and dash == "_":
                    continue
                os._exit(end.code or 0)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return artifactstore.create(tmp_path / "store", cache=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "model"
    (top / "deep/er").mkdir(parents=True)
    (top / "weights.bin").write_bytes(np.random.default_rng(0).bytes(300_000))
    (top / "deep/config.json").write_text("{}")
    (top / "deep/er/x").write_text("x")
    (top / "deep.txt").write_text("sorts between deep and deep/…")
    (top / "empty").write_bytes(b"")
    (top / "ä\nö").write_text("a name with a line feed")
    (top / ".gitignore").write_text("*.tmp")
    return top


def key(tmp_path: Path, kind: str = "ECDSA P-256") -> KeyFile:
    return KeyFile(write(tmp_path / f"{kind.replace(' ', '')}.pem", kind), name="Ada Lovelace")


def signed(store: Store, ref: str, tmp_path: Path, **more: Any) -> Signature:
    return sign(store._session, ref, reason="release 7", signer=more.pop("signer", None) or key(tmp_path), **more)


def known(*kinds: str) -> Keys:
    found = Keys.load({kind: {"key": public_pem(private(kind)), "roles": ["release"]} for kind in kinds or KINDS})
    assert found is not None
    return found


def test_a_bundle_is_made_without_reading_content(store: Store, folder: Path, tmp_path: Path):
    made = store.put(folder, "churn/model", kind="model")
    content = set(store._session.with_manifest(made.digest, lambda one: list(one.packs)))
    side = store._session.with_manifest(made.digest, lambda one: {extent.pack for extent in one.side["sha256"]})
    for pack in content - side:
        (found,) = (tmp_path / "store").rglob(f"*{pack}*")
        found.unlink()
    found_ = signed(store, "churn/model", tmp_path)
    assert (found_.read, found_.ref, found_.name) == (0, "churn/model:v1", "Ada Lovelace")
    assert len(content - side) == 1
    assert made.sha256 is not None
    assert {f"{one}  {path}" for path, one in found_.files.items()} == {
        line for line in made.sha256.split("\n")[:-1] if ".gitignore" not in line and not line.startswith("\\")
    } | {f"{found_.files['ä' + chr(10) + 'ö']}  ä\nö"}
    (event,) = [one for one in store.log() if one.fact == "signed"]
    assert (event.digest, event.reason, event.fields["key"]) == (made.digest, "release 7", found_.key)
    assert event.fields["type"] == "oms"
    assert event.fields["bundle"] == json.loads(found_.bundle)
    assert json.loads(json.dumps(found_.to_json()))["bundle"] == json.loads(found_.bundle)
    assert "read=0" in repr(found_)


@pytest.mark.parametrize("how", ["data", "object", "sha256 store", "later", "asked for"])
def test_content_is_read_once_where_no_digests_are_known(how: str, tmp_path: Path, folder: Path):
    store = artifactstore.create(tmp_path / "s", digest="sha256" if how == "sha256 store" else "blake3", cache=None)
    shutil.copy(folder / "weights.bin", folder / "twin.bin")
    if how == "object":
        store.put({"a": np.arange(100_000)}, "m")
    else:
        store.put(folder, "m", sha256=how == "asked for")
    if how == "later":
        # Another manifest, which any writer may add, is no proof: the content is read.
        store.put(folder, "m", sha256=True)
    made = signed(store, "m", tmp_path)
    total = store.artifact("m").size - (300_000 if how != "object" else 0)
    assert made.read == (0 if how in ("sha256 store", "asked for") else total)
    store.get("m", to=tmp_path / "got")
    files = list(made.files.items())
    assert verify_oms(made.bundle, files, known(), time=NOW)
    for path, one in files:
        assert hashlib.sha256((tmp_path / "got" / path).read_bytes()).hexdigest() == one


def test_a_large_file_is_hashed_in_parts(store: Store, tmp_path: Path):
    raw = np.random.default_rng(1).bytes(17 * 2**20)
    (tmp_path / "big.bin").write_bytes(raw)
    store.put(tmp_path / "big.bin", "big")
    made = signed(store, "big", tmp_path)
    assert made.files == {"big.bin": hashlib.sha256(raw).hexdigest()}
    assert made.read == len(raw)


def test_false_digests_of_another_writer_are_not_signed(store: Store, folder: Path, tmp_path: Path):
    """A cheat adds a manifest of the same artifact with the SHA-256 of another model: the bundle would vouch for that model."""
    honest = store.put(folder, "m", kind="model")
    session = store._session

    def forge(core: Any) -> Prepared:
        manifest = session.manifests(honest.digest)[0]
        lines = honest.sha256 or ""
        true = signed_before.files["weights.bin"]
        manifest.side = {}
        store_side(session.backend, manifest, [("sha256", lines.replace(true, "0" * 64).encode())])
        fact, _ = store_manifest(session, manifest, *manifest.identify())
        with session.state() as state:
            return Prepared([fact], state.head, honest.digest)

    signed_before = signed(store, "m", tmp_path)
    commit(session, Step(forge))
    again = Store(store.url)
    assert "0" * 64 in (again.artifact("m").sha256 or "")
    made = signed(again, "m", tmp_path)
    assert made.files == signed_before.files
    assert made.read > 0
    assert again.verify(level="frames").ok
    found = again.verify(level="full")
    assert not found.ok
    assert any("weights.bin of" in one.what and f"its writer stated {'0' * 64}" in one.what for one in found.findings), (
        found.findings
    )


def test_digests_that_are_not_about_these_files_are_not_used(store: Store, folder: Path, tmp_path: Path):
    made = store.put(folder, "m", kind="model")
    manifest = manifest_of(store, made.digest)
    lines = (made.sha256 or "").splitlines(keepends=True)
    true = "".join(lines).encode()
    assert _stated(store._session, manifest) is not None
    for raw in (
        b"",
        true[:-1],
        true + true,
        "".join(lines[1:]).encode(),
        "".join([lines[1], lines[0], *lines[2:]]).encode(),
        true.upper(),
        true.replace(b"weights.bin", b"weights.bim"),
        b"\xff" + true,
    ):
        manifest.side = {}
        store_side(store._session.backend, manifest, [("sha256", raw)])
        assert _stated(store._session, manifest) is None, raw
    manifest.side = {}
    assert _stated(store._session, manifest) is None


def test_verify_finds_digests_that_are_about_other_files(store: Store, folder: Path):
    made = store.put(folder, "m", kind="model")
    store.put(folder, "copy", kind="model")
    assert store.verify(level="full").ok
    manifest = manifest_of(store, made.digest)
    manifest.side = {}
    store_side(store._session.backend, manifest, [("sha256", (made.sha256 or "").replace("weights.bin", "weights.bim").encode())])
    claim(store, made.digest, manifest)
    found = Store(store.url).verify(level="full")
    assert any("sha256 of" in one.what and "is not about its files" in one.what for one in found.findings), found.findings


@pytest.mark.parametrize("size", [5 * 2**20, 17 * 2**20])
def test_content_that_is_read_is_that_of_the_artifact(size: int, store: Store, tmp_path: Path):
    """A false manifest of the artifact, whose chunks are those of another file, is passed over; damage is an error."""
    data = bytes(size)
    (tmp_path / "big.bin").write_bytes(data)
    honest = store.put(tmp_path / "big.bin", "big")
    false = Manifest("blake3")
    for part in (b"\1" * 1000, bytes(size - 1000)):
        false.chunks.inline[len(false.chunks)] = part
        false.chunks.add(Digest.of(part).raw, len(part), -1, 0, len(part), 0)
    false.close_file("big.bin", size, Digest.of(data).raw, executable=False)
    claim(store, honest.digest, false)
    other = Store(store.url)
    with pytest.warns(UserWarning, match="was read from an earlier manifest"):
        made = signed(other, "big", tmp_path)
    assert made.files == {"big.bin": hashlib.sha256(data).hexdigest()}


def test_damaged_content_is_not_signed(store: Store, folder: Path, tmp_path: Path):
    store.put(folder / "weights.bin", "w")
    (pack,) = (one for one in (tmp_path / "store/packs").rglob("*") if one.is_file() and one.stat().st_size > 300_000)
    raw = bytearray(pack.read_bytes())
    raw[len(raw) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(raw)
    with pytest.raises(CorruptionError):
        signed(store, "w", tmp_path)
    assert not [one for one in store.log() if one.fact == "signed"]


def test_changes_of_files_and_of_the_bundle_are_found(store: Store, folder: Path, tmp_path: Path):
    made = store.put(folder, "m", kind="model")
    for kind in KINDS:
        found = signed(store, "m", tmp_path, signer=key(tmp_path, kind))
        files = dict(found.files)
        good = verify_oms(found.bundle, files.items(), known(), time=NOW, role="release", digest=made.digest)
        assert (good.status, good.names) == ("valid", (kind,))
        assert verify_oms(found.bundle.decode(), None, known(), time=NOW).status == "valid"
        assert verify_oms(json.loads(found.bundle), files.items(), None, time=NOW).status == "claimed"
        assert verify_oms(found.bundle, files.items(), known(*set(KINDS) - {kind}), time=NOW).status == "unknown key"
        assert verify_oms(found.bundle, files.items(), known(), time=NOW, role="qa").status == "unknown key"
        assert verify_oms(found.bundle, files.items(), known(), time=NOW, digest="blake3:" + "0" * 64).status == "transplanted"
        swapped = {**files, "empty": files["weights.bin"], "weights.bin": files["empty"]}
        others = {
            "changed": {**files, "weights.bin": "0" * 64},
            "added": {**files, "new": "0" * 64},
            "removed": {path: one for path, one in files.items() if path != "deep/er/x"},
            "renamed": {("other" if path == "deep.txt" else path): one for path, one in files.items()},
            "swapped": swapped,
        }
        for words, changed in others.items():
            bad = verify_oms(found.bundle, changed.items(), known(), time=NOW)
            assert (bad.status, bool(bad.text)) == ("transplanted", True), words
        for path, value in _leaves(json.loads(found.bundle)):
            forged = json.loads(found.bundle)
            _set(forged, path, "x" if not isinstance(value, str) else value[:-1] + ("A" if value[-1:] != "A" else "B"))
            if path in (("verificationMaterial", "publicKey", "hint"), ("dsseEnvelope", "signatures", 0, "keyid")):
                continue  # hints, which nothing covers and nothing relies on
            assert verify_oms(forged, files.items(), known(), time=NOW).status in ("unknown key", "transplanted"), path
        payload = json.loads(base64.b64decode(json.loads(found.bundle)["dsseEnvelope"]["payload"]))
        for path, value in _leaves(payload):
            changed_ = json.loads(json.dumps(payload))
            _set(changed_, path, not value if isinstance(value, bool) else f"{value}x")
            forged = json.loads(found.bundle)
            forged["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(changed_).encode()).decode()
            assert verify_oms(forged, files.items(), known(), time=NOW).status in ("unknown key", "transplanted"), path


def test_a_signed_statement_that_contradicts_itself_counts_nowhere(tmp_path: Path):
    signer = key(tmp_path)
    good = json.loads(oms_bundle([("a", "1" * 64), ("b", "2" * 64)], signer, name="m"))
    statement = json.loads(base64.b64decode(good["dsseEnvelope"]["payload"]))
    assert verify_oms(_resigned(good, statement, signer), None, known(), time=NOW)
    resources = statement["predicate"]["resources"]
    cases: list[tuple[tuple[Any, ...], Any]] = [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("predicateType",), "https://model_signing/Digests/v0.1"),
        (("subject",), statement["subject"] * 2),
        (("subject",), []),
        (("subject", 0, "digest", "sha256"), "0" * 64),
        (("predicate", "resources"), [*resources, resources[0]]),
        (("predicate", "resources"), list(reversed(resources))),
        (("predicate", "resources", 0, "algorithm"), "blake3"),
        (("predicate", "resources", 0, "name"), 3),
        (("predicate", "resources", 0, "name"), "b"),
        (("predicate", "resources", 0, "digest"), "xyz"),
        (("predicate", "artifactstore"), []),
    ]
    for path, value in cases:
        changed = json.loads(json.dumps(statement))
        _set(changed, path, value)
        if path[-1] == "resources" and len(value) == 3:
            raw = b"".join(bytes.fromhex(one["digest"]) for one in value)
            changed["subject"][0]["digest"]["sha256"] = hashlib.sha256(raw).hexdigest()
        assert verify_oms(_resigned(good, changed, signer), None, known(), time=NOW).status == "unknown key", path
    assert verify_oms({**good, "mediaType": "application/json"}, None, known(), time=NOW).status == "unknown key"


def _resigned(bundle: dict[str, Any], statement: Any, signer: KeyFile) -> dict[str, Any]:
    return {**bundle, "dsseEnvelope": sign_payload(json.dumps(statement).encode(), signer, "application/vnd.in-toto+json")}


def test_a_bundle_of_another_tool_is_compared_by_its_files(tmp_path: Path):
    files = [("a", "1" * 64), ("b/c", "2" * 64)]
    foreign = oms_bundle(files, key(tmp_path), name="m")
    assert verify_oms(foreign, files, known(), time=NOW, digest="blake3:" + "3" * 64).status == "valid"
    assert verify_oms(foreign, None, known(), time=NOW, digest="blake3:" + "3" * 64).status == "transplanted"
    assert verify_oms(foreign, files[:1], known(), time=NOW).status == "transplanted"
    assert verify_oms(foreign, None, known(), time=NOW).status == "valid"
    assert verify_oms(foreign, reversed([*files, (".gitignore", "4" * 64)]), known(), time=NOW).status == "valid"


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list) and value:
        rows = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for step, one in rows for leaf in _leaves(one, (*path, step))]
    return [(path, value)] if not isinstance(value, list) else []


def _set(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for step in path[:-1]:
        value = value[step]
    value[path[-1]] = new


def test_what_is_not_a_bundle_counts_nowhere():
    for bundle in (None, 3, "", "{", b"\xff", "[]", {}, {"mediaType": "x"}, "[" * 100_000, {"mediaType": [], "dsseEnvelope": 3}):
        assert verify_oms(bundle, [], known(), time=NOW).status == "unknown key"


def test_what_cannot_be_signed_is_one_clear_error(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "m", kind="model")
    head = store.head

    def call(ref: str = "m", to: Any = None, **more: Any) -> Signature:
        return sign(store._session, ref, to, **{"reason": "r", "signer": key(tmp_path), **more})

    for reason in (None, "", "  ", 3):
        with pytest.raises(InvalidInputError, match="must state why it is signed"):
            call(reason=reason)
    with pytest.raises(NotFoundError):
        call("n")
    with pytest.raises(InvalidInputError, match="not a path in it"):
        call("m:v1/empty")
    for signer in (None, tmp_path / "none.pem", 3):
        with pytest.raises(InvalidInputError):
            call(signer=signer)
    with pytest.raises(InvalidInputError, match="not a token"):
        call(signer=OidcToken(token("RS256")))
    (tmp_path / "there.sig").write_text("mine")
    with pytest.raises(AlreadyExistsError, match="exists already"):
        call(to=tmp_path / "there.sig")
    for target in (tmp_path / "none/x.sig", tmp_path / "store/x.sig", "s3://bucket/x"):
        with pytest.raises(InvalidInputError):
            call(to=target)
    with pytest.raises(RefusedError):
        sign(Store(store.url, "r")._session, "m", reason="r", signer=key(tmp_path))
    assert store.head == head
    (folder / "link").symlink_to("empty")
    store.put(folder, "links", kind="model")
    with pytest.raises(InvalidInputError, match="links='follow'"):
        call("links")
    store.put(folder, "links", kind="model", links="follow")
    assert "link" in call("links").files
    (tmp_path / "git").mkdir()
    (tmp_path / "git/.gitignore").write_text("x")
    store.put(tmp_path / "git", "git")
    with pytest.raises(InvalidInputError, match="no file that a model signature covers"):
        call("git")
    store.registry.taint("m", "wrong labels")
    with pytest.raises(RefusedError, match="is tainted"):
        call("m:v1")
    assert not list(tmp_path.glob("*.sig.*")) + list(tmp_path.glob(".*.partial"))


def test_the_file_is_the_bundle_and_appears_with_the_fact(store: Store, folder: Path, tmp_path: Path):
    store.put(folder, "m", kind="model")
    made = signed(store, "m", tmp_path, to=tmp_path / "m.sig")
    assert (tmp_path / "m.sig").read_bytes() == made.bundle
    with store.batch():
        inside = signed(store, "m", tmp_path, to=str(tmp_path / "n.sig"))
    assert (tmp_path / "n.sig").read_bytes() == inside.bundle
    assert len([one for one in store.log() if one.fact == "signed"]) == 2


def test_the_order_is_that_of_the_specification(tmp_path: Path):
    """By parts of paths: `deep/x` comes before `deep.txt`."""
    files = [("deep.txt", "1" * 64), ("deep/x", "2" * 64), ("a", "3" * 64)]
    bundle = json.loads(oms_bundle(files, key(tmp_path), name="m"))
    payload = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    assert [one["name"] for one in payload["predicate"]["resources"]] == ["a", "deep/x", "deep.txt"]


CHANGES: Final[dict[str, Callable[[Path], object]]] = {
    "changed": lambda top: (top / "weights.bin").write_bytes(b"\0" + (top / "weights.bin").read_bytes()[1:]),
    "added": lambda top: (top / "deep/new").write_text(""),
    "removed": lambda top: (top / "empty").unlink(),
    "renamed": lambda top: (top / "deep/er/x").rename(top / "deep/er/y"),
    "moved": lambda top: (top / "deep/er/x").rename(top / "x"),
    "swapped": lambda top: [(top / "empty").rename(top / "t"), (top / "deep.txt").rename(top / "empty"), (top / "t").rename(top / "deep.txt")],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not VERIFIER.exists(), reason=f"no model-signing at {VERIFIER}: .ci/run installs it")
def test_the_reference_verifier_accepts_what_get_gives_and_refuses_it_after_any_change(
    store: Store, folder: Path, tmp_path: Path
):
    store.put(folder, "churn/model", kind="model")
    store.put(folder / "weights.bin", "single", kind="model")
    store.put({"a": np.arange(10)}, "object")
    cases: list[tuple[dict[str, str], int]] = []

    def case(folder: Path, signature: Path, public: Path, expected: int) -> None:
        names = {
            "folder": str(folder),
            "signature": str(signature),
            "key": str(public),
            "log": str(tmp_path / f"{len(cases)}.log"),
        }
        cases.append((names, expected))

    for kind in ("ECDSA P-256", "ECDSA P-384"):
        public = tmp_path / f"{kind}.pub"
        public.write_text(public_pem(private(kind)))
        other = tmp_path / f"{kind}-other.pub"
        other.write_text(public_pem(private(kind, 1)))
        for name in ("churn/model", "single", "object"):
            place = tmp_path / kind / name
            signature = tmp_path / f"{kind}-{name.replace('/', '-')}.sig"
            sign(store._session, name, signature, reason="r", signer=key(tmp_path, kind))
            store.get(name, to=place)
            case(place, signature, public, 0)
            case(place, signature, other, 1)
        for words, change in CHANGES.items():
            place = tmp_path / kind / words
            store.get("churn/model", to=place)
            change(place)
            case(place, tmp_path / f"{kind}-churn-model.sig", public, 1)
        forged = json.loads((tmp_path / f"{kind}-churn-model.sig").read_bytes())
        forged["dsseEnvelope"]["signatures"] = json.loads((tmp_path / f"{kind}-single.sig").read_bytes())["dsseEnvelope"][
            "signatures"
        ]
        (tmp_path / f"{kind}-forged.sig").write_text(json.dumps(forged))
        case(tmp_path / kind / "churn/model", tmp_path / f"{kind}-forged.sig", public, 1)
    done = subprocess.run(
        [VERIFIER, "-c", VERIFY, json.dumps([names for names, _ in cases])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = [int(line) for line in done.stdout.split()]
    logs = [Path(names["log"]).read_text() for names, _ in cases]
    assert found == [expected for _, expected in cases], list(zip(cases, found, logs, strict=True))
    assert all(("succeeded" in log) == (expected == 0) for (_, expected), log in zip(cases, logs, strict=True)), logs
