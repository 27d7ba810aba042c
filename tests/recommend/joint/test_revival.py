import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import FrozenConfigDict

from sid_jax.config import default_config as quantizer_config
from sid_jax.joint_quantizer.trained import parts
from sid_jax.metrics.codes import usage
from sid_jax.models.rqvae import RQVAE
from sid_jax.recommend import config
from sid_jax.recommend.joint.loop import revive_unused
from sid_jax.recommend.joint.step import JointRecipe
from sid_jax.recommend.training.step import Recipe
from sid_jax.training.schedules import Lengths


def test_unused_codes_come_into_use_and_their_moments_are_forgotten(key):
    model = RQVAE(4, (6, 6), latent_dimension=None, rngs=nnx.Rngs(0))
    vectors = jax.random.normal(key, (60, 4))
    # The codewords 4 and 5 of each level are far from all items.
    codebooks = [vectors[:6].at[4:].set(100.0), 0.3 * vectors[6:12].at[4:].set(-100.0)]
    model.quantizer.set_codebooks(codebooks)
    codes = model.assign(vectors)
    assert max(usage(np.asarray(codes), (6, 6))) < 1
    graphdef, params, statistics = parts(model)
    lengths = Lengths(
        steps_per_epoch=10, steps_per_unit=10, num_steps=100, warmup_steps=0, log_every_steps=10, eval_every_steps=50
    )
    recommender = Recipe(graphdef, 0, lengths, 8, FrozenConfigDict())
    recipe = JointRecipe.of(config.default_config(), recommender, quantizer_config(), graphdef, 8)
    ones = jax.tree.map(jnp.ones_like, params)
    _, opt_state = recipe.optimizer.update(ones, recipe.optimizer.init(params), params)

    revived, forgotten = revive_unused(recipe, params, statistics, opt_state, vectors, codes, key)
    model = nnx.merge(graphdef, revived, statistics)
    assert usage(np.asarray(model.assign(vectors)), (6, 6)) == [1, 1]
    for before, after in zip(codebooks, model.quantizer.codebooks, strict=True):
        np.testing.assert_array_equal(before[:4], after[:4])
    for moments in (leaf for leaf in jax.tree.leaves(forgotten) if jnp.shape(leaf) == (6, 4)):
        assert (moments[:4] != 0).all() and (moments[4:] == 0).all()
    assert optax.tree.norm(forgotten) < optax.tree.norm(opt_state)
