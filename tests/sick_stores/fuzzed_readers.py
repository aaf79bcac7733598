"""Parsers of what other tools wrote, of pointers, and of what writers and machines keep: for the fuzzing of all parsers."""

import io
import json
import random
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

import artifactstore
from artifactstore.backend.memory import MemoryBackend
from artifactstore.catalog.spill.layer import Layer
from artifactstore.errors import ArtifactStoreError
from artifactstore.integrations.dvc.tracked import checked_files, from_dvc_file, from_lock
from artifactstore.integrations.hf.cache import _listed
from artifactstore.integrations.oci.documents import Entry, choose, read
from artifactstore.integrations.oci.layers import Layer as OciLayer
from artifactstore.integrations.oci.layers import plan, unpack
from artifactstore.integrations.oci.registry.challenges import _parse
from artifactstore.integrations.oci.registry.credentials import _login, _read, _table
from artifactstore.integrations.oci.returned import _claim
from artifactstore.integrations.oci.tree import Tree
from artifactstore.integrations.pointers import pointer
from artifactstore.journal import segments as segments_module
from artifactstore.journal.chain import inbox_key
from artifactstore.journal.inbox import Inbox
from artifactstore.journal.journal import Journal
from artifactstore.maintenance import extend as extend_module
from artifactstore.model.encoding import canonical_json, new_id, parse_json
from artifactstore.model.facts import Config
from artifactstore.runtime.yaml.reader import parse_yaml
from artifactstore.signing.jwks import parse_jwks
from artifactstore.signing.oms import _statement

Found = tuple[Callable[[], list[bytes]], Callable[[bytes], object], tuple[type[Exception], ...]]
_HEX: Final = "ab" * 32
_MD5: Final = "0" * 32
_TXN: Final = {
    "txn": "1" * 32,
    "birth": 0,
    "base": 0,
    "adoptable": True,
    "actor": "ann",
    "identity": "os",
    "host": "h",
    "tool": "t",
    "time": "2026-01-01T00:00:00.000000Z",
    "facts": [
        {"fact": "versioned", "name": "x", "digest": f"blake3:{_HEX}", "kind": "data"},
        {"fact": "aliased", "name": "x", "alias": "best", "version": 1, "expect": None},
        {"fact": "measured", "digest": f"blake3:{_HEX}", "metrics": {"m": 1.5}},
    ],
}
_MANIFEST: Final = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "artifactType": "application/vnd.example",
    "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{_HEX}", "size": 2},
    "layers": [
        {
            "mediaType": "application/octet-stream",
            "digest": f"sha256:{_HEX}",
            "size": 5,
            "annotations": {"org.opencontainers.image.title": "a/b", "org.cncf.model.file.metadata+json": '{"mode": 493}'},
        },
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{'cd' * 32}", "size": 5},
    ],
    "annotations": {"a": "b"},
}
_INDEX: Final = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": _MANIFEST["mediaType"],
            "digest": f"sha256:{one * 32}",
            "size": 5,
            "platform": {"os": "linux", "architecture": arch},
        }
        for one, arch in (("ab", "amd64"), ("cd", "arm64"))
    ],
}
_CLAIM: Final = {
    "artifactstore.digest": f"blake3:{_HEX}",
    "artifactstore.listing": '#["dir","a"]\n#["link","b","c"]\n#["x","d"]\n',
}
_YAML: Final = b"""# params
vars: [a, {b: 1}]
stages:
  train: &t
    cmd: >-
      python train.py
      --fast
    deps: ["x", 'y''z']
    outs:
    - model: {cache: false}
    - other
  again: *t
text: |2
    kept
"""
_DVC: Final = b"""outs:
- md5: 00000000000000000000000000000000.dir
  size: 5
  nfiles: 2
  hash: md5
  path: data
  files:
  - relpath: a/b
    md5: 11111111111111111111111111111111
deps:
- path: raw
  md5: 22222222222222222222222222222222
wdir: ..
"""
_LOCK: Final = b"""schema: '2.0'
stages:
  train:
    cmd: python train.py
    deps:
    - path: data
      hash: md5
      md5: 00000000000000000000000000000000
    params:
      params.yaml:
        lr: 0.1
        deep: {a: [1, 2]}
    outs:
    - path: model
      md5: 11111111111111111111111111111111
      isexec: true
"""
_PIPELINE: Final = "stages: {train: {cmd: x, deps: [data], outs: [model], metrics: ['m.json': {cache: false}]}}"
_LOGIN: Final = {
    "auths": {"r.example": {"auth": "YTpi"}, "s": {"identitytoken": "x"}},
    "credHelpers": {"t": "pass"},
    "credsStore": "x",
}
_CHALLENGE: Final = b'Bearer realm="https://r/token",service="r",scope="a:b\\"c:pull" , Basic realm=x, Negotiate'
_JWKS: Final = {
    "keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1", "use": "sig", "x": "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"}]
}


def _in_file(read_it: Callable[[Path], object], suffix: str) -> Callable[[bytes], object]:
    path = Path(tempfile.mkdtemp()) / f"x{suffix}"

    def parse(raw: bytes) -> object:
        path.write_bytes(raw)
        return read_it(path)

    return parse


def _document(raw: bytes) -> object:
    found = read(raw, "", "it")
    return choose(found, None, "linux/amd64", "it") if found.is_index else plan(found, "it")


def _claimed(raw: bytes) -> object:
    value = parse_json(raw, "it")
    texts = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return _claim(value) if texts else None


