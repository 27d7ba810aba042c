"""Tables, lists of ids and histories with any content give a correct result or a one-line error."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_jax.data.history_files import read_histories
from sid_jax.data.id_lists import read_item_list
from sid_jax.data.vector_files import read_vector_files
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CATALOG = np.array(["a", "b", "7", "007", "ä"], dtype=object)
TYPES = [pa.string(), pa.string_view(), pa.large_binary(), pa.int64(), pa.float64(), pa.decimal128(20, 0)]
# Fragments of files. The files made from them are valid, nearly valid or invalid.
WORDS = st.sampled_from(
    [b"a", b"b", b"7", b"007", "ä".encode(), b" ", b"\t", b",", b"\n", b"\r\n", b'"', b"\xff", b"\x00", b"\xef\xbb\xbf",
     b"user_id,item_id,timestamp\n", b"item_id,semantic_id\n", b"1 2 3", b"1-2", b"{", b'{"a": [1, 2]}', b"nan"]
)  # fmt: skip
CONTENT = st.lists(WORDS, max_size=12).map(b"".join) | st.binary(max_size=40)


@contextlib.contextmanager
def in_one_line():
    try:
        yield
    except UserError as error:
        assert "\n" not in str(error)


def test_categories_of_polars_are_ids(tmp_path):
    # Polars writes categories to Arrow files in this form.
    ids = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.uint32()), pa.array(["007", "a"], pa.string_view()))
    pyarrow.feather.write_feather(pa.table({"item_id": ids, "vector": [[1.0, 2.0], [3.0, 4.0]]}), tmp_path / "a.arrow")
    assert read_vector_files(str(tmp_path / "a.arrow")).ids.tolist() == ["a", "007"]


@FUZZ
@given(
    rows=st.lists(st.none() | st.lists(st.none() | st.floats(width=32), max_size=3), min_size=1, max_size=6),
    kind=st.sampled_from(TYPES),
    as_feather=st.booleans(),
)
def test_vectors_with_rows_of_any_kind(tmp_path, rows, kind, as_feather):
    numbers = pa.array(range(len(rows)))
    ids = (numbers if kind in TYPES[3:] else numbers.cast(pa.string())).cast(kind)
    table = pa.table({"item_id": ids, "vector": pa.array(rows, pa.list_(pa.float32()))})
    path = tmp_path / ("a.feather" if as_feather else "a.parquet")
    (pyarrow.feather.write_feather if as_feather else pq.write_table)(table, path)
    with in_one_line():
        found = read_vector_files(str(path), on_bad_rows="drop")
        assert np.isfinite(found.vectors).all()
        for item, vector in zip(found.ids.tolist(), found.vectors.tolist(), strict=True):
            assert rows[int(item)] == vector


@FUZZ
@given(content=CONTENT)
def test_lists_of_ids_of_any_bytes(tmp_path, content):
    (tmp_path / "ids.txt").write_bytes(content)
    with in_one_line():
        named = read_item_list(tmp_path / "ids.txt", CATALOG)
        words = {line.strip() for line in content.decode("utf-8-sig").split("\n")} - {""}
        assert set(CATALOG[named].tolist()) == words


@FUZZ
@given(content=CONTENT, ending=st.sampled_from(["txt", "csv", "parquet"]))
def test_histories_of_any_bytes(tmp_path, content, ending):
    path = tmp_path / f"histories.{ending}"
    path.write_bytes(content)
    with in_one_line():
        found = read_histories(path, CATALOG, ("user_id", "item_id", "timestamp"))
        assert found.items.min() >= 0 and found.offsets[-1] == len(found.items)


@FUZZ
@given(content=CONTENT, ending=st.sampled_from(["json", "csv", "npy", "parquet"]))
def test_id_tables_of_any_bytes(tmp_path, content, ending):
    path = tmp_path / f"ids.{ending}"
    path.write_bytes(content)
    with in_one_line():
        table = read_id_table(path)
        assert len(table.item_ids) == len(table.semantic_ids) > 0
