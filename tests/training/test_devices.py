"""The real run on 1, 2 and 8 devices."""

from tests.commands import run


def test_movielens_has_the_same_losses_and_from_one_state_the_same_codes(real_cache):
    # By itself, since it is to be compiled as a user's: what other tests' quick way adds up in another order tips items
    # that are on a border. With noise, which each device draws; the nearest codes alone are in test_step.
    result = run("-m", "tests.training.devices_of_run", "gumbel", real_cache, num_devices=8)
    assert result.returncode == 0, result.stderr
