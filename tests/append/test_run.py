"""Appends to exports of an untrained model with random codebooks."""

from __future__ import annotations

import json
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sid_jax import SemanticIdTokenizer
from sid_jax.append.run import append, append_items
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export, write_export
from sid_jax.export.atomic import atomic_folder
from sid_jax.export.manifest import content_of, manifest_hash, read_manifest
from sid_jax.messages import Messages
from tests.append.conftest import made_vectors, make_export, write_vectors
from tests.commands import refused, run

SILENT = Messages.silent()


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """An export of the items 0 to 29, with titles."""
    titles = np.array([f"item {number}" for number in range(30)], dtype=object)
    folder = tmp_path_factory.mktemp("first") / "v1"
    return make_export(folder, list(range(30)), made_vectors(range(30)), columns={"title": titles})


def ids_of(folder):
    export = load_export(folder, verify=True)
    return dict(zip(export.table.item_ids.tolist(), map(tuple, export.table.semantic_ids.tolist()), strict=True))


def refusal(*words, **kwargs):
    with pytest.raises(UserError) as caught:
        append(*words, messages=SILENT, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_new_items_join_known_ones_keep_their_ids_and_the_chain_is_written_down(first, tmp_path):
    numbers = [40, 7, 31, 35]
    new = write_vectors(tmp_path / "new.parquet", numbers, made_vectors(numbers), title=["a", "b", "c", None])
    append(first, tmp_path / "v2", [new], messages=SILENT)
    before, after = ids_of(first), ids_of(tmp_path / "v2")
    assert list(after) == [*range(30), 31, 35, 40]
    assert {item: after[item] for item in before} == before
    assert len(set(after.values())) == 33
    export, old = load_export(tmp_path / "v2"), load_export(first)
    first_rows, before_rows = export.table.to_arrow().slice(0, 30), old.table.to_arrow()
    assert first_rows.schema == before_rows.schema
    # The append changes the title of item 7. It changes no other column.
    assert first_rows.drop_columns(["title"]).equals(before_rows.drop_columns(["title"]))
    titles = [f"item {number}" if number != 7 else "b" for number in range(30)]
    assert export.table.to_arrow()["title"].to_pylist() == [*titles, "c", None, "a"]
    np.testing.assert_array_equal(export.encode(made_vectors([31, 35, 40])), export.table.codes[30:])
    names = {path.name for path in (tmp_path / "v2").iterdir()}
    assert names == {path.name for path in first.iterdir()} | {"retired.parquet"}
    for name in ("codebooks.safetensors", "codebooks.pt"):
        assert (tmp_path / "v2" / name).read_bytes() == (first / name).read_bytes()
    assert export.manifest["version"] == {
        "number": 2, "parent": {"name": "v1", "manifest_sha256": manifest_hash(first)},
        "kept": 30, "already_there": 1, "added": 3, "removed": 0, "returned": 0, "came_and_went": 0, "changed": 0,
        "columns_updated": 1, "moved": 0, "retired": 0,
    }  # fmt: skip


def test_an_item_that_returns_in_memory_is_a_warning(first, caplog):
    without = append_items(load_export(first), (), (), remove=[3])
    assert "returned" not in caplog.text
    append_items(without, [3], made_vectors([3]))
    assert "1 item of the input had been removed earlier (in version 2) and returned, such as 3" in caplog.text
    assert 'append again with on_returned="error"' in caplog.text


def test_who_leaves_has_the_id_to_come_back_to(first, tmp_path):
    (tmp_path / "gone.txt").write_text("3\n4\n")
    append(first, tmp_path / "v2", removed=tmp_path / "gone.txt", messages=SILENT)
    before, without = ids_of(first), ids_of(tmp_path / "v2")
    assert without == {item: before[item] for item in before if item not in (3, 4)}
    retired = pq.read_table(tmp_path / "v2" / "retired.parquet").to_pydict()
    assert retired["item_id"] == [3, 4] and retired["removed_in"] == [2, 2]
    assert list(map(tuple, retired["semantic_id"])) == [before[3], before[4]]
    # Item 3 returns with another vector.
    back = write_vectors(tmp_path / "back.parquet", [50, 3], made_vectors([50, 51]))
    append(tmp_path / "v2", tmp_path / "v3", [back], messages=SILENT)
    after = ids_of(tmp_path / "v3")
    assert after[3] == before[3] and after[50] not in before.values()
    manifest = read_manifest(tmp_path / "v3")
    assert [manifest["version"][name] for name in ("number", "returned", "retired")] == [3, 1, 1]
    assert load_export(tmp_path / "v3").table.to_arrow()["title"].to_pylist()[-2:] == ["item 3", None]


@pytest.mark.parametrize("sharded", [False, True])
def test_the_order_of_rows_and_files_does_not_matter(tmp_path, sharded):
    ids = [f"sku-{number:03}" for number in range(20)]
    make_export(tmp_path / "v1", ids, made_vectors(range(20)), sharded=sharded)
    numbers = np.arange(30, 50)
    for name, order in (("there", numbers), ("back", numbers[::-1])):
        (tmp_path / name).mkdir()
        for part in range(2):
            half = order[10 * part : 10 * part + 10]
            names = [f"sku-é{number}" for number in half]
            write_vectors(tmp_path / name / f"{part}.parquet", names, made_vectors(half))
        append(tmp_path / "v1", tmp_path / f"v2-{name}", [str(tmp_path / name)], messages=SILENT)
    one, other = tmp_path / "v2-there", tmp_path / "v2-back"
    assert len(ids_of(one)) == 40
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in other.iterdir())
    assert (one / "ids.parquet" / "ids-00000-of-00001.parquet").exists() == sharded
    for path in one.rglob("*"):
        if path.is_file() and path.name != "manifest.json":
            assert path.read_bytes() == (other / path.relative_to(one)).read_bytes(), path.name
    assert read_manifest(one)["drift"] == read_manifest(other)["drift"]


