"""Every config file gives settings that can be used, whatever its argument."""

import importlib.util

import pytest

from sid_jax.config import check_config
from sid_jax.errors import UserError
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
    usual, quick = (get_config("embeddings", method + length) for length in ("", ",quick"))
    check_config(usual)
    check_config(quick)
    if method == "rkmeans":
        with pytest.raises(UserError, match="no long run"):
            get_config("embeddings", "rkmeans,best")
    else:
        best = get_config("embeddings", f"{method},best")
        check_config(best)
        assert quick.train.num_epochs < usual.train.num_epochs < best.train.num_epochs


def test_best_alone_is_the_long_run_of_the_default():
    assert get_config("embeddings", "best").to_dict() == get_config("embeddings", "ste,best").to_dict()
