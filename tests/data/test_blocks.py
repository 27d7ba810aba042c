"""Iteration over a memory-mapped file: each row occurs once, and only one block at a time is in memory."""

import subprocess
import sys

import numpy as np
import pytest

from sid_jax import SemanticIdTokenizer
from sid_jax.data.blocks import in_blocks, rescaled_rows, take_rows


@pytest.mark.parametrize("rows", [3, 10, 64])
def test_every_row_comes_once_with_its_number(rows):
    array = np.arange(20).reshape(10, 2)
    found = list(in_blocks(array, rows))
    assert [first for first, _ in found] == list(range(0, 10, rows))
    np.testing.assert_array_equal(np.concatenate([block for _, block in found]), array)


def test_rows_come_in_the_order_in_which_they_are_asked_for():
    array, rows = np.arange(6000).reshape(3000, 2), np.random.default_rng(0).integers(0, 3000, 2500)
    np.testing.assert_array_equal(take_rows(array, rows), array[rows])


def test_a_mapped_file_takes_the_memory_of_a_block(tmp_path):
    np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (400_000, 256))[:] = 1
    program = f"""
import resource
import numpy as np
from sid_jax import SemanticIdTokenizer
from sid_jax.data.blocks import in_blocks, rescaled_rows, take_rows
from sid_jax.data.parts.arrays import open_npy
vectors = np.asarray(open_npy(__import__("pathlib").Path({str(tmp_path / "v.npy")!r})))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(float(block.sum()) for _, block in in_blocks(vectors)) == vectors.size
# The rows are scattered, so the system maps much more of the file than these rows.
assert take_rows(vectors, np.random.default_rng(0).permutation(len(vectors))[:20_000]).sum() == 20_000 * 256
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    # The file has 410 MB. The unit of ru_maxrss is KiB.
    assert grown < 100_000, grown


def test_rows_that_differ_only_in_length_are_found():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 16)).astype(np.float32)
    assert len(rescaled_rows(vectors)) == 0
    # Equal rows, zeros and opposite rows do not count.
    plain = np.concatenate([vectors, vectors[:5], np.zeros((3, 16), np.float32), -2 * vectors[:5]])
    assert len(rescaled_rows(plain)) == 0
    scaled = np.concatenate([vectors, random.uniform(2, 9, size=(40, 1)).astype(np.float32) * vectors[:40]])
    np.testing.assert_array_equal(rescaled_rows(scaled), [*range(40), *range(300, 340)])


def test_training_warns_of_items_that_normalization_makes_equal(caplog):
    vectors = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    vectors = np.concatenate([vectors, 3 * vectors[:10]])
    settings = {"num_levels": 2, "codebook_size": 16, "num_epochs": 1.0, "hidden_dimensions": (16,)}
    SemanticIdTokenizer(**settings).fit(vectors, verbose=False)
    assert "20 of 110 vectors differ from another vector only in length, the first one in row 0" in caplog.text
    caplog.clear()
    SemanticIdTokenizer(**settings, unit_norm=False).fit(vectors, verbose=False)
    assert "only in length" not in caplog.text
