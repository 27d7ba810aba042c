import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.data.scaling import Scaling, apply_scaling, fit_scaling, invert_scaling
from sid_jax.models.quantizer import Statistic
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.nearest import assign_codes


def make(sizes=(8, 4), unit_norm=False, **kwargs):
    return RQVAE(6, sizes, latent_dimension=3, hidden_dimensions=(5,), unit_norm=unit_norm, rngs=nnx.Rngs(0), **kwargs)


def test_codes_in_training_are_those_of_assign_when_nothing_is_random(key):
    model = make()
    vectors = jax.random.normal(key, (50, 6))
    output = model(vectors)
    np.testing.assert_array_equal(output.quantizer.codes, model.assign(vectors))
    np.testing.assert_array_equal(model.assign(vectors), assign_codes(model.encode(vectors), model.quantizer.codebooks))
    np.testing.assert_allclose(output.reconstructions, model.decoder(model.quantizer.lookup(output.quantizer.codes)))


def test_scaling_is_applied_in_training_and_at_export_alike(key):
    model = make(unit_norm=True)
    vectors = 5 + np.asarray(jax.random.normal(key, (50, 6)))
    scaling = fit_scaling(vectors, unit_norm=True, center=True, standardize="global")
    model.set_scaling(scaling)
    np.testing.assert_allclose(model(vectors).targets, apply_scaling(scaling, vectors))
    np.testing.assert_array_equal(model(vectors).quantizer.codes, model.assign(vectors))
    # Vectors are normalized to length 1 by the model, so their length does not matter.
    np.testing.assert_array_equal(model.assign(vectors), model.assign(vectors * 4))
    codes = model.assign(vectors)
    expected = invert_scaling(scaling, model.decoder(model.quantizer.lookup(codes)))
    np.testing.assert_allclose(model.reconstruct(codes), expected)


def test_a_scaling_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="unit_norm"):
        make(unit_norm=True).set_scaling(Scaling(unit_norm=False, mean=jnp.zeros(6), scale=jnp.ones(6)))


def test_the_optimizer_sees_encoder_codebooks_and_decoder_and_no_statistic():
    params, statistics = nnx.state(make(), nnx.Param, ...)
    assert set(params) == {"encoder", "quantizer", "decoder"}
    assert all(isinstance(leaf, Statistic) for _, leaf in nnx.to_flat_state(statistics))
    assert set(statistics) == {"mean", "scale", "quantizer"}


def test_codebooks_of_another_shape_are_refused_and_filled_ones_are_marked():
    quantizer = make().quantizer
    assert not quantizer.initialized[...]
    with pytest.raises(ValueError, match="codebook 1"):
        quantizer.set_codebooks([jnp.ones((8, 3)), jnp.ones((5, 3))])
    quantizer.set_codebooks([jnp.ones((8, 3)), jnp.ones((4, 3))])
    assert quantizer.initialized[...]
    assert quantizer.codebook_sizes == (8, 4)


@pytest.mark.parametrize("method", ["ste", "gumbel_softmax"])
def test_every_parameter_gets_a_gradient(key, method):
    model = make(quantization_method=method)
    vectors = jax.random.normal(key, (64, 6))
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        output = nnx.merge(graphdef, params, rest)(vectors, key=key)
        quantizer = output.quantizer
        return (
            jnp.square(output.targets - output.reconstructions).sum()
            + quantizer.codebook_loss.sum()
            + 0.25 * quantizer.commitment_loss.sum()
        )

    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)))
