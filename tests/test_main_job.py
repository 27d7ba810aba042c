"""train.py and export.py make Semantic IDs of real movies in a short run, and PyTorch and NumPy give the same codes."""

import json
import re
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sid_jax.config import default_config
from sid_jax.data.load import load_vectors
from sid_jax.export.artifact import load_export
from sid_jax.quantize.nearest import assign_codes, code_margins
from sid_jax.training.workdir import read_run
from tests.commands import ROOT, refused, run


@pytest.fixture(scope="module", params=["gumbel", "ste,text"])
def job(request, real_cache, tmp_path_factory):
    """The folder of a run and its export, and the results of the two commands."""
    folder = tmp_path_factory.mktemp(request.param.replace(",", "-"))
    # One of the runs is compiled as a user's run is, with all optimizations.
    quickly = {} if request.param == "gumbel" else {"flags": ""}
    trained = run(
        "train.py", f"--config=configs/ml100k.py:{request.param},quick", f"--config.data.cache_dir={real_cache}",
        f"--workdir={folder / 'run'}", **quickly,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    exported = run("export.py", f"--workdir={folder / 'run'}", f"--out={folder / 'export'}")
    assert exported.returncode == 0, exported.stderr
    return folder, trained, exported


@pytest.fixture(scope="module")
def vectors(job):
    return load_vectors(read_run(job[0] / "run", default_config())[0].data).vectors


def is_text(job):
    return "text" in job[0].name


def assert_same_but_for_ties(codes, exported, job, vectors):
    """Checks that codes differ only where two codewords are almost equally near.

    In this case, codes may differ because frameworks round differently.
    """
    model = load_export(job[0] / "export").model
    margins = np.asarray(code_margins(model.encode(vectors), model.quantizer.codebooks)).min(axis=1)
    other = (codes != exported).any(axis=1)
    assert (margins[other] < 1e-5).all()
    assert other.sum() <= 2


def test_training_ends_in_a_table_a_sample_and_the_next_command(job):
    folder, trained, exported = job
    # In the run with the argument "text", some movies have equal vectors, which limits the distinct rate. In the other
    # run, items also have the parts genres and behavior.
    for words in (
        "1,682",
        "at most 0.9893" if is_text(job) else "R^2 of genres",
        "codes in use",
        "Toy Story",
        f"--workdir={folder / 'run'}",
    ):
        assert words in trained.stdout
    assert trained.stderr == exported.stderr == ""
    assert "1,682 Semantic IDs" in exported.stdout
    assert "1,682 items have one ID each" in (folder / "export" / "report.html").read_text()


def test_every_film_has_a_unique_id_of_one_length(job):
    rows = pq.read_table(job[0] / "export" / "ids.parquet").to_pylist()
    assert sorted(row["item_id"] for row in rows) == list(range(1, 1683))
    assert {len(row["semantic_id"]) for row in rows} == {3} and {len(row["codes"]) for row in rows} == {3}
    assert len({tuple(row["semantic_id"]) for row in rows}) == 1682
    codes = Counter(tuple(row["codes"]) for row in rows)
    assert all(row["semantic_id"] == row["codes"] for row in rows if codes[tuple(row["codes"])] == 1)
    assert codes.keys() <= {tuple(row["semantic_id"]) for row in rows}  # One item per bucket keeps its code tuple.
    assert all(row["sid"] == "-".join(map(str, row["semantic_id"])) for row in rows)
    first = next(row for row in rows if row["item_id"] == 1)
    assert (first["title"], first["year"], first["genres"]) == ("Toy Story", "1995", "Animation|Children's|Comedy")


def test_the_manifest_says_what_made_the_export_and_what_it_is_worth(job):
    manifest = json.loads((job[0] / "export" / "manifest.json").read_text())
    codes = np.array(pq.read_table(job[0] / "export" / "ids.parquet")["codes"].to_pylist())
    metrics = manifest["metrics"]
    assert metrics["distinct_rate"] == pytest.approx(len(np.unique(codes, axis=0)) / 1682)
    if is_text(job):
        assert metrics["max_distinct_rate"] == pytest.approx(1664 / 1682)
    else:
        assert metrics["max_distinct_rate"] > 1664 / 1682
        assert [part["name"] for part in manifest["parts"]] == ["text", "genres", "behavior"]
        assert min(metrics["r2_by_part"].values()) > 0.1
    assert metrics["usage"] == pytest.approx([len(np.unique(level)) / 128 for level in codes.T])
    assert {"r2", "mse", "cosine", "perplexity", "collision_share", "largest_bucket", "agreement"} <= set(metrics)
    made = manifest["semantic_ids"]
    assert (made["scheme"], made["length"], made["sizes"]) == ("relocate", 3, [128] * 3)
    # In each bucket, all items but one are relocated, and R^2 hardly changes.
    assert made["relocated"] == pytest.approx(1 - metrics["distinct_rate"])
    assert metrics["r2"] - 0.008 < metrics["r2_unique"] < metrics["r2"] + 0.008
    files = {"ids.parquet", "ids.csv", "trie.npz", "codebooks.safetensors", "codebooks.pt", "report.json"}
    assert set(manifest["files"]) == files
    assert manifest["config"]["model"]["codebook_size"] == 128


def test_pytorch_gives_the_same_codes_for_every_film_from_the_documented_snippet(job, vectors):
    document = (ROOT / "docs" / "pytorch.md").read_text()
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", document, re.S) if "def semantic_codes" in code)
    names: dict = {}
    exec(snippet, names)  # noqa: S102  (the document's own code)
    codes = names["semantic_codes"](torch.from_numpy(vectors), str(job[0] / "export" / "codebooks.pt"))
    exported = np.array(pq.read_table(job[0] / "export" / "ids.parquet")["codes"].to_pylist())
    assert_same_but_for_ties(codes.numpy(), exported, job, vectors)


def test_numpy_gives_the_same_codes_for_every_film(job, vectors):
    from safetensors.numpy import load_file

    arrays = load_file(job[0] / "export" / "codebooks.safetensors")
    parts = json.loads((job[0] / "export" / "manifest.json").read_text()).get("parts", [{"num_features": 256}])
    ends = np.cumsum([part["num_features"] for part in parts])
    blocks = np.split(vectors, ends[:-1], axis=1)
    hidden = np.concatenate([block / np.linalg.norm(block, axis=1, keepdims=True) for block in blocks], axis=1)
    hidden = (hidden - arrays["scaling.mean"]) / arrays["scaling.scale"]
    if len(parts) > 1:
        hidden = np.where(np.isnan(hidden), np.nan_to_num(hidden) @ arrays["scaling.filler"], hidden)
    for layer in (0, 2, 4):
        hidden = hidden @ arrays[f"encoder.network.{layer}.weight"].T + arrays[f"encoder.network.{layer}.bias"]
        hidden = hidden / (1 + np.exp(-hidden)) if layer < 4 else hidden
    codes = []
    for codebook in arrays["codebooks"]:
        codes.append(np.argmin(np.square(hidden[:, None] - codebook[None]).sum(-1), axis=1))
        hidden = hidden - codebook[codes[-1]]
    exported = np.array(pq.read_table(job[0] / "export" / "ids.parquet")["codes"].to_pylist())
    assert_same_but_for_ties(np.stack(codes, 1), exported, job, vectors)


def test_an_export_loads_encodes_and_looks_up_in_python(job, vectors):
    export = load_export(job[0] / "export", verify=True)
    exported = export.table.codes
    np.testing.assert_array_equal(export.encode(vectors), exported)
    np.testing.assert_array_equal(export.encode(vectors[:5].astype(np.float64)), exported[:5])
    assert len(export.table) == 1682
    semantic_id = export.table.semantic_id(50)
    assert export.table.item(semantic_id) == 50
    assert 50 in export.table.items(semantic_id[:1])
    latents = export.model.encode(vectors)
    np.testing.assert_array_equal(assign_codes(latents, export.model.quantizer.codebooks), exported)


def test_export_refuses_a_folder_that_is_taken_and_a_step_that_is_not_there(job):
    folder = job[0]
    before = {path.name: path.read_bytes() for path in (folder / "export").iterdir()}
    line = refused(run("export.py", f"--workdir={folder / 'run'}", f"--out={folder / 'export'}", "--unique=suffix"))
    assert "exists and is not empty" in line
    assert {path.name: path.read_bytes() for path in (folder / "export").iterdir()} == before
    line = refused(run("export.py", f"--workdir={folder / 'run'}", f"--out={folder / 'other'}", "--step=7"))
    assert "no checkpoint of step 7" in line
    assert not (folder / "other").exists()
