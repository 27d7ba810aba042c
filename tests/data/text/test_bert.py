"""The JAX encoder of a BERT model returns the same vectors as PyTorch, for any text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

from sid_jax.data.text import bert
from sid_jax.data.text.encoders import find_encoder
from sid_jax.errors import UserError

WORDS = [f"word{number}" for number in range(40)]
TEXTS = ["", "word1", "word3 word2 word1", "no such thing", " ".join(WORDS * 2), *WORDS[:9]]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The folder of a model with random weights, as sentence-transformers writes it."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=44, max_position_embeddings=64, initializer_range=0.3, **sizes)
    BertModel(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 48}')
    return folder


def by_torch(folder: Path, text: str) -> np.ndarray:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(48)
    ids = torch.tensor([tokenizer.encode(text).ids])
    with torch.no_grad():
        hidden = BertModel.from_pretrained(folder).eval()(ids).last_hidden_state[0]
    return torch.nn.functional.normalize(hidden.mean(0), dim=0).numpy()


def test_vectors_are_those_of_pytorch_and_do_not_depend_on_what_else_is_encoded(model):
    encode = find_encoder(str(model)).load()
    found = encode(TEXTS)
    assert (found.shape, found.dtype) == ((len(TEXTS), 32), np.float32)
    np.testing.assert_allclose(found, [by_torch(model, text) for text in TEXTS], atol=1e-5)
    np.testing.assert_array_equal(encode(TEXTS[::-1]), found[::-1])
    np.testing.assert_array_equal(encode(TEXTS[2:3]), found[2:3])


def test_mixed_precision_rounds_the_factors_of_products_and_is_kept_apart(model):
    exact, mixed = find_encoder(str(model)), find_encoder(f"{model}@bfloat16")
    difference = np.abs(mixed.load()(TEXTS) - exact.load()(TEXTS))
    assert 1e-5 < difference.max() < 0.05
    assert mixed.identity != exact.identity


def test_texts_of_about_one_length_share_a_program(model, monkeypatch):
    shapes = []
    encode_batch = bert._encode_batch
    monkeypatch.setattr(bert, "_encode_batch", lambda *given: shapes.append(given[1].shape) or encode_batch(*given))
    find_encoder(str(model)).load()([" ".join(WORDS[:length]) for length in range(1, 40)])
    assert shapes == [(32, 8), (16, 16), (10, 24), (8, 32), (6, 40), (6, 40), (5, 48)]


def test_vectors_are_kept_under_what_they_depend_on(model, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    (other / "1_Pooling").mkdir()
    (other / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    assert find_encoder(str(other)).identity == find_encoder(str(model)).identity
    (other / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    assert find_encoder(str(other)).identity != find_encoder(str(model)).identity


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "has no model.safetensors"),
        ("config.json", {"model_type": "mpnet"}, "its model_type is mpnet, not bert"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "adds the prompt 'query'"),
        ("modules.json", [{"type": "Dense", "path": ""}], "its modules are Dense"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "its pooling is max_tokens"),
    ],
)
def test_a_folder_of_another_model_is_left_to_sentence_transformers(model, tmp_path, name, content, message):
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in model.rglob("*"):
        if path.is_file():
            (changed / path.relative_to(model)).parent.mkdir(exist_ok=True)
            (changed / path.relative_to(model)).write_bytes(path.read_bytes())
    if content is None:
        (changed / name).unlink()
    else:
        (changed / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        find_encoder(str(changed)).load()
    with pytest.raises(UserError, match=f"@bfloat16 is only for the folder of a BERT.*{message}"):
        find_encoder(f"{changed}@bfloat16")


def test_a_corrupt_file_is_named(model, tmp_path):
    for name, message in (
        ("model.safetensors", "does not contain a BERT"),
        ("tokenizer.json", "is not a valid tokenizer"),
    ):
        corrupt = tmp_path / name.partition(".")[0]
        corrupt.mkdir()
        for path in model.iterdir():
            if path.is_file():
                (corrupt / path.name).write_bytes(path.read_bytes())
        (corrupt / "modules.json").unlink()
        (corrupt / name).write_bytes(b"nothing")
        with pytest.raises(UserError, match=message):
            find_encoder(str(corrupt)).load()
