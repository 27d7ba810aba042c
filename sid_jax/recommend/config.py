"""The settings of a recommender: default, meaning, choices and range of each."""

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
# Kinds of models that generate IDs code by code.
GENERATIVE = ("decoder", "encoder_decoder")
# Kinds that support slots for cold items, since they can rank the cold items separately from the warm items.
WITH_COLD_SLOTS = (*GENERATIVE, "scorer")
# Kinds whose scores are sums over the components of an item's vector.
EXPLAINED = ("scorer", "sasrec")
# Kinds without IDs, which cannot recommend items on which they were not trained.
WITHOUT_IDS = ("sasrec",)
BASELINES = ("popularity", "item_knn", "transitions", "semantic_knn", "sasrec", "sasrec_content", "esasrec")
# Baselines that use the vectors of `quantizer.data`.
OF_CONTENT = ("semantic_knn", "sasrec_content")
STOPPABLE = ("encoder", "codebooks")
MADE_IDS = ("kmeans", "lsh", "random")
# Number of positions in a block of a list. In each block, `eval.cold_slots` positions are slots for cold items.
PLACES = 10

_DATA: Declaration = {
    "source": Setting(
        "sequences",
        "Interaction histories. sequences: a text file with one line per user: the user, then items in time order. "
        "interactions: a .parquet or .csv file with one row per interaction. The other values name a catalog, such as "
        "movielens-100k or amazon-2014-beauty. If this run computes the IDs, it computes them for the named catalog, "
        "unless `quantizer.data` names other data.",
        choices=("sequences", "interactions", *CATALOGS),
    ),
    "path": Setting("", "File of histories. For a named catalog: the catalog's files, see `quantizer.data.path`."),
    "user_column": Setting("user_id", "interactions: name of the column of users."),
    "item_column": Setting("item_id", "interactions: name of the column of items."),
    "time_column": Setting("timestamp", "interactions: name of the column of times."),
    "core": Setting(
        5,
        "amazon: users and items with fewer interactions than this are dropped.",
        range=NOT_NEGATIVE,
    ),
    "min_interactions": Setting(5, "Users with fewer interactions than this are dropped.", range=(3, float("inf"))),
    "on_unknown": Setting(
        "error",
        "Treatment of items that are in the histories or in `data.cold_items`, but not in the catalog. error: reject "
        "the file, and show the likely cause. drop: drop these items, with a warning that states their number.",
        choices=("error", "drop"),
    ),
    "cold_items": Setting(
        "",
        "Text file with the ids of cold items, one per line. They are excluded from all training and from the "
        "histories that models read, but they can be recommended.",
    ),
    "cache_dir": Setting(
        "", "Folder of prepared data sets. Empty: $SID_JAX_CACHE, or .cache/sid_jax in the home folder."
    ),
}

