"""Duplicate ids are found by their hashes, whatever rows they are in."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.bulk import ids as ids_module
from sid_jax.bulk.encode import encode_part
from sid_jax.bulk.ids import hash_ids, id_ranges, refuse_repeated_ids, repeated_hashes
from sid_jax.errors import UserError


@given(st.lists(st.text(max_size=12), max_size=40))
def test_a_text_has_one_hash_wherever_it_stands_and_another_text_another(texts):
    hashes = hash_ids(pa.array(texts, pa.string()))
    alone = [hash_ids(pa.array([text], pa.string()))[0] for text in texts]
    assert hashes.dtype == np.uint64 and hashes.tolist() == alone
    assert len(set(hashes.tolist())) == len(set(texts))
    np.testing.assert_array_equal(hash_ids(pa.array(["x", *texts], pa.string()).slice(1)), hashes)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_integers_never_meet(numbers):
    assert len(set(hash_ids(pa.array(numbers, pa.int64())).tolist())) == len(set(numbers))


def test_hashes_are_spread_evenly():
    for many in (pa.array(np.arange(64_000)), pa.array([f"item-{n}" for n in range(64_000)])):
        counts = np.bincount((hash_ids(many) >> np.uint64(58)).astype(int), minlength=64)
        assert counts.min() > 800 and counts.max() < 1200


@pytest.mark.parametrize("names", ["numbers", "texts"])
def test_an_id_that_is_there_twice_is_refused_with_both_rows(make_job, tmp_path, monkeypatch, names):
    monkeypatch.setattr(ids_module, "_AT_ONCE", 50)
    items = [str(n) for n in range(300)]
    (tmp_path / "ids.txt").write_text("\n".join(items))
    vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    np.save(tmp_path / "v.npy", vectors)

    def refused():
        job = make_job(vectors, (8, 8), inputs=[str(tmp_path / "v.npy")], ids_paths=[str(tmp_path / "ids.txt")])
        for part in range(len(job.inputs.parts)):
            encode_part(job, part)
        assert len(id_ranges(300)) == 8
        refuse_repeated_ids(job, np.concatenate([repeated_hashes(job, piece) for piece in id_ranges(300)]))

    refused()
    items[250] = items[31] = "twice"
    (tmp_path / "ids.txt").write_text("\n".join(items))
    with pytest.raises(UserError, match="id 'twice' is in row 31 and again in row 250"):
        refused()
    # Different ids whose hashes are equal by chance are not duplicates.
    monkeypatch.setattr("sid_jax.bulk.encode.hash_ids", lambda ids: np.zeros(len(ids), np.uint64))
    monkeypatch.setattr(ids_module, "hash_ids", lambda ids: np.zeros(len(ids), np.uint64))
    (tmp_path / "ids.txt").write_text("\n".join(map(str, range(300))))
    refused()
