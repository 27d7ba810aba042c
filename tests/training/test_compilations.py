"""A second run with equal settings compiles nothing: the static arguments of `jit` are hashed by value."""

import jax
import pytest

from sid_jax.messages import Messages
from sid_jax.training import quantizer
from tests.compilations import counting_compilations


@pytest.mark.parametrize("streamed", [False, True])
def test_a_second_training_with_the_same_settings_compiles_nothing(config, tmp_path, streamed):
    config.train.num_epochs = 4
    config.model.encoder = "residual"
    if streamed:
        config.train.resident_bytes = 0
    # Other tests may have compiled the same programs.
    jax.clear_caches()
    counts = []
    for number in range(2):
        # Each run gets its own copy of the config, so that equal configs are not the same object.
        with counting_compilations() as compilations:
            quantizer.train(config.copy_and_resolve_references(), tmp_path / str(number), messages=Messages.silent())
        counts.append(compilations.count)
    assert counts[0] > 0
    assert counts[1] == 0
