"""The real run on 1, 2 and 8 devices."""

import pytest

from tests.commands import run


@pytest.mark.parametrize("method", ["ste", "gumbel"])
def test_movielens_has_the_same_losses_and_from_one_state_the_same_codes(method, real_cache):
    # By itself, since it is to be compiled as a user's: what other tests' quick way adds up in another order tips items
    # that are on a border.
    result = run("-m", "tests.training.devices_of_run", method, real_cache, num_devices=8)
    assert result.returncode == 0, result.stderr
