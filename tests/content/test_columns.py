"""Columns that are made of buffers are those that Arrow itself makes."""

import os
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifactstore.content.manifests.arrow_columns import bits, digests, numbers, strings, texts
from artifactstore.content.manifests.compact_lists import Texts

pa.array([])  # the first one imports pandas
DIGESTS = st.none() | st.binary(min_size=32, max_size=32)


def same(made: Any, values: list[Any], kind: Any) -> None:
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    assert made.null_count == values.count(None)


@given(values=st.lists(DIGESTS, max_size=40))
def test_digests(values: list[bytes | None]) -> None:
    data = b"".join(bytes(32) if one is None else one for one in values)
    same(digests(pa, data, [one is not None for one in values]), values, pa.binary(32))
    if None not in values:
        same(digests(pa, data), values, pa.binary(32))


@given(values=st.lists(st.none() | st.binary(max_size=20), max_size=40))
def test_bytes(values: list[bytes | None]) -> None:
    same(texts(pa, values, pa.binary()), values, pa.binary())


@given(values=st.lists(st.text(max_size=20), max_size=40))
def test_strings_in_a_row(values: list[str]) -> None:
    found = Texts(values)
    same(strings(pa, found.data, array("i", found.ends)), values, pa.string())


@given(values=st.lists(st.none() | st.text(max_size=20), max_size=40))
def test_strings(values: list[str | None]) -> None:
    same(texts(pa, [None if one is None else one.encode() for one in values], pa.string()), values, pa.string())


@given(values=st.lists(st.booleans(), max_size=70))
def test_booleans(values: list[bool]) -> None:
    same(bits(pa, values), values, pa.bool_())


@pytest.mark.parametrize(("code", "kind"), [("q", pa.int64()), ("i", pa.int32()), ("B", pa.uint8())])
def test_numbers(code: str, kind: Any) -> None:
    values = [0, 1, 2, 250]
    same(numbers(pa, array(code, values), kind), values, kind)


@pytest.mark.slow
def test_a_first_put_and_a_run_load_nothing_that_they_need_not(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    code = (
        "import sys, artifactstore; s = artifactstore.open('s'); s.put('d', 'd'); s.put('many', 'm'); s.put({'a': 1}, 'j'); s.get('d', to='o');"
        "r = s.run('r'); r.start(); r.put(b'x', 'x'); r.finish(); artifactstore.open('s').names(); s.get('j');"
        "print([m for m in ('pandas', 'pydantic', 'polars', 'fsspec', 'sklearn', 'scipy', 'asyncio') if m in sys.modules])"
    )
    (tmp_path / "d").mkdir()
    (tmp_path / "d/large").write_bytes(os.urandom(300_000))
    (tmp_path / "d/small").write_bytes(b"x")
    (tmp_path / "many").mkdir()
    for number in range(4200):
        (tmp_path / f"many/{number}").touch()
    (tmp_path / "d/link").symlink_to("small")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"
