"""Published IDs stay unchanged for any sequence of added, removed and returning items."""

from __future__ import annotations

import collections
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.append.run import append
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import read_manifest
from sid_jax.messages import Messages
from tests.append.conftest import made_vectors, make_export, write_vectors

SILENT = Messages.silent()
# There are 40 items and 4 * 3 * 5 = 60 IDs.
ITEMS = st.sets(st.integers(0, 39), max_size=8)


@st.composite
def histories(draw):
    """Draws scheme, capacity, first items, and for each version: added items, removed items, and `reuse_removed`."""
    scheme = draw(st.sampled_from(["relocate", "relocate", "suffix", "none"]))
    capacity = draw(st.integers(1, 2)) if scheme == "relocate" else 1
    steps = draw(st.lists(st.tuples(ITEMS, ITEMS, st.booleans()), min_size=1, max_size=3))
    return scheme, capacity, draw(st.sets(st.integers(0, 39), min_size=1, max_size=20)), steps


def rows_of(table):
    return dict(zip(table["item_id"].to_pylist(), map(tuple, table["semantic_id"].to_pylist()), strict=True))


def read(folder):
    retired = folder / "retired.parquet"
    return rows_of(load_export(folder, verify=True).table.to_arrow()), rows_of(
        pq.read_table(retired)
    ) if retired.exists() else {}


@settings(max_examples=15)
@given(histories(), st.randoms())
def test_no_published_id_moves_none_is_given_twice_and_the_order_does_not_matter(history, random):
    scheme, capacity, old, steps = history
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = sorted(old)
        random.shuffle(ids)
        make_export(folder / "v1", ids, made_vectors(ids), scheme=scheme, capacity=capacity)
        live, retired = read(folder / "v1")
        for number, (coming, going, reuse) in enumerate(steps, start=2):
            going = (going & live.keys()) - coming
            if not coming and (not going or going == live.keys()):
                continue
            number_there = max(int(path.name[1:]) for path in folder.glob("v*") if path.is_dir())
            before, after = folder / f"v{number_there}", folder / f"v{number}"
            outs = [after, folder / "again"]
            for out in outs:
                order = sorted(coming)
                random.shuffle(order)
                new = [write_vectors(folder / "new.parquet", order, made_vectors(order))] if order else []
                gone = folder / "gone.txt"
                gone.write_text("\n".join(map(str, random.sample(sorted(going), len(going)))))
                append(before, out, new, removed=gone if going else None, reuse_removed=reuse, messages=SILENT)
            for path in after.iterdir():
                if path.name != "manifest.json":
                    assert path.read_bytes() == (folder / "again" / path.name).read_bytes(), path.name
                (folder / "again" / path.name).unlink()
            check_step(live, retired, *read(after), coming, going, reuse, scheme, capacity)
            counts = read_manifest(after)["version"]
            assert counts["moved"] == 0 and counts["added"] == len(coming - live.keys() - retired.keys())
            live, retired = read(after)


def check_step(live, retired, live_after, retired_after, coming, going, reuse, scheme, capacity):
    assert live_after.keys() == (live.keys() | coming) - going
    for item, semantic_id in live_after.items():
        if item in live:
            assert semantic_id == live[item]
        elif item in retired:
            assert semantic_id == retired[item]
    kept = {**retired, **{item: live[item] for item in going}}
    kept = {item: semantic_id for item, semantic_id in kept.items() if item not in coming}
    assert retired_after.items() <= kept.items()
    if not reuse:
        assert retired_after == kept
    if scheme != "none":
        taken = collections.Counter([*live_after.values(), *retired_after.values()])
        assert max(taken.values()) <= capacity


def test_a_suffix_that_was_ever_given_is_not_given_again_unless_asked(tmp_path):
    # All items whose number is a multiple of 3 have the same vector.
    make_export(tmp_path / "v1", [0, 3, 6], made_vectors([0, 3, 6]), scheme="suffix")
    (tmp_path / "gone.txt").write_text("3\n6\n")
    new = [write_vectors(tmp_path / "new.parquet", [12, 9], made_vectors([12, 9]))]
    append(tmp_path / "v1", tmp_path / "v2", removed=tmp_path / "gone.txt", messages=SILENT)
    append(tmp_path / "v2", tmp_path / "fresh", new, messages=SILENT)
    append(tmp_path / "v2", tmp_path / "reused", new, reuse_removed=True, messages=SILENT)
    assert [read(tmp_path / "v1")[0][item][3] for item in (0, 3, 6)] == [0, 1, 2]
    assert [read(tmp_path / "fresh")[0][item][3] for item in (0, 9, 12)] == [0, 3, 4]
    assert [read(tmp_path / "reused")[0][item][3] for item in (0, 9, 12)] == [0, 1, 2]
    manifests = [read_manifest(tmp_path / name) for name in ("v2", "fresh", "reused")]
    assert [manifest["semantic_ids"]["sizes"][3] for manifest in manifests] == [3, 5, 3]
    assert [manifest["version"]["retired"] for manifest in manifests] == [2, 2, 0]


def test_a_suffix_may_outgrow_a_byte(tmp_path):
    make_export(tmp_path / "v1", list(range(0, 768, 3)), made_vectors(range(0, 768, 3)), scheme="suffix")
    assert str(load_export(tmp_path / "v1").table.to_arrow()["semantic_id"].type) == "list<item: int32>"
    new = [write_vectors(tmp_path / "new.parquet", [900], made_vectors([900]))]
    append(tmp_path / "v1", tmp_path / "v2", new, messages=SILENT)
    table = load_export(tmp_path / "v2")
    assert str(table.table.to_arrow()["semantic_id"].type) == "list<item: int32>"
    assert table.table.semantic_id(900)[3] == 256
    assert np.array_equal(table.table.semantic_ids[:256], load_export(tmp_path / "v1").table.semantic_ids)
