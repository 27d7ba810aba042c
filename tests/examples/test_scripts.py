"""The scripts in examples/ work with shorter training, and the exports that they write can be loaded."""

from __future__ import annotations

import runpy

import pytest

import sid_jax
from tests.commands import ROOT

SHORT = {
    "num_levels": 2,
    "num_epochs": 2.0,
    "warmup_epochs": 0.5,
    "codebook_size": 64,
    "hidden_dimensions": (16,),
    "batch_size": 256,
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def main_of(name):
    return runpy.run_path(str(ROOT / "examples" / name))["main"]


def test_own_vectors(capsys):
    main_of("own_vectors.py")(**SHORT)
    assert capsys.readouterr().out.count("shares the first") == 5
    assert len(sid_jax.load("exports/own-vectors").table) == 1000


def test_nights(capsys):
    main_of("nights.py")(nights=2, **SHORT)
    printed = capsys.readouterr().out
    assert "night 2: 40 new items" in printed and "1076 in all" in printed
    assert sid_jax.load("exports/nights/latest").export.manifest["version"]["number"] == 3


def test_movielens(capsys, monkeypatch, real_cache):
    monkeypatch.setenv("SID_JAX_CACHE", str(real_cache))
    small = {"features": 16, "num_layers": 1, "num_heads": 2, "hidden": 16, "bootstrap_samples": 20}
    small |= {"members": 1, "blend": ("popularity",)}
    main_of("movielens.py")(quantizer=SHORT, num_epochs=0.1, warmup_epochs=0.02, **small)
    printed = capsys.readouterr().out
    assert printed.startswith("After Toy Story") and printed.count("\n  ") >= 5
    assert len(sid_jax.load("exports/movielens").recommend([1, 95], k=3)) == 3


def test_language_model(capsys):
    share = main_of("language_model.py")(passes=3, **SHORT)
    assert "100 % of the generated IDs exist" in capsys.readouterr().out
    assert share > 0.2
