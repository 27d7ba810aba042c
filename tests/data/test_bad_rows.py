"""Rows with NaN or infinite values are rejected, dropped or listed in the same way by all readers of vectors."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sid_jax.bulk import encode
from sid_jax.bulk.run import export_files
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.data.vector_files import read_vector_files, treat_bad_rows
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training.quantizer import train
from tests.data.formats import write_lines, write_parquet
from tests.export.test_run import small_run

GOOD = np.random.default_rng(0).normal(size=(300, 12)).astype(np.float32)
BAD = [3, 17, 250]
KEPT = [row for row in range(303) if row not in BAD]


def spoilt() -> np.ndarray:
    """Returns the 300 rows of `GOOD` and three bad rows, at the positions `BAD`."""
    vectors = np.zeros((303, 12), np.float32)
    vectors[KEPT] = GOOD
    vectors[3, [5, 7]], vectors[17, 0], vectors[250, 11] = np.nan, np.inf, -np.inf
    return vectors


@pytest.fixture(params=["one.npy", "two.npy", "two.parquet"])
def path(request, tmp_path) -> str:
    vectors = spoilt()
    if request.param == "one.npy":
        np.save(tmp_path / "one.npy", vectors)
        return str(tmp_path / "one.npy")
    folder = tmp_path / "two"
    folder.mkdir()
    for number, rows in enumerate((range(200), range(200, 303))):
        if request.param == "two.npy":
            np.save(folder / f"{number}.npy", vectors[rows])
        else:
            write_parquet(folder / f"{number}.parquet", list(rows), vectors[rows], row_group_size=64)
    return str(folder)


@pytest.mark.parametrize("resident_bytes", [None, 100])
def test_an_error_names_the_first_and_counts_all(path, tmp_path, resident_bytes):
    with pytest.raises(UserError) as caught:
        read_vector_files(path, resident_bytes=resident_bytes, cache_dir=str(tmp_path / "cache"))
    message = str(caught.value)
    assert (
        "row 3 (counted from 0, id 3) has nan as float32 in column 5; 3 of 303 rows have no vector, or NaN or infinite"
        in message
    )
    assert "--config.data.on_bad_rows=drop" in message and "\n" not in message
    assert not [each for each in (tmp_path / "cache").rglob("*") if each.is_file()]


@pytest.mark.parametrize("resident_bytes", [None, 100])
def test_left_out_rows_keep_the_ids_of_the_others(path, tmp_path, resident_bytes):
    for _ in range(2):
        found = read_vector_files(
            path, on_bad_rows="drop", resident_bytes=resident_bytes, cache_dir=str(tmp_path / "cache")
        )
        assert found.ids.tolist() == KEPT
        np.testing.assert_array_equal(found.vectors, GOOD)
        assert str(found.left_out).startswith("3 of 303 rows hold NaN or infinite values and are dropped: ")
        assert "row 3 (id 3)" in str(found.left_out) and "(id 250)" in str(found.left_out)


def test_a_report_lists_them_all(path, capsys):
    with pytest.raises(UserError, match="3 of 303 rows have .* values .listed on standard output"):
        read_vector_files(path, on_bad_rows="report")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["id"], row["columns"], row["first_column"], row["value"]) for row in rows] == [
        ("3", "2", "5", "nan"), ("17", "1", "0", "inf"), ("250", "1", "11", "-inf")
    ]  # fmt: skip
    assert all(Path(row["file"]).is_file() for row in rows)
    assert [int(row["row"]) for row in rows] == [3, 17, 250 if path.endswith(".npy") else 50]


def test_a_report_says_which_rows_have_no_vector(tmp_path, capsys):
    vectors = [[0.0, 1.0], None, [1.0], [], [2.0, np.inf]]
    pq.write_table(pa.table({"item_id": list("abcde"), "vector": vectors}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="4 of 5 rows have no vector, or NaN or infinite values"):
        read_vector_files(str(tmp_path / "a.parquet"), on_bad_rows="report")
    values = {row["id"]: row["value"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    length = "another length, or all values are infinite"
    assert values == {"b": "null, or all values are NaN", "c": length, "d": length, "e": "inf"}


@pytest.mark.parametrize("row_group_size", [None, 2])
def test_a_row_of_only_nan_may_be_valid_and_is_then_not_bad(row_group_size, tmp_path, capsys):
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    vectors[1], vectors[3, 1] = np.nan, np.inf
    if row_group_size is None:
        path = tmp_path / "a.npy"
        np.save(path, vectors)
    else:
        path = tmp_path / "a.parquet"
        write_parquet(path, list(range(5)), vectors, row_group_size=row_group_size)

    with pytest.raises(UserError, match=r"row 3 \(counted from 0, id 3\) has inf .* column 1; 1 of 5 rows"):
        read_vector_files(str(path), nan_rows=True)
    with pytest.raises(UserError, match="1 of 5 rows have .* values .listed on standard output"):
        read_vector_files(str(path), on_bad_rows="report", nan_rows=True)
    assert [row["id"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == ["3"]
    found = read_vector_files(str(path), on_bad_rows="drop", nan_rows=True)
    assert found.ids.tolist() == [0, 1, 2, 4]
    np.testing.assert_array_equal(found.vectors, vectors[[0, 1, 2, 4]])
    assert str(found.left_out).startswith("1 of 5 rows hold NaN or infinite values and are dropped: ")
    assert found.left_out.rows == (3,)

    assert read_vector_files(str(path), on_bad_rows="drop").left_out.rows == (1, 3)


@pytest.mark.parametrize("bad_file", [0, 1, 2])
@pytest.mark.parametrize("resident_bytes", [None, 100])
def test_a_file_of_only_bad_rows_does_not_shift_the_row_numbers(bad_file, resident_bytes, tmp_path):
    vectors = np.arange(18, dtype=np.float32).reshape(9, 2)
    vectors[3 * bad_file : 3 * bad_file + 3] = np.inf
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", vectors[3 * number : 3 * number + 3])
    kept = np.flatnonzero(np.isfinite(vectors[:, 0]))
    for _ in range(2):
        found = read_vector_files(
            str(tmp_path), on_bad_rows="drop", resident_bytes=resident_bytes, cache_dir=str(tmp_path / "cache")
        )
        assert found.ids.tolist() == kept.tolist()
        np.testing.assert_array_equal(found.vectors, vectors[kept])


@pytest.mark.parametrize("bad_part", [0, 1, 2])
def test_a_range_of_only_bad_rows_does_not_shift_the_row_numbers(bad_part, tmp_path):
    vectors = np.arange(18, dtype=np.float32).reshape(9, 2)
    vectors[3 * bad_part : 3 * bad_part + 3] = np.nan
    np.save(tmp_path / "a.npy", vectors)
    parts, left_out = treat_bad_rows(list_parts([str(tmp_path / "a.npy")], rows=3), "drop")
    kept = np.flatnonzero(np.isfinite(vectors[:, 0]))
    assert parts.consecutive == (bad_part == 2)
    assert parts.mapped() is None
    ids = [each for number in range(len(parts.parts)) for block in parts.ids(number, 2) for each in block.to_pylist()]
    assert ids == kept.tolist()
    assert len(left_out.rows) == 3


def test_of_good_rows_nothing_is_said_and_none_is_left_out(tmp_path, capsys):
    np.save(tmp_path / "a.npy", GOOD)
    for how in ("drop", "report"):
        found = read_vector_files(str(tmp_path / "a.npy"), on_bad_rows=how)
        assert len(found.ids) == 300 and found.left_out.num_rows == 0
        assert isinstance(found.vectors.base, np.memmap)
    assert capsys.readouterr().out == ""


def test_of_bad_rows_alone_nothing_is_left(tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 2), np.nan))
    with pytest.raises(UserError, match=r"a\.npy: all 3 rows hold NaN"):
        read_vector_files(str(tmp_path / "a.npy"), on_bad_rows="drop")
    np.save(tmp_path / "b.npy", np.full((2, 2), np.nan))
    with pytest.raises(UserError, match=r"a\.npy and 1 other file: all 5 rows hold NaN"):
        read_vector_files(str(tmp_path / "*.npy"), on_bad_rows="drop")


def test_a_float64_too_large_for_float32_is_a_bad_row(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, 2], [3, 1e300]]))
    write_lines(tmp_path / "ids.txt", ["first", "second"])
    with pytest.raises(UserError, match=r"row 1 \(counted from 0, id 'second'\) has inf as float32 in column 1"):
        read_vector_files(str(tmp_path / "a.npy"), ids_paths=[str(tmp_path / "ids.txt")])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run that dropped bad rows, and the messages of the run."""
    folder, console = tmp_path_factory.mktemp("dropped"), Console(file=io.StringIO())
    config = small_run(folder, spoilt())
    config.data.on_bad_rows = "drop"
    train(config, folder / "run", messages=Messages.to_console(console))
    return folder, console.file.getvalue()


