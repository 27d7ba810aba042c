"""Errors on the command line: one clear line, a nonzero status, and no change on disk."""

import numpy as np
import pytest

from tests.commands import refused, run


@pytest.fixture
def vectors(tmp_path):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32))
    return tmp_path / "items.npy"


def train(tmp_path, *flags):
    return run("train.py", *flags, f"--workdir={tmp_path / 'run'}")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config=configs/ml100k.py:gumble"], ["'gumble'", "ste, gumbel", "quick"]),
        (["--config=configs/embeddings.py:ste,gumbel"], ["'ste,gumbel'"]),
        (["--config=configs/ml1m.py"], ["configs/ml1m.py", "No such file"]),
        (["--config=configs/ml100k.py", "--config.model.num_level=3"], ["did you mean config.model.num_levels?"]),
        (["--config=configs/ml100k.py", "--config.modle.num_levels=3"], ["model.num_levels", "train.batch_size"]),
        (["--config=configs/ml100k.py", "--config.model.num_levels=three"], ["is three", "'auto' or from 1"]),
        (["--config=configs/ml100k.py", "--config.model.activation=tanh"], ["'silu', 'relu', 'gelu'"]),
        (["--config=configs/ml100k.py", "--config.train.learning_rate=-1"], ["learning_rate is -1"]),
        (["--config=configs/ml100k.py", "--config.train.learning_rate=nan"], ["learning_rate is nan"]),
        (["--config=configs/ml100k.py", "--config.model.codebook_size=(64, 64)"], ["2 numbers", "num_levels is 3"]),
        (["--config=configs/ml100k.py", "--config.model.codebook_size=many"], ["codebook_size is 'many'"]),
        (["--config=configs/ml100k.py", "--config.data.path=nowhere"], ["nowhere: no such file or folder"]),
        (["--config=configs/embeddings.py"], ["--config.data.path=FILE"]),
        (["--config=configs/embeddings.py", "extra"], ["'extra' is not a flag"]),
        ([], ["--config"]),
    ],
)  # fmt: skip
def test_a_mistake_in_the_flags_is_one_line_that_says_what_to_do(tmp_path, flags, words):
    line = refused(train(tmp_path, *flags))
    assert all(word in line for word in words), line
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_workdir_is_refused(tmp_path, vectors):
    (tmp_path / "run").write_text("mine")
    flags = ["--config=configs/embeddings.py", f"--config.data.path={vectors}", "--config.model.codebook_size=8"]
    assert "run" in refused(train(tmp_path, *flags))
    assert (tmp_path / "run").read_text() == "mine"


def test_a_disk_that_takes_no_more_ends_in_one_line_and_the_run_goes_on_later(tmp_path, vectors):
    # The kernel limits each file that the command writes to 4 kB, which has the effect of a full disk.
    import resource

    flags = ["--config=configs/embeddings.py:rkmeans", f"--config.data.path={vectors}", "--config.train.num_epochs=2"]
    flags += ["--config.model.codebook_size=64", "--config.train.batch_size=32", f"--workdir={tmp_path / 'run'}"]
    limits = (4096, 4096)
    result = run(
        "train.py", *flags, compiled=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    )
    # Threads of the checkpoint library may print other lines, but the last line is the error.
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "file too large" in last.lower()
    again = run("train.py", *flags)
    assert again.returncode == 0, again.stderr


def test_training_with_an_export_writes_what_the_two_commands_write(tmp_path, vectors):
    flags = ["--config=configs/embeddings.py", f"--config.data.path={vectors}", "--config.train.num_epochs=2"]
    flags += ["--config.model.codebook_size=8", "--config.model.hidden_dimensions=(8,)"]
    together = train(tmp_path, *flags, f"--export={tmp_path / 'one'}")
    assert together.returncode == 0, together.stderr
    assert "Next: sid-jax export" not in together.stdout
    evaluate = f"Next: sid-jax evaluate --ids={tmp_path / 'one'} --vectors={vectors}\n"
    assert evaluate in together.stdout.replace("\r\n", "\n")
    apart = run("export.py", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'two'}")
    assert apart.returncode == 0, apart.stderr
    one, two = tmp_path / "one", tmp_path / "two"
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    for name in ("ids.csv", "codebooks.safetensors", "trie.npz", "report.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    # The folder of the export is checked before the training starts.
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("")
    for folder in ("taken", "two"):
        again = train(tmp_path / "other", *flags, f"--export={tmp_path / folder}")
        assert f"{folder} exists and is not empty" in refused(again) and not (tmp_path / "other" / "run").exists()


def test_export_of_no_run_is_refused(tmp_path):
    line = refused(run("export.py", f"--workdir={tmp_path / 'none'}", f"--out={tmp_path / 'out'}"))
    assert "has no run" in line and "train first" in line
    assert list(tmp_path.iterdir()) == []
