from __future__ import annotations

import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from sid_jax.errors import UserError
from sid_jax.export.artifact import write_table
from sid_jax.ids.table import IdTable

CODES = np.array([[12, 4], [12, 4], [255, 0]], np.int32)
SEMANTIC_IDS = np.array([[12, 4, 0], [12, 4, 1], [255, 0, 0]], np.int32)
TITLES = np.array(['"Amélie", or not', "line\nbreak", None], dtype=object)
COLUMNS = {"title": TITLES, "year": np.array([2001, 1999, 1984])}


def table_of(item_ids, codes=CODES, **others):
    return IdTable(item_ids, SEMANTIC_IDS, codes=codes, **others).to_arrow()


def read_parquet(folder):
    return pa.parquet.read_table(folder / "ids.parquet")


def read_csv(folder):
    with (folder / "ids.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_parquet_has_every_column_in_its_type(tmp_path):
    write_table(tmp_path, table_of(np.array([3, 2**40, -1]), columns=COLUMNS))
    table = read_parquet(tmp_path)
    assert table.schema.names == ["item_id", "codes", "semantic_id", "sid", "title", "year"]
    assert [str(kind).replace("element", "item") for kind in table.schema.types] == [
        "int64",
        "list<item: int32>",
        "list<item: int32>",
        "string",
        "string",
        "int64",
    ]
    assert table.to_pydict() == {
        "item_id": [3, 2**40, -1],
        "codes": CODES.tolist(),
        "semantic_id": SEMANTIC_IDS.tolist(),
        "sid": ["12-4-0", "12-4-1", "255-0-0"],
        "title": TITLES.tolist(),
        "year": [2001, 1999, 1984],
    }


def test_text_ids_stay_text(tmp_path):
    ids = np.array(["007", "B00,1", 'quo"te'], dtype=object)
    write_table(tmp_path, table_of(ids, id_name="asin"))
    assert read_parquet(tmp_path)["asin"].to_pylist() == ids.tolist()
    assert [row["asin"] for row in read_csv(tmp_path)] == ids.tolist()


def test_csv_has_the_same_rows(tmp_path):
    write_table(tmp_path, table_of(np.array([3, 4, 5]), columns=COLUMNS))
    rows = read_csv(tmp_path)
    assert list(rows[0].values()) == ["3", "12 4", "12 4 0", "12-4-0", '"Amélie", or not', "2001"]
    assert [row["title"] for row in rows] == ['"Amélie", or not', "line\nbreak", ""]
    assert [row["semantic_id"] for row in rows] == ["12 4 0", "12 4 1", "255 0 0"]


def test_codes_in_another_memory_order_are_written_right(tmp_path):
    write_table(tmp_path, table_of(np.arange(3), codes=np.asfortranarray(CODES)))
    assert read_parquet(tmp_path)["codes"].to_pylist() == CODES.tolist()


@pytest.mark.parametrize("name", ["sid", "codes", "item_id"])
def test_a_column_named_as_one_of_ours_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"would have the name '{name}'"):
        write_table(tmp_path, table_of(np.arange(3), columns={name: TITLES}))
    assert not list(tmp_path.iterdir())


def test_a_column_of_mixed_types_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="column 'mixed' cannot be written") as caught:
        write_table(tmp_path, table_of(np.arange(3), columns={"mixed": np.array([1, "a", {}], object)}))
    assert "\n" not in str(caught.value)
