"""The optimizer of a jointly trained quantizer: Adam, with a learning rate for each group of parameters."""

from __future__ import annotations

from typing import Any

import jax
import optax
from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.joint_quantizer.schedules import Course

# Maps the name of each group of parameters in an RQ-VAE to its name in `Course`.
_GROUPS = {"encoder": "encoder", "quantizer": "codebooks", "decoder": "decoder"}


def quantizer_rules(rates: ConfigDict | FrozenConfigDict, course: Course) -> dict[str, optax.GradientTransformation]:
    """Returns the scaling of Adam's updates for each group of an RQ-VAE's parameters. A group with rate 0 is frozen.

    Args:
      rates: encoder_rate, codebook_rate, decoder_rate.
      course: the schedules.
    """
    peaks = {"encoder": rates.encoder_rate, "quantizer": rates.codebook_rate, "decoder": rates.decoder_rate}
    return {
        name: optax.scale_by_learning_rate(course.rate(peak, _GROUPS[name])) if peak else optax.set_to_zero()
        for name, peak in peaks.items()
    }


def make_quantizer_optimizer(rates: ConfigDict | FrozenConfigDict, course: Course) -> optax.GradientTransformation:
    """Returns Adam with a learning rate per group of an RQ-VAE's parameters. A group with rate 0 is frozen."""

    def group_of(path: tuple[Any, ...], _: Any) -> str:
        return path[0].key

    by_group = optax.multi_transform(
        quantizer_rules(rates, course), lambda params: jax.tree_util.tree_map_with_path(group_of, params)
    )
    # Adam's moments are element-wise, so they need no grouping.
    return optax.chain(optax.scale_by_adam(), by_group)
