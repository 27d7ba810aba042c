from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sid_jax.data.vector_files import read_vector_file
from sid_jax.errors import UserError

VECTORS = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)


def save_npy(tmp_path: Path, array: np.ndarray) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, array)
    return path


def save_parquet(tmp_path: Path, **columns: pa.Array) -> Path:
    path = tmp_path / "vectors.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def refusal(path: Path, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        read_vector_file(path, **settings)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_npy_gives_float32_and_row_numbers(tmp_path: Path, dtype: str):
    found = read_vector_file(save_npy(tmp_path, VECTORS.astype(dtype)))
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.ids.dtype == np.int64
    assert found.ids.tolist() == [0, 1]
    assert found.source == str(tmp_path / "vectors.npy")


def test_npy_of_float32_is_not_copied_into_memory(tmp_path: Path):
    vectors = read_vector_file(save_npy(tmp_path, VECTORS)).vectors
    assert isinstance(vectors.base, np.memmap)


def test_npy_in_columns_order_is_read_by_rows(tmp_path: Path):
    found = read_vector_file(save_npy(tmp_path, np.asfortranarray(VECTORS))).vectors
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, VECTORS)


def test_ids_from_lines_are_kept_exactly(tmp_path: Path):
    (tmp_path / "ids.txt").write_bytes("007\r\nnaïve id \r\n".encode())
    found = read_vector_file(save_npy(tmp_path, VECTORS), ids_path=tmp_path / "ids.txt")
    assert found.ids.tolist() == ["007", "naïve id "]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\nc\n", "holds 3 ids, but .*vectors.npy holds 2 vectors"),
        (b"a\na\n", "ids.txt: id 'a' is in row 0 and again in row 1"),
        (b"a\n\n", "line 2 is empty"),
        (b"\xff\xfe\n", "cannot be read as UTF-8 text"),
    ],
)
def test_wrong_ids_files_are_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_vector_file(save_npy(tmp_path, VECTORS), ids_path=tmp_path / "ids.txt")


def test_a_missing_ids_file_is_refused(tmp_path: Path):
    assert "none.txt: cannot be read" in refusal(save_npy(tmp_path, VECTORS), ids_path=tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(6).reshape(2, 3), "expected float16, float32 or float64, found int64"),
        (np.ones(4, np.float32), "expected an array [N, D] with items and features, found shape [4]"),
        (np.ones((2, 3, 4), np.float32), "found shape [2, 3, 4]"),
        (np.ones((0, 4), np.float32), "found shape [0, 4]"),
        (np.ones((4, 0), np.float32), "found shape [4, 0]"),
        (np.array([[1, "a"]], dtype=object), "Python objects"),
        (np.array(["a"]), "found <U1"),
        (np.ones((2, 2), np.complex64), "found complex64"),
        (np.array([[1, 2], [np.nan, 3], [4, -np.inf]], np.float32), "row 1 (counted from 0, id 1) has nan as float32"),
        (np.array([[1, 2], [3, 1e300]]), "has inf as float32 in column 1; NaN or infinite values are in 1 of 2 rows"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, array: np.ndarray, message: str):
    path = save_npy(tmp_path, array)
    assert message in refusal(path)
    assert str(path) in refusal(path)


def test_a_bad_value_is_named_by_its_id(tmp_path: Path):
    (tmp_path / "ids.txt").write_text("first\nsecond\n")
    path = save_npy(tmp_path, np.array([[1, 2], [3, np.nan]]))
    assert "row 1 (counted from 0, id second) has nan" in refusal(path, ids_path=tmp_path / "ids.txt")


def test_bad_rows_are_counted_over_all_blocks(tmp_path: Path):
    vectors = np.ones((150_000, 1), np.float32)
    vectors[[70_000, 149_999]] = np.nan
    message = refusal(save_npy(tmp_path, vectors))
    assert "row 70000 " in message
    assert "2 of 150000 rows" in message


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_or_changed_npy_gives_vectors_or_one_line(tmp_path: Path, data: st.DataObject):
    path = save_npy(tmp_path, VECTORS)
    content = bytearray(path.read_bytes())
    content = content[: data.draw(st.integers(0, len(content)))]
    for place in data.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=3)) if content else []:
        content[place] ^= data.draw(st.integers(1, 255))
    path.unlink()
    path.write_bytes(content)
    try:
        read_vector_file(path)
    except UserError as caught:
        assert str(path) in str(caught)
        assert "\n" not in str(caught)


