"""Evaluation of IDs of any origin, by the library and by the command."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from rich.console import Console

from sid_jax import load
from sid_jax.config import default_config
from sid_jax.errors import UserError
from sid_jax.evaluate import evaluate_ids, measure, read_labels
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.presets import set_mlp
from sid_jax.training.quantizer import train
from tests.commands import refused, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of 200 items in 8 groups that are far apart: vectors, labels, an export, and IDs in files of each kind."""
    folder = tmp_path_factory.mktemp("evaluate")
    random = np.random.default_rng(0)
    group = random.integers(0, 8, 200)
    vectors = (10 * np.eye(8)[group] + random.normal(size=(200, 8))).astype(np.float32)
    np.save(folder / "items.npy", vectors)
    ids = np.stack([group, np.arange(200)], axis=1)
    np.save(folder / "ids.npy", ids)
    (folder / "ids.json").write_text(json.dumps({str(row): each for row, each in enumerate(ids.tolist())}))
    (folder / "later.json").write_text(json.dumps({str(row + 1): each for row, each in enumerate(ids.tolist())}))
    texts = [" ".join(map(str, each)) for each in ids.tolist()]
    pa.csv.write_csv(pa.table({"item": np.arange(200), "semantic_id": texts}), folder / "ids.csv")
    pa.csv.write_csv(
        pa.table({"item": np.arange(200), "sid": [text.replace(" ", "-") for text in texts]}), folder / "sid.csv"
    )
    pa.parquet.write_table(pa.table({"item": np.arange(200), "semantic_id": ids.tolist()}), folder / "ids.parquet")
    lines = [json.dumps({"item": row, "kind": [f"kind {each}", "all"]}) for row, each in enumerate(group.tolist())]
    (folder / "labels.jsonl").write_text("\n".join(lines))
    pa.csv.write_csv(
        pa.table({"item": np.arange(200), "kind": [f"kind {each}" for each in group]}), folder / "labels.csv"
    )
    config = default_config()
    set_mlp(config)
    config.data.path = str(folder / "items.npy")
    config.model.update({"codebook_size": 8, "latent_dimension": 8, "hidden_dimensions": (16,), "encoder": "residual"})
    config.train.update({"batch_size": 40, "num_epochs": 5, "warmup_epochs": 1.0, "eval_every_epochs": 5.0})
    console = Console(file=io.StringIO())
    train(config, folder / "run", messages=Messages.to_console(console))
    export(folder / "run", folder / "export", messages=Messages.silent())
    return folder


def figures(folder, ids, **more):
    sources = {name: str(folder / value) for name, value in more.items()}
    return evaluate_ids(str(folder / ids), **sources, messages=Messages.silent())


def test_every_kind_of_file_gives_the_same_figures(folder):
    kinds = ("ids.npy", "ids.json", "later.json-1", "ids.csv", "sid.csv", "ids.parquet")
    first, *others = [figures(folder, kind, vectors="items.npy") for kind in kinds]
    assert all(other == first for other in others)
    assert first["distinct_rate"] == first["max_distinct_rate"] == 1.0
    assert first["explained_by_prefix"][0] > 0.8 and first["explained_by_prefix"][1] == pytest.approx(1.0)
    assert first["explained_by_prefix"][0] > first["explained_beyond_chance"][0] > 0.8
    assert first["neighbors_share_prefix"][0] > 0.99 > 8 * first["chance_shares_prefix"][0] * 0.8
    assert "by_depth" not in first and "label_purity" not in first and "stability" not in first


def test_codebooks_labels_and_a_second_training(folder):
    found = figures(
        folder, "export", vectors="items.npy", codebooks="export", labels="labels.jsonl:kind", other="ids.npy"
    )
    manifest = json.loads((folder / "export" / "manifest.json").read_text())["metrics"]
    assert found["by_depth"][-1]["r2"] == pytest.approx(manifest["r2_unique"], abs=1e-5)
    assert found["by_depth"][0]["r2"] < found["by_depth"][-1]["r2"]
    assert 0 < found["stability"] <= 1
    # Every item has the label "all", so every item shares a label with all other items.
    assert found["label_purity"][0] == {"purity": 1.0, "chance": 1.0}
    exclusive = figures(folder, "ids.npy", labels="labels.csv:kind")["label_purity"][0]
    assert exclusive["purity"] == 1.0 and exclusive["chance"] < 0.5


