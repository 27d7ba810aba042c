import copy
import json
import logging
import pickle

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

import sid_jax
from sid_jax.errors import UserError
from tests.commands import run

SETTINGS = {
    "num_levels": 3,
    "codebook_size": 16,
    "latent_dimension": 8,
    "hidden_dimensions": (32,),
    "batch_size": 64,
    "num_epochs": 4,
    "train.eval_every_epochs": 1.0,
    "log_every_steps": 7,
}
NUM_ITEMS = 400


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    centers = random.normal(size=(20, 16))
    return (centers[random.integers(0, 20, NUM_ITEMS)] + 0.3 * random.normal(size=(NUM_ITEMS, 16))).astype(np.float32)


@pytest.fixture(scope="module")
def skus():
    return [f"sku-{number}" for number in range(NUM_ITEMS)]


@pytest.fixture(scope="module")
def tokenizer(vectors, skus):
    return sid_jax.SemanticIdTokenizer(**SETTINGS).fit(
        vectors, item_ids=skus, columns={"title": [f"title {sku}" for sku in skus]}, verbose=False
    )


def test_every_item_has_a_unique_id_that_leads_back_to_it(tokenizer, skus):
    ids = tokenizer.table.semantic_id(skus)
    assert len({tuple(each) for each in np.asarray(ids).tolist()}) == NUM_ITEMS
    one = tokenizer.table.semantic_id("sku-42")
    assert len(one) == 3 and tokenizer.table.item(one) == "sku-42"
    assert tuple(np.asarray(ids)[42].tolist()) == one
    assert "sku-42" in tokenizer.table.items(one[:1])


def test_encode_and_decode_are_those_of_the_model(tokenizer, vectors):
    codes = tokenizer.encode(vectors)
    assert codes.shape == (NUM_ITEMS, 3) and codes.dtype == np.int32
    decoded = tokenizer.decode(codes)
    assert decoded.shape == vectors.shape and decoded.dtype == np.float32
    inputs = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    spread = np.square(inputs - inputs.mean(axis=0)).sum()
    assert 1 - np.square(inputs - decoded).sum() / spread == pytest.approx(tokenizer.metrics["r2"], abs=1e-4)
    with pytest.raises(UserError, match=r"\[400, 3\]"):
        tokenizer.encode(codes.astype(np.float32))
    with pytest.raises(UserError):
        tokenizer.decode(codes + 16)


def test_settings_drop_bad_rows_and_unknown_items_of_histories_in_memory(vectors, skus, caplog):
    random, spoilt = np.random.default_rng(0), vectors.copy()
    histories = [[skus[item] for item in random.integers(NUM_ITEMS - 1, size=5)] for _ in range(300)]
    histories[0] = ["gone", *histories[0][:3]]
    spoilt[-1] = np.nan
    settings = SETTINGS | {"num_epochs": 1.0, "on_bad_rows": "drop"}
    with pytest.raises(UserError, match=r"item 'gone' is not in the catalog.*drop them \(on_unknown=\"drop\"\)"):
        sid_jax.SemanticIdTokenizer(**settings).fit(spoilt, skus, histories=histories, verbose=False)
    dropping = sid_jax.SemanticIdTokenizer(**settings, on_unknown="drop")
    dropping.fit(spoilt, skus, histories=histories, verbose=False)
    assert dropping.table.item_ids.tolist() == skus[:-1] and "'gone' is not in the catalog" in caplog.text
    with pytest.raises(UserError, match=rf"16 features, .*\({', '.join(dropping.model.layout.names)}\) have 80 in"):
        dropping.evaluate(vectors[:-1])


def test_an_evaluation_drops_no_rows(tokenizer, vectors):
    dropping, spoilt = sid_jax.SemanticIdTokenizer.from_export(tokenizer.export), vectors.copy()
    dropping.config.data.on_bad_rows, spoilt[3, 2] = "drop", np.inf
    with pytest.raises(UserError, match="row 3 .* has inf"):
        dropping.evaluate(spoilt)


