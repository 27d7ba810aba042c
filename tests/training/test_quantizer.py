import json
import os
import re
import shutil
import signal
import sys
import threading
from pathlib import Path

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sid_jax.data.vector_set import VectorSet
from sid_jax.errors import UserError
from sid_jax.messages import Messages
from sid_jax.training import quantizer, schedules
from sid_jax.training.checkpoints import Checkpoints
from sid_jax.training.corpus import ResidentCorpus
from sid_jax.training.recipe import Recipe
from sid_jax.training.records import read_records
from sid_jax.training.restore import restore_run
from sid_jax.training.schedules import Durations
from sid_jax.training.state import abstract_model


@pytest.fixture
def console():
    return Console(record=True, width=140, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123


def same_state(left, right):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def test_a_run_writes_its_settings_metrics_and_checkpoints_and_tells_a_person(config, tmp_path, console):
    workdir = tmp_path / "run"
    quantizer.train(config, workdir, messages=Messages.to_console(console))
    trained, measured = read_records(workdir, "train"), read_records(workdir, "eval")
    assert [row["step"] for row in trained] == list(range(10, 101, 10))
    assert [row["step"] for row in measured] == [20, 40, 60, 80, 100]
    for name in ("loss", "reconstruction_loss", "codebook_loss", "commitment_loss", "temperature", "noise_scale"):
        assert np.isfinite([row[name] for row in trained]).all()
    assert trained[0]["temperature"] > trained[-1]["temperature"] == pytest.approx(0.05)
    assert len(trained[0]["usage"]) == len(trained[0]["perplexity"]) == 3
    assert measured[-1]["agreement"] == 1.0
    assert measured[-1]["r2"] > measured[0]["r2"] - 0.05
    assert list((workdir / "tensorboard").glob("events*"))
    assert json.loads((workdir / "run.json").read_text())["config"]["model"]["codebook_size"] == 16
    told = console.export_text()
    for words in ("at most 1.0000", "codes in use", "perplexity", "R^2", "cosine", "largest bucket", "Next: "):
        assert words in told
    assert f"sid-jax export --workdir={workdir}" in told


def test_settings_that_are_derived_from_the_number_of_items_are_told(config, tmp_path, console):
    with config.ignore_type():
        config.train.num_epochs = 2
        config.train.augmentation = config.train.settle_share = config.model.codebook_size = "auto"
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    told = " ".join(console.export_text().split())
    assert "auto in the config: model.codebook_size=32, train.augmentation=0.15, train.settle_share=0.25" in told
    assert "model.num_levels=" not in told


def test_in_mixed_precision_codes_are_as_good_and_those_of_training_are_those_of_export(config, tmp_path, console):
    config.model.quantization_method = "gumbel_softmax"
    # In mixed precision, the steps with a frozen encoder use float32. With this share, these steps would start at step
    # 75. The precision can change only between compiled calls, which have 10 steps each, so the steps
    # in float32 start at step 70.
    config.train.settle_share = 0.25
    measured = {}
    for precision in ("float32", "bfloat16"):
        config.train.precision = precision
        quantizer.train(config, tmp_path / precision, messages=Messages.to_console(console))
        measured[precision] = read_records(tmp_path / precision, "eval")[-1]
    assert measured["bfloat16"]["agreement"] == 1.0
    assert measured["bfloat16"]["r2"] != measured["float32"]["r2"]
    assert measured["bfloat16"]["r2"] == pytest.approx(measured["float32"]["r2"], abs=0.02)
    run = restore_run(tmp_path / "bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(run.state.params)} == {np.dtype(np.float32)}


def test_a_large_catalog_is_only_evaluated_at_the_end_but_saved_before(config, tmp_path, console, monkeypatch):
    # A catalog of more than 10 items now counts as large. A run on these 300 items then has 1.9 epochs, which are 9
    # steps.
    monkeypatch.setattr(schedules, "_SMALL_CATALOG", 10)
    monkeypatch.setattr(schedules, "_FEWEST_STEPS", 1)
    config.train.update({"num_epochs": "auto", "log_every_steps": 1})
    saved, original = [], Checkpoints.save

    def save(self, step, state, metrics):
        saved.append((step, metrics is not None))
        original(self, step, state, metrics)

    monkeypatch.setattr(Checkpoints, "save", save)
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert [row["step"] for row in read_records(tmp_path / "run", "eval")] == [9]
    assert saved == [(2, False), (4, False), (6, False), (8, False), (9, True)]


def interrupt_after(monkeypatch, num_calls, number=signal.SIGTERM):
    """Makes call number `num_calls` of `train_steps` send the signal `number` to this process."""
    calls = []
    original = ResidentCorpus.train_steps

    def counted(*args, **kwargs):
        calls.append(None)
        if len(calls) == num_calls:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(ResidentCorpus, "train_steps", counted)


@pytest.mark.parametrize(("method", "number"), [("ste", signal.SIGINT), ("gumbel_softmax", signal.SIGTERM)])
def test_a_signal_saves_and_the_run_goes_on_to_the_same_end(config, tmp_path, console, monkeypatch, number, method):
    config.model.quantization_method = method
    config.model.dropout = 0.1
    quantizer.train(config, tmp_path / "whole", messages=Messages.to_console(console))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3, number)
        quantizer.train(config, tmp_path / "halved", messages=Messages.to_console(console))
    assert "saved at step 30" in console.export_text()
    with pytest.raises(UserError, match="not finished .step 30 of 100."):
        restore_run(tmp_path / "halved")
    quantizer.train(config, tmp_path / "halved", messages=Messages.to_console(console))
    whole, halved = (restore_run(tmp_path / name, step=100).state for name in ("whole", "halved"))
    assert same_state(whole, halved)
    # Rows that were recorded twice are kept once.
    rows = [read_records(tmp_path / name, "train") for name in ("whole", "halved")]
    assert rows[0] == rows[1]


def test_the_handlers_of_before_are_back_after_a_run(config, tmp_path, console):
    before = signal.getsignal(signal.SIGTERM)
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_outside_the_main_thread_works(config, tmp_path, console):
    config.train.num_epochs = 2
    thread = threading.Thread(
        target=quantizer.train, args=(config, tmp_path / "run"), kwargs={"messages": Messages.to_console(console)}
    )
    thread.start()
    thread.join()
    assert restore_run(tmp_path / "run").step == 10


def test_a_finished_run_is_told_again_and_not_touched(config, tmp_path, console):
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.name == "metrics.jsonl"}
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert {path: path.read_bytes() for path in files} == files
    assert console.export_text().count("Next: ") == 2


