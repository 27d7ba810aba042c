from __future__ import annotations

import numpy as np
import pytest

import sid_jax.llm
from sid_jax.errors import UserError
from sid_jax.export.artifact import load_export
from sid_jax.llm import id_tokens
from tests.tokens.conftest import FIRST_ID, made_ids


@pytest.mark.parametrize("scheme", ["relocate", "suffix", "none"])
def test_an_export_and_its_folder_of_tokens_give_the_same(made, scheme):
    of_folder, of_export = id_tokens(made / "tokens" / scheme), id_tokens(load_export(made / "exports" / scheme))
    of_path = id_tokens(str(made / "exports" / scheme))
    for tokens in (of_folder, of_export, of_path):
        np.testing.assert_array_equal(tokens.table.semantic_ids, made_ids(scheme)[1])
        assert tokens.vocabulary.sizes == of_folder.vocabulary.sizes and tokens.num_content_levels == 3
        assert tokens.texts.to_pylist() == of_folder.texts.to_pylist()
    assert (of_folder.vocabulary.first_id, of_export.vocabulary.first_id) == (FIRST_ID, 0)
    np.testing.assert_array_equal(of_folder.token_ids, of_export.token_ids + FIRST_ID)
    assert id_tokens(of_folder) is of_folder
    assert id_tokens(of_export.table, first_id=2).vocabulary.first_id == 2


def test_what_is_no_source_of_tokens_is_refused(tmp_path):
    with pytest.raises(UserError, match="an object of type int"):
        id_tokens(3)
    (tmp_path / "tokens.json").write_text("{}")
    with pytest.raises(UserError, match="run sid-jax tokens again"):
        id_tokens(tmp_path)


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sid_jax.llm._MODULES, "wanted", "sid_jax.llm.wanted")

    def refuse(name):
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr(sid_jax.llm.importlib, "import_module", refuse)
    with pytest.raises(UserError, match=r"needs torch: run pip install 'sid_jax\[llm\]'"):
        _ = sid_jax.llm.wanted
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sid_jax.llm.nothing
    assert dir(sid_jax.llm) == sorted(sid_jax.llm.__all__)
