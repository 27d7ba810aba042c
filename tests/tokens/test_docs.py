"""The code of docs/llm-tokens.md, on a tiny model."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tests.commands import ROOT
from tests.tokens.conftest import FIRST_ID, made_ids
from tests.tokens.test_tokenizers import trained


@pytest.fixture(scope="module")
def names(made, tmp_path_factory):
    """The variables of the Python code in docs/llm-tokens.md after its run in a folder with a model and an export."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("exports", "tokens"):
        (folder / name).mkdir()
        (folder / name / "ml100k").symlink_to(made / name / "relocate")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained("byte-level"), eos_token="<s>", unk_token="<unk>", pad_token="<unk>"
    )
    tokenizer.save_pretrained(folder / "my-model")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=FIRST_ID, n_embd=32, n_layer=1, n_head=2, n_positions=256, bos_token_id=1, eos_token_id=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder / "my-model")
    random = np.random.default_rng(0)
    lines = [" ".join(map(str, [user, *random.integers(0, 300, 6)])) for user in range(60)]
    (folder / "sequences.txt").write_text("\n".join(lines))
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for snippet in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "llm-tokens.md").read_text(), re.S):
            exec(snippet, names)  # noqa: S102  (the document's own code)
    return names


def test_a_models_answers_are_read(names):
    _, semantic_ids = made_ids("relocate")
    assert names["tokens"].vocabulary.parse(names["first"] + names["second"]) == list(
        map(tuple, semantic_ids[:2].tolist())
    )


def test_new_embeddings_are_of_the_old_ones_kind_and_all_different(names):
    model, new = names["model"], slice(FIRST_ID, FIRST_ID + 28)
    matrices = [model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()]
    assert matrices[0] is not matrices[1]
    for matrix in matrices:
        old, tokens = matrix[:FIRST_ID].numpy(), matrix[new].numpy()
        center = old.mean(axis=0)
        spreads = [np.sqrt(np.square(each - center).sum(axis=1).mean()) for each in (old, tokens)]
        assert spreads[0] == pytest.approx(spreads[1], rel=0.05)
        assert (np.linalg.norm(tokens[:, None] - tokens[None], axis=-1) + np.eye(28)).min() > 0.01


def test_generation_says_nothing_but_ids_that_exist(names):
    _, semantic_ids = made_ids("relocate")
    known = set(map(tuple, semantic_ids.tolist()))
    answers = names["answers"][:, names["inputs"]["input_ids"].shape[1] :].reshape(2, 5, -1).numpy()
    for ids, searched in zip(
        names["tokens"].vocabulary.semantic_ids(answers), names["found"].semantic_ids, strict=True
    ):
        found = [tuple(row) for row in ids.tolist()]
        assert len(found) == len(set(found)) == 5 and set(found) <= known
        assert found == [tuple(row) for row in searched.tolist()]
    mask = np.asarray(names["mask"])
    assert mask.shape == (5, FIRST_ID + 28) and (mask.nonzero()[1] == 1).all()
    assert names["report"].invalid == 0 and len(names["report"].evaluations[0].places) == 50


def test_the_beam_search_finds_the_best_ids_there_are(names):
    _, semantic_ids = made_ids("relocate")
    tables = [np.random.default_rng(level).normal(size=(40, 16)) for level in range(3)]

    def log_probabilities(prefixes):
        return np.stack([tables[len(prefix)][sum(prefix)] for prefix in prefixes])

    scores = [sum(tables[i][sum(row[:i])][row[i]] for i in range(3)) for row in semantic_ids.tolist()]
    # A beam with all prefixes misses no ID.
    found = names["beam_search"](log_probabilities, 300)
    assert [rows.tolist() for rows in found] == [[row] for row in np.argsort(scores)[::-1].tolist()]
    assert len(names["beam_search"](log_probabilities, 7)) == 7
