from __future__ import annotations

import datetime
import hashlib
import json
import platform

import numpy as np
import pytest

import sid_jax
from sid_jax.errors import UserError
from sid_jax.export.manifest import read_manifest, write_manifest

CONTENT = {"scheme": "suffix", "metrics": {"usage": [1.0, 0.5]}, "title": "naïve"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ids.csv").write_bytes(b"a,b\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "more.bin").write_bytes(bytes(1000))
    write_manifest(tmp_path, CONTENT)
    return tmp_path


def refusal(folder, *, verify=False):
    with pytest.raises(UserError) as caught:
        read_manifest(folder, verify=verify)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(folder, **changes):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def test_it_says_what_it_was_given_and_what_it_found(folder):
    manifest = read_manifest(folder, verify=True)
    assert list(manifest) == ["format_version", "created", "versions", *CONTENT, "files", "digest"]
    assert {name: manifest[name] for name in CONTENT} == CONTENT
    assert manifest["files"] == {
        "ids.csv": {"bytes": 4, "sha256": hashlib.sha256(b"a,b\n").hexdigest()},
        "inner/more.bin": {"bytes": 1000, "sha256": hashlib.sha256(bytes(1000)).hexdigest()},
    }
    assert manifest["versions"]["sid_jax"] == sid_jax.__version__
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["versions"]["python"] == platform.python_version()
    assert set(manifest["versions"]) == {"sid_jax", "jax", "flax", "numpy", "python"}
    assert datetime.datetime.fromisoformat(manifest["created"]).utcoffset() == datetime.timedelta(0)


def test_a_second_manifest_does_not_list_the_first(folder):
    write_manifest(folder, CONTENT)
    assert set(read_manifest(folder)["files"]) == {"ids.csv", "inner/more.bin"}


def test_a_missing_manifest_is_refused(tmp_path):
    assert "is not a finished export" in refusal(tmp_path)
    assert "nowhere: no such folder; give the folder of an export" in refusal(tmp_path / "nowhere")


def test_a_manifest_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "manifest.json").mkdir()
    assert "cannot be read (Is a directory)" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 50, -3])
def test_a_truncated_manifest_is_refused(folder, kept):
    text = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(text[:kept])
    assert "is not JSON" in refusal(folder)


def test_bytes_that_are_not_text_are_refused(folder):
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    assert "is not JSON" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "3", "{}"])
def test_json_of_something_else_is_refused(folder, text):
    (folder / "manifest.json").write_text(text)
    assert "has no format_version" in refusal(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_is_refused(folder, version):
    edit(folder, format_version=version)
    assert f"has format version {version!r}, but this version of sid_jax reads 1" in refusal(folder)


@pytest.mark.parametrize("files", [None, [], {"ids.csv": 4}, {"ids.csv": {"bytes": 4}}])
def test_an_edited_list_of_files_is_refused(folder, files):
    edit(folder, files=files)
    assert "was edited" in refusal(folder)


def test_a_missing_file_is_refused(folder):
    (folder / "inner" / "more.bin").unlink()
    assert "more.bin is missing" in refusal(folder)


def test_a_file_of_another_size_is_refused(folder):
    (folder / "ids.csv").write_bytes(b"a,b")
    assert "has 3 bytes, but manifest.json lists 4" in refusal(folder)


def test_a_changed_byte_is_found_when_asked_for(folder):
    (folder / "ids.csv").write_bytes(b"a;b\n")
    assert read_manifest(folder)["scheme"] == "suffix"
    assert "ids.csv was changed" in refusal(folder, verify=True)


def test_a_manifest_edited_by_hand_is_found_when_asked_for(folder):
    edit(folder, scheme="none")
    assert read_manifest(folder)["scheme"] == "none"
    assert "was edited after the export" in refusal(folder, verify=True)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    # A manifest is also valid if its JSON text is formatted in another way, or if it has no digest.
    (folder / "manifest.json").write_text(json.dumps({**manifest, "scheme": "suffix"}))
    assert read_manifest(folder, verify=True)["scheme"] == "suffix"
    edit(folder, title="mine")
    (folder / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "digest"}))
    assert read_manifest(folder, verify=True)["scheme"] == "none"


@pytest.mark.parametrize("content", [{"files": {}}, {"digest": ""}, {"versions": {}}, {"metric": float("nan")}])
def test_content_that_cannot_stand_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match="versions|files|digest|JSON"):
        write_manifest(tmp_path, content)
    assert not list(tmp_path.iterdir())
