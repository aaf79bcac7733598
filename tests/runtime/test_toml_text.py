"""TOML with positions: of each key and each item, for messages about values that are valid TOML."""

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifactstore.errors import InvalidInputError
from artifactstore.runtime.toml_text import read_toml, tables_of

GATES = '''# c [x]
[[gate]]
names = "churn/*"   # [[gate]]
alias = "production"
all = [
  { metric = "auc", is = ">= 0.9" },  # [comment
  { not = { metric = """a
b"""" , "x y".z = 1_0 } }, [1, 'a]', 3.5e1, """q""" ],
]
reason = true
when.until = 2027-01-01 # x
[[gate]]
names = 'z'
[gate.sub]
a = 1
[[gate.deep]]
b = {}
[[gate.deep]]
c = [[], {}]
["q r".'s.t']
k = '\\'
'''


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    rows = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in rows:
        yield from paths(one, (*path, step))


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_each_key_and_item_has_its_line_and_column(tmp_path: Path):
    found = read_toml(str(written(tmp_path / "gates.toml", GATES)))
    assert set(found.at) == set(paths(found.value)) - {("q r",)}  # which only the header of a table in it names
    for path, line, column in (
        (("gate",), 2, 1),
        (("gate", 0), 2, 1),
        (("gate", 0, "names"), 3, 1),
        (("gate", 0, "all", 0), 6, 3),
        (("gate", 0, "all", 0, "is"), 6, 21),
        (("gate", 0, "all", 1, "not", "metric"), 7, 13),
        (("gate", 0, "all", 1, "not", "x y", "z"), 8, 15),
        (("gate", 0, "all", 2, 1), 8, 32),
        (("gate", 0, "when", "until"), 11, 6),
        (("gate", 1), 12, 1),
        (("gate", 1, "sub", "a"), 15, 1),
        (("gate", 1, "deep", 1), 18, 1),
        (("gate", 1, "deep", 1, "c", 1), 19, 10),
        (("q r", "s.t", "k"), 21, 1),
    ):
        assert found.at[path] == (line, column), path
        assert found.where(*path) == f"{tmp_path}/gates.toml, line {line}, column {column}"
    assert found.where("gate", 1, "names", "nothing") == f"{tmp_path}/gates.toml, line 13, column 1"
    assert found.where("nothing") == f"{tmp_path}/gates.toml"
    assert tables_of(found.value, "gates").where("gate", 1, "names") == "gates['gate'][1]['names']"


@pytest.mark.parametrize("seed", range(40))
def test_every_value_of_a_made_up_document_is_found(seed: int, tmp_path: Path):
    chance = random.Random(seed)

    def key() -> str:
        word = chance.choice(["a", "b-1", "c_2", '"d e"', "'f.g'", '"h\\"i"', "k"])
        return word + str(chance.randrange(10**6)) if word.isalnum() else word

    def value(deep: int = 0) -> str:
        kind = chance.randrange(8 if deep < 3 else 6)
        space = chance.choice(["", " ", "\n", " # ]}\n "])
        if kind == 6:
            return f"[{space}" + f"{space},{space}".join(value(deep + 1) for _ in range(chance.randrange(4))) + f"{space}]"
        if kind == 7:
            return "{ " + " , ".join(f"z{n} = {value(9)}" for n in range(chance.randrange(3))) + " }"
        return chance.choice(["1", "-1.5e3", "true", "2027-01-01", '"[{#"', "'}]'", '"""a\n]"""', "'''b\n}'''", '"\\"]"'])

    text = "".join(f"t{n} = {value()}{chance.choice(['', ' ', ' # x'])}\n" for n in range(5))
    for number in range(6):
        text += f"[[list]]\n{key()} = {value()}\n" if chance.random() < 0.5 else f"[x{number}.'y z']\n{key()} = {value()}\n\n"
    found = read_toml(str(written(tmp_path / "x.toml", text)))
    expected = {path for path in paths(found.value) if not (len(path) == 1 and str(path[0]).startswith("x"))}
    assert set(found.at) == expected, text
    for path, (line, column) in found.at.items():
        at = text.split("\n")[line - 1][column - 1 :]
        assert at[:1] not in ("", " ", "#", ",", "="), (path, at)


def test_what_is_not_toml_is_named_by_line_and_column(tmp_path: Path):
    for text, words in (
        ("a = ", ", line 1, column 5: invalid value"),
        ("a = 1\r\na = 2", ", line 2, column 6: cannot overwrite a value"),
        ("[x\n", ", line 1, column 3: expected ']' at the end of a table declaration"),
        ('a = 1\nb = """x', ", line 2, column 9: "),
        ("x = " + "[" * 100_000, ", line 1, column "),
        ("a = 2027-02-30", ", line 1, column "),
    ):
        with pytest.raises(InvalidInputError) as caught:
            read_toml(str(written(tmp_path / "x.toml", text)))
        assert f"{tmp_path}/x.toml{words}" in str(caught.value), text
    found = read_toml(str(written(tmp_path / "x.toml", "\ufeffa = 1\r\nb = 2\r\n")))
    assert (found.value, found.at[("b",)]) == ({"a": 1, "b": 2}, (2, 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_read(tmp_path: Path):
    """As in `--keys <(command)`."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: written(tmp_path / "pipe", "a = 1"))
    writer.start()
    try:
        while True:
            if read_toml(str(tmp_path / "pipe")).value:
                break
    finally:
        writer.join()
