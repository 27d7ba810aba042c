"""Every setting of the ranker, declared once."""

from __future__ import annotations

from ml_collections import ConfigDict

from sid_jax.config import SETTINGS as QUANTIZER_SETTINGS
from sid_jax.data.catalogs.names import MOVIELENS
from sid_jax.errors import UserError
from sid_jax.features.kinds import KINDS
from sid_jax.settings import (
    NOT_NEGATIVE,
    ONE_OR_MORE,
    POSITIVE,
    SHARE,
    Declaration,
    Setting,
    check_values,
    default_of,
)

# Items by their content vectors, through a trained linear map.
VECTORS = "vectors"
# IDs that each run trains itself.
TRAINED = "rqvae"
# The baseline for sides with the same number of rows.
BASELINE = "random"
# SentencePiece without cuts in training.
UNCUT = "sentencepiece-uncut"


SETTINGS: Declaration = {
    "seed": Setting(
        0,
        "Everything random is a function of the seed, a stream's name and the step; run r has seed + r.",
        range=(0, 2**31),
    ),
    "runs": Setting(
        5,
        "Runs: each has another share of cold items, makes its own IDs and trains its own rankers.",
        range=ONE_OR_MORE,
    ),
    "ids": Setting(
        TRAINED,
        "rqvae: trained on the way in each run, by the section `quantizer`, without the cold items. Or an export's "
        "folder or another file of IDs, the same for all runs; whether cold items had a part in them is then for you "
        "to know.",
    ),
    "data": {
        "source": Setting(
            "movielens-100k",
            "A MovieLens, whose ratings are the impressions; the task is to tell those with `liked_from` stars or "
            "more.",
            choices=MOVIELENS,
        ),
        "path": Setting("", "A copy of it, as a folder or a zip in GroupLens' layout."),
        "cache_dir": Setting("", "Where prepared data sets are kept. Empty: the usual folder."),
        "liked_from": Setting(4.0, "The stars of a rating that counts as liked.", range=NOT_NEGATIVE),
        "until": Setting(
            1.0,
            "The share of the ratings that is used at all, in the order of time. Settings are chosen with the last "
            "part left out.",
            range=(0.01, 1),
        ),
        "train_share": Setting(
            0.8, "The share of these that is trained on; the rest, all of it later, is the test.", range=(0.01, 0.99)
        ),
        "cold_share": Setting(
            0.2,
            "Cold items, in each run others as long as there are enough left; with a fifth, each item is cold once in "
            "five runs.",
            range=(0.01, 0.9),
        ),
        "window": Setting(20, "The most of a user's last ratings that are read.", range=ONE_OR_MORE),
    },
    # The settings of the quantizer that makes the IDs.
    "quantizer": {name: declared for name, declared in QUANTIZER_SETTINGS.items() if name != "seed"},
    "sides": {
        "kinds": Setting(
            ("sentencepiece", UNCUT, "prefix", "window", BASELINE),
            "What stands for an item, at each of the table sizes: kinds of `sid_jax.features`, or "
            "sentencepiece-uncut, whose pieces are not cut in training.",
            choices=(*KINDS, UNCUT),
        ),
        "rows": Setting((250, 500, 1000), "Table sizes."),
        "whole": Setting(
            ("unigram", "item", VECTORS),
            "What stands for an item and has one size: unigram (a row a code), item (a row an item), vectors (no "
            "table).",
            choices=("unigram", "item", VECTORS),
        ),
        "window": Setting(2, "window: codes in an n-gram.", range=ONE_OR_MORE),
        "cut_share": Setting(
            0.25,
            "sentencepiece: in training, the chance that no piece reaches from a code to the next, other ones at each "
            "step.",
            range=SHARE,
        ),
    },
    "model": {
        "features": Setting(8, "Features of an item's embedding.", range=ONE_OR_MORE),
        "hidden": Setting((64,), "Widths of the hidden layers."),
        "dropout": Setting(0.1, "Share of hidden activations dropped in training.", range=(0, 0.99)),
        "initial_scale": Setting(0.02, "Standard deviation of the table's rows at the start.", range=NOT_NEGATIVE),
    },
    "train": {
        "num_epochs": Setting(5.0, "Epochs of training.", range=POSITIVE),
        "batch_size": Setting(512, "Impressions in a step.", range=ONE_OR_MORE),
        "learning_rate": Setting(3e-3, "The learning rate.", range=NOT_NEGATIVE),
        "weight_decay": Setting(0.1, "Weight decay of tables and kernels.", range=NOT_NEGATIVE),
    },
    "eval": {"bootstrap_samples": Setting(1000, "Resamples for the confidence intervals.", range=ONE_OR_MORE)},
}


def default_config() -> ConfigDict:
    """Returns the default settings, as a locked config."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Checks the values of a config.

    Raises:
      UserError: if a value cannot be used; it names the setting, its value and the allowed ones.
    """
    check_values(config, SETTINGS)
    if config.sides.kinds and not config.sides.rows:
        raise UserError("config.sides.rows is empty; give a table size for config.sides.kinds, as in (500,)")
    if not (config.sides.kinds or config.sides.whole):
        raise UserError("config.sides.kinds and config.sides.whole are both empty: nothing is to be ranked by")
