from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sid_jax.recommend.config import default_config
from sid_jax.recommend.models.history_encoder import HistoryEncoder
from sid_jax.recommend.run import sasrec_config

SHAPE = {"num_layers": 1, "num_heads": 2, "hidden": 16, "window": 4, "dropout": 0.0}


def test_a_gated_block_adds_branches_times_a_sigmoid_of_the_stream():
    encoder = HistoryEncoder(8, block="ligr", rngs=nnx.Rngs(0), **SHAPE)
    (block,) = encoder.blocks
    hidden = jax.random.normal(jax.random.key(0), (1, 4, 8))
    visible = jnp.tril(jnp.ones((1, 4, 4), bool))
    attention_gate, feed_forward_gate = block.gates
    # A closed gate adds nothing.
    feed_forward_gate.bias[...] = jnp.full(8, -1e4)
    attended = block(hidden, visible, None)
    attention_gate.bias[...] = jnp.full(8, -1e4)
    np.testing.assert_array_equal(block(hidden, visible, None), hidden)
    feed_forward_gate.bias[...] = jnp.zeros(8)
    fed = block(hidden, visible, None)
    inner = block.feed_forward
    normed = block.feed_forward_norm(hidden)
    wanted = inner.down(jax.nn.silu(inner.gate(normed)) * inner.up(normed))
    gate = 1 / (1 + jnp.exp(-hidden @ feed_forward_gate.kernel[...]))
    np.testing.assert_allclose(fed, hidden + gate * wanted, rtol=1e-4, atol=1e-5)
    # Only the last position attends to the last item.
    changed = block(hidden.at[:, 3].add(1.0), visible, None)
    np.testing.assert_allclose(changed[:, :3], fed[:, :3], rtol=1e-5)
    assert np.abs(attended - hidden).max() > 1e-3


def test_the_baselines_have_their_own_sections_and_blocks():
    config = default_config().copy_and_resolve_references()
    config.model.block, config.esasrec.features, config.esasrec.num_epochs = "ligr", 96, 7.0
    assert sasrec_config(config).model.block == "prenorm"
    gated = sasrec_config(config, "esasrec")
    assert (gated.model.kind, gated.model.block, gated.model.features) == ("sasrec", "ligr", 96)
    assert gated.train.num_epochs == 7 and sasrec_config(config).train.num_epochs == config.sasrec.num_epochs
    of_content = sasrec_config(config, "sasrec_content").model
    assert (of_content.kind, of_content.item_parts, of_content.blend) == ("scorer", ("content",), ())
    assert of_content.features == config.sasrec.features