def test_the_best_checkpoint_is_chosen_by_the_metric_named_and_export_takes_it(config, tmp_path, console):
    config.train.best_metric, config.train.best_mode = "mse", "min"
    config.train.keep_checkpoints = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    measured = read_records(tmp_path / "run", "eval")
    best = min(measured, key=lambda row: row["mse"])["step"]
    assert restore_run(tmp_path / "run").step == best
    kept = {int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {best, 100} or (best == 100 and 100 in kept and len(kept) <= 2)


def test_a_clock_that_goes_back_changes_neither_the_best_nor_the_latest(config, tmp_path, console, monkeypatch):
    clock = iter(range(2_000_000_000, 0, -1))
    lock = threading.Lock()

    def earlier():
        with lock:
            return float(next(clock))

    monkeypatch.setattr(quantizer.time, "time", earlier)
    config.train.num_epochs = 12
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    # The times of the files have no effect, either.
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (earlier(), earlier()))
    measured = read_records(tmp_path / "run", "eval")
    best = max(measured, key=lambda row: (row["r2"], row["step"]))
    assert restore_run(tmp_path / "run").step == best["step"]
    assert measured[-1]["step"] == 60
    # A repeated call finds the run finished, and trains nothing.
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert read_records(tmp_path / "run", "eval") == measured


