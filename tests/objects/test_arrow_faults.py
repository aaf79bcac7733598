"""Faults of Arrow that this library works around: what would end the process is refused, and a canary says when it no longer would."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from artifactstore import InvalidInputError
from artifactstore.objects.base import WriteFolder
from artifactstore.objects.formats.tables import Table

FAR = pa.array([2**62, None], pa.timestamp("s"))
FATAL = {
    "far": pd.DataFrame({"odd": np.array([2**62], "M8[s]")}),
    "far in lists": pa.table({"odd": pa.array([[2**60]], pa.list_(pa.timestamp("s")))}),
    "far in records": pa.table({"odd": pa.StructArray.from_arrays([FAR], ["x"])}),
    "far categories": pa.table({"odd": pa.DictionaryArray.from_arrays(pa.array([0]), FAR.slice(0, 1))}),
    "views": pa.table({"odd": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["a"], pa.string_view()))}),
    "lists of nothing": pa.table({"odd": pa.array([[], []], pa.list_(pa.string(), 0))}),
    "JSON": pa.table({"odd": pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["{}"], pa.json_()))}),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_would_end_the_process_is_refused_by_the_name_of_its_column(name: str):
    with pytest.raises(InvalidInputError, match="'odd'"):
        Table().write(FATAL[name], WriteFolder())


def test_a_stream_is_refused_as_well():
    table = pa.table({"odd": FAR})
    with pytest.raises(InvalidInputError, match="'odd'"):
        Table().write(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()), WriteFolder())


def test_arrow_still_ends_the_process_where_pages_are_cut_by_content():
    """The canary: when this fails, Arrow raises instead, and `Proof.rehearse` need not write anything twice."""
    code = (
        "import pyarrow as pa, pyarrow.parquet as pq\n"
        "pq.write_table(pa.table({'t': pa.array([2**62], pa.timestamp('s'))}), pa.BufferOutputStream(), use_content_defined_chunking=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode < 0, f"Arrow {pa.__version__} raises: the rehearsal in objects/tables/round_trip.py may go"
