"""Text tokenizers of every kind encode an ID next to any text as L tokens, and decode the tokens to the ID's text."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from sid_jax.tokens.vocabulary import Vocabulary
from tests.commands import ROOT
from tests.tokens.conftest import FIRST_ID

KINDS = ["byte-level", "lowercase", "metaspace", "wordpiece"]


def trained(kind):
    """Returns a text tokenizer of FIRST_ID tokens, similar to that of GPT-2, Llama or a lower-casing BERT."""
    options = {"vocab_size": FIRST_ID, "special_tokens": ["<unk>", "<s>"], "show_progress": False}
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**options)
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        trainer = trainers.BpeTrainer(**options, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        if kind == "lowercase":
            tokenizer.normalizer = normalizers.Lowercase()
        if kind == "metaspace":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
            tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
            tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.train_from_iterator([(ROOT / "README.md").read_text()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert tokenizer.get_vocab_size() == FIRST_ID, tokenizer.get_vocab_size()
    return tokenizer


def extended(kind, entries):
    tokenizer = trained(kind)
    tokenizer.add_tokens([AddedToken(**{k: v for k, v in entry.items() if k != "id"}) for entry in entries])
    return tokenizer


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, made):
    description = json.loads((made / "tokens" / "suffix" / "tokens.json").read_text())
    return extended(request.param, description["added_tokens"])


@pytest.mark.parametrize("scheme", ["relocate", "suffix", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_item_is_exactly_l_tokens_and_comes_back(made, kind, scheme):
    folder = made / "tokens" / scheme
    description, rows = json.loads((folder / "tokens.json").read_text()), pq.read_table(folder / "items.parquet")
    tokenizer = extended(kind, description["added_tokens"])
    texts, numbers = rows["tokens"].to_pylist(), rows["token_ids"].to_pylist()
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    assert [each.ids for each in encoded] == numbers
    assert {len(each.ids) for each in encoded} == {len(description["sizes"])}
    decoded = tokenizer.decode_batch(numbers, skip_special_tokens=True)
    assert [text.replace(" ", "") for text in decoded] == texts
    vocabulary = Vocabulary(tuple(description["sizes"]), description["first_id"])
    assert [vocabulary.parse(text.replace(" ", ""))[0] for text in decoded] == [
        tuple(row) for row in vocabulary.semantic_ids(numbers).tolist()
    ]


@settings(max_examples=60)
@given(
    before=st.text(),
    between=st.text(max_size=3),
    after=st.text(),
    codes=st.tuples(*map(st.integers, (0,) * 3, (7, 3, 15))),
)
def test_no_text_beside_a_token_changes_how_it_splits(before, between, after, codes, tokenizer):
    tokens = [f"<{letter}_{code}>" for letter, code in zip("abc", codes, strict=True)]
    text = f"{before}{tokens[0]}{between}{tokens[1]}{tokens[2]}{after}"
    wanted = [FIRST_ID + offset + code for offset, code in zip((0, 8, 12), codes, strict=True)]
    # Random text practically never contains the text of an ID token, so no other ID tokens are found.
    found = [number for number in tokenizer.encode(text).ids if number >= FIRST_ID]
    assert found == wanted


@pytest.mark.parametrize("pattern", ["[SID{level}:{code}]", "«{letter}{code}»", "<|{letter}_{code}|>"])
def test_a_users_pattern_in_a_tokenizers_own_file(pattern):
    vocabulary = Vocabulary((12, 300), FIRST_ID, pattern)
    content = json.loads(trained("lowercase").to_str())
    content["added_tokens"] += vocabulary.added_tokens()
    tokenizer = Tokenizer.from_str(json.dumps(content))
    first, second = vocabulary.levels
    for code in range(300):
        text = f"x{first[code % 12]}{second[code]}5"
        assert [number for number in tokenizer.encode(text).ids if number >= FIRST_ID] == [
            FIRST_ID + code % 12,
            FIRST_ID + 12 + code,
        ]


def test_transformers_saves_and_loads_them(made, tmp_path):
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    folder = made / "tokens" / "suffix"
    entries = json.loads((folder / "tokens.json").read_text())["added_tokens"]
    fast = PreTrainedTokenizerFast(tokenizer_object=trained("lowercase"), unk_token="<unk>")
    added = fast.add_tokens([AddedToken(**{k: v for k, v in entry.items() if k != "id"}) for entry in entries])
    assert added == len(entries)
    fast.save_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = pq.read_table(folder / "items.parquet")
    texts, numbers = rows["tokens"].to_pylist(), rows["token_ids"].to_pylist()
    assert tokenizer(texts, add_special_tokens=False)["input_ids"] == numbers
    assert tokenizer.batch_decode(numbers, skip_special_tokens=True) == texts
