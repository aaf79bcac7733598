"""Long lists on disk: they behave as lists do, whatever of them is in memory, and a member is written without the others."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from artifactstore import CorruptionError
from artifactstore.catalog.spill.list_table import SpilledLists, write_lists
from artifactstore.catalog.spill.sqlite_file import SqliteTables
from artifactstore.catalog.spill.table import get_many, keys_containing


def _made(lists: dict[str, Any]) -> SqliteTables:
    base = SqliteTables.empty()
    write_lists(base, "names", lists, ())
    return base


def _restored(base: SqliteTables, table: SpilledLists) -> SpilledLists:
    """The same table in another process, from the file and what differs from it."""
    delta = json.loads(json.dumps(table.delta()))
    if delta is None or base.own:
        return table
    made = SpilledLists(base, "names")
    made.restore(delta)
    return made


@pytest.mark.slow
def test_a_table_of_lists_behaves_as_a_dict_of_lists_does(tmp_path: Path) -> None:  # noqa: PLR0915 - one story of all acts
    for seed in range(60):
        dice = random.Random(seed)
        plain: dict[str, Any] = {f"k{n}": [{"at": k} for k in range(1 + dice.randrange(5))] for n in range(dice.randrange(8))}
        base = _made(plain)
        table = SpilledLists(base, "names")
        for step in range(80):
            key = f"k{dice.randrange(12)}"
            act = dice.randrange(9)
            base.recording = act < 6
            if act <= 1:
                if key not in table:
                    plain[key], table[key] = [], []
                plain[key].append({"new": step})
                table[key].append({"new": step})
                if dice.random() < 0.3:  # as a trial does
                    assert plain[key].pop() == table[key].pop()
                    if not plain[key]:
                        del plain[key], table[key]
            elif act <= 3 and key in plain:
                at = dice.randrange(-len(plain[key]), len(plain[key]))
                plain[key][at]["said"] = step
                table[key][at]["said"] = step
            elif act == 4 and key in plain and dice.random() < 0.3:
                del plain[key], table[key]
            elif act == 5 and key in plain:
                for member in (*plain[key], *table[key]):
                    member["seen"] = step
            elif act == 6:
                table = _restored(base, table) if dice.random() < 0.5 else table
                assert table.load()
            elif act >= 7 and dice.random() < 0.3:
                base = base if base.own else base.copy()
                with base.transaction():
                    table.write_to(base)
                table.reopen(base, written=True)
                assert table.unwritten == 0
                if act == 8:
                    base = base.publish_as(tmp_path / f"{seed}-{step}.sqlite", {"names": len(table)})
                    table.reopen(base, written=False)
            base.recording = False
            assert (key in table, len(table), {*table}) == (key in plain, len(plain), {*plain})
            assert table.get(key) == plain.get(key)
            if key in plain:
                rows, at = table[key], dice.randrange(-len(plain[key]), len(plain[key]))
                assert (len(rows), rows[at], rows[-1]) == (len(plain[key]), plain[key][at], plain[key][-1])
                assert rows[at:] == plain[key][at:]
                with pytest.raises(IndexError):
                    rows[len(rows)]
        told = dict(table.items())
        assert told == plain
        assert all(type(rows) is list for rows in told.values())
        assert dict(table) == plain
        assert get_many(table, ["k1", "k2", "none"]) == get_many(plain, ["k1", "k2", "none"])
        assert {*keys_containing(table, "said")} >= {key for key, rows in plain.items() if any("said" in row for row in rows)}
        lasts = {key: (count, last) for key, count, last in table.last_members("k1")}
        assert lasts == {key: (len(rows), rows[-1]) for key, rows in plain.items() if key.startswith("k1")}


def test_who_adds_a_member_writes_two_rows_and_reads_one() -> None:
    base = _made({"n": [{"at": k} for k in range(1000)]})
    table = SpilledLists(base, "names")
    base.recording = True
    table["n"].append({"at": 1000})
    assert table.unwritten == 2
    said: list[str] = []
    base._file.set_trace_callback(said.append)
    with base.transaction():
        table.write_to(base)
    base._file.set_trace_callback(None)
    assert len([one for one in said if one.startswith("insert")]) == 2
    assert [row["at"] for row in SpilledLists(base, "names")["n"]] == [*range(1001)]


def test_only_what_was_added_is_taken_away_again() -> None:
    base = _made({"n": [1, 2]})
    rows = SpilledLists(base, "names")["n"]
    rows.append(3)
    assert rows.pop() == 3
    with pytest.raises(IndexError, match="all of n is in the file"):
        rows.pop()
    assert rows == [1, 2]
    assert rows != [1, 2, 3]
    assert rows != 12


def _changed(tmp_path: Path, statement: str, *values: Any) -> SpilledLists:
    base = _made(copy.deepcopy({"m": [{"v": 0}], "n": [{"v": 1}, {"v": 2}, {"v": 3}]}))
    base._file.execute(statement, values)
    return SpilledLists(base.publish_as(tmp_path / "kept.sqlite", {}), "names")


@pytest.mark.parametrize(
    "statement",
    [
        "update names set value = '[3,{\"v\":9}]' where key = 'n'",
        "update versions set value = cast('{\"v\":9}' as blob) where number = 1",
        "update versions set number = 3 where number = 1",
        "delete from versions where number = 1",
        "delete from versions where number = 0",
        "insert into versions select key, 2, value, sum from versions where number = 1",
    ],
)
def test_a_damaged_list_is_not_believed(tmp_path: Path, statement: str) -> None:
    table = _changed(tmp_path, statement)
    assert table["m"] == [{"v": 0}]
    with pytest.raises(CorruptionError, match="the row of n has changed"):
        list(table["n"])
    assert not (tmp_path / "kept.sqlite").exists()


def test_a_member_that_is_not_there_is_damage(tmp_path: Path) -> None:
    table = _changed(tmp_path, "delete from versions where number = 1")
    assert table["n"][0] == {"v": 1}
    with pytest.raises(CorruptionError, match="the row of n has changed"):
        table["n"][1]


def test_the_last_member_of_a_damaged_list_is_not_believed_either(tmp_path: Path) -> None:
    table = _changed(tmp_path, "update names set value = cast('[3,{\"v\":9}]' as blob) where key = ?", "n")
    with pytest.raises(CorruptionError, match="the row of n has changed"):
        list(table.last_members("n"))
