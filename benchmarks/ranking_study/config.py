"""Every setting of the ranker, its default, and the check that refuses a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from sid_jax.config import default_config as quantizer_config
from sid_jax.data.catalogs.names import MOVIELENS
from sid_jax.errors import UserError
from sid_jax.features.kinds import KINDS
from sid_jax.settings import check_values

# An item by its content vector, through a linear map that is learned with the rest.
VECTORS = "vectors"
# IDs that are trained on the way.
TRAINED = "rqvae"
# What the others of as many rows are compared with.
BASELINE = "random"
# SentencePiece without cuts in training.
UNCUT = "sentencepiece-uncut"


def default_config() -> ConfigDict:
    """Returns the settings that hold wherever a config file says nothing else."""
    config = ConfigDict()
    # Everything random is a function of (seed, stream name, step); run r has seed + r.
    config.seed = 0
    # Runs: each holds another share of the items out, makes its own IDs and trains its own rankers.
    config.runs = 5
    # "rqvae": trained on the way in each run, by the section `quantizer`, without the cold items. Or an export's folder
    # or another file of IDs, the same for all runs; whether cold items had a part in them is then for you to know.
    config.ids = TRAINED

    config.data = data = ConfigDict()
    # A MovieLens, whose ratings are the impressions; the task is to tell those with `liked_from` stars or more.
    data.source = "movielens-100k"
    data.path = ""
    data.cache_dir = ""
    data.liked_from = 4.0
    # Ratings that exist at all, in the order of time: 1.0 is all. Settings are chosen with the last part left out.
    data.until = 1.0
    # Of these, what is trained on; the rest, all of it later, is the test.
    data.train_share = 0.8
    # Items held out of everything that is trained, in each run others as long as there are enough left; with a fifth,
    # five runs hold out each item once.
    data.cold_share = 0.2
    # The most of a user's last ratings that are looked at.
    data.window = 20

    # What IDs are made from: the quantizer's own settings.
    config.quantizer = quantizer = quantizer_config().unlock()
    del quantizer["seed"]

    config.sides = sides = ConfigDict()
    # What stands for an item, at each of these table sizes: kinds of `sid_jax.features` ("sentencepiece", "unigram",
    # "prefix", "window", "random", "item"), or "sentencepiece-uncut", whose pieces are not cut in training.
    sides.kinds = ("sentencepiece", UNCUT, "prefix", "window", BASELINE)
    sides.rows = (250, 500, 1000)
    # Those that have one size: "unigram" (a row a code), "item" (a row an item), "vectors" (no table).
    sides.whole = ("unigram", "item", VECTORS)
    # "window": codes an n-gram.
    sides.window = 2
    # "sentencepiece": in training, the chance that no piece reaches from a code to the next, other ones at each step.
    sides.cut_share = 0.25

    config.model = model = ConfigDict()
    # Of an item's embedding.
    model.features = 8
    model.hidden = (64,)
    # Of hidden activations.
    model.dropout = 0.1
    # Spread of the table's rows at the start.
    model.initial_scale = 0.02

    config.train = train = ConfigDict()
    train.num_epochs = 5.0
    train.batch_size = 512
    train.learning_rate = 3e-3
    # On tables and kernels.
    train.weight_decay = 0.1

    config.eval = evaluation = ConfigDict()
    evaluation.bootstrap_samples = 1000
    return config.lock()


def check_config(config: ConfigDict) -> None:
    """Refuses a config with a value that no run could use.

    Raises:
      UserError: with the field, its value, and what it may be.
    """
    check_values(config, _CHOICES, _RANGES)
    for name, known in (("kinds", (*KINDS, UNCUT)), ("whole", ("unigram", "item", VECTORS))):
        for each in config.sides[name]:
            if each not in known:
                raise UserError(f"config.sides.{name} has {each!r}; it may have {', '.join(map(repr, known))}")
    if config.sides.kinds and not config.sides.rows:
        raise UserError("config.sides.rows is empty; give a table size for config.sides.kinds, as in (500,)")
    if not (config.sides.kinds or config.sides.whole):
        raise UserError("config.sides.kinds and config.sides.whole are both empty: nothing is to be ranked by")


_INFINITE = float("inf")
_TINY = 1e-12

_CHOICES: dict[str, Sequence[Any]] = {"data.source": MOVIELENS}

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31),
    "runs": (1, _INFINITE),
    "data.liked_from": (0, _INFINITE),
    "data.until": (0.01, 1),
    "data.train_share": (0.01, 0.99),
    "data.cold_share": (0.01, 0.9),
    "data.window": (1, _INFINITE),
    "sides.window": (1, _INFINITE),
    "sides.cut_share": (0, 1),
    "model.features": (1, _INFINITE),
    "model.dropout": (0, 0.99),
    "model.initial_scale": (0, _INFINITE),
    "train.num_epochs": (_TINY, _INFINITE),
    "train.batch_size": (1, _INFINITE),
    "train.learning_rate": (0, _INFINITE),
    "train.weight_decay": (0, _INFINITE),
    "eval.bootstrap_samples": (1, _INFINITE),
}
