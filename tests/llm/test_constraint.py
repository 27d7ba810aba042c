"""Constrained decoding: masks are compared with their definition, and lists of items with an exhaustive search."""

from __future__ import annotations

import dataclasses
import functools
import warnings

import jax
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LogitsProcessorList, T5Config, T5ForConditionalGeneration

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.llm import (
    SemanticIdLogitsProcessor,
    add_tokens,
    allowed_tokens,
    constraint,
    generate_ids,
    id_tokens,
    logits_mask,
)
from tests.llm.conftest import fast_tokenizer, language_model

WORDS, END = 7, 1


def made_tokens(ids, sizes, markers=(False, False)):
    """Returns the ID tokens of a table. In the vocabulary, the ID tokens come after 7 words and the markers.

    The markers are the tokens before and after each ID. `markers` says for each of the two whether it exists.
    """
    tokens = id_tokens(IdTable(np.arange(len(ids)), np.asarray(ids, np.int32), sizes=sizes, shared=True))
    begin = WORDS if markers[0] else -1
    end = WORDS + markers[0] if markers[1] else -1
    vocabulary = dataclasses.replace(tokens.vocabulary, first_id=WORDS + sum(markers))
    return dataclasses.replace(tokens, vocabulary=vocabulary, marker_ids=(begin, end))


def allowed_by_definition(tokens, answer, before, *, num_ids, text):
    """Returns the tokens that may follow an answer. This reference is slow: it compares the answer with every ID."""
    sizes, offsets, (begin, end) = tokens.vocabulary.sizes, tokens.vocabulary.offsets, tokens.marker_ids
    known = set(map(tuple, tokens.table.semantic_ids.tolist()))

    def codes(part):
        return tuple(token - offset for token, offset in zip(part, offsets, strict=False))

    def following(prefix):
        return {offsets[len(prefix)] + row[len(prefix)] for row in known if row[: len(prefix)] == prefix}

    last = [*before, *answer][-1] if before or answer else -1
    start = {begin} if begin >= 0 else following(())
    for count in range(min(len(sizes), len(answer)), 0, -1):
        prefix = codes(answer[-count:])
        of_levels = all(0 <= code < size for code, size in zip(prefix, sizes, strict=False))
        if of_levels and any(row[:count] == prefix for row in known):
            break
    else:
        count = 0
    if 0 < count < len(sizes):
        return following(prefix)
    whole = count == len(sizes)
    if whole and end >= 0:
        return {end}
    if begin >= 0 and last == begin:
        return following(())
    if text:
        return {*range(WORDS), *start}
    if (end >= 0 and answer and last == end) or (whole and end < 0):
        done = sum(offsets[-1] <= token < offsets[-1] + sizes[-1] for token in answer)
        return {END, *start} if num_ids is None else {END} if done >= num_ids else start
    return start


