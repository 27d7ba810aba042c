"""Declares the settings of a quantizer that is trained jointly with a model."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

from sid_jax.errors import UserError
from sid_jax.settings import NOT_NEGATIVE, POSITIVE, SHARE, Declaration, Setting, check_values, default_of, set_by_name

ESTIMATORS = ("gumbel", "ste", "soft")

# Settings that are also in the section `joint` of `sid_jax.recommend.config`.
SHARED: dict[str, Setting] = {
    "encoder_rate": Setting(3e-4, "Learning rate of the quantizer's encoder. 0: frozen.", range=NOT_NEGATIVE),
    "codebook_rate": Setting(3e-4, "Learning rate of the codebooks. 0: frozen.", range=NOT_NEGATIVE),
    "decoder_rate": Setting(3e-4, "Learning rate of the quantizer's decoder. 0: frozen.", range=NOT_NEGATIVE),
    "anchor_weight": Setting(
        1.0,
        "Weight of the anchor, which is the weighted sum of the quantizer's reconstruction, codebook and commitment "
        "losses, divided by the mean squared length of the scaled vectors. The anchor keeps codes close to "
        "the items' content.",
        range=NOT_NEGATIVE,
    ),
    "balance_weight": Setting(
        0.0, "Weight of a balance loss, which is 0 if all codes of a level are equally likely.", range=NOT_NEGATIVE
    ),
    "temperature": Setting(
        0.5,
        "Initial temperature of the soft assignment, in units of the squared distance between neighboring codewords.",
        range=POSITIVE,
    ),
    "min_temperature": Setting(0.1, "Final temperature of the soft assignment.", range=POSITIVE),
    "noise_scale": Setting(
        0.05,
        "gumbel: initial scale of the noise, in the units of the temperature. The scale falls linearly to 0 and then "
        "stays 0. In JointQuantizer, the scale is 0 in the steps of `settle_share`. In `sid-jax recommend`, the scale "
        "is 0 in the last fifth of the joint phase.",
        range=NOT_NEGATIVE,
    ),
}

SETTINGS: Declaration = {
    "seed": Setting(0, "Seed of the noise and of the resets of dead codes.", range=(0, 2**32 - 1)),
    "estimator": Setting(
        "gumbel",
        "Gradient estimator. gumbel: sampled codes, with noise that falls to 0. ste: nearest codes. soft: mixtures of "
        "codes, with a falling temperature. All three use the gradient of the soft assignment.",
        choices=ESTIMATORS,
    ),
    **SHARED,
    "codebook_weight": Setting(1.0, "Weight of the codebook loss in the quantizer's own loss.", range=NOT_NEGATIVE),
    "commitment_weight": Setting(
        0.25, "Weight of the commitment loss in the quantizer's own loss.", range=NOT_NEGATIVE
    ),
    "warmup_share": Setting(
        0.05, "Share of the steps, at the start, in which the learning rates rise from 0 (warm-up).", range=(0.0, 0.5)
    ),
    "settle_share": Setting(
        0.2,
        "Share of the steps, at the end, in which codes converge: there is no noise, no code is reset, and the "
        "encoder is frozen. In the second half of these steps, codebooks and decoder are frozen as well, so that no ID "
        "changes.",
        range=SHARE,
    ),
}


def check_temperatures(settings: ConfigDict, section: str = "") -> None:
    """Raises a UserError if the temperature would rise; `section` is a prefix of the settings' names in the message."""
    if settings.min_temperature > settings.temperature:
        raise UserError(
            f"{section}min_temperature is {settings.min_temperature}, above "
            f"{section}temperature={settings.temperature}; lower the minimum"
        )


def joint_settings(given: dict[str, Any]) -> FrozenConfigDict:
    """Returns the settings of a `JointQuantizer`: the defaults, changed by the given settings.

    Raises:
      UserError: if a setting does not exist, or its value is not allowed.
    """
    config = default_of(SETTINGS).lock()
    for name, value in given.items():
        set_by_name(config, name, value)
    check_values(config, SETTINGS)
    check_temperatures(config)
    return FrozenConfigDict(config)
