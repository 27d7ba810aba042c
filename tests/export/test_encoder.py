import logging
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from sid_jax.data.scaling import fit_scaling
from sid_jax.errors import UserError
from sid_jax.export import encoder as encoder_module
from sid_jax.export.encoder import Encoder, encode_vectors
from sid_jax.models.rqvae import RQVAE


def make(seed=0, features=6, **kwargs):
    model = RQVAE(
        features,
        (4, 8, 4),
        latent_dimension=3,
        hidden_dimensions=(7, 5),
        unit_norm=True,
        rngs=nnx.Rngs(seed),
        **kwargs,
    )
    vectors = np.random.default_rng(0).normal(1, 2, (5000, features)).astype(np.float32)
    model.set_scaling(fit_scaling(vectors, unit_norm=True, center=True, standardize="feature"))
    return model, vectors


@pytest.mark.parametrize("kind", ["numpy", "float64", "jax", "bfloat16", "list", "torch"])
def test_vectors_of_any_real_type_are_encoded_and_decoded(kind):
    model, vectors = make()
    whole = np.round(vectors[:50])
    expected = np.asarray(model.assign(jnp.asarray(whole)))
    given = {
        "numpy": lambda: whole,
        "float64": lambda: whole.astype(np.float64),
        "jax": lambda: jnp.asarray(whole),
        "bfloat16": lambda: jnp.asarray(whole, jnp.bfloat16),
        "list": lambda: whole.astype(int).tolist(),
        "torch": lambda: torch.from_numpy(whole),
    }[kind]()
    codes = Encoder(model).encode(given)
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == np.int32
    decoded = Encoder(model).decode(codes)
    assert decoded.dtype == np.float32 and decoded.shape == (50, 6)
    np.testing.assert_allclose(decoded, model.reconstruct(expected), rtol=1e-5, atol=1e-5)


def test_any_number_of_vectors_is_encoded_by_a_few_programs(caplog):
    model, vectors = make()
    expected = np.asarray(model.assign(jnp.asarray(vectors)))
    encoder, random = Encoder(model), np.random.default_rng(0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for size in [0, 1, 2, 16, 17, 2048, 2049, *random.integers(1, 5001, 1000)]:
            codes = encoder.encode(vectors[:size])
            assert codes.shape == (size, 3) and np.array_equal(codes, expected[:size])
        again, _ = make(seed=1)
        Encoder(again).encode(vectors[:100])
    compiled = [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
    assert 1 <= len(compiled) <= 8


def test_a_single_vector_costs_little_more_than_the_compiled_program():
    model, vectors = make()
    encoder, one = Encoder(model), vectors[:1]
    bare = encoder_module._encode.lower(encoder._architecture, encoder._arrays, one).compile()

    def median(call):
        seconds = []
        for _ in range(200):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return np.median(seconds)

    encoder.encode(one)
    assert median(lambda: encoder.encode(one)) < median(lambda: np.asarray(bare(encoder._arrays, one))) + 1e-3


def test_one_vector_gives_its_codes_and_one_tuple_of_codes_its_vector():
    model, vectors = make()
    encoder = Encoder(model)
    codes = encoder.encode(vectors[:3])
    for one in (vectors[1], vectors[1].tolist(), tuple(vectors[1]), jnp.asarray(vectors[1])):
        found = encoder.encode(one)
        assert found.shape == (3,) and np.array_equal(found, codes[1])
    for one in (codes[1], codes[1].tolist()):
        np.testing.assert_allclose(encoder.decode(one), encoder.decode(codes)[1], rtol=1e-6)


def test_wrong_vectors_are_refused():
    model, vectors = make()
    encoder = Encoder(model)
    for wrong, words in (
        (vectors[:, :5], r"vectors have shape \[5000, 5\]; this model encodes \[n, 6\]"),
        (vectors[0, :5], r"vectors have shape \[5\]"),
        (vectors[0, :5].tolist(), r"vectors have shape \[5\]"),
        (vectors[None], r"vectors have shape \[1, 5000, 6\]"),
        (vectors.astype(str), "have dtype <U"),
        (vectors > 0, "have dtype bool"),
        (vectors.astype(complex), "have dtype complex128"),
        (np.array([[None] * 6]), "have dtype object"),
        (np.where(np.arange(5000)[:, None] == 3, np.inf, vectors), "row 3 .*inf"),
        (np.where(np.arange(5000)[:, None] == 7, np.nan, vectors), "row 7 .*all its values are NaN"),
        (np.full((2, 6), 1e300), "row 0"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            encoder.encode(wrong)
        assert "\n" not in str(caught.value)


def test_wrong_codes_are_refused():
    encoder = Encoder(make()[0])
    for wrong, words in (
        ([[0, 0]], r"codes have shape \[1, 2\]; this model decodes \[n, 3\]"),
        ([0, 0], r"codes have shape \[2\]"),
        ([[0, 0, 0.5]], "have dtype float64"),
        ([[3, 7, 3], [0, 8, 0]], r"row 1 .* has the code 8 at level 2; codes of this level are from 0 to 7"),
        ([[0, 0, -1]], "has the code -1 at level 3"),
    ):
        with pytest.raises(UserError, match=words):
            encoder.decode(wrong)
    assert encoder.decode(np.empty((0, 3), int)).shape == (0, 6)


def test_a_batch_longer_than_a_call_is_encoded_in_parts(monkeypatch):
    model, vectors = make()
    expected = np.asarray(model.assign(jnp.asarray(vectors[:50])))
    monkeypatch.setattr(encoder_module, "ITEMS_A_CALL", 16)
    for count in (0, 1, 16, 17, 50):
        np.testing.assert_array_equal(encode_vectors(model, vectors[:count]), expected[:count])
