"""Every config file gives valid settings for every argument, and changes since version 0.1 are listed here."""

import importlib.util
import json

import pytest

from sid_jax.config import check_config, default_config
from sid_jax.data.catalogs.names import AMAZON_CATEGORIES, MOVIELENS_SIZES
from sid_jax.errors import UserError
from sid_jax.presets import PRESETS, preset
from sid_jax.recommend.config import check_config as check_recommender
from sid_jax.settings import AUTO, differences
from tests.commands import ROOT


def get_config_of(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config


def get_config(name, argument):
    return get_config_of(name)(argument)


@pytest.mark.parametrize("length", ["", ",quick"])
@pytest.mark.parametrize("method", ["ste", "gumbel"])
def test_movielens(method, length):
    check_config(get_config("ml100k", method + length))


@pytest.mark.parametrize("method", ["ste", "gumbel", "rkmeans", "opq"])
def test_a_users_own_vectors(method):
    usual, quick = (get_config("embeddings", method + length) for length in ("", ",quick"))
    check_config(usual)
    check_config(quick)
    if method in ("rkmeans", "opq"):
        with pytest.raises(UserError, match="no long run"):
            get_config("embeddings", f"{method},best")
    else:
        best = get_config("embeddings", f"{method},best")
        check_config(best)
        # The usual run has 24 epochs for a catalog of up to 80,000 items, and fewer for a larger one.
        assert quick.train.num_epochs < 24 < best.train.num_epochs and usual.train.num_epochs == AUTO


@pytest.mark.parametrize("options", ["", ",gumbel", ",quick", ",gumbel,quick"])
def test_movielens_100k_is_the_same_under_both_names(options):
    assert get_config("movielens", f"100k{options}").to_dict() == get_config("ml100k", options).to_dict()


@pytest.mark.parametrize("options", ["", ",gumbel", ",quick"])
def test_every_named_catalog(options):
    for size in MOVIELENS_SIZES:
        config = get_config("movielens", size + options)
        check_config(config)
        assert config.data.source == f"movielens-{size}"
    for category in AMAZON_CATEGORIES:
        config = get_config("amazon", f"{category},2023{options}")
        check_config(config)
        assert config.data.source == f"amazon-2023-{category}"
    assert get_config("amazon", "toys").data.source == "amazon-2014-toys"


@pytest.mark.parametrize("estimator", ["", ",gumbel", ",ste", ",soft"])
@pytest.mark.parametrize("data_set", ["ml100k", "beauty"])
def test_joint_training_is_of_the_recommenders_config(data_set, estimator):
    joint, beside = (
        get_config("joint", f"{data_set}{estimator},quick"),
        get_config("recommend", f"{data_set},decoder,quick"),
    )
    check_recommender(joint)
    assert joint.joint.estimator == (estimator[1:] or "gumbel")
    joint.joint = beside.joint
    assert joint.to_dict() == beside.to_dict()


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("movielens", "2m", "must be one of 100k, 1m, 10m"),
        ("amazon", "cars", "must be one of beauty, sports, toys"),
        ("amazon", "beauty,2014,2018", "give one edition"),
    ],
)
def test_a_catalog_that_there_is_not(name, argument, message):
    with pytest.raises(UserError, match=message):
        get_config(name, argument)


def test_best_alone_is_the_long_run_of_the_default():
    assert get_config("embeddings", "best").to_dict() == get_config("embeddings", "ste,best").to_dict()


# The settings of each preset in version 0.1: the defaults of that version, and the preset's changes.
BEFORE = json.loads((ROOT / "tests" / "presets_0_1.json").read_text())
# Only Gumbel-softmax reads these settings. Their defaults are those of the preset "embeddings:gumbel".
OF_GUMBEL = {"model.temperature", "model.noise_scale", "train.annealing_schedule"}
# For small MovieLens data sets, presets now have smaller batches, a higher learning rate and half as many epochs as in
# version 0.1.
OF_FEW_ITEMS = OF_GUMBEL | {"model.temperature_decay", "train.batch_size", "train.learning_rate", "train.num_epochs"}
OF_FEW_ITEMS |= {f"train.{name}_epochs" for name in ("warmup", "revive_every", "eval_every")}
# Settings that version 0.1 did not have. They have no effect if items have no parts, no item is unknown, `model.block`
# has its default, and esasrec is not a baseline. `train.auto_epochs` is read only if `train.num_epochs` is "auto".
SINCE = {"data.parts", "data.on_unknown", "data.catalog_size", "train.part_dropout", "model.block", "train.auto_epochs"}
SINCE |= {f"esasrec.{setting}" for setting in preset("recommend:beauty").esasrec}
# Other settings that version 0.1 did not have: those of the scorer and of early stopping.
ADDED = {
    *(f"model.{name}" for name in ("item_parts", "content_hidden", "code_pairs", "item_dropout", "members", "blend")),
    "sasrec.label_smoothing",
    *(f"train.{name}" for name in ("loss", "num_negatives", "label_smoothing", "patience", "average_epochs")),
}


