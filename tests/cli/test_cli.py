"""The command `sid-jax`: its subcommands, their help, presets, and earlier names of settings."""

import re

import numpy as np
import pytest

from sid_jax import __version__, presets
from sid_jax.cli import COMMANDS
from sid_jax.command import _current_words
from sid_jax.errors import UserError
from tests.commands import ROOT, refused, run, start

# Maps each module of shared flags to the commands that have these flags.
SHARED = {
    "histories": ["evaluate", "convert", "llm_data"],
    "items": ["convert", "llm_data"],
    "processes": ["train", "recommend"],
}


def sid_jax(*words):
    return run("-m", "sid_jax", *words)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_alone_it_lists_its_commands_with_a_line_each(words):
    result = sid_jax(*words)
    assert (result.returncode, result.stderr) == (0, "")
    listed = re.findall(r"^  ([\w-]+) +(\S.*)$", result.stdout, re.M)
    assert dict(listed) == COMMANDS
    files = {path.stem for path in (ROOT / "sid_jax" / "cli").glob("*.py")} - {"__init__", *SHARED}
    assert {name.replace("_", "-") for name in files} == set(COMMANDS) == {
        "train", "export", "evaluate", "report", "recommend", "tokens", "llm-data", "convert", "features", "diff",
        "sweep",
    }  # fmt: skip


def test_it_says_its_version():
    assert sid_jax("--version").stdout.strip() == __version__


def test_a_command_that_there_is_not_is_refused_with_a_list():
    line = refused(sid_jax("trian"))
    assert "'trian'" in line and "train, export, evaluate" in line


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["export", "--vector_ids=x"], "--input_ids"),
        (["evaluate", "--ids=a", "--input_ids=x"], "--vector_ids"),
        (["recommend", "--vector_ids=x"], "--config.quantizer.data.ids_path"),
    ],
)
def test_the_flag_of_another_command_for_a_file_of_ids_is_answered_with_the_own_one(words, own):
    assert f"in this command, {own} gives the file of item ids" in refused(run("-m", "sid_jax", *words))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_the_commands_own_flags_and_then_its_settings(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    has_config = name in ("train", "recommend", "sweep")
    result = sid_jax(name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    # Help fits on one screen, and has an example.
    assert len(result.stdout.splitlines()) <= 46 and f"\n  sid-jax {name} " in result.stdout
    if has_config:
        assert "  data      source, path, " in result.stdout and "num_epochs, " in result.stdout
        result = sid_jax(name, "--helpfull")
    about, _, rest = result.stdout.partition("\nFlags:\n")
    flags, _, settings = rest.partition("\nSettings, ")
    assert f"sid-jax {name} " in about
    # Help lists the command's own flags, --debug and, for a command with settings, --config. It lists no flag of absl.
    name = name.replace("-", "_")
    files = [name, *(module for module, commands in SHARED.items() if name in commands)]
    text = "".join((ROOT / "sid_jax" / "cli" / f"{each}.py").read_text() for each in files)
    own = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', text))
    assert set(re.findall(r"^  --(\w+)(?: |$)", flags, re.M)) == own | {"debug"} | ({"config"} if has_config else set())
    if has_config:
        assert flags.startswith("  --config ")
        assert ("recommend" if name == "recommend" else "ml100k") in flags
        assert "--config.data.cold_items=\n" in settings and "--config.train.num_epochs=" in settings
    assert max(map(len, rest.splitlines())) <= 100


def test_help_may_be_read_in_part():
    process = start("-m", "sid_jax", "train", "--help")
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == ("", 0)


def test_help_imports_no_jax_and_neither_does_the_library_itself():
    code = "import sys; from sid_jax import cli; sys.argv = ['sid-jax', {!r}, '--help']; cli.main()"
    exits = "import atexit, sys; atexit.register(lambda: print('jax' in sys.modules)); "
    for name in ("train", "recommend", "export"):
        assert run("-c", exits + code.format(name)).stdout.splitlines()[-1] == "False", name
    assert (
        run("-c", "import sid_jax, sys; print('jax' in sys.modules, 'numpy' in sys.modules)").stdout == "False False\n"
    )


def test_a_preset_is_read_as_a_file_and_a_file_as_itself():
    def words_of(*words):
        return _current_words(["train", *words], presets.QUANTIZER)

    file = presets.__file__
    assert words_of("--config=ml100k:gumbel", "--workdir=w") == [f"--config={file}:ml100k:gumbel", "--workdir=w"]
    assert words_of("--config", "ml100k", "--workdir", "ml100k") == [
        "--config",
        f"{file}:ml100k",
        "--workdir",
        "ml100k",
    ]
    assert words_of("-config=embeddings") == [f"-config={file}:embeddings"]
    for left in ("configs/ml100k.py:gumbel", "mine.py", "folder/mine", ""):
        assert words_of(f"--config={left}") == [f"--config={left}"]
    for name in presets.RECOMMENDER:
        with pytest.raises(
            UserError, match=f"{name} belongs to another command; the presets of this command are embedd"
        ):
            words_of(f"--config={name}")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["train", "--config=ml1m", "--workdir=w"], "there is no preset 'ml1m'; the presets are embeddings, ml100k"),
        (["train", "--config=joint", "--workdir=w"], "the preset joint belongs to another command"),
        (["recommend", "--config=ml100k", "--workdir=w"], "the presets of this command are recommend, joint"),
        (["train", "--config=amazon:beauty,ste,gumbel", "--workdir=w"], "only one of ste, gumbel can be given"),
        (["recommend", "--config=recommend:beauty,scorer,decoder", "--workdir=w"], "only one of scorer, decoder can"),
        (["train", "--config=ml100k:gumble", "--workdir=w"], "must be one of ste, gumbel"),
        (["train", "--config=ml100k", "--config.model.num_level=3", "--workdir=w"], "did you mean config.model.num_le"),
        (["train", "--config=embeddings", "--workdir=w"], "--config.data.path=FILE"),
        (["train", "--workdir=w"], "--config"),
        (["export", "--workdir=w", "--out=o", "more"], "'more' is not a flag"),
        (["export", "--workdir=w"], "--out is missing"),
        (["convert", "--ids=e", "--to=grid"], "flag 'ids'; an example of this command is: sid-jax convert exports/"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, complaint):
    assert complaint in refused(sid_jax(*words))


MINE = """
from sid_jax.config import default_config

def get_config():
    config = default_config()
    config.data.centre = False
    return config
"""


def test_an_earlier_name_of_a_setting_is_accepted_with_one_line_of_warning(tmp_path):
    np.save(tmp_path / "items.npy", np.full((4, 2), np.nan, np.float32))
    (tmp_path / "mine.py").write_text(MINE)
    words = ["train.py", f"--config.data.path={tmp_path}/items.npy", f"--workdir={tmp_path}/run"]
    for more in (["--config=embeddings", "--config.data.centre=False"], [f"--config={tmp_path}/mine.py"]):
        result = run(*words, *more)
        warning, error = result.stderr.strip().splitlines()
        renamed = "warning: the setting centre has been renamed to center"
        assert warning == f"{renamed}; centre is accepted for one more version of sid_jax"
        assert error.startswith("error: ") and result.returncode == 1


def test_python_is_not_asked_to_import_other_commands():
    code = "import sys; from sid_jax import cli; sys.argv = ['sid-jax', 'diff', 'a']; cli.main()"
    exits = "import os, sys; os._exit = lambda code: print([name for name in sys.modules if 'sid_jax.cli.' in name]); "
    assert run("-c", exits + code).stdout.splitlines()[0] == "['sid_jax.cli.diff']"