_MODEL: Declaration = {
    "kind": Setting(
        "decoder",
        "Kind of model. decoder: a Transformer that generates Semantic IDs and is trained at every position of a "
        "history. encoder_decoder: the model of TIGER. parallel: the model of RPG, which predicts all codes of an ID "
        "at once, for IDs made with opq. scorer: a Transformer that scores all items by their Semantic IDs, content "
        "vectors and embeddings. sasrec: SASRec, which uses item embeddings only and no IDs.",
        choices=KINDS,
    ),
    "features": Setting(128, "Number of features (model width).", range=ONE_OR_MORE),
    "num_layers": Setting(4, "Number of Transformer layers.", range=NOT_NEGATIVE),
    "num_heads": Setting(4, "Number of attention heads.", range=ONE_OR_MORE),
    "hidden": Setting(512, "Width of the feed-forward layers.", range=ONE_OR_MORE),
    "code_hidden": Setting(
        512, "decoder: width of the network that predicts the codes of an ID one after the other.", range=ONE_OR_MORE
    ),
    "code_temperature": Setting(
        0.07,
        "parallel: temperature of the cosine similarities between predicted vectors and code embeddings.",
        range=POSITIVE,
    ),
    "window": Setting(
        50, "Maximum history length: a prediction uses at most this many of the latest items.", range=ONE_OR_MORE
    ),
    "dropout": Setting(0.2, "Dropout rate.", range=(0, 0.99)),
    "block": Setting(
        "prenorm",
        "Transformer blocks of all models except encoder_decoder. prenorm: normalization before attention and "
        "feed-forward layer. ligr: the blocks of eSASRec, which also have gates and SwiGLU.",
        choices=("prenorm", "ligr"),
    ),
    "item_parts": Setting(
        ITEM_PARTS,
        "scorer: components whose sum is the vector of an item. item: an embedding of the item. codes: embeddings of "
        "its codes and of the pair of its first two codes. content: a learned map of its content vector, which is read "
        "from `quantizer.data`; omitted if no content vectors are set.",
        choices=ITEM_PARTS,
    ),
    "content_hidden": Setting(
        256,
        "scorer: width of the hidden layer of the map from content vectors to the component `content`. 0: a linear "
        "map, without a hidden layer.",
        range=NOT_NEGATIVE,
    ),
    "code_pairs": Setting(
        4096,
        "scorer: number of embeddings for the pair of an item's first two codes. A hash assigns an embedding to each "
        "pair, so several pairs may have the same embedding. 0: none.",
        range=NOT_NEGATIVE,
    ),
    "item_dropout": Setting(
        0.3,
        "scorer: share of the items whose item embedding is omitted in a training step. The model thereby learns to "
        "score items without an item embedding, such as new items.",
        range=(0, 0.99),
    ),
    "members": Setting(
        1, "scorer: number of models trained in parallel, whose scores are averaged.", range=ONE_OR_MORE
    ),
    "blend": Setting(
        TERMS,
        "scorer: terms added to an item's score after training, with weights chosen on the validation data. "
        "transitions: how often the item followed the items of the history in the training data. content: cosine "
        "similarity of the item's content vector to the weighted sum of the history's content vectors. popularity: "
        "logarithm of the item's number of training interactions.",
        choices=TERMS,
    ),
    "head_features": Setting(64, "encoder_decoder: number of features per attention head.", range=ONE_OR_MORE),
    "num_user_tokens": Setting(
        2000, "encoder_decoder: number of user tokens. A hash maps users to tokens.", range=ONE_OR_MORE
    ),
    "dtype": Setting("float32", "dtype of activations.", choices=("float32", "bfloat16")),
}

