from __future__ import annotations

import json
import os
import re
import signal
from functools import reduce

import jax
import numpy as np
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.messages import Messages
from sid_jax.recommend.compare import compare
from sid_jax.recommend.data.quantizer import train_ids
from sid_jax.recommend.data.task import load_task
from sid_jax.recommend.run import run
from sid_jax.recommend.training import loop
from sid_jax.recommender import load_recommender
from sid_jax.training.records import read_records


@pytest.fixture
def console():
    return Console(record=True, width=200, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123


def test_what_follows_is_learned_and_told(config, tmp_path, console):
    config.eval.baselines = ("popularity", "item_knn")
    decoder, popularity, _ = run(config, tmp_path / "run", console=console)
    assert decoder.metrics["recall@5"] > 0.9 > 0.5 > popularity.metrics["recall@5"]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [each["name"] for each in results["test"]] == ["decoder", "popularity", "item-kNN"]
    assert results["invalid_ids"] == 0 < results["generated_ids"]
    low, high = results["test"][0]["intervals"]["recall@10"]
    assert low <= decoder.metrics["recall@10"] <= high
    assert results["test"][0]["seen excluded"]["ndcg@10"] == decoder.other.metrics["ndcg@10"]
    told = console.export_text()
    for words in (
        "recall@10",
        "coverage@10",
        "item-kNN",
        "Generated IDs that no item has: 0",
        "The example recommendations above may contain seen items",
        "seen allowed",
        "seen excluded",
    ):
        assert words in told
    with pytest.raises(UserError, match="no finished recommender"):
        load_recommender(tmp_path)
    recommender = load_recommender(tmp_path / "run")
    assert [each.item_id for each in recommender.recommend([7, 8, 9], 1)] == [10]
    assert recommender.recommend([7, 8, 9], 20, exclude_seen=False)[0].title is None
    assert {each.item_id for each in recommender.recommend([7, 8, 9], 20)}.isdisjoint([7, 8, 9])
    assert len(recommender.recommend([7], 21)) == 21
    with pytest.raises(UserError, match="99 is not in"):
        recommender.recommend([99], 3, on_unknown="error")
    with pytest.raises(UserError, match="trained without config.data.cold_items"):
        recommender.recommend([7], 3, cold_slots=1)
    rows = read_records(tmp_path / "run" / "decoder", "eval")
    assert rows[-1]["recall@10"] > 0.9


@pytest.mark.parametrize("kind", ["encoder_decoder", "parallel", "sasrec"])
def test_the_other_models_learn_it_too_and_leave_out_what_was_seen(kind, config, tmp_path, console):
    config.model.kind = kind
    config.model.head_features = 16
    config.train.batch_size = 64 if kind == "encoder_decoder" else 8
    config.train.num_epochs = 6.0 if kind == "encoder_decoder" else 20.0
    config.eval.baselines = ()
    config.eval.exclude_seen = True
    questions = load_task(config).split.test
    (evaluation,) = run(config, tmp_path / "run", console=console)
    assert evaluation.metrics["recall@10"] > 0.6
    for user, found in enumerate(evaluation.lists):
        assert not set(found[found >= 0]) & set(questions.histories.of(user))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(config, tmp_path, console, monkeypatch):
    task = load_task(config)
    whole = loop.train_recommender(config, task, tmp_path / "whole", messages=Messages.to_console(console))
    original, calls = loop.train_steps, []

    def interrupted(*args, **kwargs):
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_steps", interrupted)
        stopped = loop.train_recommender(config, task, tmp_path / "stopped", messages=Messages.to_console(console))
    assert not stopped.finished
    resumed = loop.train_recommender(config, task, tmp_path / "stopped", messages=Messages.to_console(console))
    assert resumed.finished and resumed.step == whole.step
    for one, other in zip(jax.tree.leaves(whole.ranker.params), jax.tree.leaves(resumed.ranker.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert read_records(tmp_path / "whole", "train") == read_records(tmp_path / "stopped", "train")


def test_a_signal_during_the_last_validation_ends_the_program_and_the_run_is_whole(
    config, tmp_path, console, monkeypatch
):
    config.train.num_epochs = 1.0
    task, original = load_task(config), loop.evaluate

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        return original(*args, **kwargs)

    # A library that an earlier test used may have replaced Python's handler of SIGINT, so the test sets this handler.
    left = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop, "evaluate", interrupted)
            loop.train_recommender(config, task, tmp_path / "run", messages=Messages.to_console(console))
    finally:
        signal.signal(signal.SIGINT, left)
    again = loop.train_recommender(config, task, tmp_path / "run", messages=Messages.to_console(console))
    assert again.finished and again.seconds == 0


def test_a_workdir_of_other_ids_is_refused(config, world, tmp_path, console):
    config.train.num_epochs = 1.0
    config.eval.baselines = ()
    run(config, tmp_path / "run", console=console)
    config.ids = str(world / "shuffled.npy")
    with pytest.raises(UserError, match="a run on other data"):
        run(config, tmp_path / "run", console=console)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data.path", "", "config.data.path is empty"),
        ("ids", "nowhere.npy", "nowhere.npy: no such file"),
        ("train.row_length", 4, "a row must hold the longest history"),
        (
            "eval.baselines",
            ("magic",),
            "'popularity', 'item_knn', 'transitions', 'semantic_knn', 'sasrec', 'sasrec_content', 'esasrec'",
        ),
        ("model.num_heads", 3, "not a multiple of config.model.num_heads=3"),
        ("train.batch_size", 9, "cannot be divided among 8 devices"),
    ],
)
def test_what_cannot_be_used_is_refused(name, value, words, config, tmp_path, console):
    section, _, field = name.rpartition(".")
    (config[section] if section else config)[field] = value
    with pytest.raises(UserError, match=words):
        run(config, tmp_path / "run", console=console)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("joint.estimator", "ste", "needs fixed IDs"), ("eval.cold_slots", 1, "slots for cold items")],
)
def test_a_comparison_refuses_what_it_would_leave_out(name, value, words, config, tmp_path, console):
    section, field = name.split(".")
    config[section][field] = value
    config.data.cold_items = "cold.txt" if field == "cold_slots" else ""
    with pytest.raises(UserError, match=f"--compare .*{words}"):
        compare(config, [config.ids], tmp_path / "run", minutes=1, num_seeds=1, console=console)
    assert not (tmp_path / "run").exists()