def test_what_is_saved_is_what_was_trained(tokenizer, vectors, skus, tmp_path):
    folder = tokenizer.save(tmp_path / "export")
    loaded = sid_jax.load(folder, verify=True)
    assert isinstance(loaded, sid_jax.SemanticIdTokenizer)
    np.testing.assert_array_equal(loaded.encode(vectors), tokenizer.encode(vectors))
    np.testing.assert_array_equal(loaded.table.semantic_ids, tokenizer.table.semantic_ids)
    assert loaded.table.item_ids.tolist() == skus
    assert json.loads(json.dumps(loaded.metrics)) == json.loads(json.dumps(tokenizer.metrics))
    trained = tokenizer.config.to_dict()
    # The export has the number that "auto" stands for.
    trained["train"]["augmentation"] = 0.25
    assert loaded.config.to_dict() == trained
    assert loaded.model.quantizer.method == "ste"
    with pytest.raises(UserError, match="not empty"):
        tokenizer.save(folder)


def test_a_gumbel_tokenizer_is_one_after_loading_too(vectors, tmp_path):
    trained = sid_jax.SemanticIdTokenizer("gumbel", **SETTINGS).fit(vectors, verbose=False)
    loaded = sid_jax.load(trained.save(tmp_path / "export"))
    assert loaded.model.quantizer.method == trained.model.quantizer.method == "gumbel_softmax"
    np.testing.assert_array_equal(loaded.encode(vectors), trained.encode(vectors))
    assert loaded.config.train.annealing_schedule == "cosine"


def test_new_items_get_free_ids_and_published_ones_stay(vectors, skus, tmp_path, caplog):
    tokenizer = sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors[:300], item_ids=skus[:300], verbose=False)
    before = {sku: tokenizer.table.semantic_id(sku) for sku in skus[:300]}
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        assert tokenizer.append(skus[298:], vectors[298:], remove=["sku-7"]) is tokenizer
    told = "version 2: 100 added, 1 removed, 0 returned, 0 moved; the input has 2 known items; retraining is "
    assert any(record.getMessage().startswith(told) for record in caplog.records)
    assert len(tokenizer.table) == NUM_ITEMS - 1
    for sku in skus[:300]:
        if sku != "sku-7":
            assert tokenizer.table.semantic_id(sku) == before[sku]
    assert before["sku-7"] not in set(map(tuple, tokenizer.table.semantic_ids.tolist()))
    loaded = sid_jax.load(tokenizer.save(tmp_path / "v2"))
    loaded.append(["sku-7"], vectors[7:8])
    assert loaded.table.semantic_id("sku-7") == before["sku-7"]


def test_columns_can_be_added_after_training(tokenizer, skus, tmp_path):
    other = sid_jax.SemanticIdTokenizer.from_export(tokenizer.export)
    brands = pa.table({"item_id": skus[::-1], "brand": [f"brand of {sku}" for sku in skus[::-1]]})
    other.table = other.table.with_columns(brands)
    loaded = sid_jax.load(other.save(tmp_path / "export"))
    assert loaded.table.columns["brand"].to_pylist()[3] == "brand of sku-3"
    assert loaded.table.columns["title"].to_pylist()[3] == "title sku-3"
    assert "brand" not in tokenizer.table.columns


