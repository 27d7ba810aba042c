"""The drift report of an append: its values and verdicts equal those that are computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from sid_jax.append.drift import Reference, add_up, code_shift, fit_of, reference_of
from sid_jax.append.run import append
from sid_jax.append.verdict import in_words, verdict
from sid_jax.export.artifact import load_export
from sid_jax.export.manifest import read_manifest
from sid_jax.messages import Messages
from tests.append.conftest import made_vectors, make_export, write_vectors

REFERENCE = Reference(r2=0.7, spread=2.0, r2_cold=None)


def test_r2_of_new_items_is_their_error_in_the_old_ones_spread():
    errors = np.array([[0.5, 0.5], [1.5, 2.5]], np.float32)
    fit = fit_of(REFERENCE, errors, own_spread=4.0)
    assert fit == {"r2": 0.5, "r2_unique": 0.25, "r2_standard_error": pytest.approx(0.25 / 2**0.5), "r2_own_mean": 0.75}
    # R^2 is 1 - error / spread. The spread of a single item around its own mean is 0, so R^2 is undefined.
    assert fit_of(None, errors[:1], own_spread=0.0)["r2_own_mean"] is None


def test_what_a_first_export_says_is_enough_for_a_reference():
    metrics = {"r2": 0.75, "mse": 0.05}
    manifest = {"metrics": metrics, "data": {"num_features": 10}}
    assert reference_of(manifest) == Reference(0.75, pytest.approx(2.0), None)
    assert reference_of({**manifest, "metrics": {**metrics, "r2_cold": 0.6}}).r2_cold == 0.6
    sampled = {"r2_sampled": 0.75, "mse_sampled": 0.05}
    assert reference_of({**manifest, "metrics": sampled}) == Reference(0.75, pytest.approx(2.0), None)
    assert reference_of({"metrics": {"r2": 1.0, "mse": 0.0}, "data": {"num_features": 10}}) is None
    assert reference_of({}) is None


def test_codes_of_the_same_items_have_not_shifted_and_others_have():
    old = [np.array([50, 50, 0]), np.array([100, 0])]
    shift = code_shift([np.array([50, 50, 0]), np.array([0, 10])], old)
    assert shift[0]["distance"] == 0 <= shift[0]["by_chance"] < 0.2
    assert shift[1] == {"distance": 1.0, "by_chance": 0.0}


def test_items_since_training_add_up():
    first = add_up(None, 10, {"r2": 0.5, "relocated": 0.2})
    assert first == {"num_items": 10, "r2": 0.5, "relocated": 0.2}
    second = {"num_items": 40, "r2": pytest.approx(0.8), "relocated": pytest.approx(0.5)}
    assert add_up(first, 30, {"r2": 0.9, "relocated": 0.6}) == second
    assert add_up(first, 0, None) == first
    assert add_up(None, 0, None) == {"num_items": 0, "r2": None, "relocated": None}


def case(*, r2=0.7, noise=0.0, since=(10, 0.7), shift=0.0, moved=0.0, cold=None):
    new = {"r2": r2, "r2_unique": r2, "r2_standard_error": noise, "relocated": moved, "collide": 0.1}
    new["code_shift"] = [{"distance": 0.2 + shift, "by_chance": 0.2}]
    found = {
        "reference": {"r2": 0.7, "spread": 2.0, "r2_cold": cold},
        "new_items": new,
        "since_training": {"num_items": since[0], "r2": since[1]},
        "fill": 0.1,
    }
    return {**found, "verdict": verdict(found, num_items=100)}


@pytest.mark.parametrize(
    ("passing", "due", "words"),
    [
        # 20 of the 100 items were added since training. Their R^2 is .61 or .59: .09 or .11 below the reference of .7.
        # So the R^2 of the catalog decreases by .018 or .022. The threshold is .02.
        ({"since": (20, 0.61)}, {"since": (20, 0.59)}, "R^2 lost by the catalog since training"),
        ({"r2": 0.51}, {"r2": 0.49}, "below that of training items"),
        ({"r2": 0.4, "noise": 0.06}, {"r2": 0.4, "noise": 0.04}, "below that of training items"),
        ({"r2": 0.56, "cold": 0.6}, {"r2": 0.54, "cold": 0.6}, "below that of cold items"),
        ({"shift": 0.09}, {"shift": 0.11}, "shift of the first codes"),
        ({"moved": 0.49}, {"moved": 0.51}, "items that were relocated"),
    ],
)
def test_each_threshold_makes_retraining_due(passing, due, words):
    assert not case(**passing)["verdict"]["retraining_is_due"]
    assert in_words(case(**passing))[-1] == "Retraining is not due."
    assert case(**due)["verdict"]["retraining_is_due"]
    last = in_words(case(**due))[-1]
    assert last.startswith("Retraining is due: ") and words in last and ";" not in last


def test_new_items_that_are_unlike_all_others_make_it_due_and_the_sum_goes_on(tmp_path):
    vectors = made_vectors(range(30))
    make_export(tmp_path / "v1", list(range(30)), vectors)
    like = [write_vectors(tmp_path / "like.parquet", [40], vectors[:1])]
    append(tmp_path / "v1", tmp_path / "v2", like, messages=Messages.silent())
    far = [write_vectors(tmp_path / "far.parquet", list(range(50, 60)), 20 + made_vectors(range(50, 60)))]
    append(tmp_path / "v2", tmp_path / "v3", far, messages=Messages.silent())
    first, second = (read_manifest(tmp_path / name)["drift"] for name in ("v2", "v3"))
    assert first["reference"] == second["reference"]
    assert first["new_items"]["collide"] == first["new_items"]["relocated"] == 1.0
    assert second["since_training"]["num_items"] == 11
    assert second["new_items"]["r2"] < 0 and second["verdict"]["retraining_is_due"]
    # The expected R^2 is 1 - error / spread, with the error of the decoded codes, and with the spread of the vectors of
    # the first version.
    export = load_export(tmp_path / "v3")
    codes, given = export.table.codes[-10:], 20 + made_vectors(range(50, 60))
    error = np.square(given - np.asarray(export.model.reconstruct(codes))).sum(axis=1).mean()
    spread = np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean()
    assert second["new_items"]["r2"] == pytest.approx(1 - error / spread, rel=1e-4)
    assert second["fill"] == pytest.approx(41 / 60)
    assert in_words(second)[-1].startswith("Retraining is due: ")
