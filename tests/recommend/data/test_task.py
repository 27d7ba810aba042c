from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from sid_jax.recommend.config import check_config, default_config
from sid_jax.recommend.data.quantizer import quantizer_config
from sid_jax.recommend.data.task import divide, load_task
from tests.commands import ROOT
from tests.data.test_histories import make

WORDS = ("red nail polish", "blue nail polish", "face cream", "hand cream", "hair brush", "hot air brush", "soap")


def write_catalog(folder: Path) -> Path:
    folder.mkdir()
    items = [{"item": number, "title": title, "text": title} for number, title in enumerate(WORDS)]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    (folder / "sequences.txt").write_text("".join(f"u{user} 6 1 2 {user % 3 + 3} 0\n" for user in range(6)))
    return folder


def test_one_setting_names_the_catalog_of_ids_and_histories(tmp_path: Path):
    config = default_config()
    config.data.source = "amazon-2014-beauty"
    config.data.path = str(write_catalog(tmp_path / "prepared"))
    config.data.cache_dir = str(tmp_path / "cache")
    config.ids, config.made_levels, config.made_codes = "kmeans", 1, 2
    check_config(config)
    task = load_task(config)
    assert task.table.item_ids.tolist() == list(range(7))
    assert task.table.titles.tolist() == list(WORDS)
    assert len(np.unique(task.table.semantic_ids, axis=0)) == 7
    assert task.split.test.targets.tolist() == [0] * 6
    assert task.split.train.of(0).tolist() == [6, 1, 2]


def test_users_with_few_interactions_are_dropped_with_a_warning(caplog):
    split = divide(default_config(), make([1, 2, 3, 4, 5], [1, 2], [5, 4, 3, 2, 1]))
    assert len(split.train) == 2
    assert "1 of 3 users have fewer than 5 interactions (data.min_interactions) and were dropped" in caplog.text


def test_a_quantizer_with_data_of_its_own_keeps_it():
    config = default_config()
    config.data.source = "movielens-100k"
    assert quantizer_config(config).data.source == "movielens-100k"
    config.quantizer.data.path = "vectors.npy"
    assert quantizer_config(config).data.source == "vectors"
    config.quantizer.data.path, config.quantizer.data.source = "", "amazon-2023-toys"
    assert quantizer_config(config).data.source == "amazon-2023-toys"


@pytest.mark.parametrize("file", ["recommend.py", "joint.py"])
def test_a_catalog_that_lies_elsewhere_is_found_by_the_quantizer_too(file):
    config = runpy.run_path(str(ROOT / "configs" / file))["get_config"]("ml100k")

    def of_quantizer():
        data = quantizer_config(config).data
        return data.source, data.path, data.cache_dir

    config.data.path, config.data.cache_dir = "films.zip", "cache"
    assert of_quantizer() == ("movielens-100k", "films.zip", "cache")
    config.quantizer.data.path, config.quantizer.data.cache_dir = "other.zip", "own"
    assert of_quantizer() == ("movielens-100k", "other.zip", "own")


def test_histories_beside_own_vectors_lie_where_the_catalog_does():
    config = default_config()
    config.data.source, config.data.path, config.data.core = "amazon-2014-beauty", "reviews", 3
    config.quantizer.data.source = "amazon-2014-beauty"
    assert quantizer_config(config).data.core == 3
    config.quantizer.data.source, config.quantizer.data.path = "vectors", "items.npy"
    config.quantizer.data.histories.source = "amazon-2014-beauty"
    data = quantizer_config(config).data
    assert (data.path, data.histories.path) == ("items.npy", "reviews")
