"""Semantic IDs as other programs, and our own commands, write them."""

import json

import pytest

from sid_jax.export.id_tables import read_id_table


@pytest.mark.parametrize("written", ["[1 2 3]", '"[1, 2, 3]"', '"(1, 2, 3)"', "1 2 3", "1-2-3"])
def test_an_export_that_pandas_wrote_again_as_csv_is_read(tmp_path, written):
    (tmp_path / "ids.csv").write_text(f"item_id,codes,semantic_id,sid\n7,[1 2],{written},1-2-3\n")
    assert read_id_table(tmp_path / "ids.csv").semantic_ids.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("token", ["<a_{}>", "<s_a_{}>"])
def test_tokens_that_a_pattern_with_a_prefix_wrote_are_read(tmp_path, token):
    (tmp_path / "ids.json").write_text(json.dumps({"1": [token.format(340), token.format(2)]}))
    assert read_id_table(tmp_path / "ids.json").semantic_ids.tolist() == [[340, 2]]
