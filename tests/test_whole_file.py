import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sid_jax.whole_file import whole_file, write_json


def test_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "figures.json"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: write_json(path, [number] * 1000), range(200)))
    assert set(json.loads(path.read_text())) <= set(range(200))
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_if_the_block_fails(tmp_path):
    path = tmp_path / "figures.json"
    write_json(path, {"mean": np.float32(0.5), "counts": np.arange(2)})
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        write_json(path, object())
    assert json.loads(path.read_text()) == {"mean": 0.5, "counts": [0, 1]}
    assert list(tmp_path.iterdir()) == [path]
