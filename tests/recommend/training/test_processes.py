"""Two processes with one device each train the same recommender as one process with two devices."""

import json

import numpy as np
import pytest

from sid_jax.training.records import read_records
from tests.commands import refused, run, run_together


def words(settings, workdir, *flags):
    """Returns the command for a short run."""
    changed = {**settings, "train.num_epochs": 3.0, "eval.exclude_seen": True, "eval.baselines": "('item_knn',)"}
    given = [f"--config.{name}={value}" for name, value in changed.items()]
    return [
        "-m",
        "sid_jax",
        "recommend",
        "--config=configs/recommend.py:beauty,decoder",
        *given,
        *flags,
        f"--workdir={workdir}",
    ]


def test_the_result_is_that_of_one_process_with_as_many_devices(settings, tmp_path):
    one = run(*words(settings, tmp_path / "one"), num_devices=2)
    assert one.returncode == 0, one.stderr
    first, second = run_together(2, *words(settings, tmp_path / "two"))
    assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
    assert "2 cpu devices of 2 processes" in first.stdout
    # The second process prints only a log line of the library that connects the processes.
    assert second.stdout.startswith("[Gloo]") and second.stdout.count("\n") == 1
    folders = [tmp_path / name / "decoder" for name in ("one", "two")]
    losses, others = ([row["loss"] for row in read_records(folder, "train")] for folder in folders)
    np.testing.assert_allclose(others, losses, rtol=1e-5)
    measured, others = (read_records(folder, "eval")[-1] for folder in folders)
    assert others["ndcg@10"] == pytest.approx(measured["ndcg@10"], abs=1e-3)
    figures, others = (json.loads((tmp_path / name / "results.json").read_text())["test"] for name in ("one", "two"))
    assert [each["name"] for each in others] == ["decoder", "item-kNN"]
    assert others[0]["recall@10"] == pytest.approx(figures[0]["recall@10"], abs=1e-3)
    assert others[1] == figures[1]


def test_ids_are_not_trained_on_the_way(settings, tmp_path):
    flags = ("--config.ids=rqvae", "--config.quantizer.data.path=nowhere.npy")
    lines = [refused(each) for each in run_together(2, *words(settings, tmp_path / "run", *flags))]
    assert "Training a quantizer for config.ids=rqvae runs in one process only" in lines[0] == lines[1]
