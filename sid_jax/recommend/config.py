"""Every setting of a recommender, declared once: default, meaning, choices and range."""

from __future__ import annotations

from ml_collections import ConfigDict

from sid_jax.config import SETTINGS as QUANTIZER_SETTINGS
from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.joint_quantizer.config import ESTIMATORS, SHARED, check_temperatures
from sid_jax.settings import (
    NOT_NEGATIVE,
    ONE_OR_MORE,
    POSITIVE,
    POSITIVE_SHARE,
    SHARE,
    Declaration,
    Setting,
    check_values,
    default_of,
)

KINDS = ("decoder", "encoder_decoder", "parallel", "scorer", "sasrec")
ITEM_PARTS = ("item", "codes", "content")
# Terms that are blended into a model's scores.
TERMS = ("transitions", "content", "popularity")
# Kinds that generate IDs code by code; places for cold items in a list need it.
GENERATIVE = ("decoder", "encoder_decoder")
# Kinds that can rank cold items among themselves, for a list's places for cold items.
WITH_COLD_SLOTS = (*GENERATIVE, "scorer")
# Kinds whose scores are sums over the parts of an item.
EXPLAINED = ("scorer", "sasrec")
# Kinds that use no IDs, and so cannot recommend items that they were not trained on.
WITHOUT_IDS = ("sasrec",)
BASELINES = ("popularity", "item_knn", "transitions", "semantic_knn", "sasrec", "sasrec_content", "esasrec")
# Baselines that use the vectors of `quantizer.data`.
OF_CONTENT = ("semantic_knn", "sasrec_content")
STOPPABLE = ("encoder", "codebooks")
MADE_IDS = ("kmeans", "lsh", "random")
# Length of a list of which `eval.cold_slots` places are for cold items.
PLACES = 10

_DATA: Declaration = {
    "source": Setting(
        "sequences",
        "The histories. sequences: a text file with a line for each user: the user, then items in the order of time. "
        "interactions: a .parquet or .csv file with a row for each interaction. Or a named catalog, as movielens-100k "
        "or amazon-2014-beauty; IDs that are made here are then of it too, unless `quantizer.data` says otherwise.",
        choices=("sequences", "interactions", *CATALOGS),
    ),
    "path": Setting("", "The file; for a named catalog as in the quantizer's `data.path`."),
    "user_column": Setting("user_id", "interactions: the column of users."),
    "item_column": Setting("item_id", "interactions: the column of items."),
    "time_column": Setting("timestamp", "interactions: the column of times."),
    "core": Setting(
        5, "amazon: users and items with fewer interactions are left out of the catalog.", range=NOT_NEGATIVE
    ),
    "min_interactions": Setting(5, "Users with fewer interactions are left out.", range=(3, float("inf"))),
    "on_unknown": Setting(
        "error",
        "What is done with items of histories and of `data.cold_items` that are not in the catalog. error: refused, "
        "with the likely cause. drop: left out, with a warning that counts them.",
        choices=("error", "drop"),
    ),
    "cold_items": Setting(
        "",
        "A text file of item ids, one a line, that are kept out of everything that is trained on or read, and are "
        "then to be recommended all the same.",
    ),
    "cache_dir": Setting(
        "", "Where prepared data sets are kept. Empty: $SID_JAX_CACHE, or .cache/sid_jax in the home folder."
    ),
}

