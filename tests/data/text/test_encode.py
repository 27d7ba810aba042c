from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from sid_jax.data.text.encode import encode_texts
from sid_jax.errors import UserError


def test_wordllama_needs_no_download_and_puts_like_texts_near():
    vectors = encode_texts(["a cat sat on a mat", "the kitten is on the rug", "quarterly tax returns"])
    assert vectors.shape == (3, 256)
    assert vectors.dtype == np.float32
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]


def test_vectors_are_not_normalised_and_do_not_depend_on_their_neighbours():
    alone = encode_texts(["Star Wars"])
    among = encode_texts(["A much longer text that pads the others in its batch", "Star Wars"])
    assert abs(np.linalg.norm(alone) - 1) > 0.1
    np.testing.assert_allclose(alone[0], among[1], rtol=1e-5)


def fake_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    class SentenceTransformer:
        def __init__(self, name: str):
            if name != "some/model":
                raise OSError(f"{name} is not a model\nthat is known")

        def encode(self, texts, convert_to_numpy, show_progress_bar):
            assert convert_to_numpy
            assert not show_progress_bar
            return np.array([[len(text), 1.5] for text in texts], dtype=np.float64)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_any_other_name_is_a_sentence_transformers_model(monkeypatch):
    fake_sentence_transformers(monkeypatch)
    vectors = encode_texts(["ab", "abc"], "some/model")
    assert vectors.dtype == np.float32
    assert vectors.tolist() == [[2, 1.5], [3, 1.5]]


def test_an_unknown_model_is_one_line(monkeypatch):
    fake_sentence_transformers(monkeypatch)
    with pytest.raises(UserError, match="data.text_encoder=no/model: .*no/model is not a model that is known"):
        encode_texts(["ab"], "no/model")


def test_without_sentence_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install -e \.\[text\]"):
        encode_texts(["ab"], "some/model")
