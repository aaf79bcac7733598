"""Stacks: columns of one type as one array, so that a table of ten thousand short columns takes few calls of Arrow and NumPy.

A call costs as much as a thousand values, so columns are handled together as long as their values fit a processor's cache; a
long column is a stack of its own, and nothing is copied.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from artifactstore.objects.tables.arrow_types import columns_by_type, is_number, plain, plain_type

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Group", "groups_of", "stacks"]

_VALUES: Final = 65_536  # max values of a stack of several columns
_TEXTS: Final = 2**24  # max bytes of such a stack

Group = tuple["pa.DataType", list[int], bool]  # a plain type, the numbers of columns of it, and whether they are of it already


def groups_of(schema: "pa.Schema") -> list[Group]:
    """Return the columns of a schema, grouped by their type."""
    return [(plain_type(kind), numbers, bool(plain_type(kind) == kind)) for kind, numbers in columns_by_type(schema)]


def stacks(table: "pa.Table", groups: Sequence[Group]) -> "Iterator[tuple[int, slice, pa.Array]]":
    """Yield the columns of groups: the index of the group, the place of some of its columns, and their values one after the other."""
    import pyarrow as pa  # noqa: PLC0415

    most = max(1, _VALUES // max(1, table.num_rows))
    for index, (kind, numbers, is_plain) in enumerate(groups):
        numeric = is_plain and is_number(kind)
        for at in range(0, len(numbers), most):
            some = numbers[at : at + most]
            place = slice(at, at + len(some))
            if numeric and len(some) > 1 and table.num_rows:
                yield index, place, pa.concat_arrays([chunk for number in some for chunk in table.column(number).chunks])
                continue
            columns = [plain(table.column(number)) for number in some]
            if len(columns) > 1 and sum(column.nbytes for column in columns) <= _TEXTS:
                yield index, place, pa.concat_arrays(columns)
                continue
            for offset, column in enumerate(columns, at):
                yield index, slice(offset, offset + 1), column
