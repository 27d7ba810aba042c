"""Exports in buckets: atomic writes, reads and appends."""

import io
import json
import shutil

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import sid_jax
from sid_jax import UserError
from sid_jax.append.run import append
from sid_jax.buckets.fetch import UPLOADING
from sid_jax.buckets.outputs import output_folder, upload_folder
from sid_jax.export.artifact import load_export
from sid_jax.export.atomic import atomic_folder
from sid_jax.messages import Messages
from sid_jax.paths import as_path, file_to_write, typed
from sid_jax.whole_file import write_json
from tests.append.conftest import made_vectors, make_export
from tests.buckets.conftest import names, write

OUT = "memory://b/exports/v1"


class Killed(BaseException):
    """Raised by a call to the bucket and by all later calls, so that an upload ends as after SIGKILL."""


def export(address=OUT, text="whole", manifest="manifest.json"):
    with atomic_folder(output_folder(address)) as folder:
        (folder / "ids.csv").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "more").write_text(text)
        (folder / manifest).write_text(json.dumps({"files": {"ids.csv": {"bytes": 5}, "inner/more": {"bytes": 5}}}))


def read(address=OUT):
    """Returns what a reader gets: the contents of the files, or the error message."""
    try:
        folder = as_path(address)
    except UserError as error:
        return str(error).partition(": ")[2]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.*") if path.is_file()}


def test_the_objects_come_first_and_the_manifest_last(bucket, monkeypatch):
    order = []
    put, pipe = bucket.put_file, bucket.pipe_file
    monkeypatch.setattr(bucket, "put_file", lambda local, path: (order.append(path), put(local, path)))
    monkeypatch.setattr(bucket, "pipe_file", lambda path, value, **how: (order.append(path), pipe(path, value, **how)))
    export()
    assert order.pop(0).endswith("/.writable")
    of_export = [path.removeprefix("/b/exports/v1/") for path in order]
    assert of_export == [UPLOADING, "ids.csv", "inner/more", "manifest.json"]
    assert names(bucket, OUT) == ["ids.csv", "inner/more", "manifest.json"]


@pytest.mark.parametrize("killed_at", range(9))
def test_a_killed_upload_shows_readers_nothing_or_all_and_the_next_one_completes_it(bucket, monkeypatch, killed_at):
    count, store = 0, type(bucket)

    def dying(name):
        work = getattr(store, name)

        def call(*arguments, **how):
            nonlocal count
            count += 1
            if count > killed_at:
                raise Killed
            return work(*arguments, **how)

        return call

    with monkeypatch.context() as patch:
        for name in ("put_file", "pipe_file", "rm_file", "cat_file"):
            patch.setattr(store, name, dying(name))
        try:
            export()
            killed = False
        except Killed:
            killed = True
    whole = {"ids.csv": "whole", "manifest.json": json.dumps({"files": {"ids.csv": {"bytes": 5}}})}
    seen = read()
    assert killed or seen["ids.csv"] == "whole"
    if isinstance(seen, str):
        assert "the upload is not finished, or was killed" in seen or "no such file" in seen
        if UPLOADING in names(bucket, OUT):
            write(f"{OUT}/stray", "of the killed one")
        export(text="again")
        assert read()["ids.csv"] == "again" and "stray" not in names(bucket, OUT)
    else:
        assert seen.keys() == whole.keys() and seen["ids.csv"] == "whole"


def test_a_taken_destination_is_refused_before_any_work(bucket):
    write("memory://b/exports/v1/mine.txt", "mine")
    with pytest.raises(UserError, match="v1 exists and is not empty; choose another folder, or delete this one first"):
        output_folder(OUT)
    with pytest.raises(UserError, match=r"mine\.txt is a file; choose another folder"):
        output_folder(f"{OUT}/mine.txt")
    assert names(bucket, OUT) == ["mine.txt"]


def test_a_destination_that_cannot_be_written_is_refused_before_any_work(bucket, monkeypatch):
    def denied(*_, **__):
        raise PermissionError("Forbidden")

    monkeypatch.setattr(bucket, "pipe_file", denied)
    with pytest.raises(UserError, match=r"v1/\.writable: cannot be written, since access is denied \(Forbidden\)"):
        output_folder(OUT)


