import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sid_jax.config import default_config
from sid_jax.models.rqvae import RQVAE
from sid_jax.presets import set_mlp
from sid_jax.training.optimizer import make_optimizer, reset_moments


@pytest.fixture
def params():
    model = RQVAE(4, (3, 3), latent_dimension=2, hidden_dimensions=(5,), rngs=nnx.Rngs(0))
    return nnx.state(model, nnx.Param)


def optimizer_of(**train):
    config = default_config()
    set_mlp(config)
    config.train.update(train)
    return make_optimizer(config.train, optax.constant_schedule(0.1))


def ones_like(params):
    return jax.tree.map(jnp.ones_like, params)


def test_weight_decay_is_on_kernels_alone(params):
    optimizer = optimizer_of(weight_decay=0.5)
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zero, optimizer.init(params), params)
    for path, update in jax.tree_util.tree_leaves_with_path(updates):
        moved = np.abs(update).max() > 0
        assert moved == ("kernel" in jax.tree_util.keystr(path)), jax.tree_util.keystr(path)


def test_gradients_are_clipped_by_their_global_norm(params):
    def first_step(factor, clip):
        optimizer = optimizer_of(optimizer="adagrad", gradient_clip_norm=clip)
        grads = jax.tree.map(lambda leaf: factor * leaf, ones_like(params))
        return optimizer.update(grads, optimizer.init(params), params)[0]

    for small, large in zip(*(jax.tree.leaves(first_step(f, 1.0)) for f in (10.0, 1000.0)), strict=True):
        np.testing.assert_allclose(small, large, rtol=1e-5)
    unclipped = [jax.tree.leaves(first_step(f, 0.0))[0] for f in (0.1, 1000.0)]
    assert not np.allclose(*unclipped)


def test_three_steps_of_nadamw_by_hand():
    optimizer = optimizer_of(optimizer="nadamw", weight_decay=0.0, gradient_clip_norm=0.0)
    weights, first, second = {"bias": jnp.array(1.0)}, 0.0, 0.0
    state, by_hand = optimizer.init(weights), 1.0
    for step, grad in enumerate((2.0, -1.0, 0.5), start=1):
        updates, state = optimizer.update({"bias": jnp.array(grad)}, state, weights)
        weights = optax.apply_updates(weights, updates)
        # Dozat (2016): the momentum of the next step is applied in this step.
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        ahead = 0.9 * first / (1 - 0.9 ** (step + 1)) + 0.1 * grad / (1 - 0.9**step)
        by_hand -= 0.1 * ahead / ((second / (1 - 0.999**step)) ** 0.5 + 1e-8)
        assert weights["bias"] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize(("name", "start"), [("adamw", 0.0), ("nadamw", 0.0), ("adagrad", 0.1)])
def test_moments_of_the_rows_named_go_back_to_their_start_and_no_others(params, name, start):
    optimizer = optimizer_of(optimizer=name)
    _, state = optimizer.update(ones_like(params), optimizer.init(params), params)
    forget = jax.tree.map(lambda leaf: jnp.zeros((leaf.shape[0],) + (1,) * (leaf.ndim - 1), bool), params)
    forget["quantizer"]["levels"][1][...] = jnp.array([[False], [True], [False]])
    reset = reset_moments(optimizer, state, params, forget)

    before, after = (jax.tree_util.tree_leaves_with_path(each) for each in (state, reset))
    touched = 0
    for (path, old), (_, new) in zip(before, after, strict=True):
        if "'levels'][1]" in jax.tree_util.keystr(path):
            np.testing.assert_allclose(new[1], start)
            np.testing.assert_array_equal(new[::2], old[::2])
            assert not np.allclose(old[1], start)
            touched += 1
        else:
            np.testing.assert_array_equal(new, old)
    assert touched == (1 if name == "adagrad" else 2)
