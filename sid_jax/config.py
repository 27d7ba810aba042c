"""Every setting of a run, declared once. The defaults are the recommended recipe for vectors of any origin."""

from __future__ import annotations

from ml_collections import ConfigDict

from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.ids.unique import SCHEMES
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

_DATA: Declaration = {
    "source": Setting(
        "vectors",
        "The catalog: vectors of your own (`data.path`), or a named catalog of movies, users or products "
        "(docs/movielens.md and docs/amazon.md list them), whose vectors are made as set below.",
        choices=("vectors", *CATALOGS),
    ),
    "path": Setting(
        "",
        "vectors: .npy, .npz, .pt, .parquet, .arrow, .feather, .safetensors or .array_record files, a folder of them "
        "(such as one saved by Hugging Face's `datasets`), a pattern, or several with commas between; also in a "
        "bucket, as in s3://bucket/items/*.parquet (docs/buckets.md). movielens: a folder or zip in GroupLens' layout. "
        "amazon: a folder with files of reviews and metadata. Empty: a named catalog is read from the cache, or else "
        "downloaded from its authors.",
    ),
    "id_column": Setting(
        "item_id",
        'vectors: the column, array or tensor with the item ids, which are kept as they are; "ids" works too.',
    ),
    "vector_column": Setting(
        "vector",
        'vectors: the column, array or tensor with the vectors. In a table: lists or fixed-size lists. "vectors" '
        "works too.",
    ),
    "ids_path": Setting(
        "",
        "vectors: for files without ids, a text file with one id a line, or a .npy file of ids, for each of them. "
        "Empty: ids are the row numbers.",
    ),
    "text_column": Setting(
        "",
        'vectors: columns of text, with commas between ("title,brand"), that are encoded instead of reading a vector '
        "column; the file is then .parquet, .csv or .jsonl. amazon: what makes a product's text; empty: title, brand, "
        "categories.",
    ),
    "columns": Setting(
        "",
        'Further columns that go into the export, with commas between ("title"). Empty: those that describe an item '
        "of a named catalog; none of a catalog of your own.",
    ),
    "core": Setting(5, "amazon: users and items with fewer interactions are left out.", range=NOT_NEGATIVE),
    "on_bad_rows": Setting(
        "error",
        "vectors: what is done with rows that have NaN or infinite values. error: refused, the first is named. drop: "
        "left out. report: refused, all are listed on standard output, as CSV.",
        choices=("error", "drop", "report"),
    ),
    "on_unknown": Setting(
        "error",
        "What is done with items of histories and of `data.cold_items` that are not in the catalog. error: refused, "
        "with the likely cause. drop: left out, with a warning that counts them.",
        choices=("error", "drop"),
    ),
    "cold_items": Setting(
        "",
        "A text file of item ids, one a line, that the model is not trained on. They get their codes as new items "
        "would.",
    ),
    "histories": {
        "source": Setting(
            "none",
            "Interaction histories, if codes are to follow them as well as content. They serve in two ways: by a "
            "second part of each vector (`data.collaborative_weight`), and by a loss (`model.contrastive_weight`, "
            "`model.alignment_weight`). sequences: a text file with a line for each user: the user, then items in the "
            "order of time. interactions: a .parquet or .csv file with a row for each interaction. Or a named "
            "catalog.",
            choices=("none", "sequences", "interactions", *CATALOGS),
        ),
        "path": Setting("", "The file; for a named catalog as in `data.path`, which is the default."),
        "user_column": Setting("user_id", "interactions: the column of users."),
        "item_column": Setting("item_id", "interactions: the column of items."),
        "time_column": Setting("timestamp", "interactions: the column of times."),
    },
    "collaborative_weight": Setting(
        0.5,
        "The variance of the second part of each vector, which is made from co-occurrences in the histories, where "
        "the first part's is 1. 0: no second part.",
        range=NOT_NEGATIVE,
    ),
    "parts": Setting(
        "",
        "Further parts of each item's vector, beside that of `data.source`, whose weight is 1: NAME=SOURCE*WEIGHT, "
        "with commas between. SOURCE is a file of vectors with ids (FILE, or FILE.npy@IDS for ids in a file of their "
        "own; raw:FILE if the vectors' length counts), or categories:COLUMN, number:COLUMN or text:COLUMN of the "
        "catalog (or, as in categories:FILE:COLUMN, of another table). Parts are joined by id, and an item may lack "
        "some, as in image=image.npy*0.5,genres=categories:genres*0.3.",
    ),
    "view": Setting("item", "movielens: what gets Semantic IDs.", choices=("item", "user")),
    "vectors": Setting(
        "text",
        "movielens: what vectors are made from. collaborative: a truncated SVD of the ratings. text+collaborative: "
        "both, concatenated.",
        choices=("text", "collaborative", "text+collaborative"),
    ),
    "text_encoder": Setting(
        "wordllama",
        "The encoder of texts: wordllama (built in); the folder of a BERT such as all-MiniLM-L6-v2, with "
        "model.safetensors and tokenizer.json, which runs in JAX (needs the [bert] extra; FOLDER@bfloat16 in mixed "
        "precision); the name of a sentence-transformers model (needs the [text] extra); or a function of your own, "
        "`module:function`, from a list of texts to an array [n, D].",
    ),
    "collaborative_dimension": Setting(
        64, "movielens and histories: the number of singular vectors in a collaborative vector.", range=ONE_OR_MORE
    ),
    "collaborative_holdout": Setting(
        2,
        "movielens and histories: how many of each user's last interactions are left out, so that a leave-one-out "
        "test finds no leak.",
        range=NOT_NEGATIVE,
    ),
    "cache_dir": Setting(
        "", "Where prepared data sets are kept. Empty: $SID_JAX_CACHE, or .cache/sid_jax in the home folder."
    ),
    "unit_norm": Setting(
        True,
        "Scale each vector to length 1, so that its direction counts, as in cosine similarity. This, `data.center` "
        "and `data.standardize` are applied in this order; they are fitted once, saved with the model and applied by "
        "its encoder.",
    ),
    "center": Setting(True, "Subtract the mean vector."),
    "standardize": Setting(
        "global",
        "global: one divisor, so that a feature's mean square is 1. feature: a divisor for each feature.",
        choices=("global", "feature", "none"),
    ),
}