def test_ids_in_a_text_file_are_numbers_where_the_export_has_numbers(first, tmp_path):
    np.save(tmp_path / "new.npy", made_vectors([60, 61]))
    (tmp_path / "ids.txt").write_text("60\n61\n")
    append(first, tmp_path / "v2", [f"{tmp_path}/new.npy"], ids_paths=[f"{tmp_path}/ids.txt"], messages=SILENT)
    assert list(ids_of(tmp_path / "v2"))[-2:] == [60, 61]
    (tmp_path / "ids.txt").write_text("60\n061\n")
    words = refusal(first, tmp_path / "v3", [f"{tmp_path}/new.npy"], ids_paths=[f"{tmp_path}/ids.txt"])
    assert "id '061' is not a whole number" in words


def test_what_cannot_be_appended_is_refused_in_one_line_and_nothing_is_left(first, tmp_path):
    def new(ids, vectors, **columns):
        return [write_vectors(tmp_path / "new.parquet", ids, vectors, **columns)]

    def removed(text):
        (tmp_path / "gone.txt").write_text(text)
        return tmp_path / "gone.txt"

    out, good = tmp_path / "v2", new([70], made_vectors([70]))
    np.save(tmp_path / "bare.npy", made_vectors([70]))
    assert "needs new items (--input=FILES)" in refusal(first, out)
    assert "and 'suffix' would mix two schemes" in refusal(first, out, good, unique="suffix")
    assert "has no ids, and row numbers may be" in refusal(first, out, [f"{tmp_path}/bare.npy"])
    assert "item 99 is not in the export" in refusal(first, out, good, removed=removed("3\n99\n"))
    assert "lists every item" in refusal(first, out, removed=removed("\n".join(map(str, range(30)))))
    words = refusal(first, out, good, removed=removed("5\n70\n71\n"))
    assert "item 71" in words and "not in the exp" in words
    assert "item 5 is also in --input" in refusal(first, out, new([5], made_vectors([5])), removed=removed("5\n"))
    assert "vectors have 5 features, but the model needs 6" in refusal(first, out, new([70], made_vectors([70])[:, :5]))
    assert "id 70 is in row 0 and again in row 1" in refusal(first, out, new([70, 70], made_vectors([70, 71])))
    bad = made_vectors([70, 71])
    bad[1, 2] = np.nan
    assert "row 1 (counted from 0, id 71) has nan" in refusal(first, out, new([70, 71], bad))
    assert "column 'title' cannot be" in refusal(first, out, new([70], made_vectors([70]), title=[b"\xff"]))
    many = np.random.default_rng(0).normal(size=(31, 6)).astype(np.float32)
    words = refusal(first, out, new(range(100, 131), many))
    assert "new items is 31, but " in words and "only 30 free IDs out of 60" in words and "--reuse_removed" in words
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.npy", "gone.txt", "new.parquet"]


