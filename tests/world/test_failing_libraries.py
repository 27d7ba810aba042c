"""A failure in a library, a thread or a stream gives a one-line error, and no work is lost."""

import contextlib
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sid_jax import SemanticIdTokenizer, UserError, command, signals, standard_streams
from sid_jax.cache import cache_folder, keep_compiled_programs
from sid_jax.failures import in_one_line
from sid_jax.training.records import BoardRecords, FileRecords, read_records

ROW = {"loss": 0.5, "usage": [0.25, 1.0]}


@pytest.fixture
def full_disk():
    """Limits each file that this process writes to 4 kB, which has the effect of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", [FileRecords, BoardRecords])
def test_a_full_disk_ends_the_metrics_with_one_line_and_not_the_training(full_disk, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("sid_jax.training.records._FLUSH", 0.0)
    said = []
    records = kind(tmp_path / "run" if kind is BoardRecords else tmp_path, 0, said.append)
    for step in range(400):
        records.write("train", step, ROW)
    records.close()
    assert len(said) == 1 and "File too large" in said[0] and str(tmp_path) in said[0]
    # A resumed run reads the complete lines, and appends to them.
    if kind is FileRecords:
        steps = [row["step"] for row in read_records(tmp_path, "train")]
        assert steps == list(range(len(steps))) and len(steps) > 10
        again = FileRecords(tmp_path, 5, said.append)
        again.write("train", 6, ROW)
        again.close()
        assert [row["step"] for row in read_records(tmp_path, "train")] == [0, 1, 2, 3, 4, 5, 6]


def test_tensorboard_reads_what_was_written_and_voids_what_a_resumed_run_writes_again(tmp_path):
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    records = BoardRecords(tmp_path / "board", 4, pytest.fail)
    records.write("train", 10, ROW)
    records.close()
    (path,) = (tmp_path / "board").glob("events.out.tfevents.*")
    content, events = path.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    assert events[0].file_version == "brain.Event:2"
    assert (events[1].step, events[1].session_log.status) == (5, SessionLog.START)
    found = {each.summary.value[0].tag: each.summary.value[0].simple_value for each in events[2:]}
    assert found == {"train/loss": 0.5, "train/usage/level_1": 0.25, "train/usage/level_2": 1.0}
    assert {each.step for each in events[2:]} == {10}


def assertion_of_jax():
    namespace = {}
    exec(compile("def backends():\n    raise AssertionError", "jax/_src/xla_bridge.py", "exec"), namespace)
    namespace["backends"]()


EXCEPTIONS = {
    "no such GPU": (assertion_of_jax, "JAX_PLATFORMS is cuda, but JAX finds no such device"),
    "a device's memory is full": (
        lambda: (_ for _ in ()).throw(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nBuffers:")),
        "lower --config.train.batch_size",
    ),
    "memory is full": (lambda: bytearray(2**62), "train.resident_bytes"),
    "no file": (lambda: Path("/proc/1/nothing").read_text(), "No such file or directory: /proc/1/nothing"),
    "a package is missing": (lambda: __import__("sid_jax_nothing"), "No module named 'sid_jax_nothing'"),
    "a fault of ours": (lambda: [][0], "unexpected IndexError: list index out of range; run the command with --debug"),
}


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_an_exception_of_any_kind_is_one_line(monkeypatch, capsys, kind):
    fail, words = EXCEPTIONS[kind]
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(command.os, "_exit", sys.exit)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit) as left:
        command._guarded(lambda _: fail(), ["command"])
    error = capsys.readouterr().err
    assert left.value.code == 1 and error.startswith("error: ") and error.count("\n") == 1
    assert words in error


def test_a_mistake_of_the_users_is_said_as_it_is():
    assert in_one_line(UserError("give at least two")) == "give at least two"


def test_a_reader_of_the_output_that_has_gone_stops_the_printing_and_not_the_work():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        stream = standard_streams._kept(pipe)
        for _ in range(3):
            print("step", file=stream, flush=True)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_letters_that_the_terminal_lacks_are_replaced(tmp_path, encoding):
    with (tmp_path / "out").open("w", encoding=encoding) as file:
        print("Le fabuleux destin d'Amélie ポ", file=standard_streams._kept(file), flush=True)
    assert "destin d'Am" in (tmp_path / "out").read_text(encoding)


def test_an_output_that_was_closed_before_the_start_takes_lines():
    print("step", file=standard_streams._kept(None), flush=True)
    assert isinstance(standard_streams._kept(io.StringIO()), io.StringIO)


def test_a_stream_that_was_closed_is_not_replaced_by_a_file_of_the_work(tmp_path):
    script = """
import os, sys
from sid_jax.standard_streams import keep_working_streams
keep_working_streams()
file = open(sys.argv[1], "w")
os.write(2, b"a library's log")
print("step", flush=True)
"""
    closed = f'exec 0<&- 1>&- 2>&-; exec "{sys.executable}" -c "$0" "$1"'
    assert subprocess.run(["sh", "-c", closed, script, tmp_path / "out"], check=False).returncode == 0
    assert (tmp_path / "out").read_text() == ""


def test_without_a_home_folder_nothing_is_kept_and_what_needs_one_says_so(monkeypatch):
    for name in ("HOME", "SID_JAX_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("uid not found")))
    keep_compiled_programs()
    with pytest.raises(UserError, match="the home folder is unknown, since HOME is not set"):
        cache_folder()


def test_ids_are_the_same_where_jax_computes_in_64_bits():
    vectors = np.random.default_rng(0).normal(size=(128, 6)).astype(np.float32)
    tables = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            tokenizer = SemanticIdTokenizer("rkmeans", codebook_size=8, num_epochs=1, batch_size=64)
            tokenizer.fit(vectors, verbose=False)
            tables.append((tokenizer.table.semantic_ids, tokenizer.encode(vectors.astype(np.float64))))
    for one, other in zip(*tables, strict=True):
        np.testing.assert_array_equal(one, other)


def in_a_command(work, *numbers):
    """Runs `work` as a command does. The argument of `work` is a function that raises the signals `numbers`."""
    with signals.stopping():
        work(lambda: [signal.raise_signal(number) for number in numbers])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_work_with_its_own_status(monkeypatch, capsys, number):
    with pytest.raises(SystemExit) as left:
        command._guarded(lambda _: signal.raise_signal(number), ["command"])
    assert left.value.code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}\n"


def test_a_second_signal_is_the_systems_own_which_ends_any_process():
    handlers = []

    def work(come):
        with signals.Interruption() as interruption:
            come()
            assert interruption.asked
            handlers.extend(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT))

    in_a_command(work, signal.SIGTERM)
    assert handlers == [signal.SIG_DFL] * 2


def test_a_signal_that_a_callback_swallowed_comes_again():
    class Swallows:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def work(_):
        Swallows()
        time.sleep(5)

    began = time.monotonic()
    with pytest.raises(signals.Stopped):
        in_a_command(work)
    assert time.monotonic() - began < 2


def test_a_signal_that_a_library_swallowed_keeps_the_work_from_being_published():
    def work(come):
        with contextlib.suppress(BaseException):
            come()
        signals.refuse_to_go_on()

    with pytest.raises(signals.Stopped):
        in_a_command(work, signal.SIGINT)
    signals.refuse_to_go_on()


def test_a_hangup_is_ignored_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        in_a_command(lambda come: come(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_a_thread_training_sets_no_handlers():
    found = []

    def work():
        with signals.Interruption() as interruption:
            found.append(interruption.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
