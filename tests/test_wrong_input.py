"""Invalid input: each case gives a one-line error, a nonzero status, and no change on disk.

Malicious files are in tests/data/parts/test_hostile_files.py, invalid flags in tests/test_commands.py.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sid_jax import command
from sid_jax.append.run import append
from sid_jax.bulk.run import export_files
from sid_jax.evaluate import evaluate_ids
from sid_jax.export.artifact import load_export
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training.quantizer import train
from tests.commands import refused, run
from tests.data.formats import table, write_parquet, write_records, write_stream
from tests.export.test_run import small_run
from tests.wrong_files import (
    VECTORS,
    Files,
    archive,
    both,
    cut,
    dataset_of_two_splits,
    file,
    npy,
    npy_with_lines,
    parquet,
    spoilt,
    two_columns_of_one_name,
)

NAMES = [f"i{number}" for number in range(300)]
LONG = "long " * 200_000
QUIET = Console(file=io.StringIO())
SILENT = Messages.silent()


def tree(folder: Path) -> dict[str, str]:
    """Everything under a folder, with a hash of each file's content."""
    paths = sorted(folder.rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths}


@pytest.fixture
def mistake(tmp_path, monkeypatch, capsys):
    """Calls a command's function as the command does, and returns the one-line error."""

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(command.os, "_exit", leave)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)

    def call(main: Callable[[], object]) -> str:
        before = tree(tmp_path)
        with pytest.raises(SystemExit) as left:
            command._guarded(lambda _: main(), ["command"])
        out, err = capsys.readouterr()
        assert left.value.code == 1 and out == ""
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n") and len(err) < 1500
        assert tree(tmp_path) == before
        return err

    return call


# Files of vectors.


