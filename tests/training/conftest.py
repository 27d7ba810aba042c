"""Vectors of a small catalog, and the settings of a one-second run on these vectors."""

import numpy as np
import pytest

from sid_jax.config import default_config
from sid_jax.presets import set_mlp


@pytest.fixture
def corpus():
    """300 vectors of 12 features around 20 centers."""
    random = np.random.default_rng(0)
    centers = random.normal(size=(20, 12))
    return (centers[random.integers(0, 20, 300)] + 0.3 * random.normal(size=(300, 12))).astype(np.float32)


@pytest.fixture
def config(corpus, tmp_path):
    """The settings of a small Gumbel-softmax run on a file with the vectors of `corpus`."""
    np.save(tmp_path / "corpus.npy", corpus)
    config = default_config()
    set_mlp(config)
    config.data.path = str(tmp_path / "corpus.npy")
    config.model.update({"num_levels": 3, "codebook_size": 16, "latent_dimension": 6, "hidden_dimensions": (24,)})
    config.model.quantization_method = "gumbel_softmax"
    config.train.update({"batch_size": 64, "num_epochs": 20, "warmup_epochs": 1.0})
    config.train.update({"log_every_steps": 10, "eval_every_epochs": 4.0})
    config.train.annealing_schedule = "cosine"
    return config