@cache
def _tars() -> list[bytes]:
    """A plain one, and one with long names, in PAX and in GNU's form."""
    made = []
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
            for name, sort, target in (
                ("a", b"5", ""),
                ("a/x", b"0", ""),
                ("l", b"2", "a/x"),
                ("h", b"1", "a/x"),
                ("n" * 150, b"0", ""),
            ):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = sort, target
                info.size = 3 if sort == b"0" else 0
                tar.addfile(info, io.BytesIO(b"xyz"))
        made.append(sink.getvalue())
    return made


def _tar(raw: bytes) -> object:
    home = Path(tempfile.mkdtemp())
    (home / "blob").write_bytes(raw)
    (home / "tree").mkdir()
    tree = Tree(home / "tree", "it")
    try:
        return unpack(OciLayer(Entry("x", f"sha256:{_HEX}", len(raw), {}), None), home / "blob", tree, "it")
    finally:
        outside = {one.name for one in home.iterdir()} - {"blob", "tree"}
        assert not outside, outside
        for path in (home / "tree").rglob("*"):
            assert path.is_symlink() or path.resolve().is_relative_to(home / "tree"), path


@cache
def _layers() -> list[bytes]:
    """Published deltas of a store."""
    root = Path(tempfile.mkdtemp()) / "store"
    with patch.object(segments_module, "STRIDE", 3), patch.object(extend_module, "STRIDE", 3):
        store = artifactstore.create(root, cache=None)
        for k in range(12):
            store.put(b"%d" % (k % 5), f"n/{k % 3}", metrics={"m": k})
    return [path.read_bytes() for path in sorted(root.glob("segments/deltas/*"))]


def _layer(raw: bytes) -> object:
    layer = Layer(raw)
    found = [layer.small(), layer.order()]
    for table in layer.tables():
        rows = [*layer.rows(table)]
        found += [rows, layer.find(table, "x", 12345)]
    return found


def _inbox(raw: bytes) -> object:
    backend = MemoryBackend(f"memory://{new_id()}")
    config = Config.new("c" * 32, "blake3", {"small": (64, 128, 256)}, str(_TXN["time"]))
    backend.write("store.json", config.raw)
    backend.write(inbox_key(str(_TXN["txn"]), 0, 0), raw)
    from artifactstore.catalog.fold.state import State

    journal = Journal(backend, config, State)
    inbox = Inbox(journal)
    posted = inbox.read(inbox.look(0), set(), 2**20, str(_TXN["time"]))
    for one in posted:
        journal.fold.predict([one.txn], str(_TXN["time"]), 1)
    if not posted:
        raise ArtifactStoreError("nothing")
    return posted


def _credentials(path: Path) -> object:
    config = _read(path)
    for row in _table(config, "auths", path).values():
        if isinstance(row, dict):
            _login(row, "x", path)
    return _table(config, "credHelpers", path)


def _listing_of_folder(raw: bytes) -> object:
    try:
        return checked_files(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def _pointer_seeds() -> list[bytes]:
    one = pointer.Pointer(f"blake3:{_HEX}", "a/b", 3, "s3://bucket/x", 5, 100)
    return [pointer._content(one), pointer._content(pointer.Pointer(f"sha256:{_HEX}", None, None, "/x", 0, 0))]


def _bundle_seeds() -> list[bytes]:
    envelope = {"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": [{"sig": "AAAA"}]}
    return [canonical_json({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope})]


READERS: Final[dict[str, Found]] = {
    "pointer": (_pointer_seeds, _in_file(pointer.read, ".artifact"), ()),
    "OCI manifest": (lambda: [json.dumps(one).encode() for one in (_MANIFEST, _INDEX)], _document, ()),
    "OCI claim": (lambda: [json.dumps(_CLAIM).encode()], _claimed, ()),
    "OCI tar": (_tars, _tar, ()),
    "registry login": (lambda: [json.dumps(_LOGIN).encode()], _in_file(_credentials, ".json"), ()),
    "registry challenge": (lambda: [_CHALLENGE], lambda raw: _parse(raw.decode("latin-1")), ()),
    "YAML": (lambda: [_YAML, _DVC, _LOCK], lambda raw: parse_yaml(raw, "it"), ()),
    "dvc file": (lambda: [_DVC], lambda raw: from_dvc_file(parse_yaml(raw, "it"), "a/b.dvc"), ()),
    "dvc lock": (lambda: [_LOCK], lambda raw: from_lock(parse_yaml(raw, "it"), parse_yaml(_PIPELINE, "it"), "a/dvc.lock"), ()),
    "dvc pipeline": (
        lambda: [_PIPELINE.encode(), _YAML],
        lambda raw: from_lock(parse_yaml(_LOCK, "it"), parse_yaml(raw, "it"), "a/dvc.lock"),
        (),
    ),
    "dvc folder": (lambda: [json.dumps([{"relpath": "a/b", "md5": _MD5}] * 2).encode()], _listing_of_folder, ()),
    "hub list": (
        lambda: [json.dumps({"format_version": 1, "files": {"a": {"lfs_sha256": _HEX}, "b": {"blob_id": "0" * 40}}}).encode()],
        _in_file(_listed, ".json"),
        (),
    ),
    "delta": (_layers, _layer, (ValueError, TypeError, KeyError, IndexError)),
    "inbox": (lambda: [canonical_json(_TXN)], _inbox, ()),
    "JWKS": (lambda: [json.dumps(_JWKS).encode()], parse_jwks, ()),
    "model signature": (_bundle_seeds, _statement, ()),
}


def deep(rng: random.Random) -> bytes:
    """Return JSON, or YAML, that is deeper than a stack."""
    return rng.choice([b"[", b'{"a":', b"- ", b"{a: ", b"? "]) * rng.choice([2_000, 100_000])
