"""A second run of the recommender with equal settings compiles nothing, not even for its validation."""

import jax
import pytest

from sid_jax.messages import Messages
from sid_jax.recommend.data.task import load_task
from sid_jax.recommend.training.loop import train_recommender
from tests.compilations import counting_compilations


@pytest.mark.parametrize("kind", ["decoder", "scorer"])
def test_a_second_training_with_the_same_settings_compiles_nothing(config, tmp_path, kind):
    config.model.kind = kind
    config.train.num_epochs = 1.0
    # Other tests may have compiled the same programs.
    jax.clear_caches()
    counts = []
    for number in range(2):
        task = load_task(config)
        with counting_compilations() as compilations:
            train_recommender(
                config.copy_and_resolve_references(), task, tmp_path / str(number), messages=Messages.silent()
            )
        counts.append(compilations.count)
    assert counts[0] > 0
    assert counts[1] == 0
