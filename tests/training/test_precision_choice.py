import json

import jax
import pytest
from rich.console import Console

from sid_jax.config import check_config, default_config
from sid_jax.messages import Messages
from sid_jax.training import precision_choice
from sid_jax.training.precision_choice import with_precision


@pytest.fixture
def console():
    return Console(record=True, width=200)


def choose(monkeypatch, console, seconds, workdir=None, backend="cpu", **model):
    """Returns the precision that is chosen for `seconds`, the times of the matrix products in bfloat16 and float32."""
    ticks = iter([0.0, 9.0] * 2 + [tick for each in seconds for tick in (0.0, each)] * 8)
    monkeypatch.setattr(precision_choice.time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = default_config()
    config.model.update({"hidden_dimensions": (4,), "latent_dimension": 3, **model})
    config.train.precision = "auto"
    check_config(config)
    chosen = with_precision(config, 5, workdir, Messages.to_console(console)).train.precision
    assert config.train.precision == "auto"
    return chosen


def test_the_faster_precision_is_chosen_and_told(monkeypatch, console):
    assert choose(monkeypatch, console, (0.5, 1.0)) == "bfloat16"
    assert choose(monkeypatch, console, (1.4, 1.0)) == "float32"
    # A gain of less than a tenth is not worth the rounding.
    assert choose(monkeypatch, console, (0.95, 1.0)) == "float32"
    told = " ".join(console.export_text().split())
    assert "train.precision=auto: bfloat16 (matrix products in bfloat16 take 0.50 times as long as in float32" in told
    assert "float32 (matrix products in bfloat16 take 1.40 times" in told


def test_nothing_is_measured_where_a_rule_decides(monkeypatch, console):
    assert choose(monkeypatch, console, (), backend="tpu") == "bfloat16"
    assert choose(monkeypatch, console, (), encoder="identity") == "float32"


@pytest.mark.parametrize("before", ["float32", "bfloat16"])
def test_a_run_that_is_resumed_keeps_its_precision(monkeypatch, console, tmp_path, before):
    record = {"config": {"train": {"precision": before}}, "data_fingerprint": ""}
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert choose(monkeypatch, console, (), tmp_path) == before
