import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sid_jax.data.scaling import fit_scaling
from sid_jax.export.codebooks import write_codebooks
from sid_jax.export.weights import (
    model_hash,
    model_info,
    original_project_has,
    read_model,
    torch_weights,
    write_model,
)
from sid_jax.models.rqvae import RQVAE
from sid_jax.quantize.residual import QUANTIZATION_METHODS

_NEW_INFO = ("quantization_method", "dropout")


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


def test_a_product_quantizer_comes_back_with_its_rotation_and_its_parts(tmp_path):
    model, vectors = make(product=True, quantization_method="ema")
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    model.set_rotation(jnp.asarray(rotation, jnp.float32))
    model.quantizer.set_codebooks(model.quantizer.codebooks)
    assert_comes_back(tmp_path, model, vectors)
    dumped = torch.load(tmp_path / "codebooks.pt", weights_only=True)
    # Each level has two of the six features. Its codewords are 0 for other features, so that residual quantization in
    # PyTorch programs gives the same codes.
    of_level = np.repeat(np.eye(3, dtype=bool), 2, axis=1)[:, None]
    codebooks = dumped["codebooks"].numpy()
    np.testing.assert_array_equal(codebooks != 0, np.broadcast_to(of_level, codebooks.shape))
    np.testing.assert_allclose(dumped["state_dict"]["encoder.network.0.weight"].numpy().T, rotation, atol=1e-6)
    np.testing.assert_array_equal(dumped["state_dict"]["decoder.network.0.weight"].numpy().T, rotation.T.astype("f4"))


@pytest.mark.parametrize("method", QUANTIZATION_METHODS)
def test_a_model_comes_back_as_it_was_trained(tmp_path, method):
    model, vectors = make(quantization_method=method, dropout=0.25, collaborative_dimension=2)
    random = np.random.default_rng(1)
    draw = lambda array: jnp.asarray(random.normal(size=array.shape) ** 2, jnp.float32)  # noqa: E731
    trained = [*model.quantizer.levels, *model.quantizer.transforms, *model.quantizer.counts, model.aligner.kernel]
    for variable in trained:
        variable[...] = draw(variable[...])
    assert_comes_back(tmp_path, model, vectors)


def test_a_model_of_an_older_export_has_the_method_of_its_config(tmp_path):
    for method in QUANTIZATION_METHODS:
        model, vectors = make(quantization_method=method, dropout=0.25)
        model.quantizer.set_codebooks([level[...] for level in model.quantizer.levels])
        info = {name: value for name, value in model_info(model).items() if name not in _NEW_INFO}
        scaling = {"mean": np.asarray(model.mean[...]), "scale": np.asarray(model.scale[...])}
        write_codebooks(tmp_path, torch_weights(model), scaling, info)
        back = read_model(tmp_path, {"model": {"quantization_method": method, "dropout": 0.25}})
        assert_same(model, back, vectors)
        assert read_model(tmp_path).quantizer.method == "ste"


def test_nothing_is_compiled_or_drawn_to_read_a_model(tmp_path, caplog):
    write_model(tmp_path, make()[0])
    jax.clear_caches()
    with jax.log_compiles():
        read_model(tmp_path)
    assert not [record for record in caplog.records if "Compiling" in record.getMessage()]


def test_the_hash_is_of_what_decides_codes_alone():
    model, _ = make()
    assert model_hash(model) == model_hash(make(quantization_method="ema", dropout=0.5)[0])
    model.quantizer.levels[1][...] = model.quantizer.levels[1][...].at[0, 0].add(1e-6)
    assert model_hash(model) != model_hash(make()[0]) != model_hash(make(activation="relu")[0])


def assert_comes_back(tmp_path, model, vectors):
    model.quantizer.initialized[...] = jnp.array(True)
    write_model(tmp_path, model)
    assert_same(model, read_model(tmp_path), vectors)


def assert_same(model, back, vectors):
    assert nnx.graphdef(model) == nnx.graphdef(back)
    for left, right in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(back)), strict=True):
        assert left.dtype == right.dtype and np.array_equal(left, right)
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
