"""ID tokens in text tokenizers of every kind and in language models."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, ByT5Tokenizer

from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.ids.table import IdTable
from sid_jax.llm import add_tokens, generate_ids, id_tokens
from sid_jax.tokens.embeddings import embeddings_of_codewords
from tests.llm.conftest import SlowTokenizer, fast_tokenizer, language_model
from tests.tokens.conftest import FIRST_ID
from tests.tokens.test_tokenizers import KINDS

MARKERS = ("<|id|>", "<|/id|>")
TOKENS = 28


def spread(rows, center):
    return np.sqrt(np.square(rows - center).sum(axis=1).mean())


@pytest.mark.parametrize("tied", [True, False])
def test_both_matrices_get_embeddings_of_the_old_ones_kind_and_all_different(made, tied):
    model, tokenizer = language_model(tied=tied), fast_tokenizer()
    before = [layer.weight.detach().clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    tokens = add_tokens(tokenizer, model, load_export(made / "exports" / "relocate"), markers=MARKERS)
    assert tokens.marker_ids == (FIRST_ID, FIRST_ID + 1) and tokens.vocabulary.first_id == FIRST_ID + 2
    assert len(tokenizer) == model.config.vocab_size == FIRST_ID + 2 + TOKENS
    matrices = [model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()]
    assert (matrices[0] is matrices[1] or matrices[0].data_ptr() == matrices[1].data_ptr()) == tied
    for matrix, old in zip(matrices, before, strict=True):
        assert torch.equal(matrix[:FIRST_ID], old)
        new, center = matrix[FIRST_ID + 2 :].numpy(), old.numpy().mean(axis=0)
        assert spread(new, center) == pytest.approx(spread(old.numpy(), center), rel=0.05)
        assert (np.linalg.norm(new[:, None] - new[None], axis=-1) + np.eye(TOKENS)).min() > 0.01
        assert 0 < spread(matrix[FIRST_ID : FIRST_ID + 2].numpy(), center) < 3 * spread(old.numpy(), center)


def test_an_embedding_is_the_mean_over_the_titles_of_its_items_and_empty_titles_count_for_nothing(made):
    export = load_export(made / "exports" / "relocate")
    titles = export.table.titles.copy()
    titles[::5], titles[3] = "", None
    empty = np.array([not title for title in titles])
    table = export.table.replace(columns=pa.table({"title": titles.tolist()}))
    model, tokenizer = language_model(), fast_tokenizer()
    old = model.get_input_embeddings().weight.detach().double().clone().numpy()
    tokens = add_tokens(tokenizer, model, table)
    new = model.get_input_embeddings().weight.detach().numpy()[FIRST_ID:]
    assert np.isfinite(new).all()
    items = np.stack([old[tokenizer(title, add_special_tokens=False)["input_ids"]].mean(0) for title in titles[~empty]])
    codes = tokens.table.semantic_ids[~empty, 0]
    means = np.stack([items[codes == code].mean(axis=0) for code in range(8)]) - items.mean(axis=0)
    center = old.mean(axis=0)
    means *= spread(old, center) / np.sqrt(np.square(means).sum(axis=1).mean())
    np.testing.assert_allclose(new[:8], center + means, atol=1e-4)
    # If the titles are empty or all equal, and there are no codewords, embeddings are drawn at random, and all differ.
    for title in ("", "the same"):
        model = language_model()
        add_tokens(fast_tokenizer(), model, table.replace(columns=pa.table({"title": [title] * len(table)})))
        drawn = model.get_input_embeddings().weight.detach().numpy()[FIRST_ID:]
        assert spread(drawn, center) == pytest.approx(spread(old, center), rel=0.3)
        assert len(np.unique(drawn, axis=0)) == len(drawn)


def test_without_titles_that_differ_embeddings_are_of_the_codewords(made):
    export = load_export(made / "exports" / "relocate")
    same = pa.table({"title": ["the same"] * len(export.table)})
    sources = (made / "tokens" / "relocate", export.with_table(export.table.replace(columns=same)))
    found = []
    for source in sources:
        model = language_model()
        old = model.get_input_embeddings().weight.detach().clone().numpy()
        tokens = add_tokens(fast_tokenizer(), model, source)
        found.append(model.get_input_embeddings().weight.detach().numpy()[FIRST_ID:])
        assert len(tokens.codewords) == TOKENS
        expected = embeddings_of_codewords(tokens.codewords, tokens.vocabulary.sizes, old)
        np.testing.assert_allclose(found[-1], expected, rtol=1e-5)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["suffix", "none"])
def test_fast_tokenizers_of_every_kind_pass(made, kind, scheme):
    tokens = add_tokens(fast_tokenizer(kind), None, made / "tokens" / scheme)
    assert tokens.vocabulary.first_id == FIRST_ID


@pytest.mark.parametrize("make", [lambda: SlowTokenizer(["star", "wars"]), ByT5Tokenizer])
def test_slow_tokenizers_pass_and_their_blanks_do_no_harm(made, make):
    tokenizer = make()
    tokens = add_tokens(tokenizer, None, load_export(made / "exports" / "suffix"), markers=MARKERS)
    text = tokens.texts[0].as_py()
    numbers = tokenizer(f"star{text} wars{text}", add_special_tokens=False)["input_ids"]
    length = tokens.token_ids.shape[1]
    assert numbers[-length:] == tokens.token_ids[0].tolist()
    assert tokens.vocabulary.parse(tokenizer.decode(numbers)) == [tuple(tokens.table.semantic_ids[0])] * 2


def test_a_tokenizer_that_splits_or_changes_tokens_is_refused(made):
    class Splits(SlowTokenizer):
        def tokenize(self, text, **kwargs):
            return [*text]

    class Changes(SlowTokenizer):
        def convert_tokens_to_string(self, tokens):
            return "".join(tokens).replace("_", "-")

    for kind, words in ((Splits, "splits '<a_"), (Changes, "decodes the tokens")):
        with pytest.raises(UserError, match=words):
            add_tokens(kind(), None, made / "exports" / "relocate")


def test_model_and_tokenizer_are_saved_and_found_again(made, tmp_path):
    model, tokenizer, source = language_model(), fast_tokenizer(), made / "tokens" / "suffix"
    tokens = add_tokens(tokenizer, model, source, items=None, out=tmp_path / "model")
    again = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert id_tokens(source, again).vocabulary == tokens.vocabulary
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    rows = loaded.get_input_embeddings().weight
    assert torch.equal(rows, model.get_input_embeddings().weight)
    # A second call adds and changes nothing.
    add_tokens(again, loaded, source)
    assert len(again) == len(rows) == len(tokenizer) and torch.equal(rows, model.get_input_embeddings().weight)
    with pytest.raises(UserError, match="model"):
        add_tokens(again, loaded, source, out=tmp_path / "model")


def test_a_larger_level_of_suffixes_is_added_after_all_others(made):
    model, tokenizer = language_model(), fast_tokenizer()
    ids = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0]])
    add_tokens(tokenizer, model, IdTable(np.arange(3), ids, sizes=(2, 2, 1)), markers=MARKERS)
    before = model.get_input_embeddings().weight.detach().clone()
    more = IdTable(np.arange(4), np.array([*ids.tolist(), [1, 1, 1]]), sizes=(2, 2, 2))
    tokens = add_tokens(tokenizer, model, more, markers=MARKERS)
    after = model.get_input_embeddings().weight.detach()
    assert len(after) == len(before) + 1 and torch.equal(after[:-1], before)
    assert tokens.vocabulary.first_id == FIRST_ID + 2 and tokens.token_ids[3].tolist() == [300, 303, 305, 307, 301]
    # A model that was not given in the first call gets all tokens.
    model = language_model()
    add_tokens(tokenizer, model, more, markers=MARKERS)
    found = model.get_input_embeddings().weight.detach()
    assert torch.equal(found[:FIRST_ID], before[:FIRST_ID]) and len(found[FIRST_ID:].unique(dim=0)) == 8


def test_a_model_in_half_precision_gets_the_same_embeddings(made):
    table = IdTable(np.arange(4), np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), columns={"title": list("abcd")})
    half, full = language_model().to(torch.bfloat16), language_model()
    tokens = add_tokens(fast_tokenizer(), full, table)
    add_tokens(fast_tokenizer(), half, table)
    found, wanted = (model.get_output_embeddings().weight.detach() for model in (half, full))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0.02)
    inputs = {"input_ids": torch.tensor([[5, 6]])}
    assert generate_ids(half, inputs, tokens, num_beams=4).exists.all()


def test_padded_rows_are_used_and_numbers_must_agree(made):
    model, tokenizer = language_model(vocab_size=512), fast_tokenizer()
    add_tokens(tokenizer, model, made / "exports" / "relocate")
    assert len(model.get_input_embeddings().weight) == 512
    with pytest.raises(UserError, match="--vocabulary=302"):
        add_tokens(fast_tokenizer(), model, made / "tokens" / "relocate", markers=MARKERS)
    taken = fast_tokenizer()
    taken.add_tokens(["<b_1>"])
    with pytest.raises(UserError, match="1 of the tokens '<a_0>'"):
        add_tokens(taken, model, made / "exports" / "relocate")
    with pytest.raises(UserError, match="call add_tokens first"):
        id_tokens(made / "exports" / "relocate", fast_tokenizer())
    other = dataclasses.replace(id_tokens(made / "exports" / "relocate"), markers=("", "<|/id|>"))
    assert add_tokens(fast_tokenizer(), None, other).marker_ids == (-1, FIRST_ID)