def test_histories_say_which_items_are_taken_together(folder):
    # Each user has items of one group, followed by two items of other groups. The holdout excludes these two items.
    groups, random = np.load(folder / "ids.npy")[:, 0], np.random.default_rng(0)
    histories = []
    for user in range(160):
        own, others = np.flatnonzero(groups == user % 8), np.flatnonzero(groups != user % 8)
        histories.append([*random.permutation(own)[:12], *random.permutation(others)[:2]])
    lines = [" ".join(map(str, [user, *items])) for user, items in enumerate(histories)]
    (folder / "sequences.txt").write_text("\n".join(lines))
    rows = [(user, item, place) for user, items in enumerate(histories) for place, item in enumerate(items)]
    columns = dict(zip(("user_id", "item_id", "timestamp"), zip(*rows, strict=True), strict=True))
    pa.csv.write_csv(pa.table(columns), folder / "interactions.csv")
    found = figures(folder, "ids.npy", histories="sequences.txt")["together_beyond_chance"]
    assert found[0] > 0.2 and found[1] == 0  # 0, since no two items have the same prefix of two codes
    assert figures(folder, "ids.npy", histories="interactions.csv")["together_beyond_chance"] == pytest.approx(found)
    whole = {"histories": str(folder / "sequences.txt"), "holdout": 0, "messages": Messages.silent()}
    assert evaluate_ids(str(folder / "ids.npy"), **whole)["together_beyond_chance"][0] < found[0]
    np.save(folder / "mixed.npy", np.random.default_rng(0).permutation(np.load(folder / "ids.npy")))
    assert abs(figures(folder, "mixed.npy", histories="sequences.txt")["together_beyond_chance"][0]) < 0.05


def test_histories_without_pairs_of_items_are_an_error_without_settings_of_training(folder):
    (folder / "short.txt").write_text("0 1 2 3\n1 4 5 6\n")
    with pytest.raises(UserError, match="at most 3 positions apart; give longer histories"):
        figures(folder, "ids.npy", histories="short.txt")


def test_labels_with_bars_between_and_items_without(folder):
    (folder / "few.csv").write_text("item,kind\n1,a|b\n999,c\n0,\n")
    assert list(map(list, read_labels(f"{folder / 'few.csv'}:kind", np.arange(3)))) == [[], ["a", "b"], []]
    with pytest.raises(UserError, match="no column 'genre'; its columns are item, kind"):
        read_labels(f"{folder / 'few.csv'}:genre", np.arange(3))
    with pytest.raises(UserError, match="give FILE:COLUMN"):
        read_labels(str(folder / "few.csv"), np.arange(3))


def test_ids_and_labels_in_a_csv_file_are_what_is_written_there(tmp_path):
    (tmp_path / "labels.csv").write_text("item,kind,shelf\n007,01,a\n00000012,1,b\n")
    ids = np.array(["00000012", "007", "7"], object)
    assert list(map(list, read_labels(f"{tmp_path / 'labels.csv'}:kind", ids))) == [["1"], ["01"], []]


def test_labels_of_other_items_are_an_error_that_names_the_column(folder):
    with pytest.raises(UserError, match=r"read from column 'item', the first one; write the item ids of the ID table"):
        read_labels(f"{folder / 'labels.csv'}:kind", np.array(["a", "b", "c"], object))


def test_a_tokenizer_takes_lists_of_labels_or_their_file(folder):
    tokenizer = load(folder / "export")
    labels = read_labels(f"{folder / 'labels.csv'}:kind", tokenizer.table.item_ids)
    found = tokenizer.evaluate(labels=f"{folder / 'labels.csv'}:kind")["label_purity"]
    assert found == tokenizer.evaluate(labels=labels)["label_purity"] and found[0]["purity"] > found[0]["chance"]


def test_measure_takes_arrays_lists_labels_as_texts_and_histories_of_any_form(folder):
    table, vectors = load(folder / "export").table, np.load(folder / "items.npy")
    labels = [f"kind {row % 8}" for row in range(200)]
    histories = [[1, 2, 3, 4], [5, 6, 7]]
    found = measure(table, vectors.tolist(), labels=labels, histories=histories)
    assert found["explained_by_prefix"] == measure(table, vectors)["explained_by_prefix"]
    assert found["label_purity"] == measure(table, labels=[[each] for each in labels])["label_purity"]
    # A text is one label. If texts were read as lists of characters, all items would have the label "k".
    assert found["label_purity"][0]["chance"] < 0.9 and "together_beyond_chance" in found
    assert measure(table, labels=["a|b"] * 200)["label_purity"][0]["purity"] == 1
    for given, words in (
        ({"vectors": vectors[:10]}, "vectors has 10 entries, but the table has 200 items; give one vector per item"),
        ({"labels": labels[:10]}, "labels has 10 entries, .*give one list of labels per item"),
    ):
        with pytest.raises(UserError, match=words):
            measure(table, **given)