def random_case(seed):
    """Draws the tokens of a random table, rows of tokens that may end in an incomplete ID, and a prompt length."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 6, random.integers(1, 5)).tolist()
    number = random.integers(1, 25)
    ids = np.stack([random.integers(0, size, number) for size in sizes], axis=1)
    tokens = made_tokens(ids, sizes, random.integers(0, 2, 2).astype(bool))
    size = tokens.vocabulary.first_id + len(tokens.vocabulary)
    length, rows = int(random.integers(1, 10)), []
    for _ in range(8):
        pieces = [random.choice([[token] for token in range(size)]).tolist() for _ in range(random.integers(0, 3))]
        pieces += [random.choice(tokens.token_ids).tolist() for _ in range(random.integers(0, 3))]
        pieces = [pieces[place] for place in random.permutation(len(pieces))]
        cut = random.choice(tokens.token_ids)[: random.integers(0, tokens.token_ids.shape[1] + 1)].tolist()
        if random.integers(2):
            # The first tokens of a random ID. The table need not have this ID.
            cut = tokens.vocabulary.token_ids(random.integers(0, sizes))[: random.integers(0, len(sizes) + 1)].tolist()
        rows.append(([0] * length + sum(pieces, []) + cut)[-length:])
    return tokens, rows, int(random.integers(0, min(length, 4)))


@functools.cache
def model_of(size):
    return language_model(vocab_size=size)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, None]), st.booleans(), st.booleans())
def test_a_mask_is_that_of_the_definition(seed, num_ids, text, dense):
    tokens, rows, prompt_length = random_case(seed)
    size = tokens.vocabulary.first_id + len(tokens.vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constraint, "_DENSE", 2**20 if dense else 0)
        processor = SemanticIdLogitsProcessor(
            tokens, model_of(64), prompt_length, num_ids=num_ids, text=text, end_token_id=END
        )
        in_place = SemanticIdLogitsProcessor(
            tokens, model_of(64), prompt_length, num_ids=num_ids, text=text, end_token_id=END, in_place=True
        )
    input_ids, scores = torch.tensor(rows), torch.randn(len(rows), size)
    before = scores.clone()
    kept = processor(input_ids, scores)
    assert torch.equal(scores, before) and torch.equal(in_place(input_ids, before), kept)
    wanted = [
        allowed_by_definition(tokens, row[prompt_length:], row[:prompt_length], num_ids=num_ids, text=text)
        for row in rows
    ]
    for row, found, allowed in zip(scores, kept, wanted, strict=True):
        assert set((found > -torch.inf).nonzero()[:, 0].tolist()) == allowed
        assert torch.equal(found[[*allowed]], row[[*allowed]])


def test_the_mask_in_jax_is_the_same():
    random = np.random.default_rng(0)
    ids = np.stack([random.integers(0, size, 40) for size in (5, 3, 8)], axis=1)
    for markers, text in (((False, False), False), ((False, False), True), ((True, True), True), ((True, True), False)):
        tokens = made_tokens(ids, (5, 3, 8), markers)
        first, size = tokens.vocabulary.first_id, tokens.vocabulary.first_id + 16
        # Random tokens, whole IDs after other tokens, and prefixes of IDs after zeros.
        rows = np.concatenate(
            [random.integers(0, size, (60, 3)), tokens.token_ids.repeat(3, axis=0)[:, -5:]], axis=None
        )
        rows = random.permutation(rows[: len(rows) // 5 * 5].reshape(-1, 5))
        known = tokens.vocabulary.token_ids(ids)
        rows = np.concatenate([rows, *(np.pad(known[:, :n], ((0, 0), (5 - n, 0))) for n in (1, 2, 3))])
        mask = jax.jit(
            functools.partial(
                logits_mask,
                first_id=first,
                vocab_size=size + 2,
                end_token_ids=(END,),
                markers=tokens.marker_ids,
                text=text,
            )
        )(tokens.trie, rows)
        processor = SemanticIdLogitsProcessor(tokens, model_of(64), 0, text=text, end_token_id=END)
        kept = processor(torch.from_numpy(rows).long(), torch.zeros(len(rows), size + 2))
        np.testing.assert_array_equal(np.asarray(mask), kept.numpy() == 0)


CATALOG = np.stack(np.unravel_index(np.random.default_rng(3).choice(8 * 4 * 16, 40, replace=False), (8, 4, 16)), axis=1)
PROMPTS = ["Star Wars, then", "Toy", "The Return of the Night and the Story of a Star, after", "Night Night"]


@pytest.fixture(scope="module", params=[("", ""), ("<|id|>", "<|/id|>")], ids=["plain", "markers"])
def ready(request):
    """A text tokenizer, a language model, and the ID tokens of 40 items."""
    model, tokenizer = language_model(), fast_tokenizer()
    table = IdTable(np.arange(40), CATALOG.astype(np.int32), sizes=(8, 4, 16))
    return tokenizer, model, add_tokens(tokenizer, model, table, markers=request.param)


def exhaustive(tokenizer, model, tokens, prompt):
    """Returns all items by descending probability after a prompt. Every item is scored, without a beam search."""
    numbers = tokenizer(prompt, return_tensors="pt")["input_ids"]
    length = len(tokens.vocabulary.sizes) + (tokens.marker_ids[0] >= 0)
    answers = torch.from_numpy(tokens.token_ids[:, :length]).long()
    with torch.no_grad():
        logits = model(torch.cat([numbers.expand(len(answers), -1), answers], dim=1)).logits.log_softmax(-1)
    steps = logits[:, numbers.shape[1] - 1 : -1].gather(2, answers[..., None])
    return steps.sum(dim=(1, 2)).argsort(descending=True).tolist()


def test_generated_lists_are_those_of_an_exhaustive_search(ready):
    tokenizer, model, tokens = ready
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    found = generate_ids(model, inputs, tokens, num_beams=60)
    lists = found.rows(40)
    for row, prompt in zip(lists, PROMPTS, strict=True):
        assert row.tolist() == exhaustive(tokenizer, model, tokens, prompt)
    np.testing.assert_array_equal(found.semantic_ids[:, :40], CATALOG[lists])
    assert found.exists[:, :40].all() and (found.leaves[:, 40:] == -1).all() and (found.rows(50)[:, 40:] == -1).all()
    # With few beams, too, all generated IDs exist.
    few = generate_ids(model, inputs, tokens, num_beams=5)
    assert few.exists.all() and (few.leaves >= 0).all()
    if tokens.marker_ids[0] >= 0:
        begun = tokenizer([f"{prompt}<|id|>" for prompt in PROMPTS], return_tensors="pt", padding=True)
        np.testing.assert_array_equal(generate_ids(model, begun, tokens, num_beams=60).rows(40), lists)
    # The next items take the places of excluded items, even if there are only as many beams as items.
    exclude = np.array([[*lists[0, :3], -1], [-1] * 4, *np.stack([lists[2:, 5], lists[2:, 0]] * 2, axis=1)])
    allowed = [[item for item in row if item not in unwanted] for row, unwanted in zip(lists, exclude, strict=True)]
    for num_beams in (60, 40):
        found = generate_ids(model, inputs, tokens, num_beams=num_beams, exclude=exclude)
        assert [[item for item in row if item >= 0] for row in found.rows(40).tolist()] == allowed
    few = generate_ids(model, inputs, tokens, num_beams=8, exclude=exclude)
    assert few.exists.all() and (few.leaves >= 0).all()
    # For the first prompt, all items under one first code are excluded, and for the second prompt, all items but one.
    # No beam is lost to a prefix without allowed items.
    exclude = np.full((len(PROMPTS), 39), -1)
    exclude[0, : (CATALOG[:, 0] == 3).sum()] = np.flatnonzero(CATALOG[:, 0] == 3)
    exclude[1] = np.delete(np.arange(40), 7)
    few = generate_ids(model, inputs, tokens, num_beams=4, exclude=exclude)
    assert few.exists[[0, 2, 3]].all() and (few.leaves[[0, 2, 3]] >= 0).all() and (few.semantic_ids[0, :, 0] != 3).all()
    assert few.rows(4)[1].tolist() == [7, -1, -1, -1]
    free = generate_ids(model, inputs, tokens, num_beams=20, constrained=False)
    assert not free.exists.all() and (few.exists.mean() > free.exists.mean())


def test_the_function_gives_what_the_processor_gives(ready):
    tokenizer, model, tokens = ready
    inputs = {
        name: tokenizer(PROMPTS[:2], return_tensors="pt", padding=True)[name]
        for name in ("input_ids", "attention_mask")
    }
    length, options = inputs["input_ids"].shape[1], {"num_beams": 6, "num_return_sequences": 6, "max_new_tokens": 8}
    processor = SemanticIdLogitsProcessor(tokens, model, length)
    found = model.generate(**inputs, logits_processor=LogitsProcessorList([processor]), **options)
    same = model.generate(**inputs, prefix_allowed_tokens_fn=allowed_tokens(tokens, length, END), **options)
    assert torch.equal(found, same)
    answers = tokens.vocabulary.semantic_ids(found[:, length + (tokens.marker_ids[0] >= 0) :][:, :3].numpy())
    assert set(map(tuple, answers.tolist())) <= set(map(tuple, CATALOG.tolist()))
    assert (found[:, -1] == END).all()


def test_text_around_several_ids_has_no_code_outside_of_an_id_that_exists(ready):
    tokenizer, model, tokens = ready
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True)
    processor = SemanticIdLogitsProcessor(tokens, model, inputs["input_ids"].shape[1], text=True)
    torch.manual_seed(0)
    found = model.generate(
        inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_processor=[processor], max_new_tokens=40,
        do_sample=True, top_k=0, num_return_sequences=12, sequence_bias={(max(tokens.marker_ids[0], 2),): 6.0},
    )[:, inputs["input_ids"].shape[1] :]  # fmt: skip
    known, first = set(map(tuple, tokens.vocabulary.token_ids(CATALOG).tolist())), tokens.vocabulary.first_id
    whole = 0
    for answer in found.tolist():
        runs = "".join("c" if token >= first else " " for token in answer).split()
        codes = [token for token in answer if token >= first]
        # All IDs are complete, except possibly the last ID of an answer.
        for at in range(0, sum(map(len, runs)) - 2, 3):
            assert tuple(codes[at : at + 3]) in known
            whole += 1
    assert whole > 10


def test_an_encoder_decoder_generates_ids_too(ready):
    tokenizer, _, tokens = ready
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0,
        eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    inputs = tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="right")
    found = generate_ids(T5ForConditionalGeneration(config), inputs, tokens, num_beams=9)
    assert found.exists.all() and (found.leaves >= 0).all()


def test_items_that_share_an_id_follow_each_other():
    ids = np.array([[0, 1], [1, 0], [0, 1], [1, 1]], np.int32)
    model, tokenizer = language_model(), fast_tokenizer()
    tokens = add_tokens(tokenizer, model, IdTable(np.arange(4), ids, sizes=(2, 2), shared=True))
    found = generate_ids(model, tokenizer(["Toy"], return_tensors="pt"), tokens, num_beams=4)
    row = found.rows(6)[0].tolist()
    assert sorted(row[:4]) == [0, 1, 2, 3] and row[4:] == [-1, -1] and row.index(2) == row.index(0) + 1


def test_what_would_starve_the_beams_is_warned_of_and_what_cannot_work_refused(ready):
    tokenizer, model, tokens = ready
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SemanticIdLogitsProcessor(tokens, model, 3)
    config = GenerationConfig(
        do_sample=True, top_k=20, top_p=0.8, temperature=0.7, repetition_penalty=1.05, eos_token_id=1
    )
    with pytest.warns(
        UserWarning, match=r"repetition_penalty=1.05, do_sample=True, top_k=20, top_p=0.8, temperature=0.7"
    ):
        SemanticIdLogitsProcessor(tokens, model, 3, generation_config=config)
    with pytest.raises(UserError, match="call add_tokens first"):
        SemanticIdLogitsProcessor(tokens, language_model(), 3)
    with pytest.raises(UserError, match="gives an end token"):
        SemanticIdLogitsProcessor(tokens, model, 3, generation_config=GenerationConfig())
    with pytest.raises(UserError, match="padding_side"):
        generate_ids(model, tokenizer(PROMPTS, return_tensors="pt", padding=True, padding_side="right"), tokens)
    if tokens.marker_ids[0] >= 0:
        with pytest.raises(UserError, match="some prompts end"):
            mixed = tokenizer(["Toy<|id|>", "Toy"], return_tensors="pt", padding=True)
            generate_ids(model, mixed, tokens)
