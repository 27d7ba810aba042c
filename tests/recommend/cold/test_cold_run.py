from __future__ import annotations

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.recommend import run as run_module
from sid_jax.recommend.config import TERMS, check_config
from sid_jax.recommend.data.content import load_content
from sid_jax.recommend.data.split import draw_cold_items
from sid_jax.recommend.data.task import load_task
from sid_jax.recommend.models import build_model
from sid_jax.recommend.models.catalog import build_catalog
from sid_jax.recommend.run import run
from sid_jax.recommend.training.loop import free_to_change, training_examples
from sid_jax.recommender import Recommender, load_recommender
from tests.recommend.conftest import NUM_ITEMS

COLD = [7, 20, 33]
COLD_MASK = np.isin(np.arange(NUM_ITEMS), COLD)


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def cold_config(config, world):
    """A config with three cold items. Item vectors are on a circle, in the order of the items in histories."""
    angles = 2 * np.pi * np.arange(NUM_ITEMS) / NUM_ITEMS
    np.save(world / "vectors.npy", np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    (world / "cold.txt").write_text("".join(f"{item}\n" for item in COLD))
    config.data.cold_items = str(world / "cold.txt")
    config.quantizer.data.path = str(world / "vectors.npy")
    config.eval.cold_slots = 1
    config.eval.baselines = ("popularity",)
    # With these sizes, the evaluation and single requests have batches of the same shape on 8 devices: 8 histories of 8
    # items. So both use the same compiled program. Only histories of one or two items need another program.
    config.eval.batch_size = 8
    config.model.window = 8
    return config


def write_newer(path, item_ids, semantic_ids):
    rows = [f"{item},{'-'.join(map(str, codes))}" for item, codes in zip(item_ids, semantic_ids.tolist(), strict=True)]
    path.with_suffix(".csv").write_text("\n".join(["item_id,sid", *rows]))


def test_cold_items_are_found_in_their_places(cold_config, world, tmp_path, console):
    evaluations = run(cold_config, tmp_path / "run", console=console)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    slotted = evaluations[2:]
    assert [each.name for each in slotted] == ["decoder, back-off", "decoder, by ID", "semantic kNN"]
    figures = {each["name"]: each for each in results["test"]}
    for each in slotted:
        cold = np.isin(each.lists[:, :10], COLD)
        assert cold[:, 9].all() and not cold[:, :9].any()
    assert figures["popularity"]["cold"]["recall@10"] == 0
    cold = figures["decoder, back-off"]["cold"]
    low, high = cold["intervals"]["recall@10"]
    assert low <= cold["recall@10"] <= high and cold["recall@10"] > 0.9
    assert figures["decoder, back-off"]["others"]["recall@10"] > 0.8
    assert cold["num_users"] + figures["decoder"]["others"]["num_users"] == figures["decoder"]["num_users"]
    assert [each["name"] for each in results["validation_cold"]] == [each.name for each in slotted]
    assert "R@10, cold" in console.file.getvalue()

    # The saved files suffice for recommendations: no training data is read, and nothing is written.
    (tmp_path / "run" / "decoder").rename(tmp_path / "gone")
    for name in ("sequences.txt", "vectors.npy", "cold.txt"):
        (world / name).rename(tmp_path / f"gone-{name}")
    saved = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    recommender = load_recommender(tmp_path / "run")
    first, *_, last = (each.item_id for each in recommender.recommend([4, 5, 6], 5, cold_slots=1))
    assert (first, last) == (8, 7)
    # A history may contain a cold item, whose codes are read like those of a warm item.
    assert recommender.recommend([5, 6, 7], 3, cold_slots=1)[-1].item_id in (20, 33)
    with pytest.raises(UserError, match="cold_slots is 6; it must be from 0 to k=5"):
        recommender.recommend([4], 5, cold_slots=6)

    # The newer table has two new items on the circle: 40 between 13 and 14, and 41 between 30 and 31. It lacks item
    # 14 and the cold item 20.
    there = np.setdiff1d(np.arange(42), [14, 20])
    places = np.append(np.arange(NUM_ITEMS), [13.5, 30.5])[there]
    write_newer(tmp_path / "newer", there, np.append(np.load(world / "ids.npy"), [[1, 5], [3, 6]], axis=0)[there])
    angles = 2 * np.pi * places / NUM_ITEMS
    np.save(tmp_path / "newer.npy", np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))
    np.save(tmp_path / "newer-ids.npy", there)
    newer = load_recommender(
        tmp_path / "run",
        ids=tmp_path / "newer.csv",
        vectors=tmp_path / "newer.npy",
        vector_ids=tmp_path / "newer-ids.npy",
    )
    assert newer.recommend([11, 12], 5, cold_slots=1)[-1].item_id == 40
    assert newer.recommend([28, 29], 5, cold_slots=1)[-1].item_id == 41
    # Item 40 has the codes of item 13, so the model reads both items in the same way. A history may contain item 14,
    # although item 14 is not recommended.
    read = [newer.recommend([11, 12, item], 5, exclude_seen=False) for item in (13, 40)]
    assert read[0] == read[1]
    assert newer.recommend([13, 14], 1)[0].item_id == 15
    everything = newer.recommend([12, 13], 20, cold_slots=4)
    assert {7, 33, 40, 41} < {each.item_id for each in everything}
    assert {14, 20}.isdisjoint(each.item_id for each in everything)
    # Without vectors, cold items cannot be scored.
    with pytest.raises(UserError, match="the recommender has none"):
        load_recommender(tmp_path / "run", ids=tmp_path / "newer.csv").recommend([11], 5, cold_slots=1)
    assert saved == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_a_scorer_ranks_cold_items_by_what_it_expects(cold_config, tmp_path, console):
    cold_config.model.kind, cold_config.train.num_epochs = "scorer", 30.0
    evaluations = run(cold_config, tmp_path / "run", console=console)
    assert [each.name for each in evaluations] == [
        "scorer", "popularity", "scorer, back-off", "scorer, by score", "semantic kNN",
    ]  # fmt: skip
    cold = np.isin(evaluations[2].lists[:, :10], COLD)
    assert cold[:, 9].all() and not cold[:, :9].any()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["test"][2]["cold"]["recall@10"] > 0.9
    recommender = load_recommender(tmp_path / "run")
    assert recommender.recommend([4, 5, 6], 5, cold_slots=1)[-1].item_id == 7
    assert recommender.explain([4, 5, 6], 7).shares.keys() == {"item", "codes", "content", *TERMS}
    trained = recommender.trained
    without = dataclasses.replace(trained, candidates=dataclasses.replace(trained.candidates, content=None))
    with pytest.raises(UserError, match="scored by their vectors, but the recommender has none"):
        Recommender.from_trained(without).recommend([4, 5, 6], 5, cold_slots=1)


