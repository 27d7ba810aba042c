"""Every config file gives settings that can be used, whatever its argument."""

import importlib.util

import pytest

from sid_jax.config import check_config
from tests.commands import ROOT


def get_config(name, argument):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(argument)


@pytest.mark.parametrize("length", ["", ",quick"])
@pytest.mark.parametrize("method", ["ste", "gumbel"])
def test_movielens(method, length):
    check_config(get_config("ml100k", method + length))


@pytest.mark.parametrize("method", ["ste", "gumbel", "rkmeans"])
def test_a_users_own_vectors(method):
    usual, quick, best = (get_config("embeddings", method + length) for length in ("", ",quick", ",best"))
    for config in (usual, quick, best):
        check_config(config)
    if method != "rkmeans":
        assert quick.train.num_epochs < usual.train.num_epochs < best.train.num_epochs
        assert usual.train.augmentation > 0


def test_best_alone_is_the_long_run_of_the_default():
    assert get_config("embeddings", "best").to_dict() == get_config("embeddings", "ste,best").to_dict()
