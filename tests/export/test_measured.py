"""What only the run can tell of an export."""

import json

import numpy as np
import pytest

from sid_jax.export.measured import training_curves, write_measured
from sid_jax.ids.fidelity import identical_items
from sid_jax.ids.yardstick import kmeans_r2, random_r2


def test_curves_are_thinned_and_have_no_number_that_json_has_not(tmp_path):
    rows = [{"kind": "train", "step": step, "loss": 1.0, "usage": [1.0, 0.5]} for step in range(1000)]
    rows[-1]["loss"] = float("nan")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = training_curves(tmp_path)["train"]
    assert len(curves["step"]) == 200 and (curves["step"][0], curves["step"][-1]) == (0, 999)
    assert curves["loss"][-1] is None and curves["usage/2"] == [0.5] * 200 and "kind" not in curves
    write_measured(tmp_path, {}, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["training"]["eval"] == {}


def test_identical_items_are_found():
    vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
    vectors[[3, 8]], vectors[7] = vectors[1], vectors[0]
    found = identical_items(vectors)
    assert (found["num_items"], found["num_groups"]) == (5, 2)
    assert [(each["size"], sorted(each["rows"])) for each in found["groups"]] == [(3, [1, 3, 8]), (2, [0, 7])]
    assert identical_items(vectors[:3])["groups"] == []


def test_residual_kmeans_reaches_what_there_is_and_chance_does_not():
    random = np.random.default_rng(0)
    centers = 10 * random.normal(size=(4, 3))
    inputs = (centers[random.integers(0, 4, 400)] + 0.1 * random.normal(size=(400, 3))).astype(np.float32)
    # Random starts may miss one of the four, which the second level then makes good.
    first, second = kmeans_r2(inputs, [4, 4])
    assert 0.5 < first < second and second > 0.95
    # More codes than items.
    assert kmeans_r2(inputs[:3], [8])[0] == pytest.approx(1.0)


def test_chance_is_what_random_codes_come_to():
    assert random_r2(101, [11, 51]) == pytest.approx([0.1, 1 - 0.9 * 0.5])
    assert random_r2(5, [9]) == [1.0]
    random = np.random.default_rng(0)
    inputs, codes = random.normal(size=(2000, 5)), random.integers(0, 200, 2000)
    means = np.stack([inputs[codes == code].mean(axis=0) for code in range(200)])
    explained = 1 - np.square(inputs - means[codes]).sum() / np.square(inputs - inputs.mean(axis=0)).sum()
    assert explained == pytest.approx(random_r2(2000, [200])[0], abs=0.02)
