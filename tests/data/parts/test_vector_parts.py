"""Division of files of vectors into parts (ranges of rows). tests/data/test_vector_files.py checks the values."""

from __future__ import annotations

import numpy as np
import pytest

from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.errors import UserError
from tests.data.formats import WITH_IDS, WITHOUT_IDS, write_lines, write_parquet, write_records

VECTORS = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)


def everything(parts, rows):
    """Returns all ids and vectors, read in blocks of `rows` rows."""
    blocks = [block for number in range(len(parts.parts)) for block in parts.blocks(number, rows)]
    return [item for ids, _ in blocks for item in ids.to_pylist()], np.concatenate([vectors for _, vectors in blocks])


@pytest.mark.parametrize("kind", ["npy", "npz without", "safetensors without", "records"])
def test_files_one_after_another_are_cut_evenly(tmp_path, kind):
    WITHOUT_IDS[kind](tmp_path / "a", VECTORS[:60])
    WITHOUT_IDS[kind](tmp_path / "b", VECTORS[60:])
    parts = list_parts([str(tmp_path)], rows=40)
    assert [(part.first_row, part.num_rows, part.first_item) for part in parts.parts] == [
        (0, 40, 0), (40, 20, 40), (0, 40, 60)
    ]  # fmt: skip
    assert parts.num_items == 100 and parts.num_features == 3 and parts.ids_are_row_numbers
    assert everything(parts, 16)[0] == list(range(100))


def test_the_batches_of_an_arrow_file_may_be_divided(tmp_path):
    WITH_IDS["stream"](tmp_path / "a", list(range(100)), VECTORS)
    parts = list_parts([str(tmp_path)], rows=40)
    assert [part.num_rows for part in parts.parts] == [40, 40, 20]
    assert everything(parts, 16)[0] == list(range(100))


def test_row_groups_of_parquet_are_not(tmp_path):
    names = [f"i{n}" for n in range(100)]
    write_parquet(tmp_path / "a.parquet", names[:70], VECTORS[:70].astype(np.float16), row_group_size=16)
    write_parquet(tmp_path / "b.parquet", names[70:], VECTORS[70:].astype(np.float64))
    parts = list_parts([str(tmp_path / "*.parquet")], rows=40)
    assert [part.num_rows for part in parts.parts] == [32, 38, 30]
    ids, found = everything(parts, 9)
    assert ids == names
    np.testing.assert_array_equal(found[:70], VECTORS[:70].astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(found[70:], VECTORS[70:])


def test_lines_of_ids_are_read_from_any_part_on(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    names = ["é1", " x ", "007", *(f"item {n}" for n in range(97))]
    write_lines(tmp_path / "a.txt", ["\ufeffé1", *names[1:]])
    parts = list_parts([str(tmp_path / "a.npy")], ids_paths=[str(tmp_path / "a.txt")], rows=33)
    assert not parts.ids_are_row_numbers and len(parts.parts) == 4
    assert everything(parts, 10)[0] == [name.strip() for name in names]
    assert list(parts.ids(3, 10))[0].to_pylist() == names[99:]


def test_array_record_shards(tmp_path):
    for number in range(2):
        write_records(tmp_path / f"v.array_record-{number:05}-of-00002", VECTORS[50 * number :][:50])
    parts = list_parts([str(tmp_path)], rows=20)
    assert [part.num_rows for part in parts.parts] == [20, 20, 10] * 2
    np.testing.assert_array_equal(everything(parts, 7)[1], VECTORS)


def test_folders_are_read_in_the_order_of_names_without_files_of_other_kinds(tmp_path):
    for name, first in (("10.npy", 50), ("02.npy", 0)):
        np.save(tmp_path / name, VECTORS[first : first + 50])
    (tmp_path / "notes.txt").write_text("not vectors")
    np.testing.assert_array_equal(everything(list_parts([str(tmp_path)]), 64)[1], VECTORS)


def test_a_file_that_has_changed_since_it_was_looked_at(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    parts = list_parts([str(tmp_path / "a.npy")])
    np.save(tmp_path / "a.npy", VECTORS[:90])
    with pytest.raises(UserError, match="expected 100 rows from row 0 on .* but found only 90"):
        everything(parts, 16)
    np.save(tmp_path / "a.npy", VECTORS[:, :2])
    with pytest.raises(UserError, match=r"row 0 \(counted from 0\) has 2 values, but the rows before it have 3"):
        everything(parts, 16)
