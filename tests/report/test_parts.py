"""The contents of the report: counts, shown items, the words that describe prefixes, and the layout of the map."""

import base64
import gzip
import io
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import read_manifest
from sid_jax.messages import Messages
from sid_jax.report import gather as gather_module
from sid_jax.report import shown as shown_module
from sid_jax.report.gather import gather
from sid_jax.report.layout import lay_out
from sid_jax.report.run import write_report
from sid_jax.report.shown import shown_items, telling_words
from tests.commands import refused, run


def unpacked(shown):
    return json.loads(gzip.decompress(base64.b64decode(shown.packed)))


def test_everything_is_counted(small):
    gathered, export = gather(small), load_export(small)
    codes = export.table.codes
    assert gathered.num_items == 400
    for counts, level in zip(gathered.level_counts, codes.T, strict=True):
        np.testing.assert_array_equal(counts, np.bincount(level, minlength=16))
    for prefix in ((3,), (3, 5), (15, 15)):
        assert gathered.prefix_counts.get(prefix, 0) == len(export.table.items(prefix))
    assert gathered.tuple_sizes == {1: 398, 2: 1} and gathered.tuples_seen == 1
    assert [(size, rows.tolist()) for size, rows in gathered.tuple_rows] == [(2, [0, 1])]


def test_of_very_many_tuples_a_share_is_counted(small, monkeypatch):
    monkeypatch.setattr(gather_module, "_MOST_TUPLES", 100)
    gathered = gather(small)
    assert gathered.tuples_seen == 4 and gathered.num_items == 400
    assert 60 < sum(size * count for size, count in gathered.tuple_sizes.items()) < 140


def test_the_page_carries_all_items_or_as_many_as_fit(small, monkeypatch):
    gathered = gather(small)
    shown = shown_items(gathered)
    content = unpacked(shown)
    assert (shown.num_items, shown.title_column, shown.columns) == (400, "title", ["price", "kind"])
    sids = list(zip(*content["sids"], strict=True))
    assert sids == sorted(sids)
    table = load_export(small).table
    assert all(table.semantic_id(item) == sid for item, sid in zip(content["ids"], sids, strict=True))
    assert [content["ids"][row] for row in content["moved"]] == ["item/1"]
    monkeypatch.setattr(shown_module, "_MOST_BYTES", len(shown.packed) // 2)
    fewer = shown_items(gathered)
    assert 100 < fewer.num_items < 300 and len(fewer.packed) <= len(shown.packed) // 2
    assert set(unpacked(fewer)["ids"]) < set(content["ids"])


def test_words_are_common_under_a_prefix_and_rare_beside():
    semantic_ids = np.array([[0, 0], [0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [1, 1], [1, 1]])
    titles = ["Red lamp", "the lamp", "lamp, blue", "lamp", "Red chair", "the chair", "chair!", "chair (small)"]
    words = telling_words(semantic_ids, [pa.chunked_array([titles]), pa.chunked_array([range(8)])])
    assert words == {"0": ["lamp"], "1": ["chair"]}
    labels = telling_words(semantic_ids, [pa.chunked_array([["a b|c"] * 4 + ["d|c"] * 4])])
    assert labels == {"0": ["a b"], "1": []} or labels == {"0": ["a b"]}
    assert telling_words(semantic_ids, [pa.chunked_array([range(8)])]) == {}


def test_like_codes_are_near_on_the_map_and_items_near_their_code():
    random = np.random.default_rng(0)
    centers = 20 * random.normal(size=(4, 6))
    first = centers[np.arange(32) % 4] + random.normal(size=(32, 6))
    layout = lay_out([first, random.normal(size=(8, 6)), random.normal(size=(8, 6))])
    distances = np.linalg.norm(layout.islands[:, None] - layout.islands[None], axis=-1) + np.eye(32) * 99
    assert (np.argsort(distances, axis=1)[:, :7] % 4 == (np.arange(32) % 4)[:, None]).mean() > 0.95
    assert all(layout.colors[island] != layout.colors[distances[island].argmin()] for island in range(32))
    ids = random.integers(0, [32, 8, 8], (500, 3))
    away = np.abs(layout.places(ids) - layout.islands[ids[:, 0]])
    assert (away <= layout.radii[ids[:, 0]][:, None]).all() and away.max() > 0
    np.testing.assert_array_equal(lay_out([first]).places(ids[:, :1]), lay_out([first]).islands[ids[:, 0]])


@pytest.mark.parametrize("codes", [1, 2, 5])
def test_few_codes_have_a_map_too(codes):
    layout = lay_out([np.eye(codes, 3), np.eye(2, 3)])
    assert np.isfinite(layout.places(np.zeros((3, 2), int))).all()


def test_a_report_is_written_anew_and_the_export_stays_whole(small, tmp_path):
    console = Console(file=io.StringIO())
    messages = Messages.to_console(console)
    (small / "report.html").write_text("an older one")
    assert write_report(small, messages=messages) == small / "report.html"
    assert (small / "report.html").stat().st_size > 1_000_000
    read_manifest(small, verify=True)
    (small / "report.html").unlink()
    assert write_report(small, tmp_path / "nowhere" / "report.html", messages=messages).exists()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot write .*file"):
        write_report(small, tmp_path / "file" / "report.html", messages=messages)
    with pytest.raises(UserError, match="is not a finished export"):
        write_report(tmp_path, messages=messages)


def test_a_damaged_record_is_refused(small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "copy")
    size = (folder / "report.json").stat().st_size
    for content, words in (("{" * size, "cannot be read"), ("{}" + " " * (size - 2), "does not have format version 1")):
        (folder / "report.json").write_text(content)
        with pytest.raises(UserError, match=rf"report\.json {words}.*export again"):
            gather(folder)


def test_the_command(small, tmp_path):
    assert run("-m", "sid_jax", "report", small, f"--out={tmp_path / 'page.html'}").returncode == 0
    assert "400 items have one ID each" in (tmp_path / "page.html").read_text()
    assert "give one, as in sid-jax report" in refused(run("-m", "sid_jax", "report"))