_MODEL: Declaration = {
    "num_levels": Setting(3, "L: codes in an ID, before it is made unique.", range=(1, 64)),
    "codebook_size": Setting(
        256, "K: codes of a level; one number, or one for each level, as in (64, 128, 256).", any_type=True
    ),
    "quantizer": Setting(
        "residual",
        "residual: each level quantizes what those before it leave. opq: optimized product quantization, each level "
        "quantizes a part of the rotated vector of its own; it has no network, and takes `model.encoder=identity` and "
        "`model.quantization_method=ema`.",
        choices=("residual", "opq"),
    ),
    "encoder": Setting(
        "residual",
        "mlp: an MLP. residual: x W + MLP(x), which starts as the projection onto the first Z principal axes. "
        "identity: no network; the scaled vectors are quantized.",
        choices=("mlp", "residual", "identity"),
    ),
    "latent_dimension": Setting(112, "Z: features of the latent vector, which is quantized.", range=ONE_OR_MORE),
    "hidden_dimensions": Setting((1024, 256), "Widths of the encoder's hidden layers; the decoder has them reversed."),
    "activation": Setting("silu", "Activation of the hidden layers.", choices=("silu", "relu", "gelu")),
    "dropout": Setting(0.0, "Share of hidden activations dropped in training.", range=(0, 0.99)),
    "quantization_method": Setting(
        "ste",
        "ste: straight-through. rotation: the rotation trick. diveq: DiVeQ. gumbel_softmax: sampled codes, with a "
        "temperature. simvq: frozen codebooks under a learned linear map. ema: codebooks by moving averages.",
        choices=("ste", "rotation", "diveq", "gumbel_softmax", "simvq", "ema"),
    ),
    "gumbel_hard": Setting(
        True,
        "Gumbel-softmax: pass the sampled codeword forward and the soft gradient back. False: pass the soft mixture "
        "forward.",
    ),
    "temperature": Setting(0.1, "Gumbel-softmax: the temperature at the start.", range=POSITIVE),
    "min_temperature": Setting(0.05, "Gumbel-softmax: the lowest temperature.", range=POSITIVE),
    "temperature_decay": Setting(
        0.9995, "Gumbel-softmax: the factor of each update, for the exponential schedule.", range=POSITIVE_SHARE
    ),
    "noise_scale": Setting(
        0.01,
        "Gumbel-softmax: size of the noise at the start. Like the temperature it is in units of the squared distance "
        "between neighboring codewords, and falls with it, to 0 at the end, so that the last step's codes are those "
        "that are exported.",
        range=NOT_NEGATIVE,
    ),
    "ema_decay": Setting(
        0.99,
        "ema: decay of the moving averages in each step while the learning rate is at its peak; it nears 1 as the "
        "rate falls.",
        range=SHARE,
    ),
    "commitment_weight": Setting(
        0.25,
        "Weight of the commitment loss, |residual - sg(codeword)|^2 (beta in van den Oord et al., 1711.00937, "
        "equation 3).",
        range=NOT_NEGATIVE,
    ),
    "codebook_weight": Setting(
        1.0, "Weight of the codebook loss, |sg(residual) - codeword|^2, which moves the codebooks.", range=NOT_NEGATIVE
    ),
    "contrastive_weight": Setting(
        0.0,
        "Weight of a contrastive loss that pulls together the quantized vectors of items that follow each other in "
        "`data.histories`, in units of the vectors' squared length. An item's codes still depend on its content "
        "alone.",
        range=NOT_NEGATIVE,
    ),
    "alignment_weight": Setting(
        0.0,
        "Weight of a loss by which a linear map of the quantized vector tells the item's co-occurrence vector "
        "(`data.collaborative_dimension` features) from those of other items; in the same units.",
        range=NOT_NEGATIVE,
    ),
    "contrastive_temperature": Setting(0.1, "The temperature of both losses, in cosines.", range=POSITIVE),
}