@pytest.mark.parametrize("slots", [0, 1])
def test_missing_vectors_are_found_before_anything_is_trained(
    slots, cold_config, world, tmp_path, console, monkeypatch
):
    monkeypatch.setattr(run_module, "train_configured", lambda *args, **kwargs: pytest.fail("a model was trained"))
    cold_config.eval.cold_slots, cold_config.eval.baselines = slots, () if slots else ("semantic_knn",)
    np.save(world / "few.npy", np.ones((30, 2), np.float32))
    needed_by = r"^scores of cold items \(config.eval.cold_slots=1\)" if slots else r"^baselines \(.*=semantic_knn\)"
    for path, words in (
        ("", f"{needed_by} use vectors .* has no vectors"),
        (str(world / "few.npy"), "no vectors for 10 of 40 items"),
    ):
        cold_config.quantizer.data.path = path
        with pytest.raises(UserError, match=words):
            run(cold_config, tmp_path / "run", console=console)


def test_joint_training_asks_for_vectors_before_it_begins(cold_config, tmp_path, console, monkeypatch):
    monkeypatch.setattr(run_module, "train_configured", lambda *args, **kwargs: pytest.fail("a model was trained"))
    cold_config.joint.estimator, cold_config.eval.baselines = "ste", ("semantic_knn",)
    cold_config.data.cold_items, cold_config.eval.cold_slots, cold_config.quantizer.data.path = "", 0, ""
    with pytest.raises(UserError, match="has no vectors"):
        run(cold_config, tmp_path / "run", console=console)


