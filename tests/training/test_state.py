import jax.numpy as jnp
import numpy as np
import pytest

from sid_jax.data.scaling import apply_scaling
from sid_jax.training.state import begin


@pytest.mark.parametrize("width", [5, 12, 20])
def test_a_residual_model_starts_as_the_principal_axes(config, corpus, width):
    config.model.encoder = "residual"
    config.model.latent_dimension = width
    model = begin(config, corpus)
    scaled = np.asarray(apply_scaling(model.scaling, jnp.asarray(corpus)))
    latents = np.asarray(model.encode(jnp.asarray(corpus)))
    # The squared singular values are the sums of squares along the principal axes.
    energies = np.square(np.linalg.svd(scaled, compute_uv=False))
    np.testing.assert_allclose(np.square(latents).sum(axis=0)[:12], energies[:width], rtol=1e-3)
    lost = np.square(scaled - np.asarray(model.decoder(jnp.asarray(latents)))).sum()
    assert lost == pytest.approx(energies[width:].sum(), rel=1e-3, abs=1e-2)
    assert len(np.unique(model.assign(jnp.asarray(corpus)), axis=0)) > 100
