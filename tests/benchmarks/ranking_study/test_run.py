"""The whole study: rankers use the IDs of cold items, and cold items are excluded from training."""

import io
import json

import jax
import numpy as np
import pytest
from ranking_study import run as run_module
from ranking_study import sides
from ranking_study.config import check_config
from ranking_study.ml100k import get_config
from ranking_study.ratings import cold_items, make_examples, make_ratings
from ranking_study.run import run
from ranking_study.sides import load_ids, make_side
from ranking_study.training import rank
from rich.console import Console

from sid_jax.data.load import load_vectors
from sid_jax.errors import UserError
from sid_jax.export.id_tables import read_id_table
from tests.benchmarks.ranking_study.conftest import made_catalog
from tests.commands import refused
from tests.commands import run as run_command


@pytest.fixture
def console():
    return Console(record=True, width=200, file=io.StringIO())


def test_ids_say_of_cold_items_what_a_hash_does_not_and_a_second_start_trains_nothing(
    config, tmp_path, console, monkeypatch
):
    results = run(config, tmp_path / "run", console=console)
    pieces, by_chance = (results[kind, 20]["cold"] for kind in ("sentencepiece", "random"))
    assert pieces.mean > 0.75 > by_chance.mean
    difference, low, _ = pieces.minus(by_chance)
    assert 0 < low < difference
    content = json.loads((tmp_path / "run" / "results.json").read_text())
    first = content["test"][0]
    assert [first["kind"], first["rows"]] == ["sentencepiece", 20]
    assert first["cold"]["auc"] == pytest.approx(np.mean(first["cold"]["runs"]))
    assert first["cold"]["minus_random"][0] == pytest.approx(difference)
    told = console.export_text()
    assert "SentencePiece, split in training, 20 rows" in told and "Difference from random hashing" in told

    monkeypatch.setattr(run_module, "rank", lambda *args: pytest.fail("a finished ranker is trained again"))
    again = run(config, tmp_path / "run", console=console)
    assert again["random", 20]["all"].mean == results["random", 20]["all"].mean
    config.train.num_epochs = 2.0
    with pytest.raises(UserError, match="other settings"):
        run(config, tmp_path / "run", console=console)


def test_ratings_of_cold_items_change_no_answer(config):
    ratings = make_ratings(made_catalog(), liked_from=4, until=1.0, train_share=0.8)
    cold = cold_items(ratings, 0.2, 0, 0)
    table = read_id_table(config.ids)
    answers = []
    kept = np.flatnonzero(~cold[ratings.items[: ratings.num_train]])
    for liked in (ratings.liked, ratings.liked ^ cold[ratings.items]):
        changed = type(ratings)(**{**vars(ratings), "liked": liked})
        examples = make_examples(changed, cold, config.data.window)
        train = jax.tree.map(lambda leaf: leaf[kept], examples)
        test = jax.tree.map(lambda leaf: leaf[ratings.num_train :], examples)
        side = make_side(config, "sentencepiece", 20, table, np.bincount(train.items, minlength=len(cold)), 0)
        answers.append(rank(config, side, ratings.trait_sizes, train, test, 0))
    np.testing.assert_array_equal(*answers)


def test_ids_are_trained_without_the_cold_items(config, tmp_path, monkeypatch):
    config.ids = "rqvae"
    config.quantizer.data.source, config.quantizer.data.path = config.data.source, config.data.path
    ratings = make_ratings(made_catalog(), liked_from=4, until=1.0, train_share=0.8)
    cold = cold_items(ratings, 0.2, 1, 0)
    loaded = []
    monkeypatch.setattr(sides, "train", lambda settings, *args, **kwargs: loaded.append(load_vectors(settings.data)))
    monkeypatch.setattr(sides, "export", lambda *args, **kwargs: None)
    with pytest.raises(UserError, match="ids: no such file"):
        load_ids(config, ratings.item_ids, cold, 1, tmp_path / "run1")
    np.testing.assert_array_equal(loaded[0].cold, cold)


