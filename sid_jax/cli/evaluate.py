"""Evaluates Semantic IDs of an export or from any other source.

Examples: IDs of an export, and IDs of letter.json, with 1 added to each item id (+1).
  sid-jax evaluate --ids=exports/items --vectors=items.parquet
  sid-jax evaluate --ids=letter.json+1 --vectors=items.npy --vector_ids=ids.txt --labels=items.jsonl:categories
"""

from __future__ import annotations

from absl import flags

from sid_jax import command
from sid_jax.cli import histories

_IDS = flags.DEFINE_string(
    "ids",
    None,
    "Semantic IDs: folder of an export, a .parquet, .csv, .json, .npy or .pt file, or another tool's file "
    "(docs/formats.md). FILE+1, such as letter.json+1, adds 1 to the item ids of FILE.",
    required=True,
)
_VECTORS = flags.DEFINE_string(
    "vectors", None, "Item vectors to compare the IDs with, in any file format that sid-jax train reads."
)
_VECTOR_IDS = flags.DEFINE_string("vector_ids", None, "For vectors without ids: a text file with one item id per line.")
_ID_COLUMN = flags.DEFINE_string("id_column", "item_id", "Column of item ids in --vectors.")
_VECTOR_COLUMN = flags.DEFINE_string("vector_column", "vector", "Column of vectors in --vectors.")
_ON_BAD_ROWS = flags.DEFINE_enum(
    "on_bad_rows",
    "error",
    ["error", "drop", "report"],
    "Rows of --vectors with NaN, infinite or missing values are rejected (error), dropped (drop), or rejected and "
    "listed (report).",
)
_ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "Items of --vectors and --histories that have no Semantic ID are rejected (error) or dropped (drop).",
)
_CODEBOOKS = flags.DEFINE_string(
    "codebooks", None, "With --vectors: folder of an export, whose decoder maps IDs back to vectors."
)
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "Labels of items, such as categories: FILE:COLUMN. FILE is .parquet, .csv, .feather or .jsonl, with item ids in "
    "its first column.",
)
_HOLDOUT = flags.DEFINE_integer(
    "holdout",
    2,
    "Number of each user's last interactions that are excluded, since they are test and validation targets.",
    lower_bound=0,
)
_OTHER = flags.DEFINE_string(
    "other", None, "IDs of the same items from another run, to measure the stability of codes."
)
_OUT = flags.DEFINE_string("out", None, "Write the metrics to this .json file.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
    command.refuse_empty(_VECTORS, _VECTOR_IDS, _CODEBOOKS, _LABELS, _OTHER, _OUT)
    from sid_jax.evaluate import evaluate_ids

    evaluate_ids(
        _IDS.value,
        vectors=_VECTORS.value,
        vector_ids=_VECTOR_IDS.value,
        id_column=_ID_COLUMN.value,
        vector_column=_VECTOR_COLUMN.value,
        on_bad_rows=_ON_BAD_ROWS.value,
        on_unknown=_ON_UNKNOWN.value,
        codebooks=_CODEBOOKS.value,
        labels=_LABELS.value,
        histories=histories.given(),
        holdout=_HOLDOUT.value,
        other=_OTHER.value,
        out=_OUT.value,
    )
