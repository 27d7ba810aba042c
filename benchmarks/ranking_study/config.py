"""The settings of the ranking study."""

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

# Value of `config.sides.whole`: items are represented by a trained linear map of their content vectors.
VECTORS = "vectors"
# Value of `config.ids` with which each run trains its own IDs.
TRAINED = "rqvae"
# Value of `config.sides.kinds`: random hashing, the baseline for the other kinds at the same number of rows.
BASELINE = "random"
# Value of `config.sides.kinds`: SentencePiece without random cuts of the IDs in training.
UNCUT = "sentencepiece-uncut"


SETTINGS: Declaration = {
    "seed": Setting(
        0,
        "Seed of the first run. Each further run has the seed of the previous run plus 1.",
        range=(0, 2**31),
    ),
    "runs": Setting(
        5,
        "Number of runs. Each run has different cold items and its own rankers, and its own IDs if `ids` is rqvae.",
        range=ONE_OR_MORE,
    ),
    "ids": Setting(
        TRAINED,
        "rqvae: each run trains its own IDs without its cold items, with the settings `quantizer`. Any other value: "
        "the folder of an export, or another file of IDs, which all runs use. The quantizer of these IDs may have been "
        "trained on items that are cold in a run.",
    ),
    "data": {
        "source": Setting(
            "movielens-100k",
            "A MovieLens data set, whose ratings are the impressions. The task is to predict which ratings have "
            "`liked_from` stars or more.",
            choices=MOVIELENS,
        ),
        "path": Setting("", "A copy of the data set, as a folder or a zip in GroupLens' layout."),
        "cache_dir": Setting("", "Folder of prepared data sets. Empty: the default folder."),
        "liked_from": Setting(4.0, "Minimum number of stars of a like.", range=NOT_NEGATIVE),
        "until": Setting(
            1.0,
            "Share of all ratings to use. The earliest ratings are used. While you choose settings, set a value below "
            "1, so that the last ratings stay unused.",
            range=(0.01, 1),
        ),
        "train_share": Setting(
            0.8,
            "Share of the used ratings that is for training. The earliest ratings are for training, and the others are "
            "for the test.",
            range=(0.01, 0.99),
        ),
        "cold_share": Setting(
            0.2,
            "Share of the items that are cold; items without training ratings are cold as well. Runs have different "
            "cold items as far as possible: with 0.2, each item with training ratings is cold in one of five runs.",
            range=(0.01, 0.9),
        ),
        "window": Setting(
            20, "Maximum number of ratings in a user's history; only the last ones are kept.", range=ONE_OR_MORE
        ),
    },
    # The settings of the quantizer that assigns the IDs.
    "quantizer": {name: declared for name, declared in QUANTIZER_SETTINGS.items() if name != "seed"},
    "sides": {
        "kinds": Setting(
            ("sentencepiece", UNCUT, "prefix", "window", BASELINE),
            "Item representations that are compared at each table size: kinds of `sid_jax.features`, or "
            "sentencepiece-uncut, which is sentencepiece without random cuts of the IDs in training (see `cut_share`).",
            choices=(*KINDS, UNCUT),
        ),
        "rows": Setting((250, 500, 1000), "Sizes of the embedding table, in rows."),
        "whole": Setting(
            ("unigram", "item", VECTORS),
            "Item representations with a fixed size: unigram (one row per code), item (one row per item), vectors "
            "(no table).",
            choices=("unigram", "item", VECTORS),
        ),
        "window": Setting(2, "For the kind window: number of codes in an n-gram.", range=ONE_OR_MORE),
        "cut_share": Setting(
            0.25,
            "For the kind sentencepiece: probability that an ID is cut between two consecutive codes in training. "
            "All IDs are cut at random in 32 ways beforehand, and each step uses one of these 32 versions.",
            range=SHARE,
        ),
    },
    "model": {
        "features": Setting(8, "Number of features of an item's embedding.", range=ONE_OR_MORE),
        "hidden": Setting((64,), "Widths of the hidden layers."),
        "dropout": Setting(0.1, "Dropout rate of the hidden layers.", range=(0, 0.99)),
        "initial_scale": Setting(0.02, "Initial standard deviation of the table's rows.", range=NOT_NEGATIVE),
    },
    "train": {
        "num_epochs": Setting(5.0, "Number of epochs.", range=POSITIVE),
        "batch_size": Setting(512, "Number of impressions per step.", range=ONE_OR_MORE),
        "learning_rate": Setting(3e-3, "Learning rate.", range=NOT_NEGATIVE),
        "weight_decay": Setting(0.1, "Weight decay of tables and kernels.", range=NOT_NEGATIVE),
    },
    "eval": {"bootstrap_samples": Setting(1000, "Number of bootstrap resamples.", range=ONE_OR_MORE)},
}


def default_config() -> ConfigDict:
    """Returns the default settings, as a locked config."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Checks the values of a config.

    Raises:
      UserError: if a value cannot be used; the message names the setting, its value and the allowed values.
    """
    check_values(config, SETTINGS)
    if config.sides.kinds and not config.sides.rows:
        raise UserError("config.sides.rows is empty; give a table size for config.sides.kinds, as in (500,)")
    if not (config.sides.kinds or config.sides.whole):
        raise UserError(
            "config.sides.kinds and config.sides.whole are both empty; set at least one item representation"
        )
