"""Runs command lines of the documentation in this process, or checks that they can be started."""

from __future__ import annotations

import re
import runpy
import sys

import pytest
from absl import app, flags

from sid_jax import cli, command
from tests.commands import ROOT

# Beginnings of commands that do not belong to this project; their flags are not checked.
_PLAIN = ["python -m pytest", "python3 -m venv", ".", "source"]


def execute(words: list[str]) -> None:
    """Runs a command of this project, such as `["sid-jax", "train", ...]`, in this process; raises if it fails."""
    with pytest.MonkeyPatch.context() as patch:
        _run(words, patch)


def check(words: list[str]) -> None:
    """Checks that a command can be started: its program, its flags, its config and each setting exist.

    Raises:
      AssertionError: if one of these does not exist, or if the kind of command is unknown.
    """
    typed = " ".join(words)
    if typed.startswith("pip install"):
        extras = re.findall(r'^ {8}"(\w+)": \[', (ROOT / "setup.py").read_text(), re.M)
        for names in re.findall(r"\[(.*?)\]", typed):
            assert set(names.split(",")) <= set(extras), f"{typed}: the extras are {', '.join(extras)}"
    elif words[0] == "python" and words[1].startswith("benchmarks/"):
        code = (ROOT / words[1]).read_text().replace("command.config_flag(", '"config"')
        for name in re.findall(r"--(\w+)", typed):
            assert re.search(rf"[\"'](--)?{name}[\"']", code), f"{words[1]} has no --{name}"
    elif _is_ours(words):
        # absl does not report a missing config file until the config is read.
        for file in re.findall(r"--config=([^: ]+\.py)", typed):
            assert (ROOT / file).exists(), f"{typed}: there is no {file}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "_guarded", lambda main, argv: None)
            _run(words, patch)
    else:
        assert any(typed.startswith(plain) for plain in _PLAIN), (
            f"{typed}: unknown command; add it to _PLAIN in tests/docs/typed.py"
        )


def _is_ours(words: list[str]) -> bool:
    return words[0] == "sid-jax" or (words[0] == "python" and words[1] in ("train.py", "export.py"))


def _run(words: list[str], patch: pytest.MonkeyPatch) -> None:
    assert _is_ours(words), f"{' '.join(words)}: unknown command; add it to NOT_RUN in tests/docs/exceptions.py"

    def leave(message: str) -> None:
        raise AssertionError(f"{' '.join(words)}\nerror: {message}")

    patch.setattr(command, "_leave", leave)
    # Skips the initialization that absl performs once per process.
    patch.setattr(app._run_init, "done", True)
    before = set(flags.FLAGS)
    try:
        if words[0] == "sid-jax":
            patch.setattr(sys, "argv", list(words))
            cli.main()
        else:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(str(ROOT / words[1]), run_name="__main__")
    except SystemExit as end:
        assert end.code in (None, 0), f"{' '.join(words)} ended with the exit status {end.code}"
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        flags.FLAGS.unparse_flags()
        # The module of a subcommand defines flags when it is imported. These modules are removed, so that the next
        # command imports them again.
        for name in [name for name in sys.modules if name.startswith("sid_jax.cli.")]:
            delattr(cli, sys.modules.pop(name).__name__.rpartition(".")[2])
