"""Declares every setting of `sid-jax train`. The defaults are the recommended settings for vectors of any origin."""

from __future__ import annotations

from ml_collections import ConfigDict

from sid_jax.data.catalogs.names import CATALOGS
from sid_jax.errors import UserError
from sid_jax.ids.unique import SCHEMES
from sid_jax.settings import (
    AUTO,
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
        "The catalog. vectors: your own vectors (`data.path`). The other values name a catalog of movies, users or "
        "products (docs/movielens.md and docs/amazon.md list them). The vectors of a named catalog are computed with "
        "the other settings of `data`.",
        choices=("vectors", *CATALOGS),
    ),
    "path": Setting(
        "",
        "vectors: .npy, .npz, .pt, .parquet, .arrow, .feather, .safetensors or .array_record files, a folder of them "
        "(such as one saved by Hugging Face's `datasets`), a glob pattern, or several of these separated by commas. "
        "Files may be in a bucket, as in s3://bucket/items/*.parquet (docs/buckets.md). movielens: a folder or zip in "
        "GroupLens' layout. amazon: a folder with a review file and a metadata file. Empty: a named catalog is read "
        "from the cache, or downloaded.",
    ),
    "id_column": Setting(
        "item_id",
        "vectors: name of the column, array or tensor of item ids. If this setting has its default, the name "
        '"ids" is also accepted. Ids are kept unchanged.',
    ),
    "vector_column": Setting(
        "vector",
        "vectors: name of the column, array or tensor of vectors. If this setting has its default, the name "
        '"vectors" is also accepted. A table column must have lists or fixed-size lists.',
    ),
    "ids_path": Setting(
        "",
        "vectors: files of ids, for files of vectors that contain no ids. For each file of vectors, a text file with "
        "one id per line, or a .npy file of ids. Empty: ids are row numbers.",
    ),
    "catalog_size": Setting(
        0,
        "vectors: number of items of the whole catalog, if `data.path` is a random sample of it. "
        "`model.num_levels=auto` is then chosen for the whole catalog. 0: the data are the whole catalog.",
        range=NOT_NEGATIVE,
    ),
    "text_column": Setting(
        "",
        'vectors: columns of text, separated by commas ("title,brand"), in a table (.parquet, .csv, ...). The text '
        "is encoded to vectors, and no vector column is read. amazon: columns that form the text of a product; empty: "
        "title, brand, categories.",
    ),
    "columns": Setting(
        "",
        'Additional columns of the export, separated by commas ("title"). Empty: the descriptive columns of a named '
        "catalog; none for your own catalog.",
    ),
    "core": Setting(5, "amazon: users and items with fewer interactions than this are dropped.", range=NOT_NEGATIVE),
    "on_bad_rows": Setting(
        "error",
        "vectors: treatment of rows with NaN or infinite values. error: reject the file, and show the first such row. "
        "drop: drop these rows. report: reject the file, and list all such rows on standard output, as CSV.",
        choices=("error", "drop", "report"),
    ),
    "on_unknown": Setting(
        "error",
        "Treatment of items that are in the histories or in `data.cold_items`, but not in the catalog. error: reject "
        "the file, and show the likely cause. drop: drop these items, with a warning that states their number.",
        choices=("error", "drop"),
    ),
    "cold_items": Setting(
        "",
        "Text file with the ids of cold items, one per line. Cold items are excluded from training and get codes in "
        "the same way as new items.",
    ),
    "histories": {
        "source": Setting(
            "none",
            "Interaction histories, for codes that reflect co-occurrence as well as content. They can be used in "
            "the co-occurrence part of each vector (`data.collaborative_weight`), and in a loss "
            "(`model.contrastive_weight`, `model.alignment_weight`). sequences: a text file with one line per user: "
            "the user, then items in time order. interactions: a .parquet or .csv file with one row per interaction. "
            "Name of a catalog, as in `data.source`: the interactions of this catalog.",
            choices=("none", "sequences", "interactions", *CATALOGS),
        ),
        "path": Setting(
            "",
            "File of histories; for a named catalog, a path as in `data.path`. Empty: `data.path`, if `data.source` "
            "names the same catalog as `data.histories.source`; otherwise, the named catalog is read from the cache "
            "or downloaded.",
        ),
        "user_column": Setting("user_id", "interactions: name of the column of users."),
        "item_column": Setting("item_id", "interactions: name of the column of items."),
        "time_column": Setting("timestamp", "interactions: name of the column of times."),
    },
    "collaborative_weight": Setting(
        0.5,
        "Variance of the co-occurrence part, relative to that of the part from `data.source`. The co-occurrence part "
        "is an additional part of each vector, computed from the histories. 0: no co-occurrence part.",
        range=NOT_NEGATIVE,
    ),
    "parts": Setting(
        "",
        "Additional parts of each item vector, each as NAME=SOURCE*WEIGHT, separated by commas, such as "
        "image=image.npy*0.5,genres=categories:genres*0.3. The part from `data.source` has weight 1. SOURCE is a file "
        "of vectors with ids, or a column. Write a file as FILE, as FILE.npy@IDS if its ids are in a separate file, or "
        "as raw:FILE for vectors that keep their lengths instead of being scaled to length 1. Write a column of the "
        "catalog as categories:COLUMN, number:COLUMN or text:COLUMN; for a column of another table, put the file "
        "before the column, as in categories:FILE:COLUMN. Parts are joined by id, and an item may lack some parts.",
    ),
    "view": Setting(
        "item", "movielens: whether movies (item) or users (user) get Semantic IDs.", choices=("item", "user")
    ),
    "vectors": Setting(
        "text",
        "movielens: source of the vectors. text: the encoded texts. collaborative: a truncated SVD of the ratings. "
        "text+collaborative: both, concatenated.",
        choices=("text", "collaborative", "text+collaborative"),
    ),
    "text_encoder": Setting(
        "wordllama",
        "Text encoder. wordllama: the built-in encoder. FOLDER: a BERT model such as all-MiniLM-L6-v2, in a folder "
        "with model.safetensors and tokenizer.json; it runs in JAX and needs the [bert] extra. FOLDER@bfloat16: the "
        "same in mixed precision. NAME: a sentence-transformers model, which needs the [text] extra. module:function: "
        "your own function from a list of texts to an array [n, D].",
    ),
    "collaborative_dimension": Setting(
        64,
        "movielens and histories: number of features of a collaborative or co-occurrence vector. It is the rank of the "
        "truncated SVD that computes these vectors.",
        range=ONE_OR_MORE,
    ),
    "collaborative_holdout": Setting(
        2,
        "movielens and histories: number of each user's last interactions that are excluded, so that the test data of "
        "a leave-one-out split does not leak into the vectors.",
        range=NOT_NEGATIVE,
    ),
    "cache_dir": Setting(
        "", "Folder of prepared data sets. Empty: $SID_JAX_CACHE, or .cache/sid_jax in the home folder."
    ),
    "unit_norm": Setting(
        True,
        "Whether each vector is scaled to length 1, so that only its direction matters, as in cosine similarity. "
        "`data.unit_norm`, `data.center` and `data.standardize` are applied in this order. The mean and the divisors "
        "are computed once, saved with the model and applied to every vector that is encoded.",
    ),
    "center": Setting(True, "Whether the mean vector is subtracted from each vector."),
    "standardize": Setting(
        "global",
        "Division of the features. global: all features by one number, so that their mean square is 1. feature: each "
        "feature by its standard deviation. none: no division.",
        choices=("global", "feature", "none"),
    ),
}

