"""A store against a dict: any history of puts, aliases, batches and reopenings gives what the model says."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import artifactstore
from artifactstore import ConflictError, NotFoundError
from artifactstore.store import Store

NAMES = st.sampled_from(["a", "b/c", "d"])
VALUES = st.one_of(
    st.integers(0, 3),
    st.binary(max_size=3),
    st.just({"k": [1]}),
    st.sampled_from(["long", "longer"]).map(lambda word: word.encode() * 40_000),
)
ALIASES = st.sampled_from(["good", "production"])


class Model(RuleBasedStateMachine):
    """The store beside two dicts."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.store: Store = artifactstore.open(self.root / "store", cache=self.root / "cache")
        self.versions: dict[str, list[object]] = {}
        self.aliases: dict[tuple[str, str], int] = {}
        self.history: list[dict[str, int]] = []
        self.entries = 0

    def teardown(self) -> None:
        if hasattr(self, "root"):
            shutil.rmtree(self.root, ignore_errors=True)

    def expect_put(self, name: str, value: object) -> int:
        rows = self.versions.setdefault(name, [])
        if not rows or rows[-1] != value or type(rows[-1]) is not type(value):
            rows.append(value)
        return len(rows)

    def note(self) -> None:
        self.history.append({name: len(rows) for name, rows in self.versions.items()})

    @rule(name=NAMES, value=VALUES)
    def put(self, name: str, value: object) -> None:
        before = len(self.versions.get(name, []))
        expected = self.expect_put(name, value)
        made = self.store.put(value, name)
        assert made.version == expected
        assert made.new == (expected != before)
        if made.new:
            self.note()

    @rule(pairs=st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3, unique_by=lambda pair: pair[0]))
    def batch(self, pairs: list[tuple[str, object]]) -> None:
        before = {name: len(rows) for name, rows in self.versions.items()}
        with self.store.batch():
            for name, value in pairs:
                made = self.store.put(value, name)
                assert self.store.get(made.ref) == value
        for name, value in pairs:
            self.expect_put(name, value)
        if {name: len(rows) for name, rows in self.versions.items()} != before:
            self.note()

    @rule(name=NAMES, alias=ALIASES, number=st.integers(1, 4), expect=st.sampled_from([None, 1, 2, ...]))
    def move(self, name: str, alias: str, number: int, expect: object) -> None:
        holder = self.aliases.get((name, alias))
        conditions: dict[str, Any] = {} if expect is ... else {"expect": expect}
        if number > len(self.versions.get(name, [])):
            with pytest.raises(NotFoundError):
                self.store.alias(f"{name}:v{number}", alias, **conditions)
            return
        if conditions and expect != holder:
            with pytest.raises(ConflictError):
                self.store.alias(f"{name}:v{number}", alias, **conditions)
            return
        self.store.alias(f"{name}:v{number}", alias, **conditions)
        self.aliases[name, alias] = number
        if holder != number:
            self.note()

    @rule()
    def reopen(self) -> None:
        self.store = artifactstore.open(self.root / "store", cache=self.root / "cache")

    @rule()
    def reopen_without_any_cache(self) -> None:
        self.store = artifactstore.open(self.root / "store", cache=None)

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        if self.history:
            entry = data.draw(st.integers(1, len(self.history)))
            past = self.store.at(entry)
            assert {one.name: one.versions for one in past.names()} == self.history[entry - 1]

    @rule()
    def check(self) -> None:
        if self.history:
            assert self.store.verify(level="full").ok

    @invariant()
    def agrees(self) -> None:
        if not getattr(self, "history", None):
            return
        assert {one.name: one.versions for one in self.store.names()} == {name: len(rows) for name, rows in self.versions.items()}
        for name, rows in self.versions.items():
            for number, value in enumerate(rows, 1):
                assert self.store.get(f"{name}:v{number}") == value
        for (name, alias), number in self.aliases.items():
            assert self.store.artifact(f"{name}:{alias}").version == number


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck))
