import itertools
import json
import re

import numpy as np
import pytest
from rich.console import Console

from sid_jax.config import check_config, default_config
from sid_jax.data.inputs import vector_set
from sid_jax.messages import Messages
from sid_jax.training import level_choice
from sid_jax.training.level_choice import collision_shares, with_levels

# The smallest number of items for which three levels of 256 codes are too few.
MANY = 41_944


def catalog(kind, num_items=MANY, features=8):
    """Returns vectors that are spread evenly ("even"), in clusters of different sizes, or half equal ("copies")."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(num_items, features)).astype(np.float32)
    if kind == "clusters":
        sizes = 1 / np.arange(1, 301) ** 1.1
        centers = random.normal(size=(300, features))
        vectors = vectors * 0.2 + centers[random.choice(300, num_items, p=sizes / sizes.sum())]
    if kind == "copies":
        vectors[: num_items // 2] = vectors[0]
    return vectors.astype(np.float32)


def chosen(vectors, workdir=None, console=None, catalog_size=0, **model):
    config = default_config()
    config.data.unit_norm, config.data.catalog_size = False, catalog_size
    config.model.update(model)
    check_config(config)
    messages = Messages.to_console(console) if console else Messages.silent()
    data = vector_set(vectors, settings=config.data)
    return with_levels(config, data, workdir, messages).model


def test_dense_clusters_get_more_levels_and_the_reason_is_told():
    console = Console(record=True, width=250)
    assert chosen(catalog("clusters"), console=console, codebook_size=64).num_levels == 5
    told = r"estimated share of items that share their codes with other items: (19|20)% with 4 levels, 3% with 5\)"
    assert re.search(r"model\.num_levels=auto: 5 \(" + told, console.export_text())
    assert chosen(catalog("even"), codebook_size=64).num_levels == 4


def test_a_sample_gets_the_levels_that_its_catalog_needs():
    vectors = catalog("clusters")
    sample = vectors[np.random.default_rng(1).choice(MANY, MANY // 2, replace=False)]
    size = {"codebook_size": 64}
    assert chosen(sample, **size).num_levels == 3
    assert chosen(sample, catalog_size=MANY, **size).num_levels == chosen(vectors, **size).num_levels == 5


def test_no_level_is_added_for_items_that_levels_cannot_tell_apart():
    assert chosen(catalog("copies"), codebook_size=64).num_levels == 4


def test_nothing_is_measured_where_a_rule_or_the_user_decides(monkeypatch):
    monkeypatch.setattr(level_choice, "collision_shares", None)
    assert chosen(catalog("clusters", 3000)).num_levels == 3
    assert chosen(catalog("clusters"), num_levels=4).num_levels == 4
    assert chosen(catalog("clusters"), codebook_size=(64, 64)).num_levels == 2
    assert chosen(catalog("clusters"), quantizer="opq", encoder="identity", quantization_method="ema").num_levels == 4


def test_a_run_that_is_resumed_keeps_its_levels(monkeypatch, tmp_path):
    monkeypatch.setattr(level_choice, "collision_shares", None)
    record = {"config": {"model": {"num_levels": 7, "codebook_size": 256}}, "data_fingerprint": ""}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert chosen(catalog("clusters"), tmp_path).num_levels == 7


def shares(vectors, num_levels=3):
    config = default_config()
    config.data.unit_norm = False
    with config.ignore_type():
        config.model.update({"codebook_size": 16, "num_levels": num_levels})
    return list(itertools.islice(collision_shares(config, vector_set(vectors, settings=config.data)), num_levels))


@pytest.mark.parametrize("features", [3, 100])
def test_shares_are_those_of_the_quantized_vectors(features):
    """There are 256 points (`sites`) in 16 distant groups of 16, so two levels of 16 codes distinguish all points.

    Half of the points are the vector of one item each, and the other half are the equal vectors of three items each.
    """
    random = np.random.default_rng(1)
    far, near = (random.normal(size=(16, features)) for _ in range(2))
    sites = (100 * far[:, None] + near).reshape(256, features)
    counts = np.tile([1, 3], 128)
    vectors = np.repeat(sites, counts, axis=0).astype(np.float32)
    one, two, three = shares(vectors)
    assert one == 1.0
    assert two == three == pytest.approx(3 * 128 / len(vectors), abs=0.05)


def test_a_sample_estimates_the_share_of_the_catalog(monkeypatch):
    vectors = catalog("even", 16_000)
    whole = shares(vectors, 5)
    monkeypatch.setattr(level_choice, "_COUNTED_ITEMS", 4000)
    monkeypatch.setattr(level_choice, "_FITTED_ITEMS", 4000)
    estimates = shares(vectors, 5)
    for share, estimate in zip(whole[:4], estimates[:4], strict=True):
        assert 0.6 * share < estimate < 1.6 * share
    assert estimates[4] < 0.1
    assert whole == sorted(whole, reverse=True) and whole[-1] < 0.1 < whole[3]