_MODEL: Declaration = {
    "kind": Setting(
        "decoder",
        "decoder: a Transformer that generates Semantic IDs and learns from every position of a history. "
        "encoder_decoder: TIGER's. parallel: RPG's, which predicts all codes of an ID at once, for IDs of opq. scorer: "
        "a Transformer that scores all items by their Semantic IDs, content and embeddings. sasrec: the same over "
        "items' embeddings alone, without IDs.",
        choices=KINDS,
    ),
    "features": Setting(128, "Features of the model.", range=ONE_OR_MORE),
    "num_layers": Setting(4, "Transformer layers.", range=NOT_NEGATIVE),
    "num_heads": Setting(4, "Attention heads.", range=ONE_OR_MORE),
    "hidden": Setting(512, "Features inside the feed-forward layers.", range=ONE_OR_MORE),
    "code_hidden": Setting(
        512, "decoder: features inside the network that predicts an ID's codes one after the other.", range=ONE_OR_MORE
    ),
    "code_temperature": Setting(
        0.07, "parallel: the temperature of the cosines between what is expected and the codes.", range=POSITIVE
    ),
    "window": Setting(50, "The most items of a history that are read, the latest.", range=ONE_OR_MORE),
    "dropout": Setting(0.2, "Dropout rate.", range=(0, 0.99)),
    "block": Setting(
        "prenorm",
        "Blocks of what reads items, of all but encoder_decoder. ligr: eSASRec's, with gates and SwiGLU.",
        choices=("prenorm", "ligr"),
    ),
    "item_parts": Setting(
        ITEM_PARTS,
        "scorer: what an item's vector is the sum of. item: an embedding of its own. codes: embeddings of its codes "
        "and of the pair of its first two. content: a map of its content vector, one of `quantizer.data`; left out "
        "where none are named.",
        choices=ITEM_PARTS,
    ),
    "content_hidden": Setting(
        256, "scorer: features of the hidden layer that maps content vectors. 0: a linear map.", range=NOT_NEGATIVE
    ),
    "code_pairs": Setting(
        4096, "scorer: embeddings that the pairs of first two codes share, by a hash. 0: none.", range=NOT_NEGATIVE
    ),
    "item_dropout": Setting(
        0.3,
        "scorer: share of the items whose own embedding is left out in a training step, as new items have none.",
        range=(0, 0.99),
    ),
    "members": Setting(
        1, "scorer: models that are trained side by side, whose scores are averaged.", range=ONE_OR_MORE
    ),
    "blend": Setting(
        TERMS,
        "scorer: terms that are added to the scores after training, weighed by the validation. transitions: items that "
        "follow those of the history in training, a graph without parameters. content: the cosine of content vectors "
        "with those of the history. popularity: the logarithm of interactions in training.",
        choices=TERMS,
    ),
    "head_features": Setting(64, "encoder_decoder: features of each attention head.", range=ONE_OR_MORE),
    "num_user_tokens": Setting(2000, "encoder_decoder: tokens that users share, by a hash.", range=ONE_OR_MORE),
    "dtype": Setting("float32", "The type of activations.", choices=("float32", "bfloat16")),
}

_TRAIN: Declaration = {
    "num_epochs": Setting(30.0, "Epochs of training.", range=POSITIVE),
    "patience": Setting(
        0,
        "Validations without a better one after which training ends. 0: it ends after `num_epochs`.",
        range=NOT_NEGATIVE,
    ),
    "average_epochs": Setting(
        0.0,
        "Epochs over which an exponential moving average of the parameters is taken, which is then validated and kept. "
        "0: none; the parameters themselves.",
        range=NOT_NEGATIVE,
    ),
    "loss": Setting(
        "auto",
        "scorer, sasrec: the cross-entropy over all items (full), or over a sample of them in each step (sampled). "
        "auto: sampled for more than 50,000 items.",
        choices=("auto", "full", "sampled"),
    ),
    "num_negatives": Setting(4096, "scorer, sasrec: items in the sample.", range=ONE_OR_MORE),
    "label_smoothing": Setting(
        0.0, "scorer, sasrec: share of a target's probability that is spread over all items.", range=(0, 0.99)
    ),
    "batch_size": Setting(
        32,
        "Rows of histories, or examples of the encoder_decoder, in a step, over all devices together.",
        range=ONE_OR_MORE,
    ),
    "row_length": Setting(64, "Items in a row, which several histories share.", range=ONE_OR_MORE),
    "optimizer": Setting("adamw", "The optimizer.", choices=("adamw", "adagrad")),
    "learning_rate": Setting(1e-3, "The learning rate after the warm-up.", range=NOT_NEGATIVE),
    "learning_rate_schedule": Setting(
        "cosine", "The learning rate after the warm-up: falling to 0, or constant.", choices=("cosine", "constant")
    ),
    "warmup_epochs": Setting(1.0, "Epochs in which the learning rate rises from 0.", range=NOT_NEGATIVE),
    "weight_decay": Setting(0.1, "AdamW: weight decay of kernels.", range=NOT_NEGATIVE),
    "gradient_clip_norm": Setting(1.0, "Gradients are scaled down to this global norm. 0: never.", range=NOT_NEGATIVE),
    "log_every_steps": Setting(
        50, "Steps in one compiled call; metrics are written once for each call.", range=ONE_OR_MORE
    ),
    "eval_every_epochs": Setting(
        5.0, "Epochs between two validations, each with a checkpoint; the last is at the end.", range=POSITIVE
    ),
    "best_metric": Setting(
        "ndcg@10",
        "The validation's metric by which the best checkpoint is chosen, which is tested and used.",
        choices=("recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"),
    ),
    "best_mode": Setting("max", "The best value is the highest.", choices=("max",)),
    "keep_checkpoints": Setting(2, "Checkpoints kept: the latest, and the best of the rest.", range=ONE_OR_MORE),
}

