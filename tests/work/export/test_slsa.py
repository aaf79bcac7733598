"""SLSA: what in-toto's own library takes, and what is a subject."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import artifactstore
from artifactstore import Store
from tests.work.export.conftest import make

pytest.importorskip("in_toto_attestation")


def statements(store: Store, ref: str = "churn/report", **options: Any) -> dict[str, Any]:
    return {
        one["predicate"]["buildDefinition"]["externalParameters"]["run"]: one
        for one in store.lineage(ref).export("slsa", **options)
    }


def validate(statement: dict[str, Any]) -> None:
    import in_toto_attestation.v1.statement_pb2 as messages
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1 import provenance_pb2 as predicates
    from in_toto_attestation.v1.statement import Statement

    Statement.copy_from_pb(ParseDict(statement, messages.Statement())).validate()
    ParseDict(statement["predicate"], predicates.Provenance())


def test_in_totos_own_library_takes_every_statement(chain: Store):
    found = [one for run in chain.runs() for one in chain.lineage(run.id).export("slsa")]
    assert len(found) == 6
    for one in found:
        validate(one)


def test_its_check_finds_unknown_keys(chain: Store):
    from google.protobuf.json_format import ParseError

    broken = json.loads(json.dumps(statements(chain)["train"]))
    broken["predicate"]["runDetails"]["level"] = 3
    with pytest.raises(ParseError):
        validate(broken)


def test_a_models_files_are_subjects_by_sha256(chain: Store):
    subjects = {one["name"]: one["digest"] for one in statements(chain)["train"]["subject"]}
    assert subjects["churn/model:v1"] == {"blake3": chain.artifact("churn/model").digest.removeprefix("blake3:")}
    assert subjects["churn/model:v1/weights ä.bin"]["sha256"] == sha256(b"w" * 100).hexdigest()
    assert subjects["churn/model:v1/config.json"]["sha256"] == sha256(b"{}").hexdigest()
    (plot,) = statements(chain)["inner"]["subject"]
    assert set(plot["digest"]) == {"blake3"}


@pytest.mark.slow
def test_a_store_with_sha256_has_it_of_every_file(tmp_path: Path):
    make(tmp_path, tmp_path / "store", digest="sha256")
    store = artifactstore.open(tmp_path / "store", "r", cache=None)
    found = statements(store)
    for one in found.values():
        validate(one)
        assert {key for subject in one["subject"] for key in subject["digest"]} == {"sha256"}
    assert {"name": "churn/plot:v1/data", "digest": {"sha256": sha256(b"plot").hexdigest()}} in found["inner"]["subject"]


def test_a_statement_says_from_what_how_and_when(chain: Store):
    statement = statements(chain, builder="https://ci.example/runner")["prepare äö"]
    build, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    (info,) = chain.runs("prepare*")
    assert build["externalParameters"]["params"] == info.params
    assert build["internalParameters"]["actor"] == info.actor
    assert build["internalParameters"]["python"]["implementation"]
    commit, code, environment, raw = build["resolvedDependencies"]
    assert commit["uri"] == "git+https://git.example/team/churn.git@refs/heads/main"
    assert commit["digest"] == {"gitCommit": info.code["commit"]}
    assert commit["annotations"]["dirty"] is True
    assert code["digest"]["gitTree"] == info.code["tree"]
    assert environment["name"] == "environment"
    assert (raw["name"], raw["annotations"]["role"]) == ("churn/raw:v1", "rohdaten ü")
    assert raw["uri"] == f"{Path(chain.url).as_uri()}#{chain.artifact('churn/raw').digest}"
    assert details["builder"]["id"] == "https://ci.example/runner"
    assert details["metadata"]["startedOn"] < details["metadata"]["finishedOn"]


def test_a_failed_run_says_so_and_an_unfinished_one_has_no_end(chain: Store):
    failed = statements(chain, "churn/half")["evaluate"]["predicate"]["buildDefinition"]["internalParameters"]
    assert (failed["status"], failed["error"]) == ("failed", "ValueError: broken <here>")
    (endless,) = chain.lineage("endless").export("slsa")
    assert "finishedOn" not in endless["predicate"]["runDetails"]["metadata"]
