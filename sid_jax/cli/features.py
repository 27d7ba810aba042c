"""Writes ranking features from Semantic IDs: for each item, the indices of its rows in an embedding table.

Examples: features of an export, and the same features for its next version.
  sid-jax features --ids=exports/v1 --rows=2000 --impressions=seen.parquet --out=features/v1
  sid-jax features --ids=exports/v2 --fitted=features/v1 --out=features/v2
"""

from __future__ import annotations

from absl import flags

from sid_jax import command, signals
from sid_jax.buckets.outputs import output_folder
from sid_jax.errors import UserError
from sid_jax.paths import as_path

_IDS = flags.DEFINE_string(
    "ids", None, "Semantic IDs: folder of an export, or a .parquet, .csv, .json or .npy file.", required=True
)
_OUT = flags.DEFINE_string("out", None, "Folder to write: new, empty, or written by the same command.", required=True)
_KIND = flags.DEFINE_string(
    "kind",
    "sentencepiece",
    "Kind of features: sentencepiece, unigram, prefix, window, random (hash of the item id) or item. unigram, prefix "
    "and window are n-grams of codes.",
)
_ROWS = flags.DEFINE_integer("rows", 0, "Maximum number of rows of the embedding table.")
_IMPRESSIONS = flags.DEFINE_string(
    "impressions",
    None,
    "Table of impressions (.parquet, .csv, .feather, .jsonl): one count per item, or one row per impression.",
)
_FITTED = flags.DEFINE_string("fitted", None, "Folder of earlier features. Their mapping to rows is reused.")
_WINDOW = flags.DEFINE_integer("window", 2, "With --kind=window: codes per n-gram.")
_HASHED = flags.DEFINE_boolean(
    "hashed", False, "Hash all n-grams into rows. Default: only the most frequent n-grams get rows."
)
_SEED = flags.DEFINE_integer("seed", 0, "With --kind=random: seed of the hash.", lower_bound=0)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
    command.refuse_empty(_IMPRESSIONS, _FITTED)
    if not (_ROWS.value or _FITTED.value):
        raise UserError(
            "set --rows to the number of rows of the embedding table, as in --rows=2000, or set --fitted to the folder "
            "of earlier features"
        )
    how = [f"--{flag.name}" for flag in (_KIND, _WINDOW, _HASHED, _SEED) if flag.present]
    if _FITTED.value and how:
        raise UserError(
            f"{', '.join(how)} cannot be combined with --fitted, which reuses the settings of {_FITTED.value}; omit "
            f"{', '.join(how)}"
        )
    from sid_jax.features.run import make_features

    signals.end_with_publication()
    make_features(
        _IDS.value,
        output_folder(_OUT.value),
        kind=_KIND.value,
        num_rows=_ROWS.value,
        impressions=_IMPRESSIONS.value,
        fitted=None if _FITTED.value is None else as_path(_FITTED.value),
        window=_WINDOW.value,
        hashed=_HASHED.value,
        seed=_SEED.value,
    )
