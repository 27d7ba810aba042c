"""The table of metrics that `export` prints when it has finished."""

import pytest

from sid_jax.export.closing import export_rows

CODES = {
    "distinct_rate": 1.0, "collision_share": 0.0, "largest_bucket": 1, "usage": [1.0], "perplexity": [2.0],
    "codebook_size": [2],
}  # fmt: skip


def notes(num_items, num_cold=0, **metrics):
    """Returns the note of each row of the table, by the row's name, for an export with these metrics."""
    made = {
        "metrics": CODES | {"num_items": num_items} | metrics,
        "semantic_ids": {"scheme": "none"},
        "data": {"num_cold": num_cold},
    }
    return {name: note for name, _, note in export_rows(made)}


@pytest.mark.parametrize(("num_items", "note"), [(300, ""), (1000, "on a sample of 300 items")])
def test_a_sample_is_named_unless_it_has_all_items(num_items, note):
    assert notes(num_items, r2_sampled=0.5, num_sampled=300)["reconstruction R^2"] == note


def test_the_r2_of_cold_items_states_their_number():
    assert notes(2000, num_cold=2, r2=0.7, r2_cold=0.6)["R^2 of cold items"].startswith("2 cold items")
