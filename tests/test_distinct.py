"""`distinct` and `is_among` give the results of NumPy's `unique` and `isin`."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sid_jax.distinct import distinct, is_among

NUMBERS = st.lists(st.integers(-5, 5), max_size=12).map(lambda values: np.array(values, np.int64))


@given(NUMBERS, NUMBERS)
def test_they_are_those_of_numpy(values, others):
    np.testing.assert_array_equal(distinct(values), np.unique(values))
    if len(others):
        np.testing.assert_array_equal(is_among(values, distinct(others)), np.isin(values, others))
