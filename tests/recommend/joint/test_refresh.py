import numpy as np

from sid_jax.joint_quantizer.changes import IdChanges
from sid_jax.recommend.joint.loop import collapse


def test_churn_and_usage_as_counted_by_hand():
    before = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.int32)
    after = np.array([[0, 0], [0, 2], [0, 2], [1, 1]], np.int32)
    refreshed = IdChanges.between(before, after, (2, 4))
    # Items 1 and 2 changed. Item 2 changed at both levels, item 1 only at the second level.
    assert refreshed.churn == 0.5
    assert refreshed.churn_by_level == [0.25, 0.5]
    assert refreshed.usage == [1.0, 0.75]
    assert refreshed.distinct_rate == 0.75
    assert (
        "50.0% of the items changed (by level 25.0% / 50.0%)" in refreshed.line()
        and "some codes are dead" in refreshed.line()
    )


def test_a_collapse_is_refused_with_what_helps():
    collapsed = IdChanges.between(np.zeros((4, 2), int), np.zeros((4, 2), int), (1, 4))
    assert collapse(collapsed, 0.25, 7) == ""
    words = "25% of the codes of level 2 are in use at step 7, less than config.joint.min_usage=0.3"
    assert words in collapse(collapsed, 0.3, 7)
