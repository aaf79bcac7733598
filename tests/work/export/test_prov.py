"""W3C PROV: what the real library reads, and what it says."""

import json
from typing import Any

import pytest

from artifactstore import Store

pytest.importorskip("prov")
from prov.model import (
    ProvActivity,
    ProvAgent,
    ProvAssociation,
    ProvCommunication,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvSpecialization,
    ProvUsage,
)


def read(store: Store, ref: str = "churn/report") -> Any:
    return ProvDocument.deserialize(content=json.dumps(store.lineage(ref).export("prov")), format="json")


def test_the_real_library_reads_it_and_writes_the_same(chain: Store):
    for ref in ("churn/report", "churn/half", "churn/raw", "endless"):
        document = read(chain, ref)
        again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
        assert document == again
        assert document.get_provn() == again.get_provn()


def test_everything_that_is_related_is_told(chain: Store):
    document = read(chain)
    assert len(list(document.get_records(ProvActivity))) == 4
    assert len(list(document.get_records(ProvAgent))) == 1
    known = {one.identifier for kind in (ProvActivity, ProvAgent, ProvEntity) for one in document.get_records(kind)}
    for kind in (ProvUsage, ProvGeneration, ProvAssociation, ProvDerivation, ProvCommunication, ProvSpecialization):
        records = list(document.get_records(kind))
        assert records
        for one in records:
            assert {value for _, value in one.formal_attributes if hasattr(value, "localpart")} <= known


def test_a_model_was_derived_by_its_run_which_was_informed_by_the_one_before(chain: Store):
    document = chain.lineage("churn/report").export("prov")
    model = f"store:{chain.artifact('churn/model').digest.replace(':', '-')}"
    table = f"store:{chain.artifact('churn/features').digest.replace(':', '-')}"
    labels = {one["prov:label"]: name for name, one in document["activity"].items()}
    assert {"prov:generatedEntity": model, "prov:usedEntity": table, "prov:activity": labels["train"]} in document[
        "wasDerivedFrom"
    ].values()
    informed = [(one["prov:informed"], one["prov:informant"]) for one in document["wasInformedBy"].values()]
    assert (labels["train"], labels["prepare äö"]) in informed
    assert (labels["inner"], labels["train"]) in informed, "a run was informed by the run around it"
    plans = {one["prov:plan"] for one in document["wasAssociatedWith"].values()}
    assert len(plans) >= 1
    assert all({"$": "prov:Plan", "type": "prov:QUALIFIED_NAME"} in document["entity"][plan]["prov:type"] for plan in plans)
    assert {"prov:specificEntity": "store:version/churn/model/v1", "prov:generalEntity": "store:name/churn/model"} in document[
        "specializationOf"
    ].values()


def test_what_was_said_is_kept(chain: Store):
    document = chain.lineage("churn/report").export("prov")
    by_label = {one["prov:label"]: one for one in document["activity"].values()}
    prepare = by_label["prepare äö"]
    assert json.loads(prepare["artifactstore:params"])["größe"] == "ß"
    assert prepare["artifactstore:dirty"] == {"$": "true", "type": "xsd:boolean"}
    assert prepare["prov:startTime"] < prepare["prov:endTime"]
    version = document["entity"]["store:version/churn/model/v1"]
    assert (version["artifactstore:aliases"], json.loads(version["artifactstore:metadata"])) == (
        "production",
        {"note": "größer <b>"},
    )
    roles = {one.get("prov:role") for one in document["used"].values()}
    assert {"rohdaten ü", "environment", None} == roles
    failed = next(iter(chain.lineage("churn/half").export("prov")["activity"].values()))
    assert "broken <here>" in json.dumps(chain.lineage("churn/half").export("prov")["activity"])
    assert failed["artifactstore:status"] in {"finished", "failed"}


def test_documents_of_two_artifacts_can_be_merged(chain: Store):
    one, other = read(chain, "churn/report"), read(chain, "churn/half")
    one.update(other)
    merged = one.unified()
    assert len(list(merged.get_records(ProvAgent))) == 1
    assert len(list(merged.get_records(ProvActivity))) == 5
