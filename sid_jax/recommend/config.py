"""Every setting of the recommender, its default, and the check that refuses a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from sid_jax.config import default_config as quantizer_config
from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.settings import check_values


def default_config() -> ConfigDict:
    """Returns the settings that hold wherever a config file says nothing else."""
    config = ConfigDict()
    # Everything random is a function of (seed, stream name, step).
    config.seed = 0
    # The Semantic IDs: an export's folder, an ids.parquet, a .json as LETTER publishes (with +1 after it if it counts
    # items from 0 and the histories from 1), a .npy; or made here from the catalog: "rqvae" (trains the quantizer, by
    # the section below), "kmeans" (residual), "lsh", "random".
    config.ids = "rqvae"

    config.data = data = ConfigDict()
    # "sequences": a text file, a line a user: the user, then items in time order. "interactions": .parquet or .csv, a
    # row an interaction. Or a named catalog, as "movielens-100k" or "amazon-2014-beauty"; IDs that are made here are
    # then of it too, unless `quantizer.data` says otherwise.
    data.source = "sequences"
    # The file; for a named catalog as in the quantizer's config.
    data.path = ""
    # interactions: the columns.
    data.user_column = "user_id"
    data.item_column = "item_id"
    data.time_column = "timestamp"
    # amazon: users and items with fewer interactions are left out of the catalog.
    data.core = 5
    # Users with fewer interactions are left out.
    data.min_interactions = 5
    # A text file of item ids, one a line, kept out of everything that is trained on or read, to be found cold.
    data.cold_items = ""
    data.cache_dir = ""

    # What IDs are made from, where they are made here: the quantizer's own settings.
    config.quantizer = quantizer = quantizer_config().unlock()
    del quantizer["seed"]
    # "kmeans", "lsh", "random": codes an ID, and how many there are to choose from.
    config.made_levels = 3
    config.made_codes = 256

    config.model = model = ConfigDict()
    # "decoder" (learns from every position of a history), "encoder_decoder" (TIGER's) or "sasrec" (without IDs).
    model.kind = "decoder"
    model.features = 128
    model.num_layers = 4
    model.num_heads = 4
    # Features inside the feed-forward layers, and inside the network that spells IDs (decoder).
    model.hidden = 512
    model.code_hidden = 512
    # Most items of a history that are looked at.
    model.window = 50
    model.dropout = 0.2
    # encoder_decoder: features of each head, and tokens that users share.
    model.head_features = 64
    model.num_user_tokens = 2000
    # Activations: "float32" or "bfloat16".
    model.dtype = "float32"

    config.train = train = ConfigDict()
    train.num_epochs = 30.0
    # Rows of histories a step (decoder, sasrec), or examples (encoder_decoder), over all devices together.
    train.batch_size = 32
    # Places in a row, which several histories share.
    train.row_length = 64
    train.optimizer = "adamw"
    train.learning_rate = 1e-3
    train.learning_rate_schedule = "cosine"
    train.warmup_epochs = 1.0
    # On kernels alone.
    train.weight_decay = 0.1
    train.gradient_clip_norm = 1.0
    # Steps in one compiled call; metrics are written once a call.
    train.log_every_steps = 50
    # Validation, and a checkpoint, this often and at the end.
    train.eval_every_epochs = 5.0
    # The checkpoint that is tested and used is the best by this figure of the validation.
    train.best_metric = "ndcg@10"
    train.best_mode = "max"
    train.keep_checkpoints = 2

    config.eval = evaluation = ConfigDict()
    # IDs followed at once in the beam search.
    evaluation.num_beams = 50
    # Users in one compiled call.
    evaluation.batch_size = 256
    # Users validated on while training, a random sample; 0 for all. The test is always on all.
    evaluation.validation_users = 5000
    # Whether items that a user has had already are taken out of every list, the baselines' too.
    evaluation.exclude_seen = False
    # Baselines to train or count, and print beside: "popularity", "item_knn", "semantic_knn" (by the vectors of
    # `quantizer.data`), "sasrec".
    evaluation.baselines = ("popularity", "item_knn")
    # Resamples of the bootstrap intervals.
    evaluation.bootstrap_samples = 1000
    # Of every ten places of a list, the last so many are for cold items, which no model can have learned to recommend
    # (TIGER, section 4.3). They are told apart by their vectors, those of `quantizer.data`; see docs/cold-start.md.
    evaluation.cold_slots = 0

    # How a cold item is scored: from items that the model expects and that the user had, to those that are like them.
    config.backoff = backoff = ConfigDict()
    # How much more an item speaks for what is like it than for the rest: exp(sharpness * cosine).
    backoff.sharpness = 10.0
    # Of what is said, how much is the history's; the rest is the model's.
    backoff.history_share = 0.5
    # How much less an item of the history says than the one after it.
    backoff.decay = 0.7
    # The first codes of an item's ID, which other items have too, and the weight of their log-probability.
    backoff.prefix_levels = 2
    backoff.prefix_weight = 0.25

    # Joint training: the quantizer learns on inside the recommender, and IDs change, until both are frozen for the rest
    # of the run.
    config.joint = joint = ConfigDict()
    # "none": IDs stay as they are. "gumbel": codes are sampled, with noise that falls to 0. "ste": the nearest codes.
    # "soft": mixtures of codes, whose temperature falls. Each has the gradient of the soft assignment.
    joint.estimator = "none"
    # Share of the run in which the quantizer learns.
    joint.share = 0.15
    # Learning rates, each of its own group of the quantizer's parameters; at 0 the group holds still. That of the
    # recommender is `train.learning_rate`.
    joint.encoder_rate = 3e-4
    joint.codebook_rate = 3e-4
    joint.decoder_rate = 3e-4
    # Epochs until these rates are reached; they then fall to 0, by a cosine, where the quantizer is frozen.
    joint.warmup_epochs = 1.0
    # Groups that the recommender's loss does not reach, "encoder" and "codebooks": the anchor alone moves them.
    joint.stop_gradient = ()
    # Weight of the quantizer's own loss (reconstruction, codebooks, commitment), as a share of the vectors' squared
    # length: what holds codes to the items' content.
    joint.anchor_weight = 1.0
    # Weight of the loss that is 0 where all codes of a level are equally likely.
    joint.balance_weight = 0.0
    # How much an item's first code is drawn to those that the recommender expects where the item comes next, more than
    # elsewhere; beside it, codes follow how they serve where the item is read.
    joint.target_gradient = 1.0
    # Of the soft assignments, in units of the squared distance between neighboring codewords: where the temperature
    # starts, and where it ends.
    joint.temperature = 0.5
    joint.min_temperature = 0.1
    # gumbel: size of the noise at the start, in the same units; it is 0 from four fifths of the joint part on.
    joint.noise_scale = 0.05
    # Steps between two refreshments of the ID table, whose codes are what the recommender is to say. Codes that no item
    # has begin anew there, until four fifths of the joint part.
    joint.refresh_every_steps = 50
    # Refuses to go on where a level has a smaller share of its codes in use.
    joint.min_usage = 0.5

    # SASRec: what is different from the sections above, when it is a baseline.
    config.sasrec = sasrec = ConfigDict()
    sasrec.features = 128
    sasrec.num_layers = 2
    sasrec.num_heads = 2
    sasrec.hidden = 512
    sasrec.dropout = 0.5
    sasrec.num_epochs = 30.0
    sasrec.learning_rate = 1e-3
    return config.lock()


def check_config(config: ConfigDict) -> None:
    """Refuses a config with a value that no run could use.

    Raises:
      UserError: with the field, its value, and what it may be.
    """
    check_values(config, _CHOICES, _RANGES)
    for name in config.eval.baselines:
        if name not in BASELINES:
            raise UserError(f"config.eval.baselines has {name!r}; it may have {', '.join(map(repr, BASELINES))}")
    if config.model.features % config.model.num_heads:
        raise UserError(
            f"config.model.features is {config.model.features}, which {config.model.num_heads} heads cannot share"
        )
    if config.eval.cold_slots and not config.data.cold_items:
        raise UserError(
            f"config.eval.cold_slots is {config.eval.cold_slots}, but no items are unseen: name some by "
            "--config.data.cold_items=FILE, which --draw_cold=400 draws"
        )
    if config.eval.cold_slots and config.model.kind == "sasrec":
        raise UserError(
            "config.eval.cold_slots needs a model that generates IDs; config.model.kind is 'sasrec', which has no IDs"
        )
    if config.train.row_length < config.model.window:
        raise UserError(
            f"config.train.row_length is {config.train.row_length}, below config.model.window={config.model.window}: "
            "a row must hold the longest history"
        )
    if config.joint.estimator != "none":
        _check_joint(config)


def _check_joint(config: ConfigDict) -> None:
    joint = config.joint
    for name in joint.stop_gradient:
        if name not in STOPPABLE:
            raise UserError(f"config.joint.stop_gradient has {name!r}; it may have {', '.join(map(repr, STOPPABLE))}")
    if config.model.kind != "decoder":
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r}, but config.model.kind is {config.model.kind!r}: joint "
            "training is of the decoder"
        )
    if config.ids in MADE_IDS:
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r}, but config.ids is {config.ids!r}, which has no quantizer "
            "that could learn: give an export's folder, or 'rqvae'"
        )
    if config.data.cold_items:
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r} and config.data.cold_items is {config.data.cold_items!r}: "
            "joint training looks at all items' vectors; leave one of the two out"
        )
    if joint.min_temperature > joint.temperature:
        raise UserError(
            f"config.joint.min_temperature is {joint.min_temperature}, above config.joint.temperature="
            f"{joint.temperature}"
        )
    if joint.refresh_every_steps % config.train.log_every_steps:
        raise UserError(
            f"config.joint.refresh_every_steps is {joint.refresh_every_steps}, no multiple of "
            f"config.train.log_every_steps={config.train.log_every_steps}: IDs change between two calls"
        )


KINDS = ("decoder", "encoder_decoder", "sasrec")
BASELINES = ("popularity", "item_knn", "semantic_knn", "sasrec")
ESTIMATORS = ("gumbel", "ste", "soft")
STOPPABLE = ("encoder", "codebooks")
MADE_IDS = ("kmeans", "lsh", "random")
# The places of a list of which `eval.cold_slots` are for cold items.
PLACES = 10
_INFINITE = float("inf")
_TINY = 1e-12

_CHOICES: dict[str, Sequence[Any]] = {
    "data.source": ("sequences", "interactions", *CATALOGS),
    "model.kind": KINDS,
    "model.dtype": ("float32", "bfloat16"),
    "joint.estimator": ("none", *ESTIMATORS),
    "train.optimizer": ("adamw", "adagrad"),
    "train.learning_rate_schedule": ("cosine", "constant"),
    "train.best_metric": ("recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"),
    "train.best_mode": ("max",),
}

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "made_levels": (1, 16),
    "made_codes": (2, 2**16),
    "data.core": (0, _INFINITE),
    "data.min_interactions": (3, _INFINITE),
    "model.features": (1, _INFINITE),
    "model.num_layers": (0, _INFINITE),
    "model.num_heads": (1, _INFINITE),
    "model.hidden": (1, _INFINITE),
    "model.code_hidden": (1, _INFINITE),
    "model.window": (1, _INFINITE),
    "model.dropout": (0, 0.99),
    "model.head_features": (1, _INFINITE),
    "model.num_user_tokens": (1, _INFINITE),
    "train.num_epochs": (_TINY, _INFINITE),
    "train.batch_size": (1, _INFINITE),
    "train.learning_rate": (0, _INFINITE),
    "train.warmup_epochs": (0, _INFINITE),
    "train.weight_decay": (0, _INFINITE),
    "train.gradient_clip_norm": (0, _INFINITE),
    "train.log_every_steps": (1, _INFINITE),
    "train.eval_every_epochs": (_TINY, _INFINITE),
    "train.keep_checkpoints": (1, _INFINITE),
    "joint.share": (_TINY, 1),
    "joint.encoder_rate": (0, _INFINITE),
    "joint.codebook_rate": (0, _INFINITE),
    "joint.decoder_rate": (0, _INFINITE),
    "joint.warmup_epochs": (0, _INFINITE),
    "joint.anchor_weight": (0, _INFINITE),
    "joint.balance_weight": (0, _INFINITE),
    "joint.target_gradient": (0, _INFINITE),
    "joint.temperature": (_TINY, _INFINITE),
    "joint.min_temperature": (_TINY, _INFINITE),
    "joint.noise_scale": (0, _INFINITE),
    "joint.refresh_every_steps": (1, _INFINITE),
    "joint.min_usage": (0, 1),
    "eval.num_beams": (1, _INFINITE),
    "eval.batch_size": (1, _INFINITE),
    "eval.validation_users": (0, _INFINITE),
    "eval.bootstrap_samples": (1, _INFINITE),
    "eval.cold_slots": (0, PLACES),
    "backoff.sharpness": (0, 1000),
    "backoff.history_share": (0, 1),
    "backoff.decay": (_TINY, 1),
    "backoff.prefix_levels": (0, 16),
    "backoff.prefix_weight": (0, _INFINITE),
}
