from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sid_jax.errors import UserError
from sid_jax.export.atomic import atomic_folder

ROOT = Path(__file__).parents[2]


def export(destination: Path, text: str = "whole") -> None:
    with atomic_folder(destination) as folder:
        (folder / "ids.csv").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "more").write_text(text)


def refusal(destination: Path) -> str:
    with pytest.raises(UserError) as caught:
        export(destination)
    message = str(caught.value)
    assert "\n" not in message
    return message


def tree(folder: Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def start_export_that_waits(destination: Path) -> subprocess.Popen[str]:
    program = f"""
        import sys
        from sid_jax.export.atomic import atomic_folder
        with atomic_folder({str(destination)!r}) as folder:
            (folder / "half").write_text("half")
            print("writing", flush=True)
            sys.stdin.readline()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_the_folder_appears_whole_and_nothing_else_stays(tmp_path):
    export(tmp_path / "out")
    assert tree(tmp_path) == {"out": None, "out/ids.csv": "whole", "out/inner": None, "out/inner/more": "whole"}


def test_nothing_is_at_the_destination_before_the_end(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        assert not (tmp_path / "out").exists()
        assert folder.parent == tmp_path


def test_missing_parents_are_made_and_others_may_read_the_folder(tmp_path):
    (tmp_path / "plain").mkdir()
    export(tmp_path / "a" / "b" / "out")
    assert (tmp_path / "a" / "b" / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_may_be_there(tmp_path):
    (tmp_path / "out").mkdir()
    export(tmp_path / "out")
    assert (tmp_path / "out" / "ids.csv").read_text() == "whole"


def test_a_relative_destination_and_a_linked_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(Path("out"))
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    export(tmp_path / "link")
    assert (tmp_path / "out" / "ids.csv").exists()
    assert (tmp_path / "elsewhere" / "ids.csv").exists()


def test_what_is_there_is_refused_and_untouched(tmp_path):
    export(tmp_path / "out", "first")
    (tmp_path / "file").write_text("file")
    before = tree(tmp_path)
    assert "exists and is not empty" in refusal(tmp_path / "out")
    assert "file is a file" in refusal(tmp_path / "file")
    assert "file is a file" in refusal(tmp_path / "file" / "inside" / "out")
    assert tree(tmp_path) == before


def test_a_mount_point_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    assert "choose a folder inside it" in refusal(tmp_path / "volume")


@pytest.fixture
def closed():
    """A folder without write permission. Root may write everywhere, so root becomes another user during a test."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "closed"
        folder.mkdir()
        folder.chmod(0o555)
        try:
            if user == 0:
                os.seteuid(65534)
            yield folder
        finally:
            if user == 0:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_parent_that_cannot_be_written_is_refused(closed):
    assert "Permission denied" in refusal(closed / "out")
    assert "Permission denied" in refusal(closed / "more" / "out")
    assert list(closed.iterdir()) == []


def test_a_system_folder_that_takes_no_files_is_refused():
    assert refusal(Path("/proc/out")).startswith("cannot write /proc/out: ")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UserError])
def test_a_failure_passes_through_and_leaves_nothing(tmp_path, error):
    with pytest.raises(error, match="halfway"), atomic_folder(tmp_path / "new" / "out") as folder:
        (folder / "half").write_text("half")
        raise error("halfway")
    assert tree(tmp_path) == {}


def write_with_python(path: Path) -> None:
    path.write_text("x" * 100_000)


def write_with_arrow(path: Path) -> None:
    pa.parquet.write_table(pa.table({"x": list(range(10_000))}), path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("write", [write_with_python, write_with_arrow])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, write):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as caught, atomic_folder(tmp_path / "out") as folder:
        (folder / "good").write_text("good")
        (folder / "full").symlink_to("/dev/full")
        write(folder / "full")
    assert str(caught.value) == f"cannot write {tmp_path / 'out'}: No space left on device"
    assert tree(tmp_path) == {"out": None}


def test_a_destination_that_appears_meanwhile_is_untouched(tmp_path):
    with pytest.raises(UserError, match="not empty"), atomic_folder(tmp_path / "out") as folder:
        (folder / "late").write_text("late")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "other").write_text("other")
    assert tree(tmp_path) == {"out": None, "out/other": "other"}


def test_of_two_at_once_one_wins_and_the_other_says_so(tmp_path):
    process = start_export_that_waits(tmp_path / "out")
    assert "another process is writing" in refusal(tmp_path / "out")
    export(tmp_path / "next_to_it")
    process.communicate("\n")
    assert process.returncode == 0
    assert tree(tmp_path / "out") == {"half": "half"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next_to_it", "out"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    process = start_export_that_waits(tmp_path / "out")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [".out.partial"]
    export(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert "half" not in tree(tmp_path / "out")
