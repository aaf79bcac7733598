"""OpenLineage: events as the official client and the published schemas want them, and as a server gets them."""

import importlib
import json
import pkgutil
import threading
import types
import typing
import uuid
from collections.abc import Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attr
import pytest

import artifactstore
from artifactstore import BackendError, InvalidInputError, Store
from artifactstore.work.export.openlineage_client import endpoint_of
from tests.servers.place import SERVERS

RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
SPEC = SERVERS / "openlineage-spec"


def client_classes() -> dict[str, Any]:
    """The classes that the official client generates from the schemas, by the schema's URL."""
    from openlineage.client import generated

    found: dict[str, Any] = {}
    for one in pkgutil.iter_modules(generated.__path__):
        module = importlib.import_module(f"{generated.__name__}.{one.name}")
        found |= {one._get_schema(): one for one in vars(module).values() if attr.has(one) and hasattr(one, "_get_schema")}
    return found


def structure(kind: Any, value: Any, classes: dict[str, Any], where: str = "event") -> Any:
    """Make an object of the client's of a plain value; refuses what its type doesn't know."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        if value is None:
            return None
        (kind,) = [one for one in inner if one is not type(None)]
        return structure(kind, value, classes, where)
    if origin is list:
        return [structure(inner[0], one, classes, f"{where}[{i}]") for i, one in enumerate(value)]
    if origin is dict:
        return {key: structure(inner[1], one, classes, f"{where}.{key}") for key, one in value.items()}
    if attr.has(kind):
        return make(kind, value, classes, where)
    if kind is float:
        kind = (int, float)
    if kind is not Any and not (isinstance(kind, type) and issubclass(kind, Enum)):
        assert isinstance(value, kind), where
        assert not isinstance(value, bool) or kind is bool, where
    return value if kind in {Any, str, int, bool} or isinstance(kind, tuple) else kind(value)


def make(kind: Any, value: dict[str, Any], classes: dict[str, Any], where: str) -> Any:
    said = dict(value)
    url = said.pop("_schemaURL", said.pop("schemaURL", None))
    if url is not None:
        kind = classes[url]
    hints = typing.get_type_hints(kind)
    fields = {one.name: one for one in attr.fields(kind) if one.init}
    assert set(said) <= set(fields), f"{where} has {sorted(set(said) - set(fields))}"
    given = {fields[key].alias: structure(hints[key], one, classes, f"{where}.{key}") for key, one in said.items()}
    return kind(**given)


def events(store: Store, ref: str = "churn/report", **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = store.lineage(ref).export("openlineage", **options)
    return found


def everything(store: Store) -> list[dict[str, Any]]:
    return [one for run in store.runs() for one in events(store, run.id)]


def of(found: list[dict[str, Any]], job: str) -> dict[str, dict[str, Any]]:
    return {one["eventType"]: one for one in found if one["job"]["name"] == job}


def tags(facets: dict[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in facets["tags"]["tags"]}


def test_the_official_client_knows_every_field(chain: Store):
    classes = client_classes()
    found = everything(chain)
    assert len(found) == 12
    for event in found:
        made = make(classes[RUN_EVENT], event, classes, "event")
        assert str(made.run.runId) == event["run"]["runId"]


def test_the_clients_check_finds_faults(chain: Store):
    classes = client_classes()
    event = json.loads(json.dumps(everything(chain)[1]))
    for path, value in {
        ("run", "runId"): "no uuid",
        ("eventType",): "DONE",
        ("job", "facets", "jobType", "shape"): "round",
        ("outputs", 0, "outputFacets", "outputStatistics", "rowCount"): "3",
    }.items():
        broken: Any = json.loads(json.dumps(event))
        inner = broken
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        with pytest.raises((AssertionError, ValueError)):
            make(classes[RUN_EVENT], broken, classes, "event")


@pytest.mark.skipif(
    not (SPEC / "OpenLineage.json").exists(), reason=f"the published schemas (OpenLineage's spec/) are not at {SPEC}"
)
def test_the_published_schemas_take_every_event_and_facet(chain: Store):
    from jsonschema import Draft202012Validator, FormatChecker
    from referencing import Registry, Resource

    schemas = [json.loads(path.read_text()) for path in (SPEC / "OpenLineage.json", *sorted((SPEC / "facets").glob("*.json")))]
    registry = Registry().with_resources([(one["$id"], Resource.from_contents(one)) for one in schemas])

    def check(value: Any, url: str) -> None:
        Draft202012Validator({"$ref": url}, registry=registry, format_checker=FormatChecker()).validate(value)

    def walk(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        own = isinstance(value, dict) and "_schemaURL" in value
        if own:
            check(value, value["_schemaURL"])
        return own + sum(map(walk, inner))

    for event in everything(chain):
        check(event, event["schemaURL"])
        assert walk(event) >= 2


def test_a_run_begins_and_ends_as_it_did(chain: Store):
    found = everything(chain)
    kinds = {job: set(of(found, job)) for job in ("prepare äö", "train", "inner", "evaluate", "report", "endless")}
    assert kinds == {
        **{job: {"START", "COMPLETE"} for job in ("prepare äö", "train", "inner", "report")},
        "evaluate": {"START", "FAIL"},
        "endless": {"START", "RUNNING"},
    }
    failed = of(found, "evaluate")["FAIL"]["run"]["facets"]["errorMessage"]
    assert failed["message"] == "ValueError: broken <here>"
    (made,) = of(found, "endless")["RUNNING"]["outputs"]
    assert made["name"] == "churn/so-far"
    train = of(found, "train")
    assert train["START"]["run"]["runId"] == train["COMPLETE"]["run"]["runId"]
    assert train["START"]["eventTime"] < train["COMPLETE"]["eventTime"]
    assert (train["START"]["inputs"], train["START"]["outputs"]) == ([], [])


def test_ids_of_runs_are_uuids_of_version_7_in_the_order_of_their_starts(chain: Store):
    found = [uuid.UUID(one["run"]["runId"]) for one in everything(chain) if one["eventType"] == "START"]
    assert {one.version for one in found} == {7}
    assert {one.variant for one in found} == {uuid.RFC_4122}
    assert len(set(found)) == len(found) == 6
    milliseconds = [one.int >> 80 for one in found]
    assert milliseconds == sorted(milliseconds) == [int(one.started.timestamp() * 1000) for one in chain.runs()]


def test_datasets_are_named_by_the_store_and_versioned_by_digest(chain: Store):
    end = of(everything(chain), "report")["COMPLETE"]
    model, unnamed, plot = end["inputs"]
    assert {one["namespace"] for one in end["inputs"]} == {Path(chain.url).as_uri()}
    assert [model["name"], plot["name"]] == ["churn/model", "churn/plot"]
    assert unnamed["name"] == unnamed["facets"]["version"]["datasetVersion"]
    assert model["facets"]["version"]["datasetVersion"] == chain.artifact("churn/model").digest
    assert model["facets"]["datasetType"]["datasetType"] == "MODEL"
    said = tags(model["facets"])
    assert said["aliases"] == '["churn/model:production"]'
    assert (said["metric.auc"], said["metadata.note"], said["ref"]) == ("0.91", "größer <b>", "churn/model:v1")
    assert model["inputFacets"]["inputStatistics"]["size"] == 112


def test_a_table_tells_its_schema_and_columns(chain: Store):
    (table,) = of(everything(chain), "train")["COMPLETE"]["inputs"]
    fields = [(one["name"], one["type"], one["ordinal_position"]) for one in table["facets"]["schema"]["fields"]]
    assert fields == [("n", "int64", 1), ("text", "string", 2), ("x", "double", 3), ("yes", "bool", 4)]
    metrics = table["inputFacets"]["dataQualityMetrics"]
    assert (metrics["rowCount"], table["inputFacets"]["inputStatistics"]["rowCount"]) == (3, 3)
    column = metrics["columnMetrics"]
    assert {key: column["n"][key] for key in ("nullCount", "count", "distinctCount", "min", "max")} == {
        "nullCount": 1, "count": 2, "distinctCount": 2, "min": 1, "max": 2,
    }  # fmt: skip
    assert (column["x"]["nullCount"], column["x"]["distinctCount"]) == (1, 2), "NaN is a gap"
    assert column["x"]["quantiles"]["1"] == 1.5
    assert "min" not in column["text"], "a minimum is a number there"
    assert "min" not in column["yes"]
    (made,) = of(everything(chain), "prepare äö")["COMPLETE"]["outputs"]
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 3
    assert tags(made["facets"])["role"] == "features"


def test_code_parameters_and_parents_are_facets(chain: Store):
    found = everything(chain)
    prepare = of(found, "prepare äö")["COMPLETE"]
    code = prepare["job"]["facets"]["sourceCodeLocation"]
    commit = chain.runs("prepare*")[0].code["commit"]
    assert {key: code[key] for key in ("type", "url", "repoUrl", "version", "branch", "path")} == {
        "type": "git",
        "url": "https://git.example/team/churn.git",
        "repoUrl": "https://git.example/team/churn.git",
        "version": commit,
        "branch": "main",
        "path": ".",
    }
    said = tags(prepare["run"]["facets"])
    assert (said["code.dirty"], said["run"]) == ("true", chain.runs("prepare*")[0].id)
    params = {one["key"]: one["value"] for one in prepare["run"]["facets"]["executionParameters"]["parameters"]}
    assert {key: params[key] for key in ("scale", "größe", "deep")} == {
        "scale": "2", "größe": "ß", "deep": '{"a": [1, null, true, 1.5]}',
    }  # fmt: skip
    assert "object object" in params["odd"]
    parent = of(found, "inner")["START"]["run"]["facets"]["parent"]
    assert parent["job"]["name"] == parent["root"]["job"]["name"] == "train"
    assert parent["run"]["runId"] == of(found, "train")["START"]["run"]["runId"]
    assert not any(one["name"] == said["code"] for one in prepare["inputs"])


# -- sending


class Sink:
    """A server that keeps what it is sent."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str | None, Any]] = []
        self.answers: list[int] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.got.append((self.path, self.headers.get("Authorization"), json.loads(body)))
                self.send_response(sink.answers.pop(0) if sink.answers else 201)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(f"you said {self.headers.get('Authorization')}".encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    for name in ("URL", "API_KEY", "NAMESPACE", "DISABLED"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    made = Sink()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_events_are_posted_in_their_order(chain: Store, sink: Sink):
    assert chain.lineage("churn/report").export("openlineage", f"{sink.url}/prefix/") == 8
    assert {(path, key) for path, key, _ in sink.got} == {("/prefix/api/v1/lineage", None)}
    assert [event for _, _, event in sink.got] == events(chain)


def test_the_environment_names_server_key_and_namespace(chain: Store, sink: Sink, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InvalidInputError, match="OPENLINEAGE_URL"):
        events(chain, send=True)
    monkeypatch.setenv("OPENLINEAGE_URL", sink.url)
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "team")
    assert sink.got == []
    assert len(events(chain)) == 8, "nothing is sent that nobody asked to send"
    assert sink.got == []
    sent: Any = events(chain, send=True)
    assert sent == 8
    assert {key for _, key, _ in sink.got} == {"Bearer k3y"}
    assert {event["job"]["namespace"] for _, _, event in sink.got} == {"team"}
    assert {one["job"]["namespace"] for one in events(chain, namespace="mine")} == {"mine"}
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    sent = events(chain, send=True)
    assert (sent, len(sink.got)) == (0, 8)


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "said"), [(401, "OPENLINEAGE_API_KEY"), (503, "503"), (302, "redirects to")])
def test_a_refusal_says_how_far_it_came_and_no_key(
    chain: Store, sink: Sink, monkeypatch: pytest.MonkeyPatch, answer: int, said: str
):
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "k3y")
    sink.answers = [201, 201, answer]
    with pytest.raises(BackendError, match=said) as caught:
        events(chain, to=sink.url)
    assert caught.value.transient is (answer == 503)
    assert "2 of 8 events were sent" in str(caught.value)
    assert "k3y" not in str(caught.value)
    assert len(sink.got) == 3, "a redirect is not followed"


def test_a_server_that_is_not_there_may_come_back(chain: Store):
    with pytest.raises(BackendError, match="is unreachable") as caught:
        events(chain, to="http://127.0.0.1:9")
    assert caught.value.transient


@pytest.mark.parametrize("url", ["http://", "https://user:pass@host", "http://host?key=x", "ftp://host"])
def test_addresses_are_checked(url: str):
    with pytest.raises(InvalidInputError) as caught:
        endpoint_of(url)
    assert "pass@" not in str(caught.value)
    assert endpoint_of("https://host/api/v1/lineage") == "https://host/api/v1/lineage"


def test_a_run_without_a_repository_names_what_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = artifactstore.create(tmp_path / "store", cache=None)
    with store.run("bare", code=False) as run:
        run.put(b"x", "x")
    assert "sourceCodeLocation" not in events(store, "x")[0]["job"]["facets"]
