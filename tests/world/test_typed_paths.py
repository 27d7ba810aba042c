"""Paths as users type them, and folders as other programs leave them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax import UserError
from sid_jax.config import default_config
from sid_jax.data.history_files import read_histories
from sid_jax.data.listing import find_files, whole_names
from sid_jax.data.vector_files import read_vector_files
from sid_jax.diff import diff
from sid_jax.evaluate import evaluate_ids
from sid_jax.export.artifact import load_export
from sid_jax.export.atomic import refuse_taken
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.messages import Messages
from sid_jax.paths import as_path, file_to_write, typed
from sid_jax.training.workdir import RUN_FILE, claimed_workdir, read_run
from tests.commands import refused, run

COLUMNS = ("user_id", "item_id", "timestamp")
ITEMS = np.arange(6)


def write_ids(path, items):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"item_id": items, "semantic_id": [[item, 1] for item in items]})
    pq.write_table(table, path)


def write_vectors(path, items):
    path.parent.mkdir(parents=True, exist_ok=True)
    vectors = pa.array([[float(item), 1.0] for item in items], pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": items, "vector": vectors}), path)


def write_interactions(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))), path)


def spark(folder, write, *parts):
    """Writes the files of a Spark folder: one for each of `parts`, and files without data, such as checksums."""
    for number, content in enumerate(parts):
        write(folder / f"part-{number:05}.parquet", content)
        (folder / f".part-{number:05}.parquet.crc").write_bytes(b"crc")
        (folder / f"._part-{number:05}.parquet").write_bytes(b"of a Mac")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary.parquet").write_bytes(b"half")
    return folder


def test_a_home_folder_that_the_shell_left_as_it_is_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert as_path("~/runs/x") == tmp_path / "runs" / "x"
    write_ids(tmp_path / "ids.parquet", [0, 1])
    assert len(read_id_table(*parse_id_source("~/ids.parquet"))) == 2
    assert read_id_table(*parse_id_source("~/ids.parquet+1")).item_ids.tolist() == [1, 2]
    assert file_to_write("~/new/figures.json").parent.is_dir()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "address", ["hdfs://host:9000/run", "webhdfs://host/run", "ftp://host/run", "https://host/a.npy"]
)
def test_the_address_of_another_site_is_refused_in_words_and_makes_no_folder(monkeypatch, tmp_path, address):
    monkeypatch.chdir(tmp_path)
    scheme = address.partition(":")[0]
    for read in (as_path, file_to_write, lambda text: find_files(text, (".npy",)), load_export, read_id_table):
        with pytest.raises(UserError, match=f"{scheme}:// are not supported; mount the bucket as a folder"):
            read(address)
    assert list(tmp_path.iterdir()) == []


def test_a_file_address_and_a_name_with_a_colon_are_paths(tmp_path):
    assert as_path(f"file://{tmp_path}/x") == tmp_path / "x"
    assert as_path(tmp_path / "run:1") == tmp_path / "run:1"


def test_blanks_are_quoted_in_the_command_that_comes_next(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert typed(tmp_path / "runs" / "first") == "runs/first"
    assert typed(tmp_path / "my runs") == "'my runs'"
    echoed = subprocess.run(f"printf %s {typed(tmp_path / 'my runs')}", shell=True, capture_output=True, text=True)
    assert echoed.stdout == "my runs"


def test_a_run_is_exported_from_another_working_directory(monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = default_config()
    config.data.path = "items.npy,new/*.npy"

    def claim():
        return claimed_workdir(tmp_path / "run", config, default_config(), "data")

    with claim():
        monkeypatch.chdir(tmp_path)
    there, _ = read_run(tmp_path / "run", default_config())
    assert there.data.path == f"{tmp_path}/here/items.npy,{tmp_path}/here/new/*.npy"
    assert whole_names("") == json.loads((tmp_path / "run" / RUN_FILE).read_text())["config"]["data"]["ids_path"] == ""
    with claim():
        pass


def test_hidden_files_and_those_that_spark_writes_beside_its_parts_are_left_out(tmp_path):
    folder = spark(tmp_path / "items", write_vectors, [3, 4], [0, 1])
    data = read_vector_files(str(folder), id_column="item_id", vector_column="vector")
    assert data.ids.tolist() == [3, 4, 0, 1]


def test_folders_of_hive_are_looked_into_and_others_are_not(tmp_path):
    for date, items in (("2026-01-02", [2]), ("2026-01-01", [0, 1])):
        spark(tmp_path / "items" / f"date={date}", write_vectors, items)
    write_vectors(tmp_path / "items" / "old" / "part.parquet", [5])
    data = read_vector_files(str(tmp_path / "items"), id_column="item_id", vector_column="vector")
    assert data.ids.tolist() == [0, 1, 2]


def test_the_output_of_a_spark_job_is_read_as_histories(tmp_path):
    first, second = [("ann", 0, 1), ("bob", 1, 5)], [("ann", 2, 0), ("bob", 3, 6)]
    folder = spark(tmp_path / "seen", write_interactions, first, second)
    by_date = tmp_path / "by_date"
    write_interactions(by_date / "date=2026-01-01" / "part.parquet", first)
    write_interactions(by_date / "date=2026-01-02" / "part.parquet", second)
    names = (folder, by_date, f"{folder}/part-*.parquet", f"{folder}/part-00000.parquet,{folder}/part-00001.parquet")
    for name in names:
        histories = read_histories(str(name), ITEMS, COLUMNS)
        assert histories.user_ids.tolist() == ["ann", "bob"] and histories.items.tolist() == [2, 0, 1, 3]
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError,
        match=r"empty: the folder has no file of an accepted kind; give \.parquet, \.feather, \.arrow, \.csv, "
        r"\.csv\.gz files, or",
    ):
        read_histories(tmp_path / "empty", ITEMS, COLUMNS)


def test_an_id_table_of_several_files_is_read_by_folder_pattern_or_commas(tmp_path):
    folder = spark(tmp_path / "ids", write_ids, [0, 1], [7])
    for name in (folder, f"{folder}/part-*.parquet", f"{folder}/part-00000.parquet, {folder}/part-00001.parquet"):
        assert read_id_table(name).item_ids.tolist() == [0, 1, 7]
    for number, items in enumerate(("0", "x1")):
        (tmp_path / f"ids-{number}.csv").write_text(f"item_id,sid\n{items},1-2\n")
    table = read_id_table(f"{tmp_path}/ids-*.csv")
    assert table.item_ids.tolist() == ["0", "x1"] and table.semantic_ids.tolist() == [[1, 2]] * 2
    with pytest.raises(UserError, match="no such file"):
        read_id_table(f"{tmp_path}/none-*.parquet")


def test_figures_for_a_folder_that_is_not_there_yet_are_written_and_what_cannot_be_written_is_found_first(tmp_path):
    write_ids(tmp_path / "ids.parquet", [0, 1])
    ids, out = str(tmp_path / "ids.parquet"), tmp_path / "new" / "figures.json"
    evaluate_ids(ids, out=str(out), messages=Messages.silent())
    # An ID table in a file named `ids.parquet` is named after the file's folder.
    written = json.loads(out.read_text())
    assert written["ids"] == tmp_path.name and written["num_items"] == 2
    diff(ids, ids, out=str(tmp_path / "other" / "diff.json"), messages=Messages.silent())
    assert (tmp_path / "other" / "diff.json").exists()
    for wrong in (tmp_path, out / "inside"):
        with pytest.raises(UserError, match="is a folder; give the name of a file|cannot write"):
            evaluate_ids("nothing.parquet", out=str(wrong), messages=Messages.silent())


@pytest.mark.parametrize("address", ["gs://bucket/run", "s3://bucket/run"])
def test_the_address_of_a_bucket_without_its_package_says_what_to_install_and_makes_no_folder(
    monkeypatch, tmp_path, address
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SID_JAX_CACHE", str(tmp_path / "cache"))
    for package in ("gcsfs", "s3fs"):
        monkeypatch.setitem(sys.modules, package, None)
    for read in (as_path, file_to_write, lambda text: find_files(text, (".npy",)), load_export, read_id_table):
        with pytest.raises(
            UserError, match=r"run: addresses with \w+:// need the package \w+ .*; run pip install 'sid_jax"
        ):
            read(address)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_path_is_refused_and_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_vectors(tmp_path / "a.parquet", ITEMS)
    for read in (as_path, read_vector_files, lambda text: read_histories(text, ITEMS, COLUMNS)):
        with pytest.raises(UserError, match="a path is empty, perhaps because a variable is not set"):
            read("")


def test_a_working_directory_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert typed(as_path(tmp_path / "a b")) == f"'{tmp_path}/a b'"
    with pytest.raises(UserError, match="x: the working directory no longer exists"):
        as_path("x")


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="cannot write .*: File name too long"):
        refuse_taken(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["pipe", "link", "/dev/full", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_device_or_a_pipe_is_not_replaced_by_a_file(name, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with pytest.raises(UserError, match="is a device or a pipe; give the name of a file"):
        file_to_write(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def test_an_address_of_a_file_names_ids_as_it_names_outputs(tmp_path):
    write_ids(tmp_path / "ids.parquet", ITEMS)
    assert as_path(Path(f"file://{tmp_path}")) == as_path(f"file://{tmp_path}") == tmp_path
    assert read_id_table(*parse_id_source(f"file://{tmp_path / 'ids.parquet'}")).item_ids.tolist() == ITEMS.tolist()


def test_the_home_of_an_unknown_user_is_not_that_of_home():
    with pytest.raises(UserError, match="~nobody-x/a: the home folder is unknown, since there is no user 'nobody-x'"):
        as_path("~nobody-x/a")


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "--ids=IDS", "--vectors="),
        ("report", "IDS", "--out="),
        ("features", "--ids=IDS", "--rows=9", "--fitted="),
    ],
)
def test_a_flag_with_an_empty_path_is_not_a_flag_that_is_absent(words, tmp_path):
    told = refused(run("-m", "sid_jax", *words, *([f"--out={tmp_path / 'out'}"] if words[0] == "features" else [])))
    assert f"{words[-1][:-1]} is empty, perhaps because a variable is not set; give a path, or omit" in told
    assert not any(tmp_path.iterdir())


def test_a_path_in_bytes_that_are_not_text_is_refused_with_the_locale_to_set():
    for path in (os.fsdecode(b"items-\xff.parquet"), Path(os.fsdecode(b"items-\xff.parquet"))):
        with pytest.raises(
            UserError, match=r"items-.udcff.parquet.: .* not UTF-8 text; set a locale with UTF-8"
        ) as error:
            as_path(path)
        assert str(error.value).isascii()