_TRAIN: Declaration = {
    "num_epochs": Setting(30.0, "Maximum number of epochs.", range=POSITIVE),
    "patience": Setting(
        0,
        "Early stopping: training ends after this many validations without an improvement. 0: it ends after "
        "`num_epochs`.",
        range=NOT_NEGATIVE,
    ),
    "average_epochs": Setting(
        0.0,
        "Time constant, in epochs, of an exponential moving average of the parameters, which is validated and saved "
        "instead of the parameters. 0: no average.",
        range=NOT_NEGATIVE,
    ),
    "loss": Setting(
        "auto",
        "scorer, sasrec: cross-entropy over all items (full), or over a sample of items in each step (sampled). "
        "auto: sampled for more than 50,000 items.",
        choices=("auto", "full", "sampled"),
    ),
    "num_negatives": Setting(
        4096, "scorer, sasrec: number of items that the sampled loss draws in each step.", range=ONE_OR_MORE
    ),
    "label_smoothing": Setting(
        0.0,
        "scorer, sasrec: label smoothing, the share of the target's probability that is spread over all items.",
        range=(0, 0.99),
    ),
    "batch_size": Setting(
        32,
        "Batch size of a step, over all devices: number of rows of packed histories. encoder_decoder: number of "
        "examples.",
        range=ONE_OR_MORE,
    ),
    "row_length": Setting(64, "Number of items per row; several histories are packed into one row.", range=ONE_OR_MORE),
    "optimizer": Setting("adamw", "Optimizer.", choices=("adamw", "adagrad")),
    "learning_rate": Setting(1e-3, "Peak learning rate, after the warm-up.", range=NOT_NEGATIVE),
    "learning_rate_schedule": Setting(
        "cosine", "Learning rate schedule after the warm-up. cosine: it falls to 0.", choices=("cosine", "constant")
    ),
    "warmup_epochs": Setting(
        1.0, "Number of warm-up epochs, in which the learning rate rises to its maximum.", range=NOT_NEGATIVE
    ),
    "weight_decay": Setting(0.1, "AdamW: weight decay of kernels.", range=NOT_NEGATIVE),
    "gradient_clip_norm": Setting(1.0, "Gradient clipping: maximum global norm. 0: no clipping.", range=NOT_NEGATIVE),
    "log_every_steps": Setting(
        50,
        "Maximum number of steps per compiled call; metrics are written once per call. If possible, all calls get the "
        "same number of steps, at least half of this maximum.",
        range=ONE_OR_MORE,
    ),
    "eval_every_epochs": Setting(
        5.0,
        "Number of epochs between validations. Each validation saves a checkpoint. The last validation is at the end "
        "of the run.",
        range=POSITIVE,
    ),
    "best_metric": Setting(
        "ndcg@10",
        "Validation metric that selects the best checkpoint, which is tested and saved.",
        choices=("recall@5", "recall@10", "ndcg@5", "ndcg@10", "mrr"),
    ),
    "best_mode": Setting(
        "max", "How values of `best_metric` are compared. max: the highest value is the best.", choices=("max",)
    ),
    "keep_checkpoints": Setting(
        2,
        "Maximum number n of checkpoints to keep: the latest one and the n - 1 best ones, which may include the "
        "latest. 1 has the same effect as 2.",
        range=ONE_OR_MORE,
    ),
}

_EVAL: Declaration = {
    "num_beams": Setting(50, "Beam size: number of prefixes kept in the beam search.", range=ONE_OR_MORE),
    "batch_size": Setting(256, "Number of users per compiled call.", range=ONE_OR_MORE),
    "validation_users": Setting(
        5000,
        "Number of users in each validation during training, drawn at random. 0: all. The test always uses all users.",
        range=NOT_NEGATIVE,
    ),
    "exclude_seen": Setting(
        False,
        "Whether seen items (items of the user's history) are excluded from all lists, including the baselines' lists.",
    ),
    "baselines": Setting(
        ("popularity", "item_knn"),
        "Baselines to compare with. transitions: the items that most often followed the items of the history in the "
        "training data; no model is trained. semantic_knn: the items whose vectors in `quantizer.data` are most "
        "similar to the weighted mean of the history's vectors. sasrec_content: a SASRec without item "
        "embeddings, in which an item's vector is a learned map of its vector in `quantizer.data`.",
        choices=BASELINES,
    ),
    "bootstrap_samples": Setting(1000, "Number of resamples of the bootstrap confidence intervals.", range=ONE_OR_MORE),
    "cold_slots": Setting(
        0,
        "Number of slots for cold items in each block of ten positions of a list. They are the last positions of the "
        "block (TIGER, section 4.3). Cold items are scored by their vectors in `quantizer.data`; see "
        "docs/cold-start.md.",
        range=(0, PLACES),
    ),
}