def test_where_vectors_come_from_may_change_where_ids_are_given(cold_config):
    vectors = {f"quantizer.data.{name}" for name in ("source", "id_column", "vector_column", "text_column")}
    assert vectors < set(free_to_change(cold_config))
    for made in ("rqvae", "kmeans"):
        cold_config.ids = made
        assert vectors.isdisjoint(free_to_change(cold_config))


def test_nothing_that_is_learned_knows_of_cold_items(cold_config, world, tmp_path, console):
    seen = []
    # In the second pass, the IDs, vectors and interactions of the three cold items are permuted.
    for others, names in ((COLD, {}), ([20, 33, 7], {"7": "33", "20": "7", "33": "20"})):
        for file in ("ids.npy", "vectors.npy"):
            rows = np.load(world / file)
            rows[COLD] = rows[others]
            np.save(world / file, rows)
        words = [line.split() for line in (world / "sequences.txt").read_text().splitlines()]
        lines = [" ".join([user, *(names.get(item, item) for item in items)]) for user, *items in words]
        (world / "sequences.txt").write_text("\n".join(lines))
        task = load_task(cold_config)
        examples, content = (
            training_examples(cold_config, task),
            load_content(cold_config, task.table.item_ids, COLD_MASK),
        )
        catalogs = [build_catalog(task.table.semantic_ids, trie) for trie in (task.known, task.trie)]
        model = build_model(cold_config, task.candidates)
        losses = [np.asarray(jax.jit(model.loss)(examples, each, None)[0]) for each in catalogs]
        seen.append((*jax.tree.leaves((examples, catalogs[0].trie)), losses[0], content[~COLD_MASK]))
        # The loss is larger if cold items are candidates. Training would then lower their scores, since they are never
        # targets.
        assert losses[1].sum() > losses[0].sum() + 1
        fingerprint = task.fingerprint()
    for one, other in zip(*seen, strict=True):
        np.testing.assert_array_equal(one, other)
    (world / "cold.txt").write_text("7\n20\n")
    assert load_task(cold_config).fingerprint() != fingerprint


def test_cold_items_are_drawn_into_a_file(cold_config, world):
    with pytest.raises(UserError, match=r"cannot write .*cold\.txt \(File exists\)"):
        draw_cold_items(cold_config, 5)
    for name in ("a.txt", "b.txt"):
        cold_config.data.cold_items = str(world / name)
        assert draw_cold_items(cold_config, 5) == 5
    drawn = (world / "a.txt").read_text()
    assert drawn == (world / "b.txt").read_text() and len(set(drawn.split())) == 5
    cold_config.data.cold_items = ""
    with pytest.raises(UserError, match="needs a file to write"):
        draw_cold_items(cold_config, 5)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("data.cold_items", "", "there are no cold items; set"),
        ("model.kind", "sasrec", "kind .sasrec. has no slots for cold items; set the slots to 0"),
        ("joint.estimator", "ste", "omit one of the two"),
        ("eval.cold_slots", 11, "from 0 to 10"),
        ("backoff.decay", 0.0, "config.backoff.decay is 0.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, value, words, cold_config):
    section, field = name.split(".")
    cold_config[section][field] = value
    with pytest.raises(UserError, match=words):
        check_config(cold_config)


def test_without_vectors_cold_items_cannot_be_told_apart(cold_config, world):
    everyone = np.arange(NUM_ITEMS)
    np.save(world / "few.npy", np.ones((30, 2), np.float32))
    np.save(world / "bad.npy", np.full((40, 2), np.nan, np.float32))
    for path, words in (
        ("", "has no vectors"),
        (str(world / "bad.npy"), r"drop them \(--config.quantizer.data.on_bad_rows=drop\)"),
        (str(world / "few.npy"), "no vectors for 10 of 40 items; the first one is 30"),
    ):
        cold_config.quantizer.data.path = path
        cold_config.data.cold_items = ""
        with pytest.raises(UserError, match=words):
            load_content(cold_config, everyone, COLD_MASK)
