"""Writes the rows of a ranker's embedding table that represent each item, by its Semantic ID.

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
    "ids", None, "The Semantic IDs: an export's folder, or a .parquet, .csv, .json or .npy file.", required=True
)
_OUT = flags.DEFINE_string(
    "out", None, "The folder to write: empty, new, or what the same command wrote before.", required=True
)
_KIND = flags.DEFINE_string(
    "kind", "sentencepiece", "sentencepiece, unigram, prefix or window (n-grams of codes), random (hashing), or item."
)
_ROWS = flags.DEFINE_integer("rows", 0, "The most rows that the embedding table may have.")
_IMPRESSIONS = flags.DEFINE_string(
    "impressions",
    None,
    "Tables of impressions (.parquet, .csv, .feather, .jsonl): a count for each item, or one row for each impression.",
)
_FITTED = flags.DEFINE_string("fitted", None, "Features written before. The items get theirs from the same table.")
_WINDOW = flags.DEFINE_integer("window", 2, "--kind=window: codes in an n-gram.")
_HASHED = flags.DEFINE_boolean(
    "hashed", False, "n-grams: hash all of them into rows, instead of giving rows to the most frequent ones."
)
_SEED = flags.DEFINE_integer("seed", 0, "--kind=random: the seed of the hash.", lower_bound=0)


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
    if not (_ROWS.value or _FITTED.value):
        raise UserError("say how many rows the embedding table may have, --rows=2000, or name features by --fitted")
    how = [f"--{flag.name}" for flag in (_KIND, _WINDOW, _HASHED, _SEED) if flag.present]
    if _FITTED.value and how:
        raise UserError(f"{', '.join(how)}: {_FITTED.value} was made with its own; leave them out with --fitted")
    from sid_jax.features.run import make_features

    signals.end_with_publication()
    make_features(
        _IDS.value,
        output_folder(_OUT.value),
        kind=_KIND.value,
        num_rows=_ROWS.value,
        impressions=_IMPRESSIONS.value or None,
        fitted=as_path(_FITTED.value) if _FITTED.value else None,
        window=_WINDOW.value,
        hashed=_HASHED.value,
        seed=_SEED.value,
    )