def test_the_warning_about_too_few_codes_names_settings_of_the_recommender(config, tmp_path, console):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(256, 8)).astype(np.float32))
    config.quantizer.data.path = str(tmp_path / "items.npy")
    config.quantizer.ids.unique = "suffix"
    config.quantizer.model.update(num_levels=2, codebook_size=8, hidden_dimensions=(8,), latent_dimension=4)
    config.quantizer.train.update(batch_size=64, num_epochs=1, warmup_epochs=0.5)
    train_ids(config, tmp_path / "run", console)
    named = re.findall(r"--config\.([\w.]+)=\d", console.export_text())
    assert "quantizer.model.num_levels" in named
    for name in named:
        reduce(getattr, name.split("."), config)  # This raises an error unless the setting exists.


def test_errors_of_the_quantizer_name_settings_of_the_recommender(config, tmp_path, console):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32))
    config.quantizer.data.path = str(tmp_path / "items.npy")
    config.quantizer.model.codebook_size = 64
    with pytest.raises(
        UserError, match=r"^config\.quantizer\.model\.codebook_size is 64.* set --config\.quantizer\.model"
    ):
        train_ids(config, tmp_path / "run", console)
    config.quantizer.data.path = ""
    message = r"^config\.quantizer\.data\.path is empty; pass --config\.quantizer\.data\.path"
    with pytest.raises(UserError, match=message):
        train_ids(config, tmp_path / "run", console)
    # The quantizer's cold items are those of the recommender.
    config.quantizer.data.path = str(tmp_path / "items.npy")
    config.data.cold_items = str(tmp_path / "cold.txt")
    (tmp_path / "cold.txt").write_text("0\n1\n2\n99")
    with pytest.raises(UserError, match=r"--config\.data\.on_unknown=drop"):
        train_ids(config, tmp_path / "run", console)