_MODEL: Declaration = {
    "num_levels": Setting(
        AUTO,
        "Number L of levels; before IDs are made unique, an ID has L codes. auto: 3 for up to 40,000 items, 4 for up "
        "to 10 million items, and 5 for more. For more than 40,000 items, levels are added if more than a tenth of the "
        "items would otherwise share their code tuple with another item. This share is estimated on a sample.",
        range=(1, 64),
        any_type=True,
        words=(AUTO,),
    ),
    "codebook_size": Setting(
        AUTO,
        "Number K of codes per level; one number, or one per level, as in (64, 128, 256). auto: 256 for 2,048 items "
        "or more. For a smaller number N of items, auto is the largest power of two up to N / 8, or a larger power of "
        "two if there would otherwise be fewer than 4 code tuples per item.",
        any_type=True,
    ),
    "quantizer": Setting(
        "residual",
        "Kind of quantizer. residual: each level quantizes the residual of the levels before it. opq: optimized "
        "product quantization; each level quantizes its own subvector of the rotated vector. opq has no network, and "
        "needs `model.encoder=identity` and `model.quantization_method=ema`.",
        choices=("residual", "opq"),
    ),
    "encoder": Setting(
        "residual",
        "Kind of encoder. mlp: an MLP. residual: x W + MLP(x) for a scaled item vector x, with a learned matrix W; the "
        "encoder is initialized as the projection onto the first Z principal axes. identity: no network; the scaled "
        "vectors are quantized.",
        choices=("mlp", "residual", "identity"),
    ),
    "latent_dimension": Setting(
        112, "Number Z of features of the latent vector, the encoder's output.", range=ONE_OR_MORE
    ),
    "hidden_dimensions": Setting(
        (1024, 256), "Widths of the encoder's hidden layers. The decoder has the same widths in reverse order."
    ),
    "activation": Setting("silu", "Activation of the hidden layers.", choices=("silu", "relu", "gelu")),
    "dropout": Setting(0.0, "Dropout rate of the hidden layers.", range=(0, 0.99)),
    "quantization_method": Setting(
        "ste",
        "Gradient estimator or codebook update. ste: straight-through estimator. rotation: rotation trick. diveq: "
        "DiVeQ. gumbel_softmax: codes sampled by Gumbel-softmax. simvq: frozen codebooks with a learned linear map "
        "(SimVQ). ema: codebooks updated by moving averages.",
        choices=("ste", "rotation", "diveq", "gumbel_softmax", "simvq", "ema"),
    ),
    "gumbel_hard": Setting(
        True,
        "Gumbel-softmax: whether the forward pass uses the sampled codeword (True) or the soft mixture of codewords "
        "(False). The gradient is that of the soft mixture in both cases.",
    ),
    "temperature": Setting(0.1, "Gumbel-softmax: initial temperature.", range=POSITIVE),
    "min_temperature": Setting(0.05, "Gumbel-softmax: minimum temperature.", range=POSITIVE),
    "temperature_decay": Setting(
        0.9995,
        "Gumbel-softmax, exponential schedule: factor by which each update multiplies the temperature.",
        range=POSITIVE_SHARE,
    ),
    "noise_scale": Setting(
        0.01,
        "Gumbel-softmax: initial scale of the noise. Noise and temperature are in units of the squared distance "
        "between neighboring codewords. The noise is proportional to the temperature minus `model.min_temperature`, so "
        "it ends at 0 if the temperature reaches the minimum. The codes of the last step then equal the exported "
        "codes. diveq: length of the noise relative to the quantization error.",
        range=NOT_NEGATIVE,
    ),
    "ema_decay": Setting(
        0.99,
        "ema: decay of the moving averages per step at the highest learning rate; it approaches 1 as the learning "
        "rate falls.",
        range=SHARE,
    ),
    "commitment_weight": Setting(
        0.25,
        "Weight of the commitment loss, |residual - sg(codeword)|^2, where sg stops the gradient (beta in van den Oord "
        "et al., 1711.00937, equation 3).",
        range=NOT_NEGATIVE,
    ),
    "codebook_weight": Setting(
        1.0,
        "Weight of the codebook loss, |sg(residual) - codeword|^2, which trains the codebooks; sg stops the gradient.",
        range=NOT_NEGATIVE,
    ),
    "contrastive_weight": Setting(
        0.0,
        "Weight of the contrastive loss, which pulls together the quantized vectors of items that co-occur in "
        "`data.histories`. The loss is multiplied by the mean squared length of the scaled vectors. The loss "
        "affects training only: an item's codes are computed from its vector.",
        range=NOT_NEGATIVE,
    ),
    "alignment_weight": Setting(
        0.0,
        "Weight of the alignment loss, an InfoNCE loss between a linear map of an item's quantized vector and its "
        "co-occurrence vector (`data.collaborative_dimension` features). Like the contrastive loss, it is multiplied "
        "by the mean squared length of the scaled vectors.",
        range=NOT_NEGATIVE,
    ),
    "contrastive_temperature": Setting(
        0.1,
        "Temperature of the contrastive loss and the alignment loss, by which cosine similarities are divided.",
        range=POSITIVE,
    ),
}

