import numpy as np
import pytest

from sid_jax.recommend.serving import _parts


@pytest.mark.parametrize(
    ("num_users", "splits", "expected"),
    [
        (1, True, [1]),
        (38, True, [16, 16, 6]),
        (38, False, [38]),
        (128, True, [16] * 8),
        (129, True, [129]),
        (300, True, [256, 16, 16, 12]),
        (300, False, [256, 44]),
    ],
)
def test_calls_on_a_cpu_have_few_histories_of_padding(num_users, splits, expected):
    parts = list(_parts(np.arange(num_users), [1, 16, 256], splits=splits))
    assert [len(part) for part in parts] == expected
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(num_users))
