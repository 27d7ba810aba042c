"""Settings are declared once, are set by name, and are also read under earlier names."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

from sid_jax import config as quantizer
from sid_jax.errors import UserError
from sid_jax.recommend import config as recommender
from sid_jax.settings import (
    RenamedSettingWarning,
    check_values,
    declared_settings,
    default_of,
    field_names,
    field_value,
    fill,
    renamed_flag,
    set_by_name,
)

CONFIGS = (quantizer, recommender)


@pytest.mark.parametrize("module", CONFIGS)
def test_a_default_config_has_every_declared_setting_and_no_other(module):
    config = module.default_config()
    assert config.is_locked
    assert field_names(config) == sorted(name for name, _ in declared_settings(module.SETTINGS))
    for name, setting in declared_settings(module.SETTINGS):
        assert field_value(config, name) == setting.default, name
        assert type(field_value(config, name)) is type(setting.default), name
    module.check_config(config)


@pytest.mark.parametrize("module", CONFIGS)
def test_every_setting_says_what_it_means_in_sentences(module):
    for name, setting in declared_settings(module.SETTINGS):
        assert re.fullmatch(r"[\w|].*\.", setting.meaning, re.S), name


@pytest.mark.parametrize("module", CONFIGS)
def test_every_choice_and_every_limit_is_accepted_and_what_is_beside_it_is_not(module):
    for name, setting in declared_settings(module.SETTINGS):
        allowed, refused = [], []
        if setting.choices:
            allowed = [tuple(setting.choices)] if isinstance(setting.default, tuple) else list(setting.choices)
            refused = [("other",)] if isinstance(setting.default, tuple) else ["other"]
        elif setting.range:
            least, most = setting.range
            allowed = [each for each in (least, most) if np.isfinite(each)]
            refused = [least - 1, float("nan"), float("inf"), None, *([most + 1] if np.isfinite(most) else [])]
        for value in allowed:
            setting.check(name, value)
        for value in refused:
            with pytest.raises(UserError, match=rf"^config\.{name} (is|has) .*; (it|each value) must be "):
                setting.check(name, value)


def test_a_config_of_another_kind_is_refused_and_not_a_traceback():
    wrong = r"^config\.data\.catalog_size is missing, so the config belongs to another command"
    with pytest.raises(UserError, match=wrong):
        check_values(recommender.default_config(), quantizer.SETTINGS)


def test_two_default_configs_share_nothing():
    first, second = quantizer.default_config(), quantizer.default_config()
    first.model.codebook_size = (4, 8)
    first.data.histories.path = "mine"
    assert second.model.codebook_size == "auto" and second.data.histories.path == ""


def test_a_setting_is_set_by_its_full_name_or_by_its_own_where_that_is_the_only_one():
    config = quantizer.default_config()
    set_by_name(config, "train.weight_decay", 1)
    assert config.train.weight_decay == 1.0 and isinstance(config.train.weight_decay, float)
    set_by_name(config, "codebook_size", [np.int32(8), 16, 8])
    assert config.model.codebook_size == (8, 16, 8) and {type(each) for each in config.model.codebook_size} == {int}
    set_by_name(config, "num_levels", np.int64(2))
    assert config.model.num_levels == 2 and type(config.model.num_levels) is int
    set_by_name(config, "histories.path", Path("mine.txt"))
    assert config.data.histories.path == "mine.txt"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("num_level", 3, "there is no setting num_level; did you mean model.num_levels?"),
        ("nothing.of_the_kind", 3, "there is no setting nothing.of_the_kind"),
        ("path", "x", "path is ambiguous; write data.histories.path or data.path"),
        ("num_levels", None, "model.num_levels is None; it must be a number, or 'auto'"),
        ("model.num_levels", "three", "model.num_levels is 'three'; it must be a number, or 'auto'"),
        ("latent_dimension", None, "model.latent_dimension is None; it must be of type int, as in 112"),
        ("model.latent_dimension", "three", "model.latent_dimension is 'three'; it must be of type int, as in 112"),
        ("data", "x", "there is no setting data"),
    ],
)
def test_a_name_or_a_value_that_will_not_do_is_one_line(name, value, words):
    config = quantizer.default_config()
    with pytest.raises(UserError) as refused:
        set_by_name(config, name, value)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert config == quantizer.default_config()


OLD_NAMES = [
    (quantizer, "data.centre", "data.center", False),
    (quantizer, "data.standardise", "data.standardize", "feature"),
    (quantizer, "data.held_out_path", "data.cold_items", "cold.txt"),
    (recommender, "data.held_out_path", "data.cold_items", "cold.txt"),
    (recommender, "quantizer.data.centre", "quantizer.data.center", False),
    (recommender, "eval.unseen_slots", "eval.cold_slots", 2),
]


@pytest.mark.parametrize(("module", "old", "new", "value"), OLD_NAMES)
def test_an_earlier_name_is_accepted_with_one_warning(module, old, new, value):
    for set_it in (
        lambda config: set_by_name(config, old, value),
        lambda config: exec(f"config.{old} = {value!r}", {"config": config}),
        lambda config: exec(f"section['{old.rpartition('.')[2]}'] = {value!r}",
                            {"section": eval(f"config.{old.rpartition('.')[0]}", {"config": config})}),
    ):  # fmt: skip
        config = module.default_config()
        with pytest.warns(RenamedSettingWarning) as warned:
            set_it(config)
        assert field_value(config, new) == value
        assert len(warned) == 1 and new.rpartition(".")[2] in str(warned[0].message)
    with pytest.warns(RenamedSettingWarning, match="for one more version"):
        assert renamed_flag(f"--config.{old}={value}") == f"--config.{new}={value}"
    with pytest.warns(RenamedSettingWarning):
        assert renamed_flag(f"-config.{old}") == f"-config.{new}"


def test_todays_names_are_no_earlier_ones_and_other_flags_are_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for flag in (
            "--config.data.center=False",
            "--config.data.path=centre",
            "--centre=1",
            "centre",
            "--workdir=a.centre",
        ):
            assert renamed_flag(flag) == flag
        config = quantizer.default_config()
        config.data.center = False
        with pytest.raises(AttributeError, match="does not exist"):
            config.data.centres = False


def test_a_copy_takes_earlier_names_too():
    config = quantizer.default_config().copy_and_resolve_references()
    with pytest.warns(RenamedSettingWarning):
        config.data.centre = False
    assert config.data.center is False


def test_a_saved_config_of_an_earlier_version_is_read_without_a_warning():
    content = quantizer.default_config().to_dict()
    # A config of the first version has settings that were renamed or removed later, and lacks settings that were added.
    data, model, train = content["data"], content["model"], content["train"]
    data["centre"], data["standardise"], data["held_out_path"] = False, "feature", "cold.txt"
    del data["center"], data["standardize"], data["cold_items"], data["histories"]
    model["noise_decay"], model["noise_offset"] = "learned", 0.5
    model["hidden_dimensions"] = [32, 16]
    del model["encoder"], train["augmentation"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = fill(quantizer.default_config(), content)
    assert (config.data.center, config.data.standardize, config.data.cold_items) == (False, "feature", "cold.txt")
    assert config.model.hidden_dimensions == (32, 16)
    # Settings that the saved config lacks get the values that correspond to the behavior of its version, not their
    # defaults.
    assert config.model.encoder == "mlp" and config.train.augmentation == 0.0
    assert config.data.histories.source == "none"
    content["model"]["unknown"] = 1
    with pytest.raises(KeyError, match="unknown"):
        fill(quantizer.default_config(), content)


def test_a_saved_recommender_of_an_earlier_version_is_read():
    content = recommender.default_config().to_dict()
    content["eval"]["unseen_slots"] = content["eval"].pop("cold_slots") + 2
    content["quantizer"]["data"]["centre"] = not content["quantizer"]["data"].pop("center")
    del content["quantizer"]["model"]["encoder"]
    config = fill(recommender.default_config(), content)
    assert config.eval.cold_slots == 2 and config.quantizer.data.center is False
    assert config.quantizer.model.encoder == "mlp"


def test_what_is_filled_is_what_was_saved():
    config = recommender.default_config()
    config.quantizer.model.codebook_size = (8, 16, 32)
    config.joint.stop_gradient = ("encoder",)
    assert fill(recommender.default_config(), config.to_dict()).to_dict() == config.to_dict()


def test_a_declaration_makes_sections_of_sections():
    declaration = {"a": quantizer.Setting(1, "One."), "b": {"c": {"d": quantizer.Setting("x", "Two.")}}}
    assert default_of(declaration).to_dict() == {"a": 1, "b": {"c": {"d": "x"}}}
    assert [name for name, _ in declared_settings(declaration)] == ["a", "b.c.d"]


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (quantizer.Setting("a", "", choices=("a", "b")), "a, b"),
        (quantizer.Setting(1, "", range=(1.0, float("inf"))), "1 or more"),
        (quantizer.Setting(1, "", range=(0, 2**32 - 1)), "0 to 4294967295"),
        (quantizer.Setting(1, "", range=(1e-12, float("inf"))), "above 0"),
        (quantizer.Setting(1, "", range=(1e-12, 1.0)), "above 0, at most 1"),
        (quantizer.Setting("a", ""), ""),
    ],
)
def test_what_is_allowed_in_words(setting, text):
    assert setting.allowed() == text