_IDS: Declaration = {
    "unique": Setting(
        "relocate",
        "How IDs are made unique. relocate: IDs have L codes. Of the items with the same code tuple, one keeps the "
        "tuple, and each other item gets a free ID that decodes to a vector near the item's vector. suffix: IDs have "
        "one more code, which differs between items with the same code tuple (as in TIGER). none: items may share an "
        "ID.",
        choices=SCHEMES,
    ),
    "capacity": Setting(1, "relocate: maximum number of items per ID.", range=ONE_OR_MORE),
}

_TRAIN: Declaration = {
    "num_epochs": Setting(
        AUTO,
        "Number of epochs. auto: `train.auto_epochs` for up to 80,000 items. For a larger number N of items, auto is "
        "smaller, in proportion to N^(-3/4). A run with auto has at least 60 steps. With auto, other settings in "
        "epochs are scaled in the same proportion.",
        range=POSITIVE,
        any_type=True,
        words=(AUTO,),
    ),
    "auto_epochs": Setting(
        24.0,
        "With num_epochs=auto: number of epochs for up to 80,000 items. The argument gumbel of the presets sets 45, "
        "since the annealed soft assignments of Gumbel-softmax converge more slowly.",
        range=POSITIVE,
    ),
    "batch_size": Setting(512, "Number of items per step, over all devices.", range=ONE_OR_MORE),
    "resident_bytes": Setting(
        2**32,
        "Maximum number of bytes of the vectors in device memory. Larger data stays in a float32 .npy file and is read "
        "during training.",
        range=NOT_NEGATIVE,
    ),
    "augmentation": Setting(
        AUTO,
        "Data augmentation: this share of the difference between two other vectors of the batch is added to each "
        "vector, until the encoder is frozen. Without augmentation, a wide encoder memorizes a catalog of about ten "
        "thousand items, and new items get poor codes. auto: 0.25 for up to 50,000 items, or 0.15 with Gumbel-softmax. "
        "For a larger number N of items, auto is smaller, in proportion to N^(-1/2). For `model.encoder=identity`, "
        "auto is 0.",
        range=NOT_NEGATIVE,
        any_type=True,
        words=(AUTO,),
    ),
    "part_dropout": Setting(
        0.25,
        "Share of the parts of items (`data.parts`) that each training step masks until the encoder is frozen. Because "
        "of the masking, items that lack a part also get good codes. At least one part of each item is not masked.",
        range=(0, 0.99),
    ),
    "precision": Setting(
        "float32",
        "Precision of training. bfloat16: until the encoder is frozen, matrix products of encoder and decoder have "
        "bfloat16 inputs and float32 sums. Weights, distances, codes and exported arrays are always float32. auto: "
        "bfloat16 on TPUs. On other devices, matrix products are timed at the start, and bfloat16 is used if it takes "
        "at most 0.9 times as long as float32. A resumed run does not change the choice.",
        choices=("float32", "bfloat16", AUTO),
    ),
    "optimizer": Setting(
        "nadamw",
        "Optimizer. nadamw: AdamW with Nesterov momentum.",
        choices=("nadamw", "adamw", "adagrad"),
    ),
    "learning_rate": Setting(
        AUTO,
        "Peak learning rate, after the warm-up. auto: 0.01 for a run of up to 800 steps. For a larger number S of "
        "steps, auto is smaller, in proportion to S^(-1/2).",
        range=NOT_NEGATIVE,
        any_type=True,
        words=(AUTO,),
    ),
    "learning_rate_schedule": Setting(
        "cosine", "Learning rate schedule after the warm-up. cosine: decay to 0.", choices=("cosine", "constant")
    ),
    "warmup_epochs": Setting(
        4.0, "Number of warm-up epochs. The learning rate rises to its maximum during the warm-up.", range=NOT_NEGATIVE
    ),
    "weight_decay": Setting(
        1e-4, "NAdamW and AdamW: weight decay of kernels. Biases and codebooks have none.", range=NOT_NEGATIVE
    ),
    "gradient_clip_norm": Setting(
        1000.0, "Gradient clipping: maximum global norm. 0: no clipping.", range=NOT_NEGATIVE
    ),
    "temperature_annealing": Setting(
        True,
        "Gumbel-softmax: whether the temperature and the noise are annealed. False: both keep their initial values.",
    ),
    "annealing_schedule": Setting(
        "cosine",
        "Gumbel-softmax: temperature schedule. linear and cosine reach `model.min_temperature` at the end of the "
        "run. exponential multiplies the temperature by `model.temperature_decay` at each update. constant keeps the "
        "initial temperature.",
        choices=("exponential", "linear", "cosine", "constant"),
    ),
    "temperature_update_frequency": Setting(
        1, "Gumbel-softmax: number of epochs between temperature updates.", range=ONE_OR_MORE
    ),
    "kmeans_iterations": Setting(
        25, "Number of Lloyd iterations of the k-means that initializes the codebooks.", range=NOT_NEGATIVE
    ),
    "kmeans_sample_items": Setting(
        65_536,
        "Maximum number of items for the k-means of the codebooks. Larger catalogs are sampled at random.",
        range=ONE_OR_MORE,
    ),
    "revive_every_epochs": Setting(
        1.0,
        "Number of epochs between resets. Each code that has not been assigned since the last reset gets a new "
        "codeword: a residual with a large error. 0: no resets.",
        range=NOT_NEGATIVE,
    ),
    "revive_until": Setting(
        0.9, "Share of the run after which no code is reset, so that reset codes can converge.", range=SHARE
    ),
    "settle_share": Setting(
        AUTO,
        "Share of the run, at its end, with a frozen encoder. Only the codebooks and the decoder are trained then. "
        "auto: 0.25 for up to 100,000 items, and 0.4 for more.",
        range=SHARE,
        any_type=True,
        words=(AUTO,),
    ),
    "log_every_steps": Setting(
        100,
        "Maximum number of steps per compiled call; metrics are written once per call. If possible, all calls get the "
        "same number of steps, at least half of this maximum.",
        range=ONE_OR_MORE,
    ),
    "eval_every_epochs": Setting(
        15.0,
        "Number of epochs between evaluations. An evaluation computes the codes of all training items, and R^2 on at "
        "most 65,536 of them. Each evaluation saves a checkpoint. The last evaluation is at the end of the run. An "
        "evaluation is omitted if the rest of the run is shorter than half of this number of epochs. If `num_epochs` "
        "is auto and this interval is shorter than two epochs, checkpoints are saved at the same steps, but only the "
        "last one is evaluated.",
        range=POSITIVE,
    ),
    "best_metric": Setting(
        "r2",
        "Metric that selects the best checkpoint, which is exported.",
        choices=("r2", "mse", "cosine", "distinct_rate", "agreement"),
    ),
    "best_mode": Setting(
        "max",
        "Whether the highest (max) or the lowest (min) value of `train.best_metric` is the best.",
        choices=("max", "min"),
    ),
    "wandb": Setting("", "Weights & Biases project for the metrics (needs the [wandb] extra). Empty: none."),
    "keep_checkpoints": Setting(
        3,
        "Maximum number n of checkpoints to keep: the latest one and the n - 1 best ones, which may include the "
        "latest. 1 has the same effect as 2.",
        range=ONE_OR_MORE,
    ),
}

