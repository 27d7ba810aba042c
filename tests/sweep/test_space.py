from __future__ import annotations

import re

import pytest

from sid_jax.config import check_config, default_config
from sid_jax.errors import UserError
from sid_jax.sweep.space import Between, OneOf, describe, load_space, own_settings, with_settings
from tests.commands import ROOT
from tests.test_configs import get_config

EMBEDDINGS = str(ROOT / "configs" / "embeddings.py")


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("embeddings", "ste"),
        ("embeddings", "gumbel"),
        ("embeddings", "rkmeans"),
        ("embeddings", "opq"),
        ("ml100k", "ste"),
        ("ml100k", "gumbel"),
        ("movielens", "1m"),
        ("amazon", "beauty"),
    ],
)
def test_every_config_has_a_space_that_holds_its_own_settings(name, argument):
    config = get_config(name, argument)
    space = load_space(f"{ROOT / 'configs' / name}.py:{argument}", config, {})
    own = own_settings(config, space)
    assert own is not None and with_settings(config, own).to_dict() == config.to_dict()
    assert ("model.temperature" in space) == (argument == "gumbel")
    # The space has neither the settings that only improve the codes of new items, nor the numbers of levels and codes.
    assert not {"model.dropout", "train.augmentation", "model.num_levels", "model.codebook_size"} & set(space)
    # The ends of each range are valid settings.
    for end in ("low", "high"):
        ends = {each: getattr(values, end, None) or values.values[0] for each, values in space.items()}
        check_config(with_settings(config, ends))


def test_a_setting_from_the_command_line_is_not_searched():
    config = get_config("embeddings", "rkmeans")
    space = load_space(EMBEDDINGS, config, {"train.batch_size": 64, "data.path": "items.npy"})
    assert sorted(space) == ["model.ema_decay", "train.learning_rate"]
    with pytest.raises(UserError, match="nothing is left to search"):
        load_space(EMBEDDINGS, config, dict.fromkeys([*space, "train.batch_size"]))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "def sweep_space(config): return {'train.learning_rat': OneOf(1)}",
            "'train.learning_rat', which is not a setting",
        ),
        ("def sweep_space(config): return {'train.learning_rate': (1, 2)}", "write Between"),
        ("def sweep_space(config): return {'train.learning_rate': Between(2, 1)}", "low must be below high"),
        ("def sweep_space(config): return {'train.learning_rate': Between(0, 1, log=True)}", "above 0 with log"),
        ("def sweep_space(config): return {'train.learning_rate': OneOf()}", "has no values"),
        ("def sweep_space(config): return {}", "sweep_space returns {}; return a dict of settings"),
        ("def sweep_space(config): return [1]", r"sweep_space returns \[1\]; return a dict of settings"),
        ("def sweep_space(config): return 1 / 0", "sweep_space fails with ZeroDivisionError: division by zero"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused(tmp_path, body, words):
    (tmp_path / "mine.py").write_text(f"from sid_jax.sweep.space import Between, OneOf\n{body}\n")
    with pytest.raises(UserError, match=words):
        load_space(str(tmp_path / "mine.py"), default_config(), {})


def test_settings_go_into_a_copy_and_are_of_their_type():
    config = default_config()
    changed = with_settings(config, {"model.hidden_dimensions": (8, 4), "train.learning_rate": 1})
    assert (changed.model.hidden_dimensions, changed.train.learning_rate) == ((8, 4), 1.0)
    assert config.model.hidden_dimensions == (1024, 256)
    with pytest.raises(UserError, match="config.train.batch_size='many', which is not possible"):
        with_settings(config, {"train.batch_size": "many"})


def test_what_lies_outside_is_not_the_spaces_own():
    config, space = default_config(), {"train.learning_rate": Between(0.1, 0.2)}
    assert own_settings(config, space) is None
    assert own_settings(config, {"model.hidden_dimensions": OneOf((8,), (16, 8))}) is None
    assert describe(space) == {"train.learning_rate": "Between(low=0.1, high=0.2, log=False)"}


def test_the_documented_space_is_one(tmp_path):
    declared = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "sweep.md").read_text(), re.S)[1]
    (tmp_path / "mine.py").write_text(declared)
    config = get_config("embeddings", "ste")
    space = load_space(f"{tmp_path / 'mine.py'}:ste", config, {})
    assert own_settings(config, space) == {
        "train.learning_rate": "auto",
        "model.latent_dimension": 112,
        "train.batch_size": 512,
    }