# Settings of the back-off score of a cold item. The score combines the probability of a prefix of the item's ID with a
# sum over warm items, in which each item is weighted by its similarity to the cold item. The warm items are the items
# that the model predicts and the items of the history. `sid_jax.recommend.cold.scores` has the formula.
_BACKOFF: Declaration = {
    "sharpness": Setting(
        10.0,
        "Factor on the cosine: the similarity of a warm item to a cold item is exp(sharpness * cosine). A cold item "
        "has a high score if it is similar to warm items that the model predicts or that are in the history.",
        range=(0, 1000),
    ),
    "history_share": Setting(
        0.5,
        "Weight of the user's history in a cold item's score. The weight of the model's predictions is 1 minus this "
        "weight.",
        range=SHARE,
    ),
    "decay": Setting(
        0.7, "Weight of an item of the history relative to the weight of the item after it.", range=POSITIVE_SHARE
    ),
    "prefix_levels": Setting(
        2, "Length of the ID prefix whose log-probability is part of a cold item's score.", range=(0, 16)
    ),
    "prefix_weight": Setting(
        0.25, "Weight of the prefix's log-probability in a cold item's score.", range=NOT_NEGATIVE
    ),
}

_JOINT: Declaration = {
    "estimator": Setting(
        "none",
        "Gradient estimator of joint training, in which the quantizer is trained together with the recommender. IDs "
        "change during the joint phase; then quantizer and IDs are frozen for the rest of the run. none: no joint "
        "training. gumbel: sampled codes, with noise that falls to 0. ste: nearest codes. soft: mixtures of codes, "
        "with a falling temperature. All three use the gradient of the soft assignment.",
        choices=("none", *ESTIMATORS),
    ),
    "share": Setting(
        0.15, "Share of the run in which the quantizer is trained (the joint phase).", range=POSITIVE_SHARE
    ),
    "encoder_rate": SHARED["encoder_rate"],
    "codebook_rate": SHARED["codebook_rate"],
    "decoder_rate": SHARED["decoder_rate"],
    "warmup_epochs": Setting(
        1.0,
        "Number of epochs in which the quantizer's learning rates rise from 0. They then fall by a cosine schedule, to "
        "0 at the end of the joint phase. The recommender's learning rate is `train.learning_rate`.",
        range=NOT_NEGATIVE,
    ),
    "stop_gradient": Setting(
        (),
        "Parameters of the quantizer that get no gradient from the recommender's loss, only from the quantizer's own "
        "losses (`joint.anchor_weight`).",
        choices=STOPPABLE,
    ),
    "anchor_weight": SHARED["anchor_weight"],
    "balance_weight": SHARED["balance_weight"],
    "target_gradient": Setting(
        1.0,
        "Weight of the target gradient. An item's assignment to the codes of the first level gets two gradients from "
        "the recommender. The first one, with weight 1, is from the positions where the item is an input. The second "
        "one, the target gradient, is from the positions where the item is the target.",
        range=NOT_NEGATIVE,
    ),
    "temperature": SHARED["temperature"],
    "min_temperature": SHARED["min_temperature"],
    "noise_scale": SHARED["noise_scale"],
    "refresh_every_steps": Setting(
        50,
        "Number of steps between refreshes of the ID table, whose codes the recommender learns to predict. Each "
        "refresh in the first four fifths of the joint phase also resets dead codes.",
        range=ONE_OR_MORE,
    ),
    "min_usage": Setting(
        0.5,
        "Training stops with an error if the share of a level's codes in use falls below this value.",
        range=SHARE,
    ),
}


def _baseline_settings(name: str) -> Declaration:
    """Returns the settings of a baseline, SASRec or eSASRec; they are independent of the recommender's settings."""
    return {
        "features": Setting(128, f"{name} as a baseline: number of features.", range=ONE_OR_MORE),
        "num_layers": Setting(2, "Number of layers.", range=NOT_NEGATIVE),
        "num_heads": Setting(2, "Number of attention heads.", range=ONE_OR_MORE),
        "hidden": Setting(512, "Width of the feed-forward layers.", range=ONE_OR_MORE),
        "dropout": Setting(0.5, "Dropout rate.", range=(0, 0.99)),
        "num_epochs": Setting(30.0, "Number of epochs.", range=POSITIVE),
        "learning_rate": Setting(1e-3, "Learning rate.", range=NOT_NEGATIVE),
        "label_smoothing": Setting(0.0, "Label smoothing.", range=(0, 0.99)),
    }


