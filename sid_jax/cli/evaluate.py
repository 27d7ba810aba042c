"""Measures Semantic IDs, of an export or from any other source.

sid-jax evaluate --ids=exports/items --vectors=items.parquet
sid-jax evaluate --ids=letter.json+1 --vectors=items.npy --vector_ids=ids.txt --labels=items.jsonl:categories
"""

from __future__ import annotations

from absl import flags

from sid_jax import command

_IDS = flags.DEFINE_string(
    "ids",
    None,
    "The Semantic IDs: an export's folder, a .parquet, .csv, .json, .npy or .pt file, or another tool's, as of "
    "docs/formats.md. +1 after the name adds 1 to item ids.",
    required=True,
)
_VECTORS = flags.DEFINE_string(
    "vectors", None, "The items' vectors, in files of any kind that `train` reads, to compare the IDs with."
)
_VECTOR_IDS = flags.DEFINE_string("vector_ids", None, "For vectors without ids: a text file with one item id a line.")
_ID_COLUMN = flags.DEFINE_string("id_column", "item_id", "The column of item ids in --vectors.")
_VECTOR_COLUMN = flags.DEFINE_string("vector_column", "vector", "The column of vectors in --vectors.")
_ON_BAD_ROWS = flags.DEFINE_enum(
    "on_bad_rows",
    "error",
    ["error", "drop", "report"],
    "--vectors: what is done with rows that are no vectors, or have NaN or infinite values.",
)
_ON_UNKNOWN = flags.DEFINE_enum(
    "on_unknown",
    "error",
    ["error", "drop"],
    "What is done with items of --vectors and --histories that have no Semantic ID: error refuses them, drop leaves "
    "them out.",
)
_CODEBOOKS = flags.DEFINE_string("codebooks", None, "An export, whose decoder maps IDs back to vectors.")
_LABELS = flags.DEFINE_string(
    "labels",
    None,
    "FILE:COLUMN, categories of items: .parquet, .csv, .feather or .jsonl files with item ids in their first column.",
)
_HISTORIES = flags.DEFINE_string(
    "histories",
    None,
    "Interaction histories: a text file with one line for each user, a table of interactions, or an inter.json.",
)
_HOLDOUT = flags.DEFINE_integer(
    "holdout", 2, "How many of each user's last interactions are left out, for a test.", lower_bound=0
)
_OTHER = flags.DEFINE_string("other", None, "IDs of the same items from another training, to measure stability.")
_OUT = flags.DEFINE_string("out", None, "Write the figures to this .json file.")


def run() -> None:
    """Runs the command with the flags of `sys.argv`."""
    command.run(_main, __doc__)


def _main() -> None:
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
        histories=_HISTORIES.value,
        holdout=_HOLDOUT.value,
        other=_OTHER.value,
        out=_OUT.value,
    )
