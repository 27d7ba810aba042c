"""The code of docs/pytorch.md: PyTorch gives the codes of the export."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sid_jax.data.layout import ItemPart, Layout
from sid_jax.data.scaling import fit_scaling
from sid_jax.export.codebooks import write_codebooks
from sid_jax.export.weights import model_info, read_model, torch_weights, write_model
from sid_jax.models.rqvae import RQVAE
from tests.commands import ROOT


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Runs the Python code of docs/pytorch.md; returns its variables, and the model, vectors and folder."""
    folder = tmp_path_factory.mktemp("reader")
    vectors = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)
    np.save(folder / "vectors.npy", vectors)
    model = RQVAE(12, (8, 8), latent_dimension=6, hidden_dimensions=(24, 16), unit_norm=True, rngs=nnx.Rngs(0))
    model.set_scaling(fit_scaling(vectors, unit_norm=True, center=True, standardize="global"))
    (folder / "exports" / "ml100k").mkdir(parents=True)
    scaling = {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
    write_codebooks(folder / "exports" / "ml100k", torch_weights(model), scaling, model_info(model))
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for snippet in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytorch.md").read_text(), re.S):
            exec(snippet, names)  # noqa: S102  (the document's own code)
    return names, model, vectors, folder


def test_codes_and_what_they_stand_for(page):
    names, model, vectors, _ = page
    codes = np.asarray(model.assign(jnp.asarray(vectors)))
    np.testing.assert_array_equal(names["codes"].numpy(), codes)
    np.testing.assert_allclose(names["decoded"].numpy(), model.reconstruct(codes), atol=1e-5)
    quantized = model.quantizer.lookup(jnp.asarray(codes))
    np.testing.assert_allclose(names["items"].detach().numpy(), quantized, atol=1e-5)


def test_a_suffix_stands_for_nothing(page):
    names, _, _, folder = page
    with_suffix = torch.nn.functional.pad(names["codes"], (0, 1), value=7)
    decoded = names["vectors_of"](with_suffix, str(folder / "exports" / "ml100k" / "codebooks.pt"))
    torch.testing.assert_close(decoded, names["decoded"])


def test_the_original_projects_model_encodes_what_is_scaled(page):
    names, model, vectors, _ = page
    scaled = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = (torch.from_numpy(scaled) - names["dump"]["scaling"]["mean"]) / names["dump"]["scaling"]["scale"]
    latents = names["model"].encoder.network(scaled).detach().numpy()
    np.testing.assert_allclose(latents, model.encode(jnp.asarray(vectors)), atol=1e-5)
    decoded = names["model"].decoder.network(torch.from_numpy(latents)).detach().numpy()
    np.testing.assert_allclose(decoded, model.decoder(jnp.asarray(latents)), atol=1e-5)


@pytest.mark.parametrize("choices", [{"shortcut": True}, {"activation": "gelu"}, {"codebook_sizes": (8, 4)}])
def test_the_documented_functions_take_what_the_original_project_has_not(page, tmp_path, choices):
    names, _, vectors, _ = page
    shape = {"codebook_sizes": (8, 8), "latent_dimension": 6, "hidden_dimensions": (24,)}
    model = RQVAE(12, **shape | choices, rngs=nnx.Rngs(0))
    # With a shortcut, the last layer starts at 0. It is changed, so that an error in this layer is found.
    for mlp in (model.encoder, model.decoder):
        mlp.layers[-1].kernel[...] = mlp.layers[-1].kernel[...] + 0.1
    write_codebooks(tmp_path, torch_weights(model), {"mean": np.zeros(12), "scale": np.ones(12)}, model_info(model))
    codes = names["semantic_codes"](torch.from_numpy(vectors), str(tmp_path / "codebooks.pt"))
    np.testing.assert_array_equal(codes.numpy(), model.assign(jnp.asarray(vectors)))
    decoded = names["vectors_of"](codes, str(tmp_path / "codebooks.pt"))
    np.testing.assert_allclose(decoded.numpy(), model.reconstruct(codes.numpy()), atol=1e-5)


def test_the_documented_function_takes_items_that_lack_a_part(page, tmp_path):
    names, _, vectors, _ = page
    layout = Layout((ItemPart("text", 8, 1.0, True), ItemPart("price", 4, 0.5, False)))
    vectors = vectors.copy()
    vectors[:20, 8:] = vectors[20:35, :8] = np.nan
    shape = {"latent_dimension": 6, "hidden_dimensions": (24,), "unit_norm": True, "layout": layout}
    model = RQVAE(12, (8, 8), **shape, rngs=nnx.Rngs(0))
    model.set_scaling(fit_scaling(vectors, unit_norm=True, center=True, standardize="global", layout=layout))
    model.filler[...] = 0.3 * jnp.asarray(np.random.default_rng(1).normal(size=(12, 12)), jnp.float32)
    write_model(tmp_path, model)
    codes = names["semantic_codes"](torch.from_numpy(vectors), str(tmp_path / "codebooks.pt"))
    np.testing.assert_array_equal(codes.numpy(), model.assign(jnp.asarray(vectors)))
    np.testing.assert_array_equal(codes.numpy(), read_model(tmp_path).assign(jnp.asarray(vectors)))