def flat(config):
    return {name: new for name, _, new in differences({}, config.to_dict())}


@pytest.mark.parametrize("name", BEFORE["presets"])
def test_a_preset_trains_as_it_did_before_the_defaults_were_a_recipe(name):
    kind = "recommend" if name.split(":")[0] in ("recommend", "joint") else "config"
    before = BEFORE["defaults"][kind] | BEFORE["presets"][name]
    before = {setting: tuple(value) if isinstance(value, list) else value for setting, value in before.items()}
    few = name.startswith(("ml100k", "movielens:1m", "movielens:latest-small"))
    # In version 0.1, IDs of small MovieLens data sets were made from text alone, and the decoder was the only
    # recommender. These choices are no longer the defaults, so they are arguments of the preset.
    then = "text" if few else "decoder" if name.startswith("recommend:") else ""
    now = flat(preset(f"{name},{then}" if then else name))
    changed = {setting for setting in before if now[setting] != before[setting]}
    allowed = OF_GUMBEL if now.get("model.quantization_method") != "gumbel_softmax" else set()
    if few:
        allowed |= OF_FEW_ITEMS
    if kind == "recommend" and "ml100k" in name:
        allowed |= {f"quantizer.{setting}" for setting in OF_GUMBEL}
    if kind == "recommend" and "beauty" in name:
        # The quantizer of a recommender's run has the default settings. Only a quick run has other numbers of epochs.
        allowed = {setting for setting in before if setting.startswith("quantizer.")}
        recipe = {f"quantizer.{setting}": value for setting, value in flat(default_config()).items()}
        of_run = {"quantizer.train.num_epochs", "quantizer.train.warmup_epochs"} if "quick" in name else set()
        assert all(now[setting] == recipe[setting] for setting in allowed - of_run)
    # The values of version 0.1 that AUTO has replaced. For 2,048 to 41,943 items, AUTO gives the same numbers of
    # levels and codes. In version 0.1, a run had 45 epochs of AdamW with a batch size of 1,024. It now has 24 epochs
    # (45 with Gumbel-softmax) of NAdamW with a batch size of 512. The learning rate is higher, and the encoder is
    # frozen for a larger share of the run.
    derived = {
        "train.num_epochs": 45,
        "train.learning_rate": 5e-3,
        "train.settle_share": 0.2,
        "model.num_levels": 3,
        "model.codebook_size": 256,
        "train.augmentation": 0.15 if "gumbel" in name else 0.25,
    }
    if kind == "config" and before["train.batch_size"] == 1024 and now["train.batch_size"] == 512:
        allowed = allowed | {"train.batch_size"}
    if kind == "config" and now["train.learning_rate"] == AUTO:
        allowed = allowed | {"train.optimizer"}
    allowed = allowed | {
        setting
        for setting in changed
        if now[setting] == AUTO and before[setting] == derived[setting.removeprefix("quantizer.")]
    }
    assert changed <= allowed
    assert {setting.removeprefix("quantizer.") for setting in set(now) - set(before)} <= SINCE | ADDED


def test_small_data_sets_see_each_film_equally_often_in_total_and_published_results_keep_their_settings():
    train = preset("ml100k").train
    assert (train.batch_size, train.learning_rate, train.num_epochs) == (256, 8e-3, 300)
    # The data sets have 1,682 and 3,883 movies. For both, the number of movies times the number of epochs is the same.
    assert preset("movielens:1m").train.num_epochs == round(300 * 1682 / 3883)
    assert preset("ml100k").model.noise_scale == 0.1
    of_ids = preset("recommend:ml100k").quantizer.train
    assert (of_ids.batch_size, of_ids.learning_rate, of_ids.num_epochs) == (512, 3e-3, 600)


@pytest.mark.parametrize("name", ["ml100k:gumbel", "movielens:1m", "movielens:latest-small,quick"])
def test_few_films_have_text_genres_and_behavior_unless_told_otherwise(name):
    changed = {field for field, *_ in differences(preset(f"{name},text").to_dict(), preset(name).to_dict())}
    assert changed == {"data.parts", "data.histories.source", "data.collaborative_weight"}
    assert preset(name).data.histories.source == preset(name).data.source
    assert not preset("movielens:25m").data.parts


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_file_is_the_preset_of_its_name(name):
    assert preset(name).to_dict() == get_config_of(name)().to_dict()
    assert preset(f"{name}:quick").to_dict() == get_config_of(name)("quick").to_dict()


def test_the_default_is_the_recipe_for_vectors_of_any_origin():
    assert preset("embeddings").to_dict() == default_config().to_dict()
    gumbel = default_config()
    gumbel.model.quantization_method, gumbel.train.auto_epochs = "gumbel_softmax", 45.0
    assert preset("embeddings:gumbel").to_dict() == gumbel.to_dict()


@pytest.mark.parametrize("name", ["movie", "", ":gumbel", "configs/ml100k"])
def test_an_unknown_preset_is_refused_with_a_list(name):
    with pytest.raises(UserError, match="the presets are embeddings, ml100k, movielens, amazon, recommend, joint"):
        preset(name)
