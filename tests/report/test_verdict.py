"""The grades of IDs in a report (good, fair or weak), and the texts of the grades."""

import copy

import pytest

from sid_jax.report.verdict import percent, verdict

MANIFEST = {
    "semantic_ids": {"scheme": "relocate", "capacity": 1, "length": 3, "relocated": 0.04},
    "metrics": {
        "num_items": 1000,
        "codebook_size": [16, 16, 16],
        "distinct_rate": 0.95,
        "max_distinct_rate": 1.0,
        "collision_share": 0.08,
        "largest_bucket": 3,
        "usage": [1.0, 1.0, 1.0],
        "perplexity": [12.0, 14.0, 15.0],
        "r2": 0.71,
        "r2_unique": 0.705,
        "agreement": 1.0,
        "near_ties": 0.0,
    },
}
MANIFEST["data"] = {"num_cold": 40}
MEASURED = {"fidelity": {"num_items": 1000, "kmeans_r2": [0.4, 0.5, 0.6]}}


def grades(**changed):
    manifest = copy.deepcopy(MANIFEST)
    for name, value in changed.items():
        manifest["semantic_ids" if name in manifest["semantic_ids"] else "metrics"][name] = value
    found = verdict(manifest, MEASURED)
    return found, {figure.question: figure.grade for figure in found.figures}


def test_good_ids_are_said_to_be_good():
    found, each = grades()
    assert found.grade == "good" and found.headline == "These IDs are good" and set(each.values()) == {"good"}
    assert found.summary == (
        "1,000 items have one ID each, of 3 codes. An ID keeps 70.5\u00a0% of the variance of the item vectors; "
        "residual k-means with the same number of codes keeps 60.0\u00a0%. Every code is in use."
    )


@pytest.mark.parametrize(
    ("changed", "question", "grade"),
    [
        ({"distinct_rate": 0.89}, "Can the model distinguish items?", "fair"),
        # The distinct rate is low, but near its upper bound.
        ({"distinct_rate": 0.60, "max_distinct_rate": 0.62}, "Can the model distinguish items?", "good"),
        ({"distinct_rate": 0.74}, "Can the model distinguish items?", "weak"),
        ({"r2": 0.58, "r2_unique": 0.58}, "How much of the vector does an ID keep?", "fair"),
        ({"r2": 0.5, "r2_unique": 0.5}, "How much of the vector does an ID keep?", "weak"),
        ({"usage": [1.0, 0.9, 1.0]}, "Are all codes in use?", "fair"),
        ({"usage": [1.0, 0.1, 1.0]}, "Are all codes in use?", "weak"),
        # Four items can use at most four of the sixteen codes.
        ({"usage": [0.25, 0.25, 0.25], "num_items": 4}, "Are all codes in use?", "good"),
        ({"perplexity": [3.0, 15.0, 15.0]}, "Are the codes used evenly?", "weak"),
        ({"r2": 0.75}, "How many items were relocated?", "weak"),
        ({"scheme": "suffix"}, "How many items were relocated?", "none"),
        ({"scheme": "none"}, "Does every item have its own ID?", "none"),
        ({"agreement": 0.99}, "Do the exported codes equal the training codes?", "fair"),
        ({"r2_cold": 0.3}, "Do cold items get good codes?", "weak"),
    ],
)
def test_each_threshold_is_judged(changed, question, grade):
    found, each = grades(**changed)
    assert each[question] == grade
    assert found.grade == ("good" if grade == "none" else grade)
    assert found.headline == {
        "weak": "These IDs have 1 weak metric",
        "fair": "Good IDs, with 1 metric to watch",
    }.get(found.grade, "These IDs are good")
    assert all(figure.remedy for figure in found.figures if figure.grade in ("fair", "weak"))


def test_the_tile_of_shared_ids_states_the_capacity():
    manifest = copy.deepcopy(MANIFEST)
    manifest["semantic_ids"]["capacity"] = 4
    tile = verdict(manifest, MEASURED).figures[0]
    assert (tile.value, tile.grade) == ("up to 4", "none") and tile.beside.startswith("items may have the same ID")


def test_without_vectors_fidelity_is_shown_and_not_judged():
    manifest = copy.deepcopy(MANIFEST)
    for name in ("r2", "r2_unique", "max_distinct_rate"):
        del manifest["metrics"][name]
    manifest["metrics"]["r2_sampled"] = 0.7
    kept = verdict(manifest, {}).figures[2]
    assert (kept.value, kept.grade) == ("70.0\u00a0%", "none")
    del manifest["metrics"]["r2_sampled"]
    assert verdict(manifest, {}).figures[2].value == "not measured"


def test_added_items_that_do_not_fit_are_said_to():
    manifest = copy.deepcopy(MANIFEST)
    checks = [{"what": "shift of the first codes beyond chance", "value": 1.0, "threshold": 0.5, "due": True}]
    manifest["drift"] = {
        "new_items": {"num_items": 40, "r2_unique": 0.3},
        "verdict": {"retraining_is_due": True, "checks": checks},
    }
    added = verdict(manifest, MEASURED).figures[-1]
    assert (added.grade, added.value) == ("fair", "30.0\u00a0%") and "shift of the first codes" in added.remedy


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100"), (0.9999, "99.9"), (0.5, "50.0"), (1e-4, "under 0.1"), (0, "0")]
)
def test_all_is_all_and_none_is_none(share, text):
    assert percent(share) == f"{text}\u00a0%"
