import subprocess
import sys
from pathlib import Path

from sid_jax.cache import cache_folder
from tests.commands import ROOT, environment


def test_the_cache_folder_is_the_settings_then_the_environments_then_home(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("SID_JAX_CACHE", str(tmp_path / "environment"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder("setting") == Path.cwd() / "setting"
    assert cache_folder() == tmp_path / "environment"
    monkeypatch.delenv("SID_JAX_CACHE")
    assert cache_folder() == tmp_path / "home" / ".cache" / "sid_jax"


_COMPILE = """
from sid_jax.cache import keep_compiled_programs
keep_compiled_programs()
import jax
print(jax.jit(lambda x: 2 * x + 1)(jax.numpy.ones(3)))
"""


def compile_with(**variables: str) -> str:
    mine = {name: value for name, value in environment().items() if "CACHE" not in name}
    result = subprocess.run(
        [sys.executable, "-c", _COMPILE], env={**mine, **variables}, cwd=ROOT, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "[3. 3. 3.]\n"), result.stderr
    return result.stderr


def test_programs_are_kept_in_the_cache_folder_and_elsewhere_if_jax_is_told_so(tmp_path: Path):
    assert compile_with(SID_JAX_CACHE=str(tmp_path / "ours")) == ""
    kept = sorted((tmp_path / "ours" / "compiled").glob("*-cache"))
    assert kept
    compile_with(SID_JAX_CACHE=str(tmp_path / "ours"))
    assert sorted((tmp_path / "ours" / "compiled").glob("*-cache")) == kept

    compile_with(SID_JAX_CACHE=str(tmp_path / "ours"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "jax"))
    assert list((tmp_path / "jax").glob("*-cache"))


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path):
    (tmp_path / "file").touch()
    assert compile_with(SID_JAX_CACHE=str(tmp_path / "file")) == ""
