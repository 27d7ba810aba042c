"""The file `report.json` of an export: metrics, and the training curves of the run."""

import json

from sid_jax.export.manifest import training_curves, write_measured


def test_curves_are_thinned_and_have_no_number_that_json_has_not(tmp_path):
    rows = [{"kind": "train", "step": step, "loss": 1.0, "usage": [1.0, 0.5]} for step in range(1000)]
    rows[-1]["loss"] = float("nan")
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    curves = training_curves(rows)["train"]
    assert len(curves["step"]) == 200 and (curves["step"][0], curves["step"][-1]) == (0, 999)
    assert curves["loss"][-1] is None and curves["usage/2"] == [0.5] * 200 and "kind" not in curves
    write_measured(tmp_path, {}, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["training"]["eval"] == {}