SETTINGS: Declaration = {
    "seed": Setting(
        0,
        "Seed. All random numbers are functions of the seed, the name of a random stream and the step.",
        range=(0, 2**32 - 1),
    ),
    "data": _DATA,
    "model": _MODEL,
    "ids": _IDS,
    "train": _TRAIN,
}


def default_config() -> ConfigDict:
    """Returns the recommended settings: residual encoder, straight-through estimator, number of epochs "auto"."""
    return default_of(SETTINGS).lock()


def check_config(config: ConfigDict) -> None:
    """Raises a UserError that names the allowed values if a value of the config is not allowed."""
    check_values(config, SETTINGS)
    _check_sizes(config.model)
    _check_product(config.model)
    _check_histories(config)
    if config.model.min_temperature > config.model.temperature:
        raise UserError(
            f"config.model.min_temperature is {config.model.min_temperature}, above "
            f"config.model.temperature={config.model.temperature}; lower the minimum"
        )


def _check_histories(config: ConfigDict) -> None:
    given = config.data.histories.source != "none"
    weights = {name: config.model[name] for name in ("contrastive_weight", "alignment_weight") if config.model[name]}
    for name, weight in weights.items():
        if not given:
            raise UserError(
                f"config.model.{name} is {weight}, but config.data.histories.source is 'none'; set "
                "config.data.histories.source, or set the weight to 0"
            )
        if config.model.encoder == "identity":
            raise UserError(
                f"config.model.{name} is {weight}, but config.model.encoder is 'identity': without an encoder, "
                "the loss has nothing to train; set another encoder, or set the weight to 0"
            )
    if given and not weights and not config.data.collaborative_weight:
        raise UserError(
            "config.data.histories.source is set, but all weights of histories are 0, so histories have no effect; set "
            "config.data.collaborative_weight, config.model.contrastive_weight or config.model.alignment_weight"
        )


