"""Fine-tuning: the tokens in the loss, a decreasing loss, and reproducibility."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from sid_jax.errors import UserError
from sid_jax.llm import fine_tune
from sid_jax.llm.fine_tuning import _batches, _encoded, _rate
from tests.llm.conftest import fast_tokenizer, language_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    (out / "text").mkdir()
    rows = [{"prompt": f"{word} follows\n", "completion": word.upper()} for word in ("one", "two", "three")] * 4
    pq.write_table(pa.Table.from_pylist(rows), out / "text" / "train.parquet")
    return out


def test_completions_and_the_end_are_learned_and_prompts_and_padding_are_not():
    tokenizer = fast_tokenizer()
    rows = _encoded((["a\n", "a longer prompt\n", "b\n"], ["X", "YY", "Z"]), tokenizer, 1000)
    prompts = [tokenizer(text)["input_ids"] for text in ("a\n", "a longer prompt\n", "b\n")]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] + [1] for text in ("X", "YY", "Z")]
    assert rows == [(one + other, len(one)) for one, other in zip(prompts, answers, strict=True)]
    batches = list(_batches(rows, 2, np.random.default_rng(0)))
    assert sorted(len(batch["input_ids"]) for batch in batches) == [1, 2]
    seen = []
    for batch in batches:
        columns = (batch[name].tolist() for name in ("input_ids", "attention_mask", "labels"))
        for ids, mask, labels in zip(*columns, strict=True):
            length = sum(mask)
            row = prompts.index(ids[: next(place for place, label in enumerate(labels) if label != -100)])
            seen.append(row)
            assert mask == [1] * length + [0] * (len(mask) - length)
            assert ids[:length] == prompts[row] + answers[row]
            assert labels == [-100] * len(prompts[row]) + answers[row] + [-100] * (len(ids) - length)
    assert sorted(seen) == [0, 1, 2]
    # A row that is too long keeps its last tokens.
    (ids, prompt), *_ = _encoded((["a longer prompt\n"], ["YY"]), tokenizer, 5)
    assert ids == rows[1][0][-5:] and prompt == 5 - len(answers[1])


def test_a_model_learns_and_repeats_itself(folder):
    runs = []
    for seed in (0, 0, 1):
        model = language_model()
        losses = fine_tune(model, fast_tokenizer(), folder, num_epochs=3, batch_size=4, learning_rate=1e-2, seed=seed)
        runs.append((losses, model.get_input_embeddings().weight.detach()))
    assert runs[0][0][-1] < 0.7 * runs[0][0][0]
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert torch.equal(runs[0][1], runs[1][1])


def test_the_rate_rises_and_then_falls_to_zero():
    rates = [_rate(step, 20, 0.2) for step in range(21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1.0 and rates[20] == pytest.approx(0) and sorted(rates[4:], reverse=True) == rates[4:]


def test_a_folder_without_prompts_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file; give a folder of sid-jax llm-data"):
        fine_tune(language_model(), fast_tokenizer(), tmp_path)