def test_a_full_table_takes_the_ids_of_those_who_left_only_when_asked(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(61, 6)).astype(np.float32)
    make_export(tmp_path / "v1", list(range(60)), vectors[:60])
    (tmp_path / "gone.txt").write_text("17\n")
    new = [write_vectors(tmp_path / "new.parquet", [100], vectors[60:])]
    assert "only 0 free IDs out of 60" in refusal(tmp_path / "v1", tmp_path / "v2", new, removed=tmp_path / "gone.txt")
    append(tmp_path / "v1", tmp_path / "v2", new, removed=tmp_path / "gone.txt", reuse_removed=True, messages=SILENT)
    assert ids_of(tmp_path / "v2")[100] == ids_of(tmp_path / "v1")[17]
    assert read_manifest(tmp_path / "v2")["version"]["retired"] == 0


def test_a_damaged_or_edited_export_is_refused(tmp_path):
    new = [write_vectors(tmp_path / "new.parquet", [70], made_vectors([70]))]

    def damaged(name, change):
        folder = make_export(tmp_path / name, list(range(9)), made_vectors(range(9)))
        change(folder)
        return refusal(folder, tmp_path / "v2", new)

    def edit(folder, **changes):
        content = json.loads((folder / "manifest.json").read_text()) | changes
        (folder / "manifest.json").write_text(json.dumps(content))

    def without_digest(folder, **changes):
        edit(folder, **changes)
        content = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in content.items() if k != "digest"}))

    def flip(folder):
        content = bytearray((folder / "codebooks.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "codebooks.safetensors").write_bytes(content)

    made = {"scheme": "relocate", "capacity": 1, "length": 3, "sizes": [4, 3, 6]}
    assert "was edited after the export" in damaged("a", lambda folder: edit(folder, step=4))
    assert "codebooks.safetensors was changed" in damaged("b", flip)
    assert "contradict each other" in damaged("c", lambda folder: without_digest(folder, semantic_ids=made))
    assert "is missing or wrong" in damaged("d", lambda folder: without_digest(folder, semantic_ids={"scheme": "best"}))
    assert "is missing or wrong" in damaged("e", lambda folder: without_digest(folder, schema=None))
    assert "nowhere: no such folder; give the folder of an export" in refusal(
        tmp_path / "nowhere", tmp_path / "v2", new
    )
    assert not (tmp_path / "v2").exists()


def test_neither_the_files_times_nor_what_the_manifest_calls_its_time_matter(first, tmp_path, monkeypatch):
    """From the second append on, the clock shows a time that is years before the first export."""
    import sid_jax.export.manifest as manifest

    class Earlier(manifest.datetime.datetime):
        @classmethod
        def now(cls, zone=None):
            return cls(1999, 1, 1, tzinfo=zone)

    new = [write_vectors(tmp_path / "new.parquet", [70], made_vectors([70]))]
    append(first, tmp_path / "v2", new, messages=SILENT)
    monkeypatch.setattr(manifest.datetime, "datetime", Earlier)
    append(first, tmp_path / "early", new, messages=SILENT)
    append(tmp_path / "early", tmp_path / "v3", new, messages=SILENT)
    assert read_manifest(tmp_path / "early")["created"].startswith("1999")
    assert ids_of(tmp_path / "early") == ids_of(tmp_path / "v2") == ids_of(tmp_path / "v3")
    assert read_manifest(tmp_path / "v3")["version"]["number"] == 3


def test_of_two_appends_to_one_folder_one_wins_and_a_full_disk_leaves_nothing(first, tmp_path, monkeypatch):
    new = [write_vectors(tmp_path / "new.parquet", [70], made_vectors([70]))]
    with atomic_folder(tmp_path / "v2") as folder:
        (folder / "x").write_text("x")
        assert "another process is writing" in refusal(first, tmp_path / "v2", new)
    assert [path.name for path in (tmp_path / "v2").iterdir()] == ["x"]
    assert "exists and is not empty" in refusal(first, tmp_path / "v2", new)
    assert "cannot write /proc/v2" in refusal(first, Path("/proc/v2"), new)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))
    try:
        assert "File too large" in refusal(first, tmp_path / "v3", new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.parquet", "v2"]


def test_the_command_appends_in_words_and_refuses_in_one_line(first, tmp_path):
    new = write_vectors(tmp_path / "new.parquet", [70, 71], made_vectors([70, 71]))
    words = [f"--append_to={first}", f"--input={new}", f"--out={tmp_path}/v2"]
    result = run("export.py", *words)
    assert result.returncode == 0, result.stderr
    for said in (
        "Version 2 of",
        "32 Semantic IDs",
        "Retraining is",
        f"The version is in {tmp_path}/v2: ids.csv, ids.parquet",
    ):
        assert said in result.stdout
    assert re.search("items added +│ +2 │", result.stdout)
    assert re.search("published IDs changed +│ +0 │", result.stdout)
    assert "give only one of the two" in refused(run("export.py", *words, f"--align_to={first}"))
    alone = {
        "--remove=x": "--remove needs --append_to=EXPORT",
        "--on_unknown=drop": "--on_unknown needs --append_to=EXPORT",
        "--engine=ray": "--engine needs --input=FILES",
    }
    for flag, words in alone.items():
        assert words in refused(run("export.py", flag, f"--out={tmp_path}/v3"))


def without_names(export):
    """The content of a manifest without names, times and files."""
    manifest = content_of(export.manifest)
    del manifest["data"]["source"]
    manifest["version"]["parent"].pop("name")
    return manifest


@pytest.mark.parametrize("scheme", ["relocate", "suffix", "none"])
def test_in_memory_the_next_version_is_what_the_command_writes(tmp_path, scheme):
    titles = np.array([f"item {number}" for number in range(20)], dtype=object)
    make_export(tmp_path / "v1", list(range(20)), made_vectors(range(20)), scheme=scheme, columns={"title": titles})
    numbers, gone = [40, 7, 31, 3], [5, 9, 5]
    new = write_vectors(tmp_path / "new.parquet", numbers, made_vectors(numbers), title=["a", "b", "c", None])
    (tmp_path / "gone.txt").write_text("\n".join(map(str, gone)))
    append(tmp_path / "v1", tmp_path / "v2", [new], removed=tmp_path / "gone.txt", messages=SILENT)
    before = load_export(tmp_path / "v1")
    columns = {"title": ["a", "b", "c", None], "color": [1, 2, 3, 4]}
    made = append_items(before, numbers, made_vectors(numbers).tolist(), columns=columns, remove=gone)
    wanted = load_export(tmp_path / "v2", verify=True)
    assert made.table.to_arrow().equals(wanted.table.to_arrow())
    assert made.retired.to_arrow().equals(wanted.retired.to_arrow())
    assert without_names(made) == without_names(wanted)
    write_export(made, tmp_path / "written")
    names = [path.name for path in (tmp_path / "v2").iterdir() if path.name != "manifest.json"]
    assert all((tmp_path / "v2" / name).read_bytes() == (tmp_path / "written" / name).read_bytes() for name in names)
    # A removed item that is added again gets its retired ID back, whether the previous version is in memory or on disk.
    again, read = (append_items(each, [50, 9], made_vectors([50, 51])) for each in (made, wanted))
    assert again.table.semantic_id(9) == before.table.semantic_id(9)
    assert again.table.to_arrow().equals(read.table.to_arrow())
    assert again.manifest["version"] == {
        **read.manifest["version"], "parent": {"name": made.table.name, "manifest_sha256": None},
    }  # fmt: skip
    assert read.manifest["version"]["parent"] == {"name": "v2", "manifest_sha256": manifest_hash(tmp_path / "v2")}


def test_in_memory_items_may_leave_where_none_come(first):
    export = load_export(first)
    made = append_items(export, [], [], remove=[3])
    assert made.table.item_ids.tolist() == [item for item in range(30) if item != 3]
    assert made.retired.item_ids.tolist() == [3] and made.manifest["drift"]["new_items"] is None
    with pytest.raises(UserError, match="lists every item"):
        append_items(export, [], [], remove=range(30))


def test_in_memory_unknown_and_bad_items_are_dropped_on_request(first, tmp_path, caplog):
    export, titles = load_export(first), {"title": ["a", "b"]}
    vectors = made_vectors([70, 71])
    wanted = append_items(export, [70], vectors[:1], columns={"title": ["a"]}, remove=[3])
    vectors[1, 2] = np.inf
    tokenizer = SemanticIdTokenizer.from_export(export)
    tokenizer.append([70, 71], vectors, columns=titles, remove=[3, 99, 98], on_unknown="drop", on_bad_rows="drop")
    assert tokenizer.table.to_arrow().equals(wanted.table.to_arrow())
    assert tokenizer.export.manifest["data"]["num_left_out"] == 1
    assert "2 of 3 items are unknown and were dropped" in caplog.text and "1 of 2 rows" in caplog.text
    # Without `on_bad_rows`, the setting of the run applies, as in the command.
    export.manifest["config"]["data"]["on_bad_rows"] = "drop"
    made = append_items(export, [70, 71], vectors, columns=titles, remove=[3])
    assert made.table.to_arrow().equals(wanted.table.to_arrow())
    assert append_items(export, [71], vectors[1:], remove=[3]).table.item_ids.tolist() == [0, 1, 2, *range(4, 30)]
    with pytest.raises(UserError, match="has inf"):
        append_items(export, [70, 71], vectors, on_bad_rows="error")
    with pytest.raises(UserError, match="on_bad_rows is 'ignore'; choose one of error, drop, report"):
        append_items(export, [70, 71], vectors, on_bad_rows="ignore")


def test_what_cannot_be_appended_in_memory_is_said(first):
    export, vectors = load_export(first), made_vectors([70, 71])
    for words, given, more in (
        (r"vectors have shape \[2, 5\], but 2 new items of this export need \[2, 6\]", ([70, 71], vectors[:, :5]), {}),
        (r"has nan .* \(on_bad_rows=\"drop\"\)", ([70, 71], np.where(np.eye(2, 6), np.nan, 0)), {}),
        ("has no vector: it is null, or all its values are NaN", ([70, 71], np.full((2, 6), np.nan)), {}),
        ("id 70 is in row 0 and again in row 1", ([70, 70], vectors), {}),
        ("item_ids are text, such as 'x', .* are whole numbers", (["x", "7"], vectors), {}),
        ("item_ids are text, such as '7', .* are whole numbers", (["7", "8"], vectors), {}),
        ("vectors are given without item_ids; give the id of each new item", ((), vectors), {}),
        ("item_ids: found NoneType; give a list", (None, vectors), {}),
        ("item_ids: found set; give a list", ({70, 71}, vectors), {}),
        (r"item 99 is not in the export: .* \(on_unknown=\"drop\"\)", ([70, 71], vectors), {"remove": [99]}),
        ("item 7 is also in item_ids", ([7, 71], vectors), {"remove": [7]}),
        ("column 'title' cannot be converted to", ([70, 71], vectors), {"columns": {"title": [b"\xff", b"\xfe"]}}),
    ):
        with pytest.raises(UserError, match=words):
            append_items(export, *given, **more)
