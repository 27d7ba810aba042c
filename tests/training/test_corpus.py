"""Training that reads vectors from their file has the same batches as training with the vectors on the device."""

import io

import numpy as np
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.messages import Messages
from sid_jax.training import corpus as corpus_module
from sid_jax.training import quantizer
from sid_jax.training.corpus import StreamedCorpus, most_steps_a_call
from sid_jax.training.records import read_records
from sid_jax.training.restore import restore_run
from sid_jax.training.sharding import all_devices
from tests.training.test_quantizer import same_state


@pytest.fixture
def console():
    return Console(file=io.StringIO())


def losses(workdir):
    return [row["loss"] for row in read_records(workdir, "train")]


@pytest.mark.parametrize("weights", [{}, {"contrastive_weight": 0.1, "alignment_weight": 0.1}])
def test_a_streamed_run_is_the_resident_one(config, tmp_path, console, weights):
    config.model.update(weights)
    if weights:
        (tmp_path / "sequences.txt").write_text("\n".join(f"u{n} {n} {n + 1} {n + 2} 0 0" for n in range(298)))
        config.data.histories.update({"source": "sequences", "path": str(tmp_path / "sequences.txt")})
        config.data.collaborative_weight = 0.0
    # An epoch has 5 steps, and a call has 2 steps, so some calls contain the end of one epoch and the start of
    # the next.
    config.train.update({"num_epochs": 8, "log_every_steps": 3})
    # The largest possible seed.
    config.seed = 2**32 - 1
    quantizer.train(config, tmp_path / "resident", messages=Messages.to_console(console))
    config.train.resident_bytes = 0
    quantizer.train(config, tmp_path / "streamed", messages=Messages.to_console(console))
    np.testing.assert_allclose(losses(tmp_path / "streamed"), losses(tmp_path / "resident"), rtol=1e-4)
    one, other = (read_records(tmp_path / name, "eval")[-1] for name in ("resident", "streamed"))
    assert other["r2"] == pytest.approx(one["r2"], abs=1e-3)


def test_a_streamed_run_that_was_stopped_ends_as_one_that_was_not(config, tmp_path, console, monkeypatch):
    # A block has three batches of 64 vectors with 12 features.
    monkeypatch.setattr(corpus_module, "_BLOCK_BYTES", 3 * 64 * 12 * 4)
    config.train.update({"num_epochs": 4, "eval_every_epochs": 1.0, "resident_bytes": 0})
    quantizer.train(config, tmp_path / "whole", messages=Messages.to_console(console))
    # A call can have at most three steps. The run uses two per call, so that all calls have the same length.
    assert len(losses(tmp_path / "whole")) == 10

    class Stopped(Exception):
        pass

    read = StreamedCorpus._read

    def failing(self, step, num_steps):
        if step >= 15:
            raise Stopped
        return read(self, step, num_steps)

    with monkeypatch.context() as patch:
        patch.setattr(StreamedCorpus, "_read", failing)
        with pytest.raises(Stopped):
            quantizer.train(config, tmp_path / "stopped", messages=Messages.to_console(console))
    quantizer.train(config, tmp_path / "stopped", messages=Messages.to_console(console))
    assert same_state(*(restore_run(tmp_path / name).state for name in ("whole", "stopped")))


def test_a_block_is_at_least_one_batch_and_reading_is_in_the_epochs_order(config, corpus):
    assert most_steps_a_call(config.train, corpus.shape) is None
    config.train.update({"resident_bytes": corpus.nbytes - 1, "batch_size": 1024})
    assert most_steps_a_call(config.train, corpus.shape) == 2**26 // (1024 * 12 * 4)
    assert most_steps_a_call(config.train, (10, 10**6)) == 1
    with StreamedCorpus(corpus, None, all_devices(), seed=0, batch_size=64) as streamed:
        batches, companions = streamed._read(0, 5)
    assert companions is None and batches.shape == (5, 64, 12)
    rows = np.asarray(batches).reshape(-1, 12)
    assert len(np.unique(rows, axis=0)) == 300  # all items are in the 320 rows
    assert not np.array_equal(rows[:300], corpus)
    np.testing.assert_array_equal(rows[300:], rows[:20])


def test_the_rows_of_each_devices_share_are_read_apart(config, corpus, monkeypatch):
    asked = []
    gather = corpus_module._gather
    monkeypatch.setattr(corpus_module, "_gather", lambda vectors, rows: asked.append(rows) or gather(vectors, rows))
    with StreamedCorpus(corpus, None, all_devices(), seed=0, batch_size=64) as streamed:
        batches, _ = streamed._read(0, 5)
    assert [rows.shape for rows in asked] == [(5, 8)] * 8
    for rows, share in zip(asked, batches.addressable_shards, strict=True):
        np.testing.assert_array_equal(share.data, corpus[rows])


def test_a_negative_size_is_refused(config, tmp_path, console):
    config.train.resident_bytes = -1
    with pytest.raises(UserError, match="train.resident_bytes is -1"):
        quantizer.train(config, tmp_path / "run", messages=Messages.to_console(console))