_EVAL: Declaration = {
    "num_beams": Setting(50, "IDs followed at once in the beam search.", range=ONE_OR_MORE),
    "batch_size": Setting(256, "Users in one compiled call.", range=ONE_OR_MORE),
    "validation_users": Setting(
        5000,
        "Users of a validation while training, a random sample. 0: all. The test is always of all users.",
        range=NOT_NEGATIVE,
    ),
    "exclude_seen": Setting(
        False, "Whether items of a user's history are taken out of every list, also of those of the baselines."
    ),
    "baselines": Setting(
        ("popularity", "item_knn"),
        "Baselines to compare with. transitions is a training-free graph of what follows what. semantic_knn is by the "
        "vectors of `quantizer.data`, and sasrec_content a SASRec over a map of them, without embeddings of items.",
        choices=BASELINES,
    ),
    "bootstrap_samples": Setting(1000, "Resamples for the bootstrap confidence intervals.", range=ONE_OR_MORE),
    "cold_slots": Setting(
        0,
        "Of every ten places of a list, the last so many are for cold items, which no model can have learned to "
        "recommend (TIGER, section 4.3). They are scored by their vectors, those of `quantizer.data`; see "
        "docs/cold-start.md.",
        range=(0, PLACES),
    ),
}

# A cold item's score comes from items that the model predicts and items of the history, weighted by similarity to it.
_BACKOFF: Declaration = {
    "sharpness": Setting(
        10.0, "The weight of an item for the score of a cold one is exp(sharpness * cosine).", range=(0, 1000)
    ),
    "history_share": Setting(0.5, "The history's share of a cold item's score; the rest is the model's.", range=SHARE),
    "decay": Setting(
        0.7, "The weight of an item of the history, as a share of that of the item after it.", range=POSITIVE_SHARE
    ),
    "prefix_levels": Setting(
        2, "The length of the ID's prefix, shared with other items, whose probability counts.", range=(0, 16)
    ),
    "prefix_weight": Setting(0.25, "The weight of the prefix's log-probability.", range=NOT_NEGATIVE),
}

_JOINT: Declaration = {
    "estimator": Setting(
        "none",
        "Joint training: the quantizer learns on inside the recommender, and IDs change, until both are frozen for "
        "the rest of the run. none: IDs stay as they are. gumbel: codes are sampled, with noise that falls to 0. ste: "
        "the nearest codes. soft: mixtures of codes, whose temperature falls. Each has the gradient of the soft "
        "assignment.",
        choices=("none", *ESTIMATORS),
    ),
    "share": Setting(0.15, "Share of the run in which the quantizer learns.", range=POSITIVE_SHARE),
    "encoder_rate": SHARED["encoder_rate"],
    "codebook_rate": SHARED["codebook_rate"],
    "decoder_rate": SHARED["decoder_rate"],
    "warmup_epochs": Setting(
        1.0,
        "Epochs in which these rates rise from 0; they then fall to 0, by a cosine, where the quantizer is frozen. The "
        "recommender's own rate is `train.learning_rate`.",
        range=NOT_NEGATIVE,
    ),
    "stop_gradient": Setting(
        (),
        "Parameters of the quantizer that the recommender's loss does not reach; `joint.anchor_weight` alone moves "
        "them.",
        choices=STOPPABLE,
    ),
    "anchor_weight": SHARED["anchor_weight"],
    "balance_weight": SHARED["balance_weight"],
    "target_gradient": Setting(
        1.0,
        "Weight of the gradient that draws an item's first code to those that the recommender predicts where the item "
        "comes next. The gradient from where the item is read has weight 1.",
        range=NOT_NEGATIVE,
    ),
    "temperature": SHARED["temperature"],
    "min_temperature": SHARED["min_temperature"],
    "noise_scale": SHARED["noise_scale"],
    "refresh_every_steps": Setting(
        50,
        "Steps between two refreshes of the ID table, whose codes the recommender is to predict. Codes that no item "
        "has are reset there, until four fifths of the joint part.",
        range=ONE_OR_MORE,
    ),
    "min_usage": Setting(
        0.5, "Training is stopped where a level has a smaller share of its codes in use.", range=SHARE
    ),
}


