from pathlib import Path

import numpy as np
import pytest

from sid_jax.data.id_lists import read_item_list
from sid_jax.errors import UserError


def test_items_are_read_line_by_line(tmp_path: Path):
    path = tmp_path / "items.txt"
    path.write_text("a 1\nc\n")
    ids = np.array(["a 1", "b", "c"], dtype=object)
    assert read_item_list(path, ids).tolist() == [True, False, True]
    assert read_item_list(path, np.array(["c", "a 1"], dtype=object)).tolist() == [True, True]
    path.write_text("b\nx\n")
    with pytest.raises(UserError, match="items.txt: line 2: item 'x' is not in the catalog"):
        read_item_list(path, ids)
    path.write_text("b c\n")
    with pytest.raises(UserError, match="contain spaces, and those of the catalog do not; a list has one id per line"):
        read_item_list(path, np.array(["b", "c"], dtype=object))
    path.write_text("")
    with pytest.raises(UserError, match="empty; give a file"):
        read_item_list(path, ids)
