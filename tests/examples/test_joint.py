"""examples/joint: each model's export accepts appends and gives tokens. docs/joint-own-model.md quotes the code."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import sid_jax
from sid_jax.tokens.write import write_tokens
from tests.commands import ROOT
from tests.docs.pages import blocks_of

FOLDER, PAGE = ROOT / "examples" / "joint", ROOT / "docs" / "joint-own-model.md"
N, STEPS = 60, 20


@pytest.fixture(scope="module")
def examples():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield {name: importlib.import_module(name) for name in ("made", "language_model", "pure_functions")}


@pytest.fixture(scope="module")
def items(examples):
    """Vectors, ids, and sequences in which item i + 1 follows item i (and item 0 follows the last item)."""
    vectors, item_ids, _ = examples["made"].make_data(N, 640)
    return vectors, item_ids, (np.random.default_rng(0).integers(0, N, (40, 1)) + np.arange(4)) % N


@pytest.fixture(scope="module")
def exports(examples, items, tmp_path_factory):
    """The folder with the exports that examples/joint/pure_functions.py writes."""
    folder = tmp_path_factory.mktemp("exports")
    examples["pure_functions"].main(num_items=N, num_steps=STEPS, out=str(folder))
    return folder


def check_export(folder, items, tmp_path):
    vectors, item_ids, _ = items
    tokenizer = sid_jax.load(folder)
    assert tokenizer.table.item_ids.tolist() == item_ids.tolist()
    assert len(np.unique(tokenizer.table.semantic_ids, axis=0)) == N
    np.testing.assert_array_equal(tokenizer.encode(vectors), tokenizer.table.codes)
    write_tokens(folder, tmp_path / f"tokens-{folder.name}")
    assert len(tokenizer.append(["new"], vectors[:1] + 0.1).table) == N + 1


@pytest.mark.parametrize("name", ["bare", "linen"])
def test_a_model_of_pure_functions_ends_in_an_export(exports, items, tmp_path, name):
    check_export(exports / name, items, tmp_path)


def test_the_language_model_starts_from_an_export_and_ends_in_one(examples, exports, items, tmp_path):
    module, (vectors, item_ids, sequences) = examples["language_model"], items
    batches = np.broadcast_to(sequences, (STEPS, *sequences.shape))
    model, tokenizer = module.train_jointly(exports / "bare", vectors, item_ids, batches)
    tokenizer.save(tmp_path / "joint")
    check_export(tmp_path / "joint", items, tmp_path)
    np.testing.assert_array_equal(model.quantizer.encode(vectors), tokenizer.table.codes)
    # A beam as wide as the catalog finds each item once.
    found = np.asarray(module.recommend(model, tokenizer.table.semantic_ids, sequences[:, :-1], num_beams=N))
    assert np.sort(found, axis=1).tolist() == [list(range(N))] * len(sequences)
    assert (found[:, :10] == sequences[:, -1:]).any(axis=1).mean() > 20 / N


def stripped(text):
    return [line.strip() for line in text.splitlines() if line.strip()]


def test_the_page_shows_lines_of_the_examples_and_few_of_them():
    code = "\n".join(f"\n{path.read_text()}" for path in sorted(FOLDER.glob("*.py")))
    code = "\n".join(stripped(code))
    blocks = [block for block in blocks_of(PAGE) if block.language == "python"]
    for block in blocks:
        lines = [line for line in stripped(block.text) if not line.startswith("tokenizer.save(")]
        assert "\n".join(lines) in code, block
    end = PAGE.read_text().split("## Linen")[0].count("\n")
    assert sum(len(stripped(block.text)) for block in blocks if block.line < end) <= 25
