"""Every setting there is, its default, and the check that refuses a wrong one.

The files in `configs/` start from `default_config()` and say only what is different for their use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import FieldReference

from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.ids.unique import SCHEMES
from sid_jax.settings import check_values


def default_config() -> ConfigDict:
    """Returns the settings that hold wherever a config file says nothing else."""
    config = ConfigDict()
    # Everything random is a function of (seed, stream name, step).
    config.seed = 0

    config.data = data = ConfigDict()
    # "vectors": your own, from `data.path`. "movielens-100k" and other sizes, "amazon-2014-beauty" and others, as
    # `sid_jax/data/catalogs/names.py` lists them: films (or users) and products, made into vectors as said below.
    data.source = "vectors"
    # vectors: .npy, .npz, .parquet, .arrow, .feather, .safetensors or .array_record files, a folder of them (as Hugging
    # Face's `datasets` save one), a pattern, or several with commas between. movielens: a folder or zip in GroupLens'
    # layout; amazon: a folder with files of reviews and metadata; empty looks in the cache, then where the data's
    # authors have it.
    data.path = ""
    # vectors: the column (or array, or tensor) with the item ids, kept exactly as they came; "ids" serves too.
    data.id_column = "item_id"
    # vectors: that with the vectors, in a table lists or fixed-size lists; "vectors" serves too.
    data.vector_column = "vector"
    # vectors: where files have no ids of their own, a text file with one id a line, or a .npy file of ids, for each.
    # Empty: ids are the row numbers.
    data.ids_path = ""
    # vectors: columns of text, with commas between, that are encoded instead of a vector column: "title,brand"; the
    # file is then .parquet, .csv or .jsonl. amazon: what makes a product's text; empty: title, brand, categories.
    data.text_column = ""
    # Further columns of the table, with commas between, that go into the export: "title". Empty: of a named catalog
    # those that describe an item, of your own none.
    data.columns = ""
    # amazon: users and items with fewer interactions are left out.
    data.core = 5
    # vectors: rows with NaN or infinite values. "error": refused, the first named; "drop": left out; "report": refused,
    # all listed on standard output, as CSV.
    data.on_bad_rows = "error"
    # A text file of item ids, one a line, that are not trained on; they get their codes as items of tomorrow would.
    data.cold_items = ""
    # Who took what after what, if the codes are to follow that as well as content, in either or both of two ways: by a
    # second part of each vector (`data.collaborative_weight`), or by a loss (`model.contrastive_weight`,
    # `model.alignment_weight`).
    data.histories = histories = ConfigDict()
    # "none"; "sequences": a text file, a line a user: the user, then items in time order; "interactions": .parquet or
    # .csv, a row an interaction; or a named catalog, as of `data.source`, with the same path if none is given.
    histories.source = "none"
    histories.path = ""
    # interactions: the columns.
    histories.user_column = "user_id"
    histories.item_column = "item_id"
    histories.time_column = "timestamp"
    # The variance of a second part of each vector, `data.collaborative_dimension` features from the co-occurrences in
    # the histories, where the first's is 1; 0 for no second part.
    data.collaborative_weight = 0.5
    # movielens: who gets Semantic IDs, "item" or "user".
    data.view = "item"
    # movielens: "text", "collaborative" (truncated SVD of the ratings) or "text+collaborative" (one after the other).
    data.vectors = "text"
    # Of texts: "wordllama" (built in), the name of a sentence-transformers model (needs the [text] extra), or a
    # function of yours, "module:function", from a list of texts to an array [n, D].
    data.text_encoder = "wordllama"
    # movielens and histories: how many singular vectors make a collaborative vector.
    data.collaborative_dimension = 64
    # movielens and histories: each user's last interactions left out, so that a leave-one-out test finds no leak.
    data.collaborative_holdout = 2
    # Where prepared data sets are kept. Empty: $SID_JAX_CACHE, or .cache/sid_jax in the home folder.
    data.cache_dir = ""
    # Scaling, in this order; fitted once on the whole corpus, saved with the model, applied by its encoder.
    # Each vector to length 1: what counts is its direction, as in cosine similarity.
    data.unit_norm = True
    # Subtract the mean vector.
    data.center = True
    # "global": one divisor, so that a feature's mean square is 1. "feature": a divisor for each. "none".
    data.standardize = "global"

    config.model = model = ConfigDict()
    # L: codes in an ID before it is made unique.
    model.num_levels = 3
    # K: codes a level; one number, or one for each level, as in (64, 128, 256).
    model.codebook_size = FieldReference(256, field_type=object)
    # "mlp"; "residual": x W + MLP(x), which starts as the projection onto the first Z principal axes; "identity": no
    # network, the scaled vectors themselves are quantized.
    model.encoder = "mlp"
    # Z: features of the latent vector that is quantized.
    model.latent_dimension = 32
    # Widths of the encoder's hidden layers; the decoder has them the other way round.
    model.hidden_dimensions = (512, 256, 128)
    # "silu", "relu" or "gelu".
    model.activation = "silu"
    # Share of hidden activations dropped in training.
    model.dropout = 0.0
    # "ste" (straight-through), "rotation" (the rotation trick), "diveq", "gumbel_softmax", "simvq" (frozen codebooks
    # under a learned map) or "ema" (codebooks by moving averages).
    model.quantization_method = "ste"
    # Gumbel-softmax: True sends the sampled codeword forward and the soft gradient back; False sends the soft mixture.
    model.gumbel_hard = True
    # Gumbel-softmax: temperature at the start and its floor.
    model.temperature = 2.0
    model.min_temperature = 0.05
    # Gumbel-softmax: factor an update, for the exponential schedule.
    model.temperature_decay = 0.9995
    # Gumbel-softmax: size of the noise at the start, in units of the squared distance between neighboring codewords,
    # as the temperature is. It ends at 0, so that the codes of the last step are the codes that are exported.
    model.noise_scale = 0.2
    # ema: decay of the moving averages, a step, while the learning rate is at its peak; nearer to 1 as that falls.
    model.ema_decay = 0.99
    # Weight of |residual - sg(codeword)|^2 (van den Oord et al., 1711.00937, eq. 3: beta).
    model.commitment_weight = 0.25
    # Weight of |sg(residual) - codeword|^2, which moves the codebooks.
    model.codebook_weight = 1.0
    # Weight of the loss that draws together the quantized vectors of items that are taken together in
    # `data.histories`, in units of the vectors' squared length; content alone still says which codes an item gets.
    model.contrastive_weight = 0.0
    # Weight of the loss by which a linear map of the quantized vector is to tell the item's co-occurrence vector, of
    # `data.collaborative_dimension` features, from those of other items; in the same units.
    model.alignment_weight = 0.0
    # The temperature of both, in cosines.
    model.contrastive_temperature = 0.1

    config.ids = ids = ConfigDict()
    # How codes become IDs that no two items share: "relocate" (L codes: of those under one tuple all but one move to a
    # free one nearby), "suffix" (a further token, as in TIGER), or "none" (they stay shared).
    ids.unique = "relocate"
    # relocate: how many items may share an ID.
    ids.capacity = 1

    config.train = train = ConfigDict()
    train.num_epochs = 100
    # Items a step, over all devices together.
    train.batch_size = 1024
    # Vectors of more bytes than these stay in their file, a .npy of float32, and are read as steps need them.
    train.resident_bytes = 2**32
    # Share of the difference between two others that is added to each item of a batch, until codes settle, so that what
    # is learned holds for new items too; 0 for the items as they are.
    train.augmentation = 0.0
    # "float32", or "bfloat16": in encoder and decoder, products round their factors to bfloat16 and add up in float32,
    # until codes settle. Weights, distances, codes and all that is exported are float32.
    train.precision = "float32"
    # "adamw" or "adagrad".
    train.optimizer = "adamw"
    train.learning_rate = 1e-3
    # The rate's course after the warm-up: "cosine" to 0, or "constant".
    train.learning_rate_schedule = "cosine"
    train.warmup_epochs = 4.0
    # AdamW only, on the kernels: never on biases or codebooks.
    train.weight_decay = 1e-4
    # Gradients are scaled down to this global norm, a guard against outliers; 0 leaves them alone.
    train.gradient_clip_norm = 1000.0
    # Gumbel-softmax: False keeps the temperature and the noise where they start.
    train.temperature_annealing = True
    # "exponential", "linear", "cosine" or "constant".
    train.annealing_schedule = "exponential"
    # Epochs between two updates of the temperature.
    train.temperature_update_frequency = 1
    # Lloyd iterations of the k-means that starts the codebooks, and the most items it looks at (a random sample).
    train.kmeans_iterations = 25
    train.kmeans_sample_items = 65_536
    # A code that no item took for this many epochs starts anew at a residual that is badly served; 0 never.
    train.revive_every_epochs = 1.0
    # Share of the run, at its end, in which the encoder holds still while codebooks and decoder settle.
    train.settle_share = 0.2
    # No revival in the last part of the run, so that what is revived has time to settle.
    train.revive_until = 0.9
    # Steps in one compiled call; metrics are written once a call.
    train.log_every_steps = 100
    # The whole corpus is measured, and a checkpoint saved, this often and at the end.
    train.eval_every_epochs = 10.0
    # The checkpoint that export takes is the best by this: any name that an evaluation prints ("r2", "distinct_rate").
    train.best_metric = "r2"
    train.best_mode = "max"
    # A project of Weights & Biases that metrics go to as well (needs the [wandb] extra); empty: none.
    train.wandb = ""
    # Checkpoints kept: the latest, and the best of the rest.
    train.keep_checkpoints = 3
    return config.lock()


def check_config(config: ConfigDict) -> None:
    """Refuses a config with a value that no run could use.

    Raises:
      UserError: with the field, its value, and what it may be.
    """
    check_values(config, _CHOICES, _RANGES)
    _check_sizes(config.model)
    _check_histories(config)
    if config.model.min_temperature > config.model.temperature:
        raise UserError(
            f"config.model.min_temperature is {config.model.min_temperature}, above config.model.temperature="
            f"{config.model.temperature}"
        )


_INFINITE = float("inf")
_TINY = 1e-12

_CHOICES: dict[str, Sequence[Any]] = {
    "data.source": ("vectors", *CATALOGS),
    "data.histories.source": ("none", "sequences", "interactions", *CATALOGS),
    "data.on_bad_rows": ("error", "drop", "report"),
    "data.view": ("item", "user"),
    "data.vectors": ("text", "collaborative", "text+collaborative"),
    "data.standardize": ("global", "feature", "none"),
    "model.encoder": ("mlp", "residual", "identity"),
    "model.activation": ("silu", "relu", "gelu"),
    "model.quantization_method": ("ste", "rotation", "diveq", "gumbel_softmax", "simvq", "ema"),
    "ids.unique": SCHEMES,
    "train.precision": ("float32", "bfloat16"),
    "train.optimizer": ("adamw", "adagrad"),
    "train.learning_rate_schedule": ("cosine", "constant"),
    "train.annealing_schedule": ("exponential", "linear", "cosine", "constant"),
    "train.best_metric": ("r2", "mse", "cosine", "distinct_rate", "agreement"),
    "train.best_mode": ("max", "min"),
}

_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**32 - 1),
    "data.core": (0, _INFINITE),
    "data.collaborative_dimension": (1, _INFINITE),
    "data.collaborative_holdout": (0, _INFINITE),
    "data.collaborative_weight": (0, _INFINITE),
    "model.num_levels": (1, 64),
    "model.latent_dimension": (1, _INFINITE),
    "model.dropout": (0, 0.99),
    "model.temperature": (_TINY, _INFINITE),
    "model.min_temperature": (_TINY, _INFINITE),
    "model.temperature_decay": (_TINY, 1),
    "model.noise_scale": (0, _INFINITE),
    "model.ema_decay": (0, 1),
    "model.commitment_weight": (0, _INFINITE),
    "model.codebook_weight": (0, _INFINITE),
    "model.contrastive_weight": (0, _INFINITE),
    "model.alignment_weight": (0, _INFINITE),
    "model.contrastive_temperature": (_TINY, _INFINITE),
    "ids.capacity": (1, _INFINITE),
    "train.num_epochs": (_TINY, _INFINITE),
    "train.batch_size": (1, _INFINITE),
    "train.resident_bytes": (0, _INFINITE),
    "train.augmentation": (0, _INFINITE),
    "train.learning_rate": (0, _INFINITE),
    "train.warmup_epochs": (0, _INFINITE),
    "train.weight_decay": (0, _INFINITE),
    "train.gradient_clip_norm": (0, _INFINITE),
    "train.temperature_update_frequency": (1, _INFINITE),
    "train.kmeans_iterations": (0, _INFINITE),
    "train.kmeans_sample_items": (1, _INFINITE),
    "train.revive_every_epochs": (0, _INFINITE),
    "train.revive_until": (0, 1),
    "train.settle_share": (0, 1),
    "train.log_every_steps": (1, _INFINITE),
    "train.eval_every_epochs": (_TINY, _INFINITE),
    "train.keep_checkpoints": (1, _INFINITE),
}


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
