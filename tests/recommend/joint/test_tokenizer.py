"""Joint training starts from an export and the vectors of its items."""

import numpy as np
import pytest

from sid_jax.config import default_config
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.presets import set_mlp
from sid_jax.recommend.joint.tokenizer import load_tokenizer
from sid_jax.training.quantizer import train


@pytest.mark.parametrize(("weight", "features"), [(0.5, 6 + 2), (0.0, 6)])
def test_what_histories_gave_an_export_is_found_again_where_its_files_now_are(joint_config, tmp_path, weight, features):
    """The export's run used histories in its vectors and in a loss, or only in a loss.

    The recommender's config does not set the weights of these two uses.
    """
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    np.save(old / "items.npy", np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))
    (old / "histories.txt").write_text("".join(f"u{n} {n} {n + 1} {n + 2} 0 0\n" for n in range(38)))
    config = default_config()
    set_mlp(config)
    config.data.path, config.data.histories.path = str(old / "items.npy"), str(old / "histories.txt")
    config.data.histories.source, config.data.collaborative_dimension = "sequences", 2
    config.data.collaborative_weight, config.model.alignment_weight = weight, 0.1
    config.model.num_levels, config.model.codebook_size = 2, 8
    config.model.latent_dimension, config.model.hidden_dimensions = 4, (16,)
    config.train.batch_size, config.train.num_epochs = 40, 2
    config.ids.unique = "suffix"
    train(config, tmp_path / "run", messages=Messages.silent())
    export(tmp_path / "run", tmp_path / "ids", messages=Messages.silent())
    old.rename(new)

    joint_config.ids = str(tmp_path / "ids")
    joint_config.quantizer.data.path = str(new / "items.npy")
    joint_config.quantizer.data.histories.path = str(new / "histories.txt")
    run = load_tokenizer(joint_config, tmp_path / "ids")
    assert run.data.vectors.shape == (40, features)
    # In joint training, the quantizer has no loss on co-occurrences. IDs are made unique by relocation, since a suffix
    # would be a level without a code embedding.
    assert run.config.model.alignment_weight == 0
    assert run.config.ids.unique == "relocate"