_IDS: Declaration = {
    "unique": Setting(
        "relocate",
        "How IDs become unique. relocate: L codes; of the items under one tuple all but one move to a free tuple "
        "nearby. suffix: one more code, as in TIGER. none: items may share an ID.",
        choices=SCHEMES,
    ),
    "capacity": Setting(1, "relocate: how many items may share an ID.", range=ONE_OR_MORE),
}

_TRAIN: Declaration = {
    "num_epochs": Setting(45, "Epochs of training.", range=POSITIVE),
    "batch_size": Setting(1024, "Items in a step, over all devices together.", range=ONE_OR_MORE),
    "resident_bytes": Setting(
        2**32,
        "Vectors of more bytes than this stay in their file, a .npy of float32, and are read as steps need them.",
        range=NOT_NEGATIVE,
    ),
    "augmentation": Setting(
        0.25,
        "Share of the difference between two other items that is added to each item of a batch, until the encoder "
        "stops learning. Without it a wide encoder learns some ten thousand items by heart, and serves new ones "
        "badly.",
        range=NOT_NEGATIVE,
    ),
    "part_dropout": Setting(
        0.25,
        "Share of the parts of an item's vector (`data.parts`) that are hidden from the encoder in training, until it "
        "stops learning, so that it learns to cope with items that lack a part. One part is always seen.",
        range=(0, 0.99),
    ),
    "precision": Setting(
        "float32",
        "bfloat16: products in encoder and decoder have bfloat16 factors and float32 sums, until the encoder stops "
        "learning. Weights, distances, codes and all that is exported are float32.",
        choices=("float32", "bfloat16"),
    ),
    "optimizer": Setting("adamw", "The optimizer.", choices=("adamw", "adagrad")),
    "learning_rate": Setting(5e-3, "The learning rate after the warm-up.", range=NOT_NEGATIVE),
    "learning_rate_schedule": Setting(
        "cosine", "The learning rate after the warm-up: falling to 0, or constant.", choices=("cosine", "constant")
    ),
    "warmup_epochs": Setting(4.0, "Epochs in which the learning rate rises from 0.", range=NOT_NEGATIVE),
    "weight_decay": Setting(1e-4, "AdamW: weight decay of kernels; never of biases or codebooks.", range=NOT_NEGATIVE),
    "gradient_clip_norm": Setting(
        1000.0, "Gradients are scaled down to this global norm, a guard against outliers. 0: never.", range=NOT_NEGATIVE
    ),
    "temperature_annealing": Setting(
        True, "Gumbel-softmax: lower the temperature and the noise. False: keep both as they are at the start."
    ),
    "annealing_schedule": Setting(
        "cosine",
        "Gumbel-softmax: how the temperature falls. linear and cosine reach `model.min_temperature` at the end of the "
        "run, exponential by `model.temperature_decay`.",
        choices=("exponential", "linear", "cosine", "constant"),
    ),
    "temperature_update_frequency": Setting(
        1, "Gumbel-softmax: epochs between two updates of the temperature.", range=ONE_OR_MORE
    ),
    "kmeans_iterations": Setting(
        25, "Lloyd iterations of the k-means that initializes the codebooks.", range=NOT_NEGATIVE
    ),
    "kmeans_sample_items": Setting(
        65_536, "The most items that this k-means looks at, a random sample.", range=ONE_OR_MORE
    ),
    "revive_every_epochs": Setting(
        1.0,
        "A code that no item took for this many epochs is reset to a residual that is badly served. 0: never.",
        range=NOT_NEGATIVE,
    ),
    "revive_until": Setting(
        0.9, "Share of the run after which no code is reset, so that those that were can settle.", range=SHARE
    ),
    "settle_share": Setting(
        0.2,
        "Share of the run, at its end, in which the encoder is frozen while codebooks and decoder settle.",
        range=SHARE,
    ),
    "log_every_steps": Setting(
        100, "Steps in one compiled call; metrics are written once for each call.", range=ONE_OR_MORE
    ),
    "eval_every_epochs": Setting(
        15.0,
        "Epochs between two evaluations of the whole corpus, each with a checkpoint; the last is at the end.",
        range=POSITIVE,
    ),
    "best_metric": Setting(
        "r2",
        "The metric of an evaluation by which the best checkpoint is chosen, which is exported.",
        choices=("r2", "mse", "cosine", "distinct_rate", "agreement"),
    ),
    "best_mode": Setting("max", "Whether the best value is the highest or the lowest.", choices=("max", "min")),
    "wandb": Setting("", "A Weights & Biases project for the metrics (needs the [wandb] extra). Empty: none."),
    "keep_checkpoints": Setting(3, "Checkpoints kept: the latest, and the best of the rest.", range=ONE_OR_MORE),
}

