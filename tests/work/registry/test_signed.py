"""Signed approvals and signatures of models, as gates ask for them: whose keys count, in which roles, and what a cheat tries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography")

from artifactstore import RefusedError, Store
from artifactstore.errors import InvalidInputError
from artifactstore.signing import KeyFile
from tests.signing.private_keys import private, public_pem, write
from tests.work.falsified import append

Person = Callable[[str], Store]
PEOPLE = {"ada": 0, "bob": 1, "carol": 2, "eve": 3, "trainer": 4}


@pytest.fixture
def signers(tmp_path: Path) -> dict[str, KeyFile]:
    top = tmp_path / "keys"
    top.mkdir()
    return {
        name: KeyFile(write(top / f"{name}.pem", "ECDSA P-256", number), name=f"{name} by name")
        for name, number in PEOPLE.items()
    }


def keys(**of: dict[str, Any]) -> dict[str, Any]:
    return {name: {"key": public_pem(private("ECDSA P-256", PEOPLE[name])), **more} for name, more in of.items()}


@pytest.fixture
def model(person: Person) -> Store:
    trainer = person("trainer")
    trainer.put({"w": 1}, "churn/model", kind="model")
    return trainer


def gate(store: Store, *conditions: dict[str, Any]) -> None:
    store.registry.gates({"names": "churn/*", "alias": "production", "all": list(conditions)}, reason="procedure 7")


SIGNED = {"approvals": 2, "role": "qa", "signed": True}
QA = {"roles": ["qa"]}


def test_signed_approvals_count_by_owners_of_keys(model: Store, person: Person, signers: dict[str, KeyFile]):
    gate(model, SIGNED)
    known = keys(ada=QA, bob=QA, carol={"roles": ["release"]}, eve={**QA, "until": "2020-01-01"}, trainer=QA)

    def ok(**more: Any) -> bool:
        return bool(model.registry.check("churn/model:v1", "production", **{"keys": known, **more}))

    person("ada").registry.approve("churn/model", reason="r", role="qa", signer=str(signers["ada"].path))
    assert not ok()
    for actor, signer in (("zoe", "ada"), ("carol", "carol"), ("eve", "eve"), ("mallory", "trainer"), ("dan", None)):
        # The same key under another actor, another role, an expired key, an author under another name, and no signature.
        made = person(actor).registry.approve(
            "churn/model", reason="r", role="qa", signer=signers[signer] if signer is not None else None
        )
        assert made.status in {"claimed", "by an author"}
        assert not ok(), actor
    with pytest.raises(RefusedError) as refused:
        model.promote("churn/model:v1", "production", reason="r", keys=known)
    for words in ("1 of 2", "does not have the role 'qa'", "had expired", "trainer is an author"):
        assert words in str(refused.value), refused.value
    person("bob").registry.approve("churn/model", reason="r", role="qa", signer=signers["bob"].path)
    assert ok()
    assert not ok(keys=None)
    assert not ok(keys={})
    assert not ok(keys=keys(ada=QA))
    statuses = {one.actor: one.status for one in model.registry.approvals("churn/model:v1", keys=known)}
    assert statuses == {
        "ada": "valid", "zoe": "valid", "carol": "unknown key", "eve": "expired", "mallory": "by an author", "dan": "claimed", "bob": "valid",
    }  # fmt: skip
    assert model.promote("churn/model:v1", "production", reason="r", keys=known)


def test_two_people_are_not_three(model: Store, person: Person, signers: dict[str, KeyFile]):
    """A third approval that both have signed adds nobody."""
    from artifactstore.signing.envelope import payload_of
    from artifactstore.signing.verify import make_envelope

    gate(model, {**SIGNED, "approvals": 3})
    known = keys(ada=QA, bob=QA)
    for name in ("ada", "bob"):
        person(name).registry.approve("churn/model", reason="r", role="qa", signer=signers[name])
    with model._session.state() as state:
        row = dict(state.approvals[model.artifact("churn/model").digest][0])
    payload = payload_of(row["signature"])
    assert payload is not None
    both = make_envelope(payload, [signers["ada"], signers["bob"]])
    third = person("zoe")
    digest = model.artifact("churn/model").digest
    append(
        third,
        [
            {
                "fact": "approved",
                "digest": digest,
                "verdict": "approved",
                "name": "churn/model:v1",
                "role": "qa",
                "signature": both,
            }
        ],
    )
    assert len(model.registry.approvals("churn/model:v1", keys=known)) == 3
    assert not model.registry.check("churn/model:v1", "production", keys=known)


def test_a_transplanted_approval_counts_nowhere(model: Store, person: Person, signers: dict[str, KeyFile]):
    gate(model, {**SIGNED, "approvals": 1})
    known = keys(ada=QA)
    person("ada").registry.approve("churn/model:v1", reason="r", role="qa", signer=signers["ada"])
    model.put({"w": 2}, "churn/model", kind="model")
    digests = [one.digest for one in model.versions("churn/model")]
    with model._session.state() as state:
        signature = dict(state.approvals[digests[0]][0])["signature"]
    fact = {
        "fact": "approved",
        "digest": digests[1],
        "verdict": "approved",
        "name": "churn/model:v2",
        "role": "qa",
        "signature": signature,
    }
    append(person("eve"), [fact])
    (found,) = model.registry.approvals("churn/model:v2", keys=known)
    assert found.status == "transplanted"
    assert model.registry.check("churn/model:v1", "production", keys=known)
    assert not model.registry.check("churn/model:v2", "production", keys=known)


def test_a_model_signature_counts_for_its_artifact_and_role(model: Store, signers: dict[str, KeyFile]):
    gate(model, {"signature": "release"})
    known = keys(carol={"roles": ["release"]}, ada=QA)

    def ok(ref: str, **more: Any) -> bool:
        return bool(model.registry.check(ref, "production", **{"keys": known, **more}))

    assert not ok("churn/model:v1")
    model.registry.sign("churn/model:v1", reason="r", signer=signers["ada"])
    assert not ok("churn/model:v1")
    made = model.registry.sign("churn/model:v1", reason="r", signer=signers["carol"].path)
    assert made.read == 0
    assert ok("churn/model:v1")
    assert not ok("churn/model:v1", keys=keys(carol={"roles": ["release"], "until": "2020-01-01"}))
    other = model.put({"w": 2}, "churn/model", kind="model")
    append(
        model, [{"fact": "signed", "digest": other.digest, "type": "oms", "bundle": made.to_json()["bundle"], "key": made.key}]
    )
    assert not ok("churn/model:v2")
    assert model.promote("churn/model:v1", "production", reason="r", keys=known)


def test_a_signer_that_cannot_sign_is_refused_before_anything_is_recorded(model: Store, tmp_path: Path):
    head = model.head
    for signer in (tmp_path / "none.pem", 3, object(), "kms:x"):
        for call in (model.registry.approve, model.registry.reject):
            with pytest.raises(InvalidInputError):
                call("churn/model", reason="r", signer=signer)
    assert model.head == head