@pytest.mark.parametrize("argument", ["ml100k", "ml100k,quick"])
def test_the_settings_of_movielens_can_be_used(argument):
    check_config(get_config(argument))


def test_a_catalog_that_lies_elsewhere_is_found_by_the_quantizer_too():
    config = get_config("ml100k")

    def of_quantizer():
        data = sides._quantizer_config(config, 0, None).data
        return data.source, data.path, data.cache_dir

    config.data.path, config.data.cache_dir = "films.zip", "cache"
    assert of_quantizer() == ("movielens-100k", "films.zip", "cache")
    config.quantizer.data.path, config.quantizer.data.cache_dir = "other.zip", "own"
    assert of_quantizer() == ("movielens-100k", "other.zip", "own")


def test_vectors_are_scaled_without_the_cold_items(config):
    config.quantizer.data.source, config.quantizer.data.path = config.data.source, config.data.path
    impressions = np.ones(60, int)
    impressions[:12] = 0
    side = make_side(config, "vectors", 0, read_id_table(config.ids), impressions, 0)
    assert side.num_rows == 0 and np.abs(side.inputs[12:].mean(axis=0)).max() < 1e-5
    assert np.square(side.inputs[12:]).mean() == pytest.approx(1, rel=1e-4)


def test_vectors_go_to_their_own_films_in_whatever_order_they_come(config, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(63, 5)).astype(np.float32)
    table, found = read_id_table(config.ids), []
    data = config.quantizer.data
    data.source, data.path, data.ids_path = "vectors", str(tmp_path / "v.npy"), str(tmp_path / "v.txt")
    # The first file has the vectors in the order of the movies, and the second file in reverse order. The third file is
    # in reverse order, too, and has three additional items.
    for rows in (np.arange(60), np.arange(60)[::-1], np.arange(63)[::-1]):
        np.save(tmp_path / "v.npy", vectors[rows])
        (tmp_path / "v.txt").write_text("\n".join(map(str, rows + 1)))
        found.append(make_side(config, "vectors", 0, table, np.ones(60, int), 0).inputs)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    np.save(tmp_path / "v.npy", vectors[:58])
    (tmp_path / "v.txt").write_text("\n".join(map(str, range(1, 59))))
    with pytest.raises(UserError, match="no vectors for 2 of 60 items; the first one is 59"):
        make_side(config, "vectors", 0, table, np.ones(60, int), 0)


def test_the_command_prints_a_table_and_a_mistake_is_one_line(settings, tmp_path):
    settings = {**settings, "train.num_epochs": 1.0, "sides.kinds": "('prefix',)", "sides.rows": "(20,)"}
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    words = ["benchmarks/ranking.py", "--config=benchmarks/ranking_study/ml100k.py:ml100k,quick", *flags]
    done = run_command(*words, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "prefixes, 20 rows" in done.stdout and (tmp_path / "run" / "results.json").exists()
    assert "'bigram'" in refused(run_command(*words, "--config.sides.kinds=('bigram',)", f"--workdir={tmp_path / 'b'}"))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("sides.kinds", ("magic",), "'sentencepiece', 'unigram'"),
        ("sides.rows", (), "give a table size"),
        ("sides.rows", (5,), "at least"),
        ("data.cold_share", 0.95, "from 0.01 to 0.9"),
        ("train.batch_size", 9, "cannot be divided among 8 devices"),
        ("data.source", "amazon-2014-beauty", "must be one of 'movielens-100k'"),
        ("ids", "nowhere.npy", "nowhere.npy: no such file"),
    ],
)
def test_what_cannot_be_used_is_refused(name, value, words, config, tmp_path, console):
    section, _, field = name.rpartition(".")
    (config[section] if section else config)[field] = value
    with pytest.raises(UserError, match=words):
        run(config, tmp_path / "run", console=console)