def test_unknown_endings_and_missing_files_are_refused(tmp_path: Path):
    assert "unknown kind of file '.csv'; give one of .npy, .parquet" in refusal(tmp_path / "vectors.csv")
    assert "no such file" in refusal(tmp_path / "vectors.npy")
    assert "no such file" in refusal(tmp_path / "vectors.parquet")


def list_types() -> list[pa.DataType]:
    return [
        kind
        for value in (pa.float16(), pa.float32(), pa.float64())
        for kind in (pa.list_(value), pa.large_list(value), pa.list_(value, 3))
    ]


@pytest.mark.parametrize("kind", list_types(), ids=str)
@pytest.mark.parametrize("rows_in_a_group", [1, 10])
def test_parquet_of_every_kind_of_list(tmp_path: Path, kind: pa.DataType, rows_in_a_group: int):
    values = VECTORS.astype(kind.value_type.to_pandas_dtype())
    table = pa.table({"vector": pa.array(list(values), kind), "item_id": ["b", "a"]})
    pq.write_table(table, tmp_path / "vectors.parquet", row_group_size=rows_in_a_group)
    found = read_vector_file(tmp_path / "vectors.parquet")
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.ids.tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([3, 2**62]), [3, 2**62]),
        (pa.array([3, 255], pa.uint8()), [3, 255]),
        (pa.array(["007", ""]), ["007", ""]),
        (pa.array(["x" * 300, "y"], pa.large_string()), ["x" * 300, "y"]),
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
    ],
)
def test_parquet_ids_are_kept_exactly(tmp_path: Path, ids: pa.Array, expected: list[object]):
    path = save_parquet(tmp_path, film=ids, embedding=pa.array(VECTORS.tolist()), other=pa.array([1, 2]))
    found = read_vector_file(path, id_column="film", vector_column="embedding")
    assert found.ids.tolist() == expected
    assert found.ids.dtype == (np.int64 if isinstance(expected[0], int) else object)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        (
            ["a", "b"],
            pa.array([[1.0, 2.0], [3.0]]),
            "column 'vector': row 1 (counted from 0) has 1 values, but row 0 has 2",
        ),
        (["a", "b"], pa.array([[1.0], None]), "column 'vector': row 1 (counted from 0) is null"),
        (["a", "b"], pa.array([[1.0], [None]]), "1 values inside the vectors are null"),
        (["a", "b"], pa.array([[], []], pa.list_(pa.float32())), "the vectors are empty"),
        (["a", "b"], pa.array([1.0, 2.0]), "expected lists of float16, float32 or float64, found double"),
        (["a", "b"], pa.array([[1], [2]]), "found list<"),
        (["a", None], pa.array([[1.0], [2.0]]), "column 'item_id': row 1 (counted from 0) is null"),
        (["a", "a"], pa.array([[1.0], [2.0]]), "id 'a' is in row 0 and again in row 1"),
        ([7, 7], pa.array([[1.0], [2.0]]), "id 7 is in row 0 and again in row 1"),
        ([1.0, 2.0], pa.array([[1.0], [2.0]]), "expected ids that are strings or integers, found double"),
        (pa.array([1, 2**64 - 1], pa.uint64()), pa.array([[1.0], [2.0]]), "too large for a 64-bit signed integer"),
        (["a", "b"], pa.array([[1.0], [float("inf")]]), "row 1 (counted from 0, id b) has inf as float32 in column 0"),
        (pa.array([], pa.string()), pa.array([], pa.list_(pa.float32())), "holds no rows"),
    ],
)
def test_wrong_parquet_columns_are_refused(tmp_path: Path, ids: object, vectors: pa.Array, message: str):
    path = save_parquet(tmp_path, item_id=pa.array(ids), vector=vectors)
    assert message in refusal(path)
    assert str(path) in refusal(path)


def test_an_unknown_parquet_column_is_refused_with_those_there_are(tmp_path: Path):
    path = save_parquet(tmp_path, key=pa.array(["a"]), vector=pa.array([[1.0]]))
    assert "no column 'item_id'; set --config.data.id_column to one of key, vector" in refusal(path)
    assert "set --config.data.vector_column" in refusal(path, id_column="key", vector_column="embedding")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_parquet_is_refused(tmp_path: Path, data: st.DataObject):
    path = save_parquet(tmp_path, item_id=pa.array(["a", "b"]), vector=pa.array(VECTORS.tolist()))
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert "not a readable .parquet file" in refusal(path)