SETTINGS: Declaration = {
    "seed": Setting(
        0, "The seed. Everything random is a function of the seed, a stream's name and the step.", range=(0, 2**32 - 1)
    ),
    "data": _DATA,
    "model": _MODEL,
    "ids": _IDS,
    "train": _TRAIN,
}


def default_config() -> ConfigDict:
    """Returns the recommended settings: a residual encoder and straight-through codes, trained for 45 epochs."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Raises a UserError if a value of the config cannot be used, and names the allowed values."""
    check_values(config, SETTINGS)
    _check_sizes(config.model)
    _check_product(config.model)
    _check_histories(config)
    if config.model.min_temperature > config.model.temperature:
        raise UserError(
            f"config.model.min_temperature is {config.model.min_temperature}, above config.model.temperature="
            f"{config.model.temperature}"
        )


def _check_histories(config: ConfigDict) -> None:
    given = config.data.histories.source != "none"
    weights = {name: config.model[name] for name in ("contrastive_weight", "alignment_weight") if config.model[name]}
    for name, weight in weights.items():
        if not given:
            raise UserError(
                f"config.model.{name} is {weight}, but config.data.histories.source is 'none': say who takes "
                "what, or leave the weight at 0"
            )
        if config.model.encoder == "identity":
            raise UserError(
                f"config.model.{name} is {weight}, but config.model.encoder is 'identity': there is "
                "no encoder that the loss could teach"
            )
    if given and not weights and not config.data.collaborative_weight:
        raise UserError(
            "config.data.histories.source is given, but config.data.collaborative_weight and the weights "
            "config.model.contrastive_weight and .alignment_weight are 0: nothing would follow the histories"
        )


def _check_product(model: ConfigDict) -> None:
    for name, value in (("encoder", "identity"), ("quantization_method", "ema")) if model.quantizer == "opq" else ():
        if model[name] != value:
            raise UserError(
                f"config.model.quantizer is 'opq', which has no network that could learn, but config.model.{name} is "
                f"{model[name]!r}: set it to {value!r}, or begin with the preset embeddings:opq"
            )


def _check_sizes(model: ConfigDict) -> None:
    size, levels = model.codebook_size, model.num_levels
    sizes = size if isinstance(size, (tuple, list)) else (size,)
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in sizes):
        raise UserError(
            f"config.model.codebook_size is {size!r}; it must be a number, or one for each level: (64, 128)"
        )
    if isinstance(size, (tuple, list)) and len(sizes) != levels:
        raise UserError(f"config.model.codebook_size has {len(sizes)} numbers, but config.model.num_levels is {levels}")
    if not all(isinstance(width, int) and width >= 1 for width in model.hidden_dimensions):
        raise UserError(
            f"config.model.hidden_dimensions is {model.hidden_dimensions}; each must be a whole number, 1 or more"
        )
