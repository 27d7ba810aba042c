"""Several processes on this machine do one training run; each is started with the command that a user types."""

import functools
import json
import signal
import socket
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from sid_jax.config import default_config
from sid_jax.errors import UserError
from sid_jax.export.run import export
from sid_jax.messages import Messages
from sid_jax.training import workdir as workdir_module
from sid_jax.training.processes import join
from sid_jax.training.records import read_records
from sid_jax.training.restore import restore_run
from tests.commands import refused, run, run_together, start_together
from tests.training.test_quantizer import same_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 2,000 vectors of 16 features around 100 centers, a changed copy, and interaction histories."""
    folder = tmp_path_factory.mktemp("processes")
    random = np.random.default_rng(0)
    centers = random.normal(size=(100, 16))
    vectors = (centers[random.integers(0, 100, 2000)] + 0.3 * random.normal(size=(2000, 16))).astype(np.float32)
    np.save(folder / "items.npy", vectors)
    vectors[5] += 1
    np.save(folder / "changed.npy", vectors)
    (folder / "sequences.txt").write_text("\n".join(f"u{n} {n} {n + 1} {n + 2} 0 0" for n in range(0, 1998, 3)))
    return folder


def words(folder, name, *flags):
    """Returns the command for a run of 40 steps, one step per compiled call, in the workdir `name`."""
    return [
        "train.py", "--config=configs/embeddings.py:ste,quick", f"--config.data.path={folder / 'items.npy'}",
        "--config.model.num_levels=2", "--config.model.codebook_size=48", "--config.model.hidden_dimensions=(64,)",
        "--config.model.latent_dimension=8",
        "--config.train.batch_size=200", "--config.train.num_epochs=4", "--config.train.log_every_steps=1",
        "--config.train.revive_every_epochs=0.5", *flags,
        f"--workdir={folder / name}",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(folder):
    """A function that trains a run with a number of processes, unless this run exists, and returns its workdir."""

    @functools.cache
    def workdir(num_processes, name="run", *flags):
        command = words(folder, f"{name}-{num_processes}", *flags)
        ended = [run(*command)] if num_processes == 1 else run_together(num_processes, *command)
        assert [each.returncode for each in ended] == [0] * num_processes, ended
        # 48 x 48 IDs are few for 2,000 items, and only the first process prints a warning about this.
        first, *others = (each.stderr for each in ended)
        assert first.startswith("warning: ") and first.count("\n") == 1 and not any(others), ended
        assert "reconstruction R^2" in ended[0].stdout
        # In each process, the library that connects the processes logs one line.
        assert all(each.stdout.startswith("[Gloo]") and each.stdout.count("\n") == 1 for each in ended[1:])
        return folder / f"{name}-{num_processes}"

    return workdir


def assert_same_course(workdir, other):
    losses, others = ([row["loss"] for row in read_records(each, "train")] for each in (workdir, other))
    assert len(losses) == 40
    np.testing.assert_allclose(others, losses, rtol=1e-5)
    (measured,), (others,) = (read_records(each, "eval") for each in (workdir, other))
    assert others["r2"] == pytest.approx(measured["r2"], abs=1e-3)
    assert others["num_items"] == 2000


def test_the_losses_are_those_of_one_process(trained):
    assert_same_course(trained(1), trained(2))


def test_so_they_are_where_vectors_and_partners_are_read_from_their_file(trained, folder):
    histories = [
        "--config.data.histories.source=sequences", f"--config.data.histories.path={folder / 'sequences.txt'}",
        "--config.data.collaborative_weight=0.0", "--config.model.contrastive_weight=0.1",
        "--config.model.alignment_weight=0.1",
    ]  # fmt: skip
    one = trained(1, "histories", *histories)
    assert_same_course(one, trained(2, "streamed", *histories, "--config.train.resident_bytes=0"))


def test_from_one_state_the_codes_are_the_same_on_all_processes_and_one_process_exports_them(trained, tmp_path):
    workdir = trained(2)
    export(workdir, tmp_path / "export", messages=Messages.silent())
    codes = np.array(pq.read_table(tmp_path / "export" / "ids.parquet")["codes"].to_pylist())
    ended = run_together(3, "-m", "tests.training.codes_of_run", f"--workdir={workdir}", f"--out={tmp_path}/of")
    assert [each.returncode for each in ended] == [0] * 3, ended
    for number in range(3):
        np.testing.assert_array_equal(np.load(tmp_path / f"of{number}.npy"), codes)


def started(folder, name):
    """Starts a run in two processes, and returns the processes after a few steps."""
    processes = start_together(2, *words(folder, name))
    metrics = folder / name / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        assert [each.poll() for each in processes] == [None] * 2
        time.sleep(0.02)
    return processes


def test_a_signal_to_one_stops_all_at_one_step_and_they_go_on_to_the_same_end(trained, folder):
    processes = started(folder, "stopped")
    processes[1].send_signal(signal.SIGTERM)
    told = [each.communicate(timeout=100) for each in processes]
    assert [each.returncode for each in processes] == [143, 143], told
    assert "Stopped and saved at step" in told[0][0]
    with pytest.raises(UserError, match="is not finished"):
        restore_run(folder / "stopped")
    ended = run_together(2, *words(folder, "stopped"))
    assert "resuming at step" in ended[0].stdout, ended
    whole, stopped = restore_run(trained(2)), restore_run(folder / "stopped")
    assert whole.step == stopped.step == 40
    assert same_state(whole.state, stopped.state)


def test_a_process_that_is_lost_stops_the_others(folder):
    processes = started(folder, "lost")
    processes[1].kill()
    told, complaint = processes[0].communicate(timeout=100)
    assert processes[0].returncode == 1 and complaint.startswith("error: another process has stopped"), complaint
    assert complaint.count("\n") == 1


def test_different_data_is_refused_by_both(folder):
    changed = f"--config.data.path={folder / 'changed.npy'}"
    lines = [refused(each) for each in run_together(2, *words(folder, "different"), of_last=[changed])]
    assert "process 1 has other data than process 0" in lines[0] == lines[1]
    assert not (folder / "different").exists()


def test_different_settings_are_refused_with_the_first_that_differs(config, tmp_path, monkeypatch):
    other = config.copy_and_resolve_references()
    # The path of the data may differ between processes.
    other.data.path, other.train.batch_size = "elsewhere.npy", 128
    theirs = json.dumps({"config": other.to_dict(), "data_fingerprint": "same"})
    monkeypatch.setattr(workdir_module, "gather_texts", lambda text: [text, theirs])
    claim = workdir_module.claimed_workdir(tmp_path / "run", config, default_config(), "same")
    with pytest.raises(UserError, match="config.train.batch_size is 64 on process 0 and 128 on process 1"), claim:
        pytest.fail("the workdir was claimed, although the settings of the processes differ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"distributed": True, "process_id": 0}, "--distributed detects"),
        ({"num_processes": 2}, "--num_processes cannot be used without --coordinator_address and --process_id"),
        ({"coordinator_address": "host:1", "process_id": 0}, "without --num_processes"),
        ({"coordinator_address": "host", "num_processes": 2, "process_id": 0}, "must be HOST:PORT"),
        ({"coordinator_address": "host:1", "num_processes": 0, "process_id": 0}, "--num_processes is 0"),
        ({"coordinator_address": "host:1", "num_processes": 2, "process_id": 2}, "must be from 0 to 1"),
        ({"coordinator_address": "host:99999", "num_processes": 2, "process_id": 0}, "cannot listen"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(flags, complaint):
    with pytest.raises(UserError, match=complaint):
        join(**flags)


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        with pytest.raises(UserError, match="set a free port"):
            join(coordinator_address=address, num_processes=2, process_id=0)


def test_by_the_command_that_is_one_line_and_nothing_is_touched(folder):
    assert "several processes need all three" in refused(run(*words(folder, "alone"), "--process_id=0"))
    assert not (folder / "alone").exists()
