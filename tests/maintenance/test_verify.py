"""Verify holds what is stored against what the journal says of it, both ways."""

from pathlib import Path

import numpy as np
import pytest

import artifactstore
from artifactstore.content.manifest import manifest_key
from artifactstore.content.manifest_file import decode, encode
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.store import Store

from .facts import state_of, tell


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = artifactstore.create(tmp_path / "store", cache=None)
    for seed in range(2):
        store.put(np.random.default_rng(seed).bytes(100_000), f"name{seed}")
    return store


@pytest.mark.parametrize("level", ["quick", "frames", "full"])
@pytest.mark.parametrize("named", ["none", "another", "all", "more"])
def test_a_fact_that_does_not_name_the_packs_of_its_manifest_is_found(store: Store, level: str, named: str):
    """Clean-up looks at facts alone: it would take a pack that the manifest needs."""
    state = state_of(store)
    (digest, holder), (_, other) = ((one, str(state.current_manifest(one))) for one in state.holders)
    raw = store._session.backend.read(manifest_key(holder))
    manifest = decode(raw, holder, algorithm="blake3")
    assert manifest.packs
    others = state.manifests[other][2]
    packs = {"none": [], "another": others, "all": manifest.packs, "more": [*manifest.packs, *others]}[named]
    to = new_id()
    again = encode(manifest, *manifest.identify())
    store._session.backend.write(manifest_key(to), again)
    fact = {"fact": "relocated", "digest": digest, "from": holder, "to": to, "manifest_digest": str(Digest.of(again))}
    tell(store, {**fact, "packs": packs})
    report = store.verify(level=level)
    fine = named in {"all", "more"}
    assert report.ok is fine
    if not fine:
        (finding,) = report.findings
        assert manifest_key(to) in str(finding)
        assert digest in str(finding)