def test_a_run_and_its_export_say_what_was_left_out(trained, tmp_path):
    folder, said = trained
    assert "3 of 303 rows hold NaN or infinite values and are dropped" in said
    assert json.loads((folder / "run" / "run.json").read_text())["num_left_out"] == 3
    export(folder / "run", tmp_path / "out", messages=Messages.silent())
    exported = load_export(tmp_path / "out")
    assert exported.table.item_ids.tolist() == KEPT
    assert exported.manifest["data"]["num_left_out"] == 3 and exported.manifest["data"]["num_items"] == 300


def test_other_files_are_treated_alike(trained, path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encode, "_ITEMS_A_CPU", 8)
    run, console = trained[0] / "run", Console(file=io.StringIO())
    export(run, tmp_path / "usual", messages=Messages.silent())
    export_files(run, tmp_path / "dropped", [path], messages=Messages.to_console(console))
    assert "3 of 303 rows" in console.file.getvalue()
    usual, dropped = load_export(tmp_path / "usual"), load_export(tmp_path / "dropped")
    assert dropped.table.to_arrow().equals(usual.table.to_arrow())
    assert dropped.manifest["data"]["num_left_out"] == 3 and dropped.manifest["data"]["num_items"] == 300
    for how, words in (("error", "3 of 303 rows have .* values: correct"), ("report", "listed on standard output")):
        with pytest.raises(UserError, match=words):
            export_files(run, tmp_path / how, [path], on_bad_rows=how, messages=Messages.to_console(console))
        assert not (tmp_path / how).exists()
    assert len(capsys.readouterr().out.splitlines()) == 4
