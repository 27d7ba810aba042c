"""A run of configs/ml100k.py on 1, 2 and 8 devices."""

from tests.commands import run


def test_movielens_has_the_same_losses_and_from_one_state_the_same_codes(real_cache):
    # The run is started in a separate process. With the method "gumbel", each device draws the noise of its own items.
    # test_step.py also tests methods without noise.
    result = run("-m", "tests.training.devices_of_run", "gumbel", real_cache, num_devices=8)
    assert result.returncode == 0, result.stderr
