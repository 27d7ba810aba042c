"""A small tokenizer of the synthetic items, and settings for joint training that starts from this tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sid_jax.config import default_config
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.presets import set_mlp
from sid_jax.training.quantizer import train
from tests.recommend.conftest import NUM_ITEMS


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    """The export of a quantizer with 2 levels of 8 codes, trained on the vectors of 40 items in 8 groups."""
    folder = tmp_path_factory.mktemp("tokenizer")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(8, 6))[np.arange(NUM_ITEMS) // 5] + 0.5 * random.normal(size=(NUM_ITEMS, 6))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    config = default_config()
    set_mlp(config)
    config.data.path = str(folder / "vectors.npy")
    config.model.num_levels, config.model.codebook_size = 2, 8
    config.model.latent_dimension, config.model.hidden_dimensions = 4, (16,)
    config.train.batch_size, config.train.num_epochs, config.train.log_every_steps = 40, 40, 40
    train(config, folder / "run", messages=Messages.silent())
    export(folder / "run", folder / "export", messages=Messages.silent())
    return folder / "export"


@pytest.fixture
def joint_config(config, tokenizer):
    config.ids = str(tokenizer)
    config.joint.estimator = "gumbel"
    config.joint.encoder_rate = config.joint.codebook_rate = config.joint.decoder_rate = 3e-3
    config.joint.refresh_every_steps, config.joint.share = 5, 0.6
    config.joint.warmup_epochs = 0.5
    config.joint.min_usage = 0.1
    config.model.dropout = 0.1
    # The code embeddings of the last item suffice to predict the next item. A transformer would only take time to
    # compile.
    config.model.num_layers = 0
    config.train.num_epochs = 10.0
    config.train.eval_every_epochs = 2.0
    config.eval.baselines = ()
    return config
