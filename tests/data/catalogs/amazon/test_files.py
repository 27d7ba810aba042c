from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sid_jax.data.catalogs.amazon.files import read_reviews
from sid_jax.errors import UserError


def write_reviews(path: Path, reviews: list[tuple[str, str, int]]) -> Path:
    fields = ("reviewerID", "asin", "unixReviewTime")
    path.write_text("".join(json.dumps(dict(zip(fields, review, strict=True))) + "\n" for review in reviews))
    return path


def expected(reviews: list[tuple[str, str, int]], core: int) -> dict[str, list[str]]:
    """Computes the expected histories step by step, with dictionaries."""
    histories: dict[str, list[str]] = {}
    for user in dict.fromkeys(user for user, _, _ in reviews):
        mine = sorted((review for review in reviews if review[0] == user), key=lambda review: review[2])
        histories[user] = list(dict.fromkeys(item for _, item, _ in mine))
    while True:
        counts = Counter(item for items in histories.values() for item in items)
        kept = {
            user: [item for item in items if counts[item] >= core]
            for user, items in histories.items()
            if len(items) >= core
        }
        if kept == histories:
            return {user: items for user, items in kept.items() if items}
        histories = kept


@given(
    reviews=st.lists(
        st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("ABCDEF"), st.integers(0, 5)), min_size=1, max_size=60
    ),
    core=st.integers(0, 3),
)
@settings(max_examples=60)
def test_histories_in_time_order_and_their_core(tmp_path_factory: pytest.TempPathFactory, reviews, core: int):
    path = write_reviews(tmp_path_factory.getbasetemp() / "reviews.json", reviews)
    wanted = expected(reviews, core)
    if not wanted:
        with pytest.raises(UserError, match="no item is left when each user and item must have"):
            read_reviews(path, core=core)
        return
    found = read_reviews(path, core=core)
    assert {user: found.item_ids[found.of(row)].tolist() for row, user in enumerate(found.user_ids.tolist())} == wanted
    assert found.user_ids.tolist() == list(wanted)
    assert found.item_ids.tolist() == list(dict.fromkeys(item for items in wanted.values() for item in items))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "has no reviews"),
        ('{"asin": "A", "unixReviewTime": 1}\n', "line 1 has no reviewerID or user_id"),
        ('{"reviewerID": "", "asin": "A", "unixReviewTime": 1}\n', "line 1 has no reviewerID or user_id"),
        ('{"reviewerID": "\\ud800", "asin": "A", "unixReviewTime": 1}\n', "line 1 has no reviewerID or user_id"),
        ('{"reviewerID": "u", "asin": 7, "unixReviewTime": 1}\n', "line 1 has no parent_asin or asin"),
        ('{"reviewerID": "u", "asin": "A", "unixReviewTime": "1"}\n', "line 1 has no unixReviewTime or timestamp"),
        ('{"reviewerID": "u", "asin": "A", "unixReviewTime": NaN}\n', "line 1 has no unixReviewTime"),
        (
            '{"reviewerID": "u", "asin": "A", "unixReviewTime": 1}\n',
            "no item is left when each user and item must have at least 5 interactions",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, lines: str, message: str):
    (tmp_path / "reviews.json").write_text(lines)
    with pytest.raises(UserError, match=message):
        read_reviews(tmp_path / "reviews.json", core=5)
