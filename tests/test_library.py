"""The imported package: its public names, the packages that it imports, and its display in a notebook."""

import pydoc
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

import sid_jax
from tests.commands import ROOT, environment, run

NOTEBOOK = [
    """
import logging, os
import numpy as np
import sid_jax
random = np.random.default_rng(0)
vectors = (random.normal(size=(20, 16))[random.integers(0, 20, 400)] + 0.3 * random.normal(size=(400, 16)))
skus = [f"sku-{number}" for number in range(400)]
here = set(os.listdir("."))
tokenizer = sid_jax.SemanticIdTokenizer(
    num_levels=3, codebook_size=16, latent_dimension=8, hidden_dimensions=(32,), batch_size=64, num_epochs=2.0
)
tokenizer.fit(vectors, item_ids=skus)
""",
    "tokenizer.table",
    "tokenizer.table.semantic_id('sku-42'), tokenizer.decode(tokenizer.encode(vectors[:2]))",
    "tokenizer.append(['new-1'], vectors[:1] + 0.01)",
    """
histories = [[skus[item] for item in random.integers(0, 400, 12)] for _ in range(60)]
recommender = sid_jax.GenerativeRecommender(
    tokenizer, features=16, num_layers=1, num_heads=2, hidden=16, code_hidden=16, num_epochs=1.0
).fit(histories)
recommender
""",
    """
recommender.recommend(["sku-7", "sku-42"], k=10)
recommender.recommend_batch(histories[:3], k=10)
recommender.evaluate()
""",
    """
assert set(os.listdir(".")) == here
tokenizer.save("exports/items")
recommender.save("exports/recommender")
again = sid_jax.load("exports/items"), sid_jax.load("exports/recommender")
assert [each.item_id for each in again[1].recommend(["sku-7"])] == [
    each.item_id for each in recommender.recommend(["sku-7"])
]
again[0]
""",
]


def test_a_notebook_runs_and_shows_progress_and_tables(tmp_path, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in NOTEBOOK])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [cell["outputs"] for cell in notebook.cells]
    shown = [output for each in outputs for output in each if output["output_type"] == "execute_result"]
    assert any("<table" in output["data"].get("text/html", "") for output in shown)
    for each in outputs:
        assert not any(output.get("name") == "stderr" for output in each), each
    # A progress bar does not leave hundreds of lines of text in a notebook.
    assert all(len(output.get("text", "")) < 2_000 for each in outputs for output in each)


def test_the_public_names_are_few_and_each_says_what_it_is():
    assert dir(sid_jax) == sorted(sid_jax.__all__)
    text = pydoc.render_doc(sid_jax, renderer=pydoc.plaintext)
    assert sid_jax.__version__ in text
    for name in sid_jax.__all__:
        if name != "__version__":
            assert f"{name} " in sid_jax.__doc__ and name in text
            assert getattr(sid_jax, name).__doc__.strip().splitlines()[0].endswith((".", ":"))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sid_jax.nothing


def test_importing_the_package_imports_nothing_heavy():
    script = (
        "import sys, sid_jax; heavy = {'jax', 'flax', 'numpy', 'pyarrow', 'absl', 'tensorflow', 'torch'}; "
        "print(sorted(heavy & set(sys.modules)), sid_jax.__version__)"
    )
    assert run("-c", script).stdout.split("]")[0] == "["


def test_the_version_is_that_of_the_metadata():
    found = subprocess.run([sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip().splitlines()[-1] == sid_jax.__version__
