"""Makes jobs that export synthetic vectors in bulk. The model has random codebooks and no networks."""

from __future__ import annotations

import numpy as np
import pytest

from sid_jax.bulk.job import Job
from sid_jax.data.parts.vector_parts import list_parts
from sid_jax.export.codebooks import write_codebooks


def made_codebooks(random, sizes, features, uneven):
    """Returns random codebooks; if uneven, most vectors are nearest to the first codeword of the first level."""
    codebooks = [random.normal(size=(size, features)) / (level + 1) for level, size in enumerate(sizes)]
    if uneven:
        codebooks[0][0] = 0
        codebooks[0][1:] *= 3
    return [codebook.astype(np.float32) for codebook in codebooks]


@pytest.fixture
def make_job(tmp_path):
    def make(vectors, sizes, *, scheme="relocate", capacity=1, rows=64, uneven=False, inputs=None, **kwargs):
        features = vectors.shape[1]
        codebooks = made_codebooks(np.random.default_rng(1), sizes, features, uneven)
        folder = tmp_path / f"job-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        names = [f"quantization_layers.{level}.embedding.weight" for level in range(len(sizes))]
        info = {"unit_norm": False, "activation": "silu"}
        scaling = {"mean": np.zeros(features), "scale": np.ones(features)}
        write_codebooks(folder, dict(zip(names, codebooks, strict=True)), scaling, info)
        if inputs is None:
            np.save(folder / "vectors.npy", vectors)
            inputs = [str(folder / "vectors.npy")]
        return Job(folder, list_parts(inputs, rows=rows, **kwargs), tuple(sizes), scheme, capacity, "item_id", 1)

    return make