def test_a_command_and_the_library_give_identical_ids_and_nothing_is_written_before_save(vectors, skus, tmp_path):
    np.save(tmp_path / "items.npy", vectors)
    (tmp_path / "ids.txt").write_text("\n".join(skus))
    config = sid_jax.SemanticIdTokenizer(**SETTINGS).config
    sections = {name: section for section in ("model", "train") for name in config[section]}
    flags = [
        f"--config.{name if '.' in name else sections[name] + '.' + name}={value}" for name, value in SETTINGS.items()
    ]
    data = [f"--config.data.path={tmp_path / 'items.npy'}", f"--config.data.ids_path={tmp_path / 'ids.txt'}"]
    folders = [tmp_path / name for name in ("home", "temporary", "here")]
    for folder in folders:
        folder.mkdir()
    # tests/training/test_quantizer.py also compares a run in memory with one in a workdir, without starting commands.
    preset = "gumbel"
    workdir, out = tmp_path / f"run-{preset}", tmp_path / f"export-{preset}"
    trained = run("train.py", f"--config=configs/embeddings.py:{preset}", *data, *flags, f"--workdir={workdir}")
    assert trained.returncode == 0, trained.stderr
    exported = run("export.py", f"--workdir={workdir}", f"--out={out}", "--report=false")
    assert exported.returncode == 0, exported.stderr
    script = f"""
import os
for name, folder in zip(("HOME", "TMPDIR"), {list(map(str, folders[:2]))!r}):
    os.environ[name] = folder
os.chdir({str(folders[2])!r})
import numpy as np, sid_jax
vectors = np.load({str(tmp_path / "items.npy")!r})
tokenizer = sid_jax.SemanticIdTokenizer({preset!r}, **{SETTINGS!r})
tokenizer.fit(vectors, item_ids={skus!r}, verbose=False)
assert not any(os.listdir(folder) for folder in {list(map(str, folders))!r})
tokenizer.save({str(tmp_path / f"library-{preset}")!r})
"""
    in_memory = run("-c", script)
    assert in_memory.returncode == 0, in_memory.stderr
    assert in_memory.stdout == "" and in_memory.stderr == ""
    of_command, of_library = sid_jax.load(out), sid_jax.load(tmp_path / f"library-{preset}")
    np.testing.assert_array_equal(of_command.table.semantic_ids, of_library.table.semantic_ids)
    assert of_command.table.item_ids.tolist() == of_library.table.item_ids.tolist() == skus
    for name in ("codebooks.safetensors", "trie.npz"):
        assert (out / name).read_bytes() == (tmp_path / f"library-{preset}" / name).read_bytes()
    assert of_command.metrics == of_library.metrics
    # The curves of the report are equal, too, although the library writes no records to disk.
    assert of_command.export.measured == of_library.export.measured


def test_a_run_with_a_workdir_goes_on_where_it_was_and_gives_the_same_ids(tokenizer, vectors, skus, tmp_path):
    again = sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors, skus, workdir=tmp_path / "run", verbose=False)
    np.testing.assert_array_equal(again.table.semantic_ids, tokenizer.table.semantic_ids)
    assert (tmp_path / "run" / "metrics.jsonl").exists()
    # The run is finished, so nothing is trained again.
    resumed = sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors, skus, workdir=tmp_path / "run", verbose=False)
    np.testing.assert_array_equal(resumed.table.semantic_ids, tokenizer.table.semantic_ids)
    with pytest.raises(UserError, match="other settings"):
        sid_jax.SemanticIdTokenizer(**{**SETTINGS, "num_epochs": 2.0}).fit(
            vectors, skus, workdir=tmp_path / "run", verbose=False
        )


def test_a_second_fit_of_the_same_shapes_compiles_nothing(tokenizer, vectors):
    compiled = []

    def listen(name, *_, **__):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors, verbose=False)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors + np.float32(0.01), verbose=False)
        assert not compiled
        jax.jit(lambda x: x * 17.0)(np.float32(3))
        assert compiled  # The listener does record compilations.
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_batches_of_any_size_are_encoded_by_few_programs(tokenizer):
    compiled = []

    def listen(name, *_, **__):
        if name.endswith("backend_compile_duration"):
            compiled.append(name)

    random = np.random.default_rng(0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for size in random.integers(1, 5001, 100).tolist():
            assert tokenizer.encode(random.normal(size=(size, 16))).shape == (size, 3)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) <= 8


