"""The stages of a bulk export (`sid_jax.bulk`) give the same IDs and metrics as an export in memory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from sid_jax.bulk import encode, groups
from sid_jax.bulk.engine import LocalEngine
from sid_jax.bulk.run import run_stages
from sid_jax.data.part_columns import schema_of_parts
from sid_jax.export.artifact import table_files
from sid_jax.ids import relocate as relocate_module
from sid_jax.ids.alternatives import CodeAlternatives
from sid_jax.ids.unique import make_unique
from sid_jax.messages import Messages
from sid_jax.metrics.codes import code_figures, max_distinct_rate


def vectors_with_repeats(num_items, features=6):
    vectors = np.random.default_rng(0).normal(size=(num_items, features)).astype(np.float32)
    vectors[7:12] = vectors[0]
    return vectors


def run_here(job):
    return run_stages(job, LocalEngine(), Messages.silent())


def written(job):
    tables = [pq.read_table(path) for path in sorted(job.folder.glob("ids.parquet/ids-*.parquet"))]
    ids, codes, semantic_ids = (
        [row for table in tables for row in table[name].to_pylist()] for name in ("item_id", "codes", "semantic_id")
    )
    return ids, np.array(codes), np.array(semantic_ids)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(groups, "_ITEMS_A_GROUP", 60)
    monkeypatch.setattr(encode, "_ITEMS_A_CPU", 4)
    monkeypatch.setattr(relocate_module, "_PREFIXES_AT_ONCE", 256)


@pytest.mark.parametrize(
    ("sizes", "scheme", "capacity", "uneven"),
    [
        ((8, 8, 8), "relocate", 1, False),
        ((4, 5, 6), "relocate", 3, False),
        # Most of the 300 items have the same first code. There are only 64 IDs with this code.
        ((8, 8, 8), "relocate", 1, True),
        ((7, 3), "relocate", 20, True),
        ((310,), "relocate", 1, False),
        ((8, 8), "suffix", 1, False),
        ((8, 8), "none", 1, False),
        ((300, 8, 8), "relocate", 1, False),
    ],
)
def test_ids_are_those_of_an_export_in_memory(make_job, sizes, scheme, capacity, uneven):
    vectors = vectors_with_repeats(300)
    job = make_job(vectors, sizes, scheme=scheme, capacity=capacity, uneven=uneven)
    assert len(job.inputs.parts) == 5
    made = run_here(job)
    ids, codes, semantic_ids = written(job)
    assert ids == list(range(300))
    np.testing.assert_array_equal(codes, job.model.assign(vectors))
    alternatives = CodeAlternatives.of_vectors(job.model, vectors)
    wanted = make_unique(scheme, codes, np.arange(300), sizes, alternatives, capacity=capacity)
    np.testing.assert_array_equal(semantic_ids, wanted)
    if scheme != "none":
        assert np.unique(semantic_ids, axis=0, return_counts=True)[1].max() <= capacity
    moved = (semantic_ids[:, : len(sizes)] != codes).astype(float)
    about, metrics = made["semantic_ids"], made["metrics"]
    assert about["relocated"] == pytest.approx(moved.any(axis=1).mean())
    assert about["relocated_by_level"] == pytest.approx(moved.mean(axis=0))
    assert about["sizes"] == [*sizes, *([int(semantic_ids[:, -1].max()) + 1] if scheme == "suffix" else [])]
    if uneven and scheme == "relocate":
        assert about["relocated_by_level"][0] > 0.1
    for name, value in code_figures(codes, sizes, max_distinct_rate(vectors)).items():
        assert metrics[name] == pytest.approx(value), name
    assert {"gini", "entropy"} <= set(metrics)
    error = np.square(vectors - job.model.reconstruct(codes)).sum()
    assert metrics["num_sampled"] == 300
    assert metrics["r2_sampled"] == pytest.approx(1 - error / np.square(vectors - vectors.mean(axis=0)).sum(), abs=1e-5)


def test_a_sample_is_every_so_manyth_item(make_job):
    vectors = vectors_with_repeats(300)
    job = make_job(vectors, (8, 8), scheme="none")
    object.__setattr__(job, "sample_every", 7)
    metrics = run_here(job)["metrics"]
    sample = vectors[::7]
    error = np.square(sample - job.model.reconstruct(job.model.assign(sample))).sum()
    assert metrics["num_sampled"] == len(sample)
    assert metrics["r2_sampled"] == pytest.approx(1 - error / np.square(sample - sample.mean(axis=0)).sum(), abs=1e-5)


def test_codes_are_int32_within_a_byte_and_beyond_it(make_job):
    vectors = vectors_with_repeats(300)
    job = make_job(vectors, (8, 8), scheme="suffix")
    run_here(job)
    kinds = pq.read_schema(next(job.folder.glob("ids.parquet/ids-*.parquet"))).types
    assert [str(kind.value_type) for kind in kinds[1:3]] == ["int32", "int32"]
    job = make_job(vectors, (300, 8))
    run_here(job)
    kinds = pq.read_schema(next(job.folder.glob("ids.parquet/ids-*.parquet"))).types
    assert [str(kind.value_type) for kind in kinds[1:3]] == ["int32", "int32"]


def test_a_piece_that_is_done_again_writes_the_same(make_job):
    job = make_job(vectors_with_repeats(300), (8, 8, 8))

    class Twice(LocalEngine):
        def map(self, stage, job, pieces, *, on_device):
            list(super().map(stage, job, pieces[::-1], on_device=on_device))
            return super().map(stage, job, pieces, on_device=on_device)

    run_here(job)
    once = written(job)
    again = make_job(vectors_with_repeats(300), (8, 8, 8))
    run_stages(again, Twice(), Messages.silent())
    for one, other in zip(once, written(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_further_columns_of_the_files_are_in_the_table(make_job, tmp_path):
    vectors = vectors_with_repeats(100)
    first, second = (pa.array(list(part), pa.list_(pa.float32())) for part in np.split(vectors, [60]))
    priced = pa.table({"item_id": range(60), "vector": first, "price": [None, 1.5] * 30, "tags": [["a", "b"]] * 60})
    pq.write_table(priced, tmp_path / "1.parquet", row_group_size=25)
    feather.write_feather(
        pa.table({"item_id": range(60, 100), "vector": second, "tags": [None] * 40}), tmp_path / "2.feather"
    )
    job = make_job(vectors, (8, 8), scheme="suffix", inputs=[str(tmp_path / "1.parquet"), str(tmp_path / "2.feather")])
    job = dataclasses.replace(job, columns=schema_of_parts(job.inputs, ["price", "tags", "nowhere"]))
    run_here(job)
    table = pa.concat_tables(map(pq.read_table, table_files(job.folder)))
    assert table["item_id"].to_pylist() == list(range(100))
    assert table["price"].to_pylist() == [None, 1.5] * 30 + [None] * 40
    assert table["tags"].to_pylist() == ["a, b"] * 60 + [None] * 40 and "nowhere" not in table.column_names


def test_rows_that_were_not_kept_cannot_be_read(make_job):
    job = make_job(vectors_with_repeats(300), (8, 8))
    part, place = np.zeros(2, np.int64), np.array([0, -1])
    with pytest.raises(IndexError, match="a row is not among the latents of the scratch files"):
        groups.SpilledRows(job, "latents", part, place, 4)[np.array([0, 1])]
    with pytest.raises(ValueError, match="exact costs need the vectors"):
        CodeAlternatives(job.model, np.zeros((1, 4), np.float32)).costs(np.array([0]), np.zeros((1, 1, 2), np.int32))