def test_data_in_memory_is_refused_with_the_function_that_takes_it(folder):
    vectors = np.load(folder / "items.npy")
    table = load(folder / "export").table
    for ids, rows, words in (
        (table, None, "ids has the type IdTable, but evaluate_ids reads files"),
        (folder / "ids.npy", vectors, r"vectors has the type ndarray.* call sid_jax\.evaluate\.measure"),
    ):
        with pytest.raises(UserError, match=words):
            evaluate_ids(ids, vectors=rows)
    assert evaluate_ids(folder / "ids.npy", vectors=folder / "items.npy")["num_items"] == 200


def test_what_does_not_fit_is_refused(folder):
    with pytest.raises(UserError, match="needs --vectors"):
        figures(folder, "ids.npy", codebooks="export")
    with pytest.raises(UserError, match="levels of"):
        figures(folder, "ids.npy", vectors="items.npy", codebooks="export")


def test_the_command_prints_and_writes_and_a_mistake_is_one_line(folder):
    words = ["-m", "sid_jax", "evaluate", f"--ids={folder / 'ids.csv'}", f"--vectors={folder / 'items.npy'}"]
    done = run(*words, f"--out={folder / 'figures.json'}")
    assert done.returncode == 0, done.stderr
    assert "nearest items with the same prefix" in done.stdout and "200 items" in done.stdout
    written = json.loads((folder / "figures.json").read_text())
    assert written["ids"] == "ids" and written["num_items"] == 200
    assert "no such file" in refused(run(*words[:3], f"--ids={folder / 'nothing.npy'}"))


def test_the_next_command_has_the_files_that_were_given(folder, tmp_path):
    (tmp_path / "ids.txt").write_text("\n".join(map(str, range(200))))
    taken = [[f"u{first}", *map(str, range(first, first + 6))] for first in range(0, 90, 3)]
    (tmp_path / "histories.txt").write_text("\n".join(map(" ".join, taken)))
    console, vectors = Console(file=io.StringIO(), width=400), str(folder / "items.npy")
    more = {"vector_ids": str(tmp_path / "ids.txt"), "histories": str(tmp_path / "histories.txt")}
    evaluate_ids(str(folder / "ids.csv"), vectors=vectors, **more, messages=Messages.to_console(console))
    told = console.file.getvalue()
    assert f"--config.data.path={more['histories']} --config.quantizer.data.path={vectors}" in told
    assert f"--config.quantizer.data.ids_path={more['vector_ids']} --workdir=DIR" in told


def test_ids_of_another_kind_are_an_error_that_names_the_flags(tmp_path):
    np.save(tmp_path / "codes.npy", np.arange(12).reshape(4, 3))
    vectors = pa.array(list(np.eye(4, dtype=np.float32)))
    pa.parquet.write_table(pa.table({"item_id": list("abcd"), "vector": vectors}), tmp_path / "items.parquet")
    with pytest.raises(UserError, match=r"check the ids of --vectors .*--vector_ids.* item_ids\.txt") as raised:
        evaluate_ids(str(tmp_path / "codes.npy"), vectors=str(tmp_path / "items.parquet"))
    assert "4 of 4 items have no Semantic ID (the first one is 'a')" in str(raised.value)
    pa.parquet.write_table(pa.table({"item_id": list("abcd")}), tmp_path / "item_ids.parquet")
    figures = evaluate_ids(str(tmp_path / "codes.npy"), vectors=str(tmp_path / "items.parquet"))
    assert figures["num_items"] == 4 and figures["explained_by_prefix"][-1] == pytest.approx(1)


def test_ids_of_other_items_are_a_warning(folder, tmp_path, caplog):
    vectors = np.load(folder / "items.npy")
    codes = np.random.default_rng(0).integers(0, 8, (len(vectors), 3))
    np.save(tmp_path / "codes.npy", codes)
    evaluate_ids(str(tmp_path / "codes.npy"), vectors=str(folder / "items.npy"))
    assert "first codes of the IDs explain hardly more of the vectors than random codes would" in caplog.text
