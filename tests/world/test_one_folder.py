"""Two processes in one folder, file systems without locks or renaming, and files that a killed process left."""

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import socket
import warnings
from pathlib import Path

import pytest

from sid_jax import UserError, locks, signals
from sid_jax.config import default_config
from sid_jax.errors import DeviceWarning
from sid_jax.export.atomic import atomic_folder
from sid_jax.locks import alone
from sid_jax.training import sharding
from sid_jax.training.workdir import RUN_FILE, alone_in, claimed_workdir, read_run

OTHERS = multiprocessing.get_context("spawn")
NO_ONE = 2**22 - 3  # A process id that is hardly ever in use.


def hold(path, works, told):
    """Acquires a lock, and holds it until the pipe `told` gets a message. This function runs in another process."""
    with alone(Path(path), "at work"):
        works.send(True)
        told.poll(30)


@contextlib.contextmanager
def another_process(path):
    # Pipes are used, because a process that is killed while it waits for an Event leaves the Event locked.
    (works, from_it), (to_it, told) = OTHERS.Pipe(), OTHERS.Pipe()
    process = OTHERS.Process(target=hold, args=(str(path), from_it, told))
    process.start()
    assert works.poll(30)
    yield process
    to_it.send(True)
    process.join()


def claim(workdir, seed=0):
    config = default_config()
    config.seed = seed
    return claimed_workdir(workdir, config, default_config(), "the same data")


def claim_many(workdir, number, found):
    """Claims a workdir repeatedly, like processes that a scheduler starts at the same time."""
    results = []
    for _ in range(number):
        try:
            with claim(Path(workdir)):
                read_run(Path(workdir), default_config())
            results.append("")
        except UserError as error:
            results.append(str(error))
    found.put(results)


def test_a_job_that_a_scheduler_submits_again_is_refused_by_the_owners_name_and_the_first_is_unharmed(tmp_path):
    with claim(tmp_path / "run"):
        pass
    with another_process(tmp_path / "run" / ".lock") as owner:
        with pytest.raises(UserError) as refused, claim(tmp_path / "run"):
            pass
        assert f"process {owner.pid} on {socket.gethostname()} since" in str(refused.value)
        assert str(tmp_path / "run") in str(refused.value)
    with claim(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / ".lock").exists()


def test_of_many_claims_at_a_time_each_is_taken_or_refused_by_name(tmp_path):
    found, processes = OTHERS.Queue(), []
    for _ in range(2):
        processes.append(OTHERS.Process(target=claim_many, args=(str(tmp_path / "run"), 100, found)))
        processes[-1].start()
    results = [each for _ in processes for each in found.get(timeout=120)]
    for process in processes:
        process.join()
    assert results.count("") > 0 and len(results) == 200
    assert {each[:22] for each in results} <= {"", "another process is usi"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == [RUN_FILE]


def test_a_lock_whose_process_was_killed_is_taken_over(tmp_path):
    with another_process(tmp_path / "lock") as owner:
        os.kill(owner.pid, signal.SIGKILL)
        owner.join()
        assert (tmp_path / "lock").exists()
        with alone(tmp_path / "lock", "at work"):
            assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()


@pytest.fixture(params=["no locks", "no such module"])
def without_locks(request, monkeypatch):
    """Makes file locks fail, as on a file system like Lustre, or removes the module for file locks, as on Windows."""

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    if request.param == "no locks":
        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    else:
        monkeypatch.setattr(locks, "fcntl", None)


def test_without_locks_of_the_file_system_the_file_is_the_lock(tmp_path, without_locks):
    first, second = (alone(tmp_path / "lock", "at work") for _ in range(2))
    with first, pytest.raises(UserError, match=f"process {os.getpid()} on "), second:
        pass
    assert list(tmp_path.iterdir()) == []
    for host, taken in ((socket.gethostname(), True), ("another", False)):
        (tmp_path / "lock").write_text(json.dumps({"host": host, "process": NO_ONE, "since": "now"}) + "\n")
        outcome = contextlib.nullcontext() if taken else pytest.raises(UserError, match="on another since now")
        with outcome, alone(tmp_path / "lock", "at work"):
            pass
    assert (tmp_path / "lock").exists()


def test_without_locks_exports_are_written_all_the_same(tmp_path, without_locks):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "manifest.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only")))
    with pytest.raises(UserError, match="Read-only; choose another --workdir"), alone_in(tmp_path / "run"):
        pass


def test_an_empty_record_of_a_run_that_had_no_disk_does_not_refuse_it_forever(tmp_path):
    (tmp_path / RUN_FILE).touch()
    (tmp_path / ".run.json.ab12.partial").touch()
    with claim(tmp_path):
        pass
    assert read_run(tmp_path, default_config())[1] == "the same data"
    with pytest.raises(UserError, match="seed was 0 and is now 1"), claim(tmp_path, seed=1):
        pass


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMFILE, errno.ENOSYS])
def test_where_folders_cannot_be_renamed_they_are_copied_the_manifest_last(tmp_path, monkeypatch, number):
    copied = []
    copy = __import__("shutil").copyfile
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(number, os.strerror(number))))
    monkeypatch.setattr("shutil.copyfile", lambda old, new: (copied.append(Path(new).name), copy(old, new)))
    with atomic_folder(tmp_path / "out") as folder:
        for name in ("manifest.json", "ids.csv"):
            (folder / name).write_text(name)
        (folder / "parts").mkdir()
        (folder / "parts" / "ids-0.parquet").write_text("part")
    assert copied == ["ids.csv", "ids-0.parquet", "manifest.json"]
    assert (tmp_path / "out" / "parts" / "ids-0.parquet").read_text() == "part"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_left_beside_the_destination_by_a_killed_writer_is_removed_and_what_is_being_written_is_not(tmp_path):
    for name in ("old", "now"):
        (tmp_path / f".{name}.partial").mkdir()
        (tmp_path / f".{name}.partial" / "large").touch()
    (tmp_path / ".old.partial-lock").touch()
    (tmp_path / ".mine").mkdir()
    with another_process(tmp_path / ".now.partial-lock"), atomic_folder(tmp_path / "out"):
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"out", ".now.partial", ".mine"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_while_a_folder_is_written_leaves_nothing(tmp_path, number):
    with pytest.raises(signals.Stopped), signals.stopping(), atomic_folder(tmp_path / "new" / "out") as folder:
        (folder / "half").write_text("half")
        signal.raise_signal(number)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_was_swallowed_is_noticed_before_a_folder_is_published(tmp_path):
    with pytest.raises(signals.Stopped), signals.stopping(), atomic_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("whole")
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_jax_that_is_installed_for_a_gpu_and_finds_none_says_that_the_cpu_is_used(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setitem(sharding._PLUGINS, "CUDA", ("json",))
    sharding._warn_of_the_cpu.cache_clear()
    with pytest.warns(DeviceWarning, match="installed for CUDA but finds no such device, so this run uses the CPU"):
        sharding.all_devices()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sharding.all_devices()