SETTINGS: Declaration = {
    "seed": Setting(
        0,
        "Seed. All random numbers are functions of the seed, the name of a random stream and the step.",
        range=(0, 2**32 - 1),
    ),
    "ids": Setting(
        "rqvae",
        "The Semantic IDs, or a method by which this run computes them. Semantic IDs: the folder of an export, an "
        "ids.parquet, a .json file of LETTER, a .npy or .pt file, or another tool's file. FILE+1, such as "
        "letter.json+1, adds 1 to the item ids of FILE. Use it if FILE numbers items from 0 and the histories number "
        "them from 1. Methods: rqvae (trains a quantizer with the settings of the section `quantizer`), kmeans "
        "(residual k-means), lsh, random.",
    ),
    "made_levels": Setting(3, "kmeans, lsh, random: number of codes per ID, not counting the suffix.", range=(1, 16)),
    "made_codes": Setting(256, "kmeans, lsh, random: number of codes per level.", range=(2, 2**16)),
    "data": _DATA,
    # Settings of the quantizer that this run trains. The section `quantizer.data` also names the content vectors.
    # `check_config` checks each value separately. Combinations of values are checked when the quantizer is trained.
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
    """Returns the default settings: a small decoder, and IDs of a quantizer with default settings."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Raises a UserError if a value of the config cannot be used; the message says which values are possible."""
    check_values(config, SETTINGS)
    if config.model.features % config.model.num_heads:
        raise UserError(
            f"config.model.features is {config.model.features}, which is not a multiple of "
            f"config.model.num_heads={config.model.num_heads}; set a multiple"
        )
    if config.eval.cold_slots and not config.data.cold_items:
        raise UserError(
            f"config.eval.cold_slots is {config.eval.cold_slots}, but there are no cold items; set "
            "--config.data.cold_items to a file of item ids, which --draw_cold=400 can write"
        )
    if config.eval.cold_slots and config.model.kind not in WITH_COLD_SLOTS:
        raise UserError(
            f"config.eval.cold_slots is {config.eval.cold_slots}, but a model of the kind {config.model.kind!r} has no "
            f"slots for cold items; set the slots to 0, or config.model.kind to one of {', '.join(WITH_COLD_SLOTS)}"
        )
    if config.train.row_length < config.model.window:
        raise UserError(
            f"config.train.row_length is {config.train.row_length}, below config.model.window={config.model.window}; "
            f"set at least {config.model.window}, since a row must hold the longest history"
        )
    if config.joint.estimator != "none":
        _check_joint(config)


def _check_joint(config: ConfigDict) -> None:
    joint = config.joint
    if config.model.kind != "decoder":
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r}, but config.model.kind is {config.model.kind!r}; joint "
            "training needs config.model.kind=decoder"
        )
    if config.ids in MADE_IDS:
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r}, but config.ids is {config.ids!r}, which has no quantizer "
            "to train; set config.ids to the folder of an export, or to rqvae"
        )
    if config.data.cold_items:
        raise UserError(
            f"config.joint.estimator is {joint.estimator!r} and config.data.cold_items is {config.data.cold_items!r}: "
            "joint training uses the vectors of all items, so cold items are not possible; omit one of the two"
        )
    check_temperatures(joint, "config.joint.")
    if joint.refresh_every_steps % config.train.log_every_steps:
        raise UserError(
            f"config.joint.refresh_every_steps is {joint.refresh_every_steps}, which is not a multiple of "
            f"config.train.log_every_steps={config.train.log_every_steps}; set a multiple, since IDs can only "
            f"change between two compiled calls, and a call takes {config.train.log_every_steps} steps"
        )