@pytest.mark.parametrize("when", ["before the first object", "before the manifest", "after the manifest"])
def test_of_two_writers_one_is_refused_and_the_export_is_that_of_the_other(bucket, monkeypatch, tmp_path, when):
    late = tmp_path / "late"
    late.mkdir()
    for name in ("ids.csv", "manifest.json"):
        (late / name).write_text('{"files": {"ids.csv": {"bytes": 4}}}' if name == "manifest.json" else "late")
    if when == "after the manifest":
        upload_folder(late, OUT, done=lambda: None)
        with pytest.raises(UserError, match="another process has written it; choose another folder"):
            upload_folder(tmp_path / "late", OUT, done=lambda: None)
    else:
        put, begun = bucket.put_file, []

        def interleaved(local, path):
            put(local, path)
            if not begun and (when == "before the first object" or path.endswith("inner/more")):
                begun.append(1)
                upload_folder(late, OUT, done=lambda: None)

        monkeypatch.setattr(bucket, "put_file", interleaved)
        with pytest.raises(UserError, match="another process is also writing this folder"):
            export()
    assert read()["ids.csv"] == "late" and names(bucket, OUT)[-1] == "manifest.json"


def test_an_export_is_read_from_its_address_and_appended_to(bucket, tmp_path, caplog):
    ids = list(range(20))
    local = make_export(tmp_path / "v1", ids, made_vectors(ids))
    make_export(output_folder(OUT), ids, made_vectors(ids))
    assert names(bucket, OUT) == sorted(path.name for path in local.iterdir())
    loaded = sid_jax.load(OUT, verify=True)
    assert loaded.table.fingerprint() == load_export(local).table.fingerprint() and loaded.table.name == "v1"
    new = [101, 102]
    vectors = pa.array(made_vectors(new).tolist(), pa.list_(pa.float32()))
    pq.write_table(pa.table({"item_id": new, "vector": vectors}), tmp_path / "new.parquet")
    write("memory://b/new.parquet", (tmp_path / "new.parquet").read_bytes())
    append(local, tmp_path / "v2", [str(tmp_path / "new.parquet")], messages=Messages.silent())
    printed = io.StringIO()
    messages = Messages.to_console(Console(file=printed, width=400))
    for _ in range(2):  # The second append is a retry, as when a scheduler runs a job again.
        append(as_path(OUT), output_folder("memory://b/exports/v2"), ["memory://b/new.parquet"], messages=messages)
    assert "memory://b/exports/v2 already has this export, from the same inputs" in printed.getvalue().splitlines()[-1]
    assert str(tmp_path) not in printed.getvalue() and f"Version 2 of {OUT}" in printed.getvalue()
    loaded = sid_jax.load("memory://b/exports/v2", verify=True)
    assert loaded.table.fingerprint() == load_export(tmp_path / "v2").table.fingerprint()
    assert loaded.export.manifest["version"]["parent"]["name"] == "v1"


def test_a_saved_tokenizer_is_uploaded_and_its_copy_serves_the_next_load(bucket, tmp_path, monkeypatch):
    make_export(tmp_path / "v1", [0, 1, 2], made_vectors([0, 1, 2]))
    tokenizer = sid_jax.load(tmp_path / "v1")
    path = tokenizer.save(OUT)
    assert typed(path) == OUT
    monkeypatch.setattr(type(bucket), "get", None)  # If `load` copied the export from the bucket again, it would fail.
    assert sid_jax.load(OUT).table.fingerprint() == tokenizer.table.fingerprint()


def test_a_file_is_uploaded_when_it_is_whole(bucket):
    write_json(file_to_write("memory://b/figures/one.json"), {"a": 1})
    with fsspec.open("memory://b/figures/one.json") as file:
        assert json.load(file) == {"a": 1}
    with pytest.raises(UserError, match="memory://b/figures is a folder; give the name of a file"):
        file_to_write("memory://b/figures")


def test_an_object_that_the_manifest_lists_and_that_is_gone_is_an_error_of_one_line(bucket, tmp_path):
    export()
    bucket.rm_file("/b/exports/v1/ids.csv")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match=r"memory://b/exports/v1: no such file in the bucket \(\S*ids\.csv\)"):
        as_path(OUT)