def _check_product(model: ConfigDict) -> None:
    for name, value in (("encoder", "identity"), ("quantization_method", "ema")) if model.quantizer == "opq" else ():
        if model[name] != value:
            raise UserError(
                f"config.model.quantizer is 'opq', which has no network, but config.model.{name} is {model[name]!r}; "
                f"set it to {value!r}, or use the preset embeddings:opq"
            )


def _check_sizes(model: ConfigDict) -> None:
    size, levels = model.codebook_size, model.num_levels
    if isinstance(levels, float):
        raise UserError(f"config.model.num_levels is {levels}; it must be a whole number, or {AUTO!r}")
    sizes = size if isinstance(size, (tuple, list)) else () if size == AUTO else (size,)
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in sizes):
        raise UserError(
            f"config.model.codebook_size is {size!r}; it must be {AUTO!r}, a number, or one number per level, as in "
            "(64, 128)"
        )
    if isinstance(size, (tuple, list)) and levels not in (AUTO, len(sizes)):
        raise UserError(
            f"config.model.codebook_size has {len(sizes)} numbers, but config.model.num_levels is {levels}; give one "
            "number per level"
        )
    if not all(isinstance(width, int) and width >= 1 for width in model.hidden_dimensions):
        raise UserError(
            f"config.model.hidden_dimensions is {model.hidden_dimensions}; each width must be a whole number, 1 or more"
        )
