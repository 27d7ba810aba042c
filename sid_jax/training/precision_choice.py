"""Chooses the precision of the networks' matrix products if `train.precision` is "auto"."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from sid_jax.config import default_config
from sid_jax.messages import Messages
from sid_jax.models.mlp import matmul
from sid_jax.settings import AUTO
from sid_jax.training.processes import gather_texts
from sid_jax.training.workdir import has_run, read_run

# bfloat16 is chosen if it takes at most this share of the time of float32. A smaller gain is not worth the rounding
# errors.
_WORTHWHILE = 0.9
_REPETITIONS = 8
# Maximum number of rows of the matrix products that are timed on CPUs. More rows would not change the time per row.
_ROWS_ON_CPU = 256


def with_precision(config: ConfigDict, num_features: int, workdir: Path | None, messages: Messages) -> ConfigDict:
    """Returns a config whose `train.precision` is "float32" or "bfloat16"; "auto" is replaced by one of them.

    A resumed run keeps its precision. Without a network, the precision is float32. On TPUs, which multiply in bfloat16,
    it is bfloat16. On other devices, the matrix products of the encoder are timed in both precisions. The choice is
    printed with its reason. All processes use the choice of the first process.
    """
    if config.train.precision != AUTO:
        return config
    if workdir and has_run(workdir):
        chosen, why = read_run(workdir, default_config())[0].train.precision, "as at the start of this run"
    elif config.model.encoder == "identity" or config.model.quantizer == "opq":
        chosen, why = "float32", "there is no network to train"
    elif jax.default_backend() == "tpu":
        chosen, why = "bfloat16", "TPUs multiply in bfloat16"
    else:
        share = _time_share(config, num_features)
        chosen = "bfloat16" if share <= _WORTHWHILE else "float32"
        why = f"matrix products in bfloat16 take {share:.2f} times as long as in float32 on this device"
    chosen, why = gather_texts(f"{chosen} {why}")[0].split(" ", 1)
    messages.line(f"train.precision=auto: {chosen} ({why})")
    config = config.copy_and_resolve_references()
    config.train.precision = chosen
    return config


def _time_share(config: ConfigDict, num_features: int) -> float:
    """Returns the time of the encoder's matrix products and their gradients in bfloat16, relative to float32."""
    model, rows = config.model, max(1, config.train.batch_size // jax.device_count())
    clock = time.perf_counter
    if jax.default_backend() == "cpu":
        # CPU time is measured, since other work on the machine can multiply the elapsed time of such short products.
        rows, clock = min(rows, _ROWS_ON_CPU), time.process_time
    widths = [num_features, *model.hidden_dimensions, model.latent_dimension]
    factors = [(jnp.ones((rows, wide)), jnp.ones((wide, narrow))) for wide, narrow in itertools.pairwise(widths)]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    # The first repetition includes the compilation, and is not counted.
    for _ in range(1 + _REPETITIONS):
        for mixed, times in seconds.items():
            began = clock()
            jax.block_until_ready(_products(factors, mixed=mixed))
            times.append(clock() - began)
    return min(seconds[True][1:]) / min(seconds[False][1:])


def _sum_of_products(factors: list[tuple[jax.Array, jax.Array]], mixed: bool) -> jax.Array:
    products = [matmul(left, right, jax.lax.Precision.HIGHEST, mixed=mixed) for left, right in factors]
    return sum((jnp.sum(jnp.square(product)) for product in products), start=jnp.float32(0))


_products = jax.jit(jax.grad(_sum_of_products), static_argnames="mixed")