NUMBERS = "integers, float16, float32 or float64"
LISTS = VECTORS[:3].tolist()
WRONG_FILES: dict[str, tuple[Files, str]] = {
    "no file": (lambda folder: {"path": f"{folder}/a.npy"}, "a.npy: no such file; give .npy, .npz, .parquet"),
    "no file of a pattern": (lambda folder: {"path": f"{folder}/new-*.npy"}, "new-*.npy: no such file"),
    "no name": (lambda folder: {"path": ""}, "data.path is empty; pass --config.data.path=FILE"),
    "unknown kind": (file("a.tsv", Path.touch), "a.tsv: unknown kind of file '.tsv'; give one of .npy, .npz, .parquet"),
    **{
        f"empty {ending}": (file(f"a{ending}", Path.touch), f"a{ending}: empty; write the file again")
        for ending in (".npy", ".npz", ".parquet", ".arrow", ".feather", ".safetensors", ".array_record")
    },
    "no rows, npy": (npy(VECTORS[:0]), "a.npy: has no rows"),
    "no rows, parquet": (parquet(pa.array([], "string"), pa.array([], pa.list_(pa.float32()))), "has no rows"),
    "no rows, arrow": (file("a.arrow", lambda path: write_stream(path, table([], VECTORS[:0]))), "has no rows"),
    "one row": (npy(VECTORS[:1]), "a.npy: there is only one item; give at least two, since IDs distinguish items"),
    "all rows identical": (
        npy(np.ones((300, 12), np.float32)),
        "all 300 vectors are equal, so IDs cannot distinguish items",
    ),
    "K > N": (
        npy(VECTORS[:5]),
        "config.model.codebook_size is 8, but there are only 5 items (",
        "set --config.model.codebook_size to 5 or less",
    ),
    "wrong dimension": (
        both(npy(VECTORS), npy(VECTORS[:, :5], "b.npy")),
        "b.npy: vectors have 5 features, but the vectors of",
        "a.npy have 12",
    ),
    "wrong dimension, parquet": (
        both(parquet([1], [[1.0, 2.0]]), parquet([2], [[1.0]], "b.parquet")),
        "b.parquet: vectors have 1 features, but the vectors of",
    ),
    "one dimension": (npy(VECTORS[0]), "expected an array [N, D] with a row per item, found shape [12]"),
    "three dimensions": (npy(VECTORS[None]), "found shape [1, 300, 12]"),
    "no dimension": (npy(VECTORS[:, :0]), "found shape [300, 0]"),
    "ragged rows": (
        parquet(["a", "b"], [[1.0, 2.0], [3.0]]),
        "a.parquet: row 1 (counted from 0, id 'b') has no vector of 2 values: it has another length",
    ),
    "ragged row groups": (
        parquet(["a", "b"], [[1.0, 2.0], [3.0]], row_group_size=1),
        "row 1 (counted from 0, id 'b') has no vector of 2 values: it has another length",
    ),
    "ragged records": (
        file("a.array_record", lambda path: write_records(path, [VECTORS[0], VECTORS[1, :3]])),
        "record 1 has 12 bytes, but record 0 has 48",
    ),
    "no records": (
        file("a.array_record", lambda path: path.write_bytes(b"\0no records at all" * 100)),
        "a.array_record: not a readable .array_record file (",
    ),
    "NaN": (
        npy(spoilt(17, 40)),
        "row 17 (counted from 0, id 17) has nan as float32 in column 7; 2 of 300 rows have no vector, or",
        "--config.data.on_bad_rows=drop",
    ),
    "NaN, parquet": (
        file("a.parquet", lambda path: write_parquet(path, NAMES, spoilt(40, 290), row_group_size=50)),
        "row 40 (counted from 0, id 'i40') has nan as float32 in column 7; 2 of 300 rows have no vector, or",
    ),
    "Inf": (npy(spoilt(299, value=np.inf)), "row 299 (counted from 0, id 299) has inf", "; 1 of 300 rows have"),
    "too large for float32": (npy(spoilt(3, dtype="f8", value=1e300)), "row 3 (counted from 0, id 3) has inf as"),
    "duplicate ids": (
        parquet(["a", "b", "a"], LISTS),
        "a.parquet: id 'a' is in row 0 and again in row 2 (counted from 0); give one row per item",
    ),
    "duplicate numbers": (parquet([7, 8, 7], LISTS), "id 7 is in row 0 and again in row 2"),
    "duplicate ids of two files": (
        both(parquet(["a", "b", "c"], LISTS), parquet(["d", "e", "c"], LISTS, "b.parquet")),
        "id 'c' is in row 2 and again in row 5",
    ),
    "duplicate ids, lines": (npy_with_lines(VECTORS[:3], b"a\nb\na\n"), "id 'a' is in row 0 and again in row 2"),
    "duplicate ids of 1 MB": (parquet([LONG, "b", LONG], LISTS), "id 'long long", "is in row 0 and again in row 2"),
    "ids in one of two files": (
        both(archive("a.npz", vectors=VECTORS[:3], ids=np.arange(3)), archive("b.npz", vectors=VECTORS[:3])),
        "b.npz: has no ids, but",
        "a.npz has ids; give ids for all files, or for none",
    ),
    "ids for one of two files": (
        both(npy(VECTORS[:3]), npy(VECTORS[:3], "b.npy"), ids_path="all/a.npy"),
        "1 file of ids for 2 vector files without ids; give one file of ids per vector file without ids",
    ),
    "ids for a file that has ids": (
        both(parquet(["a", "b", "c"], LISTS), ids_path="all/ids.txt"),
        "a.parquet: has ids of its own; omit the file of ids",
    ),
    "ids of two types": (
        both(parquet(["a", "b", "c"], LISTS), parquet([1, 2, 3], LISTS, "b.parquet")),
        "some files have ids of type int64, others of type string; give ids of one type",
    ),
    "too few ids": (npy_with_lines(VECTORS[:3], b"a\nb\n"), "ids.txt: 2 ids, but", "a.npy has 3 vectors"),
    "too many ids": (npy_with_lines(VECTORS[:3], b"a\nb\nc\nd\n"), "ids.txt: 4 ids, but"),
    "an empty line": (npy_with_lines(VECTORS[:3], b"a\n\nc\n"), "ids.txt: line 2 is empty; write one id per line"),
    "no ids file": (
        lambda folder: {**npy(VECTORS)(folder), "ids_path": f"{folder}/none.txt"},
        "none.txt: No such file or directory; give a file with one id per line",
    ),
    "null id": (parquet(["a", None, "c"], LISTS), "column 'item_id': row 1 (counted from 0) is null (null rows: 1)"),
    "null vector": (parquet(["a", "b"], [[1.0], None]), "row 1 (counted from 0, id 'b') has no vector: it is null"),
    "null value": (
        parquet(["a", "b"], [[1.0, 2.0], [3.0, None]]),
        "row 1 (counted from 0, id 'b') has nan as float32 in column 1",
    ),
    "null in categories": (
        parquet(pa.array(["a", None, "b"]).dictionary_encode(), LISTS),
        "column 'item_id': row 1 (counted from 0) is null",
    ),
    "text of 1 MB for 300 ids": (npy_with_lines(VECTORS, LONG.encode()), "ids.txt: 1 ids, but"),
    "text of 1 MB as vectors": (parquet(["a"], [LONG]), f"column 'vector': expected lists of {NUMBERS}, found string"),
    "not UTF-8": (npy_with_lines(VECTORS[:3], b"a\nb\n\xe9\n"), "ids.txt: line 3 is not UTF-8"),
    "UTF-16": (npy_with_lines(VECTORS[:3], "a\nb\nc\n".encode("utf-16")), "ids.txt: "),
    "unicode in a name": (parquet(["é"], [[1.0]], "naïve 🎬.parquet"), "naïve 🎬.parquet: there is only one item"),
    "no such column": (
        file("a.parquet", lambda path: pq.write_table(pa.table({"größe\n": [1], "vector": [[1.0]]}), path)),
        "a.parquet: has no 'item_id'; set --config.data.id_column to one of größe, vector",
    ),
    "a column twice": (
        two_columns_of_one_name,
        "a.parquet: 2 columns have the name 'vector'; give each column its own name",
    ),
    "truncated parquet": (cut(parquet(NAMES, VECTORS.tolist()), -1), "a.parquet: not a readable .parquet file ("),
    "parquet of its first half": (cut(parquet(NAMES, VECTORS.tolist()), 4000), "not a readable .parquet file ("),
    "truncated npy": (cut(npy(VECTORS), 5000), "a.npy: not a readable .npy array ("),
    "truncated npz": (cut(archive("a.npz", vectors=VECTORS), 5000), "a.npz: not a readable .npz file ("),
    "truncated arrow": (
        cut(file("a.arrow", lambda path: write_stream(path, table(NAMES, VECTORS), 300)), 5000),
        "a.arrow: not a readable Arrow file (",
    ),
    "wrong dtype, npy": (npy(np.ones((9, 3), bool)), f"expected bfloat16, {NUMBERS}, found bool; save the vectors as"),
    "wrong dtype, complex": (npy(np.ones((9, 3), "c8")), "found complex64"),
    "wrong dtype, text": (npy(np.array([["a"]])), "found <U1"),
    "wrong dtype, parquet": (parquet(["a", "b"], [[True], [False]]), f"expected lists of {NUMBERS}, found list<"),
    "wrong dtype, no lists": (parquet(["a", "b"], [1.0, 2.0]), f"expected lists of {NUMBERS}, found double"),
    "empty lists": (parquet(["a", "b"], pa.array([[], []], pa.list_(pa.float32()))), "none of the 2 rows has a vector"),
    "wrong dtype of ids": (parquet([1.5, 2.5], [[1.0], [2.0]]), "expected ids that are strings or integers, found"),
    "ids beyond 64 bits": (parquet(pa.array([1, 2**64 - 1], "uint64"), [[1.0], [2.0]]), "too large for a 64-bit"),
    "several splits": (
        dataset_of_two_splits,
        "set: contains several splits; give the folder of one split",
        "set/SPLIT; the splits are: train",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_FILES)
def test_files_to_train_on(tmp_path, mistake, name):
    make, *words = WRONG_FILES[name]
    config = small_run(tmp_path, VECTORS)
    config.data.update(make(tmp_path))
    line = mistake(lambda: train(config, tmp_path / "run"))
    assert all(word in line for word in words), line


# Runs and exports.


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with `run`, a run on `items.npy`, and `out`, the export of this run."""
    folder = tmp_path_factory.mktemp("made")
    train(small_run(folder, VECTORS), folder / "run", messages=Messages.silent())
    export(folder / "run", folder / "out", messages=Messages.silent())
    return folder


# Cases whose errors are found before the data is read, while it is read, and after all of it is read.
@pytest.mark.parametrize(
    "name", ["empty .npz", "ragged row groups", "NaN", "NaN, parquet", "duplicate ids, 12 features"]
)
def test_files_to_export(made, tmp_path, mistake, name):
    cases = {
        **WRONG_FILES,
        "duplicate ids, 12 features": (
            file("a.parquet", lambda path: write_parquet(path, [*NAMES[:5], "i1"], VECTORS[:6])),
            "id 'i1' is in row 1 and again in row 5 of --input",
        ),
        # The command `export` has the flag --on_bad_rows, so the message names this flag instead of the setting.
        "NaN": (*WRONG_FILES["NaN"][:2], "drop them (--on_bad_rows=drop)"),
        "ragged row groups": (
            parquet(["a", "b"], [[1.0] * 12, [3.0]], row_group_size=1),
            "row 1 (counted from 0, id 'b') has no vector of 12 values",
        ),
    }
    make, *words = cases[name]
    path = str(make(tmp_path)["path"])
    line = mistake(lambda: export_files(made / "run", tmp_path / "out", [path], messages=SILENT))
    assert all(word in line for word in words), line


def test_files_that_the_model_cannot_encode(made, tmp_path, mistake):
    np.save(tmp_path / "wide.npy", np.ones((4, 13), np.float32))
    np.save(tmp_path / "many.npy", np.random.default_rng(1).normal(size=(600, 12)).astype(np.float32))
    for name, words in (
        ("wide", "vectors have 13 features, but the model needs 12"),
        ("many", "600 items are too many for unique Semantic IDs"),
    ):
        path = f"{tmp_path}/{name}.npy"
        line = mistake(lambda: export_files(made / "run", tmp_path / "out", [path], messages=SILENT))  # noqa: B023
        assert words in line


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


WRONG_RUNS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run": (lambda run: shutil.rmtree(run), "has no run (run.json is missing); train first"),
    "truncated record": (lambda run: halve(run / "run.json"), "run.json is damaged"),
    "hand-edited record": (lambda run: (run / "run.json").write_text("[]"), "run.json is damaged"),
    "setting of no use": (
        lambda run: edit(run / "run.json", lambda content: content["config"]["model"].update(num_levels=0)),
        "config.model.num_levels is 0; it must be 'auto' or from 1 to 64",
    ),
    "checkpoint of another config": (
        lambda run: edit(run / "run.json", lambda content: content["config"]["model"].update(latent_dimension=5)),
        "is of another model: ",
    ),
    "no checkpoint": (lambda run: shutil.rmtree(run / "checkpoints"), "has no checkpoint yet; run its train command"),
    "data that has changed": (
        lambda run: edit(run / "run.json", lambda content: content.update(data_fingerprint="0")),
        "is not the data of the run in",
    ),
}


@pytest.mark.parametrize("name", WRONG_RUNS)
def test_runs_to_export(made, tmp_path, mistake, name):
    shutil.copytree(made / "run", tmp_path / "run")
    spoil, words = WRONG_RUNS[name]
    spoil(tmp_path / "run")
    assert words in mistake(lambda: export(tmp_path / "run", tmp_path / "new", messages=Messages.silent()))


def test_a_run_to_go_on_with_other_settings_or_data(made, tmp_path, mistake):
    shutil.copytree(made / "run", tmp_path / "run")
    config = small_run(tmp_path, VECTORS)
    config.train.learning_rate = 1.0
    assert "contains a run with other settings (train.learning_rate was 0.001" in mistake(
        lambda: train(config, tmp_path / "run")
    )
    config = small_run(tmp_path, VECTORS + 1)
    assert "contains a run on other data (vectors, ids or histories differ)" in mistake(
        lambda: train(config, tmp_path / "run")
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


WRONG_EXPORTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda out: (out / "manifest.json").unlink(), "manifest.json is missing"),
    "truncated manifest": (lambda out: halve(out / "manifest.json"), "manifest.json is not JSON ("),
    "manifest that is no text": (lambda out: (out / "manifest.json").write_bytes(b"\xff\xfe"), "is not JSON ("),
    "manifest of something else": (lambda out: (out / "manifest.json").write_text("{}"), "has no format_version"),
    "another format": (
        lambda out: edit(out / "manifest.json", lambda content: content.update(format_version=9)),
        "has format version 9, but this version of sid_jax reads 1",
    ),
    "hand-edited list of files": (
        lambda out: edit(out / "manifest.json", lambda content: content.update(files={"ids.csv": 3})),
        "does not list the size and SHA-256 of every file",
    ),
    "hand-edited length": (
        lambda out: edit(out / "manifest.json", lambda content: content["semantic_ids"].update(length="three")),
        "manifest.json was edited after the export (its digest differs)",
    ),
    "hand-edited schema": (
        lambda out: edit(out / "manifest.json", lambda content: content.update(schema=None)),
        "manifest.json was edited after the export (its digest differs)",
    ),
    "missing file": (lambda out: (out / "ids.csv").unlink(), "ids.csv is missing, but manifest.json lists it"),
    "file of another size": (lambda out: halve(out / "ids.parquet"), "ids.parquet has"),
    "hash mismatch": (lambda out: flip(out / "codebooks.safetensors"), "was changed after the export (SHA-256"),
}


@pytest.mark.parametrize("name", WRONG_EXPORTS)
def test_exports_to_load(made, tmp_path, mistake, name):
    shutil.copytree(made / "out", tmp_path / "out")
    spoil, words = WRONG_EXPORTS[name]
    spoil(tmp_path / "out")
    assert words in mistake(lambda: load_export(tmp_path / "out", verify=True))
    if name != "hash mismatch":
        words = "out cannot be read:" if "digest" in words else words
        assert words in mistake(lambda: load_export(tmp_path / "out"))


@pytest.mark.parametrize("name", ["truncated manifest", "hand-edited length", "hash mismatch"])
def test_exports_to_append_to(made, tmp_path, mistake, name):
    shutil.copytree(made / "out", tmp_path / "out")
    spoil, words = WRONG_EXPORTS[name]
    spoil(tmp_path / "out")
    write_parquet(tmp_path / "new.parquet", [1000, 1001], VECTORS[:2])
    line = mistake(lambda: append(tmp_path / "out", tmp_path / "next", [f"{tmp_path}/new.parquet"], messages=SILENT))
    assert words in line


def test_vectors_and_ids_that_are_not_of_the_same_items(made, tmp_path, mistake):
    np.save(tmp_path / "more.npy", np.concatenate([VECTORS, VECTORS[:2] + 1]))
    line = mistake(lambda: evaluate_ids(str(made / "out"), vectors=str(tmp_path / "more.npy")))
    assert "2 of 302 items have no Semantic ID" in line
    # The option that the error names works.
    assert "drop them (--on_unknown=drop)" in line
    figures = evaluate_ids(str(made / "out"), vectors=str(tmp_path / "more.npy"), on_unknown="drop", messages=SILENT)
    assert figures["num_items"] == 300


# Commands as a user types them.


def test_the_commands_themselves(made, tmp_path):
    np.save(tmp_path / "nan.npy", spoilt(17))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text("{")
    before = tree(tmp_path)
    for words, said in (
        (
            ["train.py", "--config=configs/embeddings.py", f"--config.data.path={tmp_path}/nan.npy",
             "--config.model.codebook_size=8", f"--workdir={tmp_path}/run"],
            "row 17 (counted from 0, id 17) has nan",
        ),
        (["export.py", f"--workdir={made}/run", f"--input={tmp_path}/nan.npy", f"--out={tmp_path}/new"], "1 of 300 "),
        (["-m", "sid_jax", "evaluate", f"--ids={tmp_path}/out"], "manifest.json is not JSON"),
    ):  # fmt: skip
        assert said in refused(run(*words))
        assert tree(tmp_path) == before
