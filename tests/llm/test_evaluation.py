"""The metrics of a language model, compared with values computed by hand from the items that it generates."""

from __future__ import annotations

import numpy as np
import pytest

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.llm import add_tokens, evaluate_generation, generate_ids
from sid_jax.llm.tasks import as_text, prompt
from tests.llm.conftest import fast_tokenizer, language_model
from tests.llm.test_constraint import CATALOG

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %} Next:"


@pytest.fixture(scope="module")
def ready():
    model, tokenizer = language_model(), fast_tokenizer()
    items = np.array([f"item-{number}" for number in range(40)], object)
    tokens = add_tokens(tokenizer, model, IdTable(items, CATALOG.astype(np.int32), sizes=(8, 4, 16)))
    random = np.random.default_rng(1)
    # Each history goes around a cycle of 40 items in steps of 3, from a random start, so that item-kNN can learn
    # co-occurrences.
    starts = random.integers(0, 40, 30)
    histories = [
        [f"item-{(start + 3 * step) % 40}" for step in range(random.integers(4, 9))] for start in starts.tolist()
    ]
    return model, tokenizer, tokens, [*histories, ["item-1", "item-2"]]


def test_figures_are_those_of_the_lists_that_the_model_generates(ready):
    model, tokenizer, tokens, histories = ready
    model.train()
    report = evaluate_generation(model, tokenizer, histories, tokens, num_beams=40, max_history=5, batch_size=8)
    assert model.training
    model.eval()
    hits, gains = [], []
    for history in histories[:-1]:
        *before, target = [int(item.removeprefix("item-")) for item in history]
        ids = "".join(tokens.texts.take(before[-5:]).to_pylist())
        inputs = tokenizer([as_text("next_id", prompt("next_id", history=ids))], return_tensors="pt")
        ranked = [row for row in generate_ids(model, inputs, tokens, num_beams=40).rows(40)[0] if row not in before]
        place = ranked.index(target) if target in ranked else 99
        hits.append(place < 10)
        gains.append(1 / np.log2(place + 2) if place < 10 else 0.0)
    assert report.metrics["recall@10"] == pytest.approx(np.mean(hits)) and 0 < np.mean(hits) < 1
    assert report.metrics["ndcg@10"] == pytest.approx(np.mean(gains))
    low, high = report.intervals["recall@10"]
    assert low < np.mean(hits) < high
    assert set(report.baselines) == {"popularity", "item-kNN"}
    assert report.baselines["item-kNN"]["recall@10"] > report.baselines["popularity"]["recall@10"]
    assert report.invalid == 0 and report.seconds_per_user > 0
    assert "0.00% of generated IDs do not exist" in repr(report) and repr(report).count("recall@10") == 3


def test_prompts_may_be_a_chat_a_function_or_token_ids_and_users_a_sample(ready, monkeypatch):
    model, tokenizer, tokens, histories = ready
    asked = []

    def listen(inputs, **kwargs):
        asked.extend(row[mask > 0].tolist() for row, mask in zip(inputs, kwargs["attention_mask"], strict=True))
        return real(inputs, **kwargs)

    real = model.generate
    monkeypatch.setattr(model, "generate", listen)
    tokenizer.chat_template = TEMPLATE
    made = {
        "chat": {"form": "chat"},
        "function": {"task": lambda ids: " then ".join(ids)},
        "sequence": {"task": "sequence", "split": "validation"},
    }
    reports = {}
    for name, options in made.items():
        asked.clear()
        reports[name] = evaluate_generation(
            model, tokenizer, histories, tokens, num_beams=12, users=6, constrained=name != "function", **options
        )
        made[name] = [tokenizer.decode(numbers) for numbers in asked]
    assert all(text.startswith("A user chose") and text.endswith("next? Next:") for text in made["chat"])
    assert all(text.startswith("<s><a_") and "> then <a_" in text for text in made["function"])
    assert all(text.startswith("<s><a_") and text.endswith(">") for text in made["sequence"])
    assert reports["function"].invalid > 0 and reports["chat"].invalid == 0
    assert all(len(report.evaluations[0].places) == 6 for report in reports.values())
    asked.clear()
    evaluate_generation(model, None, histories, tokens, num_beams=12, users=6)
    known = set(map(tuple, tokens.token_ids.tolist()))
    assert all(tuple(row[at : at + 3]) in known for row in asked for at in range(0, len(row), 3))


def test_what_cannot_be_asked_is_refused(ready):
    model, tokenizer, tokens, histories = ready
    with pytest.raises(UserError, match="split is 'train'"):
        evaluate_generation(model, tokenizer, histories, tokens, split="train")
    with pytest.raises(UserError, match="there is no task"):
        evaluate_generation(model, tokenizer, histories, tokens, task="next", num_beams=2)
    with pytest.raises(UserError, match="no user has the 3 interactions"):
        evaluate_generation(model, tokenizer, [["item-1"]], tokens)


def test_seen_items_take_no_places_in_the_beam(ready):
    model, tokenizer, tokens, histories = ready
    report = evaluate_generation(model, tokenizer, histories, tokens, num_beams=6, batch_size=8)
    lists = report.evaluations[0].lists
    # If seen items were generated and then removed, some lists would have fewer than six items.
    assert (lists[:, :6] >= 0).all() and (lists[:, 6:] == -1).all()
    for row, history in zip(lists, histories[:-1], strict=True):
        assert not {int(item.removeprefix("item-")) for item in history[:-1]} & set(row.tolist())
    assert report.invalid == 0
