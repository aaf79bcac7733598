"""Every reader meets facts that the schemas accept and no writer of ours would write: a result, or an error of ours."""

import contextlib
import io
import json
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import artifactstore
from artifactstore.cli import main
from artifactstore.errors import ArtifactStoreError, CorruptionError, InvalidInputError
from artifactstore.journal.chain import entry_key
from artifactstore.model import fields
from artifactstore.model.digest import Digest
from artifactstore.model.encoding import new_id
from artifactstore.model.facts import parse_entry
from artifactstore.model.schema import KINDS
from artifactstore.store import Store
from artifactstore.work.session.commit import commit
from artifactstore.work.session.prepared import Prepared, Step

DIGESTS = ["blake3:" + "0" * 64]  # and that of what is stored, which is added when it is known
RUNS = ["r1", "r2", "run three"]
TEXTS = ["", "x", "data", "a\nb", "\x1b[2K", "\u202e<b>", "environment", "code", "</svg>", "é" * 300, "v1", "0" * 40]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, -1, 2**70, 1e308, float("inf"), 0.5]) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["commit", "path", "size", "a", "digest", *TEXTS]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def of(schema: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Return what a schema accepts."""
    kind = schema["type"]
    if kind == "str":
        pattern = str(schema.get("pattern", ""))
        if "blake3" in pattern:
            return st.sampled_from(DIGESTS)
        if name in {"run", "parent", "by"}:
            return st.sampled_from(RUNS)
        return (
            st.from_regex(pattern.replace("$", r"\Z"))
            if pattern
            else st.sampled_from(TEXTS + (["n", "m"] if name == "name" else []))
        )
    if kind == "int":
        return st.sampled_from(sorted({max(schema.get("ge", 0), one) for one in (0, 1, 2, 3)} | {schema.get("le", 2**70)}))
    simple: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "float": lambda: st.sampled_from(
            [0, 0.5, -1e308, 10**30, *([] if schema.get("allow_inf_nan") is False else [float("inf")])]
        ),
        "bool": st.booleans,
        "any": lambda: JSON,
        "literal": lambda: st.sampled_from(schema["expected"]),
        "nullable": lambda: st.none() | of(schema["schema"], name),
        "list": lambda: st.lists(of(schema["items_schema"], name), max_size=2),
        "dict": lambda: st.dictionaries(st.sampled_from(TEXTS), of(schema["values_schema"], name), max_size=2),
        "function-after": lambda: st.sampled_from(["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]),
    }
    if kind == "typed-dict":
        needed = {key: of(one["schema"], key) for key, one in schema["fields"].items() if one["required"]}
        others = {key: of(one["schema"], key) for key, one in schema["fields"].items() if not one["required"]}
        return st.fixed_dictionaries(needed, optional=others)
    return simple[kind]()


def facts_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return facts of a kind, with fields of other kinds that its schema does not know."""
    more = [name for name in fields._FIELDS if name not in KINDS[kind]["fields"]]
    odd = st.dictionaries(st.sampled_from(more), JSON, max_size=3)
    made = st.builds(lambda extra, fact: {**extra, **fact, "fact": kind}, odd, of(KINDS[kind]))
    if kind != "received":
        return made
    inner = st.lists(st.sampled_from(sorted({*KINDS} - {"received"})).flatmap(facts_of), max_size=2)
    return st.builds(lambda fact, facts: {**fact, "facts": facts}, made, inner)


USUAL = [
    "started",
    "started",
    "finished",
    "used",
    "used",
    "produced",
    "produced",
    "versioned",
    "described",
    "measured",
    "aliased",
    "tainted",
    "received",
]
FACTS = st.lists(st.sampled_from(USUAL) | st.sampled_from(sorted(KINDS)), min_size=1, max_size=6).flatmap(
    lambda kinds: st.tuples(*(facts_of(kind) for kind in kinds))
)
_numbers = count()


def append(store: Store, *facts: dict[str, Any]) -> None:
    """Append facts as another writer would, each in a transaction of its own, in an entry that says infinity as JSON can: `1e999`."""
    backend, head = store._session.backend, store._session.core().journal.catch_up()
    before = backend.read(entry_key(head))
    time = json.loads(before)["time"]
    common = {
        "birth": head,
        "base": head,
        "adoptable": False,
        "actor": "eve",
        "identity": "os",
        "host": "h",
        "tool": "t",
        "time": time,
    }
    txns = [{"txn": new_id(), **common, "facts": [fact]} for fact in facts]
    entry = {"format": 1, "seq": head + 1, "previous": str(Digest.of(before)), "writer": new_id(), "time": time, "txns": txns}
    raw = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).replace("Infinity", "1e999").encode()
    parse_entry(raw, "what a reader accepts")
    backend.create(entry_key(head + 1), raw)


