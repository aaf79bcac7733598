"""Make the golden stores of this version: `python tests/golden/make.py`, once a release, then commit the folder.

They are never made anew: a later version must read them, digest for digest, for ever.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import artifactstore


def noise(size: int, seed: int) -> bytes:
    """Bytes that are the same everywhere: SHAKE-128."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


def source(root: Path) -> Path:
    """Write the folder that every golden store holds."""
    for path, data in {
        "a.txt": b"golden\n" * 50,
        "empty": b"",
        "deep/er/noise.bin": noise(150_000, 1),
        "deep/rows.csv": "".join(f"{i},{i * i % 997}\n" for i in range(9_000)).encode(),
        "deep/\u00e4 \u00f6 \u00fc.txt": "Gr\u00fc\u00dfe".encode(),
        "line\nfeed": b"x",
        "back\\slash": b"y",
        "run.sh": b"#!/bin/sh\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "run.sh").chmod(0o755)
    (root / "nothing/inside").mkdir(parents=True, exist_ok=True)
    if not (root / "deep/link").is_symlink():
        (root / "deep/link").symlink_to("er/noise.bin")
    return root


def fill(store: artifactstore.Store, work: Path) -> dict[str, str]:
    """Put everything that a store can hold so far; returns reference → digest."""
    folder = source(work)
    refs = [store.put(folder, "folder", reason="first", metadata={"n": 1})]
    (folder / "a.txt").write_bytes(b"edited\n")
    refs.append(store.put(folder, "folder", metrics={"rows": 9000}))
    refs.append(store.put(folder, "code", kind="code"))
    refs.append(store.put(folder / "a.txt", "file"))
    refs += [store.put(b"bytes", "data"), store.put({"b": [1, 2.5, None], "a": "\u00e4"}, "json")]
    refs.append(store.put("text\n", "text", format="text"))
    store.alias("folder:v1", "good", reason="checked")
    store.alias("folder:v2", "good", expect=1)
    with store.batch():
        refs.append(store.put(b"unnamed"))
    return {one.ref: one.digest for one in refs}


def make_imported(here: Path) -> None:
    """Make a store that has taken another one in: once, when imports came."""
    there, store = (artifactstore.create(here / name, cache=None) for name in ("there", "here"))
    there.put(b"one", "n", metrics={"m": 1.5}, reason="first")
    there.put(noise(50_000, 2), "n")
    there.alias("n:v2", "best", reason="checked")
    there.put({"a": 1}, "taken")
    store.put(b"own", "taken")
    there.maintenance.sync(store.url, on_conflict="rename", label="there", reason="delivery")
    shutil.rmtree(here / "there")


def make_deltas(here: Path) -> None:
    """Make a store whose second versions are deltas, of each width: once, when deltas came."""
    store = artifactstore.create(here, cache=None)
    for width in (2, 4, 8):
        for version in (1, 2):
            store.put(step(width, version), f"w{width}")


def make_lineage(here: Path, work: Path) -> None:
    """Make a store with runs of all kinds, in a repository with changes, and with taint: once, when lineage came."""
    from artifactstore.work.runs import captured

    fixed = {"python": {"version": "3.11.0"}, "packages": [{"name": "numpy", "version": "2.0.0"}], "locks": {"uv.lock": "x\n"}}
    captured.environment = lambda _folder: fixed  # type: ignore[attr-defined, assignment, misc]
    sys.orig_argv, sys.executable = ["python", "train.py", "--depth", "8"], "python"
    work.mkdir()
    os.chdir(work)
    (work / "train.py").write_text("x = 1\n")
    (work / "run.sh").write_text("#!/bin/sh\n")
    (work / "run.sh").chmod(0o755)
    os.environ |= {f"GIT_{who}_{what}": "golden" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    os.environ |= {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], check=True)
    (work / "train.py").write_text("x = 2\n")
    (work / "new.py").write_text("new\n")
    (work / "data.csv").write_text("a,b\n")
    store = artifactstore.create(here, cache=None)
    store.put({"rows": [1, 2]}, "raw")
    with store.run("prepare", params={"scale": 2, "odd": object}, code="history"):
        (work / "data.csv").read_text()
        store.get("raw")
        store.put([2, 4], "features")
    with store.run("train", id="nightly") as run:
        run.get("features", role="table")
        run.log(loss=0.5, step=1)
        run.put(b"weights", "model", kind="model", role="best", metrics={"auc": 0.75})
        with store.run("inner", code=False):
            store.put(store.get("raw"), "raw")
    try:
        with store.run("failing", code=False):
            raise ValueError("on purpose")  # noqa: TRY301 - that is what is told
    except ValueError:
        pass
    store.run("endless", code=False).start()
    store.alias("model", "production")
    store.registry.taint("raw", "wrong labels")
    store.registry.taint("features", "late", spread=False)
    store.registry.untaint("features:v1", "in time")


def make_snapshot(here: Path) -> None:
    """Make a store with a snapshot and something behind it: once, when snapshots came."""
    sys.orig_argv, sys.executable = ["python", "train.py"], "python"
    store = artifactstore.create(here, cache=None)
    with store.run("train", code=False) as run:
        run.put(b"one", "n", metrics={"m": 1.5})
    store.alias("n:v1", "best")
    store.maintenance.snapshot()
    store.put(b"two", "n", reason="behind it")


def make_gates(here: Path) -> None:
    """Make a store of the second format: gates, verdicts, approvals, refusals, holds, retention: once, when gates came."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from artifactstore.signing import KeyFile

    sys.orig_argv, sys.executable = ["python", "train.py"], "python"
    url = here / "store"
    key = Ed25519PrivateKey.from_private_bytes(noise(32, 7))
    pem = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo).decode()
    secret = here / "key.pem"
    here.mkdir()
    secret.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()))
    secret.chmod(0o600)
    (here / "keys.toml").write_text(f'[quinn]\nkey = """\n{pem}"""\nroles = ["qa"]\n')

    def as_actor(actor: str) -> artifactstore.Store:
        os.environ["ARTIFACTSTORE_ACTOR"] = actor
        found = artifactstore.open(url, cache=None)
        found.head  # noqa: B018 - the actor is read when the store is opened
        os.environ["ARTIFACTSTORE_ACTOR"] = "golden"
        return found

    store = artifactstore.create(url, cache=None)
    store.put({"rows": list(range(10))}, "raw")
    store.put({"rows": list(range(90, 99))}, "test")
    for number, auc in ((1, 0.9), (2, 0.95), (3, 0.5)):
        with store.run("train", code=False) as run:
            run.get("raw")
            run.put({"w": number}, "model", kind="model")
        with store.run("evaluate", code=False) as run:
            run.get(f"model:v{number}")
            run.get("test")
            run.measure(f"model:v{number}", {"auc": auc}, on="test")
    rules = [
        {"metric": "auc", "is": ">= 0.8", "on": "test"}, {"metric": "auc", "is": ">= -0.1", "of": "production"},
        {"run": "finished"}, {"lineage": "complete"}, {"taint": "none"}, {"evaluated": "apart", "metric": "auc"},
        {"format": "safe"}, {"age": "<= 3650"}, {"approvals": 1, "role": "qa", "signed": True},
        {"any": [{"reads": "tracked"}, {"code": "clean"}]}, {"not": {"metric": "loss", "is": "> 0"}},
    ]  # fmt: skip
    store.registry.gates({"names": "mod*", "alias": "production", "all": rules, "reason": True}, reason="CR-1")
    quinn, keys = as_actor("quinn"), here / "keys.toml"
    for number in (1, 2):
        quinn.registry.approve(f"model:v{number}", reason="seen", role="qa", signer=KeyFile(secret, name="Quinn Q"))
    store.promote("model:v1", "production", reason="CR-2", keys=keys)
    store.promote("model:v2", "production", reason="CR-3", keys=keys)
    for call in (
        lambda: store.promote("model:v3", "production", reason="CR-4", keys=keys),
        lambda: store.registry.remove("raw:v1", "x"),
    ):
        try:
            store.registry.hold("model:v1", "audit", until=datetime(2026, 1, 1, tzinfo=UTC))
            call()
        except artifactstore.RefusedError:
            pass
    store.rollback("model", "production", reason="CR-5")
    as_actor("rosa").registry.reject("model:v2", reason="bias")
    store.registry.describe("model", {"owner": "team"}, of="name")
    store.registry.describe("model:v1", {"note": "first"})
    store.registry.retention({"names": "sweep/*", "keep_last": 1, "at_least_days": 0}, reason="CR-6")
    for number in range(3):
        store.put({"n": number}, "sweep/a")
    store.registry.expire(reason="CR-7")
    secret.unlink()


def step(width: int, version: int) -> bytes:
    """A `.npy` file of whole numbers of `width` bytes; those of a later version are a little larger."""
    count = 100_000 // width
    head = f"{{'descr': '<u{width}', 'fortran_order': False, 'shape': ({count},), }}".encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    raw = noise(100_000, width)
    numbers = (int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width))
    top = 256**width
    moved = b"".join(((one + (version - 1) * (i % 5)) % top).to_bytes(width, "little") for i, one in enumerate(numbers))
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + moved


def main() -> None:
    """Make one golden store for each digest algorithm."""
    os.environ["ARTIFACTSTORE_ACTOR"] = "golden"
    here = Path(__file__).parent / f"v{artifactstore.__version__}"
    if here.exists():
        sys.exit(f"{here} exists: golden stores are never made anew")
    digests = {}
    for algorithm in ("blake3", "sha256"):
        store = artifactstore.create(here / algorithm, digest=algorithm, cache=None)
        work = here / "source"
        digests[algorithm] = fill(store, work)
        shutil.rmtree(work)
    (here / "digests.json").write_text(json.dumps(digests, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
