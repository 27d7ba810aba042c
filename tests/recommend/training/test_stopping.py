"""Early stopping, with an average of the parameters, and exact resumption."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest

from sid_jax.messages import Messages
from sid_jax.recommend.artifact import named_params
from sid_jax.recommend.data.task import load_task
from sid_jax.recommend.training import loop
from sid_jax.recommend.training.step import TrainState, _averaged

# The two validations after the third one are not better, so training stops. It does not get to the sixth validation,
# which would be the best.
FIGURES = [0.1, 0.2, 0.5, 0.4, 0.3, 0.9]


class Killed(Exception):
    """Raised to end training, as SIGKILL would."""


@pytest.fixture
def scripted(config, monkeypatch):
    """The config of a scorer whose validations give `FIGURES`; training is killed at validation `script.killed_at`."""
    config.model.kind, config.train.average_epochs, config.train.patience = "scorer", 2.0, 2
    config.train.num_epochs, config.train.eval_every_epochs = 60.0, 1.0
    config.train.log_every_steps = load_steps(config)
    script = types.SimpleNamespace(killed_at=None)

    def evaluate(self, state, step, row):
        number = step // self.lengths.eval_every_steps - 1
        if number == script.killed_at:
            raise Killed
        value = FIGURES[number]
        return loop.Evaluated(state, {"ndcg@10": value, "recall@10": value}, "")

    monkeypatch.setattr(loop._RecommenderJob, "evaluate", evaluate)
    return config, script


def load_steps(config):
    task = load_task(config)
    return -(-len(jax.tree.leaves(loop.training_examples(config, task))[0]) // config.train.batch_size)


def train(config, workdir):
    return loop.train_recommender(config, load_task(config), workdir, messages=Messages.silent())


def test_it_ends_after_two_validations_without_a_better_one_and_resumes_bit_for_bit(scripted, tmp_path):
    config, script = scripted
    whole = train(config, tmp_path / "whole")
    each = config.train.log_every_steps
    assert (whole.finished, whole.step) == (True, 3 * each)
    in_memory = train(config, None)
    assert (in_memory.finished, in_memory.step) == (True, 3 * each)
    for killed_at in (1, 4):
        script.killed_at = killed_at
        with pytest.raises(Killed):
            train(config, tmp_path / "killed")
    script.killed_at = None
    resumed = train(config, tmp_path / "killed")
    assert (resumed.finished, resumed.step) == (True, 3 * each)
    again = train(config, tmp_path / "killed")  # The run is finished, so nothing is trained.
    assert (again.finished, again.step, again.seconds) == (True, 3 * each, 0.0)
    expected = named_params(whole.ranker.params)
    for found in (in_memory, resumed, again):
        params = named_params(found.ranker.params)
        assert params.keys() == expected.keys()
        assert all(np.array_equal(params[name], expected[name]) for name in params)


def test_the_average_is_over_as_many_epochs_as_the_config_says():
    settings = types.SimpleNamespace(average_epochs=2.0)
    recipe = types.SimpleNamespace(settings=settings, lengths=types.SimpleNamespace(steps_per_epoch=50))
    mean = {"kernel": np.zeros(3, np.float32)}
    new = {"kernel": np.ones(3, np.float32)}
    for step, rate in ((0, 1.0), (81, 0.1), (10_000, 0.01)):
        state = TrainState(np.int32(step), mean, None, mean)
        np.testing.assert_allclose(_averaged(recipe, state, new)["kernel"], rate, rtol=1e-5)
    assert _averaged(recipe, TrainState(np.int32(0), mean, None, None), new) is None
    assert TrainState(np.int32(0), new, None, mean).used is mean
