"""Semantic IDs in the formats of other programs, and of this project's commands."""

import gzip
import json
import os

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sid_jax.errors import UserError
from sid_jax.export.id_tables import parse_id_source, read_id_table
from sid_jax.precision import in_32_bits
from sid_jax.tokens.vocabulary import Vocabulary


@pytest.mark.parametrize("written", ["[1 2 3]", '"[1, 2, 3]"', '"(1, 2, 3)"', "1 2 3", "1-2-3"])
def test_an_export_that_pandas_wrote_again_as_csv_is_read(tmp_path, written):
    (tmp_path / "ids.csv").write_text(f"item_id,codes,semantic_id,sid\n7,[1 2],{written},1-2-3\n")
    assert read_id_table(tmp_path / "ids.csv").semantic_ids.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("name", ["semantic_id", "sid"])
def test_codes_as_text_or_views_are_read_from_parquet_as_from_csv(tmp_path, name):
    texts, codes = ["1-2-3", "[4, 5, 6]"], [[1, 2, 3], [4, 5, 6]]
    pq.write_table(pa.table({"item": ["a", "b"], name: pa.array(texts, pa.large_string())}), tmp_path / "a.parquet")
    assert read_id_table(tmp_path / "a.parquet").semantic_ids.tolist() == codes
    pq.write_table(pa.table({"item": ["a", "b"], name: pa.array(codes, pa.list_view(pa.int32()))}), tmp_path / "b.pq")
    assert read_id_table(tmp_path / "b.pq").semantic_ids.tolist() == codes


@pytest.mark.parametrize("text", ["-1-2", "1--2", "[1, -2]", "(-1, 2)", "1 -2"])
def test_negative_codes_in_text_do_not_lose_their_sign(tmp_path, text):
    (tmp_path / "a.csv").write_text(f'item_id,sid\n7,"{text}"\n')
    with pytest.raises(UserError, match="item 7 has .*; write codes as 12 4 91 or 12-4-91"):
        read_id_table(tmp_path / "a.csv")


@pytest.mark.parametrize("token", ["<a_{}>", "<s_a_{}>"])
def test_tokens_that_a_pattern_with_a_prefix_wrote_are_read(tmp_path, token):
    (tmp_path / "ids.json").write_text(json.dumps({"1": [token.format(340), token.format(2)]}))
    assert read_id_table(tmp_path / "ids.json").semantic_ids.tolist() == [[340, 2]]


def test_an_array_on_its_side_is_turned(tmp_path, caplog):
    codes = np.random.default_rng(0).integers(0, 8, (4, 12_101))
    np.save(tmp_path / "ids.npy", codes)
    assert read_id_table(tmp_path / "ids.npy").semantic_ids.tolist() == codes.T.tolist()
    assert "12101 items of 4 codes" in caplog.text
    np.save(tmp_path / "few.npy", codes[:, :5])
    assert len(read_id_table(tmp_path / "few.npy")) == 4


def test_ids_of_thousands_of_codes_are_refused(tmp_path):
    (tmp_path / "ids.json").write_text(json.dumps({"1": [0] * 2000, "2": [1] * 2000}))
    with pytest.raises(UserError, match="have 2,000 codes; give each item 1 to 256"):
        read_id_table(tmp_path / "ids.json")


@pytest.mark.parametrize("between", ["", " ", "\n", ", ", ","])
def test_tokens_are_found_whatever_a_language_model_puts_between_them(between):
    vocabulary = Vocabulary((4, 4, 4))
    tokens = ["<a_3>", "<b_0>", "<c_2>"]
    assert vocabulary.parse(f"I suggest {between.join(tokens)}, or <a_1> and <b_2>") == [(3, 0, 2)]
    assert vocabulary.parse(between.join(tokens * 2)) == [(3, 0, 2)] * 2


def test_a_forked_worker_is_told_and_does_not_hang(monkeypatch):
    encode = in_32_bits(lambda: jnp.zeros(3).sum())
    encode()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(UserError, match="multiprocessing_context='spawn'"):
        encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.json", b'{"a": [1, 2], "b": [1, 3]}'),
        ("ids.index.json", b'{"a": ["<a_1>", "<b_2>"], "b": ["<a_1>", "<b_3>"]}'),
        ("ids.csv", b"item,semantic_id\na,1 2\nb,1 3\n"),
        ("ids.jsonl", b'{"item_id": "a", "token_ids": [1, 2]}\n{"item_id": "b", "token_ids": [1, 3]}\n'),
    ],
)
def test_files_of_text_are_read_gzipped_with_and_without_the_ending_of_gzip(name, content, tmp_path):
    for file in (name, f"{name}.gz"):
        (tmp_path / file).write_bytes(gzip.compress(content))
        table = read_id_table(tmp_path / file)
        assert table.item_ids.tolist() == ["a", "b"] and table.name == name.rpartition(".")[0]
        assert table.semantic_ids.tolist() == [[1, 2], [1, 3]]
    assert parse_id_source(str(tmp_path / "other.json.gz+1")) == (tmp_path / "other.json.gz", 1)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(content)[:-9])
    with pytest.raises(UserError, match="cut.json.gz: not a readable .json file .*; write the file again"):
        read_id_table(tmp_path / "cut.json.gz")


def test_an_empty_file_of_records_has_no_items(tmp_path):
    (tmp_path / "rec_vocab.bin").touch()
    with pytest.raises(UserError, match="has no items; give at least one"):
        read_id_table(tmp_path / "rec_vocab.bin")
