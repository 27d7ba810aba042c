import pytest

from sid_jax.config import check_config, default_config
from sid_jax.errors import UserError
from sid_jax.training.sizes import with_sizes


def sizes(num_items, catalog_size=0, **model):
    config = default_config()
    config.data.catalog_size = catalog_size
    config.model.update(model)
    check_config(config)
    chosen = with_sizes(config, num_items).model
    return chosen.num_levels, chosen.codebook_size


@pytest.mark.parametrize(
    ("num_items", "expected"),
    # The number of levels is chosen for 400 possible code tuples per item with 256 codes per level: 256^3 tuples are
    # enough for 41,943 items, and 256^4 tuples for 10.7 million items. Fewer than 2,048 items get fewer codes.
    [(2, (3, 2)), (16, (3, 4)), (100, (3, 8)), (1682, (3, 128)), (2048, (3, 256)), (12_101, (3, 256)),
     (41_943, (3, 256)), (41_944, (4, 256)), (10_000_000, (4, 256)), (11_000_000, (5, 256))],
)  # fmt: skip
def test_levels_and_codes_follow_the_number_of_items(num_items, expected):
    assert sizes(num_items) == expected
    levels, codes = expected
    assert codes <= num_items and codes**levels >= 4 * num_items


def test_levels_follow_the_catalog_and_codes_the_sample_of_it():
    assert sizes(1682, catalog_size=11_000_000) == (5, 128)
    assert sizes(1682, catalog_size=1682) == sizes(1682)


def test_a_catalog_smaller_than_the_data_is_rejected():
    with pytest.raises(UserError, match=r"data\.catalog_size is 999, but the data have 1,000 items"):
        sizes(1000, catalog_size=999)


def test_what_is_set_is_kept_and_the_rest_chosen_for_it():
    assert sizes(12_101, num_levels=4) == (4, 256)
    assert sizes(12_101, codebook_size=32) == (3, 32)
    # With two levels, 64 codes are needed for 4 possible code tuples per item. With eight levels, fewer codes would be
    # enough, but the largest power of two up to 1000 / 8 is chosen.
    assert sizes(1000, num_levels=2)[1] ** 2 >= 4 * 1000 and sizes(1000, num_levels=8)[1] == 64
    assert sizes(12_101, codebook_size=(64, 128)) == (2, (64, 128))
    assert sizes(10**8, num_levels=3, codebook_size=7) == (3, 7)


@pytest.mark.parametrize("model", [{"num_levels": 2.5}, {"num_levels": "many"}, {"codebook_size": "some"}])
def test_other_words_are_rejected(model):
    with pytest.raises(UserError, match="'auto'"):
        sizes(100, **model)
