"""A tokenizer with product quantization has the same interfaces as other tokenizers."""

import numpy as np
import pytest

import sid_jax
from sid_jax.errors import UserError
from sid_jax.quantize.product import parts_of

NUM_ITEMS, NUM_ALIKE = 300, 8


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    found = (random.laplace(size=(NUM_ITEMS, 16)) @ random.normal(size=(16, 16))).astype(np.float32)
    found[:NUM_ALIKE] = found[0]
    return found


@pytest.fixture(scope="module")
def tokenizer(vectors):
    return sid_jax.SemanticIdTokenizer("opq", num_levels=4, codebook_size=64, batch_size=64).fit(vectors, verbose=False)


def test_codes_are_the_nearest_codewords_of_the_parts_of_the_rotated_vector(tokenizer, vectors):
    model, codes = tokenizer.model, tokenizer.encode(vectors)
    rotation = np.asarray(model.encoder.layers[0].kernel[...])
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(16), atol=1e-5)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    rotated = (unit - np.asarray(model.mean[...])) / np.asarray(model.scale[...]) @ rotation
    for level, part in enumerate(parts_of(16, 4)):
        codewords = np.asarray(model.quantizer.codebooks[level])[:, part]
        distances = np.square(rotated[:, None, part] - codewords[None]).sum(axis=-1)
        chosen = np.take_along_axis(distances, codes[:, [level]], axis=1)[:, 0]
        np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-5)
    assert tokenizer.metrics["agreement"] == 1
    error, spread = (np.square(each).sum() for each in (tokenizer.decode(codes) - unit, unit - unit.mean(axis=0)))
    assert 1 - error / spread == pytest.approx(tokenizer.metrics["r2"], abs=1e-4)
    assert error < 0.1 * spread


def test_identical_items_get_ids_of_their_own_nearby(tokenizer, vectors):
    ids, codes = tokenizer.table.semantic_ids, tokenizer.encode(vectors)
    assert len(np.unique(ids, axis=0)) == NUM_ITEMS
    moved = (ids != codes).sum(axis=1)
    # One of the equal items keeps its code tuple. The IDs of the other equal items differ from this tuple in one or two
    # codes. The items with other vectors are not relocated.
    assert (moved[:NUM_ALIKE] == 0).sum() == 1 and moved[:NUM_ALIKE].max() <= 2
    assert not moved[NUM_ALIKE:].any()


def test_it_is_saved_loaded_and_appended_to(tokenizer, vectors, tmp_path):
    loaded = sid_jax.load(tokenizer.save(tmp_path / "saved", report=True))
    np.testing.assert_array_equal(loaded.encode(vectors), tokenizer.encode(vectors))
    assert "they may differ in all others" in (tmp_path / "saved" / "report.html").read_text()
    loaded.append([1000, 1001], vectors[:2])
    assert len(np.unique(loaded.table.semantic_ids, axis=0)) == NUM_ITEMS + 2
    np.testing.assert_array_equal(loaded.table.semantic_ids[:NUM_ITEMS], tokenizer.table.semantic_ids)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "ste", "quantizer": "opq"}, "config.model.encoder is 'residual'; set it to 'identity'"),
        ({"preset": "opq", "quantization_method": "ste"}, "config.model.quantization_method is 'ste'; set it to 'ema'"),
        ({"preset": "opq", "num_levels": 17, "codebook_size": 8}, "set --config.model.num_levels to 16 or less"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words, vectors):
    with pytest.raises(UserError, match=words):
        sid_jax.SemanticIdTokenizer(**settings).fit(vectors, verbose=False)
