from __future__ import annotations

import json
import signal
import time

from tests.commands import refused, run, start


def words_of(settings, workdir):
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return [
        "-m",
        "sid_jax",
        "recommend",
        "--config=configs/recommend.py:beauty,decoder",
        *flags,
        f"--workdir={workdir}",
    ]


def command(settings, workdir, *words):
    return run(*words_of(settings, workdir), *words)


def test_the_command_trains_and_prints_and_a_mistake_is_one_line(settings, tmp_path):
    done = command({**settings, "train.num_epochs": 2.0}, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout and "popularity" in done.stdout
    assert "is not a flag" in refused(command(settings, tmp_path / "run", "word"))
    assert "config.modle" in refused(command({"modle.features": 3}, tmp_path / "run"))


def test_tables_are_compared_under_one_recommender(settings, world, tmp_path):
    tables = ("--compare", world / "ids.npy", "random", "--minutes=0.01", "--seeds=1")
    done = command({**settings, "made_levels": 2, "made_codes": 8, "model.num_layers": 0}, tmp_path / "run", *tables)
    assert done.returncode == 0, done.stderr
    first, made = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert [each["name"] for each in (first, made)] == ["ids", "random"]
    assert first["minus_first"]["recall@10"] == [0, 0, 0]
    low, high = made["minus_first"]["recall@10"][1:]
    assert low <= made["metrics"][0]["recall@10"] - first["metrics"][0]["recall@10"] <= high
    assert first["rule"] == "seen excluded" and set(first["seen allowed"]) == set(first) - {"seen allowed"}
    assert "Seen allowed: 1 seed, " in done.stdout and "Seen excluded: 1 seed, " in done.stdout
    assert "Difference from ids" in done.stdout and "random, seed 0" in done.stdout


def test_killed_and_started_again_it_comes_to_the_same_figures(settings, tmp_path):
    settings = {**settings, "model.dropout": 0.1, "train.num_epochs": 20.0, "train.eval_every_epochs": 2.0}
    assert command(settings, tmp_path / "whole").returncode == 0
    process = start(*words_of(settings, tmp_path / "killed"))
    checkpoints = tmp_path / "killed" / "decoder" / "checkpoints"
    while not (checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "results.json").exists()
    resumed = command(settings, tmp_path / "killed")
    assert "resuming at step" in resumed.stdout, resumed.stderr
    whole, killed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "killed"))
    assert whole == {**killed, "config": whole["config"]}