def test_a_run_of_before_a_setting_was_there_goes_on_if_it_stands_at_its_default(config, tmp_path, console):
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    record = tmp_path / "run" / "run.json"
    content = json.loads(record.read_text())
    del content["config"]["train"]["augmentation"]
    record.write_text(json.dumps(content))
    config.train.augmentation = 0.5
    with pytest.raises(UserError, match=r"train.augmentation was 0.0 and is now 0.5"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    config.train.augmentation = 0.0
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert json.loads(record.read_text())["config"]["train"]["augmentation"] == 0.0


def test_other_data_in_an_old_workdir_is_refused_and_moved_data_is_not(config, corpus, tmp_path, console):
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    moved = tmp_path / "moved.npy"
    Path(config.data.path).rename(moved)
    config.data.path = str(moved)
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    np.save(moved, corpus + 1)
    with pytest.raises(UserError, match="other data"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    with pytest.raises(UserError, match="have changed"):
        restore_run(tmp_path / "run")


def test_columns_are_added_to_a_finished_run_without_a_step(config, corpus, tmp_path, console):
    table = {"item_id": list(range(len(corpus))), "vector": list(corpus), "title": [f"t{row}" for row in range(300)]}
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    config.data.path, config.train.num_epochs = str(tmp_path / "items.parquet"), 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    state = restore_run(tmp_path / "run").state
    config.data.columns = "title"
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    again = restore_run(tmp_path / "run")
    assert again.data.columns["title"].to_pylist() == table["title"] and same_state(again.state, state)
    assert len(read_records(tmp_path / "run", "eval")) == 1
    warning = "later exports of this run will not have the columns title"
    assert warning not in console.export_text()
    config.data.columns = ""
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    told = console.export_text()
    assert warning in told and "--config.data.columns=title" in told


def test_a_folder_with_something_else_in_it_is_not_taken_for_a_workdir(config, tmp_path, console):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("It was a dark and stormy night")
    with pytest.raises(UserError, match="is not empty"):
        quantizer.train(config, tmp_path / "thesis", messages=Messages.to_console(console))
    assert len(list((tmp_path / "thesis").iterdir())) == 1


def test_a_batch_that_the_devices_cannot_share_is_refused(config, tmp_path):
    config.train.batch_size = 60
    with pytest.raises(UserError, match="multiple of 8"):
        quantizer.train(config, tmp_path / "run")


def test_levels_of_different_sizes(config, tmp_path, console):
    config.model.codebook_size = (4, 8, 16)
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    measured = read_records(tmp_path / "run", "eval")[-1]
    assert measured["codebook_size"] == [4, 8, 16]
    assert -1 < measured["r2"] <= 1


def test_a_damaged_checkpoint_is_one_clear_line(config, tmp_path, console):
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    for path in (tmp_path / "run" / "checkpoints" / "10" / "default").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="cannot be restored") as mistake:
        restore_run(tmp_path / "run")
    assert "\n" not in str(mistake.value)


def test_a_full_disk_is_found_before_a_checkpoint_is_begun(config, tmp_path, console, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match="disk of .* is nearly full: 0 MB are free"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    monkeypatch.undo()
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert restore_run(tmp_path / "run").step == 100


def test_ids_that_look_like_markup_are_printed_as_they_are(config, corpus, tmp_path, console):
    (tmp_path / "ids.txt").write_text("".join(f"[/bold]{row}[red]\n" for row in range(len(corpus))))
    config.data.ids_path = str(tmp_path / "ids.txt")
    config.train.num_epochs = 2
    quantizer.train(config, tmp_path / "[run]", messages=Messages.to_console(console))
    told = console.export_text()
    assert "[/bold]0[red]" in told and "[run]" in told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train.annealing_schedule": "cosine"}, ""),
        # Rounding affects the last temperature of this schedule.
        ({"train.annealing_schedule": "linear", "train.num_epochs": 20}, ""),
        ({"train.annealing_schedule": "exponential"}, "ends at 1.999, above .*=0.05, .*temperature_decay"),
        # With the decay 0.0251, the temperature falls from 2 to 0.0502, and the noise to .0001 of its initial scale.
        # With 0.0275, the temperature falls to 0.055, and the noise to .0026 of its initial scale.
        ({"train.annealing_schedule": "exponential", "model.temperature_decay": 0.0251}, ""),
        ({"train.annealing_schedule": "exponential", "model.temperature_decay": 0.0275}, "ends at 0.055, above"),
        ({"train.annealing_schedule": "constant"}, "ends at 2, above .* set config.train.annealing_schedule=cosine"),
        ({"train.temperature_annealing": False}, "set config.train.temperature_annealing=True"),
        ({"train.annealing_schedule": "linear", "train.num_epochs": 1}, "set config.train.num_epochs above .*=1"),
        ({"model.min_temperature": 2.0}, "min_temperature equals config.model.temperature=2.0, .* Set a lower minimum"),
        ({"model.min_temperature": 2.0, "model.noise_scale": 0.0}, ""),
        ({"train.annealing_schedule": "constant", "model.quantization_method": "ste"}, ""),
    ],
)
def test_a_run_that_ends_with_noise_is_warned_of(config, corpus, console, settings, words):
    config.update_from_flattened_dict({"train.num_epochs": 2, **settings})
    model = abstract_model(config, corpus.shape[1])
    recipe = Recipe.of(config, Durations.of(config.train, len(corpus)), model)
    quantizer._warn_of_noise_at_the_end(recipe, Messages.to_console(console))
    told = " ".join(console.export_text().split())
    assert re.search(f"warning: .*{words}", told) if words else not told


