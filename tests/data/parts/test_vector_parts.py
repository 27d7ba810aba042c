"""Files of any length, part by part and block by block: the same rows as when read at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from array_record.python.array_record_module import ArrayRecordWriter

from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.errors import UserError

VECTORS = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)


def everything(parts, rows):
    """All ids and vectors, so many rows at a time."""
    blocks = [block for number in range(len(parts.parts)) for block in parts.blocks(number, rows)]
    assert all(0 < len(ids) == len(vectors) <= rows for ids, vectors in blocks)
    return [item for ids, _ in blocks for item in ids.to_pylist()], np.concatenate([vectors for _, vectors in blocks])


def write_parquet(path, ids, vectors, **kwargs):
    lists = pa.array(list(vectors), pa.list_(pa.from_numpy_dtype(vectors.dtype)))
    pq.write_table(pa.table({"item_id": ids, "vector": lists}), path, **kwargs)


@pytest.mark.parametrize("rows", [7, 40, 1000])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_npy_files_one_after_another(tmp_path, dtype, rows):
    vectors = VECTORS.astype(dtype)
    np.save(tmp_path / "a.npy", vectors[:60])
    np.save(tmp_path / "b.npy", vectors[60:])
    parts = list_parts([str(tmp_path / "a.npy"), str(tmp_path / "b.npy")], rows=rows)
    assert parts.num_items == 100 and parts.num_features == 3 and parts.ids_are_row_numbers
    assert all(part.num_rows <= rows for part in parts.parts)
    ids, found = everything(parts, 16)
    assert ids == list(range(100)) and found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors.astype(np.float32))


def test_ids_of_npy_files_are_lines(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    names = ["é1", " x ", "007", *(f"item {n}" for n in range(97))]
    (tmp_path / "a.txt").write_text("\ufeff" + "\n".join(names) + "\n", encoding="utf-8")
    parts = list_parts([str(tmp_path / "a.npy")], ids_paths=[str(tmp_path / "a.txt")], rows=33)
    assert not parts.ids_are_row_numbers and len(parts.parts) == 4
    assert everything(parts, 10)[0] == names


def test_parquet_row_groups_are_not_divided_and_types_come_as_they_are(tmp_path):
    write_parquet(
        tmp_path / "a.parquet", [f"i{n}" for n in range(70)], VECTORS[:70].astype(np.float16), row_group_size=16
    )
    write_parquet(tmp_path / "b.parquet", [f"i{n}" for n in range(70, 100)], VECTORS[70:].astype(np.float64))
    parts = list_parts([str(tmp_path / "*.parquet")], rows=40)
    assert [part.num_rows for part in parts.parts] == [32, 38, 30]
    ids, found = everything(parts, 9)
    assert ids == [f"i{n}" for n in range(100)]
    np.testing.assert_array_equal(found[:70], VECTORS[:70].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(found[70:], VECTORS[70:])


def write_records(path, vectors):
    writer = ArrayRecordWriter(str(path), "group_size:1")
    for vector in vectors:
        writer.write(vector.astype("<f4").tobytes())
    writer.close()


def test_array_record_shards(tmp_path):
    for number in range(2):
        write_records(tmp_path / f"v.array_record-{number:05}-of-00002", VECTORS[50 * number :][:50])
    parts = list_parts([str(tmp_path)], rows=20)
    assert [part.num_rows for part in parts.parts] == [20, 20, 10] * 2 and parts.ids_are_row_numbers
    ids, found = everything(parts, 7)
    assert ids == list(range(100))
    np.testing.assert_array_equal(found, VECTORS)


def test_array_records_that_are_no_vectors_are_refused(tmp_path):
    writer = ArrayRecordWriter(str(tmp_path / "odd.array_record"), "group_size:1")
    writer.write(b"12345")
    writer.close()
    assert "record 0 has 5 bytes" in refusal(tmp_path / "odd.array_record")
    writer = ArrayRecordWriter(str(tmp_path / "ragged.array_record"), "group_size:1")
    for vector in (VECTORS[0], VECTORS[1], VECTORS[2, :2]):
        writer.write(vector.tobytes())
    writer.close()
    assert "record 2 has 8 bytes, but record 0 12" in refusal(tmp_path / "ragged.array_record")
    (tmp_path / "junk.array_record").write_bytes(b"no records at all" * 100)
    assert "junk.array_record" in refusal(tmp_path / "junk.array_record")


@pytest.mark.parametrize("name", ["a.npy", "a.parquet", "a.array_record"])
def test_chosen_rows_of_a_part(tmp_path, name):
    if name == "a.npy":
        np.save(tmp_path / name, VECTORS)
    elif name == "a.array_record":
        write_records(tmp_path / name, VECTORS)
    else:
        write_parquet(tmp_path / name, np.arange(100), VECTORS, row_group_size=50)
    parts = list_parts([str(tmp_path)], rows=50)
    wanted = np.array([0, 3, 4, 29, 49])
    for number in range(2):
        found = np.concatenate(list(parts.rows(number, wanted, 2)))
        np.testing.assert_array_equal(found, VECTORS[50 * number + wanted])


def test_folders_are_read_in_the_order_of_names(tmp_path):
    for name, first in (("10.npy", 50), ("02.npy", 0)):
        np.save(tmp_path / name, VECTORS[first : first + 50])
    (tmp_path / "notes.txt").write_text("not vectors")
    np.testing.assert_array_equal(everything(list_parts([str(tmp_path)]), 64)[1], VECTORS)


def refusal(*inputs, **kwargs):
    with pytest.raises(UserError) as error:
        list(everything(list_parts([str(each) for each in inputs], **kwargs), 64))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_used_is_refused_by_name(tmp_path):
    np.save(tmp_path / "three.npy", VECTORS)
    np.save(tmp_path / "two.npy", VECTORS[:, :2])
    np.save(tmp_path / "whole.npy", np.ones((3, 2), int))
    np.save(tmp_path / "columns.npy", np.asfortranarray(VECTORS))
    np.save(tmp_path / "none.npy", VECTORS[:0])
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "x.csv").write_text("1,2")
    write_parquet(tmp_path / "null.parquet", pa.array([*range(5), None]), VECTORS[:6], row_group_size=2)
    write_parquet(tmp_path / "none.parquet", pa.array([], pa.int64()), VECTORS[:0])
    assert "gone.npy: no such file" in refusal(tmp_path / "gone.npy")
    assert "*.arrow: no such file" in refusal(tmp_path / "*.arrow")
    assert "unknown kind of file '.csv'" in refusal(tmp_path / "x.csv")
    assert "two.npy: vectors have 2 features, but those of" in refusal(tmp_path / "three.npy", tmp_path / "two.npy")
    assert "expected float16, float32 or float64 vectors [N, D], found int64" in refusal(tmp_path / "whole.npy")
    assert "column by column" in refusal(tmp_path / "columns.npy")
    assert "holds no rows" in refusal(tmp_path / "none.npy")
    assert "holds no rows" in refusal(tmp_path / "none.parquet")
    assert "not a readable .parquet file" in refusal(tmp_path / "cut.parquet")
    assert "no column 'sku'" in refusal(tmp_path / "null.parquet", id_column="sku")
    assert "row 5 (counted from 0) is null" in refusal(tmp_path / "null.parquet")


def test_ids_that_do_not_fit_their_vectors_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    lines = [str(n) for n in range(100)]
    cases = {"short": lines[:99], "gap": [*lines[:4], "", *lines[5:]]}
    for name, each in cases.items():
        (tmp_path / name).write_text("\n".join(each) + "\n")
    assert "holds 99 ids, but" in refusal(tmp_path / "a.npy", ids_paths=[str(tmp_path / "short")])
    assert "line 5 is empty" in refusal(tmp_path / "a.npy", ids_paths=[str(tmp_path / "gap")])
    assert "No such file" in refusal(tmp_path / "a.npy", ids_paths=[str(tmp_path / "gone")])
    assert "2 files of ids for 1 files without ids of their own" in refusal(tmp_path / "a.npy", ids_paths=["x", "y"])
    (tmp_path / "latin").write_bytes(b"\n".join([b"\xe9", *map(str.encode, lines[1:])]))
    assert "not UTF-8" in refusal(tmp_path / "a.npy", ids_paths=[str(tmp_path / "latin")])