def test_verbose_logs_messages_and_silence_is_silent(vectors, capfd, caplog, monkeypatch):
    # Earlier verbose calls may have configured the logger.
    monkeypatch.setattr(logging.getLogger("sid_jax"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("sid_jax"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors)
    assert any("400 vectors of 16 features" in record.getMessage() for record in caplog.records)
    # The samples and their heading are logged at DEBUG, which is below INFO.
    assert "most common prefixes" not in caplog.text
    capfd.readouterr()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        sid_jax.SemanticIdTokenizer(**SETTINGS).fit(vectors, verbose=False)
    assert capfd.readouterr() == ("", "") and not caplog.records


def test_mistakes_are_refused_in_one_line(vectors):
    for settings, words in [
        ({"num_levls": 3}, "num_levels"),
        ({"num_levels": 0}, "num_levels"),
        ({"num_levels": "three"}, "num_levels"),
        ({"preset": "gumble"}, "gumble"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            sid_jax.SemanticIdTokenizer(**settings)
        assert "\n" not in str(error.value)
    tokenizer = sid_jax.SemanticIdTokenizer(**SETTINGS)
    for use in (lambda: tokenizer.table, lambda: tokenizer.encode(vectors), lambda: tokenizer.save("nowhere")):
        with pytest.raises(UserError, match="not fitted"):
            use()
    with pytest.raises(UserError, match="codebook_size"):
        tokenizer.fit(vectors[:10], verbose=False)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda t, v: t.append([5], v[:1]), "whole numbers, such as 5"),
        (lambda t, v: t.append("sku-900", v[:1]), "found str"),
        (lambda t, v: t.append(["sku-900"], v[:2]), r"\[2, 16\]"),
        (lambda t, v: t.append(["sku-900"], "items.npy"), "not a path"),
        (lambda t, v: t.append(remove="sku-9"), "found str"),
        (lambda t, v: t.append(remove=["sku-999"]), "sku-999"),
        (lambda t, v: t.append(remove=["a", "b"]), "ids of another kind: list ids that the export has"),
        (lambda t, v: t.encode("items.npy"), "not a path"),
        (lambda t, v: t.encode([[1.0, 2.0], [1.0]]), "row 1"),
        (lambda t, v: t.encode(None), "NoneType"),
        (lambda t, v: t.evaluate(labels=[["a"]]), "1 entries"),
        (lambda t, v: t.evaluate(labels="labels.csv"), "give FILE:COLUMN"),
        (lambda t, v: sid_jax.SemanticIdTokenizer(3), "preset is 3"),
        (lambda t, v: sid_jax.SemanticIdTokenizer(verbose=False), "argument of fit"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(tokenizer, vectors, use, words):
    before = tokenizer.table
    with pytest.raises(UserError, match=words) as error:
        use(tokenizer, vectors)
    assert "\n" not in str(error.value) and tokenizer.table is before


def test_the_workdir_of_a_run_is_refused_with_the_command_that_exports_it(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="is the workdir of a training run, .*sid-jax export --workdir="):
        sid_jax.load(tmp_path)


def test_encode_takes_what_fit_takes(tokenizer, vectors):
    expected = tokenizer.encode(vectors[:7])
    for given in (
        vectors[:7].tolist(),
        torch.tensor(vectors[:7], requires_grad=True),
        pa.array(vectors[:7].tolist(), pa.list_(pa.float32())),
        pd.Series(list(vectors[:7])),
        jax.numpy.asarray(vectors[:7]),
    ):
        np.testing.assert_array_equal(tokenizer.encode(given), expected)


def test_it_can_be_copied_and_pickled(tokenizer, vectors):
    for other in (copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        np.testing.assert_array_equal(other.table.semantic_ids, tokenizer.table.semantic_ids)
        np.testing.assert_array_equal(other.encode(vectors[:5]), tokenizer.encode(vectors[:5]))


def test_it_shows_itself_in_a_line_and_in_a_notebook(tokenizer):
    assert "\n" not in repr(tokenizer) and len(repr(tokenizer)) < 200
    assert "400 items" in repr(tokenizer)
    assert "not fitted" in repr(sid_jax.SemanticIdTokenizer())
    html = tokenizer._repr_html_()
    assert html.count("<tr") >= 10 and "sku-0" in html and len(html) < 10_000


def test_saved_and_loaded_from_a_read_only_folder(tokenizer, vectors, tmp_path):
    folder = tokenizer.save(tmp_path / "export")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    loaded = sid_jax.load(folder)
    np.testing.assert_array_equal(loaded.encode(vectors[:5]), tokenizer.encode(vectors[:5]))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="manifest.json is missing"):
        sid_jax.load(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        sid_jax.load(tmp_path / "missing")