def test_a_training_run_warns_of_noise_at_its_end(config, tmp_path, console):
    config.train.annealing_schedule, config.train.num_epochs = "exponential", 2
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert "warning: the temperature ends at 1.999" in console.export_text()


def test_a_run_that_diverges_is_one_line_and_no_checkpoint(config, tmp_path, console):
    config.model.quantization_method = "ste"
    config.train.update({"learning_rate": 1e30, "warmup_epochs": 0.0})
    with pytest.raises(UserError, match="training has diverged"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


def test_sizes_given_as_a_list_resume_and_one_size_in_a_tuple_is_not_one_level(config, tmp_path, console):
    config.train.num_epochs = 2
    config.model.codebook_size = [4, 8, 16]
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    config.model.codebook_size = (8,)
    with pytest.raises(UserError, match="1 numbers, but config.model.num_levels is 3"):
        quantizer.train(config, tmp_path / "other", messages=Messages.to_console(console))


@pytest.mark.parametrize("metric", ["r2", "distinct_rate"])
def test_in_memory_a_run_is_that_of_the_command_bit_for_bit(config, corpus, tmp_path, console, metric):
    config.train.best_metric = metric
    config.train.num_epochs = 12
    messages = Messages.to_console(console)
    written = quantizer.train(config, tmp_path / "run", messages=messages)
    restored = restore_run(tmp_path / "run")
    in_memory = quantizer.train_quantizer(config, VectorSet(np.arange(len(corpus)), corpus), messages=messages)
    assert written.step == restored.step == in_memory.step
    assert same_state(written.state, restored.state) and same_state(in_memory.state, restored.state)
    assert in_memory.recipe == restored.recipe
    rows = read_records(tmp_path / "run", "train") + read_records(tmp_path / "run", "eval")
    assert sorted(in_memory.records, key=lambda row: (row["kind"] == "eval", row["step"])) == rows


def test_without_a_workdir_nothing_is_written_to_disk(config, corpus):
    config.train.num_epochs = 4
    opened = []
    sys.addaudithook(lambda event, args: opened.append((event, args)) if recording and event in _WRITES else None)
    recording = True
    run = quantizer.train_quantizer(config, VectorSet(np.arange(len(corpus)), corpus), messages=Messages.silent())
    recording = False
    assert run.step == 20 and run.model.assign(corpus).shape == (300, 3)
    assert [args for event, args in opened if event != "open" or _is_for_writing(*args)] == []


_WRITES = ("open", "os.mkdir", "os.rename", "tempfile.mkdtemp", "tempfile.mkstemp")


def _is_for_writing(path, mode, flags):
    """Returns whether a run opens a file for writing; the tests' cache of compiled programs does not count."""
    ours = str(path) != os.devnull and not str(path).startswith(str(jax.config.jax_compilation_cache_dir))
    return ours and bool(flags & (os.O_WRONLY | os.O_RDWR))


def test_an_interrupted_run_in_memory_gives_nothing(config, corpus, console, monkeypatch):
    interrupt_after(monkeypatch, 3)
    data = VectorSet(np.arange(len(corpus)), corpus)
    assert quantizer.train_quantizer(config, data, messages=Messages.to_console(console)) is None
    assert "Stopped at step 30 of 100." in console.export_text()
