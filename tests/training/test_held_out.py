"""Cold items have no effect on training, but get codes."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training import quantizer
from sid_jax.training.restore import restore_run
from tests.training.test_quantizer import same_state


@pytest.fixture
def console():
    return Console(file=io.StringIO())


def test_what_is_held_out_does_not_matter_and_is_exported(config, corpus, tmp_path, console):
    config.train.num_epochs = 4
    (tmp_path / "later.txt").write_text("3\n299\n")
    config.data.cold_items = str(tmp_path / "later.txt")
    states = []
    for name, factor in (("one", 1.0), ("two", -5.0)):
        changed = corpus.copy()
        changed[[3, 299]] *= factor
        np.save(tmp_path / f"{name}.npy", changed)
        config.data.path = str(tmp_path / f"{name}.npy")
        quantizer.train(config, tmp_path / name, messages=Messages.to_console(console))
        states.append(restore_run(tmp_path / name).state)
    assert same_state(*states)

    for name, out in (("one", "other"), ("two", "out")):
        export(tmp_path / name, tmp_path / out, messages=Messages.silent())
    tables = [pq.read_table(tmp_path / out / "ids.parquet") for out in ("other", "out")]
    assert [len(table) for table in tables] == [300, 300]
    # Cold items get IDs after the other items, so the other items have the same IDs in both exports.
    one, two = (np.array(table["semantic_id"].to_pylist()) for table in tables)
    assert len(np.unique(two, axis=0)) == 300
    np.testing.assert_array_equal(np.delete(one, [3, 299], axis=0), np.delete(two, [3, 299], axis=0))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["data"]["num_cold"] == 2
    # R^2 of the cold items by hand: vectors have length 1, and the variance is taken around the mean of the cold items.
    run = restore_run(tmp_path / "two")
    two = run.data.vectors[[3, 299]] / np.linalg.norm(run.data.vectors[[3, 299]], axis=1, keepdims=True)
    error = np.square(two - np.asarray(run.model.reconstruct(run.model.assign(two)))).sum()
    expected = 1 - error / np.square(two - two.mean(axis=0)).sum()
    assert manifest["metrics"]["r2_cold"] == pytest.approx(expected, abs=1e-4)


def test_another_choice_is_another_run(config, tmp_path, console):
    config.train.num_epochs = 1
    (tmp_path / "later.txt").write_text("3\n")
    config.data.cold_items = str(tmp_path / "later.txt")
    quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
    (tmp_path / "later.txt").write_text("4\n")
    with pytest.raises(UserError, match="other data"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))


def test_nothing_left_to_train_on_is_refused(config, corpus, tmp_path, console):
    (tmp_path / "all.txt").write_text("\n".join(map(str, range(len(corpus)))))
    config.data.cold_items = str(tmp_path / "all.txt")
    with pytest.raises(UserError, match="lists every item"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