def _baseline_settings(name: str) -> Declaration:
    """Returns the settings in which the baseline SASRec or eSASRec differs from the sections above."""
    return {
        "features": Setting(128, f"{name} as a baseline: its features.", range=ONE_OR_MORE),
        "num_layers": Setting(2, "Its layers.", range=NOT_NEGATIVE),
        "num_heads": Setting(2, "Its attention heads.", range=ONE_OR_MORE),
        "hidden": Setting(512, "Features inside its feed-forward layers.", range=ONE_OR_MORE),
        "dropout": Setting(0.5, "Its dropout rate.", range=(0, 0.99)),
        "num_epochs": Setting(30.0, "Its epochs of training.", range=POSITIVE),
        "learning_rate": Setting(1e-3, "Its learning rate.", range=NOT_NEGATIVE),
        "label_smoothing": Setting(0.0, "Its label smoothing.", range=(0, 0.99)),
    }


SETTINGS: Declaration = {
    "seed": Setting(
        0, "The seed. Everything random is a function of the seed, a stream's name and the step.", range=(0, 2**32 - 1)
    ),
    "ids": Setting(
        "rqvae",
        "The Semantic IDs: an export's folder, an ids.parquet, a .json as LETTER publishes it (with +1 after its name "
        "if it counts items from 0 and the histories from 1), a .npy or .pt file, or another tool's; or made here from "
        "the catalog: rqvae (trains a quantizer, by the section `quantizer`), kmeans (residual k-means), lsh, random.",
    ),
    "made_levels": Setting(3, "kmeans, lsh, random: codes in an ID.", range=(1, 16)),
    "made_codes": Setting(256, "kmeans, lsh, random: codes of a level.", range=(2, 2**16)),
    "data": _DATA,
    # Settings of the quantizer, used if IDs are trained here. They are checked when the quantizer is trained.
    "quantizer": {name: declared for name, declared in QUANTIZER_SETTINGS.items() if name != "seed"},
    "model": _MODEL,
    "train": _TRAIN,
    "eval": _EVAL,
    "backoff": _BACKOFF,
    "joint": _JOINT,
    "sasrec": _baseline_settings("SASRec"),
    "esasrec": _baseline_settings("eSASRec"),
}


def default_config() -> ConfigDict:
    """Returns the default settings: a small decoder over IDs of a quantizer with the recommended settings."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Raises a UserError that lists the valid values if the config has a value that no run could use."""
    check_values(config, SETTINGS)
    if config.model.features % config.model.num_heads:
        raise UserError(
            f"config.model.features is {config.model.features}, which {config.model.num_heads} heads cannot share"
        )
    if config.eval.cold_slots and not config.data.cold_items:
        raise UserError(
            f"config.eval.cold_slots is {config.eval.cold_slots}, but no items are cold: name some by "
            "--config.data.cold_items=FILE, which --draw_cold=400 draws"
        )
    if config.eval.cold_slots and config.model.kind not in WITH_COLD_SLOTS:
        raise UserError(
            f"config.eval.cold_slots needs a model that generates IDs; config.model.kind is {config.model.kind!r}, "
            + ("which has no IDs" if config.model.kind in WITHOUT_IDS else "which scores items directly")
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
    check_temperatures(joint, "config.joint.")
    if joint.refresh_every_steps % config.train.log_every_steps:
        raise UserError(
            f"config.joint.refresh_every_steps is {joint.refresh_every_steps}, no multiple of "
            f"config.train.log_every_steps={config.train.log_every_steps}: IDs change between two calls"
        )
