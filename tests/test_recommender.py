"""The public recommender: fit in memory, requests of all kinds, save and load, and the same results as the command."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pickle
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AxisType
from rich.console import Console

from sid_jax.errors import UserError
from sid_jax.ids.table import IdTable
from sid_jax.loading import load
from sid_jax.presets import QUANTIZER
from sid_jax.recommend import ranker as ranker_module
from sid_jax.recommend.config import TERMS
from sid_jax.recommend.run import run
from sid_jax.recommend.training import loop
from sid_jax.recommender import GenerativeRecommender, Recommender, load_recommender
from tests.commands import run as run_words
from tests.compilations import counting_compilations

NUM_ITEMS = 60
IDS = np.stack([np.arange(NUM_ITEMS) // 8, np.arange(NUM_ITEMS) % 8], axis=1).astype(np.int32)
# Two items share an ID.
IDS[59] = IDS[58]
SETTINGS = {
    "features": 32,
    "model.num_layers": 1,
    "model.num_heads": 2,
    "model.hidden": 64,
    "code_hidden": 64,
    "window": 12,
    "model.dropout": 0.0,
    "row_length": 16,
    "train.batch_size": 8,
    "train.num_epochs": 8.0,
    "train.eval_every_epochs": 4.0,
    "train.log_every_steps": 5,
    "train.learning_rate": 1e-2,
    "num_beams": 20,
    "eval.batch_size": 64,
    "eval.bootstrap_samples": 100,
}


def table() -> IdTable:
    items = [f"sku-{number}" for number in range(NUM_ITEMS)]
    return IdTable(items, IDS, columns={"title": [f"Item {number}" for number in range(NUM_ITEMS)]}, shared=True)


def made_histories() -> dict[str, list[str]]:
    """Returns histories in which each item is followed by the item with the next number."""
    random = np.random.default_rng(0)
    histories = {}
    for user in range(160):
        start, length = random.integers(NUM_ITEMS), random.integers(6, 12)
        histories[f"u{user}"] = [f"sku-{item}" for item in (start + np.arange(length)) % NUM_ITEMS]
    return histories


@pytest.fixture(scope="module")
def fitted() -> GenerativeRecommender:
    return GenerativeRecommender(table(), **SETTINGS).fit(made_histories(), verbose=False)


def ids_of(found) -> list[str]:
    return [each.item_id for each in found]


def test_what_comes_next_is_recommended_with_titles_and_scores(fitted):
    found = fitted.recommend(["sku-3", "sku-4", "sku-5"], k=5)
    assert (found[0].item_id, found[0].title) == ("sku-6", "Item 6")
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True) and 0 > scores[0] > scores[-1]
    assert {"sku-3", "sku-4", "sku-5"}.isdisjoint(ids_of(found))
    again = fitted.recommend(["sku-3", "sku-4", "sku-5"], k=20, exclude_seen=False)
    assert set(ids_of(found)) < set(ids_of(again))


def test_a_list_may_be_as_long_as_the_catalog(fitted, monkeypatch):
    history = ["sku-3", "sku-4"]
    everything = fitted.recommend(history, k=NUM_ITEMS, exclude_seen=False)
    assert sorted(ids_of(everything)) == sorted(table().item_ids.tolist())
    scores = [each.score for each in everything]
    assert scores == sorted(scores, reverse=True)
    # The two items with the same ID are adjacent.
    places = [ids_of(everything).index(item) for item in ("sku-58", "sku-59")]
    assert abs(places[0] - places[1]) == 1 and scores[places[0]] == scores[places[1]]
    np.testing.assert_allclose(np.exp(scores).sum() - np.exp(scores[places[0]]), 1, atol=1e-4)
    short = fitted.recommend(history, k=20, exclude_seen=False)
    assert ids_of(short) == ids_of(everything)[:20]
    assert ids_of(fitted.recommend(history, k=30, exclude_seen=False)) == ids_of(everything)[:30]
    assert len(fitted.recommend(history, k=1000)) == NUM_ITEMS - 2
    # With many exclusions, the search is widened.
    seen = ids_of(everything)[:25] * 2
    rest = fitted.recommend(seen, k=10)
    assert len(rest) == 10 and set(ids_of(rest)).isdisjoint(seen)
    assert len(fitted.recommend(ids_of(everything), k=10)) == 0


def test_histories_of_any_length_with_anything_in_them_are_served(fitted, caplog):
    long = [f"sku-{number % NUM_ITEMS}" for number in range(200)]
    assert fitted.recommend(long, k=3, exclude_seen=False)[0].item_id == "sku-20"
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        found = fitted.recommend(["gone", "sku-5", "sku-6", "lost"], k=3)
    assert found == fitted.recommend(["sku-5", "sku-6"], k=3)
    assert found == fitted.recommend(["gone", "sku-5", "sku-6", "lost"], k=3, on_unknown="drop")
    assert "2 of 4 items of the histories are not in the ID table" in caplog.text
    fitted.recommend_batch([["gone"], [], ["sku-1"]], k=1)
    assert fitted.num_unknown == 1
    popular = fitted.recommend([], k=NUM_ITEMS)
    counts = fitted.trained.candidates.popularity
    assert [counts[int(each.item_id[4:])] for each in popular] == sorted(counts.tolist(), reverse=True)
    assert fitted.recommend(["gone"], k=5) == popular[:5]
    for arguments, words in (
        (
            {"history": ["sku-1", "gone"], "on_unknown": "error"},
            "the item 'gone' is not in the ID table; remove it .* on_unknown=.drop",
        ),
        ({"history": ["sku-1"], "on_unknown": "ask"}, "on_unknown is 'ask'; choose one of error, drop, skip"),
        ({"history": ["sku-1"], "k": 0}, "k is 0"),
        ({"history": "sku-1"}, "give a list of item ids"),
        ({"history": {"sku-1", "sku-2"}}, "give a list of item ids, the oldest first"),
        ({"history": ["sku-1"], "k": 3, "cold_slots": 4}, "cold_slots is 4; it must be from 0 to k=3"),
        ({"history": ["sku-1"], "k": 3, "cold_slots": 1}, "there are no cold items"),
    ):
        with pytest.raises(UserError, match=words):
            fitted.recommend(**arguments)


def test_any_batch_size_is_served_by_few_programs(fitted):
    jax.clear_caches()
    random = np.random.default_rng(0)
    histories = list(made_histories().values())
    with counting_compilations() as compilations:
        for size in [*random.integers(1, 40, 6), 300, 600]:
            chosen = [histories[each][: random.integers(1, 12)] for each in random.integers(len(histories), size=size)]
            found = fitted.recommend_batch(chosen, k=10)
            assert [len(each) for each in found] == [10] * size
    assert 0 < compilations.count <= 8
    one_by_one = [fitted.recommend(each, k=10) for each in chosen[:5]]
    assert list(map(ids_of, one_by_one)) == list(map(ids_of, found[:5]))


def test_it_is_tested_beside_baselines(fitted):
    report = fitted.evaluate()
    assert report.metrics["recall@10"] > 0.8 > report.baselines["popularity"]["recall@10"]
    assert set(report.baselines) == {"popularity", "item-kNN"}
    low, high = report.intervals["recall@10"]
    assert low <= report.metrics["recall@10"] <= high
    assert "160 users, 60 items; the target is each user's last item; seen items are excluded" in repr(report)
    assert "160 users, 60 items; the target is each user's last item; seen items are allowed" in repr(report)
    assert report.other.baselines["item-kNN"]["recall@10"] <= report.baselines["item-kNN"]["recall@10"]
    assert report.other.evaluations[0].exclude_seen is False
    assert "item-kNN" in report._repr_html_() and "ndcg@10" in report._repr_html_()
    assert "recall@10=" in repr(fitted) and len(repr(fitted)) < 120
    assert "sku-0" in fitted._repr_html_()


def test_the_command_and_the_class_give_identical_recommenders(fitted, tmp_path):
    (tmp_path / "sequences.txt").write_text(
        "".join(f"{user} {' '.join(items)}\n" for user, items in made_histories().items())
    )
    rows = [f"sku-{row},{'-'.join(map(str, codes))}" for row, codes in enumerate(IDS.tolist())]
    (tmp_path / "ids.csv").write_text("\n".join(["item_id,sid", *rows]))
    config = fitted.config.copy_and_resolve_references()
    config.ids, config.data.path = str(tmp_path / "ids.csv"), str(tmp_path / "sequences.txt")
    with Path(os.devnull).open("w") as nowhere:
        evaluations = run(config, tmp_path / "run", console=Console(file=nowhere))
        loaded = load_recommender(tmp_path / "run")
        assert loaded.trained.params.keys() == fitted.trained.params.keys()
        for name, array in fitted.trained.params.items():
            np.testing.assert_array_equal(array, loaded.trained.params[name])
        # A finished run that is started again changes nothing.
        before = (tmp_path / "run" / "recommender" / "manifest.json").read_bytes()
        run(config, tmp_path / "run", console=Console(file=nowhere))
    assert (tmp_path / "run" / "recommender" / "manifest.json").read_bytes() == before
    report = fitted.evaluate()
    assert report.metrics == evaluations[0].metrics
    assert report.baselines["item-kNN"] == evaluations[2].metrics
    history = ["sku-8", "sku-9"]
    assert ids_of(loaded.recommend(history, 20)) == ids_of(fitted.recommend(history, 20))
    assert json.loads(before)["metrics"]["recall@10"] == report.metrics["recall@10"]


def test_a_saved_recommender_stands_alone(fitted, tmp_path, monkeypatch):
    folder = fitted.save(tmp_path / "saved")
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    monkeypatch.setattr(loop, "train_recommender", lambda *args, **kwargs: pytest.fail("loading starts a training run"))
    with counting_compilations() as compilations:
        loaded = load_recommender(folder, verify=True)
    assert compilations.count == 0
    histories = list(made_histories().values())
    assert loaded.recommend_batch(histories, 7) == fitted.recommend_batch(histories, 7)
    assert loaded.recommend([], 7) == fitted.recommend([], 7)
    assert loaded.config.to_dict() == fitted.config.to_dict()
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == before
    with pytest.raises(UserError, match="has no histories; call evaluate"):
        loaded.evaluate()
    assert loaded.evaluate(made_histories()).metrics == fitted.evaluate().metrics
    folder.chmod(0o755)
    assert load_recommender(fitted.save(tmp_path / "again")).recommend(["sku-1"], 3) == fitted.recommend(["sku-1"], 3)
    with pytest.raises(UserError, match="exists and is not empty"):
        fitted.save(tmp_path / "again")


@pytest.mark.parametrize("name", ["ids.parquet", "parameters.safetensors", "items.safetensors", "manifest.json"])
def test_a_damaged_folder_is_refused_in_one_line(name, fitted, tmp_path):
    path = fitted.save(tmp_path / "saved") / name
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(UserError) as damaged:
        load_recommender(tmp_path / "saved", verify=True)
    path.write_bytes(content[:middle])
    with pytest.raises(UserError) as cut:
        load_recommender(tmp_path / "saved")
    path.unlink()
    with pytest.raises(UserError) as missing:
        load_recommender(tmp_path / "saved")
    for error in (damaged, cut, missing):
        assert "\n" not in str(error.value)


def test_nothing_is_written_or_printed_unless_asked_for(fitted, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    settings = {**SETTINGS, "train.num_epochs": 1.0, "train.eval_every_epochs": 1.0}
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        GenerativeRecommender(table(), **settings).fit(made_histories(), verbose=False)
    assert capfd.readouterr() == ("", "") and not caplog.text
    assert not list(tmp_path.iterdir())
    recommender = GenerativeRecommender(table(), **settings)
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        recommender.fit(list(made_histories().values()), workdir=tmp_path / "run")
    assert "validation: recall@10" in caplog.text
    assert (tmp_path / "run" / "decoder" / "metrics.jsonl").exists()


def test_training_that_was_interrupted_says_so(monkeypatch):
    monkeypatch.setattr(loop, "train_recommender", lambda *args, **kwargs: loop.Trained(None, None, 0, False, 0.0))
    recommender = GenerativeRecommender(table(), **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        recommender.fit(made_histories())
    assert repr(recommender) == "GenerativeRecommender(kind='decoder', 60 items, not fitted)"
    with pytest.raises(UserError, match="is not fitted; call fit"):
        recommender.recommend(["sku-1"])


@pytest.mark.parametrize("kind", [Recommender, GenerativeRecommender])
def test_the_class_sets_the_model_whichever_name_a_preset_has(kind):
    model = {Recommender: "scorer", GenerativeRecommender: "decoder"}[kind]
    for short, names in (
        ("beauty", ("recommend:beauty", f"recommend:beauty,{model}", f"beauty,{model}")),
        ("ml100k", ("recommend", "recommend:", "recommend:ml100k")),
        ("beauty,quick", ("recommend:quick,beauty",)),
    ):
        expected = kind(table(), preset=short).config
        assert expected.model.kind == model
        for name in names:
            assert kind(table(), preset=name).config.to_dict() == expected.to_dict(), name


@pytest.mark.parametrize("kind", [Recommender, GenerativeRecommender])
@pytest.mark.parametrize("preset", ["ml100k:gumbel", "ml100k:", *sorted(QUANTIZER.keys() - {"ml100k"}), "amazon:toys"])
def test_a_preset_of_the_quantizer_is_refused_with_the_presets_of_a_recommender(kind, preset):
    with pytest.raises(UserError) as error:
        kind(table(), preset=preset)
    assert str(error.value) == (
        f"{preset!r} is a preset of the quantizer; the presets of {kind.__name__} are recommend:ml100k, "
        "recommend:beauty"
    )


def test_what_cannot_be_used_is_refused(tmp_path):
    for make, words in (
        (lambda: GenerativeRecommender(3), "give a fitted SemanticIdTokenizer, an IdTable or a path"),
        (lambda: GenerativeRecommender(tmp_path / "no.parquet"), "no such file"),
        (lambda: GenerativeRecommender(table(), preset="magic"), "unknown argument 'magic'"),
        (lambda: GenerativeRecommender(table(), preset="recommend:magic"), "unknown argument 'magic'"),
        (
            lambda: GenerativeRecommender(table(), preset="recommend:beauty,scorer"),
            "'recommend:beauty,scorer' selects the scorer, but GenerativeRecommender is the decoder; .* Recommender$",
        ),
        (lambda: GenerativeRecommender(table(), preset="beauty,scorer"), "but GenerativeRecommender is the decoder"),
        (
            lambda: Recommender(table(), preset="recommend:beauty,decoder"),
            "selects the decoder, but Recommender is the scorer; omit 'decoder', or use GenerativeRecommender$",
        ),
        (lambda: GenerativeRecommender(table(), layers=3), "there is no setting layers"),
        (
            lambda: GenerativeRecommender(table(), **{"joint.estimator": "ste"}),
            "joint training is only available as a command",
        ),
        (lambda: load_recommender(tmp_path), "no finished recommender"),
        (lambda: GenerativeRecommender(table(), **SETTINGS).fit([["sku-1"] * 6, ["other"] * 6]), "not in the"),
    ):
        with pytest.raises(UserError, match=words):
            make()


@pytest.mark.parametrize("kind", ["encoder_decoder", "parallel", "sasrec"])
def test_the_other_models_are_served_too(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(ranker_module, "_WIDER", 2)
    settings = {**SETTINGS, "kind": kind, "head_features": 8, "train.num_epochs": 1.0, "train.eval_every_epochs": 1.0}
    recommender = GenerativeRecommender(table(), **settings).fit(made_histories(), verbose=False)
    loaded = load_recommender(recommender.save(tmp_path / "saved"))
    ranking = loaded.recommend(["sku-1", "sku-2"], k=NUM_ITEMS, user="u1", exclude_seen=False)
    assert len(set(ids_of(ranking))) == NUM_ITEMS
    short, wider = (recommender.recommend(["sku-1", "sku-2"], k, user="u1", exclude_seen=False) for k in (20, 30))
    assert ids_of(short) == ids_of(ranking)[:20] and ids_of(wider) == ids_of(ranking)[:30]


def test_loading_imports_nothing_that_takes_long(fitted, tmp_path):
    program = (
        f"import sys, sid_jax; sid_jax.load({str(fitted.save(tmp_path / 'saved'))!r}); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = run_words("-c", program)
    assert loaded.returncode == 0, loaded.stderr
    for name in ("flax", "optax", "orbax", "pandas", "scipy", "tensorboardX", "tensorflow"):
        assert f"'{name}'" not in loaded.stdout


def test_a_recommender_that_was_asked_can_be_pickled(fitted):
    before = ids_of(fitted.recommend([fitted.table.item_ids[0]], k=3))
    again = pickle.loads(pickle.dumps(fitted))
    assert ids_of(again.recommend([fitted.table.item_ids[0]], k=3)) == before


def test_figures_of_some_users_are_not_those_that_are_saved(fitted):
    fitted.evaluate()
    published = dict(fitted.trained.figures)
    fitted.evaluate(dict(list(made_histories().items())[:10]))
    assert fitted.trained.figures == published


@pytest.mark.parametrize(
    "use",
    [
        lambda recommender: recommender.recommend([["a"]]),
        lambda recommender: recommender.recommend([1.5]),
        lambda recommender: recommender.recommend(None),
        lambda recommender: recommender.recommend_batch(None),
        lambda recommender: recommender.recommend_batch("abc"),
    ],
)
def test_histories_that_are_none_are_refused_in_one_line(fitted, use):
    with pytest.raises(UserError) as error:
        use(fitted)
    assert "\n" not in str(error.value)


def test_histories_may_be_generators_and_arrays(fitted):
    items = fitted.table.item_ids[:3].tolist()
    expected = ids_of(fitted.recommend(items, k=3))
    assert ids_of(fitted.recommend((item for item in items), k=3)) == expected
    assert ids_of(fitted.recommend(np.array(items), k=3)) == expected
    assert [ids_of(each) for each in fitted.recommend_batch((items for _ in range(2)), k=3)] == [expected] * 2


VECTORS = np.random.default_rng(7).normal(size=(NUM_ITEMS, 12)).astype(np.float32)
SCORED = {
    name: value for name, value in SETTINGS.items() if name not in ("code_hidden", "num_beams", "train.num_epochs")
} | {"content_hidden": 16, "train.num_epochs": 40.0, "patience": 3}


@pytest.fixture(scope="module")
def scored() -> Recommender:
    return Recommender(table(), **SCORED).fit(made_histories(), vectors=VECTORS, verbose=False)


def test_many_histories_are_served_from_a_shortlist_as_from_all_items(scored, monkeypatch):
    one_device = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    monkeypatch.setattr("sid_jax.training.sharding.all_devices", lambda: one_device)
    monkeypatch.setattr("sid_jax.recommend.ranker._SHORTLIST_FROM", 10)
    monkeypatch.setattr("sid_jax.recommend.serving._SIZES", (4,))
    asked = [history[:-1] for history in made_histories().values()][:20]
    served = Recommender.from_trained(dataclasses.replace(scored.trained))
    short, exact = (served.recommend_batch(asked, k=5, exact=exact) for exact in (False, True))
    assert served.trained.ranker.shortlist is not None
    assert [ids_of(each) for each in short] == [ids_of(each) for each in exact]


def test_all_histories_that_fit_the_window_share_two_programs_of_a_scorer(scored):
    served, items = Recommender.from_trained(dataclasses.replace(scored.trained)), table().item_ids.tolist()
    window = scored.config.model.window
    for length in (1, window):
        served.recommend(items[:length], k=5)
    with counting_compilations() as compilations:
        for length in range(1, window + 1):
            assert len(served.recommend(items[:length], k=5)) == 5
    assert compilations.count == 0


def test_a_recommender_scores_all_items(scored):
    assert repr(scored).startswith("Recommender(kind='scorer', 60 items")
    assert scored.recommend(["sku-3", "sku-4", "sku-5"], k=1)[0].item_id == "sku-6"
    everything = scored.recommend(["sku-3"], k=NUM_ITEMS, exclude_seen=False)
    assert sorted(ids_of(everything)) == sorted(table().item_ids.tolist())
    np.testing.assert_allclose(np.exp([each.score for each in everything]).sum(), 1, atol=1e-4)
    # A long history with many exclusions gives a full list.
    assert len(scored.recommend([f"sku-{number}" for number in range(45)], k=15)) == 15


def test_an_explanation_says_what_each_part_of_an_item_adds_to_its_score(scored):
    history = ["sku-3", "sku-4", "sku-5"]
    found = {each.item_id: each.score for each in scored.recommend(history, k=NUM_ITEMS, exclude_seen=False)}
    told = [scored.explain(history, item) for item in ("sku-6", "sku-40")]
    for each in told:
        assert set(each.shares) == {"item", "codes", "content", *TERMS}
        assert each.score == pytest.approx(found[each.item_id], abs=1e-4)
    # The difference between the scores of two items equals the difference between the sums of `shares`.
    first, second = (sum(each.shares.values()) for each in told)
    assert first - second == pytest.approx(told[0].score - told[1].score, abs=1e-3)


def test_what_cannot_be_explained_is_said(scored, fitted):
    with pytest.raises(UserError, match="predicts codes"):
        fitted.explain(["sku-3"], "sku-4")
    with pytest.raises(UserError, match="no item of the history"):
        scored.explain(["gone"], "sku-4")
    with pytest.raises(UserError, match="'gone' cannot be recommended"):
        scored.explain(["sku-3"], "gone")


def test_a_scorer_is_saved_with_its_content_and_scores_new_items_by_their_codes_and_vectors(scored, tmp_path, caplog):
    folder = scored.save(tmp_path / "scorer")
    loaded = load(folder)
    assert type(loaded) is Recommender
    history = ["sku-3", "sku-4"]
    assert loaded.recommend(history, k=9) == scored.recommend(history, k=9)
    newer = IdTable([*table().item_ids, "new"], np.concatenate([IDS, [[2, 7]]]).astype(np.int32), shared=True)
    with_new, before = load_recommender(folder, ids=newer), scored.recommend(history, k=9)
    assert "1 new item has no content vectors; give `vectors`" in caplog.text
    everything = with_new.recommend(history, k=NUM_ITEMS + 1, exclude_seen=False)
    # The catalog is replaced in a copy, and the old recommender continues to serve.
    swapped = scored.with_catalog(newer)
    assert swapped.recommend(history, k=NUM_ITEMS + 1, exclude_seen=False) == everything
    assert scored.recommend(history, k=9) == before and "new" not in scored.table
    again = swapped.with_catalog(
        IdTable(
            [*newer.item_ids, "newest"], np.concatenate([newer.semantic_ids, [[3, 7]]]).astype(np.int32), shared=True
        )
    )
    assert {"new", "newest"} <= set(ids_of(again.recommend(history, k=NUM_ITEMS + 2, exclude_seen=False)))
    assert "new" in ids_of(everything)
    assert np.exp(next(each.score for each in everything if each.item_id == "new")) > 0


@pytest.mark.parametrize("blend", [("popularity",), ()])
def test_validation_during_training_is_without_the_blend_and_says_so(blend, caplog):
    settings = SCORED | {"train.num_epochs": 1.0, "blend": blend}
    with caplog.at_level(logging.INFO, logger="sid_jax"):
        Recommender(table(), **settings).fit(made_histories(), vectors=VECTORS)
    assert "validation" in caplog.text and ("validation without the blend" in caplog.text) == bool(blend)


def test_vectors_may_have_ids_of_their_own_or_be_missing():
    order = np.random.default_rng(1).permutation(NUM_ITEMS)
    quick = SCORED | {"train.num_epochs": 1.0}
    items = table().item_ids
    kinds = (VECTORS, {items[row]: VECTORS[row] for row in order.tolist()})
    lists = [
        Recommender(table(), **quick).fit(made_histories(), vectors=kind, verbose=False).recommend(["sku-3"], k=9)
        for kind in kinds
    ]
    assert lists[0] == lists[1]
    without = Recommender(table(), **quick).fit(made_histories(), verbose=False)
    assert set(without.explain(["sku-3"], "sku-4").shares) == {"item", "codes", "transitions", "popularity"}
    with pytest.raises(UserError, match="no vectors for 1 of 60 items"):
        Recommender(table(), **quick).fit(
            made_histories(), vectors={items[row]: VECTORS[row] for row in range(59)}, verbose=False
        )


@pytest.mark.parametrize("name", ["verbose", "workdir"])
def test_an_argument_of_fit_is_not_a_setting(name):
    for kind in (Recommender, GenerativeRecommender):
        with pytest.raises(UserError, match=f"{name} is an argument of fit\\(\\), not a setting; pass it to fit"):
            kind(table(), **{name: False})