def no_constant(word: str) -> None:
    raise ValueError(word)


def command(*arguments: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    assert code != 70, err.getvalue()
    if code == 0 and "--json" in arguments:
        json.loads(out.getvalue(), parse_constant=no_constant)


def readers(store: Store, digest: str) -> Iterator[Callable[[], Any]]:
    """Yield all that can be asked."""
    for rows in (store.runs, store.names, store.find, store.log, lambda: store.versions("n")):
        for use in (list, repr, lambda found: found.to_arrow().to_pylist(), lambda found: found._repr_html_()):
            yield lambda rows=rows, use=use: use(rows())  # type: ignore[misc]
    yield lambda: store.log().to_pandas()
    yield from (
        lambda more=more: store.find(**more)
        for more in ({"run": "*"}, {"code": "0000000"}, {"metrics": {"x": ">0"}}, {"uses": "n"})
    )
    for ref in (digest, *RUNS[:2]):
        yield lambda ref=ref: store.artifact(ref)._repr_html_()  # type: ignore[misc]
        for view in (lambda found: found.upstream(), lambda found: found.downstream(), lambda found: found.draw()):
            yield lambda ref=ref, view=view: (str(found := view(store.lineage(ref))), found.mermaid(), ET.fromstring(found.svg()))  # type: ignore[misc]
        yield lambda ref=ref: [repr(part(store.lineage(ref))) for part in PARTS]  # type: ignore[misc]
        for standard in ("prov", "openlineage", "slsa"):
            yield lambda ref=ref, standard=standard: json.dumps(store.lineage(ref).export(standard), allow_nan=False)  # type: ignore[misc]
        yield lambda ref=ref: [(str(found := store.why(ref, other)), found.to_html(), found.to_json()) for other in ("m", "r2")]  # type: ignore[misc]
    yield lambda: store.verify(level="full")
    yield lambda: store.get("n")
    yield lambda: store.put(b"more", "m")
    yield lambda: store.alias("n:v1", "x", reason="why")


PARTS: list[Callable[[Any], Any]] = [
    lambda g: g.runs, lambda g: g.inputs, lambda g: g.artifacts, lambda g: g.code, lambda g: g.impact(), lambda g: g.path("n"),
    lambda g: g.upstream().to_json(),
]  # fmt: skip
COMMANDS = (["log"], ["log", "--json"], ["runs"], ["runs", "--json"], ["ls"], ["ls", "--json"], ["find"], ["find", "--json"], ["versions", "n"],
            ["show", "n"], ["show", "n", "--json"], ["lineage", "n"], ["lineage", "r1", "--json"], ["why", "n", "m"], ["verify"], ["impact", "n"])  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(FACTS)
def test_no_fact_breaks_a_reader(facts: tuple[dict[str, Any], ...]):
    number = next(_numbers)
    store = artifactstore.open(f"memory://odd-{number}", cache=None)
    digest = store.put(b"x", "n").digest
    store.put(b"y", "m")
    if digest not in DIGESTS:
        DIGESTS.append(digest)
    try:
        append(store, *facts)
    except CorruptionError:
        assume(condition=False)  # readers refuse it: a `removed` that names nothing
    fresh = artifactstore.open(store.url, cache=None)
    for ask in readers(fresh, digest):
        with contextlib.suppress(ArtifactStoreError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is tainted
            ask()
    command(*COMMANDS[number % len(COMMANDS)], "--store", store.url)


ODD: list[tuple[str, dict[str, Any]]] = [
    ("command", {"fact": "started", "run": "r1", "name": "x", "command": 5}),
    ("command", {"fact": "started", "run": "r1", "name": "x", "command": ["a", None]}),
    ("params", {"fact": "started", "run": "r1", "name": "x", "params": {"a": [float("inf")]}}),
    ("reason", {"fact": "started", "run": "r1", "name": "x", "reason": {"a": 1}}),
    ("code", {"fact": "used", "run": "r1", "code": {"commit": 5, "branch": "main"}}),
    ("path", {"fact": "used", "run": "r1", "path": ["a"]}),
    ("around", {"fact": "finished", "run": "r1", "status": "finished", "around": [{}, {"path": "a", "size": 1}]}),
    ("seconds", {"fact": "finished", "run": "r1", "status": "finished", "seconds": float("inf")}),
    ("reads_seen", {"fact": "finished", "run": "r1", "status": "finished", "reads_seen": 5}),
    ("step", {"fact": "measured", "run": "r1", "metrics": {"a": 1}, "step": "x"}),
    ("version", {"fact": "versioned", "name": "n", "kind": "data", "version": "x"}),
    ("metadata", {"fact": "described", "name": "n", "version": 1, "metadata": {"a": float("-inf")}}),
]


@pytest.mark.parametrize(("field", "fact"), ODD, ids=[f"{field}-{number}" for number, (field, _) in enumerate(ODD)])
def test_a_malformed_field_counts_as_absent_is_named_by_verify_and_refused_by_our_writer(
    store: Store, field: str, fact: dict[str, Any]
):
    digest = store.put(b"x", "n").digest
    whole = fact if fact["fact"] in {"started", "finished", "measured", "described"} else {**fact, "digest": digest}
    with pytest.raises(InvalidInputError, match=field):
        commit(store._session, Step(lambda _core: Prepared([whole], 1, "")))
    head = store._session.core().journal.head
    for one in ([] if fact["fact"] == "started" else [{"fact": "started", "run": "r1", "name": "x"}]) + [whole]:
        append(store, one)
    fresh = artifactstore.open(store.url, cache=None)
    report = fresh.verify(level="full")
    assert report.ok
    assert [one.severity for one in report.findings if field in one.what] == ["note"]
    assert [event.outcome for event in fresh.log()][-1] == "committed"
    assert fresh.log()[-1].fields[field] == whole[field], "the raw fact is there"
    assert fresh.log().to_arrow().num_rows > head
    with fresh._session.state() as state:
        if fact["fact"] in {"started", "finished"}:
            row = state.runs["r1"]
            assert fields.malformed({key: value for key, value in row.items() if key == field}) == []
    assert list(fresh.runs()) or fact["fact"] in {"versioned", "described"}


def test_what_a_code_and_files_say_well_is_kept_beside_what_they_say_badly():
    code = {"commit": 5, "branch": "main", "dirty": True, "remotes": {"a": 1}, "of_tomorrow": [1]}
    assert fields.sane({"fact": "used", "code": code})["code"] == {"branch": "main", "dirty": True, "of_tomorrow": [1]}
    assert fields.sane({"fact": "finished", "around": [{}, {"path": "a", "size": 1}]})["around"] == [{"path": "a", "size": 1}]
    assert fields.sane({"fact": "measured", "metrics": {"a": 10**400, "b": 1}})["metrics"] == {"b": 1}
    whole = {"fact": "started", "run": "r", "name": "x", "params": {"a": 1.5}, "of_tomorrow": {"x": float("inf")}}
    assert fields.sane(whole) is whole
    inner = {"fact": "received", "facts": [{"fact": "started", "run": "r", "name": "x", "command": 5}]}
    assert fields.malformed(inner) == ["facts.command"]
    assert fields.sane(inner) == {"fact": "received", "facts": [{"fact": "started", "run": "r", "name": "x"}]}
