"""The installed package: a wheel, whose command works in an empty folder, without the repository."""

import configparser
import email
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from sid_jax import __version__
from tests.commands import ROOT, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, built from a copy of the sources, since a build leaves files that a later build would pack."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "sid_jax", folder / "sid_jax", ignore=shutil.ignore_patterns("__pycache__"))
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    built = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (file,) = (folder / "dist").iterdir()
    return file


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder)
    return folder


def test_it_holds_all_of_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT) for path in (ROOT / "sid_jax").rglob("*") if path.is_file()}
    assert {name for name in names if ".dist-info/" not in name} == {
        # sid_jax/lite/pyproject.toml is for an installation of sid_jax.lite without the rest of the package.
        str(path)
        for path in sources
        if "__pycache__" not in path.parts and path.name != "pyproject.toml"
    }
    assert "sid_jax/py.typed" in names and "sid_jax/report/page/report.html" in names
    assert f"sid_jax-{__version__}.dist-info/licenses/LICENSE" in names


def test_it_says_its_version_its_license_and_its_command(unpacked):
    about = unpacked / f"sid_jax-{__version__}.dist-info"
    metadata = email.message_from_string((about / "METADATA").read_text())
    assert (metadata["Name"], metadata["Version"]) == ("sid_jax", __version__)
    assert metadata["License"] == "Apache-2.0"
    assert "License :: OSI Approved :: Apache Software License" in metadata.get_all("Classifier")
    commands = configparser.ConfigParser()
    commands.read(about / "entry_points.txt")
    assert dict(commands["console_scripts"]) == {"sid-jax": "sid_jax.cli:main"}


def test_its_command_trains_and_exports_in_an_empty_folder(unpacked, tmp_path):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))

    def command(*words):
        begin = [sys.executable, "-c", "import sid_jax.cli; print(sid_jax.__file__); sid_jax.cli.main()"]
        variables = environment(flags="") | {"PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1"}
        result = subprocess.run([*begin, *words], cwd=tmp_path, env=variables, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        # The imported package is that of the wheel, not that of the repository.
        assert result.stdout.splitlines()[0].startswith(f"{unpacked}{os.sep}")
        return result.stdout

    small = ["--config.model.codebook_size=8", "--config.model.hidden_dimensions=(8,)", "--config.train.batch_size=64"]
    command("train", "--config=embeddings:gumbel,quick", "--config.data.path=items.npy", *small, "--workdir=w")
    command("export", "--workdir=w", "--out=ids")
    assert (tmp_path / "ids" / "ids.parquet").exists() and (tmp_path / "ids" / "report.html").exists()
    assert "items" in command("evaluate", "--ids=ids", "--vectors=items.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "items.npy", "w"]
