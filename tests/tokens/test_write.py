from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export, shard_name
from sid_jax.export.manifest import write_manifest
from sid_jax.messages import Messages
from sid_jax.tokens.write import write_tokens
from tests.commands import refused, run
from tests.tokens.conftest import FIRST_ID, SIZES, made_ids, small_model


def table_of(folder):
    return pq.read_table(folder / "items.parquet").to_pydict()


@pytest.mark.parametrize("scheme", ["relocate", "suffix", "none"])
def test_every_item_has_its_tokens_as_text_and_as_numbers(made, scheme):
    rows, (_, semantic_ids) = table_of(made / "tokens" / scheme), made_ids(scheme)
    description = json.loads((made / "tokens" / scheme / "tokens.json").read_text())
    assert rows["item_id"] == list(range(300))
    assert rows["token_ids"] == (semantic_ids + description["offsets"]).tolist()
    names = {entry["id"]: entry["content"] for entry in description["added_tokens"]}
    assert rows["tokens"] == ["".join(map(names.__getitem__, row)) for row in rows["token_ids"]]
    assert list(names) == list(range(FIRST_ID, FIRST_ID + sum(description["sizes"])))
    assert description["num_content_levels"] == 3 and len(description["sizes"]) == semantic_ids.shape[1]
    # The tokens of items are unique if and only if the scheme makes IDs unique.
    assert (len(set(rows["tokens"])) == 300) == (scheme != "none")


def test_a_tokens_vectors_are_of_its_codeword_and_of_its_items(made):
    folder = made / "tokens" / "suffix"
    arrays, model = load_file(folder / "embeddings.safetensors"), small_model()
    codebooks = [np.asarray(codebook) for codebook in model.quantizer.codebooks]
    np.testing.assert_array_equal(arrays["codewords"], np.concatenate(codebooks))
    codes, semantic_ids = made_ids("suffix")
    quantized = sum(codebook[level] for codebook, level in zip(codebooks, codes.T, strict=True))
    row = 0
    for level, size in enumerate([*SIZES, semantic_ids[:, -1].max() + 1]):
        for code in range(size):
            bearers = semantic_ids[:, level] == code
            assert arrays["num_items"][row] == bearers.sum()
            mean = quantized[bearers].mean(axis=0) if bearers.any() else quantized.mean(axis=0)
            np.testing.assert_allclose(arrays["item_vectors"][row], model.decode(mean[None])[0], atol=1e-5)
            row += 1
    assert row == len(arrays["item_vectors"]) > len(arrays["codewords"])


def test_a_table_in_many_files_gives_as_many_with_the_same_rows(made, tmp_path):
    export, whole = made / "exports" / "relocate", table_of(made / "tokens" / "relocate")
    shutil.copytree(export, tmp_path / "export")
    table = pq.read_table(export / "ids.parquet")
    for name in ("ids.parquet", "ids.csv", "trie.npz", "manifest.json"):
        (tmp_path / "export" / name).unlink()
    for number, rows in enumerate((table.slice(0, 120), table.slice(120, 0), table.slice(120))):
        # Earlier versions of sid_jax wrote these files into the folder of the export itself.
        pq.write_table(rows, tmp_path / "export" / shard_name(number, 3).removeprefix("ids.parquet/"))
    manifest = json.loads((export / "manifest.json").read_text())
    write_manifest(tmp_path / "export", {name: manifest[name] for name in ("semantic_ids", "schema", "codebooks")})
    write_tokens(tmp_path / "export", tmp_path / "out", first_id=FIRST_ID, messages=Messages.silent())
    files = sorted((tmp_path / "out" / "items.parquet").glob("items*.parquet"))
    assert [file.name for file in files] == [f"items-0000{number}-of-00003.parquet" for number in range(3)]
    parts = [pq.read_table(file).to_pydict() for file in files]
    for name, values in whole.items():
        assert sum((part[name] for part in parts), []) == values
    for name in ("trie.npz", "embeddings.safetensors", "tokens.json"):
        assert (tmp_path / "out" / name).read_bytes() == (made / "tokens" / "relocate" / name).read_bytes()
    assert (tmp_path / "out" / "trie.npz").read_bytes() == (export / "trie.npz").read_bytes()


def test_the_command_and_its_mistakes(made, tmp_path):
    export = made / "exports" / "relocate"
    result = run("-m", "sid_jax", "tokens", export, f"--out={tmp_path / 'out'}", "--pattern=[{level}|{code}]")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Writing the tokens of 300 items, their trie, and data for embeddings\n")
    assert re.search(r"tokens +│ +28 │ \[1\|0\] to \[3\|15\]", result.stdout)
    assert re.search(r"items +│ +300 │ 3 tokens each", result.stdout)
    assert json.loads((tmp_path / "out" / "tokens.json").read_text())["first_id"] == 0
    assert "give one export" in refused(run("-m", "sid_jax", "tokens", f"--out={tmp_path / 'new'}"))
    for folder, options, words in (
        (export, {"pattern": "x{code}"}, "pattern"),
        (tmp_path, {}, "not a finished export"),
        (export, {"first_id": 2**31}, "31 bits"),
    ):
        with pytest.raises(UserError, match=words):
            write_tokens(folder, tmp_path / "new", **options)
    with pytest.raises(UserError, match="not empty"):
        write_tokens(export, tmp_path / "out")
    assert not (tmp_path / "new").exists()


def test_the_table_of_ids_is_importable_as_written(made):
    import sid_jax

    export = load_export(made / "exports" / "relocate")
    assert type(export.table) is sid_jax.ids.IdTable
