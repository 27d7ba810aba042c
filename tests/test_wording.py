"""Counts and shares in messages."""

import pytest

from sid_jax.wording import counted, percentage


@pytest.mark.parametrize(("count", "text"), [(0, "0 items"), (1, "1 item"), (2000, "2,000 items")])
def test_a_count_has_the_number_of_its_noun(count, text):
    assert counted(count, "item") == text
    assert counted(count, "item has", "items have") == f"{text} {'has' if count == 1 else 'have'}"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0%"),
        (1e-4, "<0.1%"),
        (0.0005, "0.1%"),
        (0.5, "50.0%"),
        (0.9994, "99.9%"),
        (0.9999, ">99.9%"),
        (1, "100.0%"),
    ],
)
def test_none_and_all_are_shown_only_for_none_and_all(share, text):
    assert percentage(share) == text
