import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.data.scaling import fit_scaling
from sid_jax.errors import UserError
from sid_jax.export.codebooks import read_codebooks, write_codebooks
from sid_jax.export.load import Export
from sid_jax.export.weights import model_from_weights, model_info, original_project_has, torch_weights
from sid_jax.models.rqvae import RQVAE


def make(sizes=(4, 4, 4), **kwargs):
    kwargs = {"latent_dimension": 3, "hidden_dimensions": (7, 5), "unit_norm": True, **kwargs}
    model = RQVAE(6, sizes, rngs=nnx.Rngs(0), **kwargs)
    vectors = np.random.default_rng(0).normal(1, 2, (50, 6)).astype(np.float32)
    model.set_scaling(fit_scaling(vectors, unit_norm=True, center=True, standardize="feature"))
    return model, vectors


def test_names_and_layouts_are_those_of_the_original_project():
    weights = torch_weights(make()[0])
    shapes = {name: array.shape for name, array in weights.items()}
    assert shapes == {
        "encoder.network.0.weight": (7, 6), "encoder.network.0.bias": (7,),
        "encoder.network.2.weight": (5, 7), "encoder.network.2.bias": (5,),
        "encoder.network.4.weight": (3, 5), "encoder.network.4.bias": (3,),
        "decoder.network.0.weight": (5, 3), "decoder.network.0.bias": (5,),
        "decoder.network.2.weight": (7, 5), "decoder.network.2.bias": (7,),
        "decoder.network.4.weight": (6, 7), "decoder.network.4.bias": (6,),
        **{f"quantization_layers.{level}.embedding.weight": (4, 3) for level in range(3)},
    }  # fmt: skip


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 8)])
@pytest.mark.parametrize("activation", ["silu", "relu", "gelu"])
@pytest.mark.parametrize("shortcut", [False, True])
def test_a_model_comes_back_from_its_files_bit_for_bit(tmp_path, sizes, activation, shortcut):
    assert_comes_back(tmp_path, *make(sizes, activation=activation, shortcut=shortcut))


def test_a_model_without_networks_comes_back(tmp_path):
    assert_comes_back(tmp_path, *make(latent_dimension=None))


def assert_comes_back(tmp_path, model, vectors):
    scaling = {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
    write_codebooks(tmp_path, torch_weights(model), scaling, model_info(model))
    back = model_from_weights(*read_codebooks(tmp_path))
    for left, right in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(back)), strict=True):
        assert left.dtype == bool or np.array_equal(left, right)
    codes = model.assign(vectors)
    np.testing.assert_array_equal(codes, back.assign(vectors))
    np.testing.assert_array_equal(model.reconstruct(codes), back.reconstruct(codes))
    assert back.quantizer.initialized[...]


def test_what_the_original_project_has():
    assert original_project_has(make()[0])
    assert original_project_has(make(activation="relu")[0])
    assert not original_project_has(make(activation="gelu")[0])
    assert not original_project_has(make((4, 8))[0])
    assert not original_project_has(make(latent_dimension=None)[0])
    assert not original_project_has(make(shortcut=True)[0])


def test_an_export_encodes_any_number_of_vectors_and_refuses_others(monkeypatch):
    model, vectors = make()
    export = Export({"codebooks": {"num_levels": 3}}, table=None, model=model)
    expected = np.asarray(model.assign(jnp.asarray(vectors)))
    monkeypatch.setattr("sid_jax.export.load.ITEMS_A_CALL", 16)
    for count in (0, 1, 16, 17, 50):
        codes = export.encode(vectors[:count])
        np.testing.assert_array_equal(codes, expected[:count])
        assert codes.shape == (count, 3) and codes.dtype == np.int32
    with pytest.raises(UserError, match=r"\[N, 6\]"):
        export.encode(vectors[:, :5])
    vectors[3, 2] = np.inf
    with pytest.raises(UserError, match="row 3"):
        export.encode(vectors)
