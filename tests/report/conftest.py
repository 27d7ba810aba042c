"""An export that was made without training, and a browser to look at its report."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sid_jax.export.artifact import Export, write_export
from sid_jax.ids.table import IdTable
from sid_jax.metrics.codes import code_figures, max_distinct_rate
from sid_jax.metrics.vectors import report_figures
from sid_jax.models.rqvae import RQVAE

# Titles that would break a report that does not treat them as plain text.
HOSTILE = [
    "</script><img src=x onerror=\"document.title='owned'\">",
    "<!--<script>document.title='owned'</script>",
    "<b>bold</b> & 'quoted' \"twice\"",
    "$$x^2$$ ${name} $policy {{name}}",
    "W" * 300,
    "",
    "ガラスの靴 👠 \u202eright to left",
]
KINDS = ["lamp", "chair", "kettle", "scarf", "clock", "vase", "rug", "mirror"]
_FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-prefers-reduced-motion"
)


def make_export(folder: Path, num_items: int, *, size: int = 16, titles: bool = True) -> Path:
    """Writes an export of items whose vectors are near their decoded codes; the first two items have equal vectors."""
    random = np.random.default_rng(0)
    codebooks = [random.normal(size=(size, 8)) * 4.0 / 3**level for level in range(3)]
    sizes = [size] * 3
    model = RQVAE(8, sizes, latent_dimension=None, rngs=nnx.Rngs(0))
    model.quantizer.set_codebooks([jnp.asarray(codebook, jnp.float32) for codebook in codebooks])
    semantic_ids = np.stack(np.unravel_index(random.choice(size**3, num_items, replace=False), sizes), axis=1)
    # The second item has the code tuple of the first one, and is relocated to a free ID near it.
    semantic_ids[1] = *semantic_ids[0, :2], np.setdiff1d(np.arange(size), semantic_ids[:, 2][_alike(semantic_ids)])[0]
    codes = semantic_ids.copy()
    codes[1] = codes[0]
    vectors = sum(codebook[level] for codebook, level in zip(codebooks, codes.T, strict=True))
    vectors = (vectors + 0.02 * random.normal(size=vectors.shape)).astype(np.float32)
    vectors[1] = vectors[0]
    columns = _columns(codes[:, 0]) if titles else {}
    workdir = folder.with_name(f"{folder.name}-run")
    workdir.mkdir()
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _records()))
    metrics = {"num_items": num_items, "codebook_size": sizes, **code_figures(codes, sizes, max_distinct_rate(vectors))}
    made = {"scheme": "relocate", "capacity": 1, "length": 3, "sizes": sizes, "relocated": 1 / num_items}
    manifest = {
        "step": 490,
        "semantic_ids": made,
        "schema": {"id_column": "sku", "columns": list(columns)},
        "metrics": {**metrics, "r2": 0.999, "r2_unique": 0.998, "agreement": 1.0},
    }
    ids = np.array([f"item/{row}" for row in range(num_items)], object)
    table = IdTable(ids, semantic_ids, codes=codes, sizes=sizes, columns=columns, id_name="sku")
    measured = report_figures(model, semantic_ids, vectors)
    write_export(Export(manifest, table, model, measured=measured), folder, records=workdir)
    return folder


def _alike(semantic_ids: np.ndarray) -> np.ndarray:
    return (semantic_ids[:, :2] == semantic_ids[0, :2]).all(axis=1)


def _columns(first_codes: np.ndarray) -> dict[str, np.ndarray]:
    kinds = np.array(KINDS)[first_codes % len(KINDS)]
    # The random serial numbers keep report.html from being compressed to almost nothing.
    serials = np.random.default_rng(1).integers(10**9, 10**10, len(kinds)).tolist()
    titles = [f"{kind} number {row} ({serials[row]:x})" for row, kind in enumerate(kinds.tolist())]
    titles[2 : 2 + len(HOSTILE)] = HOSTILE
    prices = np.arange(len(kinds)) % 90
    return {"title": np.array(titles, object), "price": prices, "kind": kinds.astype(object)}


def _records() -> list[dict]:
    return [
        {"kind": kind, "step": step, "loss": 9.0 / step, "r2": 1 - 1 / step, "usage": [1.0, 0.9, 0.8]}
        for step in range(10, 500, 10)
        for kind in ("train", "eval")
    ]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of 400 items with titles, including those of `HOSTILE`."""
    return make_export(tmp_path_factory.mktemp("report") / "small", 400)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """Headless Chromium; without it, tests are skipped, or fail if the environment variable CI is set."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        message = "chromium and chromedriver are not installed, so the report is not tested in a browser; install them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for flag in (*_FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1200,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()
